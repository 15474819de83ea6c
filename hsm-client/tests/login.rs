//! Promise: only the right password opens a session, guessing gets slower and slower across restarts, and a session ends
//! with its user, its password or its time.
#![expect(clippy::unwrap_used, reason = "helpers of tests are tests")]

#[path = "support/home.rs"]
mod home;

use std::time::Duration;

use home::{Home, PASSWORD, admin, app};
use hsm_client::blocking::{Hsm, Session};
use hsm_client::kinds::EcdsaP256;
use hsm_client::limits::{
    LOGIN_DELAY_FIRST, LOGIN_DELAY_MAX, LOGIN_FREE_FAILURES, PASSWORD_LEN_MAX, SESSION_IDLE_MAX,
    SESSION_LIFETIME_MAX,
};
use hsm_client::{
    ActionSet, BuiltInRole, Credentials, DataAction, Error, ErrorKind, PageRequest, Result, RoleId,
    Scope, SecretBytes, UserUpdate,
};

const WRONG: &str = "a wrong password";
const INSTANT: Duration = Duration::from_millis(1);

/// Sessions notice their use to the second.
const SECOND: Duration = Duration::from_secs(1);

#[test]
fn a_wrong_password_and_an_unknown_user_get_the_same_answer() {
    let (_home, hsm) = Home::new();
    let wrong = hsm.login("app", WRONG).unwrap_err();
    assert_eq!(wrong.kind(), ErrorKind::Unauthenticated);
    admin(&hsm).create_user("idle", PASSWORD).unwrap();
    admin(&hsm)
        .update_user("idle", UserUpdate::Disable)
        .unwrap();
    for other in [
        hsm.login("nobody", WRONG).unwrap_err(),
        hsm.login("idle", PASSWORD).unwrap_err(),
        hsm.login("app", "").unwrap_err(),
        hsm.login("app", "p".repeat(PASSWORD_LEN_MAX + 1))
            .unwrap_err(),
    ] {
        assert_eq!(other.to_string(), wrong.to_string());
        assert_eq!(other.retry_after(), None);
    }
    // `system` is the partition itself.
    for no_name in ["no name!", "system", "System"] {
        let error = hsm.login(no_name, PASSWORD).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::InvalidInput, "{no_name}");
    }
    app(&hsm);
}

#[test]
fn wrong_passwords_cost_ever_more_time_also_after_a_restart() {
    let (home, mut hsm) = Home::new();
    for _ in 0..LOGIN_FREE_FAILURES {
        assert_wrong(hsm.login("app", WRONG));
    }
    let mut delay = LOGIN_DELAY_FIRST;
    for _ in 0..12 {
        assert_wrong(hsm.login("app", WRONG));
        assert_locked_out(&hsm, "app", delay);
        if delay > Duration::from_secs(60) {
            hsm.close().unwrap();
            hsm = home.open();
        }
        home.clock.advance(delay - INSTANT);
        assert_locked_out(&hsm, "app", INSTANT);
        home.clock.advance(INSTANT);
        delay = (delay * 2).min(LOGIN_DELAY_MAX);
    }
    assert_eq!(delay, LOGIN_DELAY_MAX);
    // Nobody else waits, and the right password makes all forgotten.
    admin(&hsm);
    app(&hsm);
    for _ in 0..=LOGIN_FREE_FAILURES {
        assert_wrong(hsm.login("app", WRONG));
    }
    assert_locked_out(&hsm, "app", LOGIN_DELAY_FIRST);
}

/// Not even the right password opens a session now; the error says how long that lasts, in whole seconds.
#[track_caller]
fn assert_locked_out(hsm: &Hsm, user: &str, delay: Duration) {
    for password in [WRONG, PASSWORD] {
        let error = hsm.login(user, password).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::LockedOut, "{error}");
        let wait = error.retry_after().unwrap();
        assert!(
            wait >= delay && wait <= delay + Duration::from_secs(1),
            "{wait:?} is not {delay:?}"
        );
    }
}

#[track_caller]
fn assert_wrong<T: std::fmt::Debug>(outcome: Result<T>) {
    assert_eq!(outcome.unwrap_err().kind(), ErrorKind::Unauthenticated);
}

#[test]
fn a_clock_that_goes_back_does_not_end_a_lock_out() {
    let (home, hsm) = Home::new();
    for _ in 0..=LOGIN_FREE_FAILURES {
        assert_wrong(hsm.login("app", WRONG));
    }
    home.clock.go_back(Duration::from_secs(86_400));
    assert_locked_out(&hsm, "app", LOGIN_DELAY_FIRST);
    hsm.close().unwrap();
    let hsm = home.open();
    assert_locked_out(&hsm, "app", LOGIN_DELAY_FIRST);
}

#[test]
fn an_administrator_lifts_a_lock_out() {
    let (_home, hsm) = Home::new();
    let admin = admin(&hsm);
    for update in [
        UserUpdate::Unlock,
        UserUpdate::Password(SecretBytes::copy_from(PASSWORD.as_bytes())),
    ] {
        for _ in 0..=LOGIN_FREE_FAILURES {
            assert_wrong(hsm.login("app", WRONG));
        }
        assert_locked_out(&hsm, "app", LOGIN_DELAY_FIRST);
        let locked = |user: &str| {
            let users = admin.list_users(PageRequest::default()).unwrap().items;
            users
                .into_iter()
                .find(|info| info.name.as_str() == user)
                .unwrap()
                .locked_until
        };
        assert!(locked("app").is_some());
        assert_eq!(locked("admin"), None);
        admin.update_user("app", update).unwrap();
        assert_eq!(locked("app"), None);
        app(&hsm);
    }
}

#[test]
fn guesses_at_the_same_time_all_count() {
    let (_home, hsm) = Home::new();
    let outcomes: Vec<ErrorKind> = std::thread::scope(|scope| {
        let guesses: Vec<_> = (0..12)
            .map(|_| scope.spawn(|| hsm.login("app", WRONG).unwrap_err().kind()))
            .collect();
        guesses
            .into_iter()
            .map(|guess| guess.join().unwrap())
            .collect()
    });
    let checked = outcomes
        .iter()
        .filter(|kind| **kind == ErrorKind::Unauthenticated)
        .count();
    assert_eq!(
        checked,
        usize::try_from(LOGIN_FREE_FAILURES).unwrap() + 1,
        "{outcomes:?}"
    );
    let locked_out = outcomes
        .iter()
        .filter(|kind| **kind == ErrorKind::LockedOut)
        .count();
    assert_eq!(checked + locked_out, outcomes.len(), "{outcomes:?}");
}

/// Each counted as a guess until its password was checked, and so the fifth was locked out.
#[test]
fn logins_at_the_same_time_do_not_lock_each_other_out() {
    let (_home, hsm) = Home::new();
    std::thread::scope(|scope| {
        for _ in 0..12 {
            scope.spawn(|| list(&app(&hsm)).unwrap());
        }
    });
}

#[test]
fn the_session_of_a_disabled_user_ends_at_its_next_call() {
    let (_home, hsm) = Home::new();
    let (admin, app) = (admin(&hsm), app(&hsm));
    let key = app.create::<EcdsaP256>("invoices").make().unwrap();
    admin.update_user("app", UserUpdate::Disable).unwrap();
    assert_ended(key.sign(b"message"), "disabled");
    assert_wrong(hsm.login("app", PASSWORD));
    // Enabled again, the user logs in again: what has ended stays so.
    admin.update_user("app", UserUpdate::Enable).unwrap();
    assert_ended(key.sign(b"message"), "has ended");
    home::app(&hsm)
        .key::<EcdsaP256>("invoices")
        .unwrap()
        .sign(b"message")
        .unwrap();
}

#[track_caller]
fn assert_ended<T: std::fmt::Debug>(outcome: Result<T>, why: &str) {
    let error: Error = outcome.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Unauthenticated, "{error}");
    assert!(error.message().contains(why), "{error}");
}

/// Every new user began with the same epoch, so that the session of the one before became theirs.
#[test]
fn the_session_of_a_deleted_user_is_not_one_of_the_next_of_that_name() {
    let (_home, hsm) = Home::new();
    let (admin, app) = (admin(&hsm), app(&hsm));
    list(&app).unwrap();
    admin.delete_user("app").unwrap();
    admin.create_user("app", "another password").unwrap();
    assert_ended(list(&app), "deleted");
    admin
        .assign_role(BuiltInRole::CryptoUser, "app", Scope::Keys)
        .unwrap();
    list(&hsm.login("app", "another password").unwrap()).unwrap();
}

#[test]
fn the_next_user_of_a_name_does_not_inherit_roles() {
    let (_home, hsm) = Home::new();
    let admin = admin(&hsm);
    admin.delete_user("app").unwrap();
    admin.create_user("app", PASSWORD).unwrap();
    let denied = list(&app(&hsm)).unwrap_err();
    assert_eq!(denied.kind(), ErrorKind::Denied);
    assert!(
        admin
            .role_assignments(None)
            .unwrap()
            .iter()
            .all(|assignment| assignment.principal.as_str() != "app")
    );
}

/// A user manager could delete or disable the only user who may assign roles.
#[test]
fn somebody_who_may_assign_roles_remains() {
    let (_home, hsm) = Home::new();
    let first = admin(&hsm);
    let manager = RoleId::from_u128(1 << 65);
    let actions = ActionSet::of(&[DataAction::UserWrite, DataAction::UserDelete]);
    first
        .define_role(manager, "User manager", "", actions)
        .unwrap();
    first.assign_role(manager, "app", Scope::Global).unwrap();
    let app = app(&hsm);
    let disable = || app.update_user("admin", UserUpdate::Disable);
    for error in [
        disable().unwrap_err(),
        app.delete_user("admin").unwrap_err(),
    ] {
        assert_eq!(error.kind(), ErrorKind::Conflict, "{error}");
        assert!(
            error.message().contains("nobody could assign roles"),
            "{error}"
        );
    }
    // A second one makes the first dispensable, and is not so itself, even when the first is disabled only.
    first.create_user("second", PASSWORD).unwrap();
    first
        .assign_role(BuiltInRole::Administrator, "second", Scope::Global)
        .unwrap();
    disable().unwrap();
    assert_eq!(
        app.delete_user("second").unwrap_err().kind(),
        ErrorKind::Conflict
    );
    app.delete_user("admin").unwrap();
    assert_eq!(
        app.delete_user("second").unwrap_err().kind(),
        ErrorKind::Conflict
    );
}

fn list(session: &Session) -> Result<()> {
    session.list_keys(PageRequest::default()).map(drop)
}

#[test]
fn a_new_password_ends_every_session_of_the_user() {
    let (_home, hsm) = Home::new();
    let admin = admin(&hsm);
    let [one, two] = [(); 2].map(|()| app(&hsm));
    one.change_password(PASSWORD, "the second password")
        .unwrap();
    assert_ended(list(&one), "new password");
    assert_ended(list(&two), "new password");
    assert_wrong(hsm.login("app", PASSWORD));

    let three = hsm.login("app", "the second password").unwrap();
    let third = SecretBytes::copy_from(b"the third password");
    admin
        .update_user("app", UserUpdate::Password(third))
        .unwrap();
    assert_ended(list(&three), "new password");
    assert_wrong(hsm.login("app", "the second password"));
    hsm.login("app", "the third password").unwrap();
    list_users(&admin).unwrap();
}

/// A certificate or a token of an issuer can stand for a user.
#[test]
fn a_disabled_user_is_kept_out_whoever_vouches() {
    let (_home, hsm) = Home::new();
    let admin = admin(&hsm);
    let vouched = || {
        hsm.login_with(Credentials::Authenticated("app".parse().unwrap()))
            .unwrap()
    };
    let open = vouched();
    list(&open).unwrap();
    admin.update_user("app", UserUpdate::Disable).unwrap();
    assert_ended(list(&open), "disabled");
    assert_ended(list(&vouched()), "disabled");
    admin.update_user("app", UserUpdate::Enable).unwrap();
    list(&vouched()).unwrap();
}

fn list_users(session: &Session) -> Result<()> {
    session.list_users(PageRequest::default()).map(drop)
}

#[test]
fn a_stolen_session_does_not_serve_to_guess_the_password() {
    let (_home, hsm) = Home::new();
    let app = app(&hsm);
    for _ in 0..=LOGIN_FREE_FAILURES {
        let error = app.change_password(WRONG, "another password").unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Unauthenticated);
    }
    let error = app
        .change_password(PASSWORD, "another password")
        .unwrap_err();
    assert_eq!(error.kind(), ErrorKind::LockedOut);
    // The session itself goes on.
    list(&app).unwrap();
    assert_locked_out(&hsm, "app", LOGIN_DELAY_FIRST);
}

#[test]
fn sessions_end_when_they_are_not_used_and_when_they_get_old() {
    let (home, hsm) = Home::new();
    let [used, idle] = [(); 2].map(|()| app(&hsm));
    home.clock.advance(SESSION_IDLE_MAX);
    list(&used).unwrap();
    home.clock.advance(SECOND);
    assert_ended(list(&idle), "not used");
    assert_ended(list(&idle), "has ended");
    list(&used).unwrap();

    let start = SESSION_IDLE_MAX + SECOND;
    let mut age = start;
    while age + SESSION_IDLE_MAX <= SESSION_LIFETIME_MAX {
        home.clock.advance(SESSION_IDLE_MAX);
        age += SESSION_IDLE_MAX;
        list(&used).unwrap();
    }
    home.clock.advance(SESSION_LIFETIME_MAX - age);
    list(&used).unwrap();
    home.clock.advance(INSTANT);
    assert_ended(list(&used), "end of its life");
}

#[test]
fn logging_out_ends_the_session_with_its_clones_and_keys() {
    let (_home, hsm) = Home::new();
    let [session, other] = [(); 2].map(|()| app(&hsm));
    let key = session.create::<EcdsaP256>("invoices").make().unwrap();
    session.clone().logout();
    assert_ended(list(&session), "has ended");
    assert_ended(key.sign(b"message"), "has ended");
    list(&other).unwrap();
}

/// Changes were still made, as their records go into the journal and not into the streams that were closed.
#[test]
fn closing_the_hsm_ends_every_session() {
    let (home, hsm) = Home::new();
    let session = app(&hsm);
    let key = session.create::<EcdsaP256>("invoices").make().unwrap();
    hsm.clone().close().unwrap();
    for error in [
        key.sign(b"message").unwrap_err(),
        key.rotate().unwrap_err(),
        session.create::<EcdsaP256>("new").make().unwrap_err(),
    ] {
        assert_eq!(error.kind(), ErrorKind::Unreachable);
        assert!(error.message().contains("was closed"), "{error}");
    }
    hsm.login("app", PASSWORD).unwrap_err();
    hsm.close().unwrap();
    let keys = app(&home.open()).list_keys(PageRequest::default()).unwrap();
    assert_eq!(keys.items.len(), 1);
}

#[test]
fn nobody_shuts_themselves_out() {
    let (_home, hsm) = Home::new();
    let admin = admin(&hsm);
    for error in [
        admin.delete_user("admin").unwrap_err(),
        admin.update_user("admin", UserUpdate::Disable).unwrap_err(),
    ] {
        assert_eq!(error.kind(), ErrorKind::Conflict, "{error}");
    }
    list_users(&admin).unwrap();
}

#[test]
fn users_have_proper_names_and_passwords() {
    let (_home, hsm) = Home::new();
    let admin = admin(&hsm);
    for (name, password, kind) in [
        ("app", PASSWORD, ErrorKind::Conflict),
        ("system", PASSWORD, ErrorKind::InvalidInput),
        ("", PASSWORD, ErrorKind::InvalidInput),
        ("no name", PASSWORD, ErrorKind::InvalidInput),
        ("new", "short", ErrorKind::InvalidInput),
        (
            "new",
            &"p".repeat(PASSWORD_LEN_MAX + 1),
            ErrorKind::LimitExceeded,
        ),
    ] {
        let error = admin.create_user(name, password).unwrap_err();
        assert_eq!(error.kind(), kind, "{name}: {error}");
    }
    let error = admin
        .update_user("nobody", UserUpdate::Disable)
        .unwrap_err();
    assert_eq!(error.kind(), ErrorKind::NotFound);
    assert_eq!(
        admin.delete_user("nobody").unwrap_err().kind(),
        ErrorKind::NotFound
    );
    let long = "p".repeat(PASSWORD_LEN_MAX);
    admin.create_user("new", &long).unwrap();
    hsm.login("new", &long).unwrap();
}

/// Only users that exist were locked out, so that a lock-out told who does.
#[test]
fn a_lock_out_does_not_tell_who_exists() {
    let (home, mut hsm) = Home::new();
    let mut delay = LOGIN_DELAY_FIRST;
    for attempt in 0..LOGIN_FREE_FAILURES + 12 {
        for _ in 0..2 {
            let [real, none] = ["app", "nobody"].map(|user| {
                let error = hsm.login(user, WRONG).unwrap_err();
                (error.kind(), error.to_string(), error.retry_after())
            });
            assert_eq!(real, none, "attempt {attempt}");
        }
        if attempt == LOGIN_FREE_FAILURES {
            hsm.close().unwrap();
            hsm = home.open();
        }
        if attempt >= LOGIN_FREE_FAILURES {
            assert_locked_out(&hsm, "nobody", delay);
            home.clock.advance(delay);
            delay = (delay * 2).min(LOGIN_DELAY_MAX);
        }
    }
    // Another name has nothing to do with it, and a name that becomes a user's starts anew.
    assert_wrong(hsm.login("somebody", WRONG));
    for _ in 0..2 {
        assert_wrong(hsm.login("nobody", WRONG));
        home.clock.advance(LOGIN_DELAY_MAX);
    }
    assert_wrong(hsm.login("nobody", WRONG));
    admin(&hsm).create_user("nobody", PASSWORD).unwrap();
    hsm.login("nobody", PASSWORD).unwrap();
}
