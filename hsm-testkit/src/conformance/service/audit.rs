//! Every attempt leaves a record, and the records chain.

use std::collections::HashMap;

use hsm_core::audit::{Chain, Entry, OwnedEvent, RequestId, StreamId};
use hsm_core::policy::DataAction;
use hsm_core::{Algorithm, ErrorKind, KeyType, Request, Response};

use super::super::{fails, ok};
use super::*;

const RECORDED: &str = "every attempt leaves a record";

/// The journal comes first, and each stream chains from its beginning, however it is paged.
pub async fn audit_streams_chain(make: impl AsyncFn() -> ServiceUnderTest) {
    let opened = Opened::new(make().await).await;
    let caller = &opened.all;
    caller.create("k", KeyType::EcP256, SIGN).await;
    for _ in 0..5 {
        ok(
            caller.sign(key("k"), Algorithm::Es256, MESSAGE).await,
            "sign",
        );
    }
    let streams = streams(caller).await;
    assert_eq!(streams[0], caller.partition().await.id, "the journal first");
    assert!(streams.len() > 1, "there is a stream of operations");
    let mut records = 0;
    for stream in streams {
        records += events(caller, stream).await.len();
    }
    assert!(records > 8, "only {records} records for all that was done");
}

/// Uses, reads, changes and refusals: each with who, what, which key and how it ended.
pub async fn every_attempt_is_recorded(make: impl AsyncFn() -> ServiceUnderTest) {
    let opened = Opened::new(make().await).await;
    let user = opened.user("nobody").await;
    opened.all.create("k", KeyType::EcP256, SIGN).await;
    let mut expected = Vec::new();
    let mut attempt = async |caller: &Caller, request: Request<'_>, failure| {
        let (id, action) = (next_id(), request.action());
        let (algorithm, target) = (request.algorithm(), request.scope().to_string());
        let result = caller.0.call(id, request).await;
        assert_eq!(result.err().map(|error| error.kind()), failure, "{action}");
        let principal = caller.0.principal().to_string();
        expected.push((id, principal, action, algorithm, target, failure));
    };
    let sign = |of: &str| Request::Sign {
        key: key(of),
        algorithm: Algorithm::Es256,
        input: SignInput::Message(MESSAGE),
    };
    let read = || Request::GetKey { key: key("k") };
    attempt(&opened.all, sign("k"), None).await;
    attempt(&opened.all, read(), None).await;
    attempt(&opened.all, sign("none"), Some(ErrorKind::NotFound)).await;
    attempt(&user, sign("k"), Some(ErrorKind::Denied)).await;
    attempt(&user, read(), Some(ErrorKind::Denied)).await;
    let random = || Request::Random { len: 8 };
    attempt(&opened.all, random(), None).await;
    attempt(&user, random(), Some(ErrorKind::Denied)).await;
    attempt(&opened.all, Request::RotateKey { name: name("k") }, None).await;
    attempt(&opened.all, Request::DeleteKey { name: name("k") }, None).await;
    let again = Request::DeleteKey { name: name("k") };
    attempt(&opened.all, again, Some(ErrorKind::NotFound)).await;

    let mut found: HashMap<RequestId, Vec<OwnedEvent>> = HashMap::new();
    for stream in streams(&opened.all).await {
        for event in events(&opened.all, stream).await {
            found.entry(event.request).or_default().push(event);
        }
    }
    for (id, principal, action, algorithm, target, failure) in expected {
        let clause = format!("{RECORDED}: {principal}, {action}");
        let [event] = found.get(&id).map_or(&[][..], Vec::as_slice) else {
            panic!("{clause}: {:?}", found.get(&id));
        };
        assert_eq!(event.principal, principal, "{clause}");
        assert_eq!(event.action, action, "{clause}");
        assert_eq!(event.target, target, "{clause}");
        assert_eq!(event.failure, failure, "{clause}");
        if failure.is_none() {
            assert_eq!(event.algorithm, algorithm, "{clause}");
        }
    }
}

/// Logins leave records, those that fail as well.
pub async fn logins_are_recorded(make: impl AsyncFn() -> ServiceUnderTest) {
    let opened = Opened::new(make().await).await;
    let failed = opened.login(ADMINISTRATOR, "not the password").await;
    fails(failed.map(drop), &[ErrorKind::Unauthenticated], "log in");
    let mut outcomes = Vec::new();
    for stream in streams(&opened.all).await {
        let events = events(&opened.all, stream).await.into_iter();
        let logins = events.filter(|event| event.action == DataAction::Login);
        outcomes.extend(logins.map(|event| (event.principal.into_owned(), event.failure)));
    }
    let who = ADMINISTRATOR.to_owned();
    let refused = Some(ErrorKind::Unauthenticated);
    assert_eq!(
        outcomes,
        [(who.clone(), None), (who, refused)],
        "{RECORDED}"
    );
}

/// A stream that does not exist is NotFound, and beyond the end of one that does there is nothing.
pub async fn unknown_streams_are_not_found(make: impl AsyncFn() -> ServiceUnderTest) {
    let opened = Opened::new(make().await).await;
    let unknown = read(&opened.all, StreamId::from_bytes([0xee; 16]), 0, 10).await;
    fails(unknown, &[ErrorKind::NotFound], "an unknown stream");
    for stream in streams(&opened.all).await {
        for from in [1 << 40, u64::MAX] {
            let beyond = read(&opened.all, stream, from, 10).await;
            let Response::AuditRecords(frames) = ok(beyond, "beyond the end") else {
                panic!("expected audit records");
            };
            assert!(frames.is_empty(), "there is nothing beyond the end");
        }
    }
}

async fn streams(caller: &Caller) -> Vec<StreamId> {
    match ok(caller.call(Request::ListAuditStreams).await, "list streams") {
        Response::AuditStreams(streams) => streams,
        other => unexpected("audit streams", &other),
    }
}

async fn read(caller: &Caller, stream: StreamId, from: u64, limit: usize) -> Result<Response> {
    let request = Request::ReadAudit {
        stream,
        from,
        limit,
    };
    caller.call(request).await
}

/// The events of a stream, read in small pages and followed from the beginning. Reading makes records as well, so the
/// end is where it was at the beginning.
async fn events(caller: &Caller, stream: StreamId) -> Vec<OwnedEvent> {
    let mut chain = Chain::new(stream);
    let mut events = Vec::new();
    for limit in [3, 1000] {
        let from = chain.head().records;
        let answer = read(caller, stream, from, limit).await;
        let Response::AuditRecords(frames) = ok(answer, "read a stream") else {
            panic!("expected audit records");
        };
        assert!(frames.len() <= limit, "at most as many as were asked for");
        for frame in &frames {
            let entry = ok(chain.follow(frame), "the records of a stream chain");
            if let Entry::Event(event) = entry {
                events.push(event.into_owned());
            }
        }
    }
    events
}
