//! From a URL to an engine: the one place that puts backends together.

use std::fs::{self, DirBuilder, File};
use std::io;
use std::os::unix::fs::DirBuilderExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use hsm_backend_soft::Protector;
use hsm_core::{Engine, Error, ErrorKind, Parts, Principal, Result, SecretBytes};
use hsm_store::{AuditLog, EmbeddedStore};

use crate::hsm::{OpenOptions, RequestIds, Setup, Unlock};
use crate::local::Local;
#[cfg(feature = "remote")]
use crate::remote::{Peer, RemoteService};
use crate::url::Url;

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
                device: Arc::new(options.device.in_memory()?),
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
            let device = options.device.clone();
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
    let device = options.device;
    let (device, store) = blocking(move || {
        Ok((
            device.open(&domain, &protector)?,
            EmbeddedStore::open(store)?,
        ))
    })
    .await?;
    let clock = options.clock;
    let parts = Parts {
        device: Arc::new(device),
        store: Arc::new(store),
        audit: Arc::new(AuditLog::open(folder.audit(), clock.clone())?),
        clock,
    };
    let engine = if options.danger_accept_clock {
        Engine::danger_accept_clock(parts).await?
    } else {
        Engine::open(parts).await?
    };
    Ok((
        Local::start(engine, options.maintenance)?,
        RequestIds::new()?,
    ))
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
        DirBuilder::new()
            .mode(0o700)
            .create(&draft)
            .map_err(|source| {
                Error::new(
                    ErrorKind::StoreFailed,
                    format!("{} cannot be made", path.display()),
                )
                .with_source(source)
            })?;
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
