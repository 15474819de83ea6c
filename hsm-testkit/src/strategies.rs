//! Strategies of the crate `proptest` for the types of `hsm-core`.

use hsm_core::{Algorithm, KeyName, KeySpec, KeyType, PcrSelection, Space, Usage, Usages};
use proptest::prelude::*;
use proptest::sample::select;

/// Any key type.
pub fn key_type() -> impl Strategy<Value = KeyType> {
    select(KeyType::all().collect::<Vec<_>>())
}

/// Any algorithm.
pub fn algorithm() -> impl Strategy<Value = Algorithm> {
    select(Algorithm::all().collect::<Vec<_>>())
}

/// Any set of usages, possible or not.
pub fn usages() -> impl Strategy<Value = Usages> {
    (0u16..1 << 12).prop_filter_map("bits that stand for no usage", Usages::from_bits)
}

/// Any spec that a key may have.
pub fn key_spec() -> impl Strategy<Value = KeySpec> {
    let registers = proptest::option::of(1u32..1 << 24);
    let parts = (
        key_type(),
        any::<u16>(),
        any::<bool>(),
        any::<bool>(),
        registers,
    );
    parts.prop_filter_map(
        "no usages left",
        |(key_type, bits, transport, exportable, registers)| {
            let kept = key_type
                .info()
                .usages
                .iter()
                .filter(|usage| matches!(usage, Usage::Import | Usage::Export) == transport)
                .enumerate()
                .filter(|(at, _)| bits >> at & 1 == 1)
                .map(|(_, usage)| usage);
            let spec = KeySpec::new(key_type, kept.collect()).ok()?;
            let spec = if exportable { spec.exportable() } else { spec };
            Some(match registers.and_then(PcrSelection::from_bits) {
                Some(registers) => spec.in_boot_state(registers),
                None => spec,
            })
        },
    )
}

/// Any name that a key may have, mostly short.
pub fn key_name() -> impl Strategy<Value = KeyName> {
    let text = prop_oneof![9 => "[0-9a-zA-Z-]{1,12}", 1 => "[0-9a-zA-Z-]{127}"];
    text.prop_filter_map("not a name", |text| KeyName::new(&text).ok())
}

/// Any space of a store.
pub fn space() -> impl Strategy<Value = Space> {
    select(Space::ALL.to_vec())
}

/// The key of a record: few and short, so that they meet and share prefixes.
pub fn record_key() -> impl Strategy<Value = Vec<u8>> {
    prop::collection::vec(select(vec![0u8, 1, b'a', b'b', 0xff]), 1..4)
}

#[cfg(test)]
mod tests {
    use super::*;

    proptest! {
        #[test]
        fn specs_are_possible(spec in key_spec()) {
            prop_assert!(spec.usages.is_subset_of(spec.key_type.info().usages));
        }

        #[test]
        fn names_read_back(name in key_name()) {
            prop_assert_eq!(KeyName::new(name.as_str()).unwrap(), name);
        }
    }
}
