//! [`TpmSeal`]: software HSMs whose domain key rests in a TPM.

use std::path::Path;
use std::sync::Arc;

use hsm_backend_soft::Protector;
use hsm_backend_tpm::{TpmCounter, TpmRoot};
use hsm_core::{Error, ErrorKind, MonotonicCounter, PcrSelection, Result};

use crate::tpm;
use crate::url::Url;

/// Which TPM a software HSM is sealed to, and to which boot state: [`Setup::tpm`](crate::Setup::tpm),
/// [`OpenOptions::tpm`](crate::OpenOptions::tpm).
///
/// ```
/// use hsm_client::{OpenOptions, Setup, TpmSeal};
///
/// let seal = TpmSeal::new("/dev/tpmrm0").pcrs(&[0, 2, 4, 7]);
/// let setup = Setup::new("admin", "an administrator's password")
///     .tpm(seal)
///     .recovery_passphrase("a long passphrase, in a safe")
///     .count_changes();
///
/// let every_day = OpenOptions::new().tpm(TpmSeal::new("/dev/tpmrm0"));
/// let after_new_firmware = OpenOptions::new()
///     .tpm(TpmSeal::new("/dev/tpmrm0"))
///     .passphrase("a long passphrase, in a safe");
/// ```
#[derive(Clone, Debug)]
#[must_use]
pub struct TpmSeal {
    address: String,
    registers: Vec<u8>,
}

impl TpmSeal {
    /// The TPM at `address`, spelled as in `tpm:` URLs: `/dev/tpmrm0`, or `//127.0.0.1:2321` for a simulator. In any boot state.
    pub fn new(address: impl Into<String>) -> Self {
        Self {
            address: address.into(),
            registers: Vec::new(),
        }
    }

    /// Seals to what these registers hold: the HSM opens by itself only after a boot that gives them the same values. The
    /// registers 0, 2, 4 and 7 are the firmware, its drivers, the boot loader and secure boot. It is said when it is sealed, and
    /// not needed to open.
    pub fn pcrs(mut self, registers: &[u8]) -> Self {
        self.registers = registers.to_vec();
        self
    }
}

/// A TPM that was connected.
#[derive(Debug)]
pub(crate) struct Connected {
    root: TpmRoot,
    seal: TpmSeal,
}

impl Connected {
    /// Blocks.
    pub(crate) fn to(seal: TpmSeal) -> Result<Self> {
        let Url::Tpm(address) = format!("tpm:{}", seal.address).parse()? else {
            return Err(no_address());
        };
        if address.folder().is_some() {
            return Err(no_address());
        }
        let root = tpm::connect(&address)?;
        Ok(Self { root, seal })
    }

    /// The same connection, if it is one to where `seal` wants it.
    pub(crate) fn again(&self, seal: &TpmSeal) -> Option<Self> {
        (self.seal.address == seal.address).then(|| Self {
            root: self.root.clone(),
            seal: seal.clone(),
        })
    }

    /// Gives the TPM back, whoever still has a session.
    pub(crate) async fn close(&self) -> Result<()> {
        self.root.close().await
    }

    /// What seals the domain key.
    pub(crate) fn protector(&self) -> Result<Protector> {
        let registers = match &self.seal.registers[..] {
            [] => None,
            some => Some(PcrSelection::of(some)?),
        };
        Ok(Protector::Sealer(Arc::new(self.root.sealer(registers))))
    }

    /// Makes a counter, and the file that names it. Blocks.
    pub(crate) fn create_counter(&self, path: &Path) -> Result<TpmCounter> {
        self.root.create_counter(path)
    }

    pub(crate) fn counter(&self, path: &Path) -> Result<TpmCounter> {
        self.root.counter(path)
    }

    /// The counter, or a new one in the place of one that is gone for good. Blocks while it makes one.
    pub(crate) async fn counter_or_new(&self, path: &Path) -> Result<TpmCounter> {
        let found = match self.counter(path) {
            Ok(counter) => counter.read().await.map(|_| counter),
            Err(error) => Err(error),
        };
        match found {
            Err(error) if error.kind() == ErrorKind::NotFound => self.create_counter(path),
            Err(error) if matches!(error.kind(), ErrorKind::Damaged | ErrorKind::DeviceFailed) => {
                std::fs::remove_file(path).map_err(|source| {
                    Error::new(
                        ErrorKind::StoreFailed,
                        format!("{} cannot be removed", path.display()),
                    )
                    .with_source(source)
                })?;
                self.create_counter(path)
            }
            found => found,
        }
    }
}

fn no_address() -> Error {
    Error::new(
        ErrorKind::InvalidInput,
        "a TPM to seal to is a device such as `/dev/tpmrm0`, or `//HOST:PORT`",
    )
}
