//! [`TestClock`]: a clock that can be moved ahead, so that rotation, expiry and retention take seconds.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use hsm_client::{Clock, Error, ErrorKind, Result, SystemClock, Timestamp};
use http::StatusCode;
use jiff::{Span, SpanRelativeTo};
use parking_lot::Mutex;
use serde::Deserialize;

use crate::answer::Outcome;
use crate::partition::Partitions;

/// The system's clock, and an offset that only grows. What was skipped counts as time that has passed: time-outs end, keys
/// expire, retention periods run out. Cheap to clone; all clones are the same clock.
///
/// ```
/// use std::time::Duration;
///
/// use hsm_client::Clock;
/// use hsm_server::TestClock;
///
/// let clock = TestClock::new();
/// let before = clock.now();
/// clock.advance(Duration::from_secs(60 * 60))?;
/// assert!(clock.now().since(before) >= Duration::from_secs(60 * 60));
/// # Ok::<(), hsm_core::Error>(())
/// ```
#[derive(Clone, Debug)]
pub struct TestClock(Arc<Inner>);

#[derive(Debug)]
struct Inner {
    /// In milliseconds.
    offset: AtomicU64,
    /// Where the offset is kept, as text in milliseconds.
    file: Option<PathBuf>,
    moving: Mutex<()>,
}

/// Most that one request moves the clock, in days: ten years.
const ADVANCE_DAYS_MAX: u64 = 3_660;

/// Most runs of the maintenance after the clock was moved.
const MAINTENANCE_RUNS_MAX: usize = 10_000;

impl Default for TestClock {
    fn default() -> Self {
        Self::new()
    }
}

impl TestClock {
    /// A clock that shows the system's time, until it is moved.
    #[must_use]
    pub fn new() -> Self {
        Self::with(0, None)
    }

    /// A clock whose offset is kept in a file, which need not be there yet: an HSM is not opened under a clock that went
    /// back.
    ///
    /// # Errors
    ///
    /// [`InvalidInput`](ErrorKind::InvalidInput) if the file is there and cannot be read.
    pub fn kept_in(file: impl Into<PathBuf>) -> Result<Self> {
        let file = file.into();
        let offset = match std::fs::read_to_string(&file) {
            Ok(text) => text.trim().parse().map_err(|source| {
                Error::new(
                    ErrorKind::InvalidInput,
                    format!("{} does not hold a number of milliseconds", file.display()),
                )
                .with_source(source)
            })?,
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => 0,
            Err(source) => return Err(unkept(&file, source)),
        };
        Ok(Self::with(offset, Some(file)))
    }

    fn with(offset: u64, file: Option<PathBuf>) -> Self {
        Self(Arc::new(Inner {
            offset: AtomicU64::new(offset),
            file,
            moving: Mutex::new(()),
        }))
    }

    /// Moves the clock ahead. The file has the new offset before the clock shows it.
    ///
    /// # Errors
    ///
    /// [`InvalidInput`](ErrorKind::InvalidInput) for more than ten years at once, or if the file cannot be written.
    pub fn advance(&self, by: Duration) -> Result<()> {
        if by > Duration::from_secs(ADVANCE_DAYS_MAX * 24 * 60 * 60) {
            return Err(Error::new(
                ErrorKind::InvalidInput,
                "the clock is moved by ten years at most",
            ));
        }
        let _moving = self.0.moving.lock();
        let by = u64::try_from(by.as_millis()).unwrap_or(u64::MAX);
        let offset = self.offset().saturating_add(by);
        if let Some(file) = &self.0.file {
            let draft = file.with_extension("draft");
            std::fs::write(&draft, offset.to_string())
                .and_then(|()| std::fs::rename(&draft, file))
                .map_err(|source| unkept(file, source))?;
        }
        self.0.offset.store(offset, Ordering::SeqCst);
        Ok(())
    }

    fn offset(&self) -> u64 {
        self.0.offset.load(Ordering::Relaxed)
    }

    pub(crate) fn read(&self) -> Outcome {
        let now = self.now();
        let body = serde_json::json!({
            "now": now.unix_seconds(),
            "time": now.to_string(),
            "offsetSeconds": self.offset() / 1000,
        });
        Outcome::json(StatusCode::OK, body.to_string())
    }

    /// `POST /hsm/v1/clock`: moves the clock, does what is due by then, and answers the new time.
    pub(crate) async fn answer(&self, body: &[u8], partitions: &Partitions) -> Outcome {
        #[derive(Deserialize)]
        #[serde(deny_unknown_fields)]
        struct Advance {
            advance: String,
        }
        let moved = serde_json::from_slice::<Advance>(body)
            .ok()
            .and_then(|body| period(&body.advance))
            .ok_or_else(|| {
                Error::new(
                    ErrorKind::InvalidInput,
                    "the body is {\"advance\": \"P90D\"}, an ISO 8601 duration that is not negative",
                )
            })
            .and_then(|by| self.advance(by));
        if let Err(error) = moved {
            return Outcome::error(&error);
        }
        for partition in partitions.all() {
            for _ in 0..MAINTENANCE_RUNS_MAX {
                match partition.hsm().maintain().await {
                    Ok(done) if done == hsm_core::Maintenance::default() => break,
                    Ok(_) => {}
                    Err(error) => return Outcome::error(&error),
                }
            }
        }
        self.read()
    }
}

/// An ISO 8601 duration; days have 24 hours, months and years have none to tell their length by.
fn period(text: &str) -> Option<Duration> {
    let span = text.parse::<Span>().ok()?;
    let duration = span.to_duration(SpanRelativeTo::days_are_24_hours()).ok()?;
    Duration::try_from(duration).ok()
}

fn unkept(file: &Path, source: std::io::Error) -> Error {
    Error::new(
        ErrorKind::InvalidInput,
        format!("the clock's offset cannot be kept in {}", file.display()),
    )
    .with_source(source)
}

impl Clock for TestClock {
    fn now(&self) -> Timestamp {
        SystemClock::default().now() + Duration::from_millis(self.offset())
    }

    fn monotonic(&self) -> Duration {
        SystemClock::default().monotonic() + Duration::from_millis(self.offset())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_offset_outlives_the_clock() {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("clock");
        let clock = TestClock::kept_in(&file).unwrap();
        clock
            .advance(Duration::from_secs(90 * 24 * 60 * 60))
            .unwrap();
        let again = TestClock::kept_in(&file).unwrap();
        assert_eq!(again.offset(), 90 * 24 * 60 * 60 * 1000);
        assert!(again.now() >= clock.now());
        std::fs::write(&file, "yesterday").unwrap();
        assert_eq!(
            TestClock::kept_in(&file).unwrap_err().kind(),
            ErrorKind::InvalidInput
        );
    }

    #[test]
    fn both_clocks_move_together_and_only_ahead() {
        let clock = TestClock::new();
        let (now, monotonic) = (clock.now(), clock.monotonic());
        clock.advance(Duration::from_secs(1_000_000)).unwrap();
        assert!(clock.now().since(now) >= Duration::from_secs(1_000_000));
        assert!(clock.monotonic() - monotonic >= Duration::from_secs(1_000_000));
        assert!(clock.advance(Duration::MAX).is_err());
    }

    #[test]
    fn periods_are_read() {
        let day = 24 * 60 * 60;
        assert_eq!(period("P90D"), Some(Duration::from_secs(90 * day)));
        assert_eq!(period("P1W"), Some(Duration::from_secs(7 * day)));
        assert_eq!(period("PT1H"), Some(Duration::from_secs(3600)));
        for bad in ["", "-P1D", "90 bananas", "P1M"] {
            assert_eq!(period(bad), None, "{bad}");
        }
    }
}
