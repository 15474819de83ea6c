//! [`KernelTransport`]: the TPM of this machine, as Linux shows it.

use std::ffi::OsStr;
use std::fs::{File, OpenOptions};
use std::io::{self, Read, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};
use std::time::Duration;

use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::fs::OFlags;
use rustix::io::retry_on_intr;

use super::{Sharing, Transport};
use crate::wire::FRAME_LEN_MAX;

/// A device file: `/dev/tpmrm0`, which the kernel shares among processes, or `/dev/tpm0`, which one process has for
/// itself.
///
/// The [front page](crate) has an example.
#[derive(Debug)]
pub struct KernelTransport {
    path: PathBuf,
    file: Option<File>,
}

impl KernelTransport {
    /// Opens the device file at `path`.
    ///
    /// # Errors
    ///
    /// What the operating system says: no TPM, no permission (the group is called `tss` on most systems), or another
    /// process has it.
    pub fn open(path: impl Into<PathBuf>) -> io::Result<Self> {
        let mut transport = Self {
            path: path.into(),
            file: None,
        };
        transport.reconnect()?;
        Ok(transport)
    }
}

impl Transport for KernelTransport {
    fn transmit(&mut self, command: &[u8], within: Duration) -> io::Result<Vec<u8>> {
        let mut file = self.file.as_ref().ok_or(io::ErrorKind::NotConnected)?;
        // One write is one command, one read one response.
        if file.write(command)? != command.len() {
            return Err(io::ErrorKind::WriteZero.into());
        }
        let within = Timespec::try_from(within).map_err(|_| io::ErrorKind::InvalidInput)?;
        let mut waiting = [PollFd::new(&file, PollFlags::IN)];
        if retry_on_intr(|| poll(&mut waiting, Some(&within)))? == 0 {
            return Err(io::ErrorKind::TimedOut.into());
        }
        let mut response = vec![0; FRAME_LEN_MAX];
        let len = file.read(&mut response)?;
        response.truncate(len);
        Ok(response)
    }

    fn reconnect(&mut self) -> io::Result<()> {
        self.file = None;
        let mut options = OpenOptions::new();
        options.read(true).write(true);
        // A write returns at once, so that the wait for the response can end.
        options.custom_flags(OFlags::NONBLOCK.bits().cast_signed());
        self.file = Some(options.open(&self.path)?);
        Ok(())
    }

    fn sharing(&self) -> Sharing {
        let name = Path::file_name(&self.path).map(OsStr::as_encoded_bytes);
        match name {
            Some(name) if name.starts_with(b"tpmrm") => Sharing::Managed,
            _ => Sharing::Exclusive,
        }
    }
}
