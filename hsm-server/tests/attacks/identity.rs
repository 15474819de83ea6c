//! Whoever does not prove who they are is told so, in the same words, and nothing has happened.

use std::time::Duration;

use hsm_client::Timestamp;
use serde_json::{Value, json};

use super::issuer::{Issuer, encode, now, sign, signing_key, unsigned};
use super::world::{Answer, World, request};

/// What is asked for in all of these: it would change something.
const TARGET: &str = "/keys/target?api-version=7.6";

/// Sends a request that would delete a key, and checks that it was refused with a challenge and did nothing.
async fn refused(world: &World, headers: &str) -> Answer {
    refused_at(world, "localhost", TARGET, headers).await
}

async fn refused_at(world: &World, host: &str, target: &str, headers: &str) -> Answer {
    let state = world.state().await;
    let answer = world
        .send(format!(
            "DELETE {target} HTTP/1.1\r\nhost: {host}\r\n{headers}\r\n"
        ))
        .await;
    assert!(answer.is_error(401), "{answer:?}");
    let challenge = answer.header("www-authenticate").unwrap();
    assert!(
        challenge.starts_with("Bearer authorization=\"https://"),
        "{challenge}"
    );
    assert!(challenge.contains("resource="), "{challenge}");
    assert_eq!(answer.json()["error"]["code"], "Unauthorized");
    assert_eq!(world.state().await, state);
    world.is_well().await;
    answer
}

async fn refused_token(world: &World, token: &str) -> Answer {
    refused(world, &format!("authorization: Bearer {token}\r\n")).await
}

/// The body of every refusal of a token that nobody vouches for: it does not say what was wrong.
fn says_nothing(answer: &Answer) {
    assert_eq!(
        answer.json(),
        json!({ "error": {
            "code": "Unauthorized",
            "message": "AKV10032: The token is not accepted",
            "innererror": { "code": "AKV10032" },
        }})
    );
}

#[tokio::test]
async fn no_token() {
    let world = World::new().await;
    let answer = refused(&world, "").await;
    assert!(
        !answer
            .header("www-authenticate")
            .unwrap()
            .contains("error=")
    );
    // Not one record: who is nobody does not fill the audit log.
    let first = world.records().await;
    let of_reading = world.records().await - first;
    for _ in 0..10 {
        world.send(request("DELETE", TARGET, "", "", "")).await;
    }
    assert_eq!(world.records().await, first + 2 * of_reading);
    world.is_well_and_stops().await;
}

#[tokio::test]
async fn a_token_of_a_foreign_issuer() {
    let issuer = Issuer::start().await;
    let world = issuer.world().await;
    let mut claims = issuer.claims();
    claims["iss"] = "https://evil.example".into();
    says_nothing(&refused_token(&world, &issuer.token(&claims)).await);
    world.is_well_and_stops().await;
}

#[tokio::test]
async fn a_token_that_somebody_else_signed() {
    let issuer = Issuer::start().await;
    let world = issuer.world().await;
    says_nothing(&refused_token(&world, &sign(&signing_key(), &issuer.claims())).await);
    world.is_well_and_stops().await;
}

#[tokio::test]
async fn alg_none() {
    let issuer = Issuer::start().await;
    let world = issuer.world().await;
    for alg in ["none", "None", "NONE", "nOnE", ""] {
        let text = unsigned(&json!({ "alg": alg, "kid": "k" }), &issuer.claims());
        says_nothing(&refused_token(&world, &format!("{text}.")).await);
    }
    world.is_well_and_stops().await;
}

#[tokio::test]
async fn hs256_with_the_public_key() {
    use aws_lc_rs::hmac;
    let issuer = Issuer::start().await;
    let world = issuer.world().await;
    let text = unsigned(&json!({ "alg": "HS256", "kid": "k" }), &issuer.claims());
    let key = hmac::Key::new(hmac::HMAC_SHA256, issuer.public_key());
    let tag = hmac::sign(&key, text.as_bytes());
    says_nothing(&refused_token(&world, &format!("{text}.{}", encode(tag.as_ref()))).await);
    world.is_well_and_stops().await;
}

#[tokio::test]
async fn a_key_in_the_header_of_the_token() {
    let issuer = Issuer::start().await;
    let world = issuer.world().await;
    for (name, value) in [
        ("jwk", json!({ "kty": "oct", "k": "AAAA" })),
        ("jku", json!("https://evil.example/keys")),
        ("x5u", json!("https://evil.example/cert")),
        ("crit", json!(["exp"])),
        ("kid", json!("../../../dev/null")),
        ("kid", json!("k' OR '1'='1")),
    ] {
        let mut header = json!({ "alg": "ES256", "kid": "k" });
        header[name] = value;
        let text = unsigned(&header, &issuer.claims());
        says_nothing(&refused_token(&world, &format!("{text}.{}", encode(&[1; 64]))).await);
    }
    world.is_well_and_stops().await;
}

/// Claims that are right but for one are refused; the same issuer's right ones are not.
async fn refused_claim(name: &str, value: Value, code: &str) {
    let issuer = Issuer::start().await;
    let world = issuer.world().await;
    let mut claims = issuer.claims();
    let right = issuer.token(&claims);
    claims[name] = value;
    let answer = refused_token(&world, &issuer.token(&claims)).await;
    assert_eq!(answer.json()["error"]["innererror"]["code"], code);
    // Known, though without a role.
    let known = world.ask_as(&right, "DELETE", TARGET, "").await;
    assert!(known.is_error(403), "{known:?}");
    world.is_well_and_stops().await;
}

#[tokio::test]
async fn a_wrong_audience() {
    refused_claim("aud", json!("https://vault.example"), "AKV10022").await;
}

#[tokio::test]
async fn no_audience_of_many() {
    refused_claim(
        "aud",
        json!(["https://localhost.evil.example", "https://localhos"]),
        "AKV10022",
    )
    .await;
}

#[tokio::test]
async fn an_expired_token() {
    refused_claim("exp", json!(now() - 1), "AKV10002").await;
}

#[tokio::test]
async fn a_token_that_is_not_valid_yet() {
    refused_claim("nbf", json!(now() + 1000), "AKV10003").await;
}

#[tokio::test]
async fn a_token_that_never_expires() {
    let issuer = Issuer::start().await;
    let world = issuer.world().await;
    for exp in [json!(null), json!("9999999999"), json!(1e300), json!(-1)] {
        let mut claims = issuer.claims();
        claims["exp"] = exp;
        says_nothing(&refused_token(&world, &issuer.token(&claims)).await);
    }
    world.is_well_and_stops().await;
}

#[tokio::test]
async fn a_token_for_the_name_of_a_local_user() {
    refused_claim("oid", json!("admin"), "AKV10004").await;
}

#[tokio::test]
async fn a_token_of_another_partition() {
    let issuer = Issuer::start().await;
    let world = issuer.world().await;
    let foreign = world.login("other.localhost", "admin").await;
    refused_token(&world, &foreign).await;
    for token in [world.admin.clone(), issuer.token(&issuer.claims())] {
        let authorization = format!("authorization: Bearer {token}\r\n");
        refused_at(&world, "other.localhost", TARGET, &authorization).await;
    }
    world.is_well_and_stops().await;
}

#[tokio::test]
async fn a_session_token_after_logout() {
    let world = World::new().await;
    let token = world.login("localhost", "admin").await;
    let out = world
        .ask_as(&token, "DELETE", "/hsm/v1/sessions/current", "")
        .await;
    assert_eq!(out.status, 204, "{out:?}");
    refused_token(&world, &token).await;
    world.is_well_and_stops().await;
}

#[tokio::test]
async fn a_session_token_of_a_user_who_was_deleted() {
    let world = World::new().await;
    let token = world.user("leaver", &[]).await;
    let before = world.ask_as(&token, "DELETE", TARGET, "").await;
    assert!(before.is_error(403), "{before:?}");
    world.session.delete_user("leaver").await.unwrap();
    refused_token(&world, &token).await;
    world.is_well_and_stops().await;
}

#[tokio::test]
async fn an_api_token_that_was_deleted() {
    let world = World::new().await;
    let expires = Timestamp::from_unix_seconds(now() + 3600);
    let (token, _) = world
        .session
        .create_token("nightly", "build", expires)
        .await
        .unwrap();
    let token = std::str::from_utf8(token.expose()).unwrap().to_owned();
    // It is remembered as good.
    let before = world.ask_as(&token, "DELETE", TARGET, "").await;
    assert!(before.is_error(403), "{before:?}");
    world.session.delete_token("nightly").await.unwrap();
    refused_token(&world, &token).await;
    world.is_well_and_stops().await;
}

#[tokio::test]
async fn an_api_token_that_has_expired() {
    use std::sync::Arc;
    let clock = Arc::new(hsm_testkit::ManualClock::default());
    let setup = hsm_client::Setup::new("admin", super::world::PASSWORD).clock(clock.clone());
    let hsm = hsm_client::Hsm::create("memory:", setup).await.unwrap();
    let admin = hsm.login("admin", super::world::PASSWORD).await.unwrap();
    let expires = hsm_client::Clock::now(&*clock) + Duration::from_secs(60);
    let (token, _) = admin.create_token("short", "build", expires).await.unwrap();
    let token = std::str::from_utf8(token.expose()).unwrap().to_owned();
    let identities =
        hsm_server::Identities::new(&hsm_server::IdentityConfig::default(), clock.clone());
    let world = World::with(|builder| {
        builder
            .partition(["timed.localhost"], hsm)
            .identities(identities.unwrap())
    })
    .await;
    let ask = format!(
        "GET /keys?api-version=7.6 HTTP/1.1\r\nhost: timed.localhost\r\nauthorization: Bearer {token}\r\n\r\n"
    );
    assert!(world.send(&ask).await.is_error(403));
    clock.advance(Duration::from_secs(61));
    assert!(world.send(&ask).await.is_error(401));
    world.is_well_and_stops().await;
}

#[tokio::test]
async fn api_and_session_tokens_that_were_guessed() {
    let world = World::new().await;
    let mut last = world.admin.clone();
    let changed = if last.ends_with('A') { 'B' } else { 'A' };
    last.pop();
    last.push(changed);
    let short = &world.admin[..world.admin.len() - 1];
    for token in [
        &*last,
        short,
        "hsm_s_",
        "hsm_t_",
        "hsm_t_AAAA",
        "hsm_t_a.b.c",
    ] {
        refused_token(&world, token).await;
    }
    world.is_well_and_stops().await;
}

#[tokio::test]
async fn two_authorization_headers() {
    let world = World::new().await;
    let right = format!("authorization: Bearer {}\r\n", world.admin);
    refused(&world, &format!("{right}{right}")).await;
    refused(&world, &format!("{right}authorization: Bearer x\r\n")).await;
    refused(
        &world,
        &format!("authorization: Bearer x, Bearer {}\r\n", world.admin),
    )
    .await;
    world.is_well_and_stops().await;
}

#[tokio::test]
async fn a_token_in_the_query_a_cookie_or_another_header() {
    let world = World::new().await;
    let token = &world.admin;
    for name in ["access_token", "token", "authorization"] {
        let target = format!("{TARGET}&{name}={token}");
        refused_at(&world, "localhost", &target, "").await;
    }
    for header in [
        "cookie: token=",
        "x-authorization: Bearer ",
        "proxy-authorization: Bearer ",
    ] {
        refused(&world, &format!("{header}{token}\r\n")).await;
    }
    world.is_well_and_stops().await;
}

#[tokio::test]
async fn a_scheme_that_is_not_bearer() {
    let world = World::new().await;
    let token = &world.admin;
    for value in [
        format!("Basic {token}"),
        format!("Token {token}"),
        format!("Bearer  {token}"),
        format!("Bearer:{token}"),
        format!("Bearer\t{token}"),
        token.clone(),
        "Bearer".to_owned(),
        String::new(),
    ] {
        refused(&world, &format!("authorization: {value}\r\n")).await;
    }
    world.is_well_and_stops().await;
}

/// RFC 9110 section 11.1: the scheme's case does not matter. That must open no second way.
#[tokio::test]
async fn lower_case_bearer() {
    let world = World::new().await;
    for scheme in ["bearer", "BEARER", "bEaReR"] {
        let who = format!(
            "GET /hsm/v1/sessions/current HTTP/1.1\r\nhost: localhost\r\nauthorization: {scheme} {}\r\n\r\n",
            world.admin
        );
        assert_eq!(world.send(who).await.json()["principal"], "admin");
        says_nothing(&refused(&world, &format!("authorization: {scheme} a.b.c\r\n")).await);
    }
    world.is_well_and_stops().await;
}

#[tokio::test]
async fn a_huge_token() {
    let world = World::new().await;
    for len in [16_000, 17_000, 30_000] {
        says_nothing(&refused_token(&world, &"a".repeat(len)).await);
    }
    // Beyond what a head may have.
    let text = request("DELETE", TARGET, &"a".repeat(100_000), "", "");
    assert_eq!(world.send(text).await.status, 431);
    world.is_well_and_stops().await;
}

#[tokio::test]
async fn a_token_of_garbage() {
    let world = World::new().await;
    for token in [
        ".",
        "..",
        "...",
        "a",
        "a.b",
        "a.b.c",
        "a.b.c.d",
        "e30.e30.",
        "e30.e30.e30",
        "====.====.====",
        "%00.%00.%00",
        "W10.W10.W10",
        "bnVsbA.bnVsbA.bnVsbA",
        "\u{e9}.\u{e9}.\u{e9}",
        "eyJhbGciOiJFUzI1NiIsImFsZyI6Im5vbmUifQ.e30.e30",
    ] {
        says_nothing(&refused_token(&world, token).await);
    }
    world.is_well_and_stops().await;
}
