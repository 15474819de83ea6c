//! An HTTPS server whose key is in the HSM, counted beside the same server with its key in memory.
//!
//! `cargo run --release -p hsm-examples --bin tls_offload`
//!
//! `--serve` keeps the server up, to be tried with a browser or `openssl`, and `--handshakes N` says how many are counted.
//! What it makes is in a temporary folder, and gone when it ends.

use std::error::Error;
use std::path::Path;
use std::process::ExitCode;
use std::sync::Arc;
use std::time::{Duration, Instant};

use hsm_client::kinds::{EcdsaP256, Kdk256};
use hsm_client::tls::rustls::client::Resumption;
use hsm_client::tls::rustls::pki_types::{CertificateDer, PrivateKeyDer, ServerName};
use hsm_client::tls::rustls::{ClientConfig, RootCertStore, ServerConfig, crypto};
use hsm_client::tls::tokio_rustls::{TlsAcceptor, TlsConnector};
use hsm_client::tls::{Acceptor, Identity, Tickets};
use hsm_client::{BuiltInRole, Credentials, Hsm, PublicKey, Scope, Session, Setup};
use rcgen::{BasicConstraints, CertificateParams, CertifiedIssuer, DnType, IsCa, KeyPair};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};

const USAGE: &str = "usage: tls_offload [--serve] [--handshakes N]";
const PASSWORD: &str = "the password of the web server";
const ROUNDS: usize = 4;

type Outcome<T = ()> = Result<T, Box<dyn Error + Send + Sync>>;

#[tokio::main]
async fn main() -> ExitCode {
    match run().await {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("tls_offload: {error}");
            ExitCode::FAILURE
        }
    }
}

async fn run() -> Outcome {
    let (mut serve, mut handshakes) = (false, 4_000);
    let mut arguments = std::env::args().skip(1);
    while let Some(argument) = arguments.next() {
        match &*argument {
            "--serve" => serve = true,
            "--handshakes" => handshakes = arguments.next().ok_or(USAGE)?.parse()?,
            _ => return Err(USAGE.into()),
        }
    }
    drop(crypto::aws_lc_rs::default_provider().install_default());
    let folder = tempfile::tempdir()?;

    // The key is made in the HSM and never leaves; a certification authority certifies its public half.
    let session = hsm(folder.path()).await?;
    let key = session.create::<EcdsaP256>("www").await?;
    let ca = authority()?;
    let chain = certify(&ca, &key.public_key().await?)?;
    let identity = Arc::new(Identity::new(&key, chain).await?);
    let tickets = session.create::<Kdk256>("www-tickets").await?;
    let mut config = ServerConfig::builder()
        .with_no_client_auth()
        .with_cert_resolver(identity);
    config.ticketer = Tickets::new(&tickets, "www").await?;
    let offloaded = start(Accepts::FromHsm(Acceptor::new(config))).await?;

    // A client as strict as a browser.
    let page = reqwest::Client::builder()
        .tls_certs_only([reqwest::Certificate::from_der(ca.as_ref().der())?])
        .build()?
        .get(format!("https://localhost:{offloaded}/"))
        .send()
        .await?
        .text()
        .await?;
    println!("GET https://localhost:{offloaded}/: {}", page.trim());
    let ca_file = folder.path().join("ca.pem");
    std::fs::write(&ca_file, ca.as_ref().pem())?;
    println!(
        "openssl s_client -connect localhost:{offloaded} -CAfile {} -verify_return_error </dev/null",
        ca_file.display()
    );

    if handshakes > 0 {
        let in_memory = start(Accepts::FromMemory(with_key_in_memory(&ca)?)).await?;
        compare(&ca, offloaded, in_memory, handshakes).await?;
    }
    if serve {
        println!("serving until you press Ctrl-C");
        tokio::signal::ctrl_c().await?;
    }
    Ok(())
}

/// An HSM with one user, who may use keys.
async fn hsm(folder: &Path) -> Outcome<Session> {
    let url = format!("soft:{}", folder.join("www.hsm").display());
    let hsm = Hsm::create(&url, Setup::new("admin", "the administrator's password")).await?;
    let admin = hsm.login("admin", "the administrator's password").await?;
    admin.create_user("www", PASSWORD).await?;
    admin
        .assign_role(BuiltInRole::CryptoUser, "www", Scope::Keys)
        .await?;
    // A server runs for longer than a session lasts.
    let session = hsm.stay_logged_in(|| Credentials::password("www", PASSWORD));
    Ok(session.await?)
}

fn authority() -> Outcome<CertifiedIssuer<'static, KeyPair>> {
    let mut params = CertificateParams::default();
    params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    // Another name than the server's: OpenSSL takes a certificate whose issuer is its subject for one that signed itself.
    params
        .distinguished_name
        .push(DnType::CommonName, "tls_offload's authority");
    Ok(CertifiedIssuer::self_signed(params, KeyPair::generate()?)?)
}

fn certify(
    ca: &CertifiedIssuer<'static, KeyPair>,
    public: &PublicKey,
) -> Outcome<Vec<CertificateDer<'static>>> {
    let public = rcgen::SubjectPublicKeyInfo::from_der(&public.to_spki_der()?)?;
    let params = CertificateParams::new(["localhost".to_owned()])?;
    Ok(vec![params.signed_by(&public, ca)?.der().clone()])
}

/// The same server, with a key that is in its memory.
fn with_key_in_memory(ca: &CertifiedIssuer<'static, KeyPair>) -> Outcome<TlsAcceptor> {
    let key = KeyPair::generate()?;
    let certificate = CertificateParams::new(["localhost".to_owned()])?.signed_by(&key, ca)?;
    let key = PrivateKeyDer::try_from(key.serialize_der())?;
    let mut config = ServerConfig::builder()
        .with_no_client_auth()
        .with_single_cert(vec![certificate.der().clone()], key)?;
    config.ticketer = crypto::aws_lc_rs::Ticketer::new()?;
    Ok(TlsAcceptor::from(Arc::new(config)))
}

/// Where a server has its key.
#[derive(Clone)]
enum Accepts {
    FromHsm(Acceptor),
    FromMemory(TlsAcceptor),
}

/// Starts a server on a thread of its own, and says where it listens.
async fn start(accepts: Accepts) -> Outcome<u16> {
    let listener = std::net::TcpListener::bind(("127.0.0.1", 0))?;
    listener.set_nonblocking(true)?;
    let port = listener.local_addr()?.port();
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()?;
    std::thread::spawn(move || {
        let served = runtime.block_on(async {
            let listener = TcpListener::from_std(listener)?;
            loop {
                let (tcp, _) = listener.accept().await?;
                let accepts = accepts.clone();
                tokio::spawn(async move {
                    if let Err(error) = answer(tcp, accepts).await {
                        eprintln!("server: {error}");
                    }
                });
            }
        });
        let _: std::io::Result<()> = served;
    });
    Ok(port)
}

async fn answer(tcp: TcpStream, accepts: Accepts) -> std::io::Result<()> {
    tcp.set_nodelay(true)?;
    let mut stream = match accepts {
        Accepts::FromHsm(acceptor) => acceptor.accept(tcp).await?,
        Accepts::FromMemory(acceptor) => acceptor.accept(tcp).await?,
    };
    // Enough of HTTP for a request without a body; who asks for nothing gets nothing.
    let mut request = [0; 4096];
    if stream.read(&mut request).await.unwrap_or(0) > 0 {
        let text = "the key of this server is in an HSM\n";
        let head = format!(
            "HTTP/1.1 200 OK\r\ncontent-length: {}\r\nconnection: close\r\n\r\n",
            text.len()
        );
        stream.write_all(format!("{head}{text}").as_bytes()).await?;
        stream.shutdown().await?;
    }
    Ok(())
}

/// Counts full handshakes with both servers, by turns, so that what else the machine does meets both.
async fn compare(
    ca: &CertifiedIssuer<'static, KeyPair>,
    offloaded: u16,
    in_memory: u16,
    handshakes: usize,
) -> Outcome {
    let mut roots = RootCertStore::empty();
    roots.add(ca.as_ref().der().clone())?;
    let mut config = ClientConfig::builder()
        .with_root_certificates(roots)
        .with_no_client_auth();
    config.resumption = Resumption::disabled();
    let connector = TlsConnector::from(Arc::new(config));
    let each = handshakes.div_ceil(ROUNDS);
    count(&connector, offloaded, each.div_ceil(10)).await?;
    count(&connector, in_memory, each.div_ceil(10)).await?;
    let (mut hsm, mut memory) = (Duration::ZERO, Duration::ZERO);
    for _ in 0..ROUNDS {
        hsm += count(&connector, offloaded, each).await?;
        memory += count(&connector, in_memory, each).await?;
    }
    let total = u32::try_from(each * ROUNDS)?;
    let rate = |time: Duration| f64::from(total) / time.as_secs_f64();
    println!("{total} full handshakes (TLS 1.3, P-256) with each server, one thread a server:");
    println!("  key in the HSM   {:8.0} a second", rate(hsm));
    println!("  key in memory    {:8.0} a second", rate(memory));
    println!("  ratio            {:8.3}", rate(hsm) / rate(memory));
    Ok(())
}

/// The time that so many handshakes take, eight at a time.
async fn count(connector: &TlsConnector, port: u16, handshakes: usize) -> Outcome<Duration> {
    let started = Instant::now();
    let mut clients = tokio::task::JoinSet::new();
    for client in 0..8 {
        let connector = connector.clone();
        clients.spawn(async move {
            for _ in (client..handshakes).step_by(8) {
                let tcp = TcpStream::connect(("127.0.0.1", port)).await?;
                tcp.set_nodelay(true)?;
                let name = ServerName::try_from("localhost")?;
                let mut stream = connector.connect(name, tcp).await?;
                // Waits for the server to hang up, however it does that.
                stream.shutdown().await?;
                drop(stream.read(&mut [0]).await);
            }
            Outcome::Ok(())
        });
    }
    while let Some(done) = clients.join_next().await {
        done??;
    }
    Ok(started.elapsed())
}
