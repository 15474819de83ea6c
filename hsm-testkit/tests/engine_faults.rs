//! Promise: whatever fails, and whether before its effect or after it, an engine keeps its word: what it acknowledged is
//! there, what it could not audit was not done, nothing is half-made, and the kind of the error says what may have
//! happened.
#![expect(clippy::unwrap_used, reason = "helpers of tests are tests")]

use std::collections::BTreeSet;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use async_trait::async_trait;
use futures_executor::block_on;
use hsm_backend_soft::SoftDevice;
use hsm_core::audit::{AuditSink, RequestId};
use hsm_core::lifecycle::{Event, State};
use hsm_core::policy::{ActionSet, BuiltInRole, DataAction, RoleDefinition, RoleId, Scope};
use hsm_core::{
    Algorithm, AttributesUpdate, Binding, Capabilities, Credentials, Device, Engine, Error,
    ErrorKind, KeyInfo, KeyRef, KeySpec, KeyType, LoadedKey, NewKey, NewKeyParameters, PageRequest,
    Parts, Request, Response, Result, SealedKey, SecretBytes, Service, Session, Settings,
    SettingsUpdate, Setup, SignInput, Usage, Usages, UserUpdate,
};
use hsm_testkit::service::{ADMINISTRATOR, PASSWORD};
use hsm_testkit::{Fault, Faults, FaultyAudit, FaultyStore, ManualClock, MemoryAudit, MemoryStore};

const ROLE: RoleId = RoleId::from_u128(42);

/// An engine whose store and audit sink fail as planned, and a second one over the same store that does not.
struct House {
    device: Arc<SoftDevice>,
    memory: MemoryStore,
    audited: MemoryAudit,
    clock: Arc<ManualClock>,
    writes: Faults,
    reads: Faults,
    audit: Faults,
    engine: Engine,
    session: Arc<dyn Session>,
}

impl House {
    fn new() -> Self {
        let device = Arc::new(SoftDevice::in_memory().unwrap());
        let (memory, audited) = (MemoryStore::new(), MemoryAudit::new());
        let clock = Arc::new(ManualClock::default());
        let (writes, reads, audit) = (Faults::none(), Faults::none(), Faults::none());
        let parts = Parts {
            device: device.clone(),
            store: Arc::new(FaultyStore::new(
                memory.clone(),
                writes.clone(),
                reads.clone(),
            )),
            audit: Arc::new(FaultyAudit::new(audited.clone(), audit.clone())),
            clock: clock.clone(),
        };
        let engine = block_on(Engine::create(parts, setup())).unwrap();
        let session = block_on(engine.login(credentials())).unwrap();
        let house = Self {
            device,
            memory,
            audited,
            clock,
            writes,
            reads,
            audit,
            engine,
            session,
        };
        for role in [BuiltInRole::CryptoUser, BuiltInRole::CryptoOfficer] {
            let request = Request::CreateRoleAssignment {
                id: None,
                role: role.id(),
                principal: ADMINISTRATOR.parse().unwrap(),
                scope: Scope::Global,
            };
            house.ask(request).unwrap();
        }
        house
    }

    fn ask(&self, request: Request<'_>) -> Result<Response> {
        block_on(self.session.call(RequestId::from_u128(1), request))
    }

    fn kind(&self, request: Request<'_>) -> Option<ErrorKind> {
        self.ask(request).err().map(|error| error.kind())
    }

    /// What another process that opens the HSM finds: everything that is on disk, checked.
    fn another(&self) -> Engine {
        let parts = Parts {
            device: self.device.clone(),
            store: Arc::new(self.memory.clone()),
            audit: Arc::new(MemoryAudit::new()),
            clock: self.clock.clone(),
        };
        block_on(Engine::open(parts)).unwrap()
    }

    /// Everything that changes change, as another process sees it.
    fn state(&self) -> Vec<String> {
        let another = self.another();
        let session = block_on(another.session_for(ADMINISTRATOR.parse().unwrap())).unwrap();
        let page = || PageRequest {
            after: None,
            limit: Some(1000),
        };
        let mut requests = vec![
            Request::ListKeys { page: page() },
            Request::ListDeletedKeys { page: page() },
            Request::ListRoleDefinitions,
            Request::ListRoleAssignments { scope: None },
            Request::ListUsers { page: page() },
            Request::GetSettings,
        ];
        for key in ["key", "aes"] {
            requests.push(Request::ListVersions {
                name: key.parse().unwrap(),
                page: page(),
            });
            requests.push(Request::GetRotationPolicy {
                name: key.parse().unwrap(),
            });
        }
        let mut state: Vec<_> = requests
            .into_iter()
            .map(|request| {
                let answer = block_on(session.call(RequestId::default(), request));
                match answer {
                    Ok(answer) => format!("{answer:?}"),
                    Err(error) => format!("{:?}", error.kind()),
                }
            })
            .collect();
        // Whether the password was changed shows at login only; that is an attempt, in the journal as well.
        let login = block_on(another.login(Credentials::password("app", PASSWORD).unwrap()));
        let refused = login.err().map(|error| match error.kind() {
            // A user that is not there yet is asked for too often.
            ErrorKind::LockedOut => ErrorKind::Unauthenticated,
            kind => kind,
        });
        state.push(format!("{refused:?}"));
        state
    }

    /// Records of the journal with this outcome of the change.
    fn recorded(&self, action: DataAction) -> Vec<Option<ErrorKind>> {
        let events = self.audited.events().into_iter();
        events
            .filter(|event| event.action == action)
            .map(|event| event.failure)
            .collect()
    }

    /// Every key that is listed can be used, and verified by its public half.
    fn check_whole(&self) {
        let page = PageRequest::default();
        let Response::Keys(keys) = self.ask(Request::ListKeys { page }).unwrap() else {
            panic!("expected keys")
        };
        for info in keys.items {
            self.use_key(&info);
        }
    }

    fn use_key(&self, info: &KeyInfo) {
        let input = SignInput::Message(b"message");
        if info.attributes.state != State::Active {
            return;
        }
        match &info.public {
            Some(public) => {
                let request = Request::Sign {
                    key: info.key(),
                    algorithm: Algorithm::Es256,
                    input,
                };
                let Response::Signature { bytes, .. } = self.ask(request).unwrap() else {
                    panic!("expected a signature")
                };
                public.verify(Algorithm::Es256, input, &bytes).unwrap();
            }
            None => {
                self.ask(encrypt(info.key())).unwrap();
            }
        }
    }
}

/// Changes that can each be made once in a new house, in this order.
fn changes() -> Vec<Request<'static>> {
    let name = || "key".parse().unwrap();
    let user = || "app".parse().unwrap();
    let password = || SecretBytes::copy_from(PASSWORD.as_bytes());
    let policy = hsm_core::policy::RotationPolicy::rotate_after("P90D").unwrap();
    let actions = ActionSet::of(&[DataAction::KeySign]);
    vec![
        Request::CreateKey {
            name: name(),
            new: new_key(KeyType::EcP256, &[Usage::Sign, Usage::Verify]),
        },
        Request::ImportKey {
            name: "aes".parse().unwrap(),
            new: new_key(KeyType::Aes256, &[Usage::Encrypt, Usage::Decrypt]),
            material: SecretBytes::copy_from(&[7; 32]),
        },
        Request::UpdateKey {
            key: key("key"),
            update: AttributesUpdate::new().event(Event::Suspend),
        },
        Request::UpdateKey {
            key: key("key"),
            update: AttributesUpdate::new().event(Event::Resume),
        },
        Request::SetRotationPolicy {
            name: name(),
            policy: Some(policy),
        },
        Request::RotateKey { name: name() },
        Request::DeleteKey { name: name() },
        Request::RecoverKey { name: name() },
        Request::DeleteKey { name: name() },
        Request::PurgeKey { name: name() },
        Request::PutRoleDefinition {
            definition: RoleDefinition::new(ROLE, "Signer", "", actions).unwrap(),
        },
        Request::CreateRoleAssignment {
            id: Some(ROLE),
            role: ROLE,
            principal: user(),
            scope: Scope::Keys,
        },
        Request::DeleteRoleAssignment { id: ROLE },
        Request::DeleteRoleDefinition { id: ROLE },
        Request::CreateUser {
            name: user(),
            password: password(),
        },
        Request::UpdateUser {
            name: user(),
            update: UserUpdate::Disable,
        },
        Request::UpdateUser {
            name: user(),
            update: UserUpdate::Enable,
        },
        Request::DeleteUser { name: user() },
        Request::UpdateSettings {
            update: SettingsUpdate {
                retention_days: Some(7),
                ..SettingsUpdate::default()
            },
        },
    ]
}

#[test]
fn a_change_that_did_not_arrive_has_not_happened() {
    let house = House::new();
    // The second copy of each request is the one that succeeds.
    for (lost, made) in changes().into_iter().zip(changes()) {
        let (what, action) = (format!("{lost:?}"), lost.action());
        let before = house.state();
        house.writes.strike(Fault::Before);
        assert_eq!(house.kind(lost), Some(ErrorKind::StoreFailed), "{what}");
        assert_eq!(house.state(), before, "{what} was half-made");
        let last = house.recorded(action).pop();
        assert_eq!(last, Some(Some(ErrorKind::StoreFailed)), "{what}");
        assert_eq!(house.kind(made), None, "{what}, tried again");
        assert_ne!(house.state(), before, "{what} was acknowledged");
        house.check_whole();
    }
}

#[test]
fn a_change_whose_reply_was_lost_is_unknown_and_has_happened_whole() {
    let (house, model) = (House::new(), House::new());
    for (lost, made) in changes().into_iter().zip(changes()) {
        let (what, action) = (format!("{lost:?}"), lost.action());
        let before = house.state();
        house.writes.strike(Fault::After);
        assert_eq!(house.kind(lost), Some(ErrorKind::Unknown), "{what}");
        assert_ne!(house.state(), before, "{what} has happened");
        let last = house.recorded(action).pop();
        assert_eq!(last, Some(Some(ErrorKind::Unknown)), "{what}");
        // The engine that was not told sees it at its next call, as one that was told.
        assert_eq!(model.kind(made), None, "{what}");
        for (name, asked) in [("key", false), ("key", true), ("aes", false)] {
            let request = || match asked {
                false => Request::GetKey { key: key(name) },
                true => Request::GetDeletedKey {
                    name: name.parse().unwrap(),
                },
            };
            assert_eq!(house.kind(request()), model.kind(request()), "{what}");
        }
        house.check_whole();
    }
}

#[test]
fn nothing_is_done_on_what_cannot_be_read() {
    let house = House::new();
    for request in changes().into_iter().take(2) {
        house.ask(request).unwrap();
    }
    let before = house.state();
    for request in changes() {
        let what = format!("{request:?}");
        house.reads.strike(Fault::Before);
        assert_eq!(house.kind(request), Some(ErrorKind::StoreFailed), "{what}");
        assert_eq!(house.state(), before, "{what} was half-made");
    }
    for request in uses() {
        let what = format!("{request:?}");
        house.reads.strike(Fault::Before);
        assert_eq!(house.kind(request), Some(ErrorKind::StoreFailed), "{what}");
    }
    for request in uses() {
        assert_eq!(house.kind(request), None, "the store is back");
    }
}

#[test]
fn what_cannot_be_audited_is_not_done() {
    let house = House::new();
    for request in changes().into_iter().take(2) {
        house.ask(request).unwrap();
    }
    for fault in [Fault::Before, Fault::After] {
        for request in uses() {
            let (what, action) = (format!("{request:?}, {fault:?}"), request.action());
            let before = house.recorded(action).len();
            house.audit.strike(fault);
            assert_eq!(house.kind(request), Some(ErrorKind::AuditFailed), "{what}");
            let kept = house.recorded(action).len() - before;
            assert_eq!(kept, usize::from(fault == Fault::After), "{what}");
        }
        for request in uses() {
            assert_eq!(house.kind(request), None, "the audit log is back");
        }
        // A refusal that cannot be recorded is a failure of the audit log, not an answer.
        house.audit.strike(fault);
        let missing = Request::GetKey {
            key: key("missing"),
        };
        assert_eq!(house.kind(missing), Some(ErrorKind::AuditFailed));
    }
}

#[test]
fn changes_are_audited_in_the_journal_and_need_no_stream() {
    let house = House::new();
    for request in changes() {
        let what = format!("{request:?}");
        house.audit.plan([Some(Fault::Before); 8]);
        assert_eq!(house.kind(request), None, "{what}");
    }
    house.audit.plan([]);
    house.check_whole();
}

#[test]
fn a_change_that_may_have_happened_stays_unknown_when_the_audit_log_fails_as_well() {
    let house = House::new();
    house.writes.strike(Fault::After);
    house.audit.strike(Fault::Before);
    let create = changes().remove(0);
    assert_eq!(house.kind(create), Some(ErrorKind::Unknown));
    assert_eq!(house.kind(Request::GetKey { key: key("key") }), None);
}

#[test]
fn a_login_that_fails_halfway_lets_nobody_in_and_costs_no_later_one() {
    let house = House::new();
    // Its two transactions: the attempt, and the success.
    for at in 0..2 {
        for (fault, expected) in [
            (Fault::Before, ErrorKind::StoreFailed),
            (Fault::After, ErrorKind::Unknown),
        ] {
            let mut plan = vec![None; at];
            plan.push(Some(fault));
            house.writes.plan(plan);
            let login = block_on(house.engine.login(credentials()));
            assert_eq!(login.unwrap_err().kind(), expected, "{at}, {fault:?}");
            block_on(house.engine.login(credentials())).unwrap();
        }
    }
    for fault in [Fault::Before, Fault::After] {
        house.audit.strike(fault);
        let wrong = Credentials::password(ADMINISTRATOR, "not the password").unwrap();
        let login = block_on(house.engine.login(wrong));
        assert_eq!(login.unwrap_err().kind(), ErrorKind::AuditFailed);
        block_on(house.engine.login(credentials())).unwrap();
    }
}

#[test]
fn a_partition_whose_creation_was_lost_is_there_or_not() {
    for (fault, expected, there) in [
        (Fault::Before, ErrorKind::StoreFailed, false),
        (Fault::After, ErrorKind::Unknown, true),
    ] {
        let (memory, writes) = (MemoryStore::new(), Faults::none());
        let device = Arc::new(SoftDevice::in_memory().unwrap());
        let parts = || Parts {
            device: device.clone(),
            store: Arc::new(FaultyStore::new(
                memory.clone(),
                writes.clone(),
                Faults::none(),
            )),
            audit: Arc::new(MemoryAudit::new()),
            clock: Arc::<ManualClock>::default(),
        };
        writes.strike(fault);
        let created = block_on(Engine::create(parts(), setup()));
        assert_eq!(created.unwrap_err().kind(), expected);
        let opened = block_on(Engine::open(parts()));
        assert_eq!(opened.is_ok(), there, "{fault:?}: {opened:?}");
        let again = block_on(Engine::create(parts(), setup()));
        assert_eq!(again.is_ok(), !there, "{fault:?}: {again:?}");
    }
}

#[test]
fn maintenance_that_fails_is_done_by_the_next_run() {
    for fault in [Fault::Before, Fault::After] {
        let house = House::new();
        for request in changes().into_iter().take(5) {
            house.ask(request).unwrap();
        }
        house
            .clock
            .advance(std::time::Duration::from_secs(91 * 86_400));
        house.writes.strike(fault);
        let first = block_on(house.engine.maintain()).unwrap();
        assert!(first.rotated.is_empty(), "{fault:?}: {first:?}");
        // A refused rotation is tried again after an hour, one that happened is not repeated.
        house.clock.advance(hsm_core::limits::ROTATION_RETRY * 2);
        block_on(house.engine.maintain()).unwrap();
        let session = block_on(house.engine.session_for(ADMINISTRATOR.parse().unwrap())).unwrap();
        let request = Request::ListVersions {
            name: "key".parse().unwrap(),
            page: PageRequest::default(),
        };
        let answer = block_on(session.call(RequestId::default(), request)).unwrap();
        let Response::Keys(versions) = answer else {
            panic!("expected versions")
        };
        assert_eq!(versions.items.len(), 2, "{fault:?}: rotated exactly once");
    }
}

#[test]
fn checkpoints_that_fail_are_made_by_the_next_run() {
    let house = House::new();
    for fault in [Fault::Before, Fault::After] {
        house.ask(Request::Random { len: 8 }).unwrap();
        house.audit.strike(fault);
        block_on(house.engine.maintain()).unwrap_err();
        block_on(house.engine.maintain()).unwrap();
    }
    let heads: BTreeSet<_> = house
        .audited
        .heads()
        .iter()
        .map(|head| head.records)
        .collect();
    block_on(house.engine.maintain()).unwrap();
    let after: BTreeSet<_> = house
        .audited
        .heads()
        .iter()
        .map(|head| head.records)
        .collect();
    assert_eq!(heads, after, "what is signed is not signed again");
}

#[test]
fn zeroizing_goes_through_with_it_once_it_is_recorded() {
    // Its writes: the record, then the last checkpoint of the journal.
    for (at, fault, expected) in [
        (0, Fault::Before, Some(ErrorKind::StoreFailed)),
        (0, Fault::After, Some(ErrorKind::Unknown)),
        (1, Fault::Before, None),
        (1, Fault::After, None),
    ] {
        let house = House::new();
        let confirm = house.engine.id();
        let mut plan = vec![None; at];
        plan.push(Some(fault));
        house.writes.plan(plan);
        let kind = house.kind(Request::Zeroize { confirm });
        assert_eq!(kind, expected, "{at}, {fault:?}");
        let recorded = (at, fault) != (0, Fault::Before);
        let random = house.kind(Request::Random { len: 8 });
        let gone = random == Some(ErrorKind::DeviceFailed);
        assert_eq!(gone, recorded, "{at}, {fault:?}: {random:?}");
        let mut bytes = [0; 8];
        let device = block_on(Device::random(&*house.device, &mut bytes));
        assert_eq!(device.is_err(), recorded, "the device itself: {fault:?}");
    }
    // The streams' last checkpoint does not stop it either.
    let house = House::new();
    house.audit.strike(Fault::Before);
    let confirm = house.engine.id();
    assert_eq!(house.kind(Request::Zeroize { confirm }), None);
}

#[test]
fn opening_what_was_zeroized_halfway_finishes_it() {
    let house = House::new();
    let confirm = house.engine.id();
    house.writes.strike(Fault::After);
    let kind = house.kind(Request::Zeroize { confirm });
    assert_eq!(kind, Some(ErrorKind::Unknown));
    let parts = Parts {
        device: house.device.clone(),
        store: Arc::new(house.memory.clone()),
        audit: Arc::new(MemoryAudit::new()),
        clock: house.clock.clone(),
    };
    let opened = block_on(Engine::open(parts));
    assert_eq!(opened.unwrap_err().kind(), ErrorKind::DeviceFailed);
    let mut bytes = [0; 8];
    let random = block_on(Device::random(&*house.device, &mut bytes));
    assert_eq!(random.unwrap_err().kind(), ErrorKind::DeviceFailed);
}

/// A software device that cannot destroy its domain key the first time.
#[derive(Debug)]
struct Stubborn(Arc<SoftDevice>, AtomicBool);

#[async_trait]
#[deny(clippy::missing_trait_methods)]
impl Device for Stubborn {
    fn capabilities(&self) -> &Capabilities {
        self.0.capabilities()
    }

    async fn generate(&self, spec: &KeySpec, binding: &Binding) -> Result<NewKey> {
        self.0.generate(spec, binding).await
    }

    async fn import(
        &self,
        material: SecretBytes,
        spec: &KeySpec,
        binding: &Binding,
    ) -> Result<NewKey> {
        self.0.import(material, spec, binding).await
    }

    async fn load(&self, sealed: &SealedKey, binding: &Binding) -> Result<Arc<dyn LoadedKey>> {
        self.0.load(sealed, binding).await
    }

    async fn reseal(
        &self,
        sealed: &SealedKey,
        old: &Binding,
        new: &Binding,
        without: Usages,
    ) -> Result<SealedKey> {
        self.0.reseal(sealed, old, new, without).await
    }

    async fn random(&self, out: &mut [u8]) -> Result<()> {
        self.0.random(out).await
    }

    async fn self_test(&self) -> Result<()> {
        self.0.self_test().await
    }

    async fn zeroize(&self) -> Result<()> {
        if self.1.swap(false, Ordering::Relaxed) {
            return Err(Error::new(ErrorKind::DeviceFailed, "stuck"));
        }
        self.0.zeroize().await
    }
}

#[test]
fn a_device_that_could_not_zeroize_is_believed_and_asked_again() {
    let house = House::new();
    let parts = Parts {
        device: Arc::new(Stubborn(house.device.clone(), AtomicBool::new(true))),
        store: Arc::new(house.memory.clone()),
        audit: Arc::new(MemoryAudit::new()),
        clock: house.clock.clone(),
    };
    let engine = block_on(Engine::open(parts)).unwrap();
    let session = block_on(engine.login(credentials())).unwrap();
    let call = |request| block_on(session.call(RequestId::from_u128(1), request));
    let is_gone = || block_on(Device::random(&*house.device, &mut [0; 8])).is_err();
    let confirm = engine.id();
    let error = call(Request::Zeroize { confirm }).unwrap_err();
    assert_eq!(error.message(), "stuck");
    assert!(!is_gone());
    let error = call(Request::Random { len: 8 }).unwrap_err();
    assert!(error.message().contains("was zeroized"), "{error}");
    assert!(is_gone(), "the next call has asked the device again");
}

/// What reads or uses keys and changes nothing.
fn uses() -> Vec<Request<'static>> {
    vec![
        Request::Sign {
            key: key("key"),
            algorithm: Algorithm::Es256,
            input: SignInput::Message(b"message"),
        },
        encrypt(key("aes")),
        Request::Random { len: 8 },
        Request::GetKey { key: key("key") },
        Request::ListKeys {
            page: PageRequest::default(),
        },
        Request::ListUsers {
            page: PageRequest::default(),
        },
        Request::ListRoleAssignments { scope: None },
        Request::GetSettings,
        Request::ListAuditStreams,
    ]
}

fn encrypt(key: KeyRef) -> Request<'static> {
    Request::Encrypt {
        key,
        algorithm: Algorithm::A256Gcm,
        plaintext: b"plaintext",
        iv: None,
        aad: b"",
    }
}

fn key(name: &str) -> KeyRef {
    name.parse().unwrap()
}

fn new_key(key_type: KeyType, usages: &[Usage]) -> NewKeyParameters {
    NewKeyParameters::new(KeySpec::new(key_type, Usages::of(usages)).unwrap())
}

fn setup() -> Setup {
    Setup {
        administrator: ADMINISTRATOR.parse().unwrap(),
        password: SecretBytes::copy_from(PASSWORD.as_bytes()),
        settings: Settings::default(),
    }
}

fn credentials() -> Credentials {
    Credentials::password(ADMINISTRATOR, PASSWORD).unwrap()
}
