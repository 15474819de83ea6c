//! Short constructors for the errors of this crate.

use std::borrow::Cow;
use std::error::Error as StdError;

use hsm_core::{Algorithm, Error, ErrorKind, KeyType};

/// The caller's argument is wrong.
pub(crate) fn invalid(message: impl Into<Cow<'static, str>>) -> Error {
    Error::new(ErrorKind::InvalidInput, message)
}

/// Stored bytes are not what this device wrote.
pub(crate) fn damaged(message: impl Into<Cow<'static, str>>) -> Error {
    Error::new(ErrorKind::Damaged, message)
}

/// The device cannot do its work.
pub(crate) fn failed(message: impl Into<Cow<'static, str>>) -> Error {
    Error::new(ErrorKind::DeviceFailed, message)
}

/// The system refused a file operation that the device needs.
pub(crate) fn failed_io(
    message: impl Into<Cow<'static, str>>,
    source: impl Into<Box<dyn StdError + Send + Sync>>,
) -> Error {
    failed(message).with_source(source)
}

/// The registry knows the algorithm, this device does not.
pub(crate) fn unsupported(algorithm: Algorithm) -> Error {
    Error::new(
        ErrorKind::Unsupported,
        format!("the software device cannot do this with {algorithm}"),
    )
}

/// The registry knows the key type, this device does not.
pub(crate) fn unsupported_type(key_type: KeyType) -> Error {
    Error::new(
        ErrorKind::Unsupported,
        format!("the software device has no keys of type {key_type}"),
    )
}

/// A cryptographic library failed where it should not: out of memory, or without randomness.
pub(crate) fn internal<E>(_: E) -> Error {
    failed("the cryptographic library failed")
}

/// Material that was sealed once and no longer parses.
pub(crate) fn bad_material<E>(_: E) -> Error {
    damaged("the key material does not parse")
}
