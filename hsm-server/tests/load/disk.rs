//! A disk that is full under load: what cannot be kept or audited is refused and has not happened, what only reads goes
//! on, and all is well when there is room again.
//!
//! The disk is full for the server alone: the kernel refuses every byte that it writes to a file.

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use hsm_client::kinds::EcdsaP256;
use hsm_client::{ErrorKind, PageRequest};
use rustix::process::{Resource, Rlimit, prlimit};
use tokio::sync::mpsc::unbounded_channel;

use crate::kills::CLIENTS;
use crate::served::Served;
use crate::worker::{Found, Worker};

impl Served {
    /// Lets the server write so many bytes to a file; as many as there is room for, with `None`.
    fn limit_files(&self, len: Option<u64>) {
        let limit = Rlimit {
            current: len,
            maximum: None,
        };
        prlimit(Some(self.pid()), Resource::Fsize, limit).unwrap();
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn what_does_not_fit_is_refused_and_all_is_well_when_there_is_room_again() {
    let folder = tempfile::tempdir().unwrap();
    let server = Served::start(folder.path());
    let place = server.place().clone();
    let audit_key = place.audit_key().await;
    let admin = place.admin().await;
    let key = admin.create::<EcdsaP256>("before").await.unwrap();
    let signature = key.sign(b"before").await.unwrap();
    // From now on, the client has the public key.
    key.verify(b"before", &signature).await.unwrap();
    let stop = Arc::new(AtomicBool::new(false));
    let (acknowledged, mut heard) = unbounded_channel();
    let mut tasks = Vec::new();
    for number in 0..CLIENTS {
        let worker = Worker::new(number, &place, None);
        let never = Arc::new(AtomicBool::new(false));
        tasks.push(tokio::spawn(worker.work(
            stop.clone(),
            never,
            acknowledged.clone(),
        )));
    }
    for _ in 0..200 {
        heard.recv().await.unwrap();
    }
    // No room at all. The first files of the audit log are short, and each has its own end.
    server.limit_files(Some(0));
    let (mut number, mut in_a_row) = (0, 0);
    while in_a_row < 20 {
        number += 1;
        assert!(number < 5_000, "the audit log does not notice");
        match key.sign(b"audited while there is room").await {
            Ok(_) => in_a_row = 0,
            Err(refused) => {
                assert_eq!(refused.kind(), ErrorKind::AuditFailed, "{refused}");
                in_a_row += 1;
            }
        }
    }
    for _ in 0..20 {
        heard.recv().await.unwrap();
        if let Err(refused) = key.info().await {
            assert_eq!(refused.kind(), ErrorKind::AuditFailed, "{refused}");
        }
        key.verify(b"before", &signature).await.unwrap();
    }
    server.limit_files(None);
    while key.sign(b"after").await.is_err() {}

    let audit = folder.path().join("hsm").join("audit");
    while !all_have_room(&audit) {
        for _ in 0..50 {
            key.sign(b"fills the first file").await.unwrap();
        }
        heard.recv().await.unwrap();
    }
    // The log of the store grows beyond this before it is begun anew; the audit log does not get that far.
    server.limit_files(Some(2 << 20));
    let mut number = 0;
    let refusal = loop {
        number += 1;
        assert!(number < 2_000, "the store does not notice");
        match admin.create::<EcdsaP256>(&format!("fits-{number}")).await {
            Ok(_) => {}
            Err(error) => break error,
        }
    };
    assert_eq!(refusal.kind(), ErrorKind::StoreFailed, "{refusal}");
    let gone = admin.any_key(&format!("fits-{number}")).await.unwrap_err();
    assert_eq!(gone.kind(), ErrorKind::NotFound, "{gone}");
    for _ in 0..50 {
        heard.recv().await.unwrap();
        key.sign(b"audited").await.unwrap();
        key.info().await.unwrap();
        admin.list_keys(PageRequest::default()).await.unwrap();
    }
    server.limit_files(None);
    while admin.create::<EcdsaP256>("room-again").await.is_err() {}
    while key.sign(b"after").await.is_err() {}
    while heard.try_recv().is_ok() {}
    for _ in 0..200 {
        heard.recv().await.unwrap();
    }
    stop.store(true, Ordering::Relaxed);
    let mut workers = Vec::new();
    for task in tasks {
        workers.push(task.await.unwrap());
    }
    let refused: usize = workers
        .iter()
        .flat_map(|worker| worker.errors.values())
        .sum();
    assert!(refused > 0, "the disk was full for nobody");
    let found = Found::look(&place, &audit_key).await;
    for worker in &mut workers {
        worker.compare(&found);
        found.has_signatures_of(worker);
    }
    assert_eq!(server.stop(), Some(0));
    let server = Served::start_again(&place);
    let found = Found::look(&place, &audit_key).await;
    let mut acknowledged = 0;
    for worker in &mut workers {
        worker.compare(&found);
        acknowledged += worker.outcomes.acknowledged;
    }
    assert_eq!(server.stop(), Some(0));
    println!("a full disk: {refused} acts refused, {acknowledged} acknowledged and none lost");
}

/// Whether each stream of the audit log is in a file that already has its whole length, 4 MiB: the first is short.
fn all_have_room(audit: &Path) -> bool {
    let mut streams = BTreeMap::<String, u64>::new();
    for file in std::fs::read_dir(audit).unwrap() {
        let file = file.unwrap();
        let name = file.file_name().into_string().unwrap();
        let Some((stream, _)) = name
            .strip_suffix(".log")
            .and_then(|name| name.rsplit_once('-'))
        else {
            continue;
        };
        // One that was cut to what is in it is full.
        let len = file.metadata().map_or(0, |file| file.len());
        let longest = streams.entry(stream.to_owned()).or_default();
        *longest = len.max(*longest);
    }
    streams.values().all(|longest| *longest >= 4 << 20)
}
