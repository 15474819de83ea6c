//! The six bytes in front of a sealed or exported key that say what it is, for devices: `docs/sealed_key.md`.

use super::{KeySpec, Usages};
use crate::algorithm::{Algorithm, KeyType};

/// Length of an encoded header.
pub const HEADER_LEN: usize = 6;

const VERSION: u8 = 1;
const FLAG_EXPORTABLE: u8 = 1;

/// Encodes `spec`: version, key type, usages (big-endian), flags, the one algorithm or 0 for any.
///
/// The boot state has no place in it: a device that has those writes them elsewhere, and one that has none compares what
/// [`decode`] makes of the header with the spec.
///
/// ```
/// use hsm_core::key::header;
/// use hsm_core::{KeySpec, KeyType, Usage, Usages};
///
/// let spec = KeySpec::new(KeyType::EcP256, Usages::of(&[Usage::Sign]))?.exportable();
/// assert_eq!(header::encode(&spec), [1, 10, 0, 1, 1, 0]);
/// assert_eq!(header::decode(&header::encode(&spec)), Some((spec, &[][..])));
/// # Ok::<(), hsm_core::Error>(())
/// ```
#[must_use]
pub fn encode(spec: &KeySpec) -> [u8; HEADER_LEN] {
    let [usages_high, usages_low] = spec.usages.bits().to_be_bytes();
    let flags = if spec.exportable { FLAG_EXPORTABLE } else { 0 };
    [
        VERSION,
        spec.key_type.code(),
        usages_high,
        usages_low,
        flags,
        spec.algorithm.map_or(0, Algorithm::code),
    ]
}

/// Splits `bytes` into the spec of a header and what follows it. `None` if this is no header that [`encode`] makes.
#[must_use]
pub fn decode(bytes: &[u8]) -> Option<(KeySpec, &[u8])> {
    let ([version, key_type, usages_high, usages_low, flags, algorithm], rest) =
        bytes.split_first_chunk::<HEADER_LEN>()?;
    if *version != VERSION || *flags & !FLAG_EXPORTABLE != 0 {
        return None;
    }
    let key_type = KeyType::from_code(*key_type)?;
    let usages = Usages::from_bits(u16::from_be_bytes([*usages_high, *usages_low]))?;
    let spec = KeySpec::new(key_type, usages).ok()?;
    let spec = if *flags & FLAG_EXPORTABLE == 0 {
        spec
    } else {
        spec.exportable()
    };
    let spec = match *algorithm {
        0 => spec,
        code => spec.only(Algorithm::from_code(code)?).ok()?,
    };
    Some((spec, rest))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::key::Usage;

    #[test]
    fn what_is_encoded_is_decoded() {
        let spec = KeySpec::new(KeyType::EcP256, Usages::of(&[Usage::Sign, Usage::Verify]))
            .unwrap()
            .exportable()
            .only(Algorithm::Es256)
            .unwrap();
        assert_eq!(encode(&spec), [1, 10, 0, 3, 1, 1]);
        let mut bytes = encode(&spec).to_vec();
        bytes.extend_from_slice(b"rest");
        assert_eq!(decode(&bytes), Some((spec, b"rest".as_slice())));
    }

    #[test]
    fn what_is_not_a_header_is_refused() {
        let good = [1, 10, 0, 3, 0, 0];
        assert!(decode(&good).is_some());
        for (at, byte) in [
            (0, 0),
            (0, 2),
            (1, 0),
            (1, 255),
            (2, 0xff),
            (3, 0),
            (4, 2),
            (5, 2),
            (5, 255),
        ] {
            let mut bad = good;
            bad[at] = byte;
            assert_eq!(decode(&bad), None, "{bad:?}");
        }
        assert_eq!(decode(&good[..5]), None);
    }
}
