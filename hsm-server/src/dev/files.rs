//! Files of a development server: its folder is its owner's alone, secrets are, and each file appears when it is complete.

use std::fs::{self, DirBuilder, File, OpenOptions, Permissions};
use std::io::{self, ErrorKind as IoErrorKind, Write};
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt, PermissionsExt};
use std::path::Path;

use hsm_client::{Error, ErrorKind, Result};
use zeroize::Zeroizing;

/// Makes the folder, or closes it to all others.
pub(super) fn make_folder(path: &Path) -> Result<()> {
    match DirBuilder::new().recursive(true).mode(0o700).create(path) {
        Ok(()) => fs::set_permissions(path, Permissions::from_mode(0o700)),
        Err(error) => Err(error),
    }
    .map_err(|source| failed(path, "made", source))
}

/// The text of a file, if it is there.
pub(super) fn read_secret(path: &Path) -> Result<Option<Zeroizing<String>>> {
    match fs::read_to_string(path) {
        Ok(text) => Ok(Some(Zeroizing::new(text))),
        Err(error) if error.kind() == IoErrorKind::NotFound => Ok(None),
        Err(source) => Err(failed(path, "read", source)),
    }
}

/// Writes a file that nobody else can read.
pub(super) fn write_secret(path: &Path, contents: &[u8]) -> Result<()> {
    write(path, contents, 0o600)
}

/// Writes a file that everybody who gets into the folder can read.
pub(super) fn write_public(path: &Path, contents: &[u8]) -> Result<()> {
    write(path, contents, 0o644)
}

fn write(path: &Path, contents: &[u8], mode: u32) -> Result<()> {
    let draft = path.with_extension("part");
    let written = (|| {
        match fs::remove_file(&draft) {
            Err(error) if error.kind() != IoErrorKind::NotFound => return Err(error),
            _ => {}
        }
        let mut file = OpenOptions::new()
            .write(true)
            .create_new(true)
            .mode(mode)
            .open(&draft)?;
        file.write_all(contents)?;
        file.sync_all()
    })();
    written.map_err(|source| failed(path, "written", source))?;
    rename(&draft, path)
}

/// Gives a file or folder its name, for good.
pub(super) fn rename(from: &Path, to: &Path) -> Result<()> {
    fs::rename(from, to)
        .and_then(|()| match to.parent() {
            Some(parent) => File::open(parent)?.sync_all(),
            None => Ok(()),
        })
        .map_err(|source| failed(to, "written", source))
}

pub(super) fn failed(path: &Path, what: &str, source: io::Error) -> Error {
    Error::new(
        ErrorKind::StoreFailed,
        format!("{} cannot be {what}", path.display()),
    )
    .with_source(source)
}
