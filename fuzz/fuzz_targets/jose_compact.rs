//! A token is refused, or is taken apart and reads back as it was; what nobody signed is not verified.
#![no_main]

use std::sync::LazyLock;

use hsm_client::jose::{Algorithm, Compact, JwkSet, Validation, Verifier};
use hsm_client::{ErrorKind, jose};
use libfuzzer_sys::fuzz_target;

/// The key of RFC 8037 appendix A.2, which signed the seed, and nothing else.
const KEYS: &str = r#"{"keys":[{"kty":"OKP","crv":"Ed25519","kid":"a","alg":"EdDSA",
    "x":"11qYAYKxCrfVS_7TyWQHOg7hcvPapiMlrwIaaPcHURo"}]}"#;

static VERIFIER: LazyLock<Verifier> = LazyLock::new(|| {
    let set: JwkSet = serde_json::from_str(KEYS).expect("a key set");
    Verifier::new(&set).expect("a key that verifies")
});

fuzz_target!(|data: &[u8]| {
    let Ok(text) = std::str::from_utf8(data) else {
        return;
    };
    if let Ok(token) = Compact::parse(text) {
        assert_eq!(token.to_string(), text, "a token has one spelling");
        assert!(text.len() <= jose::ENCRYPTED_LEN_MAX);
    }
    let mut validation = Validation::new(Algorithm::EdDSA);
    validation.validate_exp = false;
    validation.required_spec_claims.clear();
    let verified = VERIFIER.verify::<serde_json::Value>(text, &validation);
    if let Err(error) = verified {
        assert_ne!(error.kind(), ErrorKind::DeviceFailed, "{error}");
    } else {
        panic!("nobody signed this");
    }
    if let Ok(set) = serde_json::from_str::<JwkSet>(text)
        && let Ok(_) = Verifier::new(&set)
    {
        for jwk in set.keys.iter().take(4) {
            // To any key that it takes.
            drop(jose::encrypt(jwk, b"text"));
        }
    }
});
