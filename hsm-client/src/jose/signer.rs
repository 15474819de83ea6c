//! [`VersionSigner`] and [`VersionVerifier`]: one key version as a signer and a verifier of `jsonwebtoken`.

use hsm_core::key::typed::Signing;
use hsm_core::{Algorithm, PublicKey, Result, SignInput, VersionId};
use jsonwebtoken::crypto::{JwtSigner, JwtVerifier};
use jsonwebtoken::signature;
use pollster::block_on;

use super::invalid;
use crate::Key;

/// One version of a key as a `JwtSigner` of [`jsonwebtoken`], for code that is generic over these.
///
/// It blocks its thread until the HSM has answered. In async code, [`Issuer::sign`](super::Issuer::sign) does not.
///
/// ```
/// use hsm_client::jose::jsonwebtoken::crypto::JwtSigner;
/// use hsm_client::jose::{Issuer, VersionSigner};
/// use hsm_client::kinds::Ed25519;
///
/// fn detached(signer: &impl JwtSigner, payload: &[u8]) -> Vec<u8> {
///     signer.sign(payload)
/// }
///
/// # async fn with(issuer: Issuer<Ed25519>) -> hsm_client::Result<Vec<u8>> {
/// let signer: VersionSigner<Ed25519> = issuer.signer().await?;
/// # Ok(
/// detached(&signer, b"payload")
/// # )
/// # }
/// ```
#[derive(Debug)]
pub struct VersionSigner<A> {
    key: Key<A>,
    version: VersionId,
    algorithm: jsonwebtoken::Algorithm,
}

/// One public key as a `JwtVerifier` of [`jsonwebtoken`].
#[derive(Clone, Debug)]
pub struct VersionVerifier {
    key: PublicKey,
    algorithm: Algorithm,
    name: jsonwebtoken::Algorithm,
}

impl<A> VersionSigner<A> {
    pub(super) fn new(
        key: &Key<A>,
        version: VersionId,
        algorithm: jsonwebtoken::Algorithm,
    ) -> Self {
        Self {
            key: key.at(version),
            version,
            algorithm,
        }
    }

    /// The version, which is the `kid` of what it signs.
    #[must_use]
    pub fn version(&self) -> VersionId {
        self.version
    }
}

impl<A: Signing> signature::Signer<Vec<u8>> for VersionSigner<A> {
    fn try_sign(&self, message: &[u8]) -> Result<Vec<u8>, signature::Error> {
        block_on(self.key.sign(message))
            .map(crate::Signature::into_bytes)
            .map_err(signature::Error::from_source)
    }
}

impl<A: Signing> JwtSigner for VersionSigner<A> {
    fn algorithm(&self) -> jsonwebtoken::Algorithm {
        self.algorithm
    }
}

impl VersionVerifier {
    /// A verifier of signatures that `key` made.
    ///
    /// # Errors
    ///
    /// [`InvalidInput`](crate::ErrorKind::InvalidInput) for an algorithm that [`jsonwebtoken`] does not know, or that does
    /// not fit the key.
    pub fn new(key: PublicKey, algorithm: Algorithm) -> Result<Self> {
        let name = token_algorithm(algorithm)?;
        algorithm.check(hsm_core::Operation::Sign, key.key_type())?;
        Ok(Self {
            key,
            algorithm,
            name,
        })
    }

    pub(super) fn check(&self, message: &[u8], signature: &[u8]) -> Result<()> {
        self.key
            .verify(self.algorithm, SignInput::Message(message), signature)
    }
}

impl signature::Verifier<Vec<u8>> for VersionVerifier {
    fn verify(&self, message: &[u8], signature: &Vec<u8>) -> Result<(), signature::Error> {
        self.check(message, signature)
            .map_err(|_| signature::Error::new())
    }
}

impl JwtVerifier for VersionVerifier {
    fn algorithm(&self) -> jsonwebtoken::Algorithm {
        self.name
    }
}

/// The algorithm as `jsonwebtoken` calls it.
pub(super) fn token_algorithm(algorithm: Algorithm) -> Result<jsonwebtoken::Algorithm> {
    let known = algorithm.name().parse();
    match known {
        Ok(known) if algorithm.does(hsm_core::Operation::Sign) => Ok(known),
        _ => Err(invalid(format!(
            "tokens are not signed with {algorithm} here: use ES256, ES384, EdDSA, or RSA"
        ))),
    }
}
