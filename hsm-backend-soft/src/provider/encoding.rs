//! What a private key looks like outside a provider: PKCS#8 (RFC 5208, RFC 5958) in DER, the octets of a symmetric key, and
//! the *material* that a sealed key holds. Every provider reads and writes them here, so all take and refuse the same.

use hsm_core::{KeyFamily, KeyType, PublicKey, Result, SecretBytes};
use pkcs8::der::Decode;
use pkcs8::der::asn1::AnyRef;
use pkcs8::{ObjectIdentifier, PrivateKeyInfoRef};
use sec1::{EcParameters, EcPrivateKey};
use subtle::ConstantTimeEq;
use zeroize::Zeroizing;

use crate::error::{bad_material, invalid};

/// The common encoding of a key.
pub(super) fn encode(key_type: KeyType, material: &[u8]) -> Result<SecretBytes> {
    match key_type.info().family {
        KeyFamily::Ec => {
            let (scalar, point) = split_ec(key_type, material)?;
            private_key_info(key_type, &ec_private_key(scalar, Some(&point))?)
        }
        KeyFamily::Okp => private_key_info(key_type, &tagged(OCTET_STRING, &[material])?),
        KeyFamily::Akp => private_key_info(key_type, &akp_private_key(key_type, material)?),
        _ => Ok(SecretBytes::copy_from(material)),
    }
}

/// The material of a symmetric key.
pub(super) fn decode_octets(key_type: KeyType, octets: &[u8]) -> Result<SecretBytes> {
    if octets.len() == key_type.byte_len() {
        return Ok(SecretBytes::copy_from(octets));
    }
    Err(invalid(format!(
        "a key of type {key_type} is {} bytes long, not {}",
        key_type.byte_len(),
        octets.len()
    )))
}

/// An EC key as it came in.
pub(super) struct EcKeyParts<'a> {
    /// The scalar, as long as the field.
    pub(super) scalar: SecretBytes,
    /// The public point that came with it, compressed or not. Whether it is the right one is still to be checked.
    pub(super) point: Option<&'a [u8]>,
}

/// Takes the PKCS#8 of an EC key apart (RFC 5915, RFC 5480).
pub(super) fn decode_ec(key_type: KeyType, pkcs8: &[u8]) -> Result<EcKeyParts<'_>> {
    let rejected = || not_pkcs8(key_type);
    let info = parse(key_type, pkcs8)?;
    let key = EcPrivateKey::try_from(info.private_key.as_bytes()).map_err(|_| rejected())?;
    let curve = named_curve(key_type);
    if !matches!(key.parameters, None | Some(EcParameters::NamedCurve(_)))
        || key.parameters.and_then(EcParameters::named_curve) != key.parameters.and(curve)
        || !matches!(key.public_key, None | Some([0x02..=UNCOMPRESSED, ..]))
        || info.public_key.is_some()
    {
        return Err(rejected());
    }
    // Writers that drop leading zeros exist.
    let len = key_type.byte_len();
    let missing = len
        .checked_sub(key.private_key.len())
        .filter(|missing| *missing < len)
        .ok_or_else(rejected)?;
    Ok(EcKeyParts {
        scalar: SecretBytes::init_with(len, |out| {
            out[missing..].copy_from_slice(key.private_key);
        }),
        point: key.public_key,
    })
}

/// The material of an EC key: the scalar, and the point without the byte that says that it is uncompressed.
pub(super) fn ec_material(scalar: &[u8], uncompressed: &[u8]) -> SecretBytes {
    let point = &uncompressed[1..];
    SecretBytes::init_with(scalar.len() + point.len(), |out| {
        out[..scalar.len()].copy_from_slice(scalar);
        out[scalar.len()..].copy_from_slice(point);
    })
}

/// The scalar and the uncompressed point of the material of an EC key.
pub(super) fn split_ec(key_type: KeyType, material: &[u8]) -> Result<(&[u8], Vec<u8>)> {
    let len = key_type.byte_len();
    if material.len() != 3 * len {
        return Err(bad_material(()));
    }
    let (scalar, coordinates) = material.split_at(len);
    Ok((scalar, [&[UNCOMPRESSED], coordinates].concat()))
}

/// An `ECPrivateKey` (RFC 5915).
pub(super) fn ec_private_key(scalar: &[u8], point: Option<&[u8]>) -> Result<Zeroizing<Vec<u8>>> {
    let public = match point {
        Some(point) => tagged(EXPLICIT_1, &[&tagged(BIT_STRING, &[&[0], point])?])?,
        None => Zeroizing::default(),
    };
    let version = [0x02, 0x01, 0x01];
    tagged(
        SEQUENCE,
        &[&version, &tagged(OCTET_STRING, &[scalar])?, &public],
    )
}

/// The material of an Ed25519 or X25519 key (RFC 8410 section 7). A public key inside must be the one that `public`
/// computes.
pub(super) fn decode_okp(
    key_type: KeyType,
    pkcs8: &[u8],
    public: impl FnOnce(&[u8]) -> Result<PublicKey>,
) -> Result<SecretBytes> {
    let info = parse(key_type, pkcs8)?;
    let [OCTET_STRING, OKP_LEN, material @ ..] = info.private_key.as_bytes() else {
        return Err(not_pkcs8(key_type));
    };
    if material.len() != usize::from(OKP_LEN) {
        return Err(not_pkcs8(key_type));
    }
    if let Some(claimed) = info.public_key {
        let claimed = claimed.as_bytes().unwrap_or_default();
        if !bool::from(claimed.ct_eq(public(material)?.as_raw())) {
            return Err(invalid("the public key does not belong to the private key"));
        }
    }
    Ok(SecretBytes::copy_from(material))
}

/// The `RSAPrivateKey` (RFC 8017 appendix A.1.2) inside PKCS#8: one element of DER, of which nothing is checked yet.
pub(super) fn decode_rsa(key_type: KeyType, pkcs8: &[u8]) -> Result<&[u8]> {
    let info = parse(key_type, pkcs8)?;
    let key = info.private_key.as_bytes();
    // aws-lc alone would take bytes after the key and drop them.
    if info.public_key.is_some() || AnyRef::from_der(key).is_err() {
        return Err(not_pkcs8(key_type));
    }
    Ok(key)
}

/// The error of everything that is not what its name says.
pub(super) fn not_pkcs8(key_type: KeyType) -> hsm_core::Error {
    invalid(format!(
        "not exactly one private key of type {key_type} in PKCS#8 DER"
    ))
}

/// Takes exactly one PKCS#8 of this algorithm, and on this curve.
pub(super) fn parse(key_type: KeyType, pkcs8: &[u8]) -> Result<PrivateKeyInfoRef<'_>> {
    let info = PrivateKeyInfoRef::try_from(pkcs8).map_err(|_| not_pkcs8(key_type))?;
    let parameters = info.algorithm.parameters;
    let right_parameters = match key_type.info().family {
        KeyFamily::Rsa => parameters.is_some_and(|parameters| parameters.is_null()),
        KeyFamily::Ec => info.algorithm.parameters_oid().ok() == named_curve(key_type),
        _ => parameters.is_none(),
    };
    if Some(info.algorithm.oid) != algorithm(key_type) || !right_parameters {
        return Err(not_pkcs8(key_type));
    }
    Ok(info)
}

/// A `PrivateKeyInfo` of version 1 around `private_key`.
fn private_key_info(key_type: KeyType, private_key: &[u8]) -> Result<SecretBytes> {
    let oid = |oid: Option<ObjectIdentifier>| match oid {
        Some(oid) => tagged(OBJECT_IDENTIFIER, &[oid.as_bytes()]),
        None => Ok(Zeroizing::default()),
    };
    let (algorithm, curve) = (oid(algorithm(key_type))?, oid(named_curve(key_type))?);
    let version = [0x02, 0x01, 0x00];
    let info = tagged(
        SEQUENCE,
        &[
            &version,
            &tagged(SEQUENCE, &[&algorithm, &curve])?,
            &tagged(OCTET_STRING, &[private_key])?,
        ],
    )?;
    Ok(SecretBytes::copy_from(&info))
}

/// A seed as RFC 9881 and RFC 9935 tag it. The draft of X-Wing does not.
fn akp_private_key(key_type: KeyType, seed: &[u8]) -> Result<Zeroizing<Vec<u8>>> {
    match key_type {
        KeyType::XWing => Ok(Zeroizing::new(seed.to_vec())),
        _ => tagged(SEED, &[seed]),
    }
}

/// A DER element of at most 65535 bytes of content.
fn tagged(tag: u8, content: &[&[u8]]) -> Result<Zeroizing<Vec<u8>>> {
    let len = content.iter().map(|part| part.len()).sum::<usize>();
    let [high, low] = u16::try_from(len).map_err(bad_material)?.to_be_bytes();
    // Of the full size from the start: a vector that grows leaves a copy.
    let mut der = Zeroizing::new(Vec::with_capacity(4 + len));
    der.push(tag);
    match (high, low) {
        (0, ..=0x7f) => der.push(low),
        (0, _) => der.extend_from_slice(&[0x81, low]),
        _ => der.extend_from_slice(&[0x82, high, low]),
    }
    content.iter().for_each(|part| der.extend_from_slice(part));
    Ok(der)
}

fn algorithm(key_type: KeyType) -> Option<ObjectIdentifier> {
    Some(match key_type {
        KeyType::Ed25519 => ED25519,
        KeyType::X25519 => X25519,
        KeyType::MlDsa44 => ML_DSA_44,
        KeyType::MlDsa65 => ML_DSA_65,
        KeyType::MlDsa87 => ML_DSA_87,
        KeyType::MlKem512 => ML_KEM_512,
        KeyType::MlKem768 => ML_KEM_768,
        KeyType::MlKem1024 => ML_KEM_1024,
        KeyType::XWing => X_WING,
        _ => match key_type.info().family {
            KeyFamily::Rsa => RSA_ENCRYPTION,
            KeyFamily::Ec => EC_PUBLIC_KEY,
            _ => return None,
        },
    })
}

fn named_curve(key_type: KeyType) -> Option<ObjectIdentifier> {
    Some(match key_type {
        KeyType::EcP256 => SECP256R1,
        KeyType::EcP384 => SECP384R1,
        KeyType::EcP521 => SECP521R1,
        KeyType::EcP256K => SECP256K1,
        _ => return None,
    })
}

const UNCOMPRESSED: u8 = 0x04;
const OKP_LEN: u8 = 32;

const BIT_STRING: u8 = 0x03;
pub(super) const OCTET_STRING: u8 = 0x04;
const OBJECT_IDENTIFIER: u8 = 0x06;
pub(super) const SEQUENCE: u8 = 0x30;

/// `[0] IMPLICIT OCTET STRING`: the seed in RFC 9881 and RFC 9935.
pub(super) const SEED: u8 = 0x80;
const EXPLICIT_1: u8 = 0xa1;

/// RFC 8017 appendix A.1.
const RSA_ENCRYPTION: ObjectIdentifier = ObjectIdentifier::new_unwrap("1.2.840.113549.1.1.1");

/// RFC 5480 section 2.1.1.
const EC_PUBLIC_KEY: ObjectIdentifier = ObjectIdentifier::new_unwrap("1.2.840.10045.2.1");

/// RFC 8410 section 3.
const X25519: ObjectIdentifier = ObjectIdentifier::new_unwrap("1.3.101.110");

/// RFC 8410 section 3.
const ED25519: ObjectIdentifier = ObjectIdentifier::new_unwrap("1.3.101.112");

/// RFC 9881 section 2.
const ML_DSA_44: ObjectIdentifier = ObjectIdentifier::new_unwrap("2.16.840.1.101.3.4.3.17");

/// RFC 9881 section 2.
const ML_DSA_65: ObjectIdentifier = ObjectIdentifier::new_unwrap("2.16.840.1.101.3.4.3.18");

/// RFC 9881 section 2.
const ML_DSA_87: ObjectIdentifier = ObjectIdentifier::new_unwrap("2.16.840.1.101.3.4.3.19");

/// RFC 9935 section 3.
const ML_KEM_512: ObjectIdentifier = ObjectIdentifier::new_unwrap("2.16.840.1.101.3.4.4.1");

/// RFC 9935 section 3.
const ML_KEM_768: ObjectIdentifier = ObjectIdentifier::new_unwrap("2.16.840.1.101.3.4.4.2");

/// RFC 9935 section 3.
const ML_KEM_1024: ObjectIdentifier = ObjectIdentifier::new_unwrap("2.16.840.1.101.3.4.4.3");

/// draft-connolly-cfrg-xwing-kem-10.
const X_WING: ObjectIdentifier = ObjectIdentifier::new_unwrap("1.3.6.1.4.1.62253.25722");

/// RFC 5480 section 2.1.1.1.
const SECP256R1: ObjectIdentifier = ObjectIdentifier::new_unwrap("1.2.840.10045.3.1.7");

/// RFC 5480 section 2.1.1.1.
const SECP384R1: ObjectIdentifier = ObjectIdentifier::new_unwrap("1.3.132.0.34");

/// RFC 5480 section 2.1.1.1.
const SECP521R1: ObjectIdentifier = ObjectIdentifier::new_unwrap("1.3.132.0.35");

/// SEC 2 appendix A.2.1.
const SECP256K1: ObjectIdentifier = ObjectIdentifier::new_unwrap("1.3.132.0.10");
