//! What is inside of a wrapped key, for devices that take keys out or in: which algorithms carry keys, and what a key may
//! become. The format stands in `docs/sealed_key.md`.

use super::KeySpec;
use super::header::{self, HEADER_LEN};
use crate::algorithm::{Algorithm, KeyType};
use crate::device::WrappedFormat;
use crate::error::{Error, ErrorKind, Result, invalid};
use crate::secret::SecretBytes;

/// Checks that `algorithm` takes keys out or in, and fits a wrapping key of `key_type`.
///
/// # Errors
///
/// [`InvalidInput`](ErrorKind::InvalidInput), naming an algorithm that does.
pub fn check(algorithm: Algorithm, key_type: KeyType) -> Result<()> {
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
///
/// # Errors
///
/// [`Denied`](ErrorKind::Denied) for a key that is tied to a boot state: outside nothing would hold it to that.
pub fn bind(spec: &KeySpec, encoded: &SecretBytes) -> Result<SecretBytes> {
    if spec.boot_state.is_some() {
        return Err(denied(
            "the key is tied to the state in which this machine was started, and does not leave it",
        ));
    }
    Ok(SecretBytes::init_with(HEADER_LEN + encoded.len(), |out| {
        let (head, key) = out.split_at_mut(HEADER_LEN);
        head.copy_from_slice(&header::encode(spec));
        key.copy_from_slice(encoded.expose());
    }))
}

/// The key inside `plaintext`, if it may become what `wanted` says: what [`bind`] named, or narrower.
///
/// # Errors
///
/// [`Denied`](ErrorKind::Denied) if it may not, [`InvalidInput`](ErrorKind::InvalidInput) if it is not of `format`.
pub fn release<'a>(
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
    }
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
