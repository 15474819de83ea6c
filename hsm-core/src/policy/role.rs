//! Role definitions and assignments: the nine built-in roles of Managed HSM local RBAC, and custom ones.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};

use super::action::{ActionSet, DataAction};
use super::scope::Scope;
use crate::clock::Timestamp;
use crate::error::{Error, Result, invalid, limit};
use crate::limits::{DESCRIPTION_LEN_MAX, NAME_LEN_MAX};
use crate::service::Principal;

/// Identifies a role definition or assignment: a UUID (RFC 9562), printed in its usual form.
#[derive(Clone, Copy, Eq, Hash, Ord, PartialEq, PartialOrd)]
pub struct RoleId(u128);

impl RoleId {
    /// The id with this value.
    #[must_use]
    pub const fn from_u128(value: u128) -> Self {
        Self(value)
    }

    /// The 16 bytes of the id.
    #[must_use]
    pub const fn to_bytes(self) -> [u8; 16] {
        self.0.to_be_bytes()
    }

    /// A version 4 UUID made of random bytes.
    #[must_use]
    pub const fn from_random(bytes: [u8; 16]) -> Self {
        let bits = u128::from_be_bytes(bytes);
        Self(bits & !(0xf << 76) & !(0x3 << 62) | (0x4 << 76) | (0x2 << 62))
    }
}

impl fmt::Display for RoleId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let hex = format!("{:032x}", self.0);
        let parts = [
            &hex[..8],
            &hex[8..12],
            &hex[12..16],
            &hex[16..20],
            &hex[20..],
        ];
        f.write_str(&parts.join("-"))
    }
}

impl fmt::Debug for RoleId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "RoleId({self})")
    }
}

impl FromStr for RoleId {
    type Err = Error;

    fn from_str(text: &str) -> Result<Self> {
        let parts: Vec<_> = text.split('-').collect();
        let well_formed = parts.iter().map(|part| part.len()).eq([8, 4, 4, 4, 12])
            && parts
                .iter()
                .all(|part| part.bytes().all(|byte| byte.is_ascii_hexdigit()));
        if well_formed && let Ok(value) = u128::from_str_radix(&parts.concat(), 16) {
            return Ok(Self(value));
        }
        Err(invalid(
            "the id of a role is a UUID: 8-4-4-4-12 hex digits with hyphens",
        ))
    }
}

impl Serialize for RoleId {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        if serializer.is_human_readable() {
            serializer.collect_str(self)
        } else {
            self.to_bytes().serialize(serializer)
        }
    }
}

impl<'de> Deserialize<'de> for RoleId {
    fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        if deserializer.is_human_readable() {
            let text = std::borrow::Cow::<str>::deserialize(deserializer)?;
            text.parse().map_err(serde::de::Error::custom)
        } else {
            <[u8; 16]>::deserialize(deserializer).map(|bytes| Self(u128::from_be_bytes(bytes)))
        }
    }
}

macro_rules! built_in_roles {
    ($($(#[$doc:meta])* $variant:ident = $id:literal, $name:literal, [$($set:expr),*];)*) => {
        /// The built-in roles of Managed HSM local RBAC, with their public ids.
        ///
        /// What only this SDK has is added where it belongs: users, settings and zeroization to the Administrator, the
        /// audit log to the Administrator and the Crypto Auditor, key agreement, derivation and encapsulation to the
        /// Crypto User. Every built-in role may read the settings and change its own password.
        #[derive(Clone, Copy, Debug, Eq, Hash, PartialEq)]
        #[expect(clippy::exhaustive_enums, reason = "the nine roles of Managed HSM")]
        pub enum BuiltInRole { $($(#[$doc])* $variant,)* }

        impl BuiltInRole {
            /// Every built-in role.
            pub const ALL: &[Self] = &[$(Self::$variant,)*];

            /// The role's id, the same in every partition and in Managed HSM.
            #[must_use]
            pub const fn id(self) -> RoleId { match self { $(Self::$variant => RoleId($id),)* } }

            /// The role's name.
            #[must_use]
            pub const fn name(self) -> &'static str { match self { $(Self::$variant => $name,)* } }

            /// What the role allows.
            #[must_use]
            pub const fn actions(self) -> ActionSet { match self { $(Self::$variant => EVERYONE$(.union($set))*,)* } }
        }
    };
}

const EVERYONE: ActionSet =
    ActionSet::of(&[DataAction::OwnPasswordWrite, DataAction::SettingsRead]);
const READ_ROLES: ActionSet = ActionSet::of(&[
    DataAction::RoleDefinitionRead,
    DataAction::RoleAssignmentRead,
]);
const ROLES: ActionSet = READ_ROLES.union(ActionSet::of(&[
    DataAction::RoleDefinitionWrite,
    DataAction::RoleDefinitionDelete,
    DataAction::RoleAssignmentWrite,
    DataAction::RoleAssignmentDelete,
]));
const BACKUP: ActionSet = ActionSet::of(&[DataAction::BackupStart, DataAction::BackupStatus]);
const RESTORE: ActionSet = ActionSet::of(&[DataAction::RestoreStart, DataAction::RestoreStatus]);

built_in_roles! {
    /// Runs the partition: security domain, backup and restore, roles, users, API tokens, settings. Cannot use keys.
    Administrator = 0xa290e904_7015_4bba_90c8_60543313cdb4, "Managed HSM Administrator", [ROLES, BACKUP, RESTORE, ActionSet::of(&[
        DataAction::SecurityDomainDownload, DataAction::SecurityDomainDownloadRead, DataAction::SecurityDomainUpload,
        DataAction::SecurityDomainUploadRead, DataAction::SecurityDomainTransferKeyRead, DataAction::UserRead,
        DataAction::UserWrite, DataAction::UserDelete, DataAction::AuditRead, DataAction::SettingsWrite, DataAction::Zeroize,
        DataAction::TokenRead, DataAction::TokenWrite, DataAction::TokenDelete,
    ])];
    /// Manages roles, and recovers or purges deleted keys.
    CryptoOfficer = 0x515eb02d_2335_4d2d_92f2_b1cbdf9c3778, "Managed HSM Crypto Officer", [ROLES, ActionSet::of(&[
        DataAction::DeletedKeyRead, DataAction::DeletedKeyRecover, DataAction::DeletedKeyPurge,
    ])];
    /// Makes and uses keys.
    CryptoUser = 0x21dbd100_6940_42c2_9190_5d6cb909625b, "Managed HSM Crypto User", [READ_ROLES, ActionSet::of(&[
        DataAction::KeyRead, DataAction::KeyWrite, DataAction::KeyCreate, DataAction::KeyDelete, DataAction::KeyImport,
        DataAction::KeyRotate, DataAction::KeySign, DataAction::KeyVerify, DataAction::KeyEncrypt, DataAction::KeyDecrypt,
        DataAction::KeyWrap, DataAction::KeyUnwrap, DataAction::KeyBackup, DataAction::KeyRestore, DataAction::KeyRelease,
        DataAction::KeyAgree, DataAction::KeyDerive, DataAction::KeyEncapsulate, DataAction::KeyDecapsulate,
        DataAction::RandomGenerate,
    ])];
    /// Manages roles.
    PolicyAdministrator = 0x4bd23610_cdcf_4971_bdee_bdc562cc28e4, "Managed HSM Policy Administrator", [ROLES];
    /// Reads keys' attributes, roles and the audit log.
    CryptoAuditor = 0x2c18b078_7c48_4d3a_af88_5a3a1b3f82b3, "Managed HSM Crypto Auditor", [READ_ROLES, ActionSet::of(&[
        DataAction::KeyRead, DataAction::AuditRead,
    ])];
    /// Wraps and unwraps, for services that encrypt under a customer's key.
    CryptoServiceEncryptionUser = 0x33413926_3206_4cdd_b39a_83574fe37a17, "Managed HSM Crypto Service Encryption User", [ActionSet::of(&[
        DataAction::KeyRead, DataAction::KeyWrap, DataAction::KeyUnwrap,
    ])];
    /// Releases keys to attested environments.
    CryptoServiceReleaseUser = 0x21dbd100_6940_42c2_9190_5d6cb909625c, "Managed HSM Crypto Service Release User", [ActionSet::of(&[
        DataAction::KeyRelease,
    ])];
    /// Backs up.
    Backup = 0x7b127d3c_77bd_4e3e_bbe0_dbb8971fa7f8, "Managed HSM Backup", [BACKUP, ActionSet::of(&[DataAction::KeyBackup])];
    /// Restores.
    Restore = 0x6efe6056_5259_49d2_8b3d_d3d73544b20b, "Managed HSM Restore", [RESTORE, ActionSet::of(&[DataAction::KeyRestore])];
}

/// A named set of data actions.
#[derive(Clone, Debug, Eq, PartialEq, Serialize, Deserialize)]
#[non_exhaustive]
pub struct RoleDefinition {
    /// Identifies the role.
    pub id: RoleId,
    /// Name for people, unique among role definitions.
    pub name: String,
    /// What the role is for.
    pub description: String,
    /// What the role allows.
    pub actions: ActionSet,
}

impl RoleDefinition {
    /// A custom role.
    ///
    /// # Errors
    ///
    /// [`InvalidInput`](crate::ErrorKind::InvalidInput) for an empty name or no actions,
    /// [`LimitExceeded`](crate::ErrorKind::LimitExceeded) for a name or description that is too long.
    pub fn new(
        id: RoleId,
        name: impl Into<String>,
        description: impl Into<String>,
        actions: ActionSet,
    ) -> Result<Self> {
        let (name, description) = (name.into(), description.into());
        if name.trim().is_empty() {
            return Err(invalid("a role needs a name"));
        }
        if name.len() > NAME_LEN_MAX {
            return Err(limit(
                "the length of a role's name",
                name.len(),
                NAME_LEN_MAX,
            ));
        }
        if description.len() > DESCRIPTION_LEN_MAX {
            return Err(limit(
                "the length of a description",
                description.len(),
                DESCRIPTION_LEN_MAX,
            ));
        }
        if actions.is_empty() {
            return Err(invalid("a role needs at least one data action"));
        }
        if BuiltInRole::ALL
            .iter()
            .any(|role| role.id() == id || role.name() == name)
        {
            return Err(invalid(
                "this is a built-in role; built-in roles cannot be changed",
            ));
        }
        Ok(Self {
            id,
            name,
            description,
            actions,
        })
    }
}

impl From<BuiltInRole> for RoleId {
    fn from(role: BuiltInRole) -> Self {
        role.id()
    }
}

impl From<BuiltInRole> for RoleDefinition {
    fn from(role: BuiltInRole) -> Self {
        Self {
            id: role.id(),
            name: role.name().to_owned(),
            description: String::new(),
            actions: role.actions(),
        }
    }
}

/// Says that a principal has a role at a scope.
#[derive(Clone, Debug, Eq, PartialEq, Serialize, Deserialize)]
#[non_exhaustive]
pub struct RoleAssignment {
    /// Identifies the assignment.
    pub id: RoleId,
    /// The role.
    pub role: RoleId,
    /// Who has it.
    pub principal: Principal,
    /// Where it holds.
    pub scope: Scope,
    /// When it was assigned.
    pub created: Timestamp,
}

impl RoleAssignment {
    /// An assignment, made at `created`.
    #[must_use]
    pub fn new(
        id: RoleId,
        role: RoleId,
        principal: Principal,
        scope: Scope,
        created: Timestamp,
    ) -> Self {
        Self {
            id,
            role,
            principal,
            scope,
            created,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ids_have_one_spelling() {
        let text = "a290e904-7015-4bba-90c8-60543313cdb4";
        assert_eq!(BuiltInRole::Administrator.id().to_string(), text);
        assert_eq!(
            text.parse::<RoleId>().unwrap(),
            BuiltInRole::Administrator.id()
        );
        for bad in [
            "",
            "a290e904",
            "a290e904-7015-4bba-90c8-60543313cdbg",
            "a290e90-47015-4bba-90c8-60543313cdb4",
        ] {
            assert!(bad.parse::<RoleId>().is_err(), "{bad}");
        }
        assert_eq!(
            RoleId::from_random([0xff; 16]).to_string(),
            "ffffffff-ffff-4fff-bfff-ffffffffffff"
        );
    }

    #[test]
    fn administrators_cannot_use_keys_and_users_cannot_administer() {
        let uses = ActionSet::of(&[
            DataAction::KeySign,
            DataAction::KeyDecrypt,
            DataAction::KeyUnwrap,
            DataAction::KeyCreate,
        ]);
        let administers = ActionSet::of(&[
            DataAction::RoleAssignmentWrite,
            DataAction::UserWrite,
            DataAction::DeletedKeyPurge,
        ]);
        for action in uses.iter() {
            assert!(
                !BuiltInRole::Administrator.actions().contains(action),
                "{action}"
            );
        }
        for action in administers.iter() {
            assert!(
                !BuiltInRole::CryptoUser.actions().contains(action),
                "{action}"
            );
        }
    }
}
