//! SIGTERM under load: what was accepted is answered, what is refused has not happened, and the program ends in order.

use std::net::Ipv4Addr;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use hsm_server::{Dev, Limits, Listener, Server, TestClock, Tls, TlsFiles};
use tokio::sync::mpsc::unbounded_channel;
use tokio::sync::oneshot;

use crate::kills::CLIENTS;
use crate::served::{Served, client};
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
    let sum = |count: fn(&Worker) -> usize| workers.iter().map(count).sum::<usize>();
    let acknowledged = sum(|worker| worker.outcomes.acknowledged);
    let refused = sum(|worker| worker.outcomes.refused);
    assert!(refused > 0, "nobody worked when the server stopped");
    println!(
        "3 shutdowns: {acknowledged} acts acknowledged, {refused} refused, none of unknown outcome"
    );
}

/// A client with a connection over HTTP/2 that nobody runs any more: it hears nothing and says nothing. The server would
/// wait for accepted requests all day.
#[test]
fn a_client_that_is_frozen_does_not_hold_up_a_shutdown() {
    let folder = tempfile::tempdir().unwrap();
    let runtime = || {
        let mut builder = tokio::runtime::Builder::new_multi_thread();
        builder.worker_threads(1).enable_all().build().unwrap()
    };
    let serving = runtime();
    let (stop, stopped) = oneshot::channel::<()>();
    let (address, done) = serving.block_on(async {
        let clock: Arc<dyn hsm_client::Clock> = Arc::new(TestClock::new());
        let dev = Dev::prepare(folder.path(), 0, clock).await.unwrap();
        let mut limits = Limits::default();
        limits.shutdown_time = Duration::from_secs(24 * 60 * 60);
        let files = TlsFiles::new(dev.certificate_file(), dev.key_file());
        let server = Server::builder()
            .partition(Dev::HOSTS, dev.hsm().clone())
            .tls(Tls::open(files).unwrap())
            .limits(limits)
            .build()
            .unwrap();
        let listener = Listener::tcp((Ipv4Addr::LOCALHOST, 0).into())
            .await
            .unwrap();
        let address = listener.local_address().unwrap();
        (address, tokio::spawn(server.serve([listener], stopped)))
    });
    let frozen = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .unwrap();
    let http = frozen.block_on(async {
        let http = client(folder.path()).build().unwrap();
        let url = format!("https://localhost:{}/healthz", address.port());
        let answer = http.get(url).send().await.unwrap();
        assert_eq!(answer.version(), reqwest::Version::HTTP_2);
        http
    });
    stop.send(()).unwrap();
    serving.block_on(done).unwrap().unwrap();
    drop((http, frozen));
}
