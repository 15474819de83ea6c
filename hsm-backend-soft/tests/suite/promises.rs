//! What every provider keeps, a file for each promise. `tests/aws_lc.rs` and `tests/rust_crypto.rs` run them, each with its
//! `options()`.

use hsm_core::{Device, KeyType};

mod conformance;
mod encryption;
mod post_quantum;
mod protectors;
mod sealing;
mod signing;
mod wrapping;

/// The key types that the provider has.
fn key_types() -> impl Iterator<Item = KeyType> {
    let device = crate::options().in_memory();
    let device = device.expect("the self-tests pass");
    let key_types = device.capabilities().key_types().to_vec();
    key_types.into_iter()
}
