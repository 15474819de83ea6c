//! Every limit says so when it is reached, and a server that stops or changes its certificate drops nobody.

use std::num::NonZeroU32;
use std::time::Duration;

use hsm_server::Rates;
use tokio::io::AsyncWriteExt;

use super::world::{PASSWORD, World, certify, read_answer, read_to_close, request};

/// A request whose body is still to come; the server waits for it when this returns.
async fn begun(
    world: &World,
    len: usize,
) -> tokio_rustls::client::TlsStream<tokio::net::TcpStream> {
    let mut stream = world.connect().await;
    let head = format!(
        "PUT /hsm/v1/users/late HTTP/1.1\r\nhost: localhost\r\nauthorization: Bearer {}\r\n\
        expect: 100-continue\r\ncontent-length: {len}\r\n\r\n",
        world.admin
    );
    stream.write_all(head.as_bytes()).await.unwrap();
    assert_eq!(read_answer(&mut stream, false).await.unwrap().status, 100);
    stream
}

fn user() -> String {
    format!(r#"{{"password":"{PASSWORD}"}}"#)
}

#[tokio::test]
async fn more_requests_than_may_be_in_flight() {
    let world = World::limited(|limits| limits.requests_in_flight = 2).await;
    let body = user();
    let mut first = begun(&world, body.len()).await;
    let _second = begun(&world, body.len()).await;
    let third = world.ask("GET", "/keys?api-version=7.6", "").await;
    assert!(third.is_error(503), "{third:?}");
    assert_eq!(third.header("retry-after"), Some("1"));
    // Those who are in are served, and make room.
    first.write_all(body.as_bytes()).await.unwrap();
    let answer = read_answer(&mut first, false).await.unwrap();
    assert!(answer.status < 300, "{answer:?}");
    world.is_well_and_stops().await;
}

#[tokio::test]
async fn a_body_beyond_the_limit() {
    let world = World::limited(|limits| limits.body_len = 1000).await;
    let answer = world
        .ask("POST", "/rng?api-version=7.6", &" ".repeat(1001))
        .await;
    assert!(answer.is_error(413), "{answer:?}");
    let login = request("POST", "/hsm/v1/sessions", "", "", " ".repeat(70_000));
    assert!(world.send(login).await.is_error(413));
    world.is_well_and_stops().await;
}

#[tokio::test]
async fn a_head_beyond_the_limit() {
    let world = World::limited(|limits| limits.header_len = 2000).await;
    let text = request(
        "GET",
        "/healthz",
        "",
        &format!("x: {}\r\n", "y".repeat(2000)),
        "",
    );
    assert_eq!(world.send(text).await.status, 431);
    let target = format!("/healthz?x={}", "y".repeat(2000));
    let answer = world.send(request("GET", &target, "", "", "")).await;
    assert!(matches!(answer.status, 414 | 431), "{answer:?}");
    world.is_well_and_stops().await;
}

#[tokio::test]
async fn a_body_that_takes_too_long() {
    let world = World::limited(|limits| limits.body_time = Duration::from_millis(100)).await;
    let mut stream = begun(&world, 100).await;
    stream.write_all(b"{").await.unwrap();
    let answer = read_answer(&mut stream, false).await.unwrap();
    assert!(answer.is_error(408), "{answer:?}");
    // And the connection with it: what would come is no request.
    assert_eq!(read_to_close(&mut stream).await, b"");
    world.is_well_and_stops().await;
}

#[tokio::test]
async fn work_that_takes_too_long() {
    // A change is never done at once: it goes on behind the request.
    let world = World::limited(|limits| limits.request_time = Duration::ZERO).await;
    let body = r#"{"kty":"EC-HSM","crv":"P-256"}"#;
    let answer = world
        .ask("POST", "/keys/slow/create?api-version=7.6", body)
        .await;
    assert!(answer.is_error(504), "{answer:?}");
    // The change is carried out all the same, whole.
    while world.session.any_key("slow").await.is_err() {
        tokio::task::yield_now().await;
    }
    world.stop().await;
}

#[tokio::test]
async fn more_requests_of_a_principal_than_it_may() {
    let mut rates = Rates::default();
    rates.per_second = NonZeroU32::new(1);
    let world = World::with(|builder| builder.rates(rates)).await;
    let greedy = world.user("greedy", &[]).await;
    let mut answer = world
        .ask_as(&greedy, "GET", "/keys?api-version=7.6", "")
        .await;
    while answer.status != 429 {
        answer = world
            .ask_as(&greedy, "GET", "/keys?api-version=7.6", "")
            .await;
    }
    assert!(answer.is_error(429), "{answer:?}");
    assert!(
        answer
            .header("retry-after")
            .unwrap()
            .parse::<u64>()
            .unwrap()
            >= 1
    );
    // Nobody else pays for it.
    world.is_well_and_stops().await;
}

#[tokio::test]
async fn a_stop_in_the_middle_of_a_request() {
    let world = World::new().await;
    let body = user();
    let mut stream = begun(&world, body.len()).await;
    let mut idle = world.connect().await;
    let address = world.address;
    let (done, _folder) = world.begin_stop();
    // The idle one is closed, so the server knows that it stops, and the other is still answered.
    assert_eq!(read_to_close(&mut idle).await, b"");
    stream.write_all(body.as_bytes()).await.unwrap();
    let answer = read_answer(&mut stream, false).await.unwrap();
    assert!(answer.status < 300, "{answer:?}");
    assert_eq!(read_to_close(&mut stream).await, b"");
    done.await.unwrap().unwrap();
    assert!(tokio::net::TcpStream::connect(address).await.is_err());
}

#[tokio::test]
async fn a_new_certificate_while_connections_stay() {
    let world = World::new().await;
    let mut old = world.connect().await;
    let text = request("GET", "/keys?api-version=7.6", &world.admin, "", "");
    old.write_all(&text).await.unwrap();
    assert_eq!(read_answer(&mut old, false).await.unwrap().status, 200);
    certify(world.folder.path(), &world.ca);
    assert!(world.tls.reload().unwrap());
    old.write_all(&text).await.unwrap();
    assert_eq!(read_answer(&mut old, false).await.unwrap().status, 200);
    let new = world.connect().await;
    assert_ne!(
        old.get_ref().1.peer_certificates(),
        new.get_ref().1.peer_certificates()
    );
    // One that cannot be read changes nothing.
    std::fs::write(world.folder.path().join("server.key"), "garbage").unwrap();
    assert!(world.tls.reload().is_err());
    world.is_well_and_stops().await;
}
