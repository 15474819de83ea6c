//! Keys as signers of the crate [`signature`](https://docs.rs/signature), so that whatever is generic over its traits works
//! with a key that never leaves the HSM.
//!
//! [`Key::signer`] fetches the public half once, pins the version that is current, and gives a [`Signer`], which has the
//! async traits. [`Signer::blocking`], or `signer` of [`blocking::Key`], gives a [`BlockingSigner`],
//! which has the others. (They are two types, as the crate makes everything that signs an asynchronous signer too, which
//! would block an executor's thread.)
//!
//! ```
//! use hsm_client::blocking::Session;
//! use hsm_client::kinds::EcdsaP256;
//! use hsm_client::signature::p256;
//! use hsm_client::signature::traits::{Error, Keypair, Signer, Verifier};
//!
//! // Any code that knows the traits, and nothing of HSMs.
//! fn sign<S, K: Signer<S> + Keypair<VerifyingKey: Verifier<S>>>(key: &K, text: &[u8]) -> Result<S, Error> {
//!     let signature = key.try_sign(text)?;
//!     key.verifying_key().verify(text, &signature)?;
//!     Ok(signature)
//! }
//!
//! # fn with(session: &Session) -> Result<(), Box<dyn std::error::Error>> {
//! let key = session.create::<EcdsaP256>("invoices").make()?;
//! let signature: p256::ecdsa::Signature = sign(&key.signer()?, b"pay 100 to Alice")?;
//! # _ = signature;
//! # Ok(())
//! # }
//! # use hsm_client::{BuiltInRole, Scope, Setup, blocking::Hsm};
//! # let hsm = Hsm::create("memory:", Setup::new("admin", "an administrator's password"))?;
//! # let admin = hsm.login("admin", "an administrator's password")?;
//! # admin.create_user("app", "correct horse battery")?;
//! # admin.assign_role(BuiltInRole::CryptoUser, "app", Scope::Keys)?;
//! # with(&hsm.login("app", "correct horse battery")?).unwrap();
//! # Ok::<(), hsm_client::Error>(())
//! ```
//!
//! # What each kind has
//!
//! | kind | signature | verifying key |
//! |---|---|---|
//! | `EcdsaP256`, `EcdsaP384`, `EcdsaP521`, `EcdsaP256K` | [`ecdsa::Signature`], [`ecdsa::der::Signature`] | [`ecdsa::VerifyingKey`] |
//! | `Ed25519` | [`ed25519::Signature`](ed25519_dalek::Signature) | [`ed25519_dalek::VerifyingKey`] |
//! | `RsaPss…` | [`rsa::pss::Signature`] | [`rsa::pss::VerifyingKey`] |
//! | `RsaPkcs1v15Sign…` | [`rsa::pkcs1v15::Signature`] | [`rsa::pkcs1v15::VerifyingKey`] |
//! | `MlDsa44`, `MlDsa65`, `MlDsa87` | [`ml_dsa::Signature`] | [`ml_dsa::VerifyingKey`] |
//!
//! All have [`Keypair`](traits::Keypair), [`Verifier`] (of the public half, without the HSM) and
//! [`DynSignatureAlgorithmIdentifier`](spki::DynSignatureAlgorithmIdentifier); all but RSA-PSS, whose parameters are no
//! constant, [`SignatureAlgorithmIdentifier`](spki::SignatureAlgorithmIdentifier). The kinds that sign digests have
//! `DigestSigner` and `PrehashSigner` as well, with the algorithm's own hash and no other.
//!
//! Ed25519 signs messages, not digests:
//!
//! ```compile_fail,E0277
//! use hsm_client::kinds::Ed25519;
//! use hsm_client::signature::traits::hazmat::PrehashSigner;
//! use hsm_client::signature::{BlockingSigner, ed25519_dalek::Signature};
//!
//! fn sign(signer: &BlockingSigner<Ed25519>, digest: &[u8]) {
//!     let signature: Result<Signature, _> = PrehashSigner::sign_prehash(signer, digest);
//! }
//! ```
//!
//! The types of RSA are those of `rsa` 0.10.0-rc, a pre-release: the stable 0.9 does not know this `signature`. They may change
//! in a minor version of this crate. The others are stable.
//!
//! # Errors
//!
//! What the HSM refuses is a [`signature::Error`](traits::Error) whose source is the [`Error`]: an expired or
//! disabled key, a role that was taken away, an HSM that is gone. `Signer::sign` panics then, as the trait says:
//! call `try_sign`. A message has at most 16 MiB; sign the digest of what is longer.

mod kinds;

use std::fmt;

use hsm_core::key::typed::{Signing, SigningDigests};
use hsm_core::{Error, ErrorKind, PublicKey, Result, VersionId};
use pollster::block_on;
use sha2::Digest;
use sha2::digest::{FixedOutput, Update};
use spki::{AlgorithmIdentifierOwned, DecodePublicKey, EncodePublicKey};

use self::traits::hazmat::{AsyncPrehashSigner, PrehashSigner};
use self::traits::{
    AsyncDigestSigner, DigestSigner, DigestVerifier, KeypairRef, MultipartSigner,
    SignatureEncoding, Verifier,
};
use crate::blocking;
use crate::key::Key;

#[doc(no_inline)]
pub use ::{
    ecdsa, ed25519_dalek, k256, ml_dsa, p256, p384, p521, rsa, sha2, signature as traits, spki,
};

/// A kind of key whose signatures other crates have types for: every kind that signs. Sealed, as all [`kinds`](crate::kinds)
/// are; the [module](self) lists them.
pub trait SignatureKind: Signing + Sized {
    /// The signature.
    type Signature: SignatureEncoding + fmt::Debug + Send + Sync + 'static;
    /// The public half.
    type VerifyingKey: Verifier<Self::Signature>
        + DecodePublicKey
        + EncodePublicKey
        + Clone
        + fmt::Debug
        + Send
        + Sync
        + 'static;

    /// How X.509 and CMS name the algorithm (RFC 5280 section 4.1.1.2).
    ///
    /// # Errors
    ///
    /// None, other than of the encoder.
    fn algorithm_identifier() -> spki::Result<AlgorithmIdentifierOwned>;

    /// The form of the signature that every verifier takes.
    #[doc(hidden)]
    fn normalize(signature: Self::Signature) -> Self::Signature {
        signature
    }
}

/// A [`SignatureKind`] that signs digests as well: all but Ed25519 and ML-DSA. Sealed.
pub trait DigestSignatureKind: SignatureKind + SigningDigests {
    /// The hash of the algorithm.
    type Digest: Digest + FixedOutput + Update + 'static;
}

impl<A: SignatureKind> Key<A> {
    /// The key as a signer of the crate [`signature`](traits), with the async traits.
    ///
    /// It stays at the version that is current now, or [`at`](Key::at) which this handle is: signatures and
    /// [`verifying_key`](traits::Keypair::verifying_key) belong together, whoever rotates the key meanwhile. Make a new one
    /// after a rotation.
    ///
    /// # Errors
    ///
    /// As [`info`](Key::info).
    pub async fn signer(&self) -> Result<Signer<A>> {
        let info = self.info().await?;
        let public = info.public.ok_or_else(|| unusable("without public half"))?;
        let verifying_key = A::VerifyingKey::from_public_key_der(&public.to_spki_der()?)
            .map_err(|source| unusable("with another public half").with_source(source))?;
        Ok(Signer {
            key: self.at(info.version),
            version: info.version,
            public,
            verifying_key,
        })
    }
}

impl<A: SignatureKind> blocking::Key<A> {
    /// The key as a signer of the crate [`signature`](traits). As [`Key::signer`].
    ///
    /// # Errors
    ///
    /// The same.
    pub fn signer(&self) -> Result<BlockingSigner<A>> {
        block_on(self.as_async().signer()).map(Signer::blocking)
    }
}

/// One version of a key as a signer with the async traits of the crate [`signature`](traits). Cheap enough to clone.
///
/// ```
/// use hsm_client::Key;
/// use hsm_client::kinds::Ed25519;
/// use hsm_client::signature::traits::{AsyncSigner, Verifier};
///
/// # async fn with(key: Key<Ed25519>) -> Result<(), Box<dyn std::error::Error>> {
/// let signer = key.signer().await?;
/// let signature = signer.sign_async(b"message").await?;
/// signer.verify(b"message", &signature)?;          // with the public half: no call
/// # Ok(())
/// # }
/// ```
pub struct Signer<A: SignatureKind> {
    key: Key<A>,
    version: VersionId,
    public: PublicKey,
    verifying_key: A::VerifyingKey,
}

impl<A: SignatureKind> Signer<A> {
    /// The same with the sync traits, for code that may block its thread.
    #[must_use]
    pub fn blocking(self) -> BlockingSigner<A> {
        BlockingSigner(self)
    }

    /// The key, at the version that signs.
    #[must_use]
    pub fn key(&self) -> &Key<A> {
        &self.key
    }

    /// The version that signs.
    #[must_use]
    pub fn version(&self) -> VersionId {
        self.version
    }

    /// The public half as this SDK has it.
    #[must_use]
    pub fn public_key(&self) -> &PublicKey {
        &self.public
    }

    async fn message(&self, message: &[u8]) -> traits::Result<A::Signature> {
        read::<A>(self.key.sign(message).await)
    }
}

impl<A: DigestSignatureKind> Signer<A> {
    async fn digest(&self, digest: &[u8]) -> traits::Result<A::Signature> {
        read::<A>(self.key.sign_digest(digest).await)
    }
}

/// One version of a key as a signer with the sync traits of the crate [`signature`](traits). Cheap enough to clone.
///
/// Each call blocks its thread until the HSM has answered: do not call it from async code, which has [`Signer`].
pub struct BlockingSigner<A: SignatureKind>(Signer<A>);

impl<A: SignatureKind> BlockingSigner<A> {
    /// The same with the async traits.
    #[must_use]
    pub fn as_async(&self) -> &Signer<A> {
        &self.0
    }

    /// The version that signs.
    #[must_use]
    pub fn version(&self) -> VersionId {
        self.0.version
    }

    /// The public half as this SDK has it.
    #[must_use]
    pub fn public_key(&self) -> &PublicKey {
        &self.0.public
    }
}

impl<A: DigestSignatureKind> AsyncPrehashSigner<A::Signature> for Signer<A> {
    async fn sign_prehash_async(&self, digest: &[u8]) -> traits::Result<A::Signature> {
        self.digest(digest).await
    }
}

impl<A: DigestSignatureKind, S> AsyncDigestSigner<A::Digest, S> for Signer<A>
where
    Self: AsyncPrehashSigner<S>,
{
    async fn sign_digest_async<F>(&self, message: F) -> traits::Result<S>
    where
        F: AsyncFn(&mut A::Digest) -> traits::Result<()>,
    {
        let mut digest = A::Digest::new();
        message(&mut digest).await?;
        self.sign_prehash_async(&digest.finalize()).await
    }
}

impl<A: SignatureKind> traits::Signer<A::Signature> for BlockingSigner<A> {
    fn try_sign(&self, message: &[u8]) -> traits::Result<A::Signature> {
        block_on(self.0.message(message))
    }
}

impl<A: SignatureKind, S> MultipartSigner<S> for BlockingSigner<A>
where
    Self: traits::Signer<S>,
{
    fn try_multipart_sign(&self, message: &[&[u8]]) -> traits::Result<S> {
        traits::Signer::try_sign(self, &message.concat())
    }
}

impl<A: DigestSignatureKind> PrehashSigner<A::Signature> for BlockingSigner<A> {
    fn sign_prehash(&self, digest: &[u8]) -> traits::Result<A::Signature> {
        block_on(self.0.digest(digest))
    }
}

impl<A: DigestSignatureKind, S> DigestSigner<A::Digest, S> for BlockingSigner<A>
where
    Self: PrehashSigner<S>,
{
    fn try_sign_digest<F>(&self, message: F) -> traits::Result<S>
    where
        F: Fn(&mut A::Digest) -> traits::Result<()>,
    {
        let mut digest = A::Digest::new();
        message(&mut digest)?;
        self.sign_prehash(&digest.finalize())
    }
}

/// What both signers have: they know the public half.
macro_rules! public_half {
    ($($signer:ident: $($field:tt).+;)*) => {
        $(
            impl<A: SignatureKind> AsRef<A::VerifyingKey> for $signer<A> {
                fn as_ref(&self) -> &A::VerifyingKey {
                    &self.$($field).+
                }
            }

            impl<A: SignatureKind> KeypairRef for $signer<A> {
                type VerifyingKey = A::VerifyingKey;
            }

            impl<A: SignatureKind, S> Verifier<S> for $signer<A>
            where
                A::VerifyingKey: Verifier<S>,
            {
                fn verify(&self, message: &[u8], signature: &S) -> traits::Result<()> {
                    self.as_ref().verify(message, signature)
                }
            }

            impl<A: SignatureKind, D: Update, S> DigestVerifier<D, S> for $signer<A>
            where
                A::VerifyingKey: DigestVerifier<D, S>,
            {
                fn verify_digest<F>(&self, message: F, signature: &S) -> traits::Result<()>
                where
                    F: Fn(&mut D) -> traits::Result<()>,
                {
                    self.as_ref().verify_digest(message, signature)
                }
            }
        )*
    };
}

public_half! {
    Signer: verifying_key;
    BlockingSigner: 0.verifying_key;
}

impl<A: SignatureKind> Clone for Signer<A> {
    fn clone(&self) -> Self {
        Self {
            key: self.key.clone(),
            version: self.version,
            public: self.public.clone(),
            verifying_key: self.verifying_key.clone(),
        }
    }
}

impl<A: SignatureKind> Clone for BlockingSigner<A> {
    fn clone(&self) -> Self {
        Self(self.0.clone())
    }
}

impl<A: SignatureKind> fmt::Debug for Signer<A> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Signer").field(&self.key).finish()
    }
}

impl<A: SignatureKind> fmt::Debug for BlockingSigner<A> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("BlockingSigner").field(&self.0.key).finish()
    }
}

/// The signature as its own crate has it.
fn read<A: SignatureKind>(made: Result<crate::Signature>) -> traits::Result<A::Signature> {
    let made = made.map_err(traits::Error::from_source)?;
    A::Signature::try_from(made.bytes())
        .map(A::normalize)
        .map_err(|_| traits::Error::from_source(unusable("with another signature")))
}

fn unusable(with: &str) -> Error {
    Error::new(
        ErrorKind::DeviceFailed,
        format!("the HSM answered {with} than the key's kind has"),
    )
}
