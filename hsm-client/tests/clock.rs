//! Promise: time never goes back by itself, a clock that is wrong does not end keys, lock-outs or retention periods, and a wrong
//! reading can be taken back.
#![expect(clippy::unwrap_used, reason = "helpers of tests are tests")]

#[path = "support/home.rs"]
mod home;

use std::time::Duration;

use home::{Home, PASSWORD, admin, app};
use hsm_client::blocking::{Hsm, Key};
use hsm_client::kinds::EcdsaP256;
use hsm_client::limits::{
    CLOCK_SETTLE_TIME, CLOCK_STEP_MAX, LOGIN_DELAY_FIRST, LOGIN_FREE_FAILURES, SESSION_IDLE_MAX,
};
use hsm_client::{BuiltInRole, ErrorKind, OpenOptions, PageRequest, Scope, audit};
use hsm_core::Clock;

const DAY: Duration = Duration::from_secs(24 * 60 * 60);
const YEAR: Duration = Duration::from_secs(365 * 24 * 60 * 60);
const INSTANT: Duration = Duration::from_millis(1);

/// An HSM with the key `invoices`, which expires in 30 days.
fn with_a_key_for_30_days() -> (Home, Hsm, Key<EcdsaP256>) {
    let (home, hsm) = Home::new();
    let key = app(&hsm)
        .create::<EcdsaP256>("invoices")
        .expires(home.clock.now() + DAY * 30)
        .make()
        .unwrap();
    (home, hsm, key)
}

#[test]
fn a_jump_of_the_clock_is_not_believed_at_once() {
    let (home, hsm) = Home::new();
    let session = app(&hsm);
    let expires = home.clock.now() + DAY * 30;
    let key = session
        .create::<EcdsaP256>("invoices")
        .expires(expires)
        .make()
        .unwrap();
    home.clock.set(home.clock.now() + YEAR);
    key.sign(b"message").unwrap();
    hsm.maintain().unwrap();
    let other = session.create::<EcdsaP256>("other").make().unwrap();
    assert!(other.info().unwrap().attributes.created < expires);
    home.clock.go_back(YEAR);
    key.sign(b"message").unwrap();
    hsm.close().unwrap();
    home.open();
}

#[test]
fn a_clock_that_stays_ahead_is_believed() {
    let (home, hsm, key) = with_a_key_for_30_days();
    home.clock.set(home.clock.now() + YEAR);
    key.sign(b"message").unwrap();
    home.clock.advance(CLOCK_SETTLE_TIME);
    let key = app(&hsm).key::<EcdsaP256>("invoices").unwrap();
    assert_eq!(
        key.sign(b"message").unwrap_err().kind(),
        ErrorKind::KeyState
    );
}

#[test]
fn two_jumps_are_not_one_that_lasts() {
    let (home, hsm, key) = with_a_key_for_30_days();
    home.clock.set(home.clock.now() + YEAR);
    key.sign(b"message").unwrap();
    home.clock.go_back(YEAR);
    key.sign(b"message").unwrap();
    home.clock.advance(CLOCK_SETTLE_TIME);
    home.clock.set(home.clock.now() + YEAR);
    let key = app(&hsm).key::<EcdsaP256>("invoices").unwrap();
    key.sign(b"message").unwrap();
}

#[test]
fn a_jump_that_ended_behind_does_not_make_the_next_one_last() {
    let (home, hsm, key) = with_a_key_for_30_days();
    home.clock.set(home.clock.now() + YEAR);
    key.sign(b"message").unwrap();
    // Whoever sets it right does not hit the millisecond.
    home.clock.go_back(YEAR + INSTANT);
    key.sign(b"message").unwrap();
    home.clock.advance(CLOCK_SETTLE_TIME);
    home.clock.set(home.clock.now() + YEAR);
    let key = app(&hsm).key::<EcdsaP256>("invoices").unwrap();
    key.sign(b"message").unwrap();
}

#[test]
fn time_that_passes_without_requests_is_no_jump() {
    let (home, hsm) = Home::new();
    app(&hsm)
        .create::<EcdsaP256>("invoices")
        .expires(home.clock.now() + DAY * 30)
        .make()
        .unwrap();
    let sign = || {
        app(&hsm)
            .key::<EcdsaP256>("invoices")
            .unwrap()
            .sign(b"message")
    };
    home.clock.advance(DAY * 30 - INSTANT);
    sign().unwrap();
    home.clock.advance(INSTANT);
    assert_eq!(sign().unwrap_err().kind(), ErrorKind::KeyState);
}

#[test]
fn sessions_and_lock_outs_end_although_the_clock_was_set_back() {
    let (home, hsm) = Home::new();
    for _ in 0..=LOGIN_FREE_FAILURES {
        hsm.login("app", "a wrong password").unwrap_err();
    }
    let session = admin(&hsm);
    home.clock.go_back(YEAR);
    let locked = hsm.login("app", PASSWORD).unwrap_err();
    assert_eq!(locked.kind(), ErrorKind::LockedOut);
    home.clock.advance(LOGIN_DELAY_FIRST);
    hsm.login("app", PASSWORD).unwrap();
    home.clock
        .advance(SESSION_IDLE_MAX + Duration::from_secs(1));
    let idle = session.list_users(PageRequest::default()).unwrap_err();
    assert_eq!(idle.kind(), ErrorKind::Unauthenticated);
}

#[test]
fn setting_the_clock_ahead_does_not_end_sessions() {
    let (home, hsm) = Home::new();
    let session = admin(&hsm);
    home.clock.set(home.clock.now() + CLOCK_STEP_MAX);
    session.list_users(PageRequest::default()).unwrap();
}

/// An HSM that was opened and changed while the clock was ten years ahead; the clock is right again.
fn changed_in_ten_years() -> (Home, Hsm) {
    let (home, hsm) = Home::new();
    app(&hsm)
        .create::<EcdsaP256>("invoices")
        .expires(home.clock.now() + YEAR)
        .make()
        .unwrap();
    hsm.close().unwrap();
    home.clock.set(home.clock.now() + YEAR * 10);
    let hsm = home.open();
    let key = app(&hsm).key::<EcdsaP256>("invoices").unwrap();
    let expired = key.sign(b"message").unwrap_err();
    assert_eq!(expired.kind(), ErrorKind::KeyState);
    drop(key);
    for _ in 0..=LOGIN_FREE_FAILURES {
        hsm.login("app", "a wrong password").unwrap_err();
    }
    hsm.close().unwrap();
    home.clock.go_back(YEAR * 10);
    let refused = home.try_open().unwrap_err();
    assert_eq!(refused.kind(), ErrorKind::Unreachable);
    assert!(
        refused.to_string().contains(
            "the clock reads 2026-01-01T00:00:00Z, but the HSM was last changed at 2035-"
        ),
        "{refused}"
    );
    let options = OpenOptions::new()
        .clock(home.clock.clone())
        .without_background_maintenance()
        .danger_accept_clock();
    let hsm = Hsm::open_with(&home.url(), options).unwrap();
    (home, hsm)
}

#[test]
fn a_wrong_reading_can_be_taken_back() {
    let (home, hsm) = changed_in_ten_years();
    // The lock-out of that time does not last until then.
    let key = app(&hsm).key::<EcdsaP256>("invoices").unwrap();
    key.sign(b"message").unwrap();
    let audit_key = hsm.as_async().audit_key().unwrap().clone();
    hsm.close().unwrap();
    let hsm = home.open();
    app(&hsm)
        .key::<EcdsaP256>("invoices")
        .unwrap()
        .sign(b"message")
        .unwrap();
    hsm.close().unwrap();
    let mut said = Vec::new();
    audit::verify(&home.url(), &audit_key, |record| {
        said.push(record.event.detail.to_string());
    })
    .unwrap();
    assert!(
        said.iter()
            .any(|detail| detail.starts_with("time was taken back from 2035-")),
        "{said:?}"
    );
}

#[test]
fn a_clock_that_is_right_has_nothing_to_take_back() {
    let (home, hsm) = Home::new();
    hsm.close().unwrap();
    home.clock.go_back(CLOCK_STEP_MAX);
    let options = || {
        OpenOptions::new()
            .clock(home.clock.clone())
            .without_background_maintenance()
    };
    let hsm = Hsm::open_with(&home.url(), options().danger_accept_clock()).unwrap();
    let key = app(&hsm).create::<EcdsaP256>("invoices").make().unwrap();
    assert!(key.info().unwrap().attributes.created >= home.clock.now() + CLOCK_STEP_MAX);
}

/// An HSM with a deleted key, closed; its clock is a year ahead then.
fn closed_for_a_year() -> Home {
    let (home, hsm) = Home::new();
    let key = app(&hsm).create::<EcdsaP256>("invoices").make().unwrap();
    key.delete().unwrap();
    hsm.close().unwrap();
    home.clock.advance(YEAR);
    home
}

#[test]
fn nothing_is_purged_when_opened_again_after_a_long_pause() {
    let home = closed_for_a_year();
    home.open().close().unwrap();
    let hsm = home.open();
    let done = hsm.maintain().unwrap();
    assert_eq!(done.purged, []);
    let [(_, reason)] = &done.refused[..] else {
        panic!("{:?}", done.refused)
    };
    assert!(reason.contains("steadily for an hour"), "{reason}");
    home.clock.advance(CLOCK_SETTLE_TIME);
    assert_eq!(hsm.maintain().unwrap().purged.len(), 1);
}

#[test]
fn a_leap_that_was_taken_back_holds_no_purge_up() {
    let home = closed_for_a_year();
    home.open().close().unwrap();
    home.clock.go_back(YEAR);
    let options = OpenOptions::new()
        .clock(home.clock.clone())
        .without_background_maintenance()
        .danger_accept_clock();
    let hsm = Hsm::open_with(&home.url(), options).unwrap();
    assert_eq!(hsm.maintain().unwrap().refused, []);
    home.clock.advance(DAY * 100);
    assert_eq!(hsm.maintain().unwrap().purged.len(), 1);
}

#[test]
fn nothing_is_purged_right_after_a_long_pause() {
    let (home, hsm) = Home::new();
    admin(&hsm)
        .assign_role(BuiltInRole::CryptoOfficer, "admin", Scope::Keys)
        .unwrap();
    let key = app(&hsm).create::<EcdsaP256>("invoices").make().unwrap();
    key.delete().unwrap();
    hsm.close().unwrap();
    home.clock.advance(YEAR);
    let hsm = home.open();
    let done = hsm.maintain().unwrap();
    assert_eq!(done.purged, []);
    let [(name, reason)] = &done.refused[..] else {
        panic!("{:?}", done.refused)
    };
    assert_eq!(name.as_str(), "invoices");
    assert!(reason.contains("steadily for an hour"), "{reason}");
    home.clock.advance(CLOCK_SETTLE_TIME);
    let purged = hsm.maintain().unwrap().purged;
    assert_eq!(purged.len(), 1);
}
