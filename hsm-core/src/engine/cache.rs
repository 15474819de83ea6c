//! Keys that are ready for use, kept while they are of use.

use std::sync::Arc;
use std::time::Duration;

use parking_lot::Mutex;
use quick_cache::sync::Cache;

use super::record::KeyRecord;
use crate::device::LoadedKey;
use crate::key::{Attributes, KeyName, VersionId};
use crate::limits::{LOADED_KEY_LIFETIME_MAX, LOADED_KEYS_MAX};

/// Old versions kept loaded for one key.
const OLD_VERSIONS_MAX: usize = 4;

/// A key version, loaded.
#[derive(Debug)]
pub(super) struct Usable {
    pub(super) version: VersionId,
    pub(super) attributes: Attributes,
    pub(super) loaded: Arc<dyn LoadedKey>,
}

/// A key: its current version, and old ones that were used of late.
#[derive(Debug)]
pub(super) struct CachedKey {
    /// `/keys/{name}`, for audit records.
    pub(super) target: Box<str>,
    pub(super) record: KeyRecord,
    pub(super) current: Arc<Usable>,
    /// When, on the clock that nobody sets.
    loaded: Duration,
    old: Mutex<Vec<Arc<Usable>>>,
}

impl CachedKey {
    pub(super) fn new(
        name: &KeyName,
        record: KeyRecord,
        current: Arc<Usable>,
        loaded: Duration,
    ) -> Self {
        Self {
            target: format!("/keys/{name}").into(),
            record,
            current,
            loaded,
            old: Mutex::default(),
        }
    }

    /// A version that is at hand.
    pub(super) fn version(&self, version: Option<VersionId>) -> Option<Arc<Usable>> {
        match version {
            None => Some(self.current.clone()),
            Some(version) if version == self.current.version => Some(self.current.clone()),
            Some(version) => self
                .old
                .lock()
                .iter()
                .find(|old| old.version == version)
                .cloned(),
        }
    }

    /// Keeps an old version at hand, in place of the one that has been there longest.
    pub(super) fn keep(&self, usable: Arc<Usable>) {
        let mut old = self.old.lock();
        if old.len() >= OLD_VERSIONS_MAX {
            old.remove(0);
        }
        old.push(usable);
    }
}

/// The keys at hand: at most [`LOADED_KEYS_MAX`] versions.
pub(super) struct KeyCache(Cache<KeyName, Arc<CachedKey>>);

impl std::fmt::Debug for KeyCache {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "KeyCache({} keys)", self.0.len())
    }
}

impl KeyCache {
    pub(super) fn new() -> Self {
        Self(Cache::new(LOADED_KEYS_MAX / (1 + OLD_VERSIONS_MAX)))
    }

    pub(super) fn get(&self, name: &KeyName) -> Option<Arc<CachedKey>> {
        self.0.get(name)
    }

    pub(super) fn insert(&self, name: KeyName, key: Arc<CachedKey>) {
        self.0.insert(name, key);
    }

    pub(super) fn remove(&self, name: &KeyName) {
        self.0.remove(name);
    }

    /// Lets go of what was loaded too long ago: the next use loads it again.
    pub(super) fn expire(&self, now: Duration) {
        self.0
            .retain(|_, key| now.saturating_sub(key.loaded) < LOADED_KEY_LIFETIME_MAX);
    }

    pub(super) fn len(&self) -> usize {
        self.0.len()
    }

    pub(super) fn clear(&self) {
        self.0.clear();
    }
}
