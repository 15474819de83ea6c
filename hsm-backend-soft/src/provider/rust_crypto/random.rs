//! The random bit generator: that of the system, asked anew each time.

use chacha20::ChaCha20Rng;
use hsm_core::Result;
use rsa::rand_core::SeedableRng;
use zeroize::Zeroizing;

use super::internal;

/// The system's generator, for crates that take one that may fail.
pub(super) use getrandom::SysRng;

/// Fills `out`.
pub(super) fn fill(out: &mut [u8]) -> Result<()> {
    getrandom::fill(out).map_err(internal)
}

/// A generator with a fresh 256-bit seed, for crates that take only one that cannot fail.
pub(super) fn seeded() -> Result<ChaCha20Rng> {
    let mut seed = Zeroizing::new([0; 32]);
    fill(seed.as_mut_slice())?;
    Ok(ChaCha20Rng::from_seed(*seed))
}
