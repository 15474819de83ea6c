//! Promise: an `EmbeddedStore`, in memory and in a file, passes the conformance suite for stores, and an `AuditLog`, in
//! memory and in a folder, the one for audit sinks; what they acknowledged is there for whoever opens them next.
#![expect(clippy::unwrap_used, reason = "helpers of tests are tests")]

use std::sync::Arc;

use async_trait::async_trait;
use hsm_core::audit::{AuditSink, ChainHead, Checkpoint, Event, Frame, StreamId};
use hsm_core::{Result, Store, TransactBody, ViewBody};
use hsm_store::{AuditLog, EmbeddedStore};
use hsm_testkit::ManualClock;
use tempfile::TempDir;

mod in_memory {
    hsm_testkit::store_conformance!(super::EmbeddedStore::in_memory().unwrap());
    hsm_testkit::audit_conformance!(super::log_in_memory());
}

mod in_a_file {
    hsm_testkit::store_conformance!(super::StoreInAFile::new());
    hsm_testkit::store_durability!(super::store_to_reopen());
}

mod in_a_folder {
    hsm_testkit::audit_conformance!(super::LogInAFolder::new());
    hsm_testkit::audit_durability!(super::log_to_reopen());
}

fn log_in_memory() -> AuditLog {
    AuditLog::in_memory(Arc::<ManualClock>::default()).unwrap()
}

fn store_to_reopen() -> impl Fn() -> EmbeddedStore {
    let folder = tempfile::tempdir().unwrap();
    drop(EmbeddedStore::create(folder.path().join("store.db")).unwrap());
    move || EmbeddedStore::open(folder.path().join("store.db")).unwrap()
}

fn log_to_reopen() -> impl Fn() -> AuditLog {
    let folder = tempfile::tempdir().unwrap();
    move || AuditLog::open(folder.path().join("audit"), Arc::<ManualClock>::default()).unwrap()
}

/// A store in a file, and the folder that goes with it.
#[derive(Debug)]
struct StoreInAFile {
    store: EmbeddedStore,
    _folder: TempDir,
}

impl StoreInAFile {
    fn new() -> Self {
        let folder = tempfile::tempdir().unwrap();
        let store = EmbeddedStore::create(folder.path().join("store.db")).unwrap();
        Self {
            store,
            _folder: folder,
        }
    }
}

#[deny(clippy::missing_trait_methods)]
#[async_trait]
impl Store for StoreInAFile {
    fn version(&self) -> Result<u64> {
        self.store.version()
    }

    async fn view<'a>(&'a self, body: ViewBody<'a>) -> Result<()> {
        self.store.view(body).await
    }

    async fn transact(&self, body: TransactBody) -> Result<()> {
        self.store.transact(body).await
    }
}

/// An audit log in a folder that goes with it.
#[derive(Debug)]
struct LogInAFolder {
    log: AuditLog,
    _folder: TempDir,
}

impl LogInAFolder {
    fn new() -> Self {
        let folder = tempfile::tempdir().unwrap();
        let log = AuditLog::open(folder.path().join("audit"), Arc::<ManualClock>::default());
        Self {
            log: log.unwrap(),
            _folder: folder,
        }
    }
}

#[deny(clippy::missing_trait_methods)]
impl AuditSink for LogInAFolder {
    fn append(&self, event: &Event<'_>) -> Result<()> {
        self.log.append(event)
    }

    fn heads(&self) -> Vec<ChainHead> {
        self.log.heads()
    }

    fn checkpoint(&self, checkpoint: &Checkpoint) -> Result<()> {
        self.log.checkpoint(checkpoint)
    }

    fn sync(&self) -> Result<()> {
        self.log.sync()
    }

    fn abandoned(&self) -> Result<Vec<ChainHead>> {
        self.log.abandoned()
    }

    fn close(&self) -> Result<()> {
        self.log.close()
    }

    fn streams(&self) -> Result<Vec<StreamId>> {
        self.log.streams()
    }

    fn read(&self, stream: StreamId, from: u64, limit: usize) -> Result<Vec<Frame>> {
        self.log.read(stream, from, limit)
    }
}
