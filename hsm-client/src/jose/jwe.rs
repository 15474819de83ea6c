//! What encrypted tokens are made of (RFC 7518 sections 4 and 5), out of the primitives of aws-lc: content encryption, key
//! agreement with a key that is made for one token, and keys that come out of it.

use aws_lc_rs::aead::{AES_128_GCM, AES_192_GCM, AES_256_GCM, Aad, LessSafeKey, Nonce, UnboundKey};
use aws_lc_rs::agreement::{
    self, ECDH_P256, ECDH_P384, ECDH_P521, EphemeralPrivateKey, UnparsedPublicKey, agree_ephemeral,
};
use aws_lc_rs::error::Unspecified;
use aws_lc_rs::kdf::{SskdfDigestAlgorithmId, get_sskdf_digest_algorithm, sskdf_digest};
use aws_lc_rs::key_wrap::{AES_128, AES_256, AesBlockCipher, AesKek, KeyWrap};
use aws_lc_rs::rand;
use aws_lc_rs::rsa::{OAEP_SHA256_MGF1SHA256, OaepPublicEncryptingKey, PublicEncryptingKey};
use hsm_core::{Error, ErrorKind, KeyType, PublicKey, Result, SecretBytes};

use super::compact::Header;
use super::compact::decode;

/// How the content is encrypted, with AES-GCM: the `enc` of a header.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(super) enum Content {
    Aes128,
    Aes192,
    Aes256,
}

/// What is encrypted, and what goes with it.
pub(super) struct Sealed {
    pub(super) iv: [u8; IV_LEN],
    pub(super) ciphertext: Vec<u8>,
    pub(super) tag: [u8; TAG_LEN],
}

impl Content {
    pub(super) fn named(name: &str) -> Option<Self> {
        [Self::Aes128, Self::Aes192, Self::Aes256]
            .into_iter()
            .find(|content| content.name() == name)
    }

    pub(super) const fn name(self) -> &'static str {
        match self {
            Self::Aes128 => "A128GCM",
            Self::Aes192 => "A192GCM",
            Self::Aes256 => "A256GCM",
        }
    }

    pub(super) const fn key_len(self) -> usize {
        match self {
            Self::Aes128 => 16,
            Self::Aes192 => 24,
            Self::Aes256 => 32,
        }
    }

    fn key(self, key: &SecretBytes) -> Result<LessSafeKey, Unspecified> {
        let algorithm = match self {
            Self::Aes128 => &AES_128_GCM,
            Self::Aes192 => &AES_192_GCM,
            Self::Aes256 => &AES_256_GCM,
        };
        UnboundKey::new(algorithm, key.expose()).map(LessSafeKey::new)
    }

    /// A key for one token.
    pub(super) fn new_key(self) -> Result<SecretBytes> {
        SecretBytes::try_init_with(self.key_len(), rand::fill).map_err(no_random)
    }

    /// Encrypts under a key that encrypts nothing else.
    pub(super) fn seal(self, key: &SecretBytes, aad: &str, text: &[u8]) -> Result<Sealed> {
        let mut iv = [0; IV_LEN];
        rand::fill(&mut iv).map_err(no_random)?;
        let mut ciphertext = text.to_vec();
        let tag = self
            .key(key)
            .and_then(|key| {
                let nonce = Nonce::assume_unique_for_key(iv);
                key.seal_in_place_separate_tag(nonce, Aad::from(aad.as_bytes()), &mut ciphertext)
            })
            .ok()
            .and_then(|tag| <[u8; TAG_LEN]>::try_from(tag.as_ref()).ok())
            .ok_or_else(failed)?;
        Ok(Sealed {
            iv,
            ciphertext,
            tag,
        })
    }

    pub(super) fn open(
        self,
        key: &SecretBytes,
        aad: &str,
        iv: &[u8],
        ciphertext: &[u8],
        tag: &[u8],
    ) -> Result<SecretBytes> {
        if tag.len() != TAG_LEN {
            return Err(Error::crypto());
        }
        let open = |text: &mut [u8]| {
            let nonce = Nonce::try_assume_unique_for_key(iv)?;
            let aad = Aad::from(aad.as_bytes());
            self.key(key)?
                .open_separate_gather(nonce, aad, ciphertext, tag, text)
        };
        SecretBytes::try_init_with(ciphertext.len(), open).map_err(|_| Error::crypto())
    }
}

/// The key that Diffie-Hellman gives for `algorithm`, an `enc` or `ECDH-ES+A…KW` (RFC 7518 section 4.6.2).
pub(super) fn concat_kdf(
    secret: &[u8],
    algorithm: &str,
    key_len: usize,
    header: &Header,
) -> Result<SecretBytes> {
    let party = |text: &Option<String>, what| match text {
        Some(text) => decode(what, text),
        None => Ok(Vec::new()),
    };
    let mut info = Vec::new();
    for part in [
        algorithm.as_bytes(),
        &party(&header.apu, "`apu`")?,
        &party(&header.apv, "`apv`")?,
    ] {
        // The header is no longer than a few KiB.
        info.extend_from_slice(&u32::try_from(part.len()).unwrap_or(u32::MAX).to_be_bytes());
        info.extend_from_slice(part);
    }
    let bits = u32::try_from(key_len * 8).unwrap_or(u32::MAX);
    info.extend_from_slice(&bits.to_be_bytes());
    let sha256 = get_sskdf_digest_algorithm(SskdfDigestAlgorithmId::Sha256).ok_or_else(failed)?;
    SecretBytes::try_init_with(key_len, |key| sskdf_digest(sha256, secret, &info, key))
        .map_err(|_| failed())
}

/// Agrees with the holder of `peer` by a key that is made for this and forgotten: the shared secret goes to `kdf` together
/// with the public half of that key.
pub(super) fn agree_once<T>(
    peer: &PublicKey,
    kdf: impl FnOnce(&[u8], PublicKey) -> Result<T>,
) -> Result<T> {
    let algorithm = match peer.key_type() {
        KeyType::EcP256 => &ECDH_P256,
        KeyType::EcP384 => &ECDH_P384,
        KeyType::EcP521 => &ECDH_P521,
        KeyType::X25519 => &agreement::X25519,
        other => {
            return Err(Error::new(
                ErrorKind::InvalidInput,
                format!("nothing is encrypted to a key of type {other}"),
            ));
        }
    };
    let own = EphemeralPrivateKey::generate(algorithm, &rand::SystemRandom::new())
        .map_err(|_| failed())?;
    let public = own.compute_public_key().map_err(|_| failed())?;
    let public = PublicKey::from_raw(peer.key_type(), public.as_ref())?;
    let peer = UnparsedPublicKey::new(algorithm, peer.as_raw());
    agree_ephemeral(own, peer, failed(), |secret| kdf(secret, public))
}

/// RSA-OAEP-256.
pub(super) fn encrypt_key_rsa(to: &PublicKey, key: &SecretBytes) -> Result<Vec<u8>> {
    let der = to.to_spki_der()?;
    let encrypt = || {
        let key_to = PublicEncryptingKey::from_der(&der).map_err(|_| Unspecified)?;
        let key_to = OaepPublicEncryptingKey::new(key_to)?;
        let mut out = vec![0; key_to.ciphertext_size()];
        let len = key_to
            .encrypt(&OAEP_SHA256_MGF1SHA256, key.expose(), &mut out, None)?
            .len();
        out.truncate(len);
        Ok::<_, Unspecified>(out)
    };
    encrypt().map_err(|_| failed())
}

/// AES key wrap (RFC 3394) under a key that Diffie-Hellman gave.
pub(super) fn wrap(kek: &SecretBytes, key: &SecretBytes) -> Result<Vec<u8>> {
    let mut out = vec![0; key.len() + WRAP_OVERHEAD];
    let wrapped = AesKek::new(cipher(kek), kek.expose()).and_then(|kek| {
        kek.wrap(key.expose(), &mut out)
            .map(|wrapped| wrapped.len())
    });
    let len = wrapped.map_err(|_| failed())?;
    out.truncate(len);
    Ok(out)
}

/// Unwraps what [`wrap`] wrapped.
pub(super) fn unwrap(kek: &SecretBytes, wrapped: &[u8]) -> Result<SecretBytes> {
    let len = wrapped
        .len()
        .checked_sub(WRAP_OVERHEAD)
        .ok_or_else(Error::crypto)?;
    SecretBytes::try_init_with(len, |key| {
        // aws-lc writes a block more than it says.
        let mut out = zeroize::Zeroizing::new(vec![0; len + WRAP_OVERHEAD]);
        let unwrapped = AesKek::new(cipher(kek), kek.expose())?.unwrap(wrapped, &mut out)?;
        if unwrapped.len() != key.len() {
            return Err(Unspecified);
        }
        key.copy_from_slice(unwrapped);
        Ok(())
    })
    .map_err(|_: Unspecified| Error::crypto())
}

fn cipher(kek: &SecretBytes) -> &'static AesBlockCipher {
    if kek.len() == 16 { &AES_128 } else { &AES_256 }
}

fn failed() -> Error {
    Error::new(
        ErrorKind::DeviceFailed,
        "the token could not be encrypted: the key is not one for this",
    )
}

fn no_random(_: Unspecified) -> Error {
    Error::new(ErrorKind::DeviceFailed, "the system has no random numbers")
}

pub(super) const IV_LEN: usize = 12;
pub(super) const TAG_LEN: usize = 16;
const WRAP_OVERHEAD: usize = 8;

#[cfg(test)]
mod tests {
    use super::*;
    use crate::jose::compact::encode;

    /// RFC 7518 appendix C.
    #[test]
    fn the_published_key_comes_out_of_the_published_secret() {
        let secret = [
            158, 86, 217, 29, 129, 113, 53, 211, 114, 131, 66, 131, 191, 132, 38, 156, 251, 49,
            110, 163, 218, 128, 106, 72, 246, 218, 167, 121, 140, 254, 144, 196,
        ];
        let header = Header {
            alg: "ECDH-ES".into(),
            enc: Some("A128GCM".into()),
            apu: Some("QWxpY2U".into()),
            apv: Some("Qm9i".into()),
            ..Header::default()
        };
        let key = concat_kdf(&secret, "A128GCM", 16, &header).unwrap();
        assert_eq!(encode(key.expose()), "VqqN6vgjbSBcIijNcacQGg");
    }

    #[test]
    fn what_is_wrapped_unwraps_and_nothing_else_does() {
        for len in [16, 32] {
            let kek = SecretBytes::init_with(len, |bytes| bytes.fill(7));
            for content in [Content::Aes128, Content::Aes192, Content::Aes256] {
                let key = content.new_key().unwrap();
                let mut wrapped = wrap(&kek, &key).unwrap();
                let unwrapped = unwrap(&kek, &wrapped).unwrap();
                assert_eq!(encode(unwrapped.expose()), encode(key.expose()));
                wrapped[3] ^= 1;
                assert_eq!(
                    unwrap(&kek, &wrapped).unwrap_err().kind(),
                    ErrorKind::CryptoFailed
                );
            }
            for cut in [&b""[..], b"1234567", b"12345678", b"123456789"] {
                assert!(unwrap(&kek, cut).is_err());
            }
        }
    }
}
