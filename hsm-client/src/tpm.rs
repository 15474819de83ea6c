//! HSMs whose keys live in a TPM: the device behind a `tpm:` URL, and the file that says which TPM it must be.

use std::fs::{File, OpenOptions};
use std::io::{self, Read, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::Path;

use hsm_backend_tpm::{KernelTransport, RootName, TcpTransport, TpmDevice, TpmRoot};
use hsm_core::{Error, ErrorKind, Result};
use sha2::{Digest, Sha256};

use crate::url::TpmAddress;

/// Takes the TPM as it is. Blocks.
pub(crate) fn create(address: &TpmAddress) -> Result<TpmDevice> {
    match address.device() {
        Some(_) => TpmDevice::create(kernel(address)?),
        None => TpmDevice::create(simulator(address)?),
    }
}

/// Takes the TPM if its root key is the one called `root`. Blocks.
pub(crate) fn open(address: &TpmAddress, root: RootName) -> Result<TpmDevice> {
    match address.device() {
        Some(_) => TpmDevice::open(kernel(address)?, root),
        None => TpmDevice::open(simulator(address)?, root),
    }
}

/// Takes the TPM as the root of trust of keys that live elsewhere. Blocks.
pub(crate) fn connect(address: &TpmAddress) -> Result<TpmRoot> {
    match address.device() {
        Some(_) => TpmRoot::connect(kernel(address)?),
        None => TpmRoot::connect(simulator(address)?),
    }
}

fn kernel(address: &TpmAddress) -> Result<KernelTransport> {
    let path = address.device().unwrap_or_else(|| Path::new(""));
    KernelTransport::open(path).map_err(|source| {
        let why = match source.kind() {
            io::ErrorKind::NotFound => "there is no such device; is the TPM on in the firmware?",
            io::ErrorKind::PermissionDenied => {
                "this user may not; on most systems the group `tss` may"
            }
            io::ErrorKind::ResourceBusy => {
                "another process has it; /dev/tpmrm0 is for more than one"
            }
            _ => "it does not open",
        };
        unreachable(address, why, source)
    })
}

fn simulator(address: &TpmAddress) -> Result<TcpTransport> {
    let place = address.simulator().map(ToString::to_string);
    TcpTransport::connect(place.unwrap_or_default())
        .map_err(|source| unreachable(address, "is the simulator running?", source))
}

fn unreachable(address: &TpmAddress, why: &str, source: io::Error) -> Error {
    Error::new(
        ErrorKind::Unreachable,
        format!("the TPM at {address} cannot be reached: {why}"),
    )
    .with_source(source)
}

/// Writes the name of the root key to a new file.
pub(crate) fn write_root(path: &Path, root: RootName) -> Result<()> {
    let write = || {
        let mut options = OpenOptions::new();
        let mut file = options
            .write(true)
            .create_new(true)
            .mode(0o600)
            .open(path)?;
        file.write_all(to_text(root).as_bytes())?;
        file.sync_all()
    };
    write().map_err(|source| {
        Error::new(
            ErrorKind::StoreFailed,
            format!("{} cannot be written", path.display()),
        )
        .with_source(source)
    })
}

/// Reads the name of the root key.
pub(crate) fn read_root(path: &Path) -> Result<RootName> {
    let mut text = Vec::new();
    let read = File::open(path).and_then(|file| {
        // One byte more than it has: longer files are none either.
        file.take(FILE_LEN_MAX).read_to_end(&mut text)
    });
    match read {
        Err(source) if source.kind() == io::ErrorKind::NotFound => Err(Error::new(
            ErrorKind::Damaged,
            format!(
                "{} is missing, which names the root key of the TPM; restore it from a copy of the folder",
                path.display()
            ),
        )),
        Err(source) => Err(Error::new(
            ErrorKind::StoreFailed,
            format!("{} cannot be read", path.display()),
        )
        .with_source(source)),
        Ok(_) => from_text(&text).ok_or_else(|| {
            Error::new(
                ErrorKind::Damaged,
                format!(
                    "{} is not as it was written, and names no root key of a TPM; restore it from a copy of the folder",
                    path.display()
                ),
            )
        }),
    }
}

/// Three lines: what it is, the name in hexadecimal, and SHA-256 of the lines before, which finds rot and not edits. Nobody
/// gains by an edit: under another root key the store does not open.
fn to_text(root: RootName) -> String {
    let named = format!("{MAGIC}\n{root}\n");
    let digest = Sha256::digest(named.as_bytes());
    let digest: String = digest.iter().map(|byte| format!("{byte:02x}")).collect();
    format!("{named}{digest}\n")
}

fn from_text(text: &[u8]) -> Option<RootName> {
    let read = std::str::from_utf8(text).ok()?;
    let root = read.lines().nth(1)?.parse().ok()?;
    (to_text(root).as_bytes() == text).then_some(root)
}

const MAGIC: &str = "hsm tpm root v1";

const FILE_LEN_MAX: u64 = 1024;

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn name(digit: char) -> RootName {
        let text: String = std::iter::repeat_n(digit, 68).collect();
        text.parse().unwrap()
    }

    #[test]
    fn the_file_is_three_lines() {
        let text = to_text(name('a'));
        let lines: Vec<_> = text.lines().collect();
        assert_eq!(lines.len(), 3);
        assert_eq!(lines[0], "hsm tpm root v1");
        assert_eq!(lines[1], "a".repeat(68));
        assert_eq!(lines[2].len(), 64);
        assert_eq!(from_text(text.as_bytes()), Some(name('a')));
    }

    #[test]
    fn every_damaged_byte_and_every_cut_is_found() {
        let text = to_text(name('7'));
        for at in 0..text.len() {
            assert_eq!(from_text(&text.as_bytes()[..at]), None, "{at}");
            for flip in [1, 0x20, 0x80] {
                let mut damaged = text.clone().into_bytes();
                damaged[at] ^= flip;
                assert_eq!(from_text(&damaged), None, "{at} {flip}");
            }
        }
        assert_eq!(from_text(format!("{text}\n").as_bytes()), None);
        // The right lines for another name.
        let other = to_text(name('8'));
        let mixed: Vec<_> = [text.lines().take(2), other.lines().skip(2).take(1)]
            .into_iter()
            .flatten()
            .map(|line| format!("{line}\n"))
            .collect();
        assert_eq!(from_text(mixed.concat().as_bytes()), None);
    }

    proptest! {
        #[test]
        fn what_is_read_is_what_was_written(bytes in prop::collection::vec(any::<u8>(), 34)) {
            let hex: String = bytes.iter().map(|byte| format!("{byte:02x}")).collect();
            let root: RootName = hex.parse().unwrap();
            prop_assert_eq!(from_text(to_text(root).as_bytes()), Some(root));
        }

        #[test]
        fn anything_else_is_refused(bytes in prop::collection::vec(any::<u8>(), 0..200)) {
            prop_assert_eq!(from_text(&bytes), None);
        }
    }
}
