//! ML-KEM keys (FIPS 203). The material is the 64-byte seed d ‖ z. aws-lc-rs takes expanded keys only, so `ml-kem` expands
//! the seed when a key is parsed; what is done with the key, aws-lc does.

use aws_lc_rs::kem::{self, Ciphertext, DecapsulationKey, EncapsulationKey};
use hsm_core::{Algorithm, Encapsulated, KeyType, PublicKey, Result, SecretBytes};
use ml_kem::{FromSeed, KeyExport, MlKem512, MlKem768, MlKem1024, Seed};
use zeroize::{Zeroize, Zeroizing};

use super::{bad_material, internal, unsupported_type};
use crate::provider::{ParsedKey, seed};

/// Makes material of PKCS#8 (RFC 9935).
pub(super) fn decode(key_type: KeyType, pkcs8: &[u8]) -> Result<SecretBytes> {
    let decoded = seed::decode(key_type, pkcs8)?;
    let Expanded { private, public } = expand(key_type, decoded.seed)?;
    decoded.check_public(&public)?;
    decoded.check_expanded(|| Ok(private))?;
    Ok(SecretBytes::copy_from(decoded.seed))
}

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
        let Expanded { private, public } = expand(key_type, material)?;
        Ok(Self {
            decapsulation: DecapsulationKey::new(algorithm, private.expose())
                .map_err(bad_material)?,
            encapsulation: EncapsulationKey::new(algorithm, &public).map_err(bad_material)?,
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

/// A key as FIPS 203 section 7.1 makes it of the seed.
struct Expanded {
    private: SecretBytes,
    public: Vec<u8>,
}

fn expand(key_type: KeyType, material: &[u8]) -> Result<Expanded> {
    let seed = Zeroizing::new(Seed::try_from(material).map_err(bad_material)?);
    match key_type {
        KeyType::MlKem512 => Ok(expand_with::<MlKem512>(&seed)),
        KeyType::MlKem768 => Ok(expand_with::<MlKem768>(&seed)),
        KeyType::MlKem1024 => Ok(expand_with::<MlKem1024>(&seed)),
        _ => Err(unsupported_type(key_type)),
    }
}

#[expect(
    deprecated,
    reason = "the expanded form is poor for storage, which is why seeds are stored, and all that aws-lc-rs takes"
)]
fn expand_with<P>(seed: &Seed) -> Expanded
where
    P: FromSeed<SeedSize = ml_kem::array::sizes::U64>,
    P::DecapsulationKey: ml_kem::ExpandedKeyEncoding,
    P::EncapsulationKey: KeyExport,
{
    use ml_kem::ExpandedKeyEncoding;

    let (private, public) = P::from_seed(seed);
    let mut expanded = private.to_expanded_bytes();
    let private = SecretBytes::copy_from(&expanded);
    expanded.as_mut_slice().zeroize();
    Expanded {
        private,
        public: public.to_bytes().to_vec(),
    }
}

fn algorithm(key_type: KeyType) -> Result<&'static kem::Algorithm> {
    match key_type {
        KeyType::MlKem512 => Ok(&kem::ML_KEM_512),
        KeyType::MlKem768 => Ok(&kem::ML_KEM_768),
        KeyType::MlKem1024 => Ok(&kem::ML_KEM_1024),
        _ => Err(unsupported_type(key_type)),
    }
}
