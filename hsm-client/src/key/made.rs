//! What keys make, with the version that made it: [`Signature`], [`Encrypted`], [`Wrapped`], [`Encapsulation`].

use hsm_core::{Ciphertext, Error, ErrorKind, Result, VersionId};

/// A signature or a message authentication code, with the key version that made it.
///
/// Made by [`Key::sign`](crate::Key::sign) and [`Key::mac`](crate::Key::mac); the [front page](crate) has an example.
#[derive(Clone, Debug, Eq, Hash, PartialEq)]
pub struct Signature {
    pub(super) bytes: Vec<u8>,
    pub(super) version: Option<VersionId>,
}

/// A ciphertext with the key version that made it, and initialization vector and tag if there are any.
///
/// Made by [`Key::encrypt`](crate::Key::encrypt).
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Encrypted {
    pub(super) version: VersionId,
    pub(super) ciphertext: Ciphertext,
}

/// A wrapped key with the key version that wrapped it.
///
/// Made by [`Key::wrap`](crate::Key::wrap) and [`Key::export`](crate::Key::export).
#[derive(Clone, Debug, Eq, Hash, PartialEq)]
pub struct Wrapped {
    pub(super) version: VersionId,
    pub(super) bytes: Vec<u8>,
}

/// The ciphertext that encapsulates a shared secret, with the key version that it is for.
///
/// Who encapsulates to the public key outside of the HSM may not know the version: [`new`](Self::new).
#[derive(Clone, Debug, Eq, Hash, PartialEq)]
pub struct Encapsulation {
    pub(super) bytes: Vec<u8>,
    pub(super) version: Option<VersionId>,
}

impl Signature {
    /// A signature of the key's current version.
    #[must_use]
    pub fn new(bytes: impl Into<Vec<u8>>) -> Self {
        Self {
            bytes: bytes.into(),
            version: None,
        }
    }

    /// A signature of one version of the key.
    #[must_use]
    pub fn made_by(version: VersionId, bytes: impl Into<Vec<u8>>) -> Self {
        Self {
            bytes: bytes.into(),
            version: Some(version),
        }
    }

    /// The version that made it, if it is known.
    #[must_use]
    pub fn version(&self) -> Option<VersionId> {
        self.version
    }

    /// The signature: r‖s for ECDSA, as long as the modulus for RSA.
    #[must_use]
    pub fn bytes(&self) -> &[u8] {
        &self.bytes
    }

    /// The signature.
    #[must_use]
    pub fn into_bytes(self) -> Vec<u8> {
        self.bytes
    }
}

impl Encapsulation {
    /// A ciphertext for the key's current version.
    #[must_use]
    pub fn new(bytes: impl Into<Vec<u8>>) -> Self {
        Self {
            bytes: bytes.into(),
            version: None,
        }
    }

    /// A ciphertext for one version of the key.
    #[must_use]
    pub fn made_for(version: VersionId, bytes: impl Into<Vec<u8>>) -> Self {
        Self {
            bytes: bytes.into(),
            version: Some(version),
        }
    }

    /// The version that it is for, if it is known.
    #[must_use]
    pub fn version(&self) -> Option<VersionId> {
        self.version
    }

    /// The ciphertext as FIPS 203 has it, for the other side.
    #[must_use]
    pub fn bytes(&self) -> &[u8] {
        &self.bytes
    }

    /// The ciphertext as FIPS 203 has it, for the other side.
    #[must_use]
    pub fn into_bytes(self) -> Vec<u8> {
        self.bytes
    }
}

impl Wrapped {
    /// What one version of a key wrapped.
    #[must_use]
    pub fn new(version: VersionId, bytes: impl Into<Vec<u8>>) -> Self {
        Self {
            version,
            bytes: bytes.into(),
        }
    }

    /// The version that wrapped it.
    #[must_use]
    pub fn version(&self) -> VersionId {
        self.version
    }

    /// The wrapped key.
    #[must_use]
    pub fn bytes(&self) -> &[u8] {
        &self.bytes
    }

    /// The version and the wrapped key in one, for storage: 16 bytes, then the rest.
    #[must_use]
    pub fn to_bytes(&self) -> Vec<u8> {
        [&self.version.to_bytes()[..], &self.bytes].concat()
    }

    /// Reads what [`to_bytes`](Self::to_bytes) wrote.
    ///
    /// # Errors
    ///
    /// [`InvalidInput`](ErrorKind::InvalidInput) if it is cut off.
    pub fn from_bytes(bytes: &[u8]) -> Result<Self> {
        let (version, bytes) = bytes.split_first_chunk().ok_or_else(cut_off)?;
        Ok(Self::new(VersionId::from_bytes(*version), bytes))
    }
}

impl Encrypted {
    /// What one version of a key encrypted.
    #[must_use]
    pub fn new(version: VersionId, ciphertext: Ciphertext) -> Self {
        Self {
            version,
            ciphertext,
        }
    }

    /// The version that encrypted.
    #[must_use]
    pub fn version(&self) -> VersionId {
        self.version
    }

    /// Ciphertext, initialization vector and tag.
    #[must_use]
    pub fn ciphertext(&self) -> &Ciphertext {
        &self.ciphertext
    }

    /// All of it in one, for storage: version (16 bytes), length of the IV, IV, length of the tag, tag, ciphertext.
    #[must_use]
    pub fn to_bytes(&self) -> Vec<u8> {
        let Ciphertext {
            ciphertext,
            iv,
            tag,
        } = &self.ciphertext;
        let mut bytes = Vec::with_capacity(18 + iv.len() + tag.len() + ciphertext.len());
        bytes.extend_from_slice(&self.version.to_bytes());
        for part in [iv, tag] {
            // Both are at most 16 bytes.
            bytes.push(part.len().to_le_bytes()[0]);
            bytes.extend_from_slice(part);
        }
        bytes.extend_from_slice(ciphertext);
        bytes
    }

    /// Reads what [`to_bytes`](Self::to_bytes) wrote.
    ///
    /// # Errors
    ///
    /// [`InvalidInput`](ErrorKind::InvalidInput) if it is cut off.
    pub fn from_bytes(bytes: &[u8]) -> Result<Self> {
        let (version, rest) = bytes.split_first_chunk().ok_or_else(cut_off)?;
        let (iv, rest) = split_part(rest)?;
        let (tag, ciphertext) = split_part(rest)?;
        Ok(Self {
            version: VersionId::from_bytes(*version),
            ciphertext: Ciphertext {
                ciphertext: ciphertext.to_vec(),
                iv: iv.to_vec(),
                tag: tag.to_vec(),
            },
        })
    }
}

fn split_part(bytes: &[u8]) -> Result<(&[u8], &[u8])> {
    let (len, rest) = bytes.split_first().ok_or_else(cut_off)?;
    rest.split_at_checked(usize::from(*len)).ok_or_else(cut_off)
}

fn cut_off() -> Error {
    Error::new(ErrorKind::InvalidInput, "the bytes are cut off")
}
