//! A TPM keeps the contract of a device.

#[path = "simulated/transport.rs"]
mod transport;

use hsm_testkit::TpmSimulator;

hsm_testkit::device_conformance!(
    transport::Simulated::device(),
    missing: TpmSimulator::missing()
);
