//! Promise: a device over aws-lc-rs keeps what every device of this crate does.

use hsm_backend_soft::{CryptoProvider, SoftDevice, SoftDeviceOptions};

#[path = "suite/promises.rs"]
mod promises;

fn options() -> SoftDeviceOptions {
    SoftDevice::options(CryptoProvider::AwsLc)
}
