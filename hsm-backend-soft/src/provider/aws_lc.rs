//! The provider over aws-lc-rs, with AES key wrap from `aes-kw` (aws-lc-rs has no 192-bit key wrap and parses the key
//! again for every call) and the expansion of ML-KEM seeds from `ml-kem` (aws-lc-rs takes expanded keys only) and SHAKE256
//! from `shake` (aws-lc-rs has none that is stable).

mod aes;
mod ec;
mod ed25519;
mod kdf;
mod mac;
mod ml_dsa;
mod ml_kem;
mod random;
mod rsa;
mod x25519;
mod x_wing;

use hsm_core::{Algorithm, Capabilities, KeyFamily, KeyType, Result, SecretBytes, Usage, Usages};
use pkcs8::PrivateKeyInfoRef;

use super::{ParsedKey, Provider, seed};
use crate::error::{failed, invalid};

/// The provider over aws-lc-rs.
#[derive(Debug)]
pub(crate) struct AwsLc;

impl Provider for AwsLc {
    fn capabilities(&self) -> Capabilities {
        Capabilities::new("software")
            .with_key_types(KeyType::all())
            .with_algorithms(Algorithm::all())
    }

    fn random(&self, out: &mut [u8]) -> Result<()> {
        random::fill(out)
    }

    fn generate(&self, key_type: KeyType) -> Result<SecretBytes> {
        match key_type.info().family {
            KeyFamily::Rsa => rsa::generate(key_type),
            KeyFamily::Ec => ec::generate(key_type),
            KeyFamily::Okp if key_type == KeyType::X25519 => x25519::generate(),
            KeyFamily::Okp => ed25519::generate(),
            _ => SecretBytes::try_init_with(key_type.byte_len(), random::fill),
        }
    }

    fn decode(&self, key_type: KeyType, encoded: &[u8]) -> Result<SecretBytes> {
        // aws-lc alone would take bytes after the key and drop them.
        if key_type.is_asymmetric() && PrivateKeyInfoRef::try_from(encoded).is_err() {
            return Err(invalid(format!(
                "not exactly one private key of type {key_type} in PKCS#8 DER"
            )));
        }
        match key_type.info().family {
            KeyFamily::Rsa => rsa::decode(key_type, encoded),
            KeyFamily::Ec => ec::decode(key_type, encoded),
            KeyFamily::Okp if key_type == KeyType::X25519 => x25519::decode(encoded),
            KeyFamily::Okp => ed25519::decode(encoded),
            KeyFamily::Akp if key_type == KeyType::XWing => x_wing::decode(encoded),
            KeyFamily::Akp if is_kem(key_type) => ml_kem::decode(key_type, encoded),
            KeyFamily::Akp => ml_dsa::decode(key_type, encoded),
            _ if encoded.len() == key_type.byte_len() => Ok(SecretBytes::copy_from(encoded)),
            _ => Err(invalid(format!(
                "a key of type {key_type} is {} bytes long, not {}",
                key_type.byte_len(),
                encoded.len()
            ))),
        }
    }

    fn encode(&self, key_type: KeyType, material: &[u8]) -> Result<SecretBytes> {
        match key_type.info().family {
            KeyFamily::Ec => ec::encode(key_type, material),
            KeyFamily::Okp if key_type == KeyType::X25519 => Ok(x25519::encode(material)),
            KeyFamily::Okp => ed25519::encode(material),
            KeyFamily::Akp => seed::encode(key_type, material),
            _ => Ok(SecretBytes::copy_from(material)),
        }
    }

    fn parse(
        &self,
        key_type: KeyType,
        usages: Usages,
        material: &[u8],
    ) -> Result<Box<dyn ParsedKey>> {
        Ok(match key_type {
            KeyType::Rsa2048 | KeyType::Rsa3072 | KeyType::Rsa4096 => {
                Box::new(rsa::RsaKey::parse(key_type, usages, material)?)
            }
            KeyType::EcP256 | KeyType::EcP384 | KeyType::EcP521 | KeyType::EcP256K => {
                Box::new(ec::EcKey::parse(key_type, usages, material)?)
            }
            KeyType::Ed25519 => Box::new(ed25519::Ed25519Key::parse(material)?),
            KeyType::X25519 => Box::new(x25519::X25519Key::parse(material)?),
            KeyType::Aes128 | KeyType::Aes192 | KeyType::Aes256 => {
                Box::new(aes::AesKey::parse(key_type, usages, material)?)
            }
            KeyType::HmacSha256 | KeyType::HmacSha384 | KeyType::HmacSha512 => {
                Box::new(mac::MacKey::parse(key_type, material)?)
            }
            KeyType::MlDsa44 | KeyType::MlDsa65 | KeyType::MlDsa87 => {
                Box::new(ml_dsa::MlDsaKey::parse(key_type, material)?)
            }
            KeyType::MlKem512 | KeyType::MlKem768 | KeyType::MlKem1024 => {
                Box::new(ml_kem::MlKemKey::parse(key_type, material)?)
            }
            KeyType::XWing => Box::new(x_wing::XWingKey::parse(material)?),
            KeyType::Kdk256 => Box::new(kdf::DerivationKey::parse(material)),
            _ => return Err(unsupported_type(key_type)),
        })
    }
}

fn is_kem(key_type: KeyType) -> bool {
    key_type.info().usages.contains(Usage::Encapsulate)
}

/// The registry knows a key type that this provider does not.
fn unsupported_type(key_type: KeyType) -> hsm_core::Error {
    hsm_core::Error::new(
        hsm_core::ErrorKind::Unsupported,
        format!("the software device has no keys of type {key_type}"),
    )
}

/// aws-lc failed where it should not: out of memory, or without randomness.
fn internal<E>(_: E) -> hsm_core::Error {
    failed("the cryptographic library failed")
}

/// Material that was sealed once and no longer parses.
fn bad_material<E>(_: E) -> hsm_core::Error {
    crate::error::damaged("the key material does not parse")
}
