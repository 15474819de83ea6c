//! An older copy of the whole store is found out by a counter outside it, whoever dies when, and nothing right is ever refused.
#![expect(clippy::unwrap_used, reason = "helpers of tests are tests")]

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Barrier};
use std::thread;

use async_trait::async_trait;
use hsm_backend_soft::SoftDevice;
use hsm_core::audit::RequestId;
use hsm_core::policy::{BuiltInRole, Scope};
use hsm_core::{
    Algorithm, AttributesUpdate, Credentials, Engine, ErrorKind, KeyName, KeySpec, KeyType,
    MonotonicCounter, NewKeyParameters, Opening, Parts, Request, Response, Result, SecretBytes,
    Service, Session, Settings, SettingsUpdate, Setup, SignInput, Store, Usage, Usages,
};
use hsm_testkit::service::{ADMINISTRATOR, PASSWORD};
use hsm_testkit::{
    CounterFault, Fault, Faults, FaultyStore, ManualClock, MemoryAudit, MemoryCounter, MemoryStore,
    block_on,
};

/// A partition in memory and its counter.
struct Home {
    device: Arc<SoftDevice>,
    store: MemoryStore,
    audit: MemoryAudit,
    counter: MemoryCounter,
}

impl Home {
    /// With a user who may do everything, and a key.
    fn new() -> (Self, Open) {
        let home = Self {
            device: Arc::new(SoftDevice::in_memory().unwrap()),
            store: MemoryStore::new(),
            audit: MemoryAudit::new(),
            counter: MemoryCounter::new(1),
        };
        let counter = Arc::new(home.counter.clone());
        let made = Engine::create_counted(home.parts(&home.store), setup(), counter);
        let open = Open::of(block_on(made).unwrap());
        for role in [BuiltInRole::CryptoUser, BuiltInRole::CryptoOfficer] {
            open.ask(Request::CreateRoleAssignment {
                id: None,
                role: role.id(),
                principal: ADMINISTRATOR.parse().unwrap(),
                scope: Scope::Global,
            })
            .unwrap();
        }
        open.create("key").unwrap();
        (home, open)
    }

    fn parts(&self, store: &MemoryStore) -> Parts {
        self.parts_over(Arc::new(store.clone()))
    }

    fn parts_over(&self, store: Arc<dyn Store>) -> Parts {
        Parts {
            device: self.device.clone(),
            store,
            audit: Arc::new(self.audit.clone()),
            clock: Arc::new(ManualClock::default()),
        }
    }

    fn opening(&self) -> Opening {
        Opening::new().counter(Arc::new(self.counter.clone()))
    }

    fn open(&self, store: &MemoryStore) -> Result<Open> {
        block_on(Engine::open_with(self.parts(store), self.opening())).map(Open::of)
    }

    fn value(&self) -> u64 {
        block_on(self.counter.read()).unwrap()
    }
}

/// An engine and a session of the administrator.
struct Open {
    engine: Engine,
    session: Arc<dyn Session>,
}

impl Open {
    fn of(engine: Engine) -> Self {
        let credentials = Credentials::password(ADMINISTRATOR, PASSWORD).unwrap();
        let session = block_on(engine.login(credentials)).unwrap();
        Self { engine, session }
    }

    fn ask(&self, request: Request<'_>) -> Result<Response> {
        block_on(self.session.call(RequestId::from_u128(1), request))
    }

    fn create(&self, name: &str) -> Result<Response> {
        let usages = Usages::of(&[Usage::Sign, Usage::Verify]);
        let spec = KeySpec::new(KeyType::EcP256, usages).unwrap();
        self.ask(Request::CreateKey {
            name: name.parse().unwrap(),
            new: NewKeyParameters::new(spec),
        })
    }

    fn sign(&self) -> Result<Response> {
        self.ask(Request::Sign {
            key: "key".parse().unwrap(),
            algorithm: Algorithm::Es256,
            input: SignInput::Message(b"message"),
        })
    }

    /// A change that counts.
    fn set_retention(&self, days: u16) -> Result<Response> {
        let update = SettingsUpdate {
            retention_days: Some(days),
            ..SettingsUpdate::default()
        };
        self.ask(Request::UpdateSettings { update })
    }

    fn retention(&self) -> u16 {
        let Response::Partition(info) = self.ask(Request::GetSettings).unwrap() else {
            panic!("not a partition")
        };
        info.settings.retention_days
    }
}

fn key() -> KeyName {
    "key".parse().unwrap()
}

fn setup() -> Setup {
    Setup {
        administrator: ADMINISTRATOR.parse().unwrap(),
        password: SecretBytes::copy_from(PASSWORD.as_bytes()),
        settings: Settings::default(),
    }
}

#[track_caller]
fn is_old(opened: Result<Open>) {
    let error = opened.err().expect("an older copy was opened");
    assert_eq!(error.kind(), ErrorKind::Damaged, "{error}");
    assert!(error.message().contains("older copy"), "{error}");
}

#[test]
fn an_older_copy_is_refused_and_the_latest_opens() {
    let (home, open) = Home::new();
    let copy = home.store.copy();
    open.set_retention(7).unwrap();
    drop(open);
    is_old(home.open(&copy));
    assert_eq!(home.open(&home.store).unwrap().retention(), 7);
    is_old(home.open(&copy));
}

#[test]
fn every_kind_of_change_that_counts_is_counted() {
    let (home, open) = Home::new();
    let user = || "somebody".parse().unwrap();
    let requests: Vec<(&str, Request<'_>)> = vec![
        (
            "user",
            Request::CreateUser {
                name: user(),
                password: SecretBytes::copy_from(b"correct horse battery"),
            },
        ),
        ("rotation", Request::RotateKey { name: key() }),
        (
            "update",
            Request::UpdateKey {
                key: "key".parse().unwrap(),
                update: AttributesUpdate::default(),
            },
        ),
        ("delete", Request::DeleteKey { name: key() }),
        ("recover", Request::RecoverKey { name: key() }),
        ("delete", Request::DeleteKey { name: key() }),
        ("purge", Request::PurgeKey { name: key() }),
        ("no user", Request::DeleteUser { name: user() }),
    ];
    for (what, request) in requests {
        let (copy, before) = (home.store.copy(), home.value());
        if let Err(error) = open.ask(request) {
            panic!("{what}: {error}");
        }
        assert!(home.value() > before, "{what} counts");
        is_old(home.open(&copy));
    }
}

#[test]
fn uses_of_keys_logins_and_new_keys_are_not_counted() {
    let (home, open) = Home::new();
    open.set_retention(7).unwrap();
    let before = home.counter.steps();
    home.counter.fail(Some(CounterFault::Unreachable));
    for at in 0..20 {
        open.sign().unwrap();
        open.create(&format!("key-{at}")).unwrap();
    }
    drop(Open::of(open.engine.clone()));
    assert_eq!(home.counter.steps(), before);
}

#[test]
fn without_its_counter_nothing_is_changed() {
    let (home, open) = Home::new();
    open.set_retention(7).unwrap();
    home.counter.fail(Some(CounterFault::Unreachable));
    let error = open.set_retention(8).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Unreachable, "{error}");
    assert!(error.message().contains("nothing was changed"), "{error}");
    assert_eq!(open.retention(), 7);
    open.sign().unwrap();
    let error = home.open(&home.store).err().unwrap();
    assert_eq!(error.kind(), ErrorKind::Unreachable, "{error}");
    home.counter.fail(None);
    open.set_retention(8).unwrap();
}

/// Dies between the change and the count, as often as it likes: the next to open it counts.
#[test]
fn a_change_that_was_not_counted_is_counted_by_the_next_to_open() {
    let (home, mut open) = Home::new();
    for round in 0..5 {
        open.set_retention(10).unwrap();
        let copy = home.store.copy();
        home.counter.fail(Some(CounterFault::Stuck));
        let error = open.set_retention(20 + round).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Unknown, "{error}");
        // Nothing is piled up on it.
        let error = open.set_retention(30).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::DeviceFailed, "{error}");
        assert_eq!(open.retention(), 20 + round);
        drop(open);
        home.counter.fail(None);
        open = home.open(&home.store).unwrap();
        assert_eq!(open.retention(), 20 + round, "nothing is lost");
        is_old(home.open(&copy));
    }
}

/// A store whose last mark never reached the counter, put aside, is of no use once anything was changed without it.
#[test]
fn a_fork_that_was_never_counted_is_refused_after_the_next_change() {
    let (home, open) = Home::new();
    open.set_retention(10).unwrap();
    let before = home.store.copy();
    home.counter.fail(Some(CounterFault::Stuck));
    open.set_retention(20).unwrap_err();
    let fork = home.store.copy();
    drop(open);
    home.counter.fail(None);

    let other = home.open(&before).unwrap();
    other.set_retention(30).unwrap();
    is_old(home.open(&fork));
    assert_eq!(home.open(&before).unwrap().retention(), 30);
}

/// As many as there are: together they do not get further ahead of the counter than one of them.
#[test]
fn a_fork_of_several_processes_is_refused_after_the_next_change() {
    let (home, first) = Home::new();
    let others = [(); 3].map(|()| home.open(&home.store).unwrap());
    let processes: Vec<_> = [first].into_iter().chain(others).collect();
    for open in &processes {
        open.set_retention(10).unwrap();
    }
    let before = home.store.copy();
    home.counter.fail(Some(CounterFault::Stuck));
    for open in &processes {
        let error = open.set_retention(20).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Unknown, "{error}");
    }
    let fork = home.store.copy();
    drop(processes);
    home.counter.fail(None);

    let other = home.open(&before).unwrap();
    other.set_retention(30).unwrap();
    is_old(home.open(&fork));
    assert_eq!(home.open(&before).unwrap().retention(), 30);
}

#[test]
fn processes_at_once_are_counted_and_never_refused() {
    let (home, first) = Home::new();
    let second = home.open(&home.store).unwrap();
    let start = home.counter.steps();
    thread::scope(|scope| {
        for open in [&first, &second] {
            scope.spawn(move || {
                for days in 7..27 {
                    open.set_retention(days).unwrap();
                }
            });
        }
        scope.spawn(|| {
            for _ in 0..20 {
                home.open(&home.store).unwrap();
            }
        });
    });
    let steps = home.counter.steps() - start;
    assert!((40..=42).contains(&steps), "{steps}");
    let copy = home.store.copy();
    first.set_retention(30).unwrap();
    is_old(home.open(&copy));
    home.open(&home.store).unwrap();
}

/// One step counts all changes that were committed before it.
#[test]
fn changes_that_wait_together_share_a_step() {
    let (home, open) = Home::new();
    drop(open);
    let gathering = Gathering {
        counter: home.counter.clone(),
        store: home.store.clone(),
        together: Arc::new(Barrier::new(TOGETHER)),
        committed: Arc::default(),
    };
    let opening = Opening::new().counter(Arc::new(gathering.clone()));
    let open = Open::of(block_on(Engine::open_with(home.parts(&home.store), opening)).unwrap());
    open.set_retention(10).unwrap();
    let start = home.counter.steps();
    let copy = home.store.copy();
    // Each of them, and the mark of the first.
    let all = home.store.version().unwrap() + TOGETHER as u64 + 1;
    gathering.committed.store(all, Ordering::Release);
    thread::scope(|scope| {
        for _ in 0..TOGETHER {
            scope.spawn(|| open.set_retention(20).unwrap());
        }
    });
    gathering.committed.store(0, Ordering::Release);
    // One for those that were committed before the first began to count, one for the rest.
    let steps = home.counter.steps() - start;
    assert!((1..=2).contains(&steps), "{steps}");
    is_old(home.open(&copy));
    home.open(&home.store).unwrap();
}

const TOGETHER: usize = 8;

/// A counter that is read only when all ask, and moved only when the store has what all of them changed.
#[derive(Clone, Debug)]
struct Gathering {
    counter: MemoryCounter,
    store: MemoryStore,
    together: Arc<Barrier>,
    /// The version of the store that it waits for, if any.
    committed: Arc<AtomicU64>,
}

#[async_trait]
impl MonotonicCounter for Gathering {
    fn identity(&self) -> [u8; 32] {
        self.counter.identity()
    }

    async fn read(&self) -> Result<u64> {
        if self.committed.load(Ordering::Acquire) > 0 {
            self.together.wait();
        }
        self.counter.read().await
    }

    async fn advance(&self, to: u64) -> Result<()> {
        while self.store.version().unwrap() < self.committed.load(Ordering::Acquire) {
            thread::yield_now();
        }
        self.counter.advance(to).await
    }
}

#[test]
fn a_restored_backup_is_accepted_by_name_with_a_record_and_replaces_the_rest() {
    let (home, open) = Home::new();
    let copy = home.store.copy();
    open.set_retention(7).unwrap();
    drop(open);
    is_old(home.open(&copy));
    let opening = home.opening().danger_accept_rollback();
    let accepted = Engine::open_with(home.parts(&copy), opening.clone());
    let accepted = Open::of(block_on(accepted).unwrap());
    assert_eq!(accepted.retention(), 90);
    drop(accepted);
    home.open(&copy).unwrap();
    is_old(home.open(&home.store));

    let journaled = |store: &MemoryStore| {
        let mut found = 0;
        block_on(store.view(Box::new(|snapshot| {
            let records = snapshot.scan(hsm_core::Space::Journal, b"", None, 1000)?;
            let said = b"the store was taken as it is";
            let says = |record: &[u8]| record.windows(said.len()).any(|window| window == said);
            found = records.iter().filter(|(_, record)| says(record)).count();
            Ok(())
        })))
        .unwrap();
        found
    };
    assert_eq!(journaled(&copy), 1);
    // Where nothing is wrong there is nothing to accept.
    let again = Engine::open_with(home.parts(&copy), opening);
    drop(block_on(again).unwrap());
    assert_eq!(journaled(&copy), 1);
}

#[test]
fn another_counter_or_none_is_refused_unless_it_is_accepted() {
    let (home, open) = Home::new();
    drop(open);
    let open_with = |opening: Opening| {
        block_on(Engine::open_with(home.parts(&home.store), opening)).map(Open::of)
    };
    let other = MemoryCounter::new(2);
    block_on(other.advance(50)).unwrap();
    for opening in [
        Opening::new(),
        Opening::new().counter(Arc::new(other.clone())),
    ] {
        let error = open_with(opening).err().unwrap();
        assert_eq!(error.kind(), ErrorKind::InvalidInput, "{error}");
        assert!(
            error.message().contains("danger_accept_rollback"),
            "{error}"
        );
    }
    let counted = Opening::new().counter(Arc::new(other));
    drop(open_with(counted.clone().danger_accept_rollback()).unwrap());
    drop(open_with(counted).unwrap());
    assert!(home.open(&home.store).is_err(), "the old one is no more");
    drop(open_with(Opening::new().danger_accept_rollback()).unwrap());
    drop(open_with(Opening::new()).unwrap());
    // And its first, which is said aloud as well: a copy from before it looks the same.
    let error = home.open(&home.store).err().unwrap();
    assert_eq!(error.kind(), ErrorKind::InvalidInput, "{error}");
}

#[test]
fn a_store_too_far_ahead_is_refused() {
    let (home, open) = Home::new();
    for days in 0..70 {
        open.set_retention(7 + days).unwrap();
    }
    drop(open);
    // The same name, and it starts again: no counter that keeps its contract.
    let again = Opening::new().counter(Arc::new(MemoryCounter::new(1)));
    let opened = block_on(Engine::open_with(home.parts(&home.store), again));
    let error = opened.err().unwrap();
    assert_eq!(error.kind(), ErrorKind::Damaged, "{error}");
    assert!(error.message().contains("only 0"), "{error}");
}

/// A store that fails while a change is counted leaves nothing that is refused later.
#[test]
fn a_store_that_fails_meanwhile_does_no_harm() {
    for strike in 0..8 {
        let (home, open) = Home::new();
        drop(open);
        let writes = Faults::none();
        let store = FaultyStore::new(home.store.clone(), writes.clone(), Faults::none());
        let parts = home.parts_over(Arc::new(store));
        let open = Open::of(block_on(Engine::open_with(parts, home.opening())).unwrap());
        writes.strike_later(strike, Fault::After);
        for days in 7..12 {
            drop(open.set_retention(days));
        }
        drop(open);
        let open = home.open(&home.store).unwrap();
        open.set_retention(50).unwrap();
        drop(open);
        home.open(&home.store).unwrap();
    }
}

#[test]
fn zeroizing_waits_for_no_counter() {
    let (home, open) = Home::new();
    home.counter.fail(Some(CounterFault::Unreachable));
    let confirm = open.engine.id();
    open.ask(Request::Zeroize { confirm }).unwrap();
    let error = open.sign().unwrap_err();
    assert!(error.message().contains("zeroized"), "{error}");
}
