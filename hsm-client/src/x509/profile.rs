//! [`Profile`]: what a certificate is for, as its extensions.

use hsm_core::Result;
use x509_cert::builder;
use x509_cert::builder::profile::BuilderProfile;
use x509_cert::certificate::TbsCertificate;
use x509_cert::ext::pkix::name::GeneralName;
use x509_cert::ext::pkix::{
    AuthorityKeyIdentifier, BasicConstraints, ExtendedKeyUsage, KeyUsage, KeyUsages,
    SubjectAltName, SubjectKeyIdentifier,
};
use x509_cert::ext::{Extension, ToExtension};
use x509_cert::name::Name;
use x509_cert::spki::{ObjectIdentifier, SubjectPublicKeyInfoRef};

use super::invalid;

/// What a certificate is for. It decides the extensions; nothing of a request but its subject, key and alternative names
/// goes into a certificate.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
#[non_exhaustive]
pub enum Profile {
    /// Code signing.
    CodeSigning,
    /// Signing documents (RFC 9336).
    DocumentSigning,
    /// An authority below another one, with at most `path_len` authorities below it: 0 if it issues to servers and people
    /// only.
    IssuingCa {
        /// How many authorities may stand between this one and an end (RFC 5280 section 4.2.1.9).
        path_len: u8,
    },
    /// A client that TLS servers know by its certificate.
    TlsClient,
    /// A TLS server. Its alternative names are what clients look at: one at least.
    TlsServer,
}

/// A certificate that is about to be made.
pub(super) struct Shape {
    pub(super) issuer: Name,
    pub(super) subject: Name,
    pub(super) names: Vec<GeneralName>,
    /// Of the key that signs; `None` for a root, which names its own.
    pub(super) authority: Option<SubjectKeyIdentifier>,
    pub(super) purpose: Purpose,
}

/// A [`Profile`], or the root that only [`CertificateAuthority::root`](super::CertificateAuthority::root) makes.
#[derive(Clone, Copy)]
pub(super) enum Purpose {
    Authority { path_len: Option<u8> },
    End(ObjectIdentifier),
}

impl Profile {
    pub(super) fn purpose(self) -> Purpose {
        match self {
            Self::CodeSigning => Purpose::End(CODE_SIGNING),
            Self::DocumentSigning => Purpose::End(DOCUMENT_SIGNING),
            Self::IssuingCa { path_len } => Purpose::Authority {
                path_len: Some(path_len),
            },
            Self::TlsClient => Purpose::End(CLIENT_AUTH),
            Self::TlsServer => Purpose::End(SERVER_AUTH),
        }
    }

    pub(super) fn check_names(self, subject: &Name, names: &[GeneralName]) -> Result<()> {
        match self {
            Self::TlsServer if names.is_empty() => Err(invalid(
                "the certificate of a TLS server needs an alternative name: ask for one in the request",
            )),
            Self::IssuingCa { .. } if subject.is_empty() => Err(invalid("an authority has a name")),
            _ if subject.is_empty() && names.is_empty() => Err(invalid(
                "a certificate has a subject or an alternative name",
            )),
            _ => Ok(()),
        }
    }
}

impl BuilderProfile for Shape {
    fn get_issuer(&self, _: &Name) -> Name {
        self.issuer.clone()
    }

    fn get_subject(&self) -> Name {
        self.subject.clone()
    }

    fn build_extensions(
        &self,
        key: SubjectPublicKeyInfoRef<'_>,
        _: SubjectPublicKeyInfoRef<'_>,
        _: &TbsCertificate,
    ) -> builder::Result<Vec<Extension>> {
        let own = SubjectKeyIdentifier::try_from(key)?;
        let authority = self.authority.as_ref().unwrap_or(&own);
        let authority = AuthorityKeyIdentifier {
            key_identifier: Some(authority.0.clone()),
            ..Default::default()
        };
        let (constraints, usages, extended) = match self.purpose {
            Purpose::Authority { path_len } => (
                BasicConstraints {
                    ca: true,
                    path_len_constraint: path_len,
                },
                KeyUsages::KeyCertSign | KeyUsages::CRLSign,
                None,
            ),
            Purpose::End(purpose) => (
                BasicConstraints {
                    ca: false,
                    path_len_constraint: None,
                },
                KeyUsages::DigitalSignature.into(),
                Some(ExtendedKeyUsage(vec![purpose])),
            ),
        };
        let mut extensions = vec![
            authority.to_extension(&self.subject, &[])?,
            own.to_extension(&self.subject, &[])?,
            constraints.to_extension(&self.subject, &[])?,
            KeyUsage(usages).to_extension(&self.subject, &[])?,
        ];
        if let Some(extended) = extended {
            extensions.push(extended.to_extension(&self.subject, &[])?);
        }
        if !self.names.is_empty() {
            let names = SubjectAltName(self.names.clone());
            extensions.push(names.to_extension(&self.subject, &[])?);
        }
        Ok(extensions)
    }
}

/// RFC 5280 section 4.2.1.12.
const SERVER_AUTH: ObjectIdentifier = ObjectIdentifier::new_unwrap("1.3.6.1.5.5.7.3.1");
const CLIENT_AUTH: ObjectIdentifier = ObjectIdentifier::new_unwrap("1.3.6.1.5.5.7.3.2");
const CODE_SIGNING: ObjectIdentifier = ObjectIdentifier::new_unwrap("1.3.6.1.5.5.7.3.3");
/// RFC 9336 section 3.
const DOCUMENT_SIGNING: ObjectIdentifier = ObjectIdentifier::new_unwrap("1.3.6.1.5.5.7.3.36");
