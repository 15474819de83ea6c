//! Audit sinks that are wrong in one thing.

use std::sync::Arc;

use hsm_core::audit::{AuditSink, ChainHead, Checkpoint, Event, Frame, OwnedEvent, StreamId};
use hsm_core::limits::AUDIT_RECORD_LEN_MAX;
use hsm_core::{ErrorKind, Result};
use hsm_store::AuditLog;
use hsm_testkit::suite::{self, Case};
use hsm_testkit::{ManualClock, Reopen};
use parking_lot::Mutex;

#[derive(Clone, Copy, Debug, Eq, PartialEq)]
enum Flaw {
    None,
    /// Returns success when the record is in its memory, and appends at the next sync.
    AcknowledgesEarly,
    /// Takes events after its end, and forgets them.
    AppendsAfterClose,
    /// Cuts events that are too long.
    CutsEvents,
    /// Loses one event in seven.
    DropsEvents,
    /// Has an empty stream of any name.
    InventsStreams,
    /// Never says that a stream was left behind.
    KeepsQuiet,
    /// Takes a checkpoint of any head.
    SignsStaleHeads,
}

super::caught! { cases(Flaw):
    durability: AcknowledgesEarly by [
        "acknowledged_events_survive": "when append returns Ok, the record survives kill -9",
    ],
    ends: AppendsAfterClose by [
        "closing_ends_the_streams": "nothing can be appended after close",
    ],
    lengths: CutsEvents by [
        "oversize_events_are_refused": "an event of",
    ],
    losses: DropsEvents by [
        "events_come_back_in_order": "what append acknowledged can be read back, in order",
        "threads_append_at_once": "what append acknowledged can be read back, in order",
    ],
    streams: InventsStreams by [
        "parts_of_a_stream_can_be_read": "a stream that does not exist",
    ],
    abandoned_streams: KeepsQuiet by [
        "streams_left_behind_are_told_once": "streams that ended without a close are told to one, once",
    ],
    checkpoints: SignsStaleHeads by [
        "checkpoints_are_of_the_current_head": "a checkpoint is of the current head, or it is a Conflict",
    ],
}

fn cases(flaw: Flaw) -> Vec<Case> {
    let clock = Arc::<ManualClock>::default;
    let mut cases = suite::audit(move || {
        let log = AuditLog::in_memory(clock()).unwrap();
        Box::new(BrokenSink::new(flaw, log))
    });
    cases.extend(suite::durable_audit(move || {
        let folder = tempfile::tempdir().unwrap();
        Reopen::audit(move || {
            let log = AuditLog::open(folder.path().join("audit"), clock()).unwrap();
            BrokenSink::new(flaw, log)
        })
    }));
    cases
}

#[derive(Debug)]
struct BrokenSink {
    flaw: Flaw,
    log: AuditLog,
    state: Mutex<State>,
}

#[derive(Debug, Default)]
struct State {
    asked: u32,
    closed: bool,
    waiting: Vec<OwnedEvent>,
}

impl BrokenSink {
    fn new(flaw: Flaw, log: AuditLog) -> Self {
        Self {
            flaw,
            log,
            state: Mutex::default(),
        }
    }
}

impl AuditSink for BrokenSink {
    fn append(&self, event: &Event<'_>) -> Result<()> {
        let mut state = self.state.lock();
        state.asked += 1;
        match self.flaw {
            Flaw::AcknowledgesEarly => {
                state.waiting.push(event.clone().into_owned());
                Ok(())
            }
            Flaw::AppendsAfterClose if state.closed => Ok(()),
            Flaw::CutsEvents if event.detail.len() > AUDIT_RECORD_LEN_MAX => {
                let mut cut = event.clone();
                cut.detail = "…".into();
                self.log.append(&cut)
            }
            Flaw::DropsEvents if state.asked.is_multiple_of(7) => Ok(()),
            _ => self.log.append(event),
        }
    }

    fn heads(&self) -> Vec<ChainHead> {
        self.log.heads()
    }

    fn checkpoint(&self, checkpoint: &Checkpoint) -> Result<()> {
        match self.log.checkpoint(checkpoint) {
            Err(error)
                if error.kind() == ErrorKind::Conflict && self.flaw == Flaw::SignsStaleHeads =>
            {
                Ok(())
            }
            signed => signed,
        }
    }

    fn sync(&self) -> Result<()> {
        for event in self.state.lock().waiting.drain(..) {
            self.log.append(&event)?;
        }
        self.log.sync()
    }

    fn abandoned(&self) -> Result<Vec<ChainHead>> {
        match self.flaw {
            Flaw::KeepsQuiet => Ok(Vec::new()),
            _ => self.log.abandoned(),
        }
    }

    fn close(&self) -> Result<()> {
        self.state.lock().closed = true;
        self.log.close()
    }

    fn streams(&self) -> Result<Vec<StreamId>> {
        self.log.streams()
    }

    fn read(&self, stream: StreamId, from: u64, limit: usize) -> Result<Vec<Frame>> {
        match self.log.read(stream, from, limit) {
            Err(error)
                if error.kind() == ErrorKind::NotFound && self.flaw == Flaw::InventsStreams =>
            {
                Ok(Vec::new())
            }
            read => read,
        }
    }
}
