//! The cases of the [`MonotonicCounter`] contract.

use std::thread;

use futures_executor::block_on;
use hsm_core::limits::COUNTER_AHEAD_MAX;
use hsm_core::{ErrorKind, MonotonicCounter};

use super::{fails, join, ok};

const GROWS: &str = "advance counts up until the value is at least what was asked for";
const NO_FURTHER: &str = "the value is no more than the greatest that anybody asked for";
const FALLS: &str = "the value never falls";

/// It goes where it is told, and nowhere else.
pub async fn it_counts_to_what_was_asked_for<C: MonotonicCounter>(make: impl Fn() -> C) {
    let counter = make();
    let start = ok(counter.read().await, "read");
    for step in [1, 2, 5, 5, 9] {
        ok(counter.advance(start + step).await, GROWS);
        assert_eq!(ok(counter.read().await, "read"), start + step, "{GROWS}");
    }
}

/// Who asks for less gets nothing.
pub async fn it_never_falls<C: MonotonicCounter>(make: impl Fn() -> C) {
    let counter = make();
    let value = ok(counter.read().await, "read") + 3;
    ok(counter.advance(value).await, GROWS);
    for to in [0, value - 2, value] {
        ok(counter.advance(to).await, FALLS);
        assert_eq!(ok(counter.read().await, "read"), value, "{FALLS}");
    }
}

/// Too far is refused, and moves nothing.
pub async fn far_steps_are_refused<C: MonotonicCounter>(make: impl Fn() -> C) {
    let counter = make();
    let value = ok(counter.read().await, "read");
    for to in [value + COUNTER_AHEAD_MAX + 1, u64::MAX] {
        let far = counter.advance(to).await;
        fails(far, &[ErrorKind::LimitExceeded], "too many steps");
        assert_eq!(ok(counter.read().await, "read"), value, "{NO_FURTHER}");
    }
}

/// Who asks at once for the same, or for more, does not count twice.
pub async fn callers_at_once_do_not_overshoot<C: MonotonicCounter>(make: impl Fn() -> C) {
    let counter = make();
    let start = ok(counter.read().await, "read");
    thread::scope(|scope| {
        let counter = &counter;
        let ask = |caller: u64| {
            move || {
                for step in 1..=4 {
                    ok(block_on(counter.advance(start + caller + step)), GROWS);
                }
            }
        };
        join((0..4).map(|caller| scope.spawn(ask(caller))).collect());
    });
    assert_eq!(ok(counter.read().await, "read"), start + 7, "{NO_FURTHER}");
}

/// Each counter is its own, and stays it.
pub async fn identities_are_their_own<C: MonotonicCounter>(make: impl Fn() -> C) {
    let (counter, other) = (make(), make());
    let identity = counter.identity();
    let value = ok(counter.read().await, "read");
    ok(counter.advance(value + 1).await, GROWS);
    assert_eq!(counter.identity(), identity, "it stays");
    assert_ne!(other.identity(), identity, "each has its own");
}
