//! Sealing: a private key, encrypted and authenticated under the domain key and tied to a binding. The format stands
//! in `docs/sealed_key.md`.

use aes_kw::KwpAes256;
use aes_kw::cipher::KeyInit;
use hkdf::Hkdf;
use hsm_core::key::header::{self, HEADER_LEN};
use hsm_core::{Binding, KeySpec, Result, SealedKey, SecretBytes};
use sha2::Sha256;
use zeroize::Zeroizing;

use crate::error::{damaged, failed, invalid};

/// Length of the random salt that makes every seal's key its own.
pub(crate) const SALT_LEN: usize = 32;

/// Seals `material` under `domain_key` and `binding`, with a fresh random `salt`.
pub(crate) fn seal(
    domain_key: &[u8],
    salt: &[u8; SALT_LEN],
    spec: &KeySpec,
    binding: &Binding,
    material: &[u8],
) -> Result<SealedKey> {
    let header = header::encode(spec);
    if header::decode(&header) != Some((*spec, &[])) {
        return Err(invalid(
            "the usages do not fit the key type, or the key is tied to a boot state",
        ));
    }
    let key = sealing_key(domain_key, salt, &header, binding)?;
    let mut sealed = Vec::with_capacity(HEADER_LEN + SALT_LEN + wrapped_len(material.len()));
    sealed.extend_from_slice(&header);
    sealed.extend_from_slice(salt);
    sealed.extend_from_slice(&wrap(&key, material)?);
    SealedKey::new(sealed)
}

/// Opens what [`seal`] made: the spec and the material.
pub(crate) fn unseal(
    domain_key: &[u8],
    sealed: &SealedKey,
    binding: &Binding,
) -> Result<(KeySpec, SecretBytes)> {
    let (spec, rest) = header::decode(sealed.as_bytes()).ok_or_else(not_ours)?;
    let (salt, wrapped) = rest.split_first_chunk::<SALT_LEN>().ok_or_else(not_ours)?;
    let key = sealing_key(domain_key, salt, &header::encode(&spec), binding)?;
    let material = unwrap(&key, wrapped).ok_or_else(not_ours)?;
    Ok((spec, material))
}

/// AES-256-KWP (RFC 5649, NIST SP 800-38F).
pub(crate) fn wrap(key: &[u8; 32], secret: &[u8]) -> Result<Vec<u8>> {
    let mut wrapped = vec![0; wrapped_len(secret.len())];
    KwpAes256::new(key.into())
        .wrap_key(secret, &mut wrapped)
        .map_err(|_| failed("the key is too long to be wrapped"))?;
    Ok(wrapped)
}

/// The secret inside `wrapped`; `None` if it is not exactly what [`wrap`] made under `key`.
pub(crate) fn unwrap(key: &[u8; 32], wrapped: &[u8]) -> Option<SecretBytes> {
    let mut secret = Zeroizing::new(vec![0; wrapped.len()]);
    let len = KwpAes256::new(key.into())
        .unwrap_key(wrapped, &mut secret)
        .ok()?
        .len();
    (len > 0).then(|| SecretBytes::copy_from(&secret[..len]))
}

/// HKDF-SHA-256 to a 256-bit key. `info` parts are of fixed length, or the last of them is the only one that is not.
pub(crate) fn derive_key(ikm: &[u8], salt: &[u8], info: &[&[u8]]) -> Result<Zeroizing<[u8; 32]>> {
    let mut key = Zeroizing::new([0; 32]);
    Hkdf::<Sha256>::new(Some(salt), ikm)
        .expand_multi_info(info, key.as_mut_slice())
        .map_err(|_| failed("HKDF refused to make 32 bytes"))?;
    Ok(key)
}

/// The key that seals one key once: it depends on everything that may not be altered.
fn sealing_key(
    domain_key: &[u8],
    salt: &[u8; SALT_LEN],
    header: &[u8; HEADER_LEN],
    binding: &Binding,
) -> Result<Zeroizing<[u8; 32]>> {
    derive_key(domain_key, salt, &[INFO, header, binding.as_bytes()])
}

/// KWP pads to a multiple of 8 bytes and adds 8.
fn wrapped_len(len: usize) -> usize {
    len.div_ceil(8) * 8 + 8
}

fn not_ours() -> hsm_core::Error {
    damaged("the sealed key or an attribute of it was altered, or another HSM made it")
}

const INFO: &[u8] = b"hsm seal v1";

#[cfg(test)]
mod tests {
    use hsm_core::{ErrorKind, KeyType, Usage, Usages};

    use super::*;

    fn spec() -> KeySpec {
        KeySpec::new(KeyType::EcP256, Usages::of(&[Usage::Sign, Usage::Verify])).unwrap()
    }

    fn sealed() -> (SealedKey, Binding) {
        let binding = Binding::new("test", b"payments");
        let sealed = seal(&[1; 32], &[2; SALT_LEN], &spec(), &binding, &[3; 32]).unwrap();
        (sealed, binding)
    }

    #[test]
    fn opens_under_the_same_domain_and_binding_only() {
        let (sealed, binding) = sealed();
        let (opened, material) = unseal(&[1; 32], &sealed, &binding).unwrap();
        assert_eq!(opened, spec());
        assert_eq!(material.expose(), [3; 32]);

        let other_domain = unseal(&[9; 32], &sealed, &binding).unwrap_err();
        assert_eq!(other_domain.kind(), ErrorKind::Damaged);
        let other_binding =
            unseal(&[1; 32], &sealed, &Binding::new("test", b"payroll")).unwrap_err();
        assert_eq!(other_binding.kind(), ErrorKind::Damaged);
    }

    #[test]
    fn any_altered_bit_is_found() {
        let (sealed, binding) = sealed();
        for bit in 0..sealed.as_bytes().len() * 8 {
            let mut bytes = sealed.as_bytes().to_vec();
            bytes[bit / 8] ^= 1 << (bit % 8);
            let altered = SealedKey::new(bytes).unwrap();
            let error = unseal(&[1; 32], &altered, &binding).unwrap_err();
            assert_eq!(error.kind(), ErrorKind::Damaged, "bit {bit}");
        }
    }

    #[test]
    fn any_truncation_is_found() {
        let (sealed, binding) = sealed();
        for len in 0..sealed.as_bytes().len() {
            let cut = SealedKey::new(&sealed.as_bytes()[..len]).unwrap();
            let error = unseal(&[1; 32], &cut, &binding).unwrap_err();
            assert_eq!(error.kind(), ErrorKind::Damaged, "{len} bytes");
        }
    }

    /// The layout of `docs/sealed_key.md`.
    #[test]
    fn the_layout_is_as_documented() {
        let (sealed, _) = sealed();
        let bytes = sealed.as_bytes();
        assert_eq!(bytes.len(), 78);
        assert_eq!(bytes[..6], [1, 10, 0, 3, 0, 0]);
        assert_eq!(bytes[6..38], [2; 32]);
    }

    /// RFC 5869, appendix A.1.
    #[test]
    fn hkdf_known_answer() {
        let salt: Vec<u8> = (0..=0x0c).collect();
        let info: Vec<u8> = (0xf0..=0xf9).collect();
        let key = derive_key(&[0x0b; 22], &salt, &[&info[..4], &info[4..]]).unwrap();
        assert_eq!(key[..8], [0x3c, 0xb2, 0x5f, 0x25, 0xfa, 0xac, 0xd5, 0x7a]);
    }
}
