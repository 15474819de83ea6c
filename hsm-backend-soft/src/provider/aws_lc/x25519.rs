//! X25519 keys (RFC 7748). The material is the 32 bytes of the private key.

use aws_lc_rs::agreement::{self, PrivateKey, UnparsedPublicKey};
use aws_lc_rs::encoding::{AsBigEndian, Curve25519SeedBin};
use hsm_core::{Algorithm, KeyType, PublicKey, Result, SecretBytes};

use super::{bad_material, internal};
use crate::error::invalid;
use crate::provider::{ParsedKey, encoding};

/// Makes the material of a new key.
pub(super) fn generate() -> Result<SecretBytes> {
    let key = PrivateKey::generate(&agreement::X25519).map_err(internal)?;
    let bytes: Curve25519SeedBin<'_> = key.as_be_bytes().map_err(internal)?;
    Ok(SecretBytes::copy_from(bytes.as_ref()))
}

/// Makes material of PKCS#8 (RFC 8410 section 7). A public key inside must be the right one.
pub(super) fn decode(pkcs8: &[u8]) -> Result<SecretBytes> {
    encoding::decode_okp(KeyType::X25519, pkcs8, |key| {
        X25519Key::parse(key).map(|key| key.public)
    })
}

/// A key that agrees on shared secrets.
#[derive(Debug)]
pub(super) struct X25519Key {
    key: PrivateKey,
    public: PublicKey,
}

impl X25519Key {
    /// Takes the private key's bytes.
    pub(super) fn parse(material: &[u8]) -> Result<Self> {
        let key =
            PrivateKey::from_private_key(&agreement::X25519, material).map_err(bad_material)?;
        let public = key.compute_public_key().map_err(internal)?;
        Ok(Self {
            public: PublicKey::from_raw(KeyType::X25519, public.as_ref())?,
            key,
        })
    }
}

impl ParsedKey for X25519Key {
    fn public(&self) -> Option<&PublicKey> {
        Some(&self.public)
    }

    fn agree(&self, _algorithm: Algorithm, peer: &PublicKey) -> Result<SecretBytes> {
        // The length is checked here because aws-lc would take a SubjectPublicKeyInfo as well.
        if peer.as_raw().len() != LEN {
            return Err(bad_peer());
        }
        let peer = UnparsedPublicKey::new(&agreement::X25519, peer.as_raw());
        // Fails for points of small order, whose shared secret is zero (RFC 7748 section 6.1).
        agreement::agree(&self.key, peer, bad_peer(), |secret| {
            Ok(SecretBytes::copy_from(secret))
        })
    }
}

fn bad_peer() -> hsm_core::Error {
    invalid("the peer's public key is not a valid X25519 key of 32 bytes")
}

const LEN: usize = 32;
