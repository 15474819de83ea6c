//! Which types of other crates belong to which kind of key.

use hsm_core::key::typed::{
    EcdsaP256, EcdsaP256K, EcdsaP384, EcdsaP521, Ed25519, MlDsa44, MlDsa65, MlDsa87,
    RsaPkcs1v15Sign2048, RsaPkcs1v15Sign3072, RsaPkcs1v15Sign4096, RsaPss2048, RsaPss3072,
    RsaPss4096,
};
use k256::Secp256k1;
use p256::NistP256;
use p384::NistP384;
use p521::NistP521;
use rsa::{pkcs1v15, pss};
use sha2::{Sha256, Sha384, Sha512};
use signature::hazmat::{AsyncPrehashSigner, PrehashSigner};
use signature::{AsyncSigner, Result};
use spki::der::AnyRef;
use spki::{
    AlgorithmIdentifierOwned, AlgorithmIdentifierRef, DynSignatureAlgorithmIdentifier,
    SignatureAlgorithmIdentifier,
};

use super::{BlockingSigner, DigestSignatureKind, SignatureKind, Signer};

/// The one trait that cannot be had for all kinds at once: the crate has it for all that sign, and another crate might say
/// that ours do.
macro_rules! async_signer {
    ($kind:ident) => {
        impl AsyncSigner<<$kind as SignatureKind>::Signature> for Signer<$kind> {
            async fn sign_async(
                &self,
                message: &[u8],
            ) -> Result<<$kind as SignatureKind>::Signature> {
                self.message(message).await
            }
        }
    };
}

/// A kind whose algorithm identifier is a constant of the verifying key's type.
macro_rules! kind {
    ($kind:ident: $signature:ty, $verifying_key:ty $(, $normalize:expr)?) => {
        impl SignatureKind for $kind {
            type Signature = $signature;
            type VerifyingKey = $verifying_key;

            fn algorithm_identifier() -> spki::Result<AlgorithmIdentifierOwned> {
                let AlgorithmIdentifierRef { oid, parameters } =
                    <$verifying_key>::SIGNATURE_ALGORITHM_IDENTIFIER;
                let parameters = parameters.map(Into::into);
                Ok(AlgorithmIdentifierOwned { oid, parameters })
            }

            $(
                fn normalize(signature: Self::Signature) -> Self::Signature {
                    $normalize(signature)
                }
            )?
        }

        async_signer!($kind);
        kind!(identifier $kind, $verifying_key, Signer BlockingSigner);
    };
    (identifier $kind:ident, $verifying_key:ty, $($signer:ident)*) => {
        $(
            impl SignatureAlgorithmIdentifier for $signer<$kind> {
                type Params = AnyRef<'static>;

                const SIGNATURE_ALGORITHM_IDENTIFIER: AlgorithmIdentifierRef<'static> =
                    <$verifying_key>::SIGNATURE_ALGORITHM_IDENTIFIER;
            }
        )*
    };
}

macro_rules! ecdsa {
    ($($kind:ident: $curve:ty, $digest:ty $(, $normalize:expr)?;)*) => {
        $(
            kind!($kind: ecdsa::Signature<$curve>, ecdsa::VerifyingKey<$curve> $(, $normalize)?);

            impl DigestSignatureKind for $kind {
                type Digest = $digest;
            }

            impl AsyncSigner<ecdsa::der::Signature<$curve>> for Signer<$kind> {
                async fn sign_async(&self, message: &[u8]) -> Result<ecdsa::der::Signature<$curve>> {
                    Ok(self.message(message).await?.to_der())
                }
            }

            impl AsyncPrehashSigner<ecdsa::der::Signature<$curve>> for Signer<$kind> {
                async fn sign_prehash_async(&self, digest: &[u8]) -> Result<ecdsa::der::Signature<$curve>> {
                    Ok(self.digest(digest).await?.to_der())
                }
            }

            impl signature::Signer<ecdsa::der::Signature<$curve>> for BlockingSigner<$kind> {
                fn try_sign(&self, message: &[u8]) -> Result<ecdsa::der::Signature<$curve>> {
                    let signature: ecdsa::Signature<$curve> = self.try_sign(message)?;
                    Ok(signature.to_der())
                }
            }

            impl PrehashSigner<ecdsa::der::Signature<$curve>> for BlockingSigner<$kind> {
                fn sign_prehash(&self, digest: &[u8]) -> Result<ecdsa::der::Signature<$curve>> {
                    let signature: ecdsa::Signature<$curve> = self.sign_prehash(digest)?;
                    Ok(signature.to_der())
                }
            }
        )*
    };
}

ecdsa! {
    EcdsaP256: NistP256, Sha256;
    EcdsaP384: NistP384, Sha384;
    EcdsaP521: NistP521, Sha512;
    // Of s and its negation, both of which are right, `k256` takes the smaller only.
    EcdsaP256K: Secp256k1, Sha256, |signature: ecdsa::Signature<Secp256k1>| signature.normalize_s();
}

kind!(Ed25519: ed25519_dalek::Signature, ed25519_dalek::VerifyingKey);
kind!(MlDsa44: ml_dsa::Signature<ml_dsa::MlDsa44>, ml_dsa::VerifyingKey<ml_dsa::MlDsa44>);
kind!(MlDsa65: ml_dsa::Signature<ml_dsa::MlDsa65>, ml_dsa::VerifyingKey<ml_dsa::MlDsa65>);
kind!(MlDsa87: ml_dsa::Signature<ml_dsa::MlDsa87>, ml_dsa::VerifyingKey<ml_dsa::MlDsa87>);

macro_rules! pkcs1v15 {
    ($($kind:ident: $digest:ty;)*) => {
        $(
            kind!($kind: pkcs1v15::Signature, pkcs1v15::VerifyingKey<$digest>);

            impl DigestSignatureKind for $kind {
                type Digest = $digest;
            }
        )*
    };
}

pkcs1v15! {
    RsaPkcs1v15Sign2048: Sha256;
    RsaPkcs1v15Sign3072: Sha256;
    RsaPkcs1v15Sign4096: Sha512;
}

/// The parameters of RSA-PSS (RFC 4055 section 3.1) are no constant. The salt is as long as the digest.
macro_rules! pss {
    ($($kind:ident: $digest:ty;)*) => {
        $(
            impl SignatureKind for $kind {
                type Signature = pss::Signature;
                type VerifyingKey = pss::VerifyingKey<$digest>;

                fn algorithm_identifier() -> spki::Result<AlgorithmIdentifierOwned> {
                    pss::get_default_pss_signature_algo_id::<$digest>()
                }
            }

            impl DigestSignatureKind for $kind {
                type Digest = $digest;
            }

            async_signer!($kind);
            pss!(identifier $kind, Signer BlockingSigner);
        )*
    };
    (identifier $kind:ident, $($signer:ident)*) => {
        $(
            impl DynSignatureAlgorithmIdentifier for $signer<$kind> {
                fn signature_algorithm_identifier(&self) -> spki::Result<AlgorithmIdentifierOwned> {
                    $kind::algorithm_identifier()
                }
            }
        )*
    };
}

pss! {
    RsaPss2048: Sha256;
    RsaPss3072: Sha256;
    RsaPss4096: Sha512;
}
