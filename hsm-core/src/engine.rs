//! [`Engine`]: the reference monitor. It alone calls the device; nothing reaches a key but through [`authorize`], the
//! lifecycle and the audit log.
//!
//! A request travels one straight line: session, authorization, key record, lifecycle, policy, device, audit record,
//! response. Nothing on that line waits for another key's work.

mod audit;
mod backup;
mod cache;
mod count;
mod crypto;
mod keys;
mod ledger;
mod lockout;
mod maintenance;
mod record;
mod roles;
mod session;
mod settings;
mod strangers;
mod time;
mod tokens;
mod tree;
mod users;

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU32, AtomicU64, AtomicUsize, Ordering};

use async_trait::async_trait;
use parking_lot::{Mutex, RwLock};

use crate::algorithm::{Algorithm, KeyType};
use crate::audit::{AuditSink, Chain, StreamId};
use crate::clock::{Clock, Timestamp};
use crate::counter::MonotonicCounter;
use crate::device::{Device, LoadedKey};
use crate::error::{Error, ErrorKind, Result};
use crate::key::{Binding, KeySpec, PublicKey, Usage, Usages};
use crate::policy::{BuiltInRole, RoleAssignment, RoleId, Scope};
use crate::request::Settings;
use crate::secret::SecretBytes;
use crate::service::{Credentials, Principal, Service, Session};
use crate::store::{Snapshot, Space, Store};

use cache::KeyCache;
use count::{Copies, Count};
use ledger::{Change, Known};
use record::{PARTITION_KEY, PartitionRecord, SETTINGS_KEY};
use roles::Policy;
use session::Proof;
use time::Time;
use tree::{Anchor, Tree, damaged};

pub use maintenance::Maintenance;
pub use session::EngineSession;

/// The parts that an engine is made of.
///
/// For [`Engine::open`]; the [front page](crate) has an example.
#[derive(Clone, Debug)]
#[expect(
    clippy::exhaustive_structs,
    reason = "these four and nothing else: no sockets, no files"
)]
pub struct Parts {
    /// Turns sealed keys into operations.
    pub device: Arc<dyn Device>,
    /// Remembers sealed keys, roles and users.
    pub store: Arc<dyn Store>,
    /// Takes the records of operations.
    pub audit: Arc<dyn AuditSink>,
    /// Tells the time.
    pub clock: Arc<dyn Clock>,
}

/// What a new partition starts with.
///
/// For [`Engine::create`].
#[derive(Debug)]
#[expect(
    clippy::exhaustive_structs,
    reason = "the caller of create fills it in"
)]
pub struct Setup {
    /// The first user, who gets the role Managed HSM Administrator at `/`.
    pub administrator: Principal,
    /// The first user's password.
    pub password: SecretBytes,
    /// The settings.
    pub settings: Settings,
}

/// How a partition is opened, beyond its [`Parts`]: [`Engine::open_with`].
///
/// ```
/// use std::sync::Arc;
/// use hsm_core::{Engine, MonotonicCounter, Opening, Parts};
///
/// # async fn with(parts: Parts, counter: Arc<dyn MonotonicCounter>) -> Result<(), hsm_core::Error> {
/// let engine = Engine::open_with(parts, Opening::new().counter(counter)).await?;
/// # Ok(())
/// # }
/// ```
#[derive(Clone, Debug, Default)]
#[must_use]
pub struct Opening {
    counter: Option<Arc<dyn MonotonicCounter>>,
    clocks: Clocks,
    copies: Copies,
}

impl Opening {
    /// Without a counter; a clock that is far behind and an older copy are refused.
    pub fn new() -> Self {
        Self::default()
    }

    /// The counter that the partition was made with.
    ///
    /// At open, a store that is behind the counter is refused. Changes that may not be undone (of users, roles, tokens and
    /// settings, and of keys all but their making) are acknowledged when they are counted, and refused while the counter does not
    /// work. Operations with keys never ask it.
    pub fn counter(mut self, counter: Arc<dyn MonotonicCounter>) -> Self {
        self.counter = Some(counter);
        self
    }

    /// Takes the time of the store back to what the clock shows, as [`Engine::danger_accept_clock`] does.
    pub fn danger_accept_clock(mut self) -> Self {
        self.clocks = Clocks::MayGoBack;
        self
    }

    /// Takes the store as it is, if it does not fit the counter: after a backup was restored, or to give a partition another counter,
    /// its first, or none. The journal has a record of it.
    ///
    /// Dangerous because it is just what somebody wants who put an older copy back: keys that were purged, users, passwords and
    /// roles are again as they were then. Other copies of the store, the newer ones too, are refused from then on.
    pub fn danger_accept_rollback(mut self) -> Self {
        self.copies = Copies::MayBeOld;
        self
    }
}

/// One partition of an HSM: its keys, roles, users and audit log, over a device and a store.
///
/// Cheap to clone; all clones are the same engine. Most programs use `Hsm` of `hsm-client`, which puts the parts together
/// and runs the [maintenance](Engine::maintain).
///
/// ```
/// use std::sync::Arc;
/// use hsm_core::{Credentials, Engine, Parts, Service};
///
/// # async fn with(parts: Parts) -> Result<(), hsm_core::Error> {
/// let engine = Engine::open(parts).await?;
/// let session = engine.login(Credentials::password("app", "correct horse battery")?).await?;
/// # Ok(())
/// # }
/// ```
#[derive(Clone, Debug)]
pub struct Engine(Arc<Inner>);

/// What an [`Engine`] holds at the moment: [`Engine::status`].
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
#[non_exhaustive]
pub struct EngineStatus {
    /// Sessions that are open: [`SESSIONS_MAX`](crate::limits::SESSIONS_MAX) at most.
    pub sessions: usize,
    /// Keys that are ready for use in memory: [`LOADED_KEYS_MAX`](crate::limits::LOADED_KEYS_MAX) at most.
    pub loaded_keys: usize,
    /// The version of the store that was last seen. It grows with every change, of whichever process.
    pub store_version: u64,
}

#[derive(Debug)]
struct Inner {
    device: Arc<dyn Device>,
    store: Arc<dyn Store>,
    audit: Arc<dyn AuditSink>,
    time: Time,
    id: StreamId,
    audit_key: Arc<dyn LoadedKey>,
    audit_public: PublicKey,
    tree: Arc<Tree>,
    count: Count,
    /// The version of the store that everything cached here is right for.
    seen: AtomicU64,
    known: Mutex<Known>,
    keys: KeyCache,
    policy: RwLock<Arc<Policy>>,
    /// Grows when a role, assignment, user or setting changes: sessions look at themselves again.
    policy_epoch: AtomicU32,
    sessions: AtomicUsize,
    logins: users::Logins,
    password_checks: Arc<users::Turnstile>,
    /// The partition is to be of no use any more.
    zeroized: AtomicBool,
    /// The device has destroyed its domain key.
    destroyed: async_lock::Mutex<bool>,
    closed: AtomicBool,
}

impl Engine {
    /// Makes a new partition in an empty store, and opens it.
    ///
    /// # Errors
    ///
    /// [`Conflict`](ErrorKind::Conflict) if the store holds a partition, [`Unsupported`](ErrorKind::Unsupported) if the
    /// device lacks the two kinds of key that a partition needs for itself (HMAC-SHA-256 and P-256), and whatever
    /// device, store and audit sink return.
    pub async fn create(parts: Parts, setup: Setup) -> Result<Self> {
        Self::make(parts, setup, None).await
    }

    /// As [`create`](Self::create), with a counter outside the store that finds out when an older copy of the whole store is put
    /// back. The counter must be of no other partition. Open the partition with it from then on ([`Opening::counter`]).
    ///
    /// # Errors
    ///
    /// As [`create`](Self::create), and whatever the counter returns.
    pub async fn create_counted(
        parts: Parts,
        setup: Setup,
        counter: Arc<dyn MonotonicCounter>,
    ) -> Result<Self> {
        Self::make(parts, setup, Some(counter)).await
    }

    async fn make(
        parts: Parts,
        setup: Setup,
        counter: Option<Arc<dyn MonotonicCounter>>,
    ) -> Result<Self> {
        let counted = match &counter {
            Some(counter) => Some(Count::first(&**counter).await?),
            None => None,
        };
        users::check_password(&setup.password)?;
        settings::check(&setup.settings)?;
        let mut id = [0; 16];
        parts.device.random(&mut id).await?;
        let id = StreamId::from_bytes(id);
        let now = parts.clock.now();
        let integrity = SystemKey::Integrity.generate(&*parts.device, id).await?;
        let audit = SystemKey::Audit.generate(&*parts.device, id).await?;
        let partition = PartitionRecord {
            id,
            device: parts.device.capabilities().device().to_owned(),
            created: now,
            integrity_key: integrity,
            audit_key: audit,
        };
        let tree = Arc::new(partition.tree(&*parts.device).await?);
        let administrator = users::new_user(
            &*parts.device,
            setup.administrator.clone(),
            setup.password,
            now,
        )
        .await?;
        let mut assignment = [0; 16];
        parts.device.random(&mut assignment).await?;
        let assignment = RoleAssignment::new(
            RoleId::from_random(assignment),
            BuiltInRole::Administrator.id(),
            setup.administrator.clone(),
            Scope::Global,
            now,
        );
        let partition_bytes = record::to_bytes(&partition)?;
        let settings = setup.settings;
        parts
            .store
            .transact(Box::new(move |transaction| {
                if transaction.read(Space::Meta, PARTITION_KEY)?.is_some() {
                    return Err(Error::new(
                        ErrorKind::Conflict,
                        "the store holds an HSM already; open it",
                    ));
                }
                let mut journal = Chain::new(id);
                let mut changes =
                    tree.plant(transaction, Anchor::empty(journal.head(), now, counted));
                changes.put_row(Space::Meta, PARTITION_KEY, &partition_bytes)?;
                changes.put(Space::Meta, SETTINGS_KEY, &record::to_bytes(&settings)?)?;
                users::put(&mut changes, &administrator)?;
                roles::put_assignment(&mut changes, &assignment)?;
                let event = Change::system(
                    "/",
                    format!("created with administrator {}", administrator.name),
                );
                event.append_to(&mut journal, &mut changes, now)?;
                changes.finish(journal.head(), now)
            }))
            .await?;
        let opening = Opening {
            counter,
            ..Opening::new()
        };
        Self::open_with(parts, opening).await
    }

    /// Opens the partition in a store.
    ///
    /// # Errors
    ///
    /// [`NotFound`](ErrorKind::NotFound) if the store is empty, [`Damaged`](ErrorKind::Damaged) if it belongs to another
    /// device or was tampered with, [`Unreachable`](ErrorKind::Unreachable) if the clock is more than
    /// [`CLOCK_STEP_MAX`](crate::limits::CLOCK_STEP_MAX) behind the latest change, and whatever device, store and audit
    /// sink return.
    pub async fn open(parts: Parts) -> Result<Self> {
        Self::open_with(parts, Opening::new()).await
    }

    /// Opens the partition in a store, with a counter, or in spite of what is wrong.
    ///
    /// # Errors
    ///
    /// As [`open`](Self::open). With a counter also [`Damaged`](ErrorKind::Damaged) if the store is an older copy or not the
    /// counter's, [`InvalidInput`](ErrorKind::InvalidInput) if the partition has another counter or none, and whatever the counter
    /// returns.
    pub async fn open_with(parts: Parts, opening: Opening) -> Result<Self> {
        Self::start(parts, opening).await
    }

    /// Opens a partition that was changed while the clock was far ahead: takes its time back to what the clock shows now.
    ///
    /// Close it in all other processes first. Keys that were created, rotated or given an end meanwhile keep those times;
    /// lock-outs of that time are over. The journal has a record of it. Dangerous because whoever can set the clock
    /// makes keys usable again that have expired.
    ///
    /// # Errors
    ///
    /// As [`open`](Self::open), but for the clock.
    pub async fn danger_accept_clock(parts: Parts) -> Result<Self> {
        Self::open_with(parts, Opening::new().danger_accept_clock()).await
    }

    async fn start(parts: Parts, opening: Opening) -> Result<Self> {
        let Parts {
            device,
            store,
            audit,
            clock,
        } = parts;
        let mut bytes = None;
        store
            .view(Box::new(|snapshot| {
                bytes = snapshot.read(Space::Meta, PARTITION_KEY)?;
                Ok(())
            }))
            .await?;
        let bytes = bytes
            .ok_or_else(|| Error::new(ErrorKind::NotFound, "the store holds no HSM; create one"))?;
        let partition: PartitionRecord = record::from_bytes("the record of the partition", &bytes)?;
        let found = device.capabilities().device();
        if partition.device != found {
            return Err(Error::new(
                ErrorKind::InvalidInput,
                format!(
                    "this HSM lives on a {} device, not on a {found} device",
                    partition.device
                ),
            ));
        }
        let tree = Arc::new(partition.tree(&*device).await?);
        let audit_key = SystemKey::Audit
            .load(&*device, partition.id, &partition.audit_key)
            .await?;
        let audit_public = audit_key
            .public()
            .cloned()
            .ok_or_else(|| damaged("the partition's audit key has no public half"))?;
        let engine = Self(Arc::new(Inner {
            device,
            store,
            audit,
            time: Time::new(clock),
            id: partition.id,
            audit_key,
            audit_public,
            tree,
            count: Count::new(opening.counter),
            seen: AtomicU64::new(0),
            known: Mutex::new(Known::default()),
            keys: KeyCache::new(),
            policy: RwLock::new(Arc::new(Policy::default())),
            policy_epoch: AtomicU32::new(0),
            sessions: AtomicUsize::new(0),
            logins: users::Logins::default(),
            password_checks: Arc::default(),
            zeroized: AtomicBool::new(false),
            destroyed: async_lock::Mutex::new(false),
            closed: AtomicBool::new(false),
        }));
        engine.check_count(opening.copies).await?;
        if opening.clocks == Clocks::MayGoBack {
            engine.take_time_back().await?;
        }
        engine.start_from_store().await?;
        engine.open_streams().await?;
        Ok(engine)
    }

    /// A session for a principal that the caller has authenticated: how a server turns its identities into sessions. It is of
    /// no use while a user of that name is disabled.
    ///
    /// # Errors
    ///
    /// [`LimitExceeded`](ErrorKind::LimitExceeded) with too many sessions open.
    pub async fn session_for(&self, principal: Principal) -> Result<Arc<EngineSession>> {
        self.refresh().await?;
        EngineSession::open(self.clone(), principal, Proof::Caller).map(Arc::new)
    }

    /// The partition's id, which is also the id of its journal.
    #[must_use]
    pub fn id(&self) -> StreamId {
        self.0.id
    }

    /// The public half of the key that signs audit checkpoints.
    #[must_use]
    pub fn audit_key(&self) -> &PublicKey {
        &self.0.audit_public
    }

    /// What the engine holds at the moment, for metrics.
    #[must_use]
    pub fn status(&self) -> EngineStatus {
        EngineStatus {
            sessions: self.0.sessions.load(Ordering::Relaxed),
            loaded_keys: self.0.keys.len(),
            store_version: self.0.seen.load(Ordering::Relaxed),
        }
    }

    /// The time now. It never goes backwards, not even across restarts.
    fn now(&self) -> Timestamp {
        self.0.time.now()
    }

    async fn random<const N: usize>(&self) -> Result<[u8; N]> {
        let mut bytes = [0; N];
        self.0.device.random(&mut bytes).await?;
        Ok(bytes)
    }

    fn check_alive(&self) -> Result<()> {
        if self.is_zeroized() {
            return Err(settings::zeroized());
        }
        if self.is_closed() {
            return Err(Error::new(
                ErrorKind::Unreachable,
                "the HSM was closed; open it and log in again",
            ));
        }
        Ok(())
    }

    fn is_zeroized(&self) -> bool {
        self.0.zeroized.load(Ordering::Relaxed)
    }

    fn is_closed(&self) -> bool {
        self.0.closed.load(Ordering::Relaxed)
    }
}

#[async_trait]
impl Service for Engine {
    async fn login(&self, credentials: Credentials) -> Result<Arc<dyn Session>> {
        match credentials {
            Credentials::Password { user, password } => {
                Ok(self.login_with_password(user, password).await?)
            }
            Credentials::Token(token) => Ok(self.login_with_token(token).await?),
            Credentials::Authenticated(principal) => Ok(self.session_for(principal).await?),
            Credentials::Connection => Err(Error::new(
                ErrorKind::Unsupported,
                "there is no connection to an HSM in this process: log in with a password or an API token",
            )),
        }
    }
}

/// The id of the partition that a store holds, which is the id of its journal. It is as good as the store: whoever
/// verifies the journal under it finds out.
///
/// # Errors
///
/// [`Damaged`](ErrorKind::Damaged) if the record of the partition is unreadable, and whatever the store returns.
pub fn partition_id(snapshot: &dyn Snapshot) -> Result<Option<StreamId>> {
    let Some(bytes) = snapshot.read(Space::Meta, PARTITION_KEY)? else {
        return Ok(None);
    };
    record::from_bytes::<PartitionRecord>("the record of the partition", &bytes)
        .map(|partition| Some(partition.id))
}

/// What to do if the clock is far behind the latest change.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
enum Clocks {
    MayGoBack,
    #[default]
    MustFollow,
}

/// The keys that a partition has for itself. They have no name, so no request reaches them.
#[derive(Clone, Copy)]
enum SystemKey {
    /// Signs audit checkpoints.
    Audit,
    /// Makes the MAC key of the record tree.
    Integrity,
}

impl SystemKey {
    fn spec(self) -> Result<KeySpec> {
        let key_type = match self {
            Self::Audit => KeyType::EcP256,
            Self::Integrity => KeyType::HmacSha256,
        };
        KeySpec::new(key_type, Usages::of(&[Usage::Sign]))
    }

    fn binding(self, partition: StreamId) -> Binding {
        let purpose = match self {
            Self::Audit => "hsm audit key v1",
            Self::Integrity => "hsm integrity key v1",
        };
        Binding::new(purpose, &partition.to_bytes())
    }

    async fn generate(
        self,
        device: &dyn Device,
        partition: StreamId,
    ) -> Result<crate::key::SealedKey> {
        Ok(device
            .generate(&self.spec()?, &self.binding(partition))
            .await?
            .sealed)
    }

    async fn load(
        self,
        device: &dyn Device,
        partition: StreamId,
        sealed: &crate::key::SealedKey,
    ) -> Result<Arc<dyn LoadedKey>> {
        device.load(sealed, &self.binding(partition)).await.map_err(|error| match error.kind() {
            ErrorKind::Damaged => damaged(
                "the store does not belong to this device: its system keys do not open; was the domain key replaced, or the store?",
            )
            .with_source(error),
            _ => error,
        })
    }
}

impl PartitionRecord {
    /// The record tree under the partition's integrity key.
    async fn tree(&self, device: &dyn Device) -> Result<Tree> {
        let key = SystemKey::Integrity
            .load(device, self.id, &self.integrity_key)
            .await?;
        let secret = key.mac(Algorithm::Hs256, b"hsm record tree v1").await?;
        Ok(Tree::new(&SecretBytes::from(secret)))
    }
}
