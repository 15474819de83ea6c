//! Key reports: of this key, for this nonce, or none.

use hsm_core::attestation::{AttestRequest, KeyReport, Nonce, Proof};
use hsm_core::{Device, ErrorKind, SealedKey};

use super::super::{fails, ok, skip};
use super::{TestKey, binding, data_usages, quick_key_type, small_key_types};

const OF_THE_KEY: &str = "a key report states the key that was asked about";
const FOR_THE_NONCE: &str = "a key report has the nonce that was asked with";
const LOADS: &str = "a key that does not load is not stated: Damaged otherwise";

/// A report states the key, its spec, its binding and its label, under a signature that is right.
pub async fn reports_state_the_key<D: Device>(make: impl Fn() -> D) {
    let device = make();
    if !attests(&device) {
        return;
    }
    let label = ok("payments".parse(), "a label");
    let request = AttestRequest::new(nonce(1)).with_label(label);
    let mut attesters = Vec::new();
    for key_type in small_key_types(&device) {
        let key = TestKey::generate(&device, key_type, data_usages(key_type)).await;
        let report = attest(&device, &key, &request).await;
        let claims = report.claims();
        let clause = format!("{OF_THE_KEY}: {key_type}");
        assert_eq!(claims.spec, key.spec, "{clause}");
        assert_eq!(claims.public, key.new.public, "{clause}");
        assert_eq!(&claims.binding, key.binding.as_bytes(), "{clause}");
        assert_eq!(claims.label, request.label, "{clause}");
        assert_eq!(claims.nonce, request.nonce, "{FOR_THE_NONCE}");
        if let Proof::Software(attester) = report.proof() {
            ok(report.verify_signature(attester), "a report is signed");
        }
        attesters.push(claims.attestation_key);
    }
    attesters.dedup();
    assert!(attesters.len() <= 1, "a device has one attestation key");
}

/// Another nonce gives another report, and so does another key.
pub async fn reports_are_for_their_nonce<D: Device>(make: impl Fn() -> D) {
    let device = make();
    let Some(key_type) = quick_key_type(&device).filter(|_| attests(&device)) else {
        return;
    };
    let key = TestKey::generate(&device, key_type, data_usages(key_type)).await;
    for byte in [1, 2] {
        let request = AttestRequest::new(nonce(byte));
        let report = attest(&device, &key, &request).await;
        assert_eq!(report.claims().nonce, request.nonce, "{FOR_THE_NONCE}");
    }
}

/// Edited sealed keys, and those of another binding, are not stated.
pub async fn what_does_not_load_is_not_reported<D: Device>(make: impl Fn() -> D) {
    let device = make();
    let Some(key_type) = quick_key_type(&device) else {
        return;
    };
    let key = TestKey::generate(&device, key_type, data_usages(key_type)).await;
    let request = AttestRequest::new(nonce(1));
    if !device.capabilities().supports_attestation() {
        let refused = device.attest(&key.new.sealed, &key.binding, &request).await;
        fails(
            refused,
            &[ErrorKind::Unsupported],
            "a device that makes no key reports says so",
        );
        return;
    }
    let other = device
        .attest(&key.new.sealed, &binding("another"), &request)
        .await;
    fails(other, &[ErrorKind::Damaged], LOADS);
    let mut edited = key.new.sealed.as_bytes().to_vec();
    let last = edited.len() - 1;
    edited[last] ^= 1;
    let edited = ok(SealedKey::new(edited), "sealed");
    let edited = device.attest(&edited, &key.binding, &request).await;
    fails(edited, &[ErrorKind::Damaged], LOADS);
}

fn attests(device: &impl Device) -> bool {
    let attests = device.capabilities().supports_attestation();
    if !attests {
        skip("the device makes no key reports");
    }
    attests
}

async fn attest(device: &impl Device, key: &TestKey, request: &AttestRequest) -> KeyReport {
    let attested = device.attest(&key.new.sealed, &key.binding, request).await;
    ok(ok(attested, "attest").decode(), "a report is one")
}

fn nonce(byte: u8) -> Nonce {
    ok(Nonce::new([byte; 32]), "a nonce")
}
