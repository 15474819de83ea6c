//! [`TpmRoot`]: the TPM as the root of trust of keys that live elsewhere.

use std::fmt;
use std::path::Path;
use std::sync::Arc;

use hsm_core::{PcrSelection, Result};

use crate::counter::TpmCounter;
use crate::root::RootName;
use crate::sealer::TpmSealer;
use crate::tpm::Tpm;
use crate::transport::Transport;
use crate::worker::Worker;

/// A TPM 2.0 that keeps a secret and a counter for an HSM whose keys are not in it: [`sealer`](Self::sealer),
/// [`counter`](Self::counter).
///
/// It has a thread of its own, and one connection for both. Clones share it; it ends with the last of them, of its sealers and
/// counters.
///
/// ```no_run
/// use hsm_backend_tpm::{KernelTransport, TpmRoot};
/// use hsm_core::{RootSealer, SecretBytes};
///
/// # fn example() -> Result<(), Box<dyn std::error::Error>> {
/// let tpm = TpmRoot::connect(KernelTransport::open("/dev/tpmrm0")?)?;
/// let sealer = tpm.sealer(Some("0,7".parse()?)); // this machine, with this firmware and secure boot
/// let sealed = sealer.seal(&SecretBytes::init_with(32, |bytes| bytes.fill(7)))?;
/// assert_eq!(sealer.unseal(&sealed)?.expose(), [7; 32]);
/// # Ok(())
/// # }
/// ```
#[derive(Clone)]
pub struct TpmRoot {
    worker: Arc<Worker>,
}

impl TpmRoot {
    /// Takes the TPM at the other end of `transport`.
    ///
    /// What is sealed or counted first is so in whichever TPM answers. From then on the sealed secret and the counter's file name
    /// the root key, and take no other.
    ///
    /// Blocks until the TPM has answered.
    ///
    /// # Errors
    ///
    /// As [`TpmDevice::create`](crate::TpmDevice::create).
    pub fn connect(transport: impl Transport + 'static) -> Result<Self> {
        let tpm = Tpm::open(Box::new(transport), None)?;
        Ok(Self {
            worker: Arc::new(Worker::start(tpm)?),
        })
    }

    /// Frees what it holds in the TPM, disconnects, and comes back when that is done. After it every method fails, those of its sealers
    /// and counters as well. Closing it again does nothing.
    ///
    /// # Errors
    ///
    /// [`DeviceFailed`](hsm_core::ErrorKind::DeviceFailed) if its thread is gone.
    pub async fn close(&self) -> Result<()> {
        let end = |tpm: &mut Tpm| {
            tpm.end("the connection to the TPM is closed");
            Ok(())
        };
        self.worker.run(end).await
    }

    /// The name of the root key that is in use. Not secret.
    ///
    /// # Errors
    ///
    /// [`DeviceFailed`](hsm_core::ErrorKind::DeviceFailed) if the TPM has none.
    pub fn root_name(&self) -> Result<RootName> {
        self.worker.run_blocking(|tpm| tpm.root_name())
    }

    /// Seals to this TPM; with `registers` to what they hold when it seals: what it sealed then opens only after a boot that gives
    /// them the same values.
    #[must_use]
    pub fn sealer(&self, registers: Option<PcrSelection>) -> TpmSealer {
        TpmSealer::new(self.worker.clone(), registers)
    }

    /// Makes a counter in the TPM's own memory, and a new file at `path` that says which it is. Blocks.
    ///
    /// It takes one of the TPM's few places for such (an NV index of the owner), which `tpm2_nvundefine` frees again.
    ///
    /// # Errors
    ///
    /// [`Denied`](hsm_core::ErrorKind::Denied) if the owner hierarchy has a password,
    /// [`Conflict`](hsm_core::ErrorKind::Conflict) if there is something at `path`,
    /// [`LimitExceeded`](hsm_core::ErrorKind::LimitExceeded) if the TPM has no place,
    /// [`StoreFailed`](hsm_core::ErrorKind::StoreFailed) if the file cannot be written, and what the TPM says.
    pub fn create_counter(&self, path: &Path) -> Result<TpmCounter> {
        TpmCounter::create(self.worker.clone(), path)
    }

    /// The counter that the file at `path` names. The TPM is not asked yet.
    ///
    /// # Errors
    ///
    /// [`NotFound`](hsm_core::ErrorKind::NotFound) if there is no file, [`Damaged`](hsm_core::ErrorKind::Damaged) if it is not as
    /// it was written, [`StoreFailed`](hsm_core::ErrorKind::StoreFailed) if it cannot be read.
    pub fn counter(&self, path: &Path) -> Result<TpmCounter> {
        TpmCounter::open(self.worker.clone(), path)
    }
}

impl fmt::Debug for TpmRoot {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("TpmRoot").finish_non_exhaustive()
    }
}
