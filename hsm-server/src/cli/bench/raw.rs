//! The primitives themselves, on one thread.

use std::time::Duration;

use aws_lc_rs::rand::SystemRandom;
use aws_lc_rs::rsa::{KeyPair, KeySize};
use aws_lc_rs::signature::{ECDSA_P256_SHA256_FIXED_SIGNING, EcdsaKeyPair, RSA_PKCS1_SHA256};

use super::{DIGEST, Operation};
use crate::cli::Result;
use crate::cli::failure::Failure;

/// Signatures between two looks at the clock.
const BATCH: u32 = 64;

/// How often the primitive under an operation is done in a second of CPU time; `None` for operations that are none.
pub(super) fn per_cpu_second(operation: Operation, time: Duration) -> Result<Option<f64>> {
    let random = SystemRandom::new();
    match operation {
        Operation::SignP256 => {
            let key = p256()?;
            Ok(Some(count(time, || key.sign(&random, &DIGEST).is_ok())))
        }
        Operation::SignRsa2048 => {
            let key = rsa2048()?;
            let mut signature = vec![0; key.public_modulus_len()];
            Ok(Some(count(time, || {
                key.sign(&RSA_PKCS1_SHA256, &random, &DIGEST, &mut signature)
                    .is_ok()
            })))
        }
        Operation::Encrypt | Operation::Verify | Operation::Get => Ok(None),
    }
}

pub(super) fn p256() -> Result<EcdsaKeyPair> {
    EcdsaKeyPair::generate(&ECDSA_P256_SHA256_FIXED_SIGNING).map_err(|_| failed())
}

pub(super) fn rsa2048() -> Result<KeyPair> {
    KeyPair::generate(KeySize::Rsa2048).map_err(|_| failed())
}

fn failed() -> Failure {
    hsm_client::Error::new(
        hsm_client::ErrorKind::DeviceFailed,
        "a key for the comparison cannot be made",
    )
    .into()
}

fn count(time: Duration, mut sign: impl FnMut() -> bool) -> f64 {
    let begin = cpu_time();
    let mut done = 0.0;
    loop {
        for _ in 0..BATCH {
            done += f64::from(u8::from(sign()));
        }
        let used = cpu_time().saturating_sub(begin);
        if used >= time {
            return done / used.as_secs_f64();
        }
    }
}

fn cpu_time() -> Duration {
    let time = rustix::time::clock_gettime(rustix::time::ClockId::ThreadCPUTime);
    Duration::try_from(time).unwrap_or_default()
}
