//! Putting another header before the segments of a file.

use std::fs::{self, File, OpenOptions};
use std::io::{self, Read, Seek, SeekFrom, Write};
use std::path::{Path, PathBuf};

use hsm_core::{Error, ErrorKind, Result};

use super::error::failed_io;
use super::header::{Header, LEN_MAX};

/// The header of the file at `path`. If a replacement was interrupted, what was before it is put back first.
pub(super) fn header(path: &Path) -> Result<Header> {
    let saved = saved(path);
    match start_of(&saved) {
        Ok(bytes) => {
            // One that is cut off was still being written, and one of another file is of no use here.
            let mut start = [0; 28];
            let mut file = File::open(path).map_err(failed)?;
            let whole = file.read_exact(&mut start).is_ok();
            match Header::split(&bytes) {
                Ok((old, _)) if whole && old.is_of_the_same(&start) => {
                    overwrite(path, &old.to_bytes()).map_err(failed)?;
                }
                _ => {}
            }
            fs::remove_file(&saved).map_err(failed)?;
        }
        Err(error) if error.kind() == io::ErrorKind::NotFound => {}
        Err(error) => return Err(failed(error)),
    }
    Header::read_from(&mut File::open(path).map_err(failed)?)
}

/// Writes `new` over `old`, which the file at `path` begins with.
pub(super) fn replace(path: &Path, old: &Header, new: &Header) -> Result<()> {
    let (old, new) = (old.to_bytes(), new.to_bytes());
    // The HSM was asked meanwhile, and that may take long.
    if !start_of(path).map_err(failed)?.starts_with(&old) {
        return Err(Error::new(
            ErrorKind::Conflict,
            "the file has got another header while its data key was wrapped anew; it is left as it is",
        ));
    }
    if old.len() == new.len() {
        in_place(path, &old, &new).map_err(failed)
    } else {
        copied(path, old.len(), &new).map_err(failed)
    }
}

/// The old header is saved before it is overwritten: half a header would be the end of the data.
fn in_place(path: &Path, old: &[u8], new: &[u8]) -> io::Result<()> {
    let saved = saved(path);
    // Nothing that somebody else has put there is written through.
    let mut file = File::create_new(&saved)?;
    file.write_all(old)?;
    file.sync_all()?;
    sync_folder(path)?;
    overwrite(path, new)?;
    fs::remove_file(saved)
}

/// As much as a header may have.
fn start_of(path: &Path) -> io::Result<Vec<u8>> {
    let mut start = Vec::new();
    let file = File::open(path)?;
    file.take(LEN_MAX as u64).read_to_end(&mut start)?;
    Ok(start)
}

fn overwrite(path: &Path, header: &[u8]) -> io::Result<()> {
    let mut file = OpenOptions::new().write(true).open(path)?;
    file.write_all(header)?;
    file.sync_all()
}

/// A header of another length moves the segments, which are copied as they are.
fn copied(path: &Path, old_len: usize, new: &[u8]) -> io::Result<()> {
    let mut from = File::open(path)?;
    let mut to = tempfile::NamedTempFile::new_in(folder(path))?;
    to.as_file()
        .set_permissions(from.metadata()?.permissions())?;
    to.write_all(new)?;
    from.seek(SeekFrom::Start(old_len as u64))?;
    io::copy(&mut from, to.as_file_mut())?;
    to.as_file().sync_all()?;
    to.persist(path).map_err(|error| error.error)?;
    sync_folder(path)
}

fn sync_folder(path: &Path) -> io::Result<()> {
    File::open(folder(path))?.sync_all()
}

pub(super) fn folder(path: &Path) -> &Path {
    match path.parent() {
        Some(folder) if folder != Path::new("") => folder,
        _ => Path::new("."),
    }
}

fn saved(path: &Path) -> PathBuf {
    let mut name = path.as_os_str().to_owned();
    name.push(".old-header");
    name.into()
}

fn failed(error: io::Error) -> Error {
    failed_io("cannot replace the header of the encrypted file", error)
}
