//! Keys on the NIST curves and secp256k1: ECDSA (FIPS 186-5) and ECDH (NIST SP 800-56A). The material is the scalar and
//! the coordinates of the public point.

use std::fmt;

use aws_lc_rs::agreement::{self, PrivateKey, UnparsedPublicKey};
use aws_lc_rs::digest::{self, Digest};
use aws_lc_rs::encoding::{AsBigEndian, EcPrivateKeyBin};
use aws_lc_rs::rand::SystemRandom;
use aws_lc_rs::signature::{self, EcdsaKeyPair, EcdsaSigningAlgorithm, KeyPair, ParsedPublicKey};
use hsm_core::{
    Algorithm, Error, KeyType, PublicKey, Result, SecretBytes, SignInput, Usage, Usages,
};
use zeroize::Zeroizing;

use super::{bad_material, internal, unsupported_type};
use crate::error::{invalid, unsupported};
use crate::provider::{ParsedKey, encoding};

/// Makes the material of a new key.
pub(super) fn generate(key_type: KeyType) -> Result<SecretBytes> {
    material(&EcdsaKeyPair::generate(curve(key_type)?.signing).map_err(internal)?)
}

/// Makes material of PKCS#8. A public key inside must be the right one.
pub(super) fn decode(key_type: KeyType, pkcs8: &[u8]) -> Result<SecretBytes> {
    let parts = encoding::decode_ec(key_type, pkcs8)?;
    let der = encoding::ec_private_key(parts.scalar.expose(), parts.point)?;
    let pair = EcdsaKeyPair::from_private_key_der(curve(key_type)?.signing, &der)
        .map_err(|_| encoding::not_pkcs8(key_type))?;
    material(&pair)
}

/// A key that signs and verifies, or agrees on shared secrets, or both.
pub(super) struct EcKey {
    pair: EcdsaKeyPair,
    verifier: Option<ParsedPublicKey>,
    agreement: Option<(&'static agreement::Algorithm, PrivateKey)>,
    curve: &'static Curve,
    public: PublicKey,
}

impl EcKey {
    /// Takes the material. ECDH needs a parsed key of its own.
    pub(super) fn parse(key_type: KeyType, usages: Usages, material: &[u8]) -> Result<Self> {
        let curve = curve(key_type)?;
        let der = private_key_der(key_type, material)?;
        let pair = EcdsaKeyPair::from_private_key_der(curve.signing, &der).map_err(bad_material)?;
        let raw = pair.public_key().as_ref();
        let verifier = if usages.contains(Usage::Verify) {
            let verifier = ParsedPublicKey::new(curve.verifying, raw).map_err(bad_material)?;
            Some(verifier)
        } else {
            None
        };
        let agreement = match curve.agreement {
            Some(algorithm) if usages.contains(Usage::DeriveBits) => {
                let key =
                    PrivateKey::from_private_key_der(algorithm, &der).map_err(bad_material)?;
                Some((algorithm, key))
            }
            _ => None,
        };
        Ok(Self {
            verifier,
            agreement,
            curve,
            public: PublicKey::from_raw(key_type, raw)?,
            pair,
        })
    }

    fn import_digest(&self, digest: &[u8]) -> Result<Digest> {
        Digest::import_less_safe(digest, self.curve.digest).map_err(internal)
    }
}

impl ParsedKey for EcKey {
    fn public(&self) -> Option<&PublicKey> {
        Some(&self.public)
    }

    fn sign(&self, _algorithm: Algorithm, input: SignInput<'_>) -> Result<Vec<u8>> {
        let signature = match input {
            SignInput::Message(message) => self.pair.sign(&SystemRandom::new(), message),
            SignInput::Digest(digest) => self.pair.sign_digest(&self.import_digest(digest)?),
        };
        Ok(signature.map_err(internal)?.as_ref().to_vec())
    }

    fn verify(&self, algorithm: Algorithm, input: SignInput<'_>, signature: &[u8]) -> Result<()> {
        let verifier = self
            .verifier
            .as_ref()
            .ok_or_else(|| unsupported(algorithm))?;
        let verdict = match input {
            SignInput::Message(message) => verifier.verify_sig(message, signature),
            SignInput::Digest(digest) => {
                verifier.verify_digest_sig(&self.import_digest(digest)?, signature)
            }
        };
        verdict.map_err(|_| Error::crypto())
    }

    fn agree(&self, algorithm: Algorithm, peer: &PublicKey) -> Result<SecretBytes> {
        let (curve, key) = self
            .agreement
            .as_ref()
            .ok_or_else(|| unsupported(algorithm))?;
        let bad_peer =
            || invalid("the peer's public key is not an uncompressed point of the curve");
        // The length is checked here because aws-lc would take compressed points and SubjectPublicKeyInfo as well.
        let uncompressed_len = 1 + 2 * self.public.key_type().byte_len();
        if peer.as_raw().len() != uncompressed_len {
            return Err(bad_peer());
        }
        let peer = UnparsedPublicKey::new(curve, peer.as_raw());
        agreement::agree(key, peer, bad_peer(), |secret| {
            Ok(SecretBytes::copy_from(secret))
        })
    }
}

impl fmt::Debug for EcKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("EcKey")
            .field("public", &self.public)
            .finish_non_exhaustive()
    }
}

/// What aws-lc-rs has for one curve.
struct Curve {
    signing: &'static EcdsaSigningAlgorithm,
    verifying: &'static dyn signature::VerificationAlgorithm,
    digest: &'static digest::Algorithm,
    agreement: Option<&'static agreement::Algorithm>,
}

fn curve(key_type: KeyType) -> Result<&'static Curve> {
    Ok(match key_type {
        KeyType::EcP256 => &P256,
        KeyType::EcP384 => &P384,
        KeyType::EcP521 => &P521,
        KeyType::EcP256K => &P256K,
        _ => return Err(unsupported_type(key_type)),
    })
}

fn material(pair: &EcdsaKeyPair) -> Result<SecretBytes> {
    let scalar: EcPrivateKeyBin<'_> = pair.private_key().as_be_bytes().map_err(internal)?;
    Ok(encoding::ec_material(
        scalar.as_ref(),
        pair.public_key().as_ref(),
    ))
}

/// The material as an `ECPrivateKey` with its public key: what aws-lc parses fastest. It checks that the halves belong
/// together, and without the public half it would compute that first, which takes as long again.
fn private_key_der(key_type: KeyType, material: &[u8]) -> Result<Zeroizing<Vec<u8>>> {
    let (scalar, point) = encoding::split_ec(key_type, material)?;
    encoding::ec_private_key(scalar, Some(&point))
}

static P256: Curve = Curve {
    signing: &signature::ECDSA_P256_SHA256_FIXED_SIGNING,
    verifying: &signature::ECDSA_P256_SHA256_FIXED,
    digest: &digest::SHA256,
    agreement: Some(&agreement::ECDH_P256),
};

static P384: Curve = Curve {
    signing: &signature::ECDSA_P384_SHA384_FIXED_SIGNING,
    verifying: &signature::ECDSA_P384_SHA384_FIXED,
    digest: &digest::SHA384,
    agreement: Some(&agreement::ECDH_P384),
};

static P521: Curve = Curve {
    signing: &signature::ECDSA_P521_SHA512_FIXED_SIGNING,
    verifying: &signature::ECDSA_P521_SHA512_FIXED,
    digest: &digest::SHA512,
    agreement: Some(&agreement::ECDH_P521),
};

static P256K: Curve = Curve {
    signing: &signature::ECDSA_P256K1_SHA256_FIXED_SIGNING,
    verifying: &signature::ECDSA_P256K1_SHA256_FIXED,
    digest: &digest::SHA256,
    agreement: None,
};
