//! Promise: beyond what every store must do, an `EmbeddedStore` survives bodies that panic, never shows two states under
//! one version, and makes its files for their owner only.
#![expect(clippy::unwrap_used, reason = "helpers of tests are tests")]

use std::sync::Arc;

use futures_executor::block_on;
use hsm_core::limits::RECORD_KEY_LEN_MAX;
use hsm_core::{ErrorKind, Result, Snapshot, Space, Store, Transaction};
use hsm_store::EmbeddedStore;

/// One `#[test]` for each case and each kind of store.
macro_rules! cases {
    ($($case:ident),* $(,)?) => {
        mod in_memory {
            $(#[test] fn $case() {
                super::$case(&hsm_store::EmbeddedStore::in_memory().unwrap());
            })*
        }
        mod in_a_file {
            $(#[test] fn $case() {
                let folder = tempfile::tempdir().unwrap();
                let path = folder.path().join("store.db");
                super::$case(&hsm_store::EmbeddedStore::create(path).unwrap());
            })*
        }
    };
}

cases! {
    any_bytes_are_a_key,
    a_body_that_panics_changes_nothing,
    versions_stay_when_nothing_changes,
    a_snapshot_shows_its_version,
    transactions_that_share_a_commit_see_different_versions,
}

fn any_bytes_are_a_key(store: &dyn Store) {
    let keys: Vec<Vec<u8>> = vec![
        vec![],
        vec![0],
        vec![0, 0],
        vec![0, 255],
        vec![b'\''],
        vec![255],
        vec![255; RECORD_KEY_LEN_MAX],
    ];
    for key in &keys {
        put(store, Space::Tree, key, key);
    }
    for key in &keys {
        assert_eq!(get(store, Space::Tree, key).as_ref(), Some(key));
    }
    assert_eq!(scan_keys(store, b""), keys);
    assert_eq!(scan_keys(store, &[255]), keys[5..]);
}

fn a_body_that_panics_changes_nothing(store: &dyn Store) {
    let failed = transact(store, |records| {
        records.put(Space::Keys, b"a", b"after")?;
        panic!("as the test wants");
    });
    assert_eq!(failed.unwrap_err().kind(), ErrorKind::StoreFailed);
    assert_eq!(get(store, Space::Keys, b"a"), None);
    put(store, Space::Keys, b"a", b"the store goes on");
}

fn versions_stay_when_nothing_changes(store: &dyn Store) {
    put(store, Space::Keys, b"a", b"1");
    let version = store.version().unwrap();
    get(store, Space::Keys, b"a");
    transact(store, |records| records.read(Space::Keys, b"a").map(|_| ())).unwrap();
    assert_eq!(store.version().unwrap(), version);
}

fn a_snapshot_shows_its_version(store: &dyn Store) {
    put(store, Space::Keys, b"a", b"1");
    let shown = view(store, |records| records.version());
    assert_eq!(shown, store.version().unwrap());
    transact(store, move |records| {
        assert_eq!(records.version()?, shown);
        records.put(Space::Keys, b"a", b"2")?;
        assert_ne!(records.version()?, shown);
        Ok(())
    })
    .unwrap();
}

fn transactions_that_share_a_commit_see_different_versions(store: &dyn Store) {
    let seen = Arc::new(parking_lot::Mutex::new(Vec::new()));
    for _ in 0..50 {
        let seen = Arc::clone(&seen);
        drop_once_started(store, move |records| {
            seen.lock().push(records.version()?);
            records.put(Space::Keys, b"a", b"1")
        });
    }
    transact(store, |_| Ok(())).unwrap();
    let mut seen = std::mem::take(&mut *seen.lock());
    seen.sort_unstable();
    seen.dedup();
    assert_eq!(seen.len(), 50);
}

#[test]
fn create_refuses_what_is_there_and_open_what_is_not() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("store.db");
    let kind = |outcome: Result<EmbeddedStore>| outcome.unwrap_err().kind();
    assert_eq!(kind(EmbeddedStore::open(&path)), ErrorKind::NotFound);
    put(
        &EmbeddedStore::create(&path).unwrap(),
        Space::Keys,
        b"a",
        b"1",
    );
    assert_eq!(kind(EmbeddedStore::create(&path)), ErrorKind::Conflict);
    let store = EmbeddedStore::open(&path).unwrap();
    assert_eq!(get(&store, Space::Keys, b"a").unwrap(), b"1");
    let nowhere = folder.path().join("no/such/folder.db");
    assert_eq!(kind(EmbeddedStore::create(nowhere)), ErrorKind::StoreFailed);
}

#[test]
fn only_the_owner_may_read_the_files() {
    use std::os::unix::fs::PermissionsExt;
    let folder = tempfile::tempdir().unwrap();
    let store = EmbeddedStore::create(folder.path().join("store.db")).unwrap();
    put(&store, Space::Keys, b"a", b"1");
    let mut names = Vec::new();
    for file in std::fs::read_dir(folder.path()).unwrap() {
        let file = file.unwrap();
        assert_eq!(file.metadata().unwrap().permissions().mode() & 0o777, 0o600);
        names.push(file.file_name().into_string().unwrap());
    }
    names.sort();
    assert_eq!(
        names,
        [
            "store.db",
            "store.db-shm",
            "store.db-version",
            "store.db-wal"
        ]
    );
}

fn put(store: &dyn Store, space: Space, key: &[u8], value: &[u8]) {
    let (key, value) = (key.to_vec(), value.to_vec());
    transact(store, move |records| records.put(space, &key, &value)).unwrap();
}

fn get(store: &dyn Store, space: Space, key: &[u8]) -> Option<Vec<u8>> {
    view(store, |records| records.read(space, key))
}

fn scan_keys(store: &dyn Store, prefix: &[u8]) -> Vec<Vec<u8>> {
    view(store, |records| {
        records.scan(Space::Tree, prefix, None, 100)
    })
    .into_iter()
    .map(|(key, _)| key)
    .collect()
}

fn view<T: Send>(store: &dyn Store, mut read: impl FnMut(&dyn Snapshot) -> Result<T> + Send) -> T {
    let mut found = None;
    block_on(store.view(Box::new(|records| {
        found = Some(read(records)?);
        Ok(())
    })))
    .unwrap();
    found.unwrap()
}

fn transact(
    store: &dyn Store,
    body: impl FnMut(&mut dyn Transaction) -> Result<()> + Send + 'static,
) -> Result<()> {
    block_on(store.transact(Box::new(body)))
}

/// Polls the transaction once and drops its future.
fn drop_once_started(
    store: &dyn Store,
    body: impl FnMut(&mut dyn Transaction) -> Result<()> + Send + 'static,
) {
    let mut future = store.transact(Box::new(body));
    let mut context = std::task::Context::from_waker(std::task::Waker::noop());
    let _ = future.as_mut().poll(&mut context);
}
