//! [`Tls`]: the server's certificate, read from files and read again when they change.

use std::path::PathBuf;
use std::sync::Arc;

use hsm_client::{Error, ErrorKind, Result};
use parking_lot::{Mutex, RwLock};
use rustls::crypto::{CryptoProvider, aws_lc_rs};
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use rustls::server::WebPkiClientVerifier;
use rustls::sign::CertifiedKey;
use rustls::{RootCertStore, ServerConfig};
use sha2::{Digest, Sha256};

/// Where the certificate is, and whose client certificates are taken.
#[derive(Clone, Debug)]
#[must_use]
pub struct TlsFiles {
    certificate: PathBuf,
    key: PathBuf,
    clients: Option<PathBuf>,
}

impl TlsFiles {
    /// A chain of certificates, the server's own first, and its private key. Both are PEM.
    pub fn new(certificate: impl Into<PathBuf>, key: impl Into<PathBuf>) -> Self {
        Self {
            certificate: certificate.into(),
            key: key.into(),
            clients: None,
        }
    }

    /// Takes client certificates that one of the CAs in this PEM file has signed. Clients need not show one: those who do
    /// not are asked for a token.
    pub fn client_authorities(mut self, path: impl Into<PathBuf>) -> Self {
        self.clients = Some(path.into());
        self
    }

    fn read(&self) -> Result<Contents> {
        let read = |path: &PathBuf| {
            std::fs::read(path)
                .map(zeroize::Zeroizing::new)
                .map_err(|source| {
                    Error::new(
                        ErrorKind::InvalidInput,
                        format!("{} cannot be read", path.display()),
                    )
                    .with_source(source)
                })
        };
        Ok(Contents {
            certificate: read(&self.certificate)?,
            key: read(&self.key)?,
            clients: self.clients.as_ref().map(read).transpose()?,
        })
    }

    fn configure(&self, contents: &Contents) -> Result<ServerConfig> {
        let provider = Arc::new(aws_lc_rs::default_provider());
        let certified = self.certified(contents, &provider)?;
        let builder = ServerConfig::builder_with_provider(provider.clone())
            .with_protocol_versions(&[&rustls::version::TLS13, &rustls::version::TLS12])
            .map_err(|source| invalid("TLS cannot be set up".to_owned(), source))?;
        let builder = match (&self.clients, &contents.clients) {
            (Some(path), Some(pem)) => {
                let bad = |source: Source| {
                    invalid(
                        format!("{} is no PEM file of CA certificates", path.display()),
                        source,
                    )
                };
                let mut roots = RootCertStore::empty();
                for certificate in CertificateDer::pem_slice_iter(pem) {
                    let certificate = certificate.map_err(|source| bad(source.into()))?;
                    roots
                        .add(certificate)
                        .map_err(|source| bad(source.into()))?;
                }
                let verifier =
                    WebPkiClientVerifier::builder_with_provider(Arc::new(roots), provider)
                        .allow_unauthenticated()
                        .build()
                        .map_err(|source| bad(source.into()))?;
                builder.with_client_cert_verifier(verifier)
            }
            _ => builder.with_no_client_auth(),
        };
        let resolver = rustls::sign::SingleCertAndKey::from(certified);
        let mut config = builder.with_cert_resolver(Arc::new(resolver));
        config.alpn_protocols = vec![b"h2".to_vec(), b"http/1.1".to_vec()];
        config.ticketer = aws_lc_rs::Ticketer::new()
            .map_err(|source| invalid("TLS tickets cannot be set up".to_owned(), source))?;
        Ok(config)
    }

    fn certified(&self, contents: &Contents, provider: &CryptoProvider) -> Result<CertifiedKey> {
        let chain = CertificateDer::pem_slice_iter(&contents.certificate)
            .collect::<std::result::Result<Vec<_>, _>>()
            .map_err(|source| {
                invalid(
                    format!(
                        "{} is no PEM file of certificates",
                        self.certificate.display()
                    ),
                    source,
                )
            })?;
        if chain.is_empty() {
            return Err(Error::new(
                ErrorKind::InvalidInput,
                format!("{} has no certificate", self.certificate.display()),
            ));
        }
        let key = PrivateKeyDer::from_pem_slice(&contents.key).map_err(|_| {
            // No source: it might quote the key.
            Error::new(
                ErrorKind::InvalidInput,
                format!("{} has no private key in PEM", self.key.display()),
            )
        })?;
        CertifiedKey::from_der(chain, key, provider).map_err(|source| {
            invalid(
                format!(
                    "the private key in {} is not that of the certificate in {}",
                    self.key.display(),
                    self.certificate.display()
                ),
                source,
            )
        })
    }
}

type Source = Box<dyn std::error::Error + Send + Sync>;

fn invalid(message: String, source: impl Into<Source>) -> Error {
    Error::new(ErrorKind::InvalidInput, message).with_source(source)
}

/// What the files hold. Wiped on drop, as one of them is a private key.
struct Contents {
    certificate: zeroize::Zeroizing<Vec<u8>>,
    key: zeroize::Zeroizing<Vec<u8>>,
    clients: Option<zeroize::Zeroizing<Vec<u8>>>,
}

impl Contents {
    fn fingerprint(&self) -> [u8; 32] {
        let mut hash = Sha256::new();
        for part in [
            Some(&self.certificate),
            Some(&self.key),
            self.clients.as_ref(),
        ] {
            let part = part.map_or(&[][..], |part| part);
            hash.update((part.len() as u64).to_be_bytes());
            hash.update(part);
        }
        hash.finalize().into()
    }
}

/// The certificate in use. Cheap to clone; all clones are the same.
#[derive(Clone, Debug)]
pub struct Tls(Arc<Shared>);

#[derive(Debug)]
struct Shared {
    files: TlsFiles,
    /// Connections that are there keep theirs.
    config: RwLock<Arc<ServerConfig>>,
    /// What the files held when they were last looked at, good or bad.
    seen: Mutex<[u8; 32]>,
}

impl Tls {
    /// Reads the files.
    ///
    /// # Errors
    ///
    /// [`InvalidInput`](ErrorKind::InvalidInput) that names the file.
    pub fn open(files: TlsFiles) -> Result<Self> {
        let contents = files.read()?;
        let config = files.configure(&contents)?;
        Ok(Self(Arc::new(Shared {
            seen: Mutex::new(contents.fingerprint()),
            config: RwLock::new(Arc::new(config)),
            files,
        })))
    }

    /// Reads the files again if they have changed; `true` if new connections get another certificate now. Connections
    /// that are open stay.
    ///
    /// # Errors
    ///
    /// [`InvalidInput`](ErrorKind::InvalidInput) that names the file; the certificate that was there stays in use.
    pub fn reload(&self) -> Result<bool> {
        let contents = self.0.files.read()?;
        let fingerprint = contents.fingerprint();
        if std::mem::replace(&mut *self.0.seen.lock(), fingerprint) == fingerprint {
            return Ok(false);
        }
        let config = self.0.files.configure(&contents)?;
        *self.0.config.write() = Arc::new(config);
        Ok(true)
    }

    /// As [`reload`](Self::reload), and says in the log what came of it.
    pub(crate) fn reload_and_log(&self) -> bool {
        let reloaded = self.reload();
        match &reloaded {
            Ok(true) => tracing::info!("new connections get the new certificate"),
            Ok(false) => {}
            Err(error) => tracing::error!(
                error = %error,
                "the certificate could not be read again; the old one stays in use"
            ),
        }
        reloaded.unwrap_or(false)
    }

    pub(crate) fn config(&self) -> Arc<ServerConfig> {
        self.0.config.read().clone()
    }
}
