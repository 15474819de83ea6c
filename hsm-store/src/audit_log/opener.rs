//! Who writes which streams: each opener of the log holds a lock on a file that lists its streams. A lock that is free
//! tells of an opener that died.

use std::fs::{self, File, OpenOptions};
use std::io::{self, Read, Write};
use std::os::unix::fs::{MetadataExt, OpenOptionsExt};
use std::path::{Path, PathBuf};

use hsm_core::audit::StreamId;
use hsm_core::{Error, ErrorKind, Result};
use rustix::fs::{FlockOperation, flock};

use super::lane::audit_failed;

/// A lock that this process holds, on its own streams or on those of an opener that died. Dropping it frees the lock
/// and leaves the file.
#[derive(Debug)]
pub(crate) struct OpenerLock {
    path: PathBuf,
    file: File,
}

impl OpenerLock {
    /// Makes and locks the file that lists `streams`. Nobody sees it before it is locked and on disk.
    pub(crate) fn create(folder: &Path, opener: StreamId, streams: &[StreamId]) -> Result<Self> {
        let path = folder.join(format!("{opener}.lock"));
        let draft = folder.join(format!("{opener}.draft"));
        let create = || -> io::Result<File> {
            let mut file = OpenOptions::new()
                .write(true)
                .create_new(true)
                .mode(0o600)
                .open(&draft)?;
            flock(&file, FlockOperation::NonBlockingLockExclusive)?;
            for stream in streams {
                writeln!(file, "{stream}")?;
            }
            file.sync_all()?;
            fs::rename(&draft, &path)?;
            File::open(folder)?.sync_all()?;
            Ok(file)
        };
        let file = create().map_err(|error| {
            // Of no use to anybody; the error that counts is the one above.
            let _ = fs::remove_file(&draft);
            audit_failed(&format!("{} cannot be made", path.display()), error)
        })?;
        Ok(Self { path, file })
    }

    /// Locks the files of openers that died and that nobody else has locked.
    pub(crate) fn take_free(folder: &Path) -> Result<Vec<Self>> {
        let list = || -> io::Result<Vec<Self>> {
            let mut taken = Vec::new();
            for entry in fs::read_dir(folder)? {
                let path = entry?.path();
                if path
                    .extension()
                    .is_some_and(|extension| extension == "lock")
                {
                    taken.extend(Self::take(path)?);
                }
            }
            Ok(taken)
        };
        list().map_err(|error| {
            audit_failed(&format!("{} cannot be searched", folder.display()), error)
        })
    }

    fn take(path: PathBuf) -> io::Result<Option<Self>> {
        let file = match File::open(&path) {
            Ok(file) => file,
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
            Err(error) => return Err(error),
        };
        match flock(&file, FlockOperation::NonBlockingLockExclusive) {
            Ok(()) => {}
            Err(rustix::io::Errno::WOULDBLOCK) => return Ok(None),
            Err(error) => return Err(error.into()),
        }
        // Somebody else may have finished with it between our opening and our locking it.
        match fs::metadata(&path) {
            Ok(now) if now.ino() == file.metadata()?.ino() => Ok(Some(Self { path, file })),
            _ => Ok(None),
        }
    }

    /// The streams that the file lists.
    pub(crate) fn streams(&self) -> Result<Vec<StreamId>> {
        let mut text = String::new();
        (&self.file)
            .read_to_string(&mut text)
            .map_err(|error| self.unreadable(error))?;
        text.lines()
            .map(|line| line.parse().map_err(|error: Error| self.unreadable(error)))
            .collect()
    }

    /// Removes the file: its streams have ended and are accounted for.
    pub(crate) fn remove(self) -> Result<()> {
        fs::remove_file(&self.path).map_err(|error| {
            audit_failed(&format!("{} cannot be removed", self.path.display()), error)
        })
    }

    fn unreadable(&self, source: impl std::error::Error + Send + Sync + 'static) -> Error {
        Error::new(
            ErrorKind::AuditFailed,
            format!("{} does not list streams", self.path.display()),
        )
        .with_source(source)
    }
}
