//! The provider over aws-lc-rs, with AES key wrap from `aes-kw` (aws-lc-rs has no 192-bit key wrap and parses the key
//! again for every call) and the expansion of ML-KEM seeds from `ml-kem` (aws-lc-rs takes expanded keys only).

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

use hsm_core::{Algorithm, Capabilities, KeyFamily, KeyType, Result, SecretBytes, Usages};

use super::aes::AesKey;
use super::{ParsedKey, Provider, encoding, seed, x_wing};
use crate::error::{bad_material, internal, unsupported_type};

/// The provider over aws-lc-rs.
#[derive(Debug)]
pub(crate) struct AwsLc;

impl Provider for AwsLc {
    fn capabilities(&self) -> Capabilities {
        Capabilities::new("software")
            .with_key_types(KeyType::all())
            .with_algorithms(Algorithm::all())
    }

    fn validated_module(&self) -> Option<&'static str> {
        aws_lc_rs::try_fips_mode().ok().map(|()| "AWS-LC FIPS")
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
        match key_type.info().family {
            KeyFamily::Rsa => rsa::decode(key_type, encoded),
            KeyFamily::Ec => ec::decode(key_type, encoded),
            KeyFamily::Okp if key_type == KeyType::X25519 => x25519::decode(encoded),
            KeyFamily::Okp => ed25519::decode(encoded),
            KeyFamily::Akp => seed::decode(&Self, key_type, encoded),
            _ => encoding::decode_octets(key_type, encoded),
        }
    }

    fn encode(&self, key_type: KeyType, material: &[u8]) -> Result<SecretBytes> {
        encoding::encode(key_type, material)
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
                Box::new(AesKey::<aes::AwsLcCiphers>::parse(
                    key_type, usages, material,
                )?)
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
            KeyType::XWing => Box::new(x_wing::XWingKey::parse(&Self, material)?),
            KeyType::Kdk256 => Box::new(kdf::DerivationKey::parse(material)),
            _ => return Err(unsupported_type(key_type)),
        })
    }
}
