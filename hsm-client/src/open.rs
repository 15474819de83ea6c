//! From a URL to an engine: the one place that puts backends together.

use std::fs::{self, DirBuilder, File};
use std::io;
use std::os::unix::fs::DirBuilderExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use hsm_backend_soft::Protector;
use hsm_core::{
    Device, Engine, Error, ErrorKind, MonotonicCounter, Opening, Parts, Principal, Result,
    SecretBytes,
};
use hsm_store::{AuditLog, EmbeddedStore};

use crate::hsm::{OpenOptions, RequestIds, Setup, Unlock};
use crate::local::Local;
#[cfg(feature = "remote")]
use crate::remote::{Peer, RemoteService};
use crate::url::Url;
#[cfg(feature = "tpm")]
use crate::{seal::Connected, tpm, url::TpmAddress};

/// What lies where in the folder of a software HSM.
pub(crate) struct Folder(PathBuf);

impl Folder {
    pub(crate) fn new(path: impl Into<PathBuf>) -> Self {
        Self(path.into())
    }

    pub(crate) fn store(&self) -> PathBuf {
        self.0.join("store.sqlite")
    }

    pub(crate) fn audit(&self) -> PathBuf {
        self.0.join("audit")
    }

    /// The name of the TPM's root key, if the keys live in a TPM.
    fn tpm_root(&self) -> PathBuf {
        self.0.join("tpm.root")
    }

    fn domain(&self) -> PathBuf {
        self.0.join("domain")
    }

    fn own_key_file(&self) -> PathBuf {
        self.0.join("domain.key")
    }

    /// What names the counter in a TPM, if changes are counted.
    fn counter(&self) -> PathBuf {
        self.0.join("counter")
    }

    fn protector(&self, unlock: &Unlock) -> Protector {
        match unlock {
            Unlock::OwnKeyFile => Protector::KeyFile(self.own_key_file()),
            Unlock::KeyFile(path) => Protector::KeyFile(path.clone()),
            Unlock::Passphrase(passphrase) => {
                Protector::Passphrase(SecretBytes::copy_from(passphrase.expose()))
            }
        }
    }
}

pub(crate) async fn create(url: &str, setup: Setup) -> Result<(Local, RequestIds)> {
    let Setup {
        administrator,
        password,
        settings,
        options,
        recovery,
        count_changes,
    } = setup;
    let requests = RequestIds::new()?;
    let core_setup = hsm_core::Setup {
        administrator: Principal::new(&administrator)?,
        password,
        settings,
    };
    let clock = options.clock.clone();
    match url.parse()? {
        Url::Memory => {
            if count_changes || recovery.is_some() || options.has_seal() {
                return Err(Error::new(
                    ErrorKind::InvalidInput,
                    "an HSM in memory is gone when it is closed: there is nothing to seal, to recover or to count",
                ));
            }
            let parts = Parts {
                device: Arc::new(options.soft_device().in_memory()?),
                store: Arc::new(EmbeddedStore::in_memory()?),
                audit: Arc::new(AuditLog::in_memory(clock.clone())?),
                clock,
            };
            let engine = Engine::create(parts, core_setup).await?;
            Ok((Local::start(engine, options.maintenance)?, requests))
        }
        Url::Soft(path) => {
            let draft = Draft::new(&path, requests.first())?;
            let folder = Folder::new(&draft.path);
            let trust = Trust::connect(&options).await?;
            let mut protectors = trust.protectors(&folder, &options.unlock)?;
            protectors.extend(recovery.map(Protector::Passphrase));
            let store = folder.store();
            let domain = folder.domain();
            let device = options.soft_device();
            let (device, store) = blocking(move || {
                let device = device.create_under(&domain, &protectors)?;
                Ok((device, EmbeddedStore::create(store)?))
            })
            .await?;
            let parts = Parts {
                device: Arc::new(device),
                store: Arc::new(store),
                audit: Arc::new(AuditLog::open(folder.audit(), clock.clone())?),
                clock,
            };
            let engine = if count_changes {
                let counter = trust.create_counter(&folder)?;
                Engine::create_counted(parts, core_setup, counter).await?
            } else {
                Engine::create(parts, core_setup).await?
            };
            engine.close().await?;
            drop(engine);
            draft.publish(&path)?;
            open_soft(&path, options, trust).await
        }
        #[cfg(feature = "tpm")]
        Url::Tpm(tpm) => {
            if recovery.is_some() {
                return Err(Error::new(
                    ErrorKind::InvalidInput,
                    "keys that live in a TPM are nowhere else, so no passphrase recovers them: leave it out",
                ));
            }
            create_in_tpm(tpm, core_setup, options, count_changes, requests).await
        }
        #[cfg(not(feature = "tpm"))]
        Url::Tpm(_) => Err(without_tpm()),
        Url::Https(_) | Url::Unix(_) => Err(Error::new(
            ErrorKind::InvalidInput,
            "an HSM behind a server is made where the server runs; open it",
        )),
    }
}

/// An HSM that was opened.
pub(crate) enum Opened {
    Local(Local, RequestIds),
    #[cfg(feature = "remote")]
    Remote(Arc<dyn hsm_core::Service>),
}

pub(crate) async fn open(url: &str, options: OpenOptions) -> Result<Opened> {
    match url.parse()? {
        Url::Memory => Err(Error::new(
            ErrorKind::NotFound,
            "an HSM in memory is gone when it is closed; create it",
        )),
        Url::Soft(path) => {
            let trust = Trust::connect(&options).await?;
            let (local, requests) = open_soft(&path, options, trust).await?;
            Ok(Opened::Local(local, requests))
        }
        #[cfg(feature = "tpm")]
        Url::Tpm(tpm) => {
            let (local, requests) = open_tpm(tpm, options).await?;
            Ok(Opened::Local(local, requests))
        }
        #[cfg(not(feature = "tpm"))]
        Url::Tpm(_) => Err(without_tpm()),
        #[cfg(feature = "remote")]
        Url::Https(address) => open_remote(Peer::Https(address), options),
        #[cfg(feature = "remote")]
        Url::Unix(path) => open_remote(Peer::Unix(path), options),
        #[cfg(not(feature = "remote"))]
        Url::Https(_) | Url::Unix(_) => Err(Error::new(
            ErrorKind::Unsupported,
            "HSMs behind a server need the feature `remote` of hsm-client, with which this program was not built",
        )),
    }
}

#[cfg(feature = "remote")]
fn open_remote(peer: Peer, options: OpenOptions) -> Result<Opened> {
    let service = RemoteService::new(peer, options.remote, options.clock)?;
    Ok(Opened::Remote(Arc::new(service)))
}

async fn open_soft(
    path: &Path,
    options: OpenOptions,
    trust: Trust,
) -> Result<(Local, RequestIds)> {
    let folder = Folder::new(path);
    if !folder.store().exists() {
        return Err(Error::new(
            ErrorKind::NotFound,
            format!(
                "there is no HSM in {}; create it with Hsm::create",
                path.display()
            ),
        ));
    }
    if folder.tpm_root().exists() {
        return Err(Error::new(
            ErrorKind::InvalidInput,
            format!(
                "the keys of the HSM in {0} live in a TPM; open it as `tpm:/dev/tpmrm0?folder={0}`",
                path.display()
            ),
        ));
    }
    if matches!(options.unlock, Unlock::OwnKeyFile)
        && !options.has_seal()
        && !folder.own_key_file().exists()
    {
        return Err(Error::new(
            ErrorKind::Unauthenticated,
            format!(
                "the HSM in {} has no key file in its folder; open it with its passphrase, key file or TPM",
                path.display()
            ),
        ));
    }
    let protectors = trust.protectors(&folder, &options.unlock)?;
    // What unlocks it; the TPM comes last, as it may be there to count only.
    let protector = protectors.into_iter().next();
    let protector = protector.unwrap_or_else(|| folder.protector(&options.unlock));
    let (domain, store) = (folder.domain(), folder.store());
    let device = options.soft_device();
    let (device, store) = blocking(move || {
        Ok((
            device.open(&domain, &protector)?,
            EmbeddedStore::open(store)?,
        ))
    })
    .await?;
    let counter = trust.counter(&folder, &options).await?;
    let device = Arc::new(device);
    let mut local = start(device.clone(), store, &folder, options, counter).await?;
    local.soft = Some(device);
    trust.keep(&mut local);
    Ok((local, RequestIds::new()?))
}

/// Opens the partition in a folder's store.
async fn start(
    device: Arc<dyn Device>,
    store: EmbeddedStore,
    folder: &Folder,
    options: OpenOptions,
    counter: Option<Arc<dyn MonotonicCounter>>,
) -> Result<Local> {
    let clock = options.clock;
    let parts = Parts {
        device,
        store: Arc::new(store),
        audit: Arc::new(AuditLog::open(folder.audit(), clock.clone())?),
        clock,
    };
    let counted = counter.is_some();
    let mut opening = Opening::new();
    if let Some(counter) = counter {
        opening = opening.counter(counter);
    }
    if options.danger_accept_clock {
        opening = opening.danger_accept_clock();
    }
    if options.danger_accept_rollback {
        opening = opening.danger_accept_rollback();
    }
    let engine = Engine::open_with(parts, opening).await?;
    if !counted {
        // Of a counter that is no more: the engine has taken it out of the store.
        drop(fs::remove_file(folder.counter()));
    }
    Local::start(engine, options.maintenance)
}

#[cfg(feature = "tpm")]
async fn create_in_tpm(
    address: TpmAddress,
    setup: hsm_core::Setup,
    options: OpenOptions,
    count_changes: bool,
    requests: RequestIds,
) -> Result<(Local, RequestIds)> {
    options.check_for_tpm()?;
    let path = address.folder_or_default()?;
    if address.folder().is_none()
        && let Some(state) = path.parent()
    {
        make_private(DirBuilder::new().recursive(true), state, state)?;
    }
    let draft = Draft::new(&path, requests.first())?;
    let folder = Folder::new(&draft.path);
    let (root, store) = (folder.tpm_root(), folder.store());
    let (device, store) = blocking(move || {
        let device = tpm::create(&address)?;
        tpm::write_root(&root, device.root_name())?;
        Ok((device, EmbeddedStore::create(store)?))
    })
    .await?;
    let device = Arc::new(device);
    let parts = Parts {
        device: device.clone(),
        store: Arc::new(store),
        audit: Arc::new(AuditLog::open(folder.audit(), options.clock.clone())?),
        clock: options.clock.clone(),
    };
    let engine = if count_changes {
        let (device, path) = (device.clone(), folder.counter());
        let counter = blocking(move || device.create_counter(&path)).await?;
        Engine::create_counted(parts, setup, Arc::new(counter)).await?
    } else {
        Engine::create(parts, setup).await?
    };
    engine.close().await?;
    drop(engine);
    draft.publish(&path)?;
    let folder = Folder::new(path);
    let store = folder.store();
    let store = blocking(move || EmbeddedStore::open(store)).await?;
    // The same device: nobody comes between, who has a TPM for himself.
    let counter = counter_in_tpm(&device, &folder)?;
    let local = start(device.clone(), store, &folder, options, counter).await?;
    Ok((local.with_tpm(device), requests))
}

#[cfg(feature = "tpm")]
async fn open_tpm(address: TpmAddress, options: OpenOptions) -> Result<(Local, RequestIds)> {
    options.check_for_tpm()?;
    let path = address.folder_or_default()?;
    let folder = Folder::new(&path);
    if !folder.store().exists() {
        let hint = match address.folder() {
            Some(_) => "",
            None => " (where it is if the URL names no other with `?folder=PATH`)",
        };
        return Err(Error::new(
            ErrorKind::NotFound,
            format!(
                "there is no HSM in {}{hint}; create it with Hsm::create",
                path.display()
            ),
        ));
    }
    if folder.domain().exists() {
        return Err(Error::new(
            ErrorKind::InvalidInput,
            format!(
                "the HSM in {0} is one in software; open it as `soft:{0}`",
                path.display()
            ),
        ));
    }
    let (root, store, place) = (
        folder.tpm_root(),
        folder.store(),
        path.display().to_string(),
    );
    let (device, store) = blocking(move || {
        let device = tpm::open(&address, tpm::read_root(&root)?).map_err(|error| {
            let message = format!("the HSM in {place} cannot be opened: {}", error.message());
            Error::new(error.kind(), message).with_source(error)
        })?;
        Ok((device, EmbeddedStore::open(store)?))
    })
    .await?;
    let device = Arc::new(device);
    let counter = counter_in_tpm(&device, &folder)?;
    let local = start(device.clone(), store, &folder, options, counter).await?;
    Ok((local.with_tpm(device), RequestIds::new()?))
}

/// The counter of an HSM whose keys live in a TPM, if it has one.
#[cfg(feature = "tpm")]
fn counter_in_tpm(
    device: &hsm_backend_tpm::TpmDevice,
    folder: &Folder,
) -> Result<Option<Arc<dyn MonotonicCounter>>> {
    let path = folder.counter();
    if !path.exists() {
        return Ok(None);
    }
    Ok(Some(Arc::new(device.counter(&path)?)))
}

#[cfg(not(feature = "tpm"))]
fn without_tpm() -> Error {
    Error::new(
        ErrorKind::Unsupported,
        "HSMs whose keys live in a TPM need the feature `tpm` of hsm-client, with which this program was not built",
    )
}

/// The hardware beside a software HSM, if there is any: what its domain key rests in, and what counts.
#[derive(Default)]
struct Trust {
    #[cfg(feature = "tpm")]
    tpm: Option<Connected>,
}

impl Trust {
    #[cfg(feature = "tpm")]
    async fn connect(options: &OpenOptions) -> Result<Self> {
        let Some(seal) = options.seal.clone() else {
            return Ok(Self::default());
        };
        let tpm = blocking(move || Connected::to(seal)).await?;
        Ok(Self { tpm: Some(tpm) })
    }

    #[cfg(not(feature = "tpm"))]
    #[expect(clippy::unused_async, reason = "there is nothing to connect to")]
    async fn connect(_options: &OpenOptions) -> Result<Self> {
        Ok(Self::default())
    }

    /// What the options say, the hardware last. The key file in the folder only where nothing else was said.
    fn protectors(&self, folder: &Folder, unlock: &Unlock) -> Result<Vec<Protector>> {
        let mut protectors = Vec::new();
        #[cfg(feature = "tpm")]
        if let Some(tpm) = &self.tpm {
            protectors.push(tpm.protector()?);
        }
        if protectors.is_empty() || !matches!(unlock, Unlock::OwnKeyFile) {
            protectors.insert(0, folder.protector(unlock));
        }
        Ok(protectors)
    }

    fn create_counter(&self, folder: &Folder) -> Result<Arc<dyn MonotonicCounter>> {
        #[cfg(feature = "tpm")]
        if let Some(tpm) = &self.tpm {
            return Ok(Arc::new(tpm.create_counter(&folder.counter())?));
        }
        Err(Error::new(
            ErrorKind::InvalidInput,
            format!(
                "changes of an HSM in {} are counted in a TPM: say in which (Setup::tpm)",
                folder.0.display()
            ),
        ))
    }

    /// The counter of an HSM that has one.
    async fn counter(
        &self,
        folder: &Folder,
        options: &OpenOptions,
    ) -> Result<Option<Arc<dyn MonotonicCounter>>> {
        let path = folder.counter();
        #[cfg(feature = "tpm")]
        match &self.tpm {
            Some(tpm) if options.danger_accept_rollback => {
                return Ok(Some(Arc::new(tpm.counter_or_new(&path).await?)));
            }
            Some(tpm) if path.exists() => return Ok(Some(Arc::new(tpm.counter(&path)?))),
            _ => {}
        }
        if path.exists() && !options.danger_accept_rollback {
            return Err(Error::new(
                ErrorKind::InvalidInput,
                format!(
                    "the HSM in {} counts its changes in a TPM: say in which (OpenOptions::tpm), or, if there is none any more, take the store as it is (OpenOptions::danger_accept_rollback)",
                    folder.0.display()
                ),
            ));
        }
        Ok(None)
    }

    /// Keeps the connection for as long as the HSM is open.
    #[cfg(feature = "tpm")]
    fn keep(self, local: &mut Local) {
        local.seal = self.tpm;
    }

    #[cfg(not(feature = "tpm"))]
    #[expect(clippy::unused_self, reason = "there is nothing to keep")]
    fn keep(self, _local: &mut Local) {}
}

/// Runs what blocks, such as the stretching of a passphrase, on a thread of its own.
pub(crate) async fn blocking<T: Send + 'static>(
    body: impl FnOnce() -> Result<T> + Send + 'static,
) -> Result<T> {
    let (sender, receiver) = futures_channel::oneshot::channel();
    std::thread::Builder::new()
        .name("hsm-unlock".to_owned())
        .spawn(move || drop(sender.send(body())))
        .map_err(|source| {
            Error::new(ErrorKind::DeviceFailed, "a thread cannot be started").with_source(source)
        })?;
    receiver.await.unwrap_or_else(|_| {
        Err(Error::new(
            ErrorKind::DeviceFailed,
            "the device could not be opened",
        ))
    })
}

/// Makes a folder that is for this user only. Errors speak of `named`.
fn make_private(builder: &mut DirBuilder, path: &Path, named: &Path) -> Result<()> {
    builder.mode(0o700).create(path).map_err(|source| {
        Error::new(
            ErrorKind::StoreFailed,
            format!("{} cannot be made", named.display()),
        )
        .with_source(source)
    })
}

/// A folder that is being made beside the place where it will appear. It is removed unless it is published.
struct Draft {
    path: PathBuf,
}

impl Draft {
    fn new(path: &Path, unique: u64) -> Result<Self> {
        if path.exists() {
            return Err(Error::new(
                ErrorKind::Conflict,
                format!(
                    "there is something at {} already; open it, or choose another place",
                    path.display()
                ),
            ));
        }
        let name = path.file_name().ok_or_else(|| {
            Error::new(
                ErrorKind::InvalidInput,
                format!("{} cannot be the name of a folder", path.display()),
            )
        })?;
        let draft = path.with_file_name(format!(".{}.{unique:016x}", name.to_string_lossy()));
        make_private(&mut DirBuilder::new(), &draft, path)?;
        Ok(Self { path: draft })
    }

    fn publish(&self, path: &Path) -> Result<()> {
        let failed = |source: io::Error| {
            Error::new(
                ErrorKind::StoreFailed,
                format!("{} cannot be made", path.display()),
            )
            .with_source(source)
        };
        File::open(&self.path)
            .and_then(|folder| folder.sync_all())
            .map_err(failed)?;
        rustix::fs::renameat_with(
            rustix::fs::CWD,
            &self.path,
            rustix::fs::CWD,
            path,
            rustix::fs::RenameFlags::NOREPLACE,
        )
        .map_err(|error| match error {
            rustix::io::Errno::EXIST => Error::new(
                ErrorKind::Conflict,
                format!("another process has made {} meanwhile", path.display()),
            ),
            error => failed(error.into()),
        })?;
        let parent = match path.parent() {
            Some(parent) if !parent.as_os_str().is_empty() => parent,
            _ => Path::new("."),
        };
        File::open(parent)
            .and_then(|folder| folder.sync_all())
            .map_err(failed)
    }
}

impl Drop for Draft {
    fn drop(&mut self) {
        // Gone already if it was published.
        drop(fs::remove_dir_all(&self.path));
    }
}
