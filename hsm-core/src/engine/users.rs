//! Users and passwords: argon2id (RFC 9106), and a delay that grows with every wrong password and survives restarts.

use std::hash::{DefaultHasher, Hash, Hasher};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use argon2::{Argon2, Block, Params, Version};
use parking_lot::{Condvar, Mutex};
use subtle::ConstantTimeEq;
use zeroize::Zeroizing;

use super::Engine;
use super::keys::page_len;
use super::ledger::Change;
use super::lockout::{count_failure, locked_until};
use super::record::{self, PasswordHash, UserRecord};
use super::roles;
use super::session::{Asked, Done, EngineSession, Proof, not_audited};
use super::strangers;
use super::tokens;
use super::tree::{Changes, Records, damaged};
use crate::audit::{Event, RequestId};
use crate::clock::Timestamp;
use crate::device::Device;
use crate::error::{Error, ErrorKind, Result, limit};
use crate::limits::{
    PASSWORD_CHECKS_MAX, PASSWORD_CHECKS_WAITING_MAX, PASSWORD_LEN_MAX, PASSWORD_LEN_MIN, USERS_MAX,
};
use crate::policy::{DataAction, Permit};
use crate::request::{Page, PageRequest, Response, UserInfo, UserUpdate};
use crate::secret::SecretBytes;
use crate::service::Principal;
use crate::store::Space;

/// argon2id with 19 MiB, 2 passes, 1 lane: what OWASP's password storage cheat sheet asks for at the least.
const MEMORY_KIB: u32 = 19 * 1024;
const ITERATIONS: u32 = 2;

impl Engine {
    pub(super) async fn login_with_password(
        &self,
        user: Principal,
        password: SecretBytes,
    ) -> Result<Arc<EngineSession>> {
        let result = self.check_login(user.clone(), password).await;
        if let Err(error) = &result {
            let recorded = self.0.audit.append(&Event {
                time: self.now(),
                request: RequestId::default(),
                principal: user.as_str().into(),
                action: DataAction::Login,
                target: format!("/login/{user}").into(),
                version: None,
                algorithm: None,
                failure: Some(error.kind()),
                detail: "".into(),
            });
            match recorded {
                Err(source) if error.kind() != ErrorKind::Unknown => {
                    return Err(not_audited(source));
                }
                _ => {}
            }
        }
        result.map(Arc::new)
    }

    async fn check_login(&self, user: Principal, password: SecretBytes) -> Result<EngineSession> {
        let _turn = self.0.logins.turn_of(&user).await?;
        self.refresh().await?;
        // Count the attempt before the password is checked, so that guesses at the same time count as well.
        let name = user.clone();
        let attempt = Change::system(format!("/login/{user}"), format!("{user} tries to log in"));
        let found = self
            .change(attempt, move |changes, now| {
                let Some(mut record) = read(changes, &name)? else {
                    return strangers::count(changes, &name, now).map(|()| None);
                };
                record.failures = count_failure(record.failures, record.last_failure, now)?;
                record.last_failure = now;
                put(changes, &record)?;
                Ok(Some(record))
            })
            .await?;
        let expected = found.as_ref().map(|record| record.password.clone());
        // An unknown user takes as long as a wrong password.
        let right = self
            .check_hash(password, expected.unwrap_or_else(PasswordHash::nobody))
            .await?;
        let Some(record) = found.filter(|record| right && record.enabled) else {
            return Err(Error::new(
                ErrorKind::Unauthenticated,
                "the user name or the password is wrong, or the user is disabled",
            ));
        };
        let name = user.clone();
        let epoch = record.epoch;
        let success = Change::login(&user, format!("/login/{user}"));
        let current = self
            .change_if(success, move |changes, _| {
                let Some(mut record) =
                    read(changes, &name)?.filter(|record| record.epoch == epoch && record.enabled)
                else {
                    return Ok(None);
                };
                record.failures = 0;
                put(changes, &record).map(Some)
            })
            .await?;
        if current.is_none() {
            return Err(Error::new(
                ErrorKind::Unauthenticated,
                "the user was changed during login; log in again",
            ));
        }
        self.refresh().await?;
        EngineSession::open(self.clone(), user, Proof::Password { epoch })
    }

    /// Whether the user still is who logged in.
    pub(super) async fn user_is_current(&self, user: &Principal, epoch: u32) -> Result<bool> {
        let record = self.view(|view| read(view, user)).await?;
        Ok(record.is_some_and(|record| record.enabled && record.epoch == epoch))
    }

    /// Whether a principal that somebody else has authenticated is no user, or one who is not kept out.
    pub(super) async fn is_not_disabled(&self, principal: &Principal) -> Result<bool> {
        self.view(|view| may_log_in(view, principal)).await
    }

    pub(super) async fn create_user(
        &self,
        asked: Asked<'_>,
        name: Principal,
        password: SecretBytes,
    ) -> Result<Done> {
        check_password(&password)?;
        self.view(|view| check_free(view, &name)).await?;
        let record = new_user(&*self.0.device, name.clone(), password, self.now()).await?;
        let change = Change::requested(asked.id, asked.principal, asked.permit, user_target(&name))
            .detail("created");
        self.change(change, move |changes, _| {
            check_free(changes, &record.name)?;
            let count = changes.rows().count(Space::Users, b"", USERS_MAX + 1)? + 1;
            if count > USERS_MAX {
                return Err(limit("the number of users", count, USERS_MAX));
            }
            put(changes, &record)
        })
        .await?;
        Ok(Done::change(Response::Done))
    }

    pub(super) async fn list_users(&self, _permit: &Permit, page: PageRequest) -> Result<Done> {
        let limit = page_len(&page)?;
        let after = page.after.unwrap_or_default();
        let now = self.now();
        let found = self
            .view(|view| {
                let rows = view.scan(Space::Users, b"", Some(after.as_bytes()), limit + 1)?;
                let mut items = Vec::with_capacity(limit);
                for (_, value) in rows.iter().take(limit) {
                    let record: UserRecord = record::from_bytes("the record of a user", value)?;
                    let locked = locked_until(record.failures, record.last_failure, now);
                    items.push(UserInfo::new(
                        record.name,
                        record.enabled,
                        record.created,
                        locked,
                    ));
                }
                let next = (rows.len() > limit)
                    .then(|| items.last().map(|last| last.name.to_string()))
                    .flatten();
                Ok(Page { items, next })
            })
            .await?;
        Ok(Done::read(Response::Users(found)))
    }

    pub(super) async fn update_user(
        &self,
        asked: Asked<'_>,
        name: Principal,
        update: UserUpdate,
    ) -> Result<Done> {
        if matches!(update, UserUpdate::Disable) && name == *asked.principal {
            return Err(Error::new(
                ErrorKind::Conflict,
                "users cannot disable themselves; let another administrator do it",
            ));
        }
        let (detail, password) = match update {
            UserUpdate::Disable => ("disabled", None),
            UserUpdate::Enable => ("enabled", None),
            UserUpdate::Unlock => ("unlocked", None),
            UserUpdate::Password(password) => {
                check_password(&password)?;
                ("new password", Some(hash(&*self.0.device, password).await?))
            }
        };
        let enabled = match detail {
            "disabled" => Some(false),
            "enabled" => Some(true),
            _ => None,
        };
        let change = Change::requested(asked.id, asked.principal, asked.permit, user_target(&name))
            .detail(detail);
        self.change(change, move |changes, _| {
            let mut record = existing(changes, &name)?;
            if let Some(enabled) = enabled {
                record.enabled = enabled;
            }
            if enabled == Some(false) {
                roles::check_governed_without(changes, &name)?;
            }
            if let Some(password) = &password {
                record.password = password.clone();
            }
            if enabled == Some(false) || password.is_some() {
                record.epoch = record.epoch.wrapping_add(1);
            }
            if enabled.is_none() {
                record.failures = 0;
            }
            put(changes, &record)
        })
        .await?;
        Ok(Done::change(Response::Done))
    }

    pub(super) async fn delete_user(&self, asked: Asked<'_>, name: Principal) -> Result<Done> {
        if name == *asked.principal {
            return Err(Error::new(
                ErrorKind::Conflict,
                "users cannot delete themselves; let another administrator do it",
            ));
        }
        let change = Change::requested(asked.id, asked.principal, asked.permit, user_target(&name))
            .detail("deleted");
        self.change(change, move |changes, _| {
            existing(changes, &name)?;
            // Or the next user of this name would have them.
            roles::remove_assignments_of(changes, &name)?;
            tokens::remove_tokens_of(changes, &name)?;
            changes.remove(Space::Users, name.as_str().as_bytes())
        })
        .await?;
        Ok(Done::change(Response::Done))
    }

    pub(super) async fn change_password(
        &self,
        asked: Asked<'_>,
        old: SecretBytes,
        new: SecretBytes,
    ) -> Result<Done> {
        check_password(&new)?;
        let user = asked.principal.clone();
        let name = user.clone();
        // A wrong old password counts like one at login: a stolen session must not serve to guess it.
        let attempt = Change::system(
            format!("/login/{user}"),
            format!("{user} tries to change the password"),
        );
        let record = self
            .change(attempt, move |changes, now| {
                let mut record = existing(changes, &name)?;
                record.failures = count_failure(record.failures, record.last_failure, now)?;
                record.last_failure = now;
                put(changes, &record)?;
                Ok(record)
            })
            .await?;
        let epoch = record.epoch;
        if !self.check_hash(old, record.password).await? {
            return Err(Error::new(
                ErrorKind::Unauthenticated,
                "the old password is wrong",
            ));
        }
        let password = hash(&*self.0.device, new).await?;
        let change = Change::requested(asked.id, asked.principal, asked.permit, user_target(&user))
            .detail("changed the password");
        self.change(change, move |changes, _| {
            let mut record = existing(changes, &user)?;
            // The old password was checked against the record of that epoch.
            if record.epoch != epoch || !record.enabled {
                return Err(Error::new(
                    ErrorKind::Unauthenticated,
                    "the user was changed meanwhile; log in again",
                ));
            }
            record.password = password.clone();
            record.epoch = record.epoch.wrapping_add(1);
            record.failures = 0;
            put(changes, &record)
        })
        .await?;
        Ok(Done::change(Response::Done))
    }

    async fn check_hash(&self, password: SecretBytes, expected: PasswordHash) -> Result<bool> {
        if password.len() > PASSWORD_LEN_MAX {
            return Ok(false);
        }
        let turnstile = self.0.password_checks.clone();
        blocking::unblock(move || {
            let _turn = turnstile.enter()?;
            let computed = compute(&password, &expected)?;
            Ok(bool::from(computed.expose().ct_eq(&expected.hash)))
        })
        .await
    }
}

/// Lets a user log in once at a time: attempts count before their passwords are checked, so that several with the right
/// password at once would lock the user out.
#[derive(Debug, Default)]
pub(super) struct Logins {
    /// By a hash of the user's name: users who share a place only wait for each other.
    places: [async_lock::Mutex<()>; LOGIN_PLACES],
    waiting: AtomicUsize,
}

const LOGIN_PLACES: usize = 32;

impl Logins {
    async fn turn_of(&self, user: &Principal) -> Result<async_lock::MutexGuard<'_, ()>> {
        let mut hash = DefaultHasher::new();
        user.hash(&mut hash);
        let place = hash.finish().to_le_bytes()[0];
        let waiting = Waiting::enter(&self.waiting)?;
        let turn = self.places[usize::from(place) % LOGIN_PLACES].lock().await;
        drop(waiting);
        Ok(turn)
    }
}

/// One of at most [`PASSWORD_CHECKS_WAITING_MAX`] who wait.
struct Waiting<'c>(&'c AtomicUsize);

impl<'c> Waiting<'c> {
    fn enter(count: &'c AtomicUsize) -> Result<Self> {
        let before = count.fetch_add(1, Ordering::Relaxed);
        let waiting = Self(count);
        if before >= PASSWORD_CHECKS_WAITING_MAX {
            return Err(too_many_logins());
        }
        Ok(waiting)
    }
}

impl Drop for Waiting<'_> {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::Relaxed);
    }
}

fn too_many_logins() -> Error {
    Error::new(
        ErrorKind::LimitExceeded,
        "too many are logging in at once; try again",
    )
    .with_retry_after(Duration::from_secs(1))
}

/// Lets [`PASSWORD_CHECKS_MAX`] password checks run at once, [`PASSWORD_CHECKS_WAITING_MAX`] wait, and no more.
#[derive(Debug, Default)]
pub(super) struct Turnstile {
    inside: Mutex<(usize, usize)>,
    left: Condvar,
}

struct Turn<'t>(&'t Turnstile);

impl Turnstile {
    fn enter(&self) -> Result<Turn<'_>> {
        let mut inside = self.inside.lock();
        if inside.1 >= PASSWORD_CHECKS_WAITING_MAX {
            return Err(too_many_logins());
        }
        inside.1 += 1;
        while inside.0 >= PASSWORD_CHECKS_MAX {
            self.left.wait(&mut inside);
        }
        inside.1 -= 1;
        inside.0 += 1;
        Ok(Turn(self))
    }
}

impl Drop for Turn<'_> {
    fn drop(&mut self) {
        self.0.inside.lock().0 -= 1;
        self.0.left.notify_one();
    }
}

impl PasswordHash {
    /// The hash of no password, for users that do not exist.
    fn nobody() -> Self {
        Self {
            salt: [0; 16],
            memory_kib: MEMORY_KIB,
            iterations: ITERATIONS,
            hash: [0; 32],
        }
    }
}

pub(super) fn check_password(password: &SecretBytes) -> Result<()> {
    if password.len() < PASSWORD_LEN_MIN {
        return Err(Error::new(
            ErrorKind::InvalidInput,
            format!("a password has at least {PASSWORD_LEN_MIN} bytes"),
        ));
    }
    if password.len() > PASSWORD_LEN_MAX {
        return Err(limit(
            "the length of a password",
            password.len(),
            PASSWORD_LEN_MAX,
        ));
    }
    Ok(())
}

pub(super) async fn new_user(
    device: &dyn Device,
    name: Principal,
    password: SecretBytes,
    now: Timestamp,
) -> Result<UserRecord> {
    // Not always zero: a session of an earlier user of this name must not become one of the new user.
    let mut epoch = [0; 4];
    device.random(&mut epoch).await?;
    Ok(UserRecord {
        name,
        enabled: true,
        created: now,
        password: hash(device, password).await?,
        epoch: u32::from_be_bytes(epoch),
        failures: 0,
        last_failure: now,
    })
}

pub(super) fn put(changes: &mut Changes<'_>, record: &UserRecord) -> Result<()> {
    changes.put(
        Space::Users,
        record.name.as_str().as_bytes(),
        &record::to_bytes(record)?,
    )
}

async fn hash(device: &dyn Device, password: SecretBytes) -> Result<PasswordHash> {
    let mut hash = PasswordHash::nobody();
    device.random(&mut hash.salt).await?;
    blocking::unblock(move || {
        let computed = compute(&password, &hash)?;
        hash.hash.copy_from_slice(computed.expose());
        Ok(hash)
    })
    .await
}

fn compute(password: &SecretBytes, parameters: &PasswordHash) -> Result<SecretBytes> {
    let unusable = |source: argon2::Error| {
        damaged(format!("the password hash of a user is unusable: {source}"))
    };
    let params =
        Params::new(parameters.memory_kib, parameters.iterations, 1, Some(32)).map_err(unusable)?;
    // Its own memory argon2 leaves as it is.
    let mut memory = Zeroizing::new(vec![Block::new(); params.block_count()]);
    let argon2 = Argon2::new(argon2::Algorithm::Argon2id, Version::V0x13, params);
    SecretBytes::try_init_with(32, |out| {
        argon2
            .hash_password_into_with_memory(
                password.expose(),
                &parameters.salt,
                out,
                &mut memory[..],
            )
            .map_err(unusable)
    })
}

fn read(records: &impl Records, name: &Principal) -> Result<Option<UserRecord>> {
    record::get(records, Space::Users, name.as_str().as_bytes())
}

/// Whether the principal is no user, or one who is not disabled.
pub(super) fn may_log_in(records: &impl Records, name: &Principal) -> Result<bool> {
    Ok(read(records, name)?.is_none_or(|record| record.enabled))
}

/// What a principal is to the partition.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(super) enum Standing {
    /// No user, but an identity of somebody else.
    NoUser,
    /// A user who is kept out.
    Disabled,
    /// A user, since when, and of which epoch.
    User { created: Timestamp, epoch: u32 },
}

pub(super) fn standing(records: &impl Records, name: &Principal) -> Result<Standing> {
    Ok(match read(records, name)? {
        None => Standing::NoUser,
        Some(UserRecord { enabled: false, .. }) => Standing::Disabled,
        Some(record) => Standing::User {
            created: record.created,
            epoch: record.epoch,
        },
    })
}

/// When the user of that name was created, if there is one.
pub(super) fn created(records: &impl Records, name: &Principal) -> Result<Option<Timestamp>> {
    Ok(read(records, name)?.map(|record| record.created))
}

fn existing(records: &impl Records, name: &Principal) -> Result<UserRecord> {
    read(records, name)?
        .ok_or_else(|| Error::new(ErrorKind::NotFound, format!("there is no user {name}")))
}

fn check_free(records: &impl Records, name: &Principal) -> Result<()> {
    if read(records, name)?.is_some() {
        return Err(Error::new(
            ErrorKind::Conflict,
            format!("there is a user {name} already"),
        ));
    }
    Ok(())
}

fn user_target(name: &Principal) -> String {
    format!("/users/{name}")
}
