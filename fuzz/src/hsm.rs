//! [`Hsm`]: an HSM in memory that every input starts from anew, without the cost of making one.

use std::sync::{Arc, LazyLock, Mutex};

use hsm_backend_soft::SoftDevice;
use hsm_core::audit::{RequestId, StreamId};
use hsm_core::policy::BuiltInRole;
use hsm_core::policy::Scope;
use hsm_core::{
    Engine, EngineSession, KeySpec, KeyType, NewKeyParameters, Parts, Principal, Request, Response,
    Result, SecretBytes, Session, Settings, Setup, Space, Store, Timestamp, Usage, Usages,
};
use hsm_testkit::{ManualClock, MemoryAudit, MemoryStore};
use pollster::block_on;

/// Every record of a store.
pub type Rows = Vec<(Space, Vec<u8>, Vec<u8>)>;

/// An HSM with the keys `sign` (P-256), `data` (AES-256) and `gone` (Ed25519, soft-deleted), and two principals: `app`
/// makes, uses, purges and recovers keys, `admin` administers.
pub struct Hsm {
    /// The clock, which the target turns.
    pub clock: Arc<ManualClock>,
    /// The engine.
    pub engine: Engine,
    parts: Parts,
    app: Arc<EngineSession>,
    requests: Mutex<u128>,
}

static BASE: LazyLock<(Arc<SoftDevice>, Rows)> = LazyLock::new(|| {
    let device = Arc::new(crate::device());
    let store = MemoryStore::new();
    let parts = parts(&device, &store, &clock());
    let setup = Setup {
        administrator: principal("admin"),
        password: SecretBytes::copy_from(b"correct horse battery"),
        settings: Settings::default(),
    };
    let engine = block_on(Engine::create(parts.clone(), setup)).expect("an empty store");
    let admin = block_on(engine.session_for(principal("admin"))).expect("a session");
    for role in [BuiltInRole::CryptoUser, BuiltInRole::CryptoOfficer] {
        let request = Request::CreateRoleAssignment {
            id: None,
            role: role.id(),
            principal: principal("app"),
            scope: Scope::Global,
        };
        block_on(admin.call(RequestId::default(), request)).expect("an administrator");
    }
    drop((admin, engine));
    let hsm = Hsm::open(parts, clock()).expect("a whole store");
    for (name, key_type) in [
        ("sign", KeyType::EcP256),
        ("data", KeyType::Aes256),
        ("gone", KeyType::Ed25519),
    ] {
        let name = name.parse().expect("a name");
        let new = NewKeyParameters::new(crate::spec(key_type));
        hsm.call(Request::CreateKey { name, new }).expect("a key");
    }
    let transport = Usages::of(&[Usage::Import, Usage::Export]);
    let spec = KeySpec::new(KeyType::Aes256, transport).expect("the registry fits");
    hsm.call(Request::CreateKey {
        name: "transport".parse().expect("a name"),
        new: NewKeyParameters::new(spec),
    })
    .expect("a key");
    hsm.call(Request::DeleteKey {
        name: "gone".parse().expect("a name"),
    })
    .expect("a key");
    (device, rows(&store))
});

impl Hsm {
    /// The records of the HSM that inputs start from.
    #[must_use]
    pub fn rows() -> &'static Rows {
        &BASE.1
    }

    /// An HSM over these records.
    ///
    /// # Errors
    ///
    /// What the engine says of them.
    pub fn over(rows: Rows) -> Result<Self> {
        let store = MemoryStore::new();
        block_on(store.transact(Box::new(move |transaction| {
            for (space, key, value) in &rows {
                transaction.put(*space, key, value)?;
            }
            Ok(())
        })))?;
        let clock = clock();
        Self::open(parts(&BASE.0, &store, &clock), clock)
    }

    /// The HSM that inputs start from.
    #[must_use]
    pub fn fresh() -> Self {
        Self::over(BASE.1.clone()).expect("a whole store")
    }

    fn open(parts: Parts, clock: Arc<ManualClock>) -> Result<Self> {
        let parts = Parts {
            clock: clock.clone(),
            ..parts
        };
        let engine = block_on(Engine::open(parts.clone()))?;
        let app = block_on(engine.session_for(principal("app")))?;
        Ok(Self {
            clock,
            engine,
            parts,
            app,
            requests: Mutex::new(0),
        })
    }

    /// The same HSM, opened by another process: nothing is shared but the store and the time.
    ///
    /// # Errors
    ///
    /// What the engine says.
    pub fn open_again(&self) -> Result<Self> {
        let parts = Parts {
            audit: Arc::new(MemoryAudit::with_stream(StreamId::from_bytes([8; 16]))),
            ..self.parts.clone()
        };
        Self::open(parts, self.clock.clone())
    }

    /// What `app` is answered.
    ///
    /// # Errors
    ///
    /// What the engine says.
    pub fn call(&self, request: Request<'_>) -> Result<Response> {
        let mut requests = self.requests.lock().expect("one thread");
        *requests += 1;
        block_on(self.app.call(RequestId::from_u128(*requests), request))
    }

    /// A new session of `app`, in place of one that has ended.
    ///
    /// # Errors
    ///
    /// What the engine says.
    pub fn login_again(&mut self) -> Result<()> {
        self.app = block_on(self.engine.session_for(principal("app")))?;
        Ok(())
    }

    /// A session of somebody else.
    ///
    /// # Errors
    ///
    /// What the engine says.
    pub fn session_of(&self, name: &str) -> Result<Arc<EngineSession>> {
        block_on(self.engine.session_for(principal(name)))
    }
}

fn parts(device: &Arc<SoftDevice>, store: &MemoryStore, clock: &Arc<ManualClock>) -> Parts {
    Parts {
        device: device.clone(),
        store: Arc::new(store.clone()),
        audit: Arc::new(MemoryAudit::new()),
        clock: clock.clone(),
    }
}

fn clock() -> Arc<ManualClock> {
    Arc::new(ManualClock::new(Timestamp::from_unix_seconds(
        1_800_000_000,
    )))
}

fn principal(name: &str) -> Principal {
    Principal::new(name).expect("a name")
}

fn rows(store: &MemoryStore) -> Rows {
    let mut rows = Rows::new();
    block_on(store.view(Box::new(|snapshot| {
        for space in Space::ALL {
            for (key, value) in snapshot.scan(space, b"", None, usize::MAX)? {
                rows.push((space, key, value));
            }
        }
        Ok(())
    })))
    .expect("a store in memory");
    rows
}
