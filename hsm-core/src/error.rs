//! [`Error`]: one type for the whole SDK, with a kind to match on and a message to act on.

use std::borrow::Cow;
use std::error::Error as StdError;
use std::fmt;
use std::time::Duration;

/// What went wrong, sorted by who can mend it. Match on this; print the [`Error`].
#[derive(
    Clone, Copy, Debug, Eq, Hash, Ord, PartialEq, PartialOrd, serde::Deserialize, serde::Serialize,
)]
#[non_exhaustive]
pub enum ErrorKind {
    /// An argument is malformed or does not fit the key. Reading the caller's code would show it.
    InvalidInput,
    /// A named limit of [`limits`](crate::limits) was exceeded.
    LimitExceeded,
    /// The device, or the key type, cannot do this.
    Unsupported,

    /// Wrong credentials, or a session that has ended.
    Unauthenticated,
    /// No role assignment of the principal allows the action at the scope.
    Denied,
    /// The key's lifecycle state, validity period, usages or a policy do not allow the operation now.
    KeyState,
    /// Too many wrong passwords; [`Error::retry_after`] says how long to wait.
    LockedOut,

    /// There is no such key, version, user, token, role or assignment.
    NotFound,
    /// The name is taken, by a live or a soft-deleted object, or another caller changed it first.
    Conflict,

    /// A signature, tag, padding or wrapped key is not right. Deliberately without reason or source.
    CryptoFailed,

    /// A record was edited, swapped, replayed or has rotted. The message names it; other keys stay usable.
    Damaged,
    /// The device answered with a failure.
    DeviceFailed,
    /// The store could not read or write; nothing was changed.
    StoreFailed,
    /// The audit record could not be written, so the operation was refused or its result withheld.
    AuditFailed,

    /// The request never arrived: nothing happened, another device may be tried.
    Unreachable,
    /// The request may have taken effect: repeat idempotent work only.
    Unknown,
}

impl ErrorKind {
    /// What this kind means, in a few words.
    #[must_use]
    pub const fn describe(self) -> &'static str {
        match self {
            Self::InvalidInput => "invalid input",
            Self::LimitExceeded => "limit exceeded",
            Self::Unsupported => "not supported",
            Self::Unauthenticated => "not authenticated",
            Self::Denied => "access denied",
            Self::KeyState => "not allowed for this key now",
            Self::LockedOut => "locked out",
            Self::NotFound => "not found",
            Self::Conflict => "conflict",
            Self::CryptoFailed => "cryptographic operation failed",
            Self::Damaged => "damaged",
            Self::DeviceFailed => "device failed",
            Self::StoreFailed => "store failed",
            Self::AuditFailed => "audit failed",
            Self::Unreachable => "unreachable",
            Self::Unknown => "outcome unknown",
        }
    }
}

impl fmt::Display for ErrorKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.describe())
    }
}

/// The error of every fallible function of the SDK.
///
/// One machine word; the details are boxed. It prints as its kind and what to do, and never contains key bytes, data
/// or credentials.
///
/// ```
/// use hsm_core::{Error, ErrorKind};
///
/// let error = Error::new(ErrorKind::NotFound, "key `payments` does not exist");
/// assert_eq!(error.kind(), ErrorKind::NotFound);
/// assert_eq!(error.to_string(), "not found: key `payments` does not exist");
/// ```
#[derive(thiserror::Error)]
#[error(transparent)]
pub struct Error(Box<Inner>);

/// `Result` with the SDK's [`Error`].
pub type Result<T, E = Error> = std::result::Result<T, E>;

#[derive(Debug, thiserror::Error)]
struct Inner {
    kind: ErrorKind,
    message: Cow<'static, str>,
    retry_after: Option<Duration>,
    source: Option<Box<dyn StdError + Send + Sync>>,
}

impl fmt::Display for Inner {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.kind.describe())?;
        if !self.message.is_empty() {
            write!(f, ": {}", self.message)?;
        }
        Ok(())
    }
}

impl Error {
    /// An error of `kind` that says what was wrong and what was expected.
    pub fn new(kind: ErrorKind, message: impl Into<Cow<'static, str>>) -> Self {
        Self(Box::new(Inner {
            kind,
            message: message.into(),
            retry_after: None,
            source: None,
        }))
    }

    /// The opaque error of a failed decryption, unwrapping or verification: no message, no source.
    #[must_use]
    pub fn crypto() -> Self {
        Self::new(ErrorKind::CryptoFailed, "")
    }

    /// Adds the error that caused this one.
    #[must_use]
    pub fn with_source(mut self, source: impl Into<Box<dyn StdError + Send + Sync>>) -> Self {
        self.0.source = Some(source.into());
        self
    }

    /// Adds how long to wait before trying again.
    #[must_use]
    pub fn with_retry_after(mut self, wait: Duration) -> Self {
        self.0.retry_after = Some(wait);
        self
    }

    /// What went wrong.
    #[must_use]
    pub fn kind(&self) -> ErrorKind {
        self.0.kind
    }

    /// What was wrong and what was expected, without the kind in front.
    #[must_use]
    pub fn message(&self) -> &str {
        &self.0.message
    }

    /// How long to wait before trying again, if waiting helps.
    #[must_use]
    pub fn retry_after(&self) -> Option<Duration> {
        self.0.retry_after
    }
}

impl fmt::Debug for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut debug = f.debug_struct("Error");
        debug.field("kind", &self.0.kind);
        debug.field("message", &self.0.message);
        if let Some(wait) = &self.0.retry_after {
            debug.field("retry_after", wait);
        }
        if let Some(source) = &self.0.source {
            debug.field("source", source);
        }
        debug.finish()
    }
}

/// Short constructors for the crates of the SDK: `invalid("…")` reads better than `Error::new(ErrorKind::…, "…")`.
pub(crate) fn invalid(message: impl Into<Cow<'static, str>>) -> Error {
    Error::new(ErrorKind::InvalidInput, message)
}

pub(crate) fn limit(what: &str, found: usize, max: usize) -> Error {
    Error::new(
        ErrorKind::LimitExceeded,
        format!("{what} is {found}, at most {max} is allowed"),
    )
}
