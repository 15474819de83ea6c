//! [`ManualClock`]: time that moves when a test says so.

use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use hsm_core::{Clock, Timestamp};

/// A clock that stands still until it is told otherwise.
///
/// ```
/// use std::time::Duration;
///
/// use hsm_core::{Clock, Timestamp};
/// use hsm_testkit::ManualClock;
///
/// let clock = ManualClock::new(Timestamp::from_unix_seconds(1_000));
/// clock.advance(Duration::from_secs(60));
/// clock.go_back(Duration::from_secs(10));
/// assert_eq!(clock.now(), Timestamp::from_unix_seconds(1_050));
/// assert_eq!(clock.monotonic(), Duration::from_secs(60));
/// ```
#[derive(Debug)]
pub struct ManualClock {
    now: AtomicU64,
    monotonic: AtomicU64,
}

impl ManualClock {
    /// A clock that shows `time`.
    #[must_use]
    pub const fn new(time: Timestamp) -> Self {
        Self {
            now: AtomicU64::new(time.unix_millis()),
            monotonic: AtomicU64::new(0),
        }
    }

    /// Sets the clock, forwards or backwards, as a person or a time server does: no time passes.
    pub fn set(&self, time: Timestamp) {
        self.now.store(time.unix_millis(), Ordering::SeqCst);
    }

    /// Lets time pass.
    pub fn advance(&self, by: Duration) {
        self.set(self.now() + by);
        let by = u64::try_from(by.as_millis()).unwrap_or(u64::MAX);
        self.monotonic.fetch_add(by, Ordering::SeqCst);
    }

    /// Sets the clock back, as far as 1970.
    pub fn go_back(&self, by: Duration) {
        let back = u64::try_from(by.as_millis()).unwrap_or(u64::MAX);
        let now = self.now().unix_millis();
        self.set(Timestamp::from_unix_millis(now.saturating_sub(back)));
    }
}

/// 2026-01-01T00:00:00Z.
impl Default for ManualClock {
    fn default() -> Self {
        Self::new(Timestamp::from_unix_seconds(1_767_225_600))
    }
}

impl Clock for ManualClock {
    fn now(&self) -> Timestamp {
        Timestamp::from_unix_millis(self.now.load(Ordering::SeqCst))
    }

    fn monotonic(&self) -> Duration {
        Duration::from_millis(self.monotonic.load(Ordering::SeqCst))
    }
}
