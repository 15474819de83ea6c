//! [`DocumentSigner`]: a key and its certificate, which sign documents.

use std::fmt;
use std::io::Read;
use std::time::SystemTime;

use ::cms::builder::SignerInfoBuilder;
use ::cms::cert::{CertificateChoices, IssuerAndSerialNumber};
use ::cms::content_info::CmsVersion;
use ::cms::signed_data::{
    CertificateSet, DigestAlgorithmIdentifiers, EncapsulatedContentInfo, SignedData,
    SignerIdentifier, SignerInfo, SignerInfos,
};
use hsm_core::key::typed::Signing;
use hsm_core::{Algorithm, Hash, Result};
use signature::Keypair;
use spki::{AlgorithmIdentifierOwned, DynSignatureAlgorithmIdentifier};
use x509_cert::Certificate;
use x509_cert::builder::Builder;
use x509_cert::der::Any;
use x509_cert::der::oid::db::rfc5911::ID_DATA;
use x509_cert::der::oid::db::rfc5912::RSA_ENCRYPTION;

use super::digest::{Digests, hash_of, identifier};
use super::{DetachedSignature, attributes, unbuildable};
use crate::key::Key;
use crate::signature::{SignatureKind, Signer};
use crate::x509::{check_key, invalid, sign, unencodable};

/// A key that signs documents, and the certificate that says whose it is. Cheap enough to clone.
///
/// It stays at the key's version that the certificate is for. See the [module](super) for an example.
pub struct DocumentSigner<A: SignatureKind> {
    signer: Signer<A>,
    certificate: Certificate,
    chain: Vec<Certificate>,
}

impl<A: SignatureKind> DocumentSigner<A> {
    /// The signer of a key and the certificate that was issued for it, with the `chain` of authorities up to the root, which
    /// need not be in it. All of them go into each signature, so that who has the root can verify.
    ///
    /// # Errors
    ///
    /// [`InvalidInput`](hsm_core::ErrorKind::InvalidInput) if the certificate is for another key (or another version than
    /// the handle's: see [`Key::at`]). Otherwise as [`Key::info`].
    pub async fn new(
        key: &Key<A>,
        certificate: Certificate,
        chain: impl IntoIterator<Item = Certificate>,
    ) -> Result<Self> {
        let signer = key.signer().await?;
        check_key(&certificate, signer.public_key())?;
        Ok(Self {
            signer,
            certificate,
            chain: chain.into_iter().collect(),
        })
    }

    /// The signer's certificate.
    #[must_use]
    pub fn certificate(&self) -> &Certificate {
        &self.certificate
    }

    /// Signs all that `content` has, at the time that it is now.
    ///
    /// # Errors
    ///
    /// [`StoreFailed`](hsm_core::ErrorKind::StoreFailed) if the content cannot be read.
    /// [`InvalidInput`](hsm_core::ErrorKind::InvalidInput) if the certificate is not valid at the time.
    /// [`KeyState`](hsm_core::ErrorKind::KeyState) for an expired, disabled or compromised key; otherwise as [`Key::sign`].
    pub async fn sign(&self, content: impl Read) -> Result<DetachedSignature> {
        self.sign_at(content, SystemTime::now()).await
    }

    /// As [`sign`](Self::sign), with another time of signing: that of a clock that is trusted more, in whole seconds.
    ///
    /// # Errors
    ///
    /// The same.
    pub async fn sign_at(&self, content: impl Read, time: SystemTime) -> Result<DetachedSignature> {
        let data = SignedData {
            version: CmsVersion::V1,
            digest_algorithms: DigestAlgorithmIdentifiers::new(),
            encap_content_info: plain(),
            certificates: None,
            crls: None,
            signer_infos: SignerInfos(Default::default()),
        };
        self.add(data, content, time).await
    }

    /// Signs what others have signed already: the signature has one signer more. Theirs are not verified.
    ///
    /// # Errors
    ///
    /// As [`sign`](Self::sign), and [`LimitExceeded`](hsm_core::ErrorKind::LimitExceeded) if it has too many signers or
    /// certificates then.
    pub async fn sign_too(
        &self,
        signature: &DetachedSignature,
        content: impl Read,
    ) -> Result<DetachedSignature> {
        self.add(signature.data.clone(), content, SystemTime::now())
            .await
    }

    async fn add(
        &self,
        mut data: SignedData,
        content: impl Read,
        time: SystemTime,
    ) -> Result<DetachedSignature> {
        self.check_validity(time)?;
        let hash = hash_of(<A as Signing>::ALGORITHM);
        let digests = Digests::read(content, &[hash])?;
        let info = self.info(hash, digests.get(hash), time).await?;

        let mut certificates: Vec<_> = data
            .certificates
            .map_or_else(Vec::new, |set| set.0.into_vec());
        for certificate in [&self.certificate].into_iter().chain(&self.chain) {
            let choice = CertificateChoices::Certificate(certificate.clone());
            if !certificates.contains(&choice) {
                certificates.push(choice);
            }
        }
        data.certificates = Some(CertificateSet::try_from(certificates).map_err(unencodable)?);
        if data
            .digest_algorithms
            .iter()
            .all(|known| *known != info.digest_alg)
        {
            let added = data.digest_algorithms.insert(info.digest_alg.clone());
            added.map_err(unencodable)?;
        }
        data.signer_infos.0.insert(info).map_err(unencodable)?;
        DetachedSignature::from_signed_data(data)
    }

    /// What the HSM signs, and its signature.
    async fn info(&self, hash: Hash, digest: &[u8], time: SystemTime) -> Result<SignerInfo> {
        let tbs = self.certificate.tbs_certificate();
        let sid = SignerIdentifier::IssuerAndSerialNumber(IssuerAndSerialNumber {
            issuer: tbs.issuer().clone(),
            serial_number: tbs.serial_number().clone(),
        });
        let content = plain();
        let mut builder = SignerInfoBuilder::new(sid, identifier(hash)?, &content, Some(digest))
            .map_err(unbuildable)?;
        for attribute in [
            attributes::signing_time(time)?,
            attributes::signing_certificate(&self.certificate)?,
        ] {
            builder
                .add_signed_attribute(attribute)
                .map_err(unbuildable)?;
        }
        let public_half = PublicHalf(&self.signer);
        let message = builder.finalize(&public_half).map_err(unencodable)?;
        let signature = sign(&self.signer, &message).await?;
        builder
            .assemble(signature, &public_half)
            .map_err(unencodable)
    }

    fn check_validity(&self, time: SystemTime) -> Result<()> {
        let tbs = self.certificate.tbs_certificate();
        let (from, to) = (tbs.validity().not_before, tbs.validity().not_after);
        if from.to_system_time() <= time && time <= to.to_system_time() {
            return Ok(());
        }
        Err(invalid(format!(
            "the certificate of {} is valid from {from} to {to}, not at the time of signing",
            tbs.subject()
        )))
    }
}

impl<A: SignatureKind> Clone for DocumentSigner<A> {
    fn clone(&self) -> Self {
        Self {
            signer: self.signer.clone(),
            certificate: self.certificate.clone(),
            chain: self.chain.clone(),
        }
    }
}

impl<A: SignatureKind> fmt::Debug for DocumentSigner<A> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let subject = self.certificate.tbs_certificate().subject();
        write!(f, "DocumentSigner({subject}, {:?})", self.signer)
    }
}

/// Content that is elsewhere.
fn plain() -> EncapsulatedContentInfo {
    EncapsulatedContentInfo {
        econtent_type: ID_DATA,
        econtent: None,
    }
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
        match <A as Signing>::ALGORITHM {
            // The one identifier that every verifier of CMS knows (RFC 5754 section 3.2).
            Algorithm::Rs256 | Algorithm::Rs384 | Algorithm::Rs512 => {
                Ok(AlgorithmIdentifierOwned {
                    oid: RSA_ENCRYPTION,
                    parameters: Some(Any::null()),
                })
            }
            _ => A::algorithm_identifier(),
        }
    }
}
