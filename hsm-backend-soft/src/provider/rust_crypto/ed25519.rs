//! Ed25519 keys (RFC 8032). The material is the 32-byte seed.

use std::fmt;

use ed25519_dalek::{Signer, SigningKey};
use hsm_core::{Algorithm, KeyType, PublicKey, Result, SecretBytes, SignInput};

use super::{bad_material, internal};
use crate::error::invalid;
use crate::provider::{ParsedKey, encoding};

/// Makes material of PKCS#8 (RFC 8410). A public key inside must be the right one.
pub(super) fn decode(pkcs8: &[u8]) -> Result<SecretBytes> {
    encoding::decode_okp(KeyType::Ed25519, pkcs8, |seed| {
        Ed25519Key::parse(seed).map(|key| key.public)
    })
}

/// A key that signs and verifies.
pub(super) struct Ed25519Key {
    signer: SigningKey,
    public: PublicKey,
}

impl Ed25519Key {
    /// Takes the seed.
    pub(super) fn parse(material: &[u8]) -> Result<Self> {
        let signer = SigningKey::from_bytes(material.try_into().map_err(bad_material)?);
        let raw = signer.verifying_key().to_bytes();
        Ok(Self {
            public: PublicKey::from_raw(KeyType::Ed25519, raw)?,
            signer,
        })
    }
}

impl ParsedKey for Ed25519Key {
    fn public(&self) -> Option<&PublicKey> {
        Some(&self.public)
    }

    fn sign(&self, _algorithm: Algorithm, input: SignInput<'_>) -> Result<Vec<u8>> {
        let SignInput::Message(message) = input else {
            return Err(invalid("EdDSA signs messages, never digests"));
        };
        let signature = self.signer.try_sign(message).map_err(internal)?;
        Ok(signature.to_vec())
    }

    fn verify(&self, algorithm: Algorithm, input: SignInput<'_>, signature: &[u8]) -> Result<()> {
        self.public.verify(algorithm, input, signature)
    }
}

impl fmt::Debug for Ed25519Key {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Ed25519Key").finish_non_exhaustive()
    }
}
