//! Signatures and message authentication codes.

use hsm_core::{Algorithm, Device, ErrorKind, KeyFamily, Operation, SignInput};
use sha2::{Digest, Sha256, Sha384, Sha512};

use super::super::{fails, ok};
use super::{TestKey, data_usages, supported, supported_small};

const MESSAGE: &[u8] = b"To be signed, and not otherwise.";
const VERIFIES: &str = "a signature verifies in the device and in pure Rust";
const REFUSED: &str = "a signature that is not right is CryptoFailed";

/// Every signature algorithm, of the message and of its digest, verified by the device and by the public key alone.
pub async fn signatures_verify_everywhere<D: Device>(make: impl Fn() -> D) {
    let device = make();
    for (key_type, algorithms) in supported(&device, Operation::Sign) {
        let key = TestKey::generate(&device, key_type, data_usages(key_type)).await;
        for algorithm in algorithms {
            let digest = digest(algorithm);
            let message = SignInput::Message(MESSAGE);
            let inputs = [Some(message), digest.as_deref().map(SignInput::Digest)];
            let inputs: Vec<_> = inputs.into_iter().flatten().collect();
            for signed in &inputs {
                let clause = format!("{VERIFIES}: {algorithm} with {key_type}");
                let signature = ok(key.loaded.sign(algorithm, *signed).await, &clause);
                let expected_len = match algorithm {
                    // FIPS 204 table 2
                    Algorithm::MlDsa44 => 2420,
                    Algorithm::MlDsa65 => 3309,
                    Algorithm::MlDsa87 => 4627,
                    _ if key_type.info().family == KeyFamily::Rsa => key_type.byte_len(),
                    _ => 2 * key_type.byte_len(),
                };
                assert_eq!(
                    signature.len(),
                    expected_len,
                    "length of an {algorithm} signature"
                );
                for verified in &inputs {
                    let in_device = key.loaded.verify(algorithm, *verified, &signature);
                    ok(in_device.await, &clause);
                    ok(
                        key.public().verify(algorithm, *verified, &signature),
                        &clause,
                    );
                }
            }
        }
    }
}

/// Messages of any length are signed.
pub async fn messages_of_any_length_are_signed<D: Device>(make: impl Fn() -> D) {
    let device = make();
    for (key_type, algorithms) in supported(&device, Operation::Sign) {
        if key_type.info().family == KeyFamily::Rsa {
            continue; // these hash as the others do
        }
        let key = TestKey::generate(&device, key_type, data_usages(key_type)).await;
        for len in [0, 1, 63, 64, 127, 128, 65_536] {
            let message = vec![0x5a; len];
            let input = SignInput::Message(&message);
            let clause = format!("{VERIFIES}: {len} bytes with {}", algorithms[0]);
            let signature = ok(key.loaded.sign(algorithms[0], input).await, &clause);
            ok(
                key.public().verify(algorithms[0], input, &signature),
                &clause,
            );
        }
    }
}

/// Edited messages and signatures, and those of other keys, do not verify.
pub async fn wrong_signatures_are_refused<D: Device>(make: impl Fn() -> D) {
    let device = make();
    for (key_type, algorithms) in supported_small(&device, Operation::Sign) {
        let key = TestKey::generate(&device, key_type, data_usages(key_type)).await;
        let message = SignInput::Message(MESSAGE);
        let mut others: Vec<Vec<u8>> = Vec::new();
        for algorithm in algorithms {
            let signature = ok(key.loaded.sign(algorithm, message).await, VERIFIES);
            let refuse = async |input, signature: &[u8], what: &str| {
                let result = key.loaded.verify(algorithm, input, signature).await;
                let clause = format!("{REFUSED}: {algorithm}, {what}");
                fails(result, &[ErrorKind::CryptoFailed], clause);
            };
            let edited = SignInput::Message(b"To be signed, and yes otherwise.");
            refuse(edited, &signature, "another message").await;
            for at in [0, signature.len() / 2, signature.len() - 1] {
                let mut flipped = signature.clone();
                flipped[at] ^= 1;
                refuse(message, &flipped, "a flipped bit").await;
            }
            refuse(message, &signature[1..], "a byte short").await;
            refuse(message, &[&signature[..], &[0]].concat(), "a byte long").await;
            refuse(message, &[], "no signature").await;
            refuse(message, &vec![0; signature.len()], "zeros").await;
            for other in &others {
                refuse(message, other, "a signature of another algorithm").await;
            }
            others.push(signature);
        }
    }
}

/// A digest must be as long as the hash; EdDSA and ML-DSA take none.
pub async fn digests_of_the_wrong_length_are_refused<D: Device>(make: impl Fn() -> D) {
    let device = make();
    let clause =
        "a digest of the wrong length is InvalidInput; EdDSA and ML-DSA sign messages only";
    for (key_type, algorithms) in supported_small(&device, Operation::Sign) {
        let key = TestKey::generate(&device, key_type, data_usages(key_type)).await;
        for algorithm in algorithms {
            let right = algorithm.hash().map(|hash| hash.output_len());
            for len in [0, 20, 32, 48, 64, 65] {
                if Some(len) == right {
                    continue;
                }
                let digest = vec![7; len];
                let signed = key.loaded.sign(algorithm, SignInput::Digest(&digest)).await;
                let what = format!("{clause}: {len} bytes for {algorithm}");
                fails(signed, &[ErrorKind::InvalidInput], &what);
                let input = SignInput::Digest(&digest);
                let verified = key.loaded.verify(algorithm, input, &[0; 64]).await;
                fails(verified, &[ErrorKind::InvalidInput], &what);
            }
        }
    }
}

/// MACs are deterministic, checked, and refused when anything differs.
pub async fn macs_are_computed_and_checked<D: Device>(make: impl Fn() -> D) {
    let device = make();
    for (key_type, algorithms) in supported(&device, Operation::Mac) {
        let key = TestKey::generate(&device, key_type, data_usages(key_type)).await;
        let other = TestKey::generate(&device, key_type, data_usages(key_type)).await;
        for algorithm in algorithms {
            for message in [MESSAGE, b"", &[7; 10_000]] {
                let tag = ok(key.loaded.mac(algorithm, message).await, "mac");
                let again = ok(key.loaded.mac(algorithm, message).await, "mac");
                assert_eq!(tag, again, "a MAC is deterministic: {algorithm}");
                assert_eq!(tag.len(), algorithm.info().tag_len, "length of {algorithm}");
                ok(
                    key.loaded.verify_mac(algorithm, message, &tag).await,
                    "its own MAC",
                );
                let foreign = ok(other.loaded.mac(algorithm, message).await, "mac");
                let mut flipped = tag.clone();
                flipped[0] ^= 0x80;
                for wrong in [&flipped[..], &tag[1..], &[], &foreign] {
                    let result = key.loaded.verify_mac(algorithm, message, wrong).await;
                    let clause = format!("a wrong MAC is CryptoFailed: {algorithm}");
                    fails(result, &[ErrorKind::CryptoFailed], clause);
                }
            }
        }
    }
}

/// The digest of [`MESSAGE`] that the algorithm signs; `None` if it signs messages only.
fn digest(algorithm: Algorithm) -> Option<Vec<u8>> {
    match algorithm.hash()?.output_len() {
        32 => Some(Sha256::digest(MESSAGE).to_vec()),
        48 => Some(Sha384::digest(MESSAGE).to_vec()),
        _ => Some(Sha512::digest(MESSAGE).to_vec()),
    }
}
