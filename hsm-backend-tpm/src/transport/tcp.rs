//! [`TcpTransport`]: a TPM simulator that speaks raw commands over TCP, such as swtpm's data socket.

use std::io::{self, Write};
use std::net::{SocketAddr, TcpStream, ToSocketAddrs};
use std::time::{Duration, Instant};

use super::{Sharing, Transport, read_response};

/// A simulator at an address. For tests: the connection is neither encrypted nor authenticated, though sessions of the
/// device protect what is secret.
///
/// For [`TpmDevice::create`](crate::TpmDevice::create), as the transport in the example of the [front page](crate).
#[derive(Debug)]
pub struct TcpTransport {
    address: SocketAddr,
    stream: Option<TcpStream>,
}

impl TcpTransport {
    /// Connects to `address`, `host:port`.
    ///
    /// # Errors
    ///
    /// What the operating system says.
    pub fn connect(address: impl ToSocketAddrs) -> io::Result<Self> {
        let address = address.to_socket_addrs()?.next();
        let address = address.ok_or(io::ErrorKind::AddrNotAvailable)?;
        let mut transport = Self {
            address,
            stream: None,
        };
        transport.reconnect()?;
        Ok(transport)
    }
}

impl Transport for TcpTransport {
    fn transmit(&mut self, command: &[u8], within: Duration) -> io::Result<Vec<u8>> {
        let mut stream = self.stream.as_ref().ok_or(io::ErrorKind::NotConnected)?;
        let end = Instant::now() + within;
        stream.set_write_timeout(Some(within))?;
        stream.write_all(command).map_err(as_timeout)?;
        read_response(&mut Until { stream, end }).map_err(as_timeout)
    }

    fn reconnect(&mut self) -> io::Result<()> {
        self.stream = None;
        let stream = TcpStream::connect_timeout(&self.address, CONNECT_TIMEOUT)?;
        stream.set_nodelay(true)?;
        self.stream = Some(stream);
        Ok(())
    }

    fn sharing(&self) -> Sharing {
        Sharing::Exclusive
    }
}

/// Reads until a moment, however many pieces come.
struct Until<'a> {
    stream: &'a TcpStream,
    end: Instant,
}

impl io::Read for Until<'_> {
    fn read(&mut self, out: &mut [u8]) -> io::Result<usize> {
        let left = self.end.saturating_duration_since(Instant::now());
        if left.is_zero() {
            return Err(io::ErrorKind::TimedOut.into());
        }
        self.stream.set_read_timeout(Some(left))?;
        self.stream.read(out)
    }
}

/// A socket's time-out is `WouldBlock` on some systems.
fn as_timeout(error: io::Error) -> io::Error {
    match error.kind() {
        io::ErrorKind::WouldBlock => io::ErrorKind::TimedOut.into(),
        _ => error,
    }
}

const CONNECT_TIMEOUT: Duration = Duration::from_secs(10);
