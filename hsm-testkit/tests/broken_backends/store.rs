//! Stores that are wrong in one thing.

use std::collections::BTreeMap;
use std::future::poll_fn;
use std::sync::Arc;
use std::task::Poll;
use std::thread;

use async_trait::async_trait;
use hsm_core::limits::{RECORD_KEY_LEN_MAX, RECORD_LEN_MAX};
use hsm_core::{Result, Snapshot, Space, Store, TransactBody, Transaction, ViewBody};
use hsm_testkit::suite::{self, Case};
use hsm_testkit::{MemoryStore, Reopen};
use parking_lot::Mutex;
use pollster::block_on;

#[derive(Clone, Copy, Debug, Eq, PartialEq)]
enum Flaw {
    None,
    /// Returns success when the change is in its memory, and writes when it is closed.
    AcknowledgesEarly,
    /// Cuts records that are too long.
    CutsRecords,
    /// Does nothing for a caller who has lost interest.
    ForgetsDroppedFutures,
    /// Shows the same version for ever.
    KeepsItsVersion,
    /// Lets somebody commit between a body's reads and its commit.
    LosesUpdates,
    /// Scans from the end.
    ScansBackwards,
    /// Keeps what a body had written when it failed.
    TearsTransactions,
    /// Reads each record of a view as it is now.
    TearsViews,
}

super::caught! { cases(Flaw):
    durability: AcknowledgesEarly by [
        "acknowledged_transactions_survive": "when transact returns Ok it survives kill -9",
        "openers_see_each_others_changes": "the version changes with every committed transaction of any process",
        "openers_exclude_each_other": "transactions are serializable, also among processes",
    ],
    lengths: CutsRecords by [
        "records_beyond_the_limits_are_refused": "longer ones are refused",
    ],
    dropped_futures: ForgetsDroppedFutures by [
        "a_dropped_future_still_commits": "a transaction goes on, and is committed, even if the future is dropped",
    ],
    versions: KeepsItsVersion by [
        "a_commit_changes_the_version": "the version changes with every committed transaction",
    ],
    serializability: LosesUpdates by [
        "concurrent_increments_add_up": "transactions are serializable",
    ],
    order: ScansBackwards by [
        "scans_are_ordered_and_bounded": "in the order of the bytes",
    ],
    atomicity: TearsTransactions by [
        "a_failed_body_changes_nothing": "a transaction happens whole or not at all",
        "large_transactions_happen_whole": "a transaction happens whole or not at all",
        "failed_transactions_leave_nothing_behind": "a transaction happens whole or not at all",
    ],
    snapshots: TearsViews by [
        "a_view_is_one_snapshot": "what a view reads is one snapshot",
    ],
}

fn cases(flaw: Flaw) -> Vec<Case> {
    let mut cases = suite::store(move || Box::new(BrokenStore::open(flaw, &MemoryStore::new())));
    cases.extend(suite::durable_store(move || {
        let disk = MemoryStore::new();
        Reopen::store(move || BrokenStore::open(flaw, &disk))
    }));
    cases
}

#[derive(Debug)]
struct BrokenStore {
    flaw: Flaw,
    /// What others see.
    disk: MemoryStore,
    /// The disk, or a copy that is written when the store is closed.
    records: MemoryStore,
}

impl BrokenStore {
    fn open(flaw: Flaw, disk: &MemoryStore) -> Self {
        let records = if flaw == Flaw::AcknowledgesEarly {
            let copy = MemoryStore::new();
            copy_records(disk, &copy);
            copy
        } else {
            disk.clone()
        };
        Self {
            flaw,
            disk: disk.clone(),
            records,
        }
    }
}

impl Drop for BrokenStore {
    fn drop(&mut self) {
        if self.flaw == Flaw::AcknowledgesEarly {
            copy_records(&self.records, &self.disk);
        }
    }
}

#[async_trait]
impl Store for BrokenStore {
    fn version(&self) -> Result<u64> {
        match self.flaw {
            Flaw::KeepsItsVersion => Ok(1),
            _ => self.records.version(),
        }
    }

    async fn view<'a>(&'a self, mut body: ViewBody<'a>) -> Result<()> {
        match self.flaw {
            Flaw::TearsViews => body(&Live(&self.records)),
            Flaw::ScansBackwards => {
                let backwards = |snapshot: &dyn Snapshot| body(&Backwards(snapshot));
                self.records.view(Box::new(backwards)).await
            }
            _ => self.records.view(body).await,
        }
    }

    async fn transact(&self, mut body: TransactBody) -> Result<()> {
        match self.flaw {
            Flaw::CutsRecords => {
                let cut = move |tx: &mut dyn Transaction| body(&mut Cutting(tx));
                self.records.transact(Box::new(cut)).await
            }
            Flaw::ForgetsDroppedFutures => {
                let mut polled = false;
                poll_fn(|context| {
                    if std::mem::replace(&mut polled, true) {
                        return Poll::Ready(());
                    }
                    context.waker().wake_by_ref();
                    Poll::Pending
                })
                .await;
                self.records.transact(body).await
            }
            Flaw::LosesUpdates => {
                let writes = Arc::new(Mutex::new(Writes::new()));
                let read = writes.clone();
                let view = move |snapshot: &dyn Snapshot| {
                    let mut overlay = Overlay(snapshot, Writes::new());
                    body(&mut overlay)?;
                    *read.lock() = overlay.1;
                    Ok(())
                };
                self.records.view(Box::new(view)).await?;
                thread::yield_now();
                let apply = move |tx: &mut dyn Transaction| {
                    for ((space, key), value) in &*writes.lock() {
                        match value {
                            Some(value) => tx.put(*space, key, value)?,
                            None => tx.remove(*space, key)?,
                        }
                    }
                    Ok(())
                };
                self.records.transact(Box::new(apply)).await
            }
            Flaw::TearsTransactions => {
                let failure = Arc::new(Mutex::new(None));
                let kept = failure.clone();
                let swallow = move |tx: &mut dyn Transaction| {
                    *kept.lock() = body(tx).err();
                    Ok(())
                };
                self.records.transact(Box::new(swallow)).await?;
                let failure = failure.lock().take();
                failure.map_or(Ok(()), Err)
            }
            _ => self.records.transact(body).await,
        }
    }
}

fn copy_records(from: &MemoryStore, to: &MemoryStore) {
    let mut records = Vec::new();
    let read = |snapshot: &dyn Snapshot| {
        for space in Space::ALL {
            records.push((space, snapshot.scan(space, b"", None, usize::MAX)?));
        }
        Ok(())
    };
    block_on(from.view(Box::new(read))).unwrap();
    let write = move |tx: &mut dyn Transaction| {
        for (space, records) in &records {
            for (key, _) in tx.scan(*space, b"", None, usize::MAX)? {
                tx.remove(*space, &key)?;
            }
            for (key, value) in records {
                tx.put(*space, key, value)?;
            }
        }
        Ok(())
    };
    block_on(to.transact(Box::new(write))).unwrap();
}

type Rows = Vec<(Vec<u8>, Vec<u8>)>;
type Writes = BTreeMap<(Space, Vec<u8>), Option<Vec<u8>>>;

/// A view that is of no one time.
struct Live<'a>(&'a MemoryStore);

impl Live<'_> {
    fn now<T: Send>(&self, mut read: impl FnMut(&dyn Snapshot) -> Result<T> + Send) -> Result<T> {
        let mut result = None;
        let body = |snapshot: &dyn Snapshot| {
            result = Some(read(snapshot)?);
            Ok(())
        };
        block_on(self.0.view(Box::new(body)))?;
        Ok(result.unwrap())
    }
}

impl Snapshot for Live<'_> {
    fn version(&self) -> Result<u64> {
        self.0.version()
    }

    fn read(&self, space: Space, key: &[u8]) -> Result<Option<Vec<u8>>> {
        self.now(|snapshot| snapshot.read(space, key))
    }

    fn scan(
        &self,
        space: Space,
        prefix: &[u8],
        after: Option<&[u8]>,
        limit: usize,
    ) -> Result<Rows> {
        self.now(|snapshot| snapshot.scan(space, prefix, after, limit))
    }

    fn last(&self, space: Space) -> Result<Option<(Vec<u8>, Vec<u8>)>> {
        self.now(|snapshot| snapshot.last(space))
    }

    fn count(&self, space: Space, prefix: &[u8], limit: usize) -> Result<usize> {
        self.now(|snapshot| snapshot.count(space, prefix, limit))
    }
}

/// The reads that [`Backwards`], [`Cutting`] and [`Overlay`] leave as they are.
macro_rules! read_through {
    ($($method:ident)*) => {
        $(read_through!(@ $method);)*
    };
    (@ version) => {
        fn version(&self) -> Result<u64> {
            self.0.version()
        }
    };
    (@ read) => {
        fn read(&self, space: Space, key: &[u8]) -> Result<Option<Vec<u8>>> {
            self.0.read(space, key)
        }
    };
    (@ scan) => {
        fn scan(&self, space: Space, prefix: &[u8], after: Option<&[u8]>, limit: usize) -> Result<Rows> {
            self.0.scan(space, prefix, after, limit)
        }
    };
    (@ last) => {
        fn last(&self, space: Space) -> Result<Option<(Vec<u8>, Vec<u8>)>> {
            self.0.last(space)
        }
    };
    (@ count) => {
        fn count(&self, space: Space, prefix: &[u8], limit: usize) -> Result<usize> {
            self.0.count(space, prefix, limit)
        }
    };
}

struct Backwards<'a>(&'a dyn Snapshot);

impl Snapshot for Backwards<'_> {
    read_through!(version read last count);

    fn scan(
        &self,
        space: Space,
        prefix: &[u8],
        after: Option<&[u8]>,
        limit: usize,
    ) -> Result<Rows> {
        let mut found = self.0.scan(space, prefix, after, limit)?;
        found.reverse();
        Ok(found)
    }
}

struct Cutting<'a>(&'a mut dyn Transaction);

impl Snapshot for Cutting<'_> {
    read_through!(version read scan last count);
}

impl Transaction for Cutting<'_> {
    fn put(&mut self, space: Space, key: &[u8], value: &[u8]) -> Result<()> {
        let key = &key[..key.len().min(RECORD_KEY_LEN_MAX)];
        let value = &value[..value.len().min(RECORD_LEN_MAX)];
        self.0.put(space, key, value)
    }

    fn remove(&mut self, space: Space, key: &[u8]) -> Result<()> {
        self.0.remove(space, key)
    }
}

/// What a body writes, over a snapshot that may be old when it is committed.
struct Overlay<'a>(&'a dyn Snapshot, Writes);

impl Snapshot for Overlay<'_> {
    read_through!(version scan last count);

    fn read(&self, space: Space, key: &[u8]) -> Result<Option<Vec<u8>>> {
        match self.1.get(&(space, key.to_vec())) {
            Some(written) => Ok(written.clone()),
            None => self.0.read(space, key),
        }
    }
}

impl Transaction for Overlay<'_> {
    fn put(&mut self, space: Space, key: &[u8], value: &[u8]) -> Result<()> {
        self.1.insert((space, key.to_vec()), Some(value.to_vec()));
        Ok(())
    }

    fn remove(&mut self, space: Space, key: &[u8]) -> Result<()> {
        self.1.insert((space, key.to_vec()), None);
        Ok(())
    }
}
