//! The endorsement certificate of a TPM, and the chain from it to a root (TCG EK Credential Profile, section 3).

use std::cell::Cell;

use hsm_core::{Algorithm, KeyType, PublicKey, SignInput};
use rustls_pki_types::{
    AlgorithmIdentifier, CertificateDer, InvalidSignature, SignatureVerificationAlgorithm,
    UnixTime, alg_id,
};
use webpki::{EndEntityCert, Error, ExtendedKeyUsageValidator, KeyPurposeIdIter, KeyUsage};

use crate::error::VerifyError;

/// Verifies that one of `certificates` is for an endorsement key and leads to one of `roots`.
pub(crate) fn verify(
    certificates: &[Vec<u8>],
    intermediates: &[Vec<u8>],
    roots: &[Vec<u8>],
    at: Option<u64>,
) -> Result<(), VerifyError> {
    let at = match at {
        Some(seconds) => UnixTime::since_unix_epoch(std::time::Duration::from_secs(seconds)),
        None => UnixTime::now(),
    };
    let mut verdict = Err(VerifyError::CertificateMissing);
    for certificate in certificates {
        let found = verify_one(certificate, intermediates, roots, at);
        if found.is_ok() {
            return found;
        }
        // A TPM may have several, of several makers' roots: the first says why.
        if matches!(verdict, Err(VerifyError::CertificateMissing)) {
            verdict = found;
        }
    }
    verdict
}

fn verify_one(
    certificate: &[u8],
    intermediates: &[Vec<u8>],
    roots: &[Vec<u8>],
    at: UnixTime,
) -> Result<(), VerifyError> {
    let der = |bytes: &Vec<u8>| CertificateDer::from(bytes.clone());
    let roots: Vec<_> = roots.iter().map(der).collect();
    let anchors = roots
        .iter()
        .map(|root| webpki::anchor_from_trusted_cert(root))
        .collect::<Result<Vec<_>, _>>()
        .map_err(refused)?;
    let intermediates: Vec<_> = intermediates.iter().map(der).collect();
    let certificate = CertificateDer::from(certificate);
    let certificate = EndEntityCert::try_from(&certificate).map_err(refused)?;
    let usage = EndorsementUsage {
        is_leaf: Cell::new(true),
    };
    certificate
        .verify_for_usage(&ALGORITHMS, &anchors, &intermediates, at, usage, None, None)
        .map(drop)
        .map_err(refused)
}

/// The purpose of the certificate itself, which is looked at first, must be there; that of its issuers may not be another.
struct EndorsementUsage {
    is_leaf: Cell<bool>,
}

impl ExtendedKeyUsageValidator for EndorsementUsage {
    fn validate(&self, purposes: KeyPurposeIdIter<'_, '_>) -> Result<(), Error> {
        match self.is_leaf.replace(false) {
            true => KeyUsage::required(ENDORSEMENT).validate(purposes),
            false => KeyUsage::required_if_present(ENDORSEMENT).validate(purposes),
        }
    }
}

fn refused(error: Error) -> VerifyError {
    match error {
        Error::CertExpired { .. } => VerifyError::CertificateExpired,
        Error::CertNotValidYet { .. } => VerifyError::CertificateNotYetValid,
        Error::UnknownIssuer => VerifyError::UnknownRoot,
        Error::EndEntityUsedAsCa | Error::PathLenConstraintViolated => {
            VerifyError::IssuerNotAuthority
        }
        Error::CaUsedAsEndEntity => VerifyError::AuthorityAsEndorsement,
        Error::RequiredEkuNotFoundContext(_) => VerifyError::NotEndorsement,
        Error::NameConstraintViolation => VerifyError::CertificateName,
        Error::InvalidSignatureForPublicKey
        | Error::UnsupportedSignatureAlgorithmContext(_)
        | Error::UnsupportedSignatureAlgorithmForPublicKeyContext(_) => {
            VerifyError::CertificateSignature
        }
        error => VerifyError::CertificateMalformed(Box::new(error)),
    }
}

/// `tcg-kp-EKCertificate`, 2.23.133.8.1.
const ENDORSEMENT: &[u8] = &[0x67, 0x81, 0x05, 0x08, 0x01];

/// What makers of TPMs sign with.
static ALGORITHMS: [&dyn SignatureVerificationAlgorithm; 5] = [
    &Ecdsa {
        key_type: KeyType::EcP256,
        curve: alg_id::ECDSA_P256,
        signature: alg_id::ECDSA_SHA256,
        algorithm: Algorithm::Es256,
    },
    &Ecdsa {
        key_type: KeyType::EcP384,
        curve: alg_id::ECDSA_P384,
        signature: alg_id::ECDSA_SHA384,
        algorithm: Algorithm::Es384,
    },
    &Rsa {
        signature: alg_id::RSA_PKCS1_SHA256,
        algorithm: Algorithm::Rs256,
    },
    &Rsa {
        signature: alg_id::RSA_PKCS1_SHA384,
        algorithm: Algorithm::Rs384,
    },
    &Rsa {
        signature: alg_id::RSA_PKCS1_SHA512,
        algorithm: Algorithm::Rs512,
    },
];

#[derive(Debug)]
struct Ecdsa {
    key_type: KeyType,
    curve: AlgorithmIdentifier,
    signature: AlgorithmIdentifier,
    algorithm: Algorithm,
}

impl SignatureVerificationAlgorithm for Ecdsa {
    fn verify_signature(
        &self,
        public_key: &[u8],
        message: &[u8],
        signature: &[u8],
    ) -> Result<(), InvalidSignature> {
        let raw = match self.key_type {
            KeyType::EcP256 => {
                p256::ecdsa::Signature::from_der(signature).map(|it| it.to_bytes().to_vec())
            }
            _ => p384::ecdsa::Signature::from_der(signature).map(|it| it.to_bytes().to_vec()),
        };
        let raw = raw.map_err(|_| InvalidSignature)?;
        let key = PublicKey::from_raw(self.key_type, public_key).map_err(|_| InvalidSignature)?;
        key.verify(self.algorithm, SignInput::Message(message), &raw)
            .map_err(|_| InvalidSignature)
    }

    fn public_key_alg_id(&self) -> AlgorithmIdentifier {
        self.curve
    }

    fn signature_alg_id(&self) -> AlgorithmIdentifier {
        self.signature
    }
}

#[derive(Debug)]
struct Rsa {
    signature: AlgorithmIdentifier,
    algorithm: Algorithm,
}

impl SignatureVerificationAlgorithm for Rsa {
    fn verify_signature(
        &self,
        public_key: &[u8],
        message: &[u8],
        signature: &[u8],
    ) -> Result<(), InvalidSignature> {
        let key = [KeyType::Rsa2048, KeyType::Rsa3072, KeyType::Rsa4096]
            .into_iter()
            .find_map(|key_type| PublicKey::from_raw(key_type, public_key).ok())
            .ok_or(InvalidSignature)?;
        key.verify(self.algorithm, SignInput::Message(message), signature)
            .map_err(|_| InvalidSignature)
    }

    fn public_key_alg_id(&self) -> AlgorithmIdentifier {
        alg_id::RSA_ENCRYPTION
    }

    fn signature_alg_id(&self) -> AlgorithmIdentifier {
        self.signature
    }
}
