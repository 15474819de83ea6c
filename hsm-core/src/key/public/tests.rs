//! Published vectors, keys that OpenSSL made, and what must be refused.

use base64ct::{Base64, Base64UrlUnpadded, Encoding};
use ml_dsa::{Keypair, MlDsa44, SigningKey};
use proptest::prelude::*;
use sha2::{Digest, Sha256, Sha384, Sha512};

use super::{Jwk, PublicKey};
use crate::algorithm::{Algorithm, Hash, KeyType};
use crate::device::SignInput;
use crate::error::ErrorKind;

#[test]
fn rfc_6979_signatures_verify() {
    for (key, algorithm, signature) in ecdsa_vectors() {
        key.verify(algorithm, SignInput::Message(b"sample"), &signature)
            .unwrap();
        let wrong = key.verify(algorithm, SignInput::Message(b"test"), &signature);
        assert_eq!(wrong.unwrap_err().kind(), ErrorKind::CryptoFailed);
        let digest = match algorithm.hash() {
            Some(Hash::Sha256) => Sha256::digest(b"sample").to_vec(),
            Some(Hash::Sha384) => Sha384::digest(b"sample").to_vec(),
            _ => Sha512::digest(b"sample").to_vec(),
        };
        key.verify(algorithm, SignInput::Digest(&digest), &signature)
            .unwrap();
    }
}

#[test]
fn rfc_8032_signatures_verify() {
    let vectors = [
        (
            "d75a980182b10ab7d54bfed3c964073a0ee172f3daa62325af021a68f707511a",
            "",
            "e5564300c360ac729086e2cc806e828a84877f1eb8e5d974d873e065224901555fb8821590a33bacc61e39701cf9b46bd25bf5f0595bbe24655141438e7a100b",
        ),
        (
            "3d4017c3e843895a92b70aa74d1b7ebc9c982ccf2ec4968cc0cd55f12af4660c",
            "72",
            "92a009a9f0d4cab8720e820b5f642540a2b27b5416503f8fb3762223ebdb69da085ac1e43e15996e458f3613d0f11d8c387b2eaeb4302aeeb00d291612bb0c00",
        ),
        (
            "fc51cd8e6218a1a38da47ed00230f0580816ed13ba3303ac5deb911548908025",
            "af82",
            "6291d657deec24024827e69c3abe01a30ce548a284743a445e3680d7db5ac3ac18ff9b538d16f290ae67f760984dc6594a7c15e9716ed28dc027beceea1ec40a",
        ),
    ];
    for (key, message, signature) in vectors {
        let key = PublicKey::from_raw(KeyType::Ed25519, hex(key)).unwrap();
        let (message, mut signature) = (hex(message), hex(signature));
        let verify = |signature: &[u8]| {
            key.verify(Algorithm::EdDsa, SignInput::Message(&message), signature)
        };
        verify(&signature).unwrap();
        assert_eq!(
            verify(&signature[..63]).unwrap_err().kind(),
            ErrorKind::CryptoFailed
        );
        signature[0] ^= 1;
        assert_eq!(
            verify(&signature).unwrap_err().kind(),
            ErrorKind::CryptoFailed
        );
    }
}

#[test]
fn openssl_rsa_signatures_verify() {
    let key = PublicKey::from_pem(RSA_PEM).unwrap();
    assert_eq!(key.key_type(), KeyType::Rsa2048);
    for (algorithm, signature) in RSA_SIGNATURES {
        let mut signature = Base64::decode_vec(signature).unwrap();
        key.verify(algorithm, SignInput::Message(b"sample"), &signature)
            .unwrap();
        for other in KeyType::Rsa2048.algorithms() {
            if *other != algorithm {
                let result = key.verify(*other, SignInput::Message(b"sample"), &signature);
                assert!(result.is_err(), "{algorithm} passed for {other}");
            }
        }
        signature[100] ^= 1;
        let result = key.verify(algorithm, SignInput::Message(b"sample"), &signature);
        assert_eq!(result.unwrap_err().kind(), ErrorKind::CryptoFailed);
    }
}

#[test]
fn a_salt_of_another_length_is_refused() {
    let key = PublicKey::from_pem(RSA_PEM).unwrap();
    let signature = Base64::decode_vec(PS256_SALT_20).unwrap();
    let result = key.verify(Algorithm::Ps256, SignInput::Message(b"sample"), &signature);
    assert_eq!(result.unwrap_err().kind(), ErrorKind::CryptoFailed);
}

#[test]
fn secp256k1_signatures_verify_with_either_s() {
    let key = PublicKey::from_pem(SECP256K1_PEM).unwrap();
    assert_eq!(key.key_type(), KeyType::EcP256K);
    for s in [SECP256K1_S_LOW, SECP256K1_S_HIGH] {
        let signature = [hex(SECP256K1_R), hex(s)].concat();
        key.verify(Algorithm::Es256K, SignInput::Message(b"sample"), &signature)
            .unwrap();
    }
}

#[test]
fn a_digest_of_the_wrong_length_is_named() {
    let (key, algorithm, signature) = ecdsa_vectors().remove(1);
    let error = key
        .verify(algorithm, SignInput::Digest(&[0; 32]), &signature)
        .unwrap_err();
    assert_eq!(
        error.to_string(),
        "invalid input: a digest for ES384 has 48 bytes, not 32"
    );
}

#[test]
fn an_algorithm_that_does_not_fit_is_named() {
    let key = PublicKey::from_pem(RSA_PEM).unwrap();
    let error = key
        .verify(Algorithm::Es256, SignInput::Message(b""), &[])
        .unwrap_err();
    assert_eq!(error.kind(), ErrorKind::InvalidInput);
    assert!(error.message().contains("PS256"), "{error}");
    let key = PublicKey::from_raw(KeyType::Ed25519, hex(ED25519)).unwrap();
    let error = key
        .verify(Algorithm::EdDsa, SignInput::Digest(&[0; 64]), &[0; 64])
        .unwrap_err();
    assert_eq!(error.kind(), ErrorKind::InvalidInput);
}

#[test]
fn signatures_become_der() {
    let key = PublicKey::from_pem(SECP256K1_PEM).unwrap();
    let signature = [hex(SECP256K1_R), hex(SECP256K1_S_LOW)].concat();
    let der = key.to_der_signature(Algorithm::Es256K, &signature).unwrap();
    // What `openssl dgst -sha256 -sign` printed.
    let expected = format!("3045022100{SECP256K1_R}0220{SECP256K1_S_LOW}");
    assert_eq!(der, hex(&expected));
    let error = key
        .to_der_signature(Algorithm::Es256K, &signature[1..])
        .unwrap_err();
    assert!(error.message().contains("64 bytes"), "{error}");
}

#[test]
fn every_encoding_leads_back_to_the_key() {
    for key in keys() {
        let der = key.to_spki_der().unwrap();
        assert_eq!(PublicKey::from_spki_der(&der).unwrap(), key, "{key:?}");
        assert_eq!(PublicKey::from_pem(&key.to_pem().unwrap()).unwrap(), key);
        let json = serde_json::to_string(&key.to_jwk().unwrap()).unwrap();
        let jwk: Jwk = serde_json::from_str(&json).unwrap();
        assert_eq!(PublicKey::from_jwk(&jwk).unwrap(), key, "{json}");
        let bytes = postcard::to_allocvec(&key).unwrap();
        assert_eq!(postcard::from_bytes::<PublicKey>(&bytes).unwrap(), key);
    }
}

#[test]
fn openssl_encodings_are_ours() {
    for pem in [
        RSA_PEM,
        SECP256K1_PEM,
        ED25519_PEM,
        ML_DSA_65_PEM,
        ML_KEM_768_PEM,
    ] {
        assert_eq!(PublicKey::from_pem(pem).unwrap().to_pem().unwrap(), pem);
    }
    let crlf = RSA_PEM.replace('\n', "\r\n");
    assert!(PublicKey::from_pem(&crlf).is_ok());
}

#[test]
fn truncated_and_extended_encodings_are_refused() {
    for key in keys() {
        let der = key.to_spki_der().unwrap();
        for len in 0..der.len() {
            assert!(PublicKey::from_spki_der(&der[..len]).is_err());
        }
        assert!(PublicKey::from_spki_der(&[&der[..], &[0]].concat()).is_err());
        for len in 0..key.as_raw().len() {
            assert!(PublicKey::from_raw(key.key_type(), &key.as_raw()[..len]).is_err());
        }
        let extended = [key.as_raw(), &[0]].concat();
        assert!(PublicKey::from_raw(key.key_type(), extended).is_err());
    }
}

#[test]
fn keys_that_are_not_ours_are_refused_with_the_reason() {
    let cases = [
        (BRAINPOOL_PEM, "unknown curve 1.3.36.3.3.2.8.1.1.7"),
        (COMPRESSED_PEM, "uncompressed point"),
        (RSA_1024_PEM, "2048, 3072 or 4096 bits"),
        (RSA_E3_PEM, "65537 at least"),
        (
            "-----BEGIN PRIVATE KEY-----\nAAAA\n-----END PRIVATE KEY-----\n",
            "`PUBLIC KEY`",
        ),
        ("hello", "RFC 7468"),
    ];
    for (pem, reason) in cases {
        let error = PublicKey::from_pem(pem).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::InvalidInput);
        assert!(error.message().contains(reason), "{error}");
    }
    let error = PublicKey::from_pem(&"A".repeat(1 << 20)).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::LimitExceeded);
}

#[test]
fn points_off_the_curve_and_at_infinity_are_refused() {
    for (key, ..) in ecdsa_vectors() {
        let mut raw = key.as_raw().to_vec();
        *raw.last_mut().unwrap() ^= 1;
        let error = PublicKey::from_raw(key.key_type(), raw).unwrap_err();
        assert!(error.message().contains("not on the curve"), "{error}");
        assert!(PublicKey::from_raw(key.key_type(), vec![0]).is_err());
        let mut zeros = vec![0; key.as_raw().len()];
        assert!(PublicKey::from_raw(key.key_type(), zeros.clone()).is_err());
        zeros[0] = 4;
        assert!(PublicKey::from_raw(key.key_type(), zeros).is_err());
    }
}

#[test]
fn weak_and_odd_ed25519_points_are_refused() {
    let mut neutral = [0; 32];
    neutral[0] = 1;
    let error = PublicKey::from_raw(KeyType::Ed25519, neutral).unwrap_err();
    assert!(error.message().contains("small order"), "{error}");
    // y = p + 1: the neutral element again, not reduced.
    let mut unreduced = [0xff; 32];
    (unreduced[0], unreduced[31]) = (0xee, 0x7f);
    let error = PublicKey::from_raw(KeyType::Ed25519, unreduced).unwrap_err();
    assert!(error.message().contains("canonically"), "{error}");
}

#[test]
fn a_modulus_of_another_size_or_an_even_one_is_named() {
    let raw = PublicKey::from_pem(RSA_PEM).unwrap().as_raw().to_vec();
    let error = PublicKey::from_raw(KeyType::Rsa3072, raw.clone()).unwrap_err();
    assert!(error.message().contains("2048 bits"), "{error}");
    let error = PublicKey::from_raw(KeyType::Aes256, vec![0; 32]).unwrap_err();
    assert!(error.message().contains("no public half"), "{error}");
    let mut even = raw;
    let last = even.len() - 6; // the exponent takes the five bytes behind
    even[last] ^= 1;
    let error = PublicKey::from_raw(KeyType::Rsa2048, even).unwrap_err();
    assert!(error.message().contains("odd"), "{error}");
}

#[test]
fn a_record_with_a_bad_key_does_not_deserialize() {
    let key = PublicKey::from_raw(KeyType::Ed25519, hex(ED25519)).unwrap();
    let mut bytes = postcard::to_allocvec(&key).unwrap();
    let end = bytes.len();
    bytes[end - 32..].fill(0xff);
    assert!(postcard::from_bytes::<PublicKey>(&bytes).is_err());
}

#[test]
fn rfc_7638_and_rfc_8037_thumbprints() {
    let rsa: Jwk = serde_json::from_str(RFC_7638_JWK).unwrap();
    let key = PublicKey::from_jwk(&rsa).unwrap();
    assert_eq!(
        Base64UrlUnpadded::encode_string(&key.thumbprint().unwrap()),
        "NzbLsXh8uDCcd-6MNwXF4W_7noWXFZAfHkxZsRGC9Xs"
    );
    let key = PublicKey::from_raw(KeyType::Ed25519, hex(ED25519)).unwrap();
    assert_eq!(
        Base64UrlUnpadded::encode_string(&key.thumbprint().unwrap()),
        "kPrK_qmxVWaYVA9wwBF6Iuo3vVzz7TxHCTwXBygrS4k"
    );
}

/// RFC 9964 appendix A: the ML-DSA-44 key of the seed of zeros.
#[test]
fn rfc_9964_thumbprint_and_web_key() {
    let raw = SigningKey::<MlDsa44>::from_seed(&[0; 32].into()).verifying_key();
    let key = PublicKey::from_raw(KeyType::MlDsa44, raw.encode().as_slice()).unwrap();
    assert_eq!(
        Base64UrlUnpadded::encode_string(&key.thumbprint().unwrap()),
        "T4xl70S7MT6Zeq6r9V9fPJGVn76wfnXJ21-gyo0Gu6o"
    );
    let jwk = serde_json::to_value(key.to_jwk().unwrap()).unwrap();
    assert_eq!(jwk["kty"], "AKP");
    assert_eq!(jwk["alg"], "ML-DSA-44");
    assert!(jwk["pub"].as_str().unwrap().starts_with("unH59k4Ru"));
    assert_eq!(jwk.as_object().unwrap().len(), 3, "{jwk}");
}

#[test]
fn an_akp_web_key_is_what_its_alg_says() {
    let key = PublicKey::from_pem(ML_DSA_65_PEM).unwrap();
    let good = key.to_jwk().unwrap();
    let change = |change: fn(&mut Jwk)| {
        let mut jwk = good.clone();
        change(&mut jwk);
        PublicKey::from_jwk(&jwk)
    };
    // As Key Vault writes it.
    assert_eq!(change(|jwk| jwk.kty = "AKP-HSM".into()).unwrap(), key);
    let refused = [
        (change(|jwk| jwk.alg = None), "`alg`"),
        (change(|jwk| jwk.alg = Some("EdDSA".into())), "ML-KEM-768"),
        (change(|jwk| jwk.alg = Some("ML-DSA-87".into())), "2592"),
        (change(|jwk| jwk.public = None), "lacks member `pub`"),
    ];
    for (outcome, reason) in refused {
        let error = outcome.unwrap_err();
        assert_eq!(error.kind(), ErrorKind::InvalidInput);
        assert!(error.message().contains(reason), "{error}");
    }
}

#[test]
fn ml_dsa_signatures_verify_with_an_empty_context_only() {
    let pair = SigningKey::<MlDsa44>::from_seed(&[7; 32].into());
    let raw = pair.verifying_key().encode();
    let key = PublicKey::from_raw(KeyType::MlDsa44, raw.as_slice()).unwrap();
    let sign = |context: &[u8]| {
        let signature = pair.expanded_key().sign_deterministic(b"message", context);
        signature.unwrap().encode().to_vec()
    };
    let verify = |input, signature: &[u8]| key.verify(Algorithm::MlDsa44, input, signature);
    let message = SignInput::Message(b"message");
    let mut signature = sign(b"");
    verify(message, &signature).unwrap();
    let refused = [
        verify(SignInput::Message(b"massage"), &signature),
        verify(message, &sign(b"context")),
        verify(message, &signature[1..]),
        verify(message, &[&signature[..], &[0]].concat()),
    ];
    for outcome in refused {
        assert_eq!(outcome.unwrap_err().kind(), ErrorKind::CryptoFailed);
    }
    let error = verify(SignInput::Digest(&[0; 64]), &signature).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::InvalidInput);
    signature[100] ^= 1;
    let error = verify(message, &signature).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::CryptoFailed);
}

/// FIPS 203 section 7.2: the first number becomes 4095, the modulus is 3329.
#[test]
fn ml_kem_keys_that_are_not_reduced_are_refused() {
    let mut raw = PublicKey::from_pem(ML_KEM_768_PEM).unwrap().raw;
    raw[0] = 0xff;
    raw[1] |= 0x0f;
    let x_wing = [&raw[..], &[9; 32]].concat();
    for (key_type, raw) in [(KeyType::MlKem768, raw.into()), (KeyType::XWing, x_wing)] {
        let error = PublicKey::from_raw(key_type, raw).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::InvalidInput);
        assert!(error.message().contains("below its modulus"), "{error}");
    }
}

#[test]
fn rfc_7517_example_reads() {
    let jwk: Jwk = serde_json::from_str(RFC_7517_JWK).unwrap();
    assert_eq!(jwk.public_key_use.as_deref(), Some("enc"));
    assert_eq!(jwk.kid.as_deref(), Some("1"));
    let key = PublicKey::from_jwk(&jwk).unwrap();
    assert_eq!(key.key_type(), KeyType::EcP256);
    assert_eq!(
        (key.to_jwk().unwrap().x, key.to_jwk().unwrap().y),
        (jwk.x, jwk.y)
    );
}

#[test]
fn key_vaults_names_are_understood() {
    let key = PublicKey::from_pem(SECP256K1_PEM).unwrap();
    let mut jwk = key.to_jwk().unwrap();
    assert_eq!(jwk.crv.as_deref(), Some("secp256k1"));
    jwk.crv = Some("P-256K".into());
    jwk.kty = "EC-HSM".into();
    assert_eq!(PublicKey::from_jwk(&jwk).unwrap(), key);
}

#[test]
fn a_bad_web_key_is_refused_by_member() {
    let (key, ..) = ecdsa_vectors().remove(0);
    let good = key.to_jwk().unwrap();
    let change = |change: fn(&mut Jwk)| {
        let mut jwk = good.clone();
        change(&mut jwk);
        PublicKey::from_jwk(&jwk).unwrap_err().to_string()
    };
    assert!(change(|jwk| jwk.y = None).contains("lacks member `y`"));
    assert!(change(|jwk| jwk.x = Some("AAAA".into())).contains("`x` of this JSON Web Key has 32"));
    assert!(change(|jwk| jwk.x = Some("a=".into())).contains("without padding"));
    assert!(change(|jwk| jwk.crv = Some("P-257".into())).contains("P-384"));
    assert!(change(|jwk| jwk.kty = "oct".into()).contains("kty"));
    assert!(change(|jwk| jwk.x = Some("A".repeat(1 << 20))).contains("at most"));
    let mut rsa: Jwk = serde_json::from_str(RFC_7638_JWK).unwrap();
    rsa.e = Some("AAEAAQ".into());
    let error = PublicKey::from_jwk(&rsa).unwrap_err();
    assert!(error.message().contains("leading zeros"), "{error}");
}

proptest! {
    #[test]
    fn whatever_der_is_read_is_written_back_the_same(
        at in 0usize..400, flip in 1u8..=255, which in 0usize..11
    ) {
        let keys = keys();
        let mut der = keys[which % keys.len()].to_spki_der().unwrap();
        let at = at % der.len();
        der[at] ^= flip;
        if let Ok(key) = PublicKey::from_spki_der(&der) {
            prop_assert_eq!(key.to_spki_der().unwrap(), der);
        }
    }
}

/// Keys and signatures of "sample" from RFC 6979 appendices A.2.5 to A.2.7.
fn ecdsa_vectors() -> Vec<(PublicKey, Algorithm, Vec<u8>)> {
    [
        (KeyType::EcP256, Algorithm::Es256, P256),
        (KeyType::EcP384, Algorithm::Es384, P384),
        (KeyType::EcP521, Algorithm::Es512, P521),
    ]
    .into_iter()
    .map(|(key_type, algorithm, [x, y, r, s])| {
        let point = [vec![4], hex(x), hex(y)].concat();
        let key = PublicKey::from_raw(key_type, point).unwrap();
        (key, algorithm, [hex(r), hex(s)].concat())
    })
    .collect()
}

/// A key of each kind.
fn keys() -> Vec<PublicKey> {
    let mut keys: Vec<_> = ecdsa_vectors().into_iter().map(|(key, ..)| key).collect();
    keys.push(PublicKey::from_pem(SECP256K1_PEM).unwrap());
    keys.push(PublicKey::from_pem(RSA_PEM).unwrap());
    keys.push(PublicKey::from_raw(KeyType::Ed25519, hex(ED25519)).unwrap());
    keys.push(PublicKey::from_raw(KeyType::X25519, hex(ED25519)).unwrap());
    keys.push(PublicKey::from_pem(ML_DSA_65_PEM).unwrap());
    let ml_kem = PublicKey::from_pem(ML_KEM_768_PEM).unwrap();
    let x_wing = [ml_kem.as_raw(), &hex(ED25519)].concat();
    keys.push(ml_kem);
    keys.push(PublicKey::from_raw(KeyType::XWing, x_wing).unwrap());
    keys
}

fn hex(text: &str) -> Vec<u8> {
    (0..text.len())
        .step_by(2)
        .map(|at| u8::from_str_radix(&text[at..at + 2], 16).unwrap())
        .collect()
}

/// RFC 9881 appendix C.2: ML-DSA-65, of the seed 0, 1, 2, ….
const ML_DSA_65_PEM: &str = include_str!("vectors/ml_dsa_65.pub.pem");

/// RFC 9935 appendix C.2: ML-KEM-768, of the seed 0, 1, 2, ….
const ML_KEM_768_PEM: &str = include_str!("vectors/ml_kem_768.pub.pem");

/// RFC 6979 appendix A.2.5: x, y, r, s.
const P256: [&str; 4] = [
    "60FED4BA255A9D31C961EB74C6356D68C049B8923B61FA6CE669622E60F29FB6",
    "7903FE1008B8BC99A41AE9E95628BC64F2F1B20C2D7E9F5177A3C294D4462299",
    "EFD48B2AACB6A8FD1140DD9CD45E81D69D2C877B56AAF991C34D0EA84EAF3716",
    "F7CB1C942D657C41D436C7A1B6E29F65F3E900DBB9AFF4064DC4AB2F843ACDA8",
];

/// RFC 6979 appendix A.2.6.
const P384: [&str; 4] = [
    "EC3A4E415B4E19A4568618029F427FA5DA9A8BC4AE92E02E06AAE5286B300C64DEF8F0EA9055866064A254515480BC13",
    "8015D9B72D7D57244EA8EF9AC0C621896708A59367F9DFB9F54CA84B3F1C9DB1288B231C3AE0D4FE7344FD2533264720",
    "94EDBB92A5ECB8AAD4736E56C691916B3F88140666CE9FA73D64C4EA95AD133C81A648152E44ACF96E36DD1E80FABE46",
    "99EF4AEB15F178CEA1FE40DB2603138F130E740A19624526203B6351D0A3A94FA329C145786E679E7B82C71A38628AC8",
];

/// RFC 6979 appendix A.2.7.
const P521: [&str; 4] = [
    "01894550D0785932E00EAA23B694F213F8C3121F86DC97A04E5A7167DB4E5BCD371123D46E45DB6B5D5370A7F20FB633155D38FFA16D2BD761DCAC474B9A2F5023A4",
    "00493101C962CD4D2FDDF782285E64584139C2F91B47F87FF82354D6630F746A28A0DB25741B5B34A828008B22ACC23F924FAAFBD4D33F81EA66956DFEAA2BFDFCF5",
    "00C328FAFCBD79DD77850370C46325D987CB525569FB63C5D3BC53950E6D4C5F174E25A1EE9017B5D450606ADD152B534931D7D4E8455CC91F9B15BF05EC36E377FA",
    "00617CCE7CF5064806C467F678D3B4080D6F1CC50AF26CA209417308281B68AF282623EAA63E5B5C0723D8B8C37FF0777B1A20F8CCB1DCCC43997F1EE0E44DA4A67A",
];

/// The key of RFC 8032 section 7.1, test 1, and of RFC 8037 appendix A.2.
const ED25519: &str = "d75a980182b10ab7d54bfed3c964073a0ee172f3daa62325af021a68f707511a";

/// RFC 7517 appendix A.1, first key.
const RFC_7517_JWK: &str = r#"{"kty":"EC","crv":"P-256","x":"MKBCTNIcKUSDii11ySs3526iDZ8AiTo7Tu6KPAqv7D4",
    "y":"4Etl6SRW2YiLUrN5vfvVHuhp7x8PxltmWWlbbM4IFyM","use":"enc","kid":"1"}"#;

/// RFC 7638 section 3.1.
const RFC_7638_JWK: &str = r#"{"kty":"RSA","n":"0vx7agoebGcQSuuPiLJXZptN9nndrQmbXEps2aiAFbWhM78LhWx4cbbfAAtVT86zwu1RK7aPFFxuhDR1L6tSoc_BJECPebWKRXjBZCiFV4n3oknjhMstn64tZ_2W-5JsGY4Hc5n9yBXArwl93lqt7_RN5w6Cf0h4QyQ5v-65YGjQR0_FDW2QvzqY368QQMicAtaSqzs8KJZgnYb9c7d0zgdAZHzu6qMQvRL5hajrn1n91CbOpbISD08qNLyrdkt-bFTWhAI4vMQFh6WeZu0fM4lFd2NcRwr3XPksINHaQ-G_xBniIqbw0Ls1jF44-csFCur-kEgU8awapJzKnqDKgw","e":"AQAB","alg":"RS256","kid":"2011-04-29"}"#;

/// The key of RFC 8032 as `openssl pkey` writes it.
const ED25519_PEM: &str = "\
-----BEGIN PUBLIC KEY-----
MCowBQYDK2VwAyEA11qYAYKxCrfVS/7TyWQHOg7hcvPapiMlrwIaaPcHURo=
-----END PUBLIC KEY-----
";

/// `openssl genrsa 2048`, then `openssl rsa -pubout`.
const RSA_PEM: &str = "\
-----BEGIN PUBLIC KEY-----
MIIBIjANBgkqhkiG9w0BAQEFAAOCAQ8AMIIBCgKCAQEAstZRiaLWbAScamXF1qNE
lGYbyrPSfMI/5Up0OI4hnUzwuHC+e96PeOu3EWEz9RBGJxvR9QaUM1OaM2wu0aSV
MFDt8cSYdYmXLQvnFKCWaIGHjydepzYimSVgA/ck+hAZAckUmfc67/FgFPnQYjQ/
iMJCnaWseKJZ8EzTLZ0y8zJa1rHBmzlhssy/XNXMDiGZoD2Fj+QTJV0798qNc7Hm
yAz8pEcVlep2rkoy7MxJsfcz+lLlr1uUUjNCNTP8j5lkqO6j/2nVsMcRkla3X7Fj
eBcf/QeYfzbiKuNC5Kf6/mrmZIh70vY300BuxdeVWMI69Ss8SVV0kyGQ4ZEYx1gv
swIDAQAB
-----END PUBLIC KEY-----
";

/// `openssl ecparam -name secp256k1 -genkey`.
const SECP256K1_PEM: &str = "\
-----BEGIN PUBLIC KEY-----
MFYwEAYHKoZIzj0CAQYFK4EEAAoDQgAEH7GSfn2GZJ4j328oWmbFNC55nkm9BTKZ
OPRdJ2hscYWC6Sf7WYUSaiMA22jrT49bHXGVZ2M79nPmwu3QFXscrA==
-----END PUBLIC KEY-----
";

/// `openssl dgst -sha256 -sign` of "sample" with that key: r, s, and the order of the curve less s.
const SECP256K1_R: &str = "d1e488ba965937d7d7dab15f66631a6eeac10672f5a25b1d5462384bb36575c1";
const SECP256K1_S_LOW: &str = "18ba2d72144d89e8dd4f18838916de9150831ff66d1ba6da1f7df0f814c01b9f";
const SECP256K1_S_HIGH: &str = "e745d28debb2761722b0e77c76e9216d6a2bbcf0422cf961a0546d94bb7625a2";

/// `openssl dgst -sign` of "sample" with the RSA key; PSS with `rsa_pss_saltlen:digest`.
const RSA_SIGNATURES: [(Algorithm, &str); 6] = [
    (
        Algorithm::Rs256,
        "d4S1ESwCXc0VRUujDmbWIBygQvFl/FBJIUKsc8XnDBfTHG6Uokubw+etgGXN4VLvDhJrojxDoTDJ4wyJgloJWimYzltwdo7Js1zBP2UJsZlPohfZQTMkZ5zqyQRNQoYKlaQG88SK2l/wwXke91v/MbiMePxvHUMIzklbFkLj44QB6P3A0QhjMOdDiRMr1HDQE/4STqhccKdxyl6YugVylBQuokM0yqFtCpcbzcqsfMLyUIu8r2u0YWAEi2dBRPi6T+6FTXII32KzZGd39bs10TXJs0Dqz02gFdTMKJER1g8M40fZDV892SD8hHRWqARjEzXLnVtQNcT2GalfJIuxZg==",
    ),
    (
        Algorithm::Rs384,
        "ZibOYR06zGSA8Qe1fX326lxFQewTZdijpqOAT3+Bk1A2A7MullgJlzdlCL6QkRIMnrFlDPqEKhJw98RQhVqSBR+baX/a/gPyyKPiVh8OL2sQ83bHnPE5Lg06bhTrSWDatkOqxescPyw7vGHTdXzIU/fOkZetS96K6xBuuN2OmtMAXOaWF7++nTdPgHB4BrE6QEIl71r/BnIXzXjyhJ312VLaDOTfVgCKPOgNAZuaRjkajHgWk3U+aB2+iMcFN/8LziRo/GDAoy1HIKG4X5l+D+4a3YDjpM+Bla6DhrUUcCcABJ2DSm9vI/RTm0BH0bACaptQWItJZJvd6pC2XLfCMg==",
    ),
    (
        Algorithm::Rs512,
        "ifQQRXwytYUm66AuP3NxQINTb7o9fK1G1WOT+Wc1Ec+k3YzYMHQ+CiyqBEsAT/HfWZOwa6+VhFXV9IJu37rTs+RPCzV2E13oMb0iiOFg0IOVgLC8uobpgbAFPpYsGP0Wz0LYURH/ZHPFh6sJ8pR03jANVkCmZH++YMoKgXj3TqPMFr644g1gSML99ftId9PDYYm79xUc2jAbS5s5f/MVkb9ObDQu46BCkxd3kWK11eqdU+8vuw15uacQv5v3p0bjdouhkzp5rQciVbEOsYdnMPv4vAEUFbDnMqQnb3kcRZe1MEciTFhBkoxt0U3kemDOPjWfnKdr5TvlAknH1i26Sg==",
    ),
    (
        Algorithm::Ps256,
        "GiiMvkHF0SeuMvRGyr0VvBNp87hhjmoU6a7NRlP6CIuQRr10grlEMBizqtBwTuitCLieQyE5p0lTznxqP21aNRlx3r9f/TeNNmlTSvLYnWAaCwhIMFUKyVyjdqRQu8trGH93AnjJJHZAtFloyxhMEZwTr/I8yucym+y1JRK1gVkjMrj8tXOnDuoXIHMNf8Jr2uJsZUq8ESwbhm7CeNjj2ZcGdW3pTcy3bu4wK80gWy6geHMtLUnfDteH32r+tCN7VwD69Pprec0zc7Uqr6g0+WYM9sxObs8pJZh/8jnXrQ28Un5JvQlfzGxy8YEjrVqh7XG6zjEOrusnRNGodoNh7g==",
    ),
    (
        Algorithm::Ps384,
        "ABHVw97RKJFeQyaNHRN/5abQM6JSLxXorNkF4KoQD9H7vujskzowa2IbXLFf16Vka+Uu85W8oKF1x7Vx2Lfu1tr0B9N7VGG4suP3+7k/eFCoTnBICbsBSf7i9DOuA1uBpWDWPlvpTsrphx9UrHwTEdfYN/bGa4/HFReOtIiRJQxHYPPF5mMvfrDjJwm13OUiZMWNAUckS0fmMPmT+lyNvoPFvevIn7V4NNiZvXKWDvND7m0j42NK05OAtrX6YMJrQJTRz54jhSW/njvteDhcT+3DyCOpGRnb9p8okTA/N3tIFmh5ZxBKDQ489THtbaqlxQ2N7I7CHN4VrhCcWaqb/A==",
    ),
    (
        Algorithm::Ps512,
        "p3tYkFLUMk/KcyAMaUU/gkL6PLaOvmpl9H1prma0qKDe8yFXq2Kep4V6xv0h37gHjRJ2hlPhZELwU/hpG8YOYe18upGGfaKwcQQ5JsK4hUL7nVtdBzwxOYdEGza1Zn5EiPlqSZaa5ptAYQ6OkQ9b4zpxFY1D0HYDCVctOqmwVwYvW+mbcTBisxb8heKqnS7+NdOuOnTdJJhy3j3RtYCGxmdIfwaK0KC20XICJuS/cENjdAaLXphX3LfFfOI12xta7injWv+0WabTKXHYoZEuKPvMYl4/WnjBrK4+4HTRmeOlEXaj6TQ2lq3FRnGiLmdkU71+ut/yPp9d1nMTp+5Jww==",
    ),
];

/// The same with `rsa_pss_saltlen:20`.
const PS256_SALT_20: &str = "iQR4waS5BcQQgQynea+zDYBQSaOmssYUjMJGV8IiWw+rKM8qYE3kJP8XuA3Ha73/Z74VYiCDCS+UWJ7n272XmTT3drqGfHV+Yc+3j2wCGNvhYfFUE5bPsKQMY1F8LL1+70bbwmfP+myM0KtsFMQhofBbmj3fDks+xPL8U6kfRfLicA02aWc+F+iJFcBqzk86O26OX7dOuId+tb84wIKIHtJtGN3PxwVkLSY8vXmLctyDYn7Ad14+toJkd4FBV4xqQmQbBXMYdD0ENCF3KEkaGcezYbPjdr3U5XqPUBsHLS1AQbjPFS5zq/rLk0s7ycFEwrx7eNUstnpqB7pKvQ5OZg==";

/// `openssl ecparam -name brainpoolP256r1 -genkey`.
const BRAINPOOL_PEM: &str = "\
-----BEGIN PUBLIC KEY-----
MFowFAYHKoZIzj0CAQYJKyQDAwIIAQEHA0IABGLgpEzYKt4TWimQ9M44deeiXq2I
LIiccjlS+yF5m5ItZNmo6kl30EVNC6HBYeXhqKM82jPjnPpWBiM859w/7U0=
-----END PUBLIC KEY-----
";

/// P-256 with `-conv_form compressed`.
const COMPRESSED_PEM: &str = "\
-----BEGIN PUBLIC KEY-----
MDkwEwYHKoZIzj0CAQYIKoZIzj0DAQcDIgACm2/PnztZ8erBHNang2SukUeZWaZD
jGugFhH/aXYZ//0=
-----END PUBLIC KEY-----
";

/// `openssl genrsa 1024`.
const RSA_1024_PEM: &str = "\
-----BEGIN PUBLIC KEY-----
MIGfMA0GCSqGSIb3DQEBAQUAA4GNADCBiQKBgQD9zO6XlZK0UWWdKhEWLyNDq56m
Cis7R3rNskDnITgvlPf5X6kCMe5+v5K0hcEPPzJiqSBFYsNwNnl9UzJazJqNa02L
9Msq92VKPKRqCDrdwRVF2dfL53qnnSOtmr1DaXULy44VXKvn0xRd+S0mld6Ovk+A
UjHn8DhHisb6ryx8CQIDAQAB
-----END PUBLIC KEY-----
";

/// `openssl genrsa -3 2048`.
const RSA_E3_PEM: &str = "\
-----BEGIN PUBLIC KEY-----
MIIBIDANBgkqhkiG9w0BAQEFAAOCAQ0AMIIBCAKCAQEAyOyFoHVqUW13SNPN65xF
9uQybPGy12daJMY8AuuV/Dp7UHUJclIUbQXvkXGHb4/k06aNBoEh4+jOsJrIU9YE
MM1ZFc/C3TFwbZv+yBOTCvo4AX84YplmaY2YMxQAwMC4uBam2DfxkTZBSG6MeEya
QqBy0N8PkSosKZ3pdDqmljA2wfz5SCiIWzOw42hWXqi1LzVeXu0vvOeszE4VMP0w
xfHDvffXOYTDTJbgCusba8Fg5Al9f3BuXCMcsUtDYZ5ZOSbjLocwD7LUfbXKWWJq
EfcME7PzDNhCu5UN5t2IVnn0E0zNCZLz5MeVVWUvB4bdsg9OKU5Tii7CKSrN4lV2
xwIBAw==
-----END PUBLIC KEY-----
";
