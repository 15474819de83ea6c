//! [`Root`]: where the domain key comes from, and where it ends.

use std::fs::{self, File, OpenOptions};
use std::io::{self, Read, Seek, SeekFrom, Write};
use std::os::unix::fs::{OpenOptionsExt, PermissionsExt};
use std::path::{Path, PathBuf};

use hsm_core::limits::SEALED_SECRET_LEN;
use hsm_core::{Error, ErrorKind, Result, SecretBytes};
use parking_lot::RwLock;

use crate::error::{damaged, failed_io, invalid};
use crate::health::zeroized;
use crate::memory::LockedPage;
use crate::protector::{
    self, DOMAIN_KEY_LEN, Protector, ProtectorFile, ProtectorKind, SALT_LEN, Slot, Unlocker,
};
use crate::provider::Provider;

/// The domain key of a device, and the protector file in which it rests, if it does.
#[derive(Debug)]
pub(crate) struct Root {
    /// `None` once it was zeroized.
    domain_key: RwLock<Option<LockedPage>>,
    path: Option<PathBuf>,
}

impl Root {
    /// A fresh domain key that is gone with the process.
    pub(crate) fn in_memory(provider: &dyn Provider) -> Result<Self> {
        let page = LockedPage::init_with(|bytes| provider.random(bytes))?;
        Ok(Self::new(page, None))
    }

    /// Makes a fresh domain key and a protector file, which must not exist.
    pub(crate) fn create(
        path: &Path,
        protectors: &[Protector],
        provider: &dyn Provider,
    ) -> Result<Self> {
        check_list(protectors)?;
        let folder = LockedFolder::of(path)?;
        if fs::symlink_metadata(path).is_ok() {
            return Err(exists(path));
        }
        let page = LockedPage::init_with(|bytes| provider.random(bytes))?;
        let protect = |protector| protect(page.expose(), protector, provider);
        let slots = protectors.iter().map(protect).collect::<Result<_>>()?;
        let file = ProtectorFile::of(slots);
        let temporary = write_beside(path, &file.encode())?;
        // Unlike a rename, a link never replaces what somebody without the lock has put there.
        let linked = fs::hard_link(&temporary, path);
        let removed = fs::remove_file(&temporary);
        linked.map_err(|source| match source.kind() {
            io::ErrorKind::AlreadyExists => exists(path),
            _ => failed_io(format!("cannot create {}", path.display()), source),
        })?;
        removed.map_err(|source| {
            failed_io(format!("cannot remove {}", temporary.display()), source)
        })?;
        folder.sync()?;
        Ok(Self::new(page, Some(path.to_owned())))
    }

    /// Reads the domain key from a protector file.
    pub(crate) fn open(path: &Path, protector: &Protector) -> Result<Self> {
        let file = read(path)?;
        if file.is_zeroized() {
            return Err(zeroized());
        }
        let domain_key = unprotect(&file, protector)?;
        let page = LockedPage::init_with(|bytes| {
            bytes.copy_from_slice(domain_key.expose());
            Ok(())
        })?;
        Ok(Self::new(page, Some(path.to_owned())))
    }

    fn new(page: LockedPage, path: Option<PathBuf>) -> Self {
        Self {
            domain_key: RwLock::new(Some(page)),
            path,
        }
    }

    /// Lends the domain key, unless it was zeroized.
    pub(crate) fn with_domain_key<R>(&self, body: impl FnOnce(&[u8]) -> Result<R>) -> Result<R> {
        match &*self.domain_key.read() {
            Some(page) => body(page.expose()),
            None => Err(zeroized()),
        }
    }

    /// Whether the domain key is locked in memory.
    pub(crate) fn is_locked(&self) -> bool {
        let domain_key = self.domain_key.read();
        domain_key.as_ref().is_some_and(LockedPage::is_locked)
    }

    /// Puts the domain key under another protector, and no other. The old ones open nothing from then on, except an old
    /// copy of the file.
    pub(crate) fn change_protector(
        &self,
        protector: &Protector,
        provider: &dyn Provider,
    ) -> Result<()> {
        self.change(|file| {
            let slot = self.with_domain_key(|key| protect(key, protector, provider))?;
            *file = ProtectorFile::of(vec![slot]);
            Ok(())
        })
    }

    /// Puts the domain key under one more protector, or under a new one in the place of that of its kind.
    pub(crate) fn add_protector(
        &self,
        protector: &Protector,
        provider: &dyn Provider,
    ) -> Result<()> {
        self.change(|file| {
            file.put(self.with_domain_key(|key| protect(key, protector, provider))?);
            Ok(())
        })
    }

    /// Takes a protector away, unless it is the last.
    pub(crate) fn remove_protector(&self, kind: ProtectorKind) -> Result<()> {
        self.change(|file| file.remove(kind))
    }

    /// What opens the domain key.
    pub(crate) fn protectors(&self) -> Result<Vec<ProtectorKind>> {
        let Some(path) = &self.path else {
            return Ok(Vec::new());
        };
        Ok(read(path)?.protectors().collect())
    }

    fn change(&self, change: impl FnOnce(&mut ProtectorFile) -> Result<()>) -> Result<()> {
        let Some(path) = &self.path else {
            return Err(invalid("a device in memory has no protector"));
        };
        let folder = LockedFolder::of(path)?;
        let mut file = read(path)?;
        // Another process may have zeroized the device; its tombstone must stay.
        if file.is_zeroized() {
            return Err(zeroized());
        }
        change(&mut file)?;
        replace(path, &file, &folder)
    }

    /// Wipes the domain key from memory, overwrites the protector file and leaves a tombstone in its place.
    ///
    /// Memory is wiped whatever the disk says: a device that is zeroized in an emergency must stop in any case.
    pub(crate) fn zeroize(&self) -> Result<()> {
        *self.domain_key.write() = None;
        let Some(path) = &self.path else {
            return Ok(());
        };
        bury(path).map_err(|source| {
            Error::new(
                ErrorKind::Unknown,
                format!(
                    "the domain key is wiped from memory, but {} may still hold it: destroy the file and its protector",
                    path.display()
                ),
            )
            .with_source(source)
        })
    }
}

fn bury(path: &Path) -> Result<()> {
    let folder = LockedFolder::of(path)?;
    overwrite(path)
        .map_err(|source| failed_io(format!("cannot overwrite {}", path.display()), source))?;
    replace(path, &ProtectorFile::ZEROIZED, &folder)
}

/// Overwrites the file in place, so that its blocks do not keep the wrapped key where the medium writes in place.
fn overwrite(path: &Path) -> io::Result<()> {
    let mut file = match OpenOptions::new().write(true).open(path) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(()),
        opened => opened?,
    };
    let len = file.seek(SeekFrom::End(0))?;
    file.seek(SeekFrom::Start(0))?;
    io::copy(&mut io::repeat(0).take(len), &mut file)?;
    file.sync_all()
}

/// Reads a protector file, and no more than one can be long.
fn read(path: &Path) -> Result<ProtectorFile> {
    let mut bytes = Vec::with_capacity(protector::LEN_MAX + 1);
    File::open(path)
        .and_then(|file| {
            file.take(protector::LEN_MAX as u64 + 1)
                .read_to_end(&mut bytes)
        })
        .map_err(|source| match source.kind() {
            io::ErrorKind::NotFound => Error::new(
                ErrorKind::NotFound,
                format!("there is no HSM at {}; create it first", path.display()),
            ),
            _ => failed_io(format!("cannot read {}", path.display()), source),
        })?;
    ProtectorFile::decode(&bytes)
        .map_err(|error| damaged(format!("{}: {}", path.display(), error.message())))
}

/// Replaces the protector file at once: a crash leaves the old one or the new one.
fn replace(path: &Path, file: &ProtectorFile, folder: &LockedFolder) -> Result<()> {
    let temporary = write_beside(path, &file.encode())?;
    fs::rename(&temporary, path)
        .map_err(|source| failed_io(format!("cannot replace {}", path.display()), source))?;
    folder.sync()
}

/// Writes `bytes` durably to a file beside `path` that only its owner can read.
fn write_beside(path: &Path, bytes: &[u8]) -> Result<PathBuf> {
    let mut name = path.as_os_str().to_owned();
    name.push(".new");
    let temporary = PathBuf::from(name);
    let write = || {
        // A crash may have left one; nobody else writes it, as we hold the lock.
        match fs::remove_file(&temporary) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
            _ => {}
        }
        write_new(&temporary, bytes)
    };
    write().map_err(|source| failed_io(format!("cannot write {}", temporary.display()), source))?;
    Ok(temporary)
}

fn write_new(path: &Path, bytes: &[u8]) -> io::Result<()> {
    let mut file = OpenOptions::new()
        .write(true)
        .create_new(true)
        .mode(0o600)
        .open(path)?;
    file.write_all(bytes)?;
    file.sync_all()
}

/// Checks that there is a protector, and no second of any kind.
fn check_list(protectors: &[Protector]) -> Result<()> {
    if protectors.is_empty() {
        return Err(invalid("a device needs a protector"));
    }
    for (at, protector) in protectors.iter().enumerate() {
        let kind = protector.kind();
        if protectors[..at].iter().any(|other| other.kind() == kind) {
            return Err(invalid(format!(
                "a device opens with {kind} of one kind only; it was given two"
            )));
        }
    }
    Ok(())
}

fn protect(domain_key: &[u8], protector: &Protector, provider: &dyn Provider) -> Result<Slot> {
    let mut salt = [0; SALT_LEN];
    provider.random(&mut salt)?;
    match protector {
        Protector::KeyFile(path) => {
            make_key_file(path, provider)?;
            let bytes = read_key_file(path)?;
            Slot::protect(domain_key, &Unlocker::KeyFile(&bytes), salt)
        }
        Protector::Passphrase(passphrase) if passphrase.is_empty() => {
            Err(invalid("an empty passphrase protects nothing"))
        }
        Protector::Passphrase(passphrase) => {
            Slot::protect(domain_key, &Unlocker::Passphrase(passphrase), salt)
        }
        Protector::Sealer(sealer) => {
            let secret =
                SecretBytes::try_init_with(SEALED_SECRET_LEN, |bytes| provider.random(bytes))?;
            let unlocker = Unlocker::Sealer {
                name: sealer.name(),
                secret: &secret,
                sealed: &sealer.seal(&secret)?,
            };
            Slot::protect(domain_key, &unlocker, salt)
        }
    }
}

/// Unwraps the domain key with what this protector opens.
fn unprotect(file: &ProtectorFile, protector: &Protector) -> Result<SecretBytes> {
    let slot = file.find(protector.kind())?;
    match protector {
        Protector::KeyFile(path) => slot.unprotect(&Unlocker::KeyFile(&read_key_file(path)?)),
        Protector::Passphrase(passphrase) => slot.unprotect(&Unlocker::Passphrase(passphrase)),
        Protector::Sealer(sealer) => {
            let sealed = slot.sealed();
            let secret = sealer
                .unseal(sealed)
                .map_err(|error| match file.others(protector.kind()) {
                    Some(others) => {
                        Error::new(
                            error.kind(),
                            format!("{}. The HSM also opens with {others}", error.message()),
                        )
                        .with_source(error)
                    }
                    None => error,
                })?;
            let name = sealer.name();
            slot.unprotect(&Unlocker::Sealer {
                name,
                secret: &secret,
                sealed,
            })
        }
    }
}

/// Makes a key file unless there is one.
fn make_key_file(path: &Path, provider: &dyn Provider) -> Result<()> {
    if fs::symlink_metadata(path).is_ok() {
        return Ok(());
    }
    let key = SecretBytes::try_init_with(DOMAIN_KEY_LEN, |bytes| provider.random(bytes))?;
    write_new(path, key.expose())
        .map_err(|source| failed_io(format!("cannot write key file {}", path.display()), source))?;
    // Not locked: it may be the protector's folder, which is locked already.
    File::open(folder_of(path))
        .and_then(|folder| folder.sync_all())
        .map_err(|source| failed_io(format!("cannot sync {}", path.display()), source))
}

fn read_key_file(path: &Path) -> Result<SecretBytes> {
    let cannot_read =
        |source| failed_io(format!("cannot read key file {}", path.display()), source);
    let mut file = File::open(path).map_err(cannot_read)?;
    let metadata = file.metadata().map_err(cannot_read)?;
    let mode = metadata.permissions().mode() & 0o777;
    if mode & 0o077 != 0 {
        return Err(invalid(format!(
            "key file {path} is open to others (mode {mode:04o}); run `chmod 600 {path}`, and make a new one if somebody may have read it",
            path = path.display()
        )));
    }
    if metadata.len() != DOMAIN_KEY_LEN as u64 {
        return Err(invalid(format!(
            "key file {} has {} bytes, not {DOMAIN_KEY_LEN}",
            path.display(),
            metadata.len()
        )));
    }
    SecretBytes::try_init_with(DOMAIN_KEY_LEN, |bytes| file.read_exact(bytes)).map_err(cannot_read)
}

fn exists(path: &Path) -> Error {
    Error::new(
        ErrorKind::Conflict,
        format!(
            "{} exists; open it, or choose another place",
            path.display()
        ),
    )
}

/// The folder of a protector file, held by one process at a time while the file changes.
struct LockedFolder {
    folder: File,
    path: PathBuf,
}

impl LockedFolder {
    fn of(path: &Path) -> Result<Self> {
        let path = folder_of(path);
        let folder = File::open(path)
            .and_then(|folder| folder.lock().map(|()| folder))
            .map_err(|source| failed_io(format!("cannot lock {}", path.display()), source))?;
        Ok(Self {
            folder,
            path: path.to_owned(),
        })
    }

    /// Makes new names in the folder durable.
    fn sync(&self) -> Result<()> {
        self.folder
            .sync_all()
            .map_err(|source| failed_io(format!("cannot sync {}", self.path.display()), source))
    }
}

fn folder_of(path: &Path) -> &Path {
    match path.parent() {
        Some(parent) if parent != Path::new("") => parent,
        _ => Path::new("."),
    }
}
