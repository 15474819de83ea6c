//! Memory and file descriptors are the same after many requests and many connections.

use std::net::Ipv4Addr;

use hsm_client::kinds::EcdsaP256;
use hsm_client::{AttributesUpdate, ErrorKind, Hsm, PageRequest, Setup, Tags};
use hsm_server::{Listener, Server};
use tokio::net::TcpListener;
use tokio::sync::oneshot;

use crate::served::{Served, setting};

/// Connections that work at once.
const CONNECTIONS: usize = 8;

/// What the memory may grow by after it is warm, in KiB: the answers that are kept for repetitions, the pages of the
/// store, and what an allocator holds back.
const GROWTH_MAX_KIB: usize = 48 * 1024;

#[tokio::test(flavor = "multi_thread")]
async fn memory_is_flat_over_many_requests() {
    let requests = setting("HSM_SERVER_REQUESTS", 30_000);
    let folder = tempfile::tempdir().unwrap();
    let server = Served::start(folder.path());
    work(&server, "warm", requests / 5).await;
    let warm = resident_kib(&server);
    work(&server, "hot", requests).await;
    let end = resident_kib(&server);
    println!("{requests} requests: {warm} KiB when warm, {end} KiB at the end");
    assert!(end < warm + GROWTH_MAX_KIB, "{warm} KiB, then {end} KiB");
    assert_eq!(server.stop(), Some(0));
}

/// Makes so many requests of all kinds over eight connections.
async fn work(server: &Served, prefix: &str, requests: usize) {
    let mut tasks = Vec::new();
    for number in 0..CONNECTIONS {
        let session = server.place().admin().await;
        let name = format!("{prefix}-{number}");
        tasks.push(tokio::spawn(async move {
            let key = session.create::<EcdsaP256>(&name).await.unwrap();
            for at in 0..requests / CONNECTIONS {
                match at % 50 {
                    0 => {
                        let mut tags = Tags::new();
                        tags.insert("at", at.to_string()).unwrap();
                        let update = AttributesUpdate::new().tags(tags);
                        key.update(update).await.unwrap();
                    }
                    1 => drop(session.list_keys(PageRequest::default()).await.unwrap()),
                    2 => {
                        let missing = session.any_key("missing").await.unwrap_err();
                        assert_eq!(missing.kind(), ErrorKind::NotFound);
                    }
                    3..15 => drop(session.random(32).await.unwrap()),
                    15..25 => drop(key.info().await.unwrap()),
                    _ => drop(key.sign(b"message").await.unwrap()),
                }
            }
            session.logout().await;
        }));
    }
    for task in tasks {
        task.await.unwrap();
    }
}

#[tokio::test]
async fn connections_that_come_and_go_leave_nothing_behind() {
    let folder = tempfile::tempdir().unwrap();
    let server = Served::start(folder.path());
    let place = server.place();
    let healthy = async || {
        // A client is a connection: it goes with it.
        let http = place.http().http1_only().pool_max_idle_per_host(0);
        let http = http.build().unwrap();
        let answer = http.get(place.url("/healthz")).send().await.unwrap();
        assert!(answer.status().is_success());
    };
    healthy().await;
    let before = open_files(&server);
    for _ in 0..200 {
        // Some only knock.
        drop(TcpConnect::to(server.port()).await);
    }
    for _ in 0..1_800 {
        healthy().await;
    }
    for _ in 0..20 {
        place.admin().await.logout().await;
    }
    // The server hears of the last ones when it gets to it.
    let mut after = usize::MAX;
    for _ in 0..2_000 {
        after = open_files(&server);
        if after <= before {
            break;
        }
        healthy().await;
    }
    assert!(after <= before, "{before} open files, then {after}");
    assert_eq!(server.stop(), Some(0));
}

/// A connection without a word.
struct TcpConnect;

impl TcpConnect {
    async fn to(port: u16) -> tokio::net::TcpStream {
        let address = (Ipv4Addr::LOCALHOST, port);
        tokio::net::TcpStream::connect(address).await.unwrap()
    }
}

#[tokio::test]
async fn the_gauges_are_back_at_zero_when_everybody_has_gone() {
    let folder = tempfile::tempdir().unwrap();
    let hsm = Hsm::create("memory:", Setup::new("admin", "correct horse battery"))
        .await
        .unwrap();
    let metrics = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await.unwrap();
    let gauges = format!("http://{}/metrics", metrics.local_addr().unwrap());
    let path = folder.path().join("hsm.sock");
    let listener = Listener::unix(&path).unwrap();
    let server = Server::builder()
        .partition(["localhost"], hsm)
        .metrics(metrics)
        .build()
        .unwrap();
    let (stop, stopped) = oneshot::channel::<()>();
    let done = tokio::spawn(server.serve([listener], stopped));
    let http = reqwest::Client::builder().no_proxy().build().unwrap();
    let read = async |name: &str| {
        let text = http
            .get(&gauges)
            .send()
            .await
            .unwrap()
            .text()
            .await
            .unwrap();
        let line = text.lines().find(|line| line.starts_with(name)).unwrap();
        line.rsplit_once(' ').unwrap().1.parse::<u64>().unwrap()
    };
    {
        let mut sessions = Vec::new();
        for _ in 0..50 {
            let hsm = Hsm::open(&format!("unix:{}", path.display()))
                .await
                .unwrap();
            sessions.push(hsm.login("admin", "correct horse battery").await.unwrap());
        }
        assert!(read("hsm_connections ").await >= 50);
        for session in &sessions {
            session.settings().await.unwrap();
            session.logout().await;
        }
    }
    for gauge in ["hsm_connections ", "hsm_requests_in_flight "] {
        let mut tries = 0;
        while read(gauge).await > 0 {
            tries += 1;
            assert!(tries < 10_000, "{gauge} does not come back to zero");
        }
    }
    stop.send(()).unwrap();
    done.await.unwrap().unwrap();
}

fn resident_kib(server: &Served) -> usize {
    let status = proc(server, "status");
    let status = std::fs::read_to_string(status).unwrap();
    let line = status
        .lines()
        .find(|line| line.starts_with("VmRSS:"))
        .unwrap();
    line.split_whitespace().nth(1).unwrap().parse().unwrap()
}

fn open_files(server: &Served) -> usize {
    std::fs::read_dir(proc(server, "fd")).unwrap().count()
}

fn proc(server: &Served, what: &str) -> String {
    format!("/proc/{}/{what}", server.pid().as_raw_nonzero())
}
