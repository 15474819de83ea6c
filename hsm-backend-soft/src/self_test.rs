//! Self-tests in the manner of FIPS 140-3: published known answers for every family of primitives before the first
//! operation, and a test of every generated pair. They go through the provider seam, as every operation does.

use hsm_core::{
    Algorithm, CiphertextRef, DeriveParameters, Error, ErrorKind, KeyType, Operation, PublicKey,
    Result, SecretBytes, SignInput, Usage, Usages,
};
use subtle::ConstantTimeEq;

use crate::error::failed;
use crate::provider::{ParsedKey, Provider};
use crate::seal;

/// Runs the known-answer tests of everything that the provider says it has. Takes a few milliseconds.
pub(crate) fn run(provider: &dyn Provider) -> Result<()> {
    let capabilities = provider.capabilities();
    for (name, algorithm, test) in TESTS {
        if algorithm.is_some_and(|algorithm| !capabilities.supports_algorithm(algorithm)) {
            continue;
        }
        match test(provider) {
            Ok(true) => {}
            Ok(false) => return Err(failed(format!("the self-test of {name} failed"))),
            Err(source) => {
                return Err(failed(format!("the self-test of {name} failed")).with_source(source));
            }
        }
    }
    Ok(())
}

/// Tests that the halves of a new pair belong together: SP 800-56A section 5.6.2.1.4, FIPS 203 section 7.1, FIPS 140-3
/// IG 10.3.A. Returns the public one.
pub(crate) fn pairwise(
    provider: &dyn Provider,
    key_type: KeyType,
    material: &SecretBytes,
) -> Result<Option<PublicKey>> {
    let encapsulates = key_type.algorithms()[0].does(Operation::Encapsulate);
    let usages = match key_type {
        KeyType::X25519 => Usages::of(&[Usage::DeriveBits]),
        _ if encapsulates => Usages::of(&[Usage::Encapsulate, Usage::Decapsulate]),
        _ => Usages::of(&[Usage::Sign, Usage::Verify]),
    };
    let pair = provider.parse(key_type, usages, material.expose())?;
    let passed = match key_type {
        KeyType::X25519 => agrees_with_base_point(&*pair),
        _ if encapsulates => decapsulates_what_it_encapsulates(&*pair, key_type.algorithms()[0]),
        _ => verifies_what_it_signs(&*pair, key_type.algorithms()[0]),
    };
    if matches!(passed, Ok(true)) {
        return Ok(pair.public().cloned());
    }
    Err(failed(format!(
        "the halves of a new key of type {key_type} do not belong together"
    )))
}

/// The public key is the private key times the base point (RFC 7748 section 6.1).
fn agrees_with_base_point(pair: &dyn ParsedKey) -> Result<bool> {
    let mut base_point = [0; 32];
    base_point[0] = 9;
    let base_point = PublicKey::from_raw(KeyType::X25519, base_point)?;
    let agreed = pair.agree(Algorithm::EcdhEs, &base_point)?;
    Ok(pair
        .public()
        .is_some_and(|public| public.as_raw() == agreed.expose()))
}

fn verifies_what_it_signs(pair: &dyn ParsedKey, algorithm: Algorithm) -> Result<bool> {
    let message = SignInput::Message(b"pairwise consistency");
    let signature = pair.sign(algorithm, message)?;
    Ok(pair.verify(algorithm, message, &signature).is_ok())
}

fn decapsulates_what_it_encapsulates(pair: &dyn ParsedKey, algorithm: Algorithm) -> Result<bool> {
    let sent = pair.encapsulate(algorithm)?;
    let received = pair.decapsulate(algorithm, &sent.ciphertext)?;
    Ok(received.ct_eq(&sent.secret).into())
}

/// Signs, verifies, and refuses what was altered.
fn signs(pair: &dyn ParsedKey, algorithm: Algorithm) -> Result<bool> {
    let message = SignInput::Message(b"known-answer test");
    let mut signature = pair.sign(algorithm, message)?;
    pair.verify(algorithm, message, &signature)?;
    signature[8] ^= 1;
    Ok(refuses(pair.verify(algorithm, message, &signature)))
}

fn refuses<T>(result: Result<T>) -> bool {
    result.is_err_and(|error: Error| error.kind() == ErrorKind::CryptoFailed)
}

type Test = fn(&dyn Provider) -> Result<bool>;

/// A name, what must be there for the test to run, and the test.
const TESTS: [(&str, Option<Algorithm>, Test); 17] = [
    ("HKDF for sealing", None, sealing_hkdf),
    ("AES key wrap", Some(Algorithm::A256Kw), aes_kw),
    (
        "AES key wrap with padding",
        Some(Algorithm::A192Kwp),
        aes_kwp,
    ),
    ("AES-GCM", Some(Algorithm::A256Gcm), aes_gcm),
    ("AES-CBC", Some(Algorithm::A256Cbc), aes_cbc),
    ("AES-CTR", Some(Algorithm::A256Ctr), aes_ctr),
    ("HMAC", Some(Algorithm::Hs256), hmac),
    ("HKDF", Some(Algorithm::HkdfSha256), hkdf),
    ("KBKDF", Some(Algorithm::KbkdfHmacSha512), kbkdf),
    ("ECDSA", Some(Algorithm::Es256), ecdsa),
    ("ECDH", Some(Algorithm::EcdhEs), ecdh),
    ("Ed25519", Some(Algorithm::EdDsa), ed25519),
    ("X25519", Some(Algorithm::EcdhEs), x25519),
    ("ML-DSA", Some(Algorithm::MlDsa65), ml_dsa),
    ("ML-KEM", Some(Algorithm::MlKem768), ml_kem),
    ("X-Wing", Some(Algorithm::XWing), x_wing),
    ("RSA", Some(Algorithm::Rs256), rsa),
];

fn parse(
    provider: &dyn Provider,
    key_type: KeyType,
    material: &[u8],
) -> Result<Box<dyn ParsedKey>> {
    provider.parse(key_type, key_type.info().usages, material)
}

/// RFC 5869 appendix A.1, cut to the 32 bytes that sealing asks for.
fn sealing_hkdf(_: &dyn Provider) -> Result<bool> {
    let salt: [u8; 13] = hex("000102030405060708090a0b0c");
    let info: [u8; 10] = hex("f0f1f2f3f4f5f6f7f8f9");
    let key = seal::derive_key(&[0x0b; 22], &salt, &[&info])?;
    Ok(*key == HKDF_OKM[..32])
}

/// RFC 3394 section 4.6.
fn aes_kw(provider: &dyn Provider) -> Result<bool> {
    let kek: [u8; 32] = hex("000102030405060708090a0b0c0d0e0f101112131415161718191a1b1c1d1e1f");
    let secret: [u8; 32] = hex("00112233445566778899aabbccddeeff000102030405060708090a0b0c0d0e0f");
    let wrapped: [u8; 40] =
        hex("28c9f404c4b810f4cbccb35cfb87f8263f5786e2d80ed326cbc7f0e71a99f43bfb988b9b7a02dd21");
    let key = parse(provider, KeyType::Aes256, &kek)?;
    wraps(&*key, Algorithm::A256Kw, &secret, &wrapped)
}

/// RFC 5649 section 6.
fn aes_kwp(provider: &dyn Provider) -> Result<bool> {
    let kek: [u8; 24] = hex("5840df6e29b02af1ab493b705bf16ea1ae8338f4dcc176a8");
    let secret: [u8; 20] = hex("c37b7e6492584340bed12207808941155068f738");
    let wrapped: [u8; 32] = hex("138bdeaa9b8fa7fc61f97742e72248ee5ae6ae5360d1ae6a5f54f373fa543b6a");
    let key = parse(provider, KeyType::Aes192, &kek)?;
    wraps(&*key, Algorithm::A192Kwp, &secret, &wrapped)
}

fn wraps(key: &dyn ParsedKey, algorithm: Algorithm, secret: &[u8], wrapped: &[u8]) -> Result<bool> {
    let mut altered = wrapped.to_vec();
    altered[0] ^= 1;
    Ok(key.wrap(algorithm, secret)? == wrapped
        && key.unwrap(algorithm, wrapped)?.expose() == secret
        && refuses(key.unwrap(algorithm, &altered)))
}

/// Test case 16 of the GCM specification (McGrew and Viega).
fn aes_gcm(provider: &dyn Provider) -> Result<bool> {
    let key: [u8; 32] = hex("feffe9928665731c6d6a8f9467308308feffe9928665731c6d6a8f9467308308");
    let iv: [u8; 12] = hex("cafebabefacedbaddecaf888");
    let aad: [u8; 20] = hex("feedfacedeadbeeffeedfacedeadbeefabaddad2");
    let plaintext: [u8; 60] = hex(
        "d9313225f88406e5a55909c5aff5269a86a7a9531534f7da2e4c303d8a318a721c3c0c95956809532fcf0e2449a6b525b16aedf5aa0de657ba637b39",
    );
    let ciphertext: [u8; 60] = hex(
        "522dc1f099567d07f47f37a32a84427d643a8cdcbfe5c0c97598a2bd2555d1aa8cb08e48590dbb3da7b08b1056828838c5f61e6393ba7a0abcc9f662",
    );
    let tag: [u8; 16] = hex("76fc6ece0f4e1768cddf8853bb2d551b");
    let key = parse(provider, KeyType::Aes256, &key)?;
    let sealed = CiphertextRef {
        ciphertext: &ciphertext,
        iv: &iv,
        tag: &tag,
    };
    let altered = CiphertextRef {
        tag: &[0; 16],
        ..sealed
    };
    let algorithm = Algorithm::A256Gcm;
    Ok(key
        .encrypt(algorithm, &plaintext, iv.to_vec(), &aad)?
        .as_ref()
        == sealed
        && key.decrypt(algorithm, sealed, &aad)?.expose() == plaintext
        && refuses(key.decrypt(algorithm, altered, &aad)))
}

/// NIST SP 800-38A appendix F.2.5.
fn aes_cbc(provider: &dyn Provider) -> Result<bool> {
    let iv = hex("000102030405060708090a0b0c0d0e0f");
    let ciphertext = hex("f58c4c04d6e5f1ba779eabfb5f7bfbd6");
    encrypts_block(provider, Algorithm::A256Cbc, iv, ciphertext)
}

/// NIST SP 800-38A appendix F.5.5.
fn aes_ctr(provider: &dyn Provider) -> Result<bool> {
    let iv = hex("f0f1f2f3f4f5f6f7f8f9fafbfcfdfeff");
    let ciphertext = hex("601ec313775789a5b7a7f504bbf3d228");
    encrypts_block(provider, Algorithm::A256Ctr, iv, ciphertext)
}

fn encrypts_block(
    provider: &dyn Provider,
    algorithm: Algorithm,
    iv: [u8; 16],
    ciphertext: [u8; 16],
) -> Result<bool> {
    let key: [u8; 32] = hex("603deb1015ca71be2b73aef0857d77811f352c073b6108d72d9810a30914dff4");
    let plaintext: [u8; 16] = hex("6bc1bee22e409f96e93d7e117393172a");
    let key = parse(provider, KeyType::Aes256, &key)?;
    let expected = CiphertextRef {
        ciphertext: &ciphertext,
        iv: &iv,
        tag: &[],
    };
    Ok(key
        .encrypt(algorithm, &plaintext, iv.to_vec(), &[])?
        .as_ref()
        == expected
        && key.decrypt(algorithm, expected, &[])?.expose() == plaintext)
}

/// RFC 4231 section 4.2.
fn hmac(provider: &dyn Provider) -> Result<bool> {
    let sha256: [u8; 32] = hex("b0344c61d8db38535ca8afceaf0bf12b881dc200c9833da726e9376c2e32cff7");
    let sha384: [u8; 48] = hex(
        "afd03944d84895626b0825f4ab46907f15f9dadbe4101ec682aa034c7cebc59cfaea9ea9076ede7f4af152e8b2fa9cb6",
    );
    let sha512: [u8; 64] = hex(
        "87aa7cdea5ef619d4ff0b4241a1d6cb02379f4e2ce4ec2787ad0b30545e17cdedaa833b7d6b8a702038b274eaea3f4e4be9d914eeb61f1702e696c203a126854",
    );
    let cases: [(KeyType, Algorithm, &[u8]); 3] = [
        (KeyType::HmacSha256, Algorithm::Hs256, &sha256),
        (KeyType::HmacSha384, Algorithm::Hs384, &sha384),
        (KeyType::HmacSha512, Algorithm::Hs512, &sha512),
    ];
    for (key_type, algorithm, tag) in cases {
        let key = parse(provider, key_type, &[0x0b; 20])?;
        let wrong = vec![0; tag.len()];
        if key.mac(algorithm, b"Hi There")? != tag
            || key.verify_mac(algorithm, b"Hi There", tag).is_err()
            || !refuses(key.verify_mac(algorithm, b"Hi There", &wrong))
        {
            return Ok(false);
        }
    }
    Ok(true)
}

/// RFC 5869 appendix A.1.
fn hkdf(provider: &dyn Provider) -> Result<bool> {
    let salt: [u8; 13] = hex("000102030405060708090a0b0c");
    let info: [u8; 10] = hex("f0f1f2f3f4f5f6f7f8f9");
    let parameters = DeriveParameters {
        salt_or_label: &salt,
        info_or_context: &info,
    };
    let key = parse(provider, KeyType::Kdk256, &[0x0b; 22])?;
    let okm = key.derive(Algorithm::HkdfSha256, parameters, HKDF_OKM.len())?;
    Ok(okm.expose() == HKDF_OKM)
}

/// NIST SP 800-108 section 4.1 with HMAC-SHA-512: the test vector of Managed HSM's security domain.
fn kbkdf(provider: &dyn Provider) -> Result<bool> {
    let expected: [u8; 32] =
        hex("f0ca51f6308791404bf68b56024ee7c64d6c737716f81d47e1e68b5c4e399575");
    let parameters = DeriveParameters {
        salt_or_label: b"label",
        info_or_context: b"context",
    };
    let key = parse(provider, KeyType::Kdk256, &[0x41; 32])?;
    let derived = key.derive(Algorithm::KbkdfHmacSha512, parameters, expected.len())?;
    Ok(derived.expose() == expected)
}

/// RFC 6979 appendix A.2.5: a signature that is known to be right, and one of our own.
fn ecdsa(provider: &dyn Provider) -> Result<bool> {
    let signature: [u8; 64] = hex(
        "efd48b2aacb6a8fd1140dd9cd45e81d69d2c877b56aaf991c34d0ea84eaf3716f7cb1c942d657c41d436c7a1b6e29f65f3e900dbb9aff4064dc4ab2f843acda8",
    );
    let key = parse(provider, KeyType::EcP256, &P256_KEY)?;
    let sample = SignInput::Message(b"sample");
    key.verify(Algorithm::Es256, sample, &signature)?;
    let other = SignInput::Message(b"test");
    Ok(refuses(key.verify(Algorithm::Es256, other, &signature)) && signs(&*key, Algorithm::Es256)?)
}

/// RFC 5903 section 8.1.
fn ecdh(provider: &dyn Provider) -> Result<bool> {
    let mine: [u8; 96] = hex(
        "c88f01f510d9ac3f70a292daa2316de544e9aab8afe84049c62a9c57862d1433dad0b65394221cf9b051e1feca5787d098dfe637fc90b9ef945d0c37725811805271a0461cdb8252d61f1c456fa3e59ab1f45b33accf5f58389e0577b8990bb3",
    );
    let peer: [u8; 65] = hex(
        "04d12dfb5289c8d4f81208b70270398c342296970a0bccb74c736fc7554494bf6356fbf3ca366cc23e8157854c13c58d6aac23f046ada30f8353e74f33039872ab",
    );
    let shared: [u8; 32] = hex("d6840f6b42f6edafd13116e0e12565202fef8e9ece7dce03812464d04b9442de");
    let key = parse(provider, KeyType::EcP256, &mine)?;
    let peer = PublicKey::from_raw(KeyType::EcP256, peer)?;
    Ok(key.agree(Algorithm::EcdhEs, &peer)?.expose() == shared)
}

/// RFC 8032 section 7.1, test 3.
fn ed25519(provider: &dyn Provider) -> Result<bool> {
    let seed: [u8; 32] = hex("c5aa8df43f9f837bedb7442f31dcb7b166d38535076f094b85ce3a2e0b4458f7");
    let signature: [u8; 64] = hex(
        "6291d657deec24024827e69c3abe01a30ce548a284743a445e3680d7db5ac3ac18ff9b538d16f290ae67f760984dc6594a7c15e9716ed28dc027beceea1ec40a",
    );
    let key = parse(provider, KeyType::Ed25519, &seed)?;
    let message = SignInput::Message(&[0xaf, 0x82]);
    Ok(key.sign(Algorithm::EdDsa, message)? == signature && signs(&*key, Algorithm::EdDsa)?)
}

/// RFC 7748 section 5.2.
fn x25519(provider: &dyn Provider) -> Result<bool> {
    let scalar: [u8; 32] = hex("a546e36bf0527c9d3b16154b82465edd62144c0ac1fc5a18506a2244ba449ac4");
    let point: [u8; 32] = hex("e6db6867583030db3594c1a424b15f7c726624ec26b3353b10a903a6d0ab1c4c");
    let output: [u8; 32] = hex("c3da55379de9c6908e94ea4df28d084f32eccf03491c71f754b4075577a28552");
    let key = parse(provider, KeyType::X25519, &scalar)?;
    let peer = PublicKey::from_raw(KeyType::X25519, point)?;
    Ok(key.agree(Algorithm::EcdhEs, &peer)?.expose() == output)
}

/// Wycheproof, `mldsa_65_sign_seed_test.json`, test 1: a deterministic signature, so that it can be printed. Then hedged
/// ones of our own. The public key that verifies follows from the seed.
fn ml_dsa(provider: &dyn Provider) -> Result<bool> {
    let key = parse(provider, KeyType::MlDsa65, &[0x2a; 32])?;
    let message = SignInput::Message(b"Hello world");
    let altered = SignInput::Message(b"hello world");
    key.verify(Algorithm::MlDsa65, message, ML_DSA_SIGNATURE)?;
    Ok(
        refuses(key.verify(Algorithm::MlDsa65, altered, ML_DSA_SIGNATURE))
            && signs(&*key, Algorithm::MlDsa65)?,
    )
}

/// Wycheproof, `mlkem_768_test.json`, test 2. Then implicit rejection of an altered ciphertext, and there and back.
fn ml_kem(provider: &dyn Provider) -> Result<bool> {
    let seed: [u8; 64] = hex(
        "7c9935a0b07694aa0c6d10e4db6b1add2fd81a25ccb148032dcd739936737f2d8626ed79d451140800e03b59b956f8210e556067407d13dc90fa9e8b872bfb8f",
    );
    let secret: [u8; 32] = hex("e7184a0975ee3470878d2d159ec83129c8aec253d4ee17b4810311d198cd0368");
    let algorithm = Algorithm::MlKem768;
    let key = parse(provider, KeyType::MlKem768, &seed)?;
    let mut altered = ML_KEM_CIPHERTEXT.to_vec();
    altered[0] ^= 1;
    Ok(
        key.decapsulate(algorithm, ML_KEM_CIPHERTEXT)?.expose() == secret
            && key.decapsulate(algorithm, &altered)?.expose() != secret
            && decapsulates_what_it_encapsulates(&*key, algorithm)?,
    )
}

/// draft-connolly-cfrg-xwing-kem-10 appendix C, the first vector. Then there and back.
fn x_wing(provider: &dyn Provider) -> Result<bool> {
    let seed: [u8; 32] = hex("7f9c2ba4e88f827d616045507605853ed73b8093f6efbc88eb1a6eacfa66ef26");
    let secret: [u8; 32] = hex("d2df0522128f09dd8e2c92b1e905c793d8f57a54c3da25861f10bf4ca613e384");
    let algorithm = Algorithm::XWing;
    let key = parse(provider, KeyType::XWing, &seed)?;
    Ok(
        key.decapsulate(algorithm, X_WING_CIPHERTEXT)?.expose() == secret
            && decapsulates_what_it_encapsulates(&*key, algorithm)?,
    )
}

/// RFC 7515 appendix A.2: the signature of a key that the RFC prints. Then PSS and OAEP there and back.
fn rsa(provider: &dyn Provider) -> Result<bool> {
    let key = parse(provider, KeyType::Rsa2048, RSA_KEY)?;
    let message = SignInput::Message(RSA_MESSAGE);
    let altered = SignInput::Message(b"altered");
    let oaep = key.wrap(Algorithm::RsaOaep256, b"secret")?;
    Ok(key.sign(Algorithm::Rs256, message)? == RSA_SIGNATURE
        && key
            .verify(Algorithm::Rs256, message, &RSA_SIGNATURE)
            .is_ok()
        && refuses(key.verify(Algorithm::Rs256, altered, &RSA_SIGNATURE))
        && signs(&*key, Algorithm::Ps256)?
        && key.unwrap(Algorithm::RsaOaep256, &oaep)?.expose() == b"secret")
}

/// The key of RFC 6979 appendix A.2.5: scalar and public point.
const P256_KEY: [u8; 96] = hex(
    "c9afa9d845ba75166b5c215767b1d6934e50c3db36e89b127b8a622b120f672160fed4ba255a9d31c961eb74c6356d68c049b8923b61fa6ce669622e60f29fb67903fe1008b8bc99a41ae9e95628bc64f2f1b20c2d7e9f5177a3c294d4462299",
);

const HKDF_OKM: [u8; 42] =
    hex("3cb25f25faacd57a90434f64d0362f2a2d2d0a90cf1a5a4c5db02d56ecc4c5bf34007208d5b887185865");

/// The private key of RFC 7515 appendix A.2.1 as PKCS#8.
const RSA_KEY: &[u8] = include_bytes!("self_test/rfc7515_rsa2048.pkcs8.der");

const ML_DSA_SIGNATURE: &[u8] = include_bytes!("self_test/wycheproof_mldsa_65.signature");

const ML_KEM_CIPHERTEXT: &[u8] = include_bytes!("self_test/wycheproof_mlkem_768.ciphertext");

const X_WING_CIPHERTEXT: &[u8] = include_bytes!("self_test/x_wing.ciphertext");

const RSA_MESSAGE: &[u8] = b"eyJhbGciOiJSUzI1NiJ9.eyJpc3MiOiJqb2UiLA0KICJleHAiOjEzMDA4MTkzODAsDQogImh0dHA6Ly9leGFtcGxlLmNvbS9pc19yb290Ijp0cnVlfQ";

const RSA_SIGNATURE: [u8; 256] = hex(
    "702e218943e88fd11eb5d82dbf7845f34106ae1b81fff7731116add1717d83656d420afd3c96eedd73a2663e5166687b000b87226e0187ed1073f945e582adfcef16d85a798ee8c66ddb3db8975b17d09402beedd5d9d97007108db28160d5f8040ca7445762b81fbe7ff9d92e0ae76f24f25b33bbe6f44ae61eb1040acb20044d3ef9128ed40130795bd4bd3b41eecad066ab651981fde48df77f372dc38b9fafdd3befb18b5da3cc3c2eb02f9e3a41d612caad15911273a05f23b9e838faaf849d698429ef5a1e88798236c3d40e604522a544c8f27a7a2db80663d16cf7caea56de405cb2215a45b2c25566b55ac1a748a070dfc8a32a469543d019eefb47",
);

/// Decodes a constant. A wrong one does not compile where it is a `const`, and panics in the first test otherwise.
const fn hex<const N: usize>(digits: &str) -> [u8; N] {
    const fn nibble(digit: u8) -> u8 {
        match digit {
            b'0'..=b'9' => digit - b'0',
            b'a'..=b'f' => digit - b'a' + 10,
            _ => panic!("not a lower-case hexadecimal digit"),
        }
    }
    let digits = digits.as_bytes();
    assert!(digits.len() == 2 * N, "the constant has another length");
    let mut bytes = [0; N];
    let mut at = 0;
    while at < N {
        bytes[at] = nibble(digits[2 * at]) << 4 | nibble(digits[2 * at + 1]);
        at += 1;
    }
    bytes
}

#[cfg(test)]
mod tests;
