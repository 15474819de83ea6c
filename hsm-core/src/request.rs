//! [`Request`] and [`Response`]: every call as a value. Policy, audit, wire and faults all speak it.

use std::fmt;

use crate::algorithm::Algorithm;
use crate::attestation::{Evidence, Nonce, Pcrs};
use crate::audit::{Frame, StreamId};
use crate::clock::Timestamp;
use crate::device::{Ciphertext, CiphertextRef, Encapsulated, SignInput, WrappedFormat};
use crate::key::{
    Attributes, AttributesUpdate, KeyName, KeyRef, KeySpec, PublicKey, Tags, VersionId,
};
use crate::policy::{DataAction, RoleAssignment, RoleDefinition, RoleId, RotationPolicy, Scope};
use crate::secret::SecretBytes;
use crate::service::{Principal, TokenName};

/// Everything that can be asked of an HSM. Each request needs exactly one [`DataAction`] at one [`Scope`]:
/// [`Request::action`] and [`Request::scope`] are exhaustive, so that a new request does not compile until its
/// authorization is decided.
///
/// Data is borrowed, so that a call copies none. `Debug` shows lengths, never contents.
#[expect(
    clippy::exhaustive_enums,
    reason = "whoever takes requests decides about every one: wires, wrappers and conformance suites match all of them"
)]
#[expect(
    missing_docs,
    reason = "the fields are named for what they are; the variants say what they do"
)]
pub enum Request<'a> {
    /// Makes a key inside the HSM.
    CreateKey {
        name: KeyName,
        new: NewKeyParameters,
    },
    /// Takes a key that the caller holds in clear: PKCS#8 DER, or raw octets for symmetric keys.
    ImportKey {
        name: KeyName,
        new: NewKeyParameters,
        material: SecretBytes,
    },
    /// Unwraps a key under a key of the HSM that has the usage `import`.
    ImportWrappedKey {
        name: KeyName,
        new: NewKeyParameters,
        wrapping: KeyRef,
        algorithm: Algorithm,
        wrapped: &'a [u8],
        format: WrappedFormat,
    },
    /// Wraps an exportable key under a key of the HSM that has the usage `export`.
    ExportKey {
        key: KeyRef,
        wrapping: KeyRef,
        algorithm: Algorithm,
    },
    /// Reads a key version.
    GetKey { key: KeyRef },
    /// States what a key version is, signed by the device for whoever chose the nonce.
    AttestKey {
        key: KeyRef,
        nonce: Nonce,
        pcrs: Pcrs,
    },
    /// Lists the current versions of all keys, by name.
    ListKeys { page: PageRequest },
    /// Lists the versions of a key, oldest first.
    ListVersions { name: KeyName, page: PageRequest },
    /// Changes attributes of a key version.
    UpdateKey {
        key: KeyRef,
        update: AttributesUpdate,
    },
    /// Makes a new version of a key, which becomes the current one.
    RotateKey { name: KeyName },
    /// Reads a key's rotation policy.
    GetRotationPolicy { name: KeyName },
    /// Sets or removes a key's rotation policy.
    SetRotationPolicy {
        name: KeyName,
        policy: Option<RotationPolicy>,
    },
    /// Soft-deletes a key with all its versions.
    DeleteKey { name: KeyName },
    /// Reads a soft-deleted key.
    GetDeletedKey { name: KeyName },
    /// Lists soft-deleted keys, by name.
    ListDeletedKeys { page: PageRequest },
    /// Brings a soft-deleted key back.
    RecoverKey { name: KeyName },
    /// Destroys a soft-deleted key for good.
    PurgeKey { name: KeyName },

    /// Seals a key with all its versions for a [`RestoreKey`](Self::RestoreKey) into this partition.
    BackupKey { name: KeyName },
    /// Brings a key back from its backup, under its old name, which must be free. A version that was compromised when it was
    /// purged comes back compromised.
    RestoreKey { backup: &'a [u8] },

    /// Signs a message or digest.
    Sign {
        key: KeyRef,
        algorithm: Algorithm,
        input: SignInput<'a>,
    },
    /// Verifies a signature.
    Verify {
        key: KeyRef,
        algorithm: Algorithm,
        input: SignInput<'a>,
        signature: &'a [u8],
    },
    /// Computes a message authentication code.
    Mac {
        key: KeyRef,
        algorithm: Algorithm,
        message: &'a [u8],
    },
    /// Checks a message authentication code.
    VerifyMac {
        key: KeyRef,
        algorithm: Algorithm,
        message: &'a [u8],
        tag: &'a [u8],
    },
    /// Encrypts.
    Encrypt {
        key: KeyRef,
        algorithm: Algorithm,
        plaintext: &'a [u8],
        iv: Option<&'a [u8]>,
        aad: &'a [u8],
    },
    /// Decrypts.
    Decrypt {
        key: KeyRef,
        algorithm: Algorithm,
        ciphertext: CiphertextRef<'a>,
        aad: &'a [u8],
    },
    /// Wraps key bytes that the caller holds.
    Wrap {
        key: KeyRef,
        algorithm: Algorithm,
        plaintext: &'a [u8],
    },
    /// Unwraps key bytes for the caller.
    Unwrap {
        key: KeyRef,
        algorithm: Algorithm,
        wrapped: &'a [u8],
    },
    /// Agrees on a shared secret.
    Agree {
        key: KeyRef,
        algorithm: Algorithm,
        peer: &'a PublicKey,
    },
    /// Makes a shared secret and encapsulates it.
    Encapsulate { key: KeyRef, algorithm: Algorithm },
    /// Takes a shared secret out of the ciphertext that encapsulates it.
    Decapsulate {
        key: KeyRef,
        algorithm: Algorithm,
        ciphertext: &'a [u8],
    },
    /// Derives secret bytes.
    Derive {
        key: KeyRef,
        algorithm: Algorithm,
        salt_or_label: &'a [u8],
        info_or_context: &'a [u8],
        len: usize,
    },
    /// Gets random bytes.
    Random { len: usize },

    /// Lists role definitions, the built-in ones first.
    ListRoleDefinitions,
    /// Creates or replaces a custom role definition.
    PutRoleDefinition { definition: RoleDefinition },
    /// Deletes a custom role definition that is assigned to nobody.
    DeleteRoleDefinition { id: RoleId },
    /// Lists role assignments, of one scope or all.
    ListRoleAssignments { scope: Option<Scope> },
    /// Assigns a role.
    CreateRoleAssignment {
        id: Option<RoleId>,
        role: RoleId,
        principal: Principal,
        scope: Scope,
    },
    /// Takes a role away.
    DeleteRoleAssignment { id: RoleId },

    /// Creates a user.
    CreateUser {
        name: Principal,
        password: SecretBytes,
    },
    /// Lists users, by name.
    ListUsers { page: PageRequest },
    /// Enables or disables a user, sets a new password, or lifts a lock-out.
    UpdateUser { name: Principal, update: UserUpdate },
    /// Deletes a user and takes all its roles and API tokens: a later user of the same name starts with none.
    DeleteUser { name: Principal },
    /// Makes an API token, which logs its principal in until it expires or is deleted. It is shown once.
    ///
    /// The principal need not be a user. Whoever may make tokens can become anybody, as whoever may set passwords can.
    /// Tokens of a user who is disabled do not log in, and go with a user who is deleted. A new password does not end them.
    CreateToken {
        name: TokenName,
        principal: Principal,
        expires: Timestamp,
    },
    /// Lists API tokens, by name. Expired ones are listed until they are deleted, or their room is needed.
    ListTokens { page: PageRequest },
    /// Deletes an API token. Sessions that it opened end.
    DeleteToken { name: TokenName },
    /// Changes one's own password.
    ChangePassword { old: SecretBytes, new: SecretBytes },

    /// Reads the partition's settings and status.
    GetSettings,
    /// Changes the partition's settings.
    UpdateSettings { update: SettingsUpdate },
    /// Lists the audit streams.
    ListAuditStreams,
    /// Reads audit records, as they were written.
    ReadAudit {
        stream: StreamId,
        from: u64,
        limit: usize,
    },
    /// Destroys every key of the partition, for good. `confirm` repeats the partition's id.
    Zeroize { confirm: StreamId },
}

/// What a new key shall be.
#[derive(Clone, Debug, Eq, PartialEq)]
#[non_exhaustive]
pub struct NewKeyParameters {
    /// Type, usages, and whether the key may leave wrapped.
    pub spec: KeySpec,
    /// Of no use before.
    pub not_before: Option<Timestamp>,
    /// Deactivated from then on.
    pub expires: Option<Timestamp>,
    /// Made in pre-activation: of no use until it is activated.
    pub pre_activation: bool,
    /// The application's labels.
    pub tags: Tags,
    /// When new versions are made by themselves.
    pub rotation: Option<RotationPolicy>,
    /// What happens if the key exists already.
    pub if_taken: IfTaken,
}

/// What happens to a new key whose name is taken by a key that is not deleted.
#[derive(Clone, Copy, Debug, Default, Eq, Hash, PartialEq)]
#[expect(
    clippy::exhaustive_enums,
    reason = "our own clients refuse, Key Vault adds a version"
)]
pub enum IfTaken {
    /// [`Conflict`](crate::ErrorKind::Conflict).
    #[default]
    Refuse,
    /// It becomes the current version of that key, as in Key Vault. It may be of another type.
    AddVersion,
}

impl NewKeyParameters {
    /// A key of `spec`, active at once and for ever, without tags.
    #[must_use]
    pub fn new(spec: KeySpec) -> Self {
        Self {
            spec,
            not_before: None,
            expires: None,
            pre_activation: false,
            tags: Tags::default(),
            rotation: None,
            if_taken: IfTaken::default(),
        }
    }
}

/// Which page of a listing.
///
/// The lists of [`Request`] take one.
#[derive(Clone, Debug, Default, Eq, PartialEq)]
#[expect(
    clippy::exhaustive_structs,
    reason = "a place and a length is all there is to a page"
)]
pub struct PageRequest {
    /// Start after this item: [`Page::next`] of the page before.
    pub after: Option<String>,
    /// At most this many items; [`PAGE_LEN_DEFAULT`](crate::limits::PAGE_LEN_DEFAULT) if not given.
    pub limit: Option<usize>,
}

impl PageRequest {
    /// The page after this item.
    ///
    /// ```
    /// use hsm_core::{Page, PageRequest};
    ///
    /// let page = Page { items: vec!["a", "b"], next: Some("b".to_owned()) };
    /// let following = page.next.map(PageRequest::after);
    /// assert_eq!(following, Some(PageRequest { after: Some("b".to_owned()), limit: None }));
    /// ```
    #[must_use]
    pub fn after(item: impl Into<String>) -> Self {
        Self {
            after: Some(item.into()),
            limit: None,
        }
    }

    /// The same with at most `items` items on the page.
    #[must_use]
    pub fn limit(self, items: usize) -> Self {
        Self {
            limit: Some(items),
            ..self
        }
    }
}

/// A page of a listing.
///
/// The lists of [`Response`] are such.
#[derive(Clone, Debug, Eq, PartialEq)]
#[expect(
    clippy::exhaustive_structs,
    reason = "services of other crates make these"
)]
pub struct Page<T> {
    /// The items.
    pub items: Vec<T>,
    /// Where the next page starts; `None` on the last.
    pub next: Option<String>,
}

/// A key version, as far as anybody may see it.
#[derive(Clone, Debug, Eq, PartialEq)]
#[non_exhaustive]
pub struct KeyInfo {
    /// The key.
    pub name: KeyName,
    /// The version.
    pub version: VersionId,
    /// What is known of it.
    pub attributes: Attributes,
    /// The public half; `None` for symmetric keys.
    pub public: Option<PublicKey>,
    /// When a soft-deleted key was deleted, and when it will be purged.
    pub deletion: Option<Deletion>,
    /// What a deletion would mean, where the service says so.
    pub recovery: Option<Recovery>,
}

impl KeyInfo {
    /// Puts a description together, for services.
    #[must_use]
    pub fn new(
        name: KeyName,
        version: VersionId,
        attributes: Attributes,
        public: Option<PublicKey>,
    ) -> Self {
        Self {
            name,
            version,
            attributes,
            public,
            deletion: None,
            recovery: None,
        }
    }

    /// The key and this version of it.
    #[must_use]
    pub fn key(&self) -> KeyRef {
        KeyRef::version(self.name.clone(), self.version)
    }
}

/// What the deletion of a key means: Key Vault's `recoverableDays` and `recoveryLevel`.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
#[expect(
    clippy::exhaustive_structs,
    reason = "the two settings that Key Vault shows with every key"
)]
pub struct Recovery {
    /// How long a deleted key can be recovered, in days.
    pub retention_days: u16,
    /// Whether nobody may purge it before.
    pub purge_protection: bool,
}

/// When a key was soft-deleted, and when it goes for good.
#[derive(Clone, Copy, Debug, Eq, PartialEq, serde::Serialize, serde::Deserialize)]
#[expect(
    clippy::exhaustive_structs,
    reason = "the two times that Key Vault shows"
)]
pub struct Deletion {
    /// When it was deleted.
    pub deleted: Timestamp,
    /// When it will be purged.
    pub purge_at: Timestamp,
}

/// A user, as administrators see it.
#[derive(Clone, Debug, Eq, PartialEq)]
#[non_exhaustive]
pub struct UserInfo {
    /// The user's name.
    pub name: Principal,
    /// Whether the user may log in.
    pub enabled: bool,
    /// When the user was created.
    pub created: Timestamp,
    /// Until when wrong passwords keep the user out.
    pub locked_until: Option<Timestamp>,
}

impl UserInfo {
    /// Puts a description together, for services.
    #[must_use]
    pub fn new(
        name: Principal,
        enabled: bool,
        created: Timestamp,
        locked_until: Option<Timestamp>,
    ) -> Self {
        Self {
            name,
            enabled,
            created,
            locked_until,
        }
    }
}

/// An API token, as administrators see it: never the token itself.
#[derive(Clone, Debug, Eq, PartialEq)]
#[non_exhaustive]
pub struct TokenInfo {
    /// The token's name, unique in the partition.
    pub name: TokenName,
    /// Whom it logs in.
    pub principal: Principal,
    /// When it was made.
    pub created: Timestamp,
    /// From then on it is of no use.
    pub expires: Timestamp,
}

impl TokenInfo {
    /// Puts a description together, for services.
    #[must_use]
    pub fn new(
        name: TokenName,
        principal: Principal,
        created: Timestamp,
        expires: Timestamp,
    ) -> Self {
        Self {
            name,
            principal,
            created,
            expires,
        }
    }
}

/// A change of a user.
#[derive(Debug)]
#[non_exhaustive]
pub enum UserUpdate {
    /// Keep the user out. Sessions that are open end.
    Disable,
    /// Let the user in again.
    Enable,
    /// Set a new password. Sessions that are open end; a lock-out is lifted.
    Password(SecretBytes),
    /// Lift a lock-out.
    Unlock,
}

/// The partition's settings.
#[derive(Clone, Debug, Eq, PartialEq, serde::Serialize, serde::Deserialize)]
#[non_exhaustive]
pub struct Settings {
    /// How long soft-deleted keys can be recovered, in days:
    /// [`RETENTION_DAYS_MIN`](crate::limits::RETENTION_DAYS_MIN) to
    /// [`RETENTION_DAYS_MAX`](crate::limits::RETENTION_DAYS_MAX).
    pub retention_days: u16,
    /// Nobody purges a key before its retention period is over. Cannot be switched off.
    pub purge_protection: bool,
    /// RSA1_5 decryption and unwrapping are possible. They invite Bleichenbacher's attack.
    pub danger_rsa1_5_decrypt: bool,
}

impl Default for Settings {
    fn default() -> Self {
        Self {
            retention_days: crate::limits::RETENTION_DAYS_MAX,
            purge_protection: false,
            danger_rsa1_5_decrypt: false,
        }
    }
}

/// A change of settings. What is `None` stays as it is.
#[derive(Clone, Debug, Default, Eq, PartialEq)]
#[expect(clippy::exhaustive_structs, reason = "built with struct update syntax")]
pub struct SettingsUpdate {
    /// New retention period in days, for keys deleted from now on.
    pub retention_days: Option<u16>,
    /// Switches purge protection on, for good.
    pub purge_protection: Option<bool>,
    /// Switches RSA1_5 decryption and unwrapping.
    pub danger_rsa1_5_decrypt: Option<bool>,
}

/// The partition: identity and settings.
#[derive(Clone, Debug, Eq, PartialEq)]
#[non_exhaustive]
pub struct PartitionInfo {
    /// The partition's id, which is also the id of its journal.
    pub id: StreamId,
    /// The key that signs audit checkpoints. Auditors keep a copy.
    pub audit_key: PublicKey,
    /// The kind of device.
    pub device: String,
    /// The settings.
    pub settings: Settings,
}

impl PartitionInfo {
    /// Puts a description together, for services.
    #[must_use]
    pub fn new(id: StreamId, audit_key: PublicKey, device: String, settings: Settings) -> Self {
        Self {
            id,
            audit_key,
            device,
            settings,
        }
    }
}

/// What an HSM answers. Which variant belongs to which request is said at each.
#[derive(Debug)]
#[non_exhaustive]
pub enum Response {
    /// It was done, and there is nothing to tell.
    Done,
    /// To requests that create, read, change, rotate, delete or recover a key.
    Key(Box<KeyInfo>),
    /// To [`Request::ListKeys`], [`Request::ListVersions`] and [`Request::ListDeletedKeys`].
    Keys(Page<KeyInfo>),
    /// To [`Request::GetRotationPolicy`] and [`Request::SetRotationPolicy`].
    RotationPolicy(Option<RotationPolicy>),
    /// To [`Request::Sign`] and [`Request::Mac`]: the signature or tag, and the key version that made it.
    Signature {
        /// Signature or tag.
        bytes: Vec<u8>,
        /// The version that made it.
        version: VersionId,
    },
    /// To [`Request::AttestKey`].
    Evidence {
        /// The key report.
        evidence: Evidence,
        /// The version that it states.
        version: VersionId,
    },
    /// To [`Request::Encrypt`].
    Ciphertext {
        /// Ciphertext, IV and tag.
        ciphertext: Ciphertext,
        /// The version that encrypted.
        version: VersionId,
    },
    /// To [`Request::Wrap`] and [`Request::ExportKey`].
    Wrapped {
        /// The wrapped key.
        bytes: Vec<u8>,
        /// The version that wrapped.
        version: VersionId,
    },
    /// To [`Request::Encapsulate`].
    Encapsulated {
        /// The shared secret, and the ciphertext that encapsulates it.
        encapsulated: Encapsulated,
        /// The version that it was encapsulated to.
        version: VersionId,
    },
    /// To [`Request::Decrypt`], [`Request::Unwrap`], [`Request::Agree`], [`Request::Decapsulate`], [`Request::Derive`] and
    /// [`Request::Random`].
    Secret(SecretBytes),
    /// To [`Request::PutRoleDefinition`] and [`Request::DeleteRoleDefinition`]: what was put, or is gone.
    RoleDefinition(Box<RoleDefinition>),
    /// To [`Request::ListRoleDefinitions`].
    RoleDefinitions(Vec<RoleDefinition>),
    /// To [`Request::ListRoleAssignments`].
    RoleAssignments(Vec<RoleAssignment>),
    /// To [`Request::CreateRoleAssignment`] and [`Request::DeleteRoleAssignment`]: what was made, or is gone.
    RoleAssignment(Box<RoleAssignment>),
    /// To [`Request::ListUsers`].
    Users(Page<UserInfo>),
    /// To [`Request::BackupKey`].
    Backup(Vec<u8>),
    /// To [`Request::CreateToken`]: what the token logs in with, shown this once.
    Token {
        /// The token.
        token: SecretBytes,
        /// What is known of it.
        info: TokenInfo,
    },
    /// To [`Request::ListTokens`].
    Tokens(Page<TokenInfo>),
    /// To [`Request::GetSettings`] and [`Request::UpdateSettings`].
    Partition(Box<PartitionInfo>),
    /// To [`Request::ListAuditStreams`]: the journal first.
    AuditStreams(Vec<StreamId>),
    /// To [`Request::ReadAudit`].
    AuditRecords(Vec<Frame>),
}

impl Request<'_> {
    /// The one data action that the request needs.
    #[must_use]
    pub const fn action(&self) -> DataAction {
        match self {
            Self::CreateKey { .. } => DataAction::KeyCreate,
            Self::ImportKey { .. } | Self::ImportWrappedKey { .. } => DataAction::KeyImport,
            Self::ExportKey { .. } => DataAction::KeyExport,
            Self::GetKey { .. }
            | Self::AttestKey { .. }
            | Self::ListKeys { .. }
            | Self::ListVersions { .. }
            | Self::GetRotationPolicy { .. } => DataAction::KeyRead,
            Self::UpdateKey { .. } | Self::SetRotationPolicy { .. } => DataAction::KeyWrite,
            Self::RotateKey { .. } => DataAction::KeyRotate,
            Self::BackupKey { .. } => DataAction::KeyBackup,
            Self::RestoreKey { .. } => DataAction::KeyRestore,
            Self::DeleteKey { .. } => DataAction::KeyDelete,
            Self::GetDeletedKey { .. } | Self::ListDeletedKeys { .. } => DataAction::DeletedKeyRead,
            Self::RecoverKey { .. } => DataAction::DeletedKeyRecover,
            Self::PurgeKey { .. } => DataAction::DeletedKeyPurge,
            Self::Sign { .. } | Self::Mac { .. } => DataAction::KeySign,
            Self::Verify { .. } | Self::VerifyMac { .. } => DataAction::KeyVerify,
            Self::Encrypt { .. } => DataAction::KeyEncrypt,
            Self::Decrypt { .. } => DataAction::KeyDecrypt,
            Self::Wrap { .. } => DataAction::KeyWrap,
            Self::Unwrap { .. } => DataAction::KeyUnwrap,
            Self::Agree { .. } => DataAction::KeyAgree,
            Self::Encapsulate { .. } => DataAction::KeyEncapsulate,
            Self::Decapsulate { .. } => DataAction::KeyDecapsulate,
            Self::Derive { .. } => DataAction::KeyDerive,
            Self::Random { .. } => DataAction::RandomGenerate,
            Self::ListRoleDefinitions => DataAction::RoleDefinitionRead,
            Self::PutRoleDefinition { .. } => DataAction::RoleDefinitionWrite,
            Self::DeleteRoleDefinition { .. } => DataAction::RoleDefinitionDelete,
            Self::ListRoleAssignments { .. } => DataAction::RoleAssignmentRead,
            Self::CreateRoleAssignment { .. } => DataAction::RoleAssignmentWrite,
            Self::DeleteRoleAssignment { .. } => DataAction::RoleAssignmentDelete,
            Self::ListUsers { .. } => DataAction::UserRead,
            Self::CreateUser { .. } | Self::UpdateUser { .. } => DataAction::UserWrite,
            Self::DeleteUser { .. } => DataAction::UserDelete,
            Self::CreateToken { .. } => DataAction::TokenWrite,
            Self::ListTokens { .. } => DataAction::TokenRead,
            Self::DeleteToken { .. } => DataAction::TokenDelete,
            Self::ChangePassword { .. } => DataAction::OwnPasswordWrite,
            Self::GetSettings => DataAction::SettingsRead,
            Self::UpdateSettings { .. } => DataAction::SettingsWrite,
            Self::ListAuditStreams | Self::ReadAudit { .. } => DataAction::AuditRead,
            Self::Zeroize { .. } => DataAction::Zeroize,
        }
    }

    /// The key that the request is about, if it is about one.
    #[must_use]
    pub const fn key_name(&self) -> Option<&KeyName> {
        match self {
            Self::CreateKey { name, .. }
            | Self::ImportKey { name, .. }
            | Self::ImportWrappedKey { name, .. }
            | Self::ListVersions { name, .. }
            | Self::RotateKey { name }
            | Self::BackupKey { name }
            | Self::GetRotationPolicy { name }
            | Self::SetRotationPolicy { name, .. }
            | Self::DeleteKey { name }
            | Self::GetDeletedKey { name }
            | Self::RecoverKey { name }
            | Self::PurgeKey { name } => Some(name),
            Self::ExportKey { key, .. }
            | Self::GetKey { key }
            | Self::AttestKey { key, .. }
            | Self::UpdateKey { key, .. }
            | Self::Sign { key, .. }
            | Self::Verify { key, .. }
            | Self::Mac { key, .. }
            | Self::VerifyMac { key, .. }
            | Self::Encrypt { key, .. }
            | Self::Decrypt { key, .. }
            | Self::Wrap { key, .. }
            | Self::Unwrap { key, .. }
            | Self::Agree { key, .. }
            | Self::Encapsulate { key, .. }
            | Self::Decapsulate { key, .. }
            | Self::Derive { key, .. } => Some(&key.name),
            Self::ListKeys { .. }
            | Self::ListDeletedKeys { .. }
            | Self::RestoreKey { .. }
            | Self::CreateToken { .. }
            | Self::ListTokens { .. }
            | Self::DeleteToken { .. }
            | Self::Random { .. }
            | Self::ListRoleDefinitions
            | Self::PutRoleDefinition { .. }
            | Self::DeleteRoleDefinition { .. }
            | Self::ListRoleAssignments { .. }
            | Self::CreateRoleAssignment { .. }
            | Self::DeleteRoleAssignment { .. }
            | Self::CreateUser { .. }
            | Self::ListUsers { .. }
            | Self::UpdateUser { .. }
            | Self::DeleteUser { .. }
            | Self::ChangePassword { .. }
            | Self::GetSettings
            | Self::UpdateSettings { .. }
            | Self::ListAuditStreams
            | Self::ReadAudit { .. }
            | Self::Zeroize { .. } => None,
        }
    }

    /// The scope at which the action is needed.
    #[must_use]
    pub fn scope(&self) -> Scope {
        match self {
            Self::ListKeys { .. } | Self::ListDeletedKeys { .. } | Self::RestoreKey { .. } => {
                Scope::Keys
            }
            _ => match self.key_name() {
                Some(name) => Scope::Key(name.clone()),
                None => Scope::Global,
            },
        }
    }

    /// The key under which another goes in or out. The action is needed for it as well.
    #[must_use]
    pub const fn wrapping_key(&self) -> Option<&KeyName> {
        match self {
            Self::ImportWrappedKey { wrapping, .. } | Self::ExportKey { wrapping, .. } => {
                Some(&wrapping.name)
            }
            _ => None,
        }
    }

    /// The algorithm that is asked for, if one is.
    #[must_use]
    pub const fn algorithm(&self) -> Option<Algorithm> {
        match self {
            Self::ImportWrappedKey { algorithm, .. }
            | Self::ExportKey { algorithm, .. }
            | Self::Sign { algorithm, .. }
            | Self::Verify { algorithm, .. }
            | Self::Mac { algorithm, .. }
            | Self::VerifyMac { algorithm, .. }
            | Self::Encrypt { algorithm, .. }
            | Self::Decrypt { algorithm, .. }
            | Self::Wrap { algorithm, .. }
            | Self::Unwrap { algorithm, .. }
            | Self::Agree { algorithm, .. }
            | Self::Encapsulate { algorithm, .. }
            | Self::Decapsulate { algorithm, .. }
            | Self::Derive { algorithm, .. } => Some(*algorithm),
            _ => None,
        }
    }

    /// The lengths of the data that the request carries, for [`Debug`](fmt::Debug) and the limits.
    pub(crate) fn data_len(&self) -> usize {
        match self {
            Self::Sign { input, .. } => input.as_bytes().len(),
            Self::Verify {
                input, signature, ..
            } => input.as_bytes().len().max(signature.len()),
            Self::Mac { message, .. } => message.len(),
            Self::VerifyMac { message, tag, .. } => message.len().max(tag.len()),
            Self::Encrypt { plaintext, .. } => plaintext.len(),
            Self::Decrypt { ciphertext, .. } => ciphertext.ciphertext.len(),
            Self::Decapsulate { ciphertext, .. } => ciphertext.len(),
            _ => 0,
        }
    }
}

/// Action, scope and algorithm; never data.
impl fmt::Debug for Request<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Request({} on {}", self.action(), self.scope())?;
        if let Some(algorithm) = self.algorithm() {
            write!(f, ", {algorithm}, {} bytes", self.data_len())?;
        }
        f.write_str(")")
    }
}
