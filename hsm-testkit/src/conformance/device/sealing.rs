//! Sealed keys: whole, under their binding, or not at all; and nothing after zeroizing.

use hsm_core::attestation::{AttestRequest, Nonce};
use hsm_core::{
    Algorithm, DeriveParameters, Device, ErrorKind, KeySpec, KeyType, Operation, SealedKey,
    SecretBytes, SignInput, Usage, Usages,
};

use super::super::{fails, ok, skip};
use super::{TestKey, binding, data_usages, fingerprint, quick_key_type, small_key_types};

const BOUND: &str = "a key loads only under the binding it was sealed with: Damaged otherwise";
const UNALTERED: &str = "a key loads only unaltered: Damaged otherwise";
const GONE: &str =
    "after zeroize every method fails with DeviceFailed, and keys that are loaded as well";

/// Another binding does not open a key.
pub async fn keys_load_under_their_binding_only<D: Device>(make: impl Fn() -> D) {
    let device = make();
    for key_type in small_key_types(&device) {
        let key = TestKey::generate(&device, key_type, data_usages(key_type)).await;
        for other in [binding("another"), binding("")] {
            let result = device.load(&key.new.sealed, &other).await;
            fails(
                result,
                &[ErrorKind::Damaged],
                format!("{BOUND}: {key_type}"),
            );
        }
        ok(
            device.load(&key.new.sealed, &key.binding).await,
            "its own binding still opens it",
        );
    }
}

/// One sealed key cannot take the place of another.
pub async fn sealed_keys_cannot_be_swapped<D: Device>(make: impl Fn() -> D) {
    let device = make();
    let Some(key_type) = quick_key_type(&device) else {
        return;
    };
    let spec = TestKey::generate(&device, key_type, data_usages(key_type))
        .await
        .spec;
    let (one, two) = (binding("one"), binding("two"));
    let sealed_one = ok(device.generate(&spec, &one).await, "generate").sealed;
    let sealed_two = ok(device.generate(&spec, &two).await, "generate").sealed;
    fails(
        device.load(&sealed_one, &two).await,
        &[ErrorKind::Damaged],
        BOUND,
    );
    fails(
        device.load(&sealed_two, &one).await,
        &[ErrorKind::Damaged],
        BOUND,
    );
}

/// Every single flipped bit is found, in a key of the smallest type and one with a public half.
pub async fn every_flipped_bit_is_found<D: Device>(make: impl Fn() -> D) {
    let device = make();
    let capabilities = device.capabilities();
    let wanted = [
        KeyType::Kdk256,
        KeyType::Aes128,
        KeyType::EcP256,
        KeyType::Ed25519,
    ];
    let key_types = wanted
        .into_iter()
        .filter(|key_type| capabilities.supports_key_type(*key_type));
    let mut key_types: Vec<_> = key_types.collect();
    if key_types.is_empty() {
        key_types.extend(capabilities.key_types().first());
    }
    for key_type in key_types {
        let key = TestKey::generate(&device, key_type, data_usages(key_type)).await;
        let sealed = key.new.sealed.as_bytes();
        for bit in 0..sealed.len() * 8 {
            let mut altered = sealed.to_vec();
            altered[bit / 8] ^= 1 << (bit % 8);
            let altered = ok(SealedKey::new(altered), "sealed");
            let result = device.load(&altered, &key.binding).await;
            fails(
                result,
                &[ErrorKind::Damaged],
                format!("{UNALTERED}: bit {bit} of a {key_type}"),
            );
        }
    }
}

/// Cut, extended, empty and foreign bytes are no key, for `load` and `reseal` alike.
pub async fn what_is_no_sealed_key_does_not_load<D: Device>(make: impl Fn() -> D) {
    let device = make();
    let Some(key_type) = quick_key_type(&device) else {
        return;
    };
    let key = TestKey::generate(&device, key_type, data_usages(key_type)).await;
    let sealed = key.new.sealed.as_bytes();
    let mut wrong: Vec<Vec<u8>> = (0..sealed.len())
        .map(|len| sealed[..len].to_vec())
        .collect();
    wrong.push([sealed, &[0]].concat());
    wrong.push([sealed, sealed].concat());
    wrong.push(vec![0; sealed.len()]);
    wrong.push(vec![0xff; hsm_core::limits::SEALED_KEY_LEN_MAX]);
    for bytes in wrong {
        let clause = format!("{UNALTERED}: {} of {} bytes", bytes.len(), sealed.len());
        let altered = ok(SealedKey::new(bytes), "sealed");
        fails(
            device.load(&altered, &key.binding).await,
            &[ErrorKind::Damaged],
            &clause,
        );
        let resealed = device
            .reseal(&altered, &key.binding, &binding("new"), Usages::NONE)
            .await;
        fails(resealed, &[ErrorKind::Damaged], &clause);
    }
}

/// Resealing moves the same key to another binding, and only its holder can.
pub async fn resealed_keys_are_the_same_under_the_new_binding<D: Device>(make: impl Fn() -> D) {
    let device = make();
    for key_type in small_key_types(&device) {
        let key = TestKey::generate(&device, key_type, data_usages(key_type)).await;
        let new = binding("after the change");
        let refused = device
            .reseal(&key.new.sealed, &binding("another"), &new, Usages::NONE)
            .await;
        fails(
            refused,
            &[ErrorKind::Damaged],
            format!("{BOUND}: reseal of {key_type}"),
        );
        let resealed = device
            .reseal(&key.new.sealed, &key.binding, &new, Usages::NONE)
            .await;
        let resealed = ok(resealed, "reseal");
        fails(
            device.load(&resealed, &key.binding).await,
            &[ErrorKind::Damaged],
            BOUND,
        );
        let loaded = ok(device.load(&resealed, &new).await, "a resealed key loads");
        assert_eq!(
            loaded.spec(),
            key.loaded.spec(),
            "resealing does not change the spec"
        );
        assert!(
            fingerprint(&*loaded).await == fingerprint(&*key.loaded).await,
            "resealing does not change the key: {key_type}"
        );
        ok(
            device.load(&key.new.sealed, &key.binding).await,
            "the device persists nothing",
        );
    }
}

/// A key for one algorithm refuses the others that its type has.
pub async fn a_key_for_one_algorithm_refuses_the_others<D: Device>(make: impl Fn() -> D) {
    let device = make();
    let capabilities = device.capabilities();
    let [only, other] = [Algorithm::A256Gcm, Algorithm::A256Ctr];
    if !(capabilities.supports_algorithm(only) && capabilities.supports_algorithm(other)) {
        return skip("the device has not two algorithms for AES-256");
    }
    let usages = Usages::of(&[Usage::Encrypt, Usage::Decrypt]);
    let spec = ok(KeySpec::new(KeyType::Aes256, usages), "spec");
    let spec = ok(spec.only(only), "spec");
    let key = TestKey::from_spec(&device, spec).await;
    assert_eq!(
        key.loaded.spec(),
        &spec,
        "the one algorithm is sealed with the key"
    );
    let encrypted = key.loaded.encrypt(only, b"data", None, b"").await;
    let encrypted = ok(encrypted, "the algorithm that the key is for");
    let clause = "a key for one algorithm refuses the others: KeyState";
    let iv = [7; 16];
    fails(
        key.loaded.encrypt(other, b"data", Some(&iv), b"").await,
        &[ErrorKind::KeyState],
        clause,
    );
    let mut foreign = encrypted.as_ref();
    foreign.iv = &iv;
    foreign.tag = &[];
    fails(
        key.loaded.decrypt(other, foreign, b"").await,
        &[ErrorKind::KeyState],
        clause,
    );
}

/// Resealing takes usages away for good, and not all of them.
pub async fn resealing_takes_usages_away<D: Device>(make: impl Fn() -> D) {
    let device = make();
    for key_type in small_key_types(&device) {
        let key = TestKey::generate(&device, key_type, data_usages(key_type)).await;
        let (sealed, old, new) = (&key.new.sealed, &key.binding, binding("narrower"));
        let all = device.reseal(sealed, old, &new, key.spec.usages).await;
        fails(
            all,
            &[ErrorKind::InvalidInput],
            format!("a {key_type} needs at least one usage"),
        );
        let Some(taken) = key.spec.usages.iter().nth(1) else {
            continue;
        };
        let taken = Usages::of(&[taken]);
        let resealed = ok(device.reseal(sealed, old, &new, taken).await, "reseal");
        let loaded = ok(device.load(&resealed, &new).await, "a resealed key loads");
        assert_eq!(
            loaded.spec().usages,
            key.spec.usages.without(taken),
            "resealing takes the usages of a {key_type} away"
        );
    }
}

/// After zeroizing nothing works, neither the device nor what it had loaded.
pub async fn nothing_works_after_zeroize<D: Device>(make: impl Fn() -> D) {
    let device = make();
    let mut keys = Vec::new();
    for key_type in small_key_types(&device) {
        keys.push(TestKey::generate(&device, key_type, data_usages(key_type)).await);
    }
    ok(device.zeroize().await, "zeroize");
    let kinds = [ErrorKind::DeviceFailed];
    for key in &keys {
        let sealed = &key.new.sealed;
        let clause = format!("{GONE}: {}", key.spec.key_type);
        fails(
            device.generate(&key.spec, &key.binding).await,
            &kinds,
            &clause,
        );
        fails(device.load(sealed, &key.binding).await, &kinds, &clause);
        if device.capabilities().supports_attestation() {
            let request = AttestRequest::new(ok(Nonce::new([1; 8]), "a nonce"));
            let attested = device.attest(sealed, &key.binding, &request).await;
            fails(attested, &kinds, &clause);
        }
        let resealed = device
            .reseal(sealed, &key.binding, &binding("new"), Usages::NONE)
            .await;
        fails(resealed, &kinds, &clause);
        let material = SecretBytes::copy_from(&[7; 32]);
        fails(
            device.import(material, &key.spec, &key.binding).await,
            &kinds,
            &clause,
        );
        for algorithm in key.spec.key_type.algorithms() {
            if device.capabilities().supports_algorithm(*algorithm) {
                assert_loaded_key_is_dead(key, *algorithm).await;
            }
        }
    }
    fails(device.random(&mut [0; 16]).await, &kinds, GONE);
    fails(device.self_test().await, &kinds, GONE);
    if keys.is_empty() {
        skip("the device makes large RSA keys only");
    }
}

async fn assert_loaded_key_is_dead(key: &TestKey, algorithm: Algorithm) {
    let (loaded, kinds) = (&key.loaded, [ErrorKind::DeviceFailed]);
    for operation in algorithm.info().operations {
        let clause = format!("{GONE}: {operation:?} with {algorithm}");
        match operation {
            Operation::Sign => {
                let signed = loaded.sign(algorithm, SignInput::Message(b"x")).await;
                fails(signed, &kinds, clause);
            }
            Operation::Mac => fails(loaded.mac(algorithm, b"x").await, &kinds, clause),
            Operation::Encrypt => {
                let encrypted = loaded.encrypt(algorithm, &[7; 32], None, b"").await;
                fails(encrypted, &kinds, clause);
            }
            Operation::Wrap => fails(loaded.wrap(algorithm, &[7; 32]).await, &kinds, clause),
            Operation::Agree => {
                let agreed = loaded.agree(algorithm, key.public()).await;
                fails(agreed, &kinds, clause);
            }
            Operation::Encapsulate => {
                fails(loaded.encapsulate(algorithm).await, &kinds, &clause);
                let ciphertext = vec![1; algorithm.encapsulation_len().unwrap_or_default()];
                let decapsulated = loaded.decapsulate(algorithm, &ciphertext).await;
                fails(decapsulated, &kinds, clause);
            }
            Operation::Derive => {
                let derived = loaded
                    .derive(algorithm, DeriveParameters::default(), 32)
                    .await;
                fails(derived, &kinds, clause);
            }
            _ => {}
        }
    }
}
