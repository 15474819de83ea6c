//! Wrapping and unwrapping of key bytes that the caller holds.

use hsm_core::{Algorithm, Device, ErrorKind, KeyFamily, Operation};

use super::super::{fails, ok};
use super::{TestKey, data_usages, supported, supported_small};

const ROUND_TRIP: &str = "unwrap gives back what wrap took";
const TAMPERED: &str = "a failed unwrapping is CryptoFailed, without reason";

/// Key bytes of any length that the algorithm takes come back.
pub async fn wrapped_keys_unwrap<D: Device>(make: impl Fn() -> D) {
    let device = make();
    for (key_type, algorithms) in supported(&device, Operation::Wrap) {
        let key = TestKey::generate(&device, key_type, data_usages(key_type)).await;
        for algorithm in algorithms
            .into_iter()
            .filter(|algorithm| *algorithm != Algorithm::Rsa1_5)
        {
            for len in lengths(algorithm) {
                let clause = format!("{ROUND_TRIP}: {len} bytes with {algorithm} and {key_type}");
                let bytes: Vec<u8> = (1..=250).cycle().take(len).collect();
                let wrapped = ok(key.loaded.wrap(algorithm, &bytes).await, &clause);
                let unwrapped = ok(key.loaded.unwrap(algorithm, &wrapped).await, &clause);
                assert!(unwrapped.expose() == bytes, "{clause}");
            }
        }
    }
}

/// Edited, cut and foreign wrapped keys do not unwrap.
pub async fn edited_wrapped_keys_are_refused<D: Device>(make: impl Fn() -> D) {
    let device = make();
    for (key_type, algorithms) in supported_small(&device, Operation::Wrap) {
        let key = TestKey::generate(&device, key_type, data_usages(key_type)).await;
        let other = TestKey::generate(&device, key_type, data_usages(key_type)).await;
        for algorithm in algorithms
            .into_iter()
            .filter(|algorithm| *algorithm != Algorithm::Rsa1_5)
        {
            let clause = format!("{TAMPERED}: {algorithm}");
            let wrapped = ok(key.loaded.wrap(algorithm, &[7; 32]).await, ROUND_TRIP);
            let step = if key_type.info().family == KeyFamily::Rsa {
                61
            } else {
                1
            };
            for at in (0..wrapped.len()).step_by(step) {
                let mut edited = wrapped.clone();
                edited[at] ^= 1 << (at % 8);
                let result = key.loaded.unwrap(algorithm, &edited).await;
                fails(
                    result,
                    &[ErrorKind::CryptoFailed],
                    format!("{clause}, byte {at}"),
                );
            }
            let kinds = [ErrorKind::CryptoFailed, ErrorKind::InvalidInput];
            for cut in [
                &wrapped[8..],
                &wrapped[..wrapped.len() - 1],
                &wrapped[..8],
                &[],
            ] {
                let result = key.loaded.unwrap(algorithm, cut).await;
                fails(
                    result,
                    &kinds,
                    format!("{clause}, {} bytes left", cut.len()),
                );
            }
            let result = other.loaded.unwrap(algorithm, &wrapped).await;
            fails(
                result,
                &[ErrorKind::CryptoFailed],
                format!("{clause}, another key"),
            );
        }
    }
}

/// RFC 3394 wraps multiples of eight bytes, sixteen at least.
pub async fn keys_of_impossible_lengths_are_not_wrapped<D: Device>(make: impl Fn() -> D) {
    let device = make();
    for (key_type, algorithms) in supported_small(&device, Operation::Wrap) {
        let key = TestKey::generate(&device, key_type, data_usages(key_type)).await;
        for algorithm in algorithms {
            let lengths: &[usize] = match algorithm {
                Algorithm::A128Kw | Algorithm::A192Kw | Algorithm::A256Kw => &[0, 8, 15, 17, 31],
                Algorithm::RsaOaep | Algorithm::RsaOaep256 => &[key_type.byte_len()],
                Algorithm::A128Kwp | Algorithm::A192Kwp | Algorithm::A256Kwp => &[0],
                _ => continue,
            };
            for len in lengths {
                let result = key.loaded.wrap(algorithm, &vec![7; *len]).await;
                let kinds = [ErrorKind::InvalidInput, ErrorKind::LimitExceeded];
                fails(
                    result,
                    &kinds,
                    format!("{len} bytes cannot be wrapped with {algorithm}"),
                );
            }
        }
    }
}

fn lengths(algorithm: Algorithm) -> Vec<usize> {
    use Algorithm as A;
    match algorithm {
        A::A128Kw | A::A192Kw | A::A256Kw => vec![16, 24, 32, 4096],
        A::RsaOaep | A::RsaOaep256 => vec![1, 16, 32, 190],
        _ => vec![1, 7, 8, 9, 16, 20, 32, 4096],
    }
}
