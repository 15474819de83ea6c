//! Promise: an appended audit record survives `kill -9`; streams whose process died are found, once; what is torn,
//! missing or changed is put aside or named, and the rest verifies.
#![expect(clippy::unwrap_used, reason = "helpers of tests are tests")]

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use hsm_core::audit::{
    AuditSink, ChainHead, Event, Flaw, RequestId, StreamId, StreamVerifier, Verified, verify_stream,
};
use hsm_core::policy::DataAction;
use hsm_core::{ErrorKind, KeyType, PublicKey, Timestamp};
use hsm_store::{AuditLog, read_stream_files};
use hsm_testkit::ManualClock;
use hsm_testkit::process::{self, Child};

#[test]
fn every_appended_record_survives_kill_9() {
    let folder = tempfile::tempdir().unwrap();
    let mut appended = 0;
    for round in 1..=kills() {
        let mut child = Child::start("append_until_killed", &[folder.path().to_str().unwrap()]);
        let mut last = 0;
        for _ in 0..round % 50 + 1 {
            last = child.report().unwrap().parse().unwrap();
        }
        if let Some(more) = child.kill().last() {
            last = more.parse().unwrap();
        }
        // Records are numbered from 1 by each process.
        appended += last;

        let log = open(folder.path());
        let abandoned = log.abandoned().unwrap();
        assert!(!abandoned.is_empty());
        let records: u64 = abandoned.iter().map(|head| head.records).sum();
        assert!(
            records == last || records == last + 1,
            "round {round}: {last} acknowledged, {records} there"
        );
        for head in abandoned.iter().filter(|head| head.records > 0) {
            assert_eq!(verify(folder.path(), head.stream).unwrap().head, *head);
        }
        log.close().unwrap();
    }
    let total: u64 = verify_all(folder.path())
        .iter()
        .map(|it| it.head.records)
        .sum();
    assert!((appended..=appended + kills()).contains(&total));
}

#[test]
#[ignore = "a role for the process that is killed"]
fn append_until_killed() {
    let Some(arguments) = process::arguments() else {
        return;
    };
    let log = open(Path::new(&arguments[0]));
    for number in 1.. {
        log.append(&event(number)).unwrap();
        process::report(number);
    }
}

#[test]
fn abandoned_streams_are_told_to_one_until_it_closes() {
    let folder = tempfile::tempdir().unwrap();
    let dead = open(folder.path());
    dead.append(&event(1)).unwrap();
    let alive = open(folder.path());
    assert!(alive.abandoned().unwrap().is_empty(), "it lives");
    let heads = dead.heads();
    drop(dead);

    let told = alive.abandoned().unwrap();
    assert_eq!(told, heads, "also those without records");
    assert!(alive.abandoned().unwrap().is_empty(), "told before");
    let other = open(folder.path());
    assert!(other.abandoned().unwrap().is_empty(), "told to another");

    // Who was told dies as well: it may not have passed it on.
    let alive_heads = alive.heads();
    drop(alive);
    let mut retold = other.abandoned().unwrap();
    let mut expected = [heads, alive_heads].concat();
    expected.sort_by_key(|head| head.stream);
    retold.sort_by_key(|head| head.stream);
    assert_eq!(retold, expected);

    other.close().unwrap();
    assert!(open(folder.path()).abandoned().unwrap().is_empty());
}

#[test]
fn a_closed_log_is_not_abandoned() {
    let folder = tempfile::tempdir().unwrap();
    let log = open(folder.path());
    log.append(&event(1)).unwrap();
    log.close().unwrap();
    drop(log);
    assert!(open(folder.path()).abandoned().unwrap().is_empty());
    let verified = verify_all(folder.path());
    assert_eq!(verified.len(), 1);
    assert!(verified[0].closed);
}

#[test]
fn a_torn_tail_is_put_aside_and_the_rest_verifies() {
    // What was written to where the next frame begins when the process or the power went.
    let body_without_length: &[u8] = &[0, 0, 0, 0, 7, 7, 7, 7];
    let length_without_body: &[u8] = &[40, 0, 0, 0];
    let impossible_length: &[u8] = &[0xff; 8];
    for tail in [body_without_length, length_without_body, impossible_length] {
        let folder = tempfile::tempdir().unwrap();
        let head = abandon(folder.path(), 5);
        let segment = segments(folder.path()).remove(0);
        let mut bytes = fs::read(&segment).unwrap();
        let used = bytes.iter().rposition(|byte| *byte != 0).unwrap() + 1;
        bytes[used..used + tail.len()].copy_from_slice(tail);
        fs::write(&segment, bytes).unwrap();

        let log = open(folder.path());
        let heads = log.abandoned().unwrap();
        assert!(heads.contains(&head));
        assert_eq!(verify(folder.path(), head.stream).unwrap().head, head);
        assert_eq!(fs::metadata(&segment).unwrap().len(), used as u64);
        let kept = fs::read(segment.with_extension("log.torn")).unwrap();
        assert!(tail.starts_with(&kept), "{kept:?}");
    }
}

#[test]
fn a_changed_record_ends_what_is_recovered_and_is_kept() {
    let folder = tempfile::tempdir().unwrap();
    let head = abandon(folder.path(), 5);
    let segment = segments(folder.path()).remove(0);
    let mut bytes = fs::read(&segment).unwrap();
    let frame = bytes
        .iter()
        .rposition(|byte| *byte != 0)
        .unwrap()
        .div_ceil(5);
    bytes[frame * 2 + 20] ^= 1;
    fs::write(&segment, &bytes).unwrap();
    let flaw = verify(folder.path(), head.stream).unwrap_err();
    assert_eq!(flaw.record, 2);

    let heads = open(folder.path()).abandoned().unwrap();
    let recovered = heads.iter().find(|it| it.stream == head.stream).unwrap();
    assert_eq!(recovered.records, 2);
    let mut together = fs::read(&segment).unwrap();
    together.extend(fs::read(segment.with_extension("log.torn")).unwrap());
    assert_eq!(together, bytes[..together.len()]);
    assert!(bytes[together.len()..].iter().all(|byte| *byte == 0));
}

#[test]
fn a_stream_goes_on_in_new_files_and_a_missing_one_is_named() {
    let folder = tempfile::tempdir().unwrap();
    let log = open(folder.path());
    let count = 60_000;
    for number in 0..count {
        log.append(&event(number)).unwrap();
        if number % 10_000 == 0 {
            log.sync().unwrap();
        }
    }
    let head = used_head(&log);
    let files = segments(folder.path());
    assert_eq!(files.len(), 3, "64 KiB, 4 MiB, and the rest");
    assert!(fs::metadata(&files[1]).unwrap().len() <= 4 << 20);
    assert_eq!(verify(folder.path(), head.stream).unwrap().head, head);

    // Reading finds its way to the middle.
    let frames = log.read(head.stream, count - 3, 9).unwrap();
    assert_eq!(frames.len(), 3);
    assert_eq!(frames[2].hash(), &head.hash);
    log.close().unwrap();
    let verified = verify(folder.path(), head.stream).unwrap();
    assert!(verified.closed && verified.head.records == count + 1);

    for missing in 0..2 {
        let hidden = folder.path().join("hidden");
        fs::rename(&files[missing], &hidden).unwrap();
        let flaw = verify(folder.path(), head.stream).unwrap_err();
        let next = files[missing + 1].file_name().unwrap().to_str().unwrap();
        assert!(flaw.reason.contains(next), "{flaw}");
        assert!(
            flaw.reason
                .contains(&format!("record {} is missing", flaw.record))
        );
        let error = log.read(head.stream, flaw.record, 9).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::AuditFailed);
        fs::rename(&hidden, &files[missing]).unwrap();
    }
    // Without its last file the stream is shorter and lacks its end.
    fs::remove_file(&files[2]).unwrap();
    let verified = verify(folder.path(), head.stream).unwrap();
    assert!(!verified.closed && verified.head.records < count);
}

#[test]
fn damage_is_named_by_file() {
    let folder = tempfile::tempdir().unwrap();
    let head = abandon(folder.path(), 5);
    let segment = segments(folder.path()).remove(0);
    let mut bytes = fs::read(&segment).unwrap();
    bytes[3] = 0xff;
    fs::write(&segment, bytes).unwrap();
    let flaw = verify(folder.path(), head.stream).unwrap_err();
    let name = segment.file_name().unwrap().to_str().unwrap();
    assert!(flaw.record == 0 && flaw.reason.contains(name), "{flaw}");
}

#[test]
fn a_new_file_that_cannot_be_made_fails_the_append_and_changes_nothing() {
    let folder = tempfile::tempdir().unwrap();
    let log = open(folder.path());
    log.append(&event(0)).unwrap();
    let stream = used_head(&log).stream;
    // Something stands where each next file may begin.
    let obstacle = |record: u64| folder.path().join(format!("{stream}-{record:012}.log"));
    for record in 1..5000 {
        fs::create_dir(obstacle(record)).unwrap();
    }
    let mut appended = 1;
    let error = loop {
        match log.append(&event(appended)) {
            Ok(()) => appended += 1,
            Err(error) => break error,
        }
    };
    assert_eq!(error.kind(), ErrorKind::AuditFailed);
    assert_eq!(used_head(&log).records, appended);
    assert!(log.append(&event(appended)).is_err());
    for record in 1..5000 {
        fs::remove_dir(obstacle(record)).unwrap();
    }
    log.append(&event(appended)).unwrap();
    let verified = verify(folder.path(), stream).unwrap();
    assert_eq!(verified.head, used_head(&log));
    assert_eq!(verified.head.records, appended + 1);
}

fn open(folder: &Path) -> AuditLog {
    AuditLog::open(folder, Arc::new(ManualClock::default())).unwrap()
}

fn event(number: u64) -> Event<'static> {
    Event {
        time: Timestamp::from_unix_seconds(1_700_000_000),
        request: RequestId::from_u128(u128::from(number) | 1 << 127),
        principal: "app".into(),
        action: DataAction::KeySign,
        target: "/keys/payments".into(),
        version: None,
        algorithm: None,
        failure: None,
        detail: "".into(),
    }
}

/// Leaves one stream with `records` records, as a process does that dies.
fn abandon(folder: &Path, records: u64) -> ChainHead {
    let log = open(folder);
    for number in 0..records {
        log.append(&event(number)).unwrap();
    }
    used_head(&log)
}

/// The head of the one stream that this thread has written.
fn used_head(log: &AuditLog) -> ChainHead {
    let used: Vec<_> = log
        .heads()
        .into_iter()
        .filter(|head| head.records > 0)
        .collect();
    assert_eq!(used.len(), 1);
    used[0]
}

fn segments(folder: &Path) -> Vec<PathBuf> {
    let mut segments: Vec<_> = fs::read_dir(folder)
        .unwrap()
        .map(|file| file.unwrap().path())
        .filter(|path| path.extension().is_some_and(|extension| extension == "log"))
        .collect();
    segments.sort();
    segments
}

fn verify(folder: &Path, stream: StreamId) -> Result<Verified, Flaw> {
    let files: BTreeMap<_, _> = read_stream_files(folder)
        .unwrap()
        .into_iter()
        .map(|files| (files.id(), files))
        .collect();
    verify_stream(
        StreamVerifier::new(stream, &any_key()),
        files[&stream].frames(),
        |_, _| (),
    )
}

fn verify_all(folder: &Path) -> Vec<Verified> {
    read_stream_files(folder)
        .unwrap()
        .iter()
        .map(|files| {
            verify_stream(
                StreamVerifier::new(files.id(), &any_key()),
                files.frames(),
                |_, _| (),
            )
            .unwrap()
        })
        .collect()
}

/// These streams have no checkpoints, so any key will do: the base point of P-256.
fn any_key() -> PublicKey {
    let hex = "046b17d1f2e12c4247f8bce6e563a440f277037d812deb33a0f4a13945d898c296\
               4fe342e2fe1a7f9b8ee7eb4a7c0f9e162bce33576b315ececbb6406837bf51f5";
    let point = (0..65)
        .map(|at| u8::from_str_radix(&hex[2 * at..2 * at + 2], 16).unwrap())
        .collect::<Vec<_>>();
    PublicKey::from_raw(KeyType::EcP256, point).unwrap()
}

fn kills() -> u64 {
    std::env::var("HSM_STORE_KILLS").map_or(200, |text| text.parse().unwrap())
}
