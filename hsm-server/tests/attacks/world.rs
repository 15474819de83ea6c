//! A server to attack, and a client that sends whatever it is told, byte by byte.

use std::net::{Ipv4Addr, SocketAddr};
use std::sync::Arc;

use hsm_client::{BuiltInRole, Hsm, PageRequest, Scope, Session, Setup};
use hsm_server::{Listener, Server, ServerBuilder, Tls, TlsFiles};
use rcgen::{CertifiedIssuer, KeyPair};
use rustls::pki_types::ServerName;
use serde_json::{Value, json};
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpSocket, TcpStream};
use tokio::sync::oneshot;
use tokio::task::JoinHandle;
use tokio_rustls::TlsConnector;
use tokio_rustls::client::TlsStream;

pub(crate) const PASSWORD: &str = "correct horse battery";

/// 32 bytes in base64url.
pub(crate) const DIGEST: &str = "AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA";

/// A server with two partitions, `localhost` and `other.localhost`, and the key `target` in the first.
pub(crate) struct World {
    pub(crate) address: SocketAddr,
    pub(crate) tls: Tls,
    pub(crate) folder: tempfile::TempDir,
    pub(crate) ca: CertifiedIssuer<'static, KeyPair>,
    /// The administrator of the first partition, without the server between.
    pub(crate) session: Session,
    /// The administrator's session token.
    pub(crate) admin: String,
    stop: oneshot::Sender<()>,
    done: JoinHandle<hsm_client::Result<()>>,
}

/// An answer as it came.
#[derive(Clone, Debug, Eq, PartialEq)]
pub(crate) struct Answer {
    pub(crate) status: u16,
    /// Names in lower case.
    pub(crate) headers: Vec<(String, String)>,
    pub(crate) body: String,
}

impl Answer {
    pub(crate) fn header(&self, name: &str) -> Option<&str> {
        let mut found = self.headers.iter().filter(|(known, _)| known == name);
        let value = found.next().map(|(_, value)| &**value);
        assert!(found.next().is_none(), "{name} is there twice");
        value
    }

    pub(crate) fn json(&self) -> Value {
        serde_json::from_str(&self.body).unwrap_or_else(|_| panic!("{self:?}"))
    }

    /// Whether it is an error of the API.
    pub(crate) fn is_error(&self, status: u16) -> bool {
        self.status == status && self.json()["error"]["code"].is_string()
    }
}

impl World {
    pub(crate) async fn new() -> Self {
        Self::with(|builder| builder).await
    }

    pub(crate) async fn limited(change: impl FnOnce(&mut hsm_server::Limits)) -> Self {
        let mut limits = hsm_server::Limits::default();
        change(&mut limits);
        Self::with(|builder| builder.limits(limits)).await
    }

    pub(crate) async fn with(adapt: impl FnOnce(ServerBuilder) -> ServerBuilder) -> Self {
        drop(rustls::crypto::aws_lc_rs::default_provider().install_default());
        let folder = tempfile::tempdir().unwrap();
        let mut parameters = rcgen::CertificateParams::default();
        parameters.is_ca = rcgen::IsCa::Ca(rcgen::BasicConstraints::Unconstrained);
        let ca = CertifiedIssuer::self_signed(parameters, KeyPair::generate().unwrap()).unwrap();
        certify(folder.path(), &ca);
        let tls = Tls::open(TlsFiles::new(
            folder.path().join("server.pem"),
            folder.path().join("server.key"),
        ))
        .unwrap();
        let (first, second) = (hsm().await, hsm().await);
        let session = first.login("admin", PASSWORD).await.unwrap();
        for role in [BuiltInRole::CryptoUser, BuiltInRole::CryptoOfficer] {
            session
                .assign_role(role, "admin", Scope::Global)
                .await
                .unwrap();
        }
        session
            .create::<hsm_client::kinds::EcdsaP256>("target")
            .await
            .unwrap();
        let builder = Server::builder()
            .partition(["localhost", "127.0.0.1"], first)
            .partition(["other.localhost"], second)
            .tls(tls.clone());
        let server = adapt(builder).build().unwrap();
        let tcp = Listener::tcp((Ipv4Addr::LOCALHOST, 0).into())
            .await
            .unwrap();
        let address = tcp.local_address().unwrap();
        let unix = Listener::unix(folder.path().join("socket")).unwrap();
        let (stop, stopped) = oneshot::channel::<()>();
        let done = tokio::spawn(server.serve([tcp, unix], stopped));
        let mut world = Self {
            address,
            tls,
            folder,
            ca,
            session,
            admin: String::new(),
            stop,
            done,
        };
        world.admin = world.login("localhost", "admin").await;
        world
    }

    /// A connection that has done nothing yet.
    pub(crate) async fn tcp(&self) -> TcpStream {
        TcpStream::connect(self.address).await.unwrap()
    }

    /// A connection from another address of the loopback network.
    pub(crate) async fn tcp_from(&self, from: Ipv4Addr) -> std::io::Result<TcpStream> {
        let socket = TcpSocket::new_v4()?;
        socket.bind((from, 0).into())?;
        socket.connect(self.address).await
    }

    pub(crate) async fn handshake(
        &self,
        tcp: TcpStream,
        protocol: &[u8],
    ) -> std::io::Result<TlsStream<TcpStream>> {
        let mut roots = rustls::RootCertStore::empty();
        roots.add(self.ca.der().clone()).unwrap();
        let mut config = rustls::ClientConfig::builder()
            .with_root_certificates(roots)
            .with_no_client_auth();
        config.alpn_protocols = vec![protocol.to_vec()];
        let name = ServerName::try_from("localhost").unwrap();
        TlsConnector::from(Arc::new(config))
            .connect(name, tcp)
            .await
    }

    /// A connection that speaks HTTP/1.1.
    pub(crate) async fn connect(&self) -> TlsStream<TcpStream> {
        self.handshake(self.tcp().await, b"http/1.1").await.unwrap()
    }

    /// A connection that speaks HTTP/2.
    pub(crate) async fn connect_h2(&self) -> TlsStream<TcpStream> {
        self.handshake(self.tcp().await, b"h2").await.unwrap()
    }

    /// Sends bytes over a connection of their own, and reads one answer.
    pub(crate) async fn send(&self, bytes: impl AsRef<[u8]>) -> Answer {
        let bytes = bytes.as_ref();
        let mut stream = self.connect().await;
        // The server may have answered and closed before all is written.
        drop(stream.write_all(bytes).await);
        drop(stream.flush().await);
        read_answer(&mut stream, bytes.starts_with(b"HEAD "))
            .await
            .unwrap()
    }

    /// As [`send`](Self::send), and all that comes until the server closes.
    pub(crate) async fn send_all(&self, bytes: impl AsRef<[u8]>) -> Vec<Answer> {
        let mut stream = self.connect().await;
        drop(stream.write_all(bytes.as_ref()).await);
        drop(stream.flush().await);
        let mut answers = Vec::new();
        while let Some(answer) = read_answer(&mut stream, false).await {
            answers.push(answer);
        }
        answers
    }

    /// An ordinary request with the administrator's token.
    pub(crate) async fn ask(&self, method: &str, target: &str, body: &str) -> Answer {
        self.ask_as(&self.admin, method, target, body).await
    }

    pub(crate) async fn ask_as(
        &self,
        token: &str,
        method: &str,
        target: &str,
        body: &str,
    ) -> Answer {
        self.send(request(method, target, token, "", body)).await
    }

    pub(crate) async fn login(&self, host: &str, user: &str) -> String {
        let body = json!({ "user": user, "password": PASSWORD }).to_string();
        let answer = self
            .send(format!(
                "POST /hsm/v1/sessions HTTP/1.1\r\nhost: {host}\r\ncontent-length: {}\r\n\r\n{body}",
                body.len()
            ))
            .await;
        assert_eq!(answer.status, 201, "{answer:?}");
        answer.json()["token"].as_str().unwrap().to_owned()
    }

    /// A user with these roles, and its session token.
    pub(crate) async fn user(&self, name: &str, roles: &[(BuiltInRole, Scope)]) -> String {
        self.session.create_user(name, PASSWORD).await.unwrap();
        for (role, scope) in roles {
            self.session
                .assign_role(*role, name, scope.clone())
                .await
                .unwrap();
        }
        self.login("localhost", name).await
    }

    /// Everything that a request could have changed.
    pub(crate) async fn state(&self) -> String {
        let page = PageRequest::default;
        let session = &self.session;
        format!(
            "{:?}{:?}{:?}{:?}{:?}{:?}",
            session.list_keys(page()).await.unwrap(),
            session.list_deleted_keys(page()).await.unwrap(),
            session.list_users(page()).await.unwrap(),
            session.list_tokens(page()).await.unwrap(),
            session.role_definitions().await.unwrap(),
            session.role_assignments(None).await.unwrap(),
        )
    }

    /// How many records the audit log has.
    pub(crate) async fn records(&self) -> usize {
        let mut count = 0;
        for stream in self.session.audit_streams().await.unwrap() {
            let mut from = 0;
            loop {
                let at = u64::try_from(from).unwrap();
                let records = self.session.read_audit(stream, at, 1000).await.unwrap();
                from += records.len();
                count += records.len();
                if records.len() < 1000 {
                    break;
                }
            }
        }
        count
    }

    /// The server serves an ordinary request.
    pub(crate) async fn is_well(&self) {
        let body = json!({ "alg": "ES256", "value": DIGEST }).to_string();
        let answer = self
            .ask("POST", "/keys/target/sign?api-version=7.6", &body)
            .await;
        assert_eq!(answer.status, 200, "{answer:?}");
    }

    /// The server is well, and stops in order.
    pub(crate) async fn is_well_and_stops(self) {
        self.is_well().await;
        self.stop().await;
    }

    pub(crate) async fn stop(self) {
        self.stop.send(()).unwrap();
        self.done.await.unwrap().unwrap();
    }

    /// Tells the server to stop, and gives what says when it has.
    pub(crate) fn begin_stop(self) -> (JoinHandle<hsm_client::Result<()>>, tempfile::TempDir) {
        self.stop.send(()).unwrap();
        (self.done, self.folder)
    }
}

async fn hsm() -> Hsm {
    Hsm::create("memory:", Setup::new("admin", PASSWORD))
        .await
        .unwrap()
}

/// Writes a certificate that the CA has signed, and its key.
pub(crate) fn certify(folder: &std::path::Path, ca: &CertifiedIssuer<'static, KeyPair>) {
    let key = KeyPair::generate().unwrap();
    let names = ["localhost".to_owned(), "other.localhost".to_owned()];
    let certificate = rcgen::CertificateParams::new(names)
        .unwrap()
        .signed_by(&key, ca)
        .unwrap();
    std::fs::write(folder.join("server.pem"), certificate.pem()).unwrap();
    std::fs::write(folder.join("server.key"), key.serialize_pem()).unwrap();
}

/// The text of a request. `headers` are whole lines.
pub(crate) fn request(
    method: &str,
    target: &str,
    token: &str,
    headers: &str,
    body: impl AsRef<[u8]>,
) -> Vec<u8> {
    let body = body.as_ref();
    let authorization = match token {
        "" => String::new(),
        token => format!("authorization: Bearer {token}\r\n"),
    };
    let mut text = format!(
        "{method} {target} HTTP/1.1\r\nhost: localhost\r\ncontent-length: {}\r\n{authorization}{headers}\r\n",
        body.len()
    )
    .into_bytes();
    text.extend_from_slice(body);
    text
}

/// Reads one answer; `None` if the connection ends before.
pub(crate) async fn read_answer(
    stream: &mut (impl AsyncRead + Unpin),
    to_head: bool,
) -> Option<Answer> {
    let mut head = Vec::new();
    while !head.ends_with(b"\r\n\r\n") {
        head.push(stream.read_u8().await.ok()?);
    }
    let head = String::from_utf8(head).unwrap();
    let mut lines = head.trim_end().split("\r\n");
    let status = lines
        .next()
        .unwrap()
        .split(' ')
        .nth(1)
        .unwrap()
        .parse()
        .unwrap();
    let headers: Vec<(String, String)> = lines
        .map(|line| line.split_once(':').unwrap())
        .map(|(name, value)| (name.to_ascii_lowercase(), value.trim().to_owned()))
        .collect();
    let len = headers
        .iter()
        .find(|(name, _)| name == "content-length")
        .map_or(0, |(_, len)| len.parse().unwrap());
    let mut body = vec![0; if to_head { 0 } else { len }];
    stream.read_exact(&mut body).await.ok()?;
    let body = String::from_utf8(body).unwrap();
    Some(Answer {
        status,
        headers,
        body,
    })
}

/// Reads until the server closes.
pub(crate) async fn read_to_close(stream: &mut (impl AsyncRead + Unpin)) -> Vec<u8> {
    let mut read = Vec::new();
    // A reset is a close.
    drop(stream.read_to_end(&mut read).await);
    read
}
