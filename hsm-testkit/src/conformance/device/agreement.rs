//! Agreement on shared secrets.

use hsm_core::{Device, ErrorKind, KeyType, Operation, PublicKey};
use subtle::ConstantTimeEq;

use super::super::{fails, ok, skip};
use super::{TestKey, data_usages, supported};

const AGREES: &str = "both sides of an agreement have the same secret";
const PEER: &str = "the peer must be of the same curve and valid: InvalidInput otherwise";

/// Both sides get the same secret, and other peers another.
pub async fn agreement_works_both_ways<D: Device>(make: impl Fn() -> D) {
    let device = make();
    for (key_type, algorithms) in supported(&device, Operation::Agree) {
        let usages = data_usages(key_type);
        let one = TestKey::generate(&device, key_type, usages).await;
        let two = TestKey::generate(&device, key_type, usages).await;
        let three = TestKey::generate(&device, key_type, usages).await;
        for algorithm in algorithms {
            let clause = format!("{AGREES}: {algorithm} with {key_type}");
            let here = ok(one.loaded.agree(algorithm, two.public()).await, &clause);
            let there = ok(two.loaded.agree(algorithm, one.public()).await, &clause);
            assert!(bool::from(here.ct_eq(&there)), "{clause}");
            assert_eq!(
                here.len(),
                key_type.byte_len(),
                "the secret is the x-coordinate: {key_type}"
            );
            let other = ok(one.loaded.agree(algorithm, three.public()).await, &clause);
            assert!(
                !bool::from(here.ct_eq(&other)),
                "another peer, another secret"
            );
        }
    }
}

/// A peer on another curve is refused.
pub async fn peers_on_other_curves_are_refused<D: Device>(make: impl Fn() -> D) {
    let device = make();
    let mut keys = Vec::new();
    for (key_type, algorithms) in supported(&device, Operation::Agree) {
        let key = TestKey::generate(&device, key_type, data_usages(key_type)).await;
        keys.push((key, algorithms[0]));
    }
    for (key, algorithm) in &keys {
        for (peer, _) in &keys {
            if peer.spec.key_type != key.spec.key_type {
                let result = key.loaded.agree(*algorithm, peer.public()).await;
                let clause = format!("{PEER}: {} with {}", key.spec.key_type, peer.spec.key_type);
                fails(result, &[ErrorKind::InvalidInput], clause);
            }
        }
    }
}

/// X25519 peers of small order would make the secret a constant (RFC 7748 section 6.1).
pub async fn peers_of_small_order_are_refused<D: Device>(make: impl Fn() -> D) {
    let device = make();
    if !device.capabilities().supports_key_type(KeyType::X25519) {
        return skip("the device has no keys of type X25519");
    }
    let key = TestKey::generate(&device, KeyType::X25519, data_usages(KeyType::X25519)).await;
    let mut one = [0; 32];
    one[0] = 1;
    for point in [[0; 32], one] {
        let Ok(peer) = PublicKey::from_raw(KeyType::X25519, point) else {
            continue; // refused even earlier
        };
        let result = key.loaded.agree(hsm_core::Algorithm::EcdhEs, &peer).await;
        let kinds = [ErrorKind::InvalidInput, ErrorKind::CryptoFailed];
        fails(result, &kinds, PEER);
    }
}
