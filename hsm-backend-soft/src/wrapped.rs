//! Keys on their way out of the device and into it, wrapped under another key. What is inside of the wrapping is
//! `hsm_core::key::wrapped`.

use hsm_core::{Algorithm, Error, Result, SecretBytes};
use zeroize::Zeroizing;

use crate::provider::{ParsedKey, Provider};
use crate::seal;

/// Wraps `plaintext` under `wrapping`.
pub(crate) fn wrap(
    provider: &dyn Provider,
    wrapping: &dyn ParsedKey,
    algorithm: Algorithm,
    plaintext: &[u8],
) -> Result<Vec<u8>> {
    if algorithm != Algorithm::RsaAesKwp {
        return wrapping.wrap(algorithm, plaintext);
    }
    let mut key = Zeroizing::new([0; 32]);
    provider.random(key.as_mut_slice())?;
    let mut wrapped = wrapping.wrap(Algorithm::RsaOaep, key.as_slice())?;
    wrapped.extend_from_slice(&seal::wrap(&key, plaintext)?);
    Ok(wrapped)
}

/// Unwraps what [`wrap`] made, or another HSM. Says nothing of why it failed.
pub(crate) fn unwrap(
    wrapping: &dyn ParsedKey,
    algorithm: Algorithm,
    wrapped: &[u8],
) -> Result<SecretBytes> {
    if algorithm != Algorithm::RsaAesKwp {
        return wrapping.unwrap(algorithm, wrapped);
    }
    let modulus_len = wrapping
        .public()
        .map(|public| public.key_type().byte_len())
        .ok_or_else(Error::crypto)?;
    let (wrapped_key, wrapped) = wrapped
        .split_at_checked(modulus_len)
        .ok_or_else(Error::crypto)?;
    let key = wrapping.unwrap(Algorithm::RsaOaep, wrapped_key)?;
    let key = key.expose().try_into().map_err(|_| Error::crypto())?;
    seal::unwrap(key, wrapped).ok_or_else(Error::crypto)
}
