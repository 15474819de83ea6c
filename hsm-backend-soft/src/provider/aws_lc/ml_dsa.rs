//! ML-DSA keys (FIPS 204). The material is the 32-byte seed ξ. Signatures are hedged: aws-lc draws 32 random bytes for each.

use aws_lc_rs::signature::{
    KeyPair, ML_DSA_44, ML_DSA_44_SIGNING, ML_DSA_65, ML_DSA_65_SIGNING, ML_DSA_87,
    ML_DSA_87_SIGNING, ParsedPublicKey, PqdsaKeyPair, PqdsaSigningAlgorithm,
    PqdsaVerificationAlgorithm,
};
use hsm_core::{Algorithm, Error, KeyType, PublicKey, Result, SignInput};

use super::{bad_material, internal, unsupported_type};
use crate::error::invalid;
use crate::provider::ParsedKey;

/// A key that signs and verifies.
#[derive(Debug)]
pub(super) struct MlDsaKey {
    pair: PqdsaKeyPair,
    verifier: ParsedPublicKey,
    public: PublicKey,
}

impl MlDsaKey {
    /// Expands the seed.
    pub(super) fn parse(key_type: KeyType, material: &[u8]) -> Result<Self> {
        let pair = pair(key_type, material)?;
        let raw = pair.public_key().as_ref();
        let (_, verification) = algorithms(key_type)?;
        Ok(Self {
            verifier: ParsedPublicKey::new(verification, raw).map_err(bad_material)?,
            public: PublicKey::from_raw(key_type, raw)?,
            pair,
        })
    }
}

impl ParsedKey for MlDsaKey {
    fn public(&self) -> Option<&PublicKey> {
        Some(&self.public)
    }

    fn sign(&self, algorithm: Algorithm, input: SignInput<'_>) -> Result<Vec<u8>> {
        let mut signature = vec![0; self.pair.algorithm().signature_len()];
        self.pair
            .sign(message(algorithm, input)?, &mut signature)
            .map_err(internal)?;
        Ok(signature)
    }

    fn verify(&self, algorithm: Algorithm, input: SignInput<'_>, signature: &[u8]) -> Result<()> {
        self.verifier
            .verify_sig(message(algorithm, input)?, signature)
            .map_err(|_| Error::crypto())
    }
}

fn pair(key_type: KeyType, seed: &[u8]) -> Result<PqdsaKeyPair> {
    let (signing, _) = algorithms(key_type)?;
    PqdsaKeyPair::from_seed(signing, seed).map_err(bad_material)
}

fn algorithms(
    key_type: KeyType,
) -> Result<(
    &'static PqdsaSigningAlgorithm,
    &'static PqdsaVerificationAlgorithm,
)> {
    match key_type {
        KeyType::MlDsa44 => Ok((&ML_DSA_44_SIGNING, &ML_DSA_44)),
        KeyType::MlDsa65 => Ok((&ML_DSA_65_SIGNING, &ML_DSA_65)),
        KeyType::MlDsa87 => Ok((&ML_DSA_87_SIGNING, &ML_DSA_87)),
        _ => Err(unsupported_type(key_type)),
    }
}

fn message(algorithm: Algorithm, input: SignInput<'_>) -> Result<&[u8]> {
    match input {
        SignInput::Message(message) => Ok(message),
        SignInput::Digest(_) => Err(invalid(format!(
            "{algorithm} signs messages, never digests"
        ))),
    }
}
