//! A private key in DER, PEM or as a JSON Web Key: what is taken is one key in PKCS#8 DER.
#![no_main]

use hsm_core::key::KeyMaterial;
use hsm_core::limits::KEY_MATERIAL_LEN_MAX;
use hsm_core::{Result, SecretBytes};
use libfuzzer_sys::fuzz_target;

fuzz_target!(|data: &[u8]| {
    check(KeyMaterial::from_pkcs8_der(data));
    check(KeyMaterial::from_pem(data));
    check(KeyMaterial::from_jwk(data));
});

fn check(read: Result<KeyMaterial>) {
    let Ok(material) = read else { return };
    let key_type = material.key_type();
    let bytes = SecretBytes::from(material);
    // Binary is shorter than text, but for what PKCS#8 puts around PKCS#1 and SEC 1.
    assert!(bytes.len() <= KEY_MATERIAL_LEN_MAX + 64);
    if key_type.is_some() {
        let again = KeyMaterial::from_pkcs8_der(bytes.expose()).expect("its own PKCS#8");
        assert_eq!(again.key_type(), key_type);
    }
}
