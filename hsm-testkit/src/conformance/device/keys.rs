//! What holds for every key: it can be made, loaded, told apart, and does only what it is for.

use std::collections::BTreeSet;

use hsm_core::limits::SEALED_KEY_LEN_MAX;
use hsm_core::{
    Algorithm, CiphertextRef, DeriveParameters, Device, ErrorKind, KeySpec, KeyType, Operation,
    SignInput, Usage, Usages,
};

use super::super::{fails, ok, skip};
use super::{
    TestKey, binding, data_usages, fingerprint, quick_key_type, small_key_types, supported_small,
};

const USAGE: &str = "a usage that the spec lacks is KeyState, whatever the caller says";
const UNSUPPORTED: &str = "what is missing from capabilities fails with Unsupported";
const MISFIT: &str = "an algorithm that does not fit the key's type or the method is InvalidInput";

/// Capabilities name each thing once, and no algorithm without a key for it.
pub async fn capabilities_are_coherent<D: Device>(make: impl Fn() -> D) {
    let device = make();
    let capabilities = device.capabilities();
    for (at, key_type) in capabilities.key_types().iter().enumerate() {
        assert!(
            !capabilities.key_types()[..at].contains(key_type),
            "{key_type} twice"
        );
        let usable = key_type.algorithms().iter();
        assert!(
            usable
                .into_iter()
                .any(|fit| capabilities.supports_algorithm(*fit)),
            "keys of type {key_type} without an algorithm are of no use"
        );
    }
    for (at, algorithm) in capabilities.algorithms().iter().enumerate() {
        assert!(
            !capabilities.algorithms()[..at].contains(algorithm),
            "{algorithm} twice"
        );
        let mut key_types = capabilities.key_types().iter();
        assert!(
            key_types.any(|key_type| algorithm.fits(*key_type)),
            "{algorithm} without a key type that it fits is of no use"
        );
    }
    ok(
        device.self_test().await,
        "a working device passes its self-test",
    );
}

/// Every key type can be made and loaded, and the loaded key says what it is.
pub async fn generated_keys_load_and_say_what_they_are<D: Device>(make: impl Fn() -> D) {
    let device = make();
    for key_type in device.capabilities().key_types() {
        let usages = data_usages(*key_type);
        for exportable in [false, true] {
            let mut spec = ok(KeySpec::new(*key_type, usages), "spec");
            if exportable {
                spec = spec.exportable();
            }
            let key = TestKey::from_spec(&device, spec).await;
            assert_eq!(
                *key.loaded.spec(),
                spec,
                "spec() is what was sealed with the key"
            );
            assert_eq!(
                key.new.public.is_some(),
                key_type.is_asymmetric(),
                "asymmetric keys, and only those, have a public half: {key_type}"
            );
            assert_eq!(
                key.loaded.public(),
                key.new.public.as_ref(),
                "public() is the key's"
            );
            if let Some(public) = &key.new.public {
                assert_eq!(public.key_type(), *key_type, "the public half's type");
            }
            let len = key.new.sealed.as_bytes().len();
            assert!(
                len <= SEALED_KEY_LEN_MAX,
                "a sealed {key_type} has {len} bytes"
            );
        }
    }
}

/// No two keys are the same.
pub async fn generated_keys_differ<D: Device>(make: impl Fn() -> D) {
    let device = make();
    for key_type in small_key_types(&device) {
        let usages = data_usages(key_type);
        let one = TestKey::generate(&device, key_type, usages).await;
        let two = TestKey::generate(&device, key_type, usages).await;
        assert!(
            fingerprint(&*one.loaded).await != fingerprint(&*two.loaded).await,
            "two generated keys of type {key_type} are the same"
        );
    }
}

/// Random bytes come in any length and do not repeat.
pub async fn random_bytes_differ<D: Device>(make: impl Fn() -> D) {
    let device = make();
    let mut seen = BTreeSet::new();
    for len in [16, 17, 32, 1000, 65_536] {
        for _ in 0..2 {
            let mut bytes = vec![0; len];
            ok(device.random(&mut bytes).await, "random fills its argument");
            for chunk in bytes.rchunks_exact(16) {
                assert!(
                    seen.insert(chunk.to_vec()),
                    "16 random bytes repeat, of {len}"
                );
            }
        }
    }
    ok(device.random(&mut []).await, "random may fill nothing");
}

/// A key type that the device lacks is refused, naming it.
pub async fn unsupported_key_types_are_reported<D: Device>(make: impl Fn() -> D) {
    let device = make();
    let capabilities = device.capabilities();
    let mut lacking = KeyType::all().filter(|key_type| !capabilities.supports_key_type(*key_type));
    let Some(key_type) = lacking.next() else {
        return skip("the device has every key type");
    };
    let spec = ok(KeySpec::new(key_type, data_usages(key_type)), "spec");
    let result = device.generate(&spec, &binding("unsupported")).await;
    fails(result, &[ErrorKind::Unsupported], UNSUPPORTED);
}

/// An algorithm that the device lacks is refused, even if it fits the key.
pub async fn unsupported_algorithms_are_reported<D: Device>(make: impl Fn() -> D) {
    let device = make();
    let capabilities = device.capabilities();
    let mut found = false;
    for key_type in capabilities.key_types() {
        for algorithm in key_type.algorithms() {
            if capabilities.supports_algorithm(*algorithm) || algorithm.info().operations.is_empty()
            {
                continue;
            }
            found = true;
            let key = TestKey::generate(&device, *key_type, data_usages(*key_type)).await;
            let kind = attempt(&key, *algorithm).await;
            assert_eq!(
                kind,
                Some(ErrorKind::Unsupported),
                "{UNSUPPORTED}: {algorithm}"
            );
        }
    }
    if !found {
        skip("the device has every algorithm that fits its keys");
    }
}

/// An algorithm of another key type is refused.
pub async fn algorithms_of_other_key_types_are_refused<D: Device>(make: impl Fn() -> D) {
    let device = make();
    for (key_type, algorithms) in supported_small(&device, Operation::Sign) {
        let key = TestKey::generate(&device, key_type, data_usages(key_type)).await;
        let misfits = [
            Algorithm::Es256,
            Algorithm::Es384,
            Algorithm::EdDsa,
            Algorithm::Ps256,
        ];
        for misfit in misfits
            .into_iter()
            .filter(|misfit| !algorithms.contains(misfit))
        {
            let clause = format!("{MISFIT}: {misfit} with {key_type}");
            let signed = key.loaded.sign(misfit, SignInput::Message(b"x")).await;
            fails(signed, &[ErrorKind::InvalidInput], &clause);
            let verified = key
                .loaded
                .verify(misfit, SignInput::Message(b"x"), &[0; 64])
                .await;
            fails(verified, &[ErrorKind::InvalidInput], &clause);
        }
        // The key has no such usage either, and may say that first.
        let kinds = [ErrorKind::InvalidInput, ErrorKind::KeyState];
        let algorithm = algorithms[0];
        let derived = key
            .loaded
            .derive(algorithm, DeriveParameters::default(), 32)
            .await;
        fails(
            derived,
            &kinds,
            format!("{MISFIT}: derive with {algorithm}"),
        );
        let mac = key.loaded.mac(algorithm, b"x").await;
        fails(mac, &kinds, format!("{MISFIT}: mac with {algorithm}"));
    }
}

/// A key does what its usages say and nothing else.
pub async fn usages_are_enforced<D: Device>(make: impl Fn() -> D) {
    let device = make();
    let cases = [
        (KeyType::EcP256, Algorithm::Es256),
        (KeyType::EcP256, Algorithm::EcdhEs),
        (KeyType::Ed25519, Algorithm::EdDsa),
        (KeyType::Rsa2048, Algorithm::Ps256),
        (KeyType::Rsa2048, Algorithm::RsaOaep256),
        (KeyType::Aes256, Algorithm::A256Gcm),
        (KeyType::Aes256, Algorithm::A256CbcPad),
        (KeyType::Aes256, Algorithm::A256Kwp),
        (KeyType::HmacSha256, Algorithm::Hs256),
    ];
    for (key_type, algorithm) in cases {
        if !super::has(&device, key_type, algorithm) {
            continue;
        }
        for usage in data_usages(key_type).iter() {
            let key = TestKey::generate(&device, key_type, Usages::of(&[usage])).await;
            for (needed, kind) in attempts(&key, algorithm).await {
                let allowed = needed == usage;
                assert_eq!(
                    kind != Some(ErrorKind::KeyState),
                    allowed,
                    "{USAGE}: a {key_type} for {usage:?} asked to {needed:?} with {algorithm} gave {kind:?}"
                );
            }
        }
    }
}

/// How the first operation that `algorithm` does ends.
async fn attempt(key: &TestKey, algorithm: Algorithm) -> Option<ErrorKind> {
    let attempts = attempts(key, algorithm).await;
    attempts.into_iter().next().and_then(|(_, kind)| kind)
}

/// Tries everything that `algorithm` does: the usage that each needs, and how it failed.
async fn attempts(key: &TestKey, algorithm: Algorithm) -> Vec<(Usage, Option<ErrorKind>)> {
    let (key, info) = (&*key.loaded, algorithm.info());
    let mut ends = Vec::new();
    let mut end = |usage, error: Option<hsm_core::Error>| {
        ends.push((usage, error.map(|error| error.kind())));
    };
    for operation in info.operations {
        match operation {
            Operation::Sign => {
                let input = SignInput::Message(b"message");
                end(Usage::Sign, key.sign(algorithm, input).await.err());
                end(
                    Usage::Verify,
                    key.verify(algorithm, input, &[1; 64]).await.err(),
                );
            }
            Operation::Mac => {
                end(Usage::Sign, key.mac(algorithm, b"message").await.err());
                let tag = vec![1; info.tag_len];
                end(
                    Usage::Verify,
                    key.verify_mac(algorithm, b"message", &tag).await.err(),
                );
            }
            Operation::Encrypt => {
                let encrypted = key.encrypt(algorithm, &[1; 32], None, b"").await;
                end(Usage::Encrypt, encrypted.err());
                let (iv, tag) = (vec![1; info.iv_len], vec![1; info.tag_len]);
                let ciphertext = CiphertextRef {
                    ciphertext: &[1; 32],
                    iv: &iv,
                    tag: &tag,
                };
                let decrypted = key.decrypt(algorithm, ciphertext, b"").await;
                end(Usage::Decrypt, decrypted.err());
            }
            Operation::Wrap => {
                end(Usage::WrapKey, key.wrap(algorithm, &[1; 32]).await.err());
                end(
                    Usage::UnwrapKey,
                    key.unwrap(algorithm, &[1; 40]).await.err(),
                );
            }
            Operation::Agree => {
                let Some(public) = key.public() else {
                    continue;
                };
                let public = public.clone();
                end(Usage::DeriveBits, key.agree(algorithm, &public).await.err());
            }
            Operation::Encapsulate => {
                end(Usage::Encapsulate, key.encapsulate(algorithm).await.err());
                let ciphertext = vec![1; algorithm.encapsulation_len().unwrap_or_default()];
                let decapsulated = key.decapsulate(algorithm, &ciphertext).await;
                end(Usage::Decapsulate, decapsulated.err());
            }
            Operation::Derive => {
                let derived = key.derive(algorithm, DeriveParameters::default(), 32).await;
                end(Usage::DeriveKey, derived.err());
            }
            _ => {}
        }
    }
    ends
}

/// Nothing that can be printed contains a key.
pub async fn debug_output_shows_no_key<D: Device>(make: impl Fn() -> D) {
    let device = make();
    let Some(key_type) = quick_key_type(&device) else {
        return;
    };
    let cases = [
        (KeyType::Aes256, 32),
        (KeyType::HmacSha256, 32),
        (KeyType::Kdk256, 32),
    ];
    let known: Vec<u8> = (0..32).map(|at: u8| 0xa1 ^ at.wrapping_mul(37)).collect();
    for (key_type, len) in cases {
        if !device.capabilities().supports_key_type(key_type) {
            skip(format!("the device has no keys of type {key_type}"));
            continue;
        }
        let usages = data_usages(key_type);
        let key = TestKey::import(&device, key_type, usages, &known[..len]).await;
        let printed = format!(
            "{device:?} {:?} {:?} {:#?}",
            key.new, key.loaded, key.loaded
        );
        assert_shows_none(&printed, &known[..len]);
    }
    let key = TestKey::generate(&device, key_type, data_usages(key_type)).await;
    let error = device.load(&key.new.sealed, &binding("another")).await;
    let error = error.err().map(|error| format!("{error:?} {error}"));
    let sealed = key.new.sealed.as_bytes();
    assert_shows_none(&error.unwrap_or_default(), sealed);
}

fn assert_shows_none(printed: &str, secret: &[u8]) {
    for window in secret.windows(4) {
        let hex: String = window.iter().map(|byte| format!("{byte:02x}")).collect();
        let list = window.iter().map(u8::to_string).collect::<Vec<_>>();
        let shows = printed.to_lowercase().contains(&hex)
            || printed.replace(['\n', ' '], "").contains(&list.join(","));
        assert!(
            !shows,
            "no error or Debug contains key bytes, but this does: {printed}"
        );
    }
}
