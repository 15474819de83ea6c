//! Keys on their way out of the device and into it, wrapped under another key. The format stands in
//! `docs/sealed_key.md`.

use hsm_core::{Algorithm, Error, ErrorKind, KeySpec, KeyType, Result, SecretBytes, WrappedFormat};
use zeroize::Zeroizing;

use crate::error::invalid;
use crate::header::{self, HEADER_LEN};
use crate::provider::{ParsedKey, Provider};
use crate::seal;

/// Checks that `algorithm` takes keys out or in, and fits a wrapping key of `key_type`.
pub(crate) fn check(algorithm: Algorithm, key_type: KeyType) -> Result<()> {
    let transports = |algorithm: Algorithm| {
        use Algorithm as A;
        matches!(
            algorithm,
            A::A128Kwp | A::A192Kwp | A::A256Kwp | A::RsaAesKwp
        )
    };
    if transports(algorithm) && algorithm.fits(key_type) {
        return Ok(());
    }
    let fitting = key_type
        .algorithms()
        .iter()
        .find(|algorithm| transports(**algorithm));
    Err(invalid(match fitting {
        Some(fitting) => format!(
            "{algorithm} does not export and import under a key of type {key_type}; use {fitting}"
        ),
        None => format!("a key of type {key_type} cannot export and import other keys"),
    }))
}

/// What is wrapped: the header, which says what the key may become, and the key in its common encoding.
pub(crate) fn bind(spec: &KeySpec, encoded: &SecretBytes) -> SecretBytes {
    SecretBytes::init_with(HEADER_LEN + encoded.len(), |out| {
        let (head, key) = out.split_at_mut(HEADER_LEN);
        head.copy_from_slice(&header::encode(spec));
        key.copy_from_slice(encoded.expose());
    })
}

/// The key inside `plaintext`, if it may become what `wanted` says.
pub(crate) fn release<'a>(
    format: WrappedFormat,
    plaintext: &'a [u8],
    wanted: &KeySpec,
) -> Result<&'a [u8]> {
    match format {
        WrappedFormat::Bound => {
            let (named, encoded) = header::decode(plaintext).ok_or_else(|| {
                invalid("the wrapped key does not say what it is; import it as bare")
            })?;
            check_not_wider(&named, wanted)?;
            Ok(encoded)
        }
        WrappedFormat::Bare if wanted.exportable => Err(denied(
            "a bare key does not say that it may be exported, so it cannot become exportable here",
        )),
        WrappedFormat::Bare => Ok(plaintext),
        _ => Err(Error::new(
            ErrorKind::Unsupported,
            "the software device does not know this format of wrapped keys",
        )),
    }
}

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

fn check_not_wider(named: &KeySpec, wanted: &KeySpec) -> Result<()> {
    if wanted.key_type != named.key_type {
        return Err(denied(format!(
            "the wrapped key is of type {}, not {}",
            named.key_type, wanted.key_type
        )));
    }
    if !wanted.usages.is_subset_of(named.usages) {
        return Err(denied(format!(
            "the wrapped key may not be used for: {}; it may be used for: {}",
            wanted.usages.without(named.usages),
            named.usages
        )));
    }
    if let Some(only) = named.algorithm
        && wanted.algorithm != Some(only)
    {
        return Err(denied(format!(
            "the wrapped key is for {only} and no other algorithm"
        )));
    }
    if wanted.exportable && !named.exportable {
        return Err(denied("the wrapped key may not be exported again"));
    }
    Ok(())
}

fn denied(message: impl Into<std::borrow::Cow<'static, str>>) -> Error {
    Error::new(ErrorKind::Denied, message)
}
