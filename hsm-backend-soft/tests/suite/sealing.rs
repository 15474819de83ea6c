//! A key loads unaltered, under its own binding, on its own device, and nowhere else; generating one blocks nobody.
#![expect(clippy::unwrap_used, reason = "a helper of a test may fail it")]

use std::future::Future;
use std::pin::pin;
use std::task::{Context, Poll, Waker};

use futures_executor::block_on;
use hsm_backend_soft::SoftDevice;
use hsm_core::limits::KEY_MATERIAL_LEN_MAX;
use hsm_core::{
    Algorithm, Binding, Device, ErrorKind, KeyFamily, KeySpec, KeyType, LoadedKey, NewKey,
    Operation, SealedKey, SecretBytes, SignInput, Usage, Usages,
};

#[test]
fn every_key_type_is_made_sealed_and_loaded() {
    let device = device();
    for key_type in super::key_types() {
        let spec = spec(key_type);
        let new = block_on(device.generate(&spec, &binding("a"))).unwrap();
        let key = block_on(device.load(&new.sealed, &binding("a"))).unwrap();
        assert_eq!(*key.spec(), spec);
        assert_eq!(key.public(), new.public.as_ref(), "{key_type}");
        assert_eq!(new.public.is_some(), key_type.is_asymmetric(), "{key_type}");
        if let Some(public) = &new.public {
            assert_eq!(public.key_type(), key_type);
        }
        let again = block_on(device.generate(&spec, &binding("a"))).unwrap();
        assert_ne!(again.sealed, new.sealed, "{key_type}");
    }
}

#[test]
fn sealed_keys_are_small() {
    let device = device();
    let len = |key_type| {
        let new = block_on(device.generate(&spec(key_type), &binding("a"))).unwrap();
        new.sealed.as_bytes().len()
    };
    assert_eq!(len(KeyType::EcP256), 142);
    assert_eq!(len(KeyType::EcP384), 190);
    assert_eq!(len(KeyType::EcP521), 246);
    assert_eq!(len(KeyType::Ed25519), 78);
    assert_eq!(len(KeyType::Aes128), 62);
}

#[test]
fn every_altered_bit_is_damage() {
    let device = device();
    for key_type in [KeyType::EcP256, KeyType::Aes128, KeyType::X25519] {
        let sealed = make(&device, key_type).sealed;
        for bit in 0..sealed.as_bytes().len() * 8 {
            let mut bytes = sealed.as_bytes().to_vec();
            bytes[bit / 8] ^= 1 << (bit % 8);
            let altered = SealedKey::new(bytes).unwrap();
            let error = block_on(device.load(&altered, &binding("a"))).unwrap_err();
            assert_eq!(error.kind(), ErrorKind::Damaged, "{key_type} bit {bit}");
            let error =
                block_on(device.reseal(&altered, &binding("a"), &binding("b"), Usages::NONE))
                    .unwrap_err();
            assert_eq!(error.kind(), ErrorKind::Damaged, "{key_type} bit {bit}");
        }
    }
}

#[test]
fn another_binding_and_another_device_are_damage() {
    let device = device();
    let sealed = make(&device, KeyType::EcP256).sealed;
    let error = block_on(device.load(&sealed, &binding("b"))).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Damaged);
    let other = crate::options().in_memory().unwrap();
    let error = block_on(other.load(&sealed, &binding("a"))).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Damaged);
}

#[test]
fn a_resealed_key_is_the_same_key_under_the_new_binding_only() {
    let device = device();
    let new = make(&device, KeyType::Ed25519);
    let old = binding("a");
    let resealed = block_on(device.reseal(&new.sealed, &old, &binding("b"), Usages::NONE)).unwrap();
    let key = block_on(device.load(&resealed, &binding("b"))).unwrap();
    assert_eq!(key.public(), new.public.as_ref());
    let error = block_on(device.load(&resealed, &old)).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Damaged);
    let error =
        block_on(device.reseal(&new.sealed, &binding("b"), &old, Usages::NONE)).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Damaged);
}

/// Polled once, a generation has begun elsewhere and has blocked nothing: another key signs at once.
#[test]
fn rsa_generation_delays_nobody() {
    let device = device();
    let signing = make(&device, KeyType::EcP256);
    let key = block_on(device.load(&signing.sealed, &binding("a"))).unwrap();
    let (spec, bound) = (spec(KeyType::Rsa4096), binding("rsa"));
    let mut generation = pin!(device.generate(&spec, &bound));
    let poll = generation
        .as_mut()
        .poll(&mut Context::from_waker(Waker::noop()));
    assert!(matches!(poll, Poll::Pending));
    block_on(key.sign(Algorithm::Es256, SignInput::Message(b"m"))).unwrap();
}

#[test]
fn an_abandoned_generation_leaves_the_device_usable() {
    let device = device();
    let (spec, bound) = (spec(KeyType::Rsa2048), binding("rsa"));
    {
        let mut generation = pin!(device.generate(&spec, &bound));
        let _ = generation
            .as_mut()
            .poll(&mut Context::from_waker(Waker::noop()));
    }
    block_on(device.generate(&spec, &bound)).unwrap();
}

#[test]
fn what_the_type_cannot_do_is_invalid_and_what_the_spec_lacks_is_the_key_state() {
    let device = device();
    for key_type in super::key_types().filter(|key_type| key_type.info().family != KeyFamily::Rsa) {
        let new = make(&device, key_type);
        let key = block_on(device.load(&new.sealed, &binding("a"))).unwrap();
        for algorithm in Algorithm::all().filter(|algorithm| !algorithm.fits(key_type)) {
            for error in attempt_all(&*key, algorithm) {
                assert_eq!(
                    error.kind(),
                    ErrorKind::InvalidInput,
                    "{key_type} {algorithm}"
                );
            }
        }
        for usage in key_type.info().usages.iter() {
            let spec = KeySpec::new(key_type, Usages::of(&[usage])).unwrap();
            let new = block_on(device.generate(&spec, &binding("a"))).unwrap();
            let key = block_on(device.load(&new.sealed, &binding("a"))).unwrap();
            for algorithm in key_type.algorithms() {
                check_usage(&*key, *algorithm, usage);
            }
        }
    }
}

/// Every operation with a usage other than `usage` is refused for the key's state.
fn check_usage(key: &dyn LoadedKey, algorithm: Algorithm, usage: Usage) {
    let message = SignInput::Message(b"0123456789abcdef");
    let peer = key.public().cloned();
    let mut attempts = Vec::new();
    if algorithm.does(Operation::Sign) {
        attempts.push((
            Usage::Sign,
            block_on(key.sign(algorithm, message)).map(drop),
        ));
        attempts.push((
            Usage::Verify,
            block_on(key.verify(algorithm, message, &[0; 64])),
        ));
    }
    if algorithm.does(Operation::Mac) {
        attempts.push((Usage::Sign, block_on(key.mac(algorithm, b"m")).map(drop)));
        attempts.push((
            Usage::Verify,
            block_on(key.verify_mac(algorithm, b"m", b"t")),
        ));
    }
    if algorithm.does(Operation::Encrypt) {
        let encrypted = block_on(key.encrypt(algorithm, &[0; 16], None, &[]));
        let empty = hsm_core::CiphertextRef::default();
        attempts.push((Usage::Encrypt, encrypted.map(drop)));
        attempts.push((
            Usage::Decrypt,
            block_on(key.decrypt(algorithm, empty, &[])).map(drop),
        ));
    }
    if algorithm.does(Operation::Wrap) {
        attempts.push((
            Usage::WrapKey,
            block_on(key.wrap(algorithm, &[0; 16])).map(drop),
        ));
        attempts.push((
            Usage::UnwrapKey,
            block_on(key.unwrap(algorithm, &[0; 24])).map(drop),
        ));
    }
    if let Some(len) = algorithm.encapsulation_len() {
        let ciphertext = vec![0; len];
        attempts.push((
            Usage::Encapsulate,
            block_on(key.encapsulate(algorithm)).map(drop),
        ));
        attempts.push((
            Usage::Decapsulate,
            block_on(key.decapsulate(algorithm, &ciphertext)).map(drop),
        ));
    }
    if let Some(peer) = peer.filter(|_| algorithm.does(Operation::Agree)) {
        attempts.push((
            Usage::DeriveBits,
            block_on(key.agree(algorithm, &peer)).map(drop),
        ));
    }
    for (needed, result) in attempts {
        let refused = result.is_err_and(|error| error.kind() == ErrorKind::KeyState);
        assert_eq!(
            refused,
            needed != usage,
            "{algorithm} {needed:?} with {usage:?} only"
        );
    }
}

fn attempt_all(key: &dyn LoadedKey, algorithm: Algorithm) -> Vec<hsm_core::Error> {
    let message = SignInput::Message(b"m");
    let spec = *key.spec();
    let format = hsm_core::WrappedFormat::Bare;
    let sealed = SealedKey::new([0; 8]).unwrap();
    let peer = hsm_core::PublicKey::from_raw(KeyType::X25519, [9; 32]).unwrap();
    let parameters = hsm_core::DeriveParameters::default();
    let empty = hsm_core::CiphertextRef::default();
    let bound = binding("a");
    [
        block_on(key.sign(algorithm, message)).map(drop),
        block_on(key.verify(algorithm, message, b"s")),
        block_on(key.mac(algorithm, b"m")).map(drop),
        block_on(key.verify_mac(algorithm, b"m", b"t")),
        block_on(key.encrypt(algorithm, b"m", None, &[])).map(drop),
        block_on(key.decrypt(algorithm, empty, &[])).map(drop),
        block_on(key.wrap(algorithm, b"k")).map(drop),
        block_on(key.unwrap(algorithm, b"w")).map(drop),
        block_on(key.agree(algorithm, &peer)).map(drop),
        block_on(key.encapsulate(algorithm)).map(drop),
        block_on(key.decapsulate(algorithm, b"c")).map(drop),
        block_on(key.derive(algorithm, parameters, 32)).map(drop),
        block_on(key.export(algorithm, &sealed, &bound)).map(drop),
        block_on(key.import(algorithm, b"w", format, &spec, &bound)).map(drop),
    ]
    .into_iter()
    .map(Result::unwrap_err)
    .collect()
}

#[test]
fn import_takes_exact_lengths_and_valid_keys_only() {
    let device = device();
    for key_type in super::key_types() {
        let bytes = key_type.byte_len();
        for len in [0, 1, bytes - 1, bytes + 1, 4096] {
            let material = SecretBytes::init_with(len, |out| out.fill(0x30));
            let error =
                block_on(device.import(material, &spec(key_type), &binding("a"))).unwrap_err();
            assert_eq!(
                error.kind(),
                ErrorKind::InvalidInput,
                "{key_type} {len}: {error}"
            );
        }
        let huge = SecretBytes::init_with(KEY_MATERIAL_LEN_MAX + 1, |_| {});
        let error = block_on(device.import(huge, &spec(key_type), &binding("a"))).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::LimitExceeded, "{key_type}");
    }
}

#[test]
fn an_imported_key_is_the_key_that_was_handed_in() {
    let device = device();
    let spec = KeySpec::new(KeyType::HmacSha256, Usages::of(&[Usage::Sign])).unwrap();
    // RFC 4231 section 4.2: HMAC pads its key with zeros, so these 32 bytes are the RFC's 20.
    let material = SecretBytes::init_with(32, |key| key[..20].fill(0x0b));
    let new = block_on(device.import(material, &spec, &binding("a"))).unwrap();
    let key = block_on(device.load(&new.sealed, &binding("a"))).unwrap();
    let tag = block_on(key.mac(Algorithm::Hs256, b"Hi There")).unwrap();
    assert_eq!(tag[..8], [0xb0, 0x34, 0x4c, 0x61, 0xd8, 0xdb, 0x38, 0x53]);
    assert_eq!(tag.len(), 32);
}

fn device() -> SoftDevice {
    crate::options().in_memory().unwrap()
}

fn binding(name: &str) -> Binding {
    Binding::new("test", name.as_bytes())
}

/// Everything that the type may do, but transport, which goes alone.
fn spec(key_type: KeyType) -> KeySpec {
    let transport = Usages::of(&[Usage::Import, Usage::Export]);
    KeySpec::new(key_type, key_type.info().usages.without(transport)).unwrap()
}

fn make(device: &SoftDevice, key_type: KeyType) -> NewKey {
    block_on(device.generate(&spec(key_type), &binding("a"))).unwrap()
}
