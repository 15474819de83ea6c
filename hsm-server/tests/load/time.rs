//! The test clock: what takes months is seen in seconds, and the time stays ahead when the server is started again.

use std::time::Duration;

use hsm_client::kinds::EcdsaP256;
use hsm_client::{Clock, ErrorKind, PageRequest, RotationPolicy, SystemClock};
use serde_json::{Value, json};

use crate::served::{Place, Served};

const DAY: u64 = 24 * 60 * 60;

/// Moves the clock, and returns how far it is ahead, in seconds.
async fn advance(place: &Place, token: &str, period: &str) -> u64 {
    let answer = place
        .http()
        .build()
        .unwrap()
        .post(place.url("/hsm/v1/clock"))
        .bearer_auth(token)
        .body(json!({ "advance": period }).to_string())
        .send()
        .await
        .unwrap();
    assert!(answer.status().is_success(), "{answer:?}");
    let answer: Value = answer.json().await.unwrap();
    answer["offsetSeconds"].as_u64().unwrap()
}

/// An API token that outlives what the test does with the clock.
async fn long_token(place: &Place) -> String {
    let expires = SystemClock::default().now() + Duration::from_secs(365 * DAY);
    let admin = place.admin().await;
    let (token, _) = admin
        .create_token("long", place.user(), expires)
        .await
        .unwrap();
    String::from_utf8(token.expose().to_vec()).unwrap()
}

#[tokio::test]
async fn rotation_expiry_and_retention_come_when_the_clock_is_moved_and_stay() {
    let folder = tempfile::tempdir().unwrap();
    let server = Served::start(folder.path());
    let place = server.place().clone();
    let token = long_token(&place).await;
    let admin = place.admin().await;
    let rotated = admin
        .create::<EcdsaP256>("rotated")
        .rotation(RotationPolicy::rotate_after("P30D").unwrap())
        .await
        .unwrap();
    let soon = SystemClock::default().now() + Duration::from_secs(40 * DAY);
    let expiring = admin
        .create::<EcdsaP256>("expiring")
        .expires(soon)
        .await
        .unwrap();
    let deleted = admin.create::<EcdsaP256>("deleted").await.unwrap();
    deleted.delete().await.unwrap();
    let versions = async |admin: &hsm_client::Session| {
        let key = admin.any_key("rotated").await.unwrap();
        let page = key.handle().versions(PageRequest::default()).await.unwrap();
        page.items.len()
    };
    expiring.sign(b"message").await.unwrap();
    assert_eq!(versions(&admin).await, 1);
    rotated.sign(b"message").await.unwrap();

    assert_eq!(advance(&place, &token, "P31D").await, 31 * DAY);
    let admin = place.admin().await;
    assert_eq!(versions(&admin).await, 2);
    admin.deleted_key("deleted").await.unwrap();
    let key = admin.key::<EcdsaP256>("expiring").await.unwrap();
    key.sign(b"message").await.unwrap();

    assert_eq!(advance(&place, &token, "P10D").await, 41 * DAY);
    let admin = place.admin().await;
    let key = admin.key::<EcdsaP256>("expiring").await.unwrap();
    let refused = key.sign(b"message").await.unwrap_err();
    assert_eq!(refused.kind(), ErrorKind::KeyState, "{refused}");

    assert_eq!(advance(&place, &token, "P60D").await, 101 * DAY);
    let admin = place.admin().await;
    let gone = admin.deleted_key("deleted").await.unwrap_err();
    assert_eq!(gone.kind(), ErrorKind::NotFound);
    let before = versions(&admin).await;
    assert!(before >= 3, "{before} versions");

    // Once in order, once not.
    assert_eq!(server.stop(), Some(0));
    let server = Served::start_again(&place);
    assert_eq!(advance(&place, &token, "PT0S").await, 101 * DAY);
    assert_eq!(versions(&place.admin().await).await, before);
    server.kill();
    let server = Served::start_again(&place);
    assert_eq!(advance(&place, &token, "P31D").await, 132 * DAY);
    let admin = place.admin().await;
    assert_eq!(versions(&admin).await, before + 1);
    let key = admin.key::<EcdsaP256>("expiring").await.unwrap();
    assert_eq!(
        key.sign(b"message").await.unwrap_err().kind(),
        ErrorKind::KeyState
    );
    assert_eq!(server.stop(), Some(0));
}
