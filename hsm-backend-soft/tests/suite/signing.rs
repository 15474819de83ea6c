//! Signatures are those of the standards: published ones verify, ours verify elsewhere, and a message and its digest
//! give the same.
#![expect(clippy::unwrap_used, reason = "a helper of a test may fail it")]

use futures_executor::block_on;
use hsm_core::{
    Algorithm, Binding, Device, ErrorKind, Hash, KeyFamily, KeySpec, KeyType, LoadedKey, Operation,
    SecretBytes, SignInput, Usage, Usages,
};
use rsa::pkcs8::DecodePrivateKey;
use rsa::{Pkcs1v15Sign, Pss, RsaPrivateKey};
use sha2::{Digest, Sha256, Sha384, Sha512};
use std::sync::Arc;

/// RFC 6979 appendices A.2.5 to A.2.7, message `sample`.
#[test]
fn published_ecdsa_signatures_verify() {
    let cases = [
        (
            KeyType::EcP256,
            Algorithm::Es256,
            "06082a8648ce3d030107",
            "c9afa9d845ba75166b5c215767b1d6934e50c3db36e89b127b8a622b120f6721",
            "efd48b2aacb6a8fd1140dd9cd45e81d69d2c877b56aaf991c34d0ea84eaf3716f7cb1c942d657c41d436c7a1b6e29f65f3e900dbb9aff4064dc4ab2f843acda8",
        ),
        (
            KeyType::EcP384,
            Algorithm::Es384,
            "06052b81040022",
            "6b9d3dad2e1b8c1c05b19875b6659f4de23c3b667bf297ba9aa47740787137d896d5724e4c70a825f872c9ea60d2edf5",
            "94edbb92a5ecb8aad4736e56c691916b3f88140666ce9fa73d64c4ea95ad133c81a648152e44acf96e36dd1e80fabe4699ef4aeb15f178cea1fe40db2603138f130e740a19624526203b6351d0a3a94fa329c145786e679e7b82c71a38628ac8",
        ),
        (
            KeyType::EcP521,
            Algorithm::Es512,
            "06052b81040023",
            "00fad06daa62ba3b25d2fb40133da757205de67f5bb0018fee8c86e1b68c7e75caa896eb32f1f47c70855836a6d16fcc1466f6d8fbec67db89ec0c08b0e996b83538",
            "00c328fafcbd79dd77850370c46325d987cb525569fb63c5d3bc53950e6d4c5f174e25a1ee9017b5d450606add152b534931d7d4e8455cc91f9b15bf05ec36e377fa00617cce7cf5064806c467f678d3b4080d6f1cc50af26ca209417308281b68af282623eaa63e5b5c0723d8b8c37ff0777b1a20f8ccb1dccc43997f1ee0e44da4a67a",
        ),
    ];
    for (key_type, algorithm, curve, scalar, signature) in cases {
        let key = import(key_type, &pkcs8_of_scalar(&unhex(curve), &unhex(scalar))).unwrap();
        let signature = unhex(signature);
        verify(&*key, algorithm, SignInput::Message(b"sample"), &signature).unwrap();
        let error = verify(&*key, algorithm, SignInput::Message(b"test"), &signature).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::CryptoFailed);
        assert_eq!(error.message(), "");
    }
}

/// Every algorithm of every key type: what one input form signs, both verify, and nothing else does.
#[test]
fn a_message_and_its_digest_are_one() {
    for key_type in super::key_types().filter(|key_type| key_type.is_asymmetric()) {
        let signing = |algorithm: &&Algorithm| algorithm.does(Operation::Sign);
        if !key_type
            .algorithms()
            .iter()
            .any(|algorithm| signing(&algorithm))
        {
            continue;
        }
        let key = generate(key_type);
        for algorithm in key_type
            .algorithms()
            .iter()
            .copied()
            .filter(|a| signing(&a))
        {
            let Some(hash) = algorithm.hash() else {
                continue;
            };
            let digest = digest(hash, b"message");
            let inputs = [SignInput::Message(b"message"), SignInput::Digest(&digest)];
            for input in inputs {
                let signature = sign(&*key, algorithm, input).unwrap();
                let len = match key_type.info().family {
                    KeyFamily::Ec => 2 * key_type.byte_len(),
                    _ => key_type.byte_len(),
                };
                assert_eq!(signature.len(), len, "{key_type} {algorithm}");
                for verified in inputs {
                    verify(&*key, algorithm, verified, &signature).unwrap();
                }
                refuse_altered(&*key, algorithm, input, &signature);
            }
        }
    }
}

fn refuse_altered(key: &dyn LoadedKey, algorithm: Algorithm, input: SignInput<'_>, good: &[u8]) {
    let mut altered = good.to_vec();
    altered[good.len() / 2] ^= 1;
    let long = [good, &[0]].concat();
    for bad in [&altered, &good[1..], &long, &[]] {
        let error = verify(key, algorithm, input, bad).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::CryptoFailed, "{algorithm}");
    }
}

#[test]
fn a_digest_of_the_wrong_length_is_named() {
    let key = generate(KeyType::EcP384);
    for len in [0, 20, 32, 47, 49, 64] {
        let digest = vec![1; len];
        let error = sign(&*key, Algorithm::Es384, SignInput::Digest(&digest)).unwrap_err();
        assert_eq!(
            error.to_string(),
            format!("invalid input: ES384 takes a digest of 48 bytes, not {len}")
        );
        let input = SignInput::Digest(&digest);
        let error = verify(&*key, Algorithm::Es384, input, &[0; 96]).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::InvalidInput);
    }
}

#[test]
fn eddsa_signs_messages_and_never_digests() {
    let key = generate(KeyType::Ed25519);
    let signature = sign(&*key, Algorithm::EdDsa, SignInput::Message(b"m")).unwrap();
    assert_eq!(signature.len(), 64);
    let digest = SignInput::Digest(&[0; 64]);
    let error = sign(&*key, Algorithm::EdDsa, digest).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::InvalidInput);
    let error = verify(&*key, Algorithm::EdDsa, digest, &signature).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::InvalidInput);
}

/// A second implementation accepts them.
#[test]
fn rsa_signatures_verify_elsewhere() {
    let key = import(KeyType::Rsa2048, RSA_KEY).unwrap();
    let public = RsaPrivateKey::from_pkcs8_der(RSA_KEY)
        .unwrap()
        .to_public_key();
    let made = |algorithm, hash| {
        let signature = sign(&*key, algorithm, SignInput::Message(b"message")).unwrap();
        (digest(hash, b"message"), signature)
    };

    let (hashed, signature) = made(Algorithm::Rs256, Hash::Sha256);
    public
        .verify(Pkcs1v15Sign::new::<Sha256>(), &hashed, &signature)
        .unwrap();
    let (hashed, signature) = made(Algorithm::Rs384, Hash::Sha384);
    public
        .verify(Pkcs1v15Sign::new::<Sha384>(), &hashed, &signature)
        .unwrap();
    let (hashed, signature) = made(Algorithm::Rs512, Hash::Sha512);
    public
        .verify(Pkcs1v15Sign::new::<Sha512>(), &hashed, &signature)
        .unwrap();
    // Salts as long as the digest, which is what these check.
    let (hashed, signature) = made(Algorithm::Ps256, Hash::Sha256);
    public
        .verify(Pss::<Sha256>::new(), &hashed, &signature)
        .unwrap();
    let (hashed, signature) = made(Algorithm::Ps384, Hash::Sha384);
    public
        .verify(Pss::<Sha384>::new(), &hashed, &signature)
        .unwrap();
    let (hashed, signature) = made(Algorithm::Ps512, Hash::Sha512);
    public
        .verify(Pss::<Sha512>::new(), &hashed, &signature)
        .unwrap();
}

#[test]
fn import_takes_the_named_type_only() {
    let p256 = unhex("06082a8648ce3d030107");
    let scalar = unhex("c9afa9d845ba75166b5c215767b1d6934e50c3db36e89b127b8a622b120f6721");
    let pkcs8 = pkcs8_of_scalar(&p256, &scalar);
    for wrong in super::key_types().filter(|key_type| *key_type != KeyType::EcP256) {
        let error = import(wrong, &pkcs8).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::InvalidInput, "{wrong}");
    }
    for wrong in [KeyType::Rsa3072, KeyType::Rsa4096, KeyType::EcP256] {
        let error = import(wrong, RSA_KEY).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::InvalidInput, "{wrong}");
    }
    // Zero, and the order of the group.
    let order = unhex("ffffffff00000000ffffffffffffffffbce6faada7179e84f3b9cac2fc632551");
    for scalar in [vec![0; 32], order] {
        let error = import(KeyType::EcP256, &pkcs8_of_scalar(&p256, &scalar)).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::InvalidInput);
    }
}

/// One byte after the `RSAPrivateKey`, inside the lengths that stand around it.
#[test]
fn an_rsa_key_with_bytes_after_it_is_refused() {
    let mut long = [RSA_KEY, &[0]].concat();
    // The last bytes of the lengths of the whole and of the octet string.
    for at in [3, 25] {
        long[at] += 1;
    }
    assert_eq!(long[22], 0x04);
    let error = import(KeyType::Rsa2048, &long).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::InvalidInput);
    import(KeyType::Rsa2048, RSA_KEY).unwrap();
}

/// RFC 8410 section 10.3: the same key as version 1, and as version 2 with its public key, right and wrong.
#[test]
fn ed25519_pkcs8_of_both_versions() {
    let v1 = unhex(
        "302e020100300506032b657004220420d4ee72dbf913584ad5b6d8f1f769f8ad3afe7c28cbf1d4fbe097a88f44755842",
    );
    let public = unhex("19bf44096984cdfe8541bac167dc3b96c85086aa30b6b6cb0c5c38ad703166e1");
    let key = import(KeyType::Ed25519, &v1).unwrap();
    assert_eq!(key.public().unwrap().as_raw(), public);

    let mut v2 = v1.clone();
    v2[1] = 0x51;
    v2[4] = 1;
    v2.extend_from_slice(&[0x81, 0x21, 0x00]);
    v2.extend_from_slice(&public);
    let key = import(KeyType::Ed25519, &v2).unwrap();
    assert_eq!(key.public().unwrap().as_raw(), public);

    *v2.last_mut().unwrap() ^= 1;
    let error = import(KeyType::Ed25519, &v2).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::InvalidInput);
}

fn sign(
    key: &dyn LoadedKey,
    algorithm: Algorithm,
    input: SignInput<'_>,
) -> hsm_core::Result<Vec<u8>> {
    block_on(key.sign(algorithm, input))
}

fn verify(
    key: &dyn LoadedKey,
    algorithm: Algorithm,
    input: SignInput<'_>,
    signature: &[u8],
) -> hsm_core::Result<()> {
    block_on(key.verify(algorithm, input, signature))
}

fn generate(key_type: KeyType) -> Arc<dyn LoadedKey> {
    let device = crate::options().in_memory().unwrap();
    let binding = Binding::new("test", b"signing");
    let new = block_on(device.generate(&spec(key_type), &binding)).unwrap();
    block_on(device.load(&new.sealed, &binding)).unwrap()
}

fn import(key_type: KeyType, material: &[u8]) -> hsm_core::Result<Arc<dyn LoadedKey>> {
    let device = crate::options().in_memory().unwrap();
    let binding = Binding::new("test", b"signing");
    let material = SecretBytes::copy_from(material);
    let new = block_on(device.import(material, &spec(key_type), &binding))?;
    block_on(device.load(&new.sealed, &binding))
}

fn spec(key_type: KeyType) -> KeySpec {
    let transport = Usages::of(&[Usage::Import, Usage::Export]);
    KeySpec::new(key_type, key_type.info().usages.without(transport)).unwrap()
}

fn digest(hash: Hash, message: &[u8]) -> Vec<u8> {
    match hash {
        Hash::Sha256 => Sha256::digest(message).to_vec(),
        Hash::Sha384 => Sha384::digest(message).to_vec(),
        Hash::Sha512 => Sha512::digest(message).to_vec(),
        _ => panic!("no signature uses {hash:?}"),
    }
}

/// `PrivateKeyInfo` of an EC key without its public half (RFC 5208, RFC 5915).
fn pkcs8_of_scalar(curve: &[u8], scalar: &[u8]) -> Vec<u8> {
    let tagged = |tag: u8, parts: &[&[u8]]| {
        let content = parts.concat();
        [
            &[tag, u8::try_from(content.len()).unwrap()],
            content.as_slice(),
        ]
        .concat()
    };
    let private = tagged(0x30, &[&[2, 1, 1], &tagged(0x04, &[scalar])]);
    let id_ec_public_key = unhex("06072a8648ce3d0201");
    tagged(
        0x30,
        &[
            &[2, 1, 0],
            &tagged(0x30, &[&id_ec_public_key, curve]),
            &tagged(0x04, &[&private]),
        ],
    )
}

fn unhex(digits: &str) -> Vec<u8> {
    (0..digits.len())
        .step_by(2)
        .map(|at| u8::from_str_radix(&digits[at..at + 2], 16).unwrap())
        .collect()
}

/// The private key of RFC 7515 appendix A.2.
const RSA_KEY: &[u8] = include_bytes!("../../src/self_test/rfc7515_rsa2048.pkcs8.der");
