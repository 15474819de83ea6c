//! The cases of the [`Store`] contract.

use std::future::Future;
use std::panic::{AssertUnwindSafe, catch_unwind, resume_unwind};
use std::pin::pin;
use std::sync::atomic::{AtomicBool, AtomicU32, Ordering};
use std::sync::{Arc, Barrier};
use std::task::{Context, Waker};
use std::thread;

use futures_executor::block_on;
use hsm_core::limits::{RECORD_KEY_LEN_MAX, RECORD_LEN_MAX};
use hsm_core::{Error, ErrorKind, Result, Snapshot, Space, Store, Transaction};
use parking_lot::Mutex;
use proptest::prelude::*;
use proptest::test_runner::TestRunner;

use super::{fails, join, ok};
use crate::memory::MemoryStore;
use crate::strategies::{record_key, space};

const WHOLE: &str = "a transaction happens whole or not at all";
const DURABLE: &str = "what transact acknowledged is there";
const SERIALIZABLE: &str = "transactions are serializable";
const VERSION: &str = "the version changes with every committed transaction and only then";
const SNAPSHOT: &str = "what a view reads is one snapshot";
const ORDERED: &str =
    "a scan gives up to `limit` records after `after` under `prefix`, in the order of the bytes";

type Record = (Vec<u8>, Vec<u8>);

/// Prefix, after, limit, and the keys that a scan finds.
type Scan<'a> = (&'a [u8], Option<&'a [u8]>, usize, &'a [&'a [u8]]);

/// Records to put or, without a value, remove; and whether the body fails in the end.
type Steps = (Vec<(Space, Vec<u8>, Option<Vec<u8>>)>, bool);

/// A store that was just made has no records.
pub async fn a_fresh_store_is_empty<S: Store>(make: impl Fn() -> S) {
    let store = make();
    for space in Space::ALL {
        let (records, last) = read_with(&store, |snapshot| {
            Ok((snapshot.scan(space, b"", None, 10)?, snapshot.last(space)?))
        })
        .await;
        assert_eq!((records, last), (vec![], None), "{space:?} of a new store");
    }
}

/// Records come back as they were put, and the last one put counts.
pub async fn records_are_what_was_put<S: Store>(make: impl Fn() -> S) {
    let store = make();
    let all_bytes: Vec<u8> = (0..=u8::MAX).collect();
    let records: [(&[u8], &[u8]); 5] = [
        (b"name", b"record"),
        (b"empty", b""),
        (&[0], &[0, 0]),
        (&[0xff, 0, 0xff], &all_bytes),
        (&all_bytes[..RECORD_KEY_LEN_MAX.min(256)], b"long key"),
    ];
    for (key, value) in records {
        put(&store, Space::Keys, key, b"overwritten").await;
        put(&store, Space::Keys, key, value).await;
    }
    for (key, value) in records {
        let read = read_with(&store, |snapshot| snapshot.read(Space::Keys, key)).await;
        assert_eq!(read.as_deref(), Some(value), "{DURABLE}");
    }
    let absent = read_with(&store, |snapshot| snapshot.read(Space::Keys, b"nam")).await;
    assert_eq!(absent, None, "a record that nobody put");
}

/// Removing a record removes it; removing it again is no error.
pub async fn removal_is_final_and_may_repeat<S: Store>(make: impl Fn() -> S) {
    let store = make();
    put(&store, Space::Users, b"name", b"record").await;
    for _ in 0..2 {
        change(&store, |tx| tx.remove(Space::Users, b"name")).await;
        let read = read_with(&store, |snapshot| snapshot.read(Space::Users, b"name")).await;
        assert_eq!(read, None, "a removed record is gone");
    }
    put(&store, Space::Users, b"name", b"again").await;
    let read = read_with(&store, |snapshot| snapshot.read(Space::Users, b"name")).await;
    assert_eq!(
        read.as_deref(),
        Some(&b"again"[..]),
        "a removed record may come back"
    );
}

/// One key may be in every space with another value.
pub async fn spaces_are_apart<S: Store>(make: impl Fn() -> S) {
    let store = make();
    change(&store, |tx| {
        for space in Space::ALL {
            tx.put(space, b"same", space.name().as_bytes())?;
        }
        Ok(())
    })
    .await;
    change(&store, |tx| tx.remove(Space::Tree, b"same")).await;
    for space in Space::ALL {
        let records = read_with(&store, |snapshot| snapshot.scan(space, b"", None, 10)).await;
        let expected = match space {
            Space::Tree => vec![],
            _ => vec![(b"same".to_vec(), space.name().as_bytes().to_vec())],
        };
        assert_eq!(
            records, expected,
            "each space is a map of its own: {space:?}"
        );
    }
}

/// A transaction reads what it has written itself, by every way of reading.
pub async fn transactions_see_their_own_changes<S: Store>(make: impl Fn() -> S) {
    let store = make();
    put(&store, Space::Keys, b"a", b"old").await;
    put(&store, Space::Keys, b"b", b"old").await;
    let clause = "a transaction is a snapshot that sees its own changes";
    let seen = change(&store, |tx| {
        tx.put(Space::Keys, b"a", b"new")?;
        tx.remove(Space::Keys, b"b")?;
        tx.put(Space::Keys, b"c", b"new")?;
        Ok((
            tx.read(Space::Keys, b"b")?,
            tx.scan(Space::Keys, b"", None, 10)?,
            tx.last(Space::Keys)?,
            tx.count(Space::Keys, b"", 10)?,
        ))
    })
    .await;
    let records = pairs(&[(b"a", b"new"), (b"c", b"new")]);
    let last = records.last().cloned();
    assert_eq!(seen, (None, records, last, 2), "{clause}");
}

/// A body that fails leaves no trace, whatever it did before.
pub async fn a_failed_body_changes_nothing<S: Store>(make: impl Fn() -> S) {
    let store = make();
    change(&store, |tx| {
        tx.put(Space::Keys, b"kept", b"old")?;
        tx.put(Space::Users, b"kept", b"old")
    })
    .await;
    let before = dump(&store).await;
    let version = ok(store.version(), VERSION);
    let result = try_change(&store, |tx| {
        tx.put(Space::Keys, b"kept", b"new")?;
        tx.remove(Space::Users, b"kept")?;
        tx.put(Space::Tree, b"fresh", b"new")?;
        Err::<(), _>(Error::new(ErrorKind::Conflict, "changed my mind"))
    })
    .await;
    fails(
        result,
        &[ErrorKind::Conflict],
        "the body's error is transact's",
    );
    assert_eq!(dump(&store).await, before, "{WHOLE}");
    assert_eq!(ok(store.version(), VERSION), version, "{VERSION}");
    put(&store, Space::Keys, b"next", b"record").await;
    let fresh = read_with(&store, |snapshot| snapshot.read(Space::Tree, b"fresh")).await;
    assert_eq!(
        fresh, None,
        "{WHOLE}: the next commit must not bring it back"
    );
}

/// The errors of bodies come out as they are.
pub async fn a_body_may_fail_with_any_error<S: Store>(make: impl Fn() -> S) {
    let store = make();
    for kind in [ErrorKind::Denied, ErrorKind::NotFound, ErrorKind::KeyState] {
        let result = try_change(&store, move |_| Err::<(), _>(Error::new(kind, "told to"))).await;
        fails(result, &[kind], "the body's error is transact's");
        let mut body = |_: &dyn Snapshot| Err(Error::new(kind, "told to"));
        let result = store.view(Box::new(&mut body)).await;
        fails(result, &[kind], "the body's error is view's");
    }
    put(&store, Space::Keys, b"name", b"record").await;
}

/// The version is new after every commit, the same otherwise, and what snapshots show.
pub async fn a_commit_changes_the_version<S: Store>(make: impl Fn() -> S) {
    let store = make();
    let mut seen = vec![ok(store.version(), VERSION)];
    for round in 0..20u8 {
        put(&store, Space::Keys, b"name", &[round]).await;
        let version = ok(store.version(), VERSION);
        assert!(!seen.contains(&version), "{VERSION}: {version} came twice");
        seen.push(version);
        let shown = read_with(&store, |snapshot| {
            snapshot.read(Space::Keys, b"name")?;
            snapshot.version()
        })
        .await;
        assert_eq!(shown, version, "a snapshot shows the version that it is of");
        assert_eq!(
            ok(store.version(), VERSION),
            version,
            "{VERSION}: a view changed it"
        );
    }
}

/// Scans: order of unsigned bytes, prefix, position, limit.
pub async fn scans_are_ordered_and_bounded<S: Store>(make: impl Fn() -> S) {
    let store = make();
    let keys: [&[u8]; 9] = [
        b"a",
        b"a\0",
        b"aa",
        b"ab",
        b"ab\xff",
        b"b",
        b"\x7f",
        b"\xff",
        b"\xff\xff",
    ];
    change(&store, move |tx| {
        for key in keys.iter().rev() {
            tx.put(Space::Keys, key, b"v")?;
        }
        tx.put(Space::DeletedKeys, b"ab", b"other space")
    })
    .await;
    let cases: [Scan<'_>; 13] = [
        (b"", None, 100, &keys),
        (b"", None, 3, &keys[..3]),
        (b"", None, 0, &[]),
        (b"a", None, 100, &keys[..5]),
        (b"ab", None, 100, &keys[3..5]),
        (b"a", Some(b"aa"), 100, &keys[3..5]),
        (b"a", Some(b"aaa"), 1, &keys[3..4]),
        (b"a", Some(b"A"), 2, &keys[..2]),
        (b"a", Some(b"b"), 100, &[]),
        (b"\xff", None, 100, &keys[7..]),
        (b"\xff", Some(b"\xff"), 100, &keys[8..]),
        (b"", Some(b"\xff\xff"), 100, &[]),
        (b"nothing", None, 100, &[]),
    ];
    for (prefix, after, limit, expected) in cases {
        let found = read_with(&store, |snapshot| {
            snapshot.scan(Space::Keys, prefix, after, limit)
        })
        .await;
        let found: Vec<_> = found.iter().map(|(key, _)| key.as_slice()).collect();
        assert_eq!(found, expected, "{ORDERED}: {prefix:?} {after:?} {limit}");
    }
}

/// The last record of a space is that with the greatest key.
pub async fn last_is_the_greatest_key<S: Store>(make: impl Fn() -> S) {
    let store = make();
    for number in [3u64, 1, 300, 2] {
        put(&store, Space::Journal, &number.to_be_bytes(), &[1]).await;
    }
    let last = read_with(&store, |snapshot| snapshot.last(Space::Journal)).await;
    let key = last.map(|(key, _)| key);
    assert_eq!(
        key.as_deref(),
        Some(&300u64.to_be_bytes()[..]),
        "last, in the order of the bytes"
    );
    put(&store, Space::Users, b"name", b"record").await;
    for empty in [Space::Meta, Space::Tree, Space::Schedule] {
        let last = read_with(&store, |snapshot| snapshot.last(empty)).await;
        assert_eq!(
            last, None,
            "last of {empty:?}, which is empty, between others"
        );
    }
}

/// Counting stops where it is told to.
pub async fn counts_stop_at_their_limit<S: Store>(make: impl Fn() -> S) {
    let store = make();
    change(&store, |tx| {
        for number in 0..10u8 {
            tx.put(Space::Versions, &[b'a', number], b"")?;
        }
        tx.put(Space::Versions, b"b", b"")
    })
    .await;
    for (prefix, limit, expected) in [
        ("a", 100, 10),
        ("a", 4, 4),
        ("", 100, 11),
        ("c", 100, 0),
        ("a", 0, 0),
    ] {
        let count = read_with(&store, |snapshot| {
            snapshot.count(Space::Versions, prefix.as_bytes(), limit)
        })
        .await;
        assert_eq!(count, expected, "count under {prefix:?} up to {limit}");
    }
}

/// The longest record and key are kept, longer ones refused, and the rest is not harmed.
pub async fn records_beyond_the_limits_are_refused<S: Store>(make: impl Fn() -> S) {
    let store = make();
    let clause =
        "records up to RECORD_LEN_MAX under keys up to RECORD_KEY_LEN_MAX; longer ones are refused";
    let (key, value) = (vec![0xff; RECORD_KEY_LEN_MAX], vec![7; RECORD_LEN_MAX]);
    put(&store, Space::Keys, &key, &value).await;
    let read = read_with(&store, |snapshot| snapshot.read(Space::Keys, &key)).await;
    assert!(
        read == Some(value),
        "{clause}: the longest did not come back"
    );
    let before = dump(&store).await;
    let kinds = [ErrorKind::LimitExceeded];
    let long_value = try_change(&store, |tx| {
        tx.put(Space::Keys, b"first", b"record")?;
        tx.put(Space::Keys, b"long", &vec![7; RECORD_LEN_MAX + 1])
    });
    fails(long_value.await, &kinds, clause);
    let long_key = try_change(&store, |tx| {
        tx.put(Space::Keys, &[7; RECORD_KEY_LEN_MAX + 1], b"record")
    });
    fails(long_key.await, &kinds, clause);
    assert!(dump(&store).await == before, "{WHOLE}");
}

/// A transaction over many records and spaces is there as a whole.
pub async fn large_transactions_happen_whole<S: Store>(make: impl Fn() -> S) {
    let store = make();
    let fill = |tx: &mut dyn Transaction, end: Result<()>| {
        for number in 0..500u32 {
            tx.put(Space::Keys, &number.to_be_bytes(), &[1; 100])?;
            tx.put(Space::Tree, &number.to_be_bytes(), &[2; 100])?;
        }
        end
    };
    let failed = try_change(&store, move |tx| fill(tx, Err(Error::crypto()))).await;
    fails(failed, &[ErrorKind::CryptoFailed], WHOLE);
    let count = |space| read_with(&store, move |snapshot| snapshot.count(space, b"", 1000));
    assert_eq!(
        (count(Space::Keys).await, count(Space::Tree).await),
        (0, 0),
        "{WHOLE}"
    );
    change(&store, move |tx| fill(tx, Ok(()))).await;
    assert_eq!(
        (count(Space::Keys).await, count(Space::Tree).await),
        (500, 500),
        "{WHOLE}"
    );
}

/// Views never see half of a transaction, nor anything that is committed while they run.
pub async fn a_view_is_one_snapshot<S: Store>(make: impl Fn() -> S) {
    let store = make();
    write_pair(&store, 0).await;
    let (written, done) = (AtomicU32::new(0), AtomicBool::new(false));
    thread::scope(|scope| {
        let writer = scope.spawn(|| {
            while !done.load(Ordering::SeqCst) {
                let number = written.fetch_add(1, Ordering::SeqCst) + 1;
                block_on(write_pair(&store, number));
            }
        });
        let reader = scope.spawn(|| {
            let checked = catch_unwind(AssertUnwindSafe(|| {
                for _ in 0..100 {
                    block_on(check_pair(&store, &written));
                }
            }));
            done.store(true, Ordering::SeqCst);
            checked.unwrap_or_else(|panic| resume_unwind(panic));
        });
        join(vec![writer, reader]);
    });
}

/// Read, add one, write: from many threads nothing is lost.
pub async fn concurrent_increments_add_up<S: Store>(make: impl Fn() -> S) {
    const THREADS: u8 = 8;
    const INCREMENTS: u64 = 25;
    let store = make();
    let start = Barrier::new(THREADS.into());
    thread::scope(|scope| {
        let threads = (0..THREADS).map(|_| {
            scope.spawn(|| {
                start.wait();
                for _ in 0..INCREMENTS {
                    block_on(change(&store, increment));
                }
            })
        });
        join(threads.collect());
    });
    let total = read_with(&store, |snapshot| number(snapshot)).await;
    assert_eq!(
        total,
        u64::from(THREADS) * INCREMENTS,
        "{SERIALIZABLE}: increments were lost"
    );
}

/// Of many that create a record if it is not there, one does.
pub async fn concurrent_creations_of_one_record_leave_one_winner<S: Store>(make: impl Fn() -> S) {
    let store = make();
    let winners = thread::scope(|scope| {
        let threads = (0..8u8).map(|at| {
            let store = &store;
            scope.spawn(move || {
                let result = block_on(try_change(store, move |tx| {
                    if tx.read(Space::Keys, b"name")?.is_some() {
                        return Err(Error::new(ErrorKind::Conflict, "the name is taken"));
                    }
                    thread::yield_now();
                    tx.put(Space::Keys, b"name", &[at])
                }));
                result.is_ok().then_some(at)
            })
        });
        let winners = join(threads.collect()).into_iter().flatten();
        winners.collect::<Vec<_>>()
    });
    let kept = read_with(&store, |snapshot| snapshot.read(Space::Keys, b"name")).await;
    assert_eq!(
        kept,
        Some(winners),
        "{SERIALIZABLE}: one creator wins and its record stays"
    );
}

/// A caller that loses interest after the first poll does not stop the commit.
pub async fn a_dropped_future_still_commits<S: Store>(make: impl Fn() -> S) {
    let store = make();
    for _ in 0..10 {
        let transaction = store.transact(Box::new(|tx| increment(tx)));
        let mut transaction = pin!(transaction);
        let mut context = Context::from_waker(Waker::noop());
        drop(transaction.as_mut().poll(&mut context));
    }
    let clause = "a transaction goes on, and is committed, even if the future is dropped";
    // Ours may come before the dropped ones, but not before all of them for ever.
    for _ in 0..10_000 {
        if change(&store, |tx| number(tx)).await == 10 {
            return;
        }
        thread::yield_now();
    }
    panic!("{clause}: after 10,000 transactions it was not");
}

/// Any history of transactions, some of which fail, leaves what it leaves in [`MemoryStore`].
pub async fn any_history_ends_as_in_the_model<S: Store>(make: impl Fn() -> S + Sync) {
    let step = (
        space(),
        record_key(),
        prop::option::of(prop::collection::vec(any::<u8>(), 0..4)),
    );
    let transaction = (prop::collection::vec(step, 1..6), prop::bool::weighted(0.2));
    let history = prop::collection::vec(transaction, 1..12);
    let config = ProptestConfig {
        cases: 24,
        failure_persistence: None,
        ..ProptestConfig::default()
    };
    let test = |history: Vec<Steps>| {
        let (store, model) = (make(), MemoryStore::new());
        for (steps, failing) in history {
            let body = move |tx: &mut dyn Transaction| {
                for (space, key, value) in &steps {
                    match value {
                        Some(value) => tx.put(*space, key, value)?,
                        None => tx.remove(*space, key)?,
                    }
                }
                if failing {
                    Err(Error::crypto())
                } else {
                    Ok(())
                }
            };
            let expected = block_on(try_change(&model, body.clone())).is_ok();
            prop_assert_eq!(block_on(try_change(&store, body)).is_ok(), expected);
            prop_assert_eq!(block_on(dump(&store)), block_on(dump(&model)));
        }
        Ok(())
    };
    // A thread of its own, because the runner is not async.
    let outcome = thread::scope(|scope| {
        let runner = scope.spawn(|| TestRunner::new(config).run(&history, test));
        runner.join().expect("the runner ran")
    });
    if let Err(error) = outcome {
        panic!("a history ends otherwise than in the model: {error}");
    }
}

/// Runs `body` in a transaction that must succeed and gives its result.
pub(super) async fn change<S: Store, T: Send + 'static>(
    store: &S,
    body: impl FnMut(&mut dyn Transaction) -> Result<T> + Send + 'static,
) -> T {
    ok(try_change(store, body).await, "transact")
}

/// Runs `body` in a transaction and gives the result of its last run.
pub(super) async fn try_change<S: Store, T: Send + 'static>(
    store: &S,
    mut body: impl FnMut(&mut dyn Transaction) -> Result<T> + Send + 'static,
) -> Result<T> {
    let result = Arc::new(Mutex::new(None));
    let kept = Arc::clone(&result);
    let body = move |tx: &mut dyn Transaction| {
        *kept.lock() = Some(body(tx)?);
        Ok(())
    };
    store.transact(Box::new(body)).await?;
    let result = result.lock().take();
    Ok(result.expect("transact returned Ok without running its body"))
}

/// Runs `body` on a snapshot and gives its result.
pub(super) async fn read_with<S: Store, T: Send>(
    store: &S,
    mut body: impl FnMut(&dyn Snapshot) -> Result<T> + Send,
) -> T {
    let mut result = None;
    let body = |snapshot: &dyn Snapshot| {
        result = Some(body(snapshot)?);
        Ok(())
    };
    ok(store.view(Box::new(body)).await, "view");
    result.expect("view returned Ok without running its body")
}

pub(super) async fn put<S: Store>(store: &S, space: Space, key: &[u8], value: &[u8]) {
    let (key, value) = (key.to_vec(), value.to_vec());
    change(store, move |tx| tx.put(space, &key, &value)).await;
}

async fn write_pair<S: Store>(store: &S, number: u32) {
    change(store, move |tx| {
        tx.put(Space::Keys, b"one", &number.to_be_bytes())?;
        tx.put(Space::Tree, b"other", &number.to_be_bytes())
    })
    .await;
}

/// Reads what [`write_pair`] wrote, in several ways: all must show the same.
async fn check_pair<S: Store>(store: &S, written: &AtomicU32) {
    let seen = read_with(store, |snapshot| {
        let first = (snapshot.read(Space::Keys, b"one")?, snapshot.version()?);
        // Lets the writer commit in between, unless a view keeps it out.
        let before = written.load(Ordering::SeqCst);
        for _ in 0..100 {
            if written.load(Ordering::SeqCst) > before + 1 {
                break;
            }
            thread::yield_now();
        }
        let again = snapshot.scan(Space::Keys, b"one", None, 1)?;
        let again = again.into_iter().next().map(|(_, value)| value);
        let other = snapshot.read(Space::Tree, b"other")?;
        let version = snapshot.version()?;
        Ok([first, (again, version), (other, version)])
    })
    .await;
    assert!(
        seen.iter().all(|shown| *shown == seen[0]),
        "{SNAPSHOT}: {seen:?}"
    );
}

/// Everything in the store.
async fn dump<S: Store>(store: &S) -> Vec<(Space, Vec<Record>)> {
    read_with(store, |snapshot| {
        Space::ALL
            .into_iter()
            .map(|space| Ok((space, snapshot.scan(space, b"", None, 10_000)?)))
            .collect()
    })
    .await
}

fn pairs(records: &[(&[u8], &[u8])]) -> Vec<Record> {
    let owned = records
        .iter()
        .map(|(key, value)| (key.to_vec(), value.to_vec()));
    owned.collect()
}

pub(super) fn increment(tx: &mut dyn Transaction) -> Result<()> {
    let next = number(tx)? + 1;
    thread::yield_now(); // invites another to come between, which nobody may
    tx.put(Space::Meta, b"counter", &next.to_be_bytes())
}

pub(super) fn number<S: Snapshot + ?Sized>(snapshot: &S) -> Result<u64> {
    let value = snapshot.read(Space::Meta, b"counter")?;
    Ok(value.map_or(0, |value| {
        u64::from_be_bytes(value.try_into().expect("the counter has 8 bytes"))
    }))
}
