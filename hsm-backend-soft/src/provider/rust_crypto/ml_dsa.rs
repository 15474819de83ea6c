//! ML-DSA keys (FIPS 204). The material is the 32-byte seed ξ. Signatures are hedged with 32 random bytes each.

use std::fmt;

use hsm_core::{Algorithm, Error, KeyType, PublicKey, Result, SignInput};
use ml_dsa::{ExpandedSigningKey, MlDsa44, MlDsa65, MlDsa87, MlDsaParams, Signature, VerifyingKey};
use zeroize::Zeroizing;

use super::random::SysRng;
use super::{bad_material, internal, unsupported_type};
use crate::error::invalid;
use crate::provider::ParsedKey;

/// Expands the seed.
pub(super) fn parse(key_type: KeyType, material: &[u8]) -> Result<Box<dyn ParsedKey>> {
    Ok(match key_type {
        KeyType::MlDsa44 => Box::new(MlDsaKey::<MlDsa44>::parse(key_type, material)?),
        KeyType::MlDsa65 => Box::new(MlDsaKey::<MlDsa65>::parse(key_type, material)?),
        KeyType::MlDsa87 => Box::new(MlDsaKey::<MlDsa87>::parse(key_type, material)?),
        _ => return Err(unsupported_type(key_type)),
    })
}

/// A key that signs and verifies.
struct MlDsaKey<P: MlDsaParams> {
    signer: ExpandedSigningKey<P>,
    verifier: VerifyingKey<P>,
    public: PublicKey,
}

impl<P: MlDsaParams> MlDsaKey<P> {
    fn parse(key_type: KeyType, material: &[u8]) -> Result<Self> {
        let seed = Zeroizing::new(ml_dsa::Seed::try_from(material).map_err(bad_material)?);
        let signer = ExpandedSigningKey::<P>::from_seed(&seed);
        let verifier = signer.verifying_key();
        Ok(Self {
            public: PublicKey::from_raw(key_type, verifier.encode().as_slice())?,
            signer,
            verifier,
        })
    }
}

impl<P> ParsedKey for MlDsaKey<P>
where
    P: MlDsaParams + Send + Sync,
{
    fn public(&self) -> Option<&PublicKey> {
        Some(&self.public)
    }

    fn sign(&self, algorithm: Algorithm, input: SignInput<'_>) -> Result<Vec<u8>> {
        let message = message(algorithm, input)?;
        let signature = self.signer.sign_randomized(message, b"", &mut SysRng);
        Ok(signature.map_err(internal)?.encode().to_vec())
    }

    fn verify(&self, algorithm: Algorithm, input: SignInput<'_>, signature: &[u8]) -> Result<()> {
        let message = message(algorithm, input)?;
        let signature = Signature::try_from(signature).map_err(|_| Error::crypto())?;
        if self.verifier.verify_with_context(message, b"", &signature) {
            Ok(())
        } else {
            Err(Error::crypto())
        }
    }
}

impl<P: MlDsaParams> fmt::Debug for MlDsaKey<P> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("MlDsaKey").finish_non_exhaustive()
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
