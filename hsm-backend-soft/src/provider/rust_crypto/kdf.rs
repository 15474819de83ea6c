//! Key-derivation keys: HKDF (RFC 5869) and the counter-mode KDF of NIST SP 800-108.

use hkdf::Hkdf;
use hmac::{EagerHash, Hmac, KeyInit, Mac};
use hsm_core::{Algorithm, DeriveParameters, Result, SecretBytes};
use sha2::{Sha256, Sha384, Sha512};
use zeroize::Zeroize;

use super::internal;
use crate::error::{invalid, unsupported};
use crate::provider::ParsedKey;

/// A key from which others are derived.
#[derive(Debug)]
pub(super) struct DerivationKey(SecretBytes);

impl DerivationKey {
    /// Takes the octets of the key.
    pub(super) fn parse(material: &[u8]) -> Self {
        Self(SecretBytes::copy_from(material))
    }
}

impl ParsedKey for DerivationKey {
    fn derive(
        &self,
        algorithm: Algorithm,
        parameters: DeriveParameters<'_>,
        len: usize,
    ) -> Result<SecretBytes> {
        let key = self.0.expose();
        match algorithm {
            Algorithm::HkdfSha256 => derive_hkdf::<Sha256>(key, parameters, len),
            Algorithm::HkdfSha384 => derive_hkdf::<Sha384>(key, parameters, len),
            Algorithm::HkdfSha512 => derive_hkdf::<Sha512>(key, parameters, len),
            Algorithm::KbkdfHmacSha256 => derive_kbkdf::<Hmac<Sha256>>(key, parameters, len),
            Algorithm::KbkdfHmacSha384 => derive_kbkdf::<Hmac<Sha384>>(key, parameters, len),
            Algorithm::KbkdfHmacSha512 => derive_kbkdf::<Hmac<Sha512>>(key, parameters, len),
            _ => Err(unsupported(algorithm)),
        }
    }
}

fn derive_hkdf<H: EagerHash>(
    key: &[u8],
    parameters: DeriveParameters<'_>,
    len: usize,
) -> Result<SecretBytes> {
    let prk = Hkdf::<H>::new(Some(parameters.salt_or_label), key);
    SecretBytes::try_init_with(len, |out| {
        prk.expand(parameters.info_or_context, out)
            .map_err(|_| invalid("HKDF makes at most 255 times the length of its hash"))
    })
}

/// SP 800-108 section 4.1: the blocks `HMAC(key, counter ‖ fixed data)`, one after the other. The crate `kbkdf` makes only
/// lengths that are known when the program is compiled.
fn derive_kbkdf<M: Mac + KeyInit + Clone>(
    key: &[u8],
    parameters: DeriveParameters<'_>,
    len: usize,
) -> Result<SecretBytes> {
    let fixed = parameters.kbkdf_fixed_data(len)?;
    let keyed = <M as KeyInit>::new_from_slice(key).map_err(internal)?;
    Ok(SecretBytes::init_with(len, |out| {
        for (counter, out) in (1_u32..).zip(out.chunks_mut(M::output_size())) {
            let mac = keyed.clone().chain_update(counter.to_be_bytes());
            let mut block = mac.chain_update(&fixed).finalize().into_bytes();
            out.copy_from_slice(&block[..out.len()]);
            block.as_mut_slice().zeroize();
        }
    }))
}
