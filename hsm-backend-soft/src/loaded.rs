//! [`SoftKey`]: a loaded key. Decides whether an operation may be done, then lets the parsed key do it.

use std::fmt;
use std::sync::Arc;

use async_trait::async_trait;
use hsm_core::key::wrapped as transport;
use hsm_core::limits::DERIVED_LEN_MAX;
use hsm_core::{
    Algorithm, Binding, Ciphertext, CiphertextRef, DeriveParameters, Encapsulated, Error,
    ErrorKind, KeySpec, LoadedKey, NewKey, Operation, PublicKey, Result, SealedKey, SecretBytes,
    SignInput, Usage, WrappedFormat,
};

use crate::device::Core;
use crate::error::invalid;
use crate::memory::{Depth, wiping_stack};
use crate::provider::ParsedKey;
use crate::wrapped;

/// A key of a [`SoftDevice`](crate::SoftDevice), parsed and ready.
///
/// An operation takes no lock, and nothing is parsed again.
pub(crate) struct SoftKey {
    spec: KeySpec,
    parsed: Box<dyn ParsedKey>,
    core: Arc<Core>,
}

impl SoftKey {
    pub(crate) fn new(spec: KeySpec, parsed: Box<dyn ParsedKey>, core: Arc<Core>) -> Self {
        Self { spec, parsed, core }
    }

    /// The parsed key, if the device works and the key may do this.
    fn permit(
        &self,
        operation: Operation,
        algorithm: Algorithm,
        usage: Usage,
    ) -> Result<&dyn ParsedKey> {
        self.core.check(algorithm)?;
        self.spec.check(operation, algorithm)?;
        self.spec.check_usage(usage)?;
        Ok(&*self.parsed)
    }

    /// The parsed key, if the device works and the key may wrap or unwrap other keys of the device.
    fn permit_transport(&self, algorithm: Algorithm, usage: Usage) -> Result<&dyn ParsedKey> {
        self.core.check(algorithm)?;
        transport::check(algorithm, self.spec.key_type)?;
        self.spec.check_only(algorithm)?;
        self.spec.check_usage(usage)?;
        Ok(&*self.parsed)
    }

    fn depth(&self) -> Depth {
        self.core.provider.depth(self.spec.key_type)
    }
}

#[async_trait]
#[deny(clippy::missing_trait_methods)]
impl LoadedKey for SoftKey {
    fn spec(&self) -> &KeySpec {
        &self.spec
    }

    fn public(&self) -> Option<&PublicKey> {
        self.parsed.public()
    }

    async fn sign(&self, algorithm: Algorithm, input: SignInput<'_>) -> Result<Vec<u8>> {
        let key = self.permit(Operation::Sign, algorithm, Usage::Sign)?;
        check_digest(algorithm, input)?;
        // The nonce, or what else masks the private key in a signature, is as good as the key.
        wiping_stack(self.depth(), || key.sign(algorithm, input))
    }

    async fn verify(
        &self,
        algorithm: Algorithm,
        input: SignInput<'_>,
        signature: &[u8],
    ) -> Result<()> {
        let key = self.permit(Operation::Sign, algorithm, Usage::Verify)?;
        check_digest(algorithm, input)?;
        key.verify(algorithm, input, signature)
    }

    async fn mac(&self, algorithm: Algorithm, message: &[u8]) -> Result<Vec<u8>> {
        let key = self.permit(Operation::Mac, algorithm, Usage::Sign)?;
        key.mac(algorithm, message)
    }

    async fn verify_mac(&self, algorithm: Algorithm, message: &[u8], tag: &[u8]) -> Result<()> {
        let key = self.permit(Operation::Mac, algorithm, Usage::Verify)?;
        key.verify_mac(algorithm, message, tag)
    }

    async fn encrypt(
        &self,
        algorithm: Algorithm,
        plaintext: &[u8],
        iv: Option<&[u8]>,
        aad: &[u8],
    ) -> Result<Ciphertext> {
        let key = self.permit(Operation::Encrypt, algorithm, Usage::Encrypt)?;
        check_aad(algorithm, aad)?;
        let iv = match iv {
            Some(_) if is_authenticated(algorithm) => {
                return Err(invalid(format!(
                    "{algorithm} encrypts under an IV that the device chooses: one that repeats would give the key away"
                )));
            }
            Some(iv) => {
                check_iv(algorithm, iv)?;
                iv.to_vec()
            }
            None => {
                let mut iv = vec![0; algorithm.info().iv_len];
                self.core.provider.random(&mut iv)?;
                iv
            }
        };
        key.encrypt(algorithm, plaintext, iv, aad)
    }

    async fn decrypt(
        &self,
        algorithm: Algorithm,
        ciphertext: CiphertextRef<'_>,
        aad: &[u8],
    ) -> Result<SecretBytes> {
        let key = self.permit(Operation::Encrypt, algorithm, Usage::Decrypt)?;
        check_aad(algorithm, aad)?;
        check_iv(algorithm, ciphertext.iv)?;
        if ciphertext.tag.len() != algorithm.info().tag_len {
            return Err(if is_authenticated(algorithm) {
                Error::crypto()
            } else {
                invalid(format!("{algorithm} has no tag"))
            });
        }
        key.decrypt(algorithm, ciphertext, aad)
    }

    async fn wrap(&self, algorithm: Algorithm, key: &[u8]) -> Result<Vec<u8>> {
        let wrapping = self.permit(Operation::Wrap, algorithm, Usage::WrapKey)?;
        wiping_stack(self.depth(), || wrapping.wrap(algorithm, key))
    }

    async fn unwrap(&self, algorithm: Algorithm, wrapped: &[u8]) -> Result<SecretBytes> {
        let wrapping = self.permit(Operation::Wrap, algorithm, Usage::UnwrapKey)?;
        wiping_stack(self.depth(), || wrapping.unwrap(algorithm, wrapped))
    }

    async fn agree(&self, algorithm: Algorithm, peer: &PublicKey) -> Result<SecretBytes> {
        let key = self.permit(Operation::Agree, algorithm, Usage::DeriveBits)?;
        if peer.key_type() != self.spec.key_type {
            return Err(invalid(format!(
                "the peer's key is of type {}, this one of type {}: both must be on one curve",
                peer.key_type(),
                self.spec.key_type
            )));
        }
        wiping_stack(self.depth(), || key.agree(algorithm, peer))
    }

    async fn encapsulate(&self, algorithm: Algorithm) -> Result<Encapsulated> {
        let key = self.permit(Operation::Encapsulate, algorithm, Usage::Encapsulate)?;
        wiping_stack(self.depth(), || key.encapsulate(algorithm))
    }

    async fn decapsulate(&self, algorithm: Algorithm, ciphertext: &[u8]) -> Result<SecretBytes> {
        let key = self.permit(Operation::Encapsulate, algorithm, Usage::Decapsulate)?;
        check_encapsulation(algorithm, ciphertext)?;
        wiping_stack(self.depth(), || key.decapsulate(algorithm, ciphertext))
    }

    async fn derive(
        &self,
        algorithm: Algorithm,
        parameters: DeriveParameters<'_>,
        len: usize,
    ) -> Result<SecretBytes> {
        let key = self.permit(Operation::Derive, algorithm, Usage::DeriveKey)?;
        if len == 0 {
            return Err(invalid("there is no secret of 0 bytes to derive"));
        }
        if len > DERIVED_LEN_MAX {
            return Err(Error::new(
                ErrorKind::LimitExceeded,
                format!(
                    "the derived secret would have {len} bytes, at most {DERIVED_LEN_MAX} are allowed"
                ),
            ));
        }
        wiping_stack(self.depth(), || key.derive(algorithm, parameters, len))
    }

    async fn export(
        &self,
        algorithm: Algorithm,
        target: &SealedKey,
        target_binding: &Binding,
    ) -> Result<Vec<u8>> {
        let wrapping = self.permit_transport(algorithm, Usage::Export)?;
        wiping_stack(Depth::Usual, || {
            let (spec, material) = self.core.unseal(target, target_binding)?;
            self.core.capabilities.check(spec.key_type, None)?;
            if !spec.exportable {
                return Err(Error::new(
                    ErrorKind::Denied,
                    "the key was not made exportable; it never leaves this HSM",
                ));
            }
            let provider = self.core.provider;
            let encoded = provider.encode(spec.key_type, material.expose())?;
            let plaintext = transport::bind(&spec, &encoded)?;
            wrapped::wrap(provider, wrapping, algorithm, plaintext.expose())
        })
    }

    async fn import(
        &self,
        algorithm: Algorithm,
        wrapped: &[u8],
        format: WrappedFormat,
        spec: &KeySpec,
        binding: &Binding,
    ) -> Result<NewKey> {
        let wrapping = self.permit_transport(algorithm, Usage::Import)?;
        self.core.capabilities.check_spec(spec)?;
        wiping_stack(self.core.provider.depth(spec.key_type), || {
            let plaintext = wrapped::unwrap(wrapping, algorithm, wrapped)?;
            let encoded = transport::release(format, plaintext.expose(), spec)?;
            self.core.import(encoded, spec, binding)
        })
    }
}

impl fmt::Debug for SoftKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("SoftKey")
            .field("spec", &self.spec)
            .finish_non_exhaustive()
    }
}

/// A digest is as long as the algorithm's hash makes it.
fn check_digest(algorithm: Algorithm, input: SignInput<'_>) -> Result<()> {
    let SignInput::Digest(digest) = input else {
        return Ok(());
    };
    match algorithm.hash() {
        Some(hash) if digest.len() == hash.output_len() => Ok(()),
        Some(hash) => Err(invalid(format!(
            "{algorithm} takes a digest of {} bytes, not {}",
            hash.output_len(),
            digest.len()
        ))),
        None => Err(invalid(format!(
            "{algorithm} signs messages, never digests"
        ))),
    }
}

fn check_encapsulation(algorithm: Algorithm, ciphertext: &[u8]) -> Result<()> {
    match algorithm.encapsulation_len() {
        Some(len) if len == ciphertext.len() => Ok(()),
        len => Err(invalid(format!(
            "a ciphertext of {algorithm} has {} bytes, not {}",
            len.unwrap_or_default(),
            ciphertext.len()
        ))),
    }
}

fn check_iv(algorithm: Algorithm, iv: &[u8]) -> Result<()> {
    let expected = algorithm.info().iv_len;
    if iv.len() == expected {
        return Ok(());
    }
    Err(invalid(if expected == 0 {
        format!("{algorithm} has no IV")
    } else {
        format!(
            "{algorithm} takes an IV of {expected} bytes, not {}",
            iv.len()
        )
    }))
}

fn check_aad(algorithm: Algorithm, aad: &[u8]) -> Result<()> {
    if aad.is_empty() || is_authenticated(algorithm) {
        return Ok(());
    }
    Err(invalid(format!(
        "{algorithm} does not authenticate, so it takes no associated data; use GCM"
    )))
}

/// Whether an encryption algorithm makes a tag.
fn is_authenticated(algorithm: Algorithm) -> bool {
    algorithm.info().tag_len > 0
}
