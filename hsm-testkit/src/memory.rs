//! [`MemoryStore`] and [`MemoryAudit`]: the obvious implementations, which keep nothing. They are what the others are
//! compared with.

use std::collections::BTreeMap;
use std::ops::Bound;
use std::sync::Arc;

use async_trait::async_trait;
use hsm_core::audit::{
    AuditSink, Chain, ChainHead, Checkpoint, Entry, Event, Frame, OwnedEvent, StreamId, split_frame,
};
use hsm_core::limits::{RECORD_KEY_LEN_MAX, RECORD_LEN_MAX};
use hsm_core::{
    Error, ErrorKind, Result, Snapshot, Space, Store, Timestamp, TransactBody, Transaction,
    ViewBody,
};
use parking_lot::Mutex;

type Records = BTreeMap<(Space, Vec<u8>), Vec<u8>>;

/// A [`Store`] in memory: one ordered map behind one lock. Clones share it.
///
/// ```
/// use futures_executor::block_on;
/// use hsm_core::{Space, Store};
/// use hsm_testkit::MemoryStore;
///
/// let store = MemoryStore::new();
/// block_on(store.transact(Box::new(|tx| tx.put(Space::Keys, b"name", b"record"))))?;
/// block_on(store.view(Box::new(|snapshot| {
///     assert_eq!(snapshot.read(Space::Keys, b"name")?.as_deref(), Some(&b"record"[..]));
///     Ok(())
/// })))?;
/// # Ok::<(), hsm_core::Error>(())
/// ```
#[derive(Clone, Debug, Default)]
pub struct MemoryStore(Arc<Mutex<MemorySnapshot>>);

impl MemoryStore {
    /// An empty store.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// A copy of the records as they are now, which goes its own way.
    #[must_use]
    pub fn copy(&self) -> Self {
        Self(Arc::new(Mutex::new(self.0.lock().clone())))
    }
}

#[async_trait]
impl Store for MemoryStore {
    fn version(&self) -> Result<u64> {
        Ok(self.0.lock().version)
    }

    async fn view<'a>(&'a self, mut body: ViewBody<'a>) -> Result<()> {
        let snapshot = self.0.lock().clone();
        body(&snapshot)
    }

    async fn transact(&self, mut body: TransactBody) -> Result<()> {
        let mut latest = self.0.lock();
        let mut transaction = latest.clone();
        body(&mut transaction)?;
        transaction.version += 1;
        *latest = transaction;
        Ok(())
    }
}

/// What a [`MemoryStore`] holds at one time. The records are copied when somebody writes while another still reads.
#[derive(Clone, Debug, Default)]
struct MemorySnapshot {
    version: u64,
    records: Arc<Records>,
}

impl Snapshot for MemorySnapshot {
    fn version(&self) -> Result<u64> {
        Ok(self.version)
    }

    fn read(&self, space: Space, key: &[u8]) -> Result<Option<Vec<u8>>> {
        Ok(self.records.get(&(space, key.to_vec())).cloned())
    }

    fn scan(
        &self,
        space: Space,
        prefix: &[u8],
        after: Option<&[u8]>,
        limit: usize,
    ) -> Result<Vec<(Vec<u8>, Vec<u8>)>> {
        let start = match after {
            Some(after) if after >= prefix => Bound::Excluded((space, after.to_vec())),
            _ => Bound::Included((space, prefix.to_vec())),
        };
        let found = self
            .records
            .range((start, Bound::Unbounded))
            .take_while(|((of, key), _)| *of == space && key.starts_with(prefix))
            .take(limit)
            .map(|((_, key), value)| (key.clone(), value.clone()));
        Ok(found.collect())
    }

    fn last(&self, space: Space) -> Result<Option<(Vec<u8>, Vec<u8>)>> {
        let end = (space, vec![u8::MAX; RECORD_KEY_LEN_MAX]);
        let last = self
            .records
            .range(..=end)
            .next_back()
            .filter(|((of, _), _)| *of == space)
            .map(|((_, key), value)| (key.clone(), value.clone()));
        Ok(last)
    }

    fn count(&self, space: Space, prefix: &[u8], limit: usize) -> Result<usize> {
        Ok(self.scan(space, prefix, None, limit)?.len())
    }
}

impl Transaction for MemorySnapshot {
    fn put(&mut self, space: Space, key: &[u8], value: &[u8]) -> Result<()> {
        check(
            "the length of a record's key",
            key.len(),
            RECORD_KEY_LEN_MAX,
        )?;
        check("the length of a record", value.len(), RECORD_LEN_MAX)?;
        Arc::make_mut(&mut self.records).insert((space, key.to_vec()), value.to_vec());
        Ok(())
    }

    fn remove(&mut self, space: Space, key: &[u8]) -> Result<()> {
        Arc::make_mut(&mut self.records).remove(&(space, key.to_vec()));
        Ok(())
    }
}

fn check(what: &str, len: usize, max: usize) -> Result<()> {
    if len <= max {
        return Ok(());
    }
    Err(Error::new(
        ErrorKind::LimitExceeded,
        format!("{what} is {len}, at most {max} is allowed"),
    ))
}

/// An [`AuditSink`] in memory, with one stream. Clones share it.
///
/// ```
/// use hsm_testkit::MemoryAudit;
///
/// let audit = MemoryAudit::new();
/// // … hand a clone to the engine, use it, then:
/// assert!(audit.events().is_empty());
/// ```
#[derive(Clone, Debug)]
pub struct MemoryAudit(Arc<Mutex<Stream>>);

#[derive(Debug)]
struct Stream {
    chain: Chain,
    frames: Vec<Frame>,
    last: Timestamp,
    closed: bool,
}

impl MemoryAudit {
    /// A sink with an empty stream.
    #[must_use]
    pub fn new() -> Self {
        Self::with_stream(StreamId::from_bytes([7; 16]))
    }

    /// A sink with an empty stream of this id.
    #[must_use]
    pub fn with_stream(stream: StreamId) -> Self {
        Self(Arc::new(Mutex::new(Stream {
            chain: Chain::new(stream),
            frames: Vec::new(),
            last: Timestamp::default(),
            closed: false,
        })))
    }

    /// The events of the stream, in order.
    #[must_use]
    pub fn events(&self) -> Vec<OwnedEvent> {
        let stream = self.0.lock();
        let entries = stream.frames.iter().filter_map(|frame| frame.decode().ok());
        entries
            .filter_map(|entry| match entry {
                Entry::Event(event) => Some(event.into_owned()),
                _ => None,
            })
            .collect()
    }
}

impl Default for MemoryAudit {
    fn default() -> Self {
        Self::new()
    }
}

impl Stream {
    fn append(&mut self, entry: &Entry<'_>, time: Timestamp) -> Result<()> {
        if self.closed {
            return Err(Error::new(
                ErrorKind::AuditFailed,
                "the stream is closed; nothing can be appended",
            ));
        }
        let mut bytes = Vec::new();
        self.chain.append(entry, &mut bytes)?;
        self.frames
            .extend(split_frame(&bytes)?.map(|(frame, _)| frame));
        self.last = time;
        Ok(())
    }
}

impl AuditSink for MemoryAudit {
    fn append(&self, event: &Event<'_>) -> Result<()> {
        let entry = Entry::Event(event.clone());
        self.0.lock().append(&entry, event.time)
    }

    fn heads(&self) -> Vec<ChainHead> {
        vec![self.0.lock().chain.head()]
    }

    fn checkpoint(&self, checkpoint: &Checkpoint) -> Result<()> {
        let mut stream = self.0.lock();
        let head = stream.chain.head();
        if head.stream != checkpoint.head.stream {
            return Err(Error::new(
                ErrorKind::AuditFailed,
                "the checkpoint is of a stream that this sink does not write",
            ));
        }
        if head != checkpoint.head && !stream.closed {
            return Err(Error::new(
                ErrorKind::Conflict,
                "the stream has moved on from the head that the checkpoint names",
            ));
        }
        let entry = Entry::Checkpoint(checkpoint.clone());
        stream.append(&entry, checkpoint.time)
    }

    fn sync(&self) -> Result<()> {
        Ok(())
    }

    fn abandoned(&self) -> Result<Vec<ChainHead>> {
        Ok(Vec::new())
    }

    fn close(&self) -> Result<()> {
        let mut stream = self.0.lock();
        let time = stream.last;
        stream.append(&Entry::Closed { time }, time)?;
        stream.closed = true;
        Ok(())
    }

    fn streams(&self) -> Result<Vec<StreamId>> {
        Ok(vec![self.0.lock().chain.head().stream])
    }

    fn read(&self, stream: StreamId, from: u64, limit: usize) -> Result<Vec<Frame>> {
        let kept = self.0.lock();
        if kept.chain.head().stream != stream {
            return Err(Error::new(
                ErrorKind::NotFound,
                format!("there is no audit stream {stream}"),
            ));
        }
        let from = usize::try_from(from).unwrap_or(usize::MAX);
        Ok(kept.frames.iter().skip(from).take(limit).cloned().collect())
    }
}
