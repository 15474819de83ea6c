//! What the partition does by itself: rotation by policy, purge after retention, checkpoints. The opener runs it.

use super::Engine;
use super::crypto::key_record;
use super::keys::{deleted_record, key_target, purge, schedule_key};
use super::ledger::Change;
use super::record::{self, SETTLED_KEY};
use super::tree::{Records, damaged};
use crate::clock::Timestamp;
use crate::error::{Error, ErrorKind, Result};
use crate::key::KeyName;
use crate::limits::{MAINTENANCE_BATCH_MAX, ROTATION_RETRY};
use crate::policy::Permit;
use crate::store::Space;

/// What one run of [`Engine::maintain`] did.
#[derive(Clone, Debug, Default, Eq, PartialEq)]
#[non_exhaustive]
pub struct Maintenance {
    /// Keys that were rotated by their policy.
    pub rotated: Vec<KeyName>,
    /// Soft-deleted keys whose retention period was over.
    pub purged: Vec<KeyName>,
    /// Keys that were due and could not be rotated or purged, and why; they are tried again later.
    pub refused: Vec<(KeyName, String)>,
}

impl Engine {
    /// Lets go of keys that were loaded too long ago, rotates what is due, purges what is due, signs the audit log and puts
    /// it on disk.
    ///
    /// The opener calls this every [`AUDIT_SYNC_INTERVAL`](crate::limits::AUDIT_SYNC_INTERVAL); several processes may.
    ///
    /// # Errors
    ///
    /// Whatever device, store and audit sink return. What was done before stays done.
    pub async fn maintain(&self) -> Result<Maintenance> {
        self.0.keys.expire(self.0.time.monotonic());
        self.refresh().await?;
        self.0.time.observe();
        let mut done = Maintenance::default();
        let due = self.due().await;
        // A damaged schedule is no reason to leave the audit log unsigned, nor is one damaged key to leave the others.
        for (due, name) in due.as_ref().map_or(&[][..], Vec::as_slice) {
            if let Err(error) = self.maintain_key(*due, name, &mut done).await {
                done.refused.push((name.clone(), error.to_string()));
            }
        }
        self.checkpoint_streams().await?;
        self.0.audit.sync()?;
        due.map(|_| done)
    }

    /// Signs the journal and notes in it how far the streams have come: a stream that is cut off before this place is
    /// found out. The opener calls this every
    /// [`AUDIT_NOTE_INTERVAL`](crate::limits::AUDIT_NOTE_INTERVAL).
    ///
    /// # Errors
    ///
    /// Whatever device, store and audit sink return.
    pub async fn note_audit(&self) -> Result<()> {
        self.refresh().await?;
        self.note_heads().await?;
        self.checkpoint_journal().await
    }

    /// What the schedule has for now.
    async fn due(&self) -> Result<Vec<(Timestamp, KeyName)>> {
        let now = self.now();
        self.view(|view| {
            let rows = view.scan(Space::Schedule, b"", None, MAINTENANCE_BATCH_MAX)?;
            let mut due = Vec::new();
            for (key, _) in rows {
                let Some((time, name)) = key.split_first_chunk::<8>() else {
                    return Err(damaged("a record of the schedule is cut off"));
                };
                let time = Timestamp::from_unix_millis(u64::from_be_bytes(*time));
                if time > now {
                    break;
                }
                let name = std::str::from_utf8(name)
                    .map_err(|_| damaged("a record of the schedule has no name"))?;
                due.push((time, KeyName::new(name)?));
            }
            Ok(due)
        })
        .await
    }

    async fn maintain_key(
        &self,
        due: Timestamp,
        name: &KeyName,
        done: &mut Maintenance,
    ) -> Result<()> {
        let deleted = self
            .view(|view| match deleted_record(view, name) {
                Ok(_) => Ok(true),
                Err(error) if error.kind() == ErrorKind::NotFound => Ok(false),
                Err(error) => Err(error),
            })
            .await?;
        if deleted {
            if !self.0.time.is_settled() {
                return Err(unsettled());
            }
            if self.purge_due(name, due).await? {
                done.purged.push(name.clone());
            }
            return Ok(());
        }
        let permit = Permit::maintenance();
        let change = Change::system(key_target(name), "rotated by policy");
        match self.rotate(&permit, name.clone(), change, Some(due)).await {
            Ok(Some(_)) => done.rotated.push(name.clone()),
            Ok(None) => {}
            Err(error) => {
                if self.postpone(name, due, &error).await? {
                    done.refused.push((name.clone(), error.to_string()));
                }
            }
        }
        Ok(())
    }

    /// Purges a key, unless somebody else has purged or recovered it in the meantime.
    async fn purge_due(&self, name: &KeyName, due: Timestamp) -> Result<bool> {
        let change = Change::system(key_target(name), "purged: the retention period is over");
        let name = name.clone();
        let purged = self.change_if(change, move |changes, now| {
            let settled: Option<Timestamp> = record::get(changes, Space::Meta, SETTLED_KEY)?;
            if settled.is_some_and(|settled| now < settled) {
                return Err(unsettled());
            }
            let record = match deleted_record(changes, &name) {
                Ok(record) if record.due == Some(due) => record,
                Ok(_) => return Ok(None),
                Err(error) if error.kind() == ErrorKind::NotFound => return Ok(None),
                Err(error) => return Err(error),
            };
            purge(changes, &name, record).map(Some)
        });
        Ok(purged.await?.is_some())
    }

    /// A key that cannot be rotated now must not be tried every second. Says whether it still was due.
    async fn postpone(&self, name: &KeyName, due: Timestamp, error: &Error) -> Result<bool> {
        let change = Change::system(
            key_target(name),
            format!("rotation by policy refused: {}", error.kind()),
        );
        let name = name.clone();
        let postponed = self.change_if(change, move |changes, now| {
            let mut record = match key_record(changes, &name) {
                Ok(record) if record.due == Some(due) => record,
                Ok(_) => return Ok(None),
                // Somebody else deleted or purged it, and its entry in the schedule with it.
                Err(error) if error.kind() == ErrorKind::NotFound => return Ok(None),
                Err(error) => return Err(error),
            };
            let later = now + ROTATION_RETRY;
            changes.remove(Space::Schedule, &schedule_key(due, &name))?;
            changes.put(Space::Schedule, &schedule_key(later, &name), &[])?;
            record.due = Some(later);
            record.revision += 1;
            let bytes = record::to_bytes(&record)?;
            changes
                .put(Space::Keys, name.as_str().as_bytes(), &bytes)
                .map(Some)
        });
        Ok(postponed.await?.is_some())
    }
}

/// Somebody may have set the clock ahead while the partition was closed.
fn unsettled() -> Error {
    Error::new(
        ErrorKind::KeyState,
        "the clock is far ahead of the latest change; keys are purged once it has run steadily for an hour",
    )
}
