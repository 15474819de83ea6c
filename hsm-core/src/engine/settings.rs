//! The partition's settings, and its end.

use std::sync::atomic::Ordering;

use super::Engine;
use super::ledger::Change;
use super::record::{self, SETTINGS_KEY, ZEROIZED_KEY};
use super::session::{Asked, Done};
use super::tree::{Records, damaged};
use crate::audit::StreamId;
use crate::error::{Error, ErrorKind, Result};
use crate::limits::{RETENTION_DAYS_MAX, RETENTION_DAYS_MIN};
use crate::policy::Permit;
use crate::request::{PartitionInfo, Recovery, Response, Settings, SettingsUpdate};
use crate::store::Space;

impl Engine {
    pub(super) fn settings(&self) -> Settings {
        self.0.policy.read().settings.clone()
    }

    pub(super) fn partition_info(&self, _permit: &Permit) -> Response {
        self.describe(self.settings())
    }

    /// Says with every key what its deletion would mean.
    pub(super) fn add_recovery(&self, response: &mut Response) {
        let keys = match response {
            Response::Key(info) => std::slice::from_mut(&mut **info),
            Response::Keys(page) => &mut page.items[..],
            _ => return,
        };
        let policy = self.0.policy.read();
        for key in keys {
            key.recovery = Some(Recovery {
                retention_days: policy.settings.retention_days,
                purge_protection: policy.settings.purge_protection,
            });
        }
    }

    fn describe(&self, settings: Settings) -> Response {
        let device = self.0.device.capabilities().device().to_owned();
        Response::Partition(Box::new(PartitionInfo::new(
            self.0.id,
            self.0.audit_public.clone(),
            device,
            settings,
        )))
    }

    pub(super) async fn update_settings(
        &self,
        asked: Asked<'_>,
        update: SettingsUpdate,
    ) -> Result<Done> {
        let change = Change::requested(
            asked.id,
            asked.principal,
            asked.permit,
            "/settings".to_owned(),
        )
        .detail(format!("{update:?}"));
        let settings = self
            .change(change, move |changes, _| {
                let mut settings = read(changes)?;
                if let Some(days) = update.retention_days {
                    settings.retention_days = days;
                }
                match update.purge_protection {
                    Some(false) if settings.purge_protection => {
                        return Err(Error::new(
                            ErrorKind::Conflict,
                            "purge protection cannot be switched off again",
                        ));
                    }
                    Some(protection) => settings.purge_protection = protection,
                    None => {}
                }
                if let Some(allowed) = update.danger_rsa1_5_decrypt {
                    settings.danger_rsa1_5_decrypt = allowed;
                }
                check(&settings)?;
                changes.put(Space::Meta, SETTINGS_KEY, &record::to_bytes(&settings)?)?;
                Ok(settings)
            })
            .await?;
        Ok(Done::change(self.describe(settings)))
    }

    pub(super) async fn zeroize(&self, asked: Asked<'_>, confirm: StreamId) -> Result<Done> {
        if confirm != self.0.id {
            return Err(Error::new(
                ErrorKind::InvalidInput,
                format!("to zeroize this HSM, confirm with its id, {}", self.0.id),
            ));
        }
        let change = Change::requested(asked.id, asked.principal, asked.permit, "/".to_owned())
            .detail("zeroized");
        // Whoever looks later, from however far behind, must learn of it.
        self.change(change, |changes, _| {
            changes.put(Space::Meta, ZEROIZED_KEY, b"")
        })
        .await?;
        // From here on nothing stops it. The last word under the audit key, which goes with the rest, is worth a try.
        drop(self.checkpoint_journal().await);
        drop(self.checkpoint_streams().await);
        self.destroy().await?;
        Ok(Done::change(Response::Done))
    }

    /// Destroys the domain key, in this process and at rest, once. A failure is the caller's to hear, and the next call
    /// tries again: only a device that said so has destroyed its key.
    pub(super) async fn destroy(&self) -> Result<()> {
        self.0.zeroized.store(true, Ordering::Relaxed);
        self.0.keys.clear();
        let mut destroyed = self.0.destroyed.lock().await;
        if !*destroyed {
            self.0.device.zeroize().await?;
            *destroyed = true;
        }
        Ok(())
    }
}

/// The settings as they are in the store.
pub(super) fn read(records: &impl Records) -> Result<Settings> {
    record::get(records, Space::Meta, SETTINGS_KEY)?
        .ok_or_else(|| damaged("the settings of the partition are missing"))
}

/// Whether somebody has zeroized the partition.
pub(super) fn is_zeroized(records: &impl Records) -> Result<bool> {
    Ok(records.get(Space::Meta, ZEROIZED_KEY)?.is_some())
}

pub(super) fn zeroized() -> Error {
    Error::new(
        ErrorKind::DeviceFailed,
        "this HSM was zeroized; its keys are gone",
    )
}

pub(super) fn check(settings: &Settings) -> Result<()> {
    if (RETENTION_DAYS_MIN..=RETENTION_DAYS_MAX).contains(&settings.retention_days) {
        return Ok(());
    }
    Err(Error::new(
        ErrorKind::InvalidInput,
        format!(
            "soft-deleted keys are kept for {RETENTION_DAYS_MIN} to {RETENTION_DAYS_MAX} days, not {}",
            settings.retention_days
        ),
    ))
}
