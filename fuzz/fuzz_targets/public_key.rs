//! A public key reads back as it was written, in each of its encodings.
#![no_main]

use hsm_core::{Jwk, PublicKey};
use libfuzzer_sys::fuzz_target;

fuzz_target!(|data: &[u8]| {
    if let Ok(key) = PublicKey::from_spki_der(data) {
        assert_eq!(
            key.to_spki_der().expect("it was read"),
            data,
            "DER has one spelling"
        );
        check(&key);
    }
    let Ok(text) = std::str::from_utf8(data) else {
        return;
    };
    if let Ok(key) = PublicKey::from_pem(text) {
        check(&key);
    }
    if let Ok(jwk) = serde_json::from_str::<Jwk>(text)
        && let Ok(key) = PublicKey::from_jwk(&jwk)
    {
        check(&key);
    }
    // The encoding of records.
    if let Ok(key) = serde_json::from_str::<PublicKey>(text) {
        check(&key);
    }
});

fn check(key: &PublicKey) {
    let raw = PublicKey::from_raw(key.key_type(), key.as_raw()).expect("its own bytes");
    assert_eq!(raw, *key);
    let der = key.to_spki_der().expect("it can be written");
    assert_eq!(PublicKey::from_spki_der(&der).expect("its own DER"), *key);
    let pem = key.to_pem().expect("it can be written");
    assert_eq!(PublicKey::from_pem(&pem).expect("its own PEM"), *key);
    let jwk = key.to_jwk().expect("it can be written");
    assert_eq!(PublicKey::from_jwk(&jwk).expect("its own JWK"), *key);
}
