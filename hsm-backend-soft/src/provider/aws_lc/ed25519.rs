//! Ed25519 keys (RFC 8032). The material is the 32-byte seed.

use std::fmt;

use aws_lc_rs::encoding::AsBigEndian;
use aws_lc_rs::signature::{ED25519, Ed25519KeyPair, KeyPair, ParsedPublicKey};
use hsm_core::{Algorithm, Error, KeyType, PublicKey, Result, SecretBytes, SignInput};

use super::{bad_material, internal};
use crate::error::invalid;
use crate::provider::{ParsedKey, encoding};

/// Makes the material of a new key.
pub(super) fn generate() -> Result<SecretBytes> {
    seed(&Ed25519KeyPair::generate().map_err(internal)?)
}

/// Makes material of PKCS#8 (RFC 8410). A public key inside must be the right one.
pub(super) fn decode(pkcs8: &[u8]) -> Result<SecretBytes> {
    encoding::decode_okp(KeyType::Ed25519, pkcs8, |seed| public(&pair(seed)?))
}

/// A key that signs and verifies.
pub(super) struct Ed25519Key {
    pair: Ed25519KeyPair,
    verifier: ParsedPublicKey,
    public: PublicKey,
}

impl Ed25519Key {
    /// Takes the seed.
    pub(super) fn parse(material: &[u8]) -> Result<Self> {
        let pair = pair(material)?;
        let public = public(&pair)?;
        Ok(Self {
            verifier: ParsedPublicKey::new(&ED25519, public.as_raw()).map_err(bad_material)?,
            public,
            pair,
        })
    }
}

impl ParsedKey for Ed25519Key {
    fn public(&self) -> Option<&PublicKey> {
        Some(&self.public)
    }

    fn sign(&self, _algorithm: Algorithm, input: SignInput<'_>) -> Result<Vec<u8>> {
        let signature = self.pair.try_sign(message(input)?).map_err(internal)?;
        Ok(signature.as_ref().to_vec())
    }

    fn verify(&self, _algorithm: Algorithm, input: SignInput<'_>, signature: &[u8]) -> Result<()> {
        self.verifier
            .verify_sig(message(input)?, signature)
            .map_err(|_| Error::crypto())
    }
}

impl fmt::Debug for Ed25519Key {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Ed25519Key").finish_non_exhaustive()
    }
}

fn pair(material: &[u8]) -> Result<Ed25519KeyPair> {
    Ed25519KeyPair::from_seed_unchecked(material).map_err(bad_material)
}

fn public(pair: &Ed25519KeyPair) -> Result<PublicKey> {
    PublicKey::from_raw(KeyType::Ed25519, pair.public_key().as_ref())
}

fn seed(pair: &Ed25519KeyPair) -> Result<SecretBytes> {
    let seed = pair
        .seed()
        .and_then(|seed| seed.as_be_bytes())
        .map_err(internal)?;
    Ok(SecretBytes::copy_from(seed.as_ref()))
}

fn message(input: SignInput<'_>) -> Result<&[u8]> {
    match input {
        SignInput::Message(message) => Ok(message),
        SignInput::Digest(_) => Err(invalid("EdDSA signs messages, never digests")),
    }
}
