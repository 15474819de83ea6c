//! A simulator of a device's own, which goes with it.

use std::io;
use std::time::Duration;

use hsm_backend_tpm::{Sharing, TcpTransport, Transport};
use hsm_testkit::TpmSimulator;
use tempfile::TempDir;

/// A new TPM, and the way to it.
#[derive(Debug)]
pub(crate) struct Simulated {
    transport: TcpTransport,
    _simulator: TpmSimulator,
    _state: TempDir,
}

impl Simulated {
    pub(crate) fn new() -> Self {
        let state = tempfile::tempdir().unwrap();
        let simulator = TpmSimulator::start(state.path());
        Self {
            transport: TcpTransport::connect(simulator.address()).unwrap(),
            _simulator: simulator,
            _state: state,
        }
    }
}

impl Transport for Simulated {
    fn transmit(&mut self, command: &[u8], within: Duration) -> io::Result<Vec<u8>> {
        self.transport.transmit(command, within)
    }

    fn reconnect(&mut self) -> io::Result<()> {
        self.transport.reconnect()
    }

    fn sharing(&self) -> Sharing {
        self.transport.sharing()
    }
}
