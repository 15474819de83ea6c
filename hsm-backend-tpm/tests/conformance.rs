//! A TPM keeps the contract of a device.
#![expect(clippy::unwrap_used, reason = "helpers of tests are tests")]

#[path = "simulated/transport.rs"]
mod transport;

use hsm_backend_tpm::TpmDevice;
use hsm_testkit::TpmSimulator;
use transport::Simulated;

hsm_testkit::device_conformance!(
    TpmDevice::create(Simulated::new()).unwrap(),
    missing: TpmSimulator::missing()
);
