//! [`Scope`]: where a role assignment holds.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};

use crate::error::{Error, Result, invalid};
use crate::key::KeyName;

/// Where a role assignment holds: the whole partition, all keys, or one key.
///
/// ```
/// use hsm_core::policy::Scope;
///
/// let scope: Scope = "/keys/payments".parse()?;
/// assert_eq!(scope.to_string(), "/keys/payments");
/// assert!("/keys/".parse::<Scope>().is_err());
/// # Ok::<(), hsm_core::Error>(())
/// ```
#[derive(Clone, Debug, Eq, Hash, Ord, PartialEq, PartialOrd)]
#[expect(
    clippy::exhaustive_enums,
    reason = "the three scopes of Managed HSM local RBAC"
)]
pub enum Scope {
    /// `/`: everything.
    Global,
    /// `/keys`: every key.
    Keys,
    /// `/keys/{name}`: one key, whether it exists or not.
    Key(KeyName),
}

impl fmt::Display for Scope {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Global => f.write_str("/"),
            Self::Keys => f.write_str("/keys"),
            Self::Key(name) => write!(f, "/keys/{name}"),
        }
    }
}

impl FromStr for Scope {
    type Err = Error;

    fn from_str(text: &str) -> Result<Self> {
        match text {
            "/" => Ok(Self::Global),
            "/keys" => Ok(Self::Keys),
            _ => text
                .strip_prefix("/keys/")
                .and_then(|name| KeyName::new(name).ok())
                .map(Self::Key)
                .ok_or_else(|| invalid("a scope is `/`, `/keys` or `/keys/{name}`")),
        }
    }
}

impl Serialize for Scope {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for Scope {
    fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = std::borrow::Cow::<str>::deserialize(deserializer)?;
        text.parse().map_err(serde::de::Error::custom)
    }
}
