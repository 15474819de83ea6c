//! Promise: an `EmbeddedStore`, in memory and in a file, passes the conformance suite for stores.
#![expect(clippy::unwrap_used, reason = "helpers of tests are tests")]

use async_trait::async_trait;
use hsm_core::{Result, Store, TransactBody, ViewBody};
use hsm_store::EmbeddedStore;
use tempfile::TempDir;

mod in_memory {
    hsm_testkit::store_conformance!(super::EmbeddedStore::in_memory().unwrap());
}

mod in_a_file {
    hsm_testkit::store_conformance!(super::StoreInAFile::new());
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
