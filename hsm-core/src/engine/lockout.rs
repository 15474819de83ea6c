//! How long wrong passwords keep somebody out.

use std::time::Duration;

use crate::clock::Timestamp;
use crate::error::{Error, ErrorKind, Result};
use crate::limits::{LOGIN_DELAY_FIRST, LOGIN_DELAY_MAX, LOGIN_FREE_FAILURES};

/// One wrong password more, unless those so far keep the user out now.
pub(super) fn count_failure(failures: u32, last: Timestamp, now: Timestamp) -> Result<u32> {
    match locked_until(failures, last, now) {
        Some(until) => Err(locked_out(until.since(now))),
        None => Ok(failures.saturating_add(1)),
    }
}

/// Until when wrong passwords keep a user out. Those of a time that was taken back do not.
pub(super) fn locked_until(failures: u32, last: Timestamp, now: Timestamp) -> Option<Timestamp> {
    let beyond = failures.checked_sub(LOGIN_FREE_FAILURES + 1)?;
    let delay = LOGIN_DELAY_FIRST
        .checked_mul(2_u32.saturating_pow(beyond))
        .map_or(LOGIN_DELAY_MAX, |delay| delay.min(LOGIN_DELAY_MAX));
    let until = last + delay;
    (last <= now && now < until).then_some(until)
}

fn locked_out(wait: Duration) -> Error {
    let seconds = wait.as_secs() + 1;
    Error::new(
        ErrorKind::LockedOut,
        format!(
            "too many wrong passwords; wait {seconds} s, or let an administrator unlock the user"
        ),
    )
    .with_retry_after(Duration::from_secs(seconds))
}
