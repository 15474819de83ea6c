//! Certificates whose keys are in the HSM: requests, a certificate authority, revocation lists.
//!
//! ```
//! use std::time::Duration;
//!
//! use hsm_client::kinds::{EcdsaP256, EcdsaP384};
//! use hsm_client::x509::{self, CertificateAuthority, CertificateRequest, CrlReason, Profile};
//! use hsm_client::Session;
//!
//! # async fn with(session: &Session, csr: &str) -> hsm_client::Result<()> {
//! // A root, which signs itself.
//! let root_key = session.create::<EcdsaP384>("root").await?;
//! let root = CertificateAuthority::root(session, &root_key, "CN=Example Root", x509::days(3650)?).await?;
//!
//! // An authority below it, which issues to others.
//! let key = session.create::<EcdsaP256>("issuing").await?;
//! let request = CertificateRequest::new(&key, "CN=Example Issuing CA", [""; 0]).await?;
//! let certificate = root.issue(&request, Profile::IssuingCa { path_len: 0 }, x509::days(1825)?).await?;
//! let issuing = CertificateAuthority::open(session, &key, certificate).await?;
//!
//! // A server, whose request was made elsewhere.
//! let request = CertificateRequest::from_pem(csr)?;              // signed by the key in it, or refused
//! let server = issuing.issue(&request, Profile::TlsServer, x509::days(90)?).await?;
//! println!("{}{}", x509::to_pem(&server)?, x509::to_pem(issuing.certificate())?);
//!
//! // And when its key is lost:
//! let serial = server.tbs_certificate().serial_number();
//! let revoked = x509::revoked_now(serial, CrlReason::KeyCompromise)?;
//! let list = issuing.revocation_list(1, Duration::from_secs(86_400), [revoked]).await?;
//! # assert!(list.tbs_cert_list.revoked_certificates.is_some());
//! # Ok(())
//! # }
//! # use hsm_client::{BuiltInRole, Hsm, Scope, Setup};
//! # pollster::block_on(async {
//! # let hsm = Hsm::create("memory:", Setup::new("admin", "an administrator's password")).await?;
//! # let admin = hsm.login("admin", "an administrator's password").await?;
//! # admin.create_user("app", "correct horse battery").await?;
//! # admin.assign_role(BuiltInRole::CryptoUser, "app", Scope::Keys).await?;
//! # let session = hsm.login("app", "correct horse battery").await?;
//! # let key = session.create::<EcdsaP256>("server").await?;
//! # let request = CertificateRequest::new(&key, "CN=www.example.com", ["www.example.com"]).await?;
//! # with(&session, &request.to_pem()?).await
//! # }).unwrap();
//! ```
//!
//! The values are those of [`x509_cert`], which is here too. What is signed is what [`CertificateRequest`] and
//! [`CertificateAuthority`] make: with a key's current version, which must not change under a certificate. So an authority
//! stays at the version that its certificate is for.
//!
//! # Standards
//!
//! RFC 5280 (certificates and lists), RFC 2986 (requests), RFC 5758, 4055, 8410 and 9881 (algorithms). Serial numbers are 20
//! bytes from the HSM's random generator.

mod authority;
mod profile;
mod request;
pub(crate) mod verify;

use std::time::{Duration, SystemTime};

use hsm_core::key::typed::Signing;
use hsm_core::{Error, ErrorKind, PublicKey, Result};
use x509_cert::der::asn1::BitString;
use x509_cert::der::pem::{LineEnding, PemLabel};
use x509_cert::der::{self, Encode, EncodePem};
use x509_cert::name::Name;
use x509_cert::time::Time;

pub use authority::{CertificateAuthority, revoked_now};
pub use profile::Profile;
pub use request::CertificateRequest;
#[doc(no_inline)]
pub use x509_cert::{
    self, Certificate,
    crl::{CertificateList, RevokedCert},
    ext::pkix::CrlReason,
    ext::pkix::name::GeneralName,
    serial_number::SerialNumber,
    time::Validity,
};

use crate::certificate::public_key;
use crate::signature::{SignatureKind, Signer};

/// Longest certificate request that is read, in DER or PEM, in bytes: 64 KiB.
pub const REQUEST_LEN_MAX: usize = verify::LEN_MAX;

/// Valid from now on, for so many days.
///
/// # Errors
///
/// [`InvalidInput`](ErrorKind::InvalidInput) beyond the year 9999.
pub fn days(days: u32) -> Result<Validity> {
    from_now(Duration::from_secs(u64::from(days) * 24 * 60 * 60))
}

fn from_now(lasts: Duration) -> Result<Validity> {
    let late = || invalid("what is signed has to end before the year 10000");
    // `Validity::from_now` panics beyond what the system's clock can show.
    let now = SystemTime::now();
    let end = now.checked_add(lasts).ok_or_else(late)?;
    let time = |time: SystemTime| Time::try_from(time).map_err(|source| late().with_source(source));
    Ok(Validity::new(time(now)?, time(end)?))
}

/// A certificate, request or revocation list as PEM.
///
/// # Errors
///
/// [`InvalidInput`](ErrorKind::InvalidInput) if it cannot be encoded.
pub fn to_pem(value: &(impl Encode + PemLabel)) -> Result<String> {
    value.to_pem(LineEnding::LF).map_err(unencodable)
}

/// Whether a certificate is for a key: its public key is the one of the HSM.
///
/// # Errors
///
/// [`InvalidInput`](ErrorKind::InvalidInput) if it is for another key.
pub fn check_key(certificate: &Certificate, public: &PublicKey) -> Result<()> {
    if public_key(certificate)? == *public {
        return Ok(());
    }
    let tbs = certificate.tbs_certificate();
    Err(invalid(format!(
        "the certificate of {} is for another key; give the one that was issued for this key's version",
        tbs.subject()
    )))
}

/// Signs, and gives the signature as X.509 has it.
pub(crate) async fn sign<A: SignatureKind>(
    signer: &Signer<A>,
    message: &[u8],
) -> Result<BitString> {
    let made = signer.key().sign(message).await?;
    let public = signer.public_key();
    let bytes = public.to_der_signature(<A as Signing>::ALGORITHM, made.bytes())?;
    BitString::from_bytes(&bytes).map_err(unencodable)
}

fn name(text: &str) -> Result<Name> {
    if text.is_empty() {
        return Ok(Name::default());
    }
    text.parse().map_err(|source: der::Error| {
        invalid(format!(
            "{text:?} is not a name as RFC 4514 has it, such as CN=www.example.com,O=Example,C=GB"
        ))
        .with_source(source)
    })
}

pub(crate) fn invalid(message: impl Into<std::borrow::Cow<'static, str>>) -> Error {
    Error::new(ErrorKind::InvalidInput, message)
}

pub(crate) fn unencodable(source: impl std::error::Error + Send + Sync + 'static) -> Error {
    invalid("it cannot be encoded in DER").with_source(source)
}
