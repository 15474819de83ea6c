//! An engine over a TPM signs and rotates, and its keys are there after a restart.
#![expect(clippy::unwrap_used, reason = "helpers of tests are tests")]

use std::sync::Arc;

use futures_executor::block_on;
use hsm_backend_tpm::{TcpTransport, TpmDevice};
use hsm_core::audit::RequestId;
use hsm_core::policy::{BuiltInRole, Scope};
use hsm_core::{
    Algorithm, Credentials, Device, Engine, KeyInfo, KeyName, KeyRef, KeySpec, KeyType,
    NewKeyParameters, Parts, PublicKey, Request, Response, SecretBytes, Service, Session, Settings,
    Setup, SignInput, Store, Usage, Usages,
};
use hsm_testkit::service::{ADMINISTRATOR, PASSWORD};
use hsm_testkit::{ManualClock, MemoryAudit, MemoryStore, TpmSimulator};

fn parts(device: Arc<dyn Device>, store: Arc<dyn Store>, clock: Arc<ManualClock>) -> Parts {
    Parts {
        device,
        store,
        audit: Arc::new(MemoryAudit::new()),
        clock,
    }
}

fn setup() -> Setup {
    Setup {
        administrator: ADMINISTRATOR.parse().unwrap(),
        password: SecretBytes::copy_from(PASSWORD.as_bytes()),
        settings: Settings::default(),
    }
}

/// A session of the administrator, who may also make and use keys.
async fn session(engine: &Engine) -> Arc<dyn Session> {
    let credentials = Credentials::password(ADMINISTRATOR, PASSWORD).unwrap();
    engine.login(credentials).await.unwrap()
}

async fn call(session: &dyn Session, request: Request<'_>) -> Response {
    use std::sync::atomic::{AtomicU64, Ordering};
    static NEXT: AtomicU64 = AtomicU64::new(1);
    let id = RequestId::from_u128(NEXT.fetch_add(1, Ordering::Relaxed).into());
    session.call(id, request).await.unwrap()
}

async fn sign(session: &dyn Session, key: &KeyRef) -> Vec<u8> {
    let request = Request::Sign {
        key: key.clone(),
        algorithm: Algorithm::Es256,
        input: SignInput::Message(b"message"),
    };
    match call(session, request).await {
        Response::Signature { bytes, .. } => bytes,
        other => panic!("{other:?}"),
    }
}

fn key_info(response: Response) -> KeyInfo {
    match response {
        Response::Key(key) => *key,
        other => panic!("{other:?}"),
    }
}

#[test]
fn keys_are_there_after_a_restart_and_a_power_cycle() {
    if let Some(reason) = TpmSimulator::missing() {
        eprintln!("skipped: {reason}");
        return;
    }
    let state = tempfile::tempdir().unwrap();
    let mut simulator = TpmSimulator::start(state.path());
    let connect = |simulator: &TpmSimulator| TcpTransport::connect(simulator.address()).unwrap();
    let store = Arc::new(MemoryStore::new());
    let name: KeyName = "payments".parse().unwrap();
    let message = SignInput::Message(b"message");

    let device = TpmDevice::create(connect(&simulator)).unwrap();
    let root = device.root_name();
    let (first, second) = block_on(async {
        let parts = parts(Arc::new(device), store.clone(), Arc::default());
        let engine = Engine::create(parts, setup()).await.unwrap();
        let session = session(&engine).await;
        let assign = Request::CreateRoleAssignment {
            id: None,
            role: BuiltInRole::CryptoUser.id(),
            principal: ADMINISTRATOR.parse().unwrap(),
            scope: Scope::Global,
        };
        call(&*session, assign).await;
        let usages = Usages::of(&[Usage::Sign, Usage::Verify]);
        let spec = KeySpec::new(KeyType::EcP256, usages).unwrap();
        let create = Request::CreateKey {
            name: name.clone(),
            new: NewKeyParameters::new(spec),
        };
        let first = key_info(call(&*session, create).await);
        let rotate = Request::RotateKey { name: name.clone() };
        let second = key_info(call(&*session, rotate).await);
        (first, second)
    });

    simulator.power_cycle();
    let device = TpmDevice::open(connect(&simulator), root).unwrap();
    block_on(async {
        let parts = parts(Arc::new(device), store, Arc::default());
        let engine = Engine::open(parts).await.unwrap();
        let session = session(&engine).await;
        for version in [first, second] {
            let key = KeyRef::version(name.clone(), version.version);
            let signature = sign(&*session, &key).await;
            let public: PublicKey = version.public.unwrap();
            public
                .verify(Algorithm::Es256, message, &signature)
                .unwrap();
        }
    });
}
