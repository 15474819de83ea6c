//! HMAC keys (FIPS 198-1).

use std::fmt;

use hmac::{Hmac, KeyInit, Mac};
use hsm_core::{Algorithm, Error, KeyType, Result};
use sha2::{Sha256, Sha384, Sha512};

use super::{bad_material, unsupported_type};
use crate::provider::ParsedKey;

/// Takes the octets of a key.
pub(super) fn parse(key_type: KeyType, material: &[u8]) -> Result<Box<dyn ParsedKey>> {
    fn key<M>(material: &[u8]) -> Result<Box<dyn ParsedKey>>
    where
        M: Mac + KeyInit + Clone + Send + Sync + 'static,
    {
        let begun = <M as KeyInit>::new_from_slice(material).map_err(bad_material)?;
        Ok(Box::new(MacKey(begun)))
    }
    match key_type {
        KeyType::HmacSha256 => key::<Hmac<Sha256>>(material),
        KeyType::HmacSha384 => key::<Hmac<Sha384>>(material),
        KeyType::HmacSha512 => key::<Hmac<Sha512>>(material),
        _ => Err(unsupported_type(key_type)),
    }
}

/// An HMAC key; the inner and outer hashes are already begun.
struct MacKey<M>(M);

impl<M: Mac + Clone + Send + Sync> ParsedKey for MacKey<M> {
    fn mac(&self, _algorithm: Algorithm, message: &[u8]) -> Result<Vec<u8>> {
        let tag = self.0.clone().chain_update(message).finalize();
        Ok(tag.into_bytes().to_vec())
    }

    fn verify_mac(&self, _algorithm: Algorithm, message: &[u8], tag: &[u8]) -> Result<()> {
        self.0
            .clone()
            .chain_update(message)
            .verify_slice(tag)
            .map_err(|_| Error::crypto())
    }
}

impl<M> fmt::Debug for MacKey<M> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("MacKey").finish_non_exhaustive()
    }
}
