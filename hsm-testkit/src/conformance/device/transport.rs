//! Keys that move: wrapped under a key of the device on their way out and in.

use hsm_core::{
    Algorithm, Device, ErrorKind, KeySpec, KeyType, SecretBytes, Usage, Usages, WrappedFormat,
};

use super::super::{fails, ok, skip};
use super::{TestKey, binding, data_usages, fingerprint, has, hex, is_large, transport_usages};

const NOT_EXPORTABLE: &str = "export wraps exportable keys only";
const NOT_WIDER: &str = "the spec of an import may not be wider than what the blob names: Denied";
const TAMPERED: &str = "a failed unwrapping is CryptoFailed, without reason";

/// Keys that wrap others, with the algorithm to do it.
const CARRIERS: [(KeyType, Algorithm); 4] = [
    (KeyType::Aes128, Algorithm::A128Kwp),
    (KeyType::Aes192, Algorithm::A192Kwp),
    (KeyType::Aes256, Algorithm::A256Kwp),
    (KeyType::Rsa2048, Algorithm::RsaAesKwp),
];

/// Every exportable key goes out and comes in as the same key.
pub async fn exported_keys_come_back_the_same<D: Device>(make: impl Fn() -> D) {
    let device = make();
    for (carrier_type, algorithm) in carriers(&device) {
        let carrier = TestKey::generate(&device, carrier_type, transport_usages()).await;
        for key_type in device.capabilities().key_types() {
            if is_large(*key_type) && carrier_type != KeyType::Aes256 {
                continue; // slow to make, and no different under the other carriers
            }
            let clause = format!("export and import of a {key_type} under {algorithm}");
            let spec = ok(KeySpec::new(*key_type, data_usages(*key_type)), "spec").exportable();
            let key = TestKey::from_spec(&device, spec).await;
            let wrapped = carrier
                .loaded
                .export(algorithm, &key.new.sealed, &key.binding)
                .await;
            let wrapped = ok(wrapped, &clause);
            let new = binding("after the journey");
            let format = WrappedFormat::Bound;
            let imported = carrier
                .loaded
                .import(algorithm, &wrapped, format, &spec, &new)
                .await;
            let imported = TestKey::load(&device, ok(imported, &clause), spec, new).await;
            assert_eq!(imported.loaded.spec(), &spec, "{clause}: the spec");
            assert_eq!(
                imported.new.public, key.new.public,
                "{clause}: the public half"
            );
            assert!(
                fingerprint(&*imported.loaded).await == fingerprint(&*key.loaded).await,
                "{clause}: another key came back"
            );
        }
    }
}

/// A key that was not made exportable stays, and so does one under another binding.
pub async fn keys_that_are_not_exportable_stay<D: Device>(make: impl Fn() -> D) {
    let device = make();
    for (carrier_type, algorithm) in carriers(&device) {
        let carrier = TestKey::generate(&device, carrier_type, transport_usages()).await;
        let target = carrier_type;
        let key = TestKey::generate(&device, target, data_usages(target)).await;
        let result = carrier
            .loaded
            .export(algorithm, &key.new.sealed, &key.binding)
            .await;
        fails(
            result,
            &[ErrorKind::Denied, ErrorKind::KeyState],
            NOT_EXPORTABLE,
        );
        let spec = ok(KeySpec::new(target, data_usages(target)), "spec").exportable();
        let key = TestKey::from_spec(&device, spec).await;
        let other = binding("another");
        let result = carrier
            .loaded
            .export(algorithm, &key.new.sealed, &other)
            .await;
        fails(
            result,
            &[ErrorKind::Damaged],
            "export opens a key under its binding only",
        );
    }
}

/// Nothing that a blob says gets wider on the way in: usages, exportability, type.
pub async fn imports_do_not_widen<D: Device>(make: impl Fn() -> D) {
    let device = make();
    let Some((carrier_type, algorithm)) = carriers(&device).into_iter().next() else {
        return skip("the device has no key type and algorithm that wrap other keys");
    };
    let carrier = TestKey::generate(&device, carrier_type, transport_usages()).await;
    let few = Usages::of(&[Usage::Decrypt, Usage::UnwrapKey]);
    let Some(target) = [KeyType::Aes256, KeyType::Aes128, KeyType::Rsa2048]
        .into_iter()
        .find(|key_type| device.capabilities().supports_key_type(*key_type))
    else {
        return skip("the device has no key type with enough usages");
    };
    let spec = ok(KeySpec::new(target, few), "spec").exportable();
    let key = TestKey::from_spec(&device, spec).await;
    let wrapped = carrier
        .loaded
        .export(algorithm, &key.new.sealed, &key.binding)
        .await;
    let wrapped = ok(wrapped, "export");
    let import = async |spec: &KeySpec| {
        let format = WrappedFormat::Bound;
        let binding = binding("widened");
        carrier
            .loaded
            .import(algorithm, &wrapped, format, spec, &binding)
            .await
    };
    let wider = [Usage::Encrypt, Usage::WrapKey].map(|usage| few.iter().chain([usage]).collect());
    for usages in [wider[0], wider[1], data_usages(target), transport_usages()] {
        let spec = ok(KeySpec::new(target, usages), "spec").exportable();
        fails(
            import(&spec).await,
            &[ErrorKind::Denied],
            format!("{NOT_WIDER}: {usages}"),
        );
    }
    let narrow = ok(KeySpec::new(target, Usages::of(&[Usage::Decrypt])), "spec");
    let narrowed = TestKey::load(
        &device,
        ok(import(&narrow).await, "a narrower spec is fine"),
        narrow,
        binding("widened"),
    );
    let narrowed = narrowed.await;
    assert_eq!(
        *narrowed.loaded.spec(),
        narrow,
        "an import is what its spec says"
    );
    let result = carrier
        .loaded
        .export(algorithm, &narrowed.new.sealed, &narrowed.binding)
        .await;
    let kinds = [ErrorKind::Denied, ErrorKind::KeyState];
    fails(result, &kinds, "a key imported as not exportable stays");
    let other_type = if target == KeyType::Aes128 {
        KeyType::Aes256
    } else {
        KeyType::Aes128
    };
    if device.capabilities().supports_key_type(other_type) {
        let other = ok(KeySpec::new(other_type, few), "spec");
        let kinds = [ErrorKind::Denied, ErrorKind::InvalidInput];
        fails(
            import(&other).await,
            &kinds,
            "a blob is of the type that it names",
        );
    }
}

/// Edited blobs, and those of other carriers, do not come in.
pub async fn edited_blobs_are_refused<D: Device>(make: impl Fn() -> D) {
    let device = make();
    for (carrier_type, algorithm) in carriers(&device) {
        let carrier = TestKey::generate(&device, carrier_type, transport_usages()).await;
        let other = TestKey::generate(&device, carrier_type, transport_usages()).await;
        let spec = ok(
            KeySpec::new(carrier_type, data_usages(carrier_type)),
            "spec",
        )
        .exportable();
        let key = TestKey::from_spec(&device, spec).await;
        let wrapped = carrier
            .loaded
            .export(algorithm, &key.new.sealed, &key.binding)
            .await;
        let wrapped = ok(wrapped, "export");
        let (format, new) = (WrappedFormat::Bound, binding("edited"));
        let kinds = [ErrorKind::CryptoFailed];
        for at in (0..wrapped.len()).step_by(1 + wrapped.len() / 60) {
            let mut edited = wrapped.clone();
            edited[at] ^= 1 << (at % 8);
            let result = carrier
                .loaded
                .import(algorithm, &edited, format, &spec, &new)
                .await;
            fails(
                result,
                &kinds,
                format!("{TAMPERED}: byte {at} under {algorithm}"),
            );
        }
        let cut = &wrapped[..wrapped.len() - 8];
        let result = carrier
            .loaded
            .import(algorithm, cut, format, &spec, &new)
            .await;
        let cut_kinds = [ErrorKind::CryptoFailed, ErrorKind::InvalidInput];
        fails(
            result,
            &cut_kinds,
            format!("{TAMPERED}: cut, under {algorithm}"),
        );
        let result = other
            .loaded
            .import(algorithm, &wrapped, format, &spec, &new)
            .await;
        fails(
            result,
            &kinds,
            format!("{TAMPERED}: another carrier, {algorithm}"),
        );
    }
}

/// Moving keys needs its own usages, and a key with those unwraps nothing into a caller's hands.
pub async fn transport_needs_its_usages<D: Device>(make: impl Fn() -> D) {
    let device = make();
    for (carrier_type, algorithm) in carriers(&device) {
        let clause = "a usage that the spec lacks is KeyState";
        let kinds = [ErrorKind::KeyState];
        let spec = ok(
            KeySpec::new(carrier_type, data_usages(carrier_type)),
            "spec",
        )
        .exportable();
        let target = TestKey::from_spec(&device, spec).await;
        let (sealed, bound) = (&target.new.sealed, &target.binding);
        let exporter = Usages::of(&[Usage::Export]);
        let importer = Usages::of(&[Usage::Import]);
        for usages in [data_usages(carrier_type), importer] {
            let key = TestKey::generate(&device, carrier_type, usages).await;
            fails(
                key.loaded.export(algorithm, sealed, bound).await,
                &kinds,
                clause,
            );
        }
        for usages in [data_usages(carrier_type), exporter] {
            let key = TestKey::generate(&device, carrier_type, usages).await;
            let format = WrappedFormat::Bound;
            let import = key
                .loaded
                .import(algorithm, &[7; 512], format, &spec, bound);
            fails(import.await, &kinds, clause);
        }
        let carrier = TestKey::generate(&device, carrier_type, transport_usages()).await;
        let wrapped = ok(
            carrier.loaded.export(algorithm, sealed, bound).await,
            "export",
        );
        let unwrapped = carrier.loaded.unwrap(algorithm, &wrapped).await;
        let kinds = [ErrorKind::KeyState, ErrorKind::InvalidInput];
        fails(
            unwrapped,
            &kinds,
            "a key that carries others unwraps none for callers",
        );
    }
}

/// Bare key material of other systems comes in, and never becomes exportable.
pub async fn bare_keys_come_in_and_stay<D: Device>(make: impl Fn() -> D) {
    let device = make();
    if !has(&device, KeyType::Aes256, Algorithm::A256Kwp) {
        return;
    }
    // One AES key in two roles: outside it wraps as the other system would, inside it carries.
    let shared: Vec<u8> = (100..132).collect();
    let usages = Usages::of(&[Usage::WrapKey]);
    let outside = TestKey::import(&device, KeyType::Aes256, usages, &shared).await;
    let carrier = TestKey::import(&device, KeyType::Aes256, transport_usages(), &shared).await;
    let target = hex("000102030405060708090a0b0c0d0e0f101112131415161718191a1b1c1d1e1f");
    let wrapped = ok(
        outside.loaded.wrap(Algorithm::A256Kwp, &target).await,
        "wrap",
    );
    let spec = ok(
        KeySpec::new(KeyType::Aes256, data_usages(KeyType::Aes256)),
        "spec",
    );
    let new = binding("bare");
    let (algorithm, format) = (Algorithm::A256Kwp, WrappedFormat::Bare);
    let imported = carrier
        .loaded
        .import(algorithm, &wrapped, format, &spec, &new)
        .await;
    let imported = ok(imported, "import of a bare key");
    let imported = TestKey::load(&device, imported, spec, new).await;
    let material = SecretBytes::copy_from(&target);
    let direct = ok(
        device.import(material, &spec, &new).await,
        "import in clear",
    );
    let direct = TestKey::load(&device, direct, spec, new).await;
    assert!(
        fingerprint(&*imported.loaded).await == fingerprint(&*direct.loaded).await,
        "a bare key is the key that was wrapped"
    );
    let exportable = spec.exportable();
    let result = carrier
        .loaded
        .import(algorithm, &wrapped, format, &exportable, &new)
        .await;
    fails(
        result,
        &[ErrorKind::Denied],
        "a bare key is never exportable here",
    );
    let wrong = ok(
        KeySpec::new(KeyType::Aes128, data_usages(KeyType::Aes128)),
        "spec",
    );
    let result = carrier
        .loaded
        .import(algorithm, &wrapped, format, &wrong, &new)
        .await;
    let kinds = [ErrorKind::InvalidInput, ErrorKind::Unsupported];
    fails(result, &kinds, "a bare key of another size is refused");
}

/// Keys of the device that take others out and in.
fn carriers(device: &impl Device) -> Vec<(KeyType, Algorithm)> {
    if device.capabilities().is_import_only() {
        skip("the device lets no key out");
        return Vec::new();
    }
    let carriers = CARRIERS.into_iter();
    carriers
        .filter(|(key_type, algorithm)| has(device, *key_type, *algorithm))
        .collect()
}
