//! [`TpmKey`]: a key in use. The TPM has it loaded while it is used often enough; dropping it frees its place.

use std::fmt;
use std::sync::Arc;

use aes_kw::KwpAes256;
use aes_kw::cipher::KeyInit;
use async_trait::async_trait;
use hsm_core::key::wrapped as transport;
use hsm_core::limits::DERIVED_LEN_MAX;
use hsm_core::{
    Algorithm, Binding, Ciphertext, CiphertextRef, DeriveParameters, Error, ErrorKind, Hash,
    KeyFamily, KeySpec, LoadedKey, NewKey, Operation, PublicKey, Result, SealedKey, SecretBytes,
    SignInput, Usage, WrappedFormat,
};
use subtle::ConstantTimeEq;
use tpm2_protocol::data::TpmAlgId;
use zeroize::Zeroizing;

use crate::capability::{mode, scheme};
use crate::device::Core;
use crate::failure::{Failure, failed, invalid};
use crate::limits::{BLOCKS_MAX, INPUT_LEN_MAX};
use crate::operations::{self, Direction, Key, Piece, Progress, Scheme, Sequence, SharedKey};
use crate::sealed::Blob;
use crate::tpm::Tpm;

/// A key of a [`TpmDevice`](crate::TpmDevice). What is not here, the trait refuses.
pub(crate) struct TpmKey {
    place: Arc<Place>,
    public: Option<PublicKey>,
}

/// A key with its place in the TPM, which goes when nobody uses the key any more: no caller, and no call that was given
/// up.
struct Place {
    key: SharedKey,
    core: Arc<Core>,
}

impl Drop for Place {
    fn drop(&mut self) {
        self.core.worker.release(self.key.number);
    }
}

impl TpmKey {
    pub(crate) fn new(key: Key, core: Arc<Core>) -> Result<Self> {
        let public = key.blob.public_key()?;
        let key = Arc::new(key);
        let place = Arc::new(Place { key, core });
        Ok(Self { place, public })
    }

    pub(crate) fn blob(&self) -> &Blob {
        &self.place.key.blob
    }

    /// Does something with the key on the device's thread.
    pub(crate) async fn run<T: Send + 'static>(
        &self,
        mut operation: impl FnMut(&mut Tpm, &Key) -> Result<T, Failure> + Send + 'static,
    ) -> Result<T> {
        let place = self.place.clone();
        let call = move |tpm: &mut Tpm| tpm.run(|tpm| operation(tpm, &place.key));
        self.place.core.worker.run(call).await
    }

    /// Checks that the device works, has the algorithm, and that the key may do this.
    fn permit(&self, operation: Operation, algorithm: Algorithm, usage: Usage) -> Result<()> {
        self.place.core.check()?;
        let spec = self.spec();
        spec.check(operation, algorithm)?;
        let capabilities = &self.place.core.capabilities;
        capabilities.check(spec.key_type, Some(algorithm))?;
        spec.check_usage(usage)
    }

    /// The scheme of an algorithm that the device has.
    fn scheme(&self, algorithm: Algorithm) -> Result<Scheme> {
        Ok(Scheme {
            algorithm: scheme(algorithm).ok_or_else(|| unsupported(algorithm))?,
            hash: operations::hash(algorithm.hash())?,
        })
    }

    async fn rsa_encrypt(&self, algorithm: Algorithm, plaintext: &[u8]) -> Result<Vec<u8>> {
        let scheme = self.scheme(algorithm)?;
        let key_type = self.spec().key_type;
        let overhead = algorithm.hash().map_or(0, |hash| 2 * hash.output_len() + 2);
        let len_max = key_type.byte_len() - overhead;
        if plaintext.len() > len_max {
            return Err(invalid(format!(
                "{algorithm} with a key of type {key_type} takes at most {len_max} bytes, not {}",
                plaintext.len()
            )));
        }
        let plaintext = SecretBytes::copy_from(plaintext);
        self.run(move |tpm, key| operations::rsa_encrypt(tpm, key, scheme, plaintext.expose()))
            .await
    }

    async fn rsa_decrypt(&self, algorithm: Algorithm, ciphertext: &[u8]) -> Result<SecretBytes> {
        let scheme = self.scheme(algorithm)?;
        if ciphertext.len() != self.spec().key_type.byte_len() {
            return Err(Error::crypto());
        }
        let ciphertext = ciphertext.to_vec();
        self.run(move |tpm, key| operations::rsa_decrypt(tpm, key, scheme, &ciphertext))
            .await
    }

    /// A cipher over data of any length, a piece at a time, so that others have their turn between.
    async fn cipher(
        &self,
        algorithm: Algorithm,
        direction: Direction,
        iv: &[u8],
        data: &[u8],
    ) -> Result<SecretBytes> {
        let mode = mode(algorithm).ok_or_else(|| unsupported(algorithm))?;
        let mut iv = iv.to_vec();
        let mut done = Vec::new();
        for piece in data.chunks(PIECE_LEN) {
            let (before, piece) = (iv, SecretBytes::copy_from(piece));
            let apply = move |tpm: &mut Tpm, key: &Key| {
                let mut after = Vec::new();
                let out = SecretBytes::try_init_with(piece.len(), |out| {
                    out.copy_from_slice(piece.expose());
                    after = operations::cipher(tpm, key, mode, direction, &before, out)?;
                    Ok::<_, Failure>(())
                })?;
                Ok((out, after))
            };
            let (out, after) = self.run(apply).await?;
            done.push(out);
            iv = after;
        }
        Ok(SecretBytes::init_with(data.len(), |out| {
            for (to, from) in out.chunks_mut(PIECE_LEN).zip(&done) {
                to.copy_from_slice(from.expose());
            }
        }))
    }

    /// An HMAC over a message of any length.
    async fn compute_mac(&self, algorithm: Algorithm, message: &[u8]) -> Result<SecretBytes> {
        let hash = operations::hash(algorithm.hash())?;
        if message.len() <= INPUT_LEN_MAX {
            let message = SecretBytes::copy_from(message);
            return self
                .run(move |tpm, key| operations::mac(tpm, key, hash, message.expose()))
                .await;
        }
        for _ in 0..MAC_ATTEMPTS {
            if let Some(tag) = self.mac_in_pieces(hash, message).await? {
                return Ok(tag);
            }
        }
        Err(failed("the TPM was reset again and again"))
    }

    /// A piece at a time, so that others have their turn between. `None` if the TPM was reset meanwhile.
    async fn mac_in_pieces(&self, hash: TpmAlgId, message: &[u8]) -> Result<Option<SecretBytes>> {
        let core = &self.place.core;
        let _turn = core.sequence.lock().await;
        let number = core.next_number();
        let _place = SequencePlace { number, core };
        let auth = operations::sequence_auth()?;
        let count = message.len().div_ceil(PIECE_LEN);
        for (at, piece) in message.chunks(PIECE_LEN).enumerate() {
            let at = Piece {
                is_first: at == 0,
                is_last: at + 1 == count,
            };
            let piece = SecretBytes::copy_from(piece);
            let auth = SecretBytes::copy_from(auth.expose());
            let sequence = Sequence { number, auth };
            let progress = self.run(move |tpm, key| {
                operations::mac_piece(tpm, key, hash, &sequence, at, piece.expose())
            });
            match progress.await? {
                Progress::More => {}
                Progress::Tag(tag) => return Ok(Some(tag)),
                Progress::Lost => return Ok(None),
            }
        }
        Ok(None)
    }

    /// Checks that the device works, that the algorithm carries keys, and that the key may do this.
    fn permit_transport(&self, algorithm: Algorithm, usage: Usage) -> Result<()> {
        self.place.core.check()?;
        let spec = self.spec();
        transport::check(algorithm, spec.key_type)?;
        spec.check_only(algorithm)?;
        let capabilities = &self.place.core.capabilities;
        capabilities.check(spec.key_type, Some(algorithm))?;
        spec.check_usage(usage)
    }
}

/// A MAC in pieces, which has a place in the TPM until this is dropped.
struct SequencePlace<'a> {
    number: u64,
    core: &'a Core,
}

impl Drop for SequencePlace<'_> {
    fn drop(&mut self) {
        self.core.worker.release(self.number);
    }
}

#[async_trait]
impl LoadedKey for TpmKey {
    fn spec(&self) -> &KeySpec {
        &self.place.key.blob.spec
    }

    fn public(&self) -> Option<&PublicKey> {
        self.public.as_ref()
    }

    async fn sign(&self, algorithm: Algorithm, input: SignInput<'_>) -> Result<Vec<u8>> {
        self.permit(Operation::Sign, algorithm, Usage::Sign)?;
        let scheme = self.scheme(algorithm)?;
        let digest = input.digest(algorithm)?;
        let signed = digest.clone();
        let signature = self
            .run(move |tpm, key| operations::sign(tpm, key, scheme, &digest))
            .await?;
        if is_pss(algorithm)
            && let Some(public) = &self.public
        {
            // TPMs before revision 1.38 of the specification salt with as much as fits.
            let right = public.verify(algorithm, SignInput::Digest(&signed), &signature);
            right.map_err(|_| unsupported(algorithm))?;
        }
        Ok(signature)
    }

    async fn verify(
        &self,
        algorithm: Algorithm,
        input: SignInput<'_>,
        signature: &[u8],
    ) -> Result<()> {
        self.permit(Operation::Sign, algorithm, Usage::Verify)?;
        match &self.public {
            Some(public) => public.verify(algorithm, input, signature),
            None => Err(Error::crypto()),
        }
    }

    async fn mac(&self, algorithm: Algorithm, message: &[u8]) -> Result<Vec<u8>> {
        self.permit(Operation::Mac, algorithm, Usage::Sign)?;
        let tag = self.compute_mac(algorithm, message).await?;
        Ok(tag.expose().to_vec())
    }

    async fn verify_mac(&self, algorithm: Algorithm, message: &[u8], tag: &[u8]) -> Result<()> {
        self.permit(Operation::Mac, algorithm, Usage::Verify)?;
        let expected = self.compute_mac(algorithm, message).await?;
        match bool::from(expected.expose().ct_eq(tag)) {
            true => Ok(()),
            false => Err(Error::crypto()),
        }
    }

    async fn encrypt(
        &self,
        algorithm: Algorithm,
        plaintext: &[u8],
        iv: Option<&[u8]>,
        aad: &[u8],
    ) -> Result<Ciphertext> {
        self.permit(Operation::Encrypt, algorithm, Usage::Encrypt)?;
        check_aad(algorithm, aad)?;
        if let Some(iv) = iv {
            check_iv(algorithm, iv)?;
        }
        if self.spec().key_type.info().family == KeyFamily::Rsa {
            return Ok(Ciphertext {
                ciphertext: self.rsa_encrypt(algorithm, plaintext).await?,
                ..Ciphertext::default()
            });
        }
        let padded = match padding(algorithm) {
            Padding::Pkcs7 => pad(plaintext),
            Padding::None => SecretBytes::copy_from(plaintext),
            Padding::Missing if plaintext.len().is_multiple_of(BLOCK_LEN) => {
                SecretBytes::copy_from(plaintext)
            }
            Padding::Missing => {
                return Err(invalid(format!(
                    "{algorithm} takes whole blocks of {BLOCK_LEN} bytes, not {}",
                    plaintext.len()
                )));
            }
        };
        let iv = match iv {
            Some(iv) => iv.to_vec(),
            None => {
                let mut iv = vec![0; algorithm.info().iv_len];
                getrandom::fill(&mut iv).map_err(|_| failed("the system has no random numbers"))?;
                iv
            }
        };
        let ciphertext = self
            .cipher(algorithm, Direction::Encrypt, &iv, padded.expose())
            .await?;
        Ok(Ciphertext {
            ciphertext: ciphertext.expose().to_vec(),
            iv,
            tag: Vec::new(),
        })
    }

    async fn decrypt(
        &self,
        algorithm: Algorithm,
        ciphertext: CiphertextRef<'_>,
        aad: &[u8],
    ) -> Result<SecretBytes> {
        self.permit(Operation::Encrypt, algorithm, Usage::Decrypt)?;
        check_aad(algorithm, aad)?;
        check_iv(algorithm, ciphertext.iv)?;
        if !ciphertext.tag.is_empty() {
            return Err(invalid(format!("{algorithm} has no tag")));
        }
        let CiphertextRef { ciphertext, iv, .. } = ciphertext;
        if self.spec().key_type.info().family == KeyFamily::Rsa {
            return self.rsa_decrypt(algorithm, ciphertext).await;
        }
        let padding = padding(algorithm);
        if padding != Padding::None && !ciphertext.len().is_multiple_of(BLOCK_LEN) {
            return Err(Error::crypto());
        }
        let plaintext = self
            .cipher(algorithm, Direction::Decrypt, iv, ciphertext)
            .await?;
        match padding {
            Padding::Pkcs7 => unpad(&plaintext),
            _ => Ok(plaintext),
        }
    }

    async fn wrap(&self, algorithm: Algorithm, key: &[u8]) -> Result<Vec<u8>> {
        self.permit(Operation::Wrap, algorithm, Usage::WrapKey)?;
        if key.is_empty() {
            return Err(invalid("there are no key bytes to wrap"));
        }
        self.rsa_encrypt(algorithm, key).await
    }

    async fn unwrap(&self, algorithm: Algorithm, wrapped: &[u8]) -> Result<SecretBytes> {
        self.permit(Operation::Wrap, algorithm, Usage::UnwrapKey)?;
        self.rsa_decrypt(algorithm, wrapped).await
    }

    async fn agree(&self, algorithm: Algorithm, peer: &PublicKey) -> Result<SecretBytes> {
        self.permit(Operation::Agree, algorithm, Usage::DeriveBits)?;
        if peer.key_type() != self.spec().key_type {
            return Err(invalid(format!(
                "the peer's key is of type {}, this one of type {}: both must be on one curve",
                peer.key_type(),
                self.spec().key_type
            )));
        }
        let peer = peer.clone();
        self.run(move |tpm, key| operations::agree(tpm, key, &peer))
            .await
    }

    /// The counter mode of NIST SP 800-108 (section 4.1): the blocks `HMAC(key, counter ‖ label ‖ 0x00 ‖ context ‖ L)`, one
    /// after the other.
    async fn derive(
        &self,
        algorithm: Algorithm,
        parameters: DeriveParameters<'_>,
        len: usize,
    ) -> Result<SecretBytes> {
        self.permit(Operation::Derive, algorithm, Usage::DeriveKey)?;
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
        let block_len = algorithm
            .hash()
            .map(Hash::output_len)
            .ok_or_else(|| unsupported(algorithm))?;
        let fixed = parameters.kbkdf_fixed_data(len)?;
        let mut blocks = Vec::new();
        for counter in (1_u32..).take(len.div_ceil(block_len)) {
            let input = SecretBytes::from([&counter.to_be_bytes()[..], &fixed].concat());
            blocks.push(self.compute_mac(algorithm, input.expose()).await?);
        }
        SecretBytes::try_init_with(len, |out| {
            for (out, block) in out.chunks_mut(block_len).zip(&blocks) {
                let block = block.expose().get(..out.len());
                out.copy_from_slice(block.ok_or(Failure::Altered)?);
            }
            Ok(())
        })
    }

    async fn export(
        &self,
        algorithm: Algorithm,
        _target: &SealedKey,
        _target_binding: &Binding,
    ) -> Result<Vec<u8>> {
        self.permit_transport(algorithm, Usage::Export)?;
        Err(Error::new(
            ErrorKind::Unsupported,
            "keys do not leave a TPM, not even wrapped",
        ))
    }

    /// The TPM decrypts the AES key; the key that it wraps is in clear in this process, until it goes in.
    async fn import(
        &self,
        algorithm: Algorithm,
        wrapped: &[u8],
        format: WrappedFormat,
        spec: &KeySpec,
        binding: &Binding,
    ) -> Result<NewKey> {
        self.permit_transport(algorithm, Usage::Import)?;
        let core = &self.place.core;
        core.capabilities.check_spec(spec)?;
        let (aes, wrapped) = wrapped
            .split_at_checked(self.spec().key_type.byte_len())
            .ok_or_else(Error::crypto)?;
        let aes = self.rsa_decrypt(Algorithm::RsaOaep, aes).await?;
        let plaintext = unwrap(&aes, wrapped)?;
        let encoded = transport::release(format, plaintext.expose(), spec)?;
        core.import(SecretBytes::copy_from(encoded), spec, binding)
            .await
    }
}

/// The other half of `CKM_RSA_AES_KEY_WRAP`: AES-256-KWP (RFC 5649, NIST SP 800-38F). Says nothing of why it failed.
fn unwrap(aes: &SecretBytes, wrapped: &[u8]) -> Result<SecretBytes> {
    let aes: &[u8; 32] = aes.expose().try_into().map_err(|_| Error::crypto())?;
    let mut plaintext = Zeroizing::new(vec![0; wrapped.len()]);
    let len = KwpAes256::new(aes.into())
        .unwrap_key(wrapped, &mut plaintext)
        .map_err(|_| Error::crypto())?
        .len();
    Ok(SecretBytes::copy_from(&plaintext[..len]))
}

impl fmt::Debug for TpmKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("TpmKey")
            .field("spec", self.spec())
            .finish_non_exhaustive()
    }
}

/// What becomes of data that does not fill its last block.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
enum Padding {
    /// It is refused.
    Missing,
    /// There are no blocks.
    None,
    /// RFC 5652 section 6.3.
    Pkcs7,
}

fn padding(algorithm: Algorithm) -> Padding {
    use Algorithm as A;
    match algorithm {
        A::A128Cbc | A::A192Cbc | A::A256Cbc => Padding::Missing,
        A::A128CbcPad | A::A192CbcPad | A::A256CbcPad => Padding::Pkcs7,
        _ => Padding::None,
    }
}

fn pad(plaintext: &[u8]) -> SecretBytes {
    let missing = BLOCK_LEN - plaintext.len() % BLOCK_LEN;
    SecretBytes::init_with(plaintext.len() + missing, |out| {
        let (data, padding) = out.split_at_mut(plaintext.len());
        data.copy_from_slice(plaintext);
        padding.fill(u8::try_from(missing).unwrap_or_default()); // 1 to 16
    })
}

/// Looks at the whole last block, whatever is in it.
fn unpad(padded: &SecretBytes) -> Result<SecretBytes> {
    let padded = padded.expose();
    let block = padded.last_chunk::<BLOCK_LEN>().ok_or_else(Error::crypto)?;
    let count = block[BLOCK_LEN - 1];
    let mut wrong = u8::from(count == 0) | u8::from(usize::from(count) > BLOCK_LEN);
    for (at, byte) in block.iter().rev().enumerate() {
        let inside = u8::from(at < usize::from(count));
        wrong |= inside * (byte ^ count);
    }
    if wrong != 0 {
        return Err(Error::crypto());
    }
    Ok(SecretBytes::copy_from(
        &padded[..padded.len() - usize::from(count)],
    ))
}

fn check_iv(algorithm: Algorithm, iv: &[u8]) -> Result<()> {
    let expected = algorithm.info().iv_len;
    if iv.len() == expected && (expected > 0 || iv.is_empty()) {
        return Ok(());
    }
    Err(invalid(format!(
        "{algorithm} takes an IV of {expected} bytes, not {}",
        iv.len()
    )))
}

fn check_aad(algorithm: Algorithm, aad: &[u8]) -> Result<()> {
    if aad.is_empty() {
        return Ok(());
    }
    Err(invalid(format!(
        "{algorithm} does not authenticate, so it takes no associated data"
    )))
}

fn is_pss(algorithm: Algorithm) -> bool {
    matches!(
        algorithm,
        Algorithm::Ps256 | Algorithm::Ps384 | Algorithm::Ps512
    )
}

fn unsupported(algorithm: Algorithm) -> Error {
    Error::new(
        ErrorKind::Unsupported,
        format!("this TPM does not do {algorithm} as its standard says"),
    )
}

const BLOCK_LEN: usize = 16;

/// What is done at a stretch, before other callers have their turn.
const PIECE_LEN: usize = BLOCKS_MAX * INPUT_LEN_MAX;

/// Times that a MAC in pieces is begun when the TPM is reset meanwhile.
const MAC_ATTEMPTS: usize = 3;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn padding_comes_off_again() {
        for len in 0..=33 {
            let data = vec![7; len];
            let padded = pad(&data);
            assert!(padded.len() > len && padded.len() - len <= BLOCK_LEN);
            assert_eq!(unpad(&padded).unwrap().expose(), data);
        }
    }

    #[test]
    fn wrong_padding_is_refused_without_reason() {
        for last in [[0, 0], [17, 17], [1, 2], [3, 3]] {
            let mut block = [9; BLOCK_LEN];
            block[14..].copy_from_slice(&last);
            let error = unpad(&SecretBytes::copy_from(&block)).unwrap_err();
            assert_eq!(error.kind(), ErrorKind::CryptoFailed);
            assert!(error.message().is_empty());
        }
        assert!(unpad(&SecretBytes::copy_from(&[])).is_err());
    }
}
