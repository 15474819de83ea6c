//! The device, or a key that it loaded, fails before the effect or after it.

use hsm_core::ErrorKind;
use hsm_testkit::{Fault, Faults};

use crate::house::*;

const FAULTS: [(Fault, ErrorKind); 3] = [
    (Fault::After, ErrorKind::Unknown),
    (Fault::Before, ErrorKind::DeviceFailed),
    (Fault::NoSpace { writes: 0 }, ErrorKind::DeviceFailed),
];

/// A plan of the device, or of its keys.
const PLANS: [fn(&House) -> &Faults; 2] = [|house| &house.calls, |house| &house.keys];

#[test]
fn a_change_whose_device_fails_is_not_made_and_is_recorded() {
    let mut struck = 0;
    for ((fault, kind), plan) in FAULTS
        .iter()
        .flat_map(|fault| PLANS.map(|plan| (*fault, plan)))
    {
        let house = House::new();
        for at in 0..changes().len() {
            // Each call to the device in turn, until the change needs no more of them and is made.
            for calls in 0.. {
                let request = changes().swap_remove(at);
                let (what, action) = (format!("{request:?}, {fault:?}"), request.action());
                let before = house.records();
                plan(&house).strike_later(calls, fault);
                let end = house.kind(request);
                if plan(&house).clear() {
                    assert_eq!(end, None, "{what}: nothing has struck");
                    break;
                }
                struck += 1;
                assert_eq!(end, Some(kind), "{what}");
                assert!(house.records() == before, "{what} was half-made");
                assert_eq!(house.recorded(action).pop(), Some(Some(kind)), "{what}");
            }
        }
        house.check_whole();
    }
    assert!(struck > 3 * 5, "only {struck} faults struck");
}

#[test]
fn an_operation_whose_device_fails_has_no_answer_and_is_recorded() {
    for (fault, kind) in FAULTS {
        let house = House::new();
        house.furnish();
        for at in 0..operations().len() {
            let mut struck = 0;
            for plan in PLANS.map(|plan| plan(&house)) {
                for calls in 0.. {
                    let (request, right) = operations().swap_remove(at);
                    let (what, action) = (format!("{request:?}, {fault:?}"), request.action());
                    let before = house.records();
                    plan.strike_later(calls, fault);
                    let end = house.kind(request);
                    if plan.clear() {
                        assert_eq!(end, right, "{what}: nothing has struck");
                        break;
                    }
                    struck += 1;
                    // What the device refuses it has refused, whether or not the reply is lost.
                    let refused = fault == Fault::After && right.is_some() && end == right;
                    assert!(end == Some(kind) || refused, "{what}: {end:?}");
                    assert!(house.records() == before, "{what} was half-made");
                    assert_eq!(house.recorded(action).pop(), Some(end), "{what}");
                }
            }
            assert!(struck > 0, "operation {at} never asks the device");
        }
        house.check_whole();
    }
}
