//! [`Envelope`] for programs without an async runtime.

use std::io::{Read, Write};
use std::path::Path;
use std::sync::Arc;

use hsm_core::key::typed::Wrapping;
use hsm_core::{Clock, Result, SecretBytes};
use pollster::block_on;

use super::{Key, Session};
use crate::envelope::{CacheLimits, Decryptor, Encryptor, Header};

/// As [`crate::envelope::Envelope`].
#[derive(Debug)]
pub struct Envelope<W>(crate::envelope::Envelope<W>);

impl<W> Clone for Envelope<W> {
    fn clone(&self) -> Self {
        Self(self.0.clone())
    }
}

impl<W: Wrapping> Envelope<W> {
    forward! { crate::envelope::Envelope;
        seal(plaintext: &[u8], context: &[u8]) -> Result<Vec<u8>>;
        open(sealed: &[u8], context: &[u8]) -> Result<SecretBytes>;
        rewrap(sealed: &[u8]) -> Result<Vec<u8>>;
        rewrap_header(header: &Header) -> Result<Header>;
        rewrap_file(path: impl AsRef<Path>) -> Result<()>;
    }

    /// As [`crate::envelope::Envelope::new`].
    #[must_use]
    pub fn new(session: &Session, kek: &Key<W>) -> Self {
        Self(crate::envelope::Envelope::new(&session.0, &kek.0))
    }

    /// As [`crate::envelope::Envelope::with_cache`].
    #[must_use]
    pub fn with_cache(self, limits: CacheLimits) -> Self {
        Self(self.0.with_cache(limits))
    }

    /// As [`crate::envelope::Envelope::with_clock`].
    #[must_use]
    pub fn with_clock(self, clock: Arc<dyn Clock>) -> Self {
        Self(self.0.with_clock(clock))
    }

    /// As [`crate::envelope::Envelope::with_segment_len`].
    ///
    /// # Errors
    ///
    /// The same.
    pub fn with_segment_len(self, len: usize) -> Result<Self> {
        self.0.with_segment_len(len).map(Self)
    }

    /// As [`crate::envelope::Envelope::encrypt_to`].
    ///
    /// # Errors
    ///
    /// The same.
    pub fn encrypt_to<O: Write>(&self, output: O, context: &[u8]) -> Result<Encryptor<O>> {
        block_on(self.0.encrypt_to(output, context))
    }

    /// As [`crate::envelope::Envelope::decrypt_from`].
    ///
    /// # Errors
    ///
    /// The same.
    pub fn decrypt_from<I: Read>(&self, input: I, context: &[u8]) -> Result<Decryptor<I>> {
        block_on(self.0.decrypt_from(input, context))
    }

    /// As [`crate::envelope::Envelope::adopt_header`].
    ///
    /// # Errors
    ///
    /// The same.
    pub fn adopt_header<V: Wrapping>(&self, old: &Envelope<V>, header: &Header) -> Result<Header> {
        block_on(self.0.adopt_header(&old.0, header))
    }

    /// As [`crate::envelope::Envelope::adopt_file`].
    ///
    /// # Errors
    ///
    /// The same.
    pub fn adopt_file<V: Wrapping>(&self, old: &Envelope<V>, path: impl AsRef<Path>) -> Result<()> {
        block_on(self.0.adopt_file(&old.0, path))
    }

    /// As [`crate::envelope::Envelope::forget`].
    pub fn forget(&self) {
        self.0.forget();
    }
}
