//! A key report is verified, or refused with a reason; and what is taken apart is put together to the same bytes.
#![no_main]

use hsm_attestation::{Nonce, Verifier, VerifyError};
use hsm_core::attestation::Evidence;
use libfuzzer_sys::fuzz_target;

fuzz_target!(|data: &[u8]| {
    let nonce = Nonce::new([7; 32]).expect("a nonce");
    let verifier = Verifier::new(nonce)
        .danger_any_attestation_key()
        .accept_software()
        .trust_root(data);
    let verdict = verifier.verify(data);
    let Ok(evidence) = Evidence::from_bytes(data) else {
        return;
    };
    match evidence.decode() {
        Ok(report) => assert!(
            !matches!(verdict, Err(VerifyError::Malformed(_))),
            "{report:?}"
        ),
        Err(_) => assert!(matches!(verdict, Err(VerifyError::Malformed(_)))),
    }
});
