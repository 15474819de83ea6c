//! Signatures and message authentication codes.

use hsm_core::{Algorithm, ErrorKind, KeyType, Operation, Request};

use super::super::{fails, ok};
use super::*;

/// Every signature algorithm with every type of key, verified by the service and by the public key alone.
pub async fn signatures_verify_everywhere(make: impl AsyncFn() -> ServiceUnderTest) {
    let opened = Opened::new(make().await).await;
    let caller = &opened.all;
    for key_type in KeyType::all() {
        let fitting = key_type.algorithms().iter().copied();
        let fitting: Vec<_> = fitting.filter(|fit| fit.does(Operation::Sign)).collect();
        if fitting.is_empty() {
            continue;
        }
        let made = caller.create_if_supported(key_type.name(), key_type, SIGN);
        let Some(info) = made.await else {
            continue;
        };
        for algorithm in fitting {
            let clause = format!("{algorithm} with {key_type}");
            let signed = caller.sign(info.key(), algorithm, MESSAGE).await;
            if !caller.has(key_type, algorithm) {
                fails(signed, &[ErrorKind::Unsupported], &clause);
                continue;
            }
            let (bytes, version) = ok(signed, &clause);
            assert_eq!(version, info.version, "{clause}");
            let verified = caller.verify(info.key(), algorithm, MESSAGE, &bytes);
            ok(verified.await, &clause);
            let input = SignInput::Message(MESSAGE);
            ok(public(&info).verify(algorithm, input, &bytes), &clause);
        }
    }
}

/// A signature of something else, or by another key, is CryptoFailed.
pub async fn wrong_signatures_are_refused(make: impl AsyncFn() -> ServiceUnderTest) {
    let opened = Opened::new(make().await).await;
    let caller = &opened.all;
    let algorithm = Algorithm::Es256;
    caller.create("k", KeyType::EcP256, SIGN).await;
    caller.create("other", KeyType::EcP256, SIGN).await;
    let (mut bytes, _) = ok(caller.sign(key("k"), algorithm, MESSAGE).await, "sign");
    let refuse = async |key: KeyRef, message: &[u8], bytes: &[u8], what: &str| {
        let verified = caller.verify(key, algorithm, message, bytes).await;
        fails(verified, &[ErrorKind::CryptoFailed], what);
    };
    refuse(key("k"), b"another message", &bytes, "another message").await;
    refuse(key("other"), MESSAGE, &bytes, "another key").await;
    refuse(key("k"), MESSAGE, &bytes[1..], "a short signature").await;
    refuse(key("k"), MESSAGE, b"", "no signature").await;
    bytes[40] ^= 1;
    refuse(key("k"), MESSAGE, &bytes, "an edited signature").await;
}

/// A digest has the length of the algorithm's hash.
pub async fn digests_of_the_wrong_length_are_refused(make: impl AsyncFn() -> ServiceUnderTest) {
    let opened = Opened::new(make().await).await;
    let caller = &opened.all;
    caller.create("k", KeyType::EcP256, SIGN).await;
    let sign = |digest| {
        caller.call(Request::Sign {
            key: key("k"),
            algorithm: Algorithm::Es256,
            input: SignInput::Digest(digest),
        })
    };
    ok(sign(&[7; 32]).await, "a digest of the right length");
    for len in [0, 20, 31, 33, 48, 64] {
        let clause = format!("a digest of {len} bytes for ES256");
        fails(
            sign(&[7; 64][..len]).await,
            &[ErrorKind::InvalidInput],
            clause,
        );
    }
}

/// Every MAC algorithm; what was edited does not pass.
pub async fn macs_are_checked(make: impl AsyncFn() -> ServiceUnderTest) {
    let opened = Opened::new(make().await).await;
    let caller = &opened.all;
    for key_type in KeyType::all() {
        let algorithms = key_type.algorithms().iter().copied();
        for algorithm in algorithms.filter(|fit| fit.does(Operation::Mac)) {
            let made = caller.create_if_supported(key_type.name(), key_type, SIGN);
            let Some(info) = made.await else {
                continue;
            };
            if !caller.has(key_type, algorithm) {
                continue;
            }
            let tag = caller.mac(info.key(), algorithm, MESSAGE).await;
            let mut tag = ok(tag, algorithm);
            assert_eq!(tag.len(), algorithm.info().tag_len, "{algorithm}");
            let verify = async |message: &[u8], tag: &[u8]| {
                let request = Request::VerifyMac {
                    key: info.key(),
                    algorithm,
                    message,
                    tag,
                };
                caller.call(request).await
            };
            ok(verify(MESSAGE, &tag).await, algorithm);
            let kinds = &[ErrorKind::CryptoFailed];
            fails(verify(b"another", &tag).await, kinds, "another message");
            fails(verify(MESSAGE, &tag[..16]).await, kinds, "a short tag");
            tag[0] ^= 1;
            fails(verify(MESSAGE, &tag).await, kinds, "an edited tag");
        }
    }
}
