//! Users: who may log in, and what ends the sessions of those who may no longer.

use std::time::Duration;

use hsm_core::limits::{LOGIN_DELAY_FIRST, LOGIN_FREE_FAILURES};
use hsm_core::policy::BuiltInRole;
use hsm_core::{ErrorKind, Request, Response, SecretBytes, UserUpdate};

use super::super::{fails, ok};
use super::*;

const ENDED: &str = "the session has ended";
const OUT: &[ErrorKind] = &[ErrorKind::Unauthenticated];

/// An unknown user is refused as a wrong password is.
pub async fn wrong_passwords_and_unknown_users_look_alike(
    make: impl AsyncFn() -> ServiceUnderTest,
) {
    let opened = Opened::new(make().await).await;
    let refused = async |user: &str| {
        let Err(error) = opened.login(user, "not the password").await else {
            panic!("{user} was let in with a wrong password");
        };
        (error.kind(), error.to_string())
    };
    let wrong = refused(ADMINISTRATOR).await;
    assert_eq!(wrong.0, ErrorKind::Unauthenticated);
    assert_eq!(refused("stranger").await, wrong);
}

/// A user that is disabled is out at once, and in again when enabled, with a new session.
pub async fn disabled_users_are_out(make: impl AsyncFn() -> ServiceUnderTest) {
    let opened = Opened::new(make().await).await;
    let user = opened.user("app").await;
    opened
        .all
        .assign(BuiltInRole::CryptoUser.id(), "app", Scope::Global)
        .await;
    ok(user.random(8).await, "an open session");
    ok(update(&opened, UserUpdate::Disable).await, "disable");
    fails(user.random(8).await, OUT, ENDED);
    let login = opened.login("app", PASSWORD).await.map(drop);
    fails(login, OUT, "a disabled user does not get in");
    ok(update(&opened, UserUpdate::Enable).await, "enable");
    fails(user.random(8).await, OUT, "a session does not come back");
    let again = ok(opened.login("app", PASSWORD).await, "an enabled user");
    ok(again.random(8).await, "roles are as before");
}

/// A new password ends the sessions of the old one, whoever sets it.
pub async fn new_passwords_end_sessions(make: impl AsyncFn() -> ServiceUnderTest) {
    let opened = Opened::new(make().await).await;
    let user = opened.user("app").await;
    opened
        .all
        .assign(BuiltInRole::CryptoUser.id(), "app", Scope::Global)
        .await;
    let change = |caller: &Caller, old: &str, new: &str| {
        let (caller, old, new) = (caller.clone(), password(old), password(new));
        async move { caller.call(Request::ChangePassword { old, new }).await }
    };
    let wrong = change(&user, "not the password", "second password").await;
    fails(wrong, OUT, "changing a password takes the old one");
    ok(user.random(8).await, "nothing was changed");
    ok(change(&user, PASSWORD, "second password").await, "change");
    fails(user.random(8).await, OUT, ENDED);
    let login = opened.login("app", PASSWORD).await.map(drop);
    fails(login, OUT, "the old password does not let in");
    let user = ok(
        opened.login("app", "second password").await,
        "the new one does",
    );
    let third = UserUpdate::Password(password("third password"));
    ok(
        update(&opened, third).await,
        "an administrator sets a password",
    );
    fails(user.random(8).await, OUT, ENDED);
    ok(
        opened.login("app", "third password").await,
        "the newest one does",
    );
}

/// A deleted user is out; one of the same name that comes later does not inherit the session.
pub async fn deleted_users_are_gone(make: impl AsyncFn() -> ServiceUnderTest) {
    let opened = Opened::new(make().await).await;
    let user = opened.user("app").await;
    let name = || principal("app");
    let create = || Request::CreateUser {
        name: name(),
        password: password(PASSWORD),
    };
    let taken = opened.all.call(create()).await;
    fails(taken, &[ErrorKind::Conflict], "a user's name is taken once");
    let delete = || opened.all.call(Request::DeleteUser { name: name() });
    ok(delete().await, "delete a user");
    fails(user.call(Request::GetSettings).await, OUT, ENDED);
    let kinds = &[ErrorKind::NotFound];
    fails(delete().await, kinds, "a user is deleted once");
    let updated = update(&opened, UserUpdate::Enable).await;
    fails(updated, kinds, "a user that does not exist");
    ok(opened.all.call(create()).await, "the name is free");
    let clause = "a later user of the name has sessions of its own";
    fails(user.call(Request::GetSettings).await, OUT, clause);
    let own = Request::DeleteUser {
        name: principal(ADMINISTRATOR),
    };
    let clause = "nobody deletes themselves";
    fails(opened.all.call(own).await, &[ErrorKind::Conflict], clause);
}

/// Wrong passwords lock a user out for a while, also for the right one; time or an administrator ends it.
pub async fn wrong_passwords_lock_out(make: impl AsyncFn() -> ServiceUnderTest) {
    let opened = Opened::new(make().await).await;
    let create = Request::CreateUser {
        name: principal("app"),
        password: password(PASSWORD),
    };
    ok(opened.all.call(create).await, "create a user");
    let Some(clock) = opened.clock() else {
        return;
    };
    let login = async |password: &str| opened.login("app", password).await.map(drop);
    for _ in 0..=LOGIN_FREE_FAILURES {
        fails(login("not the password").await, OUT, "a wrong password");
    }
    let Err(error) = login(PASSWORD).await else {
        panic!("too many wrong passwords lock out");
    };
    assert_eq!(error.kind(), ErrorKind::LockedOut);
    assert!(
        error
            .retry_after()
            .is_some_and(|wait| wait >= LOGIN_DELAY_FIRST)
    );
    clock.advance(LOGIN_DELAY_FIRST + Duration::from_millis(1));
    fails(login("not the password").await, OUT, "a lock-out ends");
    fails(
        login(PASSWORD).await,
        &[ErrorKind::LockedOut],
        "the next lasts longer",
    );
    ok(update(&opened, UserUpdate::Unlock).await, "unlock");
    ok(login(PASSWORD).await, "an administrator lifts a lock-out");
    let listed = opened.all.call(Request::ListUsers {
        page: PageRequest::default(),
    });
    let Response::Users(users) = ok(listed.await, "list users") else {
        panic!("expected users");
    };
    assert!(users.items.iter().all(|user| user.locked_until.is_none()));
}

async fn update(opened: &Opened, update: UserUpdate) -> Result<Response> {
    let name = principal("app");
    opened.all.call(Request::UpdateUser { name, update }).await
}

fn password(text: &str) -> SecretBytes {
    SecretBytes::copy_from(text.as_bytes())
}
