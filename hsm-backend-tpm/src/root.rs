//! The root key: the storage key under which every key of the device rests. It is the TPM's own, known by its name, a
//! digest of its public half.

use std::fmt;

use hsm_core::Result;
use p256::ecdh::EphemeralSecret;
use p256::elliptic_curve::Generate;
use p256::elliptic_curve::sec1::ToSec1Point;
use rsa::traits::PaddingScheme;
use rsa::{BoxedUint, Oaep, RsaPublicKey};
use sha2::{Digest, Sha256};
use tpm2_protocol::data::{TpmAlgId, TpmEccCurve, TpmaObject};
use zeroize::Zeroizing;

use crate::failure::{Failure, failed, invalid};
use crate::kdf::{DIGEST_LEN, kdfe};
use crate::wire::{Malformed, Reader, Writer};

/// Where an owner keeps the storage root key (TCG TPM v2.0 Provisioning Guidance, table 2).
pub(crate) const PERSISTENT_ROOT: u32 = 0x8100_0001;

/// The name of a root key: what a device is opened with, so that no other TPM, and nobody between, takes its place.
///
/// ```
/// use hsm_backend_tpm::RootName;
///
/// let text = "000b6c21a4f8c7e8c4f1b0c7a9dbb6b0a0a8d5f1c3e2d4b5a6978877665544332211";
/// let name: RootName = text.parse()?;
/// assert_eq!(name.to_string(), text);
/// # Ok::<(), hsm_core::Error>(())
/// ```
#[derive(Clone, Copy, Eq, Hash, PartialEq)]
pub struct RootName([u8; NAME_LEN]);

/// The algorithm of the digest, SHA-256, and the digest.
pub(crate) const NAME_LEN: usize = 2 + DIGEST_LEN;

impl RootName {
    pub(crate) const fn from_bytes(name: [u8; NAME_LEN]) -> Self {
        Self(name)
    }

    /// The name as the TPM has it: the algorithm's identifier, and the digest.
    #[must_use]
    pub const fn as_bytes(&self) -> &[u8; NAME_LEN] {
        &self.0
    }
}

/// In hexadecimal.
impl fmt::Display for RootName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.iter().try_for_each(|byte| write!(f, "{byte:02x}"))
    }
}

impl fmt::Debug for RootName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "RootName({self})")
    }
}

impl std::str::FromStr for RootName {
    type Err = hsm_core::Error;

    fn from_str(text: &str) -> Result<Self> {
        let rejected = || {
            invalid(format!(
                "the name of a root key is {} hexadecimal digits",
                2 * NAME_LEN
            ))
        };
        if text.len() != 2 * NAME_LEN || !text.bytes().all(|byte| byte.is_ascii_hexdigit()) {
            return Err(rejected());
        }
        let mut name = [0; NAME_LEN];
        for (at, byte) in name.iter_mut().enumerate() {
            *byte = u8::from_str_radix(&text[2 * at..2 * at + 2], 16).map_err(|_| rejected())?;
        }
        Ok(Self(name))
    }
}

/// The public half of a root key.
#[derive(Clone, Debug)]
pub(crate) struct RootPublic {
    name: RootName,
    key: Key,
}

#[derive(Clone, Debug)]
enum Key {
    Ec(p256::PublicKey),
    Rsa(RsaPublicKey),
}

/// A kind of root key that the device makes.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) enum RootKind {
    Ec,
    Rsa,
}

impl RootKind {
    /// The `TPMT_PUBLIC` of the standard template for a storage root key, which gives the same key each time.
    pub(crate) fn template(self) -> Writer {
        let mut out = Writer::new();
        let kind = match self {
            Self::Ec => TpmAlgId::Ecc,
            Self::Rsa => TpmAlgId::Rsa,
        };
        out.u16(kind.value())
            .u16(TpmAlgId::Sha256.value())
            .u32((needed() | TpmaObject::NO_DA).bits())
            .sized(&[]) // no policy
            .u16(TpmAlgId::Aes.value())
            .u16(128)
            .u16(TpmAlgId::Cfb.value())
            .u16(TpmAlgId::Null.value()); // no scheme
        match self {
            Self::Ec => out
                .u16(TpmEccCurve::NistP256.value())
                .u16(TpmAlgId::Null.value())
                .sized(&[])
                .sized(&[]),
            Self::Rsa => out.u16(2048).u32(0).sized(&[]),
        };
        out
    }
}

impl RootPublic {
    /// Takes a `TPMT_PUBLIC`, if it is of a storage key that can be the root: made by a TPM, of which it never leaves.
    pub(crate) fn parse(public: &[u8]) -> Result<Self, Failure> {
        let unfit = || failed("the storage root key of the TPM is not of the standard kind");
        let mut reader = Reader::new(public);
        let kind = reader.u16()?;
        let name_algorithm = reader.u16()?;
        let attributes = TpmaObject::from_bits_truncate(reader.u32()?);
        reader.sized()?;
        let symmetric = [reader.u16()?, reader.u16()?, reader.u16()?];
        let scheme = reader.u16()?;
        let (aes, cfb) = (TpmAlgId::Aes.value(), TpmAlgId::Cfb.value());
        if name_algorithm != TpmAlgId::Sha256.value()
            || !attributes.contains(needed())
            || attributes.contains(TpmaObject::SIGN_ENCRYPT)
            || symmetric != [aes, 128, cfb]
            || scheme != TpmAlgId::Null.value()
        {
            return Err(unfit().into());
        }
        let key = if kind == TpmAlgId::Ecc.value() {
            let curve = reader.u16()?;
            let kdf = reader.u16()?;
            let (x, y) = (reader.sized()?, reader.sized()?);
            reader.end()?;
            if curve != TpmEccCurve::NistP256.value() || kdf != TpmAlgId::Null.value() {
                return Err(unfit().into());
            }
            let mut point = vec![4];
            point.extend(padded::<32>(x)?);
            point.extend(padded::<32>(y)?);
            Key::Ec(p256::PublicKey::from_sec1_bytes(&point).map_err(|_| unfit())?)
        } else if kind == TpmAlgId::Rsa.value() {
            let bits = reader.u16()?;
            let exponent = reader.u32()?;
            let modulus = reader.sized()?;
            reader.end()?;
            if bits != 2048 || exponent != 0 || modulus.len() != 256 {
                return Err(unfit().into());
            }
            let modulus = BoxedUint::from_be_slice_vartime(modulus);
            Key::Rsa(RsaPublicKey::new(modulus, 65_537u32.into()).map_err(|_| unfit())?)
        } else {
            return Err(unfit().into());
        };
        Ok(Self {
            name: RootName(object_name(public)),
            key,
        })
    }

    pub(crate) fn name(&self) -> RootName {
        self.name
    }

    /// A fresh secret, and what only the holder of the private half makes the same secret from (part 1, appendices B.10
    /// and C.6).
    pub(crate) fn share_secret(
        &self,
        label: &str,
    ) -> Result<(Zeroizing<[u8; DIGEST_LEN]>, Vec<u8>)> {
        let without_random = || failed("the system has no random numbers");
        match &self.key {
            Key::Ec(public) => {
                let secret = EphemeralSecret::try_generate_from_rng(&mut getrandom::SysRng)
                    .map_err(|_| without_random())?;
                let ours = coordinates(&secret.public_key());
                let theirs = coordinates(public);
                let shared = secret.diffie_hellman(public);
                let secret = kdfe(shared.raw_secret_bytes(), label, &ours[0], &theirs[0]);
                let mut encrypted = Writer::new();
                encrypted.sized(&ours[0]).sized(&ours[1]);
                Ok((secret, encrypted.as_slice().to_vec()))
            }
            Key::Rsa(public) => {
                let mut secret = Zeroizing::new([0; DIGEST_LEN]);
                getrandom::fill(&mut *secret).map_err(|_| without_random())?;
                let scheme = Oaep::<Sha256>::new_with_label([label.as_bytes(), &[0]].concat());
                let encrypted = scheme
                    .encrypt(&mut getrandom::SysRng, public, &*secret)
                    .map_err(|_| without_random())?;
                Ok((secret, encrypted))
            }
        }
    }
}

/// The name of an object with the `TPMT_PUBLIC` `public`, which says that its name is a digest of SHA-256.
pub(crate) fn object_name(public: &[u8]) -> [u8; NAME_LEN] {
    let mut name = [0; NAME_LEN];
    name[..2].copy_from_slice(&TpmAlgId::Sha256.value().to_be_bytes());
    name[2..].copy_from_slice(&Sha256::digest(public));
    name
}

/// A number as long as it should be: TPMs may leave out leading zeros.
pub(crate) fn padded<const N: usize>(number: &[u8]) -> Result<[u8; N], Malformed> {
    let mut out = [0; N];
    let at = N.checked_sub(number.len()).ok_or(Malformed)?;
    out[at..].copy_from_slice(number);
    Ok(out)
}

fn needed() -> TpmaObject {
    TpmaObject::FIXED_TPM
        | TpmaObject::FIXED_PARENT
        | TpmaObject::SENSITIVE_DATA_ORIGIN
        | TpmaObject::USER_WITH_AUTH
        | TpmaObject::RESTRICTED
        | TpmaObject::DECRYPT
}

fn coordinates(public: &p256::PublicKey) -> [[u8; 32]; 2] {
    let point = public.to_sec1_point(false);
    let (mut x, mut y) = ([0; 32], [0; 32]);
    x.copy_from_slice(&point.as_bytes()[1..33]);
    y.copy_from_slice(&point.as_bytes()[33..]);
    [x, y]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_read_as_they_are_printed() {
        let name = RootName(object_name(b"public"));
        assert_eq!(name.to_string().parse::<RootName>().unwrap(), name);
        for wrong in ["", "00", &"g".repeat(68), &"é".repeat(34)] {
            assert!(wrong.parse::<RootName>().is_err(), "{wrong}");
        }
    }

    #[test]
    fn templates_are_no_keys() {
        for kind in [RootKind::Ec, RootKind::Rsa] {
            assert!(RootPublic::parse(kind.template().as_slice()).is_err());
        }
    }
}
