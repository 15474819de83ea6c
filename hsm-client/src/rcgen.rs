//! Keys as [`rcgen::SigningKey`], for code that makes its certificates with the crate [`rcgen`].
//!
//! ```
//! use hsm_client::kinds::EcdsaP256;
//! use hsm_client::rcgen::rcgen::CertificateParams;
//!
//! # fn with(session: &hsm_client::blocking::Session) -> Result<(), Box<dyn std::error::Error>> {
//! let key = session.create::<EcdsaP256>("www").make()?;
//! let certificate = CertificateParams::new(["www.example.com".to_owned()])?.self_signed(&key.rcgen_key()?)?;
//! println!("{}", certificate.pem());
//! # Ok(())
//! # }
//! # use hsm_client::{BuiltInRole, Scope, Setup, blocking::Hsm};
//! # let hsm = Hsm::create("memory:", Setup::new("admin", "an administrator's password"))?;
//! # let admin = hsm.login("admin", "an administrator's password")?;
//! # admin.create_user("app", "correct horse battery")?;
//! # admin.assign_role(BuiltInRole::CryptoUser, "app", Scope::Keys)?;
//! # with(&hsm.login("app", "correct horse battery")?).unwrap();
//! # Ok::<(), hsm_client::Error>(())
//! ```
//!
//! `rcgen` has ECDSA on the NIST curves, Ed25519, RSASSA-PKCS1-v1_5 and ML-DSA. For RSA-PSS and secp256k1, and for a
//! certificate authority, see the module `x509`. Each signature blocks its thread until the HSM has answered.

use std::fmt;
use std::sync::{Arc, Mutex, PoisonError};

use hsm_core::key::typed::Signing;
use hsm_core::{Algorithm, Error, ErrorKind, PublicKey, Result};
use pollster::block_on;
use rcgen::{PublicKeyData, SignatureAlgorithm};

use crate::blocking;
use crate::key::Key;

#[doc(no_inline)]
pub use ::rcgen;

/// One version of a key as [`rcgen::SigningKey`]. Cheap to clone.
///
/// `rcgen` has an error for keys that are elsewhere, without a cause: [`take_error`](Self::take_error) has the cause.
pub struct RcgenKey<A> {
    key: Key<A>,
    public: PublicKey,
    algorithm: &'static SignatureAlgorithm,
    error: Arc<Mutex<Option<Error>>>,
}

impl<A: Signing> Key<A> {
    /// The key as [`rcgen::SigningKey`], at the version that is current now.
    ///
    /// # Errors
    ///
    /// [`Unsupported`](ErrorKind::Unsupported) for RSA-PSS and secp256k1, which `rcgen` has not. Otherwise as
    /// [`info`](Key::info).
    pub async fn rcgen_key(&self) -> Result<RcgenKey<A>> {
        let algorithm = algorithm(A::ALGORITHM)?;
        let info = self.info().await?;
        let public = info.public.ok_or_else(|| {
            Error::new(
                ErrorKind::DeviceFailed,
                "the HSM answered without public half",
            )
        })?;
        Ok(RcgenKey {
            key: self.at(info.version),
            public,
            algorithm,
            error: Arc::default(),
        })
    }
}

impl<A: Signing> blocking::Key<A> {
    /// The key as [`rcgen::SigningKey`]. As [`Key::rcgen_key`].
    ///
    /// # Errors
    ///
    /// The same.
    pub fn rcgen_key(&self) -> Result<RcgenKey<A>> {
        block_on(self.as_async().rcgen_key())
    }
}

impl<A> RcgenKey<A> {
    /// Why the last signature failed; `None` if none failed since this was last asked.
    #[must_use]
    pub fn take_error(&self) -> Option<Error> {
        self.error
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .take()
    }
}

impl<A: Signing> rcgen::SigningKey for RcgenKey<A> {
    fn sign(&self, message: &[u8]) -> std::result::Result<Vec<u8>, rcgen::Error> {
        let signed = block_on(self.key.sign(message));
        signed
            .and_then(|made| self.public.to_der_signature(A::ALGORITHM, made.bytes()))
            .map_err(|error| {
                *self.error.lock().unwrap_or_else(PoisonError::into_inner) = Some(error);
                rcgen::Error::RemoteKeyError
            })
    }
}

impl<A> PublicKeyData for RcgenKey<A> {
    fn der_bytes(&self) -> &[u8] {
        self.public.as_raw()
    }

    fn algorithm(&self) -> &'static SignatureAlgorithm {
        self.algorithm
    }
}

impl<A> Clone for RcgenKey<A> {
    fn clone(&self) -> Self {
        Self {
            key: self.key.clone(),
            public: self.public.clone(),
            algorithm: self.algorithm,
            error: Arc::clone(&self.error),
        }
    }
}

impl<A> fmt::Debug for RcgenKey<A> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("RcgenKey").field(&self.key).finish()
    }
}

fn algorithm(algorithm: Algorithm) -> Result<&'static SignatureAlgorithm> {
    Ok(match algorithm {
        Algorithm::Es256 => &rcgen::PKCS_ECDSA_P256_SHA256,
        Algorithm::Es384 => &rcgen::PKCS_ECDSA_P384_SHA384,
        Algorithm::Es512 => &rcgen::PKCS_ECDSA_P521_SHA512,
        Algorithm::EdDsa => &rcgen::PKCS_ED25519,
        Algorithm::Rs256 => &rcgen::PKCS_RSA_SHA256,
        Algorithm::Rs384 => &rcgen::PKCS_RSA_SHA384,
        Algorithm::Rs512 => &rcgen::PKCS_RSA_SHA512,
        Algorithm::MlDsa44 => &rcgen::PKCS_ML_DSA_44,
        Algorithm::MlDsa65 => &rcgen::PKCS_ML_DSA_65,
        Algorithm::MlDsa87 => &rcgen::PKCS_ML_DSA_87,
        _ => {
            return Err(Error::new(
                ErrorKind::Unsupported,
                format!("rcgen has no {algorithm}; the module x509 makes certificates with it"),
            ));
        }
    })
}
