//! The public key of a certificate, for whoever checks whose it is.

use hsm_core::{Error, ErrorKind, PublicKey, Result};
use x509_cert::Certificate;
use x509_cert::der::Encode;

/// The key that a certificate is for.
pub(crate) fn public_key(certificate: &Certificate) -> Result<PublicKey> {
    let spki = certificate.tbs_certificate().subject_public_key_info();
    let spki = spki.to_der().map_err(|source| {
        Error::new(
            ErrorKind::InvalidInput,
            "the public key of the certificate cannot be read",
        )
        .with_source(source)
    })?;
    PublicKey::from_spki_der(&spki)
}
