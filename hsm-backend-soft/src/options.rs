//! [`SoftDeviceOptions`] and [`CryptoProvider`]: what is chosen when a device is built.

use std::path::Path;

use hsm_core::Result;

use crate::device::SoftDevice;
use crate::protector::Protector;
use crate::provider::Provider;
use crate::root::Root;

/// Who does the cryptography of a device.
///
/// The choice is the device's, made when it is built, and written nowhere: devices over different providers open the same
/// protector file and load each other's keys. What a provider lacks, its device says in its
/// [`Capabilities`](hsm_core::Capabilities) and refuses as [`Unsupported`](hsm_core::ErrorKind::Unsupported);
/// `docs/providers.md` has the table.
///
/// Without any provider among the features of the crate there is none to choose, and so no device.
#[derive(Clone, Copy, Debug, Eq, Hash, PartialEq)]
#[non_exhaustive]
pub enum CryptoProvider {
    /// [aws-lc-rs](https://docs.rs/aws-lc-rs): C and assembly, the fastest, the one to take.
    #[cfg(feature = "aws-lc")]
    AwsLc,
    /// Crates of [RustCrypto](https://github.com/RustCrypto) and [dalek](https://github.com/dalek-cryptography): pure Rust, for
    /// machines without a C compiler and for whoever wants memory safety in the primitives as well.
    ///
    /// # RSA
    ///
    /// **Take another provider if an attacker can time private RSA operations.** The crate `rsa` computes with secret
    /// numbers in a time that depends on them, and for that
    /// [RUSTSEC-2023-0071](https://rustsec.org/advisories/RUSTSEC-2023-0071) (the Marvin attack) is open against it. This
    /// provider blinds every private operation, so that the time tells nothing of the message to whoever chose it, and
    /// leaves out RSAES-PKCS1-v1_5 (`RSA1_5`), on which the attack is easiest. That makes the attack harder; it does not
    /// take it away. No call chooses this provider for you.
    #[cfg(feature = "rust-crypto")]
    RustCrypto,
}

impl CryptoProvider {
    /// The providers that this build has.
    pub const ALL: &[Self] = &[
        #[cfg(feature = "aws-lc")]
        Self::AwsLc,
        #[cfg(feature = "rust-crypto")]
        Self::RustCrypto,
    ];

    /// What the device calls.
    pub(crate) fn provider(self) -> &'static dyn Provider {
        match self {
            #[cfg(feature = "aws-lc")]
            Self::AwsLc => &crate::provider::aws_lc::AwsLc,
            #[cfg(feature = "rust-crypto")]
            Self::RustCrypto => &crate::provider::rust_crypto::RustCrypto,
        }
    }
}

/// A [`SoftDevice`] that is about to be built: made by [`SoftDevice::options`], ended by [`create`](Self::create),
/// [`open`](Self::open) or [`in_memory`](Self::in_memory).
///
/// ```
/// # #[cfg(feature = "rust-crypto")] {
/// use hsm_backend_soft::{CryptoProvider, SoftDevice};
///
/// let device = SoftDevice::options(CryptoProvider::RustCrypto).in_memory()?;
/// # }
/// # Ok::<(), hsm_core::Error>(())
/// ```
#[derive(Clone, Debug)]
#[must_use]
pub struct SoftDeviceOptions {
    provider: CryptoProvider,
    approved_only: bool,
}

impl SoftDeviceOptions {
    pub(crate) const fn new(provider: CryptoProvider) -> Self {
        Self {
            provider,
            approved_only: false,
        }
    }

    /// FIPS mode: the device offers only what the standards of NIST
    /// [approve](hsm_core::algorithm::Approval), and refuses the rest with an error that names the standard. Keys of other
    /// types do not load.
    ///
    /// Whether the cryptography under it is a validated module is another question, which
    /// [`SoftDevice::fips_status`] answers.
    pub const fn approved_only(mut self) -> Self {
        self.approved_only = true;
        self
    }

    /// Makes a device with a fresh domain key, which rests at `path` under `protector`. Its power-on self-tests have
    /// passed.
    ///
    /// # Errors
    ///
    /// [`Conflict`](hsm_core::ErrorKind::Conflict) if there is a file at `path`,
    /// [`InvalidInput`](hsm_core::ErrorKind::InvalidInput) for an empty passphrase or a key file that others can read,
    /// [`DeviceFailed`](hsm_core::ErrorKind::DeviceFailed) if a self-test or the file system fails.
    pub fn create(&self, path: &Path, protector: &Protector) -> Result<SoftDevice> {
        self.power_on(|provider| Root::create(path, std::slice::from_ref(protector), provider))
    }

    /// As [`create`](Self::create), under several protectors, any of which opens the device: hardware, and a passphrase for
    /// the day on which it says no.
    ///
    /// # Errors
    ///
    /// As [`create`](Self::create), [`InvalidInput`](hsm_core::ErrorKind::InvalidInput) if there is none, or two of a kind, and
    /// what a sealer says.
    pub fn create_under(&self, path: &Path, protectors: &[Protector]) -> Result<SoftDevice> {
        self.power_on(|provider| Root::create(path, protectors, provider))
    }

    /// Opens the device whose domain key rests at `path`. Its power-on self-tests have passed.
    ///
    /// # Errors
    ///
    /// [`NotFound`](hsm_core::ErrorKind::NotFound) if there is no file at `path`,
    /// [`Unauthenticated`](hsm_core::ErrorKind::Unauthenticated) for a wrong passphrase or key file, or the wrong kind of
    /// protector, [`InvalidInput`](hsm_core::ErrorKind::InvalidInput) for a key file that others can read,
    /// [`Damaged`](hsm_core::ErrorKind::Damaged) if the file was altered,
    /// [`DeviceFailed`](hsm_core::ErrorKind::DeviceFailed) if the device was zeroized, or a self-test or the file system
    /// fails, and what a [`RootSealer`](hsm_core::RootSealer) says.
    pub fn open(&self, path: &Path, protector: &Protector) -> Result<SoftDevice> {
        self.power_on(|_| Root::open(path, protector))
    }

    /// Makes a device with a fresh domain key that is gone with it: for tests, and for keys that shall not survive.
    ///
    /// # Errors
    ///
    /// [`DeviceFailed`](hsm_core::ErrorKind::DeviceFailed) if a self-test fails.
    pub fn in_memory(&self) -> Result<SoftDevice> {
        self.power_on(Root::in_memory)
    }

    fn power_on(&self, root: impl FnOnce(&dyn Provider) -> Result<Root>) -> Result<SoftDevice> {
        SoftDevice::power_on(self.provider.provider(), self.approved_only, root)
    }
}
