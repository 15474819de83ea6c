//! A remote HSM against a peer that does what a script says: refuses, cuts, stalls, answers nonsense.

mod peer;

use std::sync::{Arc, Mutex};
use std::time::Duration;

use async_trait::async_trait;
use hsm_core::audit::RequestId;
use hsm_core::{
    AttributesUpdate, Credentials, Error, ErrorKind, Request, Response, Result, Service, Session,
};
use pollster::block_on;

use super::auth::{AccessToken, Challenge, TokenSource};
use super::options::RemoteOptions;
use super::retry::Timer;
use super::{ClientCredentials, ManagedIdentity, Peer, RemoteService};
use crate::clock::SystemClock;
use peer::{Act, ScriptedPeer};

/// Remembers how long it was asked to wait, and does not.
#[derive(Debug, Default)]
struct Recorder(Mutex<Vec<Duration>>);

impl Recorder {
    fn waits(&self) -> Vec<Duration> {
        self.0.lock().unwrap().clone()
    }
}

#[async_trait]
impl Timer for Recorder {
    async fn wait(&self, time: Duration) {
        self.0.lock().unwrap().push(time);
    }
}

struct Client {
    service: RemoteService,
    timer: Arc<Recorder>,
}

impl Client {
    fn of(peer: &ScriptedPeer) -> Self {
        Self::with(peer, |_| {})
    }

    fn with(peer: &ScriptedPeer, change: impl FnOnce(&mut RemoteOptions)) -> Self {
        let timer = Arc::new(Recorder::default());
        let mut options = RemoteOptions {
            timer: timer.clone(),
            ..RemoteOptions::default()
        };
        options.tls.ca = Some(peer.ca.clone());
        change(&mut options);
        let Ok(crate::Url::Https(address)) = peer.url().parse() else {
            panic!("{}", peer.url())
        };
        let clock = Arc::new(SystemClock);
        let service = RemoteService::new(Peer::Https(address), options, clock).unwrap();
        Self { service, timer }
    }

    fn log_in(&self) -> Arc<dyn Session> {
        self.try_login(Credentials::token("token")).unwrap()
    }

    fn try_login(&self, credentials: Credentials) -> Result<Arc<dyn Session>> {
        block_on(self.service.login(credentials))
    }
}

fn call(session: &Arc<dyn Session>, request: Request<'_>) -> Result<Response> {
    block_on(session.call(RequestId::from_u128(0x1234), request))
}

fn read() -> Request<'static> {
    Request::Random { len: 4 }
}

fn change() -> Request<'static> {
    Request::DeleteKey {
        name: "k".parse().unwrap(),
    }
}

/// The answer to [`read`].
const RANDOM: &str = r#"{"value":"AQIDBA"}"#;

/// Whom a session is for.
const WHO: &str = r#"{"principal":"app"}"#;

/// The answer to [`change`], of a server of another kind.
const DELETED: &str = r#"{"key":{"kid":"https://x/keys/k/0123456789abcdef0123456789abcdef","kty":"oct-HSM","key_ops":["encrypt"]},"attributes":{"enabled":true,"created":1,"updated":1},"recoveryId":"https://x/deletedkeys/k","deletedDate":1,"scheduledPurgeDate":2}"#;

fn who() -> Act {
    Act::ours(200, WHO)
}

fn secret(response: Result<Response>) -> Vec<u8> {
    match response.unwrap() {
        Response::Secret(secret) => secret.expose().to_vec(),
        other => panic!("{other:?}"),
    }
}

fn kind(result: Result<Response>) -> ErrorKind {
    result.unwrap_err().kind()
}

#[test]
fn a_call_goes_out_and_its_answer_comes_back() {
    let peer = ScriptedPeer::start([who(), Act::ours(200, RANDOM)]);
    let client = Client::of(&peer);
    let session = client.log_in();
    assert_eq!(session.principal().as_str(), "app");
    assert_eq!(secret(call(&session, read())), [1, 2, 3, 4]);
    let seen = peer.seen();
    assert!(seen[0].head.starts_with("GET /hsm/v1/sessions/current"));
    assert_eq!(seen[0].header("authorization").unwrap(), "Bearer token");
    let id = seen[1].header("x-ms-client-request-id").unwrap();
    assert_eq!(id, "00000000-0000-0000-0000-000000001234");
    assert_eq!(seen[1].header("content-type").unwrap(), "application/json");
    assert!(client.timer.waits().is_empty());
    block_on(session.logout());
    assert_eq!(kind(call(&session, read())), ErrorKind::Unauthenticated);
    assert_eq!(peer.seen().len(), 2, "the session is over here");
}

#[test]
fn nobody_there_is_unreachable_after_all_attempts() {
    let peer = ScriptedPeer::start([]);
    let client = Client::of(&peer);
    drop(peer.stop());
    let error = client.try_login(Credentials::token("token")).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Unreachable, "{error}");
    assert!(error.to_string().contains("https://localhost:"), "{error}");
    let waits = client.timer.waits();
    assert_eq!(waits.len(), 3);
    assert!(waits[0] < waits[2], "{waits:?}");
}

#[test]
fn a_certificate_of_another_authority_is_unreachable() {
    let peer = ScriptedPeer::start([]);
    let other = ScriptedPeer::start([]);
    let client = Client::with(&peer, |options| {
        options.tls.ca = Some(other.ca.clone());
        options.limits.attempts = 1;
    });
    let error = client.try_login(Credentials::token("token")).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Unreachable, "{error}");
    assert_eq!(peer.seen().len(), 0);
}

#[test]
fn a_read_that_was_cut_is_tried_again() {
    for cut in [
        Act::Cut,
        Act::CutUnread,
        Act::raw("HTTP/1.1 200 OK\r\ncontent-length: 9\r\n\r\n{"),
    ] {
        let peer = ScriptedPeer::start([who(), cut.clone(), cut, Act::ours(200, RANDOM)]);
        let client = Client::of(&peer);
        let session = client.log_in();
        assert_eq!(secret(call(&session, read())), [1, 2, 3, 4]);
        assert_eq!(client.timer.waits().len(), 2);
    }
}

#[test]
fn attempts_end() {
    let peer = ScriptedPeer::start([who(), Act::Cut, Act::Cut, Act::Cut, Act::Cut, Act::Cut]);
    let client = Client::of(&peer);
    let session = client.log_in();
    assert_eq!(kind(call(&session, read())), ErrorKind::Unknown);
    assert_eq!(peer.seen().len(), 1 + 4);
}

#[test]
fn a_change_is_repeated_by_its_key_at_our_server_only() {
    let peer = ScriptedPeer::start([who(), Act::Cut, Act::ours(200, DELETED)]);
    let client = Client::of(&peer);
    let session = client.log_in();
    assert!(matches!(call(&session, change()), Ok(Response::Key(_))));
    let seen = peer.seen();
    let key = seen[1].header("idempotency-key").unwrap();
    assert_eq!(seen[2].header("idempotency-key").unwrap(), key);
    assert_eq!(seen[1].header("hsm-if-instance"), None);
    assert_eq!(seen[2].header("hsm-if-instance").unwrap(), "instance-1");

    let peer = ScriptedPeer::start([Act::theirs(404, "{}"), Act::Cut, Act::theirs(200, DELETED)]);
    let client = Client::of(&peer);
    let session = client.log_in();
    assert_eq!(session.principal().as_str(), "unknown");
    assert_eq!(kind(call(&session, change())), ErrorKind::Unknown);
    assert_eq!(peer.seen().len(), 2, "it was not repeated");
    assert!(client.timer.waits().is_empty());
}

#[test]
fn two_changes_have_two_keys() {
    let peer = ScriptedPeer::start([who(), Act::ours(200, DELETED), Act::ours(200, DELETED)]);
    let client = Client::of(&peer);
    let session = client.log_in();
    call(&session, change()).unwrap();
    call(&session, change()).unwrap();
    let seen = peer.seen();
    assert_ne!(
        seen[1].header("idempotency-key"),
        seen[2].header("idempotency-key")
    );
}

#[test]
fn a_server_that_was_restarted_leaves_the_outcome_unknown() {
    let peer = ScriptedPeer::start([who(), Act::Cut, Act::ours(412, "{}")]);
    let client = Client::of(&peer);
    let session = client.log_in();
    assert_eq!(kind(call(&session, change())), ErrorKind::Unknown);
    assert_eq!(peer.seen().len(), 3);
}

#[test]
fn a_change_that_may_have_happened_is_never_called_unreachable() {
    let peer = ScriptedPeer::start([who(), Act::CutAndStop]);
    let client = Client::of(&peer);
    let session = client.log_in();
    assert_eq!(kind(call(&session, change())), ErrorKind::Unknown);
    assert_eq!(client.timer.waits().len(), 3, "it was tried again");
}

/// After ten minutes the server would take the repetition for a new request.
#[test]
fn a_change_that_may_have_happened_is_not_repeated_when_the_server_has_forgotten_it() {
    let later = Act::raw(
        "HTTP/1.1 503 Service Unavailable\r\nretry-after: 700\r\ncontent-type: application/json\r\ncontent-length: 2\r\n\r\n{}",
    );
    let peer = ScriptedPeer::start([who(), later, Act::ours(200, DELETED)]);
    let client = Client::with(&peer, |options| {
        options.limits.call = Duration::from_secs(60 * 60);
    });
    let session = client.log_in();
    assert_eq!(kind(call(&session, change())), ErrorKind::Unknown);
    assert_eq!(peer.seen().len(), 2, "it was not repeated");
}

#[test]
fn throttling_is_waited_for() {
    let throttled = |seconds| {
        Act::raw(format!(
            "HTTP/1.1 429 Too Many Requests\r\nretry-after: {seconds}\r\ncontent-type: application/json\r\ncontent-length: 2\r\n\r\n{{}}"
        ))
    };
    let peer = ScriptedPeer::start([who(), throttled(7), throttled(3), Act::ours(200, DELETED)]);
    let client = Client::of(&peer);
    let session = client.log_in();
    call(&session, change()).unwrap();
    let waits = [Duration::from_secs(7), Duration::from_secs(3)];
    assert_eq!(client.timer.waits(), waits);

    // Longer than the call may take: the caller hears how long.
    let peer = ScriptedPeer::start([who(), throttled(3600)]);
    let client = Client::of(&peer);
    let session = client.log_in();
    let error = call(&session, read()).unwrap_err();
    assert_eq!(error.retry_after(), Some(Duration::from_secs(3600)));
    assert!(client.timer.waits().is_empty());
}

#[test]
fn a_server_that_is_busy_is_asked_again() {
    let busy = || Act::ours(503, "{}");
    let peer = ScriptedPeer::start([who(), busy(), Act::ours(200, RANDOM)]);
    let session = Client::of(&peer).log_in();
    assert_eq!(secret(call(&session, read())), [1, 2, 3, 4]);
}

#[test]
fn an_answer_that_does_not_come_is_unknown() {
    let peer = ScriptedPeer::start([who(), Act::Stall]);
    let client = Client::with(&peer, |options| {
        options.limits.attempt = Duration::from_secs(2);
        options.limits.attempts = 1;
    });
    let session = client.log_in();
    let error = call(&session, read()).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Unknown, "{error}");
    assert!(error.to_string().contains("in time"), "{error}");
}

#[test]
fn nonsense_is_unknown_and_not_asked_for_again() {
    let html = "HTTP/1.1 200 OK\r\ncontent-type: text/html\r\ncontent-length: 2\r\n\r\n{}";
    let redirect = "HTTP/1.1 307 Temporary Redirect\r\nlocation: https://localhost/\r\ncontent-length: 0\r\n\r\n";
    let huge =
        "HTTP/1.1 200 OK\r\ncontent-type: application/json\r\ncontent-length: 99999999999\r\n\r\n";
    for act in [
        Act::ours(200, "{"),
        Act::ours(200, "[]"),
        Act::ours(200, "{}"),
        Act::ours(200, r#"{"value":"%%%"}"#),
        Act::raw(html),
        Act::raw(redirect),
        Act::raw(huge),
        Act::Flood,
    ] {
        let peer = ScriptedPeer::start([who(), act.clone()]);
        let client = Client::of(&peer);
        let session = client.log_in();
        let result = call(&session, read());
        assert_eq!(kind(result), ErrorKind::Unknown, "{act:?}");
        assert_eq!(peer.seen().len(), 2, "{act:?}");
    }
}

#[test]
fn refusals_keep_their_kind() {
    for (status, code, expected) in [
        (400, "InvalidInput", ErrorKind::InvalidInput),
        (401, "Unauthenticated", ErrorKind::Unauthenticated),
        (403, "Denied", ErrorKind::Denied),
        (403, "KeyState", ErrorKind::KeyState),
        (404, "NotFound", ErrorKind::NotFound),
        (409, "Conflict", ErrorKind::Conflict),
        (500, "DeviceFailed", ErrorKind::DeviceFailed),
    ] {
        let body =
            format!(r#"{{"error":{{"code":"x","message":"m","innererror":{{"code":"{code}"}}}}}}"#);
        let peer = ScriptedPeer::start([who(), Act::ours(status, &body)]);
        let session = Client::of(&peer).log_in();
        assert_eq!(kind(call(&session, read())), expected, "{code}");
        assert_eq!(peer.seen().len(), 2, "{code}");
    }
}

#[test]
fn what_another_service_lacks_is_unsupported() {
    let peer = ScriptedPeer::start([Act::theirs(404, "{}"), Act::theirs(404, "{}")]);
    let session = Client::of(&peer).log_in();
    assert_eq!(
        kind(call(&session, Request::ListAuditStreams)),
        ErrorKind::Unsupported
    );

    let peer = ScriptedPeer::start([Act::theirs(400, "{}")]);
    let client = Client::of(&peer);
    let credentials = Credentials::password("app", "correct horse battery").unwrap();
    let error = client.try_login(credentials).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Unsupported, "{error}");
}

#[test]
fn a_user_logs_in_once() {
    let token = r#"{"token":"hsm_s_abc","principal":"app","expires":1}"#;
    let peer = ScriptedPeer::start([
        Act::ours(201, token),
        Act::ours(200, RANDOM),
        Act::ours(204, ""),
    ]);
    let client = Client::of(&peer);
    let credentials = Credentials::password("app", "correct horse battery").unwrap();
    let session = client.try_login(credentials).unwrap();
    call(&session, read()).unwrap();
    block_on(session.logout());
    let seen = peer.seen();
    assert!(seen[0].body.contains("correct horse battery"));
    assert_eq!(seen[0].header("authorization"), None);
    assert_eq!(seen[1].header("authorization").unwrap(), "Bearer hsm_s_abc");
    assert!(seen[2].head.starts_with("DELETE /hsm/v1/sessions/current"));

    let locked = r#"{"error":{"code":"Throttled","message":"m","innererror":{"code":"LockedOut","retryAfterMillis":900}}}"#;
    let peer = ScriptedPeer::start([Act::ours(429, locked)]);
    let client = Client::of(&peer);
    let credentials = Credentials::password("app", "wrong horse battery").unwrap();
    let error = client.try_login(credentials).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::LockedOut);
    assert_eq!(error.retry_after(), Some(Duration::from_millis(900)));
    assert_eq!(peer.seen().len(), 1, "a lock-out is not waited for");
}

#[test]
fn a_session_that_is_dropped_ends_at_the_server() {
    let token = r#"{"token":"hsm_s_abc","principal":"app","expires":1}"#;
    let peer = ScriptedPeer::start([Act::ours(201, token), Act::ours(204, "")]);
    let credentials = Credentials::password("app", "correct horse battery").unwrap();
    drop(Client::of(&peer).try_login(credentials).unwrap());
    let seen = peer.wait_for(2);
    assert!(seen[1].head.starts_with("DELETE /hsm/v1/sessions/current"));
}

#[test]
fn a_call_that_is_dropped_is_cancelled() {
    let peer = ScriptedPeer::start([who(), Act::Stall]);
    let session = Client::of(&peer).log_in();
    let mut running = Box::pin(session.call(RequestId::from_u128(1), read()));
    let mut context = std::task::Context::from_waker(std::task::Waker::noop());
    assert!(running.as_mut().poll(&mut context).is_pending());
    peer.wait_for(2);
    drop(running);
    peer.wait_until_hung_up();
}

/// Counts, and names what it gives after the count.
#[derive(Debug, Default)]
struct Counting {
    given: Mutex<u32>,
    lifetime: Option<Duration>,
    fails_after: Option<u32>,
}

#[async_trait]
impl TokenSource for Arc<Counting> {
    async fn token(&self, challenge: &Challenge) -> Result<AccessToken> {
        let mut given = self.given.lock().unwrap();
        *given += 1;
        if self.fails_after.is_some_and(|after| *given > after) {
            return Err(Error::new(ErrorKind::Unauthenticated, "no more"));
        }
        let token = AccessToken::new(format!("{given}-for-{}", challenge.resource()));
        Ok(match self.lifetime {
            Some(lifetime) => token.expires_in(lifetime),
            None => token,
        })
    }
}

fn challenge(port: u16) -> Act {
    challenge_of(&format!("https://localhost:{port}"))
}

fn challenge_of(resource: &str) -> Act {
    Act::raw(format!(
        "HTTP/1.1 401 Unauthorized\r\nwww-authenticate: Bearer authorization=\"https://login.example/tenant\", resource=\"{resource}\"\r\ncontent-length: 0\r\n\r\n"
    ))
}

fn with_source(peer: &ScriptedPeer, source: &Arc<Counting>) -> Client {
    let source = Arc::new(source.clone());
    Client::with(peer, |options| options.source = Some(source))
}

#[test]
fn a_challenge_is_answered_and_a_token_that_expired_renewed_once() {
    let peer = ScriptedPeer::start_with(|port| {
        vec![
            challenge(port),
            who(),
            Act::ours(200, RANDOM),
            challenge(port),
            Act::ours(200, RANDOM),
            challenge(port),
            challenge(port),
        ]
    });
    let source = Arc::new(Counting::default());
    let client = with_source(&peer, &source);
    let session = client.try_login(Credentials::Connection).unwrap();
    call(&session, read()).unwrap();
    call(&session, read()).unwrap();
    let seen = peer.seen();
    assert_eq!(
        seen[0].header("authorization"),
        None,
        "the first has no token"
    );
    assert_eq!(seen[0].body, "", "and no body");
    let token = |n| format!("Bearer {n}-for-https://localhost:{}", peer.port);
    let sent: Vec<_> = seen[1..]
        .iter()
        .map(|seen| seen.header("authorization").unwrap())
        .collect();
    assert_eq!(sent, [token(1), token(1), token(1), token(2)]);
    assert_eq!(kind(call(&session, read())), ErrorKind::Unauthenticated);
    assert_eq!(peer.seen().len(), 7, "renewed once and no more");
}

#[test]
fn tokens_are_renewed_before_they_expire_and_asked_for_once() {
    let acts = |port| {
        let mut acts = vec![challenge(port), who()];
        acts.extend((0..8).map(|_| Act::ours(200, RANDOM)));
        acts
    };
    let peer = ScriptedPeer::start_with(acts);
    let source = Arc::new(Counting {
        lifetime: Some(Duration::from_secs(3600)),
        ..Counting::default()
    });
    let client = with_source(&peer, &source);
    let session = client.try_login(Credentials::Connection).unwrap();
    std::thread::scope(|scope| {
        for _ in 0..8 {
            scope.spawn(|| call(&session, read()).unwrap());
        }
    });
    assert_eq!(*source.given.lock().unwrap(), 1);

    let peer = ScriptedPeer::start_with(acts);
    let source = Arc::new(Counting {
        lifetime: Some(Duration::ZERO),
        ..Counting::default()
    });
    let client = with_source(&peer, &source);
    let session = client.try_login(Credentials::Connection).unwrap();
    call(&session, read()).unwrap();
    assert_eq!(
        *source.given.lock().unwrap(),
        2,
        "no token is used after its time"
    );
}

#[test]
fn a_source_that_fails_is_no_request() {
    let peer = ScriptedPeer::start_with(|port| vec![challenge(port)]);
    let source = Arc::new(Counting {
        fails_after: Some(0),
        ..Counting::default()
    });
    let error = with_source(&peer, &source)
        .try_login(Credentials::Connection)
        .unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Unauthenticated);
    assert_eq!(peer.seen().len(), 1);
}

#[test]
fn a_challenge_for_a_foreign_host_is_refused() {
    for (resource, fits) in [
        ("https://vault.example", false),
        ("https://evil.localhost:PORT", false),
        ("https://ocalhost:PORT", false),
        ("https://localhost", false),
        ("https://localhost:PORT", true),
        ("http://localhost:PORT", false),
        ("", false),
    ] {
        let peer = ScriptedPeer::start_with(|own| {
            let resource = resource.replace("PORT", &own.to_string());
            vec![challenge_of(&resource), who()]
        });
        let source = Arc::new(Counting::default());
        let login = with_source(&peer, &source).try_login(Credentials::Connection);
        assert_eq!(login.is_ok(), fits, "{resource}");
        assert_eq!(*source.given.lock().unwrap(), u32::from(fits), "{resource}");
    }
    let peer = ScriptedPeer::start([challenge_of("https://vault.example"), who()]);
    let source = Arc::new(Counting::default());
    let given = Arc::new(source.clone());
    let client = Client::with(&peer, |options| {
        options.source = Some(given);
        options.fit = super::auth::Fit::DangerUnchecked;
    });
    client.try_login(Credentials::Connection).unwrap();
}

#[test]
fn client_secrets_are_shown_to_their_authority_only() {
    let authority = ScriptedPeer::start([Act::theirs(
        200,
        r#"{"access_token":"from-authority","expires_in":3599}"#,
    )]);
    let challenge = |own: u16| {
        let url = authority.url();
        Act::raw(format!(
            "HTTP/1.1 401 Unauthorized\r\nwww-authenticate: Bearer authorization=\"{url}/tenant\", scope=\"https://localhost:{own}/.default\"\r\ncontent-length: 0\r\n\r\n"
        ))
    };
    let open = |source: ClientCredentials| {
        let peer = ScriptedPeer::start_with(|own| vec![challenge(own), who()]);
        let client = Client::with(&peer, |options| {
            options.source = Some(Arc::new(source));
            options.tls.ca = Some(ScriptedPeer::both(&peer, &authority));
        });
        (client.try_login(Credentials::Connection), peer)
    };
    let credentials = || ClientCredentials::new("client", "s&cret=");
    let (login, _) = open(credentials());
    assert_eq!(login.unwrap_err().kind(), ErrorKind::Unauthenticated);
    assert_eq!(authority.seen().len(), 0, "the secret was not shown");

    let (login, peer) = open(credentials().authority(authority.url()));
    login.unwrap();
    let asked = &authority.seen()[0];
    assert!(
        asked.head.starts_with("POST /tenant/oauth2/v2.0/token "),
        "{}",
        asked.head
    );
    let scope = format!("https%3A%2F%2Flocalhost%3A{}%2F.default", peer.port);
    assert_eq!(
        asked.body,
        format!(
            "grant_type=client_credentials&client_id=client&client_secret=s%26cret%3D&scope={scope}"
        )
    );
    assert_eq!(
        peer.seen()[1].header("authorization").unwrap(),
        "Bearer from-authority"
    );
}

#[test]
fn machines_and_apps_have_identities() {
    let metadata = ScriptedPeer::start_plain([
        Act::theirs(
            200,
            r#"{"access_token":"machine","expires_in":"3599","resource":"x"}"#,
        ),
        Act::theirs(200, r#"{"access_token":"app","expires_in":"3599"}"#),
        Act::theirs(
            400,
            r#"{"error":"invalid_request","error_description":"secret words"}"#,
        ),
    ]);
    let url = format!("http://localhost:{}/token", metadata.port);
    let log_in = |source: ManagedIdentity| {
        let peer = ScriptedPeer::start_with(|port| vec![challenge(port), who()]);
        let client = Client::with(&peer, |options| options.source = Some(Arc::new(source)));
        let login = client.try_login(Credentials::Connection);
        (login, peer)
    };
    let (login, peer) = log_in(ManagedIdentity::machine(&*url).client("id"));
    login.unwrap();
    assert_eq!(
        peer.seen()[1].header("authorization").unwrap(),
        "Bearer machine"
    );
    let (login, peer) = log_in(ManagedIdentity::app(&*url, "header-secret"));
    login.unwrap();
    assert_eq!(
        peer.seen()[1].header("authorization").unwrap(),
        "Bearer app"
    );
    let (login, _) = log_in(ManagedIdentity::machine(&*url));
    let error = login.unwrap_err();
    assert!(error.to_string().contains("invalid_request"), "{error}");
    assert!(!format!("{error:?}").contains("secret words"));

    let seen = metadata.seen();
    assert_eq!(seen[0].header("metadata").unwrap(), "true");
    assert!(
        seen[0]
            .head
            .contains("api-version=2018-02-01&resource=https%3A%2F%2Flocalhost")
    );
    assert!(seen[0].head.contains("&client_id=id "));
    assert_eq!(
        seen[1].header("x-identity-header").unwrap(),
        "header-secret"
    );
    assert!(seen[1].head.contains("api-version=2019-08-01"));
}

#[test]
fn listings_of_other_services_are_completed() {
    let item = r#"{"value":[{"kid":"https://x/keys/k","attributes":{"enabled":true,"created":1,"updated":1}}],"nextLink":null}"#;
    let key = r#"{"key":{"kid":"https://x/keys/k/0123456789abcdef0123456789abcdef","kty":"oct-HSM","key_ops":["encrypt"]},"attributes":{"enabled":true,"created":1,"updated":1}}"#;
    let peer = ScriptedPeer::start([
        Act::theirs(404, "{}"),
        Act::theirs(200, item),
        Act::theirs(200, key),
    ]);
    let session = Client::of(&peer).log_in();
    let list = Request::ListKeys {
        page: hsm_core::PageRequest::default(),
    };
    let Ok(Response::Keys(page)) = call(&session, list) else {
        panic!("a listing")
    };
    let version = page.items[0].version.to_string();
    assert_eq!(version, "0123456789abcdef0123456789abcdef");
    assert!(peer.seen()[2].head.starts_with("GET /keys/k"));
}

/// A public key that is fetched verifies here, until the session changes something of it.
#[test]
fn signatures_are_verified_here_after_one_fetch() {
    use hsm_core::{Algorithm, KeyRef, SignInput};
    // The example of RFC 7515 appendix A.3.
    let (x, y) = (
        "f83OJ3D2xF1Bg8vub9tLe1gHMzV76e8Tus9uPHvRVEU",
        "x_FEzRu9m36HLN_tue659LNpXW6pCyStikYjKIWI5a0",
    );
    let body = format!(
        r#"{{"key":{{"kid":"https://x/keys/k/0123456789abcdef0123456789abcdef","kty":"EC-HSM","crv":"P-256","x":"{x}","y":"{y}","key_ops":["sign","verify"]}},"attributes":{{"enabled":true,"created":1,"updated":1}}}}"#
    );
    let message = b"eyJhbGciOiJFUzI1NiJ9.eyJpc3MiOiJqb2UiLA0KICJleHAiOjEzMDA4MTkzODAsDQogImh0dHA6Ly9leGFtcGxlLmNvbS9pc19yb290Ijp0cnVlfQ";
    let signature = {
        use base64ct::{Base64UrlUnpadded, Encoding};
        Base64UrlUnpadded::decode_vec("DtEhU3ljbEg8L38VWAfUAqOyKAM6-Xx-F4GawxaepmXFCgfTjDxw5djxLa8ISlSApmWQxfKTUJqPP3-Kg6NU1Q").unwrap()
    };
    let one: KeyRef = "k/0123456789abcdef0123456789abcdef".parse().unwrap();
    let verify = |key: &KeyRef, signature: &[u8], session: &Arc<dyn Session>| {
        let request = Request::Verify {
            key: key.clone(),
            algorithm: Algorithm::Es256,
            input: SignInput::Message(message),
            signature,
        };
        call(session, request)
    };
    let acts = || {
        [
            who(),
            Act::ours(200, &body),
            Act::ours(200, r#"{"value":true}"#),
            Act::ours(200, &body),
            Act::ours(200, &body.replace("\"verify\"", "\"sign\"")),
            Act::ours(200, r#"{"value":false}"#),
        ]
    };
    let peer = ScriptedPeer::start(acts());
    let session = Client::of(&peer).log_in();
    for _ in 0..3 {
        verify(&one, &signature, &session).unwrap();
    }
    let mut wrong = signature.clone();
    wrong[9] ^= 1;
    assert_eq!(
        kind(verify(&one, &wrong, &session)),
        ErrorKind::CryptoFailed
    );
    assert_eq!(peer.seen().len(), 2, "one fetch");

    // Which version is the current one, only the server knows.
    verify(&"k".parse().unwrap(), &signature, &session).unwrap();
    assert!(
        peer.seen()[2].head.starts_with("POST /keys/k//verify"),
        "{}",
        peer.seen()[2].head
    );

    // After a change the key is fetched again; what it may no longer do, the server refuses.
    let update = Request::UpdateKey {
        key: one.clone(),
        update: AttributesUpdate::new(),
    };
    call(&session, update).unwrap();
    let refused = verify(&one, &signature, &session);
    assert_eq!(kind(refused), ErrorKind::CryptoFailed, "as the server says");
    assert_eq!(peer.seen().len(), 6);

    // And where the server is to verify, it does.
    let peer = ScriptedPeer::start([who(), Act::ours(200, r#"{"value":false}"#)]);
    let client = Client::with(&peer, |options| {
        options.verify = super::options::Verify::There;
    });
    let session = client.log_in();
    assert_eq!(
        kind(verify(&one, &signature, &session)),
        ErrorKind::CryptoFailed
    );
}

#[test]
fn it_works_under_any_executor() {
    let peer = ScriptedPeer::start([who(), Act::ours(200, RANDOM), Act::ours(200, RANDOM)]);
    let client = Client::of(&peer);
    let session = client.log_in();
    let runtime = tokio::runtime::Builder::new_current_thread()
        .build()
        .unwrap();
    let called = runtime.block_on(session.call(RequestId::from_u128(1), read()));
    assert_eq!(secret(called), [1, 2, 3, 4]);
    drop(runtime);
    assert_eq!(secret(call(&session, read())), [1, 2, 3, 4]);
}
