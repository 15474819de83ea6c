//! What is tried again, how often, and after what wait.

use std::fmt;
use std::time::Duration;

use async_trait::async_trait;
use hsm_core::{Error, ErrorKind, Request, Result};

/// Longest wait for a connection: look-up of the name, TCP and TLS.
pub const CONNECT_TIMEOUT_DEFAULT: Duration = Duration::from_secs(5);

/// Longest wait for one answer, from the connection to the last byte. A server makes RSA-4096 keys within it.
pub const ATTEMPT_TIMEOUT_DEFAULT: Duration = Duration::from_secs(30);

/// Longest time that a call takes with all its attempts and the waits between them.
pub const CALL_DEADLINE_DEFAULT: Duration = Duration::from_secs(60);

/// How often a call is tried, the first time included.
pub const ATTEMPTS_DEFAULT: u32 = 4;

/// The first wait between two attempts is at most this long; each is at most twice as long as the one before.
pub const BACKOFF_FIRST: Duration = Duration::from_millis(200);

/// Longest wait between two attempts, unless the server asks for a longer one.
pub const BACKOFF_MAX: Duration = Duration::from_secs(5);

/// A change that may have been carried out is repeated within this time of the first attempt only: a server knows it again
/// for ten minutes.
pub(super) const CHANGE_REPEATED_WITHIN: Duration = Duration::from_secs(5 * 60);

/// How a remote HSM is called.
#[derive(Clone, Copy, Debug)]
pub(super) struct Limits {
    pub(super) connect: Duration,
    pub(super) attempt: Duration,
    pub(super) call: Duration,
    pub(super) attempts: u32,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            connect: CONNECT_TIMEOUT_DEFAULT,
            attempt: ATTEMPT_TIMEOUT_DEFAULT,
            call: CALL_DEADLINE_DEFAULT,
            attempts: ATTEMPTS_DEFAULT,
        }
    }
}

/// What a repetition would do.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(super) enum Repeat {
    /// Nothing that the first did not: reads, and operations that leave nothing behind.
    Harmless,
    /// The change once more, unless the server knows it again by its key.
    ByKey,
}

impl Repeat {
    pub(super) fn of(request: &Request<'_>) -> Self {
        match request {
            Request::GetKey { .. }
            | Request::AttestKey { .. }
            | Request::ListKeys { .. }
            | Request::ListVersions { .. }
            | Request::GetRotationPolicy { .. }
            | Request::GetDeletedKey { .. }
            | Request::ListDeletedKeys { .. }
            | Request::ExportKey { .. }
            | Request::BackupKey { .. }
            | Request::Sign { .. }
            | Request::Verify { .. }
            | Request::Mac { .. }
            | Request::VerifyMac { .. }
            | Request::Encrypt { .. }
            | Request::Decrypt { .. }
            | Request::Wrap { .. }
            | Request::Unwrap { .. }
            | Request::Agree { .. }
            | Request::Encapsulate { .. }
            | Request::Decapsulate { .. }
            | Request::Derive { .. }
            | Request::Random { .. }
            | Request::ListRoleDefinitions
            | Request::ListRoleAssignments { .. }
            | Request::ListUsers { .. }
            | Request::ListTokens { .. }
            | Request::GetSettings
            | Request::ListAuditStreams
            | Request::ReadAudit { .. } => Self::Harmless,
            Request::CreateKey { .. }
            | Request::ImportKey { .. }
            | Request::ImportWrappedKey { .. }
            | Request::UpdateKey { .. }
            | Request::RotateKey { .. }
            | Request::SetRotationPolicy { .. }
            | Request::DeleteKey { .. }
            | Request::RecoverKey { .. }
            | Request::PurgeKey { .. }
            | Request::RestoreKey { .. }
            | Request::PutRoleDefinition { .. }
            | Request::DeleteRoleDefinition { .. }
            | Request::CreateRoleAssignment { .. }
            | Request::DeleteRoleAssignment { .. }
            | Request::CreateUser { .. }
            | Request::UpdateUser { .. }
            | Request::DeleteUser { .. }
            | Request::CreateToken { .. }
            | Request::DeleteToken { .. }
            | Request::ChangePassword { .. }
            | Request::UpdateSettings { .. }
            | Request::Zeroize { .. } => Self::ByKey,
        }
    }
}

/// The wait before attempt `next` (the first repetition is attempt 1): a random part of a time that doubles, so that
/// clients which failed together do not come back together.
pub(super) fn backoff(next: u32, random: u64) -> Duration {
    let longest = BACKOFF_FIRST
        .saturating_mul(
            1_u32
                .checked_shl(next.saturating_sub(1))
                .unwrap_or(u32::MAX),
        )
        .min(BACKOFF_MAX);
    let longest = u64::try_from(longest.as_micros()).unwrap_or(u64::MAX);
    // Never less than half, so that a server that is down is not asked again at once.
    Duration::from_micros(longest / 2 + random % (longest / 2 + 1))
}

pub(super) fn random() -> Result<u64> {
    getrandom::u64().map_err(|_| no_random())
}

pub(super) fn random_id() -> Result<u128> {
    Ok(u128::from(random()?) << 64 | u128::from(random()?))
}

fn no_random() -> Error {
    Error::new(ErrorKind::DeviceFailed, "the system has no random numbers")
}

/// Waits between attempts.
#[async_trait]
pub(super) trait Timer: fmt::Debug + Send + Sync {
    async fn wait(&self, time: Duration);
}

/// The runtime's own timer.
#[derive(Debug)]
pub(super) struct RuntimeTimer;

#[async_trait]
impl Timer for RuntimeTimer {
    async fn wait(&self, time: Duration) {
        tokio::time::sleep(time).await;
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn waits_grow_and_are_bounded(next in 1..100_u32, random: u64) {
            let wait = backoff(next, random);
            let doubled = BACKOFF_FIRST.saturating_mul(1 << next.min(20).saturating_sub(1));
            prop_assert!(wait <= BACKOFF_MAX.min(doubled));
            prop_assert!(wait >= BACKOFF_MAX.min(doubled) / 2);
        }
    }

    #[test]
    fn waits_differ() {
        assert_ne!(backoff(3, 1), backoff(3, 2));
    }
}
