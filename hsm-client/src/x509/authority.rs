//! [`CertificateAuthority`]: a key that issues certificates, and the certificate that says it may.

use std::fmt;
use std::time::Duration;

use hsm_core::Result;
use signature::Keypair;
use spki::{AlgorithmIdentifierOwned, DynSignatureAlgorithmIdentifier};
use x509_cert::Certificate;
use x509_cert::builder::{Builder, CertificateBuilder};
use x509_cert::certificate::{TbsCertificate, Version};
use x509_cert::crl::{CertificateList, RevokedCert, TbsCertList};
use x509_cert::der::asn1::Uint;
use x509_cert::der::oid::AssociatedOid;
use x509_cert::der::referenced::OwnedToRef;
use x509_cert::der::{self, Decode, Encode};
use x509_cert::ext::ToExtension;
use x509_cert::ext::pkix::{
    AuthorityKeyIdentifier, BasicConstraints, CrlNumber, CrlReason, KeyUsage, SubjectKeyIdentifier,
};
use x509_cert::serial_number::SerialNumber;
use x509_cert::spki::SubjectPublicKeyInfoOwned;
use x509_cert::time::{Time, Validity};

use super::profile::{Purpose, Shape};
use super::{CertificateRequest, Profile, check_key, from_now, invalid, name, sign, unencodable};
use crate::key::Key;
use crate::session::Session;
use crate::signature::{SignatureKind, Signer};

/// A key that issues certificates, and the certificate that says it may. Cheap to clone.
///
/// It stays at the key's version that the certificate is for. See the [module](super) for an example.
pub struct CertificateAuthority<A: SignatureKind> {
    session: Session,
    signer: Signer<A>,
    certificate: Certificate,
    key_id: SubjectKeyIdentifier,
}

impl<A: SignatureKind> CertificateAuthority<A> {
    /// A root authority: makes the certificate that the key signs for itself, for `subject` such as
    /// `CN=Example Root,O=Example,C=GB` (RFC 4514).
    ///
    /// Keep the [`certificate`](Self::certificate): with it, [`open`](Self::open) has the authority again.
    ///
    /// # Errors
    ///
    /// [`InvalidInput`](hsm_core::ErrorKind::InvalidInput) for a subject that is empty or none, or a validity that ends
    /// before it begins. Otherwise as [`Key::sign`].
    pub async fn root(
        session: &Session,
        key: &Key<A>,
        subject: &str,
        validity: Validity,
    ) -> Result<Self> {
        let subject = name(subject)?;
        if subject.is_empty() {
            return Err(invalid("an authority has a name"));
        }
        let signer = key.signer().await?;
        let spki = spki(&signer)?;
        let shape = Shape {
            issuer: subject.clone(),
            subject,
            names: Vec::new(),
            authority: None,
            purpose: Purpose::Authority { path_len: None },
        };
        let certificate = certify(session, &signer, shape, spki, validity).await?;
        Self::with(session, signer, certificate)
    }

    /// The authority of a key and the certificate that was issued for it.
    ///
    /// # Errors
    ///
    /// [`InvalidInput`](hsm_core::ErrorKind::InvalidInput) if the certificate is for another key (or another version than
    /// the handle's: see [`Key::at`]) or says that its key issues none.
    pub async fn open(session: &Session, key: &Key<A>, certificate: Certificate) -> Result<Self> {
        let signer = key.signer().await?;
        check_key(&certificate, signer.public_key())?;
        Self::with(session, signer, certificate)
    }

    fn with(session: &Session, signer: Signer<A>, certificate: Certificate) -> Result<Self> {
        let tbs = certificate.tbs_certificate();
        let constraints = extension::<BasicConstraints>(tbs)?;
        let usage = extension::<KeyUsage>(tbs)?;
        let may = constraints.is_some_and(|constraints| constraints.ca)
            && usage.is_none_or(|usage| usage.key_cert_sign());
        if !may {
            return Err(invalid(format!(
                "the certificate of {} is not one of an authority: it may not issue others",
                tbs.subject()
            )));
        }
        let key_id = match extension(tbs)? {
            Some(key_id) => key_id,
            None => SubjectKeyIdentifier::try_from(tbs.subject_public_key_info().owned_to_ref())
                .map_err(unencodable)?,
        };
        Ok(Self {
            session: session.clone(),
            signer,
            certificate,
            key_id,
        })
    }

    /// The authority's own certificate.
    #[must_use]
    pub fn certificate(&self) -> &Certificate {
        &self.certificate
    }

    /// Issues a certificate for the subject, the key and the alternative names of a request. Look at them first: whether
    /// they are the asker's is not the HSM's to know.
    ///
    /// # Errors
    ///
    /// [`InvalidInput`](hsm_core::ErrorKind::InvalidInput) for a validity that ends before it begins or goes beyond the
    /// authority's own, for an authority below one that may have none, for a TLS server without alternative name, and for
    /// nobody at all.
    /// Otherwise as [`Key::sign`].
    pub async fn issue(
        &self,
        request: &CertificateRequest,
        profile: Profile,
        validity: Validity,
    ) -> Result<Certificate> {
        profile.check_names(request.subject(), request.alternative_names())?;
        self.check_path(profile)?;
        self.check_validity(&validity)?;
        let shape = Shape {
            issuer: self.certificate.tbs_certificate().subject().clone(),
            subject: request.subject().clone(),
            names: request.alternative_names().to_vec(),
            authority: Some(self.key_id.clone()),
            purpose: profile.purpose(),
        };
        let key = request.public_key().clone();
        certify(&self.session, &self.signer, shape, key, validity).await
    }

    /// The list of what was revoked, all of it each time (RFC 5280 section 5). `number` grows with each list; the next one
    /// comes within `lasts`.
    ///
    /// # Errors
    ///
    /// [`InvalidInput`](hsm_core::ErrorKind::InvalidInput) if the authority's certificate says that its key signs no such
    /// lists, or for one that lasts beyond the year 9999. Otherwise as [`Key::sign`].
    pub async fn revocation_list(
        &self,
        number: u64,
        lasts: Duration,
        revoked: impl IntoIterator<Item = RevokedCert>,
    ) -> Result<CertificateList> {
        let tbs = self.certificate.tbs_certificate();
        let issuer = tbs.subject();
        if extension::<KeyUsage>(tbs)?.is_some_and(|usage| !usage.crl_sign()) {
            return Err(invalid(format!(
                "the certificate of {issuer} says that its key signs no revocation lists"
            )));
        }
        let number = CrlNumber(Uint::new(&number.to_be_bytes()).map_err(unencodable)?);
        let authority = AuthorityKeyIdentifier {
            key_identifier: Some(self.key_id.0.clone()),
            ..Default::default()
        };
        let extensions = vec![
            number.to_extension(issuer, &[]).map_err(unencodable)?,
            authority.to_extension(issuer, &[]).map_err(unencodable)?,
        ];
        let revoked: Vec<_> = revoked.into_iter().collect();
        let validity = from_now(lasts)?;
        let signature = A::algorithm_identifier().map_err(unencodable)?;
        let tbs_cert_list = TbsCertList {
            version: Version::V2,
            signature: signature.clone(),
            issuer: issuer.clone(),
            this_update: validity.not_before,
            next_update: Some(validity.not_after),
            // Absent if empty (RFC 5280 section 5.1.2.6).
            revoked_certificates: (!revoked.is_empty()).then_some(revoked),
            crl_extensions: Some(extensions),
        };
        let message = tbs_cert_list.to_der().map_err(unencodable)?;
        Ok(CertificateList {
            tbs_cert_list,
            signature_algorithm: signature,
            signature: sign(&self.signer, &message).await?,
        })
    }

    fn check_path(&self, profile: Profile) -> Result<()> {
        let Profile::IssuingCa { path_len } = profile else {
            return Ok(());
        };
        let own = extension::<BasicConstraints>(self.certificate.tbs_certificate())?
            .and_then(|constraints| constraints.path_len_constraint);
        match own {
            Some(own) if path_len >= own => Err(invalid(format!(
                "an authority with a path length of {own} issues to authorities with a smaller one only, not {path_len}"
            ))),
            _ => Ok(()),
        }
    }

    fn check_validity(&self, validity: &Validity) -> Result<()> {
        let own = self.certificate.tbs_certificate().validity();
        let (from, to) = (own.not_before, own.not_after);
        if validity.not_before.to_unix_duration() < from.to_unix_duration()
            || validity.not_after.to_unix_duration() > to.to_unix_duration()
        {
            return Err(invalid(format!(
                "a certificate from {} to {} would not lie within the authority's own, from {from} to {to}",
                validity.not_before, validity.not_after
            )));
        }
        Ok(())
    }
}

/// A certificate as revoked from now on, for [`revocation_list`](CertificateAuthority::revocation_list).
///
/// # Errors
///
/// None, other than of the encoder.
pub fn revoked_now(serial: &SerialNumber, reason: CrlReason) -> Result<RevokedCert> {
    // "Unspecified" is said by saying nothing (RFC 5280 section 5.3.1).
    let extensions = match reason {
        CrlReason::Unspecified => None,
        reason => {
            let extension = reason.to_extension(&Default::default(), &[]);
            Some(vec![extension.map_err(unencodable)?])
        }
    };
    Ok(RevokedCert {
        serial_number: serial.clone(),
        revocation_date: Time::now().map_err(unencodable)?,
        crl_entry_extensions: extensions,
    })
}

async fn certify<A: SignatureKind>(
    session: &Session,
    signer: &Signer<A>,
    shape: Shape,
    key: SubjectPublicKeyInfoOwned,
    validity: Validity,
) -> Result<Certificate> {
    if validity.not_after.to_unix_duration() <= validity.not_before.to_unix_duration() {
        return Err(invalid("the validity ends before it begins"));
    }
    let serial = serial_number(session).await?;
    let mut builder = CertificateBuilder::new(shape, serial, validity, key).map_err(unencodable)?;
    let public_half = PublicHalf(signer);
    let message = builder.finalize(&public_half).map_err(unencodable)?;
    let signature = sign(signer, &message).await?;
    builder
        .assemble(signature, &public_half)
        .map_err(unencodable)
}

/// Positive and 20 bytes (RFC 5280 section 4.1.2.2), of which 158 bits are random.
async fn serial_number(session: &Session) -> Result<SerialNumber> {
    let mut bytes = session.random(SERIAL_LEN).await?.expose().to_vec();
    if let Some(first) = bytes.first_mut() {
        *first = *first & 0x7f | 0x40;
    }
    SerialNumber::new(&bytes).map_err(unencodable)
}

fn spki<A: SignatureKind>(signer: &Signer<A>) -> Result<SubjectPublicKeyInfoOwned> {
    let der = signer.public_key().to_spki_der()?;
    SubjectPublicKeyInfoOwned::from_der(&der).map_err(unencodable)
}

fn extension<'a, T>(tbs: &'a TbsCertificate) -> Result<Option<T>>
where
    T: Decode<'a, Error = der::Error> + AssociatedOid,
{
    let found = tbs
        .get_extension::<T>()
        .map_err(|source| invalid("the certificate cannot be read").with_source(source))?;
    Ok(found.map(|(_, extension)| extension))
}

/// What the builder asks of a signer before it is told the signature.
struct PublicHalf<'s, A: SignatureKind>(&'s Signer<A>);

impl<A: SignatureKind> Keypair for PublicHalf<'_, A> {
    type VerifyingKey = A::VerifyingKey;

    fn verifying_key(&self) -> A::VerifyingKey {
        self.0.verifying_key()
    }
}

impl<A: SignatureKind> DynSignatureAlgorithmIdentifier for PublicHalf<'_, A> {
    fn signature_algorithm_identifier(&self) -> spki::Result<AlgorithmIdentifierOwned> {
        A::algorithm_identifier()
    }
}

impl<A: SignatureKind> Clone for CertificateAuthority<A> {
    fn clone(&self) -> Self {
        Self {
            session: self.session.clone(),
            signer: self.signer.clone(),
            certificate: self.certificate.clone(),
            key_id: self.key_id.clone(),
        }
    }
}

impl<A: SignatureKind> fmt::Debug for CertificateAuthority<A> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let subject = self.certificate.tbs_certificate().subject();
        write!(f, "CertificateAuthority({subject}, {:?})", self.signer)
    }
}

const SERIAL_LEN: usize = 20;
