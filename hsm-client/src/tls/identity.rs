//! [`Identity`]: a certificate with its key, to be renewed under a running server; [`ByName`]: several.

use std::sync::Arc;

use arc_swap::ArcSwap;
use der::Decode;
use hsm_core::{Clock, Error, ErrorKind, Result, Timestamp};
use rustls::SignatureScheme;
use rustls::client::{ResolvesClientCert, verify_server_name};
use rustls::pki_types::{CertificateDer, ServerName};
use rustls::server::{ClientHello, ParsedCertificate, ResolvesServerCert};
use rustls::sign::CertifiedKey;
use x509_cert::Certificate;

use super::signing_key::{SigningKey, TlsKey};
use crate::certificate::public_key;
use crate::clock::SystemClock;

/// Who a server or a client is: a chain of certificates, and the key of the first in the HSM.
///
/// It goes where a [`ResolvesServerCert`] or a [`ResolvesClientCert`] goes, and can be [renewed](Self::renew) there.
///
/// ```
/// use std::sync::Arc;
///
/// use hsm_client::kinds::EcdsaP256;
/// use hsm_client::tls::Identity;
/// use hsm_client::tls::rustls::{ClientConfig, RootCertStore, pki_types::CertificateDer};
/// use hsm_client::{Key, Result};
///
/// async fn client(
///     roots: RootCertStore,
///     key: &Key<EcdsaP256>,
///     chain: Vec<CertificateDer<'static>>,
/// ) -> Result<ClientConfig> {
///     let identity = Arc::new(Identity::new(key, chain).await?);
///     Ok(ClientConfig::builder()
///         .with_root_certificates(roots)
///         .with_client_cert_resolver(identity))
/// }
/// ```
///
/// The key is pinned to the version that the certificate is for: rotating it breaks nothing, and
/// [`renew`](Self::renew) with the certificate of the new version moves on.
#[derive(Debug)]
pub struct Identity {
    current: ArcSwap<Current>,
}

#[derive(Debug)]
struct Current {
    certified: Arc<CertifiedKey>,
    not_after: Timestamp,
}

impl Identity {
    /// An identity with the certificate that comes first in `chain`, after which come those who issued it.
    ///
    /// The key signs once, so that one that cannot is found now and not in a handshake.
    ///
    /// # Errors
    ///
    /// [`InvalidInput`](ErrorKind::InvalidInput) for a chain that is empty or cannot be read, a certificate that is for
    /// another key, has expired or is not valid yet, and a key that TLS has no signature scheme for.
    /// [`KeyState`](ErrorKind::KeyState) if the key is not active, [`Denied`](ErrorKind::Denied) for who may not read it
    /// and sign with it.
    pub async fn new(key: &impl TlsKey, chain: Vec<CertificateDer<'static>>) -> Result<Self> {
        let current = Current::new(key, chain).await?;
        Ok(Self {
            current: ArcSwap::from_pointee(current),
        })
    }

    /// Takes another certificate, with a key of its own or the same. New handshakes have it from now on, those under way
    /// end with what they began with.
    ///
    /// # Errors
    ///
    /// As [`new`](Self::new); the identity stays what it was.
    pub async fn renew(
        &self,
        key: &impl TlsKey,
        chain: Vec<CertificateDer<'static>>,
    ) -> Result<()> {
        let renewed = Current::new(key, chain).await?;
        self.current.store(Arc::new(renewed));
        Ok(())
    }

    /// The certificates and the key, for whatever takes these.
    #[must_use]
    pub fn certified_key(&self) -> Arc<CertifiedKey> {
        self.current.load().certified.clone()
    }

    /// When the certificate expires.
    #[must_use]
    pub fn expires(&self) -> Timestamp {
        self.current.load().not_after
    }

    /// Whether the certificate is for a server of that name.
    fn is_for(&self, name: &ServerName<'_>) -> bool {
        let current = self.current.load();
        let certificate = current.certified.cert.first();
        certificate
            .and_then(|certificate| ParsedCertificate::try_from(certificate).ok())
            .is_some_and(|certificate| verify_server_name(&certificate, name).is_ok())
    }
}

impl Current {
    async fn new(key: &impl TlsKey, chain: Vec<CertificateDer<'static>>) -> Result<Self> {
        let Some(first) = chain.first() else {
            return Err(invalid("there is no certificate".to_owned()));
        };
        let unreadable = || "the first certificate of the chain cannot be read; X.509 version 3 in DER is expected";
        ParsedCertificate::try_from(first)
            .map_err(|source| invalid(unreadable().to_owned()).with_source(source))?;
        let certificate = Certificate::from_der(first)
            .map_err(|source| invalid(unreadable().to_owned()).with_source(source))?;
        let tbs = certificate.tbs_certificate();
        let seconds = |time: x509_cert::time::Time| {
            Timestamp::from_unix_seconds(time.to_unix_duration().as_secs())
        };
        let not_before = seconds(tbs.validity().not_before);
        let not_after = seconds(tbs.validity().not_after);
        let now = SystemClock.now();
        if now > not_after {
            return Err(invalid(format!(
                "the certificate has expired at {not_after}; renew it"
            )));
        }
        if now < not_before {
            return Err(invalid(format!(
                "the certificate is not valid before {not_before}"
            )));
        }
        let public = public_key(&certificate)?;
        let signing = SigningKey::with_public_key(key, &public).await?;
        Ok(Self {
            certified: Arc::new(CertifiedKey::new(chain, Arc::new(signing))),
            not_after,
        })
    }
}

impl ResolvesServerCert for Identity {
    fn resolve(&self, _: ClientHello<'_>) -> Option<Arc<CertifiedKey>> {
        Some(self.certified_key())
    }
}

impl ResolvesClientCert for Identity {
    fn resolve(&self, _: &[&[u8]], _: &[SignatureScheme]) -> Option<Arc<CertifiedKey>> {
        Some(self.certified_key())
    }

    fn has_certs(&self) -> bool {
        true
    }
}

/// Several identities of one server: a client gets the first whose certificate is for the name that it asks for, wildcards
/// included, and the first of all if none is or it does not say.
///
/// ```
/// use std::sync::Arc;
///
/// use hsm_client::tls::{ByName, Identity, rustls::ServerConfig};
///
/// fn config(www: Arc<Identity>, shop: Arc<Identity>) -> ServerConfig {
///     ServerConfig::builder()
///         .with_no_client_auth()
///         .with_cert_resolver(Arc::new(ByName::new(www).or(shop)))
/// }
/// ```
#[derive(Debug)]
pub struct ByName {
    identities: Vec<Arc<Identity>>,
}

impl ByName {
    /// The identity for whoever asks for no name, or for one that is nobody's.
    #[must_use]
    pub fn new(first: Arc<Identity>) -> Self {
        Self {
            identities: vec![first],
        }
    }

    /// One more.
    #[must_use]
    pub fn or(mut self, identity: Arc<Identity>) -> Self {
        self.identities.push(identity);
        self
    }
}

impl ResolvesServerCert for ByName {
    fn resolve(&self, hello: ClientHello<'_>) -> Option<Arc<CertifiedKey>> {
        let named = hello
            .server_name()
            .and_then(|name| ServerName::try_from(name).ok())
            .and_then(|name| self.identities.iter().find(|one| one.is_for(&name)));
        named
            .or(self.identities.first())
            .map(|identity| identity.certified_key())
    }
}

fn invalid(message: String) -> Error {
    Error::new(ErrorKind::InvalidInput, message)
}
