//! The real program: what it does with a folder, what it serves, and what its page says of it.
#![expect(
    clippy::unwrap_used,
    reason = "helpers of tests: what fails here ends the test, and says where"
)]

#[path = "program/docs.rs"]
mod docs;
#[path = "program/home.rs"]
mod home;
#[path = "program/local.rs"]
mod local;
#[path = "program/report.rs"]
mod report;
#[path = "program/serve.rs"]
mod serve;
#[cfg(feature = "tpm")]
#[path = "program/tpm.rs"]
mod tpm;
