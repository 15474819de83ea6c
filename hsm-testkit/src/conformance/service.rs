//! The cases of the [`Service`](hsm_core::Service) and [`Session`] contracts, one file for each kind of promise.

mod answers;
mod attestation;
mod audit;
mod backup;
mod deletion;
mod encapsulation;
mod keys;
mod lifecycle;
mod limits;
mod listing;
mod operations;
mod roles;
mod sessions;
mod settings;
mod signing;
mod time;
mod tokens;
mod transport;
mod users;

pub use answers::*;
pub use attestation::*;
pub use audit::*;
pub use backup::*;
pub use deletion::*;
pub use encapsulation::*;
pub use keys::*;
pub use lifecycle::*;
pub use limits::*;
pub use listing::*;
pub use operations::*;
pub use roles::*;
pub use sessions::*;
pub use settings::*;
pub use signing::*;
pub use time::*;
pub use tokens::*;
pub use transport::*;
pub use users::*;

use std::borrow::Borrow;
use std::fmt::Display;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use hsm_core::audit::RequestId;
use hsm_core::policy::{
    ActionSet, BuiltInRole, DataAction, RoleAssignment, RoleDefinition, RoleId, Scope,
};
use hsm_core::{
    Algorithm, AttributesUpdate, Capabilities, Ciphertext, Credentials, ErrorKind, KeyInfo,
    KeyName, KeyRef, KeySpec, KeyType, NewKeyParameters, Page, PageRequest, PartitionInfo,
    Principal, PublicKey, Request, Response, Result, SecretBytes, Service, Session, SettingsUpdate,
    SignInput, Usage, Usages, VersionId,
};

use super::{fails, ok, skip};
use crate::ManualClock;
use crate::service::{ADMINISTRATOR, PASSWORD, ServiceUnderTest};

const MESSAGE: &[u8] = b"What the service is asked to protect.";
const SIGN: &[Usage] = &[Usage::Sign, Usage::Verify];
const ENCRYPT: &[Usage] = &[Usage::Encrypt, Usage::Decrypt];
const WRAP: &[Usage] = &[Usage::WrapKey, Usage::UnwrapKey];
const ENCAPSULATE: &[Usage] = &[Usage::Encapsulate, Usage::Decapsulate];
const TRANSPORT: &[Usage] = &[Usage::Import, Usage::Export];

/// A service whose administrator has logged in.
pub(crate) struct Opened {
    service: Arc<dyn Service>,
    clock: Option<Arc<ManualClock>>,
    /// The administrator, who may also make, use, recover and purge keys.
    pub(crate) all: Caller,
}

impl Opened {
    pub(crate) async fn new(made: ServiceUnderTest) -> Self {
        let all = login(&*made.service, ADMINISTRATOR, PASSWORD).await;
        let all = Caller(ok(all, "the administrator logs in"), made.offers.clone());
        for role in [BuiltInRole::CryptoUser, BuiltInRole::CryptoOfficer] {
            all.assign(role.id(), ADMINISTRATOR, Scope::Global).await;
        }
        Self {
            service: made.service,
            clock: made.clock,
            all,
        }
    }

    async fn login(&self, user: &str, password: &str) -> Result<Caller> {
        let session = login(&*self.service, user, password).await?;
        Ok(Caller(session, self.all.1.clone()))
    }

    /// A new user without any role, logged in.
    async fn user(&self, name: &str) -> Caller {
        let request = Request::CreateUser {
            name: principal(name),
            password: SecretBytes::copy_from(PASSWORD.as_bytes()),
        };
        ok(self.all.call(request).await, "an administrator makes users");
        ok(self.login(name, PASSWORD).await, "a new user logs in")
    }

    /// Lets a principal export keys: no built-in role does.
    async fn grant_export(&self, to: &str, scope: Scope) -> RoleAssignment {
        let id = RoleId::from_u128(0xe);
        let actions = ActionSet::of(&[DataAction::KeyExport]);
        let definition = RoleDefinition::new(id, "Exporter", "exports keys", actions);
        let definition = ok(definition, "a role");
        let put = self.all.call(Request::PutRoleDefinition { definition });
        ok(put.await, "an administrator defines roles");
        self.all.assign(id, to, scope).await
    }

    /// The clock, if the service goes by one that can be turned.
    fn clock(&self) -> Option<&ManualClock> {
        if self.clock.is_none() {
            skip("nobody can turn the clock of this service");
        }
        self.clock.as_deref()
    }
}

/// A session, and short ways to ask of it; and what the service offers, `None` for everything.
#[derive(Clone)]
pub(crate) struct Caller(Arc<dyn Session>, Option<Arc<Capabilities>>);

impl Caller {
    pub(crate) async fn call(&self, request: Request<'_>) -> Result<Response> {
        self.0.call(next_id(), request).await
    }

    /// Whether the service offers a type of key and an algorithm. If it does not, says what is skipped.
    fn has(&self, key_type: KeyType, algorithm: Algorithm) -> bool {
        self.offers(key_type, Some(algorithm))
    }

    /// Whether the service offers a type of key. If it does not, says what is skipped.
    fn has_type(&self, key_type: KeyType) -> bool {
        self.offers(key_type, None)
    }

    fn offers(&self, key_type: KeyType, algorithm: Option<Algorithm>) -> bool {
        let checked = self.check(key_type, algorithm);
        checked.map_err(skip).is_ok()
    }

    fn check(&self, key_type: KeyType, algorithm: Option<Algorithm>) -> Result<()> {
        match &self.1 {
            Some(offers) => offers.check(key_type, algorithm),
            None => Ok(()),
        }
    }

    /// The first that the service offers of what would all do for a case. If there is none, says what is skipped.
    fn first_of(&self, choice: &[(KeyType, Algorithm)]) -> Option<(KeyType, Algorithm)> {
        let offered = |of: &&(KeyType, Algorithm)| self.check(of.0, Some(of.1)).is_ok();
        let found = choice.iter().find(offered);
        if found.is_none() {
            skip(format!("the service offers none of {choice:?}"));
        }
        found.copied()
    }

    /// What encrypts a message of any length with an AES-256 key.
    fn cipher(&self) -> Option<Algorithm> {
        let of = |algorithm| (KeyType::Aes256, algorithm);
        self.first_of(&[of(Algorithm::A256Gcm), of(Algorithm::A256CbcPad)])
            .map(|(_, algorithm)| algorithm)
    }

    /// Makes a key of a type that every service has.
    async fn create(&self, key: &str, key_type: KeyType, usages: &[Usage]) -> KeyInfo {
        let created = self.try_create(key, new_key(key_type, usages)).await;
        ok(created, format!("create a key of type {key_type}"))
    }

    /// Makes a key, if the service offers the type; if not, checks that it says so.
    async fn create_if_supported(
        &self,
        key: &str,
        key_type: KeyType,
        usages: &[Usage],
    ) -> Option<KeyInfo> {
        if self.has_type(key_type) {
            return Some(self.create(key, key_type, usages).await);
        }
        let created = self.try_create(key, new_key(key_type, usages)).await;
        let clause = format!("{key_type} is not offered, and cannot be made");
        fails(created, &[ErrorKind::Unsupported], clause);
        None
    }

    async fn try_create(&self, key: &str, new: NewKeyParameters) -> Result<KeyInfo> {
        let request = Request::CreateKey {
            name: name(key),
            new,
        };
        self.call(request).await.map(key_info)
    }

    pub(crate) async fn import(
        &self,
        key: &str,
        new: NewKeyParameters,
        material: &[u8],
    ) -> Result<KeyInfo> {
        let request = Request::ImportKey {
            name: name(key),
            new,
            material: SecretBytes::copy_from(material),
        };
        self.call(request).await.map(key_info)
    }

    async fn get(&self, key: impl Borrow<KeyRef>) -> Result<KeyInfo> {
        let request = Request::GetKey {
            key: key.borrow().clone(),
        };
        self.call(request).await.map(key_info)
    }

    async fn update(&self, key: impl Borrow<KeyRef>, update: AttributesUpdate) -> Result<KeyInfo> {
        let key = key.borrow().clone();
        let request = Request::UpdateKey { key, update };
        self.call(request).await.map(key_info)
    }

    async fn rotate(&self, key: &str) -> Result<KeyInfo> {
        let request = Request::RotateKey { name: name(key) };
        self.call(request).await.map(key_info)
    }

    pub(crate) async fn delete(&self, key: &str) -> Result<KeyInfo> {
        let request = Request::DeleteKey { name: name(key) };
        self.call(request).await.map(key_info)
    }

    async fn recover(&self, key: &str) -> Result<KeyInfo> {
        let request = Request::RecoverKey { name: name(key) };
        self.call(request).await.map(key_info)
    }

    pub(crate) async fn purge(&self, key: &str) -> Result<Response> {
        self.call(Request::PurgeKey { name: name(key) }).await
    }

    async fn keys(&self, page: PageRequest) -> Result<Page<KeyInfo>> {
        self.call(Request::ListKeys { page }).await.map(key_page)
    }

    async fn versions(&self, key: &str) -> Vec<KeyInfo> {
        let request = Request::ListVersions {
            name: name(key),
            page: PageRequest {
                after: None,
                limit: Some(100),
            },
        };
        key_page(ok(self.call(request).await, "the versions of a key")).items
    }

    async fn sign(
        &self,
        key: impl Borrow<KeyRef>,
        algorithm: Algorithm,
        message: &[u8],
    ) -> Result<(Vec<u8>, VersionId)> {
        let request = Request::Sign {
            key: key.borrow().clone(),
            algorithm,
            input: SignInput::Message(message),
        };
        self.call(request).await.map(signature)
    }

    async fn verify(
        &self,
        key: impl Borrow<KeyRef>,
        algorithm: Algorithm,
        message: &[u8],
        signature: &[u8],
    ) -> Result<Response> {
        let request = Request::Verify {
            key: key.borrow().clone(),
            algorithm,
            input: SignInput::Message(message),
            signature,
        };
        self.call(request).await
    }

    pub(crate) async fn mac(
        &self,
        key: impl Borrow<KeyRef>,
        algorithm: Algorithm,
        message: &[u8],
    ) -> Result<Vec<u8>> {
        let request = Request::Mac {
            key: key.borrow().clone(),
            algorithm,
            message,
        };
        Ok(signature(self.call(request).await?).0)
    }

    async fn encrypt(
        &self,
        key: impl Borrow<KeyRef>,
        algorithm: Algorithm,
        plaintext: &[u8],
        aad: &[u8],
    ) -> Result<Ciphertext> {
        let request = Request::Encrypt {
            key: key.borrow().clone(),
            algorithm,
            plaintext,
            iv: None,
            aad,
        };
        match self.call(request).await? {
            Response::Ciphertext { ciphertext, .. } => Ok(ciphertext),
            other => unexpected("a ciphertext", &other),
        }
    }

    async fn decrypt(
        &self,
        key: impl Borrow<KeyRef>,
        algorithm: Algorithm,
        ciphertext: &Ciphertext,
        aad: &[u8],
    ) -> Result<SecretBytes> {
        let request = Request::Decrypt {
            key: key.borrow().clone(),
            algorithm,
            ciphertext: ciphertext.as_ref(),
            aad,
        };
        self.call(request).await.map(secret)
    }

    pub(crate) async fn wrap(
        &self,
        key: impl Borrow<KeyRef>,
        algorithm: Algorithm,
        plaintext: &[u8],
    ) -> Result<Vec<u8>> {
        let request = Request::Wrap {
            key: key.borrow().clone(),
            algorithm,
            plaintext,
        };
        self.call(request).await.map(wrapped)
    }

    pub(crate) async fn unwrap(
        &self,
        key: impl Borrow<KeyRef>,
        algorithm: Algorithm,
        wrapped: &[u8],
    ) -> Result<SecretBytes> {
        let request = Request::Unwrap {
            key: key.borrow().clone(),
            algorithm,
            wrapped,
        };
        self.call(request).await.map(secret)
    }

    async fn random(&self, len: usize) -> Result<SecretBytes> {
        self.call(Request::Random { len }).await.map(secret)
    }

    async fn partition(&self) -> PartitionInfo {
        partition(ok(self.call(Request::GetSettings).await, "the settings"))
    }

    pub(crate) async fn set(&self, update: SettingsUpdate) -> Result<PartitionInfo> {
        let request = Request::UpdateSettings { update };
        self.call(request).await.map(partition)
    }

    async fn assign(&self, role: RoleId, to: &str, scope: Scope) -> RoleAssignment {
        let request = Request::CreateRoleAssignment {
            id: None,
            role,
            principal: principal(to),
            scope,
        };
        match ok(self.call(request).await, "an administrator assigns roles") {
            Response::RoleAssignment(assignment) => *assignment,
            other => unexpected("a role assignment", &other),
        }
    }

    async fn unassign(&self, id: RoleId) -> Result<Response> {
        self.call(Request::DeleteRoleAssignment { id }).await
    }
}

async fn login(service: &dyn Service, user: &str, password: &str) -> Result<Arc<dyn Session>> {
    service.login(Credentials::password(user, password)?).await
}

/// Request ids that no other call of this process has.
fn next_id() -> RequestId {
    static NEXT: AtomicU64 = AtomicU64::new(1);
    RequestId::from_u128(NEXT.fetch_add(1, Ordering::Relaxed).into())
}

fn name(text: &str) -> KeyName {
    ok(KeyName::new(text), "the name of a test key")
}

fn key(text: &str) -> KeyRef {
    ok(text.parse(), "the name of a test key")
}

fn principal(text: &str) -> Principal {
    ok(Principal::new(text), "the name of a test user")
}

fn scope(text: &str) -> Scope {
    ok(text.parse(), "the scope of a test")
}

pub(crate) fn new_key(key_type: KeyType, usages: &[Usage]) -> NewKeyParameters {
    let spec = KeySpec::new(key_type, Usages::of(usages));
    NewKeyParameters::new(ok(spec, "the spec of a test key"))
}

fn exportable_key(key_type: KeyType, usages: &[Usage]) -> NewKeyParameters {
    let mut new = new_key(key_type, usages);
    new.spec = new.spec.exportable();
    new
}

/// Every usage of a type that mixes with others.
fn data_usages(key_type: KeyType) -> Vec<Usage> {
    let usages = key_type.info().usages.iter();
    usages.filter(|usage| !TRANSPORT.contains(usage)).collect()
}

fn public(info: &KeyInfo) -> &PublicKey {
    info.public
        .as_ref()
        .unwrap_or_else(|| panic!("key {} has no public half", info.name))
}

#[track_caller]
fn key_info(response: Response) -> KeyInfo {
    match response {
        Response::Key(info) => *info,
        other => unexpected("a key", &other),
    }
}

#[track_caller]
fn key_page(response: Response) -> Page<KeyInfo> {
    match response {
        Response::Keys(page) => page,
        other => unexpected("a page of keys", &other),
    }
}

#[track_caller]
pub(crate) fn signature(response: Response) -> (Vec<u8>, VersionId) {
    match response {
        Response::Signature { bytes, version } => (bytes, version),
        other => unexpected("a signature", &other),
    }
}

#[track_caller]
pub(crate) fn secret(response: Response) -> SecretBytes {
    match response {
        Response::Secret(secret) => secret,
        other => unexpected("secret bytes", &other),
    }
}

#[track_caller]
fn wrapped(response: Response) -> Vec<u8> {
    match response {
        Response::Wrapped { bytes, .. } => bytes,
        other => unexpected("a wrapped key", &other),
    }
}

#[track_caller]
fn partition(response: Response) -> PartitionInfo {
    match response {
        Response::Partition(info) => *info,
        other => unexpected("the partition", &other),
    }
}

#[track_caller]
fn unexpected(expected: impl Display, found: &Response) -> ! {
    panic!("expected {expected}, got {found:?}")
}
