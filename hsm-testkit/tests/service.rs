//! Promise: an `Engine` is a `Service`, over the embedded store and audit log as over those in memory, and wrappers that
//! lose nothing change nothing.
#![expect(clippy::unwrap_used, reason = "helpers of tests are tests")]

use std::sync::Arc;

use hsm_backend_soft::SoftDevice;
use hsm_core::audit::AuditSink;
use hsm_core::{Engine, Parts, SecretBytes, Settings, Setup, Store};
use hsm_store::{AuditLog, EmbeddedStore};
use hsm_testkit::service::{ADMINISTRATOR, PASSWORD, ServiceUnderTest};
use hsm_testkit::suite;
use hsm_testkit::{Faults, FaultyAudit, FaultyStore, ManualClock, MemoryAudit, MemoryStore};

mod embedded {
    hsm_testkit::service_conformance!(super::embedded_engine().await);
}

mod in_memory {
    hsm_testkit::service_conformance!(super::engine_in_memory().await);
}

#[test]
fn nothing_is_skipped_on_the_software_device() {
    for case in suite::service(engine_in_memory) {
        let skipped = case.run_listing_skips().unwrap();
        assert!(skipped.is_empty(), "{}: {skipped:#?}", case.name());
    }
}

async fn embedded_engine() -> ServiceUnderTest {
    let clock = Arc::new(ManualClock::default());
    let store = EmbeddedStore::in_memory().unwrap();
    let audit = AuditLog::in_memory(clock.clone()).unwrap();
    engine(Arc::new(store), Arc::new(audit), clock).await
}

async fn engine_in_memory() -> ServiceUnderTest {
    let store = FaultyStore::new(MemoryStore::new(), Faults::none(), Faults::none());
    let audit = FaultyAudit::new(MemoryAudit::new(), Faults::none());
    engine(Arc::new(store), Arc::new(audit), Arc::default()).await
}

async fn engine(
    store: Arc<dyn Store>,
    audit: Arc<dyn AuditSink>,
    clock: Arc<ManualClock>,
) -> ServiceUnderTest {
    let parts = Parts {
        device: Arc::new(SoftDevice::in_memory().unwrap()),
        store,
        audit,
        clock: clock.clone(),
    };
    let setup = Setup {
        administrator: ADMINISTRATOR.parse().unwrap(),
        password: SecretBytes::copy_from(PASSWORD.as_bytes()),
        settings: Settings::default(),
    };
    let engine = Engine::create(parts, setup).await.unwrap();
    ServiceUnderTest::new(engine).with_clock(clock)
}
