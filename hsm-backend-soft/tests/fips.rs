//! Promise: a device in FIPS mode offers what the standards of NIST approve and nothing else, over every provider.
#![expect(clippy::unwrap_used, reason = "a helper of a test may fail it")]

use futures_executor::block_on;
use hsm_backend_soft::{CryptoProvider, Protector, SoftDevice};
use hsm_core::{
    Algorithm, Binding, CiphertextRef, Device, ErrorKind, KeySpec, KeyType, SecretBytes, Usage,
    Usages, WrappedFormat,
};

fn device(provider: CryptoProvider) -> SoftDevice {
    let options = SoftDevice::options(provider).approved_only();
    options.in_memory().unwrap()
}

fn binding() -> Binding {
    Binding::new("test", b"")
}

/// Any spec of a key of this type.
fn spec(key_type: KeyType) -> KeySpec {
    let usage = key_type.info().usages.iter().next().unwrap();
    KeySpec::new(key_type, Usages::of(&[usage])).unwrap()
}

#[test]
fn what_is_offered_is_approved_and_nothing_approved_is_left_out() {
    for &provider in CryptoProvider::ALL {
        let all = SoftDevice::options(provider).in_memory().unwrap();
        let (all, device) = (all.capabilities().clone(), device(provider));
        let offered = device.capabilities();
        for key_type in KeyType::all() {
            let expected = all.supports_key_type(key_type) && key_type.approval().is_approved();
            assert_eq!(offered.supports_key_type(key_type), expected, "{key_type}");
        }
        for algorithm in Algorithm::all() {
            let expected = all.supports_algorithm(algorithm) && algorithm.approval().is_approved();
            assert_eq!(
                offered.supports_algorithm(algorithm),
                expected,
                "{algorithm}"
            );
        }
    }
}

#[test]
fn keys_that_are_not_approved_are_neither_made_nor_taken_nor_loaded_nor_moved() {
    for &provider in CryptoProvider::ALL {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("domain");
        let protector = Protector::KeyFile(folder.path().join("key"));
        let all = SoftDevice::options(provider)
            .create(&path, &protector)
            .unwrap();
        let fips = SoftDevice::options(provider).approved_only();
        let fips = fips.open(&path, &protector).unwrap();
        let both_ways = Usages::of(&[Usage::Export, Usage::Import]);
        let transport = KeySpec::new(KeyType::Aes256, both_ways).unwrap();
        let transport = block_on(fips.generate(&transport, &binding())).unwrap();
        let moving = block_on(all.load(&transport.sealed, &binding())).unwrap();
        let refusing = block_on(fips.load(&transport.sealed, &binding())).unwrap();
        let kwp = Algorithm::A256Kwp;
        let refused = KeyType::all().filter(|key_type| !key_type.approval().is_approved());
        for key_type in refused.filter(|key_type| all.capabilities().supports_key_type(*key_type)) {
            let spec = spec(key_type).exportable();
            let new = block_on(all.generate(&spec, &binding())).unwrap();
            let material = SecretBytes::copy_from(&[1; 32]);
            let wrapped = block_on(moving.export(kwp, &new.sealed, &binding())).unwrap();
            let bound = WrappedFormat::Bound;
            for error in [
                block_on(fips.generate(&spec, &binding())).unwrap_err(),
                block_on(fips.import(material, &spec, &binding())).unwrap_err(),
                block_on(fips.load(&new.sealed, &binding())).unwrap_err(),
                block_on(refusing.import(kwp, &wrapped, bound, &spec, &binding())).unwrap_err(),
                block_on(refusing.export(kwp, &new.sealed, &binding())).unwrap_err(),
            ] {
                assert_eq!(error.kind(), ErrorKind::Unsupported, "{key_type}: {error}");
                assert!(error.message().contains("not in FIPS mode; "), "{error}");
            }
        }
        let approved = spec(KeyType::EcP256);
        let new = block_on(all.generate(&approved, &binding())).unwrap();
        block_on(fips.load(&new.sealed, &binding())).unwrap();
    }
}

#[test]
fn an_approved_key_does_not_run_an_algorithm_that_is_not() {
    for &provider in CryptoProvider::ALL {
        let device = device(provider);
        let spec = KeySpec::new(KeyType::Rsa2048, Usages::of(&[Usage::Decrypt])).unwrap();
        let new = block_on(device.generate(&spec, &binding())).unwrap();
        let key = block_on(device.load(&new.sealed, &binding())).unwrap();
        let ciphertext = CiphertextRef {
            ciphertext: &[1; 256],
            iv: b"",
            tag: b"",
        };
        let error = block_on(key.decrypt(Algorithm::Rsa1_5, ciphertext, b"")).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Unsupported);
        assert_eq!(
            error.message(),
            "RSA1_5: not in FIPS mode; SP 800-131A revision 2 disallows key transport with PKCS#1 v1.5 padding since 2024"
        );
    }
}

#[test]
fn the_status_is_what_is_linked() {
    for &provider in CryptoProvider::ALL {
        let linked = cfg!(feature = "fips") && format!("{provider:?}") == "AwsLc";
        for (device, approved_only) in [
            (device(provider), true),
            (SoftDevice::options(provider).in_memory().unwrap(), false),
        ] {
            let status = device.fips_status();
            assert_eq!(status.approved_only, approved_only);
            assert_eq!(status.validated_module.is_some(), linked, "{provider:?}");
        }
    }
}

#[cfg(feature = "aws-lc")]
mod over_aws_lc {
    use super::*;

    hsm_testkit::device_conformance!(device(CryptoProvider::AwsLc));
}

#[cfg(feature = "rust-crypto")]
mod over_rust_crypto {
    use super::*;

    hsm_testkit::device_conformance!(device(CryptoProvider::RustCrypto));
}
