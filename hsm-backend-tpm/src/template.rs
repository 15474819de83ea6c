//! What the TPM is asked to make: the public area of each key type, and how to read it back.

use hsm_core::{Error, Hash, KeyFamily, KeySpec, KeyType, PublicKey, Usage};
use rsa::pkcs1::der::Encode;
use rsa::pkcs1::{RsaPublicKeyRef, UintRef};
use tpm2_protocol::data::{TpmAlgId, TpmEccCurve, TpmaObject};

use crate::failure::Failure;
use crate::wire::{Reader, Writer};

/// Where a key comes from.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) enum Origin {
    /// Made in the TPM, which it never leaves.
    Tpm,
    /// Brought in from outside.
    Import,
}

/// The `TPMT_PUBLIC` of a key of `spec`, which is used by `policy` if that is not empty. `unique` writes its public half, or what stands for it in a template.
pub(crate) fn public(
    spec: &KeySpec,
    origin: Origin,
    policy: &[u8],
    unique: impl FnOnce(&mut Writer),
) -> Option<Writer> {
    let mut out = Writer::new();
    let attributes = attributes(spec, origin).bits();
    out.u16(object_type(spec.key_type)?.value())
        .u16(TpmAlgId::Sha256.value())
        .u32(attributes)
        .sized(policy);
    parameters(spec.key_type, &mut out)?;
    unique(&mut out);
    Some(out)
}

/// The `unique` of a key that is to be made.
pub(crate) fn empty_unique(key_type: KeyType, out: &mut Writer) {
    out.sized(&[]);
    if key_type.info().family == KeyFamily::Ec {
        out.sized(&[]);
    }
}

/// The `TPMU_PUBLIC_PARMS`, after the type. `None` for key types that no TPM has.
pub(crate) fn parameters(key_type: KeyType, out: &mut Writer) -> Option<()> {
    let null = TpmAlgId::Null.value();
    let bits = key_type.info().bits;
    match object_type(key_type)? {
        TpmAlgId::Rsa => out.u16(null).u16(null).u16(bits).u32(0),
        TpmAlgId::Ecc => out
            .u16(null)
            .u16(null)
            .u16(curve(key_type)?.value())
            .u16(null),
        // The hash of a derivation is its algorithm's, not the key's.
        TpmAlgId::KeyedHash if key_type == KeyType::Kdk256 => out.u16(null),
        TpmAlgId::KeyedHash => out
            .u16(TpmAlgId::Hmac.value())
            .u16(hash(mac_hash(key_type)?)?.value()),
        _ => out.u16(TpmAlgId::Aes.value()).u16(bits).u16(null),
    };
    Some(())
}

/// The kind of object that a key is.
pub(crate) fn object_type(key_type: KeyType) -> Option<TpmAlgId> {
    use KeyType as T;
    Some(match key_type {
        T::Rsa2048 | T::Rsa3072 | T::Rsa4096 => TpmAlgId::Rsa,
        T::EcP256 | T::EcP384 | T::EcP521 => TpmAlgId::Ecc,
        T::HmacSha256 | T::HmacSha384 | T::HmacSha512 | T::Kdk256 => TpmAlgId::KeyedHash,
        T::Aes128 | T::Aes192 | T::Aes256 => TpmAlgId::SymCipher,
        _ => return None,
    })
}

/// The curve of an EC key.
pub(crate) fn curve(key_type: KeyType) -> Option<TpmEccCurve> {
    Some(match key_type {
        KeyType::EcP256 => TpmEccCurve::NistP256,
        KeyType::EcP384 => TpmEccCurve::NistP384,
        KeyType::EcP521 => TpmEccCurve::NistP521,
        _ => return None,
    })
}

/// The TPM's identifier of a hash function.
pub(crate) fn hash(hash: Hash) -> Option<TpmAlgId> {
    Some(match hash {
        Hash::Sha1 => TpmAlgId::Sha1,
        Hash::Sha256 => TpmAlgId::Sha256,
        Hash::Sha384 => TpmAlgId::Sha384,
        Hash::Sha512 => TpmAlgId::Sha512,
        _ => return None,
    })
}

/// The hash function of a key for MACs.
pub(crate) fn mac_hash(key_type: KeyType) -> Option<Hash> {
    Some(match key_type {
        KeyType::HmacSha256 => Hash::Sha256,
        KeyType::HmacSha384 => Hash::Sha384,
        KeyType::HmacSha512 => Hash::Sha512,
        _ => return None,
    })
}

/// Reads the public key out of the `TPMT_PUBLIC` of an object of `key_type`. `None` for symmetric keys.
pub(crate) fn public_key(key_type: KeyType, public: &[u8]) -> Result<Option<PublicKey>, Failure> {
    let mut reader = Reader::new(public);
    let kind = reader.u16()?;
    let name_algorithm = reader.u16()?;
    reader.u32()?;
    reader.sized()?;
    let expected = object_type(key_type).ok_or(Failure::Altered)?;
    if kind != expected.value() || name_algorithm != TpmAlgId::Sha256.value() {
        return Err(Failure::Altered);
    }
    let mut wanted = Writer::new();
    parameters(key_type, &mut wanted).ok_or(Failure::Altered)?;
    if reader.take(wanted.as_slice().len())? != wanted.as_slice() {
        return Err(Failure::Altered);
    }
    let key = match key_type.info().family {
        KeyFamily::Rsa => {
            let modulus = reader.sized()?;
            Some(rsa_public_key(key_type, modulus)?)
        }
        KeyFamily::Ec => {
            let (x, y) = (reader.sized()?, reader.sized()?);
            let mut point = vec![4];
            for coordinate in [x, y] {
                pad_into(&mut point, coordinate, key_type.byte_len())?;
            }
            Some(PublicKey::from_raw(key_type, point)?)
        }
        _ => {
            reader.sized()?;
            None
        }
    };
    reader.end()?;
    Ok(key)
}

/// Appends a number, as long as it should be: TPMs may leave out leading zeros.
pub(crate) fn pad_into(out: &mut Vec<u8>, number: &[u8], len: usize) -> Result<(), Failure> {
    let missing = len.checked_sub(number.len()).ok_or(Failure::Altered)?;
    out.resize(out.len() + missing, 0);
    out.extend_from_slice(number);
    Ok(())
}

fn rsa_public_key(key_type: KeyType, modulus: &[u8]) -> Result<PublicKey, Failure> {
    let encode = || {
        let key = RsaPublicKeyRef {
            modulus: UintRef::new(modulus)?,
            public_exponent: UintRef::new(&EXPONENT)?,
        };
        key.to_der()
    };
    let der = encode().map_err(|_| Failure::Altered)?;
    let key: Result<_, Error> = PublicKey::from_raw(key_type, der);
    Ok(key?)
}

fn attributes(spec: &KeySpec, origin: Origin) -> TpmaObject {
    // The authorization value is a digest that cannot be guessed, so the protection against guessing would only lock
    // other keys out when a record is edited.
    let mut attributes = TpmaObject::NO_DA;
    if spec.boot_state.is_none() {
        attributes |= TpmaObject::USER_WITH_AUTH;
    }
    if origin == Origin::Tpm {
        attributes |=
            TpmaObject::FIXED_TPM | TpmaObject::FIXED_PARENT | TpmaObject::SENSITIVE_DATA_ORIGIN;
    }
    let may = |usages: &[Usage]| usages.iter().any(|usage| spec.usages.contains(*usage));
    let (sign, decrypt) = match spec.key_type.info().family {
        KeyFamily::Ec => (
            may(&[Usage::Sign, Usage::Verify]),
            may(&[Usage::DeriveBits]),
        ),
        KeyFamily::Rsa => (
            may(&[Usage::Sign, Usage::Verify]),
            !may(&[Usage::Sign, Usage::Verify])
                || may(&[
                    Usage::Encrypt,
                    Usage::Decrypt,
                    Usage::WrapKey,
                    Usage::UnwrapKey,
                ]),
        ),
        // One that leaves the hash open is for both (part 1, section 12.2.3.5); it makes MACs all the same.
        _ if spec.key_type == KeyType::Kdk256 => (true, true),
        _ if object_type(spec.key_type) == Some(TpmAlgId::KeyedHash) => (true, false),
        // For a cipher the attribute means that it encrypts. One that does neither here does both.
        _ => {
            let (encrypts, decrypts) = (may(&[Usage::Encrypt]), may(&[Usage::Decrypt]));
            (encrypts || !decrypts, decrypts || !encrypts)
        }
    };
    if sign {
        attributes |= TpmaObject::SIGN_ENCRYPT;
    }
    if decrypt {
        attributes |= TpmaObject::DECRYPT;
    }
    attributes
}

/// What the exponent 0 in a public area stands for.
const EXPONENT: [u8; 3] = [1, 0, 1];

#[cfg(test)]
mod tests {
    use hsm_core::Usages;

    use super::*;

    #[test]
    fn attributes_are_no_wider_than_the_usages() {
        for (key_type, usages, expected) in [
            (KeyType::EcP256, Usage::Sign, TpmaObject::SIGN_ENCRYPT),
            (KeyType::EcP256, Usage::DeriveBits, TpmaObject::DECRYPT),
            (KeyType::Rsa2048, Usage::Verify, TpmaObject::SIGN_ENCRYPT),
            (KeyType::Rsa2048, Usage::UnwrapKey, TpmaObject::DECRYPT),
            (KeyType::Aes256, Usage::Encrypt, TpmaObject::SIGN_ENCRYPT),
            (KeyType::Aes256, Usage::Decrypt, TpmaObject::DECRYPT),
            (KeyType::HmacSha256, Usage::Verify, TpmaObject::SIGN_ENCRYPT),
        ] {
            let spec = KeySpec::new(key_type, Usages::of(&[usages])).unwrap();
            let both = TpmaObject::SIGN_ENCRYPT | TpmaObject::DECRYPT;
            let found = attributes(&spec, Origin::Tpm).bits() & both.bits();
            assert_eq!(found, expected.bits(), "{key_type} for {usages:?}");
        }
    }
}
