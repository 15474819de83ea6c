//! Whether a key made a signature as X.509 has it.

use ecdsa::der;
use hsm_core::key::typed::{
    EcdsaP256, EcdsaP256K, EcdsaP384, EcdsaP521, Ed25519, MlDsa44, MlDsa65, MlDsa87,
    RsaPkcs1v15Sign2048, RsaPkcs1v15Sign4096, RsaPss2048, RsaPss4096,
};
use hsm_core::{Algorithm, Error, ErrorKind, KeyType, PublicKey, Result, SignInput};
use k256::Secp256k1;
use p256::NistP256;
use p384::NistP384;
use p521::NistP521;
use rsa::{pkcs1v15, pss};
use sha2::Sha384;
use spki::{
    AlgorithmIdentifierOwned, AlgorithmIdentifierRef, SignatureAlgorithmIdentifier,
    SubjectPublicKeyInfoOwned,
};
use x509_cert::der::Encode;
use x509_cert::der::asn1::BitString;

use super::unencodable;
use crate::signature::SignatureKind;

/// More than any request or certificate has.
pub(crate) const LEN_MAX: usize = 64 << 10;

pub(crate) fn check_len(len: usize) -> Result<()> {
    if len <= LEN_MAX {
        return Ok(());
    }
    Err(Error::new(
        ErrorKind::LimitExceeded,
        format!("it has {len} bytes, at most {LEN_MAX} are allowed"),
    ))
}

/// Verifies what the key in `spki` is said to have signed.
pub(super) fn signature(
    spki: &SubjectPublicKeyInfoOwned,
    identifier: &AlgorithmIdentifierOwned,
    message: &[u8],
    signature: &BitString,
) -> Result<()> {
    let public = PublicKey::from_spki_der(&spki.to_der().map_err(unencodable)?)?;
    let algorithm = algorithm(public.key_type(), identifier)?;
    let bytes = signature.as_bytes().ok_or_else(Error::crypto)?;
    made(&public, algorithm, message, bytes)
}

/// Verifies a signature in the form that X.509 and CMS give it.
pub(crate) fn made(
    public: &PublicKey,
    algorithm: Algorithm,
    message: &[u8],
    signature: &[u8],
) -> Result<()> {
    let signature = fixed(algorithm, signature)?;
    public.verify(algorithm, SignInput::Message(message), &signature)
}

/// The algorithm that a key of the type signed with, from what stands beside the signature.
pub(crate) fn algorithm(
    key_type: KeyType,
    identifier: &AlgorithmIdentifierOwned,
) -> Result<Algorithm> {
    let candidates: &[Algorithm] = match key_type {
        KeyType::EcP256 => &[Algorithm::Es256],
        KeyType::EcP256K => &[Algorithm::Es256K],
        KeyType::EcP384 => &[Algorithm::Es384],
        KeyType::EcP521 => &[Algorithm::Es512],
        KeyType::Ed25519 => &[Algorithm::EdDsa],
        KeyType::MlDsa44 => &[Algorithm::MlDsa44],
        KeyType::MlDsa65 => &[Algorithm::MlDsa65],
        KeyType::MlDsa87 => &[Algorithm::MlDsa87],
        KeyType::Rsa2048 | KeyType::Rsa3072 | KeyType::Rsa4096 => &[
            Algorithm::Rs256,
            Algorithm::Rs384,
            Algorithm::Rs512,
            Algorithm::Ps256,
            Algorithm::Ps384,
            Algorithm::Ps512,
        ],
        _ => &[],
    };
    for candidate in candidates {
        if named(*candidate).map_err(unencodable)?.as_ref() == Some(identifier) {
            return Ok(*candidate);
        }
    }
    Err(Error::new(
        ErrorKind::Unsupported,
        format!(
            "a key of type {key_type} does not sign with the algorithm {}",
            identifier.oid
        ),
    ))
}

fn named(algorithm: Algorithm) -> spki::Result<Option<AlgorithmIdentifierOwned>> {
    match algorithm {
        Algorithm::Es256 => EcdsaP256::algorithm_identifier(),
        Algorithm::Es256K => EcdsaP256K::algorithm_identifier(),
        Algorithm::Es384 => EcdsaP384::algorithm_identifier(),
        Algorithm::Es512 => EcdsaP521::algorithm_identifier(),
        Algorithm::EdDsa => Ed25519::algorithm_identifier(),
        Algorithm::MlDsa44 => MlDsa44::algorithm_identifier(),
        Algorithm::MlDsa65 => MlDsa65::algorithm_identifier(),
        Algorithm::MlDsa87 => MlDsa87::algorithm_identifier(),
        Algorithm::Rs256 => RsaPkcs1v15Sign2048::algorithm_identifier(),
        Algorithm::Rs384 => {
            let AlgorithmIdentifierRef { oid, parameters } =
                pkcs1v15::VerifyingKey::<Sha384>::SIGNATURE_ALGORITHM_IDENTIFIER;
            let parameters = parameters.map(Into::into);
            Ok(AlgorithmIdentifierOwned { oid, parameters })
        }
        Algorithm::Rs512 => RsaPkcs1v15Sign4096::algorithm_identifier(),
        Algorithm::Ps256 => RsaPss2048::algorithm_identifier(),
        Algorithm::Ps384 => pss::get_default_pss_signature_algo_id::<Sha384>(),
        Algorithm::Ps512 => RsaPss4096::algorithm_identifier(),
        _ => return Ok(None),
    }
    .map(Some)
}

/// The signature as [`PublicKey::verify`] takes it.
fn fixed(algorithm: Algorithm, bytes: &[u8]) -> Result<Vec<u8>> {
    macro_rules! ecdsa {
        ($curve:ty) => {
            der::Signature::<$curve>::from_bytes(bytes)
                .and_then(ecdsa::Signature::try_from)
                .map(|signature| signature.to_bytes().to_vec())
                .map_err(|_| Error::crypto())
        };
    }
    match algorithm {
        Algorithm::Es256 => ecdsa!(NistP256),
        Algorithm::Es256K => ecdsa!(Secp256k1),
        Algorithm::Es384 => ecdsa!(NistP384),
        Algorithm::Es512 => ecdsa!(NistP521),
        _ => Ok(bytes.to_vec()),
    }
}
