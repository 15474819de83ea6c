//! A wire that counts the commands that cross it.

use std::io;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use hsm_backend_tpm::{Sharing, Transport};

use super::transport::Simulated;

/// The codes of all commands that crossed, in their order.
#[derive(Clone, Debug, Default)]
pub(crate) struct Log(Arc<Mutex<Vec<u32>>>);

impl Log {
    /// Forgets what crossed, and returns it.
    pub(crate) fn take(&self) -> Vec<u32> {
        std::mem::take(&mut *self.0.lock().unwrap())
    }
}

/// A simulator of its own, with a log.
#[derive(Debug)]
pub(crate) struct Logged {
    inner: Simulated,
    log: Log,
}

impl Logged {
    pub(crate) fn new(log: &Log) -> Self {
        Self {
            inner: Simulated::new(),
            log: log.clone(),
        }
    }
}

impl Transport for Logged {
    fn transmit(&mut self, command: &[u8], within: Duration) -> io::Result<Vec<u8>> {
        let code = u32::from_be_bytes(command[6..10].try_into().unwrap());
        self.log.0.lock().unwrap().push(code);
        self.inner.transmit(command, within)
    }

    fn reconnect(&mut self) -> io::Result<()> {
        self.inner.reconnect()
    }

    fn sharing(&self) -> Sharing {
        self.inner.sharing()
    }
}
