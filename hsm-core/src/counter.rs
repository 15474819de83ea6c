//! [`MonotonicCounter`]: a number outside the store that only grows, by which an older copy of the whole store is found out.

use std::fmt::Debug;

use async_trait::async_trait;

use crate::error::Result;

/// A counter that nobody can turn back: in a TPM, in another HSM, at a service.
///
/// One counter belongs to one partition. `hsm-backend-tpm` has one in a TPM's memory. The suite `counter_conformance` of
/// `hsm-testkit` holds any to the contract.
///
/// # Contract
///
/// - The value never falls, not across restarts either.
/// - [`advance`](Self::advance) is durable when it returns.
/// - Whoever calls [`advance`](Self::advance) at the same time, in whichever process: the value is in the end no more than the
///   greatest that anybody asked for. So it is no "add one", which two would do twice.
/// - [`identity`](Self::identity) is that of this counter and of no other, and what it reads is that counter's: somebody on the
///   way who answers in its place is found out.
/// - After an error of [`advance`](Self::advance) the value may have grown, but never beyond what was asked for.
#[async_trait]
pub trait MonotonicCounter: Debug + Send + Sync {
    /// Which counter it is. Not secret.
    fn identity(&self) -> [u8; 32];

    /// The value now.
    ///
    /// # Errors
    ///
    /// What keeps it from being read; a counter that is gone says so.
    async fn read(&self) -> Result<u64>;

    /// Counts up until the value is at least `to`. Does nothing if it is.
    ///
    /// # Errors
    ///
    /// [`LimitExceeded`](crate::ErrorKind::LimitExceeded) if that is more than
    /// [`COUNTER_AHEAD_MAX`](crate::limits::COUNTER_AHEAD_MAX) steps, of which none is done; and what keeps it from counting.
    async fn advance(&self, to: u64) -> Result<()>;
}
