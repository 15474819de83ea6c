//! The audit log: records that chain, checkpoints that are signed, and a verifier that needs nothing but the bytes.
//!
//! There are two kinds of chains. The **journal** records every change (who created, rotated, deleted what) and lies in
//! the store, written in the very transaction that makes the change. A **stream** records every other attempt (uses of
//! keys, reads, refusals); each process that opens the HSM writes its own streams through an [`AuditSink`], several so
//! that threads do not wait for each other. The journal records which streams were opened and how they ended.
//!
//! `docs/audit_log.md` describes the format to the byte.

mod chain;
mod record;
mod verify;

pub use chain::{Chain, ChainHead, Frame, StreamId, split_frame};
pub use record::{Checkpoint, Entry, Event, OwnedEvent, RequestId, StreamEvent};
pub use verify::{Flaw, StreamMarks, StreamVerifier, Verified, verify_stream};

use std::sync::Arc;

use crate::error::Result;

/// Where the records of operations go.
///
/// # Contract
///
/// - When [`append`](AuditSink::append) returns `Ok`, the record survives the death of the process (`kill -9`). It is
///   on disk after the next [`sync`](AuditSink::sync).
/// - It costs well under a microsecond: it is on the path of every signature. Threads do not wait for each other.
/// - When it fails, nothing was appended, and the engine withholds the operation's result.
/// - Each stream is one [`Chain`], written in order.
pub trait AuditSink: std::fmt::Debug + Send + Sync {
    /// Appends an event to one of the sink's streams.
    ///
    /// # Errors
    ///
    /// [`AuditFailed`](crate::ErrorKind::AuditFailed); nothing was appended.
    fn append(&self, event: &Event<'_>) -> Result<()>;

    /// The heads of the streams that this sink writes, in a fixed order.
    fn heads(&self) -> Vec<ChainHead>;

    /// Appends a checkpoint to the stream that it names, if that still stands where the checkpoint says.
    ///
    /// # Errors
    ///
    /// [`Conflict`](crate::ErrorKind::Conflict) if the stream has moved on: sign the new head and try again.
    /// [`AuditFailed`](crate::ErrorKind::AuditFailed) otherwise. Either way nothing was appended.
    fn checkpoint(&self, checkpoint: &Checkpoint) -> Result<()>;

    /// Puts everything that was appended on disk.
    ///
    /// # Errors
    ///
    /// [`AuditFailed`](crate::ErrorKind::AuditFailed).
    fn sync(&self) -> Result<()>;

    /// Streams of processes that ended without closing them, which nobody has reported yet, with the last good record
    /// of each. Whoever asks takes them over; nobody else is told of them while that process lives.
    ///
    /// # Errors
    ///
    /// [`AuditFailed`](crate::ErrorKind::AuditFailed).
    fn abandoned(&self) -> Result<Vec<ChainHead>>;

    /// Ends the sink's streams. Nothing can be appended afterwards.
    ///
    /// # Errors
    ///
    /// [`AuditFailed`](crate::ErrorKind::AuditFailed).
    fn close(&self) -> Result<()>;

    /// Every stream there is, of this and of other processes, past and present.
    ///
    /// # Errors
    ///
    /// [`AuditFailed`](crate::ErrorKind::AuditFailed).
    fn streams(&self) -> Result<Vec<StreamId>>;

    /// Up to `limit` frames of a stream, from sequence number `from` on, as they were written.
    ///
    /// # Errors
    ///
    /// [`NotFound`](crate::ErrorKind::NotFound) for a stream that does not exist,
    /// [`AuditFailed`](crate::ErrorKind::AuditFailed) if it cannot be read.
    fn read(&self, stream: StreamId, from: u64, limit: usize) -> Result<Vec<Frame>>;
}

macro_rules! implement_through {
    ($pointer:ident) => {
        /// For those who share a sink, or choose it while the program runs.
        #[deny(clippy::missing_trait_methods)]
        impl<A: AuditSink + ?Sized> AuditSink for $pointer<A> {
            fn append(&self, event: &Event<'_>) -> Result<()> {
                (**self).append(event)
            }

            fn heads(&self) -> Vec<ChainHead> {
                (**self).heads()
            }

            fn checkpoint(&self, checkpoint: &Checkpoint) -> Result<()> {
                (**self).checkpoint(checkpoint)
            }

            fn sync(&self) -> Result<()> {
                (**self).sync()
            }

            fn abandoned(&self) -> Result<Vec<ChainHead>> {
                (**self).abandoned()
            }

            fn close(&self) -> Result<()> {
                (**self).close()
            }

            fn streams(&self) -> Result<Vec<StreamId>> {
                (**self).streams()
            }

            fn read(&self, stream: StreamId, from: u64, limit: usize) -> Result<Vec<Frame>> {
                (**self).read(stream, from, limit)
            }
        }
    };
}

implement_through!(Arc);
implement_through!(Box);
