//! Key-derivation keys: HKDF (RFC 5869) and the counter-mode KDF of NIST SP 800-108.

use aws_lc_rs::hkdf;
use aws_lc_rs::kdf::{
    KbkdfCtrHmacAlgorithm, KbkdfCtrHmacAlgorithmId as Id, get_kbkdf_ctr_hmac_algorithm,
    kbkdf_ctr_hmac,
};
use hsm_core::{Algorithm, DeriveParameters, Result, SecretBytes};

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
        match method(algorithm).ok_or_else(|| unsupported(algorithm))? {
            Method::Hkdf(hkdf) => derive_hkdf(hkdf, key, parameters, len),
            Method::Kbkdf(kbkdf) => derive_kbkdf(kbkdf, key, parameters, len),
        }
    }
}

enum Method {
    Hkdf(hkdf::Algorithm),
    Kbkdf(&'static KbkdfCtrHmacAlgorithm),
}

fn method(algorithm: Algorithm) -> Option<Method> {
    Some(match algorithm {
        Algorithm::HkdfSha256 => Method::Hkdf(hkdf::HKDF_SHA256),
        Algorithm::HkdfSha384 => Method::Hkdf(hkdf::HKDF_SHA384),
        Algorithm::HkdfSha512 => Method::Hkdf(hkdf::HKDF_SHA512),
        Algorithm::KbkdfHmacSha256 => Method::Kbkdf(get_kbkdf_ctr_hmac_algorithm(Id::Sha256)?),
        Algorithm::KbkdfHmacSha384 => Method::Kbkdf(get_kbkdf_ctr_hmac_algorithm(Id::Sha384)?),
        Algorithm::KbkdfHmacSha512 => Method::Kbkdf(get_kbkdf_ctr_hmac_algorithm(Id::Sha512)?),
        _ => return None,
    })
}

fn derive_hkdf(
    hkdf: hkdf::Algorithm,
    key: &[u8],
    parameters: DeriveParameters<'_>,
    len: usize,
) -> Result<SecretBytes> {
    let info = [parameters.info_or_context];
    let prk = hkdf::Salt::new(hkdf, parameters.salt_or_label).extract(key);
    let okm = prk
        .expand(&info, OutputLen(len))
        .map_err(|_| invalid("HKDF makes at most 255 times the length of its hash"))?;
    SecretBytes::try_init_with(len, |out| okm.fill(out).map_err(internal))
}

/// SP 800-108 section 4.1.
fn derive_kbkdf(
    kbkdf: &'static KbkdfCtrHmacAlgorithm,
    key: &[u8],
    parameters: DeriveParameters<'_>,
    len: usize,
) -> Result<SecretBytes> {
    let fixed = parameters.kbkdf_fixed_data(len)?;
    SecretBytes::try_init_with(len, |out| {
        kbkdf_ctr_hmac(kbkdf, key, &fixed, out).map_err(internal)
    })
}

struct OutputLen(usize);

impl hkdf::KeyType for OutputLen {
    fn len(&self) -> usize {
        self.0
    }
}
