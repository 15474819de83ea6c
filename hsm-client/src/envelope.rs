//! Envelope encryption: files and database rows under data keys that the HSM made and wrapped.
//!
//! The HSM wraps a fresh data key of 32 bytes and never sees the data; this process encrypts at the speed of its AES
//! instructions and forgets the data key. What is written begins with a [`Header`] that has the wrapped data key in it, so
//! who may unwrap with the key of the HSM can decrypt, and nobody else.
//!
//! ```
//! use hsm_client::envelope::Envelope;
//! use hsm_client::kinds::Aes256Kwp;
//! # use hsm_client::{BuiltInRole, Hsm, Scope, Setup};
//!
//! # pollster::block_on(async {
//! # let hsm = Hsm::create("memory:", Setup::new("admin", "an administrator's password")).await?;
//! # let session = hsm.login("admin", "an administrator's password").await?;
//! # session.assign_role(BuiltInRole::CryptoUser, "admin", Scope::Keys).await?;
//! let kek = session.create::<Aes256Kwp>("customer-data").await?;
//! let envelope = Envelope::new(&session, &kek);
//!
//! // A value of a database. The context says whose it is, so that nobody swaps two of them.
//! let sealed = envelope.seal(b"4111 1111 1111 1111", b"customers/17/card").await?;
//! let card = envelope.open(&sealed, b"customers/17/card").await?;
//! assert_eq!(card.expose(), b"4111 1111 1111 1111");
//! assert!(envelope.open(&sealed, b"customers/18/card").await.is_err());
//!
//! // After a rotation: the data key under the new version, the data as it was.
//! kek.rotate().await?;
//! let sealed = envelope.rewrap(&sealed).await?;
//! # envelope.open(&sealed, b"customers/17/card").await?;
//! # Ok::<(), hsm_client::Error>(())
//! # }).unwrap();
//! ```
//!
//! A file of any size passes through one segment of memory:
//!
//! ```
//! # use hsm_client::envelope::Envelope;
//! # use hsm_client::kinds::Aes256Kwp;
//! use std::fs::File;
//!
//! # async fn files(envelope: &Envelope<Aes256Kwp>) -> Result<(), Box<dyn std::error::Error>> {
//! let mut encryptor = envelope.encrypt_to(File::create("backup.enc")?, b"backup").await?;
//! encryptor.copy_from(&mut File::open("backup.tar")?)?;
//! encryptor.finish()?;
//!
//! let decryptor = envelope.decrypt_from(File::open("backup.enc")?, b"backup").await?;
//! decryptor.into_file("backup.tar")?;
//! # Ok(())
//! # }
//! ```
//!
//! [`Encryptor`] is a [`Write`] and [`Decryptor`] a [`Read`]: they go wherever these go, and belong on a thread that may
//! block. Making one asks the HSM, so that is `async`; [`blocking::Envelope`](crate::blocking::Envelope) is the same for
//! threads.
//!
//! # What holds
//!
//! - The construction is STREAM over AES-256-GCM, by the crates `aead-stream` and `aws-lc-rs`, with a key for each file
//!   and value that HKDF-SHA-256 derives from the data key. The form, to the byte, with test vectors, is in
//!   `docs/envelope.md`.
//! - What was altered, cut off, extended, reordered, put behind another header or read in another context is
//!   [`Damaged`](hsm_core::ErrorKind::Damaged), and no byte of a segment is given out before the segment is authenticated.
//! - [`Envelope::open`] and [`Decryptor::into_file`] give everything or nothing. Reading from a [`Decryptor`] gives the
//!   first segments before it has seen the last.
//! - Data has at most 2³² segments: 256 TiB at [`SEGMENT_LEN`], 64 PiB at the longest.
//! - The length of the data is not hidden.
//! - Under an RSA key everybody with the public half can make data that opens here: it is kept secret, and nothing says who
//!   made it. Under an AES key only who may wrap or unwrap with it can: who reads has the data key, and can write under it.
//! - Data keys and plaintext in buffers are wiped. Who reads the memory of the process has the data keys in the cache
//!   ([`CacheLimits`], [`Envelope::forget`]).

mod cache;
mod cipher;
mod error;
mod file;
mod header;
mod stream;
#[cfg(test)]
mod tests;

use std::fmt;
use std::io::{Read, Write};
use std::path::Path;
use std::sync::Arc;

use hsm_core::key::typed::Wrapping;
use hsm_core::limits::AAD_LEN_MAX;
use hsm_core::{Clock, Error, ErrorKind, Result, SecretBytes};

pub use cache::CacheLimits;
pub use header::Header;
pub use stream::{Decryptor, Encryptor};

use crate::clock::SystemClock;
use crate::flight::Flight;
use crate::key::Key;
use crate::session::Session;
use cache::{Cache, DataKey};
use cipher::{KEY_LEN, TAG_LEN};
use header::{SALT_LEN, SegmentLen};

/// Length of a segment, unless [`Envelope::with_segment_len`] says otherwise: 64 KiB.
pub const SEGMENT_LEN: usize = 64 << 10;

/// Shortest segment: 64 bytes.
pub const SEGMENT_LEN_MIN: usize = 64;

/// Longest segment: 16 MiB. A header that asks for more is refused.
pub const SEGMENT_LEN_MAX: usize = 16 << 20;

/// Longest header, in bytes. Under an AES key one has 119 bytes and the name of the key.
pub const HEADER_LEN_MAX: usize = header::LEN_MAX;

/// Encrypts and decrypts under data keys that one key of the HSM wraps: any key that [wraps](Wrapping). Cheap to clone;
/// clones share the data keys in memory.
///
/// Sealing needs the permissions to make random bytes and to wrap, opening the one to unwrap. Of tasks that seal at the same
/// moment, one asks the HSM for the data key of all.
///
/// ```
/// use hsm_client::envelope::Envelope;
/// use hsm_client::kinds::RsaOaep3072;
/// use hsm_client::{Result, SecretBytes, Session};
///
/// async fn read(session: &Session, row: &[u8], id: u64) -> Result<SecretBytes> {
///     let kek = session.key::<RsaOaep3072>("archive").await?;
///     let envelope = Envelope::new(session, &kek);
///     envelope.open(row, format!("archive/{id}").as_bytes()).await
/// }
/// ```
pub struct Envelope<W> {
    session: Session,
    kek: Key<W>,
    segment_len: SegmentLen,
    cache: Arc<Cache>,
    sealing: Arc<Flight>,
}

impl<W: Wrapping> Envelope<W> {
    /// Data keys are made by the HSM of `session` and wrapped by `kek`, by its current version unless the handle is
    /// [`at`](Key::at) one. `kek` may be a key of another HSM.
    #[must_use]
    pub fn new(session: &Session, kek: &Key<W>) -> Self {
        Self {
            session: session.clone(),
            kek: kek.clone(),
            segment_len: SegmentLen::DEFAULT,
            cache: Arc::new(Cache::new(CacheLimits::new(), Arc::new(SystemClock))),
            sealing: Arc::default(),
        }
    }

    /// Keeps data keys within other limits.
    #[must_use]
    pub fn with_cache(mut self, limits: CacheLimits) -> Self {
        self.cache = Arc::new(Cache::new(limits, self.cache.clock()));
        self
    }

    /// Goes by another clock for the age of data keys in memory.
    #[must_use]
    pub fn with_clock(mut self, clock: Arc<dyn Clock>) -> Self {
        self.cache = Arc::new(Cache::new(self.cache.limits(), clock));
        self
    }

    /// Encrypts in segments of another length, a power of two from [`SEGMENT_LEN_MIN`] to [`SEGMENT_LEN_MAX`]. What was
    /// encrypted before says in its header how long its segments are.
    ///
    /// # Errors
    ///
    /// [`InvalidInput`](ErrorKind::InvalidInput) for another length.
    pub fn with_segment_len(mut self, len: usize) -> Result<Self> {
        self.segment_len = SegmentLen::new(len)?;
        Ok(self)
    }

    /// Encrypts what is written to the result into `output`, under a data key of its own. Nothing is written before the
    /// first segment is full, or [`finish`](Encryptor::finish).
    ///
    /// `context` is authenticated and not written; decryption needs the same. It says what the data is, so that two files
    /// cannot be taken for each other.
    ///
    /// # Errors
    ///
    /// [`KeyState`](ErrorKind::KeyState) if the key may not wrap now, [`LimitExceeded`](ErrorKind::LimitExceeded) for a
    /// context above 64 KiB.
    pub async fn encrypt_to<O: Write>(&self, output: O, context: &[u8]) -> Result<Encryptor<O>> {
        check_context(context)?;
        let data_key = self.new_data_key().await?;
        let header = self.new_header(&data_key)?;
        let keys = header.keys(data_key.secret.expose());
        let stream = keys.stream(&header.suite(), context)?;
        Ok(Encryptor::new(&header, stream, output))
    }

    /// Decrypts what is read from the result, from `input`. It reads the header, some hundred bytes, at once.
    ///
    /// # Errors
    ///
    /// As [`Header::read_from`]; [`Damaged`](ErrorKind::Damaged) if the header was altered,
    /// [`CryptoFailed`](ErrorKind::CryptoFailed) if the wrapped data key was, [`InvalidInput`](ErrorKind::InvalidInput) if it
    /// is wrapped by a key of another name or in another way, [`KeyState`](ErrorKind::KeyState) if the key may not unwrap now.
    pub async fn decrypt_from<I: Read>(
        &self,
        mut input: I,
        context: &[u8],
    ) -> Result<Decryptor<I>> {
        check_context(context)?;
        let header = Header::read_from(&mut input)?;
        let data_key = self.data_key(&header).await?;
        let keys = header.keys(data_key.secret.expose());
        let stream = keys.stream(&header.suite(), context)?;
        Ok(Decryptor::new(&header, stream, input))
    }

    /// Encrypts a value that fits into memory: a row, a document. Several values share a data key, within [`CacheLimits`];
    /// each has a key of its own that is derived from it.
    ///
    /// `context` is authenticated and not written; opening needs the same. Give table, column and row, so that nobody can
    /// put one row's value into another.
    ///
    /// # Errors
    ///
    /// As [`encrypt_to`](Self::encrypt_to).
    pub async fn seal(&self, plaintext: &[u8], context: &[u8]) -> Result<Vec<u8>> {
        check_context(context)?;
        let data_key = self.data_key_for_sealing().await?;
        let header = self.new_header(&data_key)?;
        let keys = header.keys(data_key.secret.expose());
        let stream = keys.stream(&header.suite(), context)?;
        let segments = plaintext.len().div_ceil(header.segment_len()).max(1);
        let len = header.encoded_len() + plaintext.len() + segments * TAG_LEN;
        let sealed = Vec::with_capacity(len);
        let mut encryptor = Encryptor::for_at_most(plaintext.len(), &header, stream, sealed);
        encryptor
            .write_all(plaintext)
            .and_then(|()| encryptor.finish())
            .map_err(|error| error::failed_io("cannot encrypt into memory", error))
    }

    /// Decrypts what was encrypted, a value or a whole file in memory: all of it, or nothing.
    ///
    /// # Errors
    ///
    /// As [`decrypt_from`](Self::decrypt_from), and [`Damaged`](ErrorKind::Damaged) if the data was altered or cut off, or was
    /// encrypted with another context.
    pub async fn open(&self, sealed: &[u8], context: &[u8]) -> Result<SecretBytes> {
        check_context(context)?;
        let (header, segments) = Header::split(sealed)?;
        let data_key = self.data_key(&header).await?;
        let keys = header.keys(data_key.secret.expose());
        let stream = keys.stream(&header.suite(), context)?;
        let sealed_len = header.segment_len() + TAG_LEN;
        let (full, last) = (segments.len() / sealed_len, segments.len() % sealed_len);
        let len = full * header.segment_len() + last.saturating_sub(TAG_LEN);
        let mut decryptor = Decryptor::for_at_most(segments.len(), &header, stream, segments);
        SecretBytes::try_init_with(len, |out| {
            let mut rest = out;
            decryptor.copy_to(&mut rest).map(drop)
        })
        .map_err(|error| error::failed_io("cannot decrypt in memory", error))
    }

    /// Takes a sealed value to the key's current version: the data key is wrapped anew, and the data is as it was. The
    /// context is not needed.
    ///
    /// # Errors
    ///
    /// As [`rewrap_header`](Self::rewrap_header).
    pub async fn rewrap(&self, sealed: &[u8]) -> Result<Vec<u8>> {
        let (header, segments) = Header::split(sealed)?;
        let header = self.rewrap_header(&header).await?;
        Ok([&header.to_bytes()[..], segments].concat())
    }

    /// Takes a header to the key's current version. Put before the segments of the old one, it decrypts them.
    ///
    /// # Errors
    ///
    /// As [`decrypt_from`](Self::decrypt_from) and [`encrypt_to`](Self::encrypt_to): the old version must unwrap, the new one
    /// wrap.
    pub async fn rewrap_header(&self, header: &Header) -> Result<Header> {
        self.adopt_header(self, header).await
    }

    /// Takes a header from another key to this one: from `old`, of another name, kind or HSM.
    ///
    /// # Errors
    ///
    /// As [`rewrap_header`](Self::rewrap_header).
    pub async fn adopt_header<V: Wrapping>(
        &self,
        old: &Envelope<V>,
        header: &Header,
    ) -> Result<Header> {
        let data_key = old.data_key(header).await?;
        let secret = data_key.secret.expose();
        let wrapped = self.kek.wrap(secret).await?;
        header.rewrapped(W::ALGORITHM, self.kek.name().clone(), wrapped, secret)
    }

    /// Takes an encrypted file to the key's current version: overwrites its header, and touches nothing else.
    ///
    /// The old header is in a file beside it, whose name ends in `.old-header`, while it is overwritten. If that is
    /// interrupted, the next call puts it back first; so can you, by writing it over the beginning of the file. A file of that
    /// name which is none of these is removed.
    ///
    /// It reads and writes some hundred bytes on the thread that polls it; [`adopt_file`](Self::adopt_file) may copy the
    /// whole file there. In an async program, where that is long, call
    /// [`blocking::Envelope`](crate::blocking::Envelope) on a thread that may block.
    ///
    /// # Errors
    ///
    /// As [`rewrap_header`](Self::rewrap_header), and [`StoreFailed`](ErrorKind::StoreFailed) if the file cannot be read or
    /// written, [`Conflict`](ErrorKind::Conflict) if it has got another header meanwhile: it is left as it is then.
    pub async fn rewrap_file(&self, path: impl AsRef<Path>) -> Result<()> {
        self.adopt_file(self, path).await
    }

    /// Takes an encrypted file from another key to this one. A header of another length moves the rest: then the file is
    /// copied, and the copy renamed over it.
    ///
    /// # Errors
    ///
    /// As [`rewrap_file`](Self::rewrap_file).
    pub async fn adopt_file<V: Wrapping>(
        &self,
        old: &Envelope<V>,
        path: impl AsRef<Path>,
    ) -> Result<()> {
        let path = path.as_ref();
        let header = file::header(path)?;
        let new = self.adopt_header(old, &header).await?;
        file::replace(path, &header, &new)
    }

    /// The key that wraps.
    #[must_use]
    pub fn key(&self) -> &Key<W> {
        &self.kek
    }

    /// Wipes the data keys in memory. The next value has a new one, wrapped by the version that is current then.
    pub fn forget(&self) {
        self.cache.forget();
    }

    async fn data_key_for_sealing(&self) -> Result<Arc<DataKey>> {
        let new = async {
            let forgotten = self.cache.forgotten();
            let data_key = Arc::new(self.new_data_key().await?);
            self.cache.seals(&data_key, forgotten);
            Ok(data_key)
        };
        if self.cache.shares() {
            return self.sealing.one(|| self.cache.for_sealing(), new).await;
        }
        new.await
    }

    async fn new_data_key(&self) -> Result<DataKey> {
        let secret = self.session.random(KEY_LEN).await?;
        let wrapped = self.kek.wrap(secret.expose()).await?;
        Ok(DataKey { secret, wrapped })
    }

    fn new_header(&self, data_key: &DataKey) -> Result<Header> {
        let mut salt = [0; SALT_LEN];
        getrandom::fill(&mut salt).map_err(|error| {
            Error::new(ErrorKind::DeviceFailed, "the system has no random bytes").with_source(error)
        })?;
        let (name, wrapped) = (self.kek.name().clone(), data_key.wrapped.clone());
        Header::new(self.segment_len, W::ALGORITHM, name, wrapped, salt)?
            .authenticate(data_key.secret.expose())
    }

    /// The data key of a header, which it authenticates.
    async fn data_key(&self, header: &Header) -> Result<Arc<DataKey>> {
        if let Some(data_key) = self.cache.find(header.wrapped()) {
            header.verify(data_key.secret.expose())?;
            return Ok(data_key);
        }
        if header.key_name() != self.kek.name() || header.wrapping() != W::ALGORITHM {
            return Err(Error::new(
                ErrorKind::InvalidInput,
                format!(
                    "the data key is wrapped by the key `{}` with {}, and this is `{}` with {}",
                    header.key_name(),
                    header.wrapping(),
                    self.kek.name(),
                    W::ALGORITHM
                ),
            ));
        }
        let forgotten = self.cache.forgotten();
        let data_key = DataKey {
            secret: self.kek.unwrap(header.wrapped()).await?,
            wrapped: header.wrapped().clone(),
        };
        if data_key.secret.len() != KEY_LEN {
            return Err(Error::new(
                ErrorKind::Damaged,
                "what the header has in place of a data key is of another length",
            ));
        }
        header.verify(data_key.secret.expose())?;
        let data_key = Arc::new(data_key);
        self.cache.opened(&data_key, forgotten);
        Ok(data_key)
    }
}

impl<W> Clone for Envelope<W> {
    fn clone(&self) -> Self {
        Self {
            session: self.session.clone(),
            kek: self.kek.clone(),
            segment_len: self.segment_len,
            cache: self.cache.clone(),
            sealing: self.sealing.clone(),
        }
    }
}

impl<W> fmt::Debug for Envelope<W> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Envelope")
            .field("key", &self.kek)
            .field("segment_len", &self.segment_len.get())
            .field("cache", &self.cache)
            .finish_non_exhaustive()
    }
}

fn check_context(context: &[u8]) -> Result<()> {
    if context.len() <= AAD_LEN_MAX {
        return Ok(());
    }
    Err(Error::new(
        ErrorKind::LimitExceeded,
        format!(
            "the context is {} bytes long, at most {AAD_LEN_MAX} are allowed",
            context.len()
        ),
    ))
}
