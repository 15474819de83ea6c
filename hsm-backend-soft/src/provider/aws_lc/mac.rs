//! HMAC keys (FIPS 198-1).

use std::fmt;

use aws_lc_rs::hmac;
use hsm_core::{Algorithm, Error, KeyType, Result};

use super::unsupported_type;
use crate::provider::ParsedKey;

/// An HMAC key; the inner and outer hashes are already begun.
pub(super) struct MacKey(hmac::Key);

impl MacKey {
    /// Takes the octets of the key.
    pub(super) fn parse(key_type: KeyType, material: &[u8]) -> Result<Self> {
        let algorithm = match key_type {
            KeyType::HmacSha256 => hmac::HMAC_SHA256,
            KeyType::HmacSha384 => hmac::HMAC_SHA384,
            KeyType::HmacSha512 => hmac::HMAC_SHA512,
            _ => return Err(unsupported_type(key_type)),
        };
        Ok(Self(hmac::Key::new(algorithm, material)))
    }
}

impl ParsedKey for MacKey {
    fn mac(&self, _algorithm: Algorithm, message: &[u8]) -> Result<Vec<u8>> {
        Ok(hmac::sign(&self.0, message).as_ref().to_vec())
    }

    fn verify_mac(&self, _algorithm: Algorithm, message: &[u8], tag: &[u8]) -> Result<()> {
        hmac::verify(&self.0, message, tag).map_err(|_| Error::crypto())
    }
}

impl fmt::Debug for MacKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("MacKey").finish_non_exhaustive()
    }
}
