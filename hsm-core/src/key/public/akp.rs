//! Public keys that are one string of bytes, named by their algorithm: ML-DSA (FIPS 204), ML-KEM (FIPS 203) and X-Wing. What
//! is a valid one, and verification.

use ml_dsa::{MlDsa44, MlDsa65, MlDsa87, MlDsaParams, Signature, VerifyingKey};
use ml_kem::{EncapsulationKey, MlKem512, MlKem768, MlKem1024, TryKeyInit};

use super::PublicKey;
use crate::algorithm::KeyType;
use crate::device::SignInput;
use crate::error::{Error, Result, invalid};

/// Checks the length, and of an ML-KEM key that it is the encoding of some key.
pub(super) fn check(key_type: KeyType, raw: &[u8]) -> Result<()> {
    let len = len(key_type);
    if raw.len() != len {
        return Err(invalid(format!(
            "a public key of type {key_type} has {len} bytes, not {}",
            raw.len()
        )));
    }
    let valid = match key_type {
        KeyType::MlKem512 => EncapsulationKey::<MlKem512>::new_from_slice(raw).is_ok(),
        KeyType::MlKem768 => EncapsulationKey::<MlKem768>::new_from_slice(raw).is_ok(),
        KeyType::MlKem1024 => EncapsulationKey::<MlKem1024>::new_from_slice(raw).is_ok(),
        // The rest is an X25519 key, which every string of 32 bytes is.
        KeyType::XWing => {
            EncapsulationKey::<MlKem768>::new_from_slice(&raw[..self::len(KeyType::MlKem768)])
                .is_ok()
        }
        // Every string of the right length is an ML-DSA key (FIPS 204 section 7.2).
        _ => true,
    };
    if valid {
        Ok(())
    } else {
        Err(invalid(format!(
            "the numbers in a public key of type {key_type} are below its modulus (FIPS 203 section 7.2)"
        )))
    }
}

/// Verifies an ML-DSA signature over a message, with an empty context (FIPS 204 section 5.3).
pub(super) fn verify(key: &PublicKey, input: SignInput<'_>, signature: &[u8]) -> Result<()> {
    let SignInput::Message(message) = input else {
        return Err(invalid(
            "ML-DSA signs messages only: give the message, not its digest",
        ));
    };
    match key.key_type {
        KeyType::MlDsa44 => verify_with::<MlDsa44>(&key.raw, message, signature),
        KeyType::MlDsa65 => verify_with::<MlDsa65>(&key.raw, message, signature),
        _ => verify_with::<MlDsa87>(&key.raw, message, signature),
    }
}

fn verify_with<P: MlDsaParams>(key: &[u8], message: &[u8], signature: &[u8]) -> Result<()> {
    let key = key.try_into().map_err(|_| Error::crypto())?;
    let signature = Signature::<P>::try_from(signature).map_err(|_| Error::crypto())?;
    if VerifyingKey::<P>::decode(key).verify_with_context(message, b"", &signature) {
        Ok(())
    } else {
        Err(Error::crypto())
    }
}

/// Length of a public key: FIPS 204 table 2, FIPS 203 table 3, draft-connolly-cfrg-xwing-kem-10 section 5.1.
const fn len(key_type: KeyType) -> usize {
    match key_type {
        KeyType::MlDsa44 => 1312,
        KeyType::MlDsa65 => 1952,
        KeyType::MlDsa87 => 2592,
        KeyType::MlKem512 => 800,
        KeyType::MlKem768 => 1184,
        KeyType::MlKem1024 => 1568,
        KeyType::XWing => 1216,
        _ => 0,
    }
}
