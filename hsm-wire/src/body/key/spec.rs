//! What Key Vault's `kty`, `crv`, `key_size` and `key_ops` say that a key is.

use hsm_core::{KeyFamily, KeyType, Result, Usage, Usages};

use crate::read::{Text, invalid, required};

/// What a body says of a key's kind.
#[derive(Clone, Copy)]
pub(super) struct KeyKind<'a> {
    pub(super) kty: Option<&'a str>,
    pub(super) curve: Option<&'a str>,
    pub(super) bits: Option<u32>,
}

/// What does not mix with other usages, or is not asked for by Key Vault's clients.
const SPECIAL: Usages = Usages::of(&[Usage::Import, Usage::Export]);

impl KeyKind<'_> {
    /// The kind of a key type.
    pub(super) fn known(key_type: KeyType) -> KeyKind<'static> {
        let info = key_type.info();
        KeyKind {
            kty: Some(info.family.kty()),
            curve: match info.family {
                KeyFamily::Akp => Some(info.name),
                _ => info.curve,
            },
            bits: Some(info.bits.into()),
        }
    }

    /// The type of key that is meant. Symmetric keys are told apart by what they are for.
    pub(super) fn key_type(self, usages: Option<Usages>) -> Result<KeyType> {
        let kty = required("kty", self.kty)?;
        let (family, bits) = match kty.strip_suffix("-HSM").unwrap_or(kty) {
            "EC" => return self.curve_type(KeyFamily::Ec, "P-256"),
            "OKP" => return self.curve_type(KeyFamily::Okp, "Ed25519"),
            "AKP" => {
                return KeyType::all()
                    .filter(|key_type| key_type.info().family == KeyFamily::Akp)
                    .find(|key_type| Some(key_type.name()) == self.curve)
                    .ok_or_else(|| invalid("`crv` of an AKP key names it: `ML-DSA-65`, …"));
            }
            "RSA" => (KeyFamily::Rsa, 2048),
            "oct" => (KeyFamily::Oct, 256),
            _ => {
                return Err(invalid(
                    "`kty` is EC, RSA, OKP, AKP or oct, with -HSM or without",
                ));
            }
        };
        let bits = self.bits.unwrap_or(bits);
        let sizes = || KeyType::all().filter(|key_type| key_type.info().family == family);
        sizes()
            .filter(|key_type| u32::from(key_type.info().bits) == bits)
            .find(|key_type| {
                usages.is_none_or(|usages| {
                    !usages.is_empty() && usages.is_subset_of(key_type.info().usages)
                })
            })
            .ok_or_else(|| {
                let known = sizes().map(|key_type| key_type.info().bits.to_string());
                let mut known = known.collect::<Vec<_>>();
                known.dedup();
                invalid(format!(
                    "no key of this `kty` has this `key_size` and these `key_ops`; sizes are {}",
                    known.join(", ")
                ))
            })
    }

    fn curve_type(self, family: KeyFamily, default: &str) -> Result<KeyType> {
        let curve = match self.curve.unwrap_or(default) {
            "secp256k1" | "SECP256K1" => "P-256K",
            curve => curve,
        };
        KeyType::all()
            .find(|key_type| {
                key_type.info().family == family && key_type.info().curve == Some(curve)
            })
            .ok_or_else(|| {
                let known = KeyType::all()
                    .filter(|key_type| key_type.info().family == family)
                    .filter_map(|key_type| key_type.info().curve);
                invalid(format!(
                    "`crv` is one of {}",
                    known.collect::<Vec<_>>().join(", ")
                ))
            })
    }
}

/// What a key may be used for when nothing is said: everything, as in Key Vault, but transport and agreement only if the
/// key can do nothing else.
pub(super) fn default_usages(key_type: KeyType) -> Usages {
    let all = key_type.info().usages.without(SPECIAL);
    let without_agreement = all.without(Usages::of(&[Usage::DeriveBits]));
    if without_agreement.is_empty() {
        all
    } else {
        without_agreement
    }
}

/// Reads `key_ops`.
pub(super) fn usages(names: &[Text<'_>]) -> Result<Usages> {
    names
        .iter()
        .map(|name| name.as_str().parse::<Usage>())
        .collect::<Result<_>>()
        .map_err(|error| invalid(format!("`key_ops`: {}", error.message())))
}

/// Our keys are in an HSM, and say so as Key Vault does.
pub(crate) fn hsm_kty(family: KeyFamily) -> &'static str {
    match family {
        KeyFamily::Ec => "EC-HSM",
        KeyFamily::Rsa => "RSA-HSM",
        KeyFamily::Okp => "OKP-HSM",
        KeyFamily::Akp => "AKP-HSM",
        KeyFamily::Oct => "oct-HSM",
        other => other.kty(),
    }
}

/// Key Vault's name of a curve.
pub(crate) fn key_vault_curve(curve: &str) -> &str {
    match curve {
        "secp256k1" => "P-256K",
        curve => curve,
    }
}

/// The size of a key that was wrapped under an RSA key of 2048 to 4096 bits and AES-KWP: the lengths do not overlap. Where
/// nobody says it, as with RSA and symmetric keys of BYOK files, this is how to know.
pub(super) fn transferred_bits(kty: Option<&str>, len: usize) -> Option<u32> {
    match kty?.strip_suffix("-HSM").unwrap_or(kty?) {
        "RSA" => Some(match len {
            ..1900 => 2048,
            1900..2450 => 3072,
            _ => 4096,
        }),
        "oct" => {
            [256, 384, 512]
                .into_iter()
                .find_map(|wrapper| match len.checked_sub(wrapper)? {
                    24 => Some(128),
                    32 => Some(192),
                    40 => Some(256),
                    56 => Some(384),
                    72 => Some(512),
                    _ => None,
                })
        }
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(
        kty: &str,
        curve: Option<&str>,
        bits: Option<u32>,
        ops: Option<&[Usage]>,
    ) -> Option<KeyType> {
        let kind = KeyKind {
            kty: Some(kty),
            curve,
            bits,
        };
        kind.key_type(ops.map(Usages::of)).ok()
    }

    #[test]
    fn kinds_are_told_apart() {
        use Usage::{DeriveKey, Encrypt, Sign, WrapKey};
        let cases = [
            (read("EC-HSM", None, None, None), Some(KeyType::EcP256)),
            (
                read("EC", Some("P-256K"), None, None),
                Some(KeyType::EcP256K),
            ),
            (read("EC", Some("P-1"), None, None), None),
            (read("RSA", None, None, None), Some(KeyType::Rsa2048)),
            (
                read("RSA-HSM", None, Some(4096), Some(&[Sign])),
                Some(KeyType::Rsa4096),
            ),
            (read("RSA", None, Some(1024), None), None),
            (read("oct-HSM", None, None, None), Some(KeyType::Aes256)),
            (
                read("oct", None, Some(128), Some(&[WrapKey])),
                Some(KeyType::Aes128),
            ),
            (
                read("oct-HSM", None, None, Some(&[Sign])),
                Some(KeyType::HmacSha256),
            ),
            (
                read("oct-HSM", None, Some(512), None),
                Some(KeyType::HmacSha512),
            ),
            (
                read("oct-HSM", None, Some(256), Some(&[DeriveKey])),
                Some(KeyType::Kdk256),
            ),
            (read("oct-HSM", None, Some(512), Some(&[Encrypt])), None),
            (
                read("OKP", Some("X25519"), None, None),
                Some(KeyType::X25519),
            ),
            (
                read("AKP-HSM", Some("ML-DSA-65"), None, None),
                Some(KeyType::MlDsa65),
            ),
            (read("DSA", None, None, None), None),
        ];
        for (at, (found, expected)) in cases.into_iter().enumerate() {
            assert_eq!(found, expected, "case {at}");
        }
    }

    #[test]
    fn every_type_has_usages_when_nothing_is_said() {
        for key_type in KeyType::all() {
            let spec = hsm_core::KeySpec::new(key_type, default_usages(key_type)).unwrap();
            if key_type.info().family != KeyFamily::Oct {
                let kind = KeyKind::known(key_type);
                assert_eq!(kind.key_type(Some(spec.usages)).unwrap(), key_type);
            }
        }
    }
}
