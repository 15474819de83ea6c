//! Connections that are slow, many, broken or gone.

use std::net::Ipv4Addr;
use std::time::Duration;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::UnixStream;

use super::world::{PASSWORD, World, read_answer, read_to_close, request};

const SHORT: Duration = Duration::from_millis(100);

/// Where HTTP/2 begins (RFC 9113 section 3.4): the preface and empty settings.
const PREFACE: &[u8] = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n\0\0\0\x04\0\0\0\0\0";

const DATA: u8 = 0;
const HEADERS: u8 = 1;
const RST_STREAM: u8 = 3;
const SETTINGS: u8 = 4;
const PING: u8 = 6;
const GOAWAY: u8 = 7;
const CONTINUATION: u8 = 9;

const END_STREAM: u8 = 1;
const END_HEADERS: u8 = 4;

/// A frame (RFC 9113 section 4.1).
fn frame(kind: u8, flags: u8, stream: u32, payload: &[u8]) -> Vec<u8> {
    let len = u32::try_from(payload.len()).unwrap().to_be_bytes();
    let head = [len[1], len[2], len[3], kind, flags];
    [&head[..], &stream.to_be_bytes(), payload].concat()
}

/// A header that is not remembered (RFC 7541 section 6.2.2).
fn literal(name: &[u8], value: &[u8]) -> Vec<u8> {
    let len = |text: &[u8]| {
        u8::try_from(text.len())
            .ok()
            .filter(|len| *len < 127)
            .unwrap()
    };
    [&[0, len(name)], name, &[len(value)], value].concat()
}

/// The headers of a GET.
fn get(path: &[u8]) -> Vec<u8> {
    [
        literal(b":method", b"GET"),
        literal(b":scheme", b"https"),
        literal(b":path", path),
        literal(b":authority", b"localhost"),
    ]
    .concat()
}

/// Reads frames until the server closes: the kinds, and the error code of a GOAWAY.
fn frames(bytes: &[u8]) -> (Vec<u8>, Option<u32>) {
    let (mut kinds, mut code, mut rest) = (Vec::new(), None, bytes);
    while let Some((head, after)) = rest.split_at_checked(9) {
        let len = usize::from(head[0]) << 16 | usize::from(head[1]) << 8 | usize::from(head[2]);
        let Some((payload, after)) = after.split_at_checked(len) else {
            break;
        };
        kinds.push(head[3]);
        if head[3] == GOAWAY {
            code = Some(u32::from_be_bytes(payload[4..8].try_into().unwrap()));
        }
        rest = after;
    }
    (kinds, code)
}

#[tokio::test]
async fn a_handshake_that_never_begins() {
    let world = World::limited(|limits| limits.handshake_time = SHORT).await;
    let mut silent = world.tcp().await;
    let mut half = world.tcp().await;
    half.write_all(&[0x16, 3, 1, 2, 0, 1]).await.unwrap();
    assert_eq!(read_to_close(&mut silent).await, b"");
    assert_eq!(read_to_close(&mut half).await, b"");
    world.is_well_and_stops().await;
}

#[tokio::test]
async fn slow_loris_with_a_head() {
    let world = World::limited(|limits| limits.header_time = SHORT).await;
    let mut stream = world.connect().await;
    stream
        .write_all(b"GET /keys HTTP/1.1\r\nhost: loc")
        .await
        .unwrap();
    assert_eq!(read_to_close(&mut stream).await, b"");
    let mut silent = world.connect_h2().await;
    silent.write_all(&PREFACE[..10]).await.unwrap();
    read_to_close(&mut silent).await;
    world.is_well_and_stops().await;
}

#[tokio::test]
async fn slow_loris_with_a_second_head() {
    let world = World::limited(|limits| limits.idle_time = SHORT).await;
    let mut stream = world.connect().await;
    let text = request("GET", "/keys?api-version=7.6", &world.admin, "", "");
    stream.write_all(&text).await.unwrap();
    assert_eq!(read_answer(&mut stream, false).await.unwrap().status, 200);
    drop(stream.write_all(b"GET /keys HTTP/1.1\r\nhost: loc").await);
    assert_eq!(read_to_close(&mut stream).await, b"");
    world.is_well_and_stops().await;
}

#[tokio::test]
async fn slow_loris_with_a_body() {
    let world = World::limited(|limits| limits.body_time = SHORT).await;
    let mut stream = world.connect().await;
    let head = format!(
        "POST /rng?api-version=7.6 HTTP/1.1\r\nhost: localhost\r\nauthorization: Bearer {}\r\n\
        content-length: 100\r\n\r\n{{",
        world.admin
    );
    stream.write_all(head.as_bytes()).await.unwrap();
    assert!(read_answer(&mut stream, false).await.unwrap().is_error(408));
    assert_eq!(read_to_close(&mut stream).await, b"");
    world.is_well_and_stops().await;
}

/// Who is nobody is answered before a body, and need not be waited for.
#[tokio::test]
async fn a_body_of_nobody_that_never_comes() {
    let world = World::limited(|limits| limits.idle_time = SHORT).await;
    let mut stream = world.connect().await;
    let head =
        "POST /rng?api-version=7.6 HTTP/1.1\r\nhost: localhost\r\ncontent-length: 100\r\n\r\n";
    stream.write_all(head.as_bytes()).await.unwrap();
    assert!(read_answer(&mut stream, false).await.unwrap().is_error(401));
    assert_eq!(read_to_close(&mut stream).await, b"");
    world.is_well_and_stops().await;
}

/// As many as the file descriptors are enough for: 10,000 where there are 20,000 and some.
#[tokio::test]
async fn ten_thousand_idle_connections() {
    use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
    let most = getrlimit(Resource::Nofile).maximum;
    let raised = Rlimit {
        current: most,
        maximum: most,
    };
    setrlimit(Resource::Nofile, raised).unwrap();
    // Two for each, as both ends are in this process; some for all other tests.
    let files = usize::try_from(most.unwrap_or(1 << 20)).unwrap();
    let count = (files.saturating_sub(2000) / 2).min(10_000);
    let world = World::limited(|limits| {
        limits.connections = 20_000;
        limits.connections_per_address = 20_000;
    })
    .await;
    let mut idle = Vec::new();
    let mut unix = Vec::new();
    for number in 0..count {
        if number % 20 == 0 {
            idle.push(world.connect().await);
        } else {
            unix.push(
                UnixStream::connect(world.folder.path().join("socket"))
                    .await
                    .unwrap(),
            );
        }
    }
    for _ in 0..10 {
        world.is_well().await;
    }
    // They are served as well, when they ask.
    let text = "GET /healthz HTTP/1.1\r\nhost: localhost\r\n\r\n";
    for stream in unix.iter_mut().step_by(500) {
        stream.write_all(text.as_bytes()).await.unwrap();
        assert_eq!(read_answer(stream, false).await.unwrap().status, 200);
    }
    drop((idle, unix));
    world.is_well_and_stops().await;
}

#[tokio::test]
async fn more_connections_than_there_may_be() {
    let world = World::limited(|limits| limits.connections = 3).await;
    let mut open = Vec::new();
    while open.len() < 3 {
        if let Ok(stream) = world.handshake(world.tcp().await, b"http/1.1").await {
            open.push(stream);
        }
    }
    assert!(
        world
            .handshake(world.tcp().await, b"http/1.1")
            .await
            .is_err()
    );
    drop(open);
    while world
        .handshake(world.tcp().await, b"http/1.1")
        .await
        .is_err()
    {}
    world.stop().await;
}

#[tokio::test]
async fn more_connections_from_one_address_than_there_may_be() {
    let world = World::limited(|limits| limits.connections_per_address = 3).await;
    let from = Ipv4Addr::new(127, 0, 0, 7);
    let mut open = Vec::new();
    for _ in 0..3 {
        let tcp = world.tcp_from(from).await.unwrap();
        open.push(world.handshake(tcp, b"http/1.1").await.unwrap());
    }
    let tcp = world.tcp_from(from).await.unwrap();
    assert!(world.handshake(tcp, b"http/1.1").await.is_err());
    // Others are served, and so is this one when it has closed some.
    let tcp = world.tcp_from(Ipv4Addr::new(127, 0, 0, 8)).await.unwrap();
    world.handshake(tcp, b"http/1.1").await.unwrap();
    drop(open);
    loop {
        let tcp = world.tcp_from(from).await.unwrap();
        if world.handshake(tcp, b"http/1.1").await.is_ok() {
            break;
        }
    }
    world.is_well_and_stops().await;
}

/// CVE-2023-44487.
#[tokio::test]
async fn http2_rapid_reset() {
    let world = World::new().await;
    let stream = world.connect_h2().await;
    let (mut reader, mut writer) = tokio::io::split(stream);
    let mut flood = PREFACE.to_vec();
    for number in 0..20_000 {
        let id = 2 * number + 1;
        flood.extend(frame(HEADERS, END_HEADERS | END_STREAM, id, &get(b"/keys")));
        flood.extend(frame(RST_STREAM, 0, id, &8_u32.to_be_bytes()));
    }
    let writing = tokio::spawn(async move { writer.write_all(&flood).await.is_err() });
    let read = read_to_close(&mut reader).await;
    let (_, code) = frames(&read);
    // ENHANCE_YOUR_CALM, unless the end of the connection was faster.
    assert!(matches!(code, Some(11) | None), "{code:?}");
    writing.await.unwrap();
    world.is_well_and_stops().await;
}

/// CVE-2024-27316 and its like: a head without end.
#[tokio::test]
async fn http2_continuation_flood() {
    let world = World::new().await;
    let (mut reader, mut writer) = tokio::io::split(world.connect_h2().await);
    let writing = tokio::spawn(async move {
        let mut sent = 0;
        let start = [PREFACE, &frame(HEADERS, END_STREAM, 1, &get(b"/keys"))].concat();
        drop(writer.write_all(&start).await);
        let more = frame(CONTINUATION, 0, 1, &literal(b"a", &[b'a'; 100]).repeat(100));
        while sent < 100 << 20 && writer.write_all(&more).await.is_ok() {
            sent += more.len();
        }
        sent
    });
    read_to_close(&mut reader).await;
    let sent = writing.await.unwrap();
    assert!(sent < 24 << 20, "{sent}");
    world.is_well_and_stops().await;
}

/// A small head that unpacks to a large one: one long header, remembered once and named thousands of times.
#[tokio::test]
async fn http2_hpack_bomb() {
    let world = World::new().await;
    let (mut reader, mut writer) = tokio::io::split(world.connect_h2().await);
    // Literal with indexing: `a` and 2,000 bytes, whose length takes two bytes more.
    let mut block = [
        get(b"/healthz"),
        vec![0x40, 1, b'a', 127, 0xd1, 0x0e],
        vec![b'a'; 2000],
    ]
    .concat();
    block.extend([0xbe; 10_000]);
    let bomb = [
        PREFACE,
        &frame(HEADERS, END_HEADERS | END_STREAM, 1, &block),
    ]
    .concat();
    writer.write_all(&bomb).await.unwrap();
    writer.write_all(&frame(PING, 0, 0, &[0; 8])).await.unwrap();
    writer
        .write_all(&frame(GOAWAY, 0, 0, &[0; 8]))
        .await
        .unwrap();
    let read = read_to_close(&mut reader).await;
    // 431 is not among the statuses that have a number of their own.
    assert!(
        !read.windows(2).any(|pair| pair == [0x88, 0x0f]),
        "{read:?}"
    );
    let (kinds, _) = frames(&read);
    assert!(!kinds.contains(&DATA), "{kinds:?}");
    world.is_well_and_stops().await;
}

#[tokio::test]
async fn http2_frames_that_are_none() {
    let world = World::new().await;
    for bad in [
        // A stream of the server's, one that was never opened, and one that is none.
        frame(HEADERS, END_HEADERS | END_STREAM, 2, &get(b"/keys")),
        frame(DATA, 0, 7, b"data"),
        frame(DATA, 0, 0, b"data"),
        frame(SETTINGS, 0, 0, &[1]),
        frame(PING, 0, 0, &[0; 7]),
        frame(CONTINUATION, END_HEADERS, 1, &get(b"/keys")),
        frame(HEADERS, END_HEADERS | END_STREAM, 1, &[0xff; 20]),
        // Longer than a frame may be.
        [&[0xff, 0xff, 0xff, DATA, 0][..], &[0, 0, 0, 1]].concat(),
        vec![0xff; 100],
    ] {
        let mut stream = world.connect_h2().await;
        stream.write_all(&[PREFACE, &bad].concat()).await.unwrap();
        let read = read_to_close(&mut stream).await;
        let (kinds, code) = frames(&read);
        assert!(!kinds.contains(&DATA), "{kinds:?}");
        assert_ne!(code, Some(0), "{bad:?}");
    }
    world.is_well_and_stops().await;
}

/// Many answers that nobody takes: no window, or nothing read at all.
#[tokio::test]
async fn a_client_that_never_reads() {
    let world = World::limited(|limits| limits.idle_time = SHORT).await;
    // HTTP/2 with a window of nothing.
    let mut stream = world.connect_h2().await;
    let mut text = PREFACE[..24].to_vec();
    text.extend(frame(SETTINGS, 0, 0, &[0, 4, 0, 0, 0, 0]));
    for number in 0..100 {
        let head = get(b"/hsm/v1/openapi.json");
        text.extend(frame(
            HEADERS,
            END_HEADERS | END_STREAM,
            2 * number + 1,
            &head,
        ));
    }
    stream.write_all(&text).await.unwrap();
    // HTTP/1.1, until no more can be written.
    let mut pipelined = world.connect().await;
    let ask = b"GET /hsm/v1/openapi.json HTTP/1.1\r\nhost: localhost\r\n\r\n".repeat(100);
    while pipelined.write_all(&ask).await.is_ok() {}
    read_to_close(&mut pipelined).await;
    let (kinds, _) = frames(&read_to_close(&mut stream).await);
    assert!(!kinds.contains(&DATA));
    world.is_well_and_stops().await;
}

#[tokio::test]
async fn garbage_in_the_place_of_tls() {
    let world = World::new().await;
    for garbage in [
        &b"\0"[..],
        &[0; 1000],
        &[0xff; 1000],
        // A record that is longer than one may be, and a handshake of nothing.
        &[0x16, 3, 3, 0xff, 0xff, 1],
        &[0x16, 3, 3, 0, 0],
        &[0x16, 3, 3, 0, 4, 1, 0xff, 0xff, 0xff],
        b"\x80\x2e\x01\0\x02",
        b"SSH-2.0-OpenSSH_9.0\r\n",
    ] {
        let mut stream = world.tcp().await;
        drop(stream.write_all(garbage).await);
        drop(stream.shutdown().await);
        let read = read_to_close(&mut stream).await;
        // An alert, or nothing.
        assert!(matches!(read.first(), None | Some(0x15)), "{read:?}");
    }
    world.is_well_and_stops().await;
}

#[tokio::test]
async fn plain_http_to_the_tls_port() {
    let world = World::new().await;
    for text in [
        request("GET", "/healthz", &world.admin, "", ""),
        PREFACE.to_vec(),
    ] {
        let mut stream = world.tcp().await;
        stream.write_all(&text).await.unwrap();
        let read = read_to_close(&mut stream).await;
        assert!(matches!(read.first(), None | Some(0x15)), "{read:?}");
    }
    world.is_well_and_stops().await;
}

#[tokio::test]
async fn tls_of_old_versions() {
    let world = World::new().await;
    for version in [[3, 0], [3, 1], [3, 2]] {
        // A ClientHello with suites of that time (RFC 4346 section 7.4.1.2).
        let mut hello = vec![version[0], version[1]];
        hello.extend([7; 32]);
        hello.extend([0, 0, 6, 0, 0x2f, 0, 0x35, 0xc0, 0x09, 1, 0]);
        let len = u8::try_from(hello.len()).unwrap();
        let record = [&[0x16, 3, 1, 0, len + 4, 1, 0, 0, len][..], &hello].concat();
        let mut stream = world.tcp().await;
        stream.write_all(&record).await.unwrap();
        let read = read_to_close(&mut stream).await;
        // A fatal alert: protocol_version.
        assert_eq!(read.get(..1), Some(&[0x15][..]), "{read:?}");
        assert_eq!(read.get(5..7), Some(&[2, 70][..]), "{read:?}");
    }
    world.is_well_and_stops().await;
}

/// However much of a change had arrived when its client went away, it is carried out once or not at all: the repetition
/// under the same key is the proof.
#[tokio::test]
async fn a_client_that_vanishes_in_the_middle_of_a_change() {
    let world = World::new().await;
    let body = format!(r#"{{"password":"{PASSWORD}"}}"#);
    for number in 0..16_usize {
        let target = format!("/hsm/v1/users/user-{number}");
        let key = format!("idempotency-key: 00000000-0000-4000-8000-0000000000{number:02}\r\n");
        let text = request("PUT", &target, &world.admin, &key, &body);
        // The last ones send all of it.
        let cut = (text.len() * (number + 1) / 12).min(text.len());
        let mut stream = world.connect().await;
        stream.write_all(&text[..cut]).await.unwrap();
        stream.flush().await.unwrap();
        drop(stream);
        let answer = world.send(&text).await;
        assert!(
            answer.status < 300,
            "{cut} bytes of {}: {answer:?}",
            text.len()
        );
        let again = world.send(&text).await;
        assert_eq!((again.status, &again.body), (answer.status, &answer.body));
    }
    world.is_well_and_stops().await;
}

#[tokio::test]
async fn connections_that_are_reset() {
    let world = World::new().await;
    for _ in 0..20 {
        let stream = world.tcp().await;
        stream.set_zero_linger().unwrap();
        drop(stream);
        let mut stream = world.connect().await;
        stream
            .write_all(b"GET /healthz HTTP/1.1\r\nhost: localhost\r\n\r\n")
            .await
            .unwrap();
        let mut byte = [0];
        stream.read_exact(&mut byte).await.unwrap();
        stream.get_ref().0.set_zero_linger().unwrap();
        drop(stream);
    }
    world.is_well_and_stops().await;
}
