//! The provider in pure Rust, over crates of RustCrypto and dalek. Its files are named as those of `aws_lc`.

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

use super::{ParsedKey, Provider, encoding, seed, x_wing};
use crate::error::{bad_material, internal, unsupported_type};
use crate::memory::Depth;

/// The provider in pure Rust.
#[derive(Debug)]
pub(crate) struct RustCrypto;

impl Provider for RustCrypto {
    fn capabilities(&self) -> Capabilities {
        Capabilities::new("software")
            .with_key_types(KEY_TYPES)
            .with_algorithms(ALGORITHMS)
    }

    fn depth(&self, key_type: KeyType) -> Depth {
        match key_type {
            KeyType::MlDsa44 | KeyType::MlDsa65 | KeyType::MlDsa87 => Depth::Deepest,
            _ => match key_type.info().family {
                KeyFamily::Akp | KeyFamily::Ec => Depth::Deep,
                _ => Depth::Usual,
            },
        }
    }

    fn random(&self, out: &mut [u8]) -> Result<()> {
        random::fill(out)
    }

    fn generate(&self, key_type: KeyType) -> Result<SecretBytes> {
        match key_type.info().family {
            KeyFamily::Rsa => rsa::generate(key_type),
            KeyFamily::Ec => ec::generate(key_type),
            // Every string of the length is a key (RFC 8032 section 5.1.5, RFC 7748 section 5, FIPS 203, FIPS 204).
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
                Box::new(rsa::RsaKey::parse(key_type, material)?)
            }
            KeyType::EcP256 | KeyType::EcP384 | KeyType::EcP521 | KeyType::EcP256K => {
                ec::parse(key_type, material)?
            }
            KeyType::Ed25519 => Box::new(ed25519::Ed25519Key::parse(material)?),
            KeyType::X25519 => Box::new(x25519::X25519Key::parse(material)?),
            KeyType::Aes128 | KeyType::Aes192 | KeyType::Aes256 => {
                aes::parse(key_type, usages, material)?
            }
            KeyType::HmacSha256 | KeyType::HmacSha384 | KeyType::HmacSha512 => {
                mac::parse(key_type, material)?
            }
            KeyType::MlDsa44 | KeyType::MlDsa65 | KeyType::MlDsa87 => {
                ml_dsa::parse(key_type, material)?
            }
            KeyType::MlKem512 | KeyType::MlKem768 | KeyType::MlKem1024 => {
                ml_kem::parse(key_type, material)?
            }
            KeyType::XWing => Box::new(x_wing::XWingKey::parse(&Self, material)?),
            KeyType::Kdk256 => Box::new(kdf::DerivationKey::parse(material)),
            _ => return Err(unsupported_type(key_type)),
        })
    }
}

/// The key types of this provider. A new one of the registry is not in it by itself.
const KEY_TYPES: [KeyType; 23] = [
    KeyType::Rsa2048,
    KeyType::Rsa3072,
    KeyType::Rsa4096,
    KeyType::EcP256,
    KeyType::EcP384,
    KeyType::EcP521,
    KeyType::EcP256K,
    KeyType::Ed25519,
    KeyType::X25519,
    KeyType::Aes128,
    KeyType::Aes192,
    KeyType::Aes256,
    KeyType::HmacSha256,
    KeyType::HmacSha384,
    KeyType::HmacSha512,
    KeyType::Kdk256,
    KeyType::MlDsa44,
    KeyType::MlDsa65,
    KeyType::MlDsa87,
    KeyType::MlKem512,
    KeyType::MlKem768,
    KeyType::MlKem1024,
    KeyType::XWing,
];

/// The algorithms of this provider. `RSA1_5` is left out: answering for its padding with arithmetic whose time depends on the
/// key (RUSTSEC-2023-0071) is how such keys are broken.
const ALGORITHMS: [Algorithm; 49] = [
    Algorithm::Es256,
    Algorithm::Es384,
    Algorithm::Es512,
    Algorithm::Es256K,
    Algorithm::EdDsa,
    Algorithm::Rs256,
    Algorithm::Rs384,
    Algorithm::Rs512,
    Algorithm::Ps256,
    Algorithm::Ps384,
    Algorithm::Ps512,
    Algorithm::RsaOaep,
    Algorithm::RsaOaep256,
    Algorithm::RsaAesKwp,
    Algorithm::A128Gcm,
    Algorithm::A192Gcm,
    Algorithm::A256Gcm,
    Algorithm::A128Cbc,
    Algorithm::A192Cbc,
    Algorithm::A256Cbc,
    Algorithm::A128CbcPad,
    Algorithm::A192CbcPad,
    Algorithm::A256CbcPad,
    Algorithm::A128Ctr,
    Algorithm::A192Ctr,
    Algorithm::A256Ctr,
    Algorithm::A128Kw,
    Algorithm::A192Kw,
    Algorithm::A256Kw,
    Algorithm::A128Kwp,
    Algorithm::A192Kwp,
    Algorithm::A256Kwp,
    Algorithm::Hs256,
    Algorithm::Hs384,
    Algorithm::Hs512,
    Algorithm::EcdhEs,
    Algorithm::HkdfSha256,
    Algorithm::HkdfSha384,
    Algorithm::HkdfSha512,
    Algorithm::KbkdfHmacSha256,
    Algorithm::KbkdfHmacSha384,
    Algorithm::KbkdfHmacSha512,
    Algorithm::MlDsa44,
    Algorithm::MlDsa65,
    Algorithm::MlDsa87,
    Algorithm::MlKem512,
    Algorithm::MlKem768,
    Algorithm::MlKem1024,
    Algorithm::XWing,
];
