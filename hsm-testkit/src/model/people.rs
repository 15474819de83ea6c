//! Users, roles and settings: who may do what.

use std::collections::BTreeMap;

use hsm_core::limits::{
    LOGIN_DELAY_FIRST, LOGIN_DELAY_MAX, LOGIN_FREE_FAILURES, PASSWORD_LEN_MAX, PASSWORD_LEN_MIN,
    RETENTION_DAYS_MAX, RETENTION_DAYS_MIN, ROLE_ASSIGNMENTS_GLOBAL_MAX,
    ROLE_ASSIGNMENTS_PER_KEY_MAX, ROLE_DEFINITIONS_MAX, TOKEN_LIFETIME_MAX, TOKENS_MAX, USERS_MAX,
};
use hsm_core::policy::{BuiltInRole, DataAction, RoleAssignment, RoleDefinition, RoleId, Scope};
use hsm_core::{
    ErrorKind, KeyType, PageRequest, PartitionInfo, Principal, PublicKey, Request, Response,
    Result, SecretBytes, SettingsUpdate, Timestamp, TokenInfo, TokenName, UserInfo, UserUpdate,
};

use super::keys::{cut, page_len};
use super::{ID, World, refuse};

/// A user of the partition.
pub(super) struct User {
    password: Vec<u8>,
    pub(super) enabled: bool,
    created: Timestamp,
    /// Another number for every user, and after every change that ends sessions.
    pub(super) generation: u128,
    failures: Failures,
}

/// Wrong passwords in a row, and the time of the last. Names that no user has have them as well.
#[derive(Default)]
pub(super) struct Failures {
    count: u32,
    last: Timestamp,
}

impl Failures {
    /// Until when wrong passwords keep the user out: one second for the first that is not free, and twice as long for
    /// each one more.
    fn locked_until(&self, now: Timestamp) -> Option<Timestamp> {
        let beyond = self.count.saturating_sub(LOGIN_FREE_FAILURES);
        let mut delay = match beyond {
            0 => return None,
            _ => LOGIN_DELAY_FIRST,
        };
        for _ in 1..beyond.min(32) {
            delay = LOGIN_DELAY_MAX.min(delay * 2);
        }
        Some(self.last + delay).filter(|until| now < *until)
    }

    /// Counts an attempt.
    fn attempt(&mut self, now: Timestamp) -> Result<()> {
        if self.locked_until(now).is_some() {
            return Err(refuse(ErrorKind::LockedOut, "too many wrong passwords"));
        }
        self.count += 1;
        self.last = now;
        Ok(())
    }
}

/// An API token.
pub(super) struct Token {
    principal: Principal,
    created: Timestamp,
    expires: Timestamp,
    /// Another number for every token.
    number: u128,
}

impl Token {
    fn text(&self) -> String {
        format!("hsm_t_{:064}", self.number)
    }

    fn info(&self, name: &TokenName) -> TokenInfo {
        let principal = self.principal.clone();
        TokenInfo::new(name.clone(), principal, self.created, self.expires)
    }
}

/// What a session was opened with.
#[derive(Clone, Copy, Debug)]
pub(super) enum Admitted {
    /// A password, of which user.
    Password(u128),
    /// Which token, and of which user, if of one.
    Token { number: u128, user: Option<u128> },
}

impl User {
    /// An attempt counts as a failure until the password turns out to be right.
    fn attempt(&mut self, now: Timestamp, password: &[u8]) -> Result<bool> {
        self.failures.attempt(now)?;
        Ok(self.password == password)
    }
}

impl World {
    pub(super) fn new_user(&mut self, now: Timestamp, password: &[u8]) -> User {
        User {
            password: password.to_vec(),
            enabled: true,
            created: now,
            generation: self.next(),
            failures: Failures::default(),
        }
    }

    /// Lets a user in, and says which one it is.
    pub(super) fn login(
        &mut self,
        now: Timestamp,
        user: &Principal,
        password: &[u8],
    ) -> Result<u128> {
        let out = || refuse(ErrorKind::Unauthenticated, "wrong, or disabled");
        let Some(user) = self.users.get_mut(user) else {
            self.strangers
                .entry(user.clone())
                .or_default()
                .attempt(now)?;
            return Err(out());
        };
        if !user.attempt(now, password)? || !user.enabled {
            return Err(out());
        }
        user.failures = Failures::default();
        Ok(user.generation)
    }

    /// Does what is asked about users, roles and settings.
    pub(super) fn govern(
        &mut self,
        caller: &Principal,
        now: Timestamp,
        request: Request<'_>,
    ) -> Result<Response> {
        match request {
            Request::ListRoleDefinitions => {
                let built_in = BuiltInRole::ALL.iter().map(|role| (*role).into());
                let custom = self.definitions.values().cloned();
                let custom = custom.filter(|role| !is_built_in(role.id));
                let all = built_in.chain(custom).collect();
                return Ok(Response::RoleDefinitions(all));
            }
            Request::PutRoleDefinition { definition } => {
                let put = Box::new(definition.clone());
                self.put_role(definition)?;
                return Ok(Response::RoleDefinition(put));
            }
            Request::DeleteRoleDefinition { id } => {
                let gone = Box::new(self.delete_role(id)?);
                return Ok(Response::RoleDefinition(gone));
            }
            Request::ListRoleAssignments { scope } => {
                let all = self.assignments.values();
                let here = all.filter(|one| scope.as_ref().is_none_or(|scope| one.scope == *scope));
                return Ok(Response::RoleAssignments(here.cloned().collect()));
            }
            Request::CreateRoleAssignment {
                id,
                role,
                principal,
                scope,
            } => {
                let id = id.unwrap_or_else(|| RoleId::from_u128(self.next()));
                let new = RoleAssignment::new(id, role, principal, scope, now);
                self.check_assignment(&new)?;
                self.assignments.insert(id, new.clone());
                return Ok(Response::RoleAssignment(Box::new(new)));
            }
            Request::DeleteRoleAssignment { id } => {
                let old = self.assignments.clone();
                let gone = self.assignments.remove(&id).ok_or_else(nobody)?;
                self.check_governed_or(old)?;
                return Ok(Response::RoleAssignment(Box::new(gone)));
            }
            Request::CreateUser { name, password } => {
                check_password(password.expose())?;
                if self.users.contains_key(&name) {
                    return Err(refuse(ErrorKind::Conflict, "the name is taken"));
                }
                if self.users.len() >= USERS_MAX {
                    return Err(refuse(ErrorKind::LimitExceeded, "too many users"));
                }
                let user = self.new_user(now, password.expose());
                self.users.insert(name, user);
            }
            Request::ListUsers { page } => return self.list_users(now, &page),
            Request::UpdateUser { name, update } => self.update_user(caller, &name, &update)?,
            Request::DeleteUser { name } => {
                if name == *caller {
                    return Err(refuse(ErrorKind::Conflict, "nobody deletes themselves"));
                }
                self.users.get(&name).ok_or_else(nobody)?;
                let old = self.assignments.clone();
                self.assignments.retain(|_, one| one.principal != name);
                self.check_governed_or(old)?;
                self.users.remove(&name);
                self.tokens.retain(|_, token| token.principal != name);
            }
            Request::CreateToken {
                name,
                principal,
                expires,
            } => return self.create_token(now, name, principal, expires),
            Request::ListTokens { page } => {
                let after = page.after.as_deref().unwrap_or_default();
                let rest = self.tokens.iter().filter(|(name, _)| name.as_str() > after);
                let rest = rest.map(|(name, token)| (name.to_string(), token.info(name)));
                return Ok(Response::Tokens(cut(rest.collect(), page_len(&page)?)));
            }
            Request::DeleteToken { name } => {
                self.tokens.remove(&name).ok_or_else(nobody)?;
            }
            Request::ChangePassword { old, new } => {
                check_password(new.expose())?;
                let generation = self.next();
                let user = self.users.get_mut(caller).ok_or_else(nobody)?;
                if !user.attempt(now, old.expose())? {
                    return Err(refuse(ErrorKind::Unauthenticated, "wrong password"));
                }
                user.password = new.expose().to_vec();
                user.generation = generation;
                user.failures = Failures::default();
            }
            Request::UpdateSettings { update } => {
                self.set(&update)?;
                return self.partition();
            }
            _ => return self.partition(),
        }
        Ok(Response::Done)
    }

    fn put_role(&mut self, new: RoleDefinition) -> Result<()> {
        let new = RoleDefinition::new(new.id, new.name, new.description, new.actions)?;
        let others = self.definitions.values().filter(|role| role.id != new.id);
        if others.clone().any(|role| role.name == new.name) {
            return Err(refuse(ErrorKind::Conflict, "the name is taken"));
        }
        if others.count() - BuiltInRole::ALL.len() >= ROLE_DEFINITIONS_MAX {
            return Err(refuse(ErrorKind::LimitExceeded, "too many roles"));
        }
        let id = new.id;
        let old = self.definitions.insert(id, new);
        let governed = self.check_governed();
        if governed.is_err() {
            self.definitions.remove(&id);
            self.definitions.extend(old.map(|old| (id, old)));
        }
        governed
    }

    fn delete_role(&mut self, id: RoleId) -> Result<RoleDefinition> {
        if is_built_in(id) {
            return Err(refuse(ErrorKind::InvalidInput, "built in"));
        }
        if !self.definitions.contains_key(&id) {
            return Err(nobody());
        }
        if self.assignments.values().any(|one| one.role == id) {
            return Err(refuse(ErrorKind::Conflict, "somebody has it"));
        }
        self.definitions.remove(&id).ok_or_else(nobody)
    }

    /// A token is shown once, and is only a number.
    fn create_token(
        &mut self,
        now: Timestamp,
        name: TokenName,
        principal: Principal,
        expires: Timestamp,
    ) -> Result<Response> {
        if expires <= now {
            return Err(refuse(ErrorKind::InvalidInput, "expired from the first"));
        }
        if expires.since(now) > TOKEN_LIFETIME_MAX {
            return Err(refuse(ErrorKind::LimitExceeded, "too long a life"));
        }
        if self.tokens.contains_key(&name) {
            return Err(refuse(ErrorKind::Conflict, "the name is taken"));
        }
        if self.tokens.len() >= TOKENS_MAX {
            self.tokens.retain(|_, token| now < token.expires);
        }
        if self.tokens.len() >= TOKENS_MAX {
            return Err(refuse(ErrorKind::LimitExceeded, "too many tokens"));
        }
        let token = Token {
            principal,
            created: now,
            expires,
            number: self.next(),
        };
        let info = token.info(&name);
        let text = token.text();
        self.tokens.insert(name, token);
        Ok(Response::Token {
            token: SecretBytes::copy_from(text.as_bytes()),
            info,
        })
    }

    /// Lets somebody with a token in, and says who it is, by which token, and which user of that name.
    pub(super) fn show(&self, now: Timestamp, text: &[u8]) -> Result<(Principal, Admitted)> {
        let out = || refuse(ErrorKind::Unauthenticated, "no such token");
        let mut tokens = self.tokens.values();
        let token = tokens.find(|token| token.text().as_bytes() == text);
        let token = token.filter(|token| now < token.expires).ok_or_else(out)?;
        let user = self.users.get(&token.principal);
        if user.is_some_and(|user| !user.enabled) {
            return Err(out());
        }
        let admitted = Admitted::Token {
            number: token.number,
            user: user.map(|user| user.generation),
        };
        Ok((token.principal.clone(), admitted))
    }

    /// Whether a session goes on.
    pub(super) fn admits(&self, now: Timestamp, who: &Principal, by: Admitted) -> bool {
        let user = self.users.get(who);
        let enabled = user.is_none_or(|user| user.enabled);
        let generation = user.map(|user| user.generation);
        enabled
            && match by {
                Admitted::Password(before) => generation == Some(before),
                Admitted::Token { number, user } => {
                    let mut tokens = self.tokens.values();
                    let there = tokens.any(|one| one.number == number && now < one.expires);
                    there && generation == user
                }
            }
    }

    /// Somebody who is not kept out can assign roles anywhere.
    fn check_governed(&self) -> Result<()> {
        let governed = self.assignments.values().any(|one| {
            let user = self.users.get(&one.principal);
            one.scope == Scope::Global
                && self.allows(one.role, DataAction::RoleAssignmentWrite)
                && user.is_none_or(|user| user.enabled)
        });
        match governed {
            true => Ok(()),
            false => Err(refuse(ErrorKind::Conflict, "nobody could assign roles")),
        }
    }

    /// Puts the old assignments back if nobody could assign roles any more.
    fn check_governed_or(&mut self, old: BTreeMap<RoleId, RoleAssignment>) -> Result<()> {
        let governed = self.check_governed();
        if governed.is_err() {
            self.assignments = old;
        }
        governed
    }

    fn check_assignment(&self, new: &RoleAssignment) -> Result<()> {
        if !self.definitions.contains_key(&new.role) {
            return Err(nobody());
        }
        let same = |one: &RoleAssignment| {
            one.role == new.role && one.principal == new.principal && one.scope == new.scope
        };
        if self.assignments.contains_key(&new.id) || self.assignments.values().any(same) {
            return Err(refuse(ErrorKind::Conflict, "there is one already"));
        }
        let scopes = self.assignments.values().map(|one| &one.scope);
        let full = match &new.scope {
            here @ Scope::Key(_) => {
                scopes.filter(|scope| *scope == here).count() >= ROLE_ASSIGNMENTS_PER_KEY_MAX
            }
            _ => {
                scopes
                    .filter(|scope| !matches!(scope, Scope::Key(_)))
                    .count()
                    >= ROLE_ASSIGNMENTS_GLOBAL_MAX
            }
        };
        match full {
            true => Err(refuse(ErrorKind::LimitExceeded, "too many assignments")),
            false => Ok(()),
        }
    }

    fn list_users(&self, now: Timestamp, page: &PageRequest) -> Result<Response> {
        let after = page.after.as_deref().unwrap_or_default();
        let rest = self.users.iter().filter(|(name, _)| name.as_str() > after);
        let rest = rest.map(|(name, user)| {
            let locked = user.failures.locked_until(now);
            let info = UserInfo::new(name.clone(), user.enabled, user.created, locked);
            (name.to_string(), info)
        });
        Ok(Response::Users(cut(rest.collect(), page_len(page)?)))
    }

    fn update_user(
        &mut self,
        caller: &Principal,
        name: &Principal,
        update: &UserUpdate,
    ) -> Result<()> {
        if matches!(update, UserUpdate::Disable) && name == caller {
            return Err(refuse(ErrorKind::Conflict, "nobody disables themselves"));
        }
        if let UserUpdate::Password(password) = update {
            check_password(password.expose())?;
        }
        let generation = self.next();
        let user = self.users.get_mut(name).ok_or_else(nobody)?;
        match update {
            UserUpdate::Disable => {
                let before = std::mem::replace(&mut user.enabled, false);
                if let Err(error) = self.check_governed() {
                    self.users
                        .entry(name.clone())
                        .and_modify(|user| user.enabled = before);
                    return Err(error);
                }
                let user = self.users.get_mut(name).ok_or_else(nobody)?;
                user.generation = generation;
            }
            UserUpdate::Enable => user.enabled = true,
            UserUpdate::Password(password) => {
                user.password = password.expose().to_vec();
                user.generation = generation;
                user.failures = Failures::default();
            }
            UserUpdate::Unlock => user.failures = Failures::default(),
            _ => return Err(refuse(ErrorKind::Unsupported, "another change")),
        }
        Ok(())
    }

    fn set(&mut self, update: &SettingsUpdate) -> Result<()> {
        let mut new = self.settings.clone();
        if update.purge_protection == Some(false) && new.purge_protection {
            return Err(refuse(ErrorKind::Conflict, "on for good"));
        }
        new.purge_protection = update.purge_protection.unwrap_or(new.purge_protection);
        new.retention_days = update.retention_days.unwrap_or(new.retention_days);
        let rsa1_5 = update.danger_rsa1_5_decrypt;
        new.danger_rsa1_5_decrypt = rsa1_5.unwrap_or(new.danger_rsa1_5_decrypt);
        if !(RETENTION_DAYS_MIN..=RETENTION_DAYS_MAX).contains(&new.retention_days) {
            return Err(refuse(ErrorKind::InvalidInput, "too short or too long"));
        }
        self.settings = new;
        Ok(())
    }

    fn partition(&self) -> Result<Response> {
        let audit_key = PublicKey::from_raw(KeyType::X25519, [9; 32])?;
        let settings = self.settings.clone();
        let info = PartitionInfo::new(ID, audit_key, "model".to_owned(), settings);
        Ok(Response::Partition(Box::new(info)))
    }
}

fn check_password(password: &[u8]) -> Result<()> {
    match password.len() {
        ..PASSWORD_LEN_MIN => Err(refuse(ErrorKind::InvalidInput, "a short password")),
        PASSWORD_LEN_MIN..=PASSWORD_LEN_MAX => Ok(()),
        _ => Err(refuse(ErrorKind::LimitExceeded, "a long password")),
    }
}

fn is_built_in(id: RoleId) -> bool {
    BuiltInRole::ALL.iter().any(|role| role.id() == id)
}

fn nobody() -> hsm_core::Error {
    refuse(ErrorKind::NotFound, "there is none")
}
