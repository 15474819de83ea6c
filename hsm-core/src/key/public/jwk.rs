//! [`Jwk`]: public keys as JSON Web Keys (RFC 7517, RFC 7518 section 6, RFC 8037, RFC 8812, RFC 9964), and
//! their thumbprints.

use base64ct::{Base64UrlUnpadded, Encoding};
use rsa::pkcs1::RsaPublicKeyRef;
use rsa::pkcs1::der::Encode;
use rsa::pkcs1::der::asn1::UintRef;
use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};

use super::spki::rsa_type;
use super::{OKP_LEN, PublicKey, SEC1_UNCOMPRESSED, check_len, rsa_parts};
use crate::algorithm::{KeyFamily, KeyType};
use crate::error::{Result, invalid};

/// A public key as a JSON Web Key. Members that a key does not have are left out; unknown ones are ignored.
///
/// ```
/// use hsm_core::key::Jwk;
/// use hsm_core::{KeyType, PublicKey};
///
/// let mut jwk = Jwk::default();
/// jwk.kty = "OKP".into();
/// jwk.crv = Some("Ed25519".into());
/// jwk.x = Some("11qYAYKxCrfVS_7TyWQHOg7hcvPapiMlrwIaaPcHURo".into());
/// let key = PublicKey::from_jwk(&jwk)?;
/// assert_eq!(key.key_type(), KeyType::Ed25519);
/// assert_eq!(key.to_jwk()?, jwk);
/// # Ok::<(), hsm_core::Error>(())
/// ```
#[derive(Clone, Debug, Default, Eq, PartialEq, Serialize, Deserialize)]
#[non_exhaustive]
#[serde(default)]
pub struct Jwk {
    /// Family: `EC`, `RSA`, `OKP` or `AKP`; Key Vault's `EC-HSM`, `RSA-HSM` and `AKP-HSM` are taken for the same.
    pub kty: String,
    /// Curve. secp256k1 is written as in RFC 8812; Key Vault's `P-256K` is taken for the same.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub crv: Option<String>,
    /// RSA modulus, big-endian without leading zeros, in base64url.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub n: Option<String>,
    /// RSA public exponent, big-endian without leading zeros, in base64url.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub e: Option<String>,
    /// x-coordinate at its full length, or the whole of an OKP key, in base64url.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub x: Option<String>,
    /// y-coordinate at its full length, in base64url.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub y: Option<String>,
    /// The whole of an AKP key, in base64url.
    #[serde(rename = "pub", skip_serializing_if = "Option::is_none")]
    pub public: Option<String>,
    /// The application's name for the key.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub kid: Option<String>,
    /// The algorithm that the key is for. An AKP key cannot do without: it says what the key is.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub alg: Option<String>,
    /// `sig` or `enc`.
    #[serde(rename = "use", skip_serializing_if = "Option::is_none")]
    pub public_key_use: Option<String>,
    /// What the key may be used for.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub key_ops: Option<Vec<String>>,
}

impl PublicKey {
    /// The key as a JSON Web Key: type and numbers, without `kid`, `use` and `key_ops`, and without `alg` unless the `kty`
    /// is AKP.
    ///
    /// # Errors
    ///
    /// [`InvalidInput`](crate::ErrorKind::InvalidInput) if it cannot be encoded, which does not happen.
    pub fn to_jwk(&self) -> Result<Jwk> {
        let info = self.key_type().info();
        let mut jwk = Jwk {
            kty: info.family.kty().to_owned(),
            crv: info.curve.map(|curve| match self.key_type() {
                KeyType::EcP256K => SECP256K1.to_owned(),
                _ => curve.to_owned(),
            }),
            ..Jwk::default()
        };
        match info.family {
            KeyFamily::Rsa => {
                let (modulus, exponent) = rsa_parts(self.as_raw())?;
                jwk.n = Some(Base64UrlUnpadded::encode_string(modulus));
                jwk.e = Some(Base64UrlUnpadded::encode_string(exponent));
            }
            KeyFamily::Ec => {
                let (x, y) = self.as_raw()[1..].split_at(self.key_type().byte_len());
                jwk.x = Some(Base64UrlUnpadded::encode_string(x));
                jwk.y = Some(Base64UrlUnpadded::encode_string(y));
            }
            KeyFamily::Akp => {
                jwk.alg = Some(info.name.to_owned());
                jwk.public = Some(Base64UrlUnpadded::encode_string(self.as_raw()));
            }
            KeyFamily::Okp | KeyFamily::Oct => {
                jwk.x = Some(Base64UrlUnpadded::encode_string(self.as_raw()));
            }
        }
        Ok(jwk)
    }

    /// Reads a JSON Web Key. `kid`, `use` and `key_ops` are not looked at, and `alg` only if the `kty` is AKP.
    ///
    /// # Errors
    ///
    /// [`InvalidInput`](crate::ErrorKind::InvalidInput) for what is not a valid key of a known type, naming the member
    /// that is wrong; [`LimitExceeded`](crate::ErrorKind::LimitExceeded) for what is too long.
    pub fn from_jwk(jwk: &Jwk) -> Result<Self> {
        let kty = jwk.kty.strip_suffix("-HSM").unwrap_or(&jwk.kty);
        if kty == KeyFamily::Rsa.kty() {
            return rsa_from_jwk(jwk);
        }
        if kty == KeyFamily::Akp.kty() {
            let key_type = akp_type(jwk.alg.as_deref())?;
            return Self::from_raw(key_type, octets("pub", jwk.public.as_deref())?);
        }
        let key_type = jwk_type(kty, jwk.crv.as_deref())?;
        if key_type.info().family == KeyFamily::Okp {
            return Self::from_raw(key_type, fixed("x", jwk.x.as_deref(), OKP_LEN)?);
        }
        let len = key_type.byte_len();
        let mut point = vec![SEC1_UNCOMPRESSED];
        point.extend(fixed("x", jwk.x.as_deref(), len)?);
        point.extend(fixed("y", jwk.y.as_deref(), len)?);
        Self::from_raw(key_type, point)
    }

    /// The JWK thumbprint of RFC 7638 with SHA-256: a name for the key that follows from nothing but the key. It is
    /// usually written in base64url.
    ///
    /// # Errors
    ///
    /// [`InvalidInput`](crate::ErrorKind::InvalidInput) if it cannot be encoded, which does not happen.
    pub fn thumbprint(&self) -> Result<[u8; 32]> {
        // The required members alone, in the order of their names, without white space (RFC 7638 section 3).
        let jwk = self.to_jwk()?;
        let members = [
            ("alg", jwk.alg),
            ("crv", jwk.crv),
            ("e", jwk.e),
            ("kty", Some(jwk.kty)),
            ("n", jwk.n),
            ("pub", jwk.public),
            ("x", jwk.x),
            ("y", jwk.y),
        ];
        let members = members
            .into_iter()
            .filter_map(|(name, value)| Some(format!("\"{name}\":\"{}\"", value?)))
            .collect::<Vec<_>>();
        Ok(Sha256::digest(format!("{{{}}}", members.join(","))).into())
    }
}

/// The type of key with this `kty` and `crv`. RSA and symmetric keys have no curve.
pub(in crate::key) fn jwk_type(kty: &str, crv: Option<&str>) -> Result<KeyType> {
    let curve = match crv {
        Some(SECP256K1) => KeyType::EcP256K.info().curve,
        curve => curve,
    };
    KeyType::all()
        .find(|key_type| {
            let info = key_type.info();
            info.curve.is_some() && info.curve == curve && info.family.kty() == kty
        })
        .ok_or_else(|| {
            invalid(
                "a JSON Web Key has the kty RSA, EC with one of the crv P-256, P-384, P-521 and secp256k1, OKP with one \
                 of Ed25519 and X25519, or AKP; and oct if it is secret",
            )
        })
}

/// The type of an AKP key, which is what its `alg` says (RFC 9964).
pub(in crate::key) fn akp_type(alg: Option<&str>) -> Result<KeyType> {
    let akp = |key_type: &KeyType| key_type.info().family == KeyFamily::Akp;
    KeyType::all()
        .filter(akp)
        .find(|key_type| alg == Some(key_type.name()))
        .ok_or_else(|| {
            let known: Vec<_> = KeyType::all().filter(akp).map(KeyType::name).collect();
            invalid(format!(
                "member `alg` of a JSON Web Key with the kty AKP is one of {}",
                known.join(", ")
            ))
        })
}

fn rsa_from_jwk(jwk: &Jwk) -> Result<PublicKey> {
    let modulus = number("n", jwk.n.as_deref())?;
    let exponent = number("e", jwk.e.as_deref())?;
    let encode = || {
        RsaPublicKeyRef {
            modulus: UintRef::new(&modulus)?,
            public_exponent: UintRef::new(&exponent)?,
        }
        .to_der()
    };
    let raw = encode().map_err(|source| invalid("not an RSA public key").with_source(source))?;
    PublicKey::from_raw(rsa_type(&modulus)?, raw)
}

/// Base64urlUInt of RFC 7518 section 2: no leading zeros.
fn number(member: &str, value: Option<&str>) -> Result<Vec<u8>> {
    let bytes = octets(member, value)?;
    if bytes.first().is_none_or(|byte| *byte == 0) {
        return Err(invalid(format!(
            "member `{member}` of a JSON Web Key is a positive number without leading zeros"
        )));
    }
    Ok(bytes)
}

fn fixed(member: &str, value: Option<&str>, len: usize) -> Result<Vec<u8>> {
    let bytes = octets(member, value)?;
    if bytes.len() != len {
        return Err(invalid(format!(
            "member `{member}` of this JSON Web Key has {len} bytes, not {}",
            bytes.len()
        )));
    }
    Ok(bytes)
}

fn octets(member: &str, value: Option<&str>) -> Result<Vec<u8>> {
    let value =
        value.ok_or_else(|| invalid(format!("the JSON Web Key lacks member `{member}`")))?;
    check_len(value.len())?;
    Base64UrlUnpadded::decode_vec(value).map_err(|source| {
        invalid(format!(
            "member `{member}` of a JSON Web Key is base64url without padding"
        ))
        .with_source(source)
    })
}

/// secp256k1 in RFC 8812; Key Vault calls it P-256K.
const SECP256K1: &str = "secp256k1";
