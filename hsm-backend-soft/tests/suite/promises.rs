//! What every provider keeps, a file for each promise. `tests/aws_lc.rs` and `tests/rust_crypto.rs` run them, each with its
//! `options()`.

mod conformance;
mod encryption;
mod post_quantum;
mod protectors;
mod sealing;
mod signing;
mod wrapping;
