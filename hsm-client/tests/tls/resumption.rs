//! Sessions resume on every server that shares the HSM, for an hour or two.

use std::sync::Arc;
use std::time::Duration;

use hsm_client::kinds::{EcdsaP256, Kdk256};
use hsm_client::tls::rustls::server::ProducesTickets;
use hsm_client::tls::rustls::version::{TLS12, TLS13};
use hsm_client::tls::rustls::{HandshakeKind, ServerConfig};
use hsm_client::tls::{Identity, TICKET_KEY_RETRY, TICKET_PERIOD, Tickets};
use hsm_client::{AttributesUpdate, Clock, ErrorKind, Key, Session};
use hsm_testkit::ManualClock;

use crate::world::{Gate, Mode, World, handshake, open_again, server};

async fn tickets(session: &Session, clock: &Arc<ManualClock>) -> Arc<Tickets> {
    let key: Key<Kdk256> = session.key("tickets").await.unwrap();
    Tickets::with_clock(&key, "www", clock.clone())
        .await
        .unwrap()
}

/// Two engines over one folder, as two processes are.
#[tokio::test]
async fn on_another_server_with_the_same_hsm() {
    let folder = tempfile::tempdir().unwrap();
    let url = format!("soft:{}", folder.path().join("dev.hsm").display());
    let world = World::at(&url).await;
    let session = world.app().await;
    let key = session.create::<EcdsaP256>("www").await.unwrap();
    session.create::<Kdk256>("tickets").await.unwrap();
    let chain = world
        .ca
        .issue(&key.public_key().await.unwrap(), "localhost");

    let mut servers: Vec<Arc<ServerConfig>> = Vec::new();
    for session in [session, open_again(&url, &world.clock).await] {
        let key = session.key::<EcdsaP256>("www").await.unwrap();
        let identity = Identity::new(&key, chain.clone()).await.unwrap();
        let mut config = server(Arc::new(identity));
        config.ticketer = tickets(&session, &world.clock).await;
        servers.push(Arc::new(config));
    }
    for version in [&TLS12, &TLS13] {
        let client = Arc::new(world.ca.client_of(&[version]));
        let first = handshake(&servers[0], &client, "localhost").unwrap();
        assert_eq!(first.server.handshake_kind(), Some(HandshakeKind::Full));
        let mut second = handshake(&servers[1], &client, "localhost").unwrap();
        assert_eq!(second.server.handshake_kind(), Some(HandshakeKind::Resumed));
        assert_eq!(second.client.protocol_version(), Some(version.version));
        assert!(second.are_connected());
    }

    // Without the HSM's tickets, they do not know each other's sessions.
    let identity = servers[0].cert_resolver.clone();
    let alone = Arc::new(server(identity));
    let client = Arc::new(world.ca.client());
    handshake(&servers[0], &client, "localhost").unwrap();
    let second = handshake(&alone, &client, "localhost").unwrap();
    assert_eq!(second.server.handshake_kind(), Some(HandshakeKind::Full));
}

#[tokio::test]
async fn a_ticket_is_good_for_its_hour_and_the_next() {
    let world = World::new().await;
    let session = world.app().await;
    session.create::<Kdk256>("tickets").await.unwrap();
    let tickets = tickets(&session, &world.clock).await;
    let period = u32::try_from(TICKET_PERIOD.as_secs()).unwrap();
    assert_eq!(tickets.lifetime(), 2 * period);
    let ticket = tickets.encrypt(b"a session").unwrap();

    world
        .clock
        .advance(TICKET_PERIOD + TICKET_PERIOD - Duration::from_secs(1));
    let session = world.app().await;
    assert_eq!(tickets.lifetime(), period + 1);
    assert_eq!(tickets.decrypt(&ticket).unwrap(), b"a session");
    world.clock.advance(Duration::from_secs(1));
    assert_eq!(tickets.decrypt(&ticket), None);

    // A server that starts now does not take it either.
    let started = self::tickets(&session, &world.clock).await;
    assert_eq!(started.decrypt(&ticket), None);
    let ticket = started.encrypt(b"another").unwrap();
    // The session that `tickets` has is over, and so is what it can do; see the standing session for that.
    assert_eq!(tickets.encrypt(b"another"), None);
    assert_eq!(started.decrypt(&ticket).unwrap(), b"another");
}

#[tokio::test]
async fn a_ticket_that_was_changed_is_none() {
    let world = World::new().await;
    let session = world.app().await;
    session.create::<Kdk256>("tickets").await.unwrap();
    let tickets = tickets(&session, &world.clock).await;
    let ticket = tickets.encrypt(b"a session").unwrap();
    assert_eq!(tickets.decrypt(&ticket).unwrap(), b"a session");
    for at in 0..ticket.len() {
        let mut changed = ticket.clone();
        changed[at] ^= 1;
        assert_eq!(tickets.decrypt(&changed), None, "{at}");
        assert_eq!(tickets.decrypt(&ticket[..at]), None, "{at}");
    }
    assert_eq!(tickets.decrypt(&[&ticket[..], &[0]].concat()), None);
    assert_eq!(tickets.decrypt(&[0; 1 << 16]), None);
    // Two of the same are not alike.
    assert_ne!(tickets.encrypt(b"a session").unwrap(), ticket);
}

#[tokio::test]
async fn services_do_not_take_each_others_tickets() {
    let world = World::new().await;
    let key = world.app().await;
    let key = key.create::<Kdk256>("tickets").await.unwrap();
    let open = Tickets::with_clock(&key, "open", world.clock.clone())
        .await
        .unwrap();
    let staff = Tickets::with_clock(&key, "staff", world.clock.clone())
        .await
        .unwrap();
    assert_eq!(staff.decrypt(&open.encrypt(b"a session").unwrap()), None);
}

#[tokio::test]
async fn rotation_and_forgetting_end_all_tickets() {
    let world = World::new().await;
    let key = world.app().await;
    let key = key.create::<Kdk256>("tickets").await.unwrap();
    let tickets = Tickets::with_clock(&key, "www", world.clock.clone())
        .await
        .unwrap();
    let ticket = tickets.encrypt(b"a session").unwrap();
    tickets.forget();
    tickets.refresh().await.unwrap();
    assert!(tickets.decrypt(&ticket).is_some(), "the same key again");
    key.rotate().await.unwrap();
    tickets.forget();
    tickets.refresh().await.unwrap();
    assert_eq!(tickets.decrypt(&ticket), None);
}

/// What the old version gave, and what came when all keys had been forgotten already.
#[tokio::test]
async fn a_key_that_is_under_way_when_all_are_forgotten_is_not_kept() {
    let world = World::new().await;
    let gate = Gate::new();
    let session = world.gated(&gate).await;
    let key = session.create::<Kdk256>("tickets").await.unwrap();
    let old = key.info().await.unwrap().version;
    // Not the one of the session, which would end.
    let clock = Arc::new(ManualClock::new(world.clock.now()));
    let tickets = Tickets::with_clock(&key, "www", clock.clone())
        .await
        .unwrap();
    let fetched = gate.arrived();
    clock.advance(TICKET_PERIOD);
    gate.set(Mode::Late);
    let refreshing = tokio::spawn({
        let tickets = tickets.clone();
        async move { tickets.refresh().await }
    });
    gate.answers(fetched + 1).await;
    key.rotate().await.unwrap();
    tickets.forget();
    gate.set(Mode::Open);
    refreshing.await.unwrap().unwrap();

    let next_hour = Arc::new(ManualClock::new(clock.now() + TICKET_PERIOD));
    let of_old = Tickets::with_clock(&key.at(old), "www", next_hour)
        .await
        .unwrap();
    let ticket = of_old.encrypt(b"a session").unwrap();
    assert_eq!(tickets.decrypt(&ticket), None);
    tickets.refresh().await.unwrap();
    assert_eq!(tickets.decrypt(&ticket), None);
}

/// An HSM that is away costs resumption and nothing else, and nobody waits for it.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_hsm_that_is_away_costs_resumption_only() {
    let world = World::new().await;
    let gate = Gate::new();
    let session = world.gated(&gate).await;
    let key = session.create::<Kdk256>("tickets").await.unwrap();
    let tickets = Tickets::with_clock(&key, "www", world.clock.clone())
        .await
        .unwrap();
    let fetched = gate.arrived();
    assert_eq!(fetched, 3);

    // An hour later it is asked for the key of the hour after the next, by a thread of its own.
    gate.set(Mode::Held);
    world.clock.advance(TICKET_PERIOD);
    let ticket = tickets.encrypt(b"a session").unwrap();
    gate.arrivals(fetched + 1).await;
    assert_eq!(tickets.decrypt(&ticket).unwrap(), b"a session");
    assert_eq!(gate.arrived(), fetched + 1, "once is enough");
    gate.set(Mode::Away);
    until(|| tickets.failure().is_some()).await;
    assert!(tickets.failure().unwrap().contains("unreachable"));

    // It is left alone for a while, and then asked again.
    tickets.encrypt(b"a session").unwrap();
    assert_eq!(gate.arrived(), fetched + 1);
    gate.set(Mode::Open);
    world.clock.advance(TICKET_KEY_RETRY);
    tickets.encrypt(b"a session").unwrap();
    until(|| tickets.failure().is_none()).await;
    assert!(gate.arrived() > fetched + 1);
}

#[tokio::test]
async fn a_key_that_may_not_derive_is_refused() {
    let world = World::new().await;
    let key = world.app().await;
    let key = key.create::<Kdk256>("tickets").await.unwrap();
    key.update(AttributesUpdate::new().enabled(false))
        .await
        .unwrap();
    let error = Tickets::with_clock(&key, "www", world.clock.clone())
        .await
        .unwrap_err();
    assert_eq!(error.kind(), ErrorKind::KeyState);
    assert!(world.clock.now().unix_seconds() > 0);
}

/// What another thread is about to do. If it never does, the test fails instead of hanging.
async fn until(done: impl Fn() -> bool) {
    let watching = async {
        while !done() {
            tokio::task::yield_now().await;
        }
    };
    tokio::time::timeout(Duration::from_secs(60), watching)
        .await
        .unwrap();
}

#[tokio::test]
async fn ticket_keys_are_not_printed() {
    let world = World::new().await;
    let session = world.app().await;
    session.create::<Kdk256>("tickets").await.unwrap();
    let tickets = tickets(&session, &world.clock).await;
    let printed = format!("{tickets:?}");
    assert_eq!(
        printed,
        r#"Tickets { key: Key(tickets), service: "www", .. }"#
    );
}
