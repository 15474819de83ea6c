//! The records of the store, in postcard encoding behind a format byte. `docs/store_records.md` describes them.

use serde::{Deserialize, Serialize};

use super::tree::{Records, damaged, decode, encode};
use crate::audit::StreamId;
use crate::clock::Timestamp;
use crate::error::Result;
use crate::key::{Attributes, KeyName, PublicKey, SealedKey, VersionId};
use crate::policy::RotationPolicy;
use crate::request::Deletion;
use crate::service::{Principal, TokenName};
use crate::store::Space;

const FORMAT: u8 = 1;

pub(super) const PARTITION_KEY: &[u8] = b"partition";
pub(super) const SETTINGS_KEY: &[u8] = b"settings";
/// There once the partition was zeroized; its value is empty.
pub(super) const ZEROIZED_KEY: &[u8] = b"zeroized";
/// From when on time may destroy something, written by whoever changed the partition right after a leap of its time.
pub(super) const SETTLED_KEY: &[u8] = b"settled";

/// What identifies the partition, and its two system keys. It is outside the tree (the tree's key is made from it); the
/// system keys are bound to the partition's id.
#[derive(Debug, Serialize, Deserialize)]
pub(super) struct PartitionRecord {
    pub(super) id: StreamId,
    pub(super) device: String,
    pub(super) created: Timestamp,
    pub(super) integrity_key: SealedKey,
    pub(super) audit_key: SealedKey,
}

/// A key: its versions, the last of which is the current one.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(super) struct KeyRecord {
    /// Grows with every change of the key or one of its versions.
    pub(super) revision: u64,
    pub(super) versions: Vec<VersionId>,
    pub(super) rotation: Option<RotationPolicy>,
    /// When the schedule has something to do with the key.
    pub(super) due: Option<Timestamp>,
    pub(super) deletion: Option<Deletion>,
}

impl KeyRecord {
    pub(super) fn current(&self, name: &KeyName) -> Result<VersionId> {
        self.versions
            .last()
            .copied()
            .ok_or_else(|| damaged(format!("the record of key `{name}` has no version")))
    }
}

/// A version of a key.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(super) struct VersionRecord {
    pub(super) attributes: Attributes,
    pub(super) public: Option<PublicKey>,
    pub(super) sealed: SealedKey,
}

/// A user.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(super) struct UserRecord {
    pub(super) name: Principal,
    pub(super) enabled: bool,
    pub(super) created: Timestamp,
    pub(super) password: PasswordHash,
    /// Grows when sessions that are open must end.
    pub(super) epoch: u32,
    /// Wrong passwords in a row, counted before they are checked.
    pub(super) failures: u32,
    pub(super) last_failure: Timestamp,
}

/// An argon2id hash (RFC 9106) with its parameters.
#[derive(Clone, Serialize, Deserialize)]
pub(super) struct PasswordHash {
    pub(super) salt: [u8; 16],
    pub(super) memory_kib: u32,
    pub(super) iterations: u32,
    pub(super) hash: [u8; 32],
}

impl std::fmt::Debug for PasswordHash {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("PasswordHash").finish_non_exhaustive()
    }
}

/// An API token: all that is known of it but its secret.
#[derive(Serialize, Deserialize)]
pub(super) struct TokenRecord {
    pub(super) name: TokenName,
    pub(super) principal: Principal,
    /// When the user of that name was created, if there was one.
    pub(super) user: Option<Timestamp>,
    pub(super) created: Timestamp,
    pub(super) expires: Timestamp,
    pub(super) id: [u8; 16],
    /// SHA-256 of the secret. It needs no salt and no work: the secret is 32 random bytes.
    pub(super) hash: [u8; 32],
}

/// Encodes a record behind the format byte.
pub(super) fn to_bytes<T: Serialize>(record: &T) -> Result<Vec<u8>> {
    encode(&(FORMAT, record))
}

/// Decodes a record; what it is called in messages is `what`.
pub(super) fn from_bytes<T: for<'de> Deserialize<'de>>(what: &str, bytes: &[u8]) -> Result<T> {
    match bytes.split_first() {
        Some((&FORMAT, body)) => decode(body)
            .map_err(|error| damaged(format!("{what}: {}", error.message())).with_source(error)),
        Some((format, _)) => Err(damaged(format!(
            "{what} has format {format}; this version of the software reads format {FORMAT}"
        ))),
        None => Err(damaged(format!("{what} is empty"))),
    }
}

/// The key of a version's record.
pub(super) fn version_key(name: &KeyName, version: VersionId) -> Vec<u8> {
    let mut key = Vec::with_capacity(name.as_str().len() + 17);
    key.extend_from_slice(name.as_str().as_bytes());
    key.push(0);
    key.extend_from_slice(&version.to_bytes());
    key
}

/// The name of the key in the key of a version's record.
pub(super) fn name_of_version(key: &[u8]) -> &[u8] {
    key.split(|byte| *byte == 0).next().unwrap_or(key)
}

/// Reads a typed record.
pub(super) fn get<T: for<'de> Deserialize<'de>>(
    records: &impl Records,
    space: Space,
    key: &[u8],
) -> Result<Option<T>> {
    let Some(bytes) = records.get(space, key)? else {
        return Ok(None);
    };
    from_bytes(&describe(space, key), &bytes).map(Some)
}

/// What a record is called in messages: its text, then its number in hexadecimal digits.
pub(super) fn describe(space: Space, key: &[u8]) -> String {
    let (text, number) = match space {
        Space::Versions => match key.iter().position(|byte| *byte == 0) {
            Some(at) => (&key[..at], &key[at + 1..]),
            None => (key, &[][..]),
        },
        Space::Schedule => {
            let (time, name) = key.split_at(key.len().min(8));
            (name, time)
        }
        Space::Journal | Space::RoleAssignments | Space::RoleDefinitions | Space::Tree => {
            (&[][..], key)
        }
        Space::DeletedKeys | Space::Keys | Space::Meta | Space::Users => (key, &[][..]),
    };
    let text = String::from_utf8_lossy(text);
    let separator = if text.is_empty() || number.is_empty() {
        ""
    } else {
        "/"
    };
    let number: String = number.iter().map(|byte| format!("{byte:02x}")).collect();
    format!(
        "the record `{}{separator}{number}` in {}",
        text.escape_debug(),
        space.name()
    )
}
