//! Bodies that are not what they say, or too much of it.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use tokio::io::{AsyncReadExt, AsyncWriteExt};

use super::world::{DIGEST, World, read_answer, read_to_close, request};

const SIGN: &str = "/keys/target/sign?api-version=7.6";

/// Sends bodies to a key's `sign`, and checks that each is refused as malformed, quoting nothing.
async fn malformed(bodies: &[&[u8]]) {
    let world = World::new().await;
    for body in bodies {
        let shown = String::from_utf8_lossy(&body[..body.len().min(100)]).into_owned();
        let answer = world
            .send(request("POST", SIGN, &world.admin, "", body))
            .await;
        assert!(answer.is_error(400), "{shown}: {answer:?}");
        assert!(answer.body.len() < 1000, "{answer:?}");
    }
    world.is_well_and_stops().await;
}

#[tokio::test]
async fn duplicate_members() {
    malformed(&[
        format!(r#"{{"alg":"ES256","alg":"ES384","value":"{DIGEST}"}}"#).as_bytes(),
        format!(r#"{{"alg":"ES256","value":"{DIGEST}","value":"{DIGEST}"}}"#).as_bytes(),
        format!(r#"{{"alg":"ES256","a\u006cg":"ES256","value":"{DIGEST}"}}"#).as_bytes(),
    ])
    .await;
}

#[tokio::test]
async fn duplicate_tags() {
    let world = World::new().await;
    let state = world.state().await;
    let body = r#"{"tags":{"a":"b","a":"c"}}"#;
    let answer = world
        .ask("PATCH", "/keys/target?api-version=7.6", body)
        .await;
    assert!(answer.is_error(400), "{answer:?}");
    assert_eq!(world.state().await, state);
    world.is_well_and_stops().await;
}

#[tokio::test]
async fn wrong_types() {
    malformed(&[
        b"null",
        b"true",
        b"17",
        b"\"text\"",
        b"[]",
        b"[{\"alg\":\"ES256\"}]",
        b"{\"alg\":7,\"value\":\"AAAA\"}",
        b"{\"alg\":null,\"value\":\"AAAA\"}",
        b"{\"alg\":{\"a\":1},\"value\":\"AAAA\"}",
        b"{\"alg\":\"ES256\",\"value\":[65,66]}",
        b"{\"alg\":\"ES256\",\"value\":1e999}",
        b"{\"alg\":\"none\",\"value\":\"AAAA\"}",
        b"{}",
    ])
    .await;
}

#[tokio::test]
async fn numbers_out_of_range() {
    let world = World::new().await;
    for count in [
        "-1",
        "0",
        "1.5",
        "1e3",
        "99999999999999999999999",
        "129",
        "\"8\"",
        "NaN",
    ] {
        let body = format!("{{\"count\":{count}}}");
        let answer = world.ask("POST", "/rng?api-version=7.6", &body).await;
        assert!(answer.is_error(400), "{count}: {answer:?}");
    }
    world.is_well_and_stops().await;
}

#[tokio::test]
async fn base64_with_padding_in_the_standard_alphabet_or_with_spare_bits() {
    let value = |value: &str| format!(r#"{{"alg":"ES256","value":"{value}"}}"#);
    let start = &DIGEST[..42];
    malformed(&[
        value(&format!("{DIGEST}=")).as_bytes(),
        value(&format!("{start}+")).as_bytes(),
        value(&format!("{start}/")).as_bytes(),
        value(&format!("{start}\\n")).as_bytes(),
        value(&format!("{start} ")).as_bytes(),
        // The last digit has two bits that stand for nothing.
        value(&format!("{start}B")).as_bytes(),
        value(&format!("{DIGEST}AA")).as_bytes(),
        value("A").as_bytes(),
        value("").as_bytes(),
    ])
    .await;
}

#[tokio::test]
async fn nesting_of_64_and_of_10000_levels() {
    let nested = |depth: usize, open: &str, close: &str| {
        let (open, close) = (open.repeat(depth), close.repeat(depth));
        [
            format!(r#"{{"alg":{open}1{close},"value":"{DIGEST}"}}"#),
            format!("{open}1{close}"),
            format!(r#"{{"alg":{open}"#),
        ]
    };
    let mut bodies = Vec::new();
    for depth in [64, 10_000] {
        bodies.extend(nested(depth, "[", "]"));
        bodies.extend(nested(depth, "{\"a\":", "}"));
    }
    let bodies: Vec<_> = bodies.iter().map(String::as_bytes).collect();
    malformed(&bodies).await;
    // In a member that nobody reads it is passed over, or refused.
    let world = World::new().await;
    for depth in [64, 10_000, 100_000] {
        let (open, close) = ("[".repeat(depth), "]".repeat(depth));
        let body = format!(r#"{{"alg":"ES256","value":"{DIGEST}","x":{open}{close}}}"#);
        let answer = world.ask("POST", SIGN, &body).await;
        assert!(matches!(answer.status, 200 | 400), "{answer:?}");
    }
    world.is_well_and_stops().await;
}

#[tokio::test]
async fn truncated_or_followed_by_more() {
    let whole = format!(r#"{{"alg":"ES256","value":"{DIGEST}"}}"#);
    let parts: Vec<_> = (0..whole.len())
        .step_by(7)
        .map(|len| &whole.as_bytes()[..len])
        .collect();
    malformed(&parts).await;
    malformed(&[
        format!("{whole}{whole}").as_bytes(),
        format!("{whole},").as_bytes(),
        format!("{whole}\0").as_bytes(),
        format!("{whole}// comment").as_bytes(),
    ])
    .await;
}

#[tokio::test]
async fn other_encodings_than_utf8() {
    let whole = format!(r#"{{"alg":"ES256","value":"{DIGEST}"}}"#);
    let utf16: Vec<u8> = whole.encode_utf16().flat_map(u16::to_le_bytes).collect();
    malformed(&[
        format!("\u{feff}{whole}").as_bytes(),
        &utf16,
        b"{\"alg\":\"ES256\xff\",\"value\":\"AAAA\"}",
        b"{\"alg\":\"ES256\xc0\xae\",\"value\":\"AAAA\"}",
        b"{\"alg\":\"\\ud800\",\"value\":\"AAAA\"}",
        b"alg=ES256&value=AAAA",
        b"<?xml version=\"1.0\"?><!DOCTYPE a [<!ENTITY b SYSTEM \"file:///etc/passwd\">]><a>&b;</a>",
    ])
    .await;
}

#[tokio::test]
async fn a_compressed_body() {
    let world = World::new().await;
    // An empty gzip file, and a body that only says to be one: both readings of it would be somebody's.
    let gzip = [
        0x1f, 0x8b, 8, 0, 0, 0, 0, 0, 0, 3, 3, 0, 0, 0, 0, 0, 0, 0, 0, 0,
    ];
    let plain = format!(r#"{{"alg":"ES256","value":"{DIGEST}"}}"#);
    for encoding in ["gzip", "br", "deflate", "x", "gzip, identity"] {
        for body in [&gzip[..], plain.as_bytes()] {
            let header = format!("content-encoding: {encoding}\r\n");
            let answer = world
                .send(request("POST", SIGN, &world.admin, &header, body))
                .await;
            assert!(answer.is_error(415), "{encoding}: {answer:?}");
        }
    }
    let header = "content-encoding: identity\r\n";
    let answer = world
        .send(request("POST", SIGN, &world.admin, header, &plain))
        .await;
    assert_eq!(answer.status, 200, "{answer:?}");
    world.is_well_and_stops().await;
}

/// Sends whole requests, each of which is to be answered with 400 and the end of the connection.
async fn broken(requests: &[String]) {
    let world = World::new().await;
    for text in requests {
        let answers = world.send_all(text).await;
        assert!(
            matches!(&*answers, [answer] if answer.status == 400),
            "{text}: {answers:?}"
        );
    }
    world.is_well_and_stops().await;
}

fn framed(headers: &str, body: &str) -> String {
    format!("POST /rng?api-version=7.6 HTTP/1.1\r\nhost: localhost\r\n{headers}\r\n{body}")
}

#[tokio::test]
async fn lengths_that_are_none() {
    let mut requests: Vec<_> = [
        "+5",
        "-1",
        "5,6",
        "0x5",
        "5 5",
        "",
        "five",
        "99999999999999999999999",
        "1e1",
    ]
    .iter()
    .map(|len| framed(&format!("content-length: {len}\r\n"), "{\"a\":1}"))
    .collect();
    requests.push(framed("content-length: 2\r\ncontent-length: 3\r\n", "{}"));
    broken(&requests).await;
}

#[tokio::test]
async fn transfer_codings_that_are_not_chunked() {
    let requests = [
        "identity",
        "gzip",
        "chunked, identity",
        "xchunked",
        "chunked\r\ntransfer-encoding: x",
        "",
    ]
    .map(|coding| framed(&format!("transfer-encoding: {coding}\r\n"), "0\r\n\r\n"));
    broken(&requests).await;
}

/// Each body must not be taken for a whole one, and nothing behind it for a request.
#[tokio::test]
async fn chunks_that_lie() {
    let world = World::new().await;
    let smuggled = "GET /healthz HTTP/1.1\r\nhost: localhost\r\n\r\n";
    for chunks in [
        "zz\r\n{}\r\n0\r\n\r\n",
        "-2\r\n{}\r\n0\r\n\r\n",
        "0x2\r\n{}\r\n0\r\n\r\n",
        "FFFFFFFFFFFFFFFFF\r\n{}\r\n0\r\n\r\n",
        "2\r\n{}}\r\n0\r\n\r\n",
        "2\n{}\n0\n\n",
        "2;\n{}\r\n0\r\n\r\n",
        "\r\n{}\r\n0\r\n\r\n",
    ] {
        let headers = format!(
            "authorization: Bearer {}\r\ntransfer-encoding: chunked\r\n",
            world.admin
        );
        let mut stream = world.connect().await;
        let text = framed(&headers, &format!("{chunks}{smuggled}"));
        stream.write_all(text.as_bytes()).await.unwrap();
        stream.shutdown().await.unwrap();
        let answer = read_answer(&mut stream, false).await;
        assert!(
            answer.is_none_or(|answer| answer.status == 400),
            "{chunks:?}"
        );
        assert!(
            read_answer(&mut stream, false).await.is_none(),
            "{chunks:?}"
        );
    }
    world.is_well_and_stops().await;
}

/// RFC 9112 section 6.1: with both, the connection ends after the one answer.
#[tokio::test]
async fn both_content_length_and_transfer_encoding() {
    let world = World::new().await;
    let smuggled = "DELETE /keys/target?api-version=7.6 HTTP/1.1\r\nhost: localhost\r\n";
    for order in [
        "content-length: 4\r\ntransfer-encoding: chunked\r\n",
        "transfer-encoding: chunked\r\ncontent-length: 4\r\n",
        "Transfer-Encoding: Chunked\r\ncontent-length: 400\r\n",
    ] {
        let authorization = format!("authorization: Bearer {}\r\n", world.admin);
        let text = framed(
            &format!("{authorization}{order}"),
            &format!("b\r\n{{\"count\":8}}\r\n0\r\n\r\n{smuggled}{authorization}\r\n"),
        );
        let answers = world.send_all(text).await;
        assert!(answers.len() <= 1, "{order}: {answers:?}");
    }
    world.is_well_and_stops().await;
}

#[tokio::test]
async fn a_length_that_is_too_small_or_too_large() {
    let world = World::new().await;
    let authorization = format!("authorization: Bearer {}\r\n", world.admin);
    // What is left over is no request.
    let text = framed(
        &format!("{authorization}content-length: 11\r\n"),
        "{\"count\":8}{\"count\":8}",
    );
    let answers = world.send_all(text).await;
    let statuses: Vec<_> = answers.iter().map(|answer| answer.status).collect();
    assert_eq!(statuses, [200, 400]);
    // What is missing never comes.
    let mut stream = world.connect().await;
    let text = framed(
        &format!("{authorization}content-length: 100\r\n"),
        "{\"count\":8}",
    );
    stream.write_all(text.as_bytes()).await.unwrap();
    stream.shutdown().await.unwrap();
    let answer = read_answer(&mut stream, false).await;
    assert!(answer.is_none_or(|answer| answer.status == 400));
    world.is_well_and_stops().await;
}

#[tokio::test]
async fn a_body_of_100_mib_that_is_announced() {
    let world = World::new().await;
    for (token, status) in [(&*world.admin, 413), ("", 401)] {
        let authorization = match token {
            "" => String::new(),
            token => format!("authorization: Bearer {token}\r\n"),
        };
        let text = framed(
            &format!("{authorization}expect: 100-continue\r\ncontent-length: 104857600\r\n"),
            "",
        );
        // No `100 Continue` comes before.
        assert!(world.send(text).await.is_error(status));
    }
    world.is_well_and_stops().await;
}

/// Streams a body until the server will have no more, and gives its answer's status and how many bytes it took.
async fn stream_100_mib(world: &World, token: &str) -> (Option<u16>, usize) {
    let authorization = match token {
        "" => String::new(),
        token => format!("authorization: Bearer {token}\r\n"),
    };
    let (mut reader, mut writer) = tokio::io::split(world.connect().await);
    let head = framed(
        &format!("{authorization}transfer-encoding: chunked\r\n"),
        "",
    );
    writer.write_all(head.as_bytes()).await.unwrap();
    let sent = Arc::new(AtomicUsize::new(0));
    let counted = sent.clone();
    let writing = tokio::spawn(async move {
        let chunk = [b"10000\r\n".as_slice(), &[b' '; 1 << 16], b"\r\n"].concat();
        while counted.load(Ordering::Relaxed) < 100 << 20 {
            if writer.write_all(&chunk).await.is_err() {
                break;
            }
            counted.fetch_add(chunk.len(), Ordering::Relaxed);
        }
    });
    let answer = read_answer(&mut reader, false).await;
    read_to_close(&mut reader).await;
    writing.await.unwrap();
    (
        answer.map(|answer| answer.status),
        sent.load(Ordering::Relaxed),
    )
}

/// What the system's buffers on both sides may hold beside what the server has read.
const BUFFERS: usize = 24 << 20;

#[tokio::test]
async fn a_body_of_100_mib_that_is_streamed() {
    let world = World::limited(|limits| limits.body_len = 1 << 20).await;
    let (status, sent) = stream_100_mib(&world, &world.admin).await;
    assert!(status.is_none_or(|status| status == 413), "{status:?}");
    assert!(sent < BUFFERS, "{sent}");
    world.is_well_and_stops().await;
}

#[tokio::test]
async fn a_body_of_100_mib_from_nobody() {
    let world = World::new().await;
    let (status, sent) = stream_100_mib(&world, "").await;
    assert!(status.is_none_or(|status| status == 401), "{status:?}");
    assert!(sent < BUFFERS, "{sent}");
    world.is_well_and_stops().await;
}

#[tokio::test]
async fn large_bodies_beyond_what_all_may_have_together() {
    let world = World::limited(|limits| {
        limits.body_len = 1 << 20;
        limits.bodies_len = 1 << 20;
    })
    .await;
    let upload = |len: usize| {
        framed(
            &format!(
                "authorization: Bearer {}\r\nexpect: 100-continue\r\ncontent-length: {len}\r\n",
                world.admin
            ),
            "",
        )
    };
    let mut first = world.connect().await;
    first.write_all(upload(1 << 20).as_bytes()).await.unwrap();
    // It is being read: it has all the room there is.
    assert_eq!(read_answer(&mut first, false).await.unwrap().status, 100);
    let second = world.send(upload(100_000)).await;
    assert!(second.is_error(503), "{second:?}");
    assert!(second.header("retry-after").is_some());
    // Small ones still go.
    world.is_well().await;
    // It goes away in the middle, and its room is another's.
    first.write_all(&[b' '; 1000]).await.unwrap();
    drop(first);
    let mut again = world.send(upload(100_000)).await;
    while again.status == 503 {
        again = world.send(upload(100_000)).await;
    }
    assert_eq!(again.status, 100);
    world.is_well_and_stops().await;
}

#[tokio::test]
async fn uploads_that_are_aborted() {
    let world = World::limited(|limits| limits.requests_in_flight = 4).await;
    let body = [b' '; 5000];
    for len in [0, 1, 100, 5000] {
        for _ in 0..8 {
            let mut stream = world.connect().await;
            let head = framed(
                &format!(
                    "authorization: Bearer {}\r\ncontent-length: 100000\r\n",
                    world.admin
                ),
                "",
            );
            // Those beyond what may be in flight are answered at once.
            drop(stream.write_all(head.as_bytes()).await);
            drop(stream.write_all(&body[..len]).await);
            drop(stream.flush().await);
        }
    }
    // None of them stays in flight.
    while world.ask("GET", "/keys?api-version=7.6", "").await.status == 503 {}
    let mut stream = world.connect().await;
    let mut byte = [0];
    stream.shutdown().await.unwrap();
    drop(stream.read(&mut byte).await);
    world.is_well_and_stops().await;
}
