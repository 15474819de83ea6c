//! [`Header`]: what stands before encrypted data, and says under which key it is.

use std::fmt;
use std::io::{self, Read};

use hsm_core::{Algorithm, Error, ErrorKind, KeyName, Result, VersionId};

use super::cipher::{MAC_LEN, StreamKeys};
use super::error::failed_io;
use super::{SEGMENT_LEN_MAX, SEGMENT_LEN_MIN};
use crate::key::Wrapped;

/// The header of encrypted data: how long its segments are, and the data key, wrapped, with the name and version of the
/// key that wrapped it. Nothing in it is secret.
///
/// Its form, to the byte, is in `docs/envelope.md`. What is read here has the right form; whether it is what somebody
/// with the data key wrote shows when the data key is unwrapped.
///
/// ```
/// use hsm_client::envelope::Header;
///
/// # fn with(sealed: &[u8]) -> hsm_client::Result<()> {
/// let (header, _segments) = Header::split(sealed)?;
/// println!("wrapped by {} {}", header.key_name(), header.key_version());
/// # Ok(())
/// # }
/// ```
#[derive(Clone, Eq, PartialEq)]
pub struct Header {
    segment_len: SegmentLen,
    wrapping: Algorithm,
    salt: [u8; SALT_LEN],
    key: KeyName,
    wrapped: Wrapped,
    mac: [u8; MAC_LEN],
}

impl Header {
    /// Reads the header at the beginning of `sealed`, and returns it with what follows it.
    ///
    /// # Errors
    ///
    /// [`InvalidInput`](ErrorKind::InvalidInput) for what is no header, [`Unsupported`](ErrorKind::Unsupported) for one of
    /// a later version, [`LimitExceeded`](ErrorKind::LimitExceeded) for absurd lengths.
    pub fn split(sealed: &[u8]) -> Result<(Self, &[u8])> {
        let mut rest = sealed;
        let header = Self::read_from(&mut rest)?;
        Ok((header, rest))
    }

    /// Reads a header, and not a byte more. It never takes more than [`HEADER_LEN_MAX`](super::HEADER_LEN_MAX) bytes.
    ///
    /// # Errors
    ///
    /// As [`split`](Self::split), and [`StoreFailed`](ErrorKind::StoreFailed) if `input` cannot be read.
    pub fn read_from(input: &mut impl Read) -> Result<Self> {
        let mut fixed = [0; FIXED_LEN];
        read(input, &mut fixed[..MAGIC.len()])?;
        if !fixed.starts_with(MAGIC) {
            return Err(invalid(
                "this is no encrypted data: it does not begin with `hsm data`",
            ));
        }
        read(input, &mut fixed[MAGIC.len()..])?;
        let [version, algorithm, segment_len, wrapping] =
            [fixed[8], fixed[9], fixed[10], fixed[11]];
        if (version, algorithm) != (VERSION, STREAM_AES_256_GCM) {
            return Err(Error::new(
                ErrorKind::Unsupported,
                format!(
                    "encrypted data of version {version} with algorithm {algorithm} is not known here"
                ),
            ));
        }
        let segment_len = SegmentLen::from_code(segment_len)?;
        let wrapping = Algorithm::from_code(wrapping).ok_or_else(|| {
            invalid(
                "the header says that the data key is wrapped by an algorithm that is not known",
            )
        })?;
        let salt = array(&fixed[12..28]);
        let version = VersionId::from_bytes(array(&fixed[28..44]));
        let mut name = vec![0; usize::from(fixed[44])];
        read(input, &mut name)?;
        let key = std::str::from_utf8(&name)
            .ok()
            .and_then(|name| name.parse().ok())
            .ok_or_else(|| invalid("the header has no name of a key where one should be"))?;
        let mut wrapped_len = [0; 2];
        read(input, &mut wrapped_len)?;
        let wrapped_len = usize::from(u16::from_be_bytes(wrapped_len));
        if wrapped_len > WRAPPED_LEN_MAX {
            return Err(Error::new(
                ErrorKind::LimitExceeded,
                format!(
                    "the wrapped data key is {wrapped_len} bytes long, at most {WRAPPED_LEN_MAX} are allowed"
                ),
            ));
        }
        let mut wrapped = vec![0; wrapped_len];
        read(input, &mut wrapped)?;
        let mut mac = [0; MAC_LEN];
        read(input, &mut mac)?;
        Ok(Self {
            segment_len,
            wrapping,
            salt,
            key,
            wrapped: Wrapped::new(version, wrapped),
            mac,
        })
    }

    /// The bytes that were read, or are to be written.
    #[must_use]
    pub fn to_bytes(&self) -> Vec<u8> {
        let mut bytes = self.authenticated();
        bytes.extend_from_slice(&self.mac);
        bytes
    }

    /// The name of the key that wrapped the data key.
    #[must_use]
    pub fn key_name(&self) -> &KeyName {
        &self.key
    }

    /// The version of the key that wrapped the data key.
    #[must_use]
    pub fn key_version(&self) -> VersionId {
        self.wrapped.version()
    }

    /// How the data key was wrapped.
    #[must_use]
    pub fn wrapping(&self) -> Algorithm {
        self.wrapping
    }

    /// The wrapped data key.
    #[must_use]
    pub fn wrapped(&self) -> &Wrapped {
        &self.wrapped
    }

    /// Bytes of plaintext in each segment but the last.
    #[must_use]
    pub fn segment_len(&self) -> usize {
        self.segment_len.get()
    }

    /// A header whose code is still to be computed.
    pub(super) fn new(
        segment_len: SegmentLen,
        wrapping: Algorithm,
        key: KeyName,
        wrapped: Wrapped,
        salt: [u8; SALT_LEN],
    ) -> Result<Self> {
        if wrapped.bytes().len() > WRAPPED_LEN_MAX {
            return Err(Error::new(
                ErrorKind::Unsupported,
                format!(
                    "a data key wrapped to more than {WRAPPED_LEN_MAX} bytes has no place in a header"
                ),
            ));
        }
        Ok(Self {
            segment_len,
            wrapping,
            salt,
            key,
            wrapped,
            mac: [0; MAC_LEN],
        })
    }

    /// The same data, its data key wrapped anew.
    pub(super) fn rewrapped(
        &self,
        wrapping: Algorithm,
        key: KeyName,
        wrapped: Wrapped,
        data_key: &[u8],
    ) -> Result<Self> {
        Self::new(self.segment_len, wrapping, key, wrapped, self.salt)?.authenticate(data_key)
    }

    pub(super) fn authenticate(mut self, data_key: &[u8]) -> Result<Self> {
        self.mac = self.keys(data_key).mac(&self.authenticated())?;
        Ok(self)
    }

    /// The keys of the stream behind this header, if the data key is the one that authenticated it.
    pub(super) fn verify(&self, data_key: &[u8]) -> Result<StreamKeys> {
        let keys = self.keys(data_key);
        if keys.verifies(&self.authenticated(), &self.mac)? {
            return Ok(keys);
        }
        Err(Error::new(
            ErrorKind::Damaged,
            "the header was altered, or has the data key of other data",
        ))
    }

    pub(super) fn keys(&self, data_key: &[u8]) -> StreamKeys {
        StreamKeys::new(data_key, &self.salt)
    }

    /// Version, algorithm and segment length: what the key of the stream depends on.
    pub(super) fn suite(&self) -> [u8; 3] {
        [VERSION, STREAM_AES_256_GCM, self.segment_len.code()]
    }

    /// How many bytes [`to_bytes`](Self::to_bytes) gives.
    pub(super) fn encoded_len(&self) -> usize {
        FIXED_LEN + self.key.as_str().len() + 2 + self.wrapped.bytes().len() + MAC_LEN
    }

    /// Whether both stand before the same segments: everything that wrapping anew leaves as it is.
    pub(super) fn is_of_the_same(&self, start: &[u8]) -> bool {
        let own = self.authenticated();
        // The code of the wrapping is between the two.
        start.len() >= 28 && start[..11] == own[..11] && start[12..28] == own[12..28]
    }

    fn authenticated(&self) -> Vec<u8> {
        let (name, wrapped) = (self.key.as_str().as_bytes(), self.wrapped.bytes());
        let mut bytes = Vec::with_capacity(self.encoded_len());
        bytes.extend_from_slice(MAGIC);
        bytes.extend_from_slice(&self.suite());
        bytes.push(self.wrapping.code());
        bytes.extend_from_slice(&self.salt);
        bytes.extend_from_slice(&self.wrapped.version().to_bytes());
        // Names have at most 127 characters, and the length of a wrapped key was checked.
        bytes.push(name.len().to_le_bytes()[0]);
        bytes.extend_from_slice(name);
        let [low, high, ..] = wrapped.len().to_le_bytes();
        bytes.extend_from_slice(&[high, low]);
        bytes.extend_from_slice(wrapped);
        bytes
    }
}

impl fmt::Debug for Header {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Header")
            .field("key", &self.key)
            .field("version", &self.wrapped.version())
            .field("wrapping", &self.wrapping)
            .field("segment_len", &self.segment_len.get())
            .finish_non_exhaustive()
    }
}

/// Length of a segment: a power of two between [`SEGMENT_LEN_MIN`] and [`SEGMENT_LEN_MAX`], kept as the power.
#[derive(Clone, Copy, Eq, PartialEq)]
pub(super) struct SegmentLen(u8);

impl SegmentLen {
    /// [`SEGMENT_LEN`](super::SEGMENT_LEN).
    pub(super) const DEFAULT: Self = Self(super::SEGMENT_LEN.trailing_zeros().to_le_bytes()[0]);

    pub(super) fn new(len: usize) -> Result<Self> {
        if len.is_power_of_two() && (SEGMENT_LEN_MIN..=SEGMENT_LEN_MAX).contains(&len) {
            // At most 24.
            return Ok(Self(len.trailing_zeros().to_le_bytes()[0]));
        }
        Err(invalid(format!(
            "a segment is a power of two of bytes, from {SEGMENT_LEN_MIN} to {SEGMENT_LEN_MAX}"
        )))
    }

    fn from_code(code: u8) -> Result<Self> {
        let range = SEGMENT_LEN_MIN.trailing_zeros()..=SEGMENT_LEN_MAX.trailing_zeros();
        if range.contains(&u32::from(code)) {
            return Ok(Self(code));
        }
        Err(Error::new(
            ErrorKind::LimitExceeded,
            format!(
                "the header asks for segments of 2^{code} bytes, {SEGMENT_LEN_MIN} to {SEGMENT_LEN_MAX} are allowed"
            ),
        ))
    }

    fn code(self) -> u8 {
        self.0
    }

    pub(super) fn get(self) -> usize {
        1 << self.0
    }
}

fn read(input: &mut impl Read, bytes: &mut [u8]) -> Result<()> {
    input.read_exact(bytes).map_err(|error| {
        if error.kind() == io::ErrorKind::UnexpectedEof {
            invalid("the header of the encrypted data is cut off")
        } else {
            failed_io("cannot read the header of the encrypted data", error)
        }
    })
}

fn array<const N: usize>(bytes: &[u8]) -> [u8; N] {
    let mut array = [0; N];
    array.copy_from_slice(bytes);
    array
}

fn invalid(message: impl Into<std::borrow::Cow<'static, str>>) -> Error {
    Error::new(ErrorKind::InvalidInput, message)
}

const MAGIC: &[u8; 8] = b"hsm data";
const VERSION: u8 = 1;
const STREAM_AES_256_GCM: u8 = 1;
const FIXED_LEN: usize = 45;
pub(super) const SALT_LEN: usize = 16;
/// An RSA-4096 key makes 512 bytes.
pub(super) const WRAPPED_LEN_MAX: usize = 1024;
pub(super) const LEN_MAX: usize =
    FIXED_LEN + hsm_core::limits::NAME_LEN_MAX + 2 + WRAPPED_LEN_MAX + MAC_LEN;
