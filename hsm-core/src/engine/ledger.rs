//! Changes and what is known of them: every change is one transaction with its journal record, and every call first
//! learns of the changes that others made.

use std::collections::{HashMap, VecDeque};
use std::sync::Arc;
use std::sync::atomic::Ordering;

use parking_lot::Mutex;

use super::Engine;
use super::record::{self, SETTLED_KEY};
use super::roles::Policy;
use super::settings::{is_zeroized, zeroized};
use super::time::is_ahead;
use super::tree::{Anchor, Changes, Records, View, damaged};
use crate::algorithm::Algorithm;
use crate::audit::{Chain, ChainHead, Entry, Event, RequestId, StreamId, split_frame};
use crate::clock::Timestamp;
use crate::error::{Error, ErrorKind, Result};
use crate::key::{KeyName, VersionId};
use crate::limits::CLOCK_SETTLE_TIME;
use crate::policy::{DataAction, Permit};
use crate::service::Principal;
use crate::store::Space;

/// Journal records read at once when catching up; further behind, everything cached is dropped.
const CATCH_UP_MAX: u64 = 1024;

/// Changes of keys remembered, so that a key that was read before a change is not cached after it.
const RECENT_CHANGES_MAX: usize = 1024;

/// What this process knows of the journal.
#[derive(Debug, Default)]
pub(super) struct Known {
    pub(super) journal: Option<ChainHead>,
    /// Keys that changed, with the sequence number of the change; the oldest first.
    recent: VecDeque<(u64, KeyName)>,
    /// Every change of a key from this sequence number on is in `recent`.
    recent_from: u64,
    /// How many records of each stream this process has signed.
    pub(super) signed: HashMap<StreamId, u64>,
}

impl Known {
    /// Whether `name` may have changed since the journal had `records` records.
    pub(super) fn changed_since(&self, records: u64, name: &KeyName) -> bool {
        let now = self.journal.map_or(0, |head| head.records);
        now > records
            && (records < self.recent_from
                || self
                    .recent
                    .iter()
                    .any(|(at, changed)| *at >= records && changed == name))
    }
}

/// A change that is being made: what its journal record will say.
#[derive(Clone, Debug)]
pub(super) struct Change {
    pub(super) request: RequestId,
    pub(super) principal: Option<Principal>,
    pub(super) action: DataAction,
    pub(super) target: String,
    pub(super) version: Option<VersionId>,
    pub(super) algorithm: Option<Algorithm>,
    pub(super) detail: String,
}

impl Change {
    /// A change on a principal's request.
    pub(super) fn requested(
        request: RequestId,
        principal: &Principal,
        permit: &Permit,
        target: String,
    ) -> Self {
        Self {
            request,
            principal: Some(principal.clone()),
            action: permit.action(),
            target,
            version: None,
            algorithm: None,
            detail: String::new(),
        }
    }

    /// A principal's login.
    pub(super) fn login(principal: &Principal, target: String) -> Self {
        Self {
            request: RequestId::default(),
            principal: Some(principal.clone()),
            action: DataAction::Login,
            target,
            version: None,
            algorithm: None,
            detail: "logged in".to_owned(),
        }
    }

    /// A change that the partition makes by itself.
    pub(super) fn system(target: impl Into<String>, detail: impl Into<String>) -> Self {
        Self {
            request: RequestId::default(),
            principal: None,
            action: DataAction::Maintain,
            target: target.into(),
            version: None,
            algorithm: None,
            detail: detail.into(),
        }
    }

    pub(super) fn version(mut self, version: VersionId) -> Self {
        self.version = Some(version);
        self
    }

    pub(super) fn detail(mut self, detail: impl Into<String>) -> Self {
        self.detail = detail.into();
        self
    }

    pub(super) fn append_to(
        &self,
        journal: &mut Chain,
        changes: &mut Changes<'_>,
        now: Timestamp,
    ) -> Result<()> {
        let event = Event {
            time: now,
            request: self.request,
            principal: self
                .principal
                .as_ref()
                .map_or("system", Principal::as_str)
                .into(),
            action: self.action,
            target: self.target.as_str().into(),
            version: self.version,
            algorithm: self.algorithm,
            failure: None,
            detail: self.detail.as_str().into(),
        };
        append(journal, changes, &Entry::Event(event))
    }
}

/// Appends an entry to the journal.
pub(super) fn append(
    journal: &mut Chain,
    changes: &mut Changes<'_>,
    entry: &Entry<'_>,
) -> Result<()> {
    let key = journal.head().records.to_be_bytes();
    let mut frame = Vec::new();
    journal.append(entry, &mut frame)?;
    changes.put_row(Space::Journal, &key, &frame)
}

impl Engine {
    /// Reads the store as it is, checked.
    pub(super) async fn view<T: Send>(
        &self,
        mut body: impl FnMut(&View<'_>) -> Result<T> + Send,
    ) -> Result<T> {
        let least = self.known_journal();
        let mut result = None;
        self.0
            .store
            .view(Box::new(|snapshot| {
                let view = self.0.tree.view(snapshot)?;
                check_follows(view.anchor(), least)?;
                result = Some(body(&view)?);
                Ok(())
            }))
            .await?;
        result.ok_or_else(|| Error::new(ErrorKind::StoreFailed, "the store did not run the view"))
    }

    /// Makes a change: `body` and its journal record, in one transaction.
    pub(super) async fn change<T: Send + 'static>(
        &self,
        change: Change,
        mut body: impl FnMut(&mut Changes<'_>, Timestamp) -> Result<T> + Send + 'static,
    ) -> Result<T> {
        let action = change.action;
        self.before_change(action).await?;
        let result = self
            .transact(move |journal, changes, now| {
                let result = body(changes, now)?;
                change.append_to(journal, changes, now)?;
                Ok(result)
            })
            .await?;
        self.after_change(action).await?;
        Ok(result)
    }

    /// Makes a change, unless `body` finds that there is none to make: then there is no record of it either.
    pub(super) async fn change_if<T: Send + 'static>(
        &self,
        change: Change,
        mut body: impl FnMut(&mut Changes<'_>, Timestamp) -> Result<Option<T>> + Send + 'static,
    ) -> Result<Option<T>> {
        let action = change.action;
        self.before_change(action).await?;
        let result = self
            .transact(move |journal, changes, now| {
                let result = body(changes, now)?;
                if result.is_some() {
                    change.append_to(journal, changes, now)?;
                }
                Ok(result)
            })
            .await?;
        if result.is_some() {
            self.after_change(action).await?;
        }
        Ok(result)
    }

    /// Makes a change that writes its own journal records.
    pub(super) async fn transact<T: Send + 'static>(
        &self,
        mut body: impl FnMut(&mut Chain, &mut Changes<'_>, Timestamp) -> Result<T> + Send + 'static,
    ) -> Result<T> {
        let result = Arc::new(Mutex::new(None));
        let slot = result.clone();
        // Not the engine itself: the store must not own what owns the store.
        let (tree, clock) = (self.0.tree.clone(), self.now());
        let settled = self.0.time.is_settled();
        let least = self.known_journal();
        self.0
            .store
            .transact(Box::new(move |transaction| {
                let mut changes = tree.changes(transaction)?;
                check_follows(changes.anchor(), least)?;
                let now = clock.max(changes.anchor().latest);
                let mut journal = Chain::resume(changes.anchor().journal);
                let done = body(&mut journal, &mut changes, now)?;
                // The next to open the store sees no leap any more.
                if !settled && is_ahead(now, changes.anchor().latest) {
                    let until = record::to_bytes(&(now + CLOCK_SETTLE_TIME))?;
                    changes.put(Space::Meta, SETTLED_KEY, &until)?;
                }
                changes.finish(journal.head(), now)?;
                *slot.lock() = Some(done);
                Ok(())
            }))
            .await?;
        let done = result.lock().take();
        done.ok_or_else(|| {
            Error::new(
                ErrorKind::Unknown,
                "the store did not say whether the change was made",
            )
        })
    }

    /// Takes the time of the store back to what the clock shows, if the store is far ahead of it.
    pub(super) async fn take_time_back(&self) -> Result<()> {
        let (tree, now) = (self.0.tree.clone(), self.now());
        self.0
            .store
            .transact(Box::new(move |transaction| {
                let mut changes = tree.changes(transaction)?;
                let latest = changes.anchor().latest;
                if !is_ahead(latest, now) || is_zeroized(&changes)? {
                    return Ok(());
                }
                let mut journal = Chain::resume(changes.anchor().journal);
                Change::system("/", format!("time was taken back from {latest}")).append_to(
                    &mut journal,
                    &mut changes,
                    now,
                )?;
                changes.remove(Space::Meta, SETTLED_KEY)?;
                changes.take_time_back(now);
                changes.finish(journal.head(), now)
            }))
            .await
    }

    /// The head of the journal that this process has seen: whatever it reads from now on must follow from there.
    fn known_journal(&self) -> Option<ChainHead> {
        self.0.known.lock().journal
    }

    /// Learns of changes that were made since the last call, by anybody. Costs a few nanoseconds when there are none.
    pub(super) async fn refresh(&self) -> Result<()> {
        if self.is_zeroized() {
            self.destroy().await?;
        }
        self.check_alive()?;
        let version = self.0.store.version()?;
        if version == self.0.seen.load(Ordering::Acquire) {
            return Ok(());
        }
        self.catch_up().await?;
        if self.is_zeroized() {
            // Somebody else did it; the domain key that this process holds in memory goes as well.
            self.destroy().await?;
        }
        self.check_alive()
    }

    /// Reads everything for the first time.
    pub(super) async fn start_from_store(&self) -> Result<()> {
        let found = self
            .view(|view| {
                if is_zeroized(view)? {
                    return Ok(None);
                }
                Ok(Some((
                    view.version(),
                    view.anchor().latest,
                    view.anchor().journal,
                    Policy::read(view)?,
                )))
            })
            .await?;
        let Some((version, latest, journal, policy)) = found else {
            // Whoever began it may have died before the domain key was destroyed.
            self.destroy().await?;
            return Err(zeroized());
        };
        self.0.time.start_after(latest)?;
        let mut known = self.0.known.lock();
        known.journal = Some(journal);
        known.recent_from = journal.records;
        *self.0.policy.write() = Arc::new(policy);
        self.0.seen.store(version, Ordering::Release);
        Ok(())
    }

    async fn catch_up(&self) -> Result<()> {
        let from = self.0.known.lock().journal;
        let Some(from) = from else {
            return self.start_from_store().await;
        };
        let news = self.view(|view| News::read(view, from)).await?;
        self.0.time.follow(news.latest)?;
        let mut known = self.0.known.lock();
        let ours = known.journal.map_or(0, |head| head.records);
        if news.journal.records < ours {
            // Another task has seen more in the meantime.
            return Ok(());
        }
        if let Some(policy) = news.policy {
            *self.0.policy.write() = Arc::new(policy);
            self.0.policy_epoch.fetch_add(1, Ordering::Release);
        }
        if news.zeroized {
            self.0.zeroized.store(true, Ordering::Relaxed);
        }
        if news.everything || news.zeroized {
            self.0.keys.clear();
            known.recent.clear();
            known.recent_from = news.journal.records;
        }
        for (at, name) in news.keys {
            if at < ours {
                continue;
            }
            self.0.keys.remove(&name);
            known.recent.push_back((at, name));
            if known.recent.len() > RECENT_CHANGES_MAX
                && let Some((dropped, _)) = known.recent.pop_front()
            {
                known.recent_from = dropped + 1;
            }
        }
        known.journal = Some(news.journal);
        self.0.seen.store(news.version, Ordering::Release);
        Ok(())
    }
}

/// An older copy of the whole store is right in itself; only who has seen a later one can tell.
fn check_follows(anchor: &Anchor, known: Option<ChainHead>) -> Result<()> {
    let Some(known) = known else {
        return Ok(());
    };
    let now = anchor.journal;
    if now.records > known.records || now == known {
        return Ok(());
    }
    Err(damaged(
        "the store is older than what this process has seen of it: somebody put an old copy back",
    ))
}

/// What happened since a place in the journal.
struct News {
    version: u64,
    latest: Timestamp,
    journal: ChainHead,
    /// Keys that changed, with the sequence numbers of the changes.
    keys: Vec<(u64, KeyName)>,
    /// The policy, if a role, assignment, user or setting changed.
    policy: Option<Policy>,
    /// Too much to list.
    everything: bool,
    /// Somebody has zeroized the HSM.
    zeroized: bool,
}

impl News {
    fn read(view: &View<'_>, from: ChainHead) -> Result<Self> {
        let anchor = view.anchor();
        let mut news = Self {
            version: view.version(),
            latest: anchor.latest,
            journal: anchor.journal,
            keys: Vec::new(),
            policy: None,
            everything: false,
            zeroized: false,
        };
        check_follows(anchor, Some(from))?;
        if anchor.journal.records - from.records > CATCH_UP_MAX {
            news.everything = true;
            news.zeroized = is_zeroized(view)?;
            news.policy = Some(Policy::read(view)?);
            return Ok(news);
        }
        let mut chain = Chain::resume(from);
        let mut policy_changed = false;
        while chain.head().records < anchor.journal.records {
            let at = chain.head().records;
            let bytes = view
                .rows()
                .read(Space::Journal, &at.to_be_bytes())?
                .ok_or_else(|| damaged(format!("record {at} of the journal is missing")))?;
            let Ok(Some((frame, []))) = split_frame(&bytes) else {
                return Err(damaged(format!("record {at} of the journal was changed")));
            };
            let Ok(entry) = chain.follow(&frame) else {
                return Err(damaged(format!("record {at} of the journal was changed")));
            };
            if let Entry::Event(event) = entry {
                news.zeroized |= event.action == DataAction::Zeroize;
                if let Some(name) = event.target.strip_prefix("/keys/") {
                    news.keys.push((at, KeyName::new(name)?));
                } else if !event.target.starts_with("/login/") {
                    policy_changed = true;
                }
            }
        }
        if chain.head() != anchor.journal {
            return Err(damaged(
                "the journal does not end where the store says that it does",
            ));
        }
        if policy_changed {
            news.policy = Some(Policy::read(view)?);
        }
        Ok(news)
    }
}
