//! `kill -9` under load: what was acknowledged is there, what was refused is not, nothing is done twice.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use hsm_client::PageRequest;
use reqwest::StatusCode;
use serde_json::Value;
use tokio::sync::mpsc::unbounded_channel;

use crate::served::{Served, setting};
use crate::worker::{Dice, Found, Worker};

/// Clients that work at once.
pub(crate) const CLIENTS: usize = 16;

#[tokio::test(flavor = "multi_thread")]
async fn what_16_clients_were_told_is_true_after_each_kill() {
    let kills = setting("HSM_SERVER_KILLS", 3);
    let folder = tempfile::tempdir().unwrap();
    let mut server = Served::start(folder.path());
    let place = server.place().clone();
    let audit_key = place.audit_key().await;
    let mut workers = Vec::new();
    for number in 0..CLIENTS {
        let token = match number % 2 {
            0 => None,
            _ => Some(place.token(&format!("worker-{number}")).await),
        };
        workers.push(Worker::new(number, &place, token));
    }
    let mut dice = Dice::new();
    let mut records = 0;
    for _ in 0..kills {
        let stop = Arc::new(AtomicBool::new(false));
        let (acknowledged, mut heard) = unbounded_channel();
        let mut tasks = Vec::new();
        for worker in workers.drain(..) {
            let never = Arc::new(AtomicBool::new(false));
            tasks.push(tokio::spawn(worker.work(
                stop.clone(),
                never,
                acknowledged.clone(),
            )));
        }
        drop(acknowledged);
        for _ in 0..20 + dice.below(200) {
            heard.recv().await.unwrap();
        }
        server.kill();
        // What was heard until now was said by the one that is gone.
        while heard.try_recv().is_ok() {}
        server = Served::start_again(&place);
        for _ in 0..40 {
            heard.recv().await.unwrap();
        }
        stop.store(true, Ordering::Relaxed);
        for task in tasks {
            workers.push(task.await.unwrap());
        }
        let found = Found::look(&place, &audit_key).await;
        records = found.records;
        for worker in &mut workers {
            worker.compare(&found);
            found.has_signatures_of(worker);
        }
    }
    assert_eq!(server.stop(), Some(0));
    let mut sums = BTreeMap::<_, usize>::new();
    for worker in &workers {
        assert!(worker.errors.is_empty(), "{:?}", worker.errors);
        let outcomes = worker.outcomes;
        *sums.entry("acknowledged").or_default() += outcomes.acknowledged;
        *sums.entry("changes among them").or_default() += outcomes.changes;
        *sums.entry("refused").or_default() += outcomes.refused;
        *sums.entry("unknown").or_default() += outcomes.unknown;
    }
    println!("{kills} kills: {sums:?}, {records} records of audit, nothing lost");
}

/// The repetition of a change that a server has answered, at the server that was started after it.
#[tokio::test]
async fn a_change_is_not_repeated_after_a_restart() {
    let folder = tempfile::tempdir().unwrap();
    let server = Served::start(folder.path());
    let place = server.place().clone();
    let admin = place.admin().await;
    let key = admin
        .create::<hsm_client::kinds::EcdsaP256>("once")
        .await
        .unwrap();
    let token = place.token("repeats").await;
    let http = place.http().build().unwrap();
    let rotate = |instance: Option<String>| {
        let request = http
            .post(place.url("/keys/once/rotate?api-version=7.6"))
            .bearer_auth(&token)
            .header("idempotency-key", "8d3c3f5e-54a5-4b8e-8b59-0d6c2f0a9f11");
        match instance {
            Some(instance) => request.header("hsm-if-instance", instance).send(),
            None => request.send(),
        }
    };
    let first = rotate(None).await.unwrap();
    assert_eq!(first.status(), StatusCode::OK);
    let instance = first.headers()["hsm-instance"].to_str().unwrap().to_owned();
    let first: Value = first.json().await.unwrap();
    let again = rotate(Some(instance.clone())).await.unwrap();
    let again: Value = again.json().await.unwrap();
    assert_eq!(again["key"]["kid"], first["key"]["kid"]);
    server.kill();

    let server = Served::start_again(&place);
    let refused = rotate(Some(instance)).await.unwrap();
    assert_eq!(refused.status(), StatusCode::PRECONDITION_FAILED);
    drop(key);
    let admin = place.admin().await;
    let key = admin.any_key("once").await.unwrap();
    let versions = key.handle().versions(PageRequest::default()).await.unwrap();
    assert_eq!(versions.items.len(), 2);
    assert_eq!(server.stop(), Some(0));
}
