//! The random bit generator: CTR_DRBG of NIST SP 800-90A, seeded by the system, one per thread.

use aws_lc_rs::rand;
use hsm_core::Result;

use super::internal;

/// Fills `out`.
pub(super) fn fill(out: &mut [u8]) -> Result<()> {
    rand::fill(out).map_err(internal)
}
