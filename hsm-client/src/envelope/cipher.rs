//! The keys of one stream, and AES-256-GCM of aws-lc behind the traits that `aead-stream` builds on.

use aead::consts::{U12, U16};
use aead::inout::InOutBuf;
use aead::{AeadCore, AeadInOut, Tag, TagPosition};
use aead_stream::{NewStream, StreamBE32};
use aws_lc_rs::aead::{AES_256_GCM, Aad, LessSafeKey, Nonce, UnboundKey};
use aws_lc_rs::error::Unspecified;
use aws_lc_rs::{hkdf, hmac};
use hsm_core::{Error, ErrorKind, Result};
use zeroize::Zeroizing;

/// STREAM (Hoang, Reyhanitabar, Rogaway, Vizár, 2015) over AES-256-GCM.
pub(super) type Stream = StreamBE32<Aes256Gcm>;

/// What a data key and the salt of a header give: the key of the header's code, and the stream's key and nonce.
pub(super) struct StreamKeys(hkdf::Prk);

impl StreamKeys {
    pub(super) fn new(data_key: &[u8], salt: &[u8]) -> Self {
        Self(hkdf::Salt::new(hkdf::HKDF_SHA256, salt).extract(data_key))
    }

    /// The authentication code of a header.
    pub(super) fn mac(&self, header: &[u8]) -> Result<[u8; MAC_LEN]> {
        let tag = hmac::sign(&self.mac_key()?, header);
        tag.as_ref().try_into().map_err(internal)
    }

    /// Whether the header is the one that was written by somebody who has the data key.
    pub(super) fn verifies(&self, header: &[u8], mac: &[u8]) -> Result<bool> {
        Ok(hmac::verify(&self.mac_key()?, header, mac).is_ok())
    }

    fn mac_key(&self) -> Result<hmac::Key> {
        let okm = self.0.expand(&[HEADER_INFO], hmac::HMAC_SHA256);
        Ok(okm.map_err(internal)?.into())
    }

    /// The stream whose form is `suite` and whose context is `context`.
    pub(super) fn stream(&self, suite: &[u8], context: &[u8]) -> Result<Stream> {
        let info = [STREAM_INFO, suite, context];
        let okm = self.0.expand(&info, StreamSecret).map_err(internal)?;
        let mut secret = Zeroizing::new([0; KEY_LEN + NONCE_PREFIX_LEN]);
        okm.fill(&mut *secret).map_err(internal)?;
        let (key, nonce_prefix) = secret.split_at(KEY_LEN);
        let key = UnboundKey::new(&AES_256_GCM, key).map_err(internal)?;
        let nonce_prefix = nonce_prefix.try_into().map_err(internal)?;
        Ok(StreamBE32::from_aead(
            Aes256Gcm(LessSafeKey::new(key)),
            nonce_prefix,
        ))
    }
}

/// The length of what a stream is keyed with.
struct StreamSecret;

impl hkdf::KeyType for StreamSecret {
    fn len(&self) -> usize {
        KEY_LEN + NONCE_PREFIX_LEN
    }
}

/// aws-lc's AES-256-GCM.
pub(super) struct Aes256Gcm(LessSafeKey);

impl AeadCore for Aes256Gcm {
    type NonceSize = U12;
    type TagSize = U16;
    const TAG_POSITION: TagPosition = TagPosition::Postfix;
}

impl AeadInOut for Aes256Gcm {
    fn encrypt_inout_detached(
        &self,
        nonce: &aead::Nonce<Self>,
        associated_data: &[u8],
        buffer: InOutBuf<'_, '_, u8>,
    ) -> aead::Result<Tag<Self>> {
        let nonce = Nonce::assume_unique_for_key((*nonce).into());
        let aad = Aad::from(associated_data);
        let tag = self
            .0
            .seal_in_place_separate_tag(nonce, aad, buffer.into_out_with_copied_in())
            .map_err(|_| aead::Error)?;
        tag.as_ref().try_into().map_err(|_| aead::Error)
    }

    fn decrypt_inout_detached(
        &self,
        nonce: &aead::Nonce<Self>,
        associated_data: &[u8],
        buffer: InOutBuf<'_, '_, u8>,
        tag: &Tag<Self>,
    ) -> aead::Result<()> {
        let nonce = Nonce::assume_unique_for_key((*nonce).into());
        let aad = Aad::from(associated_data);
        self.0
            .open_in_place_separate_tag(nonce, aad, tag, buffer.into_out_with_copied_in())
            .map(drop)
            .map_err(|_: Unspecified| aead::Error)
    }
}

fn internal<E>(_: E) -> Error {
    Error::new(
        ErrorKind::DeviceFailed,
        "the cryptography of this process refused a key",
    )
}

pub(super) const KEY_LEN: usize = 32;
pub(super) const MAC_LEN: usize = 32;
pub(super) const TAG_LEN: usize = 16;
const NONCE_PREFIX_LEN: usize = 7;
const HEADER_INFO: &[u8] = b"hsm data v1 header";
const STREAM_INFO: &[u8] = b"hsm data v1 stream";
