//! Promise: faults strike as planned, before the effect or after it, and without faults the wrappers change nothing.

use futures_executor::block_on;
use hsm_core::audit::{AuditSink, Chain, Entry, Event, RequestId};
use hsm_core::policy::DataAction;
use hsm_core::{Algorithm, Clock, ErrorKind, Result, Snapshot, Space, Store};
use hsm_testkit::{Fault, Faults, FaultyAudit, FaultyStore, ManualClock, MemoryAudit, MemoryStore};

hsm_testkit::store_conformance!(FaultyStore::new(
    MemoryStore::new(),
    Faults::none(),
    Faults::none()
));

#[test]
fn a_write_that_fails_before_changes_nothing() {
    let (memory, faults) = (MemoryStore::new(), Faults::none());
    let store = FaultyStore::new(memory.clone(), faults.clone(), Faults::none());
    faults.strike(Fault::Before);
    assert_eq!(put(&store).unwrap_err().kind(), ErrorKind::StoreFailed);
    assert_eq!(records(&memory).unwrap(), 0);
    put(&store).unwrap();
    assert_eq!(records(&memory).unwrap(), 1);
}

#[test]
fn a_write_that_fails_after_has_happened() {
    let (memory, faults) = (MemoryStore::new(), Faults::none());
    let store = FaultyStore::new(memory.clone(), faults.clone(), Faults::none());
    faults.strike(Fault::After);
    assert_eq!(put(&store).unwrap_err().kind(), ErrorKind::Unknown);
    assert_eq!(records(&memory).unwrap(), 1);
}

#[test]
fn reads_fail_on_their_own_plan() {
    let (memory, faults) = (MemoryStore::new(), Faults::none());
    let store = FaultyStore::new(memory, Faults::none(), faults.clone());
    faults.plan([Some(Fault::Before), None, Some(Fault::Before)]);
    assert_eq!(store.version().unwrap_err().kind(), ErrorKind::StoreFailed);
    put(&store).unwrap();
    assert_eq!(records(&store).unwrap(), 1);
    assert_eq!(records(&store).unwrap_err().kind(), ErrorKind::StoreFailed);
    assert_eq!(records(&store).unwrap(), 1);
}

#[test]
fn an_audit_record_is_lost_before_or_kept_after() {
    let (memory, faults) = (MemoryAudit::new(), Faults::none());
    let sink = FaultyAudit::new(memory.clone(), faults.clone());
    faults.plan([None, Some(Fault::Before), Some(Fault::After)]);
    sink.append(&event("first")).unwrap();
    let lost = sink.append(&event("second")).unwrap_err();
    assert_eq!(lost.kind(), ErrorKind::AuditFailed);
    let kept = sink.append(&event("third")).unwrap_err();
    assert_eq!(kept.kind(), ErrorKind::Unknown);
    let targets: Vec<_> = memory
        .events()
        .into_iter()
        .map(|event| event.target.into_owned())
        .collect();
    assert_eq!(targets, ["first", "third"]);
}

#[test]
fn what_the_memory_sink_keeps_is_a_chain() {
    let sink = MemoryAudit::new();
    for target in ["a", "b", "c"] {
        sink.append(&event(target)).unwrap();
    }
    sink.close().unwrap();
    let refused = sink.append(&event("d")).unwrap_err();
    assert_eq!(refused.kind(), ErrorKind::AuditFailed);
    let stream = sink.streams().unwrap()[0];
    let mut chain = Chain::new(stream);
    let frames = sink.read(stream, 0, 100).unwrap();
    for frame in &frames {
        chain.follow(frame).unwrap();
    }
    assert_eq!(vec![chain.head()], sink.heads());
    assert!(matches!(frames[3].decode().unwrap(), Entry::Closed { .. }));
    assert_eq!(sink.read(stream, 1, 2).unwrap(), frames[1..3]);
}

fn put(store: &dyn Store) -> Result<()> {
    block_on(store.transact(Box::new(|tx| tx.put(Space::Keys, b"name", b"record"))))
}

fn records(store: &dyn Store) -> Result<usize> {
    let mut records = 0;
    block_on(store.view(Box::new(|snapshot: &dyn Snapshot| {
        records = snapshot.count(Space::Keys, b"", 10)?;
        Ok(())
    })))?;
    Ok(records)
}

fn event(target: &str) -> Event<'_> {
    Event {
        time: ManualClock::default().now(),
        request: RequestId::from_u128(1),
        principal: "app".into(),
        action: DataAction::KeySign,
        target: target.into(),
        version: None,
        algorithm: Some(Algorithm::Es256),
        failure: None,
        detail: "".into(),
    }
}
