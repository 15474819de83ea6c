//! [`PublicKey`]: the public half of a key, its encodings, and verification in pure Rust.

mod akp;
mod jwk;
mod spki;
#[cfg(test)]
mod tests;
mod verify;

use std::fmt;

use rsa::pkcs1::RsaPublicKeyRef;
use rsa::pkcs1::der::Decode;
use serde::{Deserialize, Serialize};

pub use self::jwk::Jwk;
pub(super) use self::jwk::{akp_type, jwk_type};
pub(super) use self::spki::{
    EC_PUBLIC_KEY, RSA_ENCRYPTION, curve_type, rsa_type, spki_type, type_oid,
};
use crate::algorithm::{KeyFamily, KeyType};
use crate::error::{Error, Result, invalid, limit};
use crate::limits::PUBLIC_KEY_LEN_MAX;

/// The public half of an asymmetric key. A value of this type is a valid key of its type.
///
/// ```
/// use hsm_core::{Algorithm, KeyType, PublicKey, SignInput};
///
/// # let pem = "-----BEGIN PUBLIC KEY-----
/// # MCowBQYDK2VwAyEA11qYAYKxCrfVS/7TyWQHOg7hcvPapiMlrwIaaPcHURo=
/// # -----END PUBLIC KEY-----
/// # ";
/// # let signature = [
/// #     0xe5, 0x56, 0x43, 0x00, 0xc3, 0x60, 0xac, 0x72, 0x90, 0x86, 0xe2, 0xcc, 0x80, 0x6e, 0x82, 0x8a, 0x84, 0x87,
/// #     0x7f, 0x1e, 0xb8, 0xe5, 0xd9, 0x74, 0xd8, 0x73, 0xe0, 0x65, 0x22, 0x49, 0x01, 0x55, 0x5f, 0xb8, 0x82, 0x15,
/// #     0x90, 0xa3, 0x3b, 0xac, 0xc6, 0x1e, 0x39, 0x70, 0x1c, 0xf9, 0xb4, 0x6b, 0xd2, 0x5b, 0xf5, 0xf0, 0x59, 0x5b,
/// #     0xbe, 0x24, 0x65, 0x51, 0x41, 0x43, 0x8e, 0x7a, 0x10, 0x0b,
/// # ];
/// let key = PublicKey::from_pem(pem)?;
/// assert_eq!(key.key_type(), KeyType::Ed25519);
/// key.verify(Algorithm::EdDsa, SignInput::Message(b""), &signature)?;
/// assert!(key.verify(Algorithm::EdDsa, SignInput::Message(b"edited"), &signature).is_err());
/// # Ok::<(), hsm_core::Error>(())
/// ```
#[derive(Clone, Eq, Hash, PartialEq, Serialize, Deserialize)]
#[serde(try_from = "Unchecked")]
pub struct PublicKey {
    key_type: KeyType,
    raw: Box<[u8]>,
}

impl PublicKey {
    /// Takes a public key in its raw form: the uncompressed point of SEC 1 for EC keys, `RSAPublicKey` of RFC 8017 in
    /// DER for RSA, the 32 bytes of RFC 8032 or RFC 7748 for Ed25519 and X25519, the bytes of FIPS 204 or FIPS 203 for
    /// ML-DSA and ML-KEM, the ML-KEM-768 and the X25519 key for X-Wing.
    ///
    /// # Errors
    ///
    /// [`LimitExceeded`](crate::ErrorKind::LimitExceeded) above [`PUBLIC_KEY_LEN_MAX`].
    /// [`InvalidInput`](crate::ErrorKind::InvalidInput) for what is not a valid key of the type: a point off the curve,
    /// a modulus of another size, an RSA exponent that is even, below 65537 or 2³² and above, an ML-KEM key whose numbers
    /// are not below the modulus (FIPS 203 section 7.2).
    pub fn from_raw(key_type: KeyType, raw: impl Into<Box<[u8]>>) -> Result<Self> {
        let raw = raw.into();
        check_len(raw.len())?;
        match key_type.info().family {
            KeyFamily::Ec => check_point(key_type, &raw)?,
            KeyFamily::Rsa => check_rsa(key_type, &raw)?,
            KeyFamily::Okp => check_okp(key_type, &raw)?,
            KeyFamily::Akp => akp::check(key_type, &raw)?,
            KeyFamily::Oct => {
                return Err(invalid(format!(
                    "{key_type} is a symmetric key, which has no public half"
                )));
            }
        }
        Ok(Self { key_type, raw })
    }

    /// The key's type.
    #[must_use]
    pub const fn key_type(&self) -> KeyType {
        self.key_type
    }

    /// The key in its raw form, as [`from_raw`](Self::from_raw) takes it.
    #[must_use]
    pub fn as_raw(&self) -> &[u8] {
        &self.raw
    }
}

/// Refuses what is too long for a public key before anything looks at it.
fn check_len(len: usize) -> Result<()> {
    if len > PUBLIC_KEY_LEN_MAX {
        return Err(limit("the length of a public key", len, PUBLIC_KEY_LEN_MAX));
    }
    Ok(())
}

fn check_point(key_type: KeyType, raw: &[u8]) -> Result<()> {
    let len = 1 + 2 * key_type.byte_len();
    if raw.len() != len || raw.first() != Some(&SEC1_UNCOMPRESSED) {
        return Err(invalid(format!(
            "a public key of type {key_type} is an uncompressed point (0x04, x, y) of {len} bytes, not {} bytes",
            raw.len()
        )));
    }
    let on_curve = match key_type {
        KeyType::EcP256 => p256::PublicKey::from_sec1_bytes(raw).is_ok(),
        KeyType::EcP384 => p384::PublicKey::from_sec1_bytes(raw).is_ok(),
        KeyType::EcP521 => p521::PublicKey::from_sec1_bytes(raw).is_ok(),
        _ => k256::PublicKey::from_sec1_bytes(raw).is_ok(),
    };
    if on_curve {
        Ok(())
    } else {
        Err(invalid(format!(
            "the point is not on the curve of {key_type}"
        )))
    }
}

fn check_rsa(key_type: KeyType, raw: &[u8]) -> Result<()> {
    let (modulus, exponent) = rsa_parts(raw)?;
    let bits = modulus.len() * 8
        - modulus
            .first()
            .map_or(0, |byte| byte.leading_zeros() as usize);
    if bits != usize::from(key_type.info().bits) {
        return Err(invalid(format!(
            "the modulus has {bits} bits, but {key_type} means {}",
            key_type.info().bits
        )));
    }
    if modulus.last().is_none_or(|byte| byte % 2 == 0) {
        return Err(invalid("an RSA modulus is odd"));
    }
    let small = exponent.len() <= 4;
    let exponent = exponent
        .iter()
        .fold(0u64, |value, byte| value << 8 | u64::from(*byte));
    if !small || exponent < RSA_EXPONENT_MIN || exponent % 2 == 0 {
        return Err(invalid(
            "an RSA public exponent is odd, 65537 at least and below 2^32",
        ));
    }
    Ok(())
}

/// Modulus and exponent, big-endian without leading zeros.
fn rsa_parts(raw: &[u8]) -> Result<(&[u8], &[u8])> {
    let key = RsaPublicKeyRef::from_der(raw).map_err(|source| {
        invalid("an RSA public key is an RSAPublicKey of RFC 8017 in DER").with_source(source)
    })?;
    Ok((key.modulus.as_bytes(), key.public_exponent.as_bytes()))
}

fn check_okp(key_type: KeyType, raw: &[u8]) -> Result<()> {
    let bytes = <&[u8; OKP_LEN]>::try_from(raw).map_err(|_| {
        invalid(format!(
            "a public key of type {key_type} has {OKP_LEN} bytes, not {}",
            raw.len()
        ))
    })?;
    // Every string of 32 bytes is an X25519 public key (RFC 7748 section 5); agreement refuses the useless ones.
    if key_type == KeyType::Ed25519 {
        let key = ed25519_dalek::VerifyingKey::from_bytes(bytes)
            .map_err(|source| invalid("the point is not on the curve").with_source(source))?;
        if key.to_edwards().compress().as_bytes() != bytes {
            return Err(invalid("the point is not encoded canonically (RFC 8032)"));
        }
        if key.is_weak() {
            return Err(invalid(
                "the point has small order: anybody can sign for it",
            ));
        }
    }
    Ok(())
}

impl fmt::Debug for PublicKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "PublicKey({})", self.key_type)
    }
}

/// A public key as it is read, before [`PublicKey::from_raw`] looks at it.
#[derive(Deserialize)]
struct Unchecked {
    key_type: KeyType,
    raw: Box<[u8]>,
}

impl TryFrom<Unchecked> for PublicKey {
    type Error = Error;

    fn try_from(key: Unchecked) -> Result<Self> {
        Self::from_raw(key.key_type, key.raw)
    }
}

/// The tag of an uncompressed point (SEC 1 section 2.3.3).
pub(super) const SEC1_UNCOMPRESSED: u8 = 4;

/// Length of an Ed25519 or X25519 public key.
pub(super) const OKP_LEN: usize = 32;

/// Smaller exponents invite attacks on bad padding (FIPS 186-5 section 5.1: 2^16 < e).
const RSA_EXPONENT_MIN: u64 = 65_537;
