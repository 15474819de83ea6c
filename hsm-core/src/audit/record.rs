//! What an audit record says: who did what to which key, when, and how it ended. Never data, never secrets.

use std::borrow::Cow;
use std::fmt;

use serde::{Deserialize, Serialize};

use super::chain::ChainHead;
use crate::algorithm::Algorithm;
use crate::clock::Timestamp;
use crate::error::ErrorKind;
use crate::key::VersionId;
use crate::policy::DataAction;

/// Identifies one call: 128 bits, printed as 32 hex digits. A server passes its clients' ids through.
#[derive(Clone, Copy, Debug, Default, Eq, Hash, Ord, PartialEq, PartialOrd)]
pub struct RequestId(u128);

impl RequestId {
    /// The id with this value.
    #[must_use]
    pub const fn from_u128(value: u128) -> Self {
        Self(value)
    }

    /// The id's value.
    #[must_use]
    pub const fn as_u128(self) -> u128 {
        self.0
    }
}

impl fmt::Display for RequestId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:032x}", self.0)
    }
}

impl Serialize for RequestId {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        self.0.to_be_bytes().serialize(serializer)
    }
}

impl<'de> Deserialize<'de> for RequestId {
    fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        <[u8; 16]>::deserialize(deserializer).map(|bytes| Self(u128::from_be_bytes(bytes)))
    }
}

/// One attempt: what was asked, by whom, and how it ended.
#[derive(Clone, Debug, Eq, PartialEq, Serialize, Deserialize)]
#[expect(
    clippy::exhaustive_structs,
    reason = "the record format; a new field is a new format"
)]
pub struct Event<'a> {
    /// When it ended.
    pub time: Timestamp,
    /// The call.
    pub request: RequestId,
    /// Who asked. `system` is the partition itself.
    #[serde(borrow)]
    pub principal: Cow<'a, str>,
    /// What was asked for.
    pub action: DataAction,
    /// What it was asked of: `/`, `/keys/{name}`, `/users/{name}`, …
    #[serde(borrow)]
    pub target: Cow<'a, str>,
    /// The key version that was used or made.
    pub version: Option<VersionId>,
    /// The algorithm that was used.
    pub algorithm: Option<Algorithm>,
    /// How it ended: `None` is success, otherwise why not.
    pub failure: Option<ErrorKind>,
    /// What an auditor needs beyond that: `disabled`, `assigned Crypto User to app`, …
    #[serde(borrow)]
    pub detail: Cow<'a, str>,
}

/// An [`Event`] that owns its text.
pub type OwnedEvent = Event<'static>;

impl Event<'_> {
    /// The event with its text copied.
    #[must_use]
    pub fn into_owned(self) -> OwnedEvent {
        Event {
            principal: self.principal.into_owned().into(),
            target: self.target.into_owned().into(),
            detail: self.detail.into_owned().into(),
            ..self
        }
    }
}

/// One line for people: time, principal, action, target, outcome.
impl fmt::Display for Event<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "{} {} {} {}",
            self.time, self.principal, self.action, self.target
        )?;
        if let Some(version) = &self.version {
            write!(f, "/{version}")?;
        }
        if let Some(algorithm) = &self.algorithm {
            write!(f, " {algorithm}")?;
        }
        match self.failure {
            None => f.write_str(" ok")?,
            Some(kind) => write!(f, " refused: {kind}")?,
        }
        if !self.detail.is_empty() {
            write!(f, " ({})", self.detail)?;
        }
        write!(f, " request={}", self.request)
    }
}

/// A signature by the partition's audit key over the state of a stream: everything up to `head` was there when it was
/// made.
#[derive(Clone, Debug, Eq, PartialEq, Serialize, Deserialize)]
#[expect(
    clippy::exhaustive_structs,
    reason = "the record format; a new field is a new format"
)]
pub struct Checkpoint {
    /// The stream and its last record.
    pub head: ChainHead,
    /// When it was made.
    pub time: Timestamp,
    /// ES256 signature (r‖s) over [`Checkpoint::message`].
    pub signature: Vec<u8>,
}

impl Checkpoint {
    /// The bytes that a checkpoint of `head` at `time` signs.
    #[must_use]
    pub fn message(head: &ChainHead, time: Timestamp) -> Vec<u8> {
        let mut message = b"hsm audit checkpoint v1".to_vec();
        message.extend_from_slice(&head.stream.to_bytes());
        message.extend_from_slice(&head.records.to_be_bytes());
        message.extend_from_slice(&head.hash);
        message.extend_from_slice(&time.unix_millis().to_be_bytes());
        message
    }
}

/// One record of a chain.
#[derive(Clone, Debug, Eq, PartialEq, Serialize, Deserialize)]
#[non_exhaustive]
pub enum Entry<'a> {
    /// An attempt.
    #[serde(borrow)]
    Event(Event<'a>),
    /// A signature over the chain so far.
    Checkpoint(Checkpoint),
    /// In the journal: how a stream stands.
    Stream {
        /// When.
        time: Timestamp,
        /// What happened to it.
        event: StreamEvent,
        /// Where it stood.
        head: ChainHead,
    },
    /// The stream ends here, in good order. Nothing follows.
    Closed {
        /// When it was closed.
        time: Timestamp,
    },
}

/// What happened to a stream, as the journal notes it.
#[derive(Clone, Copy, Debug, Eq, PartialEq, Serialize, Deserialize)]
#[non_exhaustive]
pub enum StreamEvent {
    /// A process opened the HSM and writes it.
    Opened,
    /// It has come this far.
    Reached,
    /// It was closed in good order.
    Closed,
    /// Its process ended without closing it; this is the last good record. After a power cut, up to
    /// [`AUDIT_SYNC_INTERVAL`](crate::limits::AUDIT_SYNC_INTERVAL) of records may be missing after it.
    Abandoned,
}
