//! [`Approval`]: what the standards of NIST say of an algorithm or a type of key. A device in FIPS mode offers no more than
//! what they approve.

use super::{Algorithm, KeyType};
use crate::error::{Error, ErrorKind, Result};

/// Whether a federal agency of the United States may use something to protect its data, and which standard says so.
///
/// ```
/// use hsm_core::algorithm::Approval;
/// use hsm_core::{Algorithm, KeyType};
///
/// assert_eq!(Algorithm::Es256.approval(), Approval::Approved("FIPS 186-5"));
/// let error = KeyType::EcP256K.approval().check("keys of type EC-P256K").unwrap_err();
/// assert!(error.to_string().contains("SP 800-186"));
/// ```
#[derive(Clone, Copy, Debug, Eq, Hash, PartialEq)]
#[non_exhaustive]
pub enum Approval {
    /// Approved by this standard.
    Approved(&'static str),
    /// Not approved; the standard that would have to, and what it says.
    Refused(&'static str),
}

impl Approval {
    /// Whether it is approved.
    #[must_use]
    pub const fn is_approved(self) -> bool {
        matches!(self, Self::Approved(_))
    }

    /// Refuses `what`, as messages call it, if it is not approved.
    ///
    /// # Errors
    ///
    /// [`Unsupported`](ErrorKind::Unsupported), naming the standard.
    pub fn check(self, what: &str) -> Result<()> {
        match self {
            Self::Approved(_) => Ok(()),
            Self::Refused(standard) => Err(Error::new(
                ErrorKind::Unsupported,
                format!("{what}: not in FIPS mode; {standard}"),
            )),
        }
    }
}

impl KeyType {
    /// What the standards say of keys of this type.
    #[must_use]
    pub const fn approval(self) -> Approval {
        match self {
            Self::Rsa2048
            | Self::Rsa3072
            | Self::Rsa4096
            | Self::EcP256
            | Self::EcP384
            | Self::EcP521
            | Self::Ed25519 => Approval::Approved("FIPS 186-5"),
            Self::MlDsa44 | Self::MlDsa65 | Self::MlDsa87 => Approval::Approved("FIPS 204"),
            Self::MlKem512 | Self::MlKem768 | Self::MlKem1024 => Approval::Approved("FIPS 203"),
            Self::XWing => Approval::Refused(NO_X_WING),
            Self::EcP256K => Approval::Refused("SP 800-186 does not recommend secp256k1"),
            Self::X25519 => {
                Approval::Refused("SP 800-56A revision 3 agrees on no secrets over Curve25519")
            }
            Self::Aes128 | Self::Aes192 | Self::Aes256 => Approval::Approved("FIPS 197"),
            Self::HmacSha256 | Self::HmacSha384 | Self::HmacSha512 => {
                Approval::Approved("FIPS 198-1")
            }
            Self::Kdk256 => Approval::Approved("SP 800-108 revision 1"),
        }
    }
}

impl Algorithm {
    /// What the standards say of this algorithm, with keys that are approved.
    #[must_use]
    pub const fn approval(self) -> Approval {
        match self {
            Self::Es256
            | Self::Es384
            | Self::Es512
            | Self::EdDsa
            | Self::Rs256
            | Self::Rs384
            | Self::Rs512
            | Self::Ps256
            | Self::Ps384
            | Self::Ps512 => Approval::Approved("FIPS 186-5"),
            Self::MlDsa44 | Self::MlDsa65 | Self::MlDsa87 => Approval::Approved("FIPS 204"),
            Self::MlKem512 | Self::MlKem768 | Self::MlKem1024 => Approval::Approved("FIPS 203"),
            Self::XWing => Approval::Refused(NO_X_WING),
            Self::Es256K => Approval::Refused("SP 800-186 does not recommend secp256k1"),
            Self::RsaOaep | Self::RsaOaep256 | Self::RsaAesKwp => {
                Approval::Approved("SP 800-56B revision 2")
            }
            Self::Rsa1_5 => Approval::Refused(
                "SP 800-131A revision 2 disallows key transport with PKCS#1 v1.5 padding since 2024",
            ),
            Self::A128Gcm | Self::A192Gcm | Self::A256Gcm => Approval::Approved("SP 800-38D"),
            Self::A128Cbc
            | Self::A192Cbc
            | Self::A256Cbc
            | Self::A128CbcPad
            | Self::A192CbcPad
            | Self::A256CbcPad
            | Self::A128Ctr
            | Self::A192Ctr
            | Self::A256Ctr => Approval::Approved("SP 800-38A"),
            Self::A128Kw
            | Self::A192Kw
            | Self::A256Kw
            | Self::A128Kwp
            | Self::A192Kwp
            | Self::A256Kwp => Approval::Approved("SP 800-38F"),
            Self::Hs256 | Self::Hs384 | Self::Hs512 => Approval::Approved("FIPS 198-1"),
            Self::EcdhEs => Approval::Approved("SP 800-56A revision 3"),
            Self::HkdfSha256 | Self::HkdfSha384 | Self::HkdfSha512 => {
                Approval::Approved("SP 800-56C revision 2")
            }
            Self::KbkdfHmacSha256 | Self::KbkdfHmacSha384 | Self::KbkdfHmacSha512 => {
                Approval::Approved("SP 800-108 revision 1")
            }
        }
    }
}

const NO_X_WING: &str = "FIPS 203 has ML-KEM alone, and no standard of NIST has X-Wing";

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_approved_key_is_without_an_approved_algorithm() {
        for key_type in KeyType::all().filter(|key_type| key_type.approval().is_approved()) {
            let mut algorithms = key_type.algorithms().iter();
            assert!(
                algorithms.any(|algorithm| algorithm.approval().is_approved()),
                "{key_type}"
            );
        }
    }
}
