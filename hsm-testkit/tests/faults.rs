//! Promise: faults strike as planned, before the effect or after it, and without faults the wrappers change nothing.

use std::pin::pin;
use std::task::{Context, Waker};
use std::thread;

use futures_executor::block_on;
use hsm_backend_soft::SoftDevice;
use hsm_core::audit::{AuditSink, Chain, Entry, Event, RequestId};
use hsm_core::policy::DataAction;
use hsm_core::{
    Algorithm, Binding, Clock, Device, ErrorKind, KeySpec, KeyType, Result, SignInput, Snapshot,
    Space, Store, Usage, Usages,
};
use hsm_testkit::{
    Fault, Faults, FaultyAudit, FaultyDevice, FaultyStore, ManualClock, MemoryAudit, MemoryStore,
};

hsm_testkit::device_conformance!(FaultyDevice::new(
    SoftDevice::in_memory().unwrap(),
    Faults::none(),
    Faults::none()
));

hsm_testkit::audit_conformance!(FaultyAudit::new(MemoryAudit::new(), Faults::none()));

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
fn a_read_whose_reply_is_lost_is_no_unknown_outcome() {
    let faults = Faults::none();
    let store = FaultyStore::new(MemoryStore::new(), Faults::none(), faults.clone());
    faults.plan([Some(Fault::After), Some(Fault::After)]);
    assert_eq!(store.version().unwrap_err().kind(), ErrorKind::StoreFailed);
    assert_eq!(records(&store).unwrap_err().kind(), ErrorKind::StoreFailed);
}

#[test]
fn a_stalled_write_waits_to_be_released_or_dropped() {
    let (memory, faults) = (MemoryStore::new(), Faults::none());
    let store = FaultyStore::new(memory.clone(), faults.clone(), Faults::none());
    let mut context = Context::from_waker(Waker::noop());
    for (fault, then) in [(Fault::Stall, [0, 0, 1]), (Fault::StallReply, [1, 1, 2])] {
        let put = |name: &'static [u8]| {
            store.transact(Box::new(move |tx| tx.put(Space::Keys, name, b"record")))
        };
        let before = records(&memory).unwrap();
        let found = || records(&memory).unwrap() - before;
        faults.strike(fault);
        let mut given_up = put(if before == 0 { b"a" } else { b"b" });
        assert!(given_up.as_mut().poll(&mut context).is_pending());
        assert_eq!((faults.stalled(), found()), (1, then[0]));
        drop(given_up);
        assert_eq!((faults.stalled(), found()), (0, then[1]));
        faults.strike(fault);
        let mut call = put(if before == 0 { b"c" } else { b"d" });
        assert!(call.as_mut().poll(&mut context).is_pending());
        faults.release();
        block_on(call).unwrap();
        assert_eq!((faults.stalled(), found()), (0, then[2]));
    }
}

#[test]
fn a_stalled_append_blocks_its_thread_until_it_is_released() {
    let (memory, faults) = (MemoryAudit::new(), Faults::none());
    let sink = FaultyAudit::new(memory.clone(), faults.clone());
    faults.strike(Fault::Stall);
    thread::scope(|scope| {
        let thread = scope.spawn(|| sink.append(&event("held up")));
        while faults.stalled() == 0 {
            thread::yield_now();
        }
        sink.append(&event("other")).unwrap();
        assert_eq!(memory.events().len(), 1);
        faults.release();
        thread.join().unwrap().unwrap();
    });
    assert_eq!(memory.events().len(), 2);
}

#[test]
fn a_full_store_fails_in_the_middle_and_keeps_nothing() {
    let (memory, faults) = (MemoryStore::new(), Faults::none());
    let store = FaultyStore::new(memory.clone(), faults.clone(), Faults::none());
    for writes in 0..5 {
        faults.strike(Fault::NoSpace { writes });
        assert_eq!(
            put_three(&store).unwrap_err().kind(),
            ErrorKind::StoreFailed
        );
        assert_eq!(records(&memory).unwrap(), 0, "{writes}");
    }
    put_three(&store).unwrap();
}

#[test]
fn a_torn_write_is_there_in_part() {
    for (writes, there) in [(0, 0), (1, 1), (2, 2), (3, 3), (9, 3)] {
        let (memory, faults) = (MemoryStore::new(), Faults::none());
        let store = FaultyStore::new(memory.clone(), faults.clone(), Faults::none());
        faults.strike(Fault::Torn { writes });
        assert_eq!(put_three(&store).unwrap_err().kind(), ErrorKind::Unknown);
        assert_eq!(records(&memory).unwrap(), there);
    }
}

#[test]
fn garbage_is_one_bit_of_one_record() {
    let (memory, faults) = (MemoryStore::new(), Faults::none());
    let store = FaultyStore::new(memory, Faults::none(), faults.clone());
    put_three(&store).unwrap();
    let scan = || {
        let mut found = Vec::new();
        block_on(store.view(Box::new(|snapshot: &dyn Snapshot| {
            found = snapshot.scan(Space::Keys, b"", None, 10)?;
            Ok(())
        })))
        .unwrap();
        found
    };
    let right = scan();
    for at in 0..4 {
        faults.strike(Fault::Garbage { at });
        let garbled = scan();
        for (number, (right, garbled)) in right.iter().zip(&garbled).enumerate() {
            assert_eq!(right.0, garbled.0);
            let bits = right
                .1
                .iter()
                .zip(&garbled.1)
                .map(|(a, b)| (a ^ b).count_ones());
            assert_eq!(
                bits.sum::<u32>(),
                u32::from(number == at),
                "record {number}"
            );
        }
        assert_eq!(scan(), right);
    }
}

#[test]
fn a_device_and_its_keys_fail_on_plans_of_their_own() {
    let (calls, keys) = (Faults::none(), Faults::none());
    let device = SoftDevice::in_memory().unwrap();
    let device = FaultyDevice::new(device, calls.clone(), keys.clone());
    let spec = KeySpec::new(KeyType::EcP256, Usages::of(&[Usage::Sign])).unwrap();
    let binding = Binding::new("test", b"");
    let generate = || block_on(device.generate(&spec, &binding));
    for (fault, kind) in [
        (Fault::Before, ErrorKind::DeviceFailed),
        (Fault::After, ErrorKind::Unknown),
    ] {
        calls.strike(fault);
        assert_eq!(generate().unwrap_err().kind(), kind);
    }
    calls.strike(Fault::Garbage { at: 7 });
    let spoilt = generate().unwrap().sealed;
    let spoilt = block_on(device.load(&spoilt, &binding));
    assert_eq!(spoilt.unwrap_err().kind(), ErrorKind::Damaged);

    let made = generate().unwrap();
    let key = block_on(device.load(&made.sealed, &binding)).unwrap();
    let input = SignInput::Message(b"message");
    let sign = || block_on(key.sign(Algorithm::Es256, input));
    for (fault, kind) in [
        (Fault::Before, ErrorKind::DeviceFailed),
        (Fault::After, ErrorKind::Unknown),
    ] {
        keys.strike(fault);
        assert_eq!(sign().unwrap_err().kind(), kind);
    }
    keys.strike(Fault::Garbage { at: 63 });
    let public = made.public.unwrap();
    let verify = |signature: Vec<u8>| public.verify(Algorithm::Es256, input, &signature);
    verify(sign().unwrap()).unwrap_err();
    verify(sign().unwrap()).unwrap();

    keys.strike(Fault::Stall);
    let mut call = pin!(key.sign(Algorithm::Es256, input));
    let mut context = Context::from_waker(Waker::noop());
    assert!(call.as_mut().poll(&mut context).is_pending());
    verify(sign().unwrap()).unwrap();
    keys.release();
    verify(block_on(call).unwrap()).unwrap();
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
    assert_eq!(kept.kind(), ErrorKind::AuditFailed);
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

fn put_three(store: &dyn Store) -> Result<()> {
    block_on(store.transact(Box::new(|tx| {
        for name in [b"one", b"two", b"six"] {
            tx.put(Space::Keys, name, b"record")?;
        }
        Ok(())
    })))
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
