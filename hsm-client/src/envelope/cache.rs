//! [`CacheLimits`], and the data keys that are kept within them.

use std::collections::VecDeque;
use std::fmt;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use hsm_core::{Clock, SecretBytes};

use crate::key::Wrapped;

/// How many data keys an [`Envelope`](super::Envelope) keeps in memory, for how long, and for how many values it seals
/// under one.
///
/// A data key that is at hand is used without asking the HSM: what was disabled, deleted or denied meanwhile goes on for
/// [`age`](Self::age) at most, and these uses are not in the audit log. Whoever reads the memory of the process reads
/// the data keys that are kept. What is too old is wiped when the envelope is used the next time: one that is not used any
/// more keeps its last data keys until it is dropped, or told to [`forget`](super::Envelope::forget).
///
/// ```
/// use std::time::Duration;
///
/// use hsm_client::envelope::CacheLimits;
///
/// let limits = CacheLimits::new().keys(100).uses(10_000).age(Duration::from_secs(60));
/// # let _ = limits;
/// ```
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
#[must_use]
pub struct CacheLimits {
    keys: usize,
    uses: u32,
    age: Duration,
}

impl CacheLimits {
    /// 64 data keys for five minutes, each for 1,000 values.
    pub const fn new() -> Self {
        Self {
            keys: 64,
            uses: 1000,
            age: Duration::from_secs(5 * 60),
        }
    }

    /// Keeps nothing: every value has a data key of its own, and every opening asks the HSM.
    pub const fn none() -> Self {
        Self {
            keys: 0,
            uses: 1,
            age: Duration::ZERO,
        }
    }

    /// Keeps at most `keys` data keys, and no more than [`KEYS_MAX`](Self::KEYS_MAX). The one that was not used for the
    /// longest time goes first.
    pub const fn keys(mut self, keys: usize) -> Self {
        self.keys = if keys < Self::KEYS_MAX {
            keys
        } else {
            Self::KEYS_MAX
        };
        self
    }

    /// Seals at most `uses` values under one data key, and no more than [`USES_MAX`](Self::USES_MAX).
    pub const fn uses(mut self, uses: u32) -> Self {
        self.uses = if uses < Self::USES_MAX {
            uses
        } else {
            Self::USES_MAX
        };
        self
    }

    /// Uses a data key for at most `age`, and no longer than [`AGE_MAX`](Self::AGE_MAX).
    pub const fn age(mut self, age: Duration) -> Self {
        let longer = age.as_millis() > Self::AGE_MAX.as_millis();
        self.age = if longer { Self::AGE_MAX } else { age };
        self
    }

    /// Most data keys that can be kept.
    pub const KEYS_MAX: usize = 1024;

    /// Most values under one data key. Each has a key of its own, derived with 128 random bits: the chance that two of so
    /// many are the same is below 2⁻⁸⁰.
    pub const USES_MAX: u32 = 1 << 24;

    /// The longest time that a data key can be kept: an hour.
    pub const AGE_MAX: Duration = Duration::from_secs(60 * 60);
}

impl Default for CacheLimits {
    fn default() -> Self {
        Self::new()
    }
}

/// A data key, and what the HSM made of it.
pub(super) struct DataKey {
    pub(super) secret: SecretBytes,
    pub(super) wrapped: Wrapped,
}

pub(super) struct Cache {
    limits: CacheLimits,
    clock: Arc<dyn Clock>,
    state: Mutex<State>,
}

#[derive(Default)]
struct State {
    /// What values are sealed under, and how often it was used.
    sealing: Option<(Kept, u32)>,
    /// What was opened, the latest first.
    opened: VecDeque<Kept>,
    /// How often all was forgotten: what was asked for before that is not kept after it.
    forgotten: u64,
}

struct Kept {
    key: Arc<DataKey>,
    since: Duration,
}

impl Cache {
    pub(super) fn new(limits: CacheLimits, clock: Arc<dyn Clock>) -> Self {
        Self {
            limits,
            clock,
            state: Mutex::default(),
        }
    }

    pub(super) fn limits(&self) -> CacheLimits {
        self.limits
    }

    pub(super) fn clock(&self) -> Arc<dyn Clock> {
        self.clock.clone()
    }

    /// The data key to seal one more value under.
    pub(super) fn for_sealing(&self) -> Option<Arc<DataKey>> {
        let mut state = self.fresh();
        let (kept, uses) = state.sealing.as_mut()?;
        *uses += 1;
        let key = kept.key.clone();
        if *uses >= self.limits.uses {
            state.sealing = None;
        }
        Some(key)
    }

    /// Whether several values can be sealed under one data key.
    pub(super) fn shares(&self) -> bool {
        self.limits.keys > 0 && self.limits.uses > 1 && !self.limits.age.is_zero()
    }

    /// How often all was forgotten.
    pub(super) fn forgotten(&self) -> u64 {
        self.lock().forgotten
    }

    /// A new data key, under which one value is being sealed, that was asked for after all was `forgotten` so often.
    pub(super) fn seals(&self, key: &Arc<DataKey>, forgotten: u64) {
        let since = self.clock.monotonic();
        let kept = || Kept {
            key: key.clone(),
            since,
        };
        let mut state = self.fresh();
        if state.forgotten != forgotten {
            return;
        }
        if self.shares() {
            state.sealing = Some((kept(), 1));
        }
        self.keep(&mut state, kept());
    }

    /// A data key that was unwrapped before.
    pub(super) fn find(&self, wrapped: &Wrapped) -> Option<Arc<DataKey>> {
        let mut state = self.fresh();
        let at = state
            .opened
            .iter()
            .position(|kept| kept.key.wrapped == *wrapped)?;
        let kept = state.opened.remove(at)?;
        let key = kept.key.clone();
        state.opened.push_front(kept);
        Some(key)
    }

    /// A data key that the HSM has unwrapped, and was asked for after all was `forgotten` so often.
    pub(super) fn opened(&self, key: &Arc<DataKey>, forgotten: u64) {
        let since = self.clock.monotonic();
        let mut state = self.fresh();
        if state.forgotten == forgotten {
            let key = key.clone();
            self.keep(&mut state, Kept { key, since });
        }
    }

    pub(super) fn forget(&self) {
        let mut state = self.lock();
        *state = State {
            forgotten: state.forgotten + 1,
            ..State::default()
        };
    }

    fn keep(&self, state: &mut State, kept: Kept) {
        state
            .opened
            .retain(|other| other.key.wrapped != kept.key.wrapped);
        state.opened.push_front(kept);
        state.opened.truncate(self.limits.keys);
    }

    /// The state without what is too old.
    fn fresh(&self) -> MutexGuard<'_, State> {
        let now = self.clock.monotonic();
        let fresh = |kept: &Kept| now.saturating_sub(kept.since) < self.limits.age;
        let mut state = self.lock();
        state.sealing = state.sealing.take().filter(|(kept, _)| fresh(kept));
        state.opened.retain(fresh);
        state
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl fmt::Debug for Cache {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Cache")
            .field("limits", &self.limits)
            .finish_non_exhaustive()
    }
}
