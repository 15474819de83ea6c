//! Those who try to log in under names that no user has. They are counted and locked out as users are, so that a lock-out
//! does not tell who exists.

use serde::{Deserialize, Serialize};

use super::lockout::count_failure;
use super::record;
use super::tree::Changes;
use crate::clock::Timestamp;
use crate::error::Result;
use crate::limits::LOGIN_STRANGERS_MAX;
use crate::service::Principal;
use crate::store::Space;

/// A name that is no user's, and the wrong passwords in a row for it.
#[derive(Serialize, Deserialize)]
struct StrangerRecord {
    name: Principal,
    failures: u32,
    last_failure: Timestamp,
}

/// Counts an attempt, unless those so far lock the name out.
///
/// Each name has one place, of which nobody outside can tell whose it is too. Whoever takes it pushes the name out that
/// was there.
pub(super) fn count(changes: &mut Changes<'_>, name: &Principal, now: Timestamp) -> Result<()> {
    let place = changes.secret_place(name.as_str().as_bytes(), LOGIN_STRANGERS_MAX);
    let key = format!("stranger-{place}");
    let found: Option<StrangerRecord> = record::get(changes, Space::Meta, key.as_bytes())?;
    let (failures, last_failure) = found
        .filter(|found| found.name == *name)
        .map_or((0, now), |found| (found.failures, found.last_failure));
    let record = StrangerRecord {
        name: name.clone(),
        failures: count_failure(failures, last_failure, now)?,
        last_failure: now,
    };
    changes.put(Space::Meta, key.as_bytes(), &record::to_bytes(&record)?)
}
