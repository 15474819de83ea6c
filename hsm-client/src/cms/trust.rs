//! [`Trust`]: whose signatures are accepted, for what, and when.

use std::time::SystemTime;

use hsm_core::Result;
use rustls_pki_types::{CertificateDer, UnixTime};
use webpki::{
    ALL_VERIFICATION_ALGS, CertRevocationList, EndEntityCert, ExtendedKeyUsageValidator,
    KeyPurposeId, KeyPurposeIdIter, OwnedCertRevocationList, RequiredEkuNotFoundContext,
    RevocationOptionsBuilder, anchor_from_trusted_cert,
};
use x509_cert::Certificate;
use x509_cert::crl::CertificateList;
use x509_cert::der::Encode;
use x509_cert::ext::pkix::{ExtendedKeyUsage, KeyUsage};

use crate::x509::{invalid, unencodable};

/// What a signer's certificate must be for (the extended key usages of RFC 5280 section 4.2.1.12).
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
#[non_exhaustive]
pub enum Purpose {
    /// Whatever it is for.
    Any,
    /// Programs: the certificate says so.
    CodeSigning,
    /// Documents (RFC 9336) and mail: the certificate says so, or is for any purpose.
    DocumentSigning,
}

/// Whose signatures [`verify`](super::verify) accepts: those of certificates that lead to one of the roots, for the purpose, at
/// the time.
#[derive(Clone, Debug)]
#[must_use]
pub struct Trust {
    purpose: Purpose,
    roots: Vec<CertificateDer<'static>>,
    at: Option<SystemTime>,
    lists: Vec<OwnedCertRevocationList>,
}

impl Trust {
    /// Trust in what these roots have issued, now, whether it was revoked or not. A certificate that is no authority's may be
    /// among them: then its own key is trusted, if it signed the certificate itself.
    ///
    /// # Errors
    ///
    /// [`InvalidInput`](hsm_core::ErrorKind::InvalidInput) without roots, or for one that cannot be read.
    pub fn new(purpose: Purpose, roots: impl IntoIterator<Item = Certificate>) -> Result<Self> {
        let roots: Vec<_> = roots
            .into_iter()
            .map(|root| der(&root))
            .collect::<Result<_>>()?;
        if roots.is_empty() {
            return Err(invalid(
                "without a root nobody is trusted: give one at least",
            ));
        }
        for root in &roots {
            anchor_from_trusted_cert(root).map_err(|source| {
                invalid(format!("a root cannot be trusted: {source}")).with_source(source)
            })?;
        }
        Ok(Self {
            purpose,
            roots,
            at: None,
            lists: Vec::new(),
        })
    }

    /// The certificates need be valid at this time, not now: that of a timestamp, or of an archive that noted when the
    /// document came. Not the one that the signature claims, which a thief of the key chooses.
    pub fn at(mut self, time: SystemTime) -> Self {
        self.at = Some(time);
        self
    }

    /// Refuses certificates that are on one of these lists, and those whose issuer has no list here that is still good.
    ///
    /// # Errors
    ///
    /// [`InvalidInput`](hsm_core::ErrorKind::InvalidInput) for a list that cannot be read.
    pub fn revocation_lists(
        mut self,
        lists: impl IntoIterator<Item = CertificateList>,
    ) -> Result<Self> {
        for list in lists {
            let der = list.to_der().map_err(unencodable)?;
            let list = OwnedCertRevocationList::from_der(&der).map_err(|source| {
                invalid(format!("a revocation list cannot be read: {source}")).with_source(source)
            })?;
            self.lists.push(list);
        }
        Ok(self)
    }

    /// Whether a signer's certificate is to be trusted, `among` others that may lead to a root.
    pub(super) fn check<'c>(
        &self,
        certificate: &Certificate,
        among: impl Iterator<Item = &'c Certificate>,
    ) -> Result<()> {
        let refused = |why: String| {
            let subject = certificate.tbs_certificate().subject();
            invalid(format!(
                "the certificate of {subject} is not trusted: {why}"
            ))
        };
        self.check_usage(certificate)
            .map_err(|why| refused(why.to_string()))?;
        self.check_chain(certificate, among)?
            .map_err(|source| refused(reason(&source)).with_source(source))
    }

    /// What `webpki` leaves to its caller.
    fn check_usage(&self, certificate: &Certificate) -> Result<(), &'static str> {
        let tbs = certificate.tbs_certificate();
        let usage = tbs
            .get_extension::<KeyUsage>()
            .map_err(|_| "its key usage cannot be read")?;
        if usage.is_some_and(|(_, usage)| !usage.digital_signature() && !usage.non_repudiation()) {
            return Err("its key is not for signatures");
        }
        let extended = tbs
            .get_extension::<ExtendedKeyUsage>()
            .map_err(|_| "its extended key usage cannot be read")?;
        if self.purpose == Purpose::CodeSigning && extended.is_none() {
            return Err("it does not say that it is for code signing");
        }
        Ok(())
    }

    fn check_chain<'c>(
        &self,
        certificate: &Certificate,
        among: impl Iterator<Item = &'c Certificate>,
    ) -> Result<Result<(), webpki::Error>> {
        let others = among.map(der).collect::<Result<Vec<_>>>()?;
        let certificate = der(certificate)?;
        let time = self.time()?;
        let lists: Vec<_> = self
            .lists
            .iter()
            .map(|list| CertRevocationList::from(list.clone()))
            .collect();
        let lists: Vec<_> = lists.iter().collect();
        let verified = || {
            let anchors = self
                .roots
                .iter()
                .map(|root| anchor_from_trusted_cert(root))
                .collect::<Result<Vec<_>, _>>()?;
            // It fails if there are no lists, which is how revocation is left out.
            let revocation = RevocationOptionsBuilder::new(&lists).ok();
            EndEntityCert::try_from(&certificate)?
                .verify_for_usage(
                    ALL_VERIFICATION_ALGS,
                    &anchors,
                    &others,
                    time,
                    self.purpose,
                    revocation.map(RevocationOptionsBuilder::build),
                    None,
                )
                .map(drop)
        };
        Ok(verified())
    }

    fn time(&self) -> Result<UnixTime> {
        let time = self.at.unwrap_or_else(SystemTime::now);
        time.duration_since(SystemTime::UNIX_EPOCH)
            .map(UnixTime::since_unix_epoch)
            .map_err(|source| invalid("nothing was signed before 1970").with_source(source))
    }
}

/// An authority without extended key usage issues for any purpose; one with it, for these.
impl ExtendedKeyUsageValidator for Purpose {
    fn validate(&self, present: KeyPurposeIdIter<'_, '_>) -> Result<(), webpki::Error> {
        let accepted: &[&[u8]] = match self {
            Self::Any => return Ok(()),
            Self::CodeSigning => &[CODE_SIGNING],
            Self::DocumentSigning => &[DOCUMENT_SIGNING, EMAIL_PROTECTION, ANY],
        };
        let mut others = Vec::new();
        for id in present {
            let id = id?;
            if accepted.iter().any(|known| KeyPurposeId::new(known) == id) {
                return Ok(());
            }
            others.push(id.to_decoded_oid());
        }
        if others.is_empty() {
            return Ok(());
        }
        let context = RequiredEkuNotFoundContext {
            required: webpki::KeyUsage::required(accepted[0]),
            present: others,
        };
        Err(webpki::Error::RequiredEkuNotFoundContext(context))
    }
}

/// Why a chain was refused, in words.
fn reason(error: &webpki::Error) -> String {
    use webpki::Error::{
        CaUsedAsEndEntity, CertExpired, CertNotValidYet, CertRevoked, CrlExpired,
        RequiredEkuNotFoundContext, UnknownIssuer, UnknownRevocationStatus,
    };
    let known = match error {
        CaUsedAsEndEntity => "it is an authority's, which signs certificates and no documents",
        CertExpired { .. } => "it, or one that leads to it, has expired",
        CertNotValidYet { .. } => "it, or one that leads to it, is not valid yet",
        CertRevoked => "it, or one that leads to it, was revoked",
        CrlExpired { .. } => "a revocation list is out of date",
        RequiredEkuNotFoundContext(_) => "it is for another purpose",
        UnknownIssuer => "it does not lead to a root that is trusted",
        UnknownRevocationStatus => "no revocation list says whether it was revoked",
        other => return format!("{other:?}"),
    };
    known.to_owned()
}

fn der(certificate: &Certificate) -> Result<CertificateDer<'static>> {
    let der = certificate.to_der().map_err(unencodable)?;
    Ok(CertificateDer::from(der))
}

/// Key purposes, as the contents of an OBJECT IDENTIFIER.
const ANY: &[u8] = &[0x55, 0x1d, 0x25, 0x00];
const CODE_SIGNING: &[u8] = &[0x2b, 0x06, 0x01, 0x05, 0x05, 0x07, 0x03, 0x03];
const DOCUMENT_SIGNING: &[u8] = &[0x2b, 0x06, 0x01, 0x05, 0x05, 0x07, 0x03, 0x24];
const EMAIL_PROTECTION: &[u8] = &[0x2b, 0x06, 0x01, 0x05, 0x05, 0x07, 0x03, 0x04];
