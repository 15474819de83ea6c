//! What SQLite says, in our words: one table from its codes to [`ErrorKind`].

use std::fmt::Display;

use hsm_core::{Error, ErrorKind, Space};
use rusqlite::ErrorCode;
use rusqlite::ffi::SQLITE_IOERR_WRITE;

use super::limits::{WRITE_LOCK_RETRY_AFTER, WRITE_LOCK_WAIT_MAX};

/// The error of a statement on the store called `store`.
pub(crate) fn store_error(store: &str, source: rusqlite::Error) -> Error {
    match Cause::of(&source) {
        Cause::Broken => damaged(format!("the store {store}"), source),
        cause => failed(cause, store, source),
    }
}

/// The error of reading or writing one record.
pub(crate) fn record_error(
    store: &str,
    space: Space,
    key: &dyn Display,
    source: rusqlite::Error,
) -> Error {
    match Cause::of(&source) {
        Cause::Broken => damaged(
            format!("record {key} of space `{}` in {store}", space.name()),
            source,
        ),
        cause => failed(cause, store, source),
    }
}

/// The error of a `COMMIT`: what reached the disk before it failed is not always known.
pub(crate) fn commit_error(store: &str, source: rusqlite::Error) -> Error {
    match Cause::of(&source) {
        Cause::Full | Cause::Locked | Cause::ReadOnly | Cause::Unwritten => {
            store_error(store, source)
        }
        Cause::Broken | Cause::Other => Error::new(
            ErrorKind::Unknown,
            format!("{store}: the transaction may or may not have been committed"),
        )
        .with_source(source),
    }
}

/// What a failure comes down to.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
enum Cause {
    Broken,
    Full,
    Locked,
    Other,
    ReadOnly,
    /// The system refused a write: a quota is used up, mostly. The mark of a commit is written last, so there is none.
    Unwritten,
}

impl Cause {
    fn of(error: &rusqlite::Error) -> Self {
        match error {
            // A value of another type, or a number out of range: the store writes only blobs and its own numbers.
            rusqlite::Error::FromSqlConversionFailure(..)
            | rusqlite::Error::IntegralValueOutOfRange(..)
            | rusqlite::Error::InvalidColumnType(..)
            | rusqlite::Error::QueryReturnedNoRows
            | rusqlite::Error::Utf8Error(..) => Self::Broken,
            rusqlite::Error::SqliteFailure(error, _) => match error.code {
                // `Unknown` is SQLITE_ERROR: our statements are right, so the tables are not those we made.
                ErrorCode::DatabaseCorrupt | ErrorCode::NotADatabase | ErrorCode::Unknown => {
                    Self::Broken
                }
                ErrorCode::DiskFull => Self::Full,
                ErrorCode::DatabaseBusy | ErrorCode::DatabaseLocked => Self::Locked,
                ErrorCode::ReadOnly => Self::ReadOnly,
                _ if error.extended_code == SQLITE_IOERR_WRITE => Self::Unwritten,
                _ => Self::Other,
            },
            _ => Self::Other,
        }
    }
}

fn damaged(what: String, source: rusqlite::Error) -> Error {
    Error::new(ErrorKind::Damaged, format!("{what} cannot be read")).with_source(source)
}

fn failed(cause: Cause, store: &str, source: rusqlite::Error) -> Error {
    let message = match cause {
        Cause::Full => format!("{store}: the disk is full"),
        Cause::Locked => format!(
            "{store}: another process has held the write lock for {} s",
            WRITE_LOCK_WAIT_MAX.as_secs()
        ),
        Cause::ReadOnly => format!("{store} is read-only"),
        Cause::Unwritten => {
            format!("{store} cannot be written; is a quota or a limit of the system reached?")
        }
        Cause::Broken | Cause::Other => {
            format!("{store} cannot be opened, read or written: {source}")
        }
    };
    let error = Error::new(ErrorKind::StoreFailed, message).with_source(source);
    if cause == Cause::Locked {
        return error.with_retry_after(WRITE_LOCK_RETRY_AFTER);
    }
    error
}

#[cfg(test)]
mod tests {
    use rusqlite::ffi;

    use super::*;

    #[test]
    fn a_write_that_is_refused_is_no_commit_and_a_sync_that_fails_may_be_one() {
        let failed = |code| rusqlite::Error::SqliteFailure(ffi::Error::new(code), None);
        for (code, kind) in [
            (ffi::SQLITE_FULL, ErrorKind::StoreFailed),
            (SQLITE_IOERR_WRITE, ErrorKind::StoreFailed),
            (ffi::SQLITE_IOERR_FSYNC, ErrorKind::Unknown),
            (ffi::SQLITE_IOERR, ErrorKind::Unknown),
        ] {
            assert_eq!(commit_error("it", failed(code)).kind(), kind, "{code}");
        }
    }
}
