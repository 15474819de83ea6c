//! A disk that is full under load: what cannot be kept or audited is refused and has not happened, what only reads goes
//! on, and all is well when there is room again.
//!
//! The disk is full for the server alone: the kernel refuses every byte that it writes to a file.

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
    server.limit_files(Some(0));
    // What was begun before ends; from the first refusal on, nothing is taken.
    let refusal = loop {
        match admin.create::<EcdsaP256>("too-much").await {
            Err(error) => break error,
            Ok(_) => {
                admin
                    .any_key("too-much")
                    .await
                    .unwrap()
                    .handle()
                    .delete()
                    .await
                    .unwrap();
                admin.purge_key("too-much").await.unwrap();
            }
        }
    };
    assert_eq!(refusal.kind(), ErrorKind::StoreFailed, "{refusal}");
    let refusal = key.sign(b"not audited").await.unwrap_err();
    assert_eq!(refusal.kind(), ErrorKind::AuditFailed, "{refusal}");
    for _ in 0..100 {
        heard.recv().await.unwrap();
        key.info().await.unwrap();
        admin.list_keys(PageRequest::default()).await.unwrap();
        key.verify(b"before", &signature).await.unwrap();
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
    // Once through the server that lived through it, once through a new one.
    for round in 0..2 {
        let found = Found::look(&place, &audit_key).await;
        for worker in &mut workers {
            worker.compare(&found);
            found.has_signatures_of(worker);
        }
        if round == 0 {
            drop(admin.any_key("room-again").await.unwrap());
        }
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
