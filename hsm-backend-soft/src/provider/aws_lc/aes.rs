//! AES-GCM, CBC and CTR.

use aws_lc_rs::aead::{AES_128_GCM, AES_192_GCM, AES_256_GCM, Aad, LessSafeKey, Nonce, UnboundKey};
use aws_lc_rs::cipher::{
    self, AES_128, AES_192, AES_256, DecryptingKey, DecryptionContext, EncryptingKey,
    EncryptionContext, UnboundCipherKey,
};
use aws_lc_rs::iv::FixedLength;
use hsm_core::{CiphertextRef, Error, KeyType, Result};

use super::{bad_material, internal, unsupported_type};
use crate::provider::aes::{BLOCK_LEN, Ciphers};

/// An AES key, expanded for each mode.
pub(super) struct AwsLcCiphers {
    gcm: LessSafeKey,
    cbc_encrypt: EncryptingKey,
    cbc_decrypt: DecryptingKey,
    ctr: EncryptingKey,
}

impl Ciphers for AwsLcCiphers {
    fn parse(key_type: KeyType, material: &[u8]) -> Result<Self> {
        let (gcm, block): (_, &'static cipher::Algorithm) = match key_type {
            KeyType::Aes128 => (&AES_128_GCM, &AES_128),
            KeyType::Aes192 => (&AES_192_GCM, &AES_192),
            KeyType::Aes256 => (&AES_256_GCM, &AES_256),
            _ => return Err(unsupported_type(key_type)),
        };
        let unbound = || UnboundCipherKey::new(block, material).map_err(bad_material);
        Ok(Self {
            gcm: LessSafeKey::new(UnboundKey::new(gcm, material).map_err(bad_material)?),
            cbc_encrypt: EncryptingKey::cbc(unbound()?).map_err(bad_material)?,
            cbc_decrypt: DecryptingKey::cbc(unbound()?).map_err(bad_material)?,
            ctr: EncryptingKey::ctr(unbound()?).map_err(bad_material)?,
        })
    }

    fn seal_gcm(&self, plaintext: &[u8], iv: &[u8], aad: &[u8]) -> Result<(Vec<u8>, Vec<u8>)> {
        let nonce = Nonce::try_assume_unique_for_key(iv).map_err(internal)?;
        let mut ciphertext = vec![0; plaintext.len()];
        let mut tag = vec![0; GCM_TAG_LEN];
        self.gcm
            .seal_out_of_place_scatter(
                nonce,
                Aad::from(aad),
                plaintext,
                &mut ciphertext,
                &[],
                &mut tag,
            )
            .map_err(internal)?;
        Ok((ciphertext, tag))
    }

    fn open_gcm(&self, sealed: CiphertextRef<'_>, aad: &[u8], out: &mut [u8]) -> Result<()> {
        let nonce = Nonce::try_assume_unique_for_key(sealed.iv).map_err(internal)?;
        self.gcm
            .open_separate_gather(nonce, Aad::from(aad), sealed.ciphertext, sealed.tag, out)
            .map_err(|_| Error::crypto())
    }

    fn encrypt_cbc(&self, blocks: &mut [u8], iv: &[u8]) -> Result<()> {
        let context = EncryptionContext::Iv128(fixed_iv(iv)?);
        self.cbc_encrypt
            .less_safe_encrypt(blocks, context)
            .map_err(internal)?;
        Ok(())
    }

    fn decrypt_cbc(&self, blocks: &mut [u8], iv: &[u8]) -> Result<()> {
        let context = DecryptionContext::Iv128(fixed_iv(iv)?);
        self.cbc_decrypt
            .decrypt(blocks, context)
            .map_err(|_| Error::crypto())?;
        Ok(())
    }

    fn apply_ctr(&self, data: &mut [u8], counter: &[u8]) -> Result<()> {
        let context = EncryptionContext::Iv128(fixed_iv(counter)?);
        self.ctr
            .less_safe_encrypt(data, context)
            .map_err(internal)?;
        Ok(())
    }
}

fn fixed_iv(iv: &[u8]) -> Result<FixedLength<BLOCK_LEN>> {
    iv.try_into().map_err(internal)
}

const GCM_TAG_LEN: usize = 16;
