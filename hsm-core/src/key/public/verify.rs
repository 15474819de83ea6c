//! Verification of signatures in pure Rust, and ECDSA signatures in the form that other tools take.

use rsa::RsaPublicKey;
use rsa::pkcs1::DecodeRsaPublicKey;
use rsa::pkcs1v15::Pkcs1v15Sign;
use rsa::pss::Pss;
use rsa::signature::hazmat::PrehashVerifier;
use sha2::{Sha256, Sha384, Sha512};

use super::{PublicKey, akp};
use crate::algorithm::{Algorithm, KeyFamily, Operation};
use crate::device::SignInput;
use crate::error::{Error, Result, invalid};

/// Verifies r‖s on one of the curves. Both s and its negation are right, as in the standard: `k256` alone would take only
/// the smaller, which not every signer makes.
macro_rules! ecdsa {
    ($curve:ident, $key:expr, $digest:expr, $signature:expr) => {{
        let signature =
            $curve::ecdsa::Signature::from_slice($signature).map_err(|_| Error::crypto())?;
        $curve::ecdsa::VerifyingKey::from_sec1_bytes($key.as_raw())
            .and_then(|key| key.verify_prehash($digest, &signature.normalize_s()))
            .map_err(|_| Error::crypto())
    }};
}

macro_rules! der {
    ($curve:ident, $signature:expr) => {
        $curve::ecdsa::Signature::from_slice($signature)
            .map(|signature| signature.to_der().as_bytes().to_vec())
    };
}

impl PublicKey {
    /// Verifies a signature in the form that [`LoadedKey::sign`](crate::LoadedKey::sign) makes: r‖s for ECDSA, as long
    /// as the modulus for RSA. The salt of RSA-PSS is as long as the digest. Ed25519 is verified strictly: points of
    /// small order are refused. ML-DSA has an empty context.
    ///
    /// # Errors
    ///
    /// [`CryptoFailed`](crate::ErrorKind::CryptoFailed) if the signature is not right.
    /// [`InvalidInput`](crate::ErrorKind::InvalidInput) if the algorithm does not fit the key or the digest does not fit
    /// the algorithm.
    pub fn verify(
        &self,
        algorithm: Algorithm,
        input: SignInput<'_>,
        signature: &[u8],
    ) -> Result<()> {
        algorithm.check(Operation::Sign, self.key_type)?;
        if algorithm == Algorithm::EdDsa {
            return self.verify_ed25519(input, signature);
        }
        if self.key_type.info().family == KeyFamily::Akp {
            return akp::verify(self, input, signature);
        }
        let digest = input.digest(algorithm)?;
        match algorithm {
            Algorithm::Es256 => ecdsa!(p256, self, &digest, signature),
            Algorithm::Es384 => ecdsa!(p384, self, &digest, signature),
            Algorithm::Es512 => ecdsa!(p521, self, &digest, signature),
            Algorithm::Es256K => ecdsa!(k256, self, &digest, signature),
            _ => self.verify_rsa(algorithm, &digest, signature),
        }
    }

    /// An ECDSA signature r‖s in the ASN.1 DER form of RFC 3279 that OpenSSL and X.509 use. Signatures of other
    /// algorithms are the same everywhere and come back as they are.
    ///
    /// # Errors
    ///
    /// [`InvalidInput`](crate::ErrorKind::InvalidInput) if the algorithm does not fit the key, or `signature` is not of
    /// the algorithm's form.
    pub fn to_der_signature(&self, algorithm: Algorithm, signature: &[u8]) -> Result<Vec<u8>> {
        algorithm.check(Operation::Sign, self.key_type)?;
        let der = match algorithm {
            Algorithm::Es256 => der!(p256, signature),
            Algorithm::Es384 => der!(p384, signature),
            Algorithm::Es512 => der!(p521, signature),
            Algorithm::Es256K => der!(k256, signature),
            _ => return Ok(signature.to_vec()),
        };
        der.map_err(|source| {
            let len = 2 * self.key_type.byte_len();
            invalid(format!(
                "a signature of {algorithm} is r‖s: {len} bytes, each half between 1 and the order of the curve"
            ))
            .with_source(source)
        })
    }

    fn verify_ed25519(&self, input: SignInput<'_>, signature: &[u8]) -> Result<()> {
        let SignInput::Message(message) = input else {
            return Err(invalid(
                "EdDSA signs messages only: give the message, not its digest",
            ));
        };
        let signature =
            ed25519_dalek::Signature::from_slice(signature).map_err(|_| Error::crypto())?;
        ed25519_dalek::VerifyingKey::try_from(self.as_raw())
            .and_then(|key| key.verify_strict(message, &signature))
            .map_err(|_| Error::crypto())
    }

    fn verify_rsa(&self, algorithm: Algorithm, digest: &[u8], signature: &[u8]) -> Result<()> {
        let key = RsaPublicKey::from_pkcs1_der(self.as_raw()).map_err(|_| Error::crypto())?;
        match algorithm {
            Algorithm::Rs256 => key.verify(Pkcs1v15Sign::new::<Sha256>(), digest, signature),
            Algorithm::Rs384 => key.verify(Pkcs1v15Sign::new::<Sha384>(), digest, signature),
            Algorithm::Rs512 => key.verify(Pkcs1v15Sign::new::<Sha512>(), digest, signature),
            Algorithm::Ps256 => key.verify(Pss::<Sha256>::new(), digest, signature),
            Algorithm::Ps384 => key.verify(Pss::<Sha384>::new(), digest, signature),
            Algorithm::Ps512 => key.verify(Pss::<Sha512>::new(), digest, signature),
            _ => return Err(Error::crypto()),
        }
        .map_err(|_| Error::crypto())
    }
}
