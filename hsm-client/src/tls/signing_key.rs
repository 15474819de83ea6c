//! [`SigningKey`]: one version of a key of the HSM, as rustls takes it.

use std::fmt::{self, Debug};
use std::sync::Arc;

use async_trait::async_trait;
use hsm_core::key::typed::{
    EcdsaP256, EcdsaP384, EcdsaP521, Ed25519, RsaPkcs1v15Sign2048, RsaPkcs1v15Sign3072,
    RsaPkcs1v15Sign4096, RsaPss2048, RsaPss3072, RsaPss4096, Signing,
};
use hsm_core::{
    Algorithm, Error, ErrorKind, KeyInfo, KeyName, Page, PageRequest, PublicKey, Result, SignInput,
    VersionId,
};
use rustls::pki_types::SubjectPublicKeyInfoDer;
use rustls::{OtherError, SignatureAlgorithm, SignatureScheme};

use super::HSM_WAIT_MAX;
use super::wait::wait;
use crate::key::{AnyKey, Key, Signature};
use crate::versions;

/// Kinds of keys that TLS has a signature scheme for. Sealed, as all [`kinds`](crate::kinds) are; the [module](super) lists them.
pub trait TlsKind: Signing {
    /// The signature scheme (RFC 8446 section 4.2.3).
    const SCHEME: SignatureScheme;
}

macro_rules! kinds {
    ($($kind:ident: $scheme:ident;)*) => {
        $(impl TlsKind for $kind {
            const SCHEME: SignatureScheme = SignatureScheme::$scheme;
        })*
    };
}

kinds! {
    EcdsaP256: ECDSA_NISTP256_SHA256;
    EcdsaP384: ECDSA_NISTP384_SHA384;
    EcdsaP521: ECDSA_NISTP521_SHA512;
    Ed25519: ED25519;
    RsaPss2048: RSA_PSS_SHA256;
    RsaPss3072: RSA_PSS_SHA256;
    RsaPss4096: RSA_PSS_SHA512;
    RsaPkcs1v15Sign2048: RSA_PKCS1_SHA256;
    RsaPkcs1v15Sign3072: RSA_PKCS1_SHA256;
    RsaPkcs1v15Sign4096: RSA_PKCS1_SHA512;
}

/// The schemes in the order of preference, with the algorithms that they are called in the HSM.
const SCHEMES: [(SignatureScheme, Algorithm); 10] = [
    (SignatureScheme::ECDSA_NISTP256_SHA256, Algorithm::Es256),
    (SignatureScheme::ECDSA_NISTP384_SHA384, Algorithm::Es384),
    (SignatureScheme::ECDSA_NISTP521_SHA512, Algorithm::Es512),
    (SignatureScheme::ED25519, Algorithm::EdDsa),
    (SignatureScheme::RSA_PSS_SHA512, Algorithm::Ps512),
    (SignatureScheme::RSA_PSS_SHA384, Algorithm::Ps384),
    (SignatureScheme::RSA_PSS_SHA256, Algorithm::Ps256),
    (SignatureScheme::RSA_PKCS1_SHA512, Algorithm::Rs512),
    (SignatureScheme::RSA_PKCS1_SHA384, Algorithm::Rs384),
    (SignatureScheme::RSA_PKCS1_SHA256, Algorithm::Rs256),
];

/// Handles of keys that may sign handshakes: [`Key`] of a [`TlsKind`], and [`AnyKey`]. Sealed.
pub trait TlsKey: sealed::Handle {}

impl<A: TlsKind> TlsKey for Key<A> {}
impl TlsKey for AnyKey {}

mod sealed {
    use super::*;

    /// What both handles have.
    #[async_trait]
    #[expect(unnameable_types, reason = "this is what seals the trait")]
    pub trait Handle: Debug + Send + Sync + 'static {
        /// Whether the handle may sign with an algorithm, as far as is known here.
        fn may(&self, algorithm: Algorithm) -> bool;
        fn name(&self) -> &KeyName;
        fn version(&self) -> Option<VersionId>;
        fn at(&self, version: VersionId) -> Arc<dyn Handle>;
        async fn info(&self) -> Result<KeyInfo>;
        async fn versions(&self, page: PageRequest) -> Result<Page<KeyInfo>>;
        async fn sign(&self, algorithm: Algorithm, message: &[u8]) -> Result<Signature>;
    }

    #[async_trait]
    impl<A: TlsKind> Handle for Key<A> {
        fn may(&self, algorithm: Algorithm) -> bool {
            algorithm == <A as Signing>::ALGORITHM
        }

        fn name(&self) -> &KeyName {
            self.name()
        }

        fn version(&self) -> Option<VersionId> {
            self.version()
        }

        fn at(&self, version: VersionId) -> Arc<dyn Handle> {
            Arc::new(self.at(version))
        }

        async fn info(&self) -> Result<KeyInfo> {
            self.info().await
        }

        async fn versions(&self, page: PageRequest) -> Result<Page<KeyInfo>> {
            self.versions(page).await
        }

        async fn sign(&self, _: Algorithm, message: &[u8]) -> Result<Signature> {
            self.sign(message).await
        }
    }

    #[async_trait]
    impl Handle for AnyKey {
        fn may(&self, algorithm: Algorithm) -> bool {
            let bound = self.spec().algorithm;
            bound.is_none_or(|bound| bound == algorithm)
        }

        fn name(&self) -> &KeyName {
            self.handle().name()
        }

        fn version(&self) -> Option<VersionId> {
            self.handle().version()
        }

        fn at(&self, version: VersionId) -> Arc<dyn Handle> {
            Arc::new(self.at(version))
        }

        async fn info(&self) -> Result<KeyInfo> {
            self.handle().info().await
        }

        async fn versions(&self, page: PageRequest) -> Result<Page<KeyInfo>> {
            self.handle().versions(page).await
        }

        async fn sign(&self, algorithm: Algorithm, message: &[u8]) -> Result<Signature> {
            self.sign(algorithm, SignInput::Message(message)).await
        }
    }
}

/// One version of a key, for whatever takes a [`rustls::sign::SigningKey`]. Cheap to clone.
///
/// It is pinned: when the key is rotated, it goes on with the version that the certificate is for.
///
/// ```
/// use std::sync::Arc;
///
/// use hsm_client::tls::{SigningKey, rustls::sign};
/// use hsm_client::{Key, Result, kinds::Ed25519};
///
/// async fn for_rustls(key: &Key<Ed25519>) -> Result<Arc<dyn sign::SigningKey>> {
///     Ok(Arc::new(SigningKey::new(key).await?))
/// }
/// ```
///
/// A signature blocks its thread until the HSM has answered, for [`HSM_WAIT_MAX`] at most: some microseconds for an HSM in
/// this process, a round trip for one elsewhere. See [`Acceptor`](super::Acceptor).
///
/// # Panics
///
/// A signature that has to wait panics in a `tokio::task::LocalSet` on a runtime of several threads, where tokio lets nobody
/// block. An [`Acceptor`](super::Acceptor) signs elsewhere.
#[derive(Clone)]
pub struct SigningKey {
    key: Arc<dyn sealed::Handle>,
    public: Arc<PublicKey>,
    spki: Arc<[u8]>,
    schemes: Arc<[(SignatureScheme, Algorithm)]>,
}

impl SigningKey {
    /// Pins the version that the handle is at, or the current one.
    ///
    /// It signs once, so that a key that cannot is found now and not in a handshake.
    ///
    /// # Errors
    ///
    /// [`InvalidInput`](ErrorKind::InvalidInput) for a key that TLS has no signature scheme for,
    /// [`KeyState`](ErrorKind::KeyState) if it is not active, [`Denied`](ErrorKind::Denied) for who may not sign with it.
    pub async fn new(key: &impl TlsKey) -> Result<Self> {
        let info = key.info().await?;
        Self::pinned(key, info).await
    }

    /// Pins the version that has this public half.
    ///
    /// # Errors
    ///
    /// As [`new`](Self::new), and [`InvalidInput`](ErrorKind::InvalidInput) if no version has it, or not the one that the
    /// handle is at.
    pub async fn with_public_key(key: &impl TlsKey, public: &PublicKey) -> Result<Self> {
        let info = key.info().await?;
        if info.public.as_ref() == Some(public) {
            return Self::pinned(key, info).await;
        }
        if let Some(version) = key.version() {
            return Err(mismatch(format!("version {version} of key {}", key.name())));
        }
        let found = versions::all(|page| key.versions(page))
            .await?
            .into_iter()
            .find(|info| info.public.as_ref() == Some(public));
        match found {
            Some(info) => Self::pinned(key, info).await,
            None => Err(mismatch(format!("any version of key {}", key.name()))),
        }
    }

    async fn pinned(key: &impl TlsKey, info: KeyInfo) -> Result<Self> {
        let KeyInfo {
            version, public, ..
        } = info;
        let schemes: Arc<[_]> = SCHEMES
            .into_iter()
            .filter(|(_, algorithm)| {
                let fits = |public: &PublicKey| algorithm.fits(public.key_type());
                key.may(*algorithm) && public.as_ref().is_some_and(fits)
            })
            .collect();
        let (Some(public), Some((_, first))) = (public, schemes.first()) else {
            return Err(Error::new(
                ErrorKind::InvalidInput,
                format!(
                    "TLS has no signature scheme for key {}; it has for ECDSA on P-256, P-384 and P-521, Ed25519 and RSA",
                    key.name()
                ),
            ));
        };
        let signing = Self {
            key: key.at(version),
            spki: public.to_spki_der()?.into(),
            public: Arc::new(public),
            schemes: schemes.clone(),
        };
        let trial = signing.key.sign(*first, TRIAL).await?;
        signing
            .public
            .verify(*first, SignInput::Message(TRIAL), trial.bytes())?;
        Ok(signing)
    }

    /// The public half.
    #[must_use]
    pub fn public(&self) -> &PublicKey {
        &self.public
    }

    /// The version that signs.
    #[must_use]
    pub fn version(&self) -> Option<VersionId> {
        self.key.version()
    }
}

impl rustls::sign::SigningKey for SigningKey {
    fn choose_scheme(&self, offered: &[SignatureScheme]) -> Option<Box<dyn rustls::sign::Signer>> {
        let (scheme, algorithm) = *self
            .schemes
            .iter()
            .find(|(scheme, _)| offered.contains(scheme))?;
        Some(Box::new(Signer {
            key: self.clone(),
            scheme,
            algorithm,
        }))
    }

    fn public_key(&self) -> Option<SubjectPublicKeyInfoDer<'_>> {
        Some(SubjectPublicKeyInfoDer::from(&*self.spki))
    }

    fn algorithm(&self) -> SignatureAlgorithm {
        use hsm_core::KeyType;
        match self.public.key_type() {
            KeyType::Ed25519 => SignatureAlgorithm::ED25519,
            KeyType::EcP256 | KeyType::EcP384 | KeyType::EcP521 => SignatureAlgorithm::ECDSA,
            _ => SignatureAlgorithm::RSA,
        }
    }
}

impl Debug for SigningKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("SigningKey").field(&self.key).finish()
    }
}

/// A key that signs under the scheme that both sides have.
#[derive(Debug)]
struct Signer {
    key: SigningKey,
    scheme: SignatureScheme,
    algorithm: Algorithm,
}

impl rustls::sign::Signer for Signer {
    fn sign(&self, message: &[u8]) -> Result<Vec<u8>, rustls::Error> {
        wait(self.key.key.sign(self.algorithm, message), HSM_WAIT_MAX)
            .and_then(|signature| {
                self.key
                    .public
                    .to_der_signature(self.algorithm, signature.bytes())
            })
            .map_err(|error| {
                rustls::Error::Other(OtherError(Arc::new(NotSigned::new(self, error))))
            })
    }

    fn scheme(&self) -> SignatureScheme {
        self.scheme
    }
}

/// What stands in the server's log.
#[derive(Debug)]
struct NotSigned {
    key: KeyName,
    error: Error,
}

impl NotSigned {
    fn new(signer: &Signer, error: Error) -> Self {
        Self {
            key: signer.key.key.name().clone(),
            error,
        }
    }
}

impl fmt::Display for NotSigned {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "key {} did not sign the handshake: {}",
            self.key, self.error
        )
    }
}

impl std::error::Error for NotSigned {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        Some(&self.error)
    }
}

/// Why a key did not sign, in an error that a handshake failed with: an [`io::Error`](std::io::Error) of
/// [`Acceptor`](super::Acceptor) or of [`tokio_rustls`], or a [`rustls::Error`].
///
/// ```
/// use hsm_client::tls::cause;
///
/// fn is_away(error: &std::io::Error) -> bool {
///     cause(error).is_some_and(|cause| cause.kind() == hsm_client::ErrorKind::Unreachable)
/// }
/// ```
#[must_use]
pub fn cause<'a>(error: &'a (dyn std::error::Error + 'static)) -> Option<&'a Error> {
    let error = match error.downcast_ref::<std::io::Error>() {
        Some(error) => error.get_ref()?.downcast_ref(),
        None => error.downcast_ref(),
    };
    let Some(rustls::Error::Other(OtherError(other))) = error else {
        return None;
    };
    let not_signed = other.downcast_ref::<NotSigned>()?;
    Some(&not_signed.error)
}

fn mismatch(which: String) -> Error {
    Error::new(
        ErrorKind::InvalidInput,
        format!("the certificate is for another key: its public key is not that of {which}"),
    )
}

/// No transcript of a handshake is like it.
const TRIAL: &[u8] = b"hsm-client: can this key sign?";
