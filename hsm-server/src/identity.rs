//! Who sends a request: every way to prove an identity ends in a principal of the partition's engine.

use std::net::SocketAddr;

use rustls::pki_types::CertificateDer;

/// Who is at the other end of a connection, as far as the connection tells.
#[derive(Clone, Debug)]
pub(crate) enum Peer {
    /// TLS over TCP.
    Tcp {
        /// From where.
        address: SocketAddr,
        /// The client's certificate, if it showed one that was verified.
        certificate: Option<CertificateDer<'static>>,
    },
    /// A Unix socket: what the kernel says of the process at the other end.
    Unix {
        /// The user.
        uid: u32,
        /// The group.
        gid: u32,
        /// The process, where it is known.
        pid: Option<u32>,
    },
}
