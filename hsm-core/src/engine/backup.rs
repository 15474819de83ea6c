//! Backups of keys: all versions of one, as they lie in the store, under a MAC that only this partition can make.
//! `docs/key_backup.md` describes them to the byte.

use serde::{Deserialize, Serialize};
use subtle::ConstantTimeEq;

use super::Engine;
use super::crypto::{key_record, version_record};
use super::keys::{
    check_free, compromised_before, first_revision, info, key_target, put, put_key, raced,
    reschedule,
};
use super::ledger::Change;
use super::record::{KeyRecord, VersionRecord, version_key};
use super::session::{Asked, Done};
use super::tree::{Tree, damaged, decode, encode};
use crate::audit::StreamId;
use crate::error::{ErrorKind, Result, invalid, limit};
use crate::key::{KeyName, Usages, VersionId};
use crate::lifecycle::State;
use crate::limits::{KEY_BACKUP_LEN_MAX, KEY_VERSIONS_MAX};
use crate::policy::RotationPolicy;
use crate::request::Response;
use crate::store::Space;

const MAGIC: &[u8] = b"hsm key backup";
const FORMAT: u8 = 1;
const ID_LEN: usize = 16;
const MAC_LEN: usize = 32;

/// What a backup holds.
#[derive(Serialize, Deserialize)]
struct Backup {
    name: KeyName,
    rotation: Option<RotationPolicy>,
    /// The current one last.
    versions: Vec<(VersionId, VersionRecord)>,
}

impl Backup {
    fn seal(&self, tree: &Tree, partition: StreamId) -> Result<Vec<u8>> {
        let mut bytes = MAGIC.to_vec();
        bytes.push(FORMAT);
        bytes.extend_from_slice(&partition.to_bytes());
        bytes.extend_from_slice(&encode(self)?);
        let mac = tree.backup_mac(&bytes);
        bytes.extend_from_slice(&mac);
        Ok(bytes)
    }

    /// Nothing but format and partition is believed, or even read, before the MAC is right.
    fn open(bytes: &[u8], tree: &Tree, partition: StreamId) -> Result<Self> {
        if bytes.len() > KEY_BACKUP_LEN_MAX {
            return Err(limit(
                "the length of the backup",
                bytes.len(),
                KEY_BACKUP_LEN_MAX,
            ));
        }
        let no_backup = || invalid("this is no backup of a key, or the end of it is missing");
        let (covered, mac) = bytes.split_last_chunk::<MAC_LEN>().ok_or_else(no_backup)?;
        let rest = covered.strip_prefix(MAGIC).ok_or_else(no_backup)?;
        let (format, rest) = rest.split_first().ok_or_else(no_backup)?;
        if *format != FORMAT {
            return Err(invalid(format!(
                "the backup has format {format}; this version of the software reads format {FORMAT}"
            )));
        }
        let (id, body) = rest.split_first_chunk::<ID_LEN>().ok_or_else(no_backup)?;
        let id = StreamId::from_bytes(*id);
        if id != partition {
            return Err(invalid(format!(
                "the backup is of partition {id}, and can be restored there only; this is {partition}"
            )));
        }
        if !bool::from(tree.backup_mac(covered).ct_eq(mac)) {
            return Err(damaged("the backup was changed after it was made"));
        }
        let backup: Self = decode(body)?;
        if !(1..=KEY_VERSIONS_MAX).contains(&backup.versions.len()) {
            return Err(damaged("the backup has no versions, or too many"));
        }
        Ok(backup)
    }
}

impl Engine {
    pub(super) async fn backup_key(&self, asked: Asked<'_>, name: KeyName) -> Result<Done> {
        // What leaves is of use to this partition only, but a way back from a deletion: the journal has a record of it.
        let change = Change::requested(asked.id, asked.principal, asked.permit, key_target(&name))
            .detail("backed up");
        let (tree, partition) = (self.0.tree.clone(), self.0.id);
        let bytes = self
            .change(change, move |changes, _| {
                let record = key_record(changes, &name)?;
                let versions = record.versions.iter().map(|version| {
                    version_record(changes, &name, *version).map(|found| (*version, found))
                });
                let backup = Backup {
                    versions: versions.collect::<Result<_>>()?,
                    name: name.clone(),
                    rotation: record.rotation,
                };
                backup.seal(&tree, partition)
            })
            .await?;
        Ok(Done::change(Response::Backup(bytes)))
    }

    pub(super) async fn restore_key(&self, asked: Asked<'_>, bytes: &[u8]) -> Result<Done> {
        let Backup {
            name,
            rotation,
            mut versions,
        } = Backup::open(bytes, &self.0.tree, self.0.id)?;
        let ids: Vec<_> = versions.iter().map(|(version, _)| *version).collect();
        let compromised = self
            .view(|view| {
                check_free(view, &name)?;
                compromised_before(view, &ids)
            })
            .await?;
        for (version, record) in &mut versions {
            let binding = record.attributes.binding(&name, *version)?;
            self.0.device.load(&record.sealed, &binding).await.map_err(|error| {
                match error.kind() {
                    ErrorKind::Damaged => damaged(format!(
                        "key {name}/{version} of the backup does not open: was the domain key replaced?"
                    ))
                    .with_source(error),
                    _ => error,
                }
            })?;
            // A backup does not give trust back.
            if compromised.contains(version) && record.attributes.state != State::Compromised {
                let mut attributes = record.attributes.clone();
                attributes.state = State::Compromised;
                attributes.updated = self.now();
                let new_binding = attributes.binding(&name, *version)?;
                record.sealed = self
                    .0
                    .device
                    .reseal(&record.sealed, &binding, &new_binding, Usages::NONE)
                    .await?;
                record.attributes = attributes;
            }
        }
        let revision = first_revision(self.random().await?);
        let change = Change::requested(asked.id, asked.principal, asked.permit, key_target(&name))
            .detail(format!("restored from a backup of {} versions", ids.len()));
        let info = self
            .change(change, move |changes, _| {
                check_free(changes, &name)?;
                if compromised_before(changes, &ids)? != compromised {
                    return Err(raced(&name));
                }
                let mut key = KeyRecord {
                    revision,
                    versions: ids.clone(),
                    rotation: rotation.clone(),
                    due: None,
                    deletion: None,
                };
                for (version, record) in &versions {
                    put(
                        changes,
                        Space::Versions,
                        &version_key(&name, *version),
                        record,
                    )?;
                }
                if let Some((_, current)) = versions.last() {
                    reschedule(changes, &name, &mut key, &current.attributes)?;
                }
                put_key(changes, &name, &mut key)?;
                info(changes, name.clone(), &key, key.current(&name)?)
            })
            .await?;
        Ok(Done::change(Response::Key(Box::new(info))))
    }
}
