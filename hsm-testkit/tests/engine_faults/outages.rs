//! Store and audit sink fail before the effect or after it.

use std::collections::BTreeSet;
use std::sync::Arc;

use futures_executor::block_on;
use hsm_backend_soft::SoftDevice;
use hsm_core::audit::{AuditSink, RequestId};
use hsm_core::{
    Credentials, Device, Engine, ErrorKind, PageRequest, Parts, Request, Response, Service, Session,
};
use hsm_testkit::service::ADMINISTRATOR;
use hsm_testkit::{Fault, Faults, FaultyStore, ManualClock, MemoryAudit, MemoryStore};

use crate::house::*;

#[test]
fn a_change_that_did_not_arrive_has_not_happened() {
    let house = House::new();
    // The second copy of each request is the one that succeeds.
    for (lost, made) in changes().into_iter().zip(changes()) {
        let (what, action) = (format!("{lost:?}"), lost.action());
        let before = house.state();
        house.writes.strike(Fault::Before);
        assert_eq!(house.kind(lost), Some(ErrorKind::StoreFailed), "{what}");
        assert_eq!(house.state(), before, "{what} was half-made");
        let last = house.recorded(action).pop();
        assert_eq!(last, Some(Some(ErrorKind::StoreFailed)), "{what}");
        assert_eq!(house.kind(made), None, "{what}, tried again");
        assert_ne!(house.state(), before, "{what} was acknowledged");
        house.check_whole();
    }
}

#[test]
fn a_change_whose_reply_was_lost_is_unknown_and_has_happened_whole() {
    let (house, model) = (House::new(), House::new());
    for (lost, made) in changes().into_iter().zip(changes()) {
        let (what, action) = (format!("{lost:?}"), lost.action());
        let before = house.state();
        house.writes.strike(Fault::After);
        assert_eq!(house.kind(lost), Some(ErrorKind::Unknown), "{what}");
        assert_ne!(house.state(), before, "{what} has happened");
        let last = house.recorded(action).pop();
        assert_eq!(last, Some(Some(ErrorKind::Unknown)), "{what}");
        // The engine that was not told sees it at its next call, as one that was told.
        assert_eq!(model.kind(made), None, "{what}");
        for (name, asked) in [("key", false), ("key", true), ("aes", false)] {
            let request = || match asked {
                false => Request::GetKey { key: key(name) },
                true => Request::GetDeletedKey {
                    name: name.parse().unwrap(),
                },
            };
            assert_eq!(house.kind(request()), model.kind(request()), "{what}");
        }
        house.check_whole();
    }
}

#[test]
fn nothing_is_done_on_what_cannot_be_read() {
    let house = House::new();
    for request in changes().into_iter().take(2) {
        house.ask(request).unwrap();
    }
    let before = house.state();
    for request in changes() {
        let what = format!("{request:?}");
        house.reads.strike(Fault::Before);
        assert_eq!(house.kind(request), Some(ErrorKind::StoreFailed), "{what}");
        assert_eq!(house.state(), before, "{what} was half-made");
    }
    for request in uses() {
        let what = format!("{request:?}");
        house.reads.strike(Fault::Before);
        assert_eq!(house.kind(request), Some(ErrorKind::StoreFailed), "{what}");
    }
    for request in uses() {
        assert_eq!(house.kind(request), None, "the store is back");
    }
}

#[test]
fn what_cannot_be_audited_is_not_done() {
    let house = House::new();
    for request in changes().into_iter().take(2) {
        house.ask(request).unwrap();
    }
    for fault in [Fault::Before, Fault::After] {
        for request in uses() {
            let (what, action) = (format!("{request:?}, {fault:?}"), request.action());
            let before = house.recorded(action).len();
            house.audit.strike(fault);
            assert_eq!(house.kind(request), Some(ErrorKind::AuditFailed), "{what}");
            let kept = house.recorded(action).len() - before;
            assert_eq!(kept, usize::from(fault == Fault::After), "{what}");
        }
        for request in uses() {
            assert_eq!(house.kind(request), None, "the audit log is back");
        }
        // A refusal that cannot be recorded is a failure of the audit log, not an answer.
        house.audit.strike(fault);
        let missing = Request::GetKey {
            key: key("missing"),
        };
        assert_eq!(house.kind(missing), Some(ErrorKind::AuditFailed));
    }
}

#[test]
fn changes_are_audited_in_the_journal_and_need_no_stream() {
    let house = House::new();
    for request in changes() {
        let what = format!("{request:?}");
        house.audit.plan([Some(Fault::Before); 8]);
        assert_eq!(house.kind(request), None, "{what}");
    }
    house.audit.plan([]);
    house.check_whole();
}

#[test]
fn a_change_that_may_have_happened_stays_unknown_when_the_audit_log_fails_as_well() {
    let house = House::new();
    house.writes.strike(Fault::After);
    house.audit.strike(Fault::Before);
    let create = changes().remove(0);
    assert_eq!(house.kind(create), Some(ErrorKind::Unknown));
    assert_eq!(house.kind(Request::GetKey { key: key("key") }), None);
}

#[test]
fn a_login_that_fails_halfway_lets_nobody_in_and_costs_no_later_one() {
    let house = House::new();
    // Its two transactions: the attempt, and the success.
    for at in 0..2 {
        for (fault, expected) in [
            (Fault::Before, ErrorKind::StoreFailed),
            (Fault::After, ErrorKind::Unknown),
        ] {
            let mut plan = vec![None; at];
            plan.push(Some(fault));
            house.writes.plan(plan);
            let login = block_on(house.engine.login(credentials()));
            assert_eq!(login.unwrap_err().kind(), expected, "{at}, {fault:?}");
            block_on(house.engine.login(credentials())).unwrap();
        }
    }
    for fault in [Fault::Before, Fault::After] {
        house.audit.strike(fault);
        let wrong = Credentials::password(ADMINISTRATOR, "not the password").unwrap();
        let login = block_on(house.engine.login(wrong));
        assert_eq!(login.unwrap_err().kind(), ErrorKind::AuditFailed);
        block_on(house.engine.login(credentials())).unwrap();
    }
}

#[test]
fn a_partition_whose_creation_was_lost_is_there_or_not() {
    for (fault, expected, there) in [
        (Fault::Before, ErrorKind::StoreFailed, false),
        (Fault::After, ErrorKind::Unknown, true),
    ] {
        let (memory, writes) = (MemoryStore::new(), Faults::none());
        let device = Arc::new(SoftDevice::in_memory().unwrap());
        let parts = || Parts {
            device: device.clone(),
            store: Arc::new(FaultyStore::new(
                memory.clone(),
                writes.clone(),
                Faults::none(),
            )),
            audit: Arc::new(MemoryAudit::new()),
            clock: Arc::<ManualClock>::default(),
        };
        writes.strike(fault);
        let created = block_on(Engine::create(parts(), setup()));
        assert_eq!(created.unwrap_err().kind(), expected);
        let opened = block_on(Engine::open(parts()));
        assert_eq!(opened.is_ok(), there, "{fault:?}: {opened:?}");
        let again = block_on(Engine::create(parts(), setup()));
        assert_eq!(again.is_ok(), !there, "{fault:?}: {again:?}");
    }
}

#[test]
fn maintenance_that_fails_is_done_by_the_next_run() {
    for fault in [Fault::Before, Fault::After] {
        let house = House::new();
        for request in changes().into_iter().take(5) {
            house.ask(request).unwrap();
        }
        house
            .clock
            .advance(std::time::Duration::from_secs(91 * 86_400));
        house.writes.strike(fault);
        let first = block_on(house.engine.maintain()).unwrap();
        assert!(first.rotated.is_empty(), "{fault:?}: {first:?}");
        // A refused rotation is tried again after an hour, one that happened is not repeated.
        house.clock.advance(hsm_core::limits::ROTATION_RETRY * 2);
        block_on(house.engine.maintain()).unwrap();
        let session = block_on(house.engine.session_for(ADMINISTRATOR.parse().unwrap())).unwrap();
        let request = Request::ListVersions {
            name: "key".parse().unwrap(),
            page: PageRequest::default(),
        };
        let answer = block_on(session.call(RequestId::default(), request)).unwrap();
        let Response::Keys(versions) = answer else {
            panic!("expected versions")
        };
        assert_eq!(versions.items.len(), 2, "{fault:?}: rotated exactly once");
    }
}

#[test]
fn checkpoints_that_fail_are_made_by_the_next_run() {
    let house = House::new();
    for fault in [Fault::Before, Fault::After] {
        house.ask(Request::Random { len: 8 }).unwrap();
        house.audit.strike(fault);
        block_on(house.engine.maintain()).unwrap_err();
        block_on(house.engine.maintain()).unwrap();
    }
    let heads: BTreeSet<_> = house
        .audited
        .heads()
        .iter()
        .map(|head| head.records)
        .collect();
    block_on(house.engine.maintain()).unwrap();
    let after: BTreeSet<_> = house
        .audited
        .heads()
        .iter()
        .map(|head| head.records)
        .collect();
    assert_eq!(heads, after, "what is signed is not signed again");
}

#[test]
fn zeroizing_goes_through_with_it_once_it_is_recorded() {
    // Its writes: the record, then the last checkpoint of the journal.
    for (at, fault, expected) in [
        (0, Fault::Before, Some(ErrorKind::StoreFailed)),
        (0, Fault::After, Some(ErrorKind::Unknown)),
        (1, Fault::Before, None),
        (1, Fault::After, None),
    ] {
        let house = House::new();
        let confirm = house.engine.id();
        let mut plan = vec![None; at];
        plan.push(Some(fault));
        house.writes.plan(plan);
        let kind = house.kind(Request::Zeroize { confirm });
        assert_eq!(kind, expected, "{at}, {fault:?}");
        let recorded = (at, fault) != (0, Fault::Before);
        let random = house.kind(Request::Random { len: 8 });
        let gone = random == Some(ErrorKind::DeviceFailed);
        assert_eq!(gone, recorded, "{at}, {fault:?}: {random:?}");
        let mut bytes = [0; 8];
        let device = block_on(Device::random(&*house.device, &mut bytes));
        assert_eq!(device.is_err(), recorded, "the device itself: {fault:?}");
    }
    // The streams' last checkpoint does not stop it either.
    let house = House::new();
    house.audit.strike(Fault::Before);
    let confirm = house.engine.id();
    assert_eq!(house.kind(Request::Zeroize { confirm }), None);
}

#[test]
fn opening_what_was_zeroized_halfway_finishes_it() {
    let house = House::new();
    let confirm = house.engine.id();
    house.writes.strike(Fault::After);
    let kind = house.kind(Request::Zeroize { confirm });
    assert_eq!(kind, Some(ErrorKind::Unknown));
    let parts = Parts {
        device: house.device.clone(),
        store: Arc::new(house.memory.clone()),
        audit: Arc::new(MemoryAudit::new()),
        clock: house.clock.clone(),
    };
    let opened = block_on(Engine::open(parts));
    assert_eq!(opened.unwrap_err().kind(), ErrorKind::DeviceFailed);
    let mut bytes = [0; 8];
    let random = block_on(Device::random(&*house.device, &mut bytes));
    assert_eq!(random.unwrap_err().kind(), ErrorKind::DeviceFailed);
}

#[test]
fn a_device_that_could_not_zeroize_is_believed_and_asked_again() {
    let house = House::new();
    let is_gone = || block_on(Device::random(&*house.device, &mut [0; 8])).is_err();
    let confirm = house.engine.id();
    // The request's one call to the device.
    house.calls.strike(Fault::Before);
    let error = house.ask(Request::Zeroize { confirm }).unwrap_err();
    assert!(error.message().contains("a fault was planned"), "{error}");
    assert!(!is_gone());
    let error = house.ask(Request::Random { len: 8 }).unwrap_err();
    assert!(error.message().contains("was zeroized"), "{error}");
    assert!(is_gone(), "the next call has asked the device again");
}
