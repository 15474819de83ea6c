//! Promise: an engine over a TPM is a `Service`, in all that the TPM offers; and what is skipped for want of an algorithm
//! is known.
#![expect(clippy::unwrap_used, reason = "helpers of tests are tests")]

#[path = "simulated/transport.rs"]
mod transport;

use std::collections::BTreeMap;
use std::sync::Arc;
use std::thread;

use hsm_backend_tpm::TpmDevice;
use hsm_core::{Device, Engine, Parts, SecretBytes, Settings, Setup};
use hsm_testkit::service::{ADMINISTRATOR, PASSWORD, ServiceUnderTest};
use hsm_testkit::{ManualClock, MemoryAudit, MemoryStore, TpmSimulator, suite};
use transport::Simulated;

hsm_testkit::service_conformance!(engine().await, missing: TpmSimulator::missing());

/// Cases of which a part is skipped on swtpm, or all: it has no AES-GCM, AES-KW or HKDF, no Edwards curve, and nothing
/// post-quantum.
const SKIPPED: [&str; 18] = [
    "agreement_works_both_ways",
    "ciphertexts_decrypt",
    "derivations_repeat_and_differ",
    "edited_wrapped_keys_are_refused",
    "encapsulated_secrets_decapsulate",
    "encapsulation_follows_usages_and_states",
    "every_request_has_its_own_answer",
    "exported_keys_come_back_the_same",
    "imported_keys_are_the_published_ones",
    "inputs_at_the_limits_work",
    "inputs_beyond_the_limits_are_refused",
    "keys_for_one_algorithm_do_no_other",
    "misfit_algorithms_are_refused",
    "post_quantum_keys_come_back_the_same",
    "signatures_verify_everywhere",
    "states_allow_what_the_standard_says",
    "transport_needs_rights_to_both_keys",
    "wrapped_keys_are_not_widened",
];

#[test]
fn nothing_else_is_skipped() {
    if let Some(reason) = TpmSimulator::missing() {
        eprintln!("skipped: {reason}");
        return;
    }
    const THREADS: usize = 4;
    let examine = |part: usize| {
        let cases = suite::service(engine);
        let mine = cases.iter().skip(part).step_by(THREADS);
        let run = |case: &suite::Case| (case.name(), case.run_listing_skips().unwrap());
        mine.map(run).collect::<BTreeMap<_, _>>()
    };
    let mut skipped = thread::scope(|scope| {
        let parts: Vec<_> = (0..THREADS)
            .map(|part| scope.spawn(move || examine(part)))
            .collect();
        let found = parts.into_iter().flat_map(|part| part.join().unwrap());
        found.collect::<BTreeMap<_, _>>()
    });
    let cases = skipped.len();
    skipped.retain(|_, reasons| !reasons.is_empty());
    for (case, reasons) in &mut skipped {
        reasons.sort();
        reasons.dedup();
        println!("{case}: skipped: {}", reasons.join("; "));
    }
    println!(
        "{} of {cases} cases, or parts of them, are skipped",
        skipped.len()
    );
    for case in skipped.keys() {
        assert!(SKIPPED.contains(case), "{case} is skipped");
    }
}

async fn engine() -> ServiceUnderTest {
    let clock = Arc::new(ManualClock::default());
    let device = TpmDevice::create(Simulated::new()).unwrap();
    let capabilities = device.capabilities().clone();
    let parts = Parts {
        device: Arc::new(device),
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
    ServiceUnderTest::new(engine)
        .with_clock(clock)
        .offering(&capabilities)
}
