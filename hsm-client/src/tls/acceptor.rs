//! [`Acceptor`] and [`Connector`]: handshakes that wait for an HSM on threads which may.

use std::fmt;
use std::future::Future;
use std::io;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, Wake, Waker};

use rustls::pki_types::ServerName;
use rustls::{ClientConfig, HandshakeKind, ServerConfig};
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::sync::{Notify, Semaphore};
use tokio::task::spawn_blocking;
use tokio::time::timeout;
use tokio_rustls::client::TlsStream as ClientStream;
use tokio_rustls::server::TlsStream as ServerStream;
use tokio_rustls::{LazyConfigAcceptor, TlsConnector};

use super::{HANDSHAKE_MAX, HANDSHAKE_THREADS_MAX};

/// Accepts TLS connections and never blocks the executor, however long the HSM takes. Cheap to clone.
///
/// rustls asks for a signature in the middle of a function that is not async. Whoever drives a handshake with
/// [`tokio_rustls::TlsAcceptor`] waits for it in the executor's thread: nothing for an HSM in this process, which signs as
/// fast as a key in memory, but a round trip for one elsewhere, and a runtime with a single thread does nothing else
/// meanwhile. An `Acceptor` reads the client's first message in the task, goes to a thread of tokio's blocking pool for the
/// step that signs, and comes back. That costs two switches between threads. [`HANDSHAKE_THREADS_MAX`] handshakes sign at a
/// time; a client that is slow holds no thread.
///
/// ```
/// use hsm_client::tls::Acceptor;
/// use tokio::net::TcpListener;
///
/// async fn serve(listener: TcpListener, acceptor: Acceptor) -> std::io::Result<()> {
///     loop {
///         let (tcp, peer) = listener.accept().await?;
///         let acceptor = acceptor.clone();
///         tokio::spawn(async move {
///             match acceptor.accept(tcp).await {
///                 Ok(_stream) => { /* what the server does */ }
///                 Err(error) => eprintln!("{peer}: {error}"), // names the key, and why it did not sign
///             }
///         });
///     }
/// }
/// ```
#[derive(Clone)]
pub struct Acceptor {
    config: Arc<ServerConfig>,
    threads: Threads,
}

impl Acceptor {
    /// Accepts as `config` says.
    #[must_use]
    pub fn new(config: impl Into<Arc<ServerConfig>>) -> Self {
        Self {
            config: config.into(),
            threads: Threads::new(),
        }
    }

    /// Does the handshake. Needs a tokio runtime with its timers enabled.
    ///
    /// # Errors
    ///
    /// What `io` fails with, [`TimedOut`](io::ErrorKind::TimedOut) after [`HANDSHAKE_MAX`],
    /// [`InvalidData`](io::ErrorKind::InvalidData) for what TLS refuses: the client's fault, or a key that did not sign. The
    /// message says which, and [`cause`](super::cause) finds out why.
    pub async fn accept<IO>(&self, io: IO) -> io::Result<ServerStream<IO>>
    where
        IO: AsyncRead + AsyncWrite + Unpin + Send + 'static,
    {
        in_time(async {
            let hello = LazyConfigAcceptor::new(rustls::server::Acceptor::default(), io).await?;
            let config = self.config.clone();
            let (accept, signed) = self
                .threads
                .run(move |context| {
                    let mut signed = false;
                    let mut accept = hello.into_stream_with(config, |connection| {
                        // After a retry the signature is still to come.
                        signed = matches!(
                            connection.handshake_kind(),
                            Some(HandshakeKind::Full | HandshakeKind::Resumed)
                        );
                    });
                    let polled = Pin::new(&mut accept).poll(context);
                    (accept, polled, signed)
                })
                .await?;
            match accept {
                Begun::Done(result) => result,
                Begun::Waits(accept, _) if signed => accept.await,
                Begun::Waits(accept, nudge) => self.threads.drive(accept, nudge).await,
            }
        })
        .await
    }
}

impl fmt::Debug for Acceptor {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Acceptor").finish_non_exhaustive()
    }
}

/// Makes TLS connections and never blocks the executor, as [`Acceptor`] for the other side: for those who show a client
/// certificate whose key is in an HSM elsewhere. Cheap to clone.
///
/// ```
/// use std::sync::Arc;
///
/// use hsm_client::tls::Connector;
/// use hsm_client::tls::rustls::{ClientConfig, pki_types::ServerName};
/// use tokio::net::TcpStream;
///
/// async fn connect(config: Arc<ClientConfig>) -> std::io::Result<()> {
///     let tcp = TcpStream::connect("shop.example:443").await?;
///     let name = ServerName::try_from("shop.example").map_err(std::io::Error::other)?;
///     let _stream = Connector::new(config).connect(name, tcp).await?;
///     Ok(())
/// }
/// ```
#[derive(Clone)]
pub struct Connector {
    connector: TlsConnector,
    threads: Threads,
}

impl Connector {
    /// Connects as `config` says.
    #[must_use]
    pub fn new(config: impl Into<Arc<ClientConfig>>) -> Self {
        Self {
            connector: TlsConnector::from(config.into()),
            threads: Threads::new(),
        }
    }

    /// Does the handshake with a server of that name. Needs a tokio runtime with its timers enabled.
    ///
    /// # Errors
    ///
    /// As [`Acceptor::accept`].
    pub async fn connect<IO>(
        &self,
        name: ServerName<'static>,
        io: IO,
    ) -> io::Result<ClientStream<IO>>
    where
        IO: AsyncRead + AsyncWrite + Unpin + Send + 'static,
    {
        let connect = self.connector.connect(name, io);
        in_time(self.threads.drive(connect, Nudge::new())).await
    }
}

impl fmt::Debug for Connector {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Connector").finish_non_exhaustive()
    }
}

async fn in_time<T>(handshake: impl Future<Output = io::Result<T>>) -> io::Result<T> {
    timeout(HANDSHAKE_MAX, handshake).await.unwrap_or_else(|_| {
        Err(io::Error::new(
            io::ErrorKind::TimedOut,
            format!("the handshake took longer than {HANDSHAKE_MAX:?}"),
        ))
    })
}

/// The threads of tokio's blocking pool, as many of them as may be taken.
#[derive(Clone)]
struct Threads(Arc<Semaphore>);

/// What a first poll came to.
enum Begun<F: Future> {
    Done(F::Output),
    Waits(F, Arc<Nudge>),
}

impl Threads {
    fn new() -> Self {
        Self(Arc::new(Semaphore::new(HANDSHAKE_THREADS_MAX)))
    }

    /// Makes a future on a thread and polls it once there.
    async fn run<F, A>(
        &self,
        begin: impl FnOnce(&mut Context<'_>) -> (F, Poll<F::Output>, A) + Send + 'static,
    ) -> io::Result<(Begun<F>, A)>
    where
        F: Future<Output: Send> + Send + 'static,
        A: Send + 'static,
    {
        let nudge = Nudge::new();
        let waker = Waker::from(nudge.clone());
        let (work, polled, also) = self
            .on_a_thread(move || begin(&mut Context::from_waker(&waker)))
            .await?;
        let begun = match polled {
            Poll::Ready(output) => Begun::Done(output),
            Poll::Pending => Begun::Waits(work, nudge),
        };
        Ok((begun, also))
    }

    /// Drives a future to its end, with every poll on a thread.
    async fn drive<F, T>(&self, mut work: F, nudge: Arc<Nudge>) -> io::Result<T>
    where
        F: Future<Output = io::Result<T>> + Unpin + Send + 'static,
        T: Send + 'static,
    {
        loop {
            let waker = Waker::from(nudge.clone());
            let polled;
            (work, polled) = self
                .on_a_thread(move || {
                    let polled = Pin::new(&mut work).poll(&mut Context::from_waker(&waker));
                    (work, polled)
                })
                .await?;
            match polled {
                Poll::Ready(output) => return output,
                Poll::Pending => nudge.0.notified().await,
            }
        }
    }

    async fn on_a_thread<T: Send + 'static>(
        &self,
        work: impl FnOnce() -> T + Send + 'static,
    ) -> io::Result<T> {
        let permit = self.0.clone().acquire_owned().await;
        let permit = permit.map_err(io::Error::other)?;
        // The permit goes along: who gives up waiting does not give back a thread that is still taken.
        let done = spawn_blocking(move || {
            let done = work();
            drop(permit);
            done
        });
        done.await.map_err(io::Error::other)
    }
}

/// Tells the task that its future can go on; also if it was not waiting yet.
struct Nudge(Notify);

impl Nudge {
    fn new() -> Arc<Self> {
        Arc::new(Self(Notify::new()))
    }
}

impl Wake for Nudge {
    fn wake(self: Arc<Self>) {
        self.0.notify_one();
    }
}
