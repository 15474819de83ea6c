//! One request and its answer over HTTPS or a Unix socket: pooled connections, limits, and the line between what never
//! arrived and what may have.

use std::fmt;
use std::fs;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use hsm_core::{Error, ErrorKind, Result};
use http::header::{CONTENT_TYPE, HeaderMap, HeaderValue};
use http::{Method, StatusCode};
use reqwest::redirect;
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use rustls::{ClientConfig, RootCertStore};
use zeroize::{Zeroize, Zeroizing};

use crate::url::Address;

/// Largest answer that is read: the largest result of an operation, in JSON, with room to spare.
pub const ANSWER_LEN_MAX: usize = 32 << 20;

/// A connection that was not used for this long is closed. Firewalls forget connections that are silent for longer.
pub const IDLE_CONNECTION_MAX: Duration = Duration::from_secs(50);

/// A connection that does not answer a ping for this long is given up.
pub const PING_TIMEOUT: Duration = Duration::from_secs(10);

/// How often a connection that waits for an answer is pinged.
pub const PING_INTERVAL: Duration = Duration::from_secs(15);

/// Where the other end is.
#[derive(Clone, Debug)]
pub(crate) enum Peer {
    Https(Address),
    Unix(PathBuf),
}

impl fmt::Display for Peer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Https(address) => write!(f, "https://{address}"),
            Self::Unix(path) => write!(f, "unix:{}", path.display()),
        }
    }
}

/// Whom a connection trusts, and what it shows.
#[derive(Clone, Debug, Default)]
pub(super) struct Tls {
    /// Only the authorities in this file, instead of the system's.
    pub(super) ca: Option<PathBuf>,
    /// Certificate chain and private key.
    pub(super) client: Option<(PathBuf, PathBuf)>,
}

/// A pool of connections to one server.
#[derive(Clone, Debug)]
pub(super) struct Transport {
    client: reqwest::Client,
    base: Arc<str>,
}

/// A request on its way.
#[derive(Clone, Debug)]
pub(super) struct Sent<'a> {
    pub(super) method: Method,
    /// Path and query.
    pub(super) target: &'a str,
    pub(super) headers: HeaderMap,
    /// The owner wipes it.
    pub(super) body: Bytes,
    pub(super) timeout: Duration,
}

/// What came back. The body is wiped on drop.
#[derive(Debug)]
pub(super) struct Answer {
    pub(super) status: StatusCode,
    pub(super) headers: HeaderMap,
    pub(super) body: Wiped,
}

impl Answer {
    pub(super) fn is_json(&self) -> bool {
        let value = self.headers.get(CONTENT_TYPE);
        let Some(media) = value.and_then(|value| value.to_str().ok()) else {
            return false;
        };
        let media = media.split(';').next().unwrap_or_default().trim();
        media.eq_ignore_ascii_case("application/json")
    }
}

/// Why there is no answer.
#[derive(Debug)]
pub(super) enum Failed {
    /// There was no connection.
    NotSent(Error),
    /// There was one. `again`: another attempt may fare better.
    MaybeSent { error: Error, again: bool },
}

impl Transport {
    pub(super) fn new(
        peer: &Peer,
        tls: &Tls,
        connect: Duration,
        proxy: Option<&str>,
    ) -> Result<Self> {
        let builder = builder(connect, proxy)?;
        let (builder, base) = match peer {
            Peer::Https(address) => (
                builder
                    .https_only(true)
                    .tls_backend_preconfigured(tls_config(tls, Authorities::Chosen)?),
                format!("https://{address}"),
            ),
            Peer::Unix(path) => (
                builder
                    .tls_backend_preconfigured(empty_tls_config()?)
                    .unix_socket(path.clone()),
                // What an HTTP request over a socket names as its host.
                "http://localhost".to_owned(),
            ),
        };
        Self::build(builder, &base)
    }

    /// For authorities that issue tokens: any host, the system's certificate authorities and the chosen ones.
    pub(super) fn to_authorities(
        tls: &Tls,
        connect: Duration,
        proxy: Option<&str>,
    ) -> Result<Self> {
        let config = tls_config(
            &Tls {
                ca: tls.ca.clone(),
                client: None,
            },
            Authorities::All,
        )?;
        let builder = builder(connect, proxy)?.tls_backend_preconfigured(config);
        Self::build(builder, "")
    }

    fn build(builder: reqwest::ClientBuilder, base: &str) -> Result<Self> {
        let client = builder.build().map_err(|source| {
            Error::new(ErrorKind::InvalidInput, "the connection cannot be set up")
                .with_source(source)
        })?;
        Ok(Self {
            client,
            base: base.into(),
        })
    }

    /// Sends a request and reads the whole answer.
    pub(super) async fn send(&self, sent: Sent<'_>) -> Result<Answer, Failed> {
        let url = format!("{}{}", self.base, sent.target);
        let mut request = self
            .client
            .request(sent.method, url)
            .headers(sent.headers)
            .timeout(sent.timeout);
        if !sent.body.is_empty() {
            request = request.body(sent.body);
        }
        let response = request.send().await.map_err(failed)?;
        let (status, headers) = (response.status(), response.headers().clone());
        let body = read(response).await?;
        Ok(Answer {
            status,
            headers,
            body,
        })
    }
}

async fn read(mut response: reqwest::Response) -> Result<Wiped, Failed> {
    let too_large = || Failed::MaybeSent {
        error: Error::new(
            ErrorKind::Unknown,
            format!("the answer is larger than {ANSWER_LEN_MAX} bytes"),
        ),
        again: false,
    };
    let expected = response.content_length().unwrap_or(0);
    let expected = usize::try_from(expected).unwrap_or(usize::MAX);
    if expected > ANSWER_LEN_MAX {
        return Err(too_large());
    }
    let mut body = Wiped::with_capacity(expected.min(FIRST_BUFFER_MAX));
    while let Some(chunk) = response.chunk().await.map_err(failed)? {
        if body.len() + chunk.len() > ANSWER_LEN_MAX {
            return Err(too_large());
        }
        body.extend(&chunk);
        if let Ok(mut chunk) = chunk.try_into_mut() {
            chunk.zeroize();
        }
    }
    Ok(body)
}

/// A connection that was not there carried nothing. On one that was, a server may have read the request.
fn failed(source: reqwest::Error) -> Failed {
    // Without the URL, which says nothing that the caller does not know.
    let source = source.without_url();
    if source.is_connect() || source.is_builder() {
        let message = if source.is_timeout() {
            "no connection in time"
        } else {
            "no connection"
        };
        return Failed::NotSent(Error::new(ErrorKind::Unreachable, message).with_source(source));
    }
    let message = if source.is_timeout() {
        "no answer in time"
    } else {
        "the connection ended before the answer did"
    };
    Failed::MaybeSent {
        error: Error::new(ErrorKind::Unknown, message).with_source(source),
        again: true,
    }
}

/// Bytes that grow without leaving copies behind.
#[derive(Default)]
pub(super) struct Wiped(Zeroizing<Vec<u8>>);

impl Wiped {
    pub(super) fn with_capacity(capacity: usize) -> Self {
        Self(Zeroizing::new(Vec::with_capacity(capacity)))
    }

    pub(super) fn extend(&mut self, bytes: &[u8]) {
        let len = self.0.len() + bytes.len();
        if len > self.0.capacity() {
            // `Vec` would leave the old bytes in memory that it gives back.
            let mut grown = Vec::with_capacity(len.max(2 * self.0.capacity()));
            grown.extend_from_slice(&self.0);
            self.0 = Zeroizing::new(grown);
        }
        self.0.extend_from_slice(bytes);
    }

    pub(super) fn len(&self) -> usize {
        self.0.len()
    }
}

impl AsMut<[u8]> for Wiped {
    fn as_mut(&mut self) -> &mut [u8] {
        &mut self.0
    }
}

impl AsRef<[u8]> for Wiped {
    fn as_ref(&self) -> &[u8] {
        &self.0
    }
}

impl fmt::Debug for Wiped {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Wiped({} bytes)", self.0.len())
    }
}

/// A header that is never printed, whose bytes are wiped with the last copy.
pub(super) fn secret_header(prefix: &str, secret: &[u8]) -> Result<HeaderValue> {
    let mut bytes = Wiped::with_capacity(prefix.len() + secret.len());
    bytes.extend(prefix.as_bytes());
    bytes.extend(secret);
    let mut value = HeaderValue::from_maybe_shared(Bytes::from_owner(bytes)).map_err(|_| {
        Error::new(
            ErrorKind::InvalidInput,
            "a token is of printable ASCII characters",
        )
    })?;
    value.set_sensitive(true);
    Ok(value)
}

fn builder(connect: Duration, proxy: Option<&str>) -> Result<reqwest::ClientBuilder> {
    let builder = reqwest::Client::builder()
        .user_agent(concat!("hsm-client/", env!("CARGO_PKG_VERSION")))
        .redirect(redirect::Policy::none())
        .referer(false)
        .connect_timeout(connect)
        .tcp_nodelay(true)
        .pool_idle_timeout(IDLE_CONNECTION_MAX)
        .http2_keep_alive_interval(PING_INTERVAL)
        .http2_keep_alive_timeout(PING_TIMEOUT);
    let Some(proxy) = proxy else {
        return Ok(builder.no_proxy());
    };
    let proxy = reqwest::Proxy::all(proxy).map_err(|_| {
        Error::new(
            ErrorKind::InvalidInput,
            "the URL of a proxy is `http://HOST:PORT`",
        )
    })?;
    Ok(builder.no_proxy().proxy(proxy))
}

/// Which certificate authorities count.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
enum Authorities {
    /// Those of the file, if there is one; the system's otherwise.
    Chosen,
    /// The system's and those of the file.
    All,
}

fn tls_config(tls: &Tls, authorities: Authorities) -> Result<ClientConfig> {
    let mut roots = RootCertStore::empty();
    if let Some(path) = &tls.ca {
        for certificate in certificates(path)? {
            roots.add(certificate).map_err(|source| {
                let message = format!("{} has a certificate that is none", path.display());
                Error::new(ErrorKind::InvalidInput, message).with_source(source)
            })?;
        }
    }
    if tls.ca.is_none() || authorities == Authorities::All {
        // What cannot be read is left out; a connection that needs it fails and says so.
        roots.add_parsable_certificates(rustls_native_certs::load_native_certs().certs);
    }
    let config = config_builder()?.with_root_certificates(roots);
    let mut config = match &tls.client {
        None => config.with_no_client_auth(),
        Some((chain, key)) => {
            let key_der = PrivateKeyDer::from_pem_slice(&read_file(key)?).map_err(|_| {
                let message = format!("{} has no private key in PEM", key.display());
                Error::new(ErrorKind::InvalidInput, message)
            })?;
            config
                .with_client_auth_cert(certificates(chain)?, key_der)
                .map_err(|source| {
                    Error::new(
                        ErrorKind::InvalidInput,
                        "the client certificate and its key do not belong together",
                    )
                    .with_source(source)
                })?
        }
    };
    config.alpn_protocols = vec![b"h2".to_vec(), b"http/1.1".to_vec()];
    Ok(config)
}

/// For a socket, over which no TLS is spoken.
fn empty_tls_config() -> Result<ClientConfig> {
    Ok(config_builder()?
        .with_root_certificates(RootCertStore::empty())
        .with_no_client_auth())
}

/// TLS 1.3 and 1.2 over AWS-LC, whatever provider the process has set as its default.
fn config_builder() -> Result<rustls::ConfigBuilder<ClientConfig, rustls::WantsVerifier>> {
    let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
    ClientConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .map_err(|source| {
            Error::new(ErrorKind::DeviceFailed, "TLS cannot be set up").with_source(source)
        })
}

fn certificates(path: &Path) -> Result<Vec<CertificateDer<'static>>> {
    let text = read_file(path)?;
    let certificates: Vec<_> = CertificateDer::pem_slice_iter(&text)
        .collect::<Result<_, _>>()
        .unwrap_or_default();
    if certificates.is_empty() {
        let message = format!("{} has no certificates in PEM", path.display());
        return Err(Error::new(ErrorKind::InvalidInput, message));
    }
    Ok(certificates)
}

fn read_file(path: &Path) -> Result<Zeroizing<Vec<u8>>> {
    fs::read(path).map(Zeroizing::new).map_err(|source| {
        let message = format!("{} cannot be read", path.display());
        Error::new(ErrorKind::InvalidInput, message).with_source(source)
    })
}

/// Memory that an announced length gets before the bytes are there.
const FIRST_BUFFER_MAX: usize = 64 << 10;
