//! X25519 keys (RFC 7748). The material is the 32 bytes of the private key.

use aws_lc_rs::agreement::{self, PrivateKey, UnparsedPublicKey};
use aws_lc_rs::encoding::{AsBigEndian, Curve25519SeedBin};
use hsm_core::{Algorithm, KeyType, PublicKey, Result, SecretBytes};
use pkcs8::PrivateKeyInfoRef;
use subtle::ConstantTimeEq;

use super::{bad_material, internal};
use crate::error::invalid;
use crate::provider::ParsedKey;

/// Makes the material of a new key.
pub(super) fn generate() -> Result<SecretBytes> {
    let key = PrivateKey::generate(&agreement::X25519).map_err(internal)?;
    let bytes: Curve25519SeedBin<'_> = key.as_be_bytes().map_err(internal)?;
    Ok(SecretBytes::copy_from(bytes.as_ref()))
}

/// Makes material of PKCS#8 (RFC 8410 section 7). A public key inside must be the right one.
pub(super) fn decode(pkcs8: &[u8]) -> Result<SecretBytes> {
    let info = PrivateKeyInfoRef::try_from(pkcs8).map_err(|_| not_pkcs8())?;
    let is_x25519 = info.algorithm.oid.to_string() == OID && info.algorithm.parameters.is_none();
    let [0x04, 0x20, material @ ..] = info.private_key.as_bytes() else {
        return Err(not_pkcs8());
    };
    if !is_x25519 || material.len() != LEN {
        return Err(not_pkcs8());
    }
    if let Some(claimed) = info.public_key {
        let key = X25519Key::parse(material)?;
        let right = claimed
            .as_bytes()
            .unwrap_or_default()
            .ct_eq(key.public.as_raw());
        if !bool::from(right) {
            return Err(invalid("the public key does not belong to the private key"));
        }
    }
    Ok(SecretBytes::copy_from(material))
}

/// The PKCS#8 of `material`.
pub(super) fn encode(material: &[u8]) -> SecretBytes {
    SecretBytes::init_with(PKCS8_PREFIX.len() + LEN, |out| {
        let (prefix, key) = out.split_at_mut(PKCS8_PREFIX.len());
        prefix.copy_from_slice(&PKCS8_PREFIX);
        key.copy_from_slice(material);
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

    /// The public half.
    pub(super) fn public_key(&self) -> &PublicKey {
        &self.public
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

fn not_pkcs8() -> hsm_core::Error {
    invalid("not an X25519 private key in PKCS#8 DER (RFC 8410)")
}

const LEN: usize = 32;
const OID: &str = "1.3.101.110";

/// `PrivateKeyInfo` (RFC 8410 section 7), up to the 32 bytes of the key.
const PKCS8_PREFIX: [u8; 16] = [
    0x30, 0x2e, 0x02, 0x01, 0x00, 0x30, 0x05, 0x06, 0x03, 0x2b, 0x65, 0x6e, 0x04, 0x22, 0x04, 0x20,
];
