//! Promise: an `EmbeddedStore`, in a file and in memory, does what the contract of `Store` says.
#![expect(clippy::unwrap_used, reason = "helpers of tests are tests")]

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use futures_executor::block_on;
use hsm_core::limits::{RECORD_KEY_LEN_MAX, RECORD_LEN_MAX};
use hsm_core::{Error, ErrorKind, Result, Snapshot, Space, Store, Transaction};
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
    what_is_put_is_read,
    spaces_are_apart,
    a_record_is_replaced_and_removed,
    any_bytes_are_a_key,
    scans_are_ordered_and_bounded,
    counts_are_bounded,
    the_last_record_is_the_highest,
    a_failed_body_changes_nothing,
    a_body_that_panics_changes_nothing,
    a_transaction_sees_its_own_changes,
    a_view_is_one_snapshot,
    versions_change_with_every_change,
    versions_stay_when_nothing_changes,
    a_snapshot_shows_its_version,
    transactions_that_share_a_commit_see_different_versions,
    a_dropped_future_is_committed,
    limits_are_refused,
}

fn what_is_put_is_read(store: &dyn Store) {
    put(store, Space::Keys, b"a", b"1");
    assert_eq!(get(store, Space::Keys, b"a").as_deref(), Some(&b"1"[..]));
    assert_eq!(get(store, Space::Keys, b"b"), None);
    put(store, Space::Keys, b"empty", b"");
    assert_eq!(get(store, Space::Keys, b"empty").as_deref(), Some(&b""[..]));
}

fn spaces_are_apart(store: &dyn Store) {
    for space in Space::ALL {
        put(store, space, b"key", space.name().as_bytes());
    }
    for space in Space::ALL {
        let value = get(store, space, b"key").unwrap();
        assert_eq!(value, space.name().as_bytes());
    }
}

fn a_record_is_replaced_and_removed(store: &dyn Store) {
    put(store, Space::Users, b"ada", b"one");
    put(store, Space::Users, b"ada", b"two");
    assert_eq!(get(store, Space::Users, b"ada").unwrap(), b"two");
    for _ in 0..2 {
        transact(store, |records| records.remove(Space::Users, b"ada")).unwrap();
        assert_eq!(get(store, Space::Users, b"ada"), None);
    }
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
    assert_eq!(scan_keys(store, b"", None, 100), keys);
    assert_eq!(scan_keys(store, &[255], None, 100), keys[5..]);
}

fn scans_are_ordered_and_bounded(store: &dyn Store) {
    for key in ["b/2", "a/1", "b/10", "b", "b/1", "c", "b0"] {
        put(store, Space::Tree, key.as_bytes(), b"x");
    }
    let scan = |prefix: &str, after: Option<&str>, limit| -> Vec<String> {
        scan_keys(store, prefix.as_bytes(), after.map(str::as_bytes), limit)
            .into_iter()
            .map(|key| String::from_utf8(key).unwrap())
            .collect()
    };
    assert_eq!(scan("b/", None, 10), ["b/1", "b/10", "b/2"]);
    assert_eq!(scan("b/", None, 2), ["b/1", "b/10"]);
    assert_eq!(scan("b/", Some("b/1"), 10), ["b/10", "b/2"]);
    assert_eq!(scan("b/", Some("b/15"), 10), ["b/2"]);
    assert_eq!(scan("b/", Some("a"), 1), ["b/1"]);
    assert!(scan("b/", Some("b/2"), 10).is_empty());
    assert!(scan("b/", Some("z"), 10).is_empty());
    assert!(scan("b/", None, 0).is_empty());
    assert_eq!(scan("", Some("b/2"), usize::MAX), ["b0", "c"]);
}

fn counts_are_bounded(store: &dyn Store) {
    for key in ["a1", "a2", "a3", "b1"] {
        put(store, Space::Versions, key.as_bytes(), b"x");
    }
    let count = |prefix: &'static [u8], limit| {
        view(store, move |records| {
            records.count(Space::Versions, prefix, limit)
        })
    };
    assert_eq!(count(b"a", 10), 3);
    assert_eq!(count(b"a", 2), 2);
    assert_eq!(count(b"", usize::MAX), 4);
    assert_eq!(count(b"c", 10), 0);
}

fn the_last_record_is_the_highest(store: &dyn Store) {
    let last = || view(store, |records| records.last(Space::Journal));
    assert_eq!(last(), None);
    for number in [1_u64, 256, 2] {
        put(store, Space::Journal, &number.to_be_bytes(), &[1]);
    }
    assert_eq!(last(), Some((256_u64.to_be_bytes().to_vec(), vec![1])));
}

fn a_failed_body_changes_nothing(store: &dyn Store) {
    put(store, Space::Keys, b"a", b"before");
    let version = store.version().unwrap();
    let refused = transact(store, |records| {
        records.put(Space::Keys, b"a", b"after")?;
        records.put(Space::Keys, b"b", b"after")?;
        Err(Error::new(ErrorKind::KeyState, "no"))
    });
    assert_eq!(refused.unwrap_err().kind(), ErrorKind::KeyState);
    assert_eq!(get(store, Space::Keys, b"a").unwrap(), b"before");
    assert_eq!(get(store, Space::Keys, b"b"), None);
    assert_eq!(store.version().unwrap(), version);
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

fn a_transaction_sees_its_own_changes(store: &dyn Store) {
    transact(store, |records| {
        records.put(Space::Keys, b"a", b"1")?;
        assert_eq!(records.read(Space::Keys, b"a")?.unwrap(), b"1");
        assert_eq!(records.count(Space::Keys, b"", 9)?, 1);
        records.remove(Space::Keys, b"a")?;
        assert_eq!(records.last(Space::Keys)?, None);
        records.put(Space::Keys, b"b", b"2")
    })
    .unwrap();
    assert_eq!(scan_space(store, Space::Keys, b"", None, 9), [b"b"]);
}

/// A store in memory makes the transaction wait for the view, so this one only starts it.
fn a_view_is_one_snapshot(store: &dyn Store) {
    put(store, Space::Keys, b"a", b"old");
    block_on(store.view(Box::new(|records| {
        assert_eq!(records.read(Space::Keys, b"a")?.unwrap(), b"old");
        drop_once_started(store, |records| records.put(Space::Keys, b"a", b"new"));
        for _ in 0..100 {
            assert_eq!(records.read(Space::Keys, b"a")?.unwrap(), b"old");
        }
        Ok(())
    })))
    .unwrap();
    // Transactions are run in order.
    transact(store, |_| Ok(())).unwrap();
    assert_eq!(get(store, Space::Keys, b"a").unwrap(), b"new");
}

fn versions_change_with_every_change(store: &dyn Store) {
    let mut seen = std::collections::BTreeSet::from([store.version().unwrap()]);
    for value in [1_u8, 2, 2] {
        put(store, Space::Keys, b"a", &[value]);
        assert!(seen.insert(store.version().unwrap()));
    }
    transact(store, |records| records.remove(Space::Keys, b"a")).unwrap();
    assert!(seen.insert(store.version().unwrap()));
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

fn a_dropped_future_is_committed(store: &dyn Store) {
    let runs = Arc::new(AtomicUsize::new(0));
    let counted = Arc::clone(&runs);
    drop_once_started(store, move |records| {
        counted.fetch_add(1, Ordering::SeqCst);
        records.put(Space::Keys, b"a", b"1")
    });
    transact(store, |_| Ok(())).unwrap();
    assert_eq!(runs.load(Ordering::SeqCst), 1);
    assert_eq!(get(store, Space::Keys, b"a").unwrap(), b"1");
}

fn limits_are_refused(store: &dyn Store) {
    let key = vec![b'k'; RECORD_KEY_LEN_MAX];
    let value = vec![b'v'; RECORD_LEN_MAX];
    put(store, Space::Keys, &key, &value);
    assert_eq!(get(store, Space::Keys, &key).unwrap(), value);
    for (key_more, value_more) in [(1, 0), (0, 1)] {
        let key = vec![b'l'; RECORD_KEY_LEN_MAX + key_more];
        let value = vec![b'v'; RECORD_LEN_MAX + value_more];
        let refused = transact(store, move |records| records.put(Space::Keys, &key, &value));
        assert_eq!(refused.unwrap_err().kind(), ErrorKind::LimitExceeded);
    }
    assert_eq!(scan_space(store, Space::Keys, b"", None, 9).len(), 1);
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

fn scan_keys(store: &dyn Store, prefix: &[u8], after: Option<&[u8]>, limit: usize) -> Vec<Vec<u8>> {
    scan_space(store, Space::Tree, prefix, after, limit)
}

fn scan_space(
    store: &dyn Store,
    space: Space,
    prefix: &[u8],
    after: Option<&[u8]>,
    limit: usize,
) -> Vec<Vec<u8>> {
    view(store, |records| records.scan(space, prefix, after, limit))
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
