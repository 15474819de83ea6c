//! Paths, hosts and methods that mean one thing to one reader and another to the next.

use super::world::{World, request};

/// With the administrator's token, so that it is the path that is refused.
async fn no_path(world: &World, target: &str) {
    for method in ["GET", "DELETE"] {
        let state = world.state().await;
        let answer = world.ask(method, target, "").await;
        assert!(
            matches!(answer.status, 400 | 404 | 405),
            "{method} {target}: {answer:?}"
        );
        assert_eq!(world.state().await, state, "{method} {target}");
    }
}

async fn no_paths(targets: &[&str]) {
    let world = World::new().await;
    for target in targets {
        no_path(&world, target).await;
    }
    world.is_well_and_stops().await;
}

#[tokio::test]
async fn dots_in_the_path() {
    no_paths(&[
        "/keys/../keys/target?api-version=7.6",
        "/keys/./target?api-version=7.6",
        "/keys/..?api-version=7.6",
        "/../keys/target?api-version=7.6",
        "/keys/target/..?api-version=7.6",
        "/healthz/../keys/target?api-version=7.6",
        "/keys/target/.?api-version=7.6",
    ])
    .await;
}

#[tokio::test]
async fn encoded_dots_in_the_path() {
    no_paths(&[
        "/keys/%2e%2e?api-version=7.6",
        "/keys/%2E%2E/target?api-version=7.6",
        "/keys/%2e%2e/keys/target?api-version=7.6",
        "/keys/%252e%252e?api-version=7.6",
        "/keys/.%2e?api-version=7.6",
        "/%2e%2e/%2e%2e/etc/passwd",
    ])
    .await;
}

#[tokio::test]
async fn double_slashes() {
    no_paths(&[
        "//keys/target?api-version=7.6",
        "/keys//target//?api-version=7.6",
        "///keys/target?api-version=7.6",
        "//?api-version=7.6",
        "/keys/target/////?api-version=7.6",
        "//hsm/v1/users/admin",
    ])
    .await;
}

#[tokio::test]
async fn encoded_slashes() {
    no_paths(&[
        "/keys%2ftarget?api-version=7.6",
        "/keys/target%2f?api-version=7.6",
        "/keys/other%2f..%2ftarget?api-version=7.6",
        "/keys/target%5c?api-version=7.6",
        "/keys/a%2fb?api-version=7.6",
        "/hsm%2fv1/users/admin",
        "/hsm/v1/users/..%2fusers%2fadmin",
    ])
    .await;
}

#[tokio::test]
async fn unicode_in_the_path() {
    no_paths(&[
        "/keys/t%C3%A4rget?api-version=7.6",
        // Fullwidth letters and a dot that some normalise.
        "/keys/%EF%BD%94arget?api-version=7.6",
        "/keys/%EF%BC%8E%EF%BC%8E?api-version=7.6",
        // The Kelvin sign, which lower-cases to k.
        "/%E2%84%AAeys/target?api-version=7.6",
        // A mark of direction in front, and a joiner in the middle.
        "/keys/%E2%80%AEtarget?api-version=7.6",
        "/keys/tar%E2%80%8Bget?api-version=7.6",
    ])
    .await;
}

#[tokio::test]
async fn overlong_and_broken_utf8() {
    no_paths(&[
        "/keys/%c0%ae%c0%ae?api-version=7.6",
        "/keys/%c0%af?api-version=7.6",
        "/keys/%e0%80%af?api-version=7.6",
        "/keys/%ed%a0%80?api-version=7.6",
        "/keys/%ff?api-version=7.6",
        "/keys/%?api-version=7.6",
        "/keys/%2?api-version=7.6",
        "/keys/%zz?api-version=7.6",
        "/keys/target?api-version=%ff",
    ])
    .await;
}

#[tokio::test]
async fn nul_and_control_characters() {
    no_paths(&[
        "/keys/target%00?api-version=7.6",
        "/keys/target%00.json?api-version=7.6",
        "/keys/%0d%0ax-evil:1?api-version=7.6",
        "/keys/target%09?api-version=7.6",
        "/keys/target%7f?api-version=7.6",
    ])
    .await;
}

#[tokio::test]
async fn raw_bytes_that_no_target_may_have() {
    let world = World::new().await;
    for target in [
        &b"/keys/tar\0get"[..],
        b"/keys/tar\x01get",
        b"/keys/tar\x7fget",
        b"/keys/target x",
        b"keys/target",
        b"",
    ] {
        let text = [b"GET ", target, b" HTTP/1.1\r\nhost: localhost\r\n\r\n"].concat();
        let answers = world.send_all(text).await;
        assert!(
            matches!(&*answers, [answer] if answer.status == 400),
            "{target:?}: {answers:?}"
        );
    }
    world.is_well_and_stops().await;
}

#[tokio::test]
async fn names_of_127_and_128_characters() {
    let world = World::new().await;
    let body = r#"{"kty":"EC-HSM","crv":"P-256"}"#;
    for (len, status) in [(127, 200), (128, 400), (5000, 400)] {
        let target = format!("/keys/{}/create?api-version=7.6", "a".repeat(len));
        assert_eq!(
            world.ask("POST", &target, body).await.status,
            status,
            "{len}"
        );
    }
    // Counted when they are decoded: 127 letters, written with three each.
    let target = format!("/keys/{}?api-version=7.6", "%61".repeat(127));
    assert_eq!(world.ask("GET", &target, "").await.status, 200);
    world.is_well_and_stops().await;
}

#[tokio::test]
async fn other_spellings_of_a_path() {
    no_paths(&[
        "/Keys/target?api-version=7.6",
        "/keys;a=b/target?api-version=7.6",
        "/keys/target;a=b?api-version=7.6",
        "/keys/target%3Fapi-version=7.6",
        "/keys/target",
        "/keys/target?api-version=7.6&api-version=7.5",
        "/keys/target?api-version=7.6&api%2Dversion=7.6",
        "/keys/target?api-version=",
        "/keys/target?Api-Version=7.6",
        "/HSM/v1/users/admin",
    ])
    .await;
}

#[tokio::test]
async fn very_many_segments_and_parameters() {
    let world = World::new().await;
    no_path(&world, &"/keys".repeat(2000)).await;
    let target = format!("/keys/none?api-version=7.6{}", "&a=b".repeat(4000));
    assert_eq!(world.ask("GET", &target, "").await.status, 404);
    world.is_well_and_stops().await;
}

/// RFC 9112 section 3.2.2: the host in the target counts, not the header. Its partition does not know the token.
#[tokio::test]
async fn a_target_with_another_host() {
    let world = World::new().await;
    for (target, host, status) in [
        (
            "https://other.localhost/keys?api-version=7.6",
            "localhost",
            401,
        ),
        (
            "https://localhost/keys?api-version=7.6",
            "other.localhost",
            200,
        ),
        (
            "https://evil.example/keys?api-version=7.6",
            "localhost",
            421,
        ),
        (
            "https://admin@localhost/keys?api-version=7.6",
            "localhost",
            400,
        ),
        (
            "https://localhost:80:80/keys?api-version=7.6",
            "localhost",
            400,
        ),
    ] {
        let answer = world
            .send(format!(
                "GET {target} HTTP/1.1\r\nhost: {host}\r\nauthorization: Bearer {}\r\n\r\n",
                world.admin
            ))
            .await;
        assert_eq!(answer.status, status, "{target}: {answer:?}");
    }
    world.is_well_and_stops().await;
}

#[tokio::test]
async fn two_hosts_none_and_broken_ones() {
    let world = World::new().await;
    for (hosts, status) in [
        ("host: localhost\r\nhost: localhost\r\n", 400),
        ("host: localhost\r\nhost: other.localhost\r\n", 400),
        ("", 400),
        ("host:\r\n", 400),
        ("host: local host\r\n", 400),
        ("host: localhost/keys\r\n", 400),
        ("host: localhost\"><script>\r\n", 400),
        ("host: localhost, other.localhost\r\n", 400),
        ("host: admin@localhost\r\n", 400),
        ("host: evil.example\r\n", 421),
        ("host: localhost.evil.example\r\n", 421),
        ("host: xlocalhost\r\n", 421),
        ("host: LOCALHOST.:65535\r\n", 200),
    ] {
        let answer = world
            .send(format!(
                "GET /keys?api-version=7.6 HTTP/1.1\r\n{hosts}authorization: Bearer {}\r\n\r\n",
                world.admin
            ))
            .await;
        assert_eq!(answer.status, status, "{hosts}: {answer:?}");
        assert!(!answer.body.contains("<script>"), "{answer:?}");
    }
    world.is_well_and_stops().await;
}

#[tokio::test]
async fn headers_that_would_name_another_host_path_or_method() {
    let world = World::new().await;
    let state = world.state().await;
    for header in [
        "x-http-method-override: DELETE",
        "x-http-method: DELETE",
        "x-method-override: DELETE",
        "x-forwarded-host: other.localhost",
        "x-host: other.localhost",
        "forwarded: host=other.localhost;for=10.0.0.1",
        "x-original-url: /hsm/v1/users",
        "x-rewrite-url: /hsm/v1/users",
    ] {
        let text = request(
            "GET",
            "/keys/target?api-version=7.6",
            &world.admin,
            &format!("{header}\r\n"),
            "",
        );
        let answer = world.send(text).await;
        assert_eq!(answer.status, 200, "{header}: {answer:?}");
        let kid = answer.json()["key"]["kid"].as_str().unwrap().to_owned();
        assert!(kid.starts_with("https://localhost/keys/target/"), "{kid}");
    }
    let target = "/keys/target?api-version=7.6&_method=DELETE";
    assert_eq!(world.ask("GET", target, "").await.status, 200);
    assert_eq!(world.state().await, state);
    world.is_well_and_stops().await;
}

#[tokio::test]
async fn methods_that_no_path_has() {
    let world = World::new().await;
    let state = world.state().await;
    for method in [
        "HEAD", "OPTIONS", "TRACE", "PROPFIND", "delete", "GETX", "PUT", "M-SEARCH",
    ] {
        let answer = world.ask(method, "/keys?api-version=7.6", "").await;
        assert_eq!(answer.status, 405, "{method}: {answer:?}");
        assert_eq!(answer.header("allow"), Some("GET"));
        assert!(!answer.body.contains(&world.admin), "it echoes");
        assert_eq!(answer.header("access-control-allow-origin"), None);
    }
    for target in ["localhost:443", "evil.example:443", "127.0.0.1:22"] {
        let text = format!("CONNECT {target} HTTP/1.1\r\nhost: localhost\r\n\r\n");
        let answer = world.send(text).await;
        assert!(matches!(answer.status, 400 | 404 | 405 | 421), "{answer:?}");
    }
    let answer = world
        .send("OPTIONS * HTTP/1.1\r\nhost: localhost\r\n\r\n")
        .await;
    assert!(matches!(answer.status, 400 | 404 | 405), "{answer:?}");
    assert_eq!(world.state().await, state);
    world.is_well_and_stops().await;
}
