//! AES keys, for every provider: what each mode takes, PKCS#7 padding, and the key wraps of RFC 3394 and RFC 5649 from
//! `aes-kw`. The ciphers are the provider's.

use std::fmt;

use aes_kw::cipher::KeyInit;
use aes_kw::{KwAes128, KwAes192, KwAes256, KwpAes128, KwpAes192, KwpAes256};
use hsm_core::{
    Algorithm, Ciphertext, CiphertextRef, Error, KeyType, Result, SecretBytes, Usage, Usages,
};
use subtle::{Choice, ConstantTimeEq, ConstantTimeGreater};
use zeroize::{Zeroize, Zeroizing};

use super::ParsedKey;
use crate::error::{bad_material, invalid, unsupported};

/// A key, expanded for each mode of encryption. IVs are of the mode's length.
pub(super) trait Ciphers: Sized + Send + Sync {
    /// Expands the octets of a key.
    fn parse(key_type: KeyType, material: &[u8]) -> Result<Self>;

    /// Encrypts `plaintext` and returns its ciphertext and tag.
    fn seal_gcm(&self, plaintext: &[u8], iv: &[u8], aad: &[u8]) -> Result<(Vec<u8>, Vec<u8>)>;

    /// Decrypts into `out`, which is as long as the ciphertext. Fails with [`Error::crypto`] and leaves no plaintext if the
    /// tag is not right.
    fn open_gcm(&self, sealed: CiphertextRef<'_>, aad: &[u8], out: &mut [u8]) -> Result<()>;

    /// Encrypts whole blocks in place.
    fn encrypt_cbc(&self, blocks: &mut [u8], iv: &[u8]) -> Result<()>;

    /// Decrypts whole blocks in place.
    fn decrypt_cbc(&self, blocks: &mut [u8], iv: &[u8]) -> Result<()>;

    /// Encrypts or decrypts in place, which are the same.
    fn apply_ctr(&self, data: &mut [u8], counter: &[u8]) -> Result<()>;
}

/// An AES key, expanded for what its usages need.
pub(super) struct AesKey<C> {
    ciphers: Option<C>,
    key_wrap: Option<KeyWrap>,
}

impl<C: Ciphers> AesKey<C> {
    /// Takes the octets of the key.
    pub(super) fn parse(key_type: KeyType, usages: Usages, material: &[u8]) -> Result<Self> {
        let has_any = |any: &[Usage]| any.iter().any(|usage| usages.contains(*usage));
        let ciphers = if has_any(&[Usage::Encrypt, Usage::Decrypt]) {
            Some(C::parse(key_type, material)?)
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

    fn ciphers(&self, algorithm: Algorithm) -> Result<&C> {
        self.ciphers.as_ref().ok_or_else(|| unsupported(algorithm))
    }

    fn key_wrap(&self, algorithm: Algorithm) -> Result<&KeyWrap> {
        self.key_wrap.as_ref().ok_or_else(|| unsupported(algorithm))
    }
}

impl<C: Ciphers> ParsedKey for AesKey<C> {
    fn encrypt(
        &self,
        algorithm: Algorithm,
        plaintext: &[u8],
        iv: Vec<u8>,
        aad: &[u8],
    ) -> Result<Ciphertext> {
        let ciphers = self.ciphers(algorithm)?;
        let (ciphertext, tag) = match mode(algorithm)? {
            Mode::Gcm => ciphers.seal_gcm(plaintext, &iv, aad)?,
            Mode::Cbc if !plaintext.len().is_multiple_of(BLOCK_LEN) => {
                return Err(invalid(format!(
                    "{algorithm} encrypts multiples of {BLOCK_LEN} bytes, not {}; CBCPAD takes any length",
                    plaintext.len()
                )));
            }
            Mode::Cbc => {
                let mut blocks = plaintext.to_vec();
                ciphers.encrypt_cbc(&mut blocks, &iv)?;
                (blocks, Vec::new())
            }
            Mode::CbcPad => {
                let mut blocks = padded(plaintext);
                ciphers.encrypt_cbc(&mut blocks, &iv)?;
                (blocks, Vec::new())
            }
            Mode::Ctr => {
                let mut data = plaintext.to_vec();
                ciphers.apply_ctr(&mut data, &iv)?;
                (data, Vec::new())
            }
        };
        Ok(Ciphertext {
            ciphertext,
            iv,
            tag,
        })
    }

    fn decrypt(
        &self,
        algorithm: Algorithm,
        ciphertext: CiphertextRef<'_>,
        aad: &[u8],
    ) -> Result<SecretBytes> {
        let ciphers = self.ciphers(algorithm)?;
        let bytes = ciphertext.ciphertext;
        let decrypt_cbc = || {
            if !bytes.len().is_multiple_of(BLOCK_LEN) {
                return Err(Error::crypto());
            }
            let mut blocks = bytes.to_vec();
            ciphers.decrypt_cbc(&mut blocks, ciphertext.iv)?;
            Ok(blocks)
        };
        match mode(algorithm)? {
            Mode::Gcm => SecretBytes::try_init_with(bytes.len(), |out| {
                ciphers.open_gcm(ciphertext, aad, out)
            }),
            Mode::Cbc => decrypt_cbc().map(SecretBytes::from),
            Mode::CbcPad => unpadded(decrypt_cbc()?),
            Mode::Ctr => SecretBytes::try_init_with(bytes.len(), |out| {
                out.copy_from_slice(bytes);
                ciphers.apply_ctr(out, ciphertext.iv)
            }),
        }
    }

    fn wrap(&self, algorithm: Algorithm, key: &[u8]) -> Result<Vec<u8>> {
        let key_wrap = self.key_wrap(algorithm)?;
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
        let key_wrap = self.key_wrap(algorithm)?;
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

impl<C> fmt::Debug for AesKey<C> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("AesKey").finish_non_exhaustive()
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

/// Length of an AES block.
pub(super) const BLOCK_LEN: usize = 16;
const PAD_BYTES: [u8; BLOCK_LEN] = [1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15, 16];
