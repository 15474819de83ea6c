//! [`FaultyStore`].

use std::sync::Arc;

use async_trait::async_trait;
use hsm_core::{
    Error, ErrorKind, Result, Snapshot, Space, Store, TransactBody, Transaction, ViewBody,
};
use parking_lot::Mutex;

use super::{Fault, Faults, refuse};

/// A [`Store`] whose transactions and views fail as planned, with [`ErrorKind::StoreFailed`] unless they may have changed
/// something.
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

    /// Runs `body` and lets the first of its writes reach the store, as one transaction.
    async fn tear(&self, mut body: TransactBody, writes: usize) -> Result<()> {
        let recorded = Arc::new(Mutex::new(None));
        let slot = recorded.clone();
        let rehearsal = move |transaction: &mut dyn Transaction| {
            let mut recorder = Recorder {
                transaction,
                writes: Vec::new(),
            };
            body(&mut recorder)?;
            *slot.lock() = Some(recorder.writes);
            Err(gone())
        };
        let rehearsed = self.store.transact(Box::new(rehearsal)).await;
        let Some(recorded) = recorded.lock().take() else {
            return rehearsed; // the body itself failed
        };
        let torn = move |transaction: &mut dyn Transaction| {
            for (space, key, value) in recorded.iter().take(writes) {
                match value {
                    Some(value) => transaction.put(*space, key, value)?,
                    None => transaction.remove(*space, key)?,
                }
            }
            Ok(())
        };
        self.store.transact(Box::new(torn)).await?;
        Err(gone())
    }
}

fn gone() -> Error {
    Error::new(
        ErrorKind::Unknown,
        "the power went in the middle, as planned",
    )
}

#[deny(clippy::missing_trait_methods)]
#[async_trait]
impl<S: Store> Store for FaultyStore<S> {
    fn version(&self) -> Result<u64> {
        self.reads
            .run(ErrorKind::StoreFailed, || self.store.version())
    }

    async fn view<'a>(&'a self, mut body: ViewBody<'a>) -> Result<()> {
        let fault = self.reads.next();
        if let Some(Fault::Garbage { at }) = fault {
            let garbled = move |snapshot: &dyn Snapshot| {
                let garbling = Garbling::new(at);
                body(&Garbled { snapshot, garbling })
            };
            return self.store.view(Box::new(garbled)).await;
        }
        self.reads.before(fault, ErrorKind::StoreFailed).await?;
        self.store.view(body).await?;
        // Reading again does no harm: this is no `Unknown`.
        self.reads.after(fault, ErrorKind::StoreFailed).await
    }

    async fn transact(&self, mut body: TransactBody) -> Result<()> {
        let fault = self.writes.next();
        match fault {
            Some(Fault::Garbage { at }) => {
                let garbled = move |transaction: &mut dyn Transaction| {
                    let garbling = Garbling::new(at);
                    body(&mut GarbledTransaction {
                        transaction,
                        garbling,
                    })
                };
                return self.store.transact(Box::new(garbled)).await;
            }
            Some(Fault::NoSpace { writes }) => {
                let cramped = move |transaction: &mut dyn Transaction| {
                    body(&mut Cramped {
                        transaction,
                        writes,
                    })?;
                    refuse(fault, ErrorKind::StoreFailed) // at the commit, then
                };
                return self.store.transact(Box::new(cramped)).await;
            }
            Some(Fault::Torn { writes }) => return self.tear(body, writes).await,
            _ => {}
        }
        self.writes.before(fault, ErrorKind::StoreFailed).await?;
        self.store.transact(body).await?;
        self.writes.after(fault, ErrorKind::Unknown).await
    }
}

/// The reads of a wrapper around a transaction, which leaves them as they are.
macro_rules! reads_of {
    ($wrapper:ident) => {
        impl Snapshot for $wrapper<'_> {
            fn version(&self) -> Result<u64> {
                self.transaction.version()
            }

            fn read(&self, space: Space, key: &[u8]) -> Result<Option<Vec<u8>>> {
                self.transaction.read(space, key)
            }

            fn scan(
                &self,
                space: Space,
                prefix: &[u8],
                after: Option<&[u8]>,
                limit: usize,
            ) -> Result<Vec<Record>> {
                self.transaction.scan(space, prefix, after, limit)
            }

            fn last(&self, space: Space) -> Result<Option<Record>> {
                self.transaction.last(space)
            }

            fn count(&self, space: Space, prefix: &[u8], limit: usize) -> Result<usize> {
                self.transaction.count(space, prefix, limit)
            }
        }
    };
}

type Record = (Vec<u8>, Vec<u8>);

/// A transaction that remembers what was written.
struct Recorder<'a> {
    transaction: &'a mut dyn Transaction,
    writes: Vec<(Space, Vec<u8>, Option<Vec<u8>>)>,
}

reads_of!(Recorder);

impl Transaction for Recorder<'_> {
    fn put(&mut self, space: Space, key: &[u8], value: &[u8]) -> Result<()> {
        self.transaction.put(space, key, value)?;
        let written = (space, key.to_vec(), Some(value.to_vec()));
        self.writes.push(written);
        Ok(())
    }

    fn remove(&mut self, space: Space, key: &[u8]) -> Result<()> {
        self.transaction.remove(space, key)?;
        self.writes.push((space, key.to_vec(), None));
        Ok(())
    }
}

/// A transaction with room for so many writes.
struct Cramped<'a> {
    transaction: &'a mut dyn Transaction,
    writes: usize,
}

reads_of!(Cramped);

impl Cramped<'_> {
    fn take_room(&mut self) -> Result<()> {
        let Some(left) = self.writes.checked_sub(1) else {
            let full = Some(Fault::NoSpace { writes: 0 });
            return refuse(full, ErrorKind::StoreFailed);
        };
        self.writes = left;
        Ok(())
    }
}

impl Transaction for Cramped<'_> {
    fn put(&mut self, space: Space, key: &[u8], value: &[u8]) -> Result<()> {
        self.take_room()?;
        self.transaction.put(space, key, value)
    }

    fn remove(&mut self, space: Space, key: &[u8]) -> Result<()> {
        self.take_room()?;
        self.transaction.remove(space, key)
    }
}

/// Counts the records that are read, and flips a bit of one.
struct Garbling(Mutex<Option<usize>>);

impl Garbling {
    fn new(at: usize) -> Self {
        Self(Mutex::new(Some(at)))
    }

    fn pass(&self, value: &mut [u8]) {
        let mut left = self.0.lock();
        *left = match *left {
            Some(0) => {
                let middle = value.len() / 2;
                if let Some(byte) = value.get_mut(middle) {
                    *byte ^= 1;
                }
                None
            }
            left => left.map(|left| left - 1),
        };
    }

    fn pass_all(&self, records: &mut [Record]) {
        for (_, value) in records {
            self.pass(value);
        }
    }
}

/// The reads of a wrapper that garbles one of them.
macro_rules! garbled_reads_of {
    ($wrapper:ident, $inner:ident) => {
        impl Snapshot for $wrapper<'_> {
            fn version(&self) -> Result<u64> {
                self.$inner.version()
            }

            fn read(&self, space: Space, key: &[u8]) -> Result<Option<Vec<u8>>> {
                let mut found = self.$inner.read(space, key)?;
                if let Some(value) = &mut found {
                    self.garbling.pass(value);
                }
                Ok(found)
            }

            fn scan(
                &self,
                space: Space,
                prefix: &[u8],
                after: Option<&[u8]>,
                limit: usize,
            ) -> Result<Vec<Record>> {
                let mut found = self.$inner.scan(space, prefix, after, limit)?;
                self.garbling.pass_all(&mut found);
                Ok(found)
            }

            fn last(&self, space: Space) -> Result<Option<Record>> {
                let mut found = self.$inner.last(space)?;
                self.garbling.pass_all(found.as_mut_slice());
                Ok(found)
            }

            fn count(&self, space: Space, prefix: &[u8], limit: usize) -> Result<usize> {
                self.$inner.count(space, prefix, limit)
            }
        }
    };
}

struct Garbled<'a> {
    snapshot: &'a dyn Snapshot,
    garbling: Garbling,
}

garbled_reads_of!(Garbled, snapshot);

struct GarbledTransaction<'a> {
    transaction: &'a mut dyn Transaction,
    garbling: Garbling,
}

garbled_reads_of!(GarbledTransaction, transaction);

impl Transaction for GarbledTransaction<'_> {
    fn put(&mut self, space: Space, key: &[u8], value: &[u8]) -> Result<()> {
        self.transaction.put(space, key, value)
    }

    fn remove(&mut self, space: Space, key: &[u8]) -> Result<()> {
        self.transaction.remove(space, key)
    }
}
