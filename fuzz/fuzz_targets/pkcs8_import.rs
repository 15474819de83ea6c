//! What an import takes for a key works as one, and every provider that has the type takes the same.
#![no_main]

use std::sync::LazyLock;

use hsm_backend_soft::{CryptoProvider, SoftDevice};
use hsm_core::{Algorithm, Device, Error, KeyType, Operation, SecretBytes, SignInput};
use hsm_fuzz::{binding, device, spec};
use libfuzzer_sys::fuzz_target;
use pollster::block_on;

static DEVICE: LazyLock<SoftDevice> = LazyLock::new(device);
static OTHER: LazyLock<SoftDevice> = LazyLock::new(|| {
    let other = SoftDevice::options(CryptoProvider::RustCrypto).in_memory();
    other.expect("the self-tests pass")
});

fuzz_target!(|data: &[u8]| {
    for key_type in KeyType::all() {
        let spec = spec(key_type);
        let material = SecretBytes::copy_from(data);
        let new = block_on(DEVICE.import(material, &spec, &binding()));
        if OTHER.capabilities().supports_key_type(key_type) {
            let material = SecretBytes::copy_from(data);
            let other = block_on(OTHER.import(material, &spec, &binding()));
            assert_eq!(
                new.as_ref().map(|new| &new.public).map_err(Error::kind),
                other.as_ref().map(|new| &new.public).map_err(Error::kind),
                "{key_type}"
            );
        }
        let Ok(new) = new else { continue };
        let key = block_on(DEVICE.load(&new.sealed, &binding())).expect("its own key");
        assert_eq!(key.public(), new.public.as_ref());
        let signs = |algorithm: &&Algorithm| algorithm.does(Operation::Sign);
        if let Some(algorithm) = key_type.algorithms().iter().find(signs) {
            let message = SignInput::Message(b"message");
            let signature = block_on(key.sign(*algorithm, message)).expect("it signs");
            let public = new.public.expect("a pair");
            public
                .verify(*algorithm, message, &signature)
                .expect("its own signature");
        }
    }
});
