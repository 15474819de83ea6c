//! [`FaultyAudit`].

use hsm_core::audit::{AuditSink, ChainHead, Checkpoint, Event, Frame, StreamId};
use hsm_core::{ErrorKind, Result};

use super::Faults;

/// An [`AuditSink`] whose writes fail as planned, with [`ErrorKind::AuditFailed`]: its contract has no other kind, so that a
/// record which is kept and whose reply is lost looks like one that is not. A stalled call blocks its thread.
#[derive(Debug)]
pub struct FaultyAudit<A> {
    sink: A,
    writes: Faults,
}

impl<A: AuditSink> FaultyAudit<A> {
    /// Wraps `sink`. `writes` strikes `append`, `checkpoint`, `sync` and `close`.
    pub const fn new(sink: A, writes: Faults) -> Self {
        Self { sink, writes }
    }
}

#[deny(clippy::missing_trait_methods)]
impl<A: AuditSink> AuditSink for FaultyAudit<A> {
    fn append(&self, event: &Event<'_>) -> Result<()> {
        self.writes
            .run(ErrorKind::AuditFailed, || self.sink.append(event))
    }

    fn heads(&self) -> Vec<ChainHead> {
        self.sink.heads()
    }

    fn checkpoint(&self, checkpoint: &Checkpoint) -> Result<()> {
        self.writes
            .run(ErrorKind::AuditFailed, || self.sink.checkpoint(checkpoint))
    }

    fn sync(&self) -> Result<()> {
        self.writes.run(ErrorKind::AuditFailed, || self.sink.sync())
    }

    fn abandoned(&self) -> Result<Vec<ChainHead>> {
        self.sink.abandoned()
    }

    fn close(&self) -> Result<()> {
        self.writes
            .run(ErrorKind::AuditFailed, || self.sink.close())
    }

    fn streams(&self) -> Result<Vec<StreamId>> {
        self.sink.streams()
    }

    fn read(&self, stream: StreamId, from: u64, limit: usize) -> Result<Vec<Frame>> {
        self.sink.read(stream, from, limit)
    }
}
