//! A wrapped key becomes what it says that it may become, and no more.
#![no_main]

use std::sync::{Arc, LazyLock};

use aes_kw::{KeyInit, KwpAes256};
use hsm_backend_soft::SoftDevice;
use hsm_core::{
    Algorithm, Device, KeySpec, KeyType, LoadedKey, SecretBytes, Usage, Usages, WrappedFormat,
};
use hsm_fuzz::{Bytes, binding, device, spec};
use libfuzzer_sys::fuzz_target;
use pollster::block_on;

/// The key that wraps: known to the target, so that it can wrap what it likes.
const TRANSPORT: [u8; 32] = [0x5a; 32];

const TYPES: [KeyType; 6] = [
    KeyType::EcP256,
    KeyType::EcP256K,
    KeyType::Ed25519,
    KeyType::X25519,
    KeyType::Aes256,
    KeyType::HmacSha256,
];

static DEVICE: LazyLock<(SoftDevice, Arc<dyn LoadedKey>)> = LazyLock::new(|| {
    let device = device();
    let usages = Usages::of(&[Usage::Import, Usage::Export]);
    let transport = KeySpec::new(KeyType::Aes256, usages).expect("the registry fits");
    let material = SecretBytes::copy_from(&TRANSPORT);
    let new = block_on(device.import(material, &transport, &binding())).expect("a key");
    let loaded = block_on(device.load(&new.sealed, &binding())).expect("its own key");
    (device, loaded)
});

fuzz_target!(|data: &[u8]| {
    let (device, transport) = &*DEVICE;
    let import = |wrapped: &[u8], format, spec: &KeySpec| {
        block_on(transport.import(Algorithm::A256Kwp, wrapped, format, spec, &binding()))
    };

    let mut data = Bytes(data);
    let mut wanted = spec(data.choose(&TYPES));
    if data.byte() % 2 == 1 {
        wanted = wanted.exportable();
    }

    // Nobody without the transport key makes a blob.
    for format in [WrappedFormat::Bound, WrappedFormat::Bare] {
        assert!(import(data.0, format, &wanted).is_err(), "forged");
    }

    let plaintext = data.0;
    let mut wrapped = vec![0; plaintext.len().div_ceil(8) * 8 + 8];
    let kwp = KwpAes256::new(&TRANSPORT.into());
    let Ok(wrapped) = kwp.wrap_key(plaintext, &mut wrapped) else {
        return;
    };
    if let Ok(new) = import(wrapped, WrappedFormat::Bound, &wanted) {
        let usages = u16::from_be_bytes([plaintext[2], plaintext[3]]);
        assert_eq!(plaintext[1], wanted.key_type.code());
        assert_eq!(wanted.usages.bits() & !usages, 0);
        assert!(!wanted.exportable || plaintext[4] & 1 == 1);
        assert_eq!(plaintext[5], 0, "it was for one algorithm");
        let loaded = block_on(device.load(&new.sealed, &binding())).expect("its own key");
        assert_eq!(*loaded.spec(), wanted);
    }
    if let Ok(new) = import(wrapped, WrappedFormat::Bare, &wanted) {
        assert!(!wanted.exportable);
        block_on(device.load(&new.sealed, &binding())).expect("its own key");
    }
});
