//! Promise: an `AuditLog` does what the contract of `AuditSink` says, in a folder and in memory.
#![expect(clippy::unwrap_used, reason = "helpers of tests are tests")]

use std::sync::Arc;

use hsm_core::audit::{AuditSink, Chain, ChainHead, Checkpoint, Entry, Event, RequestId, StreamId};
use hsm_core::policy::DataAction;
use hsm_core::{Clock, ErrorKind, Timestamp};
use hsm_store::{AuditLog, read_stream_files};
use hsm_testkit::ManualClock;

fn event(number: u64) -> Event<'static> {
    Event {
        time: Timestamp::from_unix_seconds(number),
        request: RequestId::from_u128(number.into()),
        principal: "app".into(),
        action: DataAction::KeySign,
        target: "/keys/payments".into(),
        version: None,
        algorithm: None,
        failure: None,
        detail: "".into(),
    }
}

fn logs() -> Vec<(Option<tempfile::TempDir>, AuditLog)> {
    let folder = tempfile::tempdir().unwrap();
    let in_folder = AuditLog::open(
        folder.path().join("audit"),
        Arc::new(ManualClock::default()),
    )
    .unwrap();
    vec![
        (Some(folder), in_folder),
        (
            None,
            AuditLog::in_memory(Arc::new(ManualClock::default())).unwrap(),
        ),
    ]
}

/// Follows every stream from its first record; returns the heads and the events' times in seconds.
fn follow(log: &AuditLog) -> (Vec<ChainHead>, Vec<u64>) {
    let mut heads = Vec::new();
    let mut seconds = Vec::new();
    for stream in log.streams().unwrap() {
        let mut chain = Chain::new(stream);
        for frame in log.read(stream, 0, usize::MAX).unwrap() {
            if let Entry::Event(event) = chain.follow(&frame).unwrap() {
                seconds.push(event.time.unix_seconds());
            }
        }
        heads.push(chain.head());
    }
    seconds.sort_unstable();
    (heads, seconds)
}

#[test]
fn every_record_is_read_back_in_a_whole_chain() {
    for (_folder, log) in logs() {
        for number in 0..100 {
            log.append(&event(number)).unwrap();
        }
        let (heads, seconds) = follow(&log);
        assert_eq!(seconds, (0..100).collect::<Vec<_>>());
        let written: Vec<_> = log
            .heads()
            .into_iter()
            .filter(|head| head.records > 0)
            .collect();
        assert_eq!(heads, written);
    }
}

#[test]
fn threads_write_whole_chains() {
    for (_folder, log) in logs() {
        std::thread::scope(|scope| {
            for thread in 0..4 {
                let log = &log;
                scope.spawn(move || {
                    for number in 0..500 {
                        log.append(&event(thread * 500 + number)).unwrap();
                    }
                });
            }
        });
        assert_eq!(follow(&log).1, (0..2000).collect::<Vec<_>>());
    }
}

#[test]
fn reading_starts_and_stops_where_it_is_told() {
    for (_folder, log) in logs() {
        for number in 0..10 {
            log.append(&event(number)).unwrap();
        }
        let stream = log.streams().unwrap()[0];
        let all = log.read(stream, 0, usize::MAX).unwrap();
        assert_eq!(log.read(stream, 3, 4).unwrap(), all[3..7]);
        assert!(log.read(stream, 10, 4).unwrap().is_empty());
        assert!(log.read(stream, 99, 4).unwrap().is_empty());
        let unknown = log.read(StreamId::from_bytes([1; 16]), 0, 1);
        assert_eq!(unknown.unwrap_err().kind(), ErrorKind::NotFound);
    }
}

#[test]
fn a_stream_without_records_reads_as_empty() {
    for (_folder, log) in logs() {
        assert!(log.streams().unwrap().is_empty());
        let head = log.heads()[0];
        assert_eq!(head, Chain::new(head.stream).head());
        assert!(log.read(head.stream, 0, 9).unwrap().is_empty());
    }
}

#[test]
fn a_checkpoint_stands_right_after_the_head_it_names() {
    for (_folder, log) in logs() {
        log.append(&event(0)).unwrap();
        let find_head = || *log.heads().iter().find(|head| head.records > 0).unwrap();
        let head = find_head();
        let checkpoint = |head| Checkpoint {
            head,
            time: Timestamp::default(),
            signature: vec![1; 64],
        };
        log.append(&event(1)).unwrap();
        let late = log.checkpoint(&checkpoint(head)).unwrap_err();
        assert_eq!(late.kind(), ErrorKind::Conflict);
        let head = find_head();
        log.checkpoint(&checkpoint(head)).unwrap();
        let frames = log.read(head.stream, head.records, 9).unwrap();
        assert_eq!(frames.len(), 1);
        assert_eq!(
            frames[0].decode().unwrap(),
            Entry::Checkpoint(checkpoint(head))
        );
        let other = ChainHead {
            stream: StreamId::from_bytes([1; 16]),
            ..head
        };
        let foreign = log.checkpoint(&checkpoint(other)).unwrap_err();
        assert_eq!(foreign.kind(), ErrorKind::AuditFailed);
    }
}

#[test]
fn a_closed_log_ends_with_the_time_and_takes_nothing_more() {
    for (folder, log) in logs() {
        log.append(&event(0)).unwrap();
        log.close().unwrap();
        log.close().unwrap();
        assert_eq!(
            log.append(&event(1)).unwrap_err().kind(),
            ErrorKind::AuditFailed
        );
        let stream = log.streams().unwrap()[0];
        let frames = log.read(stream, 0, 9).unwrap();
        assert_eq!(frames.len(), 2);
        let time = ManualClock::default().now();
        assert_eq!(frames[1].decode().unwrap(), Entry::Closed { time });
        if let Some(folder) = folder {
            let audit = folder.path().join("audit");
            let names: Vec<_> = std::fs::read_dir(&audit)
                .unwrap()
                .map(|file| file.unwrap().file_name().into_string().unwrap())
                .collect();
            assert_eq!(names, [format!("{stream}-000000000000.log")]);
            let bytes: Vec<u8> = frames.iter().flat_map(|frame| frame.to_bytes()).collect();
            assert_eq!(std::fs::read(audit.join(&names[0])).unwrap(), bytes);
        }
    }
}

#[test]
fn a_record_that_is_too_long_is_refused_and_the_chain_goes_on() {
    for (_folder, log) in logs() {
        log.append(&event(0)).unwrap();
        let long = Event {
            detail: "x".repeat(2000).into(),
            ..event(1)
        };
        let refused = log.append(&long).unwrap_err();
        assert_eq!(refused.kind(), ErrorKind::AuditFailed);
        log.append(&event(2)).unwrap();
        assert_eq!(follow(&log).1, [0, 2]);
    }
}

#[test]
fn other_openers_streams_are_read_while_they_are_written() {
    let folder = tempfile::tempdir().unwrap();
    let one = AuditLog::open(folder.path(), Arc::new(ManualClock::default())).unwrap();
    let two = AuditLog::open(folder.path(), Arc::new(ManualClock::default())).unwrap();
    one.append(&event(1)).unwrap();
    two.append(&event(2)).unwrap();
    assert_eq!(follow(&one).1, [1, 2]);
    one.append(&event(3)).unwrap();
    assert_eq!(follow(&two).1, [1, 2, 3]);
    assert_eq!(read_stream_files(folder.path()).unwrap().len(), 2);
}
