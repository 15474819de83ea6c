//! The conformance suites as values: for whoever wants to run a case and look at how it fails.
//!
//! Backends want the macros, which make a `#[test]` of each case. This is for tests of the suites themselves, and for
//! programs that examine a backend which is not known when they are compiled.
//!
//! ```
//! use hsm_testkit::{MemoryStore, suite};
//!
//! for case in suite::store(|| Box::new(MemoryStore::new())) {
//!     case.run().unwrap();
//! }
//! ```

use std::any::Any;
use std::fmt;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;

use hsm_core::audit::AuditSink;
use hsm_core::{Device, Store};

use crate::conformance::take_skipped;
use crate::durability::Reopen;
use crate::service::ServiceUnderTest;

/// One promise of a contract.
pub struct Case {
    name: &'static str,
    body: Box<dyn Fn()>,
}

impl Case {
    #[doc(hidden)]
    pub fn new(name: &'static str, body: impl Fn() + 'static) -> Self {
        Self {
            name,
            body: Box::new(body),
        }
    }

    /// Its name, that of the test which the macro makes of it.
    #[must_use]
    pub const fn name(&self) -> &'static str {
        self.name
    }

    /// Holds an implementation to the promise.
    ///
    /// # Errors
    ///
    /// The clause of the contract that does not hold, and what was found in its place.
    pub fn run(&self) -> Result<(), String> {
        self.run_listing_skips().map(drop)
    }

    /// As [`run`](Self::run), and says which parts were skipped and why; nothing if the whole promise holds.
    ///
    /// # Errors
    ///
    /// As [`run`](Self::run).
    pub fn run_listing_skips(&self) -> Result<Vec<String>, String> {
        take_skipped();
        catch_unwind(AssertUnwindSafe(&self.body)).map_err(|panic| message(&*panic))?;
        Ok(take_skipped())
    }
}

impl fmt::Debug for Case {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Case").field(&self.name).finish()
    }
}

fn message(panic: &(dyn Any + Send)) -> String {
    match (panic.downcast_ref::<String>(), panic.downcast_ref::<&str>()) {
        (Some(message), _) => message.clone(),
        (_, Some(message)) => (*message).to_owned(),
        _ => "a panic without a message".to_owned(),
    }
}

/// The cases of [`device_conformance!`](crate::device_conformance).
#[must_use]
pub fn device(make: impl Fn() -> Box<dyn Device> + Send + Sync + 'static) -> Vec<Case> {
    let make: Arc<dyn Fn() -> Box<dyn Device> + Send + Sync> = Arc::new(make);
    crate::device_cases!(conformance_values: make)
}

/// The cases of [`store_conformance!`](crate::store_conformance).
#[must_use]
pub fn store(make: impl Fn() -> Box<dyn Store> + Send + Sync + 'static) -> Vec<Case> {
    let make: Arc<dyn Fn() -> Box<dyn Store> + Send + Sync> = Arc::new(make);
    crate::store_cases!(conformance_values: make)
}

/// The cases of [`store_durability!`](crate::store_durability).
#[must_use]
pub fn durable_store(make: impl Fn() -> Reopen<dyn Store> + Send + Sync + 'static) -> Vec<Case> {
    let make: Arc<dyn Fn() -> Reopen<dyn Store> + Send + Sync> = Arc::new(make);
    crate::durable_store_cases!(conformance_values: make)
}

/// The cases of [`audit_conformance!`](crate::audit_conformance).
#[must_use]
pub fn audit(make: impl Fn() -> Box<dyn AuditSink> + Send + Sync + 'static) -> Vec<Case> {
    let make: Arc<dyn Fn() -> Box<dyn AuditSink> + Send + Sync> = Arc::new(make);
    crate::audit_cases!(conformance_values: make)
}

/// The cases of [`audit_durability!`](crate::audit_durability).
#[must_use]
pub fn durable_audit(
    make: impl Fn() -> Reopen<dyn AuditSink> + Send + Sync + 'static,
) -> Vec<Case> {
    let make: Arc<dyn Fn() -> Reopen<dyn AuditSink> + Send + Sync> = Arc::new(make);
    crate::durable_audit_cases!(conformance_values: make)
}

/// The cases of [`service_conformance!`](crate::service_conformance).
#[must_use]
pub fn service(make: impl AsyncFn() -> ServiceUnderTest + 'static) -> Vec<Case> {
    let make = Arc::new(make);
    crate::service_cases!(conformance_values: make)
}
