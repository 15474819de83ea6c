//! Encryption and decryption of data.

use hsm_core::{Algorithm, CiphertextRef, Device, ErrorKind, KeyFamily, Operation};

use super::super::{fails, ok, skip};
use super::{TestKey, data_usages, supported, supported_small};

const ROUND_TRIP: &str = "decrypt gives back what encrypt took";
const TAMPERED: &str = "a failed decryption is CryptoFailed, without reason";
const IV: &str = "the device chooses a random IV unless `iv` gives one, which AES-GCM refuses";
const ABSENT: &str =
    "algorithms without IV, tag or associated data take those as empty and refuse others";

/// Data of any length that the algorithm takes comes back.
pub async fn ciphertexts_decrypt<D: Device>(make: impl Fn() -> D) {
    let device = make();
    for (key_type, algorithms) in supported(&device, Operation::Encrypt) {
        let key = TestKey::generate(&device, key_type, data_usages(key_type)).await;
        for algorithm in encrypting(&algorithms) {
            let info = algorithm.info();
            let aad: &[u8] = if info.tag_len > 0 { b"context" } else { b"" };
            for len in lengths(algorithm) {
                let clause = format!("{ROUND_TRIP}: {len} bytes with {algorithm} and {key_type}");
                let plaintext: Vec<u8> = (0..=250).cycle().take(len).collect();
                let encrypted = key.loaded.encrypt(algorithm, &plaintext, None, aad).await;
                let encrypted = ok(encrypted, &clause);
                assert_eq!(
                    encrypted.iv.len(),
                    info.iv_len,
                    "length of the IV of {algorithm}"
                );
                assert_eq!(
                    encrypted.tag.len(),
                    info.tag_len,
                    "length of the tag of {algorithm}"
                );
                let decrypted = key.loaded.decrypt(algorithm, encrypted.as_ref(), aad).await;
                assert!(ok(decrypted, &clause).expose() == plaintext, "{clause}");
            }
        }
    }
}

/// Two encryptions of the same data have different IVs, or differ by their padding.
pub async fn encryptions_do_not_repeat<D: Device>(make: impl Fn() -> D) {
    let device = make();
    for (key_type, algorithms) in supported_small(&device, Operation::Encrypt) {
        let key = TestKey::generate(&device, key_type, data_usages(key_type)).await;
        for algorithm in encrypting(&algorithms) {
            let mut seen = Vec::new();
            for _ in 0..4 {
                let encrypted = key.loaded.encrypt(algorithm, &[7; 32], None, b"").await;
                let encrypted = ok(encrypted, ROUND_TRIP);
                assert!(
                    !seen.contains(&encrypted),
                    "{IV}: {algorithm} repeats itself"
                );
                assert!(
                    encrypted.ciphertext != [7; 32],
                    "{algorithm} does not encrypt"
                );
                seen.push(encrypted);
            }
        }
    }
}

/// Who may choose the IV, and how long it is.
pub async fn given_ivs_are_used_or_refused<D: Device>(make: impl Fn() -> D) {
    let device = make();
    let data = [7; 32];
    for (key_type, algorithms) in supported_small(&device, Operation::Encrypt) {
        let key = TestKey::generate(&device, key_type, data_usages(key_type)).await;
        for algorithm in encrypting(&algorithms) {
            let info = algorithm.info();
            let iv: Vec<u8> = (1..=16).take(info.iv_len.max(1)).collect();
            let encrypted = key.loaded.encrypt(algorithm, &data, Some(&iv), b"").await;
            if info.tag_len > 0 || info.iv_len == 0 {
                fails(
                    encrypted,
                    &[ErrorKind::InvalidInput],
                    format!("{IV}: {algorithm}"),
                );
                continue;
            }
            let clause = format!("{IV}: {algorithm}");
            let encrypted = ok(encrypted, &clause);
            assert_eq!(encrypted.iv, iv, "{clause}");
            let again = key.loaded.encrypt(algorithm, &data, Some(&iv), b"").await;
            assert_eq!(
                ok(again, &clause),
                encrypted,
                "{clause}: the same IV, the same ciphertext"
            );
            for wrong in [&iv[1..], &[&iv[..], &[0]].concat(), &[]] {
                let result = key.loaded.encrypt(algorithm, &data, Some(wrong), b"").await;
                fails(result, &[ErrorKind::InvalidInput], &clause);
                let ciphertext = CiphertextRef {
                    iv: wrong,
                    ..encrypted.as_ref()
                };
                let result = key.loaded.decrypt(algorithm, ciphertext, b"").await;
                fails(result, &[ErrorKind::InvalidInput], &clause);
            }
        }
    }
}

/// Nothing that was edited is decrypted where the algorithm authenticates.
pub async fn edited_ciphertexts_are_refused<D: Device>(make: impl Fn() -> D) {
    let device = make();
    for (key_type, algorithms) in supported_small(&device, Operation::Encrypt) {
        let key = TestKey::generate(&device, key_type, data_usages(key_type)).await;
        let other = TestKey::generate(&device, key_type, data_usages(key_type)).await;
        for algorithm in encrypting(&algorithms) {
            let authenticated = algorithm.info().tag_len > 0;
            if !authenticated && key_type.info().family == KeyFamily::Oct {
                continue; // not authenticated: any ciphertext is one
            }
            let aad: &[u8] = if authenticated { b"context" } else { b"" };
            let encrypted = key.loaded.encrypt(algorithm, &[7; 33], None, aad).await;
            let good = ok(encrypted, ROUND_TRIP);
            let clause = format!("{TAMPERED}: {algorithm}");
            let mut edits = Vec::new();
            for at in 0..good.ciphertext.len() {
                let mut edited = good.clone();
                edited.ciphertext[at] ^= 1 << (at % 8);
                edits.push(edited);
            }
            for at in 0..good.tag.len() {
                let mut edited = good.clone();
                edited.tag[at] ^= 1 << (at % 8);
                edits.push(edited);
            }
            if authenticated {
                let mut edited = good.clone();
                edited.iv[0] ^= 1;
                edits.push(edited);
                let mut edited = good.clone();
                edited.ciphertext.pop();
                edits.push(edited);
            }
            for edited in edits.iter().step_by(if authenticated { 1 } else { 37 }) {
                let result = key.loaded.decrypt(algorithm, edited.as_ref(), aad).await;
                fails(result, &[ErrorKind::CryptoFailed], &clause);
            }
            let result = other.loaded.decrypt(algorithm, good.as_ref(), aad).await;
            fails(
                result,
                &[ErrorKind::CryptoFailed],
                format!("{clause}, another key"),
            );
            if authenticated {
                for wrong in [&b"Context"[..], b""] {
                    let result = key.loaded.decrypt(algorithm, good.as_ref(), wrong).await;
                    fails(
                        result,
                        &[ErrorKind::CryptoFailed],
                        format!("{clause}, other data"),
                    );
                }
                let short = CiphertextRef {
                    tag: &good.tag[..12],
                    ..good.as_ref()
                };
                let result = key.loaded.decrypt(algorithm, short, aad).await;
                let kinds = [ErrorKind::CryptoFailed, ErrorKind::InvalidInput];
                fails(result, &kinds, format!("{clause}, a shortened tag"));
            }
        }
    }
}

/// What an algorithm does not have is not accepted and dropped.
pub async fn parts_that_an_algorithm_lacks_are_refused<D: Device>(make: impl Fn() -> D) {
    let device = make();
    for (key_type, algorithms) in supported_small(&device, Operation::Encrypt) {
        let key = TestKey::generate(&device, key_type, data_usages(key_type)).await;
        for algorithm in encrypting(&algorithms) {
            let info = algorithm.info();
            if info.tag_len > 0 {
                continue;
            }
            let clause = format!("{ABSENT}: {algorithm}");
            let with_aad = key.loaded.encrypt(algorithm, &[7; 32], None, b"aad").await;
            fails(with_aad, &[ErrorKind::InvalidInput], &clause);
            let good = ok(
                key.loaded.encrypt(algorithm, &[7; 32], None, b"").await,
                &clause,
            );
            let with_aad = key.loaded.decrypt(algorithm, good.as_ref(), b"aad").await;
            fails(with_aad, &[ErrorKind::InvalidInput], &clause);
            let tagged = CiphertextRef {
                tag: &[7; 16],
                ..good.as_ref()
            };
            let result = key.loaded.decrypt(algorithm, tagged, b"").await;
            fails(result, &[ErrorKind::InvalidInput], &clause);
        }
    }
}

/// Data that does not fit the algorithm's blocks or modulus.
pub async fn data_of_impossible_lengths_is_refused<D: Device>(make: impl Fn() -> D) {
    let device = make();
    for (key_type, algorithms) in supported_small(&device, Operation::Encrypt) {
        let key = TestKey::generate(&device, key_type, data_usages(key_type)).await;
        for algorithm in encrypting(&algorithms) {
            let lengths: &[usize] = match algorithm {
                Algorithm::A128Cbc | Algorithm::A192Cbc | Algorithm::A256Cbc => &[1, 15, 17],
                _ if key_type.info().family == KeyFamily::Rsa => &[key_type.byte_len()],
                _ => continue,
            };
            for len in lengths {
                let clause = format!("{len} bytes do not go into {algorithm} with {key_type}");
                let result = key
                    .loaded
                    .encrypt(algorithm, &vec![7; *len], None, b"")
                    .await;
                let kinds = [ErrorKind::InvalidInput, ErrorKind::LimitExceeded];
                fails(result, &kinds, clause);
            }
        }
    }
}

/// All but RSA1_5, which only decrypts.
fn encrypting(algorithms: &[Algorithm]) -> Vec<Algorithm> {
    let kept = algorithms.iter().copied().filter(|algorithm| {
        let decrypts_only = *algorithm == Algorithm::Rsa1_5;
        if decrypts_only {
            skip("RSA1_5 decrypts only; its known answers are among the imports");
        }
        !decrypts_only
    });
    kept.collect()
}

/// Lengths at the edges of what the algorithm takes.
fn lengths(algorithm: Algorithm) -> Vec<usize> {
    use Algorithm as A;
    match algorithm {
        A::A128Cbc | A::A192Cbc | A::A256Cbc => vec![16, 32, 4096],
        A::RsaOaep | A::RsaOaep256 => vec![1, 32, 190],
        _ => vec![0, 1, 15, 16, 17, 1000, 65_536],
    }
}
