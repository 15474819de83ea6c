//! [`FaultyStore`] and [`FaultyAudit`]: wrappers that fail when they are told to, before the call or after it.

use std::collections::VecDeque;
use std::sync::Arc;

use async_trait::async_trait;
use hsm_core::audit::{AuditSink, ChainHead, Checkpoint, Event, Frame, StreamId};
use hsm_core::{Error, ErrorKind, Result, Store, TransactBody, ViewBody};
use parking_lot::Mutex;

/// How a call fails.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
#[expect(
    clippy::exhaustive_enums,
    reason = "a call fails before its effect or after it"
)]
pub enum Fault {
    /// The call does not arrive: nothing happens, and it fails as its contract says.
    Before,
    /// The call takes effect and the reply is lost: [`ErrorKind::Unknown`].
    After,
}

/// Which calls fail. Clones share the plan, so a test keeps one and gives one away.
///
/// ```
/// use futures_executor::block_on;
/// use hsm_core::{ErrorKind, Space, Store};
/// use hsm_testkit::{Fault, Faults, FaultyStore, MemoryStore};
///
/// let faults = Faults::none();
/// let store = FaultyStore::new(MemoryStore::new(), faults.clone(), Faults::none());
/// faults.plan([None, Some(Fault::After)]);
/// let put = || block_on(store.transact(Box::new(|tx| tx.put(Space::Keys, b"name", b"record"))));
/// assert!(put().is_ok());
/// assert_eq!(put().unwrap_err().kind(), ErrorKind::Unknown);
/// assert!(put().is_ok());
/// ```
#[derive(Clone, Debug, Default)]
pub struct Faults(Arc<Mutex<VecDeque<Option<Fault>>>>);

impl Faults {
    /// No call fails, for now.
    #[must_use]
    pub fn none() -> Self {
        Self::default()
    }

    /// What becomes of the next calls, one by one, in place of an earlier plan. Those beyond succeed.
    pub fn plan(&self, faults: impl IntoIterator<Item = Option<Fault>>) {
        *self.0.lock() = faults.into_iter().collect();
    }

    /// Makes the next call fail.
    pub fn strike(&self, fault: Fault) {
        self.plan([Some(fault)]);
    }

    fn next(&self) -> Option<Fault> {
        self.0.lock().pop_front().flatten()
    }

    /// Runs `call`, unless it is to fail.
    fn run<T>(&self, before: ErrorKind, call: impl FnOnce() -> Result<T>) -> Result<T> {
        let fault = self.next();
        refuse(fault, before)?;
        let result = call()?;
        lose(fault)?;
        Ok(result)
    }
}

fn refuse(fault: Option<Fault>, kind: ErrorKind) -> Result<()> {
    if fault == Some(Fault::Before) {
        return Err(Error::new(kind, "a fault was planned before this call"));
    }
    Ok(())
}

fn lose(fault: Option<Fault>) -> Result<()> {
    if fault == Some(Fault::After) {
        return Err(Error::new(
            ErrorKind::Unknown,
            "a fault was planned after this call",
        ));
    }
    Ok(())
}

/// A [`Store`] whose transactions and views fail as planned: before with [`ErrorKind::StoreFailed`].
#[derive(Debug)]
pub struct FaultyStore<S> {
    store: S,
    writes: Faults,
    reads: Faults,
}

impl<S: Store> FaultyStore<S> {
    /// Wraps `store`. `writes` strikes [`Store::transact`], `reads` strikes [`Store::view`] and [`Store::version`].
    pub const fn new(store: S, writes: Faults, reads: Faults) -> Self {
        Self {
            store,
            writes,
            reads,
        }
    }
}

#[deny(clippy::missing_trait_methods)]
#[async_trait]
impl<S: Store> Store for FaultyStore<S> {
    fn version(&self) -> Result<u64> {
        self.reads
            .run(ErrorKind::StoreFailed, || self.store.version())
    }

    async fn view<'a>(&'a self, body: ViewBody<'a>) -> Result<()> {
        let fault = self.reads.next();
        refuse(fault, ErrorKind::StoreFailed)?;
        self.store.view(body).await?;
        lose(fault)
    }

    async fn transact(&self, body: TransactBody) -> Result<()> {
        let fault = self.writes.next();
        refuse(fault, ErrorKind::StoreFailed)?;
        self.store.transact(body).await?;
        lose(fault)
    }
}

/// An [`AuditSink`] whose writes fail as planned: before with [`ErrorKind::AuditFailed`].
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
