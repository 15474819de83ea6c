//! Published vectors hold for the engine: more than ten thousand are asked of it, and none fails. Run with `--nocapture`
//! to see which were skipped, and why.
#![expect(clippy::unwrap_used, reason = "helpers of tests are tests")]

use std::sync::Arc;

use hsm_backend_soft::{CryptoProvider, SoftDevice};
use hsm_core::{Device, Engine, Parts, SecretBytes, Settings, Setup};
use hsm_testkit::service::{ADMINISTRATOR, PASSWORD, ServiceUnderTest};
use hsm_testkit::{ManualClock, MemoryAudit, MemoryStore, vectors};

#[test]
fn aws_lc_gives_the_published_answers() {
    check("aws-lc-rs", CryptoProvider::AwsLc);
}

#[test]
fn rust_crypto_gives_the_published_answers() {
    check("RustCrypto", CryptoProvider::RustCrypto);
}

fn check(name: &str, provider: CryptoProvider) {
    let device = || SoftDevice::options(provider).in_memory().unwrap();
    let report = vectors::run(|| engine(Arc::new(device())));
    println!("provider {name}\n{report}");
    report.assert_passed();
    assert!(report.service() > 10_000, "{}", report.service());
}

async fn engine(device: Arc<dyn Device>) -> ServiceUnderTest {
    let clock = Arc::new(ManualClock::default());
    let parts = Parts {
        device,
        store: Arc::new(MemoryStore::new()),
        audit: Arc::new(MemoryAudit::new()),
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
