//! A sealed key loads unaltered and under its own binding, or not at all.
#![no_main]

use std::sync::LazyLock;

use hsm_backend_soft::SoftDevice;
use hsm_core::{Binding, Device, KeyType, SealedKey, Usages};
use hsm_fuzz::{Bytes, binding, device, spec};
use libfuzzer_sys::fuzz_target;
use pollster::block_on;

static KEYS: LazyLock<(SoftDevice, Vec<SealedKey>)> = LazyLock::new(|| {
    let device = device();
    let types = [
        KeyType::EcP256,
        KeyType::Ed25519,
        KeyType::Aes256,
        KeyType::HmacSha512,
    ];
    let keys = types.map(|key_type| {
        let new = block_on(device.generate(&spec(key_type), &binding()));
        new.expect("a key").sealed
    });
    (device, keys.to_vec())
});

fuzz_target!(|data: &[u8]| {
    let (device, keys) = &*KEYS;

    if let Ok(sealed) = SealedKey::new(data) {
        assert!(
            block_on(device.load(&sealed, &binding())).is_err(),
            "forged"
        );
    }

    // Which key, how long, another binding or none, and what is flipped.
    let mut data = Bytes(data);
    let original = &keys[usize::from(data.byte()) % keys.len()];
    let mut bytes = original.as_bytes().to_vec();
    let len = data.number() % (2 * bytes.len());
    if len > 0 {
        bytes.resize(len, 0);
    }
    let other = data.byte();
    let used = match other {
        0 => binding(),
        _ => Binding::new("fuzz", &[other]),
    };
    for (byte, mask) in bytes.iter_mut().zip(data.0) {
        *byte ^= mask;
    }
    let same = other == 0 && bytes == original.as_bytes();
    let Ok(sealed) = SealedKey::new(bytes) else {
        return;
    };
    assert_eq!(block_on(device.load(&sealed, &used)).is_ok(), same);
    assert_eq!(
        block_on(device.reseal(&sealed, &used, &binding(), Usages::NONE)).is_ok(),
        same
    );
});
