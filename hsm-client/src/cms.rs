//! Detached signatures over documents and programs (CMS, RFC 5652), with keys in the HSM: what `openssl cms` verifies.
//!
//! ```
//! use hsm_client::cms::{self, DetachedSignature, DocumentSigner, Purpose, Trust};
//! use hsm_client::kinds::{EcdsaP256, EcdsaP384};
//! use hsm_client::x509::{self, CertificateAuthority, CertificateRequest, Profile};
//! use hsm_client::Session;
//!
//! # async fn with(session: &Session) -> hsm_client::Result<()> {
//! // A key, and the certificate that says whose it is.
//! let root = session.create::<EcdsaP384>("root").await?;
//! let root = CertificateAuthority::root(session, &root, "CN=Example Root", x509::days(3650)?).await?;
//! let key = session.create::<EcdsaP256>("contracts").await?;
//! let request = CertificateRequest::new(&key, "CN=Alice,O=Example", [""; 0]).await?;
//! let certificate = root.issue(&request, Profile::DocumentSigning, x509::days(365)?).await?;
//!
//! // The content may be a file of any size: the HSM gets no more of it than a digest.
//! let signer = DocumentSigner::new(&key, certificate, []).await?;
//! let signature = signer.sign(&b"Alice owes Bob 100"[..]).await?.to_pem()?;
//!
//! // Elsewhere, without the HSM.
//! let signature = DetachedSignature::from_pem(signature)?;
//! let trust = Trust::new(Purpose::DocumentSigning, [root.certificate().clone()])?;
//! let signers = cms::verify(&signature, &b"Alice owes Bob 100"[..], &trust)?;
//! assert_eq!(signers[0].certificate().tbs_certificate().subject().to_string(), "CN=Alice,O=Example");
//! assert!(cms::verify(&signature, &b"Alice owes Bob 900"[..], &trust).is_err());
//! # Ok(())
//! # }
//! # use hsm_client::{BuiltInRole, Hsm, Scope, Setup};
//! # pollster::block_on(async {
//! # let hsm = Hsm::create("memory:", Setup::new("admin", "an administrator's password")).await?;
//! # let admin = hsm.login("admin", "an administrator's password").await?;
//! # admin.create_user("app", "correct horse battery").await?;
//! # admin.assign_role(BuiltInRole::CryptoUser, "app", Scope::Keys).await?;
//! # with(&hsm.login("app", "correct horse battery").await?).await
//! # }).unwrap();
//! ```
//!
//! Content is a reader, which is read on the thread that polls: programs with an async runtime sign and verify large files on
//! a thread that may block.
//!
//! # What is signed
//!
//! The HSM signs attributes, not the content (RFC 5652 section 5.4): the content's type and digest, the time of signing, and
//! the digest of the signer's certificate (RFC 5035), so that no other certificate of the same key takes its place. The
//! signature holds the certificates as well. Its digest is that of the key's algorithm; SHA-512 for Ed25519 (RFC 8419) and
//! ML-DSA (RFC 9882).
//!
//! # What is verified
//!
//! [`verify`] accepts a signature if all of this holds for every signer in it (there is one at least):
//!
//! - the content's digest is the signed one, and the certificate's too, if it was signed;
//! - the key in the signer's certificate, which the signature holds, made the signature over the attributes;
//! - the certificate allows signatures, for the [`Purpose`], and leads to one of the roots at the time of [`Trust`] (the crate
//!   [`webpki`](https://docs.rs/rustls-webpki) builds the chain), which is now unless it says otherwise;
//! - no certificate of the chain is on a revocation list. This is looked at only if
//!   [`Trust::revocation_lists`] has lists; nothing is ever fetched.
//!
//! The time of signing is what the signer says. Who needs another's word for it needs a timestamp (RFC 3161), which this
//! module neither makes nor reads; attributes that are not signed are ignored.
//!
//! Signatures without signed attributes, with the content in them (attached), or of content that is not plain data are
//! refused, as are digests other than SHA-256, SHA-384 and SHA-512. ECDSA is taken with the digest of the curve, RSA-PSS
//! with a salt as long as its digest. Chains with secp256k1 keys are beyond `webpki`.
//!
//! # OpenSSL
//!
//! ```text
//! openssl cms -verify -binary -inform PEM -in contract.pdf.cms -content contract.pdf -CAfile root.pem -purpose any -out /dev/null
//! ```
//!
//! Without `-binary` it changes the ends of lines before it verifies; without `-purpose any` it asks for a certificate for mail.
//! OpenSSL 3.0 has no CMS with Ed25519 keys.

mod attributes;
mod digest;
mod signer;
mod trust;
mod verify;

use ::cms::builder;
use ::cms::cert::CertificateChoices;
use ::cms::content_info::ContentInfo;
use ::cms::signed_data::SignedData;
use hsm_core::{Error, ErrorKind, Result};
use x509_cert::Certificate;
use x509_cert::der::oid::db::rfc5911::{ID_DATA, ID_SIGNED_DATA};
use x509_cert::der::{self, Any, Decode, DecodePem, Encode};

pub use signer::DocumentSigner;
pub use trust::{Purpose, Trust};
pub use verify::{SignedBy, verify};

#[doc(no_inline)]
pub use ::cms;

use crate::x509::{invalid, to_pem, unencodable};

/// The longest signature that is read, in bytes, in DER or PEM: 64 KiB, certificates included.
pub const SIGNATURE_LEN_MAX: usize = crate::x509::verify::LEN_MAX;
/// The most signers that a signature has.
pub const SIGNERS_MAX: usize = 16;
/// The most certificates that a signature has.
pub const CERTIFICATES_MAX: usize = 64;

/// A signature that is kept beside what it is for: CMS SignedData without content, of one signer or more.
///
/// A value of this type has the right shape. Whether it is right, [`verify`] says.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct DetachedSignature {
    data: SignedData,
}

impl DetachedSignature {
    /// Reads a signature in DER.
    ///
    /// # Errors
    ///
    /// [`LimitExceeded`](ErrorKind::LimitExceeded) above [`SIGNATURE_LEN_MAX`], [`SIGNERS_MAX`] or [`CERTIFICATES_MAX`].
    /// [`InvalidInput`](ErrorKind::InvalidInput) for what is no signature, has no signer, or has its content in it.
    /// [`Unsupported`](ErrorKind::Unsupported) if it is for content that is not plain data.
    pub fn from_der(der: &[u8]) -> Result<Self> {
        check("bytes", der.len(), SIGNATURE_LEN_MAX)?;
        ContentInfo::from_der(der)
            .map_err(unreadable)
            .and_then(|info| Self::from_content_info(&info))
    }

    /// Reads a signature in PEM, with the label `CMS`.
    ///
    /// # Errors
    ///
    /// As [`from_der`](Self::from_der).
    pub fn from_pem(pem: impl AsRef<[u8]>) -> Result<Self> {
        check("bytes", pem.as_ref().len(), SIGNATURE_LEN_MAX)?;
        ContentInfo::from_pem(pem)
            .map_err(unreadable)
            .and_then(|info| Self::from_content_info(&info))
    }

    fn from_content_info(info: &ContentInfo) -> Result<Self> {
        if info.content_type != ID_SIGNED_DATA {
            return Err(invalid(format!(
                "this is CMS, but no signature: its type is {}",
                info.content_type
            )));
        }
        let data = info.content.decode_as().map_err(unreadable)?;
        Self::from_signed_data(data)
    }

    fn from_signed_data(data: SignedData) -> Result<Self> {
        let content = &data.encap_content_info;
        if content.econtent.is_some() {
            return Err(invalid(
                "the signature has its content in it (attached); this takes the signature and the content apart (detached)",
            ));
        }
        if content.econtent_type != ID_DATA {
            return Err(Error::new(
                ErrorKind::Unsupported,
                format!(
                    "the signature is for content of the type {}, not for plain data",
                    content.econtent_type
                ),
            ));
        }
        check("signers", data.signer_infos.0.len(), SIGNERS_MAX)?;
        if data.signer_infos.0.is_empty() {
            return Err(invalid("nobody signed: there are certificates only"));
        }
        let certificates = data.certificates.as_ref().map_or(0, |set| set.0.len());
        check("certificates", certificates, CERTIFICATES_MAX)?;
        Ok(Self { data })
    }

    /// The certificates in it, of signers and authorities, in no order. They are not verified.
    pub fn certificates(&self) -> impl Iterator<Item = &Certificate> {
        let choices = self.data.certificates.iter().flat_map(|set| set.0.iter());
        choices.filter_map(|choice| match choice {
            CertificateChoices::Certificate(certificate) => Some(certificate),
            CertificateChoices::Other(_) => None,
        })
    }

    /// The signature as the crate `cms` has it.
    #[must_use]
    pub fn as_cms(&self) -> &SignedData {
        &self.data
    }

    /// In DER.
    ///
    /// # Errors
    ///
    /// None, other than of the encoder.
    pub fn to_der(&self) -> Result<Vec<u8>> {
        self.content_info()?.to_der().map_err(unencodable)
    }

    /// In PEM, with the label `CMS` (RFC 7468 section 9).
    ///
    /// # Errors
    ///
    /// None, other than of the encoder.
    pub fn to_pem(&self) -> Result<String> {
        to_pem(&self.content_info()?)
    }

    fn content_info(&self) -> Result<ContentInfo> {
        Ok(ContentInfo {
            content_type: ID_SIGNED_DATA,
            content: Any::encode_from(&self.data).map_err(unencodable)?,
        })
    }
}

fn check(what: &str, number: usize, most: usize) -> Result<()> {
    if number <= most {
        return Ok(());
    }
    Err(Error::new(
        ErrorKind::LimitExceeded,
        format!("the signature has {number} {what}, at most {most} are allowed"),
    ))
}

fn unreadable(source: der::Error) -> Error {
    invalid("this is not a signature (CMS SignedData) in DER or PEM").with_source(source)
}

fn unbuildable(source: builder::Error) -> Error {
    unencodable(source)
}
