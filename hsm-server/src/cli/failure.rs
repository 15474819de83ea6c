//! [`Failure`]: why a command ended, what to do about it, and the exit code.

use std::fmt;
use std::io;
use std::process::ExitCode;
use std::time::Duration;

use hsm_client::{Error, ErrorKind};
use serde::Serialize;

/// The exit codes; `hsm --help` lists them.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
#[repr(u8)]
pub(crate) enum Exit {
    Done = 0,
    Failed = 1,
    Usage = 2,
    Denied = 3,
    NotFound = 4,
    Unreachable = 5,
    Unknown = 6,
    Conflict = 7,
    KeyState = 8,
    CryptoFailed = 9,
    Damaged = 10,
    Unsupported = 11,
}

impl Exit {
    fn of(kind: ErrorKind) -> Self {
        match kind {
            ErrorKind::InvalidInput | ErrorKind::LimitExceeded => Self::Usage,
            ErrorKind::Denied | ErrorKind::Unauthenticated | ErrorKind::LockedOut => Self::Denied,
            ErrorKind::NotFound => Self::NotFound,
            ErrorKind::Unreachable => Self::Unreachable,
            ErrorKind::Unknown => Self::Unknown,
            ErrorKind::Conflict => Self::Conflict,
            ErrorKind::KeyState => Self::KeyState,
            ErrorKind::CryptoFailed => Self::CryptoFailed,
            ErrorKind::Damaged => Self::Damaged,
            ErrorKind::Unsupported => Self::Unsupported,
            _ => Self::Failed,
        }
    }
}

impl From<Exit> for ExitCode {
    fn from(exit: Exit) -> Self {
        Self::from(exit as u8)
    }
}

/// Why a command ended without what was asked for.
#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct Failure {
    kind: String,
    message: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    hint: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    retry_after_seconds: Option<u64>,
    exit_code: u8,
    #[serde(skip)]
    exit: Exit,
}

impl Failure {
    /// The command line asks for what cannot be.
    pub(crate) fn usage(message: impl Into<String>) -> Self {
        Error::new(ErrorKind::InvalidInput, message.into()).into()
    }

    /// A file or the system failed.
    pub(crate) fn io(what: &str, source: &io::Error) -> Self {
        let exit = match source.kind() {
            io::ErrorKind::NotFound => Exit::NotFound,
            io::ErrorKind::AlreadyExists => Exit::Conflict,
            _ => Exit::Failed,
        };
        Self {
            kind: "Io".to_owned(),
            message: format!("{what}: {source}"),
            hint: None,
            retry_after_seconds: None,
            exit_code: exit as u8,
            exit,
        }
    }

    /// Whoever read standard output has gone, as `head` does: the end of the work, and no error.
    pub(crate) fn reader_gone() -> Self {
        Self {
            kind: "ReaderGone".to_owned(),
            message: "nobody reads standard output".to_owned(),
            hint: None,
            retry_after_seconds: None,
            exit_code: Exit::Done as u8,
            exit: Exit::Done,
        }
    }

    /// Adds what to do.
    pub(crate) fn hint(mut self, hint: impl Into<String>) -> Self {
        self.hint.get_or_insert_with(|| hint.into());
        self
    }

    pub(crate) fn exit(&self) -> Exit {
        self.exit
    }
}

impl From<Error> for Failure {
    fn from(error: Error) -> Self {
        let exit = Exit::of(error.kind());
        let mut message = error.to_string();
        let mut source = std::error::Error::source(&error);
        while let Some(cause) = source {
            let text = cause.to_string();
            // Some say in their own words what their cause says already.
            if !message.contains(&text) {
                message = format!("{message}: {text}");
            }
            source = cause.source();
        }
        let wait = error.retry_after().map(whole_seconds);
        let hint = match error.kind() {
            ErrorKind::Denied => Some(
                "an administrator gives roles with `hsm role assign ROLE PRINCIPAL --scope SCOPE`; `hsm role list` shows which there are".to_owned(),
            ),
            ErrorKind::Unauthenticated => {
                Some("check --user and the password, or the token; for a folder, --passphrase-file, --key-file or --tpm".to_owned())
            }
            ErrorKind::LockedOut => Some(match wait {
                Some(seconds) => format!(
                    "wait {seconds} s, or have an administrator run `hsm user unlock NAME`"
                ),
                None => "have an administrator run `hsm user unlock NAME`".to_owned(),
            }),
            ErrorKind::Unreachable => Some("nothing happened: try again".to_owned()),
            ErrorKind::Unknown => Some(
                "it may have happened: look with `hsm key show` or `hsm audit tail` before you repeat it".to_owned(),
            ),
            ErrorKind::Damaged => Some(
                "keep the folder as it is, and compare it with a backup; `hsm audit verify` names the first record of the log that is not right".to_owned(),
            ),
            _ => None,
        };
        Self {
            kind: format!("{:?}", error.kind()),
            message,
            hint,
            retry_after_seconds: wait,
            exit_code: exit as u8,
            exit,
        }
    }
}

/// For people: what is wrong, and what to do on the next line.
impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "error: {}", self.message)?;
        match &self.hint {
            Some(hint) => write!(f, "\n  {hint}"),
            None => Ok(()),
        }
    }
}

fn whole_seconds(wait: Duration) -> u64 {
    wait.as_secs() + u64::from(wait.subsec_nanos() > 0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_kind_has_its_exit_code() {
        let table = [
            (ErrorKind::InvalidInput, 2),
            (ErrorKind::LimitExceeded, 2),
            (ErrorKind::Unsupported, 11),
            (ErrorKind::Unauthenticated, 3),
            (ErrorKind::Denied, 3),
            (ErrorKind::KeyState, 8),
            (ErrorKind::LockedOut, 3),
            (ErrorKind::NotFound, 4),
            (ErrorKind::Conflict, 7),
            (ErrorKind::CryptoFailed, 9),
            (ErrorKind::Damaged, 10),
            (ErrorKind::DeviceFailed, 1),
            (ErrorKind::StoreFailed, 1),
            (ErrorKind::AuditFailed, 1),
            (ErrorKind::Unreachable, 5),
            (ErrorKind::Unknown, 6),
        ];
        for (kind, code) in table {
            let failure = Failure::from(Error::new(kind, "x"));
            assert_eq!(failure.exit() as u8, code, "{kind:?}");
            assert_eq!(failure.exit_code, code, "{kind:?}");
        }
    }

    #[test]
    fn a_lock_out_says_how_long_to_wait() {
        let error =
            Error::new(ErrorKind::LockedOut, "x").with_retry_after(Duration::from_millis(1500));
        assert!(Failure::from(error).to_string().contains("wait 2 s"));
    }
}
