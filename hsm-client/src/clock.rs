//! The wall clock of the operating system.

use std::time::{Duration, SystemTime};

use hsm_core::{Clock, Timestamp};

/// The wall clock of the operating system, and its monotonic clock: on Linux the one that goes on during sleep
/// (`CLOCK_BOOTTIME`).
///
/// What [`Setup::clock`](crate::Setup::clock) and [`OpenOptions::clock`](crate::OpenOptions::clock) replace.
#[derive(Clone, Copy, Debug, Default)]
#[non_exhaustive]
pub struct SystemClock;

impl Clock for SystemClock {
    fn now(&self) -> Timestamp {
        SystemTime::now().into()
    }

    #[cfg(any(target_os = "linux", target_os = "android"))]
    fn monotonic(&self) -> Duration {
        let time = rustix::time::clock_gettime(rustix::time::ClockId::Boottime);
        Duration::try_from(time).unwrap_or_default()
    }

    #[cfg(not(any(target_os = "linux", target_os = "android")))]
    fn monotonic(&self) -> Duration {
        static START: std::sync::LazyLock<std::time::Instant> =
            std::sync::LazyLock::new(std::time::Instant::now);
        START.elapsed()
    }
}
