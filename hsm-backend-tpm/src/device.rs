//! [`TpmDevice`]: the [`Device`] of this crate. It decides; the TPM does the cryptography.

use std::fmt;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

use async_trait::async_trait;
use hsm_core::attestation::{AttestRequest, Evidence};
use hsm_core::{
    Binding, Capabilities, Device, KeySpec, LoadedKey, NewKey, Result, SealedKey, SecretBytes,
    Usages,
};

use crate::attest;
use crate::capability;
use crate::counter::TpmCounter;
use crate::failure::failed;
use crate::limits::RANDOM_LEN_MAX;
use crate::loaded::TpmKey;
use crate::operations::{self, Key};
use crate::root::RootName;
use crate::sealed::{Auth, Blob};
use crate::tpm::Tpm;
use crate::transport::Transport;
use crate::worker::Worker;

/// A TPM 2.0 as a device. Keys are made in it and used in it; what the store keeps of them, only this TPM can load.
///
/// Each device has a thread, which talks to the TPM; calls wait for it without blocking. Dropping the device, and the
/// keys that it loaded, frees what they hold in the TPM; [`close`](Self::close) waits for it.
#[derive(Debug)]
pub struct TpmDevice {
    core: Arc<Core>,
}

impl TpmDevice {
    /// Takes the TPM at the other end of `transport` as it is, and believes that it is one.
    ///
    /// Keep [`root_name`](Self::root_name), and [`open`](Self::open) the device with it from then on.
    ///
    /// Blocks until the TPM has answered.
    ///
    /// # Errors
    ///
    /// [`DeviceFailed`](hsm_core::ErrorKind::DeviceFailed) if there is no usable root key,
    /// [`Denied`](hsm_core::ErrorKind::Denied) if one can be made only with the owner's password,
    /// [`Unreachable`](hsm_core::ErrorKind::Unreachable) or [`Unknown`](hsm_core::ErrorKind::Unknown) if the TPM does
    /// not answer.
    pub fn create(transport: impl Transport + 'static) -> Result<Self> {
        Self::start(Box::new(transport), None)
    }

    /// Takes the TPM at the other end of `transport`, if its root key is the one called `root`.
    ///
    /// Blocks until the TPM has answered.
    ///
    /// # Errors
    ///
    /// As [`create`](Self::create), and [`DeviceFailed`](hsm_core::ErrorKind::DeviceFailed) if it is another TPM, or was
    /// cleared.
    pub fn open(transport: impl Transport + 'static, root: RootName) -> Result<Self> {
        Self::start(Box::new(transport), Some(root))
    }

    /// The name of the root key under which all keys of this device rest. Not secret.
    #[must_use]
    pub fn root_name(&self) -> RootName {
        self.core.root_name
    }

    /// Frees what the device holds in the TPM, disconnects, and comes back when that is done. After it every method fails, those of loaded
    /// keys as well.
    ///
    /// # Errors
    ///
    /// [`DeviceFailed`](hsm_core::ErrorKind::DeviceFailed) if it was closed already.
    pub async fn close(&self) -> Result<()> {
        self.core.check()?;
        self.core.alive.store(false, Ordering::Release);
        let end = |tpm: &mut Tpm| {
            tpm.end("the device is closed");
            Ok(())
        };
        self.core.worker.run(end).await
    }

    /// Makes a counter in this TPM, for the HSM whose keys the device has, and a new file at `path` that says which it is.
    ///
    /// # Errors
    ///
    /// As [`TpmRoot::create_counter`](crate::TpmRoot::create_counter).
    pub fn create_counter(&self, path: &Path) -> Result<TpmCounter> {
        self.core.check()?;
        TpmCounter::create(self.core.worker.clone(), path)
    }

    /// The counter that the file at `path` names.
    ///
    /// # Errors
    ///
    /// As [`TpmRoot::counter`](crate::TpmRoot::counter).
    pub fn counter(&self, path: &Path) -> Result<TpmCounter> {
        self.core.check()?;
        TpmCounter::open(self.core.worker.clone(), path)
    }

    fn start(transport: Box<dyn Transport>, pin: Option<RootName>) -> Result<Self> {
        let mut tpm = Tpm::open(transport, pin)?;
        let capabilities = tpm.run(capability::read)?;
        Ok(Self {
            core: Arc::new(Core {
                capabilities,
                root_name: tpm.root_name()?,
                alive: AtomicBool::new(true),
                next_number: AtomicU64::new(0),
                sequence: async_lock::Mutex::default(),
                worker: Arc::new(Worker::start(tpm)?),
            }),
        })
    }
}

#[async_trait]
#[deny(clippy::missing_trait_methods)]
impl Device for TpmDevice {
    fn capabilities(&self) -> &Capabilities {
        &self.core.capabilities
    }

    async fn generate(&self, spec: &KeySpec, binding: &Binding) -> Result<NewKey> {
        self.core.check()?;
        self.core.capabilities.check_spec(spec)?;
        let (spec, auth) = (*spec, Auth::new(spec, binding));
        let create = move |tpm: &mut Tpm| tpm.run(|tpm| operations::create(tpm, &spec, auth));
        new_key(&self.core.worker.run(create).await?)
    }

    async fn import(
        &self,
        material: SecretBytes,
        spec: &KeySpec,
        binding: &Binding,
    ) -> Result<NewKey> {
        self.core.import(material, spec, binding).await
    }

    async fn load(&self, sealed: &SealedKey, binding: &Binding) -> Result<Arc<dyn LoadedKey>> {
        Ok(Arc::new(self.core.load(sealed, binding).await?))
    }

    async fn reseal(
        &self,
        sealed: &SealedKey,
        old: &Binding,
        new: &Binding,
        without: Usages,
    ) -> Result<SealedKey> {
        let key = self.core.load(sealed, old).await?;
        let spec = key.spec().without_usages(without)?;
        let auth = Auth::new(&spec, new);
        let private = key
            .run(move |tpm, key| operations::change_auth(tpm, key, &auth))
            .await?;
        let resealed = Blob {
            spec,
            public: key.blob().public.clone(),
            private,
            auth,
        };
        resealed.seal()
    }

    async fn attest(
        &self,
        sealed: &SealedKey,
        binding: &Binding,
        request: &AttestRequest,
    ) -> Result<Evidence> {
        let key = self.core.load(sealed, binding).await?;
        let (binding, request) = (*binding, request.clone());
        // The attestation key takes a place besides that of the key: with a MAC in pieces there would be none left.
        let _turn = self.core.sequence.lock().await;
        key.run(move |tpm, key| attest::attest(tpm, key, &binding, &request))
            .await
    }

    async fn random(&self, out: &mut [u8]) -> Result<()> {
        self.core.check()?;
        for part in out.chunks_mut(RANDOM_LEN_MAX) {
            let len = part.len();
            let random = move |tpm: &mut Tpm| tpm.run(|tpm| operations::random(tpm, len));
            part.copy_from_slice(&self.core.worker.run(random).await?);
        }
        Ok(())
    }

    async fn self_test(&self) -> Result<()> {
        self.core.check()?;
        let test = |tpm: &mut Tpm| tpm.run(operations::self_test);
        self.core.worker.run(test).await
    }

    /// Clears the TPM's storage hierarchy (`TPM2_Clear`), with what other programs keep there: there is no other way to
    /// destroy its storage root key.
    async fn zeroize(&self) -> Result<()> {
        self.core.check()?;
        let clear = |tpm: &mut Tpm| {
            tpm.run(operations::clear)?;
            tpm.end(ZEROIZED);
            Ok(())
        };
        self.core.worker.run(clear).await?;
        self.core.alive.store(false, Ordering::Release);
        Ok(())
    }
}

/// What the device shares with the keys that it loaded.
pub(crate) struct Core {
    pub(crate) capabilities: Capabilities,
    pub(crate) worker: Arc<Worker>,
    root_name: RootName,
    alive: AtomicBool,
    next_number: AtomicU64,
    /// Held by the one who has a MAC in pieces: each takes a place in the TPM, and there are few.
    pub(crate) sequence: async_lock::Mutex<()>,
}

impl Core {
    /// Checks that the device was neither zeroized nor closed.
    pub(crate) fn check(&self) -> Result<()> {
        if self.alive.load(Ordering::Acquire) {
            return Ok(());
        }
        Err(failed("the device was closed or zeroized"))
    }

    /// Takes a key that is in clear.
    pub(crate) async fn import(
        &self,
        material: SecretBytes,
        spec: &KeySpec,
        binding: &Binding,
    ) -> Result<NewKey> {
        self.check()?;
        self.capabilities.check_spec(spec)?;
        let (spec, auth) = (*spec, Auth::new(spec, binding));
        let import =
            move |tpm: &mut Tpm| tpm.run(|tpm| operations::import(tpm, &material, &spec, auth));
        new_key(&self.worker.run(import).await?)
    }

    /// A number that no key and no sequence of this device ever had.
    pub(crate) fn next_number(&self) -> u64 {
        self.next_number.fetch_add(1, Ordering::Relaxed)
    }

    async fn load(self: &Arc<Self>, sealed: &SealedKey, binding: &Binding) -> Result<TpmKey> {
        self.check()?;
        let blob = Blob::open(sealed, binding)?;
        let number = self.next_number();
        let key = TpmKey::new(Key { number, blob }, self.clone())?;
        key.run(operations::check).await?;
        Ok(key)
    }
}

impl fmt::Debug for Core {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Core")
            .field("root_name", &self.root_name)
            .finish_non_exhaustive()
    }
}

fn new_key(blob: &Blob) -> Result<NewKey> {
    Ok(NewKey {
        public: blob.public_key()?,
        sealed: blob.seal()?,
    })
}

const ZEROIZED: &str = "the device was zeroized: its TPM has been cleared";
