//! [`Report`]: what became of each vector, as numbers and as a table.

use std::borrow::Cow;
use std::collections::BTreeMap;
use std::fmt;

use super::bench::{Missed, Outcome, Ran};

/// What became of every vector. Prints as a table.
#[derive(Clone, Debug)]
#[must_use = "a report may hold failures"]
#[non_exhaustive]
pub struct Report {
    /// The files, by name.
    pub files: Vec<FileReport>,
    /// What was published and has no vector that would apply, with the reason.
    pub left_out: Vec<&'static str>,
}

impl Report {
    pub(super) fn new(mut files: Vec<FileReport>) -> Self {
        files.sort_by(|a, b| a.file.cmp(&b.file));
        let left_out = LEFT_OUT.to_vec();
        Self { files, left_out }
    }

    /// Vectors that ran through the service.
    #[must_use]
    pub fn service(&self) -> usize {
        self.files.iter().map(|file| file.service).sum()
    }

    /// Vectors that [`PublicKey`](hsm_core::PublicKey) decided.
    #[must_use]
    pub fn public_key(&self) -> usize {
        self.files.iter().map(|file| file.public_key).sum()
    }

    /// Vectors that were skipped.
    #[must_use]
    pub fn skipped(&self) -> usize {
        self.files.iter().map(FileReport::skipped).sum()
    }

    /// Vectors that failed, each with its file.
    pub fn failures(&self) -> impl Iterator<Item = (&FileReport, &Failure)> {
        let of_file = |file| move |failure| (file, failure);
        self.files
            .iter()
            .flat_map(move |file| file.failures.iter().map(of_file(file)))
    }

    /// Checks that no vector failed.
    ///
    /// # Panics
    ///
    /// If one did; the message lists them all.
    pub fn assert_passed(&self) {
        let failures: Vec<_> = self
            .failures()
            .map(|(file, failure)| format!("{}, {failure}", file.file))
            .collect();
        assert!(
            failures.is_empty(),
            "{} vectors failed:\n{}",
            failures.len(),
            failures.join("\n")
        );
    }
}

/// What became of the vectors of one file.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct FileReport {
    /// The file's name, as it was published.
    pub file: String,
    /// Vectors that ran through the service.
    pub service: usize,
    /// Vectors that [`PublicKey`](hsm_core::PublicKey) decided: signatures, and peers that it refused to read.
    pub public_key: usize,
    /// How many vectors were skipped, by reason.
    pub skips: BTreeMap<Cow<'static, str>, usize>,
    /// Vectors that failed.
    pub failures: Vec<Failure>,
}

impl FileReport {
    pub(super) fn new(file: impl Into<String>) -> Self {
        Self {
            file: file.into(),
            service: 0,
            public_key: 0,
            skips: BTreeMap::new(),
            failures: Vec::new(),
        }
    }

    pub(super) fn add(&mut self, test: impl fmt::Display, comment: &str, outcome: Outcome) {
        match outcome {
            Ok(Ran::Service) => self.service += 1,
            Ok(Ran::PublicKey) => self.public_key += 1,
            Err(Missed::Skipped(reason)) => *self.skips.entry(reason).or_default() += 1,
            Err(Missed::Failed(why)) => self.failures.push(Failure {
                test: test.to_string(),
                comment: comment.to_owned(),
                why,
            }),
        }
    }

    /// Vectors that were skipped.
    #[must_use]
    pub fn skipped(&self) -> usize {
        self.skips.values().sum()
    }
}

/// A vector that failed.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct Failure {
    /// The vector's number in its file: `tcId` of Wycheproof.
    pub test: String,
    /// What the file says of it.
    pub comment: String,
    /// What went wrong.
    pub why: String,
}

/// Number, comment, and what went wrong.
impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "vector {}: {}", self.test, self.why)?;
        if !self.comment.is_empty() {
            write!(f, " ({})", self.comment)?;
        }
        Ok(())
    }
}

/// A table of the files, each with the reasons of its skips and its failures, and the sums.
impl fmt::Display for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        row(
            f,
            "vectors of",
            ["service", "public key", "skipped", "failed"],
        )?;
        for file in &self.files {
            let failed = file.failures.len();
            row(
                f,
                &file.file,
                [file.service, file.public_key, file.skipped(), failed],
            )?;
            for (reason, count) in &file.skips {
                writeln!(f, "    skipped {count}: {reason}")?;
            }
            for failure in &file.failures {
                writeln!(f, "    FAILED {failure}")?;
            }
        }
        let failed = self.failures().count();
        row(
            f,
            "all",
            [self.service(), self.public_key(), self.skipped(), failed],
        )?;
        for left_out in &self.left_out {
            writeln!(f, "left out: {left_out}")?;
        }
        Ok(())
    }
}

fn row(f: &mut fmt::Formatter<'_>, name: &str, columns: [impl fmt::Display; 4]) -> fmt::Result {
    write!(f, "{name:<44}")?;
    for column in columns {
        write!(f, " {column:>10}")?;
    }
    writeln!(f)
}

const LEFT_OUT: &[&str] = &[
    "Wycheproof's other files: algorithms, curves and hashes that the registry does not have",
    "Wycheproof's ECDSA signatures in DER: the SDK takes r‖s, whose files ran",
    "Wycheproof's rsa_pss_*_params: the signatures of the files that ran, with keys for PSS alone, which are not read",
    "RFC 5869: in Wycheproof's hkdf_sha256, among the keys that are not of 256 bits",
    "NIST CAVP SP 800-108: its fixed input is random bytes; the SDK's is label ‖ 0x00 ‖ context ‖ L, as in RFC 8009",
    "NIST SP 800-38F *_inv: they wrap with the inverse cipher",
];
