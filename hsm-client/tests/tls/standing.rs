//! A server outlives its session.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use hsm_client::attestation::Nonce;
use hsm_client::kinds::EcdsaP256;
use hsm_client::limits::SESSION_IDLE_MAX;
use hsm_client::tls::Identity;
use hsm_client::{Credentials, ErrorKind, UserUpdate};
use std::time::Duration;

use crate::world::{Gate, Mode, PASSWORD, World, handshake, server};

#[tokio::test]
async fn a_server_serves_on_when_its_session_has_ended() {
    let world = World::new().await;
    let logins = Arc::new(AtomicUsize::new(0));
    let count = logins.clone();
    let session = world.hsm.stay_logged_in(move || {
        count.fetch_add(1, Ordering::SeqCst);
        Credentials::password("app", PASSWORD)
    });
    let session = session.await.unwrap();
    let short = world.app().await;
    let key = session.create::<EcdsaP256>("www").await.unwrap();
    let chain = world
        .ca
        .issue(&key.public_key().await.unwrap(), "localhost");
    let server = Arc::new(server(Arc::new(Identity::new(&key, chain).await.unwrap())));
    let client = || Arc::new(world.ca.client());
    handshake(&server, &client(), "localhost").unwrap();
    assert_eq!(logins.load(Ordering::SeqCst), 1);

    world
        .clock
        .advance(SESSION_IDLE_MAX + Duration::from_secs(1));
    let error = short.key::<EcdsaP256>("www").await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Unauthenticated);
    handshake(&server, &client(), "localhost").unwrap();
    assert_eq!(logins.load(Ordering::SeqCst), 2);

    // A change is not repeated by itself, and may be.
    world
        .clock
        .advance(SESSION_IDLE_MAX + Duration::from_secs(1));
    assert_eq!(
        key.rotate().await.unwrap_err().kind(),
        ErrorKind::Unauthenticated
    );
    key.rotate().await.unwrap();
    assert_eq!(logins.load(Ordering::SeqCst), 3);

    // Credentials that are not taken any more are not tried again and again.
    let admin = world.admin().await;
    admin
        .update_user(
            "app",
            UserUpdate::Password(b"another password".to_vec().into()),
        )
        .await
        .unwrap();
    for _ in 0..3 {
        let error = key.sign(b"message").await.unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Unauthenticated);
    }
    assert_eq!(logins.load(Ordering::SeqCst), 4);
}

#[tokio::test]
async fn a_key_report_is_asked_for_again_when_the_session_has_ended() {
    let world = World::new().await;
    let session = world
        .hsm
        .stay_logged_in(|| Credentials::password("app", PASSWORD));
    let session = session.await.unwrap();
    let key = session.create::<EcdsaP256>("www").await.unwrap();
    world
        .clock
        .advance(SESSION_IDLE_MAX + Duration::from_secs(1));
    key.attest(&Nonce::new([7; 16]).unwrap()).await.unwrap();
}

#[tokio::test]
async fn who_logs_out_stays_out() {
    let world = World::new().await;
    let session = world
        .hsm
        .stay_logged_in(|| Credentials::password("app", PASSWORD));
    let session = session.await.unwrap();
    session.create::<EcdsaP256>("www").await.unwrap();
    session.logout().await;
    let error = session.key::<EcdsaP256>("www").await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Unauthenticated);
}

/// Logged out while it logs in again: the session that comes out of that is not left open.
#[tokio::test]
async fn who_logs_out_during_a_login_stays_out() {
    let world = World::new().await;
    let logins = Gate::new();
    let session = world.logs_in_through(&logins).await;
    session.create::<EcdsaP256>("www").await.unwrap();
    world
        .clock
        .advance(SESSION_IDLE_MAX + Duration::from_secs(1));
    logins.set(Mode::Held);
    let asking = tokio::spawn({
        let session = session.clone();
        async move { session.key::<EcdsaP256>("www").await.map(drop) }
    });
    logins.arrivals(2).await;
    let leaving = tokio::spawn({
        let session = session.clone();
        async move { session.logout().await }
    });
    tokio::task::yield_now().await;
    logins.set(Mode::Open);
    leaving.await.unwrap();
    let error = asking.await.unwrap().unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Unauthenticated);
    assert_eq!(world.hsm.status().unwrap().sessions, 0);
    session.key::<EcdsaP256>("www").await.unwrap_err();
    assert_eq!(logins.arrived(), 2);
}

/// An HSM that is away is not asked once more for each who waits: the last one would wait for all before.
#[tokio::test]
async fn who_waits_for_a_login_fails_with_it() {
    let world = World::new().await;
    let logins = Gate::new();
    let session = world.logs_in_through(&logins).await;
    session.create::<EcdsaP256>("www").await.unwrap();
    world
        .clock
        .advance(SESSION_IDLE_MAX + Duration::from_secs(1));
    logins.set(Mode::Held);
    let mut asking = tokio::task::JoinSet::new();
    for _ in 0..8 {
        let session = session.clone();
        asking.spawn(async move { session.key::<EcdsaP256>("www").await.map(drop) });
    }
    logins.arrivals(2).await;
    tokio::task::yield_now().await;
    logins.set(Mode::Away);
    for result in asking.join_all().await {
        assert_eq!(result.unwrap_err().kind(), ErrorKind::Unreachable);
    }
    assert_eq!(logins.arrived(), 2);
    // Who comes later asks again.
    logins.set(Mode::Open);
    session.key::<EcdsaP256>("www").await.unwrap();
    assert_eq!(logins.arrived(), 3);
}

#[tokio::test]
async fn a_session_cannot_change_hands() {
    let world = World::new().await;
    let logins = AtomicUsize::new(0);
    let session = world.hsm.stay_logged_in(move || {
        let user = ["app", "admin"][logins.fetch_add(1, Ordering::SeqCst).min(1)];
        Credentials::password(user, PASSWORD)
    });
    let session = session.await.unwrap();
    session.create::<EcdsaP256>("www").await.unwrap();
    world
        .clock
        .advance(SESSION_IDLE_MAX + Duration::from_secs(1));
    let error = session.key::<EcdsaP256>("www").await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Unauthenticated);
    assert!(error.message().contains("admin"), "{error}");
}
