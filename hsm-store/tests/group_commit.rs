//! Promise: transactions that wait together are committed together, and each still succeeds or fails alone.

use std::path::Path;
use std::sync::mpsc;

use futures_executor::block_on;
use hsm_core::{Error, ErrorKind, Space, Store};
use hsm_store::EmbeddedStore;

#[test]
fn transactions_that_wait_together_share_a_commit() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("store.db");
    let store = EmbeddedStore::create(&path).unwrap();
    let before = commits(&path);

    // The first transaction holds the writer until all others are queued.
    let (open, gate) = mpsc::channel::<()>();
    let mut futures = vec![store.transact(Box::new(move |records| {
        gate.recv().unwrap();
        records.put(Space::Keys, b"first", b"")
    }))];
    for number in 0..64_u8 {
        futures.push(store.transact(Box::new(move |records| {
            records.put(Space::Keys, &[number], &[number])?;
            if number % 8 == 3 {
                return Err(Error::new(ErrorKind::Denied, "this one fails"));
            }
            Ok(())
        })));
    }
    let mut context = std::task::Context::from_waker(std::task::Waker::noop());
    for future in &mut futures {
        assert!(future.as_mut().poll(&mut context).is_pending());
    }
    open.send(()).unwrap();

    let outcomes: Vec<_> = futures.into_iter().map(block_on).collect();
    assert!(outcomes[0].is_ok());
    for (number, outcome) in outcomes[1..].iter().enumerate() {
        assert_eq!(outcome.is_err(), number % 8 == 3, "transaction {number}");
    }
    // One for the first and one for the others, or one for all if the writer was late.
    let commits = commits(&path) - before;
    assert!((1..=2).contains(&commits), "{commits} commits");

    let mut keys = Vec::new();
    block_on(store.view(Box::new(|records| {
        keys = records.scan(Space::Keys, b"", None, 100)?;
        Ok(())
    })))
    .unwrap();
    assert_eq!(keys.len(), 1 + 56);
    assert!(keys.iter().all(|(key, _)| key.len() > 1 || key[0] % 8 != 3));
}

#[test]
fn more_transactions_than_the_queue_holds_all_happen() {
    let store = EmbeddedStore::in_memory().unwrap();
    let (open, gate) = mpsc::channel::<()>();
    let mut futures = vec![store.transact(Box::new(move |_| {
        gate.recv().unwrap();
        Ok(())
    }))];
    for number in 0..5000_u32 {
        futures.push(store.transact(Box::new(move |records| {
            records.put(Space::Keys, &number.to_be_bytes(), b"")
        })));
    }
    let mut context = std::task::Context::from_waker(std::task::Waker::noop());
    for future in &mut futures {
        assert!(future.as_mut().poll(&mut context).is_pending());
    }
    // Some that wait for room give up.
    for given_up in futures.drain(4000..4100) {
        drop(given_up);
    }
    open.send(()).unwrap();
    for future in futures {
        block_on(future).unwrap();
    }
    let mut count = 0;
    block_on(store.view(Box::new(|records| {
        count = records.count(Space::Keys, b"", usize::MAX)?;
        Ok(())
    })))
    .unwrap();
    assert_eq!(count, 4900);
}

/// Counts the commits in the write-ahead log: frames that carry the size of the database after a commit
/// (<https://www.sqlite.org/fileformat2.html#the_write_ahead_log>).
fn commits(path: &Path) -> usize {
    let mut log = path.as_os_str().to_owned();
    log.push("-wal");
    let Ok(log) = std::fs::read(log) else {
        return 0;
    };
    let (header, frames) = log.split_at(log.len().min(32));
    frames
        .chunks_exact(24 + 4096)
        .filter(|frame| frame[8..16] == header[16..24])
        .filter(|frame| frame[4..8] != [0; 4])
        .count()
}
