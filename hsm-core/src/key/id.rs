//! How a key is named: [`KeyName`], [`VersionId`], and [`KeyRef`] for the two together.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};
use smol_str::SmolStr;

use crate::error::{Error, Result, invalid};
use crate::limits::NAME_LEN_MAX;

/// The unique name of a key: 1 to 127 ASCII letters, digits and hyphens, as in Key Vault. Case matters.
///
/// Cheap to clone: short names are copied, so that threads do not meet at a reference count.
///
/// ```
/// use hsm_core::KeyName;
///
/// let name: KeyName = "payments-2026".parse()?;
/// assert!("payments/2026".parse::<KeyName>().is_err());
/// # Ok::<(), hsm_core::Error>(())
/// ```
#[derive(Clone, Debug, Eq, Hash, Ord, PartialEq, PartialOrd, Serialize)]
pub struct KeyName(SmolStr);

impl KeyName {
    /// Checks and takes a name.
    ///
    /// # Errors
    ///
    /// [`InvalidInput`](crate::ErrorKind::InvalidInput) if it is empty, longer than [`NAME_LEN_MAX`] or has another
    /// character.
    pub fn new(name: &str) -> Result<Self> {
        check_name("a key name", name)?;
        Ok(Self(name.into()))
    }

    /// The name.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

/// Checks a name of a key, user or role against the one rule for names.
pub(crate) fn check_name(what: &str, name: &str) -> Result<()> {
    if (1..=NAME_LEN_MAX).contains(&name.len())
        && name
            .bytes()
            .all(|byte| byte.is_ascii_alphanumeric() || byte == b'-')
    {
        return Ok(());
    }
    Err(invalid(format!(
        "{what} is 1 to {NAME_LEN_MAX} ASCII letters, digits and hyphens"
    )))
}

impl FromStr for KeyName {
    type Err = Error;

    fn from_str(name: &str) -> Result<Self> {
        Self::new(name)
    }
}

impl fmt::Display for KeyName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(&self.0)
    }
}

impl std::borrow::Borrow<str> for KeyName {
    fn borrow(&self) -> &str {
        &self.0
    }
}

impl<'de> Deserialize<'de> for KeyName {
    fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let name = std::borrow::Cow::<str>::deserialize(deserializer)?;
        Self::new(&name).map_err(serde::de::Error::custom)
    }
}

/// The identifier of one version of a key: 128 random bits, written as 32 lower-case hex digits, as in Key Vault.
#[derive(Clone, Copy, Eq, Hash, Ord, PartialEq, PartialOrd)]
pub struct VersionId(u128);

impl VersionId {
    /// The version with these random bytes.
    #[must_use]
    pub const fn from_bytes(bytes: [u8; 16]) -> Self {
        Self(u128::from_be_bytes(bytes))
    }

    /// The 16 bytes of the identifier.
    #[must_use]
    pub const fn to_bytes(self) -> [u8; 16] {
        self.0.to_be_bytes()
    }
}

impl FromStr for VersionId {
    type Err = Error;

    fn from_str(text: &str) -> Result<Self> {
        let lower_hex = |byte: u8| byte.is_ascii_digit() || (b'a'..=b'f').contains(&byte);
        if text.len() != 32 || !text.bytes().all(lower_hex) {
            return Err(invalid("a key version is 32 lower-case hex digits"));
        }
        u128::from_str_radix(text, 16)
            .map(Self)
            .map_err(|_| invalid("a key version is 32 lower-case hex digits"))
    }
}

impl fmt::Display for VersionId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:032x}", self.0)
    }
}

impl fmt::Debug for VersionId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "VersionId({self})")
    }
}

impl Serialize for VersionId {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        if serializer.is_human_readable() {
            serializer.collect_str(self)
        } else {
            self.to_bytes().serialize(serializer)
        }
    }
}

impl<'de> Deserialize<'de> for VersionId {
    fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        if deserializer.is_human_readable() {
            let text = std::borrow::Cow::<str>::deserialize(deserializer)?;
            text.parse().map_err(serde::de::Error::custom)
        } else {
            <[u8; 16]>::deserialize(deserializer).map(Self::from_bytes)
        }
    }
}

/// A key and, where it matters, which version: without one the current version is meant.
///
/// ```
/// use hsm_core::KeyRef;
///
/// let latest: KeyRef = "payments".parse()?;
/// assert_eq!(latest.version, None);
/// let one: KeyRef = "payments/0123456789abcdef0123456789abcdef".parse()?;
/// assert_eq!(one.to_string(), "payments/0123456789abcdef0123456789abcdef");
/// # Ok::<(), hsm_core::Error>(())
/// ```
#[derive(Clone, Debug, Eq, Hash, Ord, PartialEq, PartialOrd)]
#[expect(
    clippy::exhaustive_structs,
    reason = "a name and perhaps a version is all there is to say"
)]
pub struct KeyRef {
    /// The key.
    pub name: KeyName,
    /// The version; `None` is the current one.
    pub version: Option<VersionId>,
}

impl KeyRef {
    /// One version of a key.
    #[must_use]
    pub fn version(name: KeyName, version: VersionId) -> Self {
        Self {
            name,
            version: Some(version),
        }
    }
}

impl From<KeyName> for KeyRef {
    fn from(name: KeyName) -> Self {
        Self {
            name,
            version: None,
        }
    }
}

impl FromStr for KeyRef {
    type Err = Error;

    fn from_str(text: &str) -> Result<Self> {
        Ok(match text.split_once('/') {
            Some((name, version)) => Self::version(name.parse()?, version.parse()?),
            None => text.parse::<KeyName>()?.into(),
        })
    }
}

impl fmt::Display for KeyRef {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.version {
            Some(version) => write!(f, "{}/{version}", self.name),
            None => write!(f, "{}", self.name),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_have_one_rule() {
        assert!(KeyName::new(&"a".repeat(127)).is_ok());
        for bad in [
            "",
            "a b",
            "a/b",
            "ä",
            "..",
            "a\0",
            &"a".repeat(128),
            &"a".repeat(10_000),
        ] {
            let error = KeyName::new(bad).unwrap_err();
            assert_eq!(
                error.to_string(),
                "invalid input: a key name is 1 to 127 ASCII letters, digits and hyphens"
            );
        }
    }

    #[test]
    fn versions_have_one_spelling() {
        let text = "00000000000000000000000000abcdef";
        assert_eq!(text.parse::<VersionId>().unwrap().to_string(), text);
        for bad in [
            "",
            "abc",
            "00000000000000000000000000ABCDEF",
            "+0000000000000000000000000abcdef",
        ] {
            assert!(bad.parse::<VersionId>().is_err(), "{bad}");
        }
    }
}
