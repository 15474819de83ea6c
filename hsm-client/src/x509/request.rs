//! [`CertificateRequest`]: PKCS#10 (RFC 2986).

use std::net::IpAddr;

use hsm_core::Result;
use x509_cert::attr::Attributes;
use x509_cert::der::asn1::Ia5String;
use x509_cert::der::oid::AssociatedOid;
use x509_cert::der::{Decode, DecodePem, Encode};
use x509_cert::ext::pkix::SubjectAltName;
use x509_cert::ext::pkix::name::GeneralName;
use x509_cert::ext::{Extension, ToExtension};
use x509_cert::name::Name;
use x509_cert::request::{CertReq, CertReqInfo, ExtensionReq, Version};
use x509_cert::spki::SubjectPublicKeyInfoOwned;

use super::{invalid, name, sign, to_pem, unencodable, verify};
use crate::key::Key;
use crate::signature::SignatureKind;

/// A request for a certificate, signed by the key that the certificate will be for. A value of this type was made by that
/// key or was verified.
///
/// ```
/// use hsm_client::kinds::EcdsaP256;
/// use hsm_client::x509::CertificateRequest;
/// use hsm_client::Key;
///
/// # async fn with(key: &Key<EcdsaP256>) -> hsm_client::Result<()> {
/// let names = ["www.example.com", "192.0.2.1", "admin@example.com", "https://example.com/id"];
/// let request = CertificateRequest::new(key, "CN=www.example.com,O=Example,C=GB", names).await?;
/// std::fs::write("www.csr", request.to_pem()?).ok();
/// # Ok(())
/// # }
/// ```
#[derive(Clone, Debug)]
pub struct CertificateRequest {
    request: CertReq,
    names: Vec<GeneralName>,
}

impl CertificateRequest {
    /// A request for `subject`, such as `CN=www.example.com,O=Example,C=GB` (RFC 4514; empty for none), and the alternative
    /// `names`: IP addresses, URIs (they have a `://`), mail addresses (they have an `@`), and host names.
    ///
    /// # Errors
    ///
    /// [`InvalidInput`](hsm_core::ErrorKind::InvalidInput) for a name that is none. Otherwise as
    /// [`Key::sign`].
    pub async fn new<A: SignatureKind>(
        key: &Key<A>,
        subject: &str,
        names: impl IntoIterator<Item = impl AsRef<str>>,
    ) -> Result<Self> {
        let subject = name(subject)?;
        let names: Vec<_> = names
            .into_iter()
            .map(|name| alternative(name.as_ref()))
            .collect::<Result<_>>()?;
        let attributes = requested(&subject, &names)?;
        let signer = key.signer().await?;
        let spki = signer.public_key().to_spki_der()?;
        let info = CertReqInfo {
            version: Version::V1,
            subject,
            public_key: SubjectPublicKeyInfoOwned::from_der(&spki).map_err(unencodable)?,
            attributes,
        };
        let message = info.to_der().map_err(unencodable)?;
        let request = CertReq {
            info,
            algorithm: A::algorithm_identifier().map_err(unencodable)?,
            signature: sign(&signer, &message).await?,
        };
        Ok(Self { request, names })
    }

    /// Reads a request in DER and verifies that the key in it signed it.
    ///
    /// # Errors
    ///
    /// [`LimitExceeded`](hsm_core::ErrorKind::LimitExceeded) above [`REQUEST_LEN_MAX`](super::REQUEST_LEN_MAX).
    /// [`InvalidInput`](hsm_core::ErrorKind::InvalidInput) for what is no request.
    /// [`Unsupported`](hsm_core::ErrorKind::Unsupported) for an algorithm that the HSM has not.
    /// [`CryptoFailed`](hsm_core::ErrorKind::CryptoFailed) if the signature is not right.
    pub fn from_der(der: &[u8]) -> Result<Self> {
        verify::check_len(der.len())?;
        CertReq::from_der(der)
            .map_err(|source| unreadable().with_source(source))
            .and_then(Self::verified)
    }

    /// Reads a request in PEM and verifies that the key in it signed it.
    ///
    /// # Errors
    ///
    /// As [`from_der`](Self::from_der).
    pub fn from_pem(pem: impl AsRef<[u8]>) -> Result<Self> {
        verify::check_len(pem.as_ref().len())?;
        CertReq::from_pem(pem)
            .map_err(|source| unreadable().with_source(source))
            .and_then(Self::verified)
    }

    fn verified(request: CertReq) -> Result<Self> {
        let message = request.info.to_der().map_err(unencodable)?;
        verify::signature(
            &request.info.public_key,
            &request.algorithm,
            &message,
            &request.signature,
        )?;
        let names = names_of(&request.info.attributes)?;
        Ok(Self { request, names })
    }

    /// Who asks.
    #[must_use]
    pub fn subject(&self) -> &Name {
        &self.request.info.subject
    }

    /// The alternative names that are asked for. Whoever issues decides whether they are the asker's.
    #[must_use]
    pub fn alternative_names(&self) -> &[GeneralName] {
        &self.names
    }

    /// The public key that the certificate will be for.
    #[must_use]
    pub fn public_key(&self) -> &SubjectPublicKeyInfoOwned {
        &self.request.info.public_key
    }

    /// The request as `x509_cert` has it.
    #[must_use]
    pub fn as_x509_cert(&self) -> &CertReq {
        &self.request
    }

    /// In DER.
    ///
    /// # Errors
    ///
    /// None, other than of the encoder.
    pub fn to_der(&self) -> Result<Vec<u8>> {
        self.request.to_der().map_err(unencodable)
    }

    /// In PEM.
    ///
    /// # Errors
    ///
    /// None, other than of the encoder.
    pub fn to_pem(&self) -> Result<String> {
        to_pem(&self.request)
    }
}

fn alternative(text: &str) -> Result<GeneralName> {
    if let Ok(address) = text.parse::<IpAddr>() {
        return Ok(address.into());
    }
    if text.is_empty() || text.contains(char::is_whitespace) {
        return Err(invalid(format!("{text:?} is not an alternative name")));
    }
    let ascii = Ia5String::new(text).map_err(|source| {
        invalid(format!(
            "{text:?} is not an alternative name: write international names in ASCII (RFC 5280 section 7)"
        ))
        .with_source(source)
    })?;
    Ok(if text.contains("://") {
        GeneralName::UniformResourceIdentifier(ascii)
    } else if text.contains('@') {
        GeneralName::Rfc822Name(ascii)
    } else {
        GeneralName::DnsName(ascii)
    })
}

/// The attribute that asks for extensions; none if there is nothing to ask for.
fn requested(subject: &Name, names: &[GeneralName]) -> Result<Attributes> {
    let mut attributes = Attributes::default();
    if !names.is_empty() {
        let extension: Extension = SubjectAltName(names.to_vec())
            .to_extension(subject, &[])
            .map_err(unencodable)?;
        let request = ExtensionReq(vec![extension])
            .try_into()
            .map_err(unencodable)?;
        attributes.insert(request).map_err(unencodable)?;
    }
    Ok(attributes)
}

fn names_of(attributes: &Attributes) -> Result<Vec<GeneralName>> {
    let mut names = Vec::new();
    for attribute in attributes.iter() {
        if attribute.oid != ExtensionReq::OID {
            continue;
        }
        for value in attribute.values.iter() {
            let extensions: Vec<Extension> = value
                .decode_as()
                .map_err(|source| unreadable().with_source(source))?;
            for extension in extensions {
                if extension.extn_id == SubjectAltName::OID {
                    let SubjectAltName(found) =
                        SubjectAltName::from_der(extension.extn_value.as_bytes())
                            .map_err(|source| unreadable().with_source(source))?;
                    names.extend(found);
                }
            }
        }
    }
    Ok(names)
}

fn unreadable() -> hsm_core::Error {
    invalid("this is not a certificate request (PKCS#10) in DER or PEM")
}
