//! Keys that come from outside: published vectors give the published answers, and what is no key is refused.

use hsm_core::{
    Algorithm, CiphertextRef, DeriveParameters, Device, ErrorKind, KeySpec, KeyType, PublicKey,
    SecretBytes, SignInput, Usage, Usages,
};

use super::super::{fails, ok, skip};
use super::{TestKey, binding, data_usages, has, hex};

const REFUSED: &str = "what does not parse, or is not of the spec's type and size, is InvalidInput";

/// Imported private keys have the published public halves, and sign so that these verify.
pub async fn imported_key_pairs_are_the_published_ones<D: Device>(make: impl Fn() -> D) {
    let device = make();
    for (key_type, pkcs8, public) in key_pairs() {
        if !device.capabilities().supports_key_type(key_type) {
            skip(format!("the device has no keys of type {key_type}"));
            continue;
        }
        let key = TestKey::import(&device, key_type, data_usages(key_type), &pkcs8).await;
        if let Some(public) = public {
            assert_eq!(
                key.public().as_raw(),
                public,
                "the public half of an imported {key_type}"
            );
        }
        let Some(algorithm) = key_type
            .algorithms()
            .iter()
            .find(|algorithm| algorithm.does(hsm_core::Operation::Sign))
        else {
            continue;
        };
        let input = SignInput::Message(b"sample");
        let signature = ok(
            key.loaded.sign(*algorithm, input).await,
            "sign with an imported key",
        );
        ok(
            key.public().verify(*algorithm, input, &signature),
            "verify with the public half",
        );
    }
}

/// RFC 8032 section 7.1, test 2: Ed25519 signatures are deterministic.
pub async fn ed25519_signatures_are_the_published_ones<D: Device>(make: impl Fn() -> D) {
    let device = make();
    if !has(&device, KeyType::Ed25519, Algorithm::EdDsa) {
        return;
    }
    let seed = "4ccd089b28ff96da9db6c346ec114e0f5b8a319f35aba624da8cf6ed4fb8a6fb";
    let pkcs8 = hex(&format!("302e020100300506032b657004220420{seed}"));
    let key_type = KeyType::Ed25519;
    let key = TestKey::import(&device, key_type, data_usages(key_type), &pkcs8).await;
    let signature = key
        .loaded
        .sign(Algorithm::EdDsa, SignInput::Message(&[0x72]))
        .await;
    assert_eq!(
        ok(signature, "sign"),
        hex(
            "92a009a9f0d4cab8720e820b5f642540a2b27b5416503f8fb3762223ebdb69da085ac1e43e15996e458f3613d0f11d8c387b2eaeb4302aeeb00d291612bb0c00"
        ),
        "RFC 8032 section 7.1, test 2"
    );
}

/// Deterministic signatures of Wycheproof, `mldsa_*_sign_seed_test.json`, test 1. Those of a device may be hedged.
pub async fn published_ml_dsa_signatures_verify<D: Device>(make: impl Fn() -> D) {
    let device = make();
    let vectors: [(KeyType, Algorithm, &str, &[u8]); 3] = [
        (
            KeyType::MlDsa44,
            Algorithm::MlDsa44,
            "11",
            include_bytes!("../vectors/ml_dsa_44.signature"),
        ),
        (
            KeyType::MlDsa65,
            Algorithm::MlDsa65,
            "12",
            include_bytes!("../vectors/ml_dsa_65.signature"),
        ),
        (
            KeyType::MlDsa87,
            Algorithm::MlDsa87,
            "13",
            include_bytes!("../vectors/ml_dsa_87.signature"),
        ),
    ];
    for (key_type, algorithm, arc, signature) in vectors {
        if !has(&device, key_type, algorithm) {
            continue;
        }
        let seed = "2a".repeat(32);
        let pkcs8 = format!("3034020100300b06096086480165030403{arc}04228020{seed}");
        let usages = data_usages(key_type);
        let key = TestKey::import(&device, key_type, usages, &hex(&pkcs8)).await;
        let message = SignInput::Message(b"Hello world");
        let clause = format!("Wycheproof: {algorithm}");
        ok(
            key.loaded.verify(algorithm, message, signature).await,
            &clause,
        );
        ok(key.public().verify(algorithm, message, signature), &clause);
        let other = SignInput::Message(b"hello world");
        let kinds = &[ErrorKind::CryptoFailed];
        fails(
            key.loaded.verify(algorithm, other, signature).await,
            kinds,
            &clause,
        );
        fails(
            key.public().verify(algorithm, other, signature),
            kinds,
            &clause,
        );
    }
}

/// RFC 7748 section 6.1: X25519.
pub async fn x25519_secrets_are_the_published_ones<D: Device>(make: impl Fn() -> D) {
    let device = make();
    if !has(&device, KeyType::X25519, Algorithm::EcdhEs) {
        return;
    }
    let private = "77076d0a7318a57d3c16c17251b26645df4c2f87ebc0992ab177fba51db92c2a";
    let pkcs8 = hex(&format!("302e020100300506032b656e04220420{private}"));
    let key_type = KeyType::X25519;
    let key = TestKey::import(&device, key_type, data_usages(key_type), &pkcs8).await;
    let bob = hex("de9edb7d7b7dc1b4d35b61c2ece435373f8343c85b78674dadfc7e146f882b4f");
    let bob = ok(PublicKey::from_raw(key_type, bob), "Bob's public key");
    let secret = ok(key.loaded.agree(Algorithm::EcdhEs, &bob).await, "agree");
    let expected = hex("4a5d9d5ba4ce2de1728e3bf480350f25e07e21c947d19e3376f09b3c1e161742");
    assert!(secret.expose() == expected, "RFC 7748 section 6.1");
}

/// HMACs that OpenSSL computed, with keys of the bytes 0, 1, 2, ….
pub async fn macs_are_those_of_openssl<D: Device>(make: impl Fn() -> D) {
    let device = make();
    let vectors = [
        (
            KeyType::HmacSha256,
            Algorithm::Hs256,
            "621c0bfb783952b739db04b692d1b6259b4810b2a1e384c8545ba563094d0f44",
        ),
        (
            KeyType::HmacSha384,
            Algorithm::Hs384,
            "af2fd14e80c4d09d70eeb988585b064a4306c26712b9f791e76490eec88e15a5d6631da702b2af374ddd6f0114f7efd0",
        ),
        (
            KeyType::HmacSha512,
            Algorithm::Hs512,
            "0c9f204e51a662273916d501528f52680745f5a3df5006db3c89aa242af5fcd02a2f91002e308228505a7947b7a72a462373b696ec79dfce2bc99fc7d59b0222",
        ),
    ];
    for (key_type, algorithm, tag) in vectors {
        if has(&device, key_type, algorithm) {
            let key = counting_key(&device, key_type).await;
            let computed = ok(key.loaded.mac(algorithm, b"hsm").await, "mac");
            assert_eq!(
                computed,
                hex(tag),
                "{algorithm} as `openssl dgst -mac HMAC` has it"
            );
        }
    }
}

/// Secrets that `openssl kdf` derived from the key 0, 1, 2, ….
pub async fn derived_secrets_are_those_of_openssl<D: Device>(make: impl Fn() -> D) {
    let device = make();
    let vectors = [
        (
            Algorithm::HkdfSha256,
            "64cc2a23b7a1da4310420350405fdf5d632cb9bda3700d753e96cbcfeb81d4496259e7075d6da9d2c325",
        ),
        (
            Algorithm::HkdfSha384,
            "ff2821ea0cd3c7538ec9b5389296250aba05bd99732173227ad031ef26c2e009a35a86435b8d4fdd5efa",
        ),
        (
            Algorithm::HkdfSha512,
            "6d8dce04ad557757f4a66e4d531b08ac97249abf40424a65404f14ee3cab68c7b5dadad4c9cbbf89e65d",
        ),
        (
            Algorithm::KbkdfHmacSha256,
            "b9cd5f6323f01f4680650855f1ebea9b4c54c08131b506fc28c856364a38a2f4fb680c12ea51696887d9",
        ),
        (
            Algorithm::KbkdfHmacSha384,
            "d2e927913b98be3063faa571f706b361c1ff61e14833409f1982be00cc576fb86236f33916caf5941775",
        ),
        (
            Algorithm::KbkdfHmacSha512,
            "cc3ab88c9361c182ae07b68f30a7efad0e9997af09bf025661f660bd6ccd0a156d9529abf309691b36ec",
        ),
    ];
    for (algorithm, expected) in vectors {
        if !has(&device, KeyType::Kdk256, algorithm) {
            continue;
        }
        let key = counting_key(&device, KeyType::Kdk256).await;
        let hkdf = algorithm.name().starts_with("HKDF");
        let parameters = DeriveParameters {
            salt_or_label: if hkdf { b"salt" } else { b"label" },
            info_or_context: if hkdf { b"info" } else { b"context" },
        };
        let derived = ok(key.loaded.derive(algorithm, parameters, 42).await, "derive");
        assert!(
            derived.expose() == hex(expected),
            "{algorithm} as `openssl kdf` has it"
        );
    }
}

/// AES: GCM test case 14 of McGrew and Viega, RFC 3394 section 4.6, RFC 5649 section 6, SP 800-38A appendix F.
pub async fn aes_answers_are_the_published_ones<D: Device>(make: impl Fn() -> D) {
    let device = make();
    if has(&device, KeyType::Aes256, Algorithm::A256Gcm) {
        let key = aes_key(&device, KeyType::Aes256, &[0; 32]).await;
        let ciphertext = CiphertextRef {
            ciphertext: &hex("cea7403d4d606b6e074ec5d3baf39d18"),
            iv: &[0; 12],
            tag: &hex("d0d1c8a799996bf0265b98b5d48ab919"),
        };
        let plaintext = key
            .loaded
            .decrypt(Algorithm::A256Gcm, ciphertext, b"")
            .await;
        assert!(
            ok(plaintext, "decrypt").expose() == [0; 16],
            "GCM test case 14"
        );
    }
    if has(&device, KeyType::Aes256, Algorithm::A256Kw) {
        let key = counting_key(&device, KeyType::Aes256).await;
        let data = hex("00112233445566778899aabbccddeeff000102030405060708090a0b0c0d0e0f");
        let wrapped = ok(key.loaded.wrap(Algorithm::A256Kw, &data).await, "wrap");
        let expected =
            "28c9f404c4b810f4cbccb35cfb87f8263f5786e2d80ed326cbc7f0e71a99f43bfb988b9b7a02dd21";
        assert_eq!(wrapped, hex(expected), "RFC 3394 section 4.6");
    }
    if has(&device, KeyType::Aes192, Algorithm::A192Kwp) {
        let key = hex("5840df6e29b02af1ab493b705bf16ea1ae8338f4dcc176a8");
        let key = aes_key(&device, KeyType::Aes192, &key).await;
        let data = hex("c37b7e6492584340bed12207808941155068f738");
        let wrapped = ok(key.loaded.wrap(Algorithm::A192Kwp, &data).await, "wrap");
        let expected = "138bdeaa9b8fa7fc61f97742e72248ee5ae6ae5360d1ae6a5f54f373fa543b6a";
        assert_eq!(wrapped, hex(expected), "RFC 5649 section 6");
    }
    let modes = [
        (
            Algorithm::A128Cbc,
            "000102030405060708090a0b0c0d0e0f",
            "7649abac8119b246cee98e9b12e9197d",
        ),
        (
            Algorithm::A128Ctr,
            "f0f1f2f3f4f5f6f7f8f9fafbfcfdfeff",
            "874d6191b620e3261bef6864990db6ce",
        ),
    ];
    for (algorithm, iv, expected) in modes {
        if has(&device, KeyType::Aes128, algorithm) {
            let key = hex("2b7e151628aed2a6abf7158809cf4f3c");
            let key = aes_key(&device, KeyType::Aes128, &key).await;
            let data = hex("6bc1bee22e409f96e93d7e117393172a");
            let encrypted = key
                .loaded
                .encrypt(algorithm, &data, Some(&hex(iv)), b"")
                .await;
            let encrypted = ok(encrypted, "encrypt");
            assert_eq!(
                encrypted.ciphertext,
                hex(expected),
                "SP 800-38A appendix F, {algorithm}"
            );
        }
    }
}

/// What `openssl pkeyutl -encrypt` made decrypts.
pub async fn rsa_ciphertexts_of_openssl_decrypt<D: Device>(make: impl Fn() -> D) {
    let device = make();
    let vectors: [(Algorithm, &[u8]); 3] = [
        (
            Algorithm::RsaOaep,
            include_bytes!("../vectors/rsa_2048_oaep_sha1.bin"),
        ),
        (
            Algorithm::RsaOaep256,
            include_bytes!("../vectors/rsa_2048_oaep_sha256.bin"),
        ),
        (
            Algorithm::Rsa1_5,
            include_bytes!("../vectors/rsa_2048_pkcs1_v1_5.bin"),
        ),
    ];
    for (algorithm, ciphertext) in vectors {
        if !has(&device, KeyType::Rsa2048, algorithm) {
            continue;
        }
        let usages = data_usages(KeyType::Rsa2048);
        let key = TestKey::import(&device, KeyType::Rsa2048, usages, RSA_2048).await;
        let ciphertext = CiphertextRef {
            ciphertext,
            ..CiphertextRef::default()
        };
        let decrypted = ok(
            key.loaded.decrypt(algorithm, ciphertext, b"").await,
            algorithm,
        );
        assert!(
            decrypted.expose() == b"sample",
            "{algorithm}: not what OpenSSL encrypted"
        );
    }
}

/// Bytes that are not exactly one key of the type are refused, and leave the device usable.
pub async fn what_is_no_key_is_not_imported<D: Device>(make: impl Fn() -> D) {
    let device = make();
    let pairs = key_pairs();
    for key_type in device.capabilities().key_types() {
        let spec = ok(KeySpec::new(*key_type, data_usages(*key_type)), "spec");
        let mut wrong: Vec<Vec<u8>> =
            vec![vec![], vec![0x30], b"not a key".to_vec(), vec![0xff; 4096]];
        if key_type.is_asymmetric() {
            for (other, pkcs8, _) in &pairs {
                if other == key_type {
                    wrong.push(pkcs8[..pkcs8.len() - 1].to_vec());
                    wrong.push([&pkcs8[..], &[0]].concat());
                } else {
                    wrong.push(pkcs8.clone());
                }
            }
        } else {
            let len = key_type.byte_len();
            wrong.extend([vec![7; len - 1], vec![7; len + 1]]);
        }
        for material in wrong {
            let clause = format!("{REFUSED}: {} bytes as {key_type}", material.len());
            let material = SecretBytes::copy_from(&material);
            let result = device.import(material, &spec, &binding("no key")).await;
            fails(result, &[ErrorKind::InvalidInput], clause);
        }
    }
}

/// A symmetric key of the bytes 0, 1, 2, ….
async fn counting_key<D: Device>(device: &D, key_type: KeyType) -> TestKey {
    let bytes: Vec<u8> = (0..64).take(key_type.byte_len()).collect();
    TestKey::import(device, key_type, data_usages(key_type), &bytes).await
}

async fn aes_key<D: Device>(device: &D, key_type: KeyType, bytes: &[u8]) -> TestKey {
    let usages = [
        Usage::Encrypt,
        Usage::Decrypt,
        Usage::WrapKey,
        Usage::UnwrapKey,
    ];
    TestKey::import(device, key_type, Usages::of(&usages), bytes).await
}

/// PKCS#8 and the public half: RFC 6979 appendices A.2.5 to A.2.7, RFC 8032 section 7.1 test 1, RFC 7748 section 6.1, and
/// keys that OpenSSL made.
fn key_pairs() -> Vec<(KeyType, Vec<u8>, Option<Vec<u8>>)> {
    let ec = |key_type: KeyType, pkcs8: &str| {
        let pkcs8 = hex(pkcs8);
        let public = pkcs8[pkcs8.len() - 1 - 2 * key_type.byte_len()..].to_vec();
        (key_type, pkcs8, Some(public))
    };
    // The seeds of RFC 9881 appendix C and RFC 9935 appendix C: 0, 1, 2, ….
    let seed = |key_type: KeyType, (head, tail), arc: &str, public: &[u8]| {
        let mut pkcs8 = hex(&[head, arc, tail].concat());
        pkcs8.extend((0u8..).take(key_type.byte_len()));
        (key_type, pkcs8, Some(public.to_vec()))
    };
    let okp = |key_type, pkcs8, public| (key_type, hex(pkcs8), Some(hex(public)));
    vec![
        ec(KeyType::EcP256, P256),
        ec(KeyType::EcP384, P384),
        ec(KeyType::EcP521, P521),
        ec(KeyType::EcP256K, SECP256K1),
        okp(
            KeyType::Ed25519,
            "302e020100300506032b6570042204209d61b19deffd5a60ba844af492ec2cc44449c5697b326919703bac031cae7f60",
            "d75a980182b10ab7d54bfed3c964073a0ee172f3daa62325af021a68f707511a",
        ),
        okp(
            KeyType::X25519,
            "302e020100300506032b656e0422042077076d0a7318a57d3c16c17251b26645df4c2f87ebc0992ab177fba51db92c2a",
            "8520f0098930a754748b7ddcb43ef75a0dbf3a0d26381af4eba4a98eaa9b4e6a",
        ),
        (KeyType::Rsa2048, RSA_2048.to_vec(), None),
        seed(KeyType::MlDsa44, ML_DSA, "11", ML_DSA_44),
        seed(KeyType::MlDsa65, ML_DSA, "12", ML_DSA_65),
        seed(KeyType::MlDsa87, ML_DSA, "13", ML_DSA_87),
        seed(KeyType::MlKem512, ML_KEM, "01", ML_KEM_512),
        seed(KeyType::MlKem768, ML_KEM, "02", ML_KEM_768),
        seed(KeyType::MlKem1024, ML_KEM, "03", ML_KEM_1024),
    ]
}

/// The PKCS#8 of RFC 9881 and RFC 9935 in front of the last number of the object identifier, and behind it.
const ML_DSA: (&str, &str) = ("3034020100300b06096086480165030403", "04228020");
const ML_KEM: (&str, &str) = ("3054020100300b06096086480165030404", "04428040");

const ML_DSA_44: &[u8] = include_bytes!("../vectors/ml_dsa_44.pub");
const ML_DSA_65: &[u8] = include_bytes!("../vectors/ml_dsa_65.pub");
const ML_DSA_87: &[u8] = include_bytes!("../vectors/ml_dsa_87.pub");
const ML_KEM_512: &[u8] = include_bytes!("../vectors/ml_kem_512.pub");
const ML_KEM_768: &[u8] = include_bytes!("../vectors/ml_kem_768.pub");
const ML_KEM_1024: &[u8] = include_bytes!("../vectors/ml_kem_1024.pub");

const P256: &str = "308187020100301306072a8648ce3d020106082a8648ce3d030107046d306b0201010420c9afa9d845ba75166b5c215767b1d6934e50c3db36e89b127b8a622b120f6721a1440342000460fed4ba255a9d31c961eb74c6356d68c049b8923b61fa6ce669622e60f29fb67903fe1008b8bc99a41ae9e95628bc64f2f1b20c2d7e9f5177a3c294d4462299";

const P384: &str = "3081b6020100301006072a8648ce3d020106052b8104002204819e30819b02010104306b9d3dad2e1b8c1c05b19875b6659f4de23c3b667bf297ba9aa47740787137d896d5724e4c70a825f872c9ea60d2edf5a16403620004ec3a4e415b4e19a4568618029f427fa5da9a8bc4ae92e02e06aae5286b300c64def8f0ea9055866064a254515480bc138015d9b72d7d57244ea8ef9ac0c621896708a59367f9dfb9f54ca84b3f1c9db1288b231c3ae0d4fe7344fd2533264720";

const P521: &str = "3081ee020100301006072a8648ce3d020106052b810400230481d63081d3020101044200fad06daa62ba3b25d2fb40133da757205de67f5bb0018fee8c86e1b68c7e75caa896eb32f1f47c70855836a6d16fcc1466f6d8fbec67db89ec0c08b0e996b83538a18189038186000401894550d0785932e00eaa23b694f213f8c3121f86dc97a04e5a7167db4e5bcd371123d46e45db6b5d5370a7f20fb633155d38ffa16d2bd761dcac474b9a2f5023a400493101c962cd4d2fddf782285e64584139c2f91b47f87ff82354d6630f746a28a0db25741b5b34a828008b22acc23f924faafbd4d33f81ea66956dfeaa2bfdfcf5";

const SECP256K1: &str = "308184020100301006072a8648ce3d020106052b8104000a046d306b0201010420148134944a2d7fef93ea8fff16a352e54e66dd81f3203926bf04f0744efcc9d6a144034200041fb1927e7d86649e23df6f285a66c5342e799e49bd05329938f45d27686c718582e927fb5985126a2300db68eb4f8f5b1d719567633bf673e6c2edd0157b1cac";

/// `openssl genrsa 2048`: a key for tests, known to everybody.
const RSA_2048: &[u8] = include_bytes!("../vectors/rsa_2048.pk8");
