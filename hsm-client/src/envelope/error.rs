//! How failures of readers and writers and our own [`Error`] carry each other.

use std::io;

use hsm_core::{Error, ErrorKind};

/// An error of ours out of a reader or a writer: it is the source, and its text is the text.
pub(super) fn io_error(error: Error) -> io::Error {
    io::Error::new(io::ErrorKind::InvalidData, error)
}

/// What a reader or writer failed with, as an error of ours.
pub(super) fn failed_io(what: &'static str, error: io::Error) -> Error {
    match error.downcast::<Error>() {
        Ok(error) => error,
        Err(error) => {
            Error::new(ErrorKind::StoreFailed, format!("{what}: {error}")).with_source(error)
        }
    }
}
