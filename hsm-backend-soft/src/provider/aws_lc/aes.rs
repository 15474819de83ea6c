//! AES keys: GCM, CBC with and without padding, CTR, and the key wraps of RFC 3394 and RFC 5649.

use std::fmt;

use aes_kw::cipher::KeyInit;
use aes_kw::{KwAes128, KwAes192, KwAes256, KwpAes128, KwpAes192, KwpAes256};
use aws_lc_rs::aead::{AES_128_GCM, AES_192_GCM, AES_256_GCM, Aad, LessSafeKey, Nonce, UnboundKey};
use aws_lc_rs::cipher::{
    self, AES_128, AES_192, AES_256, DecryptingKey, DecryptionContext, EncryptingKey,
    EncryptionContext, UnboundCipherKey,
};
use aws_lc_rs::iv::FixedLength;
use hsm_core::{
    Algorithm, Ciphertext, CiphertextRef, Error, KeyType, Result, SecretBytes, Usage, Usages,
};
use subtle::{Choice, ConstantTimeEq, ConstantTimeGreater};
use zeroize::{Zeroize, Zeroizing};

use super::{bad_material, internal, unsupported_type};
use crate::error::{invalid, unsupported};
use crate::provider::ParsedKey;

/// An AES key, expanded for what its usages need.
pub(super) struct AesKey {
    ciphers: Option<Ciphers>,
    key_wrap: Option<KeyWrap>,
}

impl AesKey {
    /// Takes the octets of the key.
    pub(super) fn parse(key_type: KeyType, usages: Usages, material: &[u8]) -> Result<Self> {
        let has_any = |any: &[Usage]| any.iter().any(|usage| usages.contains(*usage));
        let ciphers = if has_any(&[Usage::Encrypt, Usage::Decrypt]) {
            Some(Ciphers::parse(key_type, material)?)
        } else {
            None
        };
        let key_wrap = if has_any(&[
            Usage::WrapKey,
            Usage::UnwrapKey,
            Usage::Import,
            Usage::Export,
        ]) {
            Some(KeyWrap::parse(material)?)
        } else {
            None
        };
        Ok(Self { ciphers, key_wrap })
    }
}

impl ParsedKey for AesKey {
    fn encrypt(
        &self,
        algorithm: Algorithm,
        plaintext: &[u8],
        iv: Vec<u8>,
        aad: &[u8],
    ) -> Result<Ciphertext> {
        let ciphers = self
            .ciphers
            .as_ref()
            .ok_or_else(|| unsupported(algorithm))?;
        match mode(algorithm)? {
            Mode::Gcm => ciphers.seal_gcm(plaintext, iv, aad),
            Mode::Cbc if !plaintext.len().is_multiple_of(BLOCK_LEN) => Err(invalid(format!(
                "{algorithm} encrypts multiples of {BLOCK_LEN} bytes, not {}; CBCPAD takes any length",
                plaintext.len()
            ))),
            Mode::Cbc => ciphers.encrypt_cbc(plaintext.to_vec(), iv),
            Mode::CbcPad => ciphers.encrypt_cbc(padded(plaintext), iv),
            Mode::Ctr => {
                let mut data = plaintext.to_vec();
                ciphers.apply_ctr(&mut data, &iv)?;
                Ok(Ciphertext {
                    ciphertext: data,
                    iv,
                    tag: Vec::new(),
                })
            }
        }
    }

    fn decrypt(
        &self,
        algorithm: Algorithm,
        ciphertext: CiphertextRef<'_>,
        aad: &[u8],
    ) -> Result<SecretBytes> {
        let ciphers = self
            .ciphers
            .as_ref()
            .ok_or_else(|| unsupported(algorithm))?;
        match mode(algorithm)? {
            Mode::Gcm => ciphers.open_gcm(ciphertext, aad),
            Mode::Cbc => ciphers.decrypt_cbc(ciphertext).map(SecretBytes::from),
            Mode::CbcPad => unpadded(ciphers.decrypt_cbc(ciphertext)?),
            Mode::Ctr => SecretBytes::try_init_with(ciphertext.ciphertext.len(), |out| {
                out.copy_from_slice(ciphertext.ciphertext);
                ciphers.apply_ctr(out, ciphertext.iv)
            }),
        }
    }

    fn wrap(&self, algorithm: Algorithm, key: &[u8]) -> Result<Vec<u8>> {
        let key_wrap = self
            .key_wrap
            .as_ref()
            .ok_or_else(|| unsupported(algorithm))?;
        let padding = padding(algorithm)?;
        match padding {
            Padding::None if key.len() < 16 || !key.len().is_multiple_of(8) => {
                return Err(invalid(format!(
                    "{algorithm} wraps multiples of 8 bytes, 16 at least, not {}; KWP takes any length",
                    key.len()
                )));
            }
            Padding::Zeros if key.is_empty() => {
                return Err(invalid("there are no key bytes to wrap"));
            }
            _ => {}
        }
        let mut wrapped = vec![0; key.len().div_ceil(8) * 8 + 8];
        key_wrap
            .wrap(padding, key, &mut wrapped)
            .map_err(|_| invalid("the key is too long to be wrapped"))?;
        Ok(wrapped)
    }

    fn unwrap(&self, algorithm: Algorithm, wrapped: &[u8]) -> Result<SecretBytes> {
        let key_wrap = self
            .key_wrap
            .as_ref()
            .ok_or_else(|| unsupported(algorithm))?;
        let padding = padding(algorithm)?;
        let shortest = match padding {
            Padding::None => 24,
            Padding::Zeros => 16,
        };
        if wrapped.len() < shortest {
            return Err(Error::crypto());
        }
        let mut key = Zeroizing::new(vec![0; wrapped.len()]);
        let len = key_wrap
            .unwrap(padding, wrapped, &mut key)
            .map_err(|_| Error::crypto())?;
        Ok(SecretBytes::copy_from(&key[..len]))
    }
}

impl fmt::Debug for AesKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("AesKey").finish_non_exhaustive()
    }
}

/// The key, expanded for each mode of encryption.
struct Ciphers {
    gcm: LessSafeKey,
    cbc_encrypt: EncryptingKey,
    cbc_decrypt: DecryptingKey,
    /// Encryption and decryption are the same.
    ctr: EncryptingKey,
}

impl Ciphers {
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

    fn seal_gcm(&self, plaintext: &[u8], iv: Vec<u8>, aad: &[u8]) -> Result<Ciphertext> {
        let nonce = Nonce::try_assume_unique_for_key(&iv).map_err(internal)?;
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
        Ok(Ciphertext {
            ciphertext,
            iv,
            tag,
        })
    }

    fn open_gcm(&self, sealed: CiphertextRef<'_>, aad: &[u8]) -> Result<SecretBytes> {
        let nonce = Nonce::try_assume_unique_for_key(sealed.iv).map_err(internal)?;
        SecretBytes::try_init_with(sealed.ciphertext.len(), |out| {
            self.gcm
                .open_separate_gather(nonce, Aad::from(aad), sealed.ciphertext, sealed.tag, out)
                .map_err(|_| Error::crypto())
        })
    }

    /// Encrypts whole blocks in place.
    fn encrypt_cbc(&self, mut blocks: Vec<u8>, iv: Vec<u8>) -> Result<Ciphertext> {
        let context = EncryptionContext::Iv128(fixed_iv(&iv)?);
        self.cbc_encrypt
            .less_safe_encrypt(&mut blocks, context)
            .map_err(internal)?;
        Ok(Ciphertext {
            ciphertext: blocks,
            iv,
            tag: Vec::new(),
        })
    }

    fn decrypt_cbc(&self, ciphertext: CiphertextRef<'_>) -> Result<Vec<u8>> {
        if !ciphertext.ciphertext.len().is_multiple_of(BLOCK_LEN) {
            return Err(Error::crypto());
        }
        let context = DecryptionContext::Iv128(fixed_iv(ciphertext.iv)?);
        let mut blocks = ciphertext.ciphertext.to_vec();
        self.cbc_decrypt
            .decrypt(&mut blocks, context)
            .map_err(|_| Error::crypto())?;
        Ok(blocks)
    }

    fn apply_ctr(&self, data: &mut [u8], counter: &[u8]) -> Result<()> {
        let context = EncryptionContext::Iv128(fixed_iv(counter)?);
        self.ctr
            .less_safe_encrypt(data, context)
            .map_err(internal)?;
        Ok(())
    }
}

/// The key, expanded for both key wraps.
enum KeyWrap {
    Aes128(KwAes128, KwpAes128),
    Aes192(KwAes192, KwpAes192),
    Aes256(KwAes256, KwpAes256),
}

impl KeyWrap {
    fn parse(material: &[u8]) -> Result<Self> {
        fn both<A: KeyInit, B: KeyInit>(material: &[u8]) -> Result<(A, B)> {
            let kw = A::new_from_slice(material).map_err(bad_material)?;
            let kwp = B::new_from_slice(material).map_err(bad_material)?;
            Ok((kw, kwp))
        }
        Ok(match material.len() {
            16 => both(material).map(|(kw, kwp)| Self::Aes128(kw, kwp))?,
            24 => both(material).map(|(kw, kwp)| Self::Aes192(kw, kwp))?,
            _ => both(material).map(|(kw, kwp)| Self::Aes256(kw, kwp))?,
        })
    }

    fn wrap(&self, padding: Padding, key: &[u8], out: &mut [u8]) -> Result<usize, aes_kw::Error> {
        Ok(match (self, padding) {
            (Self::Aes128(kw, _), Padding::None) => kw.wrap_key(key, out)?,
            (Self::Aes192(kw, _), Padding::None) => kw.wrap_key(key, out)?,
            (Self::Aes256(kw, _), Padding::None) => kw.wrap_key(key, out)?,
            (Self::Aes128(_, kwp), Padding::Zeros) => kwp.wrap_key(key, out)?,
            (Self::Aes192(_, kwp), Padding::Zeros) => kwp.wrap_key(key, out)?,
            (Self::Aes256(_, kwp), Padding::Zeros) => kwp.wrap_key(key, out)?,
        }
        .len())
    }

    fn unwrap(
        &self,
        padding: Padding,
        wrapped: &[u8],
        out: &mut [u8],
    ) -> Result<usize, aes_kw::Error> {
        Ok(match (self, padding) {
            (Self::Aes128(kw, _), Padding::None) => kw.unwrap_key(wrapped, out)?,
            (Self::Aes192(kw, _), Padding::None) => kw.unwrap_key(wrapped, out)?,
            (Self::Aes256(kw, _), Padding::None) => kw.unwrap_key(wrapped, out)?,
            (Self::Aes128(_, kwp), Padding::Zeros) => kwp.unwrap_key(wrapped, out)?,
            (Self::Aes192(_, kwp), Padding::Zeros) => kwp.unwrap_key(wrapped, out)?,
            (Self::Aes256(_, kwp), Padding::Zeros) => kwp.unwrap_key(wrapped, out)?,
        }
        .len())
    }
}

enum Mode {
    Cbc,
    CbcPad,
    Ctr,
    Gcm,
}

/// The key's size is the key's own: the algorithm was checked against it.
fn mode(algorithm: Algorithm) -> Result<Mode> {
    use Algorithm as A;
    Ok(match algorithm {
        A::A128Gcm | A::A192Gcm | A::A256Gcm => Mode::Gcm,
        A::A128Cbc | A::A192Cbc | A::A256Cbc => Mode::Cbc,
        A::A128CbcPad | A::A192CbcPad | A::A256CbcPad => Mode::CbcPad,
        A::A128Ctr | A::A192Ctr | A::A256Ctr => Mode::Ctr,
        _ => return Err(unsupported(algorithm)),
    })
}

#[derive(Clone, Copy)]
enum Padding {
    /// RFC 3394.
    None,
    /// RFC 5649.
    Zeros,
}

fn padding(algorithm: Algorithm) -> Result<Padding> {
    use Algorithm as A;
    Ok(match algorithm {
        A::A128Kw | A::A192Kw | A::A256Kw => Padding::None,
        A::A128Kwp | A::A192Kwp | A::A256Kwp => Padding::Zeros,
        _ => return Err(unsupported(algorithm)),
    })
}

fn fixed_iv(iv: &[u8]) -> Result<FixedLength<BLOCK_LEN>> {
    iv.try_into().map_err(internal)
}

/// PKCS#7 padding (RFC 5652 section 6.3).
fn padded(plaintext: &[u8]) -> Vec<u8> {
    let pad_len = BLOCK_LEN - plaintext.len() % BLOCK_LEN;
    let mut blocks = Vec::with_capacity(plaintext.len() + pad_len);
    blocks.extend_from_slice(plaintext);
    blocks.resize(plaintext.len() + pad_len, PAD_BYTES[pad_len - 1]);
    blocks
}

/// Takes PKCS#7 padding off. Looks at every byte of the last block, whatever the padding is.
fn unpadded(mut blocks: Vec<u8>) -> Result<SecretBytes> {
    let Some((_, last)) = blocks.split_last_chunk::<BLOCK_LEN>() else {
        return Err(Error::crypto());
    };
    let pad = last[BLOCK_LEN - 1];
    let mut right = pad.ct_gt(&0) & !pad.ct_gt(&PAD_BYTES[BLOCK_LEN - 1]);
    for (byte, distance) in last.iter().rev().zip(PAD_BYTES) {
        let outside: Choice = distance.ct_gt(&pad);
        right &= outside | byte.ct_eq(&pad);
    }
    if !bool::from(right) {
        blocks.zeroize();
        return Err(Error::crypto());
    }
    blocks.truncate(blocks.len() - usize::from(pad));
    Ok(SecretBytes::from(blocks))
}

const BLOCK_LEN: usize = 16;
const GCM_TAG_LEN: usize = 16;
const PAD_BYTES: [u8; BLOCK_LEN] = [1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15, 16];
