//! The signed attributes: what is made, and what is read.

use std::time::SystemTime;

use ::cms::attr::MessageDigest;
use hsm_core::{Error, Hash, Result};
use sha2::{Digest, Sha256};
use spki::AlgorithmIdentifierOwned;
use x509_cert::Certificate;
use x509_cert::attr::{Attribute, Attributes};
use x509_cert::der::asn1::OctetString;
use x509_cert::der::oid::ObjectIdentifier;
use x509_cert::der::oid::db::rfc5911::{
    ID_CONTENT_TYPE, ID_DATA, ID_MESSAGE_DIGEST, ID_SIGNING_TIME,
};
use x509_cert::der::{self, Any, Decode, Encode, Sequence};
use x509_cert::time::Time;

use super::digest::{self, Digests};
use super::unreadable;
use crate::x509::{invalid, unencodable};

/// RFC 5652 section 11.3.
pub(super) fn signing_time(time: SystemTime) -> Result<Attribute> {
    let time = Time::try_from(time).map_err(|source| {
        invalid("a signature is made before the year 10000").with_source(source)
    })?;
    attribute(ID_SIGNING_TIME, &time)
}

/// Which certificate it is that the signature is verified with (RFC 5035 section 3).
pub(super) fn signing_certificate(certificate: &Certificate) -> Result<Attribute> {
    let der = certificate.to_der().map_err(unencodable)?;
    let id = EssCertIdV2 {
        hash_algorithm: None,
        cert_hash: OctetString::new(Sha256::digest(der).to_vec()).map_err(unencodable)?,
        issuer_serial: None,
    };
    let value = SigningCertificateV2 {
        certs: vec![id],
        policies: None,
    };
    attribute(ID_AA_SIGNING_CERTIFICATE_V2, &value)
}

/// What a signer has signed.
pub(super) struct Signed {
    digest: Box<[u8]>,
    time: Option<Time>,
    certificate: Option<SigningCertificateV2>,
}

impl Signed {
    /// Reads the attributes. Those that say what is signed are there once, and once only.
    pub(super) fn read(attributes: &Attributes) -> Result<Self> {
        let Some(content_type) = single(attributes, ID_CONTENT_TYPE)? else {
            return Err(missing("type"));
        };
        if decode::<ObjectIdentifier>(content_type)? != ID_DATA {
            return Err(invalid(
                "the signed type of the content is another than the one that stands beside it",
            ));
        }
        let Some(digest) = single(attributes, ID_MESSAGE_DIGEST)? else {
            return Err(missing("digest"));
        };
        let time = single(attributes, ID_SIGNING_TIME)?;
        let certificate = single(attributes, ID_AA_SIGNING_CERTIFICATE_V2)?;
        Ok(Self {
            digest: MessageDigest(decode(digest)?).into_bytes(),
            time: time.map(decode).transpose()?,
            certificate: certificate.map(decode).transpose()?,
        })
    }

    /// Whether this is the content that was signed.
    pub(super) fn check_content(&self, digests: &Digests, hash: Hash) -> Result<()> {
        if digests.get(hash) == &*self.digest {
            return Ok(());
        }
        Err(Error::crypto())
    }

    /// Whether this is the certificate that the signer meant, if he said so.
    pub(super) fn check_certificate(&self, certificate: &Certificate) -> Result<()> {
        let Some(signed) = &self.certificate else {
            return Ok(());
        };
        // The first is the signer's (RFC 5035 section 3).
        let id = signed.certs.first().ok_or_else(Error::crypto)?;
        let hash = match &id.hash_algorithm {
            Some(identifier) => digest::named(identifier)?,
            None => Hash::Sha256,
        };
        let der = certificate.to_der().map_err(unencodable)?;
        if Digests::read(&der[..], &[hash])?.get(hash) == id.cert_hash.as_bytes() {
            return Ok(());
        }
        Err(Error::crypto())
    }

    /// When it was signed, by the signer's word.
    pub(super) fn time(&self) -> Option<SystemTime> {
        self.time.as_ref().map(Time::to_system_time)
    }
}

/// RFC 5035 section 3.
#[derive(Sequence)]
struct SigningCertificateV2 {
    certs: Vec<EssCertIdV2>,
    policies: Option<Any>,
}

/// RFC 5035 section 4. Without hash algorithm it is SHA-256.
#[derive(Sequence)]
struct EssCertIdV2 {
    hash_algorithm: Option<AlgorithmIdentifierOwned>,
    cert_hash: OctetString,
    issuer_serial: Option<Any>,
}

fn attribute(oid: ObjectIdentifier, value: &impl Encode) -> Result<Attribute> {
    let der = value.to_der().map_err(unencodable)?;
    let value = Any::from_der(&der).map_err(unencodable)?;
    Ok(Attribute {
        oid,
        values: [value].try_into().map_err(unencodable)?,
    })
}

/// The value of an attribute that is there at most once, with one value (RFC 5652 section 11).
fn single(attributes: &Attributes, oid: ObjectIdentifier) -> Result<Option<&Any>> {
    let mut found = attributes.iter().filter(|attribute| attribute.oid == oid);
    let Some(attribute) = found.next() else {
        return Ok(None);
    };
    match (found.next(), attribute.values.as_slice()) {
        (None, [value]) => Ok(Some(value)),
        _ => Err(invalid(format!(
            "the signed attribute {oid} is there more than once"
        ))),
    }
}

fn decode<T>(value: &Any) -> Result<T>
where
    T: for<'a> Decode<'a, Error = der::Error>,
{
    let der = value.to_der().map_err(unencodable)?;
    T::from_der(&der).map_err(unreadable)
}

fn missing(what: &str) -> Error {
    invalid(format!(
        "the signed attributes lack the {what} of the content"
    ))
}

const ID_AA_SIGNING_CERTIFICATE_V2: ObjectIdentifier =
    ObjectIdentifier::new_unwrap("1.2.840.113549.1.9.16.2.47");
