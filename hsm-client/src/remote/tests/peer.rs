//! [`ScriptedPeer`]: a server on the loopback that does with each request what its script says.

use std::collections::VecDeque;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Condvar, Mutex};

use rcgen::{BasicConstraints, CertificateParams, CertifiedIssuer, IsCa, KeyPair};
use rustls::ServerConfig;
use rustls::pki_types::{PrivateKeyDer, PrivatePkcs8KeyDer};
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use tokio::net::TcpListener;
use tokio::runtime::Runtime;
use tokio::sync::Notify;
use tokio_rustls::TlsAcceptor;

/// What happens to a request.
#[derive(Clone, Debug)]
pub(super) enum Act {
    /// These bytes are the answer.
    Answer(String),
    /// The connection ends after the request was read.
    Cut,
    /// The connection ends before the body was read.
    CutUnread,
    /// As `Cut`, and nobody listens any more.
    CutAndStop,
    /// An answer that does not end.
    Flood,
    /// No answer, ever.
    Stall,
}

impl Act {
    pub(super) fn raw(answer: impl Into<String>) -> Self {
        Self::Answer(answer.into())
    }

    /// As our server answers.
    pub(super) fn ours(status: u16, body: &str) -> Self {
        Self::json(status, body, "hsm-instance: instance-1\r\n")
    }

    /// As another service answers.
    pub(super) fn theirs(status: u16, body: &str) -> Self {
        Self::json(status, body, "")
    }

    fn json(status: u16, body: &str, headers: &str) -> Self {
        Self::Answer(format!(
            "HTTP/1.1 {status} x\r\n{headers}content-type: application/json; charset=utf-8\r\ncontent-length: {}\r\n\r\n{body}",
            body.len()
        ))
    }
}

/// A request as it came.
#[derive(Clone, Debug)]
pub(super) struct Seen {
    pub(super) head: String,
    pub(super) body: String,
}

impl Seen {
    pub(super) fn header(&self, name: &str) -> Option<String> {
        self.head.lines().skip(1).find_map(|line| {
            let (found, value) = line.split_once(": ")?;
            found.eq_ignore_ascii_case(name).then(|| value.to_owned())
        })
    }
}

#[derive(Default)]
struct Shared {
    state: Mutex<State>,
    changed: Condvar,
}

#[derive(Default)]
struct State {
    script: VecDeque<Act>,
    seen: Vec<Seen>,
    hung_up: bool,
}

pub(super) struct ScriptedPeer {
    pub(super) port: u16,
    pub(super) ca: PathBuf,
    folder: tempfile::TempDir,
    shared: Arc<Shared>,
    runtime: Option<Runtime>,
}

impl ScriptedPeer {
    pub(super) fn start(script: impl IntoIterator<Item = Act>) -> Self {
        Self::start_with(|_| script.into_iter().collect())
    }

    /// With a script that knows the port.
    pub(super) fn start_with(script: impl FnOnce(u16) -> Vec<Act>) -> Self {
        Self::listen(script, Wire::Tls)
    }

    /// Without TLS, as metadata services are.
    pub(super) fn start_plain(script: impl IntoIterator<Item = Act>) -> Self {
        Self::listen(|_| script.into_iter().collect(), Wire::Plain)
    }

    fn listen(script: impl FnOnce(u16) -> Vec<Act>, wire: Wire) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let ca = folder.path().join("ca.pem");
        let acceptor = tls(&ca);
        let runtime = tokio::runtime::Builder::new_multi_thread()
            .worker_threads(1)
            .enable_io()
            .build()
            .unwrap();
        let listener = runtime.block_on(TcpListener::bind("localhost:0")).unwrap();
        let port = listener.local_addr().unwrap().port();
        let shared = Arc::new(Shared::default());
        shared.state.lock().unwrap().script = script(port).into();
        let stop = Arc::new(Stop::default());
        let state = shared.clone();
        runtime.spawn(async move {
            loop {
                let (stream, _) = tokio::select! {
                    accepted = listener.accept() => accepted.unwrap(),
                    () = stop.asked.notified() => {
                        drop(listener);
                        stop.done.notify_one();
                        return;
                    }
                };
                let (shared, acceptor, stop) = (state.clone(), acceptor.clone(), stop.clone());
                tokio::spawn(async move {
                    match wire {
                        Wire::Plain => serve(stream, &shared, &stop).await,
                        Wire::Tls => {
                            if let Ok(stream) = acceptor.accept(stream).await {
                                serve(stream, &shared, &stop).await;
                            }
                        }
                    }
                });
            }
        });
        Self {
            port,
            ca,
            folder,
            shared,
            runtime: Some(runtime),
        }
    }

    pub(super) fn url(&self) -> String {
        format!("https://localhost:{}", self.port)
    }

    /// A file with the authorities of both.
    pub(super) fn both(&self, other: &Self) -> PathBuf {
        let path = self.folder.path().join("both.pem");
        let read = |path| std::fs::read_to_string(path).unwrap();
        std::fs::write(&path, read(&self.ca) + &read(&other.ca)).unwrap();
        path
    }

    pub(super) fn seen(&self) -> Vec<Seen> {
        self.shared.state.lock().unwrap().seen.clone()
    }

    pub(super) fn wait_for(&self, requests: usize) -> Vec<Seen> {
        let state = self.shared.state.lock().unwrap();
        let enough = |state: &mut State| state.seen.len() < requests;
        self.shared
            .changed
            .wait_while(state, enough)
            .unwrap()
            .seen
            .clone()
    }

    /// Until the client has left a request that was stalled.
    pub(super) fn wait_until_hung_up(&self) {
        let state = self.shared.state.lock().unwrap();
        let there = |state: &mut State| !state.hung_up;
        drop(self.shared.changed.wait_while(state, there).unwrap());
    }

    /// Nobody listens any more.
    pub(super) fn stop(mut self) -> tempfile::TempDir {
        self.runtime.take().unwrap().shutdown_background();
        std::mem::replace(&mut self.folder, tempfile::tempdir().unwrap())
    }
}

impl Drop for ScriptedPeer {
    fn drop(&mut self) {
        if let Some(runtime) = self.runtime.take() {
            runtime.shutdown_background();
        }
    }
}

#[derive(Clone, Copy)]
enum Wire {
    Plain,
    Tls,
}

async fn serve(mut stream: impl AsyncRead + AsyncWrite + Unpin, shared: &Shared, stop: &Stop) {
    loop {
        let Some(head) = read_head(&mut stream).await else {
            return;
        };
        let mut seen = Seen {
            head,
            body: String::new(),
        };
        let act = shared.state.lock().unwrap().script.pop_front();
        let act = act.unwrap_or(Act::Cut);
        if !matches!(act, Act::CutUnread) {
            let len = seen
                .header("content-length")
                .map_or(0, |len| len.parse().unwrap());
            let mut body = vec![0; len];
            if stream.read_exact(&mut body).await.is_err() {
                return;
            }
            seen.body = String::from_utf8(body).unwrap();
        }
        shared.state.lock().unwrap().seen.push(seen);
        shared.changed.notify_all();
        match act {
            Act::Answer(answer) => {
                if stream.write_all(answer.as_bytes()).await.is_err() {
                    return;
                }
                drop(stream.flush().await);
                let (head, body) = answer.split_once("\r\n\r\n").unwrap();
                let promised = head
                    .lines()
                    .find_map(|line| line.strip_prefix("content-length: "));
                if promised != Some(&body.len().to_string()) {
                    return;
                }
            }
            Act::Cut | Act::CutUnread => return,
            Act::CutAndStop => {
                stop.asked.notify_one();
                // Nobody listens before the client hears of it.
                stop.done.notified().await;
                return;
            }
            Act::Flood => {
                let head = "HTTP/1.1 200 OK\r\ncontent-type: application/json\r\ntransfer-encoding: chunked\r\n\r\n";
                drop(stream.write_all(head.as_bytes()).await);
                let mut chunk = b"10000\r\n".to_vec();
                chunk.extend([b' '; 0x10000]);
                chunk.extend(b"\r\n");
                while stream.write_all(&chunk).await.is_ok() {}
                return;
            }
            Act::Stall => {
                let mut byte = [0];
                drop(stream.read(&mut byte).await);
                shared.state.lock().unwrap().hung_up = true;
                shared.changed.notify_all();
                return;
            }
        }
    }
}

/// Ends the listening.
#[derive(Default)]
struct Stop {
    asked: Notify,
    done: Notify,
}

async fn read_head(stream: &mut (impl AsyncRead + Unpin)) -> Option<String> {
    let mut head = Vec::new();
    while !head.ends_with(b"\r\n\r\n") {
        head.push(stream.read_u8().await.ok()?);
    }
    String::from_utf8(head).ok()
}

/// An authority of its own, written to `ca`, and a certificate for `localhost`.
fn tls(ca: &Path) -> TlsAcceptor {
    let mut authority = CertificateParams::new(Vec::new()).unwrap();
    authority.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    let issuer = CertifiedIssuer::self_signed(authority, KeyPair::generate().unwrap()).unwrap();
    std::fs::write(ca, issuer.pem()).unwrap();
    let key = KeyPair::generate().unwrap();
    let certificate = CertificateParams::new(vec!["localhost".to_owned()])
        .unwrap()
        .signed_by(&key, &issuer)
        .unwrap();
    let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
    let key = PrivateKeyDer::Pkcs8(PrivatePkcs8KeyDer::from(key.serialize_der()));
    let config = ServerConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_no_client_auth()
        .with_single_cert(vec![certificate.der().clone()], key)
        .unwrap();
    TlsAcceptor::from(Arc::new(config))
}
