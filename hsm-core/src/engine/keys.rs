//! The life of keys: created, imported, changed, rotated, deleted, recovered, purged, exported.

use super::Engine;
use super::crypto::{key_record, no_such_version, version_record};
use super::ledger::Change;
use super::record::{self, KeyRecord, VersionRecord, version_key};
use super::session::{Asked, Done};
use super::settings;
use super::tree::{Changes, Records, damaged};
use crate::algorithm::Algorithm;
use crate::attestation::{AttestRequest, Nonce, Pcrs};
use crate::clock::Timestamp;
use crate::device::{NewKey, WrappedFormat};
use crate::error::{Error, ErrorKind, Result, limit};
use crate::key::{
    Attributes, AttributesUpdate, Binding, KeyName, KeyRef, Origin, Usage, VersionId,
};
use crate::lifecycle::State;
use crate::limits::{KEY_MATERIAL_LEN_MAX, KEY_VERSIONS_MAX, PAGE_LEN_DEFAULT, PAGE_LEN_MAX};
use crate::policy::{Permit, RotationPolicy};
use crate::request::{Deletion, IfTaken, KeyInfo, NewKeyParameters, Page, PageRequest, Response};
use crate::secret::SecretBytes;
use crate::store::Space;

/// Times a change is tried again when somebody else changes the same key at the same moment.
const RACES_MAX: usize = 8;

impl Engine {
    pub(super) async fn create_key(
        &self,
        asked: Asked<'_>,
        name: KeyName,
        new: NewKeyParameters,
    ) -> Result<Done> {
        let draft = self.draft(&name, &new, Origin::Generated).await?;
        let made = self.0.device.generate(&new.spec, &draft.binding).await?;
        self.add_key(asked, name, new, draft, made, "").await
    }

    pub(super) async fn import_key(
        &self,
        asked: Asked<'_>,
        name: KeyName,
        new: NewKeyParameters,
        material: SecretBytes,
    ) -> Result<Done> {
        if material.len() > KEY_MATERIAL_LEN_MAX {
            return Err(limit(
                "the length of the key",
                material.len(),
                KEY_MATERIAL_LEN_MAX,
            ));
        }
        let draft = self.draft(&name, &new, Origin::Imported).await?;
        let made = self
            .0
            .device
            .import(material, &new.spec, &draft.binding)
            .await?;
        self.add_key(asked, name, new, draft, made, "imported in clear")
            .await
    }

    #[expect(clippy::too_many_arguments, reason = "the fields of the request")]
    pub(super) async fn import_wrapped_key(
        &self,
        asked: Asked<'_>,
        name: KeyName,
        new: NewKeyParameters,
        wrapping: &KeyRef,
        algorithm: Algorithm,
        wrapped: &[u8],
        format: WrappedFormat,
    ) -> Result<Done> {
        const OVERHEAD: usize = 1024; // an RSA-4096 block, and AES-KWP's own bytes
        if wrapped.len() > KEY_MATERIAL_LEN_MAX + OVERHEAD {
            return Err(limit(
                "the length of the wrapped key",
                wrapped.len(),
                KEY_MATERIAL_LEN_MAX + OVERHEAD,
            ));
        }
        let (_, wrapping_key) = self.usable(asked.permit, wrapping, Usage::Import).await?;
        let mut draft = self.draft(&name, &new, Origin::Imported).await?;
        draft.unwrapped_with = Some(algorithm);
        let made = wrapping_key
            .loaded
            .import(algorithm, wrapped, format, &new.spec, &draft.binding)
            .await?;
        self.add_key(
            asked,
            name,
            new,
            draft,
            made,
            &format!("unwrapped under {wrapping}"),
        )
        .await
    }

    pub(super) async fn export_key(
        &self,
        asked: Asked<'_>,
        key: &KeyRef,
        wrapping: &KeyRef,
        algorithm: Algorithm,
    ) -> Result<Done> {
        let (_, wrapping_key) = self.usable(asked.permit, wrapping, Usage::Export).await?;
        let (record, version, target) = self
            .view(|view| {
                let record = key_record(view, &key.name)?;
                let version = pick(&record, key)?;
                let target = version_record(view, &key.name, version)?;
                Ok((record, version, target))
            })
            .await?;
        let state = target.attributes.state_at(self.now());
        if state != State::Active {
            return Err(Error::new(
                ErrorKind::KeyState,
                format!("key {key} is {state}; only active keys are exported"),
            ));
        }
        if !target.attributes.spec.exportable {
            return Err(Error::new(
                ErrorKind::Denied,
                format!("key {key} was not created exportable and never leaves the HSM"),
            ));
        }
        let binding = target.attributes.binding(&key.name, version)?;
        let bytes = wrapping_key
            .loaded
            .export(algorithm, &target.sealed, &binding)
            .await?;
        // A key that leaves is a change that auditors look for: it goes into the journal.
        let mut change = Change::requested(
            asked.id,
            asked.principal,
            asked.permit,
            key_target(&key.name),
        )
        .version(version)
        .detail(format!("exported under {wrapping}"));
        change.algorithm = Some(algorithm);
        let (name, revision) = (key.name.clone(), record.revision);
        self.change(change, move |changes, _| {
            check_unchanged(&key_record(changes, &name)?, revision, &name)
        })
        .await?;
        Ok(Done::change(Response::Wrapped {
            bytes,
            version: wrapping_key.version,
        }))
    }

    pub(super) async fn get_key(&self, _permit: &Permit, key: &KeyRef) -> Result<Done> {
        let info = self
            .view(|view| {
                let record = key_record(view, &key.name)?;
                let version = pick(&record, key)?;
                info(view, key.name.clone(), &record, version)
            })
            .await?;
        Ok(Done::read(Response::Key(Box::new(info))))
    }

    pub(super) async fn attest_key(
        &self,
        _permit: &Permit,
        key: &KeyRef,
        nonce: Nonce,
        pcrs: Pcrs,
    ) -> Result<Done> {
        let (version, record) = self
            .view(|view| {
                let version = pick(&key_record(view, &key.name)?, key)?;
                Ok((version, version_record(view, &key.name, version)?))
            })
            .await?;
        let binding = record.attributes.binding(&key.name, version)?;
        let label = KeyRef::version(key.name.clone(), version);
        let request = AttestRequest::new(nonce).with_pcrs(pcrs).with_label(label);
        let evidence = self
            .0
            .device
            .attest(&record.sealed, &binding, &request)
            .await?;
        Ok(Done::read(Response::Evidence { evidence, version }))
    }

    pub(super) async fn get_deleted_key(&self, _permit: &Permit, name: &KeyName) -> Result<Done> {
        let info = self
            .view(|view| {
                let record = deleted_record(view, name)?;
                info(view, name.clone(), &record, record.current(name)?)
            })
            .await?;
        Ok(Done::read(Response::Key(Box::new(info))))
    }

    pub(super) async fn list_keys(
        &self,
        _permit: &Permit,
        space: Space,
        page: PageRequest,
    ) -> Result<Done> {
        let limit = page_len(&page)?;
        let after = page.after.unwrap_or_default();
        let found = self
            .view(|view| {
                let rows = view.scan(space, b"", Some(after.as_bytes()), limit + 1)?;
                let mut items = Vec::with_capacity(limit);
                for (key, _) in rows.iter().take(limit) {
                    let name = std::str::from_utf8(key).map_err(|_| {
                        damaged(format!("a record in {} has no proper name", space.name()))
                    })?;
                    let name = KeyName::new(name)?;
                    let record: KeyRecord = record::get(view, space, key)?
                        .ok_or_else(|| damaged(format!("the record of key {name} is missing")))?;
                    let version = record.current(&name)?;
                    items.push(info(view, name, &record, version)?);
                }
                let next = (rows.len() > limit)
                    .then(|| items.last().map(|last| last.name.to_string()))
                    .flatten();
                Ok(Page { items, next })
            })
            .await?;
        Ok(Done::read(Response::Keys(found)))
    }

    pub(super) async fn list_versions(
        &self,
        _permit: &Permit,
        name: &KeyName,
        page: PageRequest,
    ) -> Result<Done> {
        let limit = page_len(&page)?;
        let after = page
            .after
            .map(|after| after.parse::<VersionId>())
            .transpose()?;
        let found = self
            .view(|view| {
                let record = key_record(view, name)?;
                let start = match after {
                    None => 0,
                    Some(after) => {
                        let place = record.versions.iter().position(|version| *version == after);
                        1 + place
                            .ok_or_else(|| no_such_version(&KeyRef::version(name.clone(), after)))?
                    }
                };
                let rest = &record.versions[start..];
                let items = rest
                    .iter()
                    .take(limit)
                    .map(|version| info(view, name.clone(), &record, *version))
                    .collect::<Result<Vec<_>>>()?;
                let next = (rest.len() > limit)
                    .then(|| items.last().map(|last| last.version.to_string()))
                    .flatten();
                Ok(Page { items, next })
            })
            .await?;
        Ok(Done::read(Response::Keys(found)))
    }

    pub(super) async fn update_key(
        &self,
        asked: Asked<'_>,
        key: KeyRef,
        update: AttributesUpdate,
    ) -> Result<Done> {
        for _ in 0..RACES_MAX {
            let (record, version, old) = self
                .view(|view| {
                    let record = key_record(view, &key.name)?;
                    let version = pick(&record, &key)?;
                    let old = version_record(view, &key.name, version)?;
                    Ok((record, version, old))
                })
                .await?;
            let attributes = old.attributes.updated(&update, self.now())?;
            if attributes.state == State::Destroyed {
                return Err(Error::new(
                    ErrorKind::KeyState,
                    "a key is destroyed by deleting and purging it",
                ));
            }
            // A key must be suspended or marked compromised whatever the policy says of its expiry.
            if let Some(policy) = &record.rotation
                && attributes.expires != old.attributes.expires
            {
                check_against_policy(&attributes, policy)?;
            }
            let old_binding = old.attributes.binding(&key.name, version)?;
            let new_binding = attributes.binding(&key.name, version)?;
            let taken = old.attributes.spec.usages.without(attributes.spec.usages);
            let sealed = self
                .0
                .device
                .reseal(&old.sealed, &old_binding, &new_binding, taken)
                .await?;
            let new = VersionRecord {
                attributes,
                public: old.public,
                sealed,
            };
            let change = Change::requested(
                asked.id,
                asked.principal,
                asked.permit,
                key_target(&key.name),
            )
            .version(version)
            .detail(update.describe());
            let name = key.name.clone();
            let revision = record.revision;
            let done = self
                .change(change, move |changes, _| {
                    let mut record = key_record(changes, &name)?;
                    check_unchanged(&record, revision, &name)?;
                    put(changes, Space::Versions, &version_key(&name, version), &new)?;
                    if record.versions.last() == Some(&version) {
                        reschedule(changes, &name, &mut record, &new.attributes)?;
                    }
                    put_key(changes, &name, &mut record)?;
                    info(changes, name.clone(), &record, version)
                })
                .await;
            match done {
                Err(error) if error.kind() == ErrorKind::Conflict => {}
                done => return Ok(Done::change(Response::Key(Box::new(done?)))),
            }
        }
        Err(raced(&key.name))
    }

    pub(super) async fn rotate_key(&self, asked: Asked<'_>, name: KeyName) -> Result<Done> {
        let change = Change::requested(asked.id, asked.principal, asked.permit, key_target(&name));
        let info = self.rotate(asked.permit, name, change, None).await?;
        info.map(|info| Done::change(Response::Key(Box::new(info))))
            .ok_or_else(|| Error::new(ErrorKind::Conflict, "the key was rotated already"))
    }

    /// Makes a new version. With `due`, only if the schedule still says that the key is due then.
    pub(super) async fn rotate(
        &self,
        _permit: &Permit,
        name: KeyName,
        change: Change,
        due: Option<Timestamp>,
    ) -> Result<Option<KeyInfo>> {
        for _ in 0..RACES_MAX {
            let (record, old) = self
                .view(|view| {
                    let record = key_record(view, &name)?;
                    let old = version_record(view, &name, record.current(&name)?)?;
                    Ok((record, old))
                })
                .await?;
            if due.is_some() && record.due != due {
                return Ok(None);
            }
            check_room(&record)?;
            let now = self.now();
            let state = old.attributes.state_at(now);
            if matches!(state, State::Suspended | State::PreActivation) {
                return Err(Error::new(
                    ErrorKind::KeyState,
                    format!("key {name} is {state}; activate or resume it before it is rotated"),
                ));
            }
            let mut attributes = Attributes::new(old.attributes.spec, Origin::Generated, now);
            attributes.tags = old.attributes.tags.clone();
            // What the policy says; without one, as long a life as the version before had.
            let by_policy = record
                .rotation
                .as_ref()
                .and_then(|policy| policy.expiry(now));
            let lifetime = old
                .attributes
                .expires
                .map(|expires| expires.since(old.attributes.created));
            let as_before = lifetime
                .filter(|lifetime| !lifetime.is_zero())
                .map(|lifetime| now + lifetime);
            attributes.expires = by_policy.or(as_before);
            let version = VersionId::from_bytes(self.random().await?);
            let binding = attributes.binding(&name, version)?;
            let made = self.0.device.generate(&attributes.spec, &binding).await?;
            let new = VersionRecord {
                attributes,
                public: made.public,
                sealed: made.sealed,
            };
            let revision = record.revision;
            let key = name.clone();
            let done = self
                .change(change.clone().version(version), move |changes, _| {
                    let mut record = key_record(changes, &key)?;
                    check_unchanged(&record, revision, &key)?;
                    record.versions.push(version);
                    put(changes, Space::Versions, &version_key(&key, version), &new)?;
                    reschedule(changes, &key, &mut record, &new.attributes)?;
                    put_key(changes, &key, &mut record)?;
                    info(changes, key.clone(), &record, version)
                })
                .await;
            match done {
                Err(error) if error.kind() == ErrorKind::Conflict => {}
                done => return done.map(Some),
            }
        }
        Err(raced(&name))
    }

    pub(super) async fn rotation_policy(&self, _permit: &Permit, name: &KeyName) -> Result<Done> {
        let policy = self
            .view(|view| Ok(key_record(view, name)?.rotation))
            .await?;
        Ok(Done::read(Response::RotationPolicy(policy)))
    }

    pub(super) async fn set_rotation_policy(
        &self,
        asked: Asked<'_>,
        name: KeyName,
        policy: Option<RotationPolicy>,
    ) -> Result<Done> {
        let change = Change::requested(asked.id, asked.principal, asked.permit, key_target(&name))
            .detail(if policy.is_some() {
                "rotation policy set"
            } else {
                "rotation policy removed"
            });
        let set = self
            .change(change, move |changes, _| {
                let mut record = key_record(changes, &name)?;
                record.rotation.clone_from(&policy);
                let current = version_record(changes, &name, record.current(&name)?)?;
                reschedule(changes, &name, &mut record, &current.attributes)?;
                put_key(changes, &name, &mut record)?;
                Ok(record.rotation)
            })
            .await?;
        Ok(Done::change(Response::RotationPolicy(set)))
    }

    pub(super) async fn delete_key(&self, asked: Asked<'_>, name: KeyName) -> Result<Done> {
        let change = Change::requested(asked.id, asked.principal, asked.permit, key_target(&name))
            .detail("soft-deleted");
        let info = self
            .change(change, move |changes, now| {
                let mut record = key_record(changes, &name)?;
                let days = u64::from(settings::read(changes)?.retention_days);
                let purge_at = Timestamp::from_unix_seconds(now.unix_seconds() + days * 86_400);
                record.deletion = Some(Deletion {
                    deleted: now,
                    purge_at,
                });
                schedule(changes, &name, &mut record, Some(purge_at))?;
                record.revision += 1;
                changes.remove(Space::Keys, name.as_str().as_bytes())?;
                put(
                    changes,
                    Space::DeletedKeys,
                    name.as_str().as_bytes(),
                    &record,
                )?;
                info(changes, name.clone(), &record, record.current(&name)?)
            })
            .await?;
        Ok(Done::change(Response::Key(Box::new(info))))
    }

    pub(super) async fn recover_key(&self, asked: Asked<'_>, name: KeyName) -> Result<Done> {
        let change = Change::requested(asked.id, asked.principal, asked.permit, key_target(&name))
            .detail("recovered");
        let info = self
            .change(change, move |changes, _| {
                let mut record = deleted_record(changes, &name)?;
                record.deletion = None;
                let current = version_record(changes, &name, record.current(&name)?)?;
                reschedule(changes, &name, &mut record, &current.attributes)?;
                changes.remove(Space::DeletedKeys, name.as_str().as_bytes())?;
                put_key(changes, &name, &mut record)?;
                info(changes, name.clone(), &record, record.current(&name)?)
            })
            .await?;
        Ok(Done::change(Response::Key(Box::new(info))))
    }

    pub(super) async fn purge_key(&self, asked: Asked<'_>, name: KeyName) -> Result<Done> {
        let change = Change::requested(asked.id, asked.principal, asked.permit, key_target(&name))
            .detail("purged");
        self.change(change, move |changes, _| {
            let record = deleted_record(changes, &name)?;
            let protected = settings::read(changes)?.purge_protection;
            if let Some(deletion) = record.deletion.filter(|_| protected) {
                return Err(Error::new(
                    ErrorKind::KeyState,
                    format!(
                        "purge protection is on: key {name} goes by itself at {}",
                        deletion.purge_at
                    ),
                ));
            }
            purge(changes, &name, record)
        })
        .await?;
        Ok(Done::change(Response::Done))
    }

    /// Checks what can be checked before a key is made: a wrong parameter or a taken name costs no key generation.
    async fn draft(&self, name: &KeyName, new: &NewKeyParameters, origin: Origin) -> Result<Draft> {
        self.0.device.capabilities().check_spec(&new.spec)?;
        // The fields are public: check them again.
        let spec = new.spec.with_usages(new.spec.usages)?;
        let mut attributes = Attributes::new(spec, origin, self.now());
        attributes.not_before = new.not_before;
        attributes.expires = new.expires;
        attributes.tags = new.tags.clone();
        if new.pre_activation {
            attributes.state = State::PreActivation;
        }
        follow(&mut attributes, new.rotation.as_ref())?;
        let taken = self.view(|view| taken(view, name, new.if_taken)).await?;
        let kept = taken.and_then(|record| record.rotation);
        if new.rotation.is_none() {
            follow(&mut attributes, kept.as_ref())?;
        }
        let version = VersionId::from_bytes(self.random().await?);
        let binding = attributes.binding(name, version)?;
        Ok(Draft {
            version,
            attributes,
            binding,
            kept,
            unwrapped_with: None,
        })
    }

    async fn add_key(
        &self,
        asked: Asked<'_>,
        name: KeyName,
        new: NewKeyParameters,
        draft: Draft,
        made: NewKey,
        detail: &str,
    ) -> Result<Done> {
        let version = draft.version;
        let mut change =
            Change::requested(asked.id, asked.principal, asked.permit, key_target(&name))
                .version(version)
                .detail(if detail.is_empty() {
                    new.spec.key_type.to_string()
                } else {
                    format!("{}, {detail}", new.spec.key_type)
                });
        change.algorithm = draft.unwrapped_with;
        let record = VersionRecord {
            attributes: draft.attributes,
            public: made.public,
            sealed: made.sealed,
        };
        let kept = draft.kept;
        let info = self
            .change(change, move |changes, _| {
                let mut key = taken(changes, &name, new.if_taken)?.unwrap_or(KeyRecord {
                    revision: first_revision(version.to_bytes()),
                    versions: Vec::new(),
                    rotation: None,
                    due: None,
                    deletion: None,
                });
                // The attributes are sealed with the key, and were checked against that policy.
                if key.rotation != kept {
                    return Err(raced(&name));
                }
                if new.rotation.is_some() {
                    key.rotation.clone_from(&new.rotation);
                }
                key.versions.push(version);
                put(
                    changes,
                    Space::Versions,
                    &version_key(&name, version),
                    &record,
                )?;
                reschedule(changes, &name, &mut key, &record.attributes)?;
                put_key(changes, &name, &mut key)?;
                info(changes, name.clone(), &key, version)
            })
            .await?;
        Ok(Done::change(Response::Key(Box::new(info))))
    }
}

/// A key version before it is made.
struct Draft {
    version: VersionId,
    attributes: Attributes,
    binding: Binding,
    /// The rotation policy of the key that is there already.
    kept: Option<RotationPolicy>,
    /// For the audit record of a wrapped import.
    unwrapped_with: Option<Algorithm>,
}

/// Destroys a soft-deleted key with all its versions.
pub(super) fn purge(
    changes: &mut Changes<'_>,
    name: &KeyName,
    mut record: KeyRecord,
) -> Result<()> {
    schedule(changes, name, &mut record, None)?;
    for version in &record.versions {
        // A backup may bring the version back, as what it is known to be.
        if version_record(changes, name, *version)?.attributes.state == State::Compromised {
            changes.put(Space::Meta, &compromised_key(*version), &[])?;
        }
        changes.remove(Space::Versions, &version_key(name, *version))?;
    }
    changes.remove(Space::DeletedKeys, name.as_str().as_bytes())
}

/// Which of the versions were compromised when they were purged.
pub(super) fn compromised_before(
    records: &impl Records,
    versions: &[VersionId],
) -> Result<Vec<VersionId>> {
    let mut found = Vec::new();
    for version in versions {
        if records
            .get(Space::Meta, &compromised_key(*version))?
            .is_some()
        {
            found.push(*version);
        }
    }
    Ok(found)
}

fn compromised_key(version: VersionId) -> Vec<u8> {
    format!("compromised/{version}").into_bytes()
}

/// The key of a schedule record: time, then name, so that a scan finds what is due first.
pub(super) fn schedule_key(due: Timestamp, name: &KeyName) -> Vec<u8> {
    let mut key = due.unix_millis().to_be_bytes().to_vec();
    key.extend_from_slice(name.as_str().as_bytes());
    key
}

pub(super) fn deleted_record(records: &impl Records, name: &KeyName) -> Result<KeyRecord> {
    record::get(records, Space::DeletedKeys, name.as_str().as_bytes())?.ok_or_else(|| {
        Error::new(
            ErrorKind::NotFound,
            format!("there is no soft-deleted key {name}"),
        )
    })
}

pub(super) fn key_target(name: &KeyName) -> String {
    format!("/keys/{name}")
}

pub(super) fn put<T: serde::Serialize>(
    changes: &mut Changes<'_>,
    space: Space,
    key: &[u8],
    record: &T,
) -> Result<()> {
    changes.put(space, key, &record::to_bytes(record)?)
}

pub(super) fn put_key(
    changes: &mut Changes<'_>,
    name: &KeyName,
    record: &mut KeyRecord,
) -> Result<()> {
    record.revision += 1;
    put(changes, Space::Keys, name.as_str().as_bytes(), record)
}

/// Puts a key's next rotation into the schedule.
pub(super) fn reschedule(
    changes: &mut Changes<'_>,
    name: &KeyName,
    record: &mut KeyRecord,
    current: &Attributes,
) -> Result<()> {
    let due = record
        .rotation
        .as_ref()
        .and_then(|policy| policy.next_rotation(current.created, current.expires));
    schedule(changes, name, record, due)
}

fn schedule(
    changes: &mut Changes<'_>,
    name: &KeyName,
    record: &mut KeyRecord,
    due: Option<Timestamp>,
) -> Result<()> {
    if let Some(old) = record.due.filter(|old| Some(*old) != due) {
        changes.remove(Space::Schedule, &schedule_key(old, name))?;
    }
    if let Some(new) = due.filter(|new| Some(*new) != record.due) {
        changes.put(Space::Schedule, &schedule_key(new, name), &[])?;
    }
    record.due = due;
    Ok(())
}

/// The key that a new one becomes a version of: none if the name is free, an error if it is taken and must not be.
fn taken(records: &impl Records, name: &KeyName, if_taken: IfTaken) -> Result<Option<KeyRecord>> {
    let key = name.as_str().as_bytes();
    let found: Option<KeyRecord> = record::get(records, Space::Keys, key)?;
    match (found, if_taken) {
        (None, _) => {}
        (Some(record), IfTaken::AddVersion) => {
            check_room(&record)?;
            return Ok(Some(record));
        }
        (Some(_), IfTaken::Refuse) => {
            return Err(Error::new(
                ErrorKind::Conflict,
                format!(
                    "there is a key {name} already; rotate it for a new version, or choose another name"
                ),
            ));
        }
    }
    if records.get(Space::DeletedKeys, key)?.is_some() {
        return Err(Error::new(
            ErrorKind::Conflict,
            format!("key {name} is soft-deleted; recover or purge it, or choose another name"),
        ));
    }
    Ok(None)
}

/// Checks that there is no key of the name, not even a soft-deleted one.
pub(super) fn check_free(records: &impl Records, name: &KeyName) -> Result<()> {
    taken(records, name, IfTaken::Refuse).map(drop)
}

/// Checks that the key may have one version more.
fn check_room(record: &KeyRecord) -> Result<()> {
    let versions = record.versions.len() + 1;
    if versions > KEY_VERSIONS_MAX {
        return Err(limit(
            "the number of versions of a key",
            versions,
            KEY_VERSIONS_MAX,
        ));
    }
    Ok(())
}

/// Gives a new version the expiry that the policy says, unless it has one, and checks it.
fn follow(attributes: &mut Attributes, policy: Option<&RotationPolicy>) -> Result<()> {
    let by_policy = policy.and_then(|policy| policy.expiry(attributes.created));
    attributes.expires = attributes.expires.or(by_policy);
    attributes.check_period()?;
    policy.map_or(Ok(()), |policy| check_against_policy(attributes, policy))
}

fn check_against_policy(attributes: &Attributes, policy: &RotationPolicy) -> Result<()> {
    let Some(latest) = policy.expiry(attributes.created) else {
        return Ok(());
    };
    if attributes.expires.is_some_and(|expires| expires <= latest) {
        return Ok(());
    }
    Err(Error::new(
        ErrorKind::KeyState,
        format!("the key's rotation policy has it expire by {latest}; change the policy first"),
    ))
}

/// The version that is meant.
fn pick(record: &KeyRecord, key: &KeyRef) -> Result<VersionId> {
    match key.version {
        None => record.current(&key.name),
        Some(version) if record.versions.contains(&version) => Ok(version),
        Some(_) => Err(no_such_version(key)),
    }
}

pub(super) fn info(
    records: &impl Records,
    name: KeyName,
    record: &KeyRecord,
    version: VersionId,
) -> Result<KeyInfo> {
    let found = version_record(records, &name, version)?;
    let mut info = KeyInfo::new(name, version, found.attributes, found.public);
    info.deletion = record.deletion;
    Ok(info)
}

/// How long a page is to be.
pub(super) fn page_len(page: &PageRequest) -> Result<usize> {
    match page.limit {
        None => Ok(PAGE_LEN_DEFAULT),
        Some(0) => Err(crate::error::invalid("a page holds at least one item")),
        Some(len) if len > PAGE_LEN_MAX => Err(limit("the length of a page", len, PAGE_LEN_MAX)),
        Some(len) => Ok(len),
    }
}

/// The revision of a key that was not there before, from random bytes. Not a number that a key of this name had earlier:
/// a change that was prepared for that one must not happen to this one.
pub(super) fn first_revision(random: [u8; 16]) -> u64 {
    let [a, b, c, d, e, f, ..] = random;
    u64::from_be_bytes([0, 0, a, b, c, d, e, f])
}

/// Ends a change that was prepared for an earlier state of the key.
fn check_unchanged(record: &KeyRecord, revision: u64, name: &KeyName) -> Result<()> {
    if record.revision == revision {
        return Ok(());
    }
    Err(raced(name))
}

pub(super) fn raced(name: &KeyName) -> Error {
    Error::new(
        ErrorKind::Conflict,
        format!("key {name} is being changed by others all the time; try again"),
    )
}
