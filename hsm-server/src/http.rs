//! The line that a request travels: partition, route, identity, rate, body, engine, answer. In this order: nothing of a
//! body is read before its sender is known.
#![expect(
    clippy::result_large_err,
    reason = "an answer is moved once, to the connection; a box would be an allocation for each refusal"
)]

use std::convert::Infallible;
use std::panic::AssertUnwindSafe;
use std::sync::atomic::{AtomicU32, AtomicU64, Ordering};
use std::sync::{Arc, OnceLock};
use std::task::Poll;

use hsm_client::{Algorithm, Error, ErrorKind, Result, Session};
use hsm_core::audit::RequestId;
use hsm_core::{Request, Response};
use hsm_wire::{Buffers, EngineRoute, Misrouted, Reply, Route, ServerRoute};
use http::header::HOST;
use http::request::Parts;
use http::{HeaderMap, StatusCode};
use http_body_util::{BodyExt, Full};
use hyper::body::{Body, Bytes, Incoming};
use parking_lot::Mutex;
use sha2::{Digest, Sha256};
use tokio::sync::watch;
use tokio::time::{Duration, Instant, timeout};
use zeroize::Zeroize;

use crate::Partition;
use crate::answer::{self, Answer, Ids, Outcome};
use crate::authority::Authority;
use crate::idempotency::{Fingerprint, Known, Slot};
use crate::identity::{Caller, Identities, Peer, Refusal};
use crate::limits::{Limits, RETRY_AFTER_BUSY, SMALL_BODY_LEN};
use crate::partition::host_name;
use crate::server::Shared;

/// One connection's end of the line.
#[derive(Debug)]
pub(crate) struct Line {
    shared: Arc<Shared>,
    peer: Peer,
    opened: Instant,
    /// Requests that are being worked on.
    busy: AtomicU32,
    /// When the last request began, in milliseconds since the connection was opened; [`NEVER`] before the first.
    last: AtomicU64,
    /// Where the first request went. The others go there, too, as a rule.
    place: OnceLock<(Box<[u8]>, Arc<Place>)>,
    spare: Mutex<Vec<Scratch>>,
}

const NEVER: u64 = u64::MAX;

/// A partition under the name that a client has for it.
#[derive(Debug)]
pub(crate) struct Place {
    pub(crate) partition: Arc<Partition>,
    /// The URL of the server as the client sees it, without a slash at the end.
    pub(crate) base: String,
}

/// What metrics and log tell of a request.
#[derive(Debug, Default)]
pub(crate) struct Seen {
    pub(crate) operation: Option<&'static hsm_wire::Endpoint>,
    pub(crate) algorithm: Option<Algorithm>,
    pub(crate) failure: Option<ErrorKind>,
    pub(crate) session: Option<Session>,
    pub(crate) place: Option<Arc<Place>>,
}

impl Line {
    pub(crate) fn new(shared: Arc<Shared>, peer: Peer) -> Self {
        Self {
            shared,
            peer,
            opened: Instant::now(),
            busy: AtomicU32::new(0),
            last: AtomicU64::new(NEVER),
            place: OnceLock::new(),
            spare: Mutex::default(),
        }
    }

    /// Until when the connection may stay as it is.
    pub(crate) fn idle_until(&self, limits: &Limits) -> Instant {
        if self.busy.load(Ordering::Acquire) > 0 {
            return Instant::now() + limits.idle_time;
        }
        match self.last.load(Ordering::Acquire) {
            NEVER => self.opened + limits.header_time,
            last => self.opened + Duration::from_millis(last) + limits.idle_time,
        }
    }

    /// Answers a request, whatever it is.
    pub(crate) async fn serve(
        &self,
        request: http::Request<Incoming>,
    ) -> std::result::Result<Answer, Infallible> {
        let started = Instant::now();
        let shared = &*self.shared;
        let _busy = Busy::new(self, started);
        let ids = Ids::of(request.headers(), shared.next_id());
        let mut seen = Seen::default();
        let mut answer = match shared.requests.enter() {
            None => Outcome::problem(
                StatusCode::SERVICE_UNAVAILABLE,
                "ServiceUnavailable",
                "the server is working on as many requests as it may; try again",
            )
            .retry_after(RETRY_AFTER_BUSY)
            .into_answer(),
            Some(_pass) => match caught(self.answer(request, &ids, &mut seen)).await {
                Some(Ok(answer) | Err(answer)) => answer,
                None => mistake().into_answer(),
            },
        };
        answer::finish(&mut answer, &ids, &shared.constants);
        let took = started.elapsed();
        shared
            .metrics
            .request(seen.operation, seen.algorithm, answer.status(), took);
        crate::trace::request(&ids, &seen, answer.status(), took);
        Ok(answer)
    }

    /// `Err` is an answer as well: one that ends the line early.
    async fn answer(
        &self,
        request: http::Request<Incoming>,
        ids: &Ids,
        seen: &mut Seen,
    ) -> std::result::Result<Answer, Answer> {
        let (head, body) = request.into_parts();
        let (path, query) = (head.uri.path(), head.uri.query());
        let route = Route::parse(&head.method, path, query);
        if let Ok(route) = &route {
            seen.operation = Some(route.endpoint());
        }
        // Who watches over the process asks by address.
        if let Ok(Route::Server(route @ (ServerRoute::Health | ServerRoute::Ready))) = &route {
            return Ok(self.shared.health(*route));
        }
        let place = self.place(&head)?;
        seen.place = Some(place.clone());
        match route {
            Ok(Route::Engine(route)) => self.engine(&place, route, &head, body, ids, seen).await,
            Ok(Route::Server(route)) => self.own(&place, route, &head, body, seen).await,
            Ok(Route::NotYet(what)) => {
                self.caller(&place, &head.headers, seen).await?;
                Err(Outcome::from(Reply::not_yet(what)).into_answer())
            }
            Err(misrouted) => match &self.shared.authority {
                Some(authority) => self.authority(authority, &head, body, misrouted).await,
                None => self.misrouted(misrouted),
            },
            Ok(_) => Err(not_found()),
        }
    }

    /// Which partition a request is for.
    fn place(&self, head: &Parts) -> std::result::Result<Arc<Place>, Answer> {
        let mut named = head.headers.get_all(HOST).iter();
        let host = match (head.uri.authority(), named.next()) {
            (Some(authority), _) => authority.as_str().as_bytes(),
            (None, Some(host)) => host.as_bytes(),
            (None, None) => return Err(bad_host("the request names no host")),
        };
        if named.next().is_some() {
            return Err(bad_host("the request names more than one host"));
        }
        if let Some((first, place)) = self.place.get()
            && **first == *host
        {
            return Ok(place.clone());
        }
        let text = str::from_utf8(host)
            .ok()
            .filter(|text| is_authority(text))
            .ok_or_else(|| bad_host("the name of the host is malformed"))?;
        let place = Arc::new(self.find(text)?);
        // Fails if there is one: the first stays.
        drop(self.place.set((host.into(), place.clone())));
        Ok(place)
    }

    fn find(&self, authority: &str) -> std::result::Result<Place, Answer> {
        let partitions = &self.shared.partitions;
        let name = host_name(authority);
        // A Unix socket has no name that others give it.
        let only = match &self.peer {
            Peer::Unix { .. } => partitions.only(),
            Peer::Tcp { .. } => None,
        };
        match partitions.find(&name).or(only) {
            Some(partition) => Ok(Place {
                partition: partition.clone(),
                base: format!("https://{}", authority.to_ascii_lowercase()),
            }),
            None => Err(Outcome::problem(
                StatusCode::MISDIRECTED_REQUEST,
                "UnknownHost",
                &format!("no partition of this server has the host name `{name}`"),
            )
            .into_answer()),
        }
    }

    /// Who asks.
    async fn caller(
        &self,
        place: &Place,
        headers: &HeaderMap,
        seen: &mut Seen,
    ) -> std::result::Result<Caller, Answer> {
        let caller = self
            .shared
            .identities
            .caller(&place.partition, &self.peer, headers, &place.base)
            .await
            .map_err(|refusal| self.refused(refusal))?;
        seen.session = Some(caller.session.clone());
        Ok(caller)
    }

    /// A request for the engine.
    async fn engine(
        &self,
        place: &Arc<Place>,
        route: EngineRoute,
        head: &Parts,
        body: Incoming,
        ids: &Ids,
        seen: &mut Seen,
    ) -> std::result::Result<Answer, Answer> {
        let mut caller = self.caller(place, &head.headers, seen).await?;
        if is_password_change(&route) && !caller.has_logged_in() {
            // In a session that cannot have timed out, so that below only the old password can be what was wrong.
            self.shared.identities.ended(&caller);
            place.partition.forget(caller.principal());
            caller = self.caller(place, &head.headers, seen).await?;
        }
        self.shared
            .rates
            .principal(place.partition.number(), caller.principal())
            .map_err(|error| Outcome::error(&error).into_answer())?;
        self.check_instance(&head.headers)?;
        let scratch = self.read(body, self.shared.limits.body_len).await?;
        let job = Job {
            session: caller.session.clone(),
            place: place.clone(),
            route,
            scratch,
            id: ids.audit,
            algorithm: None,
        };
        let (mut job, mut outcome) = self.run(job, head).await?;
        if outcome.status == StatusCode::UNAUTHORIZED {
            // The session has timed out since it was last used. Whoever asks is known all the same, or is asked again.
            self.shared.identities.ended(&caller);
            place.partition.forget(caller.principal());
            job.session = self.caller(place, &head.headers, seen).await?.session;
            (job, outcome) = self.run(job, head).await?;
        }
        seen.failure = outcome.failure;
        seen.algorithm = job.algorithm;
        self.keep(job.scratch);
        if outcome.status == StatusCode::UNAUTHORIZED {
            let identities = &self.shared.identities;
            return Err(outcome.challenge(identities.challenge(&place.partition, &place.base)));
        }
        Ok(outcome.into_answer())
    }

    /// Carries a job out, and gives it back.
    async fn run(&self, mut job: Job, head: &Parts) -> std::result::Result<(Job, Outcome), Answer> {
        let time = self.shared.limits.request_time;
        if !changes(&job.route) {
            return match timeout(time, job.run(&self.shared)).await {
                Ok(outcome) => Ok((job, outcome)),
                Err(_) => Err(took_too_long().into_answer()),
            };
        }
        // A change goes on when its client has gone, and is known when that comes back.
        let known = match idempotency_key(&head.headers)? {
            None => None,
            Some(key) => {
                let slot = Slot {
                    partition: job.place.partition.host().into(),
                    principal: job.session.principal().clone(),
                    key,
                };
                match self.shared.answers.look_up(&slot, job.fingerprint(head)) {
                    Known::New(sender) => Some((slot, sender)),
                    Known::Repeated(answer) => {
                        return match timeout(time, repeated(answer)).await {
                            Ok(Some(outcome)) => Ok((job, outcome)),
                            // The first has come to nothing, or nobody knows.
                            Ok(None) | Err(_) => Err(took_too_long().into_answer()),
                        };
                    }
                    Known::Other => {
                        return Err(Outcome::problem(
                            StatusCode::UNPROCESSABLE_ENTITY,
                            "IdempotencyKeyReused",
                            "the Idempotency-Key was used for another request; take a new one",
                        )
                        .into_answer());
                    }
                }
            }
        };
        let shared = self.shared.clone();
        let pass = shared.requests.enter_anyway();
        let task = tokio::spawn(async move {
            let outcome = caught(job.run(&shared)).await.unwrap_or_else(mistake);
            if let Some((slot, sender)) = known {
                // A wrong old password counts towards a lock-out: once.
                let counted = is_password_change(&job.route)
                    && outcome.failure == Some(ErrorKind::Unauthenticated);
                if !outcome.is_final() && !counted {
                    shared.answers.forget(&slot);
                }
                sender.send_replace(Some(outcome.clone()));
            }
            drop(pass);
            (job, outcome)
        });
        match timeout(time, task).await {
            Ok(Ok(done)) => Ok(done),
            Ok(Err(_)) => Err(mistake().into_answer()),
            Err(_) => Err(took_too_long().into_answer()),
        }
    }

    /// Whether a repetition came to the server that it was meant for.
    fn check_instance(&self, headers: &HeaderMap) -> std::result::Result<(), Answer> {
        match headers.get(answer::IF_INSTANCE) {
            Some(wanted) if *wanted != self.shared.constants.instance => Err(Outcome::problem(
                StatusCode::PRECONDITION_FAILED,
                "OtherInstance",
                "the server was started again since; whether the request was carried out is not known",
            )
            .into_answer()),
            _ => Ok(()),
        }
    }

    /// What the server answers by itself.
    async fn own(
        &self,
        place: &Place,
        route: ServerRoute,
        head: &Parts,
        body: Incoming,
        seen: &mut Seen,
    ) -> std::result::Result<Answer, Answer> {
        let shared = &self.shared;
        let outcome = match route {
            ServerRoute::Health | ServerRoute::Ready => return Ok(shared.health(route)),
            ServerRoute::OpenApi => {
                Outcome::json(StatusCode::OK, hsm_wire::openapi(&place.base).to_string())
            }
            ServerRoute::Login => {
                let scratch = self.read(body, shared.limits.open_body_len).await?;
                let login = shared
                    .identities
                    .login(&place.partition, &scratch.body, &place.base)
                    .await;
                let body = login.map_err(|refusal| self.refused(refusal))?;
                Reply::new(StatusCode::CREATED, body).into()
            }
            ServerRoute::WhoAmI => {
                let mut caller = self.caller(place, &head.headers, seen).await?;
                // The engine knows whether it is still so: a kept session may have ended.
                let asked = caller.session.call(Request::GetSettings).await;
                if asked.is_err_and(|error| error.kind() == ErrorKind::Unauthenticated) {
                    self.shared.identities.ended(&caller);
                    place.partition.forget(caller.principal());
                    caller = self.caller(place, &head.headers, seen).await?;
                }
                Reply::new(StatusCode::OK, Identities::who_am_i(&caller)).into()
            }
            ServerRoute::Logout => {
                let caller = self.caller(place, &head.headers, seen).await?;
                shared.identities.logout(&caller).await;
                Outcome::json(StatusCode::NO_CONTENT, Bytes::new())
            }
            ServerRoute::ReadClock => {
                let clock = shared.clock.as_ref().ok_or_else(not_found)?;
                self.caller(place, &head.headers, seen).await?;
                clock.read()
            }
            ServerRoute::AdvanceClock => {
                let clock = shared.clock.as_ref().ok_or_else(not_found)?;
                self.caller(place, &head.headers, seen).await?;
                let scratch = self.read(body, shared.limits.open_body_len).await?;
                clock.answer(&scratch.body, &shared.partitions).await
            }
            _ => return Err(not_found()),
        };
        Ok(outcome.into_answer())
    }

    /// Somebody is not let in.
    fn refused(&self, refusal: Refusal) -> Answer {
        self.shared.metrics.refused(refusal.reason);
        refusal.into_response().map(Full::new)
    }

    /// What is no path of the API may be one of the built-in authority.
    async fn authority(
        &self,
        authority: &Authority,
        head: &Parts,
        body: Incoming,
        misrouted: Misrouted,
    ) -> std::result::Result<Answer, Answer> {
        let scratch = self.read(body, self.shared.limits.open_body_len).await?;
        match authority
            .answer(&head.method, head.uri.path(), &head.headers, &scratch.body)
            .await
        {
            Some(response) => Ok(response.map(Full::new)),
            None => self.misrouted(misrouted),
        }
    }

    fn misrouted(&self, misrouted: Misrouted) -> std::result::Result<Answer, Answer> {
        let outcome = Outcome::from(Reply::misrouted(&misrouted));
        Err(match misrouted {
            Misrouted::Method(allow) => outcome.allow(allow),
            _ => outcome.into_answer(),
        })
    }

    /// Reads a body of at most `max` bytes.
    async fn read(&self, body: Incoming, max: usize) -> std::result::Result<Scratch, Answer> {
        let mut scratch = self.spare.lock().pop().unwrap_or_default();
        if body.is_end_stream() {
            return Ok(scratch);
        }
        let reading = self.fill(body, max, &mut scratch);
        match timeout(self.shared.limits.body_time, reading).await {
            Ok(Ok(())) => Ok(scratch),
            Ok(Err(answer)) => Err(answer),
            Err(_) => Err(Outcome::problem(
                StatusCode::REQUEST_TIMEOUT,
                "RequestTimeout",
                "the body took too long to arrive",
            )
            .into_answer()),
        }
    }

    async fn fill(
        &self,
        mut body: Incoming,
        max: usize,
        scratch: &mut Scratch,
    ) -> std::result::Result<(), Answer> {
        let too_long = || {
            Outcome::problem(
                StatusCode::PAYLOAD_TOO_LARGE,
                "RequestBodyTooLarge",
                &format!("the body has more than {max} bytes"),
            )
            .into_answer()
        };
        let announced = match body.size_hint().exact() {
            Some(len) => Some(usize::try_from(len).map_err(|_| too_long())?),
            None => None,
        };
        if announced.is_some_and(|len| len > max) {
            return Err(too_long());
        }
        scratch.take_room(announced.unwrap_or(0), &self.shared)?;
        while let Some(frame) = body.frame().await {
            let frame = frame.map_err(|_| {
                Outcome::problem(
                    StatusCode::BAD_REQUEST,
                    "BadParameter",
                    "the body ended before its end",
                )
                .into_answer()
            })?;
            let Ok(data) = frame.into_data() else {
                continue;
            };
            let len = scratch.body.len() + data.len();
            if len > max {
                return Err(too_long());
            }
            if len > scratch.body.capacity() {
                // Not announced: twice the room each time, and all that there may be once it is a large body.
                let room = if len * 2 > SMALL_BODY_LEN {
                    max
                } else {
                    len * 2
                };
                scratch.take_room(room, &self.shared)?;
            }
            scratch.body.extend_from_slice(&data);
        }
        Ok(())
    }

    /// Keeps a scratch for the next request, if it is not large.
    fn keep(&self, mut scratch: Scratch) {
        if scratch.body.capacity() <= SMALL_BODY_LEN {
            scratch.body.zeroize();
            scratch.room = None;
            let mut spare = self.spare.lock();
            if spare.len() < SPARE_MAX {
                spare.push(scratch);
            }
        }
    }
}

/// Scratches that a connection keeps.
const SPARE_MAX: usize = 4;

/// Where a request's body is read to and decoded. Wiped on drop.
#[derive(Debug, Default)]
pub(crate) struct Scratch {
    body: Vec<u8>,
    buffers: Buffers,
    /// The part of the room for large bodies that this one takes.
    room: Option<tokio::sync::OwnedSemaphorePermit>,
}

impl Scratch {
    /// Makes room for `len` bytes. What is there moves, and no copy stays behind.
    fn take_room(&mut self, len: usize, shared: &Shared) -> std::result::Result<(), Answer> {
        if len > SMALL_BODY_LEN && self.room.is_none() {
            let kibibytes = u32::try_from(len.div_ceil(1024)).unwrap_or(u32::MAX);
            let room = shared.room.clone().try_acquire_many_owned(kibibytes);
            self.room = Some(room.map_err(|_| {
                Outcome::problem(
                    StatusCode::SERVICE_UNAVAILABLE,
                    "ServiceUnavailable",
                    "the server is reading as many large bodies as it may; try again",
                )
                .retry_after(RETRY_AFTER_BUSY)
                .into_answer()
            })?);
        }
        if len > self.body.capacity() {
            let mut larger = Vec::with_capacity(len);
            larger.extend_from_slice(&self.body);
            self.body.zeroize();
            self.body = larger;
        }
        Ok(())
    }
}

impl Drop for Scratch {
    fn drop(&mut self) {
        self.body.zeroize();
    }
}

/// A request with all that it takes to carry it out.
#[derive(Debug)]
struct Job {
    session: Session,
    place: Arc<Place>,
    route: EngineRoute,
    scratch: Scratch,
    id: RequestId,
    algorithm: Option<Algorithm>,
}

impl Job {
    fn fingerprint(&self, head: &Parts) -> Fingerprint {
        let target = head
            .uri
            .path_and_query()
            .map_or("", |target| target.as_str());
        let mut hash = Sha256::new();
        for part in [
            head.method.as_str().as_bytes(),
            target.as_bytes(),
            &self.scratch.body,
        ] {
            hash.update((part.len() as u64).to_be_bytes());
            hash.update(part);
        }
        hash.finalize().into()
    }

    async fn run(&mut self, shared: &Shared) -> Outcome {
        let result = self.call(shared).await;
        let failure = result.as_ref().err().map(Error::kind);
        Outcome {
            failure,
            ..self.route.reply(result, &self.place.base).into()
        }
    }

    async fn call(&mut self, shared: &Shared) -> Result<Response> {
        let Scratch { body, buffers, .. } = &mut self.scratch;
        let request = self.route.request(body, buffers)?;
        self.algorithm = request.algorithm();
        let partition = self.place.partition.number();
        shared.rates.published(partition, &request)?;
        self.session.call_as(self.id, request).await
    }
}

/// Whether a request may change something. What only uses a key is done at once and by nobody else, and not at all if its
/// client goes away.
fn changes(route: &EngineRoute) -> bool {
    use EngineRoute as R;
    let uses = matches!(
        route,
        R::Sign { .. }
            | R::Verify { .. }
            | R::Encrypt { .. }
            | R::Decrypt { .. }
            | R::Wrap { .. }
            | R::Unwrap { .. }
            | R::Random { .. }
            | R::BackupKey { .. }
            | R::ExportKey { .. }
            | R::Mac { .. }
            | R::VerifyMac { .. }
            | R::Agree { .. }
            | R::Derive { .. }
            | R::Encapsulate { .. }
            | R::Decapsulate { .. }
    );
    !uses && route.endpoint().method != "GET"
}

/// Whether the engine refuses a request as that of nobody not only when its session has ended, but also for a wrong old
/// password. It must not be carried out twice then.
fn is_password_change(route: &EngineRoute) -> bool {
    matches!(route, EngineRoute::ChangePassword { .. })
}

/// That a request is being worked on.
struct Busy<'l>(&'l Line);

impl<'l> Busy<'l> {
    fn new(line: &'l Line, started: Instant) -> Self {
        line.busy.fetch_add(1, Ordering::AcqRel);
        let since = started.duration_since(line.opened).as_millis();
        let since = u64::try_from(since).unwrap_or(NEVER - 1);
        line.last.store(since, Ordering::Release);
        Self(line)
    }
}

impl Drop for Busy<'_> {
    fn drop(&mut self) {
        self.0.busy.fetch_sub(1, Ordering::AcqRel);
    }
}

/// Runs a future; `None` if it panicked.
async fn caught<F: Future>(future: F) -> Option<F::Output> {
    let mut future = std::pin::pin!(future);
    std::future::poll_fn(|context| {
        let polled = AssertUnwindSafe(|| future.as_mut().poll(context));
        match std::panic::catch_unwind(polled) {
            Ok(Poll::Pending) => Poll::Pending,
            Ok(Poll::Ready(output)) => Poll::Ready(Some(output)),
            Err(_) => Poll::Ready(None),
        }
    })
    .await
}

/// Whether text is a host and perhaps a port, and nothing that would be odd in a URL or a header.
fn is_authority(text: &str) -> bool {
    !text.is_empty()
        && text.len() <= 261
        && text
            .bytes()
            .all(|byte| byte.is_ascii_alphanumeric() || b"-._:[]".contains(&byte))
}

/// Waits for what is answered to the first; `None` if that ended without an answer.
async fn repeated(mut answer: watch::Receiver<Option<Outcome>>) -> Option<Outcome> {
    answer.wait_for(Option::is_some).await.ok()?.clone()
}

/// The header `Idempotency-Key`.
fn idempotency_key(headers: &HeaderMap) -> std::result::Result<Option<u128>, Answer> {
    let Some(value) = headers.get(answer::IDEMPOTENCY_KEY) else {
        return Ok(None);
    };
    match answer::parse_uuid(value.as_bytes()) {
        Some(key) => Ok(Some(key)),
        None => Err(Outcome::problem(
            StatusCode::BAD_REQUEST,
            "BadParameter",
            "the header Idempotency-Key is a UUID",
        )
        .into_answer()),
    }
}

fn bad_host(message: &str) -> Answer {
    Outcome::problem(StatusCode::BAD_REQUEST, "BadParameter", message).into_answer()
}

fn not_found() -> Answer {
    Outcome::problem(
        StatusCode::NOT_FOUND,
        "NotFound",
        "there is nothing at this path",
    )
    .into_answer()
}

/// The answer to what made the server panic.
fn mistake() -> Outcome {
    Outcome {
        failure: Some(ErrorKind::Unknown),
        ..Outcome::problem(
            StatusCode::INTERNAL_SERVER_ERROR,
            "InternalServerError",
            "the server has made a mistake; its log has more under the id of the request",
        )
    }
}

fn took_too_long() -> Outcome {
    Outcome {
        failure: Some(ErrorKind::Unknown),
        ..Outcome::problem(
            StatusCode::GATEWAY_TIMEOUT,
            "RequestTimeout",
            "the request took too long; a change may still be carried out",
        )
    }
}
