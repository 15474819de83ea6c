//! Promise: what was acknowledged survives `kill -9` at any moment, whole; what was not is there whole or not at all.
//!
//! The test kills a process of its own that writes as fast as it can, again and again, over the same files.
//! `HSM_STORE_KILLS` says how often.
#![expect(clippy::unwrap_used, reason = "helpers of tests are tests")]

use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use futures_executor::block_on;
use hsm_core::{Space, Store};
use hsm_store::EmbeddedStore;
use hsm_testkit::process::{self, Child};

#[test]
fn every_acknowledged_record_survives_kill_9_whole() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("store.db");
    drop(EmbeddedStore::create(&path).unwrap());
    let mut acknowledged = 0;
    for round in 0..kills() {
        let mut child = Child::start("write_until_killed", &[path.to_str().unwrap()]);
        // Another moment each time: after so many acknowledgements, plus what the signal takes.
        for _ in 0..=round % 7 {
            acknowledged = child.report().unwrap().parse().unwrap();
        }
        // It may have acknowledged more before it died.
        if let Some(last) = child.kill().last() {
            acknowledged = last.parse().unwrap();
        }
        check(&path, acknowledged, round);
    }
}

/// Every number up to `acknowledged` is there in both spaces; at most the one that was in flight is there besides.
fn check(path: &Path, acknowledged: u64, round: u64) {
    let store = EmbeddedStore::open(path).unwrap();
    let read = |space| {
        let mut keys = Vec::new();
        block_on(store.view(Box::new(|records| {
            keys = records.scan(space, b"", None, usize::MAX)?;
            Ok(())
        })))
        .unwrap();
        keys
    };
    let keys = read(Space::Keys);
    assert_eq!(keys, read(Space::Tree), "half a transaction, round {round}");
    let count = keys.len() as u64;
    assert!(
        count == acknowledged || count == acknowledged + 1,
        "{count} records, {acknowledged} acknowledged, round {round}"
    );
    for (number, (key, value)) in (1..).zip(&keys) {
        assert_eq!(key, &u64::to_be_bytes(number));
        assert_eq!(value, &value_of(number));
    }
}

/// Two records a transaction, numbered on from what is there; prints each number that was acknowledged.
#[test]
#[ignore = "a role for the process that is killed"]
fn write_until_killed() {
    let Some(arguments) = process::arguments() else {
        return;
    };
    let store = EmbeddedStore::open(&arguments[0]).unwrap();
    loop {
        let number = Arc::new(AtomicU64::new(0));
        let found = Arc::clone(&number);
        block_on(store.transact(Box::new(move |records| {
            let last = records.last(Space::Keys)?;
            let number = last.map_or(0, |(key, _)| u64::from_be_bytes(key.try_into().unwrap())) + 1;
            found.store(number, Ordering::SeqCst);
            records.put(Space::Keys, &number.to_be_bytes(), &value_of(number))?;
            records.put(Space::Tree, &number.to_be_bytes(), &value_of(number))
        })))
        .unwrap();
        process::report(number.load(Ordering::SeqCst));
    }
}

#[test]
fn a_store_appears_whole_or_not_at_all() {
    let folder = tempfile::tempdir().unwrap();
    let mut made = 0;
    for round in 0..kills() / 4 {
        let path = folder.path().join(format!("{round}.db"));
        let mut child = Child::start("create_and_wait", &[path.to_str().unwrap()]);
        child.report().unwrap();
        // The child creates meanwhile: each round lets it get a little further.
        for _ in 0..round * 5_000 {
            std::hint::black_box(path.exists());
        }
        child.kill();
        match EmbeddedStore::open(&path) {
            Ok(store) => {
                made += 1;
                store.version().unwrap();
            }
            Err(error) => {
                assert_eq!(error.kind(), hsm_core::ErrorKind::NotFound, "{error}");
                EmbeddedStore::create(&path).unwrap();
            }
        }
    }
    println!("{made} of {} were made before the kill", kills() / 4);
}

#[test]
#[ignore = "a role for the process that is killed"]
fn create_and_wait() {
    let Some(arguments) = process::arguments() else {
        return;
    };
    process::report("ready");
    let store = EmbeddedStore::create(&arguments[0]).unwrap();
    process::told();
    drop(store);
}

/// Of another length each time, up to several pages.
fn value_of(number: u64) -> Vec<u8> {
    let byte = number.to_be_bytes()[7];
    vec![byte; usize::from(byte) * 40]
}

fn kills() -> u64 {
    std::env::var("HSM_STORE_KILLS").map_or(200, |text| text.parse().unwrap())
}
