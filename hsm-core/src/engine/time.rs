//! The engine's time: it never goes back, not even across restarts, and one wrong reading of the clock does not stick.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use parking_lot::Mutex;

use crate::clock::{Clock, Timestamp};
use crate::error::{Error, ErrorKind, Result};
use crate::limits::{CLOCK_SETTLE_TIME, CLOCK_STEP_MAX};

/// The engine's time, made of a clock that people set and one that they cannot.
#[derive(Debug)]
pub(super) struct Time {
    clock: Arc<dyn Clock>,
    /// The latest time that was believed, in milliseconds: time never goes back behind it.
    latest: AtomicU64,
    /// On the clock that nobody sets, in milliseconds: when the other one jumped; [`NEVER`] if it has not.
    jumped: AtomicU64,
    /// What time it was when, by the clock that nobody sets.
    mark: Mutex<Mark>,
    /// On the clock that nobody sets, in milliseconds: from when on time may destroy something.
    settled: AtomicU64,
}

const NEVER: u64 = u64::MAX;

#[derive(Clone, Copy, Debug)]
struct Mark {
    time: Timestamp,
    at: Duration,
}

impl Mark {
    /// What time it must be now, at the least, give or take how the clocks drift.
    fn time_at(self, monotonic: Duration) -> Timestamp {
        self.time + monotonic.saturating_sub(self.at)
    }
}

impl Time {
    /// Starts where the clock stands.
    pub(super) fn new(clock: Arc<dyn Clock>) -> Self {
        let mark = Mark {
            time: clock.now(),
            at: clock.monotonic(),
        };
        Self {
            latest: AtomicU64::new(mark.time.unix_millis()),
            jumped: AtomicU64::new(NEVER),
            mark: Mutex::new(mark),
            settled: AtomicU64::new(0),
            clock,
        }
    }

    /// Starts again where the store is: not before the latest change.
    pub(super) fn start_after(&self, change: Timestamp) -> Result<()> {
        if self.clock.now().since(change) > CLOCK_STEP_MAX {
            let settled = self.monotonic() + CLOCK_SETTLE_TIME;
            self.settled.store(millis(settled), Ordering::Relaxed);
        }
        self.follow(change)
    }

    /// Learns of a change that was made at `change`, maybe by another process.
    pub(super) fn follow(&self, change: Timestamp) -> Result<()> {
        check(self.now(), change)?;
        self.latest
            .fetch_max(change.unix_millis(), Ordering::Relaxed);
        Ok(())
    }

    /// The time now.
    pub(super) fn now(&self) -> Timestamp {
        let now = self.clock.now();
        let latest = Timestamp::from_unix_millis(self.latest.load(Ordering::Relaxed));
        if now < latest || now.since(latest) > CLOCK_STEP_MAX {
            return self.judge(now, latest);
        }
        if self.jumped.load(Ordering::Relaxed) != NEVER {
            self.jumped.store(NEVER, Ordering::Relaxed);
        }
        // Threads share the time: write only what makes a difference.
        if now > latest { self.believe(now) } else { now }
    }

    /// The time since some fixed point, by the clock that nobody sets: what time-outs go by.
    pub(super) fn monotonic(&self) -> Duration {
        self.clock.monotonic()
    }

    /// Compares the two clocks, so that a later jump is told from time that has passed. The maintenance calls this.
    pub(super) fn observe(&self) {
        let time = self.now();
        if self.jumped.load(Ordering::Relaxed) == NEVER {
            *self.mark.lock() = Mark {
                time,
                at: self.monotonic(),
            };
        }
    }

    /// Whether the clock has run steadily for so long that what it says may destroy something.
    pub(super) fn is_settled(&self) -> bool {
        millis(self.monotonic()) >= self.settled.load(Ordering::Relaxed)
    }

    /// The time when the clock shows `now`, which does not follow `latest`.
    fn judge(&self, now: Timestamp, latest: Timestamp) -> Timestamp {
        let at = self.monotonic();
        let mut mark = self.mark.lock();
        if now < latest {
            // The clock was set back. Time goes on all the same, or time-outs would never pass. If it had jumped, that is over.
            self.jumped.store(NEVER, Ordering::Relaxed);
            if mark.time_at(at) < latest {
                *mark = Mark { time: latest, at };
            }
            return self.believe(mark.time_at(at));
        }
        let expected = mark.time_at(at);
        let steady = now.since(expected) <= CLOCK_STEP_MAX || {
            let jumped = self
                .jumped
                .compare_exchange(NEVER, millis(at), Ordering::Relaxed, Ordering::Relaxed)
                .unwrap_or_else(|jumped| jumped);
            jumped != NEVER && at.saturating_sub(Duration::from_millis(jumped)) >= CLOCK_SETTLE_TIME
        };
        if !steady {
            return self.believe(expected);
        }
        self.jumped.store(NEVER, Ordering::Relaxed);
        *mark = Mark { time: now, at };
        self.believe(now)
    }

    /// The later of `time` and what was believed before.
    fn believe(&self, time: Timestamp) -> Timestamp {
        let millis = time.unix_millis();
        let before = self.latest.fetch_max(millis, Ordering::Relaxed);
        Timestamp::from_unix_millis(millis.max(before))
    }
}

/// Whether a change was made so far after `now` that one of the two is wrong.
pub(super) fn is_ahead(change: Timestamp, now: Timestamp) -> bool {
    change.since(now) > CLOCK_STEP_MAX
}

/// Refuses a clock that shows `now` after something was changed at `change`.
fn check(now: Timestamp, change: Timestamp) -> Result<()> {
    if !is_ahead(change, now) {
        return Ok(());
    }
    Err(Error::new(
        ErrorKind::Unreachable,
        format!(
            "the clock reads {now}, but the HSM was last changed at {change}: set the clock; if it is right and was wrong then, open the HSM with danger_accept_clock"
        ),
    ))
}

/// A time span in milliseconds.
pub(super) fn millis(duration: Duration) -> u64 {
    u64::try_from(duration.as_millis()).unwrap_or(NEVER - 1)
}
