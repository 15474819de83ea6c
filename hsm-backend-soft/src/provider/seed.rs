//! Post-quantum private keys: the seed that a sealed key holds, what stands beside it in PKCS#8 (RFC 9881 section 6, RFC 9935
//! section 6, draft-connolly-cfrg-xwing-kem-10), and what follows from it.

use hsm_core::{KeyType, PublicKey, Result, SecretBytes};
use ml_dsa::{ExpandedSigningKey, MlDsa44, MlDsa65, MlDsa87, MlDsaParams};
use ml_kem::array::sizes::U64;
use ml_kem::{FromSeed, MlKem512, MlKem768, MlKem1024, Seed};
use pkcs8::der::asn1::OctetStringRef;
use pkcs8::der::{Decode, Reader, SliceReader};
use subtle::ConstantTimeEq;
use zeroize::{Zeroize, Zeroizing};

use super::Provider;
use super::encoding::{self, OCTET_STRING, SEED, SEQUENCE, not_pkcs8};
use crate::error::{bad_material, invalid, unsupported_type};
use crate::memory::{Depth, wiping_stack};

/// Makes material of PKCS#8 with the seed, or the seed and the expanded key. What stands beside the seed must follow from it.
pub(super) fn decode(
    provider: &dyn Provider,
    key_type: KeyType,
    pkcs8: &[u8],
) -> Result<SecretBytes> {
    let info = encoding::parse(key_type, pkcs8)?;
    let (seed, expanded) = match info.private_key.as_bytes() {
        seed if key_type == KeyType::XWing => (seed, None),
        [SEED, len, seed @ ..] if usize::from(*len) == seed.len() => (seed, None),
        choice @ [SEQUENCE, ..] => {
            let (seed, expanded) = both(choice).map_err(|_| not_pkcs8(key_type))?;
            (seed, Some(expanded))
        }
        [OCTET_STRING, ..] => return Err(expanded_only()),
        _ => return Err(not_pkcs8(key_type)),
    };
    if seed.len() != key_type.byte_len() {
        return Err(not_pkcs8(key_type));
    }
    if let Some(claimed) = info.public_key {
        let key = provider.parse(key_type, key_type.info().usages, seed)?;
        if key.public().map(PublicKey::as_raw) != claimed.as_bytes() {
            return Err(invalid("the public key does not belong to the seed"));
        }
    }
    if let Some(claimed) = expanded
        && let computed = wiping_stack(Depth::Deepest, || expand(key_type, seed))?
        && !bool::from(claimed.ct_eq(computed.expose()))
    {
        return Err(invalid("the expanded key does not belong to the seed"));
    }
    Ok(SecretBytes::copy_from(seed))
}

/// The expanded key that FIPS 204 and FIPS 203 make of a seed.
pub(super) fn expand(key_type: KeyType, seed: &[u8]) -> Result<SecretBytes> {
    match key_type {
        KeyType::MlDsa44 => ml_dsa_with::<MlDsa44>(seed),
        KeyType::MlDsa65 => ml_dsa_with::<MlDsa65>(seed),
        KeyType::MlDsa87 => ml_dsa_with::<MlDsa87>(seed),
        KeyType::MlKem512 => ml_kem_with::<MlKem512>(seed),
        KeyType::MlKem768 => ml_kem_with::<MlKem768>(seed),
        KeyType::MlKem1024 => ml_kem_with::<MlKem1024>(seed),
        _ => Err(unsupported_type(key_type)),
    }
}

#[expect(
    deprecated,
    reason = "the expanded form is poor for storage, which is why seeds are stored; here it is compared and dropped"
)]
fn ml_dsa_with<P: MlDsaParams>(seed: &[u8]) -> Result<SecretBytes> {
    let seed = Zeroizing::new(ml_dsa::Seed::try_from(seed).map_err(bad_material)?);
    let mut expanded = ExpandedSigningKey::<P>::from_seed(&seed).to_expanded();
    let private = SecretBytes::copy_from(&expanded);
    expanded.as_mut_slice().zeroize();
    Ok(private)
}

#[expect(
    deprecated,
    reason = "the expanded form is poor for storage, which is why seeds are stored, and all that aws-lc-rs takes"
)]
fn ml_kem_with<P>(seed: &[u8]) -> Result<SecretBytes>
where
    P: FromSeed<SeedSize = U64>,
    P::DecapsulationKey: ml_kem::ExpandedKeyEncoding,
{
    use ml_kem::ExpandedKeyEncoding;

    let seed = Zeroizing::new(Seed::try_from(seed).map_err(bad_material)?);
    let (private, _) = P::from_seed(&seed);
    let mut expanded = private.to_expanded_bytes();
    let private = SecretBytes::copy_from(&expanded);
    expanded.as_mut_slice().zeroize();
    Ok(private)
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

fn expanded_only() -> hsm_core::Error {
    invalid(
        "the PKCS#8 holds the expanded key without the seed that it was made from; this HSM keeps seeds, so export the \
         key again with its seed",
    )
}
