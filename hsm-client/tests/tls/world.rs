//! What the tests of TLS share: a certification authority in memory, an HSM behind a gate, and handshakes without a network.

use std::sync::Arc;

use async_trait::async_trait;
use hsm_client::tls::rustls::client::WebPkiServerVerifier;
use hsm_client::tls::rustls::pki_types::{CertificateDer, ServerName};
use hsm_client::tls::rustls::server::WebPkiClientVerifier;
use hsm_client::tls::rustls::{
    self, ClientConfig, ClientConnection, RootCertStore, ServerConfig, ServerConnection,
    SupportedProtocolVersion,
};
use hsm_client::{
    BuiltInRole, Credentials, Error, ErrorKind, Hsm, OpenOptions, Principal, PublicKey, Result,
    Scope, Session, Setup,
};
use hsm_core::audit::RequestId;
use hsm_core::{Request, Response, Service};
use hsm_testkit::ManualClock;
use rcgen::{BasicConstraints, CertificateParams, CertifiedIssuer, IsCa, KeyPair};
use tokio::sync::watch;

pub(crate) const PASSWORD: &str = "correct horse battery staple";

/// An HSM where `app` is a crypto user, and the clock that it goes by.
pub(crate) struct World {
    pub(crate) hsm: Hsm,
    pub(crate) clock: Arc<ManualClock>,
    pub(crate) ca: Ca,
}

impl World {
    pub(crate) async fn new() -> Self {
        Self::at("memory:").await
    }

    pub(crate) async fn at(url: &str) -> Self {
        let clock = Arc::new(ManualClock::default());
        let setup = Setup::new("admin", PASSWORD).clock(clock.clone());
        let hsm = Hsm::create(url, setup).await.unwrap();
        let admin = hsm.login("admin", PASSWORD).await.unwrap();
        admin.create_user("app", PASSWORD).await.unwrap();
        admin
            .assign_role(BuiltInRole::CryptoUser, "app", Scope::Keys)
            .await
            .unwrap();
        Self {
            hsm,
            clock,
            ca: Ca::new(),
        }
    }

    pub(crate) async fn app(&self) -> Session {
        self.hsm.login("app", PASSWORD).await.unwrap()
    }

    pub(crate) async fn admin(&self) -> Session {
        self.hsm.login("admin", PASSWORD).await.unwrap()
    }

    /// A session of `app` whose requests go through the gate.
    pub(crate) async fn gated(&self, gate: &Gate) -> Session {
        self.behind(gate.clone(), Gate::new()).await
    }

    /// A session of `app` that logs in through the gate, for the first time here.
    pub(crate) async fn logs_in_through(&self, logins: &Gate) -> Session {
        self.behind(Gate::new(), logins.clone()).await
    }

    async fn behind(&self, gate: Gate, logins: Gate) -> Session {
        let service = Gated {
            hsm: self.hsm.clone(),
            gate,
            logins,
        };
        let hsm = Hsm::over(Arc::new(service)).unwrap();
        // Time passes in some tests, and this is not about sessions.
        let session = hsm.stay_logged_in(|| Credentials::password("app", PASSWORD));
        session.await.unwrap()
    }
}

/// The HSM in a folder, opened once more: as another process does.
pub(crate) async fn open_again(url: &str, clock: &Arc<ManualClock>) -> Session {
    let options = OpenOptions::new().clock(clock.clone());
    let hsm = Hsm::open_with(url, options).await.unwrap();
    hsm.login("app", PASSWORD).await.unwrap()
}

/// A certification authority with its key in memory: the one of others.
pub(crate) struct Ca(CertifiedIssuer<'static, KeyPair>);

impl Ca {
    pub(crate) fn new() -> Self {
        let mut params = CertificateParams::default();
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        Self(CertifiedIssuer::self_signed(params, KeyPair::generate().unwrap()).unwrap())
    }

    pub(crate) fn issue(&self, public: &PublicKey, name: &str) -> Vec<CertificateDer<'static>> {
        self.issue_with(public, name, |_| ())
    }

    pub(crate) fn issue_with(
        &self,
        public: &PublicKey,
        name: &str,
        change: impl FnOnce(&mut CertificateParams),
    ) -> Vec<CertificateDer<'static>> {
        let mut params = CertificateParams::new([name.to_owned()]).unwrap();
        change(&mut params);
        let spki = public.to_spki_der().unwrap();
        let spki = rcgen::SubjectPublicKeyInfo::from_der(&spki).unwrap();
        let certificate = params.signed_by(&spki, &self.0).unwrap();
        vec![certificate.der().clone()]
    }

    pub(crate) fn roots(&self) -> Arc<RootCertStore> {
        let mut roots = RootCertStore::empty();
        roots.add(self.0.as_ref().der().clone()).unwrap();
        Arc::new(roots)
    }

    /// Takes servers of this authority, as browsers do.
    pub(crate) fn client(&self) -> ClientConfig {
        self.client_of(rustls::ALL_VERSIONS)
    }

    pub(crate) fn client_of(&self, versions: &[&'static SupportedProtocolVersion]) -> ClientConfig {
        let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
        let verifier = WebPkiServerVerifier::builder_with_provider(self.roots(), provider.clone())
            .build()
            .unwrap();
        ClientConfig::builder_with_provider(provider)
            .with_protocol_versions(versions)
            .unwrap()
            .with_webpki_verifier(verifier)
            .with_no_client_auth()
    }

    /// Takes clients of this authority only.
    pub(crate) fn server_for_clients(
        &self,
        versions: &[&'static SupportedProtocolVersion],
        identity: Arc<dyn rustls::server::ResolvesServerCert>,
    ) -> ServerConfig {
        let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
        let verifier = WebPkiClientVerifier::builder_with_provider(self.roots(), provider.clone())
            .build()
            .unwrap();
        ServerConfig::builder_with_provider(provider)
            .with_protocol_versions(versions)
            .unwrap()
            .with_client_cert_verifier(verifier)
            .with_cert_resolver(identity)
    }
}

/// A server that is who `identity` says.
pub(crate) fn server(identity: Arc<dyn rustls::server::ResolvesServerCert>) -> ServerConfig {
    let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
    ServerConfig::builder_with_provider(provider)
        .with_protocol_versions(rustls::ALL_VERSIONS)
        .unwrap()
        .with_no_client_auth()
        .with_cert_resolver(identity)
}

/// Two ends of a connection.
#[derive(Debug)]
pub(crate) struct Ends {
    pub(crate) client: ClientConnection,
    pub(crate) server: ServerConnection,
}

impl Ends {
    /// Moves what each has to say to the other, until nobody has any more.
    pub(crate) fn talk(&mut self) -> Result<(), rustls::Error> {
        loop {
            let mut sent = Vec::new();
            self.client.write_tls(&mut sent).unwrap();
            let from_client = sent.len();
            self.server.read_tls(&mut &*sent).unwrap();
            self.server.process_new_packets()?;
            sent.clear();
            self.server.write_tls(&mut sent).unwrap();
            let from_server = sent.len();
            self.client.read_tls(&mut &*sent).unwrap();
            self.client.process_new_packets()?;
            if from_client + from_server == 0 {
                return Ok(());
            }
        }
    }

    /// Whether a message gets across.
    pub(crate) fn are_connected(&mut self) -> bool {
        use std::io::{Read, Write};
        let mut text = [0; 5];
        self.client.writer().write_all(b"hello").unwrap();
        self.talk().unwrap();
        self.server.reader().read_exact(&mut text).is_ok() && text == *b"hello"
    }
}

/// A handshake with the server of that name.
pub(crate) fn handshake(
    server: &Arc<ServerConfig>,
    client: &Arc<ClientConfig>,
    name: &str,
) -> Result<Ends, rustls::Error> {
    let name = ServerName::try_from(name.to_owned()).unwrap();
    let mut ends = Ends {
        client: ClientConnection::new(client.clone(), name).unwrap(),
        server: ServerConnection::new(server.clone()).unwrap(),
    };
    ends.talk()?;
    assert!(!ends.client.is_handshaking() && !ends.server.is_handshaking());
    Ok(ends)
}

/// What becomes of requests that use a key's private half.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) enum Mode {
    Open,
    /// They arrive, and are answered when it opens.
    Held,
    /// They do not arrive.
    Away,
    /// They are done at once, and the answer comes when it opens.
    Late,
}

#[derive(Clone)]
pub(crate) struct Gate {
    mode: Arc<watch::Sender<Mode>>,
    arrived: Arc<watch::Sender<usize>>,
    done: Arc<watch::Sender<usize>>,
}

impl Gate {
    pub(crate) fn new() -> Self {
        Self {
            mode: Arc::new(watch::Sender::new(Mode::Open)),
            arrived: Arc::default(),
            done: Arc::default(),
        }
    }

    pub(crate) fn set(&self, mode: Mode) {
        self.mode.send_replace(mode);
    }

    /// Waits until so many requests have come since the beginning.
    pub(crate) async fn arrivals(&self, count: usize) {
        let mut arrived = self.arrived.subscribe();
        arrived.wait_for(|arrived| *arrived >= count).await.unwrap();
    }

    pub(crate) fn arrived(&self) -> usize {
        *self.arrived.borrow()
    }

    /// Waits until so many requests were done since the beginning.
    pub(crate) async fn answers(&self, count: usize) {
        let mut done = self.done.subscribe();
        done.wait_for(|done| *done >= count).await.unwrap();
    }

    async fn answer(&self) {
        self.done.send_modify(|done| *done += 1);
        let mut mode = self.mode.subscribe();
        mode.wait_for(|mode| *mode != Mode::Late).await.unwrap();
    }

    async fn pass(&self) -> Result<()> {
        self.arrived.send_modify(|arrived| *arrived += 1);
        let mut mode = self.mode.subscribe();
        let mode = *mode.wait_for(|mode| *mode != Mode::Held).await.unwrap();
        if mode == Mode::Away {
            return Err(Error::new(ErrorKind::Unreachable, "the HSM is away"));
        }
        Ok(())
    }
}

/// An HSM that is slow or away when its gate says so.
struct Gated {
    hsm: Hsm,
    gate: Gate,
    logins: Gate,
}

#[derive(Debug)]
struct GatedSession {
    session: Session,
    gate: Gate,
}

#[async_trait]
impl Service for Gated {
    async fn login(&self, credentials: Credentials) -> Result<Arc<dyn hsm_core::Session>> {
        self.logins.pass().await?;
        let session = self.hsm.login_with(credentials).await?;
        let gate = self.gate.clone();
        Ok(Arc::new(GatedSession { session, gate }))
    }
}

#[async_trait]
impl hsm_core::Session for GatedSession {
    fn principal(&self) -> &Principal {
        self.session.principal()
    }

    async fn call(&self, id: RequestId, request: Request<'_>) -> Result<Response> {
        if matches!(request, Request::Sign { .. } | Request::Derive { .. }) {
            self.gate.pass().await?;
            let answer = self.session.call_as(id, request).await;
            self.gate.answer().await;
            return answer;
        }
        self.session.call_as(id, request).await
    }

    async fn logout(&self) {
        self.session.logout().await;
    }
}

impl std::fmt::Debug for Gated {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Gated")
    }
}

impl std::fmt::Debug for Gate {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Gate")
    }
}
