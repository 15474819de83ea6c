//! The counter outside the store: an older copy of the whole store is consistent with itself, but its count is behind.
//!
//! The anchor holds a count. A *mark* is a transaction that adds one to it, after which the counter is moved to the same number. A
//! change that counts is acknowledged after a mark that followed it; one mark serves all changes that were committed before it began.
//! So the store is ahead of the counter for a moment, and never behind: whoever dies in between leaves a store that is ahead by one,
//! and the next to open it moves the counter. `docs/decisions/0016-a-counter-outside-the-store.md` has the argument.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use serde::{Deserialize, Serialize};

use super::Engine;
use super::ledger::Change;
use super::settings::is_zeroized;
use super::tree::{Records, damaged};
use crate::counter::MonotonicCounter;
use crate::error::{Error, ErrorKind, Result};
use crate::limits::COUNTER_AHEAD_MAX;
use crate::policy::DataAction;

/// What the anchor says of the counter.
#[derive(Clone, Copy, Debug, Deserialize, Eq, PartialEq, Serialize)]
pub(super) struct Counted {
    /// Which counter it is.
    pub(super) counter: [u8; 32],
    /// How far it has counted, or is about to.
    pub(super) count: u64,
}

/// What to do with a store that does not fit its counter.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
pub(super) enum Copies {
    /// Take it as it is, and say so in the journal.
    MayBeOld,
    #[default]
    MustBeLatest,
}

/// The counter of an engine.
#[derive(Debug)]
pub(super) struct Count {
    counter: Option<Arc<dyn MonotonicCounter>>,
    /// Changes that were committed and wait for a mark: each has taken the next number.
    committed: AtomicU64,
    turn: async_lock::Mutex<Turn>,
}

/// Who makes marks has the turn: one at a time in a process.
#[derive(Debug, Default)]
struct Turn {
    /// All changes up to this number have had a mark.
    marked: u64,
    /// A mark that is in the store, and to which the counter could not be moved.
    pending: Option<u64>,
    /// Whether this process has made a mark.
    begun: bool,
    /// Where the counter is known to stand, at least.
    reached: u64,
}

impl Count {
    pub(super) fn new(counter: Option<Arc<dyn MonotonicCounter>>) -> Self {
        Self {
            counter,
            committed: AtomicU64::new(0),
            turn: async_lock::Mutex::default(),
        }
    }

    /// The count that a new partition starts with.
    pub(super) async fn first(counter: &dyn MonotonicCounter) -> Result<Counted> {
        Ok(Counted {
            counter: counter.identity(),
            // The first to open it moves the counter, so that no other store can have this count.
            count: counter.read().await?.saturating_add(1),
        })
    }
}

/// How a change is counted.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(super) enum Counting {
    No,
    Yes,
    /// If it can be. What destroys every key waits for nothing.
    IfPossible,
}

impl Counting {
    pub(super) fn of(change: &Change) -> Self {
        match change.action {
            DataAction::Zeroize => Self::IfPossible,
            // The partition counts attempts to log in by itself.
            _ if change.target.starts_with("/login/") => Self::No,
            action if counts(action) => Self::Yes,
            _ => Self::No,
        }
    }
}

/// Whether a change has to outlast whoever can put an older copy of the store back.
///
/// Making a key does not count: undone, it is missing, which shows. Nor do logins, of which there are many.
const fn counts(action: DataAction) -> bool {
    use DataAction as A;
    match action {
        A::KeyWrite
        | A::KeyDelete
        | A::KeyRotate
        | A::DeletedKeyRecover
        | A::DeletedKeyPurge
        | A::RoleDefinitionWrite
        | A::RoleDefinitionDelete
        | A::RoleAssignmentWrite
        | A::RoleAssignmentDelete
        | A::SecurityDomainUpload
        | A::RestoreStart
        | A::UserWrite
        | A::UserDelete
        | A::OwnPasswordWrite
        | A::SettingsWrite
        | A::TokenWrite
        | A::TokenDelete
        | A::Zeroize
        | A::Maintain => true,
        A::KeyRead
        | A::KeyCreate
        | A::KeyImport
        | A::KeySign
        | A::KeyVerify
        | A::KeyEncrypt
        | A::KeyDecrypt
        | A::KeyWrap
        | A::KeyUnwrap
        | A::KeyBackup
        | A::KeyRestore
        | A::KeyRelease
        | A::KeyExport
        | A::KeyAgree
        | A::KeyDerive
        | A::KeyEncapsulate
        | A::KeyDecapsulate
        | A::DeletedKeyRead
        | A::RandomGenerate
        | A::RoleDefinitionRead
        | A::RoleAssignmentRead
        | A::SecurityDomainDownload
        | A::SecurityDomainDownloadRead
        | A::SecurityDomainUploadRead
        | A::SecurityDomainTransferKeyRead
        | A::BackupStart
        | A::BackupStatus
        | A::RestoreStatus
        | A::UserRead
        | A::AuditRead
        | A::SettingsRead
        | A::TokenRead
        | A::Login => false,
    }
}

impl Engine {
    /// Compares the store with the counter, when it is opened.
    pub(super) async fn check_count(&self, copies: Copies) -> Result<()> {
        // The counter first: what others do meanwhile puts the store ahead, and never behind.
        let counter = self.0.count.counter.clone();
        let value = match &counter {
            Some(counter) => Some((counter.identity(), counter.read().await?)),
            None => None,
        };
        let found = self
            .view(|view| Ok((view.anchor().counted, is_zeroized(view)?)))
            .await?;
        let (counted, false) = found else {
            // Whoever opens it is told that it was zeroized.
            return Ok(());
        };
        match (check(counted, value), copies) {
            (Ok(()), _) => {}
            (Err(error), Copies::MustBeLatest) => return Err(error),
            (Err(error), Copies::MayBeOld) => return self.accept(value, &error).await,
        }
        if let (Some(counted), Some(counter)) = (counted, counter) {
            counter.advance(counted.count).await?;
            self.0.count.turn.lock().await.reached = counted.count;
        }
        Ok(())
    }

    /// Takes the store as it is, whatever is wrong with its count, and the counter from where it stands.
    async fn accept(&self, value: Option<([u8; 32], u64)>, why: &Error) -> Result<()> {
        // One more than the counter: the copy that was replaced by this one is from now on the older.
        let counted = value.map(|(counter, value)| Counted {
            counter,
            count: value.saturating_add(1),
        });
        let detail = format!("the store was taken as it is: {}", brief(why.message()));
        let change = Change::system("/", detail);
        self.transact(move |journal, changes, now| {
            changes.count(counted);
            change.append_to(journal, changes, now)
        })
        .await?;
        match (&self.0.count.counter, counted) {
            (Some(counter), Some(counted)) => counter.advance(counted.count).await,
            _ => Ok(()),
        }
    }

    /// Sees to it that a change can be counted, before it is made.
    pub(super) async fn before_change(&self, counting: Counting) -> Result<()> {
        let counter = self.0.count.counter.as_deref();
        let Some(counter) = counter.filter(|_| counting == Counting::Yes) else {
            return Ok(());
        };
        let mut turn = self.0.count.turn.lock().await;
        if turn.begun && turn.pending.is_none() {
            drop(turn);
            return counter.read().await.map(drop).map_err(unavailable);
        }
        // The first change of a process comes after a mark of its own. So a store whose last mark never reached the counter, put
        // aside by somebody and put back later, is behind as soon as anything was changed in between.
        self.mark(counter, &mut turn).await.map_err(unavailable)
    }

    /// Counts a change that was made, before anybody hears of it.
    pub(super) async fn after_change(&self, counting: Counting) -> Result<()> {
        let count = &self.0.count;
        let counter = count.counter.as_deref();
        let Some(counter) = counter.filter(|_| counting != Counting::No) else {
            return Ok(());
        };
        let number = count.committed.fetch_add(1, Ordering::AcqRel) + 1;
        let mut turn = count.turn.lock().await;
        if turn.marked >= number {
            return Ok(());
        }
        let marked = match self.mark(counter, &mut turn).await {
            Err(_) if counting == Counting::IfPossible => Ok(()),
            marked => marked,
        };
        marked.map_err(|source| {
            Error::new(
                ErrorKind::Unknown,
                "the change was made, but the counter that guards the store against older copies could not be moved; nothing else is changed until it can",
            )
            .with_source(source)
        })
    }

    /// Adds one to the count in the store, then moves the counter there.
    async fn mark(&self, counter: &dyn MonotonicCounter, turn: &mut Turn) -> Result<()> {
        if let Some(pending) = turn.pending {
            counter.advance(pending).await?;
            (turn.reached, turn.pending) = (pending, None);
        }
        // Those that take a number from now on may be committed too late for this mark.
        let covers = self.0.count.committed.load(Ordering::Acquire);
        let identity = counter.identity();
        let ours = move |counted: Option<Counted>| {
            let counted = counted.filter(|at| at.counter == identity);
            counted.ok_or_else(other_counter)
        };
        // Where the counter does not stand yet nobody marks: whatever others leave behind, the store is ahead by one at the most,
        // and no fork of it can be by more.
        let count = loop {
            let count = self.view(|view| ours(view.anchor().counted)).await?.count;
            if count > turn.reached {
                counter.advance(count).await?;
                turn.reached = count;
            }
            let reached = turn.reached;
            let marked = self.transact(move |_, changes, _| {
                let counted = ours(changes.counted())?;
                if counted.count > reached {
                    return Ok(None);
                }
                let count = counted.count.saturating_add(1);
                changes.count(Some(Counted { count, ..counted }));
                Ok(Some(count))
            });
            if let Some(count) = marked.await? {
                break count;
            }
        };
        // Known to be in the store: also if this is given up while the counter is asked.
        turn.pending = Some(count);
        counter.advance(count).await?;
        (turn.reached, turn.pending) = (count, None);
        turn.begun = true;
        turn.marked = covers;
        Ok(())
    }
}

/// Whether the store's count fits the counter.
fn check(counted: Option<Counted>, value: Option<([u8; 32], u64)>) -> Result<()> {
    let (counted, (identity, value)) = match (counted, value) {
        (None, None) => return Ok(()),
        (Some(_), None) => {
            return Err(invalid(
                "this HSM counts its changes in a counter outside the store; open it with that counter, or take the store as it is (danger_accept_rollback)",
            ));
        }
        (None, Some(_)) => {
            return Err(invalid(
                "this HSM was not made with a counter, or this is a copy from before it had one; open it without, or take the store as it is (danger_accept_rollback)",
            ));
        }
        (Some(counted), Some(value)) => (counted, value),
    };
    if counted.counter != identity {
        return Err(other_counter());
    }
    if counted.count < value {
        return Err(damaged(format!(
            "the store is an older copy: it has counted {} changes, its counter {value}. Put the latest copy back; if there is none, and you restored this one yourself, take it as it is (danger_accept_rollback)",
            counted.count
        )));
    }
    if counted.count - value > COUNTER_AHEAD_MAX {
        return Err(damaged(format!(
            "the store has counted {} changes, its counter only {value}: it is not the counter of this store, or was replaced",
            counted.count
        )));
    }
    Ok(())
}

/// The first sentence.
fn brief(message: &str) -> &str {
    message.split(['.', ';']).next().unwrap_or(message)
}

fn invalid(message: &'static str) -> Error {
    Error::new(ErrorKind::InvalidInput, message)
}

fn other_counter() -> Error {
    invalid(
        "this HSM counts its changes in another counter; open it with that one, or take the store as it is (danger_accept_rollback)",
    )
}

/// Nothing was changed.
fn unavailable(source: Error) -> Error {
    Error::new(
        match source.kind() {
            // Of the mark that comes first, not of the change.
            ErrorKind::Unknown => ErrorKind::DeviceFailed,
            kind => kind,
        },
        format!(
            "nothing was changed: the counter that guards the store against older copies does not work ({})",
            source.message()
        ),
    )
    .with_source(source)
}
