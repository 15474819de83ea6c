//! From a URL to an engine: the one place that puts backends together.

use std::fs::{self, DirBuilder, File};
use std::io;
use std::os::unix::fs::DirBuilderExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use hsm_backend_soft::Protector;
use hsm_core::{Device, Engine, Error, ErrorKind, Parts, Principal, Result, SecretBytes};
use hsm_store::{AuditLog, EmbeddedStore};

use crate::hsm::{OpenOptions, RequestIds, Setup, Unlock};
use crate::local::Local;
#[cfg(feature = "remote")]
use crate::remote::{Peer, RemoteService};
use crate::url::Url;
#[cfg(feature = "tpm")]
use crate::{tpm, url::TpmAddress};

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
            let protector = folder.protector(&options.unlock);
            let store = folder.store();
            let domain = folder.domain();
            let device = options.soft_device();
            let (device, store) = blocking(move || {
                let device = device.create(&domain, &protector)?;
                Ok((device, EmbeddedStore::create(store)?))
            })
            .await?;
            let parts = Parts {
                device: Arc::new(device),
                store: Arc::new(store),
                audit: Arc::new(AuditLog::open(folder.audit(), clock.clone())?),
                clock,
            };
            let engine = Engine::create(parts, core_setup).await?;
            engine.close().await?;
            drop(engine);
            draft.publish(&path)?;
            open_soft(&path, options).await
        }
        #[cfg(feature = "tpm")]
        Url::Tpm(tpm) => create_in_tpm(tpm, core_setup, options, requests).await,
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
            let (local, requests) = open_soft(&path, options).await?;
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

async fn open_soft(path: &Path, options: OpenOptions) -> Result<(Local, RequestIds)> {
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
    if matches!(options.unlock, Unlock::OwnKeyFile) && !folder.own_key_file().exists() {
        return Err(Error::new(
            ErrorKind::Unauthenticated,
            format!(
                "the HSM in {} has no key file in its folder; open it with its passphrase or key file",
                path.display()
            ),
        ));
    }
    let protector = folder.protector(&options.unlock);
    let (domain, store) = (folder.domain(), folder.store());
    let device = options.soft_device();
    let (device, store) = blocking(move || {
        Ok((
            device.open(&domain, &protector)?,
            EmbeddedStore::open(store)?,
        ))
    })
    .await?;
    let local = start(Arc::new(device), store, &folder, options).await?;
    Ok((local, RequestIds::new()?))
}

/// Opens the partition in a folder's store.
async fn start(
    device: Arc<dyn Device>,
    store: EmbeddedStore,
    folder: &Folder,
    options: OpenOptions,
) -> Result<Local> {
    let clock = options.clock;
    let parts = Parts {
        device,
        store: Arc::new(store),
        audit: Arc::new(AuditLog::open(folder.audit(), clock.clone())?),
        clock,
    };
    let engine = if options.danger_accept_clock {
        Engine::danger_accept_clock(parts).await?
    } else {
        Engine::open(parts).await?
    };
    Local::start(engine, options.maintenance)
}

#[cfg(feature = "tpm")]
async fn create_in_tpm(
    address: TpmAddress,
    setup: hsm_core::Setup,
    options: OpenOptions,
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
    let engine = Engine::create(parts, setup).await?;
    engine.close().await?;
    drop(engine);
    draft.publish(&path)?;
    let folder = Folder::new(path);
    let store = folder.store();
    let store = blocking(move || EmbeddedStore::open(store)).await?;
    // The same device: nobody comes between, who has a TPM for himself.
    let local = start(device.clone(), store, &folder, options).await?;
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
    let local = start(device.clone(), store, &folder, options).await?;
    Ok((local.with_tpm(device), RequestIds::new()?))
}

#[cfg(not(feature = "tpm"))]
fn without_tpm() -> Error {
    Error::new(
        ErrorKind::Unsupported,
        "HSMs whose keys live in a TPM need the feature `tpm` of hsm-client, with which this program was not built",
    )
}

/// Runs what stretches a passphrase, on a thread of its own.
async fn blocking<T: Send + 'static>(
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
