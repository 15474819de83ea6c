//! [`ServiceUnderTest`]: what [`service_conformance!`](crate::service_conformance) is given.

use std::sync::Arc;

use hsm_core::{Capabilities, Service};

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
    /// `None` for everything.
    pub(crate) offers: Option<Arc<Capabilities>>,
}

impl ServiceUnderTest {
    /// A service whose clock nobody can turn: cases that need time to pass are skipped. It offers all types of key and
    /// all algorithms: nothing is skipped for want of one.
    pub fn new(service: impl Service + 'static) -> Self {
        Self {
            service: Arc::new(service),
            clock: None,
            offers: None,
        }
    }

    /// The same service, which goes by `clock`.
    #[must_use]
    pub fn with_clock(mut self, clock: Arc<ManualClock>) -> Self {
        self.clock = Some(clock);
        self
    }

    /// The same service, over a device that has these types of key and algorithms only. Cases, and parts of cases, that
    /// need another are skipped out loud; what the service offers, it must do.
    #[must_use]
    pub fn offering(mut self, capabilities: &Capabilities) -> Self {
        self.offers = Some(Arc::new(capabilities.clone()));
        self
    }
}
