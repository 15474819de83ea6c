//! SIGTERM under load: what was accepted is answered, what is refused has not happened, and the program ends in order.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use tokio::sync::mpsc::unbounded_channel;

use crate::kills::CLIENTS;
use crate::served::Served;
use crate::worker::{Found, Worker};

#[tokio::test(flavor = "multi_thread")]
async fn a_server_that_stops_answers_what_it_accepted() {
    let folder = tempfile::tempdir().unwrap();
    let mut server = Served::start(folder.path());
    let place = server.place().clone();
    let audit_key = place.audit_key().await;
    let mut workers: Vec<_> = (0..CLIENTS)
        .map(|number| Worker::new(number, &place, None).trying_once())
        .collect();
    for _ in 0..3 {
        let stops = Arc::new(AtomicBool::new(false));
        let (acknowledged, mut heard) = unbounded_channel();
        let mut tasks = Vec::new();
        for worker in workers.drain(..) {
            let never = Arc::new(AtomicBool::new(false));
            tasks.push(tokio::spawn(worker.work(
                never,
                stops.clone(),
                acknowledged.clone(),
            )));
        }
        for _ in 0..150 {
            heard.recv().await.unwrap();
        }
        stops.store(true, Ordering::Relaxed);
        server.terminate();
        let ended = tokio::task::spawn_blocking(|| server.ended());
        assert_eq!(ended.await.unwrap(), Some(0));
        for task in tasks {
            workers.push(task.await.unwrap());
        }
        let found = Found::look(&place, &audit_key).await;
        for worker in &mut workers {
            // Each attempt counted: an answer that was cut off would be one of unknown outcome.
            assert_eq!(worker.outcomes.unknown, 0);
            assert!(worker.errors.is_empty(), "{:?}", worker.errors);
            worker.compare(&found);
            found.has_signatures_of(worker);
        }
        server = Served::start_again(&place);
    }
    let acknowledged: usize = workers
        .iter()
        .map(|worker| worker.outcomes.acknowledged)
        .sum();
    println!("3 shutdowns: {acknowledged} acts acknowledged, none lost, none of unknown outcome");
}
