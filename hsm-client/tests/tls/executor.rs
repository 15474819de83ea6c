//! A handshake that waits for the HSM lets everything else go on, in every runtime.

use std::sync::Arc;

use hsm_client::kinds::EcdsaP256;
use hsm_client::tls::rustls::crypto::aws_lc_rs::{default_provider, kx_group};
use hsm_client::tls::rustls::version::{TLS12, TLS13};
use hsm_client::tls::rustls::{ClientConfig, ServerConfig};
use hsm_client::tls::tokio_rustls::{TlsAcceptor, TlsConnector};
use hsm_client::tls::{Acceptor, Connector, HANDSHAKE_THREADS_MAX, Identity};
use tokio::io::{AsyncReadExt, AsyncWriteExt};

use crate::world::{Gate, Mode, World, server};

/// Whose key is behind the gate.
async fn identity(world: &World, gate: &Gate) -> Arc<Identity> {
    let key = world.gated(gate).await;
    let key = key.create::<EcdsaP256>("www").await.unwrap();
    let chain = world
        .ca
        .issue(&key.public_key().await.unwrap(), "localhost");
    Arc::new(Identity::new(&key, chain).await.unwrap())
}

/// The executor has one thread, which is this one: were it blocked, nobody would open the gate, and the handshake would end
/// with an error after its time.
async fn others_go_on(gate: &Gate, server: ServerConfig, client: ClientConfig, signatures: usize) {
    let (near, far) = tokio::io::duplex(1 << 14);
    let before = gate.arrived();
    gate.set(Mode::Held);
    let accepting = tokio::spawn(async move { Acceptor::new(server).accept(far).await });
    let connector = Connector::new(client);
    let connecting = tokio::spawn(async move {
        connector
            .connect("localhost".try_into().unwrap(), near)
            .await
    });
    gate.arrivals(before + 1).await;
    assert_eq!(tokio::spawn(async { 7 }).await.unwrap(), 7);
    assert!(!accepting.is_finished() && !connecting.is_finished());
    gate.set(Mode::Open);
    let mut accepted = accepting.await.unwrap().unwrap();
    let mut connected = connecting.await.unwrap().unwrap();
    assert_eq!(gate.arrived(), before + signatures);

    let mut text = [0; 5];
    connected.write_all(b"hello").await.unwrap();
    connected.flush().await.unwrap();
    accepted.read_exact(&mut text).await.unwrap();
    assert_eq!(text, *b"hello");
}

#[tokio::test]
async fn a_server_on_one_thread() {
    let world = World::new().await;
    let gate = Gate::new();
    let identity = identity(&world, &gate).await;
    for version in [&TLS12, &TLS13] {
        let client = world.ca.client_of(&[version]);
        others_go_on(&gate, server(identity.clone()), client, 1).await;
    }
}

/// The server asks for another key share, and signs at the second message.
#[tokio::test]
async fn a_server_that_asks_the_client_to_retry() {
    let world = World::new().await;
    let gate = Gate::new();
    let identity = identity(&world, &gate).await;
    let mut provider = default_provider();
    provider.kx_groups = vec![kx_group::SECP384R1];
    let config = ServerConfig::builder_with_provider(Arc::new(provider))
        .with_protocol_versions(&[&TLS13])
        .unwrap()
        .with_no_client_auth()
        .with_cert_resolver(identity);
    others_go_on(&gate, config, world.ca.client(), 1).await;
}

/// Both sides have their key behind the gate, and both run on this thread.
#[tokio::test]
async fn a_client_on_one_thread() {
    let world = World::new().await;
    let gate = Gate::new();
    let identity = identity(&world, &gate).await;
    for version in [&TLS12, &TLS13] {
        let config = world.ca.server_for_clients(&[version], identity.clone());
        let mut client = world.ca.client_of(&[version]);
        client.client_auth_cert_resolver = identity.clone();
        others_go_on(&gate, config, client, 2).await;
    }
}

/// With a plain acceptor too, where there is a second thread to go on: the worker hands its tasks over before it waits.
#[tokio::test(flavor = "multi_thread", worker_threads = 1)]
async fn a_plain_acceptor_on_a_runtime_of_several_threads() {
    let world = World::new().await;
    let gate = Gate::new();
    let identity = identity(&world, &gate).await;
    let acceptor = TlsAcceptor::from(Arc::new(server(identity)));
    let connector = TlsConnector::from(Arc::new(world.ca.client()));
    let (near, far) = tokio::io::duplex(1 << 14);
    let before = gate.arrived();
    gate.set(Mode::Held);
    let accepting = tokio::spawn(async move { acceptor.accept(far).await });
    let connecting = tokio::spawn(async move {
        connector
            .connect("localhost".try_into().unwrap(), near)
            .await
    });
    gate.arrivals(before + 1).await;
    // On the worker that waits, if it were blocked.
    assert_eq!(tokio::spawn(async { 7 }).await.unwrap(), 7);
    gate.set(Mode::Open);
    accepting.await.unwrap().unwrap();
    connecting.await.unwrap().unwrap();
}

/// More handshakes than there are threads for: they wait for each other, and all of them end well. A client that gives up
/// takes no thread with it.
#[tokio::test]
async fn more_handshakes_than_threads() {
    let world = World::new().await;
    let gate = Gate::new();
    let identity = identity(&world, &gate).await;
    let acceptor = Acceptor::new(server(identity));
    let client = Arc::new(world.ca.client());
    let before = gate.arrived();
    gate.set(Mode::Held);
    let mut accepting = tokio::task::JoinSet::new();
    let mut connecting = tokio::task::JoinSet::new();
    for _ in 0..HANDSHAKE_THREADS_MAX + 8 {
        let (near, far) = tokio::io::duplex(1 << 14);
        let (acceptor, connector) = (acceptor.clone(), TlsConnector::from(client.clone()));
        accepting.spawn(async move { acceptor.accept(far).await });
        connecting.spawn(async move {
            let connect = connector.connect("localhost".try_into().unwrap(), near);
            connect.await
        });
    }
    let silent: Vec<_> = (0..HANDSHAKE_THREADS_MAX)
        .map(|_| {
            let (near, far) = tokio::io::duplex(1 << 14);
            let acceptor = acceptor.clone();
            (
                near,
                tokio::spawn(async move { acceptor.accept(far).await.map(drop) }),
            )
        })
        .collect();
    gate.arrivals(before + HANDSHAKE_THREADS_MAX).await;
    assert_eq!(gate.arrived(), before + HANDSHAKE_THREADS_MAX);
    gate.set(Mode::Open);
    // Neither side hangs up before the other is done.
    let (accepted, connected) = (accepting.join_all().await, connecting.join_all().await);
    assert!(accepted.iter().all(Result::is_ok) && connected.iter().all(Result::is_ok));
    for (near, accepting) in silent {
        drop(near);
        accepting.await.unwrap().unwrap_err();
    }
}
