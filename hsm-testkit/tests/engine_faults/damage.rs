//! The store runs out of space, tears a transaction or returns garbage, and the device returns garbage: what is wrong is
//! refused and named, and the rest goes on.

use std::sync::Arc;

use futures_executor::block_on;
use hsm_core::audit::RequestId;
use hsm_core::{
    Algorithm, Engine, ErrorKind, PageRequest, Parts, PublicKey, Request, Response, Session,
    SignInput,
};
use hsm_testkit::service::ADMINISTRATOR;
use hsm_testkit::{Fault, Faults, FaultyStore, MemoryAudit, MemoryStore};

use crate::house::*;

#[test]
fn a_change_that_finds_no_space_has_not_happened() {
    let house = House::new();
    for at in 0..changes().len() {
        for writes in 0..12 {
            let request = changes().swap_remove(at);
            let (what, action) = (format!("{request:?}, room for {writes}"), request.action());
            let before = house.records();
            house.writes.strike(Fault::NoSpace { writes });
            assert_eq!(house.kind(request), Some(ErrorKind::StoreFailed), "{what}");
            assert!(house.records() == before, "{what} was half-made");
            let last = house.recorded(action).pop();
            assert_eq!(last, Some(Some(ErrorKind::StoreFailed)), "{what}");
        }
        // What is there can be used without space.
        house.check_whole();
        assert_eq!(house.kind(changes().swap_remove(at)), None, "space is free");
    }
    house.check_whole();
}

#[test]
fn a_torn_change_is_noticed() {
    let house = House::new();
    house.ask(changes().remove(0)).unwrap();
    house.ask(changes().remove(1)).unwrap();
    let mut noticed = 0;
    for at in 2..changes().len() {
        let change = changes().swap_remove(at);
        if change.key_name().is_none() {
            continue;
        }
        let what = format!("{change:?}");
        let old = house.memory.copy();
        let before = answers(&house, &old).unwrap();
        house.ask(change).unwrap();
        let after = answers(&house, &house.memory).unwrap();
        for writes in 0.. {
            let store = old.copy();
            let end = torn(&house, &store, changes().swap_remove(at), writes);
            assert_eq!(end, Some(ErrorKind::Unknown), "{what}, torn after {writes}");
            let found = match answers(&house, &store) {
                Ok(found) => found,
                Err(error) => {
                    assert_eq!(error, ErrorKind::Damaged, "{what}, torn after {writes}");
                    noticed += 1;
                    continue;
                }
            };
            let damaged = format!("{:?}", Err::<(), _>(ErrorKind::Damaged));
            let is = |whole: &[String]| {
                let mut pairs = found.iter().zip(whole);
                pairs.all(|(found, whole)| *found == damaged || found == whole)
            };
            noticed += u32::from(found.contains(&damaged));
            let complete = !is(&before) && !found.contains(&damaged);
            assert!(
                is(&before) || complete,
                "{what}, torn after {writes}: half of it shows"
            );
            if complete {
                assert_eq!(shape(&found), shape(&after), "{what}: the whole change");
                break;
            }
            assert!(writes < 64, "{what} does not come to its end");
        }
    }
    assert!(noticed > 30, "only {noticed} torn changes were noticed");
}

/// Makes a change in an engine of its own, whose store is torn, and asks it afterwards what it makes of that.
fn torn(
    house: &House,
    store: &MemoryStore,
    request: Request<'_>,
    writes: usize,
) -> Option<ErrorKind> {
    let plan = Faults::none();
    let faulty = FaultyStore::new(store.clone(), plan.clone(), Faults::none());
    let parts = Parts {
        device: house.device.clone(),
        store: Arc::new(faulty),
        audit: Arc::new(MemoryAudit::new()),
        clock: house.clock.clone(),
    };
    let engine = block_on(Engine::open(parts)).unwrap();
    let session = block_on(engine.session_for(ADMINISTRATOR.parse().unwrap())).unwrap();
    plan.strike(Fault::Torn { writes });
    let end = block_on(session.call(RequestId::default(), request));
    for request in questions() {
        let answer = block_on(session.call(RequestId::default(), request));
        if let Err(error) = answer {
            let kinds = [ErrorKind::Damaged, ErrorKind::NotFound];
            assert!(
                kinds.contains(&error.kind()),
                "torn after {writes}: {error}"
            );
        }
    }
    end.err().map(|error| error.kind())
}

/// What another process answers that opens the store.
fn answers(house: &House, store: &MemoryStore) -> Result<Vec<String>, ErrorKind> {
    let parts = Parts {
        device: house.device.clone(),
        store: Arc::new(store.clone()),
        audit: Arc::new(MemoryAudit::new()),
        clock: house.clock.clone(),
    };
    let engine = block_on(Engine::open(parts)).map_err(|error| error.kind())?;
    let session = block_on(engine.session_for(ADMINISTRATOR.parse().unwrap()));
    let session = session.map_err(|error| error.kind())?;
    let ask = |request| {
        let answer = block_on(session.call(RequestId::default(), request));
        format!("{:?}", answer.map_err(|error| error.kind()))
    };
    Ok(questions().into_iter().map(ask).collect())
}

/// What a store that removes records cannot hide: listings do not miss what is not there.
fn questions() -> Vec<Request<'static>> {
    let mut requests = vec![Request::GetSettings];
    for name in ["key", "aes"] {
        requests.push(Request::GetKey { key: key(name) });
        let name = || name.parse().unwrap();
        requests.push(Request::GetDeletedKey { name: name() });
        requests.push(Request::ListVersions {
            name: name(),
            page: PageRequest::default(),
        });
        requests.push(Request::GetRotationPolicy { name: name() });
    }
    requests
}

/// Which of the answers are there: what a repeated change makes is random.
fn shape(answers: &[String]) -> Vec<bool> {
    answers
        .iter()
        .map(|answer| answer.starts_with("Ok"))
        .collect()
}

#[test]
fn garbage_of_the_store_is_refused_and_not_remembered() {
    let house = House::new();
    house.furnish();
    for request in changes().into_iter().take(2) {
        house.ask(request).unwrap();
    }
    let another = house.another_session();
    let mut refused = 0;
    for at in 0..operations().len() + uses().len() {
        for calls in 0..3 {
            for record in 0..6 {
                let request = || match at.checked_sub(operations().len()) {
                    None => operations().swap_remove(at),
                    Some(at) => (uses().swap_remove(at), None),
                };
                let what = format!("{:?}, {calls}, {record}", request().0);
                let (asked, right) = request();
                house.forget(&*another, asked.key_name());
                house
                    .reads
                    .strike_later(calls, Fault::Garbage { at: record });
                let end = house.kind(asked);
                house.reads.plan([]);
                if end == Some(ErrorKind::Damaged) {
                    refused += 1;
                } else {
                    let unread = end == Some(ErrorKind::StoreFailed) && calls == 0;
                    assert!(end == right || unread, "{what}: {end:?}");
                }
                assert_eq!(house.kind(request().0), right, "{what}: the store is back");
            }
        }
    }
    assert!(refused > 50, "only {refused} times");
    house.check_whole();
}

#[test]
fn a_change_on_garbage_is_not_made() {
    let house = House::new();
    let mut refused = 0;
    for at in 0..changes().len() {
        for record in 0.. {
            let request = changes().swap_remove(at);
            let what = format!("{request:?}, record {record}");
            let before = house.records();
            house.writes.strike(Fault::Garbage { at: record });
            let Some(kind) = house.kind(request) else {
                break;
            };
            refused += 1;
            assert_eq!(kind, ErrorKind::Damaged, "{what}");
            assert!(house.records() == before, "{what} was half-made");
        }
        house.check_whole();
    }
    assert!(refused > 30, "only {refused} times");
}

#[test]
fn garbage_of_the_device_spoils_one_answer() {
    let house = House::new();
    house.furnish();
    let Response::Key(info) = house.ask(Request::GetKey { key: key("ec") }).unwrap() else {
        panic!("expected a key")
    };
    let public: PublicKey = info.public.unwrap();
    let signature = || match house.ask(sign(key("ec"))).unwrap() {
        Response::Signature { bytes, .. } => bytes,
        other => panic!("expected a signature, got {other:?}"),
    };
    let verify = |signature: &[u8]| {
        public.verify(Algorithm::Es256, SignInput::Message(b"message"), signature)
    };
    for at in 0..64 {
        house.keys.strike(Fault::Garbage { at });
        verify(&signature()).unwrap_err();
        verify(&signature()).unwrap();
    }
    house.check_whole();
}

#[test]
fn a_key_that_the_device_sealed_wrongly_is_named_and_can_be_removed() {
    let house = House::new();
    house.furnish();
    let mut spoilt = 0;
    for calls in 0..4 {
        house.calls.strike_later(calls, Fault::Garbage { at: 60 });
        house.ask(changes().remove(0)).unwrap();
        house.calls.plan([]);
        let end = house.ask(sign(key("key")));
        if let Err(error) = end {
            assert_eq!(error.kind(), ErrorKind::Damaged);
            assert!(error.message().contains("key"), "{error}");
            spoilt += 1;
        }
        assert_eq!(house.kind(sign(key("other"))), None, "other keys are whole");
        let name = || "key".parse().unwrap();
        house.ask(Request::DeleteKey { name: name() }).unwrap();
        house.ask(Request::PurgeKey { name: name() }).unwrap();
    }
    assert_eq!(spoilt, 1, "the one call that makes the key");
}
