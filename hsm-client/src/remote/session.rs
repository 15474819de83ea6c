//! [`RemoteService`] and its sessions: requests go out, answers come back, and what is safe to repeat is repeated.

use std::fmt;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use arc_swap::ArcSwapOption;
use async_trait::async_trait;
use bytes::Bytes;
use hsm_core::audit::RequestId;
use hsm_core::{
    Clock, Credentials, Error, ErrorKind, KeyInfo, Page, Principal, Request, Response, Result,
    SecretBytes, Service, Session,
};
use hsm_wire::server::LoginBody;
use hsm_wire::{Body, EngineRoute, Outgoing};
use http::header::{AUTHORIZATION, CONTENT_TYPE, HeaderMap, HeaderName, HeaderValue};
use http::{Method, StatusCode};
use serde::Deserialize;
use tokio::time::{Instant, timeout};

use super::auth::{Bearer, Challenge, Challenges, Tokens};
use super::cache::{Cache, Found, of_one_version};
use super::options::{RemoteOptions, Verify};
use super::retry::{CHANGE_REPEATED_WITHIN, Limits, Repeat, Timer, backoff, random, random_id};
use super::runtime::Runtime;
use super::sources::retry_after;
use super::transport::{Answer, Failed, Peer, Sent, Transport};

/// An HSM behind a server.
#[derive(Clone, Debug)]
pub(crate) struct RemoteService {
    remote: Arc<Remote>,
}

impl RemoteService {
    pub(crate) fn new(peer: Peer, options: RemoteOptions, clock: Arc<dyn Clock>) -> Result<Self> {
        let mut limits = options.limits;
        limits.connect = limits.connect.min(limits.attempt.min(limits.call) / 2);
        let proxy = options.proxy.as_ref().map(|proxy| &*proxy.0);
        let transport = Transport::new(&peer, &options.tls, limits.connect, proxy)?;
        let challenges = Challenges {
            host: match &peer {
                Peer::Https(address) => Some(address.clone()),
                Peer::Unix(_) => None,
            },
            fit: options.fit,
            http: Transport::to_authorities(&options.tls, limits.connect, proxy)?,
            timeout: limits.attempt,
        };
        let tokens = options
            .source
            .map(|source| Arc::new(Tokens::new(source, clock.clone())));
        Ok(Self {
            remote: Arc::new(Remote {
                runtime: Runtime::shared()?,
                peer,
                transport,
                challenges,
                tokens,
                limits,
                timer: options.timer,
                clock,
                verify: options.verify,
                instance: ArcSwapOption::empty(),
            }),
        })
    }
}

#[async_trait]
impl Service for RemoteService {
    async fn login(&self, credentials: Credentials) -> Result<Arc<dyn Session>> {
        let remote = self.remote.clone();
        let opened = match credentials {
            Credentials::Password { user, password } => {
                remote
                    .runtime
                    .run(remote.clone().log_in(user, password))
                    .await?
            }
            Credentials::Token(token) => {
                let identity = Identity::Fixed(Arc::new(Bearer::new(&token)?));
                remote
                    .runtime
                    .run(remote.clone().recognize(identity))
                    .await?
            }
            Credentials::Connection => {
                let identity = match &remote.tokens {
                    Some(tokens) => Identity::Source(tokens.clone()),
                    None => Identity::Connection,
                };
                remote
                    .runtime
                    .run(remote.clone().recognize(identity))
                    .await?
            }
            _ => {
                return Err(Error::new(
                    ErrorKind::Unsupported,
                    "a remote HSM takes a password, a token, or the identity of the connection",
                ));
            }
        };
        Ok(Arc::new(RemoteSession {
            cache: Arc::new(Cache::new(remote.clock.clone())),
            remote,
            opened,
            ended: AtomicBool::new(false),
        }))
    }
}

/// Who a session's requests come from.
#[derive(Clone, Debug)]
enum Identity {
    /// Whoever the connection stands for.
    Connection,
    Fixed(Arc<Bearer>),
    Source(Arc<Tokens>),
}

/// A session as the server opened it.
#[derive(Debug)]
struct Opened {
    principal: Principal,
    identity: Identity,
    /// Whether it is the server's to end.
    login: Login,
}

#[derive(Clone, Copy, Debug, Eq, PartialEq)]
enum Login {
    /// The server keeps a session.
    Kept,
    /// Each request proves itself.
    EachTime,
}

/// A session with a remote HSM.
struct RemoteSession {
    remote: Arc<Remote>,
    opened: Opened,
    cache: Arc<Cache>,
    ended: AtomicBool,
}

#[async_trait]
impl Session for RemoteSession {
    fn principal(&self) -> &Principal {
        &self.opened.principal
    }

    async fn call(&self, id: RequestId, request: Request<'_>) -> Result<Response> {
        if self.ended.load(Ordering::Acquire) {
            return Err(Error::new(
                ErrorKind::Unauthenticated,
                "the session has ended; log in again",
            ));
        }
        if self.remote.verify == Verify::Here
            && let Some(verified) = self.verify_here(id, &request).await
        {
            return verified.map(|()| Response::Done);
        }
        let _changing = self.cache.changing(&request);
        let own_password = matches!(request, Request::ChangePassword { .. });
        let result = self.send(id, request).await;
        if let Err(error) = &result
            && error.kind() == ErrorKind::Unauthenticated
            && !own_password
        {
            // A token that is good again later opens another session.
            self.ended.store(true, Ordering::Release);
        }
        result
    }

    async fn logout(&self) {
        if !self.ended.swap(true, Ordering::AcqRel) && self.opened.login == Login::Kept {
            let ending = self.remote.clone().end(self.opened.identity.clone());
            // A session that cannot be ended ends by itself.
            drop(self.remote.runtime.run(ending).await);
        }
    }
}

impl RemoteSession {
    async fn send(&self, id: RequestId, request: Request<'_>) -> Result<Response> {
        let (repeat, throttled) = (Repeat::of(&request), Throttled::of(&request));
        let outgoing = Outgoing::new(&request)?;
        // What it holds is wiped now, and not when the answer is there.
        drop(request);
        let (remote, identity) = (self.remote.clone(), self.opened.identity.clone());
        self.remote
            .runtime
            .run(async move {
                remote
                    .carry(&identity, id, outgoing, repeat, throttled)
                    .await
            })
            .await
    }

    /// Verifies a signature of a version whose public key is at hand or can be fetched.
    async fn verify_here(&self, id: RequestId, request: &Request<'_>) -> Option<Result<()>> {
        let (key, version, algorithm, input, signature) = of_one_version(request)?;
        let info = match self.cache.find(&key.name, version) {
            Found::Key(info) => info,
            Found::NotHere => return None,
            Found::Unknown(ticket) => {
                let get = Request::GetKey { key: key.clone() };
                let info = match self.send(id, get).await {
                    Ok(Response::Key(info)) => Some(Arc::new(*info)),
                    Err(error) if error.kind() == ErrorKind::Denied => None,
                    _ => return None,
                };
                let name = key.name.clone();
                self.cache.keep(ticket, name, version, info.clone());
                info?
            }
        };
        self.cache.verify(&info, algorithm, input, signature)
    }
}

impl Drop for RemoteSession {
    fn drop(&mut self) {
        if !*self.ended.get_mut() && self.opened.login == Login::Kept {
            let ending = self.remote.clone().end(self.opened.identity.clone());
            self.remote
                .runtime
                .detach(async move { drop(ending.await) });
        }
    }
}

impl fmt::Debug for RemoteSession {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("RemoteSession")
            .field("peer", &self.remote.peer)
            .field("principal", &self.opened.principal)
            .finish_non_exhaustive()
    }
}

/// What all sessions of one remote HSM share.
#[derive(Debug)]
struct Remote {
    runtime: Arc<Runtime>,
    peer: Peer,
    transport: Transport,
    challenges: Challenges,
    tokens: Option<Arc<Tokens>>,
    limits: Limits,
    timer: Arc<dyn Timer>,
    clock: Arc<dyn Clock>,
    verify: Verify,
    /// The server process that answered last; `None` if it does not say, as the real services do not.
    instance: ArcSwapOption<HeaderValue>,
}

/// A request that may go out more than once.
struct Ask<'a> {
    method: Method,
    target: &'a str,
    body: Bytes,
    id: RequestId,
    repeat: Repeat,
    when_throttled: Throttled,
}

/// What a 429 means.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
enum Throttled {
    /// Too many requests: wait and ask again.
    Wait,
    /// Too many wrong passwords: the caller hears of it.
    Answer,
}

impl Throttled {
    fn of(request: &Request<'_>) -> Self {
        match request {
            Request::ChangePassword { .. } => Self::Answer,
            _ => Self::Wait,
        }
    }
}

/// Who answered.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
enum Speaker {
    /// An hsm server.
    Ours,
    Another,
}

impl Speaker {
    fn of(answer: &Answer) -> Self {
        if answer.headers.contains_key(INSTANCE) {
            Self::Ours
        } else {
            Self::Another
        }
    }
}

/// Why an attempt has no result.
struct Attempt {
    error: Error,
    happened: Happened,
    again: bool,
}

#[derive(Clone, Copy, Debug, Eq, PartialEq)]
enum Happened {
    /// Nothing.
    No,
    /// What was asked, perhaps.
    Perhaps,
}

impl Remote {
    async fn log_in(self: Arc<Self>, user: Principal, password: SecretBytes) -> Result<Opened> {
        #[derive(Deserialize)]
        struct Session<'a> {
            token: &'a str,
            principal: Principal,
        }
        let login = LoginBody { user, password };
        let ask = Ask {
            method: Method::POST,
            target: SESSIONS,
            body: Bytes::from_owner(Held(login.write())),
            id: RequestId::from_u128(random_id()?),
            repeat: Repeat::ByKey,
            when_throttled: Throttled::Answer,
        };
        self.ask(&Identity::Connection, &ask, |answer| {
            self.only_ours(answer)?;
            let session: Session<'_> = parse(answer)?;
            let token = SecretBytes::copy_from(session.token.as_bytes());
            Ok(Opened {
                principal: session.principal,
                identity: Identity::Fixed(Arc::new(Bearer::new(&token)?)),
                login: Login::Kept,
            })
        })
        .await
    }

    /// Asks the server who the identity is; where it cannot be asked, the token may say.
    async fn recognize(self: Arc<Self>, identity: Identity) -> Result<Opened> {
        #[derive(Deserialize)]
        struct Current {
            principal: Principal,
        }
        let ask = Ask {
            method: Method::GET,
            target: CURRENT_SESSION,
            body: Bytes::new(),
            id: RequestId::from_u128(random_id()?),
            repeat: Repeat::Harmless,
            when_throttled: Throttled::Wait,
        };
        let principal = self
            .ask(&identity, &ask, |answer| {
                if self.is_foreign(answer) {
                    return Ok(None);
                }
                parse::<Current>(answer).map(|current| Some(current.principal))
            })
            .await?;
        let principal = match principal {
            Some(principal) => principal,
            None => match self
                .bearer(&identity)
                .await?
                .and_then(|bearer| bearer.principal.clone())
            {
                Some(principal) => principal,
                None => Principal::new(UNKNOWN_PRINCIPAL)?,
            },
        };
        Ok(Opened {
            principal,
            identity,
            login: Login::EachTime,
        })
    }

    async fn end(self: Arc<Self>, identity: Identity) -> Result<()> {
        let ask = Ask {
            method: Method::DELETE,
            target: CURRENT_SESSION,
            body: Bytes::new(),
            id: RequestId::from_u128(random_id()?),
            repeat: Repeat::Harmless,
            when_throttled: Throttled::Wait,
        };
        self.ask(&identity, &ask, |_| Ok(())).await
    }

    async fn carry(
        &self,
        identity: &Identity,
        id: RequestId,
        outgoing: Outgoing,
        repeat: Repeat,
        when_throttled: Throttled,
    ) -> Result<Response> {
        let (route, answer) = self
            .exchange(identity, id, outgoing, repeat, when_throttled)
            .await?;
        match answer {
            (Response::Keys(page), Speaker::Another) => {
                self.complete(identity, id, &route, page).await
            }
            (response, _) => Ok(response),
        }
    }

    async fn exchange(
        &self,
        identity: &Identity,
        id: RequestId,
        outgoing: Outgoing,
        repeat: Repeat,
        when_throttled: Throttled,
    ) -> Result<(EngineRoute, (Response, Speaker))> {
        let Outgoing {
            route,
            method,
            target,
            body,
            ..
        } = outgoing;
        let ask = Ask {
            method,
            target: &target,
            body: Bytes::from_owner(Held(body)),
            id,
            repeat,
            when_throttled,
        };
        let answer = self.ask(identity, &ask, |answer| {
            if target.starts_with(OURS) {
                self.only_ours(answer)?;
            }
            let response = route.response(answer.status, answer.body.as_ref())?;
            Ok((response, Speaker::of(answer)))
        });
        let answer = answer.await?;
        Ok((route, answer))
    }

    /// The listings of other services name keys and little more: the rest is fetched key by key. A key that may not be read
    /// stays as it was listed.
    async fn complete(
        &self,
        identity: &Identity,
        id: RequestId,
        route: &EngineRoute,
        mut page: Page<KeyInfo>,
    ) -> Result<Response> {
        for item in &mut page.items {
            let request = match route {
                EngineRoute::ListDeletedKeys { .. } => Request::GetDeletedKey {
                    name: item.name.clone(),
                },
                EngineRoute::ListVersions { .. } => Request::GetKey { key: item.key() },
                _ => Request::GetKey {
                    key: item.name.clone().into(),
                },
            };
            let outgoing = Outgoing::new(&request)?;
            let exchanged =
                self.exchange(identity, id, outgoing, Repeat::Harmless, Throttled::Wait);
            match exchanged.await {
                Ok((_, (Response::Key(info), _))) => *item = *info,
                Ok(_) => return Err(nonsense()),
                Err(error) if error.kind() == ErrorKind::Denied => {}
                // It went away meanwhile.
                Err(error) if error.kind() == ErrorKind::NotFound => {}
                Err(error) => return Err(error),
            }
        }
        Ok(Response::Keys(page))
    }

    /// Asks until there is an answer, or it is no longer safe or of use.
    async fn ask<T>(
        &self,
        identity: &Identity,
        ask: &Ask<'_>,
        read: impl Fn(&Answer) -> Result<T>,
    ) -> Result<T> {
        let start = Instant::now();
        // A repetition is for the process that got the first, and only that one knows what became of it.
        let instance = self.instance.load_full();
        let mut headers = HeaderMap::new();
        let id = uuid(ask.id.as_u128());
        headers.insert(CLIENT_REQUEST_ID, ascii(&id));
        if !ask.body.is_empty() {
            headers.insert(CONTENT_TYPE, HeaderValue::from_static("application/json"));
        }
        if ask.repeat == Repeat::ByKey {
            headers.insert(IDEMPOTENCY_KEY, ascii(&uuid(random_id()?)));
        }
        let mut happened = Happened::No;
        let mut renewed = false;
        let mut attempts = 1;
        loop {
            let left = self.limits.call.saturating_sub(start.elapsed());
            let attempt = self.attempt(identity, ask, &headers, left, &mut renewed, &read);
            let failed = match attempt.await {
                Ok(done) => return done.map_err(|error| self.told(error, happened)),
                Err(failed) => failed,
            };
            if failed.happened == Happened::Perhaps && ask.repeat == Repeat::ByKey {
                happened = Happened::Perhaps;
            }
            let left = self.limits.call.saturating_sub(start.elapsed());
            let wait = match failed.error.retry_after() {
                Some(wait) => wait,
                None => backoff(attempts, random()?),
            };
            let safe = match (happened, ask.repeat, &instance) {
                // A change that may have been carried out has the key and the instance in its headers already.
                (Happened::No, ..) | (_, Repeat::Harmless, _) => true,
                (Happened::Perhaps, Repeat::ByKey, Some(instance)) => {
                    headers.insert(IF_INSTANCE, HeaderValue::clone(instance));
                    // The server does not know it again for ever.
                    start.elapsed().saturating_add(wait) < CHANGE_REPEATED_WITHIN
                }
                (Happened::Perhaps, Repeat::ByKey, None) => false,
            };
            if !failed.again || !safe || attempts >= self.limits.attempts || wait >= left {
                return Err(self.told(failed.error, happened));
            }
            self.timer.wait(wait).await;
            attempts += 1;
        }
    }

    /// One attempt. `Ok` is an answer that counts, even if it is a refusal.
    async fn attempt<T>(
        &self,
        identity: &Identity,
        ask: &Ask<'_>,
        headers: &HeaderMap,
        left: Duration,
        renewed: &mut bool,
        read: impl Fn(&Answer) -> Result<T>,
    ) -> Result<Result<T>, Attempt> {
        let deadline = Instant::now() + left;
        loop {
            let left = deadline.saturating_duration_since(Instant::now());
            let bearer = match timeout(left, self.bearer(identity)).await {
                Ok(bearer) => bearer.map_err(|error| Attempt {
                    again: error.kind() == ErrorKind::Unreachable,
                    error,
                    happened: Happened::No,
                })?,
                Err(_) => {
                    return Err(Attempt {
                        error: Error::new(ErrorKind::Unreachable, "no token in time"),
                        happened: Happened::No,
                        again: false,
                    });
                }
            };
            let mut headers = headers.clone();
            if let Some(bearer) = &bearer {
                headers.insert(AUTHORIZATION, bearer.header.clone());
            }
            let left = deadline.saturating_duration_since(Instant::now());
            let sent = Sent {
                method: ask.method.clone(),
                target: ask.target,
                headers,
                body: ask.body.clone(),
                timeout: self.limits.attempt.min(left),
            };
            let answer = self
                .transport
                .send(sent)
                .await
                .map_err(|failed| match failed {
                    Failed::NotSent(error) => Attempt {
                        error,
                        happened: Happened::No,
                        again: true,
                    },
                    Failed::MaybeSent { error, again } => Attempt {
                        error,
                        happened: Happened::Perhaps,
                        again,
                    },
                })?;
            if let Some(instance) = answer.headers.get(INSTANCE) {
                self.note_instance(instance);
            }
            if answer.status == StatusCode::UNAUTHORIZED
                && !*renewed
                && let Identity::Source(tokens) = identity
            {
                // Nothing was done: the server looks at the token first.
                *renewed = true;
                let challenge = self.challenges.read(&answer.headers);
                let challenge = challenge.map_err(|error| Attempt {
                    error,
                    happened: Happened::No,
                    again: false,
                })?;
                tokens.refused(bearer.as_ref(), challenge).await;
                continue;
            }
            return judge(&answer, ask.when_throttled, read);
        }
    }

    async fn bearer(&self, identity: &Identity) -> Result<Option<Arc<Bearer>>> {
        match identity {
            Identity::Connection => Ok(None),
            Identity::Fixed(bearer) => Ok(Some(bearer.clone())),
            Identity::Source(tokens) => tokens.bearer(async || self.probe().await).await,
        }
    }

    /// Asks for something without a token and without a body, to learn what token is wanted.
    async fn probe(&self) -> Result<Option<Challenge>> {
        let sent = Sent {
            method: Method::GET,
            target: PROBE,
            headers: HeaderMap::new(),
            body: Bytes::new(),
            timeout: self.limits.attempt,
        };
        let answer = self.transport.send(sent).await.map_err(|failed| {
            // It was a question: nothing happened.
            let (Failed::NotSent(source) | Failed::MaybeSent { error: source, .. }) = failed;
            Error::new(
                ErrorKind::Unreachable,
                "the server does not say what token it wants",
            )
            .with_source(source)
        })?;
        if let Some(instance) = answer.headers.get(INSTANCE) {
            self.note_instance(instance);
        }
        if answer.status != StatusCode::UNAUTHORIZED {
            if matches!(
                answer.status,
                StatusCode::TOO_MANY_REQUESTS | StatusCode::SERVICE_UNAVAILABLE
            ) {
                let error = Error::new(ErrorKind::Unreachable, "the server is busy");
                return Err(match retry_after(&answer.headers) {
                    Some(wait) => error.with_retry_after(wait),
                    None => error,
                });
            }
            return Ok(None);
        }
        match self.challenges.read(&answer.headers)? {
            Some(challenge) => Ok(Some(challenge)),
            None => Err(Error::new(
                ErrorKind::Unauthenticated,
                "the server does not say where it wants its tokens from; log in with a token or a password",
            )),
        }
    }

    fn note_instance(&self, instance: &HeaderValue) {
        let known = self.instance.load();
        if known.as_deref() != Some(instance) {
            self.instance.store(Some(Arc::new(instance.clone())));
        }
    }

    /// Whether an answer says that the server has no such path because it is not one of ours.
    fn is_foreign(&self, answer: &Answer) -> bool {
        let unknown_path = matches!(
            answer.status,
            StatusCode::BAD_REQUEST
                | StatusCode::NOT_FOUND
                | StatusCode::METHOD_NOT_ALLOWED
                | StatusCode::NOT_IMPLEMENTED
        );
        unknown_path && Speaker::of(answer) == Speaker::Another
    }

    fn only_ours(&self, answer: &Answer) -> Result<()> {
        if self.is_foreign(answer) {
            return Err(Error::new(
                ErrorKind::Unsupported,
                format!(
                    "{} is a service that cannot do this; an hsm server can",
                    self.peer
                ),
            ));
        }
        Ok(())
    }

    /// The error as the caller gets it: with the peer's name, and with what an earlier attempt may have done.
    fn told(&self, error: Error, happened: Happened) -> Error {
        let never_there = matches!(
            error.kind(),
            ErrorKind::Unreachable | ErrorKind::Unauthenticated
        );
        if happened == Happened::Perhaps && (never_there || error.retry_after().is_some()) {
            return Error::new(
                ErrorKind::Unknown,
                format!(
                    "{} may have done it before the connection was lost",
                    self.peer
                ),
            )
            .with_source(error);
        }
        if !matches!(error.kind(), ErrorKind::Unreachable | ErrorKind::Unknown) {
            return error;
        }
        let named = Error::new(error.kind(), format!("{}: {}", self.peer, error.message()));
        match error.retry_after() {
            Some(wait) => named.with_retry_after(wait).with_source(error),
            None => named.with_source(error),
        }
    }
}

/// What an answer means.
fn judge<T>(
    answer: &Answer,
    when_throttled: Throttled,
    read: impl Fn(&Answer) -> Result<T>,
) -> Result<Result<T>, Attempt> {
    let status = answer.status;
    let wait = retry_after(&answer.headers);
    if status == StatusCode::PRECONDITION_FAILED {
        return Ok(Err(Error::new(
            ErrorKind::Unknown,
            "the server was restarted before it answered",
        )));
    }
    let strange = status.is_redirection() || !(answer.body.as_ref().is_empty() || answer.is_json());
    let result = if strange {
        Err(Error::new(
            ErrorKind::Unknown,
            format!(
                "an answer that is not an HSM's, with status {}",
                status.as_u16()
            ),
        ))
    } else {
        read(answer)
    };
    let error = match result {
        Ok(done) => return Ok(Ok(done)),
        Err(error) => error,
    };
    let error = match (error.retry_after(), wait) {
        (None, Some(wait)) => error.with_retry_after(wait),
        _ => error,
    };
    let happened = match status {
        StatusCode::TOO_MANY_REQUESTS if when_throttled == Throttled::Wait => Happened::No,
        StatusCode::SERVICE_UNAVAILABLE => Happened::Perhaps,
        _ => return Ok(Err(error)),
    };
    Err(Attempt {
        error,
        happened,
        again: true,
    })
}

/// Reads an answer of the server itself.
fn parse<'a, T: Deserialize<'a>>(answer: &'a Answer) -> Result<T> {
    if !answer.status.is_success() {
        // Errors look the same on every route.
        let route: EngineRoute = Outgoing::new(&Request::GetSettings)?.route;
        route.response(answer.status, answer.body.as_ref())?;
        return Err(nonsense());
    }
    // The parser's own words could quote a token.
    serde_json::from_slice(answer.body.as_ref()).map_err(|_| nonsense())
}

fn nonsense() -> Error {
    Error::new(ErrorKind::Unknown, "an answer that makes no sense")
}

/// A body that wipes itself, as bytes that several attempts share.
struct Held(Body);

impl AsRef<[u8]> for Held {
    fn as_ref(&self) -> &[u8] {
        self.0.as_bytes()
    }
}

fn uuid(value: u128) -> String {
    let hex = format!("{value:032x}");
    format!(
        "{}-{}-{}-{}-{}",
        &hex[..8],
        &hex[8..12],
        &hex[12..16],
        &hex[16..20],
        &hex[20..]
    )
}

fn ascii(text: &str) -> HeaderValue {
    HeaderValue::from_str(text).expect("digits and hyphens are a header's")
}

const SESSIONS: &str = "/hsm/v1/sessions";
const CURRENT_SESSION: &str = "/hsm/v1/sessions/current";

/// What only our servers have.
const OURS: &str = "/hsm/v1/";

/// What every service has, and shows to nobody without a token.
const PROBE: &str = "/keys?api-version=7.6&maxresults=1";

const CLIENT_REQUEST_ID: HeaderName = HeaderName::from_static("x-ms-client-request-id");
const IDEMPOTENCY_KEY: HeaderName = HeaderName::from_static("idempotency-key");
const INSTANCE: HeaderName = HeaderName::from_static("hsm-instance");
const IF_INSTANCE: HeaderName = HeaderName::from_static("hsm-if-instance");

/// The principal of a session with a service that does not say who it is, by a token that does not either.
const UNKNOWN_PRINCIPAL: &str = "unknown";
