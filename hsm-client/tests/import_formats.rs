//! Promise: a private key comes in from the forms that OpenSSL and JOSE write, and is the same key each time; what is no key is
//! refused in words that quote nothing of it.
#![expect(clippy::unwrap_used, reason = "helpers of tests are tests")]

#[path = "support/home.rs"]
mod home;

use std::fs;
use std::path::Path;

use home::{Home, admin, app};
use hsm_client::kinds::{Aes256Gcm, HmacSha256};
use hsm_client::limits::KEY_MATERIAL_LEN_MAX;
use hsm_client::{
    Error, ErrorKind, KeyMaterial, KeySpec, KeyType, PublicKey, Result, Usage, Usages,
};

const TYPES: [(&str, KeyType); 7] = [
    ("rsa", KeyType::Rsa2048),
    ("p256", KeyType::EcP256),
    ("p384", KeyType::EcP384),
    ("p521", KeyType::EcP521),
    ("p256k", KeyType::EcP256K),
    ("ed25519", KeyType::Ed25519),
    ("x25519", KeyType::X25519),
];

/// Keys that `openssl genpkey` made, as OpenSSL and as JSON Web Keys write them. They are known to everybody.
fn file(name: &str) -> Vec<u8> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/keys");
    fs::read(folder.join(name)).unwrap()
}

#[test]
fn every_form_is_the_same_key() {
    let (_home, hsm) = Home::new();
    let session = app(&hsm);
    for (name, key_type) in TYPES {
        let old_form = match name {
            "rsa" => Some("rsa.pkcs1.pem".to_owned()),
            "ed25519" | "x25519" => None,
            _ => Some(format!("{name}.sec1.pem")),
        };
        let pkcs8 = KeyMaterial::from_pem(file(&format!("{name}.pk8.pem"))).unwrap();
        let jwk = KeyMaterial::from_jwk(&file(&format!("{name}.jwk"))).unwrap();
        let old_form = old_form.map(|file_name| KeyMaterial::from_pem(file(&file_name)).unwrap());
        let mut public: Option<PublicKey> = None;
        for (number, material) in [Some(pkcs8), Some(jwk), old_form]
            .into_iter()
            .flatten()
            .enumerate()
        {
            assert_eq!(material.key_type(), Some(key_type));
            let transport = Usages::of(&[Usage::Import, Usage::Export]);
            let spec = KeySpec::new(key_type, key_type.info().usages.without(transport)).unwrap();
            let key = session
                .import_any(&format!("{name}-{number}"), spec, material)
                .make()
                .unwrap();
            let found = key.handle().public_key().unwrap();
            assert_eq!(
                *public.get_or_insert(found.clone()),
                found,
                "{name}-{number}"
            );
        }
    }
}

#[test]
fn symmetric_keys_come_as_json_web_keys() {
    let (_home, hsm) = Home::new();
    let session = app(&hsm);
    // RFC 7515 appendix A.1.1 has 64 bytes; these are the first 32.
    let jwk = br#"{"kty":"oct","k":"AyM1SysPpbyDfgZld3umj1qzKObwVMkoqQ-EstJQLr8"}"#;
    let material = KeyMaterial::from_jwk(jwk).unwrap();
    assert_eq!(material.key_type(), None);
    session
        .import::<Aes256Gcm>("data", material)
        .make()
        .unwrap();
    let material = KeyMaterial::from_jwk(jwk).unwrap();
    let denied = admin(&hsm).import::<Aes256Gcm>("other", material).make();
    assert_eq!(denied.unwrap_err().kind(), ErrorKind::Denied);
    // Key Vault's name for the same.
    let jwk = br#"{"kty":"oct-HSM","k":"AyM1SysPpbyDfgZld3umj1qzKObwVMkoqQ-EstJQLr8"}"#;
    let material = KeyMaterial::from_jwk(jwk).unwrap();
    session
        .import::<HmacSha256>("mac", material)
        .make()
        .unwrap();
}

/// The numbers of a key are not in what is said of it.
#[track_caller]
fn refused(read: Result<KeyMaterial>, kind: ErrorKind, says: &str) {
    let error: Error = read.unwrap_err();
    assert_eq!(error.kind(), kind, "{error}");
    assert!(error.message().contains(says), "{error}");
    let said = format!("{error:?}");
    for secret in [
        "AyM1SysPpbyDfgZ",
        "870MB6gfuTJ4HtUnUvYMyJpr5eUZNP4Bk43bVdj3eAE",
    ] {
        assert!(!said.contains(secret), "{said}");
    }
}

#[test]
fn what_is_no_private_key_is_refused() {
    use ErrorKind::{InvalidInput, LimitExceeded, Unsupported};
    let pem = |pem: &[u8]| KeyMaterial::from_pem(pem);
    refused(
        pem(&file("p256.encrypted.pem")),
        Unsupported,
        "openssl pkcs8 -in FILE",
    );
    refused(pem(b""), InvalidInput, "PEM");
    let whole = String::from_utf8(file("p256.pk8.pem")).unwrap();
    refused(
        pem(&whole.as_bytes()[..whole.len() / 2]),
        InvalidInput,
        "PEM",
    );
    let other = whole.replace("PRIVATE KEY", "CERTIFICATE");
    refused(pem(other.as_bytes()), InvalidInput, "the PEM label");
    let wrong = whole.replace("PRIVATE KEY", "EC PRIVATE KEY");
    refused(pem(wrong.as_bytes()), InvalidInput, "SEC 1");
    let wrong = whole.replace("PRIVATE KEY", "RSA PRIVATE KEY");
    refused(pem(wrong.as_bytes()), InvalidInput, "PKCS#1");
    refused(
        pem(&vec![b'A'; 3 * KEY_MATERIAL_LEN_MAX]),
        LimitExceeded,
        "length of a key",
    );

    let jwk = |json: &str| KeyMaterial::from_jwk(json.as_bytes());
    refused(jwk("{}"), InvalidInput, "not a JSON Web Key");
    refused(
        jwk(r#"{"kty":"EC","d":870}"#),
        InvalidInput,
        "line 1 column",
    );
    refused(jwk(r#"{"kty":"oct"}"#), InvalidInput, "lacks member `k`");
    refused(
        jwk(r#"{"kty":"oct","k":"AyM1SysPpbyDfgZ="}"#),
        InvalidInput,
        "base64url without padding",
    );
    refused(
        jwk(r#"{"kty":"AES","k":"AyM1SysPpbyDfgZ"}"#),
        InvalidInput,
        "kty RSA, EC",
    );
    let public_only =
        r#"{"kty":"OKP","crv":"Ed25519","x":"11qYAYKxCrfVS_7TyWQHOg7hcvPapiMlrwIaaPcHURo"}"#;
    refused(jwk(public_only), InvalidInput, "lacks member `d`");
    refused(
        jwk(
            r#"{"kty":"EC","crv":"P-256","d":"870MB6gfuTJ4HtUnUvYMyJpr5eUZNP4Bk43bVdj3","x":"AA","y":"AA"}"#,
        ),
        InvalidInput,
        "member `d` of this JSON Web Key has 30 bytes, not 32",
    );
    refused(
        jwk(r#"{"kty":"EC","crv":"P-257","d":"870MB6gfuTJ4HtUnUvYMyJpr5eUZNP4Bk43bVdj3eAE"}"#),
        InvalidInput,
        "one of the crv",
    );
    let rsa = String::from_utf8(file("rsa.jwk")).unwrap();
    let no_primes = rsa.replace("\"p\"", "\"other\"");
    refused(jwk(&no_primes), InvalidInput, "lacks member `p`");
    let three_primes = rsa.replacen('{', r#"{"oth":[{"r":"AQ"}],"#, 1);
    refused(jwk(&three_primes), InvalidInput, "more than two primes");
}

/// The device compares the halves: a key whose public half is another's does not come in.
#[test]
fn halves_of_two_keys_are_no_key() {
    let (_home, hsm) = Home::new();
    let session = app(&hsm);
    for (name, key_type) in TYPES {
        let own = String::from_utf8(file(&format!("{name}.jwk"))).unwrap();
        // The public half changes in one digit.
        let member = if name == "rsa" {
            "\"n\": \""
        } else {
            "\"x\": \""
        };
        let at = own.find(member).unwrap() + member.len() + 4;
        let digit = if &own[at..=at] == "A" { "B" } else { "A" };
        let other = format!("{}{digit}{}", &own[..at], &own[at + 1..]);
        let spec = KeySpec::new(key_type, Usages::of(&[first_usage(key_type)])).unwrap();
        let made = KeyMaterial::from_jwk(other.as_bytes())
            .and_then(|material| session.import_any(name, spec, material).make());
        assert_eq!(made.unwrap_err().kind(), ErrorKind::InvalidInput, "{name}");
    }
}

fn first_usage(key_type: KeyType) -> Usage {
    key_type.info().usages.iter().next().unwrap()
}
