//! X25519 keys (RFC 7748). The material is the 32 bytes of the private key.

use std::fmt;

use hsm_core::{Algorithm, KeyType, PublicKey, Result, SecretBytes};
use x25519_dalek::StaticSecret;

use super::bad_material;
use crate::error::invalid;
use crate::provider::{ParsedKey, encoding};

/// Makes material of PKCS#8 (RFC 8410 section 7). A public key inside must be the right one.
pub(super) fn decode(pkcs8: &[u8]) -> Result<SecretBytes> {
    encoding::decode_okp(KeyType::X25519, pkcs8, |key| {
        X25519Key::parse(key).map(|key| key.public)
    })
}

/// A key that agrees on shared secrets.
pub(super) struct X25519Key {
    key: StaticSecret,
    public: PublicKey,
}

impl X25519Key {
    /// Takes the private key's bytes.
    pub(super) fn parse(material: &[u8]) -> Result<Self> {
        let bytes = <[u8; LEN]>::try_from(material).map_err(bad_material)?;
        let key = StaticSecret::from(bytes);
        let public = x25519_dalek::PublicKey::from(&key).to_bytes();
        Ok(Self {
            public: PublicKey::from_raw(KeyType::X25519, public)?,
            key,
        })
    }
}

impl ParsedKey for X25519Key {
    fn public(&self) -> Option<&PublicKey> {
        Some(&self.public)
    }

    fn agree(&self, _algorithm: Algorithm, peer: &PublicKey) -> Result<SecretBytes> {
        let peer = <[u8; LEN]>::try_from(peer.as_raw()).map_err(|_| bad_peer())?;
        let secret = self.key.diffie_hellman(&peer.into());
        // Points of small order give a shared secret of zero (RFC 7748 section 6.1).
        if !secret.was_contributory() {
            return Err(bad_peer());
        }
        Ok(SecretBytes::copy_from(secret.as_bytes()))
    }
}

impl fmt::Debug for X25519Key {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("X25519Key").finish_non_exhaustive()
    }
}

fn bad_peer() -> hsm_core::Error {
    invalid("the peer's public key is not a valid X25519 key of 32 bytes")
}

const LEN: usize = 32;
