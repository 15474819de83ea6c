//! The seam between the device and the cryptography under it. A provider knows algorithms and nothing of sealing,
//! usages that a key lacks, or policies; the device knows those and no algorithm.

mod aes;
#[cfg(feature = "aws-lc")]
pub(crate) mod aws_lc;
mod encoding;
mod rsa;
#[cfg(feature = "rust-crypto")]
pub(crate) mod rust_crypto;
mod seed;
mod x_wing;

use std::fmt::Debug;

use hsm_core::{
    Algorithm, Capabilities, Ciphertext, CiphertextRef, DeriveParameters, Encapsulated, KeyFamily,
    KeyType, PublicKey, Result, SecretBytes, SignInput, Usages,
};

use crate::error::unsupported;
use crate::memory::Depth;

/// An implementation of every primitive.
///
/// *Material* is a private key as it stands in a sealed key, the same for every provider: the scalar and
/// the two coordinates of the public point of an EC key, big-endian and each as long as the field, the 32 bytes of RFC 8032 and RFC 7748, the seed of ML-DSA
/// (ξ, 32 bytes), ML-KEM (d ‖ z, 64 bytes) and X-Wing (32 bytes), PKCS#8 DER for RSA, the octets of a symmetric key.
pub(crate) trait Provider: Debug + Send + Sync {
    /// What the provider can do.
    fn capabilities(&self) -> Capabilities;

    /// The validated module that the provider is, if it is one and runs in its approved mode.
    fn validated_module(&self) -> Option<&'static str> {
        None
    }

    /// How much stack it takes to make, parse and use a key of this type.
    fn depth(&self, key_type: KeyType) -> Depth {
        match key_type.info().family {
            KeyFamily::Akp => Depth::Deep,
            _ if key_type == KeyType::EcP256K => Depth::Deep,
            _ => Depth::Usual,
        }
    }

    /// Fills `out` from a random bit generator.
    fn random(&self, out: &mut [u8]) -> Result<()>;

    /// Makes the material of a new key. Takes long for RSA.
    fn generate(&self, key_type: KeyType) -> Result<SecretBytes>;

    /// Makes material of a key in its common encoding: PKCS#8 DER, or the octets of a symmetric key. Checks that the key
    /// is of `key_type` and consistent.
    fn decode(&self, key_type: KeyType, encoded: &[u8]) -> Result<SecretBytes>;

    /// The common encoding of a key.
    fn encode(&self, key_type: KeyType, material: &[u8]) -> Result<SecretBytes>;

    /// Makes a key ready for use. What no usage of `usages` needs may be left out.
    fn parse(
        &self,
        key_type: KeyType,
        usages: Usages,
        material: &[u8],
    ) -> Result<Box<dyn ParsedKey>>;
}

/// A key that is ready for use.
///
/// Callers have asked [`Algorithm::check`], have checked lengths of digests, IVs, tags and encapsulations against the registry, and know
/// that the key was parsed for the usage. What is left over is [`unsupported`], the answer of every method that a type
/// of key does not write.
pub(crate) trait ParsedKey: Debug + Send + Sync {
    /// The public half.
    fn public(&self) -> Option<&PublicKey> {
        None
    }

    /// Signs a message, or a digest of the right length.
    fn sign(&self, algorithm: Algorithm, _input: SignInput<'_>) -> Result<Vec<u8>> {
        Err(unsupported(algorithm))
    }

    /// Verifies a signature.
    fn verify(&self, algorithm: Algorithm, _input: SignInput<'_>, _signature: &[u8]) -> Result<()> {
        Err(unsupported(algorithm))
    }

    /// Computes a MAC.
    fn mac(&self, algorithm: Algorithm, _message: &[u8]) -> Result<Vec<u8>> {
        Err(unsupported(algorithm))
    }

    /// Checks a MAC in constant time.
    fn verify_mac(&self, algorithm: Algorithm, _message: &[u8], _tag: &[u8]) -> Result<()> {
        Err(unsupported(algorithm))
    }

    /// Encrypts under `iv`, which is of the algorithm's length.
    fn encrypt(
        &self,
        algorithm: Algorithm,
        _plaintext: &[u8],
        _iv: Vec<u8>,
        _aad: &[u8],
    ) -> Result<Ciphertext> {
        Err(unsupported(algorithm))
    }

    /// Decrypts.
    fn decrypt(
        &self,
        algorithm: Algorithm,
        _ciphertext: CiphertextRef<'_>,
        _aad: &[u8],
    ) -> Result<SecretBytes> {
        Err(unsupported(algorithm))
    }

    /// Wraps key bytes.
    fn wrap(&self, algorithm: Algorithm, _key: &[u8]) -> Result<Vec<u8>> {
        Err(unsupported(algorithm))
    }

    /// Unwraps key bytes.
    fn unwrap(&self, algorithm: Algorithm, _wrapped: &[u8]) -> Result<SecretBytes> {
        Err(unsupported(algorithm))
    }

    /// Agrees on a shared secret with a peer on the same curve.
    fn agree(&self, algorithm: Algorithm, _peer: &PublicKey) -> Result<SecretBytes> {
        Err(unsupported(algorithm))
    }

    /// Makes a shared secret and encapsulates it to the public half.
    fn encapsulate(&self, algorithm: Algorithm) -> Result<Encapsulated> {
        Err(unsupported(algorithm))
    }

    /// Decapsulates a ciphertext of the algorithm's length.
    fn decapsulate(&self, algorithm: Algorithm, _ciphertext: &[u8]) -> Result<SecretBytes> {
        Err(unsupported(algorithm))
    }

    /// Derives `len` bytes.
    fn derive(
        &self,
        algorithm: Algorithm,
        _parameters: DeriveParameters<'_>,
        _len: usize,
    ) -> Result<SecretBytes> {
        Err(unsupported(algorithm))
    }
}
