//! [`Url`]: where an HSM is.

use std::fmt;
use std::path::PathBuf;
use std::str::FromStr;

use hsm_core::{Error, ErrorKind};

/// Where an HSM is, as `Hsm::create` and `Hsm::open` take it in text.
///
/// ```
/// use hsm_client::Url;
///
/// let url: Url = "soft:./dev.hsm".parse()?;
/// assert_eq!(url, Url::Soft("./dev.hsm".into()));
/// assert_eq!(url.to_string(), "soft:./dev.hsm");
/// assert!("./dev.hsm".parse::<Url>().is_err());
/// # Ok::<(), hsm_client::Error>(())
/// ```
#[derive(Clone, Debug, Eq, Hash, PartialEq)]
#[non_exhaustive]
pub enum Url {
    /// `memory:`, an HSM that is gone when it is closed.
    Memory,
    /// `soft:PATH`, a software HSM in a folder.
    Soft(PathBuf),
}

impl FromStr for Url {
    type Err = Error;

    /// Fails with [`InvalidInput`](ErrorKind::InvalidInput), naming the forms that there are.
    fn from_str(url: &str) -> Result<Self, Error> {
        match url.split_once(':') {
            Some(("memory", "")) => Ok(Self::Memory),
            Some(("soft", path)) if !path.is_empty() && !path.contains('\0') => {
                Ok(Self::Soft(path.into()))
            }
            _ => Err(Error::new(
                ErrorKind::InvalidInput,
                "the URL of an HSM is `soft:PATH` (a folder) or `memory:`",
            )),
        }
    }
}

impl fmt::Display for Url {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Memory => f.write_str("memory:"),
            Self::Soft(path) => write!(f, "soft:{}", path.display()),
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn what_is_read_prints_as_it_was(url in prop_oneof![".*", "soft:.*", "memory:?.*"]) {
            if let Ok(read) = url.parse::<Url>() {
                prop_assert_eq!(read.to_string(), url);
            }
        }
    }

    #[test]
    fn what_is_no_url_is_refused() {
        for bad in [
            "",
            "soft",
            "soft:",
            "dev.hsm",
            "memory:x",
            "https://pool.example",
            "soft:a\0b",
        ] {
            let error = bad.parse::<Url>().unwrap_err();
            assert_eq!(error.kind(), ErrorKind::InvalidInput, "{bad}");
        }
    }
}
