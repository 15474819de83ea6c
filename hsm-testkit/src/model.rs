//! [`Model`]: the smallest service that is obviously right. Others are compared with it.

mod keys;
mod lifecycle;
mod people;

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use hsm_core::audit::{RequestId, StreamId};
use hsm_core::limits::{SESSION_IDLE_MAX, SESSION_LIFETIME_MAX};
use hsm_core::policy::{BuiltInRole, DataAction, RoleAssignment, RoleDefinition, RoleId, Scope};
use hsm_core::{
    Clock, Credentials, Error, ErrorKind, KeyName, Principal, Recovery, Request, Response, Result,
    Service, Session, Settings, Timestamp, TokenName, VersionId,
};
use parking_lot::Mutex;

use self::keys::{Key, Made};
use self::people::{Admitted, Failures, Token, User};
use crate::ManualClock;
use crate::service::{ADMINISTRATOR, PASSWORD};

/// A [`Service`] that keeps everything in plain maps behind one lock and looks at it anew at every call. Clones share it.
///
/// It is there to be compared with: [`check_histories`](crate::history::check_histories) does. What it refuses, it
/// refuses with the kinds of the engine and in its order: the session, the role, the parameters, the key, its state, its
/// usages, the algorithm.
///
/// It believes the clock, as long as that does not go back. Histories put it right before time passes, as what an engine
/// makes of a wrong one is a matter of its own.
///
/// It has no cryptography. Key bytes are numbers, and so are signatures, ciphertexts and wrapped keys: the model
/// remembers what each was made of, and knows its own again. Keys have no public half. It has no audit log, and knows
/// neither the limits of lengths nor RSA1_5: those are of the conformance suite.
///
/// ```
/// use std::sync::Arc;
///
/// use hsm_core::{Credentials, Service};
/// use hsm_testkit::service::{ADMINISTRATOR, PASSWORD};
/// use hsm_testkit::{ManualClock, Model};
///
/// # futures_executor::block_on(async {
/// let model = Model::new(Arc::new(ManualClock::default()));
/// let session = model.login(Credentials::password(ADMINISTRATOR, PASSWORD)?).await?;
/// assert_eq!(session.principal().as_str(), ADMINISTRATOR);
/// # Ok::<(), hsm_core::Error>(())
/// # }).unwrap();
/// ```
#[derive(Clone, Debug)]
pub struct Model {
    clock: Arc<ManualClock>,
    world: Arc<Mutex<World>>,
}

/// Everything that there is.
struct World {
    /// The latest time seen. Time never goes backwards.
    latest: Timestamp,
    settings: Settings,
    keys: BTreeMap<KeyName, Key>,
    users: BTreeMap<Principal, User>,
    tokens: BTreeMap<TokenName, Token>,
    /// Those who tried to log in under names that no user had.
    strangers: BTreeMap<Principal, Failures>,
    definitions: BTreeMap<RoleId, RoleDefinition>,
    assignments: BTreeMap<RoleId, RoleAssignment>,
    /// Keys as they were when they were backed up; their places stand for them.
    backups: Vec<(KeyName, Key)>,
    /// Versions that were compromised when they were purged.
    compromised: BTreeSet<VersionId>,
    /// Signatures, ciphertexts and the like, by the number that stands for them.
    made: Vec<Made>,
    /// The last number that was given to anything that must differ from all others.
    last: u128,
    zeroized: bool,
}

impl Model {
    /// A service whose only user is [`ADMINISTRATOR`] with [`PASSWORD`], in the role Managed HSM Administrator at `/`.
    #[must_use]
    pub fn new(clock: Arc<ManualClock>) -> Self {
        let now = clock.now();
        let mut world = World {
            latest: now,
            settings: Settings::default(),
            keys: BTreeMap::new(),
            users: BTreeMap::new(),
            tokens: BTreeMap::new(),
            strangers: BTreeMap::new(),
            definitions: BTreeMap::new(),
            assignments: BTreeMap::new(),
            backups: Vec::new(),
            compromised: BTreeSet::new(),
            made: Vec::new(),
            last: 0,
            zeroized: false,
        };
        for role in BuiltInRole::ALL {
            world.definitions.insert(role.id(), (*role).into());
        }
        if let Ok(administrator) = Principal::new(ADMINISTRATOR) {
            let user = world.new_user(now, PASSWORD.as_bytes());
            world.users.insert(administrator.clone(), user);
            let id = RoleId::from_u128(u128::MAX);
            let role = BuiltInRole::Administrator.id();
            let first = RoleAssignment::new(id, role, administrator, Scope::Global, now);
            world.assignments.insert(id, first);
        }
        let world = Arc::new(Mutex::new(world));
        Self { clock, world }
    }

    /// Does what is due: rotates by policy, purges what was kept long enough.
    pub fn maintain(&self) {
        let mut world = self.world.lock();
        let now = world.now(&self.clock);
        world.maintain(now);
    }

    /// Whether there is a key of that name.
    pub(crate) fn presence(&self, name: &str) -> Presence {
        let world = self.world.lock();
        match world.keys.get(name).map(Key::is_deleted) {
            None => Presence::Free,
            Some(false) => Presence::Live,
            Some(true) => Presence::Deleted,
        }
    }
}

/// What a name stands for.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) enum Presence {
    Free,
    Live,
    Deleted,
}

#[async_trait]
impl Service for Model {
    async fn login(&self, credentials: Credentials) -> Result<Arc<dyn Session>> {
        let mut world = self.world.lock();
        let now = world.now(&self.clock);
        world.check_alive()?;
        let (principal, admitted) = match credentials {
            Credentials::Password { user, password } => {
                let generation = world.login(now, &user, password.expose())?;
                (user, Admitted::Password(generation))
            }
            Credentials::Token(token) => world.show(now, token.expose())?,
            _ => return Err(refuse(ErrorKind::Unsupported, "other credentials")),
        };
        Ok(Arc::new(ModelSession {
            model: self.clone(),
            principal,
            admitted,
            opened: self.clock.monotonic(),
            use_of: Mutex::new(Use {
                last: self.clock.monotonic(),
                ended: false,
            }),
        }))
    }
}

/// A session with a [`Model`].
#[derive(Debug)]
struct ModelSession {
    model: Model,
    principal: Principal,
    admitted: Admitted,
    /// By the hand of the clock that nobody sets.
    opened: Duration,
    use_of: Mutex<Use>,
}

#[derive(Debug)]
struct Use {
    last: Duration,
    ended: bool,
}

impl ModelSession {
    /// A session ends by logout, by time, and with its user or token. What has ended stays so.
    fn check(&self, world: &World) -> Result<()> {
        let now = self.model.clock.monotonic();
        let mut use_of = self.use_of.lock();
        use_of.ended |= now - use_of.last > SESSION_IDLE_MAX
            || now - self.opened > SESSION_LIFETIME_MAX
            || !world.admits(world.latest, &self.principal, self.admitted);
        if use_of.ended {
            return Err(refuse(ErrorKind::Unauthenticated, "the session has ended"));
        }
        use_of.last = now;
        Ok(())
    }
}

#[async_trait]
impl Session for ModelSession {
    fn principal(&self) -> &Principal {
        &self.principal
    }

    async fn call(&self, _: RequestId, request: Request<'_>) -> Result<Response> {
        let mut world = self.model.world.lock();
        let now = world.now(&self.model.clock);
        world.check_alive()?;
        self.check(&world)?;
        let action = request.action();
        world.authorize(&self.principal, action, &request.scope())?;
        if let Some(wrapping) = request.wrapping_key() {
            world.authorize(&self.principal, action, &Scope::Key(wrapping.clone()))?;
        }
        let mut answer = world.answer(&self.principal, now, request)?;
        world.add_recovery(&mut answer);
        Ok(answer)
    }

    async fn logout(&self) {
        self.use_of.lock().ended = true;
    }
}

impl World {
    fn now(&mut self, clock: &ManualClock) -> Timestamp {
        self.latest = self.latest.max(clock.now());
        self.latest
    }

    fn next(&mut self) -> u128 {
        self.last += 1;
        self.last
    }

    /// What the deletion of a key means is said with every key.
    fn add_recovery(&self, answer: &mut Response) {
        let recovery = Some(Recovery {
            retention_days: self.settings.retention_days,
            purge_protection: self.settings.purge_protection,
        });
        match answer {
            Response::Key(key) => key.recovery = recovery,
            Response::Keys(page) => page
                .items
                .iter_mut()
                .for_each(|key| key.recovery = recovery),
            _ => {}
        }
    }

    fn check_alive(&self) -> Result<()> {
        match self.zeroized {
            true => Err(refuse(ErrorKind::DeviceFailed, "the HSM was zeroized")),
            false => Ok(()),
        }
    }

    /// A role at the scope or above allows what it says. What is about no key, it allows wherever it was given.
    fn authorize(&self, principal: &Principal, action: DataAction, at: &Scope) -> Result<()> {
        let anywhere = matches!(
            action,
            DataAction::OwnPasswordWrite | DataAction::RandomGenerate | DataAction::SettingsRead
        );
        let covers = |scope: &Scope| match scope {
            Scope::Global => true,
            Scope::Keys => matches!(at, Scope::Keys | Scope::Key(_)),
            Scope::Key(_) => scope == at,
        };
        let allowed = self.assignments.values().any(|assignment| {
            assignment.principal == *principal
                && (anywhere || covers(&assignment.scope))
                && self.allows(assignment.role, action)
        });
        match allowed {
            true => Ok(()),
            false => Err(refuse(ErrorKind::Denied, "no role allows this")),
        }
    }

    fn allows(&self, role: RoleId, action: DataAction) -> bool {
        let role = self.definitions.get(&role);
        role.is_some_and(|role| role.actions.contains(action))
    }

    fn answer(
        &mut self,
        caller: &Principal,
        now: Timestamp,
        request: Request<'_>,
    ) -> Result<Response> {
        match request {
            Request::ListRoleDefinitions
            | Request::PutRoleDefinition { .. }
            | Request::DeleteRoleDefinition { .. }
            | Request::ListRoleAssignments { .. }
            | Request::CreateRoleAssignment { .. }
            | Request::DeleteRoleAssignment { .. }
            | Request::CreateUser { .. }
            | Request::ListUsers { .. }
            | Request::UpdateUser { .. }
            | Request::DeleteUser { .. }
            | Request::ChangePassword { .. }
            | Request::CreateToken { .. }
            | Request::ListTokens { .. }
            | Request::DeleteToken { .. }
            | Request::GetSettings
            | Request::UpdateSettings { .. } => self.govern(caller, now, request),
            Request::Zeroize { confirm } if confirm == ID => {
                self.zeroized = true;
                Ok(Response::Done)
            }
            Request::Zeroize { .. } => Err(refuse(ErrorKind::InvalidInput, "not confirmed")),
            Request::ListAuditStreams | Request::ReadAudit { .. } => {
                Err(refuse(ErrorKind::Unsupported, "the model has no audit log"))
            }
            _ => self.keep(now, request),
        }
    }
}

impl fmt::Debug for World {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "World({} keys at {})", self.keys.len(), self.latest)
    }
}

/// The id of every model.
const ID: StreamId = StreamId::from_bytes([0; 16]);

fn refuse(kind: ErrorKind, why: &'static str) -> Error {
    Error::new(kind, why)
}
