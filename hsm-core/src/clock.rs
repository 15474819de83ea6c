//! [`Timestamp`] and [`Clock`]: the engine asks for the time and never reads a clock itself.

use std::fmt;
use std::time::{Duration, SystemTime};

use serde::{Deserialize, Serialize};

/// A point in time: milliseconds since 1970-01-01T00:00:00Z. Prints as RFC 3339.
///
/// ```
/// use hsm_core::Timestamp;
///
/// assert_eq!(Timestamp::from_unix_seconds(1_767_225_600).to_string(), "2026-01-01T00:00:00Z");
/// ```
#[derive(
    Clone, Copy, Debug, Default, Eq, Hash, Ord, PartialEq, PartialOrd, Serialize, Deserialize,
)]
#[serde(transparent)]
pub struct Timestamp(u64);

impl Timestamp {
    /// The last point in time that can be written as RFC 3339: 9999-12-30T22:00:00.999Z.
    pub const MAX: Self = Self(253_402_207_200_999);

    /// The point `milliseconds` after 1970-01-01T00:00:00Z, at most [`Timestamp::MAX`].
    #[must_use]
    pub const fn from_unix_millis(milliseconds: u64) -> Self {
        if milliseconds > Self::MAX.0 {
            Self::MAX
        } else {
            Self(milliseconds)
        }
    }

    /// The point `seconds` after 1970-01-01T00:00:00Z, at most [`Timestamp::MAX`].
    #[must_use]
    pub const fn from_unix_seconds(seconds: u64) -> Self {
        Self::from_unix_millis(seconds.saturating_mul(1000))
    }

    /// Milliseconds since 1970-01-01T00:00:00Z.
    #[must_use]
    pub const fn unix_millis(self) -> u64 {
        self.0
    }

    /// Whole seconds since 1970-01-01T00:00:00Z, as Key Vault writes times.
    #[must_use]
    pub const fn unix_seconds(self) -> u64 {
        self.0 / 1000
    }

    /// Time from `earlier` to `self`; zero if `earlier` is later.
    #[must_use]
    pub const fn since(self, earlier: Self) -> Duration {
        Duration::from_millis(self.0.saturating_sub(earlier.0))
    }
}

impl std::ops::Add<Duration> for Timestamp {
    type Output = Self;

    fn add(self, duration: Duration) -> Self {
        let milliseconds = u64::try_from(duration.as_millis()).unwrap_or(u64::MAX);
        Self::from_unix_millis(self.0.saturating_add(milliseconds))
    }
}

/// A time before 1970 is 1970, one after [`Timestamp::MAX`] is that.
///
/// ```
/// use std::time::{Duration, SystemTime};
///
/// use hsm_core::Timestamp;
///
/// const WEEK: Duration = Duration::from_secs(7 * 24 * 60 * 60);
/// let in_a_week = Timestamp::from(SystemTime::now() + WEEK);
/// assert!(in_a_week > Timestamp::from(SystemTime::now()));
/// ```
impl From<SystemTime> for Timestamp {
    fn from(time: SystemTime) -> Self {
        let since = time.duration_since(SystemTime::UNIX_EPOCH);
        Self::default() + since.unwrap_or_default()
    }
}

impl fmt::Display for Timestamp {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let time = i64::try_from(self.0)
            .ok()
            .and_then(|milliseconds| jiff::Timestamp::from_millisecond(milliseconds).ok());
        match time {
            Some(time) => write!(f, "{time}"),
            None => write!(f, "{} ms", self.0),
        }
    }
}

/// Tells the time.
///
/// # Contract
///
/// - Both are cheap (they are on the path of every signature) and never block.
/// - [`now`](Clock::now) may go backwards and may jump: it is a clock that people and time servers set. The engine does
///   not follow blindly; see [`limits::CLOCK_STEP_MAX`](crate::limits::CLOCK_STEP_MAX).
/// - [`monotonic`](Clock::monotonic) does neither: nobody can set it. It goes on while the machine sleeps, if the system
///   can tell.
pub trait Clock: fmt::Debug + Send + Sync {
    /// The time now.
    fn now(&self) -> Timestamp;

    /// The time since some fixed point in the past, the same for the whole life of the clock.
    fn monotonic(&self) -> Duration;
}
