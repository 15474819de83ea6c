//! [`Chain`]: each record carries a hash over itself and all before it (SHA-256, FIPS 180-4).
//!
//! A frame is `length (u32, little endian) ‖ body ‖ hash (32 bytes)`, the body is an [`Entry`] in postcard encoding, and
//! `hash = SHA-256(previous hash ‖ sequence number (u64, big endian) ‖ body)`. The hash before the first record is
//! `SHA-256("hsm audit stream v1" ‖ stream id)`.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};

use super::record::Entry;
use crate::error::{Error, ErrorKind, Result, invalid, limit};
use crate::limits::AUDIT_RECORD_LEN_MAX;

const LENGTH_LEN: usize = 4;
const HASH_LEN: usize = 32;

/// Identifies a stream: 128 random bits, printed as 32 hex digits. The journal's is the partition's own id.
#[derive(Clone, Copy, Debug, Eq, Hash, Ord, PartialEq, PartialOrd, Serialize, Deserialize)]
pub struct StreamId([u8; 16]);

impl StreamId {
    /// The stream with these random bytes.
    #[must_use]
    pub const fn from_bytes(bytes: [u8; 16]) -> Self {
        Self(bytes)
    }

    /// The 16 bytes of the id.
    #[must_use]
    pub const fn to_bytes(self) -> [u8; 16] {
        self.0
    }
}

impl fmt::Display for StreamId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:032x}", u128::from_be_bytes(self.0))
    }
}

impl FromStr for StreamId {
    type Err = Error;

    fn from_str(text: &str) -> Result<Self> {
        if text.len() == 32
            && text.bytes().all(|byte| byte.is_ascii_hexdigit())
            && let Ok(value) = u128::from_str_radix(text, 16)
        {
            return Ok(Self(value.to_be_bytes()));
        }
        Err(invalid("a stream id is 32 hex digits"))
    }
}

/// Where a chain stands: how many records it has and the hash of the last.
#[derive(Clone, Copy, Debug, Eq, PartialEq, Serialize, Deserialize)]
#[expect(
    clippy::exhaustive_structs,
    reason = "the record format; a new field is a new format"
)]
pub struct ChainHead {
    /// The stream.
    pub stream: StreamId,
    /// Number of records; the next one has this sequence number.
    pub records: u64,
    /// Hash of the last record.
    pub hash: [u8; 32],
}

/// A chain that is being written or verified.
///
/// ```
/// use hsm_core::audit::{Chain, Entry, StreamId, split_frame};
/// use hsm_core::Timestamp;
///
/// let stream = StreamId::from_bytes([7; 16]);
/// let mut bytes = Vec::new();
/// Chain::new(stream).append(&Entry::Closed { time: Timestamp::default() }, &mut bytes)?;
///
/// let (frame, rest) = split_frame(&bytes)?.expect("one frame");
/// assert!(rest.is_empty());
/// let mut reader = Chain::new(stream);
/// assert!(matches!(reader.follow(&frame)?, Entry::Closed { .. }));
/// # Ok::<(), hsm_core::Error>(())
/// ```
#[derive(Clone, Debug)]
pub struct Chain {
    head: ChainHead,
}

impl Chain {
    /// The empty chain of a stream.
    #[must_use]
    pub fn new(stream: StreamId) -> Self {
        let hash = Sha256::new()
            .chain_update(b"hsm audit stream v1")
            .chain_update(stream.to_bytes())
            .finalize()
            .into();
        Self {
            head: ChainHead {
                stream,
                records: 0,
                hash,
            },
        }
    }

    /// A chain that goes on after `head`.
    #[must_use]
    pub const fn resume(head: ChainHead) -> Self {
        Self { head }
    }

    /// Where the chain stands.
    #[must_use]
    pub const fn head(&self) -> ChainHead {
        self.head
    }

    /// Appends an entry: writes its frame to the end of `out`. On an error neither the chain nor `out` has changed.
    ///
    /// # Errors
    ///
    /// [`LimitExceeded`](ErrorKind::LimitExceeded) above [`AUDIT_RECORD_LEN_MAX`].
    pub fn append(&mut self, entry: &Entry<'_>, out: &mut Vec<u8>) -> Result<()> {
        let start = out.len();
        out.extend_from_slice(&[0; LENGTH_LEN]);
        let frame = std::mem::take(out);
        *out = match postcard::to_extend(entry, frame) {
            Ok(frame) => frame,
            Err(source) => {
                return Err(
                    Error::new(ErrorKind::AuditFailed, "the record cannot be encoded")
                        .with_source(source),
                );
            }
        };
        let body = start + LENGTH_LEN;
        let len = out.len() - body;
        let Some(prefix) = u32::try_from(len)
            .ok()
            .filter(|_| len <= AUDIT_RECORD_LEN_MAX)
        else {
            out.truncate(start);
            return Err(limit(
                "the length of an audit record",
                len,
                AUDIT_RECORD_LEN_MAX,
            ));
        };
        out[start..body].copy_from_slice(&prefix.to_le_bytes());
        let hash = self.hash_of(&out[body..]);
        out.extend_from_slice(&hash);
        self.advance(hash);
        Ok(())
    }

    /// Checks that `frame` is the next record of the chain and decodes it.
    ///
    /// # Errors
    ///
    /// [`Damaged`](ErrorKind::Damaged) if it is another record, or was changed; the chain stays where it was.
    pub fn follow<'a>(&mut self, frame: &'a Frame) -> Result<Entry<'a>> {
        let hash = self.hash_of(&frame.body);
        if hash != frame.hash {
            return Err(damaged("does not follow from the record before it"));
        }
        let entry = frame.decode()?;
        self.advance(hash);
        Ok(entry)
    }

    fn hash_of(&self, body: &[u8]) -> [u8; 32] {
        Sha256::new()
            .chain_update(self.head.hash)
            .chain_update(self.head.records.to_be_bytes())
            .chain_update(body)
            .finalize()
            .into()
    }

    fn advance(&mut self, hash: [u8; 32]) {
        self.head.records += 1;
        self.head.hash = hash;
    }
}

/// One record as it was written: its body and the hash that chains it.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Frame {
    body: Vec<u8>,
    hash: [u8; 32],
}

impl Frame {
    /// What the record says. This does not check the chain; [`Chain::follow`] does.
    ///
    /// # Errors
    ///
    /// [`Damaged`](ErrorKind::Damaged) if the bytes are no record.
    pub fn decode(&self) -> Result<Entry<'_>> {
        match postcard::take_from_bytes(&self.body) {
            Ok((entry, [])) => Ok(entry),
            _ => Err(damaged("is no audit record")),
        }
    }

    /// The hash over this record and all before it.
    #[must_use]
    pub const fn hash(&self) -> &[u8; 32] {
        &self.hash
    }

    /// The bytes of the frame, as [`Chain::append`] wrote them.
    #[must_use]
    pub fn to_bytes(&self) -> Vec<u8> {
        let len = u32::try_from(self.body.len()).unwrap_or(u32::MAX);
        let mut bytes = Vec::with_capacity(LENGTH_LEN + self.body.len() + HASH_LEN);
        bytes.extend_from_slice(&len.to_le_bytes());
        bytes.extend_from_slice(&self.body);
        bytes.extend_from_slice(&self.hash);
        bytes
    }
}

/// Splits the first frame off `bytes`. `None` where the stream ends: no bytes, or a length of zero as in the unwritten
/// part of a file.
///
/// # Errors
///
/// [`Damaged`](ErrorKind::Damaged) if the length is impossible or the bytes end within the frame.
pub fn split_frame(bytes: &[u8]) -> Result<Option<(Frame, &[u8])>> {
    let Some((length, rest)) = bytes.split_first_chunk::<LENGTH_LEN>() else {
        return if bytes.iter().all(|byte| *byte == 0) {
            Ok(None)
        } else {
            Err(damaged("is cut off"))
        };
    };
    let len = u32::from_le_bytes(*length) as usize;
    if len == 0 {
        return Ok(None);
    }
    if len > AUDIT_RECORD_LEN_MAX {
        return Err(damaged("has an impossible length"));
    }
    let Some((body, rest)) = rest.split_at_checked(len) else {
        return Err(damaged("is cut off"));
    };
    let Some((hash, rest)) = rest.split_first_chunk::<HASH_LEN>() else {
        return Err(damaged("is cut off"));
    };
    let frame = Frame {
        body: body.to_vec(),
        hash: *hash,
    };
    Ok(Some((frame, rest)))
}

fn damaged(what: &'static str) -> Error {
    Error::new(ErrorKind::Damaged, format!("an audit record {what}"))
}
