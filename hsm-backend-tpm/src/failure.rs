//! [`Failure`]: why a command failed, before it is decided whether to try again.

use std::io;
use std::time::Duration;

use hsm_core::{Error, ErrorKind};
use tpm2_protocol::data::TpmRcBase;

use crate::return_code::{Remedy, ReturnCode};
use crate::transport::is_undelivered;
use crate::wire::Malformed;

/// Why a command failed.
#[derive(Debug)]
pub(crate) enum Failure {
    /// The TPM said no.
    Code(ReturnCode),
    /// The TPM refuses for a while, because of wrong authorization values.
    LockedOut(Duration),
    /// No response came.
    Transport(io::Error),
    /// The response is not one, or not the TPM's.
    Altered,
    /// The device says no by itself.
    Refused(Error),
}

impl Failure {
    pub(crate) fn remedy(&self) -> Remedy {
        match self {
            Self::Code(code) => code.remedy(),
            // One that took too long would take twice as long.
            Self::Transport(error) if error.kind() != io::ErrorKind::TimedOut => Remedy::Rebuild,
            _ => Remedy::None,
        }
    }

    /// Whether the TPM refused what was loaded or sent, rather than failed.
    pub(crate) fn is_refusal(&self) -> bool {
        matches!(self, Self::Code(code) if code.is_about_input() && code.remedy() == Remedy::None && !code.is_unauthorized())
    }

    /// Whether the TPM says that it has failed.
    pub(crate) fn is_failure(&self) -> bool {
        matches!(self, Self::Code(code) if code.base() == Some(TpmRcBase::Failure))
    }

    /// Whether the object is not used in this way: its record says that it has a policy, or that it has none, and lies.
    pub(crate) fn is_unavailable(&self) -> bool {
        matches!(self, Self::Code(code) if code.base() == Some(TpmRcBase::AuthUnavailable))
    }

    /// Whether an authorization, or the HMAC of the session, was wrong.
    pub(crate) fn is_unauthorized(&self) -> bool {
        matches!(self, Self::Code(code) if code.is_unauthorized())
    }
}

impl From<Malformed> for Failure {
    fn from(_: Malformed) -> Self {
        Self::Altered
    }
}

impl From<Error> for Failure {
    fn from(error: Error) -> Self {
        Self::Refused(error)
    }
}

impl From<Failure> for Error {
    fn from(failure: Failure) -> Self {
        match failure {
            Failure::Code(code) => Self::new(code.kind(), format!("the TPM answered {code}")),
            Failure::LockedOut(wait) => Self::new(
                ErrorKind::LockedOut,
                "the TPM has seen too many wrong authorization values (dictionary attack protection)",
            )
            .with_retry_after(wait),
            Failure::Transport(error) => {
                let (kind, message) = if error.kind() == io::ErrorKind::TimedOut {
                    (ErrorKind::Unknown, "the TPM did not answer in time")
                } else if is_undelivered(&error) {
                    (ErrorKind::Unreachable, "the TPM cannot be reached")
                } else {
                    (ErrorKind::Unknown, "the connection to the TPM broke")
                };
                Self::new(kind, message).with_source(error)
            }
            Failure::Altered => failed("the TPM's response was altered on its way"),
            Failure::Refused(error) => error,
        }
    }
}

/// The device cannot do its work.
pub(crate) fn failed(message: impl Into<std::borrow::Cow<'static, str>>) -> Error {
    Error::new(ErrorKind::DeviceFailed, message)
}

/// The caller's argument is wrong.
pub(crate) fn invalid(message: impl Into<std::borrow::Cow<'static, str>>) -> Error {
    Error::new(ErrorKind::InvalidInput, message)
}

/// Stored bytes are not what this device made.
pub(crate) fn damaged(message: impl Into<std::borrow::Cow<'static, str>>) -> Error {
    Error::new(ErrorKind::Damaged, message)
}
