//! Short constructors for the errors of this crate.

use std::borrow::Cow;
use std::error::Error as StdError;

use hsm_core::{Algorithm, Error, ErrorKind};

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
