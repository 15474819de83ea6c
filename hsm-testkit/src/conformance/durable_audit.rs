//! What the [`AuditSink`] contract says of what outlives the sink.
//!
//! A second opening while the first is still open sees what another process would, or what is there after `kill -9`:
//! nothing that the first still holds in its memory.

use std::collections::BTreeSet;

use hsm_core::audit::{AuditSink, ChainHead};

use super::audit::{event, follow, only_event};
use super::ok;
use crate::Reopen;

const SURVIVES: &str = "when append returns Ok, the record survives kill -9";
const LEFT: &str = "streams that ended without a close are told to one, once";
const OWN: &str = "each opener writes streams of its own";

/// What was acknowledged is there for whoever opens the log next, whether or not it was synced or closed.
pub async fn acknowledged_events_survive(make: impl Fn() -> Reopen<dyn AuditSink>) {
    let place = make();
    let sink = place.open();
    for at in 0..20 {
        ok(sink.append(&event(at)), SURVIVES);
        expect_events(&place.open(), &sink.heads(), at);
    }
    let heads = sink.heads();
    drop(sink);
    expect_events(&place.open(), &heads, 19);
}

fn expect_events(sink: &dyn AuditSink, heads: &[ChainHead], last: u32) {
    let streams = ok(sink.streams(), "list the streams");
    let mut found = Vec::new();
    for head in heads.iter().filter(|head| head.records > 0) {
        let there = streams.contains(&head.stream);
        assert!(there, "{SURVIVES}: stream {} is not there", head.stream);
        let entries = follow(sink, *head);
        found.extend(entries.into_iter().filter_map(only_event));
    }
    found.sort_by_key(|event| event.request);
    let expected: Vec<_> = (0..=last).map(event).collect();
    assert_eq!(found, expected, "{SURVIVES}");
}

/// Streams whose sink is gone without an end are told with their heads: to the first who asks, and once.
pub async fn streams_left_behind_are_told_once(make: impl Fn() -> Reopen<dyn AuditSink>) {
    let place = make();
    let sink = place.open();
    ok(sink.append(&event(0)), SURVIVES);
    let heads = sink.heads();
    let alive = place.open();
    assert_eq!(ok(alive.abandoned(), LEFT), [], "{LEFT}: its sink lives");
    drop(sink);
    let told = ok(alive.abandoned(), LEFT);
    for head in heads.iter().filter(|head| head.records > 0) {
        assert!(
            told.contains(head),
            "{LEFT}: {head:?} is not among {told:?}"
        );
    }
    assert_eq!(ok(alive.abandoned(), LEFT), [], "{LEFT}: told twice");
    assert_eq!(
        ok(place.open().abandoned(), LEFT),
        [],
        "{LEFT}: told to two"
    );
}

/// A stream that was closed has its end, can be read, and is nobody's to report.
pub async fn closed_streams_are_not_left_behind(make: impl Fn() -> Reopen<dyn AuditSink>) {
    let place = make();
    let sink = place.open();
    ok(sink.append(&event(0)), SURVIVES);
    ok(sink.close(), "close");
    let heads = sink.heads();
    drop(sink);
    let next = place.open();
    let clause = "a closed stream is not abandoned";
    assert_eq!(ok(next.abandoned(), clause), [], "{clause}");
    expect_events(&next, &heads, 0);
}

/// Openers never write into each other's streams.
pub async fn openers_write_their_own_streams(make: impl Fn() -> Reopen<dyn AuditSink>) {
    let place = make();
    let mut seen = BTreeSet::new();
    let mut alive = Vec::new();
    for at in 0..4 {
        let sink = place.open();
        ok(sink.append(&event(at)), SURVIVES);
        for head in sink.heads() {
            assert!(
                seen.insert(head.stream),
                "{OWN}: {} is written twice",
                head.stream
            );
        }
        // Some of the sinks before it live on, others are gone.
        if at % 2 == 0 {
            alive.push(sink);
        }
    }
}
