//! [`AnyKey`]: a handle for a key whose type is known only at run time.

use hsm_core::key::typed::KeyKind;
use hsm_core::{
    Algorithm, Error, ErrorKind, KeyInfo, KeyRef, KeySpec, PublicKey, Request, Result, SecretBytes,
    SignInput, VersionId,
};

use super::{Encapsulation, Encrypted, Key, Signature, Wrapped};
use crate::create::Handle;
use crate::session::Session;

/// A key whose type is known only at run time, for tools. The engine checks what the compiler checks for a [`Key`].
#[derive(Clone, Debug)]
pub struct AnyKey {
    key: Key<()>,
    spec: KeySpec,
}

impl AnyKey {
    pub(crate) fn new(session: Session, key: KeyRef, info: &KeyInfo) -> Self {
        Self {
            key: Key::new(session, key),
            spec: info.attributes.spec,
        }
    }

    /// Type, usages, and whether the key may leave wrapped.
    #[must_use]
    pub fn spec(&self) -> &KeySpec {
        &self.spec
    }

    /// The handle for what every key can do: info, rotation, deletion.
    #[must_use]
    pub fn handle(&self) -> &Key<()> {
        &self.key
    }

    /// A handle for one version of the key.
    #[must_use]
    pub fn at(&self, version: VersionId) -> Self {
        Self {
            key: self.key.at(version),
            spec: self.spec,
        }
    }

    /// The typed handle.
    ///
    /// # Errors
    ///
    /// [`InvalidInput`](ErrorKind::InvalidInput) if the key is of another type or lacks a usage that `A` stands for.
    pub fn typed<A: KeyKind>(self) -> Result<Key<A>> {
        if self.spec.key_type != A::KEY_TYPE {
            return Err(Error::new(
                ErrorKind::InvalidInput,
                format!(
                    "key {} is of type {}, not {}",
                    self.key.key,
                    self.spec.key_type,
                    A::KEY_TYPE
                ),
            ));
        }
        if !A::USAGES.is_subset_of(self.spec.usages) {
            return Err(Error::new(
                ErrorKind::InvalidInput,
                format!(
                    "key {} may not be used for: {}; it may be used for: {}",
                    self.key.key,
                    A::USAGES.without(self.spec.usages),
                    self.spec.usages
                ),
            ));
        }
        if let (Some(wanted), Some(only)) = (A::ONLY, self.spec.algorithm)
            && wanted != only
        {
            return Err(Error::new(
                ErrorKind::InvalidInput,
                format!("key {} was made for {only}, not for {wanted}", self.key.key),
            ));
        }
        Ok(Key::new(self.key.session, self.key.key))
    }

    /// Signs.
    ///
    /// # Errors
    ///
    /// [`InvalidInput`](ErrorKind::InvalidInput) if `algorithm` does not fit the key.
    pub async fn sign(&self, algorithm: Algorithm, input: SignInput<'_>) -> Result<Signature> {
        self.key
            .session
            .signature(Request::Sign {
                key: self.key.key.clone(),
                algorithm,
                input,
            })
            .await
    }

    /// Verifies a signature.
    ///
    /// # Errors
    ///
    /// [`CryptoFailed`](ErrorKind::CryptoFailed) if it is not right.
    pub async fn verify(
        &self,
        algorithm: Algorithm,
        input: SignInput<'_>,
        signature: &Signature,
    ) -> Result<()> {
        let request = Request::Verify {
            key: self.key.maker(signature.version),
            algorithm,
            input,
            signature: &signature.bytes,
        };
        self.key.session.done(request).await
    }

    /// Computes a message authentication code.
    ///
    /// ```
    /// use hsm_client::{Algorithm, KeySpec, KeyType, Usage, Usages};
    ///
    /// # pollster::block_on(async {
    /// # let hsm = hsm_client::Hsm::create("memory:", hsm_client::Setup::new("admin", "a long password")).await?;
    /// # let admin = hsm.login("admin", "a long password").await?;
    /// # admin.create_user("app", "another password").await?;
    /// # admin.assign_role(hsm_client::BuiltInRole::CryptoUser, "app", hsm_client::Scope::Keys).await?;
    /// # let session = hsm.login("app", "another password").await?;
    /// let usages = Usages::of(&[Usage::Sign, Usage::Verify]);
    /// let spec = KeySpec::new(KeyType::HmacSha256, usages)?;
    /// let key = session.create_any("cookies", spec).await?;
    /// let tag = key.mac(Algorithm::Hs256, b"user=alice").await?;
    /// key.verify_mac(Algorithm::Hs256, b"user=alice", &tag).await?;
    /// # Ok::<(), hsm_client::Error>(())
    /// # }).unwrap();
    /// ```
    ///
    /// # Errors
    ///
    /// [`InvalidInput`](ErrorKind::InvalidInput) if `algorithm` does not fit the key.
    pub async fn mac(&self, algorithm: Algorithm, message: &[u8]) -> Result<Signature> {
        self.key
            .session
            .signature(Request::Mac {
                key: self.key.key.clone(),
                algorithm,
                message,
            })
            .await
    }

    /// Checks a message authentication code, in constant time.
    ///
    /// # Errors
    ///
    /// [`CryptoFailed`](ErrorKind::CryptoFailed) if it is not right.
    pub async fn verify_mac(
        &self,
        algorithm: Algorithm,
        message: &[u8],
        tag: &Signature,
    ) -> Result<()> {
        let request = Request::VerifyMac {
            key: self.key.maker(tag.version),
            algorithm,
            message,
            tag: &tag.bytes,
        };
        self.key.session.done(request).await
    }

    /// Encrypts.
    ///
    /// # Errors
    ///
    /// [`InvalidInput`](ErrorKind::InvalidInput) if `algorithm` does not fit the key.
    pub async fn encrypt(
        &self,
        algorithm: Algorithm,
        plaintext: &[u8],
        aad: &[u8],
    ) -> Result<Encrypted> {
        self.key
            .session
            .encrypted(self.key.key.clone(), algorithm, plaintext, aad)
            .await
    }

    /// Decrypts.
    ///
    /// # Errors
    ///
    /// [`CryptoFailed`](ErrorKind::CryptoFailed) if the ciphertext is not right.
    pub async fn decrypt(
        &self,
        algorithm: Algorithm,
        data: &Encrypted,
        aad: &[u8],
    ) -> Result<SecretBytes> {
        let key = self.key.at_version(data.version);
        self.key
            .session
            .decrypted(key, algorithm, data.ciphertext.as_ref(), aad)
            .await
    }

    /// Wraps the bytes of a key that the caller holds.
    ///
    /// # Errors
    ///
    /// [`InvalidInput`](ErrorKind::InvalidInput) if `algorithm` does not fit the key.
    pub async fn wrap(&self, algorithm: Algorithm, key: &[u8]) -> Result<Wrapped> {
        let request = Request::Wrap {
            key: self.key.key.clone(),
            algorithm,
            plaintext: key,
        };
        self.key.session.wrapped(request).await
    }

    /// Unwraps.
    ///
    /// # Errors
    ///
    /// [`CryptoFailed`](ErrorKind::CryptoFailed) if it is not right.
    pub async fn unwrap(&self, algorithm: Algorithm, wrapped: &Wrapped) -> Result<SecretBytes> {
        let request = Request::Unwrap {
            key: self.key.at_version(wrapped.version),
            algorithm,
            wrapped: &wrapped.bytes,
        };
        self.key.session.secret(request).await
    }

    /// Agrees on a shared secret with the holder of `peer`. Put it through a KDF before use.
    ///
    /// ```
    /// use hsm_client::{Algorithm, KeySpec, KeyType, Usage, Usages};
    ///
    /// # pollster::block_on(async {
    /// # let hsm = hsm_client::Hsm::create("memory:", hsm_client::Setup::new("admin", "a long password")).await?;
    /// # let admin = hsm.login("admin", "a long password").await?;
    /// # admin.create_user("app", "another password").await?;
    /// # admin.assign_role(hsm_client::BuiltInRole::CryptoUser, "app", hsm_client::Scope::Keys).await?;
    /// # let session = hsm.login("app", "another password").await?;
    /// let spec = KeySpec::new(KeyType::X25519, Usages::of(&[Usage::DeriveBits]))?;
    /// let alice = session.create_any("alice", spec).await?;
    /// let bob = session.create_any("bob", spec).await?;
    /// let (to_alice, to_bob) = (alice.handle().public_key().await?, bob.handle().public_key().await?);
    /// let secret = alice.agree(Algorithm::EcdhEs, &to_bob).await?;
    /// let from_there = bob.agree(Algorithm::EcdhEs, &to_alice).await?;
    /// assert_eq!(secret.expose(), from_there.expose());
    /// # Ok::<(), hsm_client::Error>(())
    /// # }).unwrap();
    /// ```
    ///
    /// # Errors
    ///
    /// [`InvalidInput`](ErrorKind::InvalidInput) if `algorithm` does not fit the key, or `peer` is of another curve.
    pub async fn agree(&self, algorithm: Algorithm, peer: &PublicKey) -> Result<SecretBytes> {
        let request = Request::Agree {
            key: self.key.key.clone(),
            algorithm,
            peer,
        };
        self.key.session.secret(request).await
    }

    /// Derives `len` bytes, with HKDF (RFC 5869) from a salt and an info, or with the counter-mode KDF of NIST
    /// SP 800-108 from a label and a context.
    ///
    /// ```
    /// use hsm_client::{Algorithm, KeySpec, KeyType, Usage, Usages};
    ///
    /// # pollster::block_on(async {
    /// # let hsm = hsm_client::Hsm::create("memory:", hsm_client::Setup::new("admin", "a long password")).await?;
    /// # let admin = hsm.login("admin", "a long password").await?;
    /// # admin.create_user("app", "another password").await?;
    /// # admin.assign_role(hsm_client::BuiltInRole::CryptoUser, "app", hsm_client::Scope::Keys).await?;
    /// # let session = hsm.login("app", "another password").await?;
    /// let spec = KeySpec::new(KeyType::Kdk256, Usages::of(&[Usage::DeriveKey]))?;
    /// let key = session.create_any("tenants", spec).await?;
    /// let by_hkdf = key.derive(Algorithm::HkdfSha256, b"salt", b"tenant 7", 32).await?;
    /// let by_kbkdf = key.derive(Algorithm::KbkdfHmacSha256, b"label", b"tenant 7", 32).await?;
    /// assert_eq!((by_hkdf.len(), by_kbkdf.len()), (32, 32));
    /// # Ok::<(), hsm_client::Error>(())
    /// # }).unwrap();
    /// ```
    ///
    /// # Errors
    ///
    /// [`InvalidInput`](ErrorKind::InvalidInput) if `algorithm` does not fit the key,
    /// [`LimitExceeded`](ErrorKind::LimitExceeded) above 1 KiB.
    pub async fn derive(
        &self,
        algorithm: Algorithm,
        salt_or_label: &[u8],
        info_or_context: &[u8],
        len: usize,
    ) -> Result<SecretBytes> {
        self.key
            .session
            .derived(
                self.key.key.clone(),
                algorithm,
                salt_or_label,
                info_or_context,
                len,
            )
            .await
    }

    /// Makes a shared secret and encapsulates it.
    ///
    /// # Errors
    ///
    /// [`InvalidInput`](ErrorKind::InvalidInput) if `algorithm` does not fit the key.
    pub async fn encapsulate(&self, algorithm: Algorithm) -> Result<(Encapsulation, SecretBytes)> {
        self.key
            .session
            .encapsulated(self.key.key.clone(), algorithm)
            .await
    }

    /// Decapsulates a shared secret.
    ///
    /// # Errors
    ///
    /// [`InvalidInput`](ErrorKind::InvalidInput) if `algorithm` does not fit the key, or the ciphertext is of the wrong
    /// length.
    pub async fn decapsulate(
        &self,
        algorithm: Algorithm,
        ciphertext: &Encapsulation,
    ) -> Result<SecretBytes> {
        let request = Request::Decapsulate {
            key: self.key.maker(ciphertext.version),
            algorithm,
            ciphertext: &ciphertext.bytes,
        };
        self.key.session.secret(request).await
    }
}

impl Handle for AnyKey {
    fn from_info(session: Session, info: &KeyInfo) -> Self {
        Self::new(session, info.name.clone().into(), info)
    }
}
