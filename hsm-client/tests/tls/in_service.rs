//! What happens to a running server: its key ends, its HSM goes away, its certificate is renewed.

use std::sync::Arc;
use std::time::Duration;

use hsm_client::kinds::{EcdsaP256, Ed25519};
use hsm_client::tls::rustls::{self, ServerConfig};
use hsm_client::tls::{Acceptor, Connector, Identity, cause};
use hsm_client::{AttributesUpdate, Clock, ErrorKind};

use crate::world::{Gate, Mode, World, handshake, server};

fn kind(error: &rustls::Error) -> ErrorKind {
    cause(error).expect("it has one").kind()
}

#[tokio::test]
async fn a_key_that_is_disabled_fails_new_handshakes_only() {
    let world = World::new().await;
    let key = world.app().await;
    let key = key.create::<EcdsaP256>("www").await.unwrap();
    let chain = world
        .ca
        .issue(&key.public_key().await.unwrap(), "localhost");
    let server = server(Arc::new(Identity::new(&key, chain).await.unwrap()));
    let (server, client) = (Arc::new(server), Arc::new(world.ca.client()));
    let mut established = handshake(&server, &client, "localhost").unwrap();

    key.update(AttributesUpdate::new().enabled(false))
        .await
        .unwrap();
    let fresh = Arc::new(world.ca.client());
    let error = handshake(&server, &fresh, "localhost").unwrap_err();
    assert!(
        error
            .to_string()
            .contains("key www did not sign the handshake"),
        "{error}"
    );
    assert_eq!(kind(&error), ErrorKind::KeyState);
    assert!(established.are_connected());

    key.update(AttributesUpdate::new().enabled(true))
        .await
        .unwrap();
    handshake(&server, &fresh, "localhost").unwrap();
}

#[tokio::test]
async fn a_key_that_expires_fails_new_handshakes_only() {
    let world = World::new().await;
    let session = world.app().await;
    let expires = world.clock.now() + Duration::from_secs(60);
    let key = session
        .create::<Ed25519>("www")
        .expires(expires)
        .await
        .unwrap();
    let chain = world
        .ca
        .issue(&key.public_key().await.unwrap(), "localhost");
    let server = server(Arc::new(Identity::new(&key, chain).await.unwrap()));
    let (server, client) = (Arc::new(server), Arc::new(world.ca.client()));
    let mut established = handshake(&server, &client, "localhost").unwrap();

    world.clock.advance(Duration::from_secs(61));
    let fresh = Arc::new(world.ca.client());
    let error = handshake(&server, &fresh, "localhost").unwrap_err();
    assert!(error.to_string().contains("deactivated"), "{error}");
    assert_eq!(kind(&error), ErrorKind::KeyState);
    assert!(established.are_connected());
}

/// One handshake over a network that is not there, and what the server says of it.
async fn connect(
    acceptor: &Acceptor,
    client: rustls::ClientConfig,
) -> std::io::Result<Vec<rustls::pki_types::CertificateDer<'static>>> {
    let (near, far) = tokio::io::duplex(1 << 14);
    let connector = Connector::new(client);
    let (accepted, connected) = tokio::join!(
        acceptor.accept(far),
        connector.connect("localhost".try_into().unwrap(), near)
    );
    accepted?;
    let stream = connected?;
    Ok(stream.get_ref().1.peer_certificates().unwrap().to_vec())
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn an_hsm_goes_away_under_load_and_comes_back() {
    let world = Arc::new(World::new().await);
    let gate = Gate::new();
    let key = world.gated(&gate).await;
    let key = key.create::<EcdsaP256>("www").await.unwrap();
    let chain = world
        .ca
        .issue(&key.public_key().await.unwrap(), "localhost");
    let acceptor = Acceptor::new(server(Arc::new(Identity::new(&key, chain).await.unwrap())));
    let load = |count: usize| {
        let mut tasks = tokio::task::JoinSet::new();
        for _ in 0..4 {
            let (world, acceptor) = (world.clone(), acceptor.clone());
            tasks.spawn(async move {
                let mut results = Vec::new();
                for _ in 0..count {
                    results.push(connect(&acceptor, world.ca.client()).await);
                }
                results
            });
        }
        tasks
    };

    let results = load(3).join_all().await.concat_results();
    assert!(results.iter().all(Result::is_ok), "{results:?}");

    // It goes while handshakes are under way, and others are to come: each fails with the reason.
    let before = gate.arrived();
    gate.set(Mode::Held);
    let tasks = load(3);
    gate.arrivals(before + 4).await;
    gate.set(Mode::Away);
    let results = tasks.join_all().await.concat_results();
    assert_eq!(results.len(), 12);
    for error in results {
        let error = &error.unwrap_err();
        let message = error.to_string();
        assert!(
            message.contains("www") && message.contains("unreachable"),
            "{message}"
        );
        assert_eq!(cause(error).unwrap().kind(), ErrorKind::Unreachable);
    }

    gate.set(Mode::Open);
    let results = load(5).join_all().await.concat_results();
    assert_eq!(results.len(), 20);
    assert!(results.iter().all(Result::is_ok), "{results:?}");
}

trait Concat<T> {
    fn concat_results(self) -> Vec<T>;
}

impl<T> Concat<T> for Vec<Vec<T>> {
    fn concat_results(self) -> Vec<T> {
        self.into_iter().flatten().collect()
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn a_certificate_is_renewed_under_handshakes() {
    let world = Arc::new(World::new().await);
    let session = world.app().await;
    let key = session.create::<EcdsaP256>("www").await.unwrap();
    let old = world
        .ca
        .issue(&key.public_key().await.unwrap(), "localhost");
    let identity = Arc::new(Identity::new(&key, old.clone()).await.unwrap());
    let acceptor = Acceptor::new(server(identity.clone()));
    let mut tasks = tokio::task::JoinSet::new();
    let (renewed, new_is_there) = tokio::sync::watch::channel(false);
    for _ in 0..4 {
        let (world, acceptor, there) = (world.clone(), acceptor.clone(), new_is_there.clone());
        tasks.spawn(async move {
            // What was shown, and whether it was renewed before the handshake began.
            let mut shown = Vec::new();
            while !(shown.len() > 4 && shown.iter().rev().take(2).all(|(_, late)| *late)) {
                let late = *there.borrow();
                shown.push((connect(&acceptor, world.ca.client()).await.unwrap(), late));
            }
            shown
        });
    }

    // A version of its own for the new certificate. The old certificate still has the old one meanwhile.
    let version = key.rotate().await.unwrap();
    connect(&acceptor, world.ca.client()).await.unwrap();
    let new = world
        .ca
        .issue(&key.at(version).public_key().await.unwrap(), "localhost");
    identity.renew(&key, new.clone()).await.unwrap();
    renewed.send_replace(true);
    assert_ne!(old, new);
    for (shown, late) in tasks.join_all().await.concat_results() {
        assert!(shown == new || (shown == old && !late));
    }
    assert!(identity.expires() > world.clock.now());
}

#[tokio::test]
async fn rotation_does_not_break_the_certificate() {
    let world = World::new().await;
    let key = world.app().await;
    let key = key.create::<EcdsaP256>("www").await.unwrap();
    let chain = world
        .ca
        .issue(&key.public_key().await.unwrap(), "localhost");
    let server: ServerConfig = server(Arc::new(Identity::new(&key, chain.clone()).await.unwrap()));
    key.rotate().await.unwrap();
    key.rotate().await.unwrap();
    let client = Arc::new(world.ca.client());
    let ends = handshake(&Arc::new(server), &client, "localhost").unwrap();
    assert_eq!(ends.client.peer_certificates().unwrap(), chain);
}
