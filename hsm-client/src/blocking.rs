//! The same for programs without an async runtime: each call blocks its thread until the HSM has answered.
//!
//! ```
//! use hsm_client::blocking::Hsm;
//! use hsm_client::kinds::EcdsaP384;
//! use hsm_client::{BuiltInRole, Scope, Setup};
//!
//! let hsm = Hsm::create("memory:", Setup::new("admin", "an administrator's password"))?;
//! let admin = hsm.login("admin", "an administrator's password")?;
//! admin.create_user("app", "correct horse battery")?;
//! admin.assign_role(BuiltInRole::CryptoUser, "app", Scope::Keys)?;
//!
//! let app = hsm.login("app", "correct horse battery")?;
//! let key = app.create::<EcdsaP384>("invoices").make()?;
//! let signature = key.sign(b"pay 100 to Alice")?;
//! key.verify(b"pay 100 to Alice", &signature)?;
//! # Ok::<(), hsm_client::Error>(())
//! ```
//!
//! Do not call it from async code: it would block the executor's thread.

use std::future::IntoFuture;

use hsm_core::attestation::{Evidence, Nonce, Pcrs};
use hsm_core::audit::{Frame, StreamId};
use hsm_core::key::typed::{
    Aead, Agreement, Authenticating, Derivation, Encapsulating, Encrypting, KeyKind, Signing,
    SigningDigests, Transport, Wrapping,
};
use hsm_core::policy::{ActionSet, RoleAssignment, RoleDefinition, RoleId, RotationPolicy, Scope};
use hsm_core::{
    Algorithm, AttributesUpdate, Credentials, KeyInfo, KeyName, KeySpec, Maintenance, Page,
    PageRequest, PartitionInfo, PcrSelection, Principal, PublicKey, Request, Response, Result,
    SecretBytes, SettingsUpdate, SignInput, Timestamp, TokenInfo, UserInfo, UserUpdate, VersionId,
};
use pollster::block_on;

use crate::create::Handle;
use crate::hsm::{OpenOptions, Setup};
use crate::key::{Encapsulation, Encrypted, Signature, Wrapped};

/// Forwards methods to the async type inside, under its documentation.
macro_rules! forward {
    ($of:path; $($name:ident($($argument:ident: $type:ty),*) -> $output:ty;)*) => {
        $(
            #[doc = concat!("As [`", stringify!($name), "`](", stringify!($of), "::", stringify!($name), ").")]
            ///
            /// # Errors
            ///
            /// The same.
            pub fn $name(&self, $($argument: $type),*) -> $output {
                block_on(self.0.$name($($argument),*))
            }
        )*
    };
}

#[cfg(feature = "aead")]
mod envelope;
#[cfg(feature = "aead")]
#[cfg_attr(docsrs, doc(cfg(feature = "aead")))]
pub use envelope::Envelope;

/// As [`crate::Hsm`].
#[derive(Clone, Debug)]
pub struct Hsm(crate::Hsm);

impl Hsm {
    /// As [`crate::Hsm::create`].
    ///
    /// # Errors
    ///
    /// The same.
    pub fn create(url: &str, setup: Setup) -> Result<Self> {
        block_on(crate::Hsm::create(url, setup)).map(Self)
    }

    /// As [`crate::Hsm::open`].
    ///
    /// # Errors
    ///
    /// The same.
    pub fn open(url: &str) -> Result<Self> {
        block_on(crate::Hsm::open(url)).map(Self)
    }

    /// As [`crate::Hsm::open_with`].
    ///
    /// # Errors
    ///
    /// The same.
    pub fn open_with(url: &str, options: OpenOptions) -> Result<Self> {
        block_on(crate::Hsm::open_with(url, options)).map(Self)
    }

    /// As [`crate::Hsm::login`].
    ///
    /// # Errors
    ///
    /// The same.
    pub fn login(&self, user: &str, password: impl AsRef<[u8]>) -> Result<Session> {
        block_on(self.0.login(user, password)).map(Session)
    }

    /// As [`crate::Hsm::login_with`].
    ///
    /// # Errors
    ///
    /// The same.
    pub fn login_with(&self, credentials: Credentials) -> Result<Session> {
        block_on(self.0.login_with(credentials)).map(Session)
    }

    /// As [`crate::Hsm::stay_logged_in`].
    ///
    /// # Errors
    ///
    /// The same.
    pub fn stay_logged_in(
        &self,
        credentials: impl Fn() -> Result<Credentials> + Send + Sync + 'static,
    ) -> Result<Session> {
        block_on(self.0.stay_logged_in(credentials)).map(Session)
    }

    /// As [`crate::Hsm::close`].
    ///
    /// # Errors
    ///
    /// The same.
    pub fn close(self) -> Result<()> {
        block_on(self.0.close())
    }

    /// The async handle.
    #[must_use]
    pub fn as_async(&self) -> &crate::Hsm {
        &self.0
    }

    forward! { crate::Hsm; maintain() -> Result<Maintenance>; }
}

/// As [`crate::Session`].
#[derive(Clone, Debug)]
pub struct Session(crate::Session);

impl Session {
    forward! { crate::Session;
        call(request: Request<'_>) -> Result<Response>;
        logout() -> ();
        list_keys(page: PageRequest) -> Result<Page<KeyInfo>>;
        list_deleted_keys(page: PageRequest) -> Result<Page<KeyInfo>>;
        deleted_key(name: &str) -> Result<KeyInfo>;
        recover_key(name: &str) -> Result<KeyInfo>;
        purge_key(name: &str) -> Result<()>;
        backup_key(name: &str) -> Result<Vec<u8>>;
        restore_key(backup: &[u8]) -> Result<KeyInfo>;
        random(len: usize) -> Result<SecretBytes>;
        role_definitions() -> Result<Vec<RoleDefinition>>;
        define_role(id: RoleId, name: &str, description: &str, actions: ActionSet) -> Result<RoleDefinition>;
        delete_role(id: RoleId) -> Result<RoleDefinition>;
        role_assignments(scope: Option<Scope>) -> Result<Vec<RoleAssignment>>;
        assign_role(role: impl Into<RoleId>, principal: &str, scope: Scope) -> Result<RoleAssignment>;
        unassign_role(assignment: RoleId) -> Result<RoleAssignment>;
        create_user(name: &str, password: impl AsRef<[u8]>) -> Result<()>;
        list_users(page: PageRequest) -> Result<Page<UserInfo>>;
        update_user(name: &str, update: UserUpdate) -> Result<()>;
        delete_user(name: &str) -> Result<()>;
        change_password(old: impl AsRef<[u8]>, new: impl AsRef<[u8]>) -> Result<()>;
        create_token(name: &str, principal: &str, expires: Timestamp) -> Result<(SecretBytes, TokenInfo)>;
        list_tokens(page: PageRequest) -> Result<Page<TokenInfo>>;
        delete_token(name: &str) -> Result<()>;
        settings() -> Result<PartitionInfo>;
        update_settings(update: SettingsUpdate) -> Result<PartitionInfo>;
        zeroize(confirm: StreamId) -> Result<()>;
        audit_streams() -> Result<Vec<StreamId>>;
        read_audit(stream: StreamId, from: u64, limit: usize) -> Result<Vec<Frame>>;
    }

    /// Who is logged in.
    #[must_use]
    pub fn principal(&self) -> &Principal {
        self.0.principal()
    }

    /// The async handle.
    #[must_use]
    pub fn as_async(&self) -> &crate::Session {
        &self.0
    }

    /// As [`crate::Session::create`].
    pub fn create<A: KeyKind>(&self, name: &str) -> CreateKey<'_, crate::Key<A>> {
        CreateKey(self.0.create(name))
    }

    /// As [`crate::Session::create_any`].
    pub fn create_any(&self, name: &str, spec: KeySpec) -> CreateKey<'_, crate::AnyKey> {
        CreateKey(self.0.create_any(name, spec))
    }

    /// As [`crate::Session::import`].
    pub fn import<A: KeyKind>(
        &self,
        name: &str,
        material: impl Into<SecretBytes>,
    ) -> CreateKey<'_, crate::Key<A>> {
        CreateKey(self.0.import(name, material))
    }

    /// As [`crate::Session::import_any`].
    pub fn import_any(
        &self,
        name: &str,
        spec: KeySpec,
        material: impl Into<SecretBytes>,
    ) -> CreateKey<'_, crate::AnyKey> {
        CreateKey(self.0.import_any(name, spec, material))
    }

    /// As [`crate::Session::import_wrapped`].
    pub fn import_wrapped<A: KeyKind, T: Transport>(
        &self,
        name: &str,
        transport: &Key<T>,
        wrapped: &Wrapped,
    ) -> CreateKey<'_, crate::Key<A>> {
        CreateKey(self.0.import_wrapped(name, &transport.0, wrapped))
    }

    /// As [`crate::Session::import_wrapped_bare`].
    pub fn import_wrapped_bare<A: KeyKind, T: Transport>(
        &self,
        name: &str,
        transport: &Key<T>,
        wrapped: &Wrapped,
    ) -> CreateKey<'_, crate::Key<A>> {
        CreateKey(self.0.import_wrapped_bare(name, &transport.0, wrapped))
    }

    /// As [`crate::Session::key`].
    ///
    /// # Errors
    ///
    /// The same.
    pub fn key<A: KeyKind>(&self, name: &str) -> Result<Key<A>> {
        block_on(self.0.key(name)).map(Key)
    }

    /// As [`crate::Session::any_key`].
    ///
    /// # Errors
    ///
    /// The same.
    pub fn any_key(&self, name: &str) -> Result<AnyKey> {
        block_on(self.0.any_key(name)).map(AnyKey)
    }
}

/// As [`crate::CreateKey`]; [`make`](CreateKey::make) takes the place of `.await`.
#[derive(Debug)]
#[must_use = "nothing is made until `make` is called"]
pub struct CreateKey<'s, K>(crate::CreateKey<'s, K>);

/// The blocking handle that belongs to an async one. Sealed, as [`Handle`] is.
pub trait Blocking: Handle {
    /// [`Key`] or [`AnyKey`].
    type Handle;

    #[doc(hidden)]
    fn blocking(self) -> Self::Handle;
}

impl<A: KeyKind> Blocking for crate::Key<A> {
    type Handle = Key<A>;

    fn blocking(self) -> Key<A> {
        Key(self)
    }
}

impl Blocking for crate::AnyKey {
    type Handle = AnyKey;

    fn blocking(self) -> AnyKey {
        AnyKey(self)
    }
}

impl<'s, K: Blocking + 's> CreateKey<'s, K> {
    /// As [`crate::CreateKey::not_before`].
    pub fn not_before(self, time: Timestamp) -> Self {
        Self(self.0.not_before(time))
    }

    /// As [`crate::CreateKey::expires`].
    pub fn expires(self, time: Timestamp) -> Self {
        Self(self.0.expires(time))
    }

    /// As [`crate::CreateKey::pre_activation`].
    pub fn pre_activation(self) -> Self {
        Self(self.0.pre_activation())
    }

    /// As [`crate::CreateKey::exportable`].
    pub fn exportable(self) -> Self {
        Self(self.0.exportable())
    }

    /// As [`crate::CreateKey::in_boot_state`].
    pub fn in_boot_state(self, registers: PcrSelection) -> Self {
        Self(self.0.in_boot_state(registers))
    }

    /// As [`crate::CreateKey::tag`].
    pub fn tag(self, name: impl Into<String>, value: impl Into<String>) -> Self {
        Self(self.0.tag(name, value))
    }

    /// As [`crate::CreateKey::rotation`].
    pub fn rotation(self, policy: RotationPolicy) -> Self {
        Self(self.0.rotation(policy))
    }

    /// As [`crate::CreateKey::or_add_version`].
    pub fn or_add_version(self) -> Self {
        Self(self.0.or_add_version())
    }

    /// Makes the key.
    ///
    /// # Errors
    ///
    /// As [`crate::CreateKey`].
    pub fn make(self) -> Result<K::Handle> {
        block_on(self.0.into_future()).map(K::blocking)
    }
}

/// As [`crate::Key`].
#[derive(Debug)]
pub struct Key<A>(crate::Key<A>);

impl<A> Clone for Key<A> {
    fn clone(&self) -> Self {
        Self(self.0.clone())
    }
}

impl<A> Key<A> {
    forward! { crate::Key;
        attest(nonce: &Nonce) -> Result<Evidence>;
        attest_with_pcrs(nonce: &Nonce, pcrs: Pcrs) -> Result<Evidence>;
        info() -> Result<KeyInfo>;
        public_key() -> Result<PublicKey>;
        versions(page: PageRequest) -> Result<Page<KeyInfo>>;
        update(update: AttributesUpdate) -> Result<KeyInfo>;
        rotate() -> Result<VersionId>;
        rotation_policy() -> Result<Option<RotationPolicy>>;
        set_rotation_policy(policy: impl Into<Option<RotationPolicy>>) -> Result<Option<RotationPolicy>>;
        delete() -> Result<KeyInfo>;
    }

    /// The key's name.
    #[must_use]
    pub fn name(&self) -> &KeyName {
        self.0.name()
    }

    /// As [`crate::Key::version`].
    #[must_use]
    pub fn version(&self) -> Option<VersionId> {
        self.0.version()
    }

    /// As [`crate::Key::at`].
    #[must_use]
    pub fn at(&self, version: VersionId) -> Self {
        Self(self.0.at(version))
    }

    /// The async handle.
    #[must_use]
    pub fn as_async(&self) -> &crate::Key<A> {
        &self.0
    }

    /// As [`crate::Key::export`].
    ///
    /// # Errors
    ///
    /// The same.
    pub fn export<T: Transport>(&self, transport: &Key<T>) -> Result<Wrapped> {
        block_on(self.0.export(&transport.0))
    }
}

impl<A: Signing> Key<A> {
    forward! { crate::Key;
        sign(message: &[u8]) -> Result<Signature>;
        verify(message: &[u8], signature: &Signature) -> Result<()>;
    }
}

impl<A: SigningDigests> Key<A> {
    forward! { crate::Key;
        sign_digest(digest: &[u8]) -> Result<Signature>;
        verify_digest(digest: &[u8], signature: &Signature) -> Result<()>;
    }
}

impl<A: Authenticating> Key<A> {
    forward! { crate::Key;
        mac(message: &[u8]) -> Result<Signature>;
        verify_mac(message: &[u8], tag: &Signature) -> Result<()>;
    }
}

impl<A: Encrypting> Key<A> {
    forward! { crate::Key;
        encrypt(plaintext: &[u8]) -> Result<Encrypted>;
        decrypt(data: &Encrypted) -> Result<SecretBytes>;
    }
}

impl<A: Aead> Key<A> {
    forward! { crate::Key;
        encrypt_with_aad(plaintext: &[u8], aad: &[u8]) -> Result<Encrypted>;
        decrypt_with_aad(data: &Encrypted, aad: &[u8]) -> Result<SecretBytes>;
    }
}

impl<A: Wrapping> Key<A> {
    forward! { crate::Key;
        wrap(key: &[u8]) -> Result<Wrapped>;
        unwrap(wrapped: &Wrapped) -> Result<SecretBytes>;
    }
}

impl<A: Agreement> Key<A> {
    forward! { crate::Key; agree(peer: &PublicKey) -> Result<SecretBytes>; }
}

impl<A: Encapsulating> Key<A> {
    forward! { crate::Key;
        encapsulate() -> Result<(Encapsulation, SecretBytes)>;
        decapsulate(ciphertext: &Encapsulation) -> Result<SecretBytes>;
    }
}

impl<A: Derivation> Key<A> {
    forward! { crate::Key;
        hkdf(salt: &[u8], info: &[u8], len: usize) -> Result<SecretBytes>;
        kbkdf(label: &[u8], context: &[u8], len: usize) -> Result<SecretBytes>;
    }
}

/// As [`crate::AnyKey`].
#[derive(Clone, Debug)]
pub struct AnyKey(crate::AnyKey);

impl AnyKey {
    forward! { crate::AnyKey;
        sign(algorithm: Algorithm, input: SignInput<'_>) -> Result<Signature>;
        verify(algorithm: Algorithm, input: SignInput<'_>, signature: &Signature) -> Result<()>;
        mac(algorithm: Algorithm, message: &[u8]) -> Result<Signature>;
        verify_mac(algorithm: Algorithm, message: &[u8], tag: &Signature) -> Result<()>;
        encrypt(algorithm: Algorithm, plaintext: &[u8], aad: &[u8]) -> Result<Encrypted>;
        decrypt(algorithm: Algorithm, data: &Encrypted, aad: &[u8]) -> Result<SecretBytes>;
        wrap(algorithm: Algorithm, key: &[u8]) -> Result<Wrapped>;
        unwrap(algorithm: Algorithm, wrapped: &Wrapped) -> Result<SecretBytes>;
        agree(algorithm: Algorithm, peer: &PublicKey) -> Result<SecretBytes>;
        derive(algorithm: Algorithm, salt_or_label: &[u8], info_or_context: &[u8], len: usize) -> Result<SecretBytes>;
        encapsulate(algorithm: Algorithm) -> Result<(Encapsulation, SecretBytes)>;
        decapsulate(algorithm: Algorithm, ciphertext: &Encapsulation) -> Result<SecretBytes>;
    }

    /// As [`crate::AnyKey::spec`].
    #[must_use]
    pub fn spec(&self) -> &KeySpec {
        self.0.spec()
    }

    /// As [`crate::AnyKey::handle`].
    #[must_use]
    pub fn handle(&self) -> Key<()> {
        Key(self.0.handle().clone())
    }

    /// As [`crate::AnyKey::at`].
    #[must_use]
    pub fn at(&self, version: VersionId) -> Self {
        Self(self.0.at(version))
    }

    /// As [`crate::AnyKey::typed`].
    ///
    /// # Errors
    ///
    /// The same.
    pub fn typed<A: KeyKind>(self) -> Result<Key<A>> {
        self.0.typed().map(Key)
    }
}
