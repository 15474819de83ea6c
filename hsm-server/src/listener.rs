//! [`Listener`]: where connections come from, and what each of them goes through until its requests are served.

use std::collections::HashMap;
use std::io;
use std::net::{IpAddr, SocketAddr};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use hsm_client::{Error, ErrorKind, Result};
use hyper::server::conn::{http1, http2};
use hyper::service::service_fn;
use hyper_util::rt::{TokioExecutor, TokioIo, TokioTimer};
use parking_lot::Mutex;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::{TcpListener, TcpStream, UnixListener, UnixStream};
use tokio::sync::watch;
use tokio::time::{Instant, timeout};
use tokio_rustls::TlsAcceptor;

use crate::http::Line;
use crate::identity::Peer;
use crate::limits::{ACCEPT_PAUSE, GOODBYE_TIME, Limits};
use crate::server::Shared;

/// Where connections come from.
#[derive(Debug)]
#[non_exhaustive]
pub enum Listener {
    /// TCP, with TLS over it.
    Tcp(TcpListener),
    /// A Unix socket, without TLS: the kernel says who is at the other end.
    Unix(UnixListener),
}

impl Listener {
    /// Listens on an address. Port 0 lets the system choose one: [`local_address`](Self::local_address) tells which.
    ///
    /// # Errors
    ///
    /// [`InvalidInput`](ErrorKind::InvalidInput) if the address cannot be had.
    pub async fn tcp(address: SocketAddr) -> Result<Self> {
        let listener = TcpListener::bind(address).await.map_err(|source| {
            Error::new(
                ErrorKind::InvalidInput,
                format!("the address {address} cannot be listened on; is another program there?"),
            )
            .with_source(source)
        })?;
        Ok(Self::Tcp(listener))
    }

    /// Listens on a Unix socket, which anybody may connect to who can reach `path`. A socket that nobody listens on any
    /// more is replaced.
    ///
    /// # Errors
    ///
    /// [`Conflict`](ErrorKind::Conflict) if another process listens there, [`InvalidInput`](ErrorKind::InvalidInput) if
    /// the socket cannot be made.
    pub fn unix(path: impl AsRef<Path>) -> Result<Self> {
        let path = path.as_ref();
        if std::os::unix::net::UnixStream::connect(path).is_ok() {
            return Err(Error::new(
                ErrorKind::Conflict,
                format!("another process listens on {}", path.display()),
            ));
        }
        let bind = || {
            match std::fs::symlink_metadata(path) {
                Ok(found) if is_socket(&found) => std::fs::remove_file(path)?,
                _ => {}
            }
            let listener = UnixListener::bind(path)?;
            let everybody = std::os::unix::fs::PermissionsExt::from_mode(0o666);
            std::fs::set_permissions(path, everybody)?;
            io::Result::Ok(listener)
        };
        bind().map(Self::Unix).map_err(|source| {
            Error::new(
                ErrorKind::InvalidInput,
                format!("the socket {} cannot be made", path.display()),
            )
            .with_source(source)
        })
    }

    /// The address, of a TCP listener.
    #[must_use]
    pub fn local_address(&self) -> Option<SocketAddr> {
        match self {
            Self::Tcp(listener) => listener.local_addr().ok(),
            Self::Unix(_) => None,
        }
    }

    /// The path, of a Unix socket.
    #[must_use]
    pub fn path(&self) -> Option<PathBuf> {
        match self {
            Self::Tcp(_) => None,
            Self::Unix(listener) => Some(listener.local_addr().ok()?.as_pathname()?.to_owned()),
        }
    }

    async fn accept(&self) -> io::Result<Accepted> {
        match self {
            Self::Tcp(listener) => {
                let (stream, address) = listener.accept().await?;
                stream.set_nodelay(true)?;
                Ok(Accepted::Tcp(stream, address))
            }
            Self::Unix(listener) => Ok(Accepted::Unix(listener.accept().await?.0)),
        }
    }
}

fn is_socket(metadata: &std::fs::Metadata) -> bool {
    use std::os::unix::fs::FileTypeExt;
    metadata.file_type().is_socket()
}

enum Accepted {
    Tcp(TcpStream, SocketAddr),
    Unix(UnixStream),
}

/// How a server that runs is told to stop.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) enum Phase {
    /// Take connections and serve them.
    Serving,
    /// Take none; finish the requests that are there.
    Finishing,
    /// The time to finish is over.
    Over,
}

/// Takes connections until the server stops.
pub(crate) async fn accept(
    listener: Listener,
    shared: Arc<Shared>,
    mut phase: watch::Receiver<Phase>,
) {
    loop {
        let accepted = tokio::select! {
            biased;
            _ = phase.wait_for(|phase| *phase != Phase::Serving) => return,
            accepted = listener.accept() => accepted,
        };
        match accepted {
            Ok(accepted) => admit(accepted, &shared, &phase),
            Err(error) if is_of_one_connection(&error) => {}
            Err(error) => {
                // Out of file descriptors, most likely: trying again at once would only burn the processor.
                tracing::warn!(error = %error, "a connection could not be accepted");
                tokio::time::sleep(ACCEPT_PAUSE).await;
            }
        }
    }
}

fn is_of_one_connection(error: &io::Error) -> bool {
    matches!(
        error.kind(),
        io::ErrorKind::ConnectionAborted
            | io::ErrorKind::ConnectionRefused
            | io::ErrorKind::ConnectionReset
            | io::ErrorKind::InvalidInput
    )
}

fn admit(accepted: Accepted, shared: &Arc<Shared>, phase: &watch::Receiver<Phase>) {
    let Some(pass) = shared.connections.enter() else {
        shared.metrics.connection_refused();
        return;
    };
    let address = match &accepted {
        Accepted::Tcp(_, address) => Some(address.ip()),
        Accepted::Unix(_) => None,
    };
    let Some(visit) = shared.visitors.enter(address) else {
        shared.metrics.connection_refused();
        return;
    };
    let (shared, phase) = (shared.clone(), phase.clone());
    tokio::spawn(async move {
        serve(accepted, shared, phase).await;
        drop((visit, pass));
    });
}

async fn serve(accepted: Accepted, shared: Arc<Shared>, mut phase: watch::Receiver<Phase>) {
    match accepted {
        Accepted::Unix(stream) => {
            let Ok(credentials) = stream.peer_cred() else {
                return;
            };
            let peer = Peer::Unix {
                uid: credentials.uid(),
                gid: credentials.gid(),
                pid: credentials.pid().and_then(|pid| u32::try_from(pid).ok()),
            };
            converse(stream, Protocol::Http1, peer, shared, phase).await;
        }
        Accepted::Tcp(stream, address) => {
            let Some(tls) = &shared.tls else {
                return;
            };
            let handshake = TlsAcceptor::from(tls.config()).accept(stream);
            let handshake = timeout(shared.limits.handshake_time, handshake);
            let stream = tokio::select! {
                biased;
                _ = phase.wait_for(|phase| *phase != Phase::Serving) => return,
                stream = handshake => match stream {
                    Ok(Ok(stream)) => stream,
                    Ok(Err(error)) => {
                        shared.metrics.handshake_failed();
                        tracing::debug!(peer = %address, error = %error, "a TLS handshake failed");
                        return;
                    }
                    Err(_) => {
                        shared.metrics.handshake_failed();
                        tracing::debug!(peer = %address, "a TLS handshake took too long");
                        return;
                    }
                },
            };
            let (_, session) = stream.get_ref();
            let protocol = match session.alpn_protocol() {
                Some(b"h2") => Protocol::Http2,
                _ => Protocol::Http1,
            };
            let certificate = session
                .peer_certificates()
                .and_then(|chain| chain.first())
                .map(|certificate| certificate.clone().into_owned());
            let peer = Peer::Tcp {
                address,
                certificate,
            };
            converse(stream, protocol, peer, shared, phase).await;
        }
    }
}

#[derive(Clone, Copy, Debug)]
enum Protocol {
    Http1,
    Http2,
}

/// Serves the requests of a connection.
async fn converse<I: AsyncRead + AsyncWrite + Unpin + Send + 'static>(
    stream: I,
    protocol: Protocol,
    peer: Peer,
    shared: Arc<Shared>,
    phase: watch::Receiver<Phase>,
) {
    let line = Arc::new(Line::new(shared.clone(), peer));
    let service = {
        let line = line.clone();
        service_fn(move |request| {
            let line = line.clone();
            async move { line.serve(request).await }
        })
    };
    let io = TokioIo::new(stream);
    let limits = &shared.limits;
    // An error here is the peer's: it went away or spoke no HTTP. Nobody is left to be told.
    match protocol {
        Protocol::Http1 => {
            let connection = http1(limits).serve_connection(io, service);
            watched(
                connection,
                |it| it.graceful_shutdown(),
                &line,
                limits,
                phase,
            )
            .await;
        }
        Protocol::Http2 => {
            let connection = http2(limits).serve_connection(io, service);
            watched(
                connection,
                |it| it.graceful_shutdown(),
                &line,
                limits,
                phase,
            )
            .await;
        }
    }
}

fn http1(limits: &Limits) -> http1::Builder {
    let mut builder = http1::Builder::new();
    // `watched` looks after connections that are slow to begin a request, without a timer for each request.
    builder
        .header_read_timeout(None)
        .max_header_size(limits.header_len)
        .max_buf_size(limits.header_len.max(64 << 10))
        .pipeline_flush(true);
    if limits.header_count != HYPER_HEADER_COUNT {
        builder.max_headers(limits.header_count);
    }
    builder
}

/// What hyper takes if it is not told. Telling it costs an allocation a request.
const HYPER_HEADER_COUNT: usize = 100;

fn http2(limits: &Limits) -> http2::Builder<TokioExecutor> {
    let mut builder = http2::Builder::new(TokioExecutor::new());
    builder
        .timer(TokioTimer::new())
        .max_concurrent_streams(limits.streams_per_connection)
        .max_header_list_size(u32::try_from(limits.header_len).unwrap_or(u32::MAX))
        .max_pending_accept_reset_streams(limits.pending_reset_streams)
        .max_local_error_reset_streams(limits.faulty_streams)
        .initial_stream_window_size(1 << 20)
        .initial_connection_window_size(4 << 20);
    builder
}

/// Runs a connection to its end, which is the peer's, or an idle time-out, or the server's.
async fn watched<C: Future>(
    connection: C,
    say_goodbye: impl Fn(std::pin::Pin<&mut C>),
    line: &Line,
    limits: &Limits,
    mut phase: watch::Receiver<Phase>,
) {
    let mut connection = std::pin::pin!(connection);
    let mut look = std::pin::pin!(tokio::time::sleep(limits.header_time));
    let mut leaving = false;
    loop {
        tokio::select! {
            biased;
            _ = connection.as_mut() => return,
            changed = phase.wait_for(|phase| *phase == Phase::Over || !leaving && *phase == Phase::Finishing) => {
                match changed.as_deref() {
                    Ok(Phase::Finishing) => {
                        say_goodbye(connection.as_mut());
                        leaving = true;
                    }
                    _ => return,
                }
            }
            () = look.as_mut() => {
                let until = line.idle_until(limits);
                if until > Instant::now() {
                    look.as_mut().reset(until);
                } else if leaving {
                    return;
                } else {
                    say_goodbye(connection.as_mut());
                    leaving = true;
                    look.as_mut().reset(Instant::now() + GOODBYE_TIME);
                }
            }
        }
    }
}

/// How many connections each address has.
#[derive(Debug)]
pub(crate) struct Visitors {
    max: usize,
    by_address: Mutex<HashMap<IpAddr, usize>>,
}

/// A connection of an address. Dropping it is leaving.
#[derive(Debug)]
pub(crate) struct Visit {
    visitors: Arc<Visitors>,
    address: Option<IpAddr>,
}

impl Visitors {
    pub(crate) fn new(max: usize) -> Arc<Self> {
        Arc::new(Self {
            max,
            by_address: Mutex::default(),
        })
    }

    fn enter(self: &Arc<Self>, address: Option<IpAddr>) -> Option<Visit> {
        if let Some(address) = address {
            let mut by_address = self.by_address.lock();
            let count = by_address.entry(address).or_default();
            if *count >= self.max {
                return None;
            }
            *count += 1;
        }
        Some(Visit {
            visitors: self.clone(),
            address,
        })
    }
}

impl Drop for Visit {
    fn drop(&mut self) {
        let Some(address) = self.address else {
            return;
        };
        let mut by_address = self.visitors.by_address.lock();
        if let Some(count) = by_address.get_mut(&address) {
            *count -= 1;
            if *count == 0 {
                by_address.remove(&address);
            }
        }
    }
}
