//! The cases of the [`Device`] and [`LoadedKey`] contracts, one file for each kind of promise.

mod agreement;
mod attestation;
mod derivation;
mod encapsulation;
mod encryption;
mod import;
mod keys;
mod sealing;
mod sharing;
mod signing;
mod transport;
mod wrapping;

pub use agreement::*;
pub use attestation::*;
pub use derivation::*;
pub use encapsulation::*;
pub use encryption::*;
pub use import::*;
pub use keys::*;
pub use sealing::*;
pub use sharing::*;
pub use signing::*;
pub use transport::*;
pub use wrapping::*;

use std::sync::Arc;

use hsm_core::{
    Algorithm, Binding, Device, KeySpec, KeyType, LoadedKey, NewKey, Operation, PublicKey,
    SecretBytes, Usage, Usages,
};

use super::{ok, skip};

/// A key with all that is known of it.
struct TestKey {
    spec: KeySpec,
    binding: Binding,
    new: NewKey,
    loaded: Arc<dyn LoadedKey>,
}

impl TestKey {
    /// Makes a key on `device` for `usages` and loads it.
    async fn generate(device: &impl Device, key_type: KeyType, usages: Usages) -> Self {
        let spec = ok(KeySpec::new(key_type, usages), "the spec of a test key");
        Self::from_spec(device, spec).await
    }

    async fn from_spec(device: &impl Device, spec: KeySpec) -> Self {
        let binding = binding("a test key");
        let clause = format!("generate a key of type {}", spec.key_type);
        let new = ok(device.generate(&spec, &binding).await, clause);
        Self::load(device, new, spec, binding).await
    }

    /// Imports `material` for `usages` and loads it.
    async fn import(
        device: &impl Device,
        key_type: KeyType,
        usages: Usages,
        material: &[u8],
    ) -> Self {
        let spec = ok(KeySpec::new(key_type, usages), "the spec of a test key");
        let binding = binding("an imported test key");
        let material = SecretBytes::copy_from(material);
        let clause = format!("import a key of type {key_type}");
        let new = ok(device.import(material, &spec, &binding).await, clause);
        Self::load(device, new, spec, binding).await
    }

    async fn load(device: &impl Device, new: NewKey, spec: KeySpec, binding: Binding) -> Self {
        let clause = format!("load a key of type {}", spec.key_type);
        let loaded = ok(device.load(&new.sealed, &binding).await, clause);
        Self {
            spec,
            binding,
            new,
            loaded,
        }
    }

    fn public(&self) -> &PublicKey {
        self.new
            .public
            .as_ref()
            .expect("an asymmetric key has a public half")
    }
}

fn binding(statement: &str) -> Binding {
    Binding::new("hsm conformance", statement.as_bytes())
}

/// The usages of `key_type` for data: all but moving other keys.
fn data_usages(key_type: KeyType) -> Usages {
    let usages = key_type.info().usages;
    usages.without(transport_usages())
}

fn transport_usages() -> Usages {
    Usages::of(&[Usage::Import, Usage::Export])
}

/// Key types that the device has and that have an algorithm for `operation`, with the algorithms. Says what is skipped.
fn supported(device: &impl Device, operation: Operation) -> Vec<(KeyType, Vec<Algorithm>)> {
    let capabilities = device.capabilities();
    let mut found = Vec::new();
    for key_type in KeyType::all() {
        let fitting = key_type.algorithms().iter().copied();
        let mut fitting: Vec<_> = fitting.filter(|fit| fit.does(operation)).collect();
        if fitting.is_empty() {
            continue;
        }
        if let Err(reason) = capabilities.check(key_type, None) {
            skip(reason);
            continue;
        }
        fitting.retain(
            |algorithm| match capabilities.check(key_type, Some(*algorithm)) {
                Ok(()) => true,
                Err(reason) => {
                    skip(reason);
                    false
                }
            },
        );
        if !fitting.is_empty() {
            found.push((key_type, fitting));
        }
    }
    found
}

/// As [`supported`], without the large RSA keys: slow to make, and no different where size does not matter.
fn supported_small(device: &impl Device, operation: Operation) -> Vec<(KeyType, Vec<Algorithm>)> {
    let mut found = supported(device, operation);
    found.retain(|(key_type, _)| !is_large(*key_type));
    found
}

/// Key types of the device without the large RSA keys.
fn small_key_types(device: &impl Device) -> Vec<KeyType> {
    let key_types = device.capabilities().key_types().iter().copied();
    key_types.filter(|key_type| !is_large(*key_type)).collect()
}

/// Whether keys of this type take seconds to make.
fn is_large(key_type: KeyType) -> bool {
    matches!(key_type, KeyType::Rsa3072 | KeyType::Rsa4096)
}

/// Whether the device has the key type and the algorithm. Says what is skipped.
fn has(device: &impl Device, key_type: KeyType, algorithm: Algorithm) -> bool {
    match device.capabilities().check(key_type, Some(algorithm)) {
        Ok(()) => true,
        Err(reason) => {
            skip(reason);
            false
        }
    }
}

/// A key type of the device whose keys are made at once: for what does not depend on the type.
fn quick_key_type(device: &impl Device) -> Option<KeyType> {
    let key_types = device.capabilities().key_types();
    let slow = [KeyType::Rsa2048, KeyType::Rsa3072, KeyType::Rsa4096];
    let quick = key_types.iter().find(|key_type| !slow.contains(key_type));
    if quick.is_none() {
        skip("the device makes RSA keys only, which take too long for this");
    }
    quick.copied()
}

/// Does something with a key that only the same key does: equal for two loaded keys exactly if they are one key.
async fn fingerprint(key: &dyn LoadedKey) -> Vec<u8> {
    if let Some(public) = key.public() {
        return public.as_raw().to_vec();
    }
    let key_type = key.spec().key_type;
    let iv = [7; 16];
    for algorithm in key_type.algorithms() {
        let info = algorithm.info();
        if algorithm.does(Operation::Mac) && key.spec().usages.contains(Usage::Sign) {
            return ok(key.mac(*algorithm, b"fingerprint").await, "mac");
        }
        if algorithm.does(Operation::Derive) {
            let derived = key.derive(*algorithm, hsm_core::DeriveParameters::default(), 32);
            match derived.await {
                // Of the algorithms of a type a device may have some.
                Err(error) if error.kind() == hsm_core::ErrorKind::Unsupported => continue,
                derived => return ok(derived, "derive").expose().to_vec(),
            }
        }
        if algorithm.does(Operation::Encrypt)
            && info.tag_len == 0
            && key.spec().usages.contains(Usage::Encrypt)
            && let Ok(encrypted) = key.encrypt(*algorithm, &[7; 32], Some(&iv), b"").await
        {
            return encrypted.ciphertext;
        }
        if algorithm.does(Operation::Wrap)
            && key.spec().usages.contains(Usage::WrapKey)
            && let Ok(wrapped) = key.wrap(*algorithm, &[7; 32]).await
        {
            return wrapped;
        }
    }
    panic!("a key of type {key_type} has no deterministic operation to compare by");
}

fn hex(text: &str) -> Vec<u8> {
    let digits = text.as_bytes().chunks(2);
    let bytes = digits.map(|pair| {
        let pair = std::str::from_utf8(pair).expect("test vectors are ASCII");
        u8::from_str_radix(pair, 16).expect("test vectors are hex")
    });
    bytes.collect()
}
