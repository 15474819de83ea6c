//! [`Transport`]: how commands reach a TPM. The kernel's device, a simulator over TCP, or one of your own.

mod kernel;
mod tcp;

use std::fmt::Debug;
use std::io::{self, Read};
use std::time::Duration;

pub use self::kernel::KernelTransport;
pub use self::tcp::TcpTransport;
use crate::wire::FRAME_LEN_MAX;

/// Carries one command at a time to a TPM, and its response back.
///
/// A device calls it on a thread of its own, so it may block.
///
/// # Contract
///
/// - After an error of [`transmit`](Self::transmit) the connection is in doubt: [`reconnect`](Self::reconnect) is called
///   before the next command.
/// - An error of the kind [`TimedOut`](io::ErrorKind::TimedOut) means that the TPM did not answer in time.
///   Of the others, those of [`is_undelivered`] mean that the command did not arrive.
pub trait Transport: Debug + Send {
    /// Sends a whole command, and waits for the whole response, `within` at most.
    ///
    /// # Errors
    ///
    /// What the connection says.
    fn transmit(&mut self, command: &[u8], within: Duration) -> io::Result<Vec<u8>>;

    /// Connects anew.
    ///
    /// # Errors
    ///
    /// What the connection says.
    fn reconnect(&mut self) -> io::Result<()>;

    /// Who keeps the objects of this connection apart from those of others.
    fn sharing(&self) -> Sharing;
}

/// Who else uses the TPM.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
#[expect(
    clippy::exhaustive_enums,
    reason = "there is a manager, or there is none"
)]
pub enum Sharing {
    /// Nobody: there is no resource manager. What is loaded when the device opens was left behind, and is flushed.
    Exclusive,
    /// A resource manager gives every connection handles of its own, and frees them when it ends.
    Managed,
}

/// Whether an error says that a command did not reach the TPM.
#[must_use]
pub fn is_undelivered(error: &io::Error) -> bool {
    use io::ErrorKind as E;
    matches!(
        error.kind(),
        E::AddrNotAvailable
            | E::ConnectionRefused
            | E::HostUnreachable
            | E::NetworkUnreachable
            | E::NotConnected
            | E::NotFound
            | E::PermissionDenied
            | E::ResourceBusy
    )
}

/// Reads one response, which says in its header how long it is.
///
/// For transports over a stream of bytes.
///
/// # Errors
///
/// [`InvalidData`](io::ErrorKind::InvalidData) for an impossible length, and what the stream says.
pub fn read_response(stream: &mut impl Read) -> io::Result<Vec<u8>> {
    const HEADER_LEN: usize = 10;
    let mut header = [0; HEADER_LEN];
    stream.read_exact(&mut header)?;
    let [_, _, len @ .., _, _, _, _] = header;
    let len = usize::try_from(u32::from_be_bytes(len)).unwrap_or(usize::MAX);
    if !(HEADER_LEN..=FRAME_LEN_MAX).contains(&len) {
        return Err(io::Error::new(
            io::ErrorKind::InvalidData,
            "the TPM's response has an impossible length",
        ));
    }
    let mut response = vec![0; len];
    response[..HEADER_LEN].copy_from_slice(&header);
    stream.read_exact(&mut response[HEADER_LEN..])?;
    Ok(response)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn responses_are_as_long_as_they_say() {
        let response = [0x80, 1, 0, 0, 0, 11, 0, 0, 0, 0, 7];
        let mut stream = &[&response[..], &[1, 2, 3]].concat()[..];
        assert_eq!(read_response(&mut stream).unwrap(), response);
        assert_eq!(stream, [1, 2, 3]);
    }

    #[test]
    fn impossible_lengths_are_refused() {
        for (len, kind) in [
            (9, io::ErrorKind::InvalidData),
            (4097, io::ErrorKind::InvalidData),
            (u32::MAX, io::ErrorKind::InvalidData),
            (11, io::ErrorKind::UnexpectedEof),
        ] {
            let mut header = [0x80, 1, 0, 0, 0, 0, 0, 0, 0, 0];
            header[2..6].copy_from_slice(&len.to_be_bytes());
            let error = read_response(&mut &header[..]).unwrap_err();
            assert_eq!(error.kind(), kind, "{len}");
        }
    }
}
