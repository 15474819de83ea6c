//! What every provider asks of RSA keys and of what is encrypted to them.

use hsm_core::{Algorithm, Error, ErrorKind, Hash, KeyType, Result};

use crate::error::{invalid, unsupported};

/// Checks the size and the exponent (FIPS 186-5 section 5.4), both big-endian.
pub(super) fn check_public(key_type: KeyType, modulus: &[u8], exponent: &[u8]) -> Result<()> {
    let bits = bit_len(modulus);
    if bits != usize::from(key_type.info().bits) {
        return Err(invalid(format!(
            "the RSA key has {bits} bits, a key of type {key_type} has {}",
            key_type.info().bits
        )));
    }
    if bit_len(exponent) < 17 {
        return Err(invalid("the public exponent is below 65537"));
    }
    Ok(())
}

/// Checks that a key of `key_type` encrypts `len` bytes with `algorithm` (RFC 8017 section 7.1.1).
pub(super) fn check_plaintext(algorithm: Algorithm, key_type: KeyType, len: usize) -> Result<()> {
    let hash = match algorithm {
        Algorithm::RsaOaep => Hash::Sha1,
        Algorithm::RsaOaep256 => Hash::Sha256,
        Algorithm::Rsa1_5 => {
            return Err(Error::new(
                ErrorKind::Unsupported,
                "RSA1_5 is for decryption of old data only; encrypt with RSA-OAEP-256",
            ));
        }
        _ => return Err(unsupported(algorithm)),
    };
    let len_max = key_type.byte_len() - 2 * hash.output_len() - 2;
    if len > len_max {
        return Err(invalid(format!(
            "{algorithm} with a key of type {key_type} takes at most {len_max} bytes, not {len}"
        )));
    }
    Ok(())
}

/// Number of bits of a big-endian integer.
fn bit_len(integer: &[u8]) -> usize {
    let zeros = integer.iter().take_while(|byte| **byte == 0).count();
    match integer.get(zeros) {
        Some(first) => (integer.len() - zeros) * 8 - first.leading_zeros() as usize,
        None => 0,
    }
}
