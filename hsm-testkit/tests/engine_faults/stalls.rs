//! Device, store and audit sink do not answer: nobody else waits for them, and who gives up leaves nothing half-made.

use std::pin::Pin;
use std::task::{Context, Poll, Waker};
use std::thread;

use hsm_core::audit::RequestId;
use hsm_core::{ErrorKind, KeyType, Request, Response, Result, Usage};
use hsm_testkit::{Fault, Faults};

use crate::house::*;

/// Polls until there is an answer, or until the call is held up: something else may take its time.
fn poll(call: &mut BoxedCall<'_>, plans: &[&Faults]) -> Option<Result<Response>> {
    loop {
        if let Poll::Ready(end) = call.as_mut().poll(&mut Context::from_waker(Waker::noop())) {
            return Some(end);
        }
        if plans.iter().any(|plan| plan.stalled() > 0) {
            return None;
        }
        thread::yield_now();
    }
}

type BoxedCall<'a> = Pin<Box<dyn Future<Output = Result<Response>> + Send + 'a>>;

/// Other people's requests, of the same session and with other keys, are answered.
fn others_go_on(house: &House) {
    assert_eq!(house.kind(sign(key("other"))), None, "another key");
    assert_eq!(house.kind(Request::Random { len: 8 }), None);
}

/// Everything that may ask a device: operations, then changes; and how it ends if nothing fails.
fn requests() -> Vec<(Request<'static>, Option<ErrorKind>)> {
    let changes = changes().into_iter().map(|change| (change, None));
    operations().into_iter().chain(changes).collect()
}

#[test]
fn a_device_that_does_not_answer_holds_up_nobody_else() {
    const PLANS: [fn(&House) -> &Faults; 2] = [|house| &house.calls, |house| &house.keys];
    let mut stalls = 0;
    for (fault, plan) in [Fault::Stall, Fault::StallReply]
        .into_iter()
        .flat_map(|fault| PLANS.map(|plan| (fault, plan)))
    {
        let house = House::new();
        house.furnish();
        for at in 0..requests().len() {
            for calls in 0.. {
                let (request, right) = requests().swap_remove(at);
                let what = format!("{request:?}, {fault:?}");
                let before = house.records();
                plan(&house).strike_later(calls, fault);
                let mut call = house.session.call(RequestId::from_u128(1), request);
                if let Some(end) = poll(&mut call, &[plan(&house)]) {
                    assert_eq!(end.err().map(|error| error.kind()), right, "{what}");
                    // A refusal of the device has no reply that could be held up.
                    if plan(&house).clear() {
                        break;
                    }
                    continue;
                }
                stalls += 1;
                assert_eq!(plan(&house).stalled(), 1, "{what}");
                others_go_on(&house);
                // And then the caller gives up.
                drop(call);
                assert!(house.records() == before, "{what} was half-made");
            }
        }
        house.check_whole();
    }
    assert!(stalls > 40, "only {stalls} calls were held up");
}

#[test]
fn what_was_held_up_everywhere_comes_to_its_end() {
    for fault in [Fault::Stall, Fault::StallReply] {
        let house = House::new();
        house.furnish();
        for (request, right) in requests() {
            let what = format!("{request:?}, {fault:?}");
            let plans = [&house.calls, &house.keys, &house.writes];
            for plan in plans {
                plan.plan([Some(fault); 16]);
            }
            let mut call = house.session.call(RequestId::from_u128(1), request);
            let end = loop {
                if let Some(end) = poll(&mut call, &plans) {
                    break end;
                }
                for plan in plans {
                    plan.release();
                }
            };
            assert_eq!(end.err().map(|error| error.kind()), right, "{what}");
            for plan in plans {
                plan.plan([]);
            }
        }
        house.check_whole();
    }
}

#[test]
fn a_change_given_up_while_the_store_does_not_answer_has_happened_whole_or_not() {
    for fault in [Fault::Stall, Fault::StallReply] {
        let house = House::new();
        house.ask(create("other")).unwrap();
        for at in 0..changes().len() {
            let request = changes().swap_remove(at);
            let what = format!("{request:?}, {fault:?}");
            let before = house.state();
            house.writes.strike(fault);
            {
                let mut call = house.session.call(RequestId::from_u128(1), request);
                assert!(poll(&mut call, &[&house.writes]).is_none(), "{what}");
                assert_eq!(house.writes.stalled(), 1, "{what}");
                others_go_on(&house);
            }
            let happened = house.state() != before;
            assert_eq!(happened, fault == Fault::StallReply, "{what}");
            if !happened {
                let request = changes().swap_remove(at);
                assert_eq!(house.kind(request), None, "{what}, tried again");
            }
            house.check_whole();
        }
    }
}

#[test]
fn a_read_that_does_not_come_back_holds_up_its_own_thread_only() {
    for fault in [Fault::Stall, Fault::StallReply] {
        let house = House::new();
        house.ask(create("other")).unwrap();
        held_up(&house, &house.reads, fault, || Request::GetKey {
            key: key("other"),
        });
    }
}

#[test]
fn an_audit_log_that_does_not_answer_holds_up_its_own_thread_only() {
    for fault in [Fault::Stall, Fault::StallReply] {
        let house = House::new();
        house.ask(create("other")).unwrap();
        let before = house.audited.events().len();
        held_up(&house, &house.audit, fault, || sign(key("other")));
        // Its own record and those of the two others.
        assert_eq!(house.audited.events().len(), before + 3);
    }
}

/// Asks on a thread of its own, which is held up until others were answered.
fn held_up(house: &House, plan: &Faults, fault: Fault, request: fn() -> Request<'static>) {
    plan.strike(fault);
    thread::scope(|scope| {
        let thread = scope.spawn(|| house.kind(request()));
        while plan.stalled() == 0 {
            thread::yield_now();
        }
        others_go_on(house);
        assert!(
            !thread.is_finished(),
            "nobody gets an answer before it is recorded"
        );
        plan.release();
        assert_eq!(thread.join().unwrap(), None, "it was late, and that is all");
    });
}

fn create(name: &str) -> Request<'static> {
    Request::CreateKey {
        name: name.parse().unwrap(),
        new: new_key(KeyType::EcP256, &[Usage::Sign, Usage::Verify]),
    }
}
