//! Promise: an API token outlives restarts, ends when it shall, and is nowhere but with whom it was given to.
#![expect(clippy::unwrap_used, reason = "helpers of tests are tests")]

#[path = "support/home.rs"]
mod home;

use std::time::Duration;

use home::{Home, PASSWORD, admin, app};
use hsm_client::blocking::{Hsm, Session};
use hsm_client::limits::TOKENS_MAX;
use hsm_client::{
    Clock, Credentials, Error, ErrorKind, PageRequest, Result, SecretBytes, UserUpdate,
};
use hsm_core::audit::{Entry, OwnedEvent};
use hsm_core::policy::DataAction;

const HOUR: Duration = Duration::from_secs(60 * 60);

fn show(hsm: &Hsm, token: &[u8]) -> Result<Session> {
    hsm.login_with(Credentials::token(token))
}

#[track_caller]
fn assert_out<T>(result: Result<T>) {
    let kind = result.err().as_ref().map(Error::kind);
    assert_eq!(kind, Some(ErrorKind::Unauthenticated));
}

fn token(home: &Home, admin: &Session, name: &str, principal: &str) -> SecretBytes {
    let expires = home.clock.now() + HOUR;
    admin.create_token(name, principal, expires).unwrap().0
}

#[test]
fn a_token_reads_as_one_and_outlives_a_restart() {
    let (home, hsm) = Home::new();
    let token = token(&home, &admin(&hsm), "night", "app");
    let text = std::str::from_utf8(token.expose()).unwrap();
    let encoded = text.strip_prefix("hsm_t_").unwrap();
    assert_eq!(encoded.len(), 64); // base64url of 48 bytes
    let base64url = |c: char| c.is_ascii_alphanumeric() || c == '-' || c == '_';
    assert!(encoded.chars().all(base64url), "{encoded}");
    hsm.close().unwrap();
    let hsm = home.open();
    let app = show(&hsm, token.expose()).unwrap();
    assert_eq!(app.principal().as_str(), "app");
    app.random(8).unwrap();
    home.clock.advance(HOUR);
    assert_out(app.random(8));
    hsm.close().unwrap();
    assert_out(show(&home.open(), token.expose()));
}

#[test]
fn a_new_password_ends_the_session_of_a_token_and_not_the_token() {
    let (home, hsm) = Home::new();
    let admin = admin(&hsm);
    let token = token(&home, &admin, "night", "app");
    let open = show(&hsm, token.expose()).unwrap();
    let by_password = app(&hsm);
    let password = SecretBytes::copy_from(b"another password");
    admin
        .update_user("app", UserUpdate::Password(password))
        .unwrap();
    assert_out(open.random(8));
    assert_out(by_password.random(8));
    show(&hsm, token.expose()).unwrap().random(8).unwrap();
}

#[test]
fn a_name_that_becomes_a_users_keeps_its_tokens_and_not_their_sessions() {
    let (home, hsm) = Home::new();
    let admin = admin(&hsm);
    let token = token(&home, &admin, "night", "server");
    let open = show(&hsm, token.expose()).unwrap();
    admin.create_user("server", PASSWORD).unwrap();
    assert_out(open.settings());
    show(&hsm, token.expose()).unwrap();
}

#[test]
fn logins_by_token_are_in_the_log_and_no_token_is() {
    let (home, hsm) = Home::new();
    let admin = admin(&hsm);
    let token = token(&home, &admin, "night", "app");
    show(&hsm, token.expose()).unwrap();
    let mut wrong = token.expose().to_vec();
    let last = wrong.len() - 2;
    wrong[last] = if wrong[last] == b'A' { b'B' } else { b'A' };
    assert_out(show(&hsm, &wrong));
    assert_out(show(&hsm, b"hsm_t_no-token"));
    let mut logins = Vec::new();
    for stream in admin.audit_streams().unwrap() {
        for frame in admin.read_audit(stream, 0, 1000).unwrap() {
            let printed = format!("{:?}", frame.decode().unwrap());
            let encoded = std::str::from_utf8(&token.expose()[6..last]).unwrap();
            assert!(!printed.contains(encoded), "{printed}");
            if let Entry::Event(event) = frame.decode().unwrap()
                && event.action == DataAction::Login
                && event.target.starts_with("/tokens")
            {
                logins.push(event.into_owned());
            }
        }
    }
    let said = |event: &OwnedEvent| {
        let (who, what) = (event.principal.to_string(), event.target.to_string());
        (who, what, event.failure)
    };
    let out = Some(ErrorKind::Unauthenticated);
    let expected = [
        ("app", "/tokens/night", None),
        ("?", "/tokens/night", out),
        ("?", "/tokens", out),
    ];
    let expected = expected.map(|(who, what, failure)| (who.to_owned(), what.to_owned(), failure));
    assert_eq!(logins.iter().map(said).collect::<Vec<_>>(), expected);
}

#[test]
fn expired_tokens_make_room_when_it_is_needed() {
    let home = Home::empty();
    let hsm = Hsm::create("memory:", home.setup()).unwrap();
    let mut session = admin(&hsm);
    let count = |session: &Session| {
        let limit = Some(1000);
        let page = PageRequest { after: None, limit };
        session.list_tokens(page).unwrap().items.len()
    };
    token(&home, &session, "first", "app");
    home.clock.advance(HOUR / 2);
    session = admin(&hsm);
    for number in 1..TOKENS_MAX {
        token(&home, &session, &format!("other-{number}"), "app");
    }
    let expires = home.clock.now() + HOUR;
    let full = session.create_token("beyond", "app", expires).unwrap_err();
    assert_eq!(full.kind(), ErrorKind::LimitExceeded, "{full}");
    home.clock.advance(HOUR / 2);
    session = admin(&hsm);
    assert_eq!(count(&session), TOKENS_MAX, "they are listed");
    let last = token(&home, &session, "beyond", "app");
    assert_eq!(count(&session), TOKENS_MAX, "one has made room");
    show(&hsm, last.expose()).unwrap();
}
