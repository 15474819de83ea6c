//! What the [`Store`] contract says of what is on the disk: acknowledged is durable, and processes see each other.
//!
//! A second opening while the first is still open sees what another process would, or what is there after `kill -9`:
//! nothing that the first still holds in its memory.

use std::thread;

use futures_executor::block_on;
use hsm_core::{Error, ErrorKind, Space, Store};

use super::store::{change, increment, number, put, read_with, try_change};
use super::{fails, join, ok};
use crate::Reopen;

const DURABLE: &str = "when transact returns Ok it survives kill -9";
const WHOLE: &str = "a transaction happens whole or not at all";
const SERIALIZABLE: &str = "transactions are serializable, also among processes";
const VERSION: &str = "the version changes with every committed transaction of any process";

/// What was acknowledged is there for whoever opens the store next, whether or not it was closed in between.
pub async fn acknowledged_transactions_survive(make: impl Fn() -> Reopen<dyn Store>) {
    let place = make();
    for round in 0..8u8 {
        let store = place.open();
        put(&store, Space::Keys, &[round], b"record").await;
        put(&store, Space::Users, b"gone", b"record").await;
        change(&store, |tx| tx.remove(Space::Users, b"gone")).await;
        let as_after_a_kill = place.open();
        expect_rounds(&as_after_a_kill, round).await;
        drop((store, as_after_a_kill));
        expect_rounds(&place.open(), round).await;
    }
}

async fn expect_rounds<S: Store>(store: &S, last: u8) {
    let keys = read_with(store, |snapshot| {
        Ok((
            snapshot.scan(Space::Keys, b"", None, 100)?,
            snapshot.count(Space::Users, b"", 100)?,
        ))
    })
    .await;
    let expected = (0..=last).map(|round| (vec![round], b"record".to_vec()));
    assert_eq!(keys, (expected.collect(), 0), "{DURABLE}");
}

/// What failed has left nothing behind for whoever opens the store next.
pub async fn failed_transactions_leave_nothing_behind(make: impl Fn() -> Reopen<dyn Store>) {
    let place = make();
    let store = place.open();
    put(&store, Space::Keys, b"kept", b"old").await;
    let failed = try_change(&store, |tx| {
        tx.put(Space::Keys, b"kept", b"new")?;
        tx.put(Space::Tree, b"fresh", b"new")?;
        Err::<(), _>(Error::new(ErrorKind::Conflict, "changed my mind"))
    });
    fails(failed.await, &[ErrorKind::Conflict], WHOLE);
    drop(store);
    let (kept, fresh) = read_with(&place.open(), |snapshot| {
        Ok((
            snapshot.read(Space::Keys, b"kept")?,
            snapshot.read(Space::Tree, b"fresh")?,
        ))
    })
    .await;
    assert_eq!(
        (kept.as_deref(), fresh),
        (Some(&b"old"[..]), None),
        "{WHOLE}"
    );
}

/// A version that somebody has seen does not come back with other records.
pub async fn versions_do_not_come_back(make: impl Fn() -> Reopen<dyn Store>) {
    let place = make();
    let mut seen = Vec::new();
    for round in 0..8u8 {
        let store = place.open();
        for change in 0..2u8 {
            put(&store, Space::Keys, b"name", &[round, change]).await;
            let version = ok(store.version(), VERSION);
            assert!(!seen.contains(&version), "{VERSION}: {version} came back");
            seen.push(version);
        }
    }
}

/// What one has committed, the other sees at its next call.
pub async fn openers_see_each_others_changes(make: impl Fn() -> Reopen<dyn Store>) {
    let place = make();
    let (one, other) = (place.open(), place.open());
    for round in 0..20u8 {
        let (from, to) = if round % 2 == 0 {
            (&one, &other)
        } else {
            (&other, &one)
        };
        let before = ok(to.version(), VERSION);
        put(from, Space::Keys, b"name", &[round]).await;
        assert_ne!(ok(to.version(), VERSION), before, "{VERSION}");
        let read = read_with(to, |snapshot| snapshot.read(Space::Keys, b"name")).await;
        assert_eq!(read, Some(vec![round]), "{SERIALIZABLE}");
    }
}

/// Read, add one, write: from several openers nothing is lost.
pub async fn openers_exclude_each_other(make: impl Fn() -> Reopen<dyn Store>) {
    const OPENERS: u64 = 4;
    const INCREMENTS: u64 = 10;
    let place = make();
    drop(place.open());
    thread::scope(|scope| {
        let openers = (0..OPENERS).map(|_| {
            scope.spawn(|| {
                let store = place.open();
                for _ in 0..INCREMENTS {
                    block_on(change(&store, increment));
                }
            })
        });
        join(openers.collect());
    });
    let total = read_with(&place.open(), |snapshot| number(snapshot)).await;
    assert_eq!(
        total,
        OPENERS * INCREMENTS,
        "{SERIALIZABLE}: increments were lost"
    );
}
