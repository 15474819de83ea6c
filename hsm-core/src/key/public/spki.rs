//! SubjectPublicKeyInfo (RFC 5280 section 4.1.2.7) in DER and PEM: what OpenSSL and X.509 call a public key.

use p256::pkcs8::der::asn1::{AnyRef, BitStringRef};
use p256::pkcs8::der::pem::{self, LineEnding};
use p256::pkcs8::der::{Decode, Encode};
use p256::pkcs8::spki::{AlgorithmIdentifierRef, SubjectPublicKeyInfoRef};
use p256::pkcs8::{ObjectIdentifier, der};

use super::{PublicKey, check_len, rsa_parts};
use crate::algorithm::{KeyFamily, KeyType};
use crate::error::{Error, Result, invalid};

impl PublicKey {
    /// The key as SubjectPublicKeyInfo in DER.
    ///
    /// # Errors
    ///
    /// [`InvalidInput`](crate::ErrorKind::InvalidInput) if it cannot be encoded, which does not happen.
    pub fn to_spki_der(&self) -> Result<Vec<u8>> {
        encode(self).map_err(|source| invalid("the key cannot be encoded").with_source(source))
    }

    /// The key as SubjectPublicKeyInfo in PEM, under the label `PUBLIC KEY`.
    ///
    /// # Errors
    ///
    /// [`InvalidInput`](crate::ErrorKind::InvalidInput) if it cannot be encoded, which does not happen.
    pub fn to_pem(&self) -> Result<String> {
        pem::encode_string(PEM_LABEL, LineEnding::LF, &self.to_spki_der()?)
            .map_err(|source| invalid("the key cannot be encoded").with_source(source))
    }

    /// Reads SubjectPublicKeyInfo in DER. The key's type follows from its algorithm, curve and size.
    ///
    /// # Errors
    ///
    /// [`InvalidInput`](crate::ErrorKind::InvalidInput) for what is not exactly one valid key of a known type,
    /// [`LimitExceeded`](crate::ErrorKind::LimitExceeded) for what is too long.
    pub fn from_spki_der(der: &[u8]) -> Result<Self> {
        check_len(der.len())?;
        let spki = SubjectPublicKeyInfoRef::from_der(der)
            .map_err(|source| invalid("not a SubjectPublicKeyInfo in DER").with_source(source))?;
        let raw = spki.subject_public_key.as_bytes().ok_or_else(|| {
            invalid("the public key in a SubjectPublicKeyInfo is a whole number of bytes")
        })?;
        Self::from_raw(spki_type(&spki.algorithm, raw)?, raw)
    }

    /// Reads SubjectPublicKeyInfo in PEM (RFC 7468), under the label `PUBLIC KEY`.
    ///
    /// # Errors
    ///
    /// As [`from_spki_der`](Self::from_spki_der).
    pub fn from_pem(pem: &str) -> Result<Self> {
        check_len(pem.len() / 2)?; // four characters hold three bytes, and there are the lines around them
        let (label, der) = pem::decode_vec(pem.as_bytes())
            .map_err(|source| invalid("not PEM as in RFC 7468").with_source(source))?;
        if label != PEM_LABEL {
            return Err(invalid(format!(
                "the PEM label of a public key is `{PEM_LABEL}`"
            )));
        }
        Self::from_spki_der(&der)
    }
}

fn encode(key: &PublicKey) -> der::Result<Vec<u8>> {
    let (oid, parameters) = match key.key_type().info().family {
        KeyFamily::Rsa => (RSA_ENCRYPTION, Some(AnyRef::NULL)),
        _ => match CURVES.iter().find(|(_, of)| *of == key.key_type()) {
            Some((curve, _)) => (EC_PUBLIC_KEY, Some(AnyRef::from(curve))),
            None => {
                let bare = BARE.iter().find(|(_, of)| *of == key.key_type());
                let (oid, _) = bare.ok_or(der::ErrorKind::Failed)?;
                (*oid, None)
            }
        },
    };
    SubjectPublicKeyInfoRef {
        algorithm: AlgorithmIdentifierRef { oid, parameters },
        subject_public_key: BitStringRef::from_bytes(key.as_raw())?,
    }
    .to_der()
}

/// The type of key that an algorithm identifier stands for; `raw` is the public key, which says how long an RSA key is.
pub(in crate::key) fn spki_type(
    algorithm: &AlgorithmIdentifierRef<'_>,
    raw: &[u8],
) -> Result<KeyType> {
    match (algorithm.oid, algorithm.parameters) {
        (RSA_ENCRYPTION, Some(parameters)) if parameters.is_null() => rsa_type(rsa_parts(raw)?.0),
        (RSA_ENCRYPTION, _) => Err(invalid("the parameters of rsaEncryption are NULL")),
        (EC_PUBLIC_KEY, Some(parameters)) => {
            let curve = parameters
                .decode_as::<ObjectIdentifier>()
                .map_err(|source| {
                    invalid("a curve is given by its object identifier (RFC 5480)")
                        .with_source(source)
                })?;
            curve_type(curve)
        }
        (EC_PUBLIC_KEY, None) => Err(invalid("an EC public key names its curve (RFC 5480)")),
        (oid, parameters) => {
            let (_, key_type) = BARE
                .iter()
                .find(|(bare, _)| *bare == oid)
                .ok_or_else(|| unknown("public key algorithm", oid))?;
            if parameters.is_some() {
                return Err(invalid(format!(
                    "{key_type} has no parameters (RFC 8410, RFC 9881, RFC 9935)"
                )));
            }
            Ok(*key_type)
        }
    }
}

/// The type of EC key on this curve.
pub(in crate::key) fn curve_type(curve: ObjectIdentifier) -> Result<KeyType> {
    CURVES
        .iter()
        .find(|(oid, _)| *oid == curve)
        .map(|(_, key_type)| *key_type)
        .ok_or_else(|| unknown("curve", curve))
}

/// What names the curve of an EC key, or a type of key that has no parameters.
pub(in crate::key) fn type_oid(key_type: KeyType) -> Result<ObjectIdentifier> {
    CURVES
        .iter()
        .chain(&BARE)
        .find(|(_, of)| *of == key_type)
        .map(|(oid, _)| *oid)
        .ok_or_else(|| invalid(format!("nothing names a key of type {key_type}")))
}

/// The RSA key type with a modulus of this size.
pub(in crate::key) fn rsa_type(modulus: &[u8]) -> Result<KeyType> {
    KeyType::all()
        .filter(|key_type| key_type.info().family == KeyFamily::Rsa)
        .find(|key_type| key_type.byte_len() == modulus.len())
        .ok_or_else(|| {
            invalid(format!(
                "an RSA modulus has 2048, 3072 or 4096 bits; this one has {} bytes",
                modulus.len()
            ))
        })
}

fn unknown(what: &str, oid: ObjectIdentifier) -> Error {
    invalid(format!(
        "unknown {what} {oid}; expected RSA, Ed25519, X25519, ML-DSA, ML-KEM, X-Wing, or EC on P-256, P-384, P-521 or secp256k1"
    ))
}

const PEM_LABEL: &str = "PUBLIC KEY";

/// RFC 8017 appendix A.1.
pub(in crate::key) const RSA_ENCRYPTION: ObjectIdentifier =
    ObjectIdentifier::new_unwrap("1.2.840.113549.1.1.1");

/// RFC 5480 section 2.1.1.
pub(in crate::key) const EC_PUBLIC_KEY: ObjectIdentifier =
    ObjectIdentifier::new_unwrap("1.2.840.10045.2.1");

/// Algorithms without parameters whose key is the bit string as it is: RFC 8410 section 3, RFC 9881 section 2, RFC 9935
/// section 3, draft-connolly-cfrg-xwing-kem-10 section 7.
const BARE: [(ObjectIdentifier, KeyType); 9] = [
    (ObjectIdentifier::new_unwrap("1.3.101.110"), KeyType::X25519),
    (
        ObjectIdentifier::new_unwrap("1.3.101.112"),
        KeyType::Ed25519,
    ),
    (
        ObjectIdentifier::new_unwrap("2.16.840.1.101.3.4.3.17"),
        KeyType::MlDsa44,
    ),
    (
        ObjectIdentifier::new_unwrap("2.16.840.1.101.3.4.3.18"),
        KeyType::MlDsa65,
    ),
    (
        ObjectIdentifier::new_unwrap("2.16.840.1.101.3.4.3.19"),
        KeyType::MlDsa87,
    ),
    (
        ObjectIdentifier::new_unwrap("2.16.840.1.101.3.4.4.1"),
        KeyType::MlKem512,
    ),
    (
        ObjectIdentifier::new_unwrap("2.16.840.1.101.3.4.4.2"),
        KeyType::MlKem768,
    ),
    (
        ObjectIdentifier::new_unwrap("2.16.840.1.101.3.4.4.3"),
        KeyType::MlKem1024,
    ),
    (
        ObjectIdentifier::new_unwrap("1.3.6.1.4.1.62253.25722"),
        KeyType::XWing,
    ),
];

/// RFC 5480 section 2.1.1.1; secp256k1: SEC 2 appendix A.2.1.
const CURVES: [(ObjectIdentifier, KeyType); 4] = [
    (
        ObjectIdentifier::new_unwrap("1.2.840.10045.3.1.7"),
        KeyType::EcP256,
    ),
    (
        ObjectIdentifier::new_unwrap("1.3.132.0.34"),
        KeyType::EcP384,
    ),
    (
        ObjectIdentifier::new_unwrap("1.3.132.0.35"),
        KeyType::EcP521,
    ),
    (
        ObjectIdentifier::new_unwrap("1.3.132.0.10"),
        KeyType::EcP256K,
    ),
];
