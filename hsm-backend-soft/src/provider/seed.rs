//! Post-quantum private keys in PKCS#8 (RFC 9881 section 6, RFC 9935 section 6): the seed goes out; the seed, or the seed
//! with the expanded key, comes in. X-Wing knows the seed only, without a tag (draft-connolly-cfrg-xwing-kem-10).

use hsm_core::{Error, KeyType, Result, SecretBytes};
use pkcs8::der::asn1::OctetStringRef;
use pkcs8::der::{Decode, Reader, SliceReader};
use pkcs8::{ObjectIdentifier, PrivateKeyInfoRef};
use subtle::ConstantTimeEq;

use crate::error::invalid;

/// What PKCS#8 says of a key.
pub(super) struct Decoded<'a> {
    /// The seed.
    pub(super) seed: &'a [u8],
    /// The expanded key that stands beside the seed.
    expanded: Option<&'a [u8]>,
    /// The public key.
    public: Option<&'a [u8]>,
}

impl Decoded<'_> {
    /// Checks that a public key beside the seed follows from it.
    pub(super) fn check_public(&self, public: &[u8]) -> Result<()> {
        if let Some(claimed) = self.public
            && claimed != public
        {
            return Err(invalid("the public key does not belong to the seed"));
        }
        Ok(())
    }

    /// Checks that an expanded key beside the seed follows from it. `expanded` computes the right one.
    pub(super) fn check_expanded(
        &self,
        expanded: impl FnOnce() -> Result<SecretBytes>,
    ) -> Result<()> {
        if let Some(claimed) = self.expanded
            && !bool::from(claimed.ct_eq(expanded()?.expose()))
        {
            return Err(invalid("the expanded key does not belong to the seed"));
        }
        Ok(())
    }
}

/// Reads PKCS#8. The seed is of the right length; whether the rest follows from it, the checks of [`Decoded`] tell.
pub(super) fn decode(key_type: KeyType, pkcs8: &[u8]) -> Result<Decoded<'_>> {
    let not_this = || {
        invalid(format!(
            "not a private key of type {key_type} in PKCS#8 DER (RFC 9881, RFC 9935)"
        ))
    };
    let info = PrivateKeyInfoRef::try_from(pkcs8).map_err(|_| not_this())?;
    if Some(info.algorithm.oid) != oid(key_type) || info.algorithm.parameters.is_some() {
        return Err(not_this());
    }
    let public = info
        .public_key
        .map(|public| public.as_bytes().unwrap_or_default());
    let (seed, expanded) = match info.private_key.as_bytes() {
        seed if key_type == KeyType::XWing => (seed, None),
        [SEED, len, seed @ ..] if usize::from(*len) == seed.len() => (seed, None),
        choice @ [SEQUENCE, ..] => {
            let (seed, expanded) = both(choice).map_err(|_| not_this())?;
            (seed, Some(expanded))
        }
        [OCTET_STRING, ..] => return Err(expanded_only()),
        _ => return Err(not_this()),
    };
    if seed.len() != key_type.byte_len() {
        return Err(not_this());
    }
    Ok(Decoded {
        seed,
        expanded,
        public,
    })
}

/// The PKCS#8 of a seed.
pub(super) fn encode(key_type: KeyType, seed: &[u8]) -> Result<SecretBytes> {
    let oid = oid(key_type).ok_or_else(Error::crypto)?;
    let oid = oid.as_bytes();
    let (oid_len, seed_len) = (len_byte(oid.len()), len_byte(seed.len()));
    let tag: &[u8] = match key_type {
        KeyType::XWing => &[],
        _ => &[SEED, seed_len],
    };
    let private_len = len_byte(tag.len()) + seed_len;
    let head = [
        &[SEQUENCE, 3 + 4 + oid_len + 2 + private_len, 2, 1, 0][..], // version 0
        &[SEQUENCE, 2 + oid_len, OBJECT_IDENTIFIER, oid_len],
        oid,
        &[OCTET_STRING, private_len],
        tag,
    ]
    .concat();
    Ok(SecretBytes::init_with(head.len() + seed.len(), |out| {
        let (prefix, rest) = out.split_at_mut(head.len());
        prefix.copy_from_slice(&head);
        rest.copy_from_slice(seed);
    }))
}

/// Seed and expanded key of the form that has both.
fn both(bytes: &[u8]) -> pkcs8::der::Result<(&[u8], &[u8])> {
    let mut reader = SliceReader::new(bytes)?;
    let both = reader.sequence(|reader| {
        let seed = <&OctetStringRef>::decode(reader)?;
        let expanded = <&OctetStringRef>::decode(reader)?;
        Ok::<_, pkcs8::der::Error>((seed.as_bytes(), expanded.as_bytes()))
    })?;
    reader.finish()?;
    Ok(both)
}

fn expanded_only() -> Error {
    invalid(
        "the PKCS#8 holds the expanded key without the seed that it was made from; this HSM keeps seeds, so export the \
         key again with its seed",
    )
}

/// A length below 128, as DER writes it. Everything here is: the longest is 84.
fn len_byte(len: usize) -> u8 {
    len.to_le_bytes()[0]
}

/// The algorithm identifier: NIST's computer security objects register, and the draft of X-Wing.
fn oid(key_type: KeyType) -> Option<ObjectIdentifier> {
    Some(ObjectIdentifier::new_unwrap(match key_type {
        KeyType::MlDsa44 => "2.16.840.1.101.3.4.3.17",
        KeyType::MlDsa65 => "2.16.840.1.101.3.4.3.18",
        KeyType::MlDsa87 => "2.16.840.1.101.3.4.3.19",
        KeyType::MlKem512 => "2.16.840.1.101.3.4.4.1",
        KeyType::MlKem768 => "2.16.840.1.101.3.4.4.2",
        KeyType::MlKem1024 => "2.16.840.1.101.3.4.4.3",
        KeyType::XWing => "1.3.6.1.4.1.62253.25722",
        _ => return None,
    }))
}

const SEQUENCE: u8 = 0x30;
const OCTET_STRING: u8 = 0x04;
const OBJECT_IDENTIFIER: u8 = 0x06;

/// `[0] IMPLICIT OCTET STRING`.
const SEED: u8 = 0x80;
