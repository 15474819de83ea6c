//! Promise: whoever asks over HTTPS or a Unix socket gets what the engine behind the server promises. The suite for
//! services runs against the engine itself, and against the same engine through a server and the remote client.
#![expect(clippy::unwrap_used, reason = "helpers of tests are tests")]

use std::fs;
use std::path::Path;
use std::sync::{Arc, LazyLock};

use async_trait::async_trait;
use hsm_backend_soft::SoftDevice;
use hsm_client::attestation::{Level, Nonce, Verifier, VerifyError};
use hsm_client::kinds::EcdsaP256;
use hsm_client::{BuiltInRole, Credentials, Hsm, OpenOptions, Principal, Scope};
use hsm_core::audit::RequestId;
use hsm_core::{
    Engine, Parts, Request, Response, Result, SecretBytes, Service, Session, Settings, Setup,
};
use hsm_server::{Identities, IdentityConfig, Listener, Server, Tls, TlsFiles};
use hsm_testkit::service::{ADMINISTRATOR, PASSWORD, ServiceUnderTest};
use hsm_testkit::{ManualClock, MemoryAudit, MemoryStore};
use rcgen::{BasicConstraints, CertificateParams, CertifiedIssuer, IsCa, KeyPair};
use tempfile::TempDir;
use tokio::runtime::Runtime;

mod local {
    hsm_testkit::service_conformance!(super::local().await);
}

mod over_https {
    hsm_testkit::service_conformance!(super::over_https().await);
}

mod over_a_unix_socket {
    hsm_testkit::service_conformance!(super::over_a_unix_socket().await);
}

/// What crosses the wire is the report itself: it is believed or not without the server.
#[test]
fn a_key_report_of_a_remote_hsm_is_verified_by_anybody() {
    let (evidence, public) = RUNTIME.block_on(async {
        let (remote, _) = https().await;
        let admin = remote.hsm.login(ADMINISTRATOR, PASSWORD).await.unwrap();
        let role = BuiltInRole::CryptoUser;
        let assigned = admin.assign_role(role, ADMINISTRATOR, Scope::Keys).await;
        assigned.unwrap();
        let key = admin.create::<EcdsaP256>("payments").await.unwrap();
        let evidence = key.attest(&nonce(1)).await.unwrap();
        (evidence, key.public_key().await.unwrap())
    });
    let verifier = |byte| {
        Verifier::new(nonce(byte))
            .danger_any_attestation_key()
            .accept_software()
            .expect_public_key(public.clone())
    };
    let verified = verifier(1).verify(evidence.as_bytes()).unwrap();
    assert_eq!(verified.level(), Level::Software);
    assert_eq!(verified.label().unwrap().name.as_str(), "payments");
    let refused = verifier(2).verify(evidence.as_bytes()).unwrap_err();
    assert!(matches!(refused, VerifyError::Nonce), "{refused}");
    let mut edited = evidence.as_bytes().to_vec();
    *edited.last_mut().unwrap() ^= 1;
    let refused = verifier(1).verify(&edited).unwrap_err();
    assert!(matches!(refused, VerifyError::Signature), "{refused}");
}

fn nonce(byte: u8) -> Nonce {
    Nonce::new([byte; 32]).unwrap()
}

async fn local() -> ServiceUnderTest {
    let clock = Arc::new(ManualClock::default());
    ServiceUnderTest::new(engine(&clock).await).with_clock(clock)
}

async fn over_https() -> ServiceUnderTest {
    let (remote, clock) = https().await;
    ServiceUnderTest::new(remote).with_clock(clock)
}

async fn https() -> (Remote, Arc<ManualClock>) {
    let folder = tempfile::tempdir().unwrap();
    let tls = certificate(folder.path());
    let listening = Listener::tcp(([127, 0, 0, 1], 0).into());
    let listener = RUNTIME.spawn(listening).await.unwrap().unwrap();
    let port = listener.local_address().unwrap().port();
    let options = OpenOptions::new().ca_file(folder.path().join("ca.pem"));
    let url = format!("https://localhost:{port}");
    serve(folder, &url, options, listener, Some(tls)).await
}

async fn over_a_unix_socket() -> ServiceUnderTest {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("hsm.sock");
    let listener = {
        let _inside = RUNTIME.enter();
        Listener::unix(&path).unwrap()
    };
    let url = format!("unix:{}", path.display());
    let (remote, clock) = serve(folder, &url, OpenOptions::new(), listener, None).await;
    ServiceUnderTest::new(remote).with_clock(clock)
}

/// A server of a new engine, and the client of it. The suite verifies at the server: it asks for the refusals of callers
/// who may read a key and not verify with it, and looks for each verification in the audit log.
async fn serve(
    folder: TempDir,
    url: &str,
    options: OpenOptions,
    listener: Listener,
    tls: Option<Tls>,
) -> (Remote, Arc<ManualClock>) {
    let clock = Arc::new(ManualClock::default());
    let hsm = Hsm::over(Arc::new(engine(&clock).await)).unwrap();
    let identities = Identities::new(&IdentityConfig::default(), clock.clone()).unwrap();
    let mut server = Server::builder()
        .partition(["localhost"], hsm)
        .identities(identities);
    if let Some(tls) = tls {
        server = server.tls(tls);
    }
    let server = server.build().unwrap();
    RUNTIME.spawn(server.serve([listener], std::future::pending::<()>()));
    let options = options.clock(clock.clone()).without_local_verification();
    let hsm = Hsm::open_with(url, options).await.unwrap();
    let remote = Remote {
        hsm,
        _folder: folder,
    };
    (remote, clock)
}

async fn engine(clock: &Arc<ManualClock>) -> Engine {
    let parts = Parts {
        device: Arc::new(SoftDevice::in_memory().unwrap()),
        store: Arc::new(MemoryStore::new()),
        audit: Arc::new(MemoryAudit::new()),
        clock: clock.clone(),
    };
    let setup = Setup {
        administrator: ADMINISTRATOR.parse().unwrap(),
        password: SecretBytes::copy_from(PASSWORD.as_bytes()),
        settings: Settings::default(),
    };
    Engine::create(parts, setup).await.unwrap()
}

/// An authority, written to `ca.pem`, and a certificate for `localhost`.
fn certificate(folder: &Path) -> Tls {
    let mut authority = CertificateParams::new(Vec::new()).unwrap();
    authority.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    let issuer = CertifiedIssuer::self_signed(authority, KeyPair::generate().unwrap()).unwrap();
    fs::write(folder.join("ca.pem"), issuer.pem()).unwrap();
    let key = KeyPair::generate().unwrap();
    let certificate = CertificateParams::new(vec!["localhost".to_owned()])
        .unwrap()
        .signed_by(&key, &issuer)
        .unwrap();
    let (chain, private) = (folder.join("server.pem"), folder.join("server.key"));
    fs::write(&chain, certificate.pem()).unwrap();
    fs::write(&private, key.serialize_pem()).unwrap();
    Tls::open(TlsFiles::new(chain, private)).unwrap()
}

/// What applications hold, as the suite takes it.
#[derive(Debug)]
struct Remote {
    hsm: Hsm,
    _folder: TempDir,
}

#[async_trait]
impl Service for Remote {
    async fn login(&self, credentials: Credentials) -> Result<Arc<dyn Session>> {
        let session = self.hsm.login_with(credentials).await?;
        Ok(Arc::new(RemoteSession(session)))
    }
}

#[derive(Debug)]
struct RemoteSession(hsm_client::Session);

#[async_trait]
impl Session for RemoteSession {
    fn principal(&self) -> &Principal {
        self.0.principal()
    }

    async fn call(&self, id: RequestId, request: Request<'_>) -> Result<Response> {
        self.0.call_as(id, request).await
    }

    async fn logout(&self) {
        self.0.logout().await;
    }
}

static RUNTIME: LazyLock<Runtime> = LazyLock::new(|| Runtime::new().unwrap());
