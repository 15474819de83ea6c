//! [`SealedKey`] and [`Binding`]: a private key as the store holds it, and what it is tied to.

use std::fmt;

use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};

use crate::error::{Result, limit};
use crate::limits::SEALED_KEY_LEN_MAX;

/// A private or secret key, encrypted and authenticated by the device that made it, and useless anywhere else.
///
/// The format belongs to the device. It is not secret, but not interesting either, so `Debug` prints its length.
///
/// See [`Device`](crate::Device).
#[derive(Clone, Eq, PartialEq, Serialize)]
pub struct SealedKey(Box<[u8]>);

impl SealedKey {
    /// Takes bytes that a device made.
    ///
    /// # Errors
    ///
    /// [`LimitExceeded`](crate::ErrorKind::LimitExceeded) above [`SEALED_KEY_LEN_MAX`].
    pub fn new(bytes: impl Into<Box<[u8]>>) -> Result<Self> {
        let bytes = bytes.into();
        if bytes.len() > SEALED_KEY_LEN_MAX {
            return Err(limit(
                "the length of a sealed key",
                bytes.len(),
                SEALED_KEY_LEN_MAX,
            ));
        }
        Ok(Self(bytes))
    }

    /// The device's bytes.
    #[must_use]
    pub fn as_bytes(&self) -> &[u8] {
        &self.0
    }
}

impl fmt::Debug for SealedKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "SealedKey({} bytes)", self.0.len())
    }
}

impl<'de> Deserialize<'de> for SealedKey {
    fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        Self::new(Vec::<u8>::deserialize(deserializer)?).map_err(serde::de::Error::custom)
    }
}

/// What a sealed key is tied to: a digest over the key's name, version and every attribute.
///
/// A device must make it impossible to load a key under another binding than the one it was sealed with (a KDF context,
/// associated data, an auth value: whatever the device has). So a record whose attributes were edited does not load.
///
/// See [`Device`](crate::Device).
#[derive(Clone, Copy, Eq, Hash, PartialEq)]
pub struct Binding([u8; 32]);

impl Binding {
    /// Binds to `statement`, an unambiguous encoding of what the key is tied to, for a `purpose` that keeps different
    /// kinds of statements apart.
    #[must_use]
    pub fn new(purpose: &str, statement: &[u8]) -> Self {
        let mut hash = Sha256::new();
        hash.update((purpose.len() as u64).to_be_bytes());
        hash.update(purpose);
        hash.update(statement);
        Self(hash.finalize().into())
    }

    /// The digest.
    #[must_use]
    pub const fn as_bytes(&self) -> &[u8; 32] {
        &self.0
    }
}

impl fmt::Debug for Binding {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Binding(")?;
        for byte in &self.0[..4] {
            write!(f, "{byte:02x}")?;
        }
        f.write_str("…)")
    }
}
