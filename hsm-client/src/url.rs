//! [`Url`]: where an HSM is.

use std::fmt;
use std::net::{Ipv4Addr, Ipv6Addr};
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
///
/// let Url::Https(address) = "https://pool.example:8443".parse()? else { panic!() };
/// assert_eq!((address.host(), address.port()), ("pool.example", 8443));
/// # Ok::<(), hsm_client::Error>(())
/// ```
#[derive(Clone, Debug, Eq, Hash, PartialEq)]
#[non_exhaustive]
pub enum Url {
    /// `https://HOST` or `https://HOST:PORT`, an HSM behind a server.
    Https(Address),
    /// `memory:`, an HSM that is gone when it is closed.
    Memory,
    /// `soft:PATH`, a software HSM in a folder.
    Soft(PathBuf),
    /// `unix:PATH`, an HSM behind a server on the same machine, which listens at a Unix socket.
    Unix(PathBuf),
}

/// The host and port of a server.
///
/// The host is a name of letters, digits and hyphens (RFC 1123), an IPv4 address, or an IPv6 address in brackets.
#[derive(Clone, Debug, Eq, Hash, PartialEq)]
pub struct Address {
    /// As it was written.
    host: String,
    port: Option<u16>,
    slash: &'static str,
}

impl Address {
    /// The host as it was written, an IPv6 address with its brackets.
    #[must_use]
    pub fn host(&self) -> &str {
        &self.host
    }

    /// The port; 443 if none was written.
    #[must_use]
    pub fn port(&self) -> u16 {
        self.port.unwrap_or(HTTPS_PORT)
    }

    /// Reads `HOST`, `HOST:PORT`, and either with a slash at the end.
    fn read(text: &str) -> Result<Self, Error> {
        let (authority, slash) = match text.strip_suffix('/') {
            Some(authority) => (authority, "/"),
            None => (text, ""),
        };
        let host_len = if authority.starts_with('[') {
            authority.find(']').map_or(authority.len(), |end| end + 1)
        } else {
            authority.find(':').unwrap_or(authority.len())
        };
        let (host, port) = authority.split_at(host_len);
        if !is_host(host) {
            return Err(invalid(format!(
                "`https://{}` names no host; an HSM's URL is `https://HOST` or `https://HOST:PORT`, without user, path, query or fragment",
                text.escape_debug()
            )));
        }
        let port = match port.strip_prefix(':') {
            None if port.is_empty() => None,
            None => return Err(invalid("after the host of a URL comes `:PORT` or nothing")),
            Some(digits) => Some(read_port(digits).ok_or_else(|| {
                invalid("the port of a URL is a number from 1 to 65535, without leading zeros")
            })?),
        };
        Ok(Self {
            host: host.to_owned(),
            port,
            slash,
        })
    }
}

impl fmt::Display for Address {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.host)?;
        match self.port {
            Some(port) => write!(f, ":{port}"),
            None => Ok(()),
        }
    }
}

impl FromStr for Url {
    type Err = Error;

    /// Fails with [`InvalidInput`](ErrorKind::InvalidInput), naming the forms that there are.
    fn from_str(url: &str) -> Result<Self, Error> {
        match url.split_once(':') {
            Some(("memory", "")) => Ok(Self::Memory),
            Some(("soft", path)) if is_path(path) => Ok(Self::Soft(path.into())),
            Some(("unix", path)) if is_path(path) => Ok(Self::Unix(path.into())),
            Some(("https", rest)) if rest.starts_with("//") => {
                Address::read(&rest[2..]).map(Self::Https)
            }
            Some(("http", _)) => Err(invalid(
                "an HSM is not reached over plain HTTP; use `https://HOST`, or `unix:PATH` on the same machine",
            )),
            _ => Err(invalid(
                "the URL of an HSM is `soft:PATH` (a folder), `memory:`, `https://HOST` or `unix:PATH` (a socket)",
            )),
        }
    }
}

impl fmt::Display for Url {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Https(address) => write!(f, "https://{address}{}", address.slash),
            Self::Memory => f.write_str("memory:"),
            Self::Soft(path) => write!(f, "soft:{}", path.display()),
            Self::Unix(path) => write!(f, "unix:{}", path.display()),
        }
    }
}

fn is_path(path: &str) -> bool {
    !path.is_empty() && !path.contains('\0')
}

fn is_host(host: &str) -> bool {
    if let Some(address) = host.strip_prefix('[') {
        return address
            .strip_suffix(']')
            .is_some_and(|address| address.parse::<Ipv6Addr>().is_ok());
    }
    // What ends in a number, `0x7f` too, is an address (WHATWG URL, section 3.5), and then it must be a whole one.
    let last = host.rsplit('.').next().unwrap_or_default();
    let hex = last
        .get(..2)
        .is_some_and(|start| start.eq_ignore_ascii_case("0x"));
    if hex || last.bytes().all(|byte| byte.is_ascii_digit()) {
        return host.parse::<Ipv4Addr>().is_ok();
    }
    host.len() <= HOST_LEN_MAX && host.split('.').all(is_label)
}

fn is_label(label: &str) -> bool {
    (1..=LABEL_LEN_MAX).contains(&label.len())
        && !label.starts_with('-')
        && !label.ends_with('-')
        && label
            .bytes()
            .all(|byte| byte.is_ascii_alphanumeric() || byte == b'-')
}

fn read_port(digits: &str) -> Option<u16> {
    if digits.starts_with('0') || !digits.bytes().all(|byte| byte.is_ascii_digit()) {
        return None;
    }
    digits.parse().ok()
}

fn invalid(message: impl Into<std::borrow::Cow<'static, str>>) -> Error {
    Error::new(ErrorKind::InvalidInput, message)
}

const HTTPS_PORT: u16 = 443;

/// Longest name of a host (RFC 1035 section 2.3.4).
const HOST_LEN_MAX: usize = 253;

/// Longest part of a name between its dots (RFC 1035 section 2.3.4).
const LABEL_LEN_MAX: usize = 63;

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn what_is_read_prints_as_it_was(
            url in prop_oneof![
                ".*",
                "soft:.*",
                "unix:.*",
                "memory:?.*",
                "https://.*",
                "https://[a-zA-Z0-9.:/@-]{1,20}",
                r"https://\[[0-9a-f:.]{1,12}\](:[0-9]{0,6})?/?",
                "https://[a-z0-9.-]{1,12}(:[0-9]{0,6})?/?",
            ]
        ) {
            if let Ok(read) = url.parse::<Url>() {
                prop_assert_eq!(read.to_string(), url);
            }
        }

        #[test]
        fn nothing_but_a_host_and_port_is_in_an_address(url in "https://[a-z0-9.:/@?#%\\\\-]{1,20}") {
            if let Ok(Url::Https(address)) = url.parse::<Url>() {
                prop_assert!(!address.to_string().contains(['/', '@', '?', '#', '%', '\\']));
                prop_assert!(address.port() > 0);
            }
        }
    }

    #[test]
    fn hosts_are_names_and_addresses() {
        for (good, host, port) in [
            ("https://pool.example", "pool.example", 443),
            ("https://Pool.Example/", "Pool.Example", 443),
            ("https://localhost:8443", "localhost", 8443),
            ("https://127.0.0.1:8443/", "127.0.0.1", 8443),
            ("https://[::1]:8443", "[::1]", 8443),
            ("https://[2001:db8::1]", "[2001:db8::1]", 443),
            ("https://3com.example", "3com.example", 443),
        ] {
            let Url::Https(address) = good.parse().unwrap() else {
                panic!("{good}")
            };
            assert_eq!((address.host(), address.port()), (host, port), "{good}");
        }
        let path = "unix:/run/hsm.sock".parse::<Url>().unwrap();
        assert_eq!(path, Url::Unix("/run/hsm.sock".into()));
    }

    #[test]
    fn what_is_no_url_is_refused() {
        let long_label = format!("https://{}.example", "a".repeat(64));
        let long_name = format!("https://{}example", "a.".repeat(124));
        for bad in [
            "",
            "soft",
            "soft:",
            "dev.hsm",
            "memory:x",
            "soft:a\0b",
            "unix:",
            "unix:a\0b",
            "http://pool.example",
            "HTTPS://pool.example",
            "https:pool.example",
            "https:/pool.example",
            "https://",
            "https:///",
            "https://user@pool.example",
            "https://user:password@pool.example",
            "https://pool.example/keys",
            "https://pool.example//",
            "https://pool.example?a=b",
            "https://pool.example#a",
            "https://pool.example:",
            "https://pool.example:0",
            "https://pool.example:0443",
            "https://pool.example:65536",
            "https://pool.example:+443",
            "https://pool.example:443:443",
            "https://pool..example",
            "https://.example",
            "https://example.",
            "https://-a.example",
            "https://a-.example",
            "https://a_b.example",
            "https://p%6fol.example",
            "https://pööl.example",
            "https://1.2.3",
            "https://1.2.3.4.5",
            "https://256.0.0.1",
            "https://pool.1",
            "https://0x7f000001",
            "https://127.0.0.0X1",
            "https://[::1",
            "https://[::1]x",
            "https://[::g]",
            "https://[fe80::1%25eth0]",
            "https://::1",
            " https://pool.example",
            "https://pool.example ",
            "https://pool\\.example",
            &long_label,
            &long_name,
        ] {
            let error = bad.parse::<Url>().unwrap_err();
            assert_eq!(error.kind(), ErrorKind::InvalidInput, "{bad}");
        }
    }
}
