//! ML-KEM keys (FIPS 203). The material is the 64-byte seed d ‖ z.

use std::fmt;

use hsm_core::{Algorithm, Encapsulated, KeyType, PublicKey, Result, SecretBytes};
use ml_kem::array::sizes::U64;
use ml_kem::{
    Decapsulate, Encapsulate, FromSeed, Kem, KeyExport, MlKem512, MlKem768, MlKem1024, Seed,
};
use zeroize::{Zeroize, Zeroizing};

use super::{bad_material, internal, random, unsupported_type};
use crate::provider::ParsedKey;

/// Expands the seed.
pub(super) fn parse(key_type: KeyType, material: &[u8]) -> Result<Box<dyn ParsedKey>> {
    Ok(match key_type {
        KeyType::MlKem512 => Box::new(MlKemKey::<MlKem512>::parse(key_type, material)?),
        KeyType::MlKem768 => Box::new(MlKemKey::<MlKem768>::parse(key_type, material)?),
        KeyType::MlKem1024 => Box::new(MlKemKey::<MlKem1024>::parse(key_type, material)?),
        _ => return Err(unsupported_type(key_type)),
    })
}

/// A key that encapsulates and decapsulates.
struct MlKemKey<P: Kem> {
    decapsulation: P::DecapsulationKey,
    encapsulation: P::EncapsulationKey,
    public: PublicKey,
}

impl<P: FromSeed<SeedSize = U64>> MlKemKey<P> {
    fn parse(key_type: KeyType, material: &[u8]) -> Result<Self> {
        let seed = Zeroizing::new(Seed::try_from(material).map_err(bad_material)?);
        let (decapsulation, encapsulation) = P::from_seed(&seed);
        Ok(Self {
            public: PublicKey::from_raw(key_type, encapsulation.to_bytes().as_slice())?,
            decapsulation,
            encapsulation,
        })
    }
}

impl<P> ParsedKey for MlKemKey<P>
where
    P: Kem,
    P::DecapsulationKey: Decapsulate<Kem = P> + Send + Sync,
    P::EncapsulationKey: Encapsulate<Kem = P> + Send + Sync,
{
    fn public(&self) -> Option<&PublicKey> {
        Some(&self.public)
    }

    fn encapsulate(&self, _algorithm: Algorithm) -> Result<Encapsulated> {
        let (ciphertext, mut shared) = self
            .encapsulation
            .encapsulate_with_rng(&mut random::seeded()?);
        let secret = SecretBytes::copy_from(&shared);
        shared.as_mut_slice().zeroize();
        Ok(Encapsulated {
            ciphertext: ciphertext.to_vec(),
            secret,
        })
    }

    fn decapsulate(&self, _algorithm: Algorithm, ciphertext: &[u8]) -> Result<SecretBytes> {
        // A ciphertext that was not made for this key gives a secret nobody knows, not an error (FIPS 203 section 6.3).
        let mut shared = self
            .decapsulation
            .decapsulate_slice(ciphertext)
            .map_err(internal)?;
        let secret = SecretBytes::copy_from(&shared);
        shared.as_mut_slice().zeroize();
        Ok(secret)
    }
}

impl<P: Kem> fmt::Debug for MlKemKey<P> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("MlKemKey").finish_non_exhaustive()
    }
}
