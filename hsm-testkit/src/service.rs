//! [`ServiceUnderTest`]: what [`service_conformance!`](crate::service_conformance) is given.

use std::sync::Arc;

use hsm_core::Service;

use crate::ManualClock;

/// The user that a service under test starts with, who has the role Managed HSM Administrator at `/`.
pub const ADMINISTRATOR: &str = "administrator";

/// The administrator's password. Known to everybody.
pub const PASSWORD: &str = "a password for tests, and for nothing else";

/// A service that was just made: its only user is [`ADMINISTRATOR`], and it has no keys.
#[derive(Clone, Debug)]
pub struct ServiceUnderTest {
    pub(crate) service: Arc<dyn Service>,
    pub(crate) clock: Option<Arc<ManualClock>>,
}

impl ServiceUnderTest {
    /// A service whose clock nobody can turn: cases that need time to pass are skipped.
    pub fn new(service: impl Service + 'static) -> Self {
        Self {
            service: Arc::new(service),
            clock: None,
        }
    }

    /// The same service, which goes by `clock`.
    #[must_use]
    pub fn with_clock(mut self, clock: Arc<ManualClock>) -> Self {
        self.clock = Some(clock);
        self
    }
}
