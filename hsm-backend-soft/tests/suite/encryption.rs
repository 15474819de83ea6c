//! Encryption, key wrap, key agreement and key derivation are those of the standards, and fail without a reason.
#![expect(clippy::unwrap_used, reason = "a helper of a test may fail it")]

use std::convert::Infallible;
use std::sync::Arc;

use futures_executor::block_on;
use hsm_core::{
    Algorithm, Binding, CiphertextRef, DeriveParameters, Device, ErrorKind, KeySpec, KeyType,
    LoadedKey, Operation, PublicKey, SecretBytes, Usage, Usages,
};
use rsa::pkcs8::DecodePrivateKey;
use rsa::rand_core::{TryCryptoRng, TryRng};
use rsa::{Oaep, Pkcs1v15Encrypt, RsaPrivateKey};
use sha1::Sha1;
use sha2::Sha256;

/// NIST SP 800-38A appendices F.2 and F.5, first block.
#[test]
fn published_cbc_and_ctr_blocks() {
    let k128 = "2b7e151628aed2a6abf7158809cf4f3c";
    let k192 = "8e73b0f7da0e6452c810f32b809079e562f8ead2522c6b7b";
    let k256 = "603deb1015ca71be2b73aef0857d77811f352c073b6108d72d9810a30914dff4";
    let iv = "000102030405060708090a0b0c0d0e0f";
    let counter = "f0f1f2f3f4f5f6f7f8f9fafbfcfdfeff";
    use Algorithm as A;
    let cases = [
        (A::A128Cbc, k128, iv, "7649abac8119b246cee98e9b12e9197d"),
        (A::A192Cbc, k192, iv, "4f021db243bc633d7178183a9fa071e8"),
        (A::A256Cbc, k256, iv, "f58c4c04d6e5f1ba779eabfb5f7bfbd6"),
        (
            A::A128Ctr,
            k128,
            counter,
            "874d6191b620e3261bef6864990db6ce",
        ),
        (
            A::A192Ctr,
            k192,
            counter,
            "1abc932417521ca24f2b0459fe7e6e0b",
        ),
        (
            A::A256Ctr,
            k256,
            counter,
            "601ec313775789a5b7a7f504bbf3d228",
        ),
    ];
    let plaintext = unhex("6bc1bee22e409f96e93d7e117393172a");
    for (algorithm, key, iv, ciphertext) in cases {
        let key = import(aes_of(key.len() / 2), &unhex(key));
        let iv = unhex(iv);
        let made = block_on(key.encrypt(algorithm, &plaintext, Some(&iv), &[])).unwrap();
        assert_eq!(made.ciphertext, unhex(ciphertext), "{algorithm}");
        assert_eq!((made.iv.as_slice(), made.tag.len()), (iv.as_slice(), 0));
        let back = block_on(key.decrypt(algorithm, made.as_ref(), &[])).unwrap();
        assert_eq!(back.expose(), plaintext, "{algorithm}");
    }
}

/// RFC 3394 sections 4.1, 4.3 and 4.6, RFC 5649 section 6.
#[test]
fn published_key_wraps() {
    use Algorithm as A;
    let secret16 = "00112233445566778899aabbccddeeff";
    let secret32 = "00112233445566778899aabbccddeeff000102030405060708090a0b0c0d0e0f";
    let kek = "000102030405060708090a0b0c0d0e0f101112131415161718191a1b1c1d1e1f";
    let kek192 = "5840df6e29b02af1ab493b705bf16ea1ae8338f4dcc176a8";
    let cases = [
        (
            A::A128Kw,
            &kek[..32],
            secret16,
            "1fa68b0a8112b447aef34bd8fb5a7b829d3e862371d2cfe5",
        ),
        (
            A::A192Kw,
            &kek[..48],
            secret16,
            "96778b25ae6ca435f92b5b97c050aed2468ab8a17ad84e5d",
        ),
        (
            A::A256Kw,
            kek,
            secret32,
            "28c9f404c4b810f4cbccb35cfb87f8263f5786e2d80ed326cbc7f0e71a99f43bfb988b9b7a02dd21",
        ),
        (
            A::A192Kwp,
            kek192,
            "c37b7e6492584340bed12207808941155068f738",
            "138bdeaa9b8fa7fc61f97742e72248ee5ae6ae5360d1ae6a5f54f373fa543b6a",
        ),
        (
            A::A192Kwp,
            kek192,
            "466f7250617369",
            "afbeb0f07dfbf5419200f2ccb50bb24f",
        ),
    ];
    for (algorithm, kek, secret, wrapped) in cases {
        let key = import(aes_of(kek.len() / 2), &unhex(kek));
        let made = block_on(key.wrap(algorithm, &unhex(secret))).unwrap();
        assert_eq!(made, unhex(wrapped), "{algorithm}");
        let back = block_on(key.unwrap(algorithm, &made)).unwrap();
        assert_eq!(back.expose(), unhex(secret), "{algorithm}");
    }
}

#[test]
fn every_mode_comes_back_at_every_length() {
    for key_type in [KeyType::Aes128, KeyType::Aes192, KeyType::Aes256] {
        let key = generate(key_type);
        for algorithm in fitting(key_type, Operation::Encrypt) {
            let step = if algorithm.name().ends_with("CBC") {
                16
            } else {
                1
            };
            for len in (0..=64).filter(|len| len % step == 0) {
                let plaintext: Vec<u8> = (0..len).collect();
                let made = block_on(key.encrypt(algorithm, &plaintext, None, &[])).unwrap();
                assert_eq!(made.iv.len(), algorithm.info().iv_len, "{algorithm}");
                assert_eq!(made.tag.len(), algorithm.info().tag_len, "{algorithm}");
                let back = block_on(key.decrypt(algorithm, made.as_ref(), &[])).unwrap();
                assert_eq!(back.expose(), plaintext, "{algorithm} {len}");
                let again = block_on(key.encrypt(algorithm, &plaintext, None, &[])).unwrap();
                assert_ne!(again.iv, made.iv, "{algorithm}");
            }
        }
        for algorithm in fitting(key_type, Operation::Wrap) {
            for len in [16, 24, 32, 40, 1024] {
                let secret = vec![7; len];
                let wrapped = block_on(key.wrap(algorithm, &secret)).unwrap();
                let back = block_on(key.unwrap(algorithm, &wrapped)).unwrap();
                assert_eq!(back.expose(), secret, "{algorithm} {len}");
                for at in [0, 7, 8, wrapped.len() - 1] {
                    let mut altered = wrapped.clone();
                    altered[at] ^= 1;
                    opaque(block_on(key.unwrap(algorithm, &altered)));
                }
                opaque(block_on(
                    key.unwrap(algorithm, &wrapped[..wrapped.len() - 1]),
                ));
            }
            opaque(block_on(key.unwrap(algorithm, &[])));
            opaque(block_on(key.unwrap(algorithm, &[0; 16])));
        }
    }
}

#[test]
fn gcm_finds_every_altered_part() {
    let key = generate(KeyType::Aes256);
    let algorithm = Algorithm::A256Gcm;
    let made = block_on(key.encrypt(algorithm, b"plaintext", None, b"aad")).unwrap();
    block_on(key.decrypt(algorithm, made.as_ref(), b"aad")).unwrap();
    opaque(block_on(key.decrypt(algorithm, made.as_ref(), b"aaD")));
    for bit in 0..made.ciphertext.len() * 8 {
        let mut altered = made.clone();
        altered.ciphertext[bit / 8] ^= 1 << (bit % 8);
        opaque(block_on(key.decrypt(algorithm, altered.as_ref(), b"aad")));
    }
    for bit in 0..128 {
        let mut altered = made.clone();
        altered.tag[bit / 8] ^= 1 << (bit % 8);
        opaque(block_on(key.decrypt(algorithm, altered.as_ref(), b"aad")));
    }
    for len in [0, 4, 12, 15] {
        let mut altered = made.clone();
        altered.tag.truncate(len);
        opaque(block_on(key.decrypt(algorithm, altered.as_ref(), b"aad")));
    }
    let mut altered = made.clone();
    altered.iv[0] ^= 1;
    opaque(block_on(key.decrypt(algorithm, altered.as_ref(), b"aad")));
}

#[test]
fn a_wrong_padding_is_opaque() {
    let key = generate(KeyType::Aes256);
    let iv = [0; 16];
    for last in [
        [0; 16],
        [17; 16],
        [0xff; 16],
        [1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 3, 2, 3],
        [15; 16].map(|byte| byte + 1 - u8::from(byte == 0)),
    ] {
        let made = block_on(key.encrypt(Algorithm::A256Cbc, &last, Some(&iv), &[])).unwrap();
        let result = block_on(key.decrypt(Algorithm::A256CbcPad, made.as_ref(), &[]));
        if last == [16; 16] {
            assert_eq!(result.unwrap().len(), 0);
        } else {
            opaque(result);
        }
    }
    for len in [0, 1, 15, 17] {
        let ciphertext = vec![0; len];
        let cut = CiphertextRef {
            ciphertext: &ciphertext,
            iv: &iv,
            tag: &[],
        };
        opaque(block_on(key.decrypt(Algorithm::A256CbcPad, cut, &[])));
    }
}

#[test]
fn parts_that_an_algorithm_does_not_have_are_refused() {
    let key = generate(KeyType::Aes256);
    use Algorithm as A;
    let refused = [
        block_on(key.encrypt(A::A256Gcm, b"m", Some(&[0; 12]), &[])),
        block_on(key.encrypt(A::A256Ctr, b"m", None, b"aad")),
        block_on(key.encrypt(A::A256Ctr, b"m", Some(&[0; 12]), &[])),
        block_on(key.encrypt(A::A256Cbc, b"not a block", None, &[])),
    ];
    for result in refused {
        assert_eq!(result.unwrap_err().kind(), ErrorKind::InvalidInput);
    }
    let block = CiphertextRef {
        ciphertext: &[0; 16],
        iv: &[0; 16],
        tag: &[],
    };
    let refused = [
        (A::A256Ctr, block, b"aad".as_slice()),
        (
            A::A256Ctr,
            CiphertextRef {
                tag: &[0; 16],
                ..block
            },
            &[],
        ),
        (A::A256Ctr, CiphertextRef { iv: &[], ..block }, &[]),
        (A::A256Gcm, block, &[]),
    ];
    for (algorithm, ciphertext, aad) in refused {
        let error = block_on(key.decrypt(algorithm, ciphertext, aad)).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::InvalidInput, "{algorithm}");
    }
    for (algorithm, len) in [
        (A::A256Kw, 8),
        (A::A256Kw, 20),
        (A::A256Kw, 0),
        (A::A256Kwp, 0),
    ] {
        let error = block_on(key.wrap(algorithm, &vec![0; len])).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::InvalidInput, "{algorithm} {len}");
    }
}

/// Each side decrypts what the other encrypted.
#[test]
fn oaep_agrees_with_a_second_implementation() {
    let key = import(KeyType::Rsa2048, RSA_KEY);
    let other = RsaPrivateKey::from_pkcs8_der(RSA_KEY).unwrap();
    let public = other.to_public_key();
    let secret = b"a data key of 32 bytes, no more.";

    let ours = block_on(key.wrap(Algorithm::RsaOaep, secret)).unwrap();
    assert_eq!(other.decrypt(Oaep::<Sha1>::new(), &ours).unwrap(), secret);
    let ours = block_on(key.encrypt(Algorithm::RsaOaep256, secret, None, &[])).unwrap();
    let back = other
        .decrypt(Oaep::<Sha256>::new(), &ours.ciphertext)
        .unwrap();
    assert_eq!(back, secret);

    let theirs = public
        .encrypt(&mut Counter(1), Oaep::<Sha1>::new(), secret)
        .unwrap();
    let back = block_on(key.unwrap(Algorithm::RsaOaep, &theirs)).unwrap();
    assert_eq!(back.expose(), secret);
    opaque(block_on(key.unwrap(Algorithm::RsaOaep256, &theirs)));
    let theirs = public
        .encrypt(&mut Counter(2), Oaep::<Sha256>::new(), secret)
        .unwrap();
    let theirs = CiphertextRef {
        ciphertext: &theirs,
        ..CiphertextRef::default()
    };
    let back = block_on(key.decrypt(Algorithm::RsaOaep256, theirs, &[])).unwrap();
    assert_eq!(back.expose(), secret);
}

/// A device that says that it lacks RSA1_5 refuses all of it.
#[test]
fn rsa1_5_decrypts_and_never_encrypts() {
    let key = import(KeyType::Rsa2048, RSA_KEY);
    let public = RsaPrivateKey::from_pkcs8_der(RSA_KEY)
        .unwrap()
        .to_public_key();
    let theirs = public
        .encrypt(&mut Counter(3), Pkcs1v15Encrypt, b"old")
        .unwrap();
    let back = block_on(key.unwrap(Algorithm::Rsa1_5, &theirs));
    let device = crate::options().in_memory().unwrap();
    if device
        .capabilities()
        .algorithms()
        .contains(&Algorithm::Rsa1_5)
    {
        assert_eq!(back.unwrap().expose(), b"old");
    } else {
        assert_eq!(back.unwrap_err().kind(), ErrorKind::Unsupported);
    }
    let error = block_on(key.wrap(Algorithm::Rsa1_5, b"new")).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Unsupported);
    let error = block_on(key.encrypt(Algorithm::Rsa1_5, b"new", None, &[])).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Unsupported);
}

#[test]
fn rsa_names_its_limit_and_fails_opaquely() {
    let key = import(KeyType::Rsa2048, RSA_KEY);
    block_on(key.wrap(Algorithm::RsaOaep256, &[1; 190])).unwrap();
    let error = block_on(key.wrap(Algorithm::RsaOaep256, &[1; 191])).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::InvalidInput);
    assert!(error.message().contains("at most 190 bytes"), "{error}");
    for len in [0, 255, 256, 257] {
        opaque(block_on(key.unwrap(Algorithm::RsaOaep256, &vec![0; len])));
    }
}

/// RFC 5903 sections 8.1 to 8.3 give one side of each exchange; here both sides must come to the same.
#[test]
fn both_sides_agree() {
    for key_type in [
        KeyType::EcP256,
        KeyType::EcP384,
        KeyType::EcP521,
        KeyType::X25519,
    ] {
        let (mine, theirs) = (generate(key_type), generate(key_type));
        let one = block_on(mine.agree(Algorithm::EcdhEs, theirs.public().unwrap())).unwrap();
        let other = block_on(theirs.agree(Algorithm::EcdhEs, mine.public().unwrap())).unwrap();
        assert_eq!(one.expose(), other.expose(), "{key_type}");
        assert_eq!(one.len(), key_type.byte_len(), "{key_type}");
    }
}

#[test]
fn invalid_peers_are_refused() {
    let p256 = generate(KeyType::EcP256);
    let mut off_curve = p256.public().unwrap().as_raw().to_vec();
    off_curve[64] ^= 1;
    let mut compressed = p256.public().unwrap().as_raw()[..33].to_vec();
    compressed[0] = 2 + (p256.public().unwrap().as_raw()[64] & 1);
    let mut hybrid = p256.public().unwrap().as_raw().to_vec();
    hybrid[0] = 6 + (hybrid[64] & 1);
    for raw in [off_curve, compressed, hybrid, vec![], vec![0], vec![4; 65]] {
        refuse_peer(&*p256, KeyType::EcP256, raw);
    }
    let other_curve = generate(KeyType::EcP384);
    let peer = other_curve.public().unwrap();
    let error = block_on(p256.agree(Algorithm::EcdhEs, peer)).unwrap_err();
    assert!(error.message().contains("EC-P384"), "{error}");

    // A point of small order, whose shared secret would be zero.
    let x25519 = generate(KeyType::X25519);
    for raw in [vec![0; 32], vec![1; 31], vec![1; 33]] {
        refuse_peer(&*x25519, KeyType::X25519, raw);
    }
}

/// Refused as a public key already, or by the device.
fn refuse_peer(key: &dyn LoadedKey, key_type: KeyType, raw: Vec<u8>) {
    let agreed = PublicKey::from_raw(key_type, raw)
        .and_then(|peer| block_on(key.agree(Algorithm::EcdhEs, &peer)));
    assert_eq!(agreed.unwrap_err().kind(), ErrorKind::InvalidInput);
}

/// RFC 8410 section 7 and RFC 7748 section 5.2, with version 2 and its public key as well.
#[test]
fn x25519_pkcs8_of_both_versions() {
    let v1 = [
        unhex("302e020100300506032b656e04220420"),
        unhex("a546e36bf0527c9d3b16154b82465edd62144c0ac1fc5a18506a2244ba449ac4"),
    ]
    .concat();
    let key = import(KeyType::X25519, &v1);
    let point = unhex("e6db6867583030db3594c1a424b15f7c726624ec26b3353b10a903a6d0ab1c4c");
    let peer = PublicKey::from_raw(KeyType::X25519, point).unwrap();
    let agreed = block_on(key.agree(Algorithm::EcdhEs, &peer)).unwrap();
    let output = unhex("c3da55379de9c6908e94ea4df28d084f32eccf03491c71f754b4075577a28552");
    assert_eq!(agreed.expose(), output);

    let mut v2 = v1.clone();
    v2[1] = 0x51;
    v2[4] = 1;
    v2.extend_from_slice(&[0x81, 0x21, 0x00]);
    v2.extend_from_slice(key.public().unwrap().as_raw());
    import(KeyType::X25519, &v2);
    *v2.last_mut().unwrap() ^= 1;
    let error = try_import(KeyType::X25519, &v2).unwrap_err();
    assert!(error.message().contains("does not belong"), "{error}");
    let mut ed25519 = v1;
    ed25519[11] = 0x70;
    let error = try_import(KeyType::X25519, &ed25519).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::InvalidInput);
}

/// The KBKDF vector is that of Managed HSM's security domain; the others differ from it and from one another.
#[test]
fn derivation_depends_on_everything() {
    let key = import(KeyType::Kdk256, &[0x41; 32]);
    let derive = |algorithm, salt_or_label, info_or_context, len| {
        let parameters = DeriveParameters {
            salt_or_label,
            info_or_context,
        };
        block_on(key.derive(algorithm, parameters, len))
    };
    let known = derive(Algorithm::KbkdfHmacSha512, b"label", b"context", 32).unwrap();
    let expected = unhex("f0ca51f6308791404bf68b56024ee7c64d6c737716f81d47e1e68b5c4e399575");
    assert_eq!(known.expose(), expected);

    let mut seen = Vec::new();
    for algorithm in fitting(KeyType::Kdk256, Operation::Derive) {
        for (label, context) in [
            ("label", "context"),
            ("label", ""),
            ("", "context"),
            ("", ""),
        ] {
            let made = derive(algorithm, label.as_bytes(), context.as_bytes(), 64).unwrap();
            assert_eq!(made.len(), 64);
            assert!(!seen.contains(&made.expose().to_vec()), "{algorithm}");
            seen.push(made.expose().to_vec());
        }
        derive(algorithm, b"", b"", 1024).unwrap();
        let error = derive(algorithm, b"", b"", 1025).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::LimitExceeded);
        let error = derive(algorithm, b"", b"", 0).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::InvalidInput);
    }
}

/// The error of a failed decryption says nothing.
fn opaque(result: hsm_core::Result<SecretBytes>) {
    let error = result.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::CryptoFailed, "{error}");
    assert_eq!(error.message(), "");
    assert!(std::error::Error::source(&error).is_none());
}

fn fitting(key_type: KeyType, operation: Operation) -> impl Iterator<Item = Algorithm> {
    let algorithms = key_type.algorithms().iter().copied();
    algorithms.filter(move |algorithm| algorithm.does(operation))
}

fn aes_of(len: usize) -> KeyType {
    match len {
        16 => KeyType::Aes128,
        24 => KeyType::Aes192,
        _ => KeyType::Aes256,
    }
}

fn generate(key_type: KeyType) -> Arc<dyn LoadedKey> {
    let device = crate::options().in_memory().unwrap();
    let binding = Binding::new("test", b"encryption");
    let new = block_on(device.generate(&spec(key_type), &binding)).unwrap();
    block_on(device.load(&new.sealed, &binding)).unwrap()
}

fn import(key_type: KeyType, material: &[u8]) -> Arc<dyn LoadedKey> {
    try_import(key_type, material).unwrap()
}

fn try_import(key_type: KeyType, material: &[u8]) -> hsm_core::Result<Arc<dyn LoadedKey>> {
    let device = crate::options().in_memory().unwrap();
    let binding = Binding::new("test", b"encryption");
    let material = SecretBytes::copy_from(material);
    let new = block_on(device.import(material, &spec(key_type), &binding))?;
    block_on(device.load(&new.sealed, &binding))
}

fn spec(key_type: KeyType) -> KeySpec {
    let transport = Usages::of(&[Usage::Import, Usage::Export]);
    KeySpec::new(key_type, key_type.info().usages.without(transport)).unwrap()
}

fn unhex(digits: &str) -> Vec<u8> {
    (0..digits.len())
        .step_by(2)
        .map(|at| u8::from_str_radix(&digits[at..at + 2], 16).unwrap())
        .collect()
}

/// The other side's padding needs no secrecy here, and a test should repeat.
struct Counter(u64);

impl TryRng for Counter {
    type Error = Infallible;

    fn try_next_u32(&mut self) -> Result<u32, Infallible> {
        self.try_next_u64().map(|next| (next >> 32) as u32)
    }

    fn try_next_u64(&mut self) -> Result<u64, Infallible> {
        self.0 = self
            .0
            .wrapping_mul(6364136223846793005)
            .wrapping_add(1442695040888963407);
        Ok(self.0)
    }

    fn try_fill_bytes(&mut self, out: &mut [u8]) -> Result<(), Infallible> {
        for byte in out {
            *byte = self.try_next_u64()?.to_be_bytes()[0] | 1;
        }
        Ok(())
    }
}

impl TryCryptoRng for Counter {}

/// The private key of RFC 7515 appendix A.2.
const RSA_KEY: &[u8] = include_bytes!("../../src/self_test/rfc7515_rsa2048.pkcs8.der");
