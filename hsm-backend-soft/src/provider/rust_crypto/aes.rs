//! AES-GCM, CBC and CTR.

use aes::{Aes128, Aes192, Aes256};
use aes_gcm::AesGcm;
use aes_gcm::aead::{AeadInOut, Tag};
use cbc::cipher::array::Array;
use cbc::cipher::consts::{U12, U16};
use cbc::cipher::{
    Block, BlockCipherDecrypt, BlockCipherEncrypt, BlockModeDecrypt, BlockModeEncrypt, InnerIvInit,
    KeyInit, StreamCipherCore,
};
use ctr::CtrCore;
use ctr::flavors::Ctr128BE;
use hsm_core::{CiphertextRef, Error, KeyType, Result, Usages};

use super::{bad_material, internal, unsupported_type};
use crate::provider::ParsedKey;
use crate::provider::aes::{AesKey, Ciphers};

/// Takes the octets of a key.
pub(super) fn parse(
    key_type: KeyType,
    usages: Usages,
    material: &[u8],
) -> Result<Box<dyn ParsedKey>> {
    fn key<C: Cipher>(
        key_type: KeyType,
        usages: Usages,
        material: &[u8],
    ) -> Result<Box<dyn ParsedKey>> {
        let key = AesKey::<RustCiphers<C>>::parse(key_type, usages, material)?;
        Ok(Box::new(key))
    }
    match key_type {
        KeyType::Aes128 => key::<Aes128>(key_type, usages, material),
        KeyType::Aes192 => key::<Aes192>(key_type, usages, material),
        KeyType::Aes256 => key::<Aes256>(key_type, usages, material),
        _ => Err(unsupported_type(key_type)),
    }
}

/// AES of one key length.
trait Cipher:
    BlockCipherEncrypt<BlockSize = U16>
    + BlockCipherDecrypt<BlockSize = U16>
    + KeyInit
    + Clone
    + Send
    + Sync
    + 'static
{
}

impl Cipher for Aes128 {}
impl Cipher for Aes192 {}
impl Cipher for Aes256 {}

/// An AES key, expanded for all modes, and for GCM with its authentication key.
struct RustCiphers<C> {
    gcm: AesGcm<C, U12>,
    block: C,
}

impl<C: Cipher> Ciphers for RustCiphers<C> {
    fn parse(_key_type: KeyType, material: &[u8]) -> Result<Self> {
        let block = C::new_from_slice(material).map_err(bad_material)?;
        Ok(Self {
            gcm: AesGcm::from(block.clone()),
            block,
        })
    }

    fn seal_gcm(&self, plaintext: &[u8], iv: &[u8], aad: &[u8]) -> Result<(Vec<u8>, Vec<u8>)> {
        let nonce = iv.try_into().map_err(internal)?;
        let mut ciphertext = plaintext.to_vec();
        let tag = self
            .gcm
            .encrypt_inout_detached(nonce, aad, ciphertext.as_mut_slice().into())
            .map_err(internal)?;
        Ok((ciphertext, tag.to_vec()))
    }

    fn open_gcm(&self, sealed: CiphertextRef<'_>, aad: &[u8], out: &mut [u8]) -> Result<()> {
        let nonce = sealed.iv.try_into().map_err(internal)?;
        let tag = <&Tag<AesGcm<C, U12>>>::try_from(sealed.tag).map_err(|_| Error::crypto())?;
        out.copy_from_slice(sealed.ciphertext);
        self.gcm
            .decrypt_inout_detached(nonce, aad, out.into(), tag)
            .map_err(|_| Error::crypto())
    }

    fn encrypt_cbc(&self, blocks: &mut [u8], iv: &[u8]) -> Result<()> {
        let iv = iv.try_into().map_err(internal)?;
        cbc::Encryptor::inner_iv_init(&self.block, iv).encrypt_blocks(whole_blocks::<C>(blocks)?);
        Ok(())
    }

    fn decrypt_cbc(&self, blocks: &mut [u8], iv: &[u8]) -> Result<()> {
        let iv = iv.try_into().map_err(internal)?;
        cbc::Decryptor::inner_iv_init(self.block.clone(), iv)
            .decrypt_blocks(whole_blocks::<C>(blocks)?);
        Ok(())
    }

    fn apply_ctr(&self, data: &mut [u8], counter: &[u8]) -> Result<()> {
        let counter = counter.try_into().map_err(internal)?;
        CtrCore::<_, Ctr128BE>::inner_iv_init(&self.block, counter)
            .apply_keystream_partial(data.into());
        Ok(())
    }
}

fn whole_blocks<C: Cipher>(bytes: &mut [u8]) -> Result<&mut [Block<C>]> {
    match Array::slice_as_chunks_mut(bytes) {
        (blocks, []) => Ok(blocks),
        _ => Err(internal(())),
    }
}
