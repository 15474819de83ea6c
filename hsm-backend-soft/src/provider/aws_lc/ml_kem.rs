//! ML-KEM keys (FIPS 203). The material is the 64-byte seed d ‖ z. aws-lc-rs takes expanded keys only, so `ml-kem` expands
//! the seed when a key is parsed; what is done with the key, aws-lc does.

use aws_lc_rs::kem::{self, Ciphertext, DecapsulationKey, EncapsulationKey};
use hsm_core::{Algorithm, Encapsulated, KeyType, PublicKey, Result, SecretBytes};

use super::{bad_material, internal, unsupported_type};
use crate::provider::{ParsedKey, seed};

/// A key that encapsulates and decapsulates.
#[derive(Debug)]
pub(super) struct MlKemKey {
    decapsulation: DecapsulationKey,
    encapsulation: EncapsulationKey,
    public: PublicKey,
}

impl MlKemKey {
    /// Expands the seed.
    pub(super) fn parse(key_type: KeyType, material: &[u8]) -> Result<Self> {
        let algorithm = algorithm(key_type)?;
        let private = seed::expand(key_type, material)?;
        let public = encapsulation_key(private.expose());
        Ok(Self {
            decapsulation: DecapsulationKey::new(algorithm, private.expose())
                .map_err(bad_material)?,
            encapsulation: EncapsulationKey::new(algorithm, public).map_err(bad_material)?,
            public: PublicKey::from_raw(key_type, public)?,
        })
    }
}

impl ParsedKey for MlKemKey {
    fn public(&self) -> Option<&PublicKey> {
        Some(&self.public)
    }

    fn encapsulate(&self, _algorithm: Algorithm) -> Result<Encapsulated> {
        let (ciphertext, secret) = self.encapsulation.encapsulate().map_err(internal)?;
        Ok(Encapsulated {
            ciphertext: ciphertext.as_ref().to_vec(),
            secret: SecretBytes::copy_from(secret.as_ref()),
        })
    }

    fn decapsulate(&self, _algorithm: Algorithm, ciphertext: &[u8]) -> Result<SecretBytes> {
        // A ciphertext that was not made for this key gives a secret nobody knows, not an error (FIPS 203 section 6.3).
        let secret = self
            .decapsulation
            .decapsulate(Ciphertext::from(ciphertext))
            .map_err(internal)?;
        Ok(SecretBytes::copy_from(secret.as_ref()))
    }
}

/// The part of an expanded key `dk_PKE ‖ ek ‖ H(ek) ‖ z` (FIPS 203 algorithm 16) that is public. It is 32 bytes longer than
/// the one before it.
fn encapsulation_key(expanded: &[u8]) -> &[u8] {
    let end = expanded.len() - 64;
    &expanded[(end - 32) / 2..end]
}

fn algorithm(key_type: KeyType) -> Result<&'static kem::Algorithm> {
    match key_type {
        KeyType::MlKem512 => Ok(&kem::ML_KEM_512),
        KeyType::MlKem768 => Ok(&kem::ML_KEM_768),
        KeyType::MlKem1024 => Ok(&kem::ML_KEM_1024),
        _ => Err(unsupported_type(key_type)),
    }
}
