//! Derivation of secrets.

use hsm_core::limits::DERIVED_LEN_MAX;
use hsm_core::{DeriveParameters, Device, ErrorKind, Operation};

use super::super::{fails, ok};
use super::{TestKey, data_usages, supported};

/// The same parameters derive the same secret; any other parameter, key or algorithm another.
pub async fn derivation_is_deterministic_and_separated<D: Device>(make: impl Fn() -> D) {
    let device = make();
    for (key_type, algorithms) in supported(&device, Operation::Derive) {
        let key = TestKey::generate(&device, key_type, data_usages(key_type)).await;
        let other = TestKey::generate(&device, key_type, data_usages(key_type)).await;
        let parameters = [
            ("a", "b"),
            ("a", "c"),
            ("c", "b"),
            ("", "ab"),
            ("ab", ""),
            ("", ""),
        ];
        let mut seen = Vec::new();
        for algorithm in algorithms {
            for (salt_or_label, info_or_context) in parameters {
                let parameters = DeriveParameters {
                    salt_or_label: salt_or_label.as_bytes(),
                    info_or_context: info_or_context.as_bytes(),
                };
                let clause = format!("derive with {algorithm} and {parameters:?}");
                let derived = ok(key.loaded.derive(algorithm, parameters, 32).await, &clause);
                let again = ok(key.loaded.derive(algorithm, parameters, 32).await, &clause);
                assert!(
                    derived.expose() == again.expose(),
                    "{clause} is not deterministic"
                );
                let foreign = ok(
                    other.loaded.derive(algorithm, parameters, 32).await,
                    &clause,
                );
                for secret in [derived, foreign] {
                    assert!(
                        !seen.contains(&secret.expose().to_vec()),
                        "{clause} is not separated"
                    );
                    seen.push(secret.expose().to_vec());
                }
            }
        }
    }
}

/// Secrets of any length up to the limit, and none beyond.
pub async fn derived_secrets_have_the_length_asked_for<D: Device>(make: impl Fn() -> D) {
    let device = make();
    for (key_type, algorithms) in supported(&device, Operation::Derive) {
        let key = TestKey::generate(&device, key_type, data_usages(key_type)).await;
        for algorithm in algorithms {
            for len in [1, 31, 32, 33, 64, 65, DERIVED_LEN_MAX] {
                let clause = format!("derive {len} bytes with {algorithm}");
                let derived = key
                    .loaded
                    .derive(algorithm, DeriveParameters::default(), len);
                assert_eq!(ok(derived.await, &clause).len(), len, "{clause}");
            }
            let beyond = DERIVED_LEN_MAX + 1;
            let result = key
                .loaded
                .derive(algorithm, DeriveParameters::default(), beyond)
                .await;
            let kinds = [ErrorKind::LimitExceeded, ErrorKind::InvalidInput];
            fails(
                result,
                &kinds,
                format!("derive {beyond} bytes with {algorithm}"),
            );
        }
    }
}
