//! [`SoftDevice`]: the [`Device`] of this crate. It decides and seals; a provider does the cryptography.

use std::fmt;
#[cfg(feature = "aws-lc")]
use std::path::Path;
use std::sync::Arc;

use async_trait::async_trait;
use hsm_core::attestation::{AttestRequest, Evidence};
use hsm_core::limits::KEY_MATERIAL_LEN_MAX;
use hsm_core::{
    Algorithm, Binding, Capabilities, Device, Error, ErrorKind, KeyFamily, KeySpec, KeyType,
    LoadedKey, NewKey, PublicKey, Result, SealedKey, SecretBytes, Usages,
};

use crate::attest;
use crate::health::Health;
use crate::loaded::SoftKey;
use crate::memory::{Depth, wiping_stack};
use crate::options::{CryptoProvider, SoftDeviceOptions};
use crate::protector::{Protector, ProtectorKind};
use crate::provider::Provider;
use crate::root::Root;
use crate::seal::{self, SALT_LEN};
use crate::self_test;

/// The software device: keys in this process, sealed under a domain key that rests under a [`Protector`].
///
/// Its contract is that of [`Device`]. [`options`](Self::options) chooses who does the cryptography. `create`, `open` and `change_protector` read and write files, and stretch a
/// passphrase for about a tenth of a second: they block the calling thread.
///
/// Clones would be two devices over one root; share one in an `Arc` instead.
pub struct SoftDevice {
    core: Arc<Core>,
}

impl SoftDevice {
    /// Makes a device over aws-lc-rs with a fresh domain key, which rests at `path` under `protector`.
    ///
    /// # Errors
    ///
    /// As [`SoftDeviceOptions::create`].
    #[cfg(feature = "aws-lc")]
    pub fn create(path: &Path, protector: &Protector) -> Result<Self> {
        Self::options(CryptoProvider::AwsLc).create(path, protector)
    }

    /// Opens the device whose domain key rests at `path`, over aws-lc-rs.
    ///
    /// # Errors
    ///
    /// As [`SoftDeviceOptions::open`].
    #[cfg(feature = "aws-lc")]
    pub fn open(path: &Path, protector: &Protector) -> Result<Self> {
        Self::options(CryptoProvider::AwsLc).open(path, protector)
    }

    /// Makes a device over aws-lc-rs with a fresh domain key that is gone with it: for tests, and for keys that shall not
    /// survive.
    ///
    /// # Errors
    ///
    /// As [`SoftDeviceOptions::in_memory`].
    #[cfg(feature = "aws-lc")]
    pub fn in_memory() -> Result<Self> {
        Self::options(CryptoProvider::AwsLc).in_memory()
    }

    /// Begins a device over `provider`.
    pub const fn options(provider: CryptoProvider) -> SoftDeviceOptions {
        SoftDeviceOptions::new(provider)
    }

    /// Puts the domain key under another protector, and no other; the keys stay as they are.
    ///
    /// The change is durable and complete or did not happen. The old protectors still open old copies of the file.
    ///
    /// # Errors
    ///
    /// [`InvalidInput`](ErrorKind::InvalidInput) for an empty passphrase, a key file that others can read, or a device
    /// in memory, [`DeviceFailed`](ErrorKind::DeviceFailed) if the device was zeroized or the file system fails.
    pub fn change_protector(&self, protector: &Protector) -> Result<()> {
        self.core.health.check()?;
        wiping_stack(Depth::Usual, || {
            self.core
                .root
                .change_protector(protector, self.core.provider)
        })
    }

    /// Puts the domain key under one more protector. One of the same kind is replaced: so a new passphrase is set, and a
    /// [`Sealer`](Protector::Sealer) sealed anew after the firmware has changed.
    ///
    /// The change is durable and complete or did not happen.
    ///
    /// ```
    /// # #[cfg(feature = "aws-lc")] {
    /// use hsm_backend_soft::{Protector, ProtectorKind, SoftDevice};
    /// use hsm_core::SecretBytes;
    ///
    /// # let folder = tempfile::tempdir().unwrap();
    /// # let folder = folder.path();
    /// let device = SoftDevice::create(&folder.join("domain"), &Protector::KeyFile(folder.join("key")))?;
    /// device.add_protector(&Protector::Passphrase(SecretBytes::copy_from(b"a long passphrase")))?;
    /// assert_eq!(device.protectors()?, [ProtectorKind::Passphrase, ProtectorKind::KeyFile]);
    /// device.remove_protector(ProtectorKind::KeyFile)?;
    /// # }
    /// # Ok::<(), hsm_core::Error>(())
    /// ```
    ///
    /// # Errors
    ///
    /// As [`change_protector`](Self::change_protector), and what a sealer says.
    pub fn add_protector(&self, protector: &Protector) -> Result<()> {
        self.core.health.check()?;
        wiping_stack(Depth::Usual, || {
            self.core.root.add_protector(protector, self.core.provider)
        })
    }

    /// Takes a protector away. It still opens old copies of the file.
    ///
    /// # Errors
    ///
    /// [`Conflict`](ErrorKind::Conflict) if it is the last, [`Unauthenticated`](ErrorKind::Unauthenticated) if there is none of
    /// the kind, [`InvalidInput`](ErrorKind::InvalidInput) for a device in memory,
    /// [`DeviceFailed`](ErrorKind::DeviceFailed) if the device was zeroized or the file system fails.
    pub fn remove_protector(&self, kind: ProtectorKind) -> Result<()> {
        self.core.health.check()?;
        self.core.root.remove_protector(kind)
    }

    /// What opens the device; nothing for one in memory. Reads the file.
    ///
    /// # Errors
    ///
    /// [`Damaged`](ErrorKind::Damaged) if the file was altered, [`DeviceFailed`](ErrorKind::DeviceFailed) if the device was
    /// zeroized or the file system fails.
    pub fn protectors(&self) -> Result<Vec<ProtectorKind>> {
        self.core.health.check()?;
        self.core.root.protectors()
    }

    /// Whether the system keeps the domain key in memory and out of core dumps. If not, raise the limit of locked memory
    /// (`ulimit -l`), or encrypt swap.
    #[must_use]
    pub fn memory_is_locked(&self) -> bool {
        self.core.root.is_locked()
    }

    /// Whether the device is in FIPS mode, and whether its cryptography is a module that was validated.
    ///
    /// ```
    /// # #[cfg(feature = "aws-lc")] {
    /// use hsm_backend_soft::{CryptoProvider, SoftDevice};
    /// use hsm_core::{Device, KeyType};
    ///
    /// let device = SoftDevice::options(CryptoProvider::AwsLc).approved_only().in_memory()?;
    /// assert!(device.fips_status().approved_only);
    /// assert_eq!(device.fips_status().validated_module.is_some(), cfg!(feature = "fips"));
    /// assert!(!device.capabilities().supports_key_type(KeyType::X25519));
    /// # }
    /// # Ok::<(), hsm_core::Error>(())
    /// ```
    #[must_use]
    pub fn fips_status(&self) -> FipsStatus {
        FipsStatus {
            approved_only: self.core.capabilities.is_approved_only(),
            validated_module: self.core.provider.validated_module(),
        }
    }

    /// Runs the power-on self-tests, then fetches the domain key.
    pub(crate) fn power_on(
        provider: &'static dyn Provider,
        approved_only: bool,
        root: impl FnOnce(&dyn Provider) -> Result<Root>,
    ) -> Result<Self> {
        self_test::run(provider)?;
        let capabilities = provider.capabilities().with_attestation();
        let core = Core {
            provider,
            capabilities: if approved_only {
                capabilities.approved_only()
            } else {
                capabilities
            },
            root: wiping_stack(Depth::Usual, || root(provider))?,
            health: Health::ready(),
        };
        Ok(Self {
            core: Arc::new(core),
        })
    }
}

/// How far a device keeps to FIPS 140-3. `docs/fips.md` says what that covers, and what not.
///
/// What [`SoftDevice::fips_status`] says.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
#[non_exhaustive]
pub struct FipsStatus {
    /// FIPS mode: what the standards of NIST do not approve is refused.
    pub approved_only: bool,
    /// The validated module that does the cryptography, in its approved mode; `None` if the code that does it was not validated.
    pub validated_module: Option<&'static str>,
}

#[async_trait]
impl Device for SoftDevice {
    fn capabilities(&self) -> &Capabilities {
        &self.core.capabilities
    }

    async fn generate(&self, spec: &KeySpec, binding: &Binding) -> Result<NewKey> {
        self.core.health.check()?;
        self.core.capabilities.check_spec(spec)?;
        let (provider, key_type) = (self.core.provider, spec.key_type);
        let depth = provider.depth(key_type);
        let made = if key_type.info().family == KeyFamily::Rsa {
            blocking::unblock(move || wiping_stack(depth, || make_key(provider, key_type))).await
        } else {
            wiping_stack(depth, || make_key(provider, key_type))
        };
        let (material, public) = made.inspect_err(|_| self.core.health.fail())?;
        wiping_stack(Depth::Usual, || {
            self.core.seal_new(spec, binding, &material, public)
        })
    }

    async fn import(
        &self,
        material: SecretBytes,
        spec: &KeySpec,
        binding: &Binding,
    ) -> Result<NewKey> {
        self.core.health.check()?;
        self.core.capabilities.check_spec(spec)?;
        let depth = self.core.provider.depth(spec.key_type);
        wiping_stack(depth, || self.core.import(material.expose(), spec, binding))
    }

    async fn load(&self, sealed: &SealedKey, binding: &Binding) -> Result<Arc<dyn LoadedKey>> {
        self.core.health.check()?;
        let (spec, material) = wiping_stack(Depth::Usual, || self.core.unseal(sealed, binding))?;
        self.core.capabilities.check(spec.key_type, None)?;
        let provider = self.core.provider;
        let parsed = wiping_stack(provider.depth(spec.key_type), || {
            provider.parse(spec.key_type, spec.usages, material.expose())
        })?;
        Ok(Arc::new(SoftKey::new(spec, parsed, self.core.clone())))
    }

    async fn reseal(
        &self,
        sealed: &SealedKey,
        old: &Binding,
        new: &Binding,
        without: Usages,
    ) -> Result<SealedKey> {
        self.core.health.check()?;
        wiping_stack(Depth::Usual, || {
            let (spec, material) = self.core.unseal(sealed, old)?;
            let spec = spec.without_usages(without)?;
            self.core.seal(&spec, new, material.expose())
        })
    }

    async fn attest(
        &self,
        sealed: &SealedKey,
        binding: &Binding,
        request: &AttestRequest,
    ) -> Result<Evidence> {
        self.core.health.check()?;
        let (spec, material) = wiping_stack(Depth::Usual, || self.core.unseal(sealed, binding))?;
        self.core.capabilities.check(spec.key_type, None)?;
        let provider = self.core.provider;
        let parsed = wiping_stack(provider.depth(spec.key_type), || {
            provider.parse(spec.key_type, spec.usages, material.expose())
        })?;
        wiping_stack(Depth::Usual, || {
            let attester = self
                .core
                .root
                .with_domain_key(|domain_key| attest::attestation_key(provider, domain_key))?;
            attest::attest(&*attester, spec, parsed.public(), binding, request)
        })
    }

    async fn random(&self, out: &mut [u8]) -> Result<()> {
        self.core.health.check()?;
        self.core.provider.random(out)
    }

    async fn self_test(&self) -> Result<()> {
        self.core.health.check_not_zeroized()?;
        self_test::run(self.core.provider).inspect_err(|_| self.core.health.fail())?;
        self.core.health.recover();
        Ok(())
    }

    async fn zeroize(&self) -> Result<()> {
        self.core.health.check_not_zeroized()?;
        self.core.health.zeroize();
        self.core.root.zeroize()
    }
}

impl fmt::Debug for SoftDevice {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("SoftDevice")
            .field("core", &self.core)
            .finish_non_exhaustive()
    }
}

/// What the device shares with the keys that it loaded.
#[derive(Debug)]
pub(crate) struct Core {
    pub(crate) provider: &'static dyn Provider,
    pub(crate) capabilities: Capabilities,
    pub(crate) health: Health,
    root: Root,
}

impl Core {
    /// Checks that the device works, and that it may run `algorithm` in its mode.
    pub(crate) fn check(&self, algorithm: Algorithm) -> Result<()> {
        self.health.check()?;
        if self.capabilities.is_approved_only() {
            algorithm.approval().check(algorithm.name())?;
        }
        Ok(())
    }

    /// Takes a key in its common encoding and seals it.
    pub(crate) fn import(
        &self,
        encoded: &[u8],
        spec: &KeySpec,
        binding: &Binding,
    ) -> Result<NewKey> {
        if encoded.len() > KEY_MATERIAL_LEN_MAX {
            return Err(Error::new(
                ErrorKind::LimitExceeded,
                format!(
                    "the key has {} bytes, at most {KEY_MATERIAL_LEN_MAX} are allowed",
                    encoded.len()
                ),
            ));
        }
        let material = self.provider.decode(spec.key_type, encoded)?;
        let public = if spec.key_type.is_asymmetric() {
            let parsed = self
                .provider
                .parse(spec.key_type, spec.usages, material.expose())?;
            parsed.public().cloned()
        } else {
            None
        };
        self.seal_new(spec, binding, &material, public)
    }

    /// Opens a sealed key.
    pub(crate) fn unseal(
        &self,
        sealed: &SealedKey,
        binding: &Binding,
    ) -> Result<(KeySpec, SecretBytes)> {
        self.root
            .with_domain_key(|domain_key| seal::unseal(domain_key, sealed, binding))
    }

    fn seal(&self, spec: &KeySpec, binding: &Binding, material: &[u8]) -> Result<SealedKey> {
        let mut salt = [0; SALT_LEN];
        self.provider.random(&mut salt)?;
        self.root
            .with_domain_key(|domain_key| seal::seal(domain_key, &salt, spec, binding, material))
    }

    fn seal_new(
        &self,
        spec: &KeySpec,
        binding: &Binding,
        material: &SecretBytes,
        public: Option<PublicKey>,
    ) -> Result<NewKey> {
        self.health.check()?;
        let sealed = self.seal(spec, binding, material.expose())?;
        Ok(NewKey { sealed, public })
    }
}

/// Makes a key and, if it is a pair, tests that its halves belong together.
fn make_key(
    provider: &dyn Provider,
    key_type: KeyType,
) -> Result<(SecretBytes, Option<PublicKey>)> {
    let material = provider.generate(key_type)?;
    if !key_type.is_asymmetric() {
        return Ok((material, None));
    }
    let public = self_test::pairwise(provider, key_type, &material)?;
    Ok((material, public))
}
