//! A key leaves the device wrapped or not at all, and comes back no more powerful than it left.
#![expect(clippy::unwrap_used, reason = "a helper of a test may fail it")]

use std::sync::Arc;

use aes_kw::KwpAes256;
use aes_kw::cipher::KeyInit;
use futures_executor::block_on;
use hsm_backend_soft::SoftDevice;
use hsm_core::{
    Algorithm, Binding, Device, ErrorKind, KeySpec, KeyType, LoadedKey, NewKey, SealedKey,
    SecretBytes, SignInput, Usage, Usages, WrappedFormat,
};

const BOUND: WrappedFormat = WrappedFormat::Bound;
const BARE: WrappedFormat = WrappedFormat::Bare;

#[test]
fn every_key_type_goes_from_one_device_to_another() {
    let (here, there) = (device(), device());
    for (algorithm, transport) in [
        (Algorithm::A256Kwp, KeyType::Aes256),
        (Algorithm::A128Kwp, KeyType::Aes128),
        (Algorithm::RsaAesKwp, KeyType::Rsa2048),
    ] {
        let (export, import) = shared_transport(&here, &there, transport);
        for key_type in super::key_types() {
            let spec = spec(key_type).exportable();
            let new = make(&here, &spec);
            let blob = block_on(export.export(algorithm, &new.sealed, &binding("a"))).unwrap();
            let arrived =
                block_on(import.import(algorithm, &blob, BOUND, &spec, &binding("b"))).unwrap();
            assert_eq!(arrived.public, new.public, "{key_type} under {transport}");
            let key = block_on(there.load(&arrived.sealed, &binding("b"))).unwrap();
            assert_eq!(*key.spec(), spec);
            assert_same_key(&*load(&here, &new), &*key);
        }
    }
}

/// Symmetric keys have no public half to compare, so they compute something.
fn assert_same_key(one: &dyn LoadedKey, other: &dyn LoadedKey) {
    let algorithm = one.spec().key_type.algorithms()[0];
    let fingerprint = |key: &dyn LoadedKey| match key.spec().key_type {
        KeyType::HmacSha256 | KeyType::HmacSha384 | KeyType::HmacSha512 => {
            block_on(key.mac(algorithm, b"m")).unwrap()
        }
        KeyType::Kdk256 => {
            let parameters = hsm_core::DeriveParameters::default();
            let derived = block_on(key.derive(algorithm, parameters, 32)).unwrap();
            derived.expose().to_vec()
        }
        KeyType::Aes128 => block_on(key.wrap(Algorithm::A128Kw, &[0; 16])).unwrap(),
        KeyType::Aes192 => block_on(key.wrap(Algorithm::A192Kw, &[0; 16])).unwrap(),
        KeyType::Aes256 => block_on(key.wrap(Algorithm::A256Kw, &[0; 16])).unwrap(),
        _ => key.public().unwrap().as_raw().to_vec(),
    };
    assert_eq!(fingerprint(one), fingerprint(other));
}

#[test]
fn a_key_that_is_not_exportable_stays() {
    let device = device();
    let transport = transport(&device, KeyType::Aes256);
    let new = make(&device, &spec(KeyType::EcP256));
    let algorithm = Algorithm::A256Kwp;
    let error = block_on(transport.export(algorithm, &new.sealed, &binding("a"))).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Denied);
}

#[test]
fn the_target_must_be_unaltered_and_under_its_binding() {
    let device = device();
    let transport = transport(&device, KeyType::Aes256);
    let new = make(&device, &spec(KeyType::EcP256));
    // The exportable bit of the header.
    let mut bytes = new.sealed.as_bytes().to_vec();
    bytes[4] |= 1;
    let altered = SealedKey::new(bytes).unwrap();
    for (sealed, name) in [(&altered, "a"), (&new.sealed, "b")] {
        let algorithm = Algorithm::A256Kwp;
        let error = block_on(transport.export(algorithm, sealed, &binding(name))).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Damaged);
    }
}

#[test]
fn only_transport_keys_transport() {
    let device = device();
    let new = make(&device, &spec(KeyType::EcP256).exportable());
    // An AES key that wraps for callers could unwrap the blob into their hands.
    let wrapping = load(&device, &make(&device, &spec(KeyType::Aes256)));
    let algorithm = Algorithm::A256Kwp;
    let wanted = spec(KeyType::EcP256);
    let error = block_on(wrapping.export(algorithm, &new.sealed, &binding("a"))).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::KeyState);
    let result = block_on(wrapping.import(algorithm, &[0; 64], BOUND, &wanted, &binding("b")));
    assert_eq!(result.unwrap_err().kind(), ErrorKind::KeyState);

    let transport = transport(&device, KeyType::Aes256);
    let error = block_on(transport.unwrap(algorithm, &[0; 64])).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::KeyState);
    for algorithm in [
        Algorithm::A256Kw,
        Algorithm::A128Kwp,
        Algorithm::RsaAesKwp,
        Algorithm::Es256,
    ] {
        let error = block_on(transport.export(algorithm, &new.sealed, &binding("a"))).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::InvalidInput, "{algorithm}");
    }
}

#[test]
fn a_bound_key_is_never_widened() {
    let device = device();
    let transport = transport(&device, KeyType::Aes256);
    let algorithm = Algorithm::A256Kwp;
    let verify_only = KeySpec::new(KeyType::EcP256, Usages::of(&[Usage::Verify])).unwrap();
    let new = make(&device, &verify_only.exportable());
    let blob = block_on(transport.export(algorithm, &new.sealed, &binding("a"))).unwrap();
    let import = |spec: &KeySpec| {
        block_on(transport.import(algorithm, &blob, BOUND, spec, &binding("b"))).map(drop)
    };

    import(&verify_only).unwrap();
    import(&verify_only.exportable()).unwrap();
    for wider in [
        spec(KeyType::EcP256),
        KeySpec::new(KeyType::EcP256, Usages::of(&[Usage::Sign])).unwrap(),
        KeySpec::new(KeyType::EcP384, Usages::of(&[Usage::Verify])).unwrap(),
        KeySpec::new(KeyType::HmacSha256, Usages::of(&[Usage::Verify])).unwrap(),
    ] {
        assert_eq!(
            import(&wider).unwrap_err().kind(),
            ErrorKind::Denied,
            "{wider:?}"
        );
    }
}

/// A blob that says that the key ends here. No export makes one, so the test wraps it itself.
#[test]
fn a_key_that_may_not_be_exported_again_is_not() {
    let (device, secret) = (device(), [5; 32]);
    let transport = import_transport(&device, &secret);
    let header = [1, KeyType::HmacSha256.code(), 0, 3, 0, 0];
    let blob = kwp(&secret, &[&header[..], &[9; 32]].concat());
    let import = |spec: &KeySpec| {
        let algorithm = Algorithm::A256Kwp;
        block_on(transport.import(algorithm, &blob, BOUND, spec, &binding("b"))).map(drop)
    };
    import(&spec(KeyType::HmacSha256)).unwrap();
    let error = import(&spec(KeyType::HmacSha256).exportable()).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Denied);
}

#[test]
fn a_bare_key_is_never_exportable() {
    let (device, secret) = (device(), [5; 32]);
    let transport = import_transport(&device, &secret);
    let blob = kwp(&secret, &[9; 32]);
    let import = |format, spec: &KeySpec| {
        let algorithm = Algorithm::A256Kwp;
        block_on(transport.import(algorithm, &blob, format, spec, &binding("b"))).map(drop)
    };
    import(BARE, &spec(KeyType::HmacSha256)).unwrap();
    let error = import(BARE, &spec(KeyType::HmacSha256).exportable()).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Denied);
    let error = import(BARE, &spec(KeyType::HmacSha512)).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::InvalidInput);
    let error = import(BOUND, &spec(KeyType::HmacSha256)).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::InvalidInput);
}

#[test]
fn an_altered_blob_fails_without_a_reason() {
    let device = device();
    for (algorithm, key_type) in [
        (Algorithm::A256Kwp, KeyType::Aes256),
        (Algorithm::RsaAesKwp, KeyType::Rsa2048),
    ] {
        let transport = transport(&device, key_type);
        let spec = spec(KeyType::Ed25519).exportable();
        let new = make(&device, &spec);
        let blob = block_on(transport.export(algorithm, &new.sealed, &binding("a"))).unwrap();
        let altered = (0..blob.len()).map(|at| {
            let mut altered = blob.clone();
            altered[at] ^= 0x40;
            altered
        });
        let cut = [0, 1, 255, 256, 257, blob.len() - 8, blob.len() - 1];
        let cut = cut
            .into_iter()
            .map(|len| blob[..len.min(blob.len() - 1)].to_vec());
        for bad in altered.chain(cut) {
            let bound = binding("b");
            let error =
                block_on(transport.import(algorithm, &bad, BOUND, &spec, &bound)).unwrap_err();
            assert_eq!(error.kind(), ErrorKind::CryptoFailed);
            assert_eq!(error.message(), "");
        }
    }
}

/// An imported pair still signs, and the signature is that of the exported one.
#[test]
fn an_arrived_key_signs() {
    let (here, there) = (device(), device());
    let (export, import) = shared_transport(&here, &there, KeyType::Aes256);
    let spec = spec(KeyType::Ed25519).exportable();
    let new = make(&here, &spec);
    let algorithm = Algorithm::A256Kwp;
    let blob = block_on(export.export(algorithm, &new.sealed, &binding("a"))).unwrap();
    let arrived = block_on(import.import(algorithm, &blob, BOUND, &spec, &binding("a"))).unwrap();
    let sign = |key: Arc<dyn LoadedKey>| {
        block_on(key.sign(Algorithm::EdDsa, SignInput::Message(b"m"))).unwrap()
    };
    assert_eq!(sign(load(&here, &new)), sign(load(&there, &arrived)));
}

fn device() -> SoftDevice {
    crate::options().in_memory().unwrap()
}

fn binding(name: &str) -> Binding {
    Binding::new("test", name.as_bytes())
}

fn make(device: &SoftDevice, spec: &KeySpec) -> NewKey {
    block_on(device.generate(spec, &binding("a"))).unwrap()
}

fn load(device: &SoftDevice, new: &NewKey) -> Arc<dyn LoadedKey> {
    block_on(device.load(&new.sealed, &binding("a"))).unwrap()
}

/// Everything that the type may do, but transport.
fn spec(key_type: KeyType) -> KeySpec {
    KeySpec::new(key_type, key_type.info().usages.without(TRANSPORT)).unwrap()
}

fn transport_spec(key_type: KeyType) -> KeySpec {
    KeySpec::new(key_type, TRANSPORT).unwrap()
}

fn transport(device: &SoftDevice, key_type: KeyType) -> Arc<dyn LoadedKey> {
    load(device, &make(device, &transport_spec(key_type)))
}

/// One transport key on two devices.
fn shared_transport(
    here: &SoftDevice,
    there: &SoftDevice,
    key_type: KeyType,
) -> (Arc<dyn LoadedKey>, Arc<dyn LoadedKey>) {
    let secret = [0x77; 32];
    let material = match key_type {
        KeyType::Rsa2048 => RSA_KEY,
        _ => &secret[..key_type.byte_len()],
    };
    let on = |device: &SoftDevice| {
        let material = SecretBytes::copy_from(material);
        let spec = transport_spec(key_type);
        let new = block_on(device.import(material, &spec, &binding("a"))).unwrap();
        load(device, &new)
    };
    (on(here), on(there))
}

fn import_transport(device: &SoftDevice, secret: &[u8; 32]) -> Arc<dyn LoadedKey> {
    let material = SecretBytes::copy_from(secret);
    let spec = transport_spec(KeyType::Aes256);
    let new = block_on(device.import(material, &spec, &binding("a"))).unwrap();
    load(device, &new)
}

fn kwp(key: &[u8; 32], plaintext: &[u8]) -> Vec<u8> {
    let mut wrapped = vec![0; plaintext.len().div_ceil(8) * 8 + 8];
    let len = KwpAes256::new(key.into())
        .wrap_key(plaintext, &mut wrapped)
        .unwrap()
        .len();
    wrapped.truncate(len);
    wrapped
}

const TRANSPORT: Usages = Usages::of(&[Usage::Import, Usage::Export]);

/// The private key of RFC 7515 appendix A.2.
const RSA_KEY: &[u8] = include_bytes!("../../src/self_test/rfc7515_rsa2048.pkcs8.der");
