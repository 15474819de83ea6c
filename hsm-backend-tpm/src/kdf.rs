//! The key derivations of the TPM's protocol (part 1, section 11.4.10), over HMAC-SHA-256 and SHA-256, and its cipher for
//! parameters and duplicates, AES-128-CFB.

use aes::Aes128;
use cfb_mode::cipher::{KeyIvInit, inout::InOutBuf};
use hmac::{Hmac, KeyInit, Mac};
use sha2::{Digest, Sha256};
use zeroize::Zeroizing;

/// Length of a digest of SHA-256, and of all that is derived here but ciphers' keys.
pub(crate) const DIGEST_LEN: usize = 32;

/// Length of a key of AES-128, and of its block.
pub(crate) const CIPHER_LEN: usize = 16;

/// `KDFa`: the counter mode of NIST SP 800-108 with HMAC-SHA-256, for one block at most.
pub(crate) fn kdfa<const N: usize>(
    key: &[u8],
    label: &str,
    context: [&[u8]; 2],
) -> Zeroizing<[u8; N]> {
    const { assert!(N <= DIGEST_LEN) };
    let mac = hmac(key)
        .chain_update(1u32.to_be_bytes())
        .chain_update(label)
        .chain_update([0])
        .chain_update(context[0])
        .chain_update(context[1])
        .chain_update(bits(N).to_be_bytes());
    prefix(Zeroizing::new(mac.finalize().into_bytes().into()))
}

/// `KDFe`: the concatenation KDF of NIST SP 800-56A with SHA-256, of the x-coordinates of a shared point and of both
/// parties' public points.
pub(crate) fn kdfe(
    shared: &[u8],
    label: &str,
    party_u: &[u8],
    party_v: &[u8],
) -> Zeroizing<[u8; DIGEST_LEN]> {
    let digest = Sha256::new()
        .chain_update(1u32.to_be_bytes())
        .chain_update(shared)
        .chain_update(label)
        .chain_update([0])
        .chain_update(party_u)
        .chain_update(party_v);
    Zeroizing::new(digest.finalize().into())
}

pub(crate) fn hmac(key: &[u8]) -> Hmac<Sha256> {
    Hmac::new_from_slice(key).expect("HMAC takes keys of any length")
}

/// AES-128-CFB under `key`, in place.
pub(crate) fn encrypt(key: &[u8; CIPHER_LEN], iv: &[u8; CIPHER_LEN], data: &mut [u8]) {
    cfb_mode::Encryptor::<Aes128>::new(key.into(), iv.into()).encrypt(data);
}

/// The way back.
pub(crate) fn decrypt(key: &[u8; CIPHER_LEN], iv: &[u8; CIPHER_LEN], data: &mut [u8]) {
    cfb_mode::Decryptor::<Aes128>::new(key.into(), iv.into()).decrypt_inout(InOutBuf::from(data));
}

fn bits(bytes: usize) -> u32 {
    u32::try_from(bytes * 8).unwrap_or(u32::MAX)
}

fn prefix<const N: usize>(block: Zeroizing<[u8; DIGEST_LEN]>) -> Zeroizing<[u8; N]> {
    let mut out = Zeroizing::new([0; N]);
    out.copy_from_slice(&block[..N]);
    out
}
