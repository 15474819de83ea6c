//! Promise: several processes may have the store open; each sees what the others committed at its next call, and their
//! transactions exclude each other.
#![expect(clippy::unwrap_used, reason = "helpers of tests are tests")]

use futures_executor::block_on;
use hsm_core::{Error, ErrorKind, Result, Space, Store, Transaction};
use hsm_store::EmbeddedStore;
use hsm_testkit::process::{self, Child};

#[test]
fn a_change_is_seen_at_the_next_call_of_version() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("store.db");
    let store = EmbeddedStore::create(&path).unwrap();
    let mut child = Child::start("write_when_told", &[path.to_str().unwrap()]);
    let mut version = store.version().unwrap();
    for number in 0..200_u32 {
        // Nothing has happened yet, and asking often is no reason to miss what will.
        assert_eq!(store.version().unwrap(), version);
        child.tell("");
        assert_eq!(child.report().unwrap(), "written");
        let now = store.version().unwrap();
        assert_ne!(now, version, "change {number} went unseen");
        version = now;
        assert_eq!(read(&store, b"number").unwrap(), number.to_be_bytes());
    }
}

#[test]
fn what_one_rolled_back_is_no_change_to_the_other() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("store.db");
    let store = EmbeddedStore::create(&path).unwrap();
    let mut child = Child::start("fail_when_told", &[path.to_str().unwrap()]);
    let version = store.version().unwrap();
    for _ in 0..20 {
        child.tell("");
        assert_eq!(child.report().unwrap(), "failed");
        assert_eq!(store.version().unwrap(), version);
    }
}

#[test]
fn of_two_that_create_the_same_record_one_wins() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("store.db");
    let store = EmbeddedStore::create(&path).unwrap();
    let mut child = Child::start("create_when_told", &[path.to_str().unwrap()]);
    let mut won = 0;
    for number in 0..200_u32 {
        child.tell("");
        let here = create(&store, number, b"parent");
        let there = child.report().unwrap();
        match here {
            Ok(()) => {
                won += 1;
                assert_eq!(there, "conflict", "both created {number}");
                assert_eq!(read(&store, &number.to_be_bytes()).unwrap(), b"parent");
            }
            Err(error) => {
                assert_eq!(error.kind(), ErrorKind::Conflict);
                assert_eq!(there, "created", "nobody created {number}");
                assert_eq!(read(&store, &number.to_be_bytes()).unwrap(), b"child");
            }
        }
    }
    println!("won {won} of 200");
}

#[test]
fn no_update_is_lost() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("store.db");
    let store = EmbeddedStore::create(&path).unwrap();
    let mut child = Child::start("count_to_300", &[path.to_str().unwrap()]);
    for _ in 0..300 {
        increment(&store).unwrap();
    }
    assert_eq!(child.report().unwrap(), "done");
    assert_eq!(read(&store, b"count").unwrap(), 600_u32.to_be_bytes());
}

/// A word that is ahead of the database is what a writer leaves that dies just before its commit.
#[test]
fn a_writer_that_died_before_its_commit_makes_nobody_wrong() {
    use std::os::unix::fs::FileExt;
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("store.db");
    let store = EmbeddedStore::create(&path).unwrap();
    let version = store.version().unwrap();
    let word = std::fs::OpenOptions::new()
        .write(true)
        .open(folder.path().join("store.db-version"))
        .unwrap();
    word.write_all_at(&(version + 1).to_ne_bytes(), 0).unwrap();
    assert_eq!(store.version().unwrap(), version);
    put(&store, b"a", b"1").unwrap();
    let after = store.version().unwrap();
    assert_ne!(after, version);

    // Opening the store puts it right.
    word.write_all_at(&(after + 7).to_ne_bytes(), 0).unwrap();
    let other = EmbeddedStore::open(&path).unwrap();
    let file = std::fs::read(folder.path().join("store.db-version")).unwrap();
    assert_eq!(file[..8], after.to_ne_bytes());
    assert_eq!(other.version().unwrap(), after);
    assert_eq!(store.version().unwrap(), after);
}

#[test]
fn two_handles_in_one_process_are_as_two_processes() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("store.db");
    let one = EmbeddedStore::create(&path).unwrap();
    let two = EmbeddedStore::open(&path).unwrap();
    let version = two.version().unwrap();
    put(&one, b"a", b"1").unwrap();
    assert_ne!(two.version().unwrap(), version);
    assert_eq!(two.version().unwrap(), one.version().unwrap());
    drop(one);
    put(&two, b"a", b"2").unwrap();
    assert_eq!(read(&two, b"a").unwrap(), b"2");
}

#[test]
#[ignore = "a role"]
fn write_when_told() {
    let Some(arguments) = process::arguments() else {
        return;
    };
    let store = EmbeddedStore::open(&arguments[0]).unwrap();
    for number in 0_u32.. {
        process::told();
        put(&store, b"number", &number.to_be_bytes()).unwrap();
        process::report("written");
    }
}

#[test]
#[ignore = "a role"]
fn fail_when_told() {
    let Some(arguments) = process::arguments() else {
        return;
    };
    let store = EmbeddedStore::open(&arguments[0]).unwrap();
    loop {
        process::told();
        transact(&store, |records| {
            records.put(Space::Keys, b"a", b"1")?;
            Err(Error::new(ErrorKind::Denied, "no"))
        })
        .unwrap_err();
        process::report("failed");
    }
}

#[test]
#[ignore = "a role"]
fn create_when_told() {
    let Some(arguments) = process::arguments() else {
        return;
    };
    let store = EmbeddedStore::open(&arguments[0]).unwrap();
    for number in 0_u32.. {
        process::told();
        match create(&store, number, b"child") {
            Ok(()) => process::report("created"),
            Err(error) if error.kind() == ErrorKind::Conflict => process::report("conflict"),
            Err(error) => process::report(error),
        }
    }
}

#[test]
#[ignore = "a role"]
fn count_to_300() {
    let Some(arguments) = process::arguments() else {
        return;
    };
    let store = EmbeddedStore::open(&arguments[0]).unwrap();
    for _ in 0..300 {
        increment(&store).unwrap();
    }
    process::report("done");
}

fn create(store: &EmbeddedStore, number: u32, value: &'static [u8]) -> Result<()> {
    let key = number.to_be_bytes();
    transact(store, move |records| {
        if records.read(Space::Keys, &key)?.is_some() {
            return Err(Error::new(ErrorKind::Conflict, "the name is taken"));
        }
        records.put(Space::Keys, &key, value)
    })
}

fn increment(store: &EmbeddedStore) -> Result<()> {
    transact(store, |records| {
        let count = match records.read(Space::Keys, b"count")? {
            Some(bytes) => u32::from_be_bytes(bytes.try_into().unwrap()),
            None => 0,
        };
        records.put(Space::Keys, b"count", &(count + 1).to_be_bytes())
    })
}

fn put(store: &EmbeddedStore, key: &'static [u8], value: &[u8]) -> Result<()> {
    let value = value.to_vec();
    transact(store, move |records| records.put(Space::Keys, key, &value))
}

fn read(store: &EmbeddedStore, key: &[u8]) -> Option<Vec<u8>> {
    let mut found = None;
    block_on(store.view(Box::new(|records| {
        found = records.read(Space::Keys, key)?;
        Ok(())
    })))
    .unwrap();
    found
}

fn transact(
    store: &EmbeddedStore,
    body: impl FnMut(&mut dyn Transaction) -> Result<()> + Send + 'static,
) -> Result<()> {
    block_on(store.transact(Box::new(body)))
}
