//! Keys on the NIST curves and secp256k1: ECDSA (FIPS 186-5) and ECDH (NIST SP 800-56A). The material is the scalar and
//! the coordinates of the public point.

use std::fmt;
use std::ops::Add;

use ecdsa::signature::hazmat::RandomizedPrehashSigner;
use ecdsa::{DigestAlgorithm, EcdsaCurve, Signature, SigningKey, VerifyingKey};
use hsm_core::{Algorithm, KeyType, PublicKey, Result, SecretBytes, SignInput};
use k256::Secp256k1;
use p256::NistP256;
use p256::elliptic_curve::array::ArraySize;
use p256::elliptic_curve::ops::Invert;
use p256::elliptic_curve::sec1::{FromSec1Point, ModulusSize, ToSec1Point};
use p256::elliptic_curve::subtle::CtOption;
use p256::elliptic_curve::{self, CurveArithmetic, Generate, Scalar, ecdh};
use p384::NistP384;
use p521::NistP521;
use sha2::Digest;
use subtle::ConstantTimeEq;
use zeroize::Zeroizing;

use super::random::SysRng;
use super::{bad_material, internal, unsupported_type};
use crate::error::invalid;
use crate::provider::{ParsedKey, encoding};

/// Makes the material of a new key.
pub(super) fn generate(key_type: KeyType) -> Result<SecretBytes> {
    match key_type {
        KeyType::EcP256 => EcKey::<NistP256>::generate(),
        KeyType::EcP384 => EcKey::<NistP384>::generate(),
        KeyType::EcP521 => EcKey::<NistP521>::generate(),
        KeyType::EcP256K => EcKey::<Secp256k1>::generate(),
        _ => Err(unsupported_type(key_type)),
    }
}

/// Makes material of PKCS#8. A public key inside must be the right one.
pub(super) fn decode(key_type: KeyType, pkcs8: &[u8]) -> Result<SecretBytes> {
    match key_type {
        KeyType::EcP256 => EcKey::<NistP256>::decode(key_type, pkcs8),
        KeyType::EcP384 => EcKey::<NistP384>::decode(key_type, pkcs8),
        KeyType::EcP521 => EcKey::<NistP521>::decode(key_type, pkcs8),
        KeyType::EcP256K => EcKey::<Secp256k1>::decode(key_type, pkcs8),
        _ => Err(unsupported_type(key_type)),
    }
}

/// Takes the material.
pub(super) fn parse(key_type: KeyType, material: &[u8]) -> Result<Box<dyn ParsedKey>> {
    Ok(match key_type {
        KeyType::EcP256 => Box::new(EcKey::<NistP256>::parse(key_type, material)?),
        KeyType::EcP384 => Box::new(EcKey::<NistP384>::parse(key_type, material)?),
        KeyType::EcP521 => Box::new(EcKey::<NistP521>::parse(key_type, material)?),
        KeyType::EcP256K => Box::new(EcKey::<Secp256k1>::parse(key_type, material)?),
        _ => return Err(unsupported_type(key_type)),
    })
}

/// A curve, with what its arithmetic must offer, and the hash of its ECDSA.
trait Curve:
    CurveArithmetic<
        AffinePoint: FromSec1Point<Self> + ToSec1Point<Self>,
        Scalar: Invert<Output = CtOption<Scalar<Self>>>,
        FieldBytesSize: ModulusSize + Add<Output: ArraySize>,
    > + EcdsaCurve
    + DigestAlgorithm
{
}

impl Curve for NistP256 {}
impl Curve for NistP384 {}
impl Curve for NistP521 {}
impl Curve for Secp256k1 {}

/// A key that signs and verifies, or agrees on shared secrets, or both.
struct EcKey<C: Curve> {
    signer: SigningKey<C>,
    public: PublicKey,
}

impl<C: Curve> EcKey<C> {
    fn generate() -> Result<SecretBytes> {
        let signer = SigningKey::<C>::try_generate_from_rng(&mut SysRng).map_err(internal)?;
        Ok(material(&signer))
    }

    fn decode(key_type: KeyType, pkcs8: &[u8]) -> Result<SecretBytes> {
        let rejected = |_| encoding::not_pkcs8(key_type);
        let parts = encoding::decode_ec(key_type, pkcs8)?;
        let signer = SigningKey::<C>::from_slice(parts.scalar.expose()).map_err(rejected)?;
        if let Some(point) = parts.point {
            let claimed = VerifyingKey::<C>::from_sec1_bytes(point).map_err(rejected)?;
            if claimed != *signer.verifying_key() {
                return Err(invalid("the public key does not belong to the private key"));
            }
        }
        Ok(material(&signer))
    }

    /// Computes the public key and compares it with that of the material.
    fn parse(key_type: KeyType, material: &[u8]) -> Result<Self> {
        let (scalar, point) = encoding::split_ec(key_type, material)?;
        let signer = SigningKey::<C>::from_slice(scalar).map_err(bad_material)?;
        let computed = signer.verifying_key().to_sec1_point(false);
        if !bool::from(computed.as_bytes().ct_eq(&point)) {
            return Err(bad_material(()));
        }
        Ok(Self {
            public: PublicKey::from_raw(key_type, point)?,
            signer,
        })
    }
}

impl<C: Curve> ParsedKey for EcKey<C> {
    fn public(&self) -> Option<&PublicKey> {
        Some(&self.public)
    }

    /// Deterministic as in RFC 6979, with fresh randomness mixed in (section 3.6): neither a weak generator nor a fault
    /// gives the key away.
    fn sign(&self, _algorithm: Algorithm, input: SignInput<'_>) -> Result<Vec<u8>> {
        let signature: Result<Signature<C>, _> = match input {
            SignInput::Message(message) => self
                .signer
                .sign_prehash_with_rng(&mut SysRng, &C::Digest::digest(message)),
            SignInput::Digest(digest) => self.signer.sign_prehash_with_rng(&mut SysRng, digest),
        };
        Ok(signature.map_err(internal)?.to_bytes().to_vec())
    }

    fn verify(&self, algorithm: Algorithm, input: SignInput<'_>, signature: &[u8]) -> Result<()> {
        self.public.verify(algorithm, input, signature)
    }

    fn agree(&self, _algorithm: Algorithm, peer: &PublicKey) -> Result<SecretBytes> {
        let peer =
            elliptic_curve::PublicKey::<C>::from_sec1_bytes(peer.as_raw()).map_err(|_| {
                invalid("the peer's public key is not an uncompressed point of the curve")
            })?;
        let secret = ecdh::diffie_hellman(self.signer.as_nonzero_scalar(), peer.as_affine());
        Ok(SecretBytes::copy_from(secret.raw_secret_bytes()))
    }
}

impl<C: Curve> fmt::Debug for EcKey<C> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("EcKey")
            .field("public", &self.public)
            .finish_non_exhaustive()
    }
}

fn material<C: Curve>(signer: &SigningKey<C>) -> SecretBytes {
    let scalar = Zeroizing::new(signer.to_bytes());
    encoding::ec_material(
        &scalar,
        signer.verifying_key().to_sec1_point(false).as_bytes(),
    )
}
