//! The cases of the [`AuditSink`] contract.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Barrier;
use std::thread;

use hsm_core::audit::{
    AuditSink, Chain, ChainHead, Checkpoint, Entry, Event, Frame, OwnedEvent, RequestId, StreamId,
};
use hsm_core::limits::AUDIT_RECORD_LEN_MAX;
use hsm_core::policy::DataAction;
use hsm_core::{Algorithm, ErrorKind, Timestamp, VersionId};

use super::{fails, join, ok};

const KEPT: &str = "what append acknowledged can be read back, in order";
const CHAINS: &str = "each stream is one chain";
const NOTHING: &str = "when append fails, nothing was appended";
const CURRENT: &str = "a checkpoint is of the current head, or it is a Conflict";
const THREADS: usize = 8;
const EVENTS: u32 = 200;

/// A new sink has streams of its own, all empty.
pub async fn a_fresh_sink_is_empty<A: AuditSink>(make: impl Fn() -> A) {
    let sink = make();
    let heads = sink.heads();
    assert!(!heads.is_empty(), "a sink writes at least one stream");
    let ids: BTreeSet<_> = heads.iter().map(|head| head.stream).collect();
    assert_eq!(ids.len(), heads.len(), "streams have different ids");
    for head in heads {
        assert_eq!(head, Chain::new(head.stream).head(), "a new stream");
        let frames = sink.read(head.stream, 0, 10);
        assert_eq!(ok(frames, "read an empty stream"), []);
    }
}

/// Events come back as they were appended, in order, and chain.
pub async fn events_come_back_in_order<A: AuditSink>(make: impl Fn() -> A) {
    let sink = make();
    let appended: Vec<_> = (0..EVENTS).map(event).collect();
    for event in &appended {
        ok(sink.append(event), KEPT);
    }
    let mut found = Vec::new();
    for head in sink.heads() {
        let entries = follow(&sink, head);
        found.extend(entries.into_iter().filter_map(only_event));
    }
    // One thread keeps to one stream unless another is in it; if it does not, the request ids give the order.
    found.sort_by_key(|event| event.request);
    assert_eq!(found, appended, "{KEPT}");
}

/// The heads say how many records there are, in the same order each time.
pub async fn heads_count_the_records<A: AuditSink>(make: impl Fn() -> A) {
    let sink = make();
    let order: Vec<_> = sink.heads().iter().map(|head| head.stream).collect();
    for at in 0..20 {
        ok(sink.append(&event(at)), KEPT);
        let heads = sink.heads();
        let records: u64 = heads.iter().map(|head| head.records).sum();
        assert_eq!(records, u64::from(at) + 1, "heads count the records");
        let streams: Vec<_> = heads.iter().map(|head| head.stream).collect();
        assert_eq!(streams, order, "heads come in a fixed order");
    }
}

/// A part of a stream is that part.
pub async fn parts_of_a_stream_can_be_read<A: AuditSink>(make: impl Fn() -> A) {
    let sink = make();
    for at in 0..20 {
        ok(sink.append(&event(at)), KEPT);
    }
    for head in sink.heads() {
        let all = ok(sink.read(head.stream, 0, 1000), KEPT);
        assert_eq!(all.len() as u64, head.records, "{KEPT}");
        for from in 0..=all.len() + 1 {
            for limit in [0, 1, 3, all.len()] {
                let part = sink.read(head.stream, from as u64, limit);
                let expected: Vec<_> = all.iter().skip(from).take(limit).cloned().collect();
                assert_eq!(ok(part, KEPT), expected, "{limit} from {from}");
            }
        }
        let beyond = ok(sink.read(head.stream, u64::MAX, 10), "beyond the end");
        assert_eq!(beyond, []);
    }
    let unknown = sink.read(StreamId::from_bytes([0xee; 16]), 0, 1);
    fails(
        unknown,
        &[ErrorKind::NotFound],
        "a stream that does not exist",
    );
}

/// Streams with records are listed.
pub async fn streams_are_listed<A: AuditSink>(make: impl Fn() -> A) {
    let sink = make();
    for at in 0..20 {
        ok(sink.append(&event(at)), KEPT);
    }
    ok(sink.sync(), "sync");
    let streams = ok(sink.streams(), "list the streams");
    let different: BTreeSet<_> = streams.iter().collect();
    assert_eq!(different.len(), streams.len(), "a stream is listed once");
    for head in sink.heads().iter().filter(|head| head.records > 0) {
        let listed = streams.contains(&head.stream);
        assert!(
            listed,
            "stream {} has records and is not listed",
            head.stream
        );
    }
}

/// A checkpoint goes onto the head that it signs, or nowhere.
pub async fn checkpoints_are_of_the_current_head<A: AuditSink>(make: impl Fn() -> A) {
    let sink = make();
    ok(sink.append(&event(0)), KEPT);
    let head = current(&sink);
    ok(sink.checkpoint(&checkpoint(head)), "sign the current head");
    let after = head_of(&sink, head.stream);
    assert_eq!(after.records, head.records + 1, "a checkpoint is a record");
    let entries = follow(&sink, after);
    assert_eq!(
        entries.last(),
        Some(&Entry::Checkpoint(checkpoint(head))),
        "{KEPT}"
    );

    let mut other_hash = after;
    other_hash.hash[0] ^= 1;
    let mut longer = after;
    longer.records += 1;
    for stale in [head, other_hash, longer] {
        let signed = sink.checkpoint(&checkpoint(stale));
        fails(signed, &[ErrorKind::Conflict], CURRENT);
    }
    let mut stranger = after;
    stranger.stream = StreamId::from_bytes([0xee; 16]);
    let signed = sink.checkpoint(&checkpoint(stranger));
    let kinds = &[ErrorKind::AuditFailed, ErrorKind::NotFound];
    fails(signed, kinds, "a checkpoint of a stream of others");
    assert_eq!(head_of(&sink, head.stream), after, "{NOTHING}");
}

/// Closed streams end with their end, and nothing comes after.
pub async fn closing_ends_the_streams<A: AuditSink>(make: impl Fn() -> A) {
    let sink = make();
    ok(sink.append(&event(0)), KEPT);
    let used = current(&sink);
    ok(sink.close(), "close");
    let ended = head_of(&sink, used.stream);
    let entries = follow(&sink, ended);
    assert!(
        matches!(entries.last(), Some(Entry::Closed { .. })),
        "a closed stream ends with its end, not with {:?}",
        entries.last()
    );
    let clause = "nothing can be appended after close";
    fails(sink.append(&event(1)), &[ErrorKind::AuditFailed], clause);
    let signed = sink.checkpoint(&checkpoint(ended));
    fails(signed, &[ErrorKind::AuditFailed], clause);
    assert_eq!(head_of(&sink, used.stream), ended, "{NOTHING}");
    let frames = ok(sink.read(used.stream, 0, 10), "a closed stream can be read");
    assert_eq!(frames.len() as u64, ended.records);
}

/// Threads that append at once lose nothing, and each stream still chains.
pub async fn threads_append_at_once<A: AuditSink>(make: impl Fn() -> A) {
    let sink = make();
    let barrier = Barrier::new(THREADS);
    thread::scope(|scope| {
        let threads = (0..THREADS).map(|thread| {
            let (sink, barrier) = (&sink, &barrier);
            scope.spawn(move || {
                barrier.wait();
                for at in 0..EVENTS {
                    let number = u32::try_from(thread).unwrap_or_default() * EVENTS + at;
                    ok(sink.append(&event(number)), KEPT);
                    if at % 50 == 7 {
                        // Others append meanwhile: it may be stale, and must not break the chain.
                        let signed = sink.checkpoint(&checkpoint(current(sink)));
                        if signed.is_err() {
                            fails(signed, &[ErrorKind::Conflict], CURRENT);
                        }
                    }
                }
            })
        });
        join(threads.collect());
    });
    let mut found = BTreeMap::new();
    for head in sink.heads() {
        for event in follow(&sink, head).into_iter().filter_map(only_event) {
            let twice = found.insert(event.request, event);
            assert!(twice.is_none(), "an event was appended twice: {twice:?}");
        }
    }
    let expected: BTreeMap<_, _> = (0..u32::try_from(THREADS).unwrap_or_default() * EVENTS)
        .map(|at| (event(at).request, event(at)))
        .collect();
    assert_eq!(found.len(), expected.len(), "{KEPT}");
    assert_eq!(found, expected, "{KEPT}");
}

/// An event beyond the limit is refused, and leaves no trace.
pub async fn oversize_events_are_refused<A: AuditSink>(make: impl Fn() -> A) {
    let sink = make();
    ok(sink.append(&event(0)), KEPT);
    let before = sink.heads();
    for len in [AUDIT_RECORD_LEN_MAX + 1, 1 << 20] {
        let mut large = event(1);
        large.detail = "x".repeat(len).into();
        let kinds = &[ErrorKind::AuditFailed, ErrorKind::LimitExceeded];
        fails(
            sink.append(&large),
            kinds,
            format!("an event of {len} bytes"),
        );
        assert_eq!(sink.heads(), before, "{NOTHING}");
    }
    ok(sink.append(&event(2)), "the sink goes on");
    let mut found = Vec::new();
    for head in sink.heads() {
        let entries = follow(&sink, head);
        found.extend(entries.into_iter().filter_map(only_event));
    }
    found.sort_by_key(|event| event.request);
    assert_eq!(found, [event(0), event(2)], "{NOTHING}");
}

/// Nobody is told that streams which are being written were left behind.
pub async fn open_streams_are_not_abandoned<A: AuditSink>(make: impl Fn() -> A) {
    let sink = make();
    ok(sink.append(&event(0)), KEPT);
    assert_eq!(ok(sink.abandoned(), "ask for abandoned streams"), []);
    ok(sink.append(&event(1)), "the sink goes on");
}

/// The entries of a stream, which must chain up to `head`.
pub(super) fn follow(sink: &dyn AuditSink, head: ChainHead) -> Vec<Entry<'static>> {
    let mut chain = Chain::new(head.stream);
    let mut entries = Vec::new();
    while chain.head().records < head.records {
        let frames = ok(sink.read(head.stream, chain.head().records, 100), KEPT);
        assert!(!frames.is_empty(), "{KEPT}: the stream ends too early");
        for frame in &frames {
            entries.push(follow_one(&mut chain, frame));
        }
    }
    assert_eq!(chain.head(), head, "{CHAINS}");
    entries
}

fn follow_one(chain: &mut Chain, frame: &Frame) -> Entry<'static> {
    match ok(chain.follow(frame), CHAINS) {
        Entry::Event(event) => Entry::Event(event.into_owned()),
        Entry::Checkpoint(checkpoint) => Entry::Checkpoint(checkpoint),
        Entry::Closed { time } => Entry::Closed { time },
        other => panic!("a sink makes no such record: {other:?}"),
    }
}

pub(super) fn only_event(entry: Entry<'static>) -> Option<OwnedEvent> {
    match entry {
        Entry::Event(event) => Some(event),
        _ => None,
    }
}

/// The head of a stream that was written.
fn current(sink: &dyn AuditSink) -> ChainHead {
    let heads = sink.heads().into_iter();
    let used = heads.max_by_key(|head| head.records);
    used.expect("a sink writes at least one stream")
}

fn head_of(sink: &dyn AuditSink, stream: StreamId) -> ChainHead {
    let mut heads = sink.heads().into_iter();
    let found = heads.find(|head| head.stream == stream);
    found.expect("a sink keeps its streams")
}

fn checkpoint(head: ChainHead) -> Checkpoint {
    Checkpoint {
        head,
        time: Timestamp::from_unix_seconds(1_767_225_600),
        signature: vec![7; 64],
    }
}

pub(super) fn event(at: u32) -> OwnedEvent {
    Event {
        time: Timestamp::from_unix_millis(1_767_225_600_000 + u64::from(at)),
        request: RequestId::from_u128(at.into()),
        principal: "application".into(),
        action: DataAction::KeySign,
        target: format!("/keys/key-{at}").into(),
        version: at.is_multiple_of(2).then(|| VersionId::from_bytes([7; 16])),
        algorithm: Some(Algorithm::Es256),
        failure: at.is_multiple_of(3).then_some(ErrorKind::Denied),
        detail: "".into(),
    }
}
