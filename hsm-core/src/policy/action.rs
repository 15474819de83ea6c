//! [`DataAction`]: everything that a request can be allowed to do, spelled as in Managed HSM local RBAC.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};

use crate::error::{Error, Result, invalid};

macro_rules! data_actions {
    ($($(#[$doc:meta])* $variant:ident = $code:literal, $name:literal;)*) => {
        /// One permission. Every [`Request`](crate::Request) needs exactly one.
        ///
        /// Names that start with `Microsoft.KeyVault/managedHsm/` are those of Managed HSM local RBAC; names that start
        /// with `Hsm/` are for what only this SDK has.
        #[derive(Clone, Copy, Debug, Eq, Hash, Ord, PartialEq, PartialOrd)]
        #[non_exhaustive]
        pub enum DataAction { $($(#[$doc])* $variant = $code,)* }

        const ACTIONS: &[(DataAction, &str)] = &[$((DataAction::$variant, $name),)*];

        impl DataAction {
            /// The number that stands for this action in audit records and sets: below 64, never reused.
            #[must_use]
            pub const fn code(self) -> u8 { self as u8 }

            /// The action that a [`code`](Self::code) stands for.
            #[must_use]
            pub const fn from_code(code: u8) -> Option<Self> { match code { $($code => Some(Self::$variant),)* _ => None } }

            /// The action's name.
            #[must_use]
            pub const fn name(self) -> &'static str { match self { $(Self::$variant => $name,)* } }
        }
    };
}

data_actions! {
    /// Read a key's attributes and public half, list keys and versions.
    KeyRead = 0, "Microsoft.KeyVault/managedHsm/keys/read/action";
    /// Change a key's attributes or rotation policy.
    KeyWrite = 1, "Microsoft.KeyVault/managedHsm/keys/write/action";
    /// Create a key.
    KeyCreate = 2, "Microsoft.KeyVault/managedHsm/keys/create";
    /// Soft-delete a key.
    KeyDelete = 3, "Microsoft.KeyVault/managedHsm/keys/delete";
    /// Import a key.
    KeyImport = 4, "Microsoft.KeyVault/managedHsm/keys/import/action";
    /// Make a new version of a key.
    KeyRotate = 5, "Microsoft.KeyVault/managedHsm/keys/rotate/action";
    /// Sign, or compute a MAC.
    KeySign = 6, "Microsoft.KeyVault/managedHsm/keys/sign/action";
    /// Verify a signature or a MAC.
    KeyVerify = 7, "Microsoft.KeyVault/managedHsm/keys/verify/action";
    /// Encrypt.
    KeyEncrypt = 8, "Microsoft.KeyVault/managedHsm/keys/encrypt/action";
    /// Decrypt.
    KeyDecrypt = 9, "Microsoft.KeyVault/managedHsm/keys/decrypt/action";
    /// Wrap key bytes.
    KeyWrap = 10, "Microsoft.KeyVault/managedHsm/keys/wrap/action";
    /// Unwrap key bytes.
    KeyUnwrap = 11, "Microsoft.KeyVault/managedHsm/keys/unwrap/action";
    /// Back up one key.
    KeyBackup = 12, "Microsoft.KeyVault/managedHsm/keys/backup/action";
    /// Restore one key.
    KeyRestore = 13, "Microsoft.KeyVault/managedHsm/keys/restore/action";
    /// Release a key to an attested environment.
    KeyRelease = 14, "Microsoft.KeyVault/managedHsm/keys/release/action";
    /// Export a key wrapped under another. In Managed HSM the action of a role that no built-in role has.
    KeyExport = 15, "Microsoft.KeyVault/managedHsm/keys/export/action";
    /// Read and list soft-deleted keys.
    DeletedKeyRead = 16, "Microsoft.KeyVault/managedHsm/keys/deletedKeys/read/action";
    /// Recover a soft-deleted key.
    DeletedKeyRecover = 17, "Microsoft.KeyVault/managedHsm/keys/deletedKeys/recover/action";
    /// Purge a soft-deleted key.
    DeletedKeyPurge = 18, "Microsoft.KeyVault/managedHsm/keys/deletedKeys/delete";
    /// Get random bytes.
    RandomGenerate = 19, "Microsoft.KeyVault/managedHsm/rng/action";
    /// Read role definitions.
    RoleDefinitionRead = 20, "Microsoft.KeyVault/managedHsm/roleDefinitions/read/action";
    /// Create or change a role definition.
    RoleDefinitionWrite = 21, "Microsoft.KeyVault/managedHsm/roleDefinitions/write/action";
    /// Delete a role definition.
    RoleDefinitionDelete = 22, "Microsoft.KeyVault/managedHsm/roleDefinitions/delete/action";
    /// Read role assignments.
    RoleAssignmentRead = 23, "Microsoft.KeyVault/managedHsm/roleAssignments/read/action";
    /// Create a role assignment.
    RoleAssignmentWrite = 24, "Microsoft.KeyVault/managedHsm/roleAssignments/write/action";
    /// Delete a role assignment.
    RoleAssignmentDelete = 25, "Microsoft.KeyVault/managedHsm/roleAssignments/delete/action";
    /// Download the security domain.
    SecurityDomainDownload = 26, "Microsoft.KeyVault/managedHsm/securitydomain/download/action";
    /// Ask how a download of the security domain stands.
    SecurityDomainDownloadRead = 27, "Microsoft.KeyVault/managedHsm/securitydomain/download/read";
    /// Upload a security domain.
    SecurityDomainUpload = 28, "Microsoft.KeyVault/managedHsm/securitydomain/upload/action";
    /// Ask how an upload of a security domain stands.
    SecurityDomainUploadRead = 29, "Microsoft.KeyVault/managedHsm/securitydomain/upload/read";
    /// Get the key under which a security domain is uploaded.
    SecurityDomainTransferKeyRead = 30, "Microsoft.KeyVault/managedHsm/securitydomain/transferkey/read";
    /// Start a full backup.
    BackupStart = 31, "Microsoft.KeyVault/managedHsm/backup/start/action";
    /// Ask how a full backup stands.
    BackupStatus = 32, "Microsoft.KeyVault/managedHsm/backup/status/action";
    /// Start a full restore.
    RestoreStart = 33, "Microsoft.KeyVault/managedHsm/restore/start/action";
    /// Ask how a full restore stands.
    RestoreStatus = 34, "Microsoft.KeyVault/managedHsm/restore/status/action";
    /// Agree on a shared secret.
    KeyAgree = 40, "Hsm/keys/agree/action";
    /// Derive secret bytes.
    KeyDerive = 41, "Hsm/keys/derive/action";
    /// Read and list users.
    UserRead = 42, "Hsm/users/read/action";
    /// Create a user, or change one.
    UserWrite = 43, "Hsm/users/write/action";
    /// Delete a user.
    UserDelete = 44, "Hsm/users/delete/action";
    /// Change one's own password.
    OwnPasswordWrite = 45, "Hsm/users/ownPassword/action";
    /// Read the audit log.
    AuditRead = 46, "Hsm/audit/read/action";
    /// Read the partition's settings and status.
    SettingsRead = 47, "Hsm/settings/read/action";
    /// Change the partition's settings.
    SettingsWrite = 48, "Hsm/settings/write/action";
    /// Destroy every key of the partition for good.
    Zeroize = 49, "Hsm/zeroize/action";
    /// Log in. Needs no role: a record of it is written, that is all.
    Login = 50, "Hsm/login/action";
    /// What the partition does by itself: open, close, rotate by policy, purge after retention.
    Maintain = 51, "Hsm/maintain/action";
    /// Encapsulate a shared secret.
    KeyEncapsulate = 52, "Hsm/keys/encapsulate/action";
    /// Decapsulate a shared secret.
    KeyDecapsulate = 53, "Hsm/keys/decapsulate/action";
    /// List API tokens.
    TokenRead = 54, "Hsm/tokens/read/action";
    /// Make an API token, for any principal: who may do this can become anybody, as who may set passwords can.
    TokenWrite = 55, "Hsm/tokens/write/action";
    /// Delete an API token.
    TokenDelete = 56, "Hsm/tokens/delete/action";
}

impl DataAction {
    /// Every action, by code.
    #[must_use]
    pub fn all() -> impl ExactSizeIterator<Item = Self> {
        ACTIONS.iter().map(|(action, _)| *action)
    }
}

impl fmt::Display for DataAction {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.name())
    }
}

impl FromStr for DataAction {
    type Err = Error;

    fn from_str(name: &str) -> Result<Self> {
        Self::all()
            .find(|action| action.name() == name)
            .ok_or_else(|| {
                invalid("unknown data action; DataAction::all() lists those that there are")
            })
    }
}

impl Serialize for DataAction {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        if serializer.is_human_readable() {
            serializer.serialize_str(self.name())
        } else {
            serializer.serialize_u8(self.code())
        }
    }
}

impl<'de> Deserialize<'de> for DataAction {
    fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        use serde::de::Error as _;
        if deserializer.is_human_readable() {
            let name = std::borrow::Cow::<str>::deserialize(deserializer)?;
            name.parse().map_err(D::Error::custom)
        } else {
            Self::from_code(u8::deserialize(deserializer)?)
                .ok_or_else(|| D::Error::custom("unknown data action code"))
        }
    }
}

/// A set of [`DataAction`]s, as one machine word.
///
/// ```
/// use hsm_core::policy::{ActionSet, DataAction};
///
/// let actions = ActionSet::of(&[DataAction::KeySign, DataAction::KeyVerify]);
/// assert!(actions.contains(DataAction::KeySign));
/// assert!(!actions.contains(DataAction::KeyDelete));
/// ```
#[derive(Clone, Copy, Default, Eq, Hash, PartialEq)]
pub struct ActionSet(u64);

impl ActionSet {
    /// The empty set.
    pub const NONE: Self = Self(0);

    /// The set of `actions`.
    #[must_use]
    pub const fn of(actions: &[DataAction]) -> Self {
        let mut bits = 0;
        let mut at = 0;
        while at < actions.len() {
            bits |= 1 << actions[at].code();
            at += 1;
        }
        Self(bits)
    }

    /// Whether `action` is in the set.
    #[must_use]
    pub const fn contains(self, action: DataAction) -> bool {
        self.0 & (1 << action.code()) != 0
    }

    /// The actions that are in either set.
    #[must_use]
    pub const fn union(self, other: Self) -> Self {
        Self(self.0 | other.0)
    }

    /// The actions that are in both sets.
    #[must_use]
    pub const fn intersection(self, other: Self) -> Self {
        Self(self.0 & other.0)
    }

    /// The actions that are in `self` and not in `other`.
    #[must_use]
    pub const fn without(self, other: Self) -> Self {
        Self(self.0 & !other.0)
    }

    /// Whether the set is empty.
    #[must_use]
    pub const fn is_empty(self) -> bool {
        self.0 == 0
    }

    /// The actions of the set, by code.
    pub fn iter(self) -> impl Iterator<Item = DataAction> {
        DataAction::all().filter(move |action| self.contains(*action))
    }
}

impl FromIterator<DataAction> for ActionSet {
    fn from_iter<I: IntoIterator<Item = DataAction>>(actions: I) -> Self {
        Self(
            actions
                .into_iter()
                .fold(0, |bits, action| bits | 1 << action.code()),
        )
    }
}

impl fmt::Debug for ActionSet {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_set().entries(self.iter()).finish()
    }
}

impl Serialize for ActionSet {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_seq(self.iter().collect::<Vec<_>>())
    }
}

impl<'de> Deserialize<'de> for ActionSet {
    fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        Vec::<DataAction>::deserialize(deserializer).map(|actions| actions.into_iter().collect())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn codes_fit_a_set_and_names_are_unique() {
        let mut names: Vec<_> = DataAction::all().map(DataAction::name).collect();
        names.sort_unstable();
        names.dedup();
        assert_eq!(names.len(), DataAction::all().len());
        for action in DataAction::all() {
            assert!(action.code() < 64);
            assert_eq!(DataAction::from_code(action.code()), Some(action));
            assert_eq!(action.name().parse::<DataAction>().unwrap(), action);
        }
    }
}
