//! [`KeySpec`]: what a device must know to make a key, and [`Usages`]: what the key may be used for.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};

use super::PcrSelection;
use crate::algorithm::{Algorithm, KeyType, Operation};
use crate::error::{Error, ErrorKind, Result, invalid};

/// One thing that a key may be used for: JOSE `key_ops` (RFC 7517 section 4.3), `import` of Key Vault, and
/// `encapsulate` and `decapsulate` as in PKCS#11 3.2 (`CKA_ENCAPSULATE`, `CKA_DECAPSULATE`).
#[derive(Clone, Copy, Debug, Eq, Hash, Ord, PartialEq, PartialOrd)]
#[non_exhaustive]
pub enum Usage {
    /// Sign, or compute a MAC.
    Sign,
    /// Verify a signature or a MAC.
    Verify,
    /// Encrypt data.
    Encrypt,
    /// Decrypt data.
    Decrypt,
    /// Wrap key bytes that the caller holds.
    WrapKey,
    /// Unwrap key bytes into the caller's hands.
    UnwrapKey,
    /// Derive secrets with a KDF.
    DeriveKey,
    /// Agree on a shared secret (Diffie-Hellman).
    DeriveBits,
    /// Unwrap other keys into the HSM. Goes with `export` only, so that no caller can unwrap such a blob into its own
    /// hands.
    Import,
    /// Wrap other, exportable keys of the HSM. Goes with `import` only.
    Export,
    /// Make a shared secret, and encapsulate it to the key.
    Encapsulate,
    /// Take a shared secret out of what encapsulates it.
    Decapsulate,
}

const USAGES: [(Usage, &str); 12] = [
    (Usage::Sign, "sign"),
    (Usage::Verify, "verify"),
    (Usage::Encrypt, "encrypt"),
    (Usage::Decrypt, "decrypt"),
    (Usage::WrapKey, "wrapKey"),
    (Usage::UnwrapKey, "unwrapKey"),
    (Usage::DeriveKey, "deriveKey"),
    (Usage::DeriveBits, "deriveBits"),
    (Usage::Import, "import"),
    (Usage::Export, "export"),
    (Usage::Encapsulate, "encapsulate"),
    (Usage::Decapsulate, "decapsulate"),
];

impl Usage {
    /// The JOSE or Key Vault name.
    #[must_use]
    pub const fn name(self) -> &'static str {
        USAGES[self as usize].1
    }
}

impl FromStr for Usage {
    type Err = Error;

    fn from_str(name: &str) -> Result<Self> {
        USAGES
            .iter()
            .find(|(_, known)| *known == name)
            .map(|(usage, _)| *usage)
            .ok_or_else(|| {
                let known = USAGES.map(|(_, name)| name).join(", ");
                invalid(format!("unknown key operation; expected one of {known}"))
            })
    }
}

/// A set of [`Usage`]s.
///
/// ```
/// use hsm_core::{Usage, Usages};
///
/// let usages = Usages::of(&[Usage::Sign, Usage::Verify]);
/// assert!(usages.contains(Usage::Sign));
/// assert_eq!(usages.to_string(), "sign verify");
/// ```
#[derive(Clone, Copy, Default, Eq, Hash, PartialEq)]
pub struct Usages(u16);

impl Usages {
    /// The empty set.
    pub const NONE: Self = Self(0);

    /// The set of `usages`.
    #[must_use]
    pub const fn of(usages: &[Usage]) -> Self {
        let mut bits = 0;
        let mut at = 0;
        while at < usages.len() {
            bits |= 1 << usages[at] as u16;
            at += 1;
        }
        Self(bits)
    }

    /// Whether `usage` is in the set.
    #[must_use]
    pub const fn contains(self, usage: Usage) -> bool {
        self.0 & (1 << usage as u16) != 0
    }

    /// Whether every usage of `self` is in `other`.
    #[must_use]
    pub const fn is_subset_of(self, other: Self) -> bool {
        self.0 & !other.0 == 0
    }

    /// The usages that are in `self` and not in `other`.
    #[must_use]
    pub const fn without(self, other: Self) -> Self {
        Self(self.0 & !other.0)
    }

    /// Whether the set is empty.
    #[must_use]
    pub const fn is_empty(self) -> bool {
        self.0 == 0
    }

    /// The usages of the set, in the order of [`Usage`].
    pub fn iter(self) -> impl Iterator<Item = Usage> {
        USAGES
            .into_iter()
            .map(|(usage, _)| usage)
            .filter(move |usage| self.contains(*usage))
    }

    /// The set as bits, one per [`Usage`] in their order, for encodings.
    #[must_use]
    pub const fn bits(self) -> u16 {
        self.0
    }

    /// The set that [`bits`](Self::bits) made; nothing if a bit stands for no usage.
    #[must_use]
    pub const fn from_bits(bits: u16) -> Option<Self> {
        if bits >> USAGES.len() == 0 {
            Some(Self(bits))
        } else {
            None
        }
    }
}

impl FromIterator<Usage> for Usages {
    fn from_iter<I: IntoIterator<Item = Usage>>(usages: I) -> Self {
        Self(
            usages
                .into_iter()
                .fold(0, |bits, usage| bits | 1 << usage as u16),
        )
    }
}

impl fmt::Display for Usages {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (at, usage) in self.iter().enumerate() {
            if at > 0 {
                f.write_str(" ")?;
            }
            f.write_str(usage.name())?;
        }
        Ok(())
    }
}

impl fmt::Debug for Usages {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Usages({self})")
    }
}

/// As bits in binary formats, as a list of names in those for people.
impl Serialize for Usages {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        if serializer.is_human_readable() {
            serializer.collect_seq(self.iter().map(Usage::name))
        } else {
            serializer.serialize_u16(self.0)
        }
    }
}

impl<'de> Deserialize<'de> for Usages {
    fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        use serde::de::Error as _;
        if deserializer.is_human_readable() {
            Vec::<String>::deserialize(deserializer)?
                .iter()
                .map(|name| name.parse::<Usage>())
                .collect::<Result<_>>()
                .map_err(D::Error::custom)
        } else {
            Self::from_bits(u16::deserialize(deserializer)?)
                .ok_or_else(|| D::Error::custom("unknown usage bits"))
        }
    }
}

/// What a device must know to make a key, and enforces itself: type, usages, and whether it may ever leave wrapped.
///
/// The rest of a key's attributes is the engine's; it reaches the device as a [`Binding`](crate::Binding).
#[derive(Clone, Copy, Debug, Eq, PartialEq, Serialize, Deserialize)]
#[serde(try_from = "Encoded", into = "Encoded")]
#[non_exhaustive]
pub struct KeySpec {
    /// Type and size.
    pub key_type: KeyType,
    /// What the key may be used for.
    pub usages: Usages,
    /// Whether the key may leave the HSM, wrapped under a key with the usage `export`.
    pub exportable: bool,
    /// The one algorithm that the key may be used with (`CKA_ALLOWED_MECHANISMS` of PKCS#11); `None` is any that fits.
    pub algorithm: Option<Algorithm>,
    /// The registers of the TPM that must hold what they held when the key was made; `None` if the key works however the
    /// machine was started.
    pub boot_state: Option<PcrSelection>,
}

/// A [`KeySpec`] in stores and bindings.
#[derive(Serialize, Deserialize)]
struct Encoded {
    key_type: KeyType,
    usages: Usages,
    /// Whether the key is exportable, in the lowest bit; above it the registers of its boot state. In a binary format a
    /// spec without a boot state has the bytes that it had before there were any.
    flags: u32,
    algorithm: Option<Algorithm>,
}

impl From<KeySpec> for Encoded {
    fn from(spec: KeySpec) -> Self {
        Self {
            key_type: spec.key_type,
            usages: spec.usages,
            flags: u32::from(spec.exportable) | spec.boot_state.map_or(0, PcrSelection::bits) << 1,
            algorithm: spec.algorithm,
        }
    }
}

impl TryFrom<Encoded> for KeySpec {
    type Error = Error;

    fn try_from(encoded: Encoded) -> Result<Self> {
        let boot_state = match encoded.flags >> 1 {
            0 => None,
            bits => {
                let known = PcrSelection::from_bits(bits);
                Some(known.ok_or_else(|| invalid("unknown flags of a key"))?)
            }
        };
        Ok(Self {
            key_type: encoded.key_type,
            usages: encoded.usages,
            exportable: encoded.flags & 1 != 0,
            algorithm: encoded.algorithm,
            boot_state,
        })
    }
}

impl KeySpec {
    /// A key of `key_type` for `usages` that never leaves the HSM, with any algorithm that fits.
    ///
    /// Bind AES keys to one algorithm with [`only`](Self::only), as typed keys are: whoever may encrypt with AES-CTR
    /// under a chosen IV can decrypt what AES-GCM encrypted under the same key.
    ///
    /// # Errors
    ///
    /// [`InvalidInput`](crate::ErrorKind::InvalidInput) if `usages` is empty, holds one that the type cannot have, or
    /// mixes `import`/`export` with others.
    pub fn new(key_type: KeyType, usages: Usages) -> Result<Self> {
        const TRANSPORT: Usages = Usages::of(&[Usage::Import, Usage::Export]);
        let possible = key_type.info().usages;
        if usages.is_empty() {
            return Err(invalid(format!(
                "a key needs at least one usage; {key_type} may have: {possible}"
            )));
        }
        if !usages.is_subset_of(possible) {
            return Err(invalid(format!(
                "a key of type {key_type} cannot be used for: {}; it may have: {possible}",
                usages.without(possible)
            )));
        }
        if !usages.without(TRANSPORT).is_empty() && !usages.is_subset_of(usages.without(TRANSPORT))
        {
            return Err(invalid(
                "the usages import and export do not mix with others: a key that wraps keys of the HSM must not unwrap them into a caller's hands",
            ));
        }
        Ok(Self {
            key_type,
            usages,
            exportable: false,
            algorithm: None,
            boot_state: None,
        })
    }

    /// The same key, for one algorithm and no other. Fixed for the life of the key.
    ///
    /// # Errors
    ///
    /// [`InvalidInput`](crate::ErrorKind::InvalidInput) if the algorithm does not fit the type.
    pub fn only(mut self, algorithm: Algorithm) -> Result<Self> {
        if !algorithm.fits(self.key_type) {
            return Err(invalid(format!(
                "algorithm {algorithm} does not work with a key of type {}",
                self.key_type
            )));
        }
        self.algorithm = Some(algorithm);
        Ok(self)
    }

    /// Checks that the key does `operation` with `algorithm`.
    ///
    /// # Errors
    ///
    /// [`InvalidInput`](crate::ErrorKind::InvalidInput) if the algorithm does not fit, naming those that do;
    /// [`KeyState`](crate::ErrorKind::KeyState) if the key is for another one.
    pub fn check(&self, operation: Operation, algorithm: Algorithm) -> Result<()> {
        algorithm.check(operation, self.key_type)?;
        self.check_only(algorithm)
    }

    /// Checks that the key is not for another algorithm.
    ///
    /// # Errors
    ///
    /// [`KeyState`](crate::ErrorKind::KeyState), naming the one that it is for.
    pub fn check_only(&self, algorithm: Algorithm) -> Result<()> {
        match self.algorithm {
            Some(only) if only != algorithm => Err(Error::new(
                ErrorKind::KeyState,
                format!("the key was made for {only} and no other algorithm, {algorithm} included"),
            )),
            _ => Ok(()),
        }
    }

    /// Checks that the key may be used for `usage`.
    ///
    /// ```
    /// use hsm_core::{ErrorKind, KeySpec, KeyType, Usage, Usages};
    ///
    /// let spec = KeySpec::new(KeyType::EcP256, Usages::of(&[Usage::Sign]))?;
    /// spec.check_usage(Usage::Sign)?;
    /// let error = spec.check_usage(Usage::Verify).unwrap_err();
    /// assert_eq!(error.kind(), ErrorKind::KeyState);
    /// # Ok::<(), hsm_core::Error>(())
    /// ```
    ///
    /// # Errors
    ///
    /// [`KeyState`](crate::ErrorKind::KeyState), naming the usages that there are.
    pub fn check_usage(&self, usage: Usage) -> Result<()> {
        if self.usages.contains(usage) {
            return Ok(());
        }
        Err(Error::new(
            ErrorKind::KeyState,
            format!(
                "the key may not be used for: {}; it may be used for: {}",
                usage.name(),
                self.usages
            ),
        ))
    }

    /// The same key without some of its usages: what [`reseal`](crate::Device::reseal) seals.
    ///
    /// ```
    /// use hsm_core::{KeySpec, KeyType, Usage, Usages};
    ///
    /// let (sign, verify) = (Usages::of(&[Usage::Sign]), Usages::of(&[Usage::Verify]));
    /// let spec = KeySpec::new(KeyType::EcP256, Usages::of(&[Usage::Sign, Usage::Verify]))?;
    /// let rest = spec.without_usages(sign)?;
    /// assert_eq!(rest.usages, verify);
    /// assert!(rest.without_usages(verify).is_err());
    /// # Ok::<(), hsm_core::Error>(())
    /// ```
    ///
    /// # Errors
    ///
    /// [`InvalidInput`](crate::ErrorKind::InvalidInput) if none is left.
    pub fn without_usages(self, without: Usages) -> Result<Self> {
        let usages = self.usages.without(without);
        match usages.is_empty() {
            true => Err(invalid("a key needs at least one usage")),
            false => Ok(Self { usages, ..self }),
        }
    }

    /// The same key with other usages.
    ///
    /// # Errors
    ///
    /// As [`new`](Self::new).
    pub(crate) fn with_usages(self, usages: Usages) -> Result<Self> {
        let Self { usages, .. } = Self::new(self.key_type, usages)?;
        Ok(Self { usages, ..self })
    }

    /// The same key, allowed to leave the HSM wrapped. Fixed for the life of the key.
    #[must_use]
    pub fn exportable(mut self) -> Self {
        self.exportable = true;
        self
    }

    /// The same key, usable only while `registers` of the TPM hold what they hold when it is made. Fixed for the life of the
    /// key. Devices without a TPM refuse to make it.
    ///
    /// ```
    /// use hsm_core::{KeySpec, KeyType, PcrSelection, Usage, Usages};
    ///
    /// let spec = KeySpec::new(KeyType::EcP256, Usages::of(&[Usage::Sign]))?;
    /// let bound = spec.in_boot_state(PcrSelection::of(&[0, 7])?);
    /// assert_ne!(spec, bound);
    /// # Ok::<(), hsm_core::Error>(())
    /// ```
    #[must_use]
    pub fn in_boot_state(mut self, registers: PcrSelection) -> Self {
        self.boot_state = Some(registers);
        self
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn usages_stand_at_their_place() {
        for (at, (usage, name)) in USAGES.into_iter().enumerate() {
            assert_eq!(usage as usize, at);
            assert_eq!(name.parse::<Usage>().unwrap(), usage);
        }
    }

    #[test]
    fn a_transport_key_does_nothing_else() {
        let transport = Usages::of(&[Usage::Import, Usage::Export]);
        assert!(KeySpec::new(KeyType::Aes256, transport).is_ok());
        let mixed = Usages::of(&[Usage::Import, Usage::UnwrapKey]);
        let error = KeySpec::new(KeyType::Aes256, mixed).unwrap_err();
        assert!(error.to_string().contains("do not mix"), "{error}");
    }

    #[test]
    fn a_key_for_one_algorithm_refuses_the_others() {
        let spec = KeySpec::new(KeyType::Aes256, Usages::of(&[Usage::Encrypt])).unwrap();
        let gcm = spec.only(Algorithm::A256Gcm).unwrap();
        gcm.check(Operation::Encrypt, Algorithm::A256Gcm).unwrap();
        let error = gcm
            .check(Operation::Encrypt, Algorithm::A256Ctr)
            .unwrap_err();
        assert_eq!(error.kind(), ErrorKind::KeyState);
        spec.check(Operation::Encrypt, Algorithm::A256Ctr).unwrap();
        assert!(spec.only(Algorithm::A128Gcm).is_err());
    }

    #[test]
    fn stored_specs_are_those_of_before_there_were_boot_states() {
        let plain = KeySpec::new(KeyType::EcP256, Usages::of(&[Usage::Sign])).unwrap();
        for spec in [plain, plain.exportable()] {
            let before = (spec.key_type, spec.usages, spec.exportable, spec.algorithm);
            let stored = postcard::to_allocvec(&before).unwrap();
            assert_eq!(postcard::to_allocvec(&spec).unwrap(), stored);
        }
        let bound = plain
            .exportable()
            .in_boot_state(PcrSelection::of(&[0, 23]).unwrap());
        let stored = postcard::to_allocvec(&bound).unwrap();
        assert_eq!(postcard::from_bytes::<KeySpec>(&stored).unwrap(), bound);
        let unknown = (plain.key_type, plain.usages, 1_u32 << 25, plain.algorithm);
        let unknown = postcard::to_allocvec(&unknown).unwrap();
        assert!(postcard::from_bytes::<KeySpec>(&unknown).is_err());
    }

    #[test]
    fn impossible_usages_are_named() {
        let error = KeySpec::new(KeyType::EcP256, Usages::of(&[Usage::Encrypt])).unwrap_err();
        assert_eq!(
            error.to_string(),
            "invalid input: a key of type EC-P256 cannot be used for: encrypt; it may have: sign verify deriveBits"
        );
    }
}
