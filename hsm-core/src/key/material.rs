//! [`KeyMaterial`]: private and symmetric keys in the forms that people have them in, on their way into an HSM.

use std::fmt;

use base64ct::{Base64UrlUnpadded, Encoding};
use p256::pkcs8::der::asn1::{AnyRef, BitStringRef, OctetStringRef};
use p256::pkcs8::der::pem;
use p256::pkcs8::der::{Decode, Encode};
use p256::pkcs8::spki::AlgorithmIdentifierRef;
use p256::pkcs8::{ObjectIdentifier, PrivateKeyInfoRef, der};
use rsa::pkcs1::{RsaPrivateKeyRef, UintRef};
use sec1::{EcParameters, EcPrivateKey};
use serde::Deserialize;
use zeroize::Zeroizing;

use super::public::{
    EC_PUBLIC_KEY, OKP_LEN, RSA_ENCRYPTION, SEC1_UNCOMPRESSED, akp_type, curve_type, jwk_type,
    rsa_type, spki_type, type_oid,
};
use crate::algorithm::{KeyFamily, KeyType};
use crate::error::{Error, ErrorKind, Result, invalid, limit};
use crate::limits::KEY_MATERIAL_LEN_MAX;
use crate::secret::SecretBytes;

/// A private or symmetric key in clear, in the one encoding that devices take: PKCS#8 DER (RFC 5958), or the octets of a
/// symmetric key.
///
/// It reads PEM and JSON Web Keys as well. What is read is checked to be one key, and whole; that its numbers belong
/// together, the device checks. The text that it is read from is the caller's to wipe.
///
/// ```
/// use hsm_core::{KeyType, SecretBytes};
/// use hsm_core::key::KeyMaterial;
///
/// // RFC 8037 appendix A.1.
/// let jwk = br#"{"kty":"OKP","crv":"Ed25519","d":"nWGxne_9WmC6hEr0kuwsxERJxWl7MmkZcDusAxyuf2A",
///                "x":"11qYAYKxCrfVS_7TyWQHOg7hcvPapiMlrwIaaPcHURo"}"#;
/// let material = KeyMaterial::from_jwk(jwk)?;
/// assert_eq!(material.key_type(), Some(KeyType::Ed25519));
/// let to_import: SecretBytes = material.into();
/// # Ok::<(), hsm_core::Error>(())
/// ```
pub struct KeyMaterial {
    key_type: Option<KeyType>,
    bytes: SecretBytes,
}

impl KeyMaterial {
    /// Reads PKCS#8 in DER.
    ///
    /// # Errors
    ///
    /// [`InvalidInput`](ErrorKind::InvalidInput) for what is not exactly one private key of a known type,
    /// [`LimitExceeded`](ErrorKind::LimitExceeded) for what is longer than [`KEY_MATERIAL_LEN_MAX`].
    pub fn from_pkcs8_der(der: &[u8]) -> Result<Self> {
        check_len(der.len())?;
        // The source would quote what it stumbled over.
        let info = PrivateKeyInfoRef::from_der(der)
            .map_err(|_| invalid("not exactly one private key in PKCS#8 DER (RFC 5958)"))?;
        let key_type = if info.algorithm.oid == RSA_ENCRYPTION {
            rsa_key(info.private_key.as_bytes())?
        } else {
            spki_type(&info.algorithm, &[])?
        };
        Ok(Self {
            key_type: Some(key_type),
            bytes: SecretBytes::copy_from(der),
        })
    }

    /// Reads one private key in PEM (RFC 7468): `PRIVATE KEY` (PKCS#8), `RSA PRIVATE KEY` (PKCS#1) or `EC PRIVATE KEY`
    /// (SEC 1). Parameters and certificates beside it are not expected.
    ///
    /// # Errors
    ///
    /// As [`from_pkcs8_der`](Self::from_pkcs8_der), and [`Unsupported`](ErrorKind::Unsupported) for an encrypted key,
    /// with the command that decrypts it.
    pub fn from_pem(pem: impl AsRef<[u8]>) -> Result<Self> {
        let pem = pem.as_ref();
        check_len(pem.len() / 2)?; // four characters hold three bytes, and there are the lines around them
        let (label, der) = pem::decode_vec(pem.trim_ascii_start())
            .map_err(|_| invalid("not exactly one private key in PEM (RFC 7468)"))?;
        let der = SecretBytes::from(der);
        match label {
            "PRIVATE KEY" => Self::from_pkcs8_der(der.expose()),
            "RSA PRIVATE KEY" => rsa_from_pkcs1(der.expose()),
            "EC PRIVATE KEY" => ec_from_sec1(der.expose()),
            "ENCRYPTED PRIVATE KEY" => Err(Error::new(
                ErrorKind::Unsupported,
                "the private key is encrypted; `openssl pkcs8 -in FILE` writes it in clear",
            )),
            _ => Err(invalid(
                "the PEM label of a private key is `PRIVATE KEY`, `RSA PRIVATE KEY` or `EC PRIVATE KEY`",
            )),
        }
    }

    /// Reads a private or symmetric JSON Web Key (RFC 7517): `kty` RSA, EC, OKP, AKP or oct, or Key Vault's names for them
    /// with `-HSM`. An RSA key must have its primes and what follows from them (RFC 7518 section 6.3.2).
    ///
    /// # Errors
    ///
    /// [`InvalidInput`](ErrorKind::InvalidInput) for what is not a private key of a known type, naming the member that
    /// is wrong; [`LimitExceeded`](ErrorKind::LimitExceeded) for what is too long.
    pub fn from_jwk(json: &[u8]) -> Result<Self> {
        check_len(json.len() / 2)?;
        let jwk: PrivateJwk<'_> = serde_json::from_slice(json).map_err(|error| {
            // Its message would quote the member.
            invalid(format!(
                "not a JSON Web Key with members of text, at line {} column {}",
                error.line(),
                error.column()
            ))
        })?;
        jwk.read()
    }

    /// The type of the key; `None` for a symmetric key, whose octets do not say what it is for.
    #[must_use]
    pub const fn key_type(&self) -> Option<KeyType> {
        self.key_type
    }

    fn encode(
        key_type: KeyType,
        algorithm: AlgorithmIdentifierRef<'_>,
        private_key: &[u8],
        public_key: Option<&[u8]>,
    ) -> Result<Self> {
        let encode = || {
            let info = PrivateKeyInfoRef {
                algorithm,
                private_key: OctetStringRef::new(private_key)?,
                public_key: public_key.map(BitStringRef::from_bytes).transpose()?,
            };
            info.to_der()
        };
        let der = encode().map_err(|_: der::Error| unencodable())?;
        Ok(Self {
            key_type: Some(key_type),
            bytes: der.into(),
        })
    }
}

/// The bytes that a device imports.
impl From<KeyMaterial> for SecretBytes {
    fn from(material: KeyMaterial) -> Self {
        material.bytes
    }
}

impl fmt::Debug for KeyMaterial {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("KeyMaterial")
            .field("key_type", &self.key_type)
            .finish_non_exhaustive()
    }
}

/// The private members of RFC 7518 section 6, RFC 8037 and RFC 9964, in base64url as they came.
#[derive(Deserialize)]
struct PrivateJwk<'a> {
    #[serde(borrow)]
    kty: &'a str,
    crv: Option<&'a str>,
    alg: Option<&'a str>,
    n: Option<&'a str>,
    e: Option<&'a str>,
    d: Option<&'a str>,
    p: Option<&'a str>,
    q: Option<&'a str>,
    dp: Option<&'a str>,
    dq: Option<&'a str>,
    qi: Option<&'a str>,
    x: Option<&'a str>,
    y: Option<&'a str>,
    k: Option<&'a str>,
    #[serde(rename = "priv")]
    seed: Option<&'a str>,
    #[serde(rename = "pub")]
    public: Option<&'a str>,
    #[serde(default, deserialize_with = "is_there")]
    oth: bool,
}

/// Notes that a member is there, whatever it is.
fn is_there<'de, D: serde::Deserializer<'de>>(deserializer: D) -> Result<bool, D::Error> {
    serde::de::IgnoredAny::deserialize(deserializer).map(|_| true)
}

impl PrivateJwk<'_> {
    fn read(&self) -> Result<KeyMaterial> {
        let kty = self.kty.strip_suffix("-HSM").unwrap_or(self.kty);
        if kty == KeyFamily::Oct.kty() {
            return Ok(KeyMaterial {
                key_type: None,
                bytes: octets("k", self.k)?,
            });
        }
        if kty == KeyFamily::Rsa.kty() {
            return self.read_rsa();
        }
        if kty == KeyFamily::Akp.kty() {
            return self.read_akp(akp_type(self.alg)?);
        }
        let key_type = jwk_type(kty, self.crv)?;
        if key_type.info().family == KeyFamily::Okp {
            self.read_okp(key_type)
        } else {
            self.read_ec(key_type)
        }
    }

    fn read_rsa(&self) -> Result<KeyMaterial> {
        if self.oth {
            return Err(invalid("RSA keys of more than two primes are not taken"));
        }
        let members = [
            number("n", self.n)?,
            number("e", self.e)?,
            number("d", self.d)?,
            number("p", self.p)?,
            number("q", self.q)?,
            number("dp", self.dp)?,
            number("dq", self.dq)?,
            number("qi", self.qi)?,
        ];
        let [n, e, d, p, q, dp, dq, qi] = members
            .each_ref()
            .map(|member| UintRef::new(member.expose()));
        let encode = || {
            RsaPrivateKeyRef {
                modulus: n?,
                public_exponent: e?,
                private_exponent: d?,
                prime1: p?,
                prime2: q?,
                exponent1: dp?,
                exponent2: dq?,
                coefficient: qi?,
                other_prime_infos: None,
            }
            .to_der()
        };
        let pkcs1 = SecretBytes::from(encode().map_err(|_: der::Error| unencodable())?);
        rsa_from_pkcs1(pkcs1.expose())
    }

    fn read_ec(&self, key_type: KeyType) -> Result<KeyMaterial> {
        let len = key_type.byte_len();
        let scalar = fixed("d", self.d, len)?;
        let mut point = vec![SEC1_UNCOMPRESSED];
        point.extend_from_slice(fixed("x", self.x, len)?.expose());
        point.extend_from_slice(fixed("y", self.y, len)?.expose());
        ec(key_type, scalar.expose(), Some(&point))
    }

    fn read_okp(&self, key_type: KeyType) -> Result<KeyMaterial> {
        let private = fixed("d", self.d, OKP_LEN)?;
        let public = fixed("x", self.x, OKP_LEN)?;
        let inner = OctetStringRef::new(private.expose()).and_then(|octets| octets.to_der());
        let inner = SecretBytes::from(inner.map_err(|_| unencodable())?);
        let algorithm = AlgorithmIdentifierRef {
            oid: type_oid(key_type)?,
            parameters: None,
        };
        KeyMaterial::encode(key_type, algorithm, inner.expose(), Some(public.expose()))
    }

    fn read_akp(&self, key_type: KeyType) -> Result<KeyMaterial> {
        let seed = fixed("priv", self.seed, key_type.byte_len())?;
        let public = octets("pub", self.public)?;
        let algorithm = AlgorithmIdentifierRef {
            oid: type_oid(key_type)?,
            parameters: None,
        };
        let inner = seed_choice(key_type, &seed);
        KeyMaterial::encode(key_type, algorithm, inner.expose(), Some(public.expose()))
    }
}

/// A seed as it stands in PKCS#8: `[0] IMPLICIT OCTET STRING` in RFC 9881 and RFC 9935, bare in the draft of X-Wing.
fn seed_choice(key_type: KeyType, seed: &SecretBytes) -> SecretBytes {
    const TAG: u8 = 0x80;
    let [len, ..] = seed.len().to_le_bytes(); // 64 at most
    let tag: &[u8] = match key_type {
        KeyType::XWing => &[],
        _ => &[TAG, len],
    };
    SecretBytes::init_with(tag.len() + seed.len(), |out| {
        let (head, rest) = out.split_at_mut(tag.len());
        head.copy_from_slice(tag);
        rest.copy_from_slice(seed.expose());
    })
}

/// PKCS#1 (RFC 8017 appendix A.1.2) in PKCS#8.
fn rsa_from_pkcs1(pkcs1: &[u8]) -> Result<KeyMaterial> {
    let algorithm = AlgorithmIdentifierRef {
        oid: RSA_ENCRYPTION,
        parameters: Some(AnyRef::NULL),
    };
    KeyMaterial::encode(rsa_key(pkcs1)?, algorithm, pkcs1, None)
}

/// The type of the RSA key in PKCS#1.
fn rsa_key(pkcs1: &[u8]) -> Result<KeyType> {
    let key = RsaPrivateKeyRef::from_der(pkcs1)
        .map_err(|_| invalid("not exactly one RSA private key in PKCS#1 DER (RFC 8017)"))?;
    rsa_type(key.modulus.as_bytes())
}

/// SEC 1 (RFC 5915) in PKCS#8.
fn ec_from_sec1(sec1: &[u8]) -> Result<KeyMaterial> {
    let key = EcPrivateKey::from_der(sec1)
        .map_err(|_| invalid("not exactly one EC private key in SEC 1 DER (RFC 5915)"))?;
    let curve = key
        .parameters
        .and_then(EcParameters::named_curve)
        .ok_or_else(|| invalid("an EC private key names its curve (RFC 5915)"))?;
    ec(curve_type(curve)?, key.private_key, key.public_key)
}

fn ec(key_type: KeyType, scalar: &[u8], point: Option<&[u8]>) -> Result<KeyMaterial> {
    let curve: ObjectIdentifier = type_oid(key_type)?;
    let inner = EcPrivateKey {
        private_key: scalar,
        parameters: None,
        public_key: point,
    };
    let inner = Zeroizing::new(inner.to_der().map_err(|_| unencodable())?);
    let algorithm = AlgorithmIdentifierRef {
        oid: EC_PUBLIC_KEY,
        parameters: Some(AnyRef::from(&curve)),
    };
    KeyMaterial::encode(key_type, algorithm, &inner, None)
}

/// Base64urlUInt of RFC 7518 section 2.
fn number(member: &str, value: Option<&str>) -> Result<SecretBytes> {
    let bytes = octets(member, value)?;
    if bytes.expose().first().is_none_or(|byte| *byte == 0) {
        return Err(invalid(format!(
            "member `{member}` of a JSON Web Key is a positive number without leading zeros"
        )));
    }
    Ok(bytes)
}

fn fixed(member: &str, value: Option<&str>, len: usize) -> Result<SecretBytes> {
    let bytes = octets(member, value)?;
    if bytes.len() != len {
        return Err(invalid(format!(
            "member `{member}` of this JSON Web Key has {} bytes, not {len}",
            bytes.len()
        )));
    }
    Ok(bytes)
}

fn octets(member: &str, value: Option<&str>) -> Result<SecretBytes> {
    let value =
        value.ok_or_else(|| invalid(format!("the JSON Web Key lacks member `{member}`")))?;
    let len = value.len() / 4 * 3 + (value.len() % 4).saturating_sub(1);
    SecretBytes::try_init_with(len, |out| {
        Base64UrlUnpadded::decode(value, out)
            .map(drop)
            .map_err(|_| {
                invalid(format!(
                    "member `{member}` of a JSON Web Key is base64url without padding"
                ))
            })
    })
}

fn check_len(len: usize) -> Result<()> {
    if len > KEY_MATERIAL_LEN_MAX {
        return Err(limit("the length of a key", len, KEY_MATERIAL_LEN_MAX));
    }
    Ok(())
}

fn unencodable() -> Error {
    invalid("the numbers of the key cannot be encoded")
}
