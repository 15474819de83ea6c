//! [`Health`]: whether the device may work. One atomic load on every operation.

use std::sync::atomic::{AtomicU8, Ordering};

use hsm_core::Result;

use crate::error::failed;

const READY: u8 = 0;
const FAILED: u8 = 1;
const ZEROIZED: u8 = 2;

/// Whether the device may work, shared by the device and every key that it loaded.
///
/// A failed self-test stops it until a later run passes; zeroization stops it for good.
#[derive(Debug)]
pub(crate) struct Health(AtomicU8);

impl Health {
    /// The state after passed power-on self-tests.
    pub(crate) fn ready() -> Self {
        Self(AtomicU8::new(READY))
    }

    /// Refuses unless the device is ready.
    pub(crate) fn check(&self) -> Result<()> {
        match self.0.load(Ordering::Acquire) {
            READY => Ok(()),
            FAILED => Err(failed(
                "a self-test failed; nothing works until a later self-test passes",
            )),
            _ => Err(zeroized()),
        }
    }

    /// Refuses if the device was zeroized. A failed self-test does not matter here.
    pub(crate) fn check_not_zeroized(&self) -> Result<()> {
        match self.0.load(Ordering::Acquire) {
            ZEROIZED => Err(zeroized()),
            _ => Ok(()),
        }
    }

    /// Enters the error state.
    pub(crate) fn fail(&self) {
        self.step(READY, FAILED);
    }

    /// Leaves the error state.
    pub(crate) fn recover(&self) {
        self.step(FAILED, READY);
    }

    /// Stops the device for good.
    pub(crate) fn zeroize(&self) {
        self.0.store(ZEROIZED, Ordering::Release);
    }

    /// Changes `from` to `to`, and leaves any other state as it is: zeroized stays zeroized.
    fn step(&self, from: u8, to: u8) {
        let _ = self
            .0
            .compare_exchange(from, to, Ordering::AcqRel, Ordering::Acquire);
    }
}

/// The error of everything after a zeroization.
pub(crate) fn zeroized() -> hsm_core::Error {
    failed("this HSM was zeroized: its domain key and every key under it are destroyed")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn zeroized_is_final() {
        let health = Health::ready();
        health.fail();
        assert!(health.check().is_err());
        health.recover();
        assert!(health.check().is_ok());
        health.zeroize();
        health.recover();
        health.fail();
        health.recover();
        assert!(health.check().unwrap_err().message().contains("zeroized"));
    }
}
