//! [`Device`] and [`LoadedKey`]: what turns sealed keys into operations. Implement these to add a backend.

use std::fmt::{self, Debug};
use std::sync::Arc;

use async_trait::async_trait;
use sha2::{Digest, Sha256, Sha384, Sha512};

use crate::algorithm::{Algorithm, Hash, Operation};
use crate::attestation::{AttestRequest, Evidence};
use crate::capability::Capabilities;
use crate::error::{Error, ErrorKind, Result, invalid};
use crate::key::{Binding, KeySpec, PublicKey, SealedKey, Usages};
use crate::secret::SecretBytes;

/// What a backend must do. Callers want `Key<A>` of `hsm-client` instead.
///
/// A device persists nothing but its own root: [`generate`](Device::generate) and [`import`](Device::import) return a
/// [`SealedKey`] that only this device, or one with the same root, can [`load`](Device::load).
///
/// An [`Engine`](crate::Engine) needs two kinds of keys for itself: EC-P256 with ES256, and HMAC-SHA256 with HS256. The
/// rest is the device's choice.
///
/// # Contract
///
/// - On any error except [`Unknown`](crate::ErrorKind::Unknown), nothing on the device changed.
/// - No method returns key bytes in clear, and no error or `Debug` contains any.
/// - A key loads only under the binding it was sealed with, and only unaltered:
///   [`Damaged`](crate::ErrorKind::Damaged) otherwise.
/// - What is missing from [`capabilities`](Device::capabilities) fails with
///   [`Unsupported`](crate::ErrorKind::Unsupported).
/// - A usage that the [`KeySpec`] lacks fails with [`KeyState`](crate::ErrorKind::KeyState), whatever the caller says.
/// - A failed decryption, unwrapping or tag is [`CryptoFailed`](crate::ErrorKind::CryptoFailed), without reason.
/// - A call that takes long (RSA key generation) does not block the thread that polls it.
/// - Dropping a future abandons the call; the device stays usable.
/// - After [`zeroize`](Device::zeroize) every method fails with [`DeviceFailed`](crate::ErrorKind::DeviceFailed), now
///   and after a restart, and keys that are still loaded fail as well.
#[async_trait]
pub trait Device: Debug + Send + Sync {
    /// What the device can do. Does not change while the device is open.
    fn capabilities(&self) -> &Capabilities;

    /// Makes a key inside the device and seals it under `binding`.
    async fn generate(&self, spec: &KeySpec, binding: &Binding) -> Result<NewKey>;

    /// Takes a key that the caller holds in clear, once, and seals it under `binding`.
    ///
    /// Keys that are wrapped under a key of the device come in through [`LoadedKey::import`], never in clear.
    ///
    /// `material` is PKCS#8 DER for asymmetric keys, the raw octets for symmetric ones. What does not parse, or is not
    /// of the spec's type and size, is [`InvalidInput`](crate::ErrorKind::InvalidInput).
    async fn import(
        &self,
        material: SecretBytes,
        spec: &KeySpec,
        binding: &Binding,
    ) -> Result<NewKey>;

    /// Opens a sealed key for use.
    async fn load(&self, sealed: &SealedKey, binding: &Binding) -> Result<Arc<dyn LoadedKey>>;

    /// Seals the same key again under another binding, with the usages in `without` taken away: how an attribute
    /// changes. There is no way to add a usage.
    ///
    /// A key that would be left without any usage is [`InvalidInput`](crate::ErrorKind::InvalidInput).
    async fn reseal(
        &self,
        sealed: &SealedKey,
        old: &Binding,
        new: &Binding,
        without: Usages,
    ) -> Result<SealedKey>;

    /// States what a sealed key is, signed for whoever chose the nonce: a key report (`docs/key_report.md`).
    ///
    /// The key is opened for it, so one that does not load is not stated: [`Damaged`](crate::ErrorKind::Damaged). A device that
    /// makes reports says so in its [`capabilities`](Device::capabilities). One without PCRs leaves out the quote. A wrapper
    /// decides this method as well: it must not answer for what it wraps.
    async fn attest(
        &self,
        sealed: &SealedKey,
        binding: &Binding,
        request: &AttestRequest,
    ) -> Result<Evidence> {
        _ = (sealed, binding, request);
        Err(Error::new(
            ErrorKind::Unsupported,
            format!(
                "the {} device makes no key reports",
                self.capabilities().device()
            ),
        ))
    }

    /// Fills `out` from the device's random bit generator (NIST SP 800-90A).
    async fn random(&self, out: &mut [u8]) -> Result<()>;

    /// Runs the known-answer tests. After a failure the device refuses everything until a later run passes.
    async fn self_test(&self) -> Result<()>;

    /// Destroys the device's root and with it every key that it ever sealed, for good.
    async fn zeroize(&self) -> Result<()>;
}

macro_rules! implement_through {
    ($pointer:ident) => {
        /// For those who share a device, or choose it while the program runs.
        #[async_trait]
        #[deny(clippy::missing_trait_methods)]
        impl<D: Device + ?Sized> Device for $pointer<D> {
            fn capabilities(&self) -> &Capabilities {
                (**self).capabilities()
            }

            async fn generate(&self, spec: &KeySpec, binding: &Binding) -> Result<NewKey> {
                (**self).generate(spec, binding).await
            }

            async fn import(
                &self,
                material: SecretBytes,
                spec: &KeySpec,
                binding: &Binding,
            ) -> Result<NewKey> {
                (**self).import(material, spec, binding).await
            }

            async fn load(
                &self,
                sealed: &SealedKey,
                binding: &Binding,
            ) -> Result<Arc<dyn LoadedKey>> {
                (**self).load(sealed, binding).await
            }

            async fn reseal(
                &self,
                sealed: &SealedKey,
                old: &Binding,
                new: &Binding,
                without: Usages,
            ) -> Result<SealedKey> {
                (**self).reseal(sealed, old, new, without).await
            }

            async fn attest(
                &self,
                sealed: &SealedKey,
                binding: &Binding,
                request: &AttestRequest,
            ) -> Result<Evidence> {
                (**self).attest(sealed, binding, request).await
            }

            async fn random(&self, out: &mut [u8]) -> Result<()> {
                (**self).random(out).await
            }

            async fn self_test(&self) -> Result<()> {
                (**self).self_test().await
            }

            async fn zeroize(&self) -> Result<()> {
                (**self).zeroize().await
            }
        }
    };
}

implement_through!(Arc);
implement_through!(Box);

/// A key that a [`Device`] made: the sealed private part and, for asymmetric keys, the public one.
#[derive(Clone, Debug)]
#[expect(
    clippy::exhaustive_structs,
    reason = "devices of other crates make these"
)]
pub struct NewKey {
    /// The private or secret part, for the store.
    pub sealed: SealedKey,
    /// The public part; `None` for symmetric keys.
    pub public: Option<PublicKey>,
}

/// A key that is ready for use. Dropping it frees what it holds in the device.
///
/// # Contract
///
/// - Any number of tasks may use one loaded key at once.
/// - An algorithm that does not fit the key's type or the method is
///   [`InvalidInput`](crate::ErrorKind::InvalidInput); a usage that the spec lacks is
///   [`KeyState`](crate::ErrorKind::KeyState).
/// - Inputs are within [`limits`](crate::limits) when the engine calls; a device checks what would hurt it.
///
/// A key has the methods that its device has algorithms for. The others are there already: they refuse, in the order of
/// the contract. A wrapper around another key decides each of them: `#[deny(clippy::missing_trait_methods)]`.
#[async_trait]
pub trait LoadedKey: Debug + Send + Sync {
    /// What the key is and may do, as sealed with it.
    fn spec(&self) -> &KeySpec;

    /// The public half; `None` for symmetric keys.
    fn public(&self) -> Option<&PublicKey>;

    /// Signs. ECDSA signatures are r‖s (RFC 7518 section 3.4), RSA signatures as long as the modulus.
    ///
    /// A digest of the wrong length is [`InvalidInput`](crate::ErrorKind::InvalidInput). EdDSA and ML-DSA sign messages
    /// only.
    async fn sign(&self, algorithm: Algorithm, input: SignInput<'_>) -> Result<Vec<u8>> {
        _ = input;
        lacking(self.spec(), Operation::Sign, algorithm)
    }

    /// Verifies a signature: `Ok(())`, or [`CryptoFailed`](crate::ErrorKind::CryptoFailed) if it is not right.
    async fn verify(
        &self,
        algorithm: Algorithm,
        input: SignInput<'_>,
        signature: &[u8],
    ) -> Result<()> {
        _ = (input, signature);
        lacking(self.spec(), Operation::Sign, algorithm)
    }

    /// Computes a message authentication code.
    async fn mac(&self, algorithm: Algorithm, message: &[u8]) -> Result<Vec<u8>> {
        _ = message;
        lacking(self.spec(), Operation::Mac, algorithm)
    }

    /// Checks a message authentication code in constant time: `Ok(())`, or
    /// [`CryptoFailed`](crate::ErrorKind::CryptoFailed).
    async fn verify_mac(&self, algorithm: Algorithm, message: &[u8], tag: &[u8]) -> Result<()> {
        _ = (message, tag);
        lacking(self.spec(), Operation::Mac, algorithm)
    }

    /// Encrypts. The device chooses a random IV unless `iv` gives one, which AES-GCM refuses.
    async fn encrypt(
        &self,
        algorithm: Algorithm,
        plaintext: &[u8],
        iv: Option<&[u8]>,
        aad: &[u8],
    ) -> Result<Ciphertext> {
        _ = (plaintext, iv, aad);
        lacking(self.spec(), Operation::Encrypt, algorithm)
    }

    /// Decrypts. Algorithms without IV, tag or associated data take those as empty and refuse others.
    async fn decrypt(
        &self,
        algorithm: Algorithm,
        ciphertext: CiphertextRef<'_>,
        aad: &[u8],
    ) -> Result<SecretBytes> {
        _ = (ciphertext, aad);
        lacking(self.spec(), Operation::Encrypt, algorithm)
    }

    /// Wraps key bytes that the caller holds.
    async fn wrap(&self, algorithm: Algorithm, key: &[u8]) -> Result<Vec<u8>> {
        _ = key;
        lacking(self.spec(), Operation::Wrap, algorithm)
    }

    /// Unwraps key bytes for the caller.
    async fn unwrap(&self, algorithm: Algorithm, wrapped: &[u8]) -> Result<SecretBytes> {
        _ = wrapped;
        lacking(self.spec(), Operation::Wrap, algorithm)
    }

    /// Agrees on a shared secret with the holder of `peer`, which must be of the same curve and valid
    /// (SP 800-56A section 5.6.2.3): [`InvalidInput`](crate::ErrorKind::InvalidInput) otherwise.
    async fn agree(&self, algorithm: Algorithm, peer: &PublicKey) -> Result<SecretBytes> {
        _ = peer;
        lacking(self.spec(), Operation::Agree, algorithm)
    }

    /// Makes a shared secret and encapsulates it to the public half (FIPS 203 section 7.2).
    async fn encapsulate(&self, algorithm: Algorithm) -> Result<Encapsulated> {
        lacking(self.spec(), Operation::Encapsulate, algorithm)
    }

    /// Takes a shared secret out of the ciphertext that encapsulates it (FIPS 203 section 7.3).
    ///
    /// A ciphertext of the wrong length is [`InvalidInput`](crate::ErrorKind::InvalidInput). One of the right length that
    /// was not made for this key gives another secret and no error, as the standard wants it (implicit rejection). Only of
    /// X-Wing may a device refuse a ciphertext, if its X25519 half is a point of small order:
    /// [`InvalidInput`](crate::ErrorKind::InvalidInput).
    async fn decapsulate(&self, algorithm: Algorithm, ciphertext: &[u8]) -> Result<SecretBytes> {
        _ = ciphertext;
        lacking(self.spec(), Operation::Encapsulate, algorithm)
    }

    /// Derives `len` secret bytes.
    async fn derive(
        &self,
        algorithm: Algorithm,
        parameters: DeriveParameters<'_>,
        len: usize,
    ) -> Result<SecretBytes> {
        _ = (parameters, len);
        lacking(self.spec(), Operation::Derive, algorithm)
    }

    /// Wraps another key of the same device, which must be exportable, under this one (usage `export`).
    ///
    /// The inside of the wrapping is described in `docs/sealed_key.md`; it names the key's type and usages, so that a
    /// device that imports it cannot be talked into wider ones.
    async fn export(
        &self,
        algorithm: Algorithm,
        target: &SealedKey,
        target_binding: &Binding,
    ) -> Result<Vec<u8>> {
        _ = (target, target_binding);
        lacking(self.spec(), Operation::Wrap, algorithm)
    }

    /// Unwraps a key under this one (usage `import`) into the device and seals it under `binding`.
    ///
    /// `spec` may not be wider than what the blob names: [`Denied`](crate::ErrorKind::Denied) otherwise.
    async fn import(
        &self,
        algorithm: Algorithm,
        wrapped: &[u8],
        format: WrappedFormat,
        spec: &KeySpec,
        binding: &Binding,
    ) -> Result<NewKey> {
        _ = (wrapped, format, spec, binding);
        lacking(self.spec(), Operation::Wrap, algorithm)
    }
}

/// How a key refuses what its device does not have.
fn lacking<T>(spec: &KeySpec, operation: Operation, algorithm: Algorithm) -> Result<T> {
    spec.check(operation, algorithm)?;
    Err(Error::new(
        ErrorKind::Unsupported,
        format!("the device has no {algorithm}"),
    ))
}

/// What is signed: the message, or its digest under the algorithm's hash.
///
/// For [`LoadedKey::sign`]; the [front page](crate) has an example.
#[derive(Clone, Copy, Eq, PartialEq)]
#[expect(
    clippy::exhaustive_enums,
    reason = "a signature is over a message or over its digest"
)]
pub enum SignInput<'a> {
    /// A digest that the caller computed.
    Digest(&'a [u8]),
    /// The message itself, which the device hashes.
    Message(&'a [u8]),
}

impl<'a> SignInput<'a> {
    /// The bytes, of the message or the digest.
    #[must_use]
    pub const fn as_bytes(self) -> &'a [u8] {
        match self {
            Self::Digest(bytes) | Self::Message(bytes) => bytes,
        }
    }

    /// What `algorithm` signs: the digest, or the message hashed.
    ///
    /// ```
    /// use hsm_core::{Algorithm, ErrorKind, SignInput};
    ///
    /// let digest = SignInput::Message(b"pay 100 to Alice").digest(Algorithm::Es256)?;
    /// assert_eq!(SignInput::Digest(&digest).digest(Algorithm::Es256)?, digest);
    /// let error = SignInput::Digest(&digest).digest(Algorithm::Es384).unwrap_err();
    /// assert_eq!(error.kind(), ErrorKind::InvalidInput);
    /// # Ok::<(), hsm_core::Error>(())
    /// ```
    ///
    /// # Errors
    ///
    /// [`InvalidInput`](crate::ErrorKind::InvalidInput) for a digest of the wrong length, or if `algorithm` signs
    /// messages only, as EdDSA and ML-DSA do.
    pub fn digest(self, algorithm: Algorithm) -> Result<Vec<u8>> {
        let hash = algorithm
            .hash()
            .ok_or_else(|| invalid(format!("{algorithm} signs messages only")))?;
        match self {
            Self::Digest(digest) if digest.len() == hash.output_len() => Ok(digest.to_vec()),
            Self::Digest(digest) => Err(invalid(format!(
                "a digest for {algorithm} has {} bytes, not {}",
                hash.output_len(),
                digest.len()
            ))),
            Self::Message(message) => match hash {
                Hash::Sha256 => Ok(Sha256::digest(message).to_vec()),
                Hash::Sha384 => Ok(Sha384::digest(message).to_vec()),
                Hash::Sha512 => Ok(Sha512::digest(message).to_vec()),
                Hash::Sha1 => Err(invalid("SHA-1 signs nothing")),
            },
        }
    }
}

/// Kind and length, never the bytes.
impl Debug for SignInput<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let kind = match self {
            Self::Digest(_) => "Digest",
            Self::Message(_) => "Message",
        };
        write!(f, "{kind}({} bytes)", self.as_bytes().len())
    }
}

/// The result of an encryption. The parts that an algorithm does not have are empty.
///
/// What [`LoadedKey::encrypt`] gives.
#[derive(Clone, Debug, Default, Eq, PartialEq)]
#[expect(
    clippy::exhaustive_structs,
    reason = "devices of other crates make these"
)]
pub struct Ciphertext {
    /// The encrypted data, without tag.
    pub ciphertext: Vec<u8>,
    /// Initialization vector or initial counter block.
    pub iv: Vec<u8>,
    /// Authentication tag.
    pub tag: Vec<u8>,
}

impl Ciphertext {
    /// The parts, borrowed.
    #[must_use]
    pub fn as_ref(&self) -> CiphertextRef<'_> {
        CiphertextRef {
            ciphertext: &self.ciphertext,
            iv: &self.iv,
            tag: &self.tag,
        }
    }
}

/// A borrowed [`Ciphertext`].
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
#[expect(clippy::exhaustive_structs, reason = "mirrors Ciphertext")]
pub struct CiphertextRef<'a> {
    /// The encrypted data, without tag.
    pub ciphertext: &'a [u8],
    /// Initialization vector or initial counter block.
    pub iv: &'a [u8],
    /// Authentication tag.
    pub tag: &'a [u8],
}

/// A shared secret, and the ciphertext from which the holder of the private half gets the same one.
#[derive(Debug)]
#[expect(
    clippy::exhaustive_structs,
    reason = "devices of other crates make these"
)]
pub struct Encapsulated {
    /// For the holder of the private half.
    pub ciphertext: Vec<u8>,
    /// The shared secret.
    pub secret: SecretBytes,
}

/// What distinguishes one derived secret from another under the same key.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
#[expect(
    clippy::exhaustive_structs,
    reason = "the parameters that RFC 5869 and SP 800-108 define"
)]
pub struct DeriveParameters<'a> {
    /// HKDF's salt, or SP 800-108's label.
    pub salt_or_label: &'a [u8],
    /// HKDF's info, or SP 800-108's context.
    pub info_or_context: &'a [u8],
}

impl DeriveParameters<'_> {
    /// The fixed data of SP 800-108 section 4.1, for devices: `label ‖ 0x00 ‖ context ‖ L`, with L the length of the
    /// derived secret in bits.
    ///
    /// # Errors
    ///
    /// [`InvalidInput`](crate::ErrorKind::InvalidInput) for a secret of more than 2³² bits.
    pub fn kbkdf_fixed_data(self, len: usize) -> Result<Vec<u8>> {
        let bits = len
            .checked_mul(8)
            .and_then(|bits| u32::try_from(bits).ok())
            .ok_or_else(|| invalid("the derived secret is too long"))?;
        Ok([
            self.salt_or_label,
            &[0],
            self.info_or_context,
            &bits.to_be_bytes(),
        ]
        .concat())
    }
}

/// What is inside a wrapped key.
#[derive(Clone, Copy, Debug, Eq, Hash, PartialEq)]
#[non_exhaustive]
pub enum WrappedFormat {
    /// Key material with its type and usages: what [`LoadedKey::export`] makes.
    Bound,
    /// Bare key material of another system: PKCS#8 DER, or raw octets for symmetric keys. It says nothing of what the
    /// key may do, so such a key is never exportable here.
    Bare,
}
