//! [`Key`]: a handle that can do what its kind says and nothing else.

mod any;
mod made;

use std::fmt;
use std::marker::PhantomData;

use hsm_core::attestation::{Evidence, Nonce, Pcrs};
use hsm_core::key::typed::{
    Aead, Agreement, Authenticating, Derivation, Encapsulating, Encrypting, KeyKind, Signing,
    SigningDigests, Transport, Wrapping,
};
use hsm_core::policy::RotationPolicy;
use hsm_core::{
    Algorithm, AttributesUpdate, CiphertextRef, Error, ErrorKind, KeyInfo, KeyName, KeyRef, Page,
    PageRequest, PublicKey, Request, Response, Result, SecretBytes, SignInput, VersionId,
};

pub use any::AnyKey;
pub use made::{Encapsulation, Encrypted, Signature, Wrapped};

use crate::create::Handle;
use crate::session::{Session, unexpected};

/// A key of the HSM, used through a session. Cheap to clone.
///
/// It follows rotation: operations use the current version, unless the handle is [`at`](Key::at) one version. What
/// verifies or decrypts finds the version that signed or encrypted in the [`Signature`], [`Encrypted`], [`Wrapped`] or
/// [`Encapsulation`].
///
/// A signing key signs:
///
/// ```
/// use hsm_client::{Key, kinds::EcdsaP384};
///
/// async fn sign(key: &Key<EcdsaP384>) -> hsm_client::Result<Vec<u8>> {
///     Ok(key.sign(b"message").await?.into_bytes())
/// }
/// ```
///
/// An encryption key has no `sign` at all:
///
/// ```compile_fail,E0599
/// use hsm_client::{Key, kinds::Aes256Gcm};
///
/// async fn sign(key: &Key<Aes256Gcm>) -> hsm_client::Result<Vec<u8>> {
///     Ok(key.sign(b"message").await?.into_bytes())
/// }
/// ```
///
/// A key-wrapping key does not decrypt, so that nobody unwraps a key as if it were data:
///
/// ```compile_fail,E0599
/// use hsm_client::{Encrypted, Key, kinds::Aes256Kwp};
///
/// async fn decrypt(key: &Key<Aes256Kwp>, data: &Encrypted) {
///     key.decrypt(data).await;
/// }
/// ```
///
/// Ed25519 and ML-DSA sign messages, not digests:
///
/// ```compile_fail,E0599
/// use hsm_client::{Key, kinds::MlDsa65};
///
/// async fn sign(key: &Key<MlDsa65>) {
///     key.sign_digest(&[0; 64]).await;
/// }
/// ```
///
/// And a handle of one kind is not one of another:
///
/// ```compile_fail,E0308
/// use hsm_client::{Key, kinds::{EcdsaP256, EcdsaP384}};
///
/// fn mix(key: Key<EcdsaP256>) -> Key<EcdsaP384> {
///     key
/// }
/// ```
pub struct Key<A> {
    session: Session,
    key: KeyRef,
    kind: PhantomData<fn() -> A>,
}

impl<A> Key<A> {
    fn new(session: Session, key: KeyRef) -> Self {
        Self {
            session,
            key,
            kind: PhantomData,
        }
    }

    /// The key's name.
    #[must_use]
    pub fn name(&self) -> &KeyName {
        &self.key.name
    }

    /// The one version that this handle uses; `None` if it follows rotation.
    #[must_use]
    pub fn version(&self) -> Option<VersionId> {
        self.key.version
    }

    /// A handle for one version of the key.
    #[must_use]
    pub fn at(&self, version: VersionId) -> Self {
        Self::new(self.session.clone(), self.at_version(version))
    }

    pub(crate) fn at_version(&self, version: VersionId) -> KeyRef {
        KeyRef::version(self.key.name.clone(), version)
    }

    /// The version that made a signature, if it says so; this handle's otherwise.
    fn maker(&self, version: Option<VersionId>) -> KeyRef {
        version.map_or_else(|| self.key.clone(), |version| self.at_version(version))
    }

    /// What is known of the key version: attributes, state, public half.
    ///
    /// # Errors
    ///
    /// [`NotFound`](ErrorKind::NotFound) if the key was deleted meanwhile.
    pub async fn info(&self) -> Result<KeyInfo> {
        let key = self.key.clone();
        self.session.key_info(Request::GetKey { key }).await
    }

    /// What the device states about the key, signed for whoever chose `nonce`: a key report, for the crate `hsm-attestation` to
    /// verify.
    ///
    /// # Errors
    ///
    /// [`Unsupported`](ErrorKind::Unsupported) if the device makes no key reports.
    pub async fn attest(&self, nonce: &Nonce) -> Result<Evidence> {
        self.attest_with_pcrs(nonce, Pcrs::NONE).await
    }

    /// As [`attest`](Self::attest), with a quote of these registers if the device is a TPM.
    ///
    /// # Errors
    ///
    /// As [`attest`](Self::attest).
    pub async fn attest_with_pcrs(&self, nonce: &Nonce, pcrs: Pcrs) -> Result<Evidence> {
        let request = Request::AttestKey {
            key: self.key.clone(),
            nonce: nonce.clone(),
            pcrs,
        };
        match self.session.call(request).await? {
            Response::Evidence { evidence, .. } => Ok(evidence),
            other => Err(unexpected(&other)),
        }
    }

    /// The public half, to give to those who verify or wrap.
    ///
    /// # Errors
    ///
    /// [`InvalidInput`](ErrorKind::InvalidInput) for a symmetric key.
    pub async fn public_key(&self) -> Result<PublicKey> {
        self.info().await?.public.ok_or_else(|| {
            Error::new(
                ErrorKind::InvalidInput,
                format!("key {} is symmetric and has no public half", self.key),
            )
        })
    }

    /// The versions of the key, the oldest first.
    ///
    /// # Errors
    ///
    /// As [`info`](Key::info).
    pub async fn versions(&self, page: PageRequest) -> Result<Page<KeyInfo>> {
        let name = self.key.name.clone();
        self.session
            .key_page(Request::ListVersions { name, page })
            .await
    }

    /// Changes attributes of the key version.
    ///
    /// # Errors
    ///
    /// [`KeyState`](ErrorKind::KeyState) if the lifecycle has no such step, [`InvalidInput`](ErrorKind::InvalidInput) if a
    /// usage would be added.
    pub async fn update(&self, update: AttributesUpdate) -> Result<KeyInfo> {
        let key = self.key.clone();
        self.session
            .key_info(Request::UpdateKey { key, update })
            .await
    }

    /// Makes a new version, which becomes the current one. Old versions stay as they are: they verify and decrypt what
    /// they made.
    ///
    /// # Errors
    ///
    /// [`LimitExceeded`](ErrorKind::LimitExceeded) beyond 100 versions.
    pub async fn rotate(&self) -> Result<VersionId> {
        let name = self.key.name.clone();
        Ok(self
            .session
            .key_info(Request::RotateKey { name })
            .await?
            .version)
    }

    /// When new versions are made by themselves.
    ///
    /// # Errors
    ///
    /// As [`info`](Key::info).
    pub async fn rotation_policy(&self) -> Result<Option<RotationPolicy>> {
        let name = self.key.name.clone();
        self.policy(Request::GetRotationPolicy { name }).await
    }

    /// Sets when new versions are made by themselves, or stops it with `None`. Says what holds now.
    ///
    /// # Errors
    ///
    /// As [`info`](Key::info).
    pub async fn set_rotation_policy(
        &self,
        policy: impl Into<Option<RotationPolicy>>,
    ) -> Result<Option<RotationPolicy>> {
        let request = Request::SetRotationPolicy {
            name: self.key.name.clone(),
            policy: policy.into(),
        };
        self.policy(request).await
    }

    async fn policy(&self, request: Request<'_>) -> Result<Option<RotationPolicy>> {
        match self.session.call(request).await? {
            Response::RotationPolicy(policy) => Ok(policy),
            other => Err(unexpected(&other)),
        }
    }

    /// Soft-deletes the key with all its versions. [`Session::recover_key`] brings it back.
    ///
    /// # Errors
    ///
    /// As [`info`](Key::info).
    pub async fn delete(&self) -> Result<KeyInfo> {
        let name = self.key.name.clone();
        self.session.key_info(Request::DeleteKey { name }).await
    }

    /// Wraps the key under a transport key, to take it to another HSM. It must have been made
    /// [exportable](crate::CreateKey::exportable).
    ///
    /// # Errors
    ///
    /// [`Denied`](ErrorKind::Denied) if the key is not exportable.
    pub async fn export<T: Transport>(&self, transport: &Key<T>) -> Result<Wrapped> {
        self.session
            .wrapped(Request::ExportKey {
                key: self.key.clone(),
                wrapping: transport.key.clone(),
                algorithm: T::ALGORITHM,
            })
            .await
    }
}

impl<A: Signing> Key<A> {
    /// Signs a message of at most 16 MiB.
    ///
    /// # Errors
    ///
    /// [`KeyState`](ErrorKind::KeyState) if the key is not active.
    pub async fn sign(&self, message: &[u8]) -> Result<Signature> {
        self.sign_input(SignInput::Message(message)).await
    }

    /// Verifies a signature of any version of the key.
    ///
    /// # Errors
    ///
    /// [`CryptoFailed`](ErrorKind::CryptoFailed) if it is not right, [`KeyState`](ErrorKind::KeyState) if the key may not
    /// verify.
    pub async fn verify(&self, message: &[u8], signature: &Signature) -> Result<()> {
        self.verify_input(SignInput::Message(message), signature)
            .await
    }

    async fn sign_input(&self, input: SignInput<'_>) -> Result<Signature> {
        self.session
            .signature(Request::Sign {
                key: self.key.clone(),
                algorithm: A::ALGORITHM,
                input,
            })
            .await
    }

    async fn verify_input(&self, input: SignInput<'_>, signature: &Signature) -> Result<()> {
        let request = Request::Verify {
            key: self.maker(signature.version),
            algorithm: A::ALGORITHM,
            input,
            signature: &signature.bytes,
        };
        self.session.done(request).await
    }
}

impl<A: SigningDigests> Key<A> {
    /// Signs a digest that the caller computed with the algorithm's hash.
    ///
    /// # Errors
    ///
    /// [`InvalidInput`](ErrorKind::InvalidInput) if it is of another length.
    pub async fn sign_digest(&self, digest: &[u8]) -> Result<Signature> {
        self.sign_input(SignInput::Digest(digest)).await
    }

    /// Verifies a signature over a digest.
    ///
    /// # Errors
    ///
    /// As [`verify`](Key::verify).
    pub async fn verify_digest(&self, digest: &[u8], signature: &Signature) -> Result<()> {
        self.verify_input(SignInput::Digest(digest), signature)
            .await
    }
}

impl<A: Authenticating> Key<A> {
    /// Computes a message authentication code.
    ///
    /// # Errors
    ///
    /// [`KeyState`](ErrorKind::KeyState) if the key is not active.
    pub async fn mac(&self, message: &[u8]) -> Result<Signature> {
        self.session
            .signature(Request::Mac {
                key: self.key.clone(),
                algorithm: A::ALGORITHM,
                message,
            })
            .await
    }

    /// Checks a message authentication code, in constant time.
    ///
    /// # Errors
    ///
    /// [`CryptoFailed`](ErrorKind::CryptoFailed) if it is not right.
    pub async fn verify_mac(&self, message: &[u8], tag: &Signature) -> Result<()> {
        let request = Request::VerifyMac {
            key: self.maker(tag.version),
            algorithm: A::ALGORITHM,
            message,
            tag: &tag.bytes,
        };
        self.session.done(request).await
    }
}

impl<A: Encrypting> Key<A> {
    /// Encrypts at most 16 MiB. The HSM chooses the initialization vector.
    ///
    /// # Errors
    ///
    /// [`KeyState`](ErrorKind::KeyState) if the key is not active.
    pub async fn encrypt(&self, plaintext: &[u8]) -> Result<Encrypted> {
        self.session
            .encrypted(self.key.clone(), A::ALGORITHM, plaintext, b"")
            .await
    }

    /// Decrypts what any version of the key encrypted.
    ///
    /// # Errors
    ///
    /// [`CryptoFailed`](ErrorKind::CryptoFailed) if the ciphertext is not right, [`KeyState`](ErrorKind::KeyState) if the
    /// key may not decrypt.
    pub async fn decrypt(&self, data: &Encrypted) -> Result<SecretBytes> {
        self.session
            .decrypted(
                self.at_version(data.version),
                A::ALGORITHM,
                data.ciphertext.as_ref(),
                b"",
            )
            .await
    }
}

impl<A: Aead> Key<A> {
    /// Encrypts, and authenticates `aad` along with it.
    ///
    /// # Errors
    ///
    /// As [`encrypt`](Key::encrypt).
    pub async fn encrypt_with_aad(&self, plaintext: &[u8], aad: &[u8]) -> Result<Encrypted> {
        self.session
            .encrypted(self.key.clone(), A::ALGORITHM, plaintext, aad)
            .await
    }

    /// Decrypts what was encrypted with the same `aad`.
    ///
    /// # Errors
    ///
    /// As [`decrypt`](Key::decrypt).
    pub async fn decrypt_with_aad(&self, data: &Encrypted, aad: &[u8]) -> Result<SecretBytes> {
        self.session
            .decrypted(
                self.at_version(data.version),
                A::ALGORITHM,
                data.ciphertext.as_ref(),
                aad,
            )
            .await
    }
}

impl<A: Wrapping> Key<A> {
    /// Wraps the bytes of a key that the caller holds, a data key for example.
    ///
    /// # Errors
    ///
    /// [`InvalidInput`](ErrorKind::InvalidInput) for a length that the algorithm does not wrap.
    pub async fn wrap(&self, key: &[u8]) -> Result<Wrapped> {
        let request = Request::Wrap {
            key: self.key.clone(),
            algorithm: A::ALGORITHM,
            plaintext: key,
        };
        self.session.wrapped(request).await
    }

    /// Unwraps what any version of the key wrapped.
    ///
    /// # Errors
    ///
    /// [`CryptoFailed`](ErrorKind::CryptoFailed) if it is not right.
    pub async fn unwrap(&self, wrapped: &Wrapped) -> Result<SecretBytes> {
        let request = Request::Unwrap {
            key: self.at_version(wrapped.version),
            algorithm: A::ALGORITHM,
            wrapped: &wrapped.bytes,
        };
        self.session.secret(request).await
    }
}

impl<A: Agreement> Key<A> {
    /// Agrees on a shared secret with the holder of `peer`. Put it through a KDF before use.
    ///
    /// # Errors
    ///
    /// [`InvalidInput`](ErrorKind::InvalidInput) if `peer` is of another curve.
    pub async fn agree(&self, peer: &PublicKey) -> Result<SecretBytes> {
        let request = Request::Agree {
            key: self.key.clone(),
            algorithm: A::ALGORITHM,
            peer,
        };
        self.session.secret(request).await
    }
}

impl<A: Encapsulating> Key<A> {
    /// Makes a shared secret of 32 bytes, and the ciphertext from which the holder of the private half gets the same
    /// secret. Put it through a KDF before use for more than one purpose.
    ///
    /// ```
    /// use hsm_client::{Key, Result, SecretBytes, kinds::MlKem768};
    ///
    /// async fn there_and_back(key: &Key<MlKem768>) -> Result<(SecretBytes, SecretBytes)> {
    ///     let (ciphertext, sent) = key.encapsulate().await?;
    ///     let received = key.decapsulate(&ciphertext).await?;
    ///     Ok((sent, received))
    /// }
    /// ```
    ///
    /// # Errors
    ///
    /// [`KeyState`](ErrorKind::KeyState) if the key is not active.
    pub async fn encapsulate(&self) -> Result<(Encapsulation, SecretBytes)> {
        self.session
            .encapsulated(self.key.clone(), A::ALGORITHM)
            .await
    }

    /// The secret that is encapsulated to any version of the key.
    ///
    /// A ciphertext that was altered or was made for another key gives another secret, not an error (FIPS 203 section
    /// 6.3): whether both sides have the same one shows when it is used.
    ///
    /// # Errors
    ///
    /// [`InvalidInput`](ErrorKind::InvalidInput) for a ciphertext of the wrong length,
    /// [`KeyState`](ErrorKind::KeyState) if the key may not decapsulate.
    pub async fn decapsulate(&self, ciphertext: &Encapsulation) -> Result<SecretBytes> {
        let request = Request::Decapsulate {
            key: self.maker(ciphertext.version),
            algorithm: A::ALGORITHM,
            ciphertext: &ciphertext.bytes,
        };
        self.session.secret(request).await
    }
}

impl<A: Derivation> Key<A> {
    /// Derives `len` bytes with HKDF (RFC 5869).
    ///
    /// # Errors
    ///
    /// [`LimitExceeded`](ErrorKind::LimitExceeded) above 1 KiB.
    pub async fn hkdf(&self, salt: &[u8], info: &[u8], len: usize) -> Result<SecretBytes> {
        let derived = self
            .session
            .derived(self.key.clone(), A::HKDF, salt, info, len);
        derived.await
    }

    /// Derives `len` bytes with the counter-mode KDF of NIST SP 800-108.
    ///
    /// # Errors
    ///
    /// [`LimitExceeded`](ErrorKind::LimitExceeded) above 1 KiB.
    pub async fn kbkdf(&self, label: &[u8], context: &[u8], len: usize) -> Result<SecretBytes> {
        let derived = self
            .session
            .derived(self.key.clone(), A::KBKDF, label, context, len);
        derived.await
    }
}

impl<A> Clone for Key<A> {
    fn clone(&self) -> Self {
        Self::new(self.session.clone(), self.key.clone())
    }
}

impl<A> fmt::Debug for Key<A> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Key({})", self.key)
    }
}

impl<A: KeyKind> Handle for Key<A> {
    fn from_info(session: Session, info: &KeyInfo) -> Self {
        Self::new(session, info.name.clone().into())
    }
}

impl Session {
    async fn signature(&self, request: Request<'_>) -> Result<Signature> {
        match self.call(request).await? {
            Response::Signature { bytes, version } => Ok(Signature::made_by(version, bytes)),
            other => Err(unexpected(&other)),
        }
    }

    async fn wrapped(&self, request: Request<'_>) -> Result<Wrapped> {
        match self.call(request).await? {
            Response::Wrapped { bytes, version } => Ok(Wrapped::new(version, bytes)),
            other => Err(unexpected(&other)),
        }
    }

    async fn encapsulated(
        &self,
        key: KeyRef,
        algorithm: Algorithm,
    ) -> Result<(Encapsulation, SecretBytes)> {
        let request = Request::Encapsulate { key, algorithm };
        match self.call(request).await? {
            Response::Encapsulated {
                encapsulated,
                version,
            } => Ok((
                Encapsulation::made_for(version, encapsulated.ciphertext),
                encapsulated.secret,
            )),
            other => Err(unexpected(&other)),
        }
    }

    async fn derived(
        &self,
        key: KeyRef,
        algorithm: Algorithm,
        salt_or_label: &[u8],
        info_or_context: &[u8],
        len: usize,
    ) -> Result<SecretBytes> {
        self.secret(Request::Derive {
            key,
            algorithm,
            salt_or_label,
            info_or_context,
            len,
        })
        .await
    }

    async fn encrypted(
        &self,
        key: KeyRef,
        algorithm: Algorithm,
        plaintext: &[u8],
        aad: &[u8],
    ) -> Result<Encrypted> {
        let request = Request::Encrypt {
            key,
            algorithm,
            plaintext,
            iv: None,
            aad,
        };
        match self.call(request).await? {
            Response::Ciphertext {
                ciphertext,
                version,
            } => Ok(Encrypted {
                version,
                ciphertext,
            }),
            other => Err(unexpected(&other)),
        }
    }

    async fn decrypted(
        &self,
        key: KeyRef,
        algorithm: Algorithm,
        ciphertext: CiphertextRef<'_>,
        aad: &[u8],
    ) -> Result<SecretBytes> {
        self.secret(Request::Decrypt {
            key,
            algorithm,
            ciphertext,
            aad,
        })
        .await
    }
}
