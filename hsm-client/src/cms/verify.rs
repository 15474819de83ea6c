//! Whether a detached signature is right.

use std::fmt;
use std::io::Read;
use std::time::SystemTime;

use ::cms::signed_data::{SignerIdentifier, SignerInfo};
use hsm_core::{Algorithm, Error, ErrorKind, Hash, PublicKey, Result};
use spki::AlgorithmIdentifierOwned;
use x509_cert::Certificate;
use x509_cert::der::Encode;
use x509_cert::der::oid::db::rfc5912::RSA_ENCRYPTION;
use x509_cert::ext::pkix::SubjectKeyIdentifier;

use super::attributes::Signed;
use super::digest::{Digests, hash_of, named};
use super::{DetachedSignature, Trust};
use crate::x509::{invalid, unencodable, verify as x509_verify};

/// Verifies a signature over all that `content` has: every signer in it, and that each is to be trusted. Needs no HSM. What
/// it looks at, the [module](super) says.
///
/// It says who signed; whether they are the ones whose signature was wanted is for the caller to see.
///
/// # Errors
///
/// | [`ErrorKind`] | the signature |
/// |---|---|
/// | [`CryptoFailed`](ErrorKind::CryptoFailed) | is wrong, or for other content |
/// | [`InvalidInput`](ErrorKind::InvalidInput) | lacks signed attributes or the signer's certificate, or that is not to be trusted |
/// | [`Unsupported`](ErrorKind::Unsupported) | has a digest or an algorithm that is not known here |
///
/// [`StoreFailed`](ErrorKind::StoreFailed) if the content cannot be read.
pub fn verify(
    signature: &DetachedSignature,
    content: impl Read,
    trust: &Trust,
) -> Result<Vec<SignedBy>> {
    let claims = signature
        .as_cms()
        .signer_infos
        .0
        .iter()
        .map(|info| Claim::verified(info, signature, trust))
        .collect::<Result<Vec<_>>>()?;
    let hashes: Vec<_> = claims.iter().map(|claim| claim.hash).collect();
    let digests = Digests::read(content, &hashes)?;
    for claim in &claims {
        claim.signed.check_content(&digests, claim.hash)?;
    }
    Ok(claims.into_iter().map(SignedBy::from).collect())
}

/// A signer whose signature was verified.
#[derive(Clone)]
pub struct SignedBy {
    certificate: Certificate,
    algorithm: Algorithm,
    time: Option<SystemTime>,
}

impl SignedBy {
    /// The signer's certificate.
    #[must_use]
    pub fn certificate(&self) -> &Certificate {
        &self.certificate
    }

    /// What it was signed with.
    #[must_use]
    pub fn algorithm(&self) -> Algorithm {
        self.algorithm
    }

    /// When it was signed, by the signer's word alone.
    #[must_use]
    pub fn claimed_time(&self) -> Option<SystemTime> {
        self.time
    }
}

impl From<Claim> for SignedBy {
    fn from(claim: Claim) -> Self {
        Self {
            time: claim.signed.time(),
            certificate: claim.certificate,
            algorithm: claim.algorithm,
        }
    }
}

impl fmt::Debug for SignedBy {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let subject = self.certificate.tbs_certificate().subject();
        write!(f, "SignedBy({subject}, {})", self.algorithm)
    }
}

/// What one signer says of the content.
struct Claim {
    signed: Signed,
    hash: Hash,
    certificate: Certificate,
    algorithm: Algorithm,
}

impl Claim {
    /// Reads what was signed, once it is certain that a signer who is trusted did.
    fn verified(info: &SignerInfo, signature: &DetachedSignature, trust: &Trust) -> Result<Self> {
        let hash = named(&info.digest_alg)?;
        // Without them the signature would be over the content itself, which could be the attributes of another one.
        let attributes = info.signed_attrs.as_ref().ok_or_else(|| {
            invalid("the signature has no signed attributes: the content's digest is not signed")
        })?;
        let certificate = signature
            .certificates()
            .find(|certificate| is_of(certificate, &info.sid))
            .ok_or_else(|| {
                invalid("the signer's certificate is not in the signature: sign with it included")
            })?;

        let public = public_key(certificate)?;
        let algorithm = algorithm(&public, &info.signature_algorithm, hash)?;
        // As a SET OF, which is not how they stand in the message (RFC 5652 section 5.4).
        let message = attributes.to_der().map_err(unencodable)?;
        x509_verify::made(&public, algorithm, &message, info.signature.as_bytes())?;

        let signed = Signed::read(attributes)?;
        signed.check_certificate(certificate)?;
        trust.check(certificate, signature.certificates())?;
        Ok(Self {
            signed,
            hash,
            certificate: certificate.clone(),
            algorithm,
        })
    }
}

fn is_of(certificate: &Certificate, signer: &SignerIdentifier) -> bool {
    let tbs = certificate.tbs_certificate();
    match signer {
        SignerIdentifier::IssuerAndSerialNumber(id) => {
            tbs.issuer() == &id.issuer && tbs.serial_number() == &id.serial_number
        }
        SignerIdentifier::SubjectKeyIdentifier(id) => {
            let own = tbs.get_extension::<SubjectKeyIdentifier>();
            matches!(own, Ok(Some((_, own))) if own == *id)
        }
    }
}

fn public_key(certificate: &Certificate) -> Result<PublicKey> {
    let spki = certificate.tbs_certificate().subject_public_key_info();
    PublicKey::from_spki_der(&spki.to_der().map_err(unencodable)?)
}

/// The algorithm of a signature, from what stands beside it and, where that leaves the hash open, from the content's.
fn algorithm(
    public: &PublicKey,
    identifier: &AlgorithmIdentifierOwned,
    hash: Hash,
) -> Result<Algorithm> {
    let key_type = public.key_type();
    if identifier.oid != RSA_ENCRYPTION {
        return x509_verify::algorithm(key_type, identifier);
    }
    [Algorithm::Rs256, Algorithm::Rs384, Algorithm::Rs512]
        .into_iter()
        .find(|algorithm| hash_of(*algorithm) == hash && algorithm.fits(key_type))
        .ok_or_else(|| {
            Error::new(
                ErrorKind::Unsupported,
                format!("a key of type {key_type} does not sign with RSA"),
            )
        })
}
