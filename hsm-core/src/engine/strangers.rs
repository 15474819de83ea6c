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

/// How many names share a place: those who stumble over their own names do not push each other out.
const NAMES_PER_PLACE: u16 = 4;

/// Counts an attempt, unless those so far lock the name out.
///
/// Each name has one place, of which nobody outside can tell whose it is too. Where it is full, the name that failed
/// longest ago is pushed out.
pub(super) fn count(changes: &mut Changes<'_>, name: &Principal, now: Timestamp) -> Result<()> {
    let places = LOGIN_STRANGERS_MAX / NAMES_PER_PLACE;
    let place = changes.secret_place(name.as_str().as_bytes(), places);
    let key = format!("stranger-{place}");
    let names: Option<Vec<StrangerRecord>> = record::get(changes, Space::Meta, key.as_bytes())?;
    let names = counted(names.unwrap_or_default(), name, now)?;
    changes.put(Space::Meta, key.as_bytes(), &record::to_bytes(&names)?)
}

/// The names of a place after an attempt, the latest at the end.
fn counted(
    mut names: Vec<StrangerRecord>,
    name: &Principal,
    now: Timestamp,
) -> Result<Vec<StrangerRecord>> {
    let (failures, last_failure) = names
        .iter()
        .find(|found| found.name == *name)
        .map_or((0, now), |found| (found.failures, found.last_failure));
    let failures = count_failure(failures, last_failure, now)?;
    names.retain(|found| found.name != *name);
    if names.len() >= usize::from(NAMES_PER_PLACE) {
        names.remove(0);
    }
    names.push(StrangerRecord {
        name: name.clone(),
        failures,
        last_failure: now,
    });
    Ok(names)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::error::ErrorKind;
    use crate::limits::LOGIN_FREE_FAILURES;

    const NOW: Timestamp = Timestamp::from_unix_seconds(1_800_000_000);

    fn after(names: Vec<StrangerRecord>, attempts: &[&str]) -> Vec<StrangerRecord> {
        attempts.iter().fold(names, |names, name| {
            counted(names, &Principal::new(name).unwrap(), NOW).unwrap()
        })
    }

    #[test]
    fn names_that_share_a_place_are_locked_out_each() {
        let all = ["alice", "bob", "carol", "dave"];
        let names = after(Vec::new(), &[all, all, all, all].concat());
        for name in all {
            let name = Principal::new(name).unwrap();
            let found = names.iter().find(|found| found.name == name).unwrap();
            assert_eq!(found.failures, LOGIN_FREE_FAILURES + 1);
        }
        let alice = Principal::new("alice").unwrap();
        let error = counted(names, &alice, NOW).err().unwrap();
        assert_eq!(error.kind(), ErrorKind::LockedOut);
    }

    #[test]
    fn one_name_too_many_pushes_out_the_one_that_failed_longest_ago() {
        let names = after(
            Vec::new(),
            &["alice", "bob", "carol", "dave", "alice", "eve"],
        );
        let left: Vec<_> = names.iter().map(|found| found.name.as_str()).collect();
        assert_eq!(left, ["carol", "dave", "alice", "eve"]);
        assert_eq!(names[2].failures, 2);
    }
}
