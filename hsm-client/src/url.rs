//! [`Url`]: where an HSM is.

mod state;

use std::fmt;
use std::net::{Ipv4Addr, Ipv6Addr};
use std::path::{Path, PathBuf};
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
///
/// let Url::Tpm(tpm) = "tpm:/dev/tpmrm0?folder=/var/lib/hsm/payments".parse()? else { panic!() };
/// assert_eq!(tpm.device(), Some("/dev/tpmrm0".as_ref()));
/// assert_eq!(tpm.folder(), Some("/var/lib/hsm/payments".as_ref()));
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
    /// `tpm:PATH` or `tpm://HOST:PORT`, an HSM whose keys live in a TPM.
    Tpm(TpmAddress),
    /// `unix:PATH`, an HSM behind a server on the same machine, which listens at a Unix socket.
    Unix(PathBuf),
}

/// The host and port of a server.
///
/// The host is a name of letters, digits and hyphens (RFC 1123), an IPv4 address, or an IPv6 address in brackets.
///
/// Part of a [`Url`].
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
                "`//{}` names no host; what comes after `//` in an HSM's URL is `HOST` or `HOST:PORT`, without user, path, query or fragment",
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

/// Where a TPM is, and which folder has the rest of the HSM.
///
/// | URL | what |
/// |---|---|
/// | `tpm:PATH` | the device of the kernel at `PATH`, which is absolute: `/dev/tpmrm0`, which processes share, or `/dev/tpm0` |
/// | `tpm://HOST:PORT` | a simulator over TCP, for tests |
///
/// Behind either may come `?folder=PATH`: the folder of the store, the audit log and the name of the TPM's root key. The
/// path is taken as it is, with no escapes, to the end of the URL. The path of the device has no `?` in it.
///
/// Part of a [`Url`].
#[derive(Clone, Debug, Eq, Hash, PartialEq)]
pub struct TpmAddress {
    place: TpmPlace,
    folder: Option<PathBuf>,
}

#[derive(Clone, Debug, Eq, Hash, PartialEq)]
enum TpmPlace {
    Device(PathBuf),
    /// An address with a port.
    Simulator(Address),
}

impl TpmAddress {
    /// The device of the kernel, if it is one.
    #[must_use]
    pub fn device(&self) -> Option<&Path> {
        match &self.place {
            TpmPlace::Device(path) => Some(path),
            TpmPlace::Simulator(_) => None,
        }
    }

    /// The address of the simulator, if it is one.
    #[must_use]
    pub fn simulator(&self) -> Option<&Address> {
        match &self.place {
            TpmPlace::Device(_) => None,
            TpmPlace::Simulator(address) => Some(address),
        }
    }

    /// The folder that the URL names. Where it names none, [`folder_or_default`](Self::folder_or_default) has one.
    #[must_use]
    pub fn folder(&self) -> Option<&Path> {
        self.folder.as_deref()
    }

    fn read(text: &str) -> Result<Self, Error> {
        let (place, folder) = match text.split_once('?') {
            None => (text, None),
            Some((place, query)) => match query.strip_prefix("folder=") {
                Some(folder) if is_path(folder) => (place, Some(folder.into())),
                _ => {
                    return Err(invalid(
                        "behind the `?` of a `tpm:` URL comes `folder=PATH` and nothing else",
                    ));
                }
            },
        };
        let place = match place.strip_prefix("//") {
            Some(address) => TpmPlace::Simulator(Self::read_simulator(address)?),
            None if place.starts_with('/') && is_path(place) => TpmPlace::Device(place.into()),
            None => {
                return Err(invalid(
                    "a `tpm:` URL is `tpm:PATH` with the absolute path of a device, such as `tpm:/dev/tpmrm0`, or `tpm://HOST:PORT`",
                ));
            }
        };
        Ok(Self { place, folder })
    }

    fn read_simulator(text: &str) -> Result<Address, Error> {
        let address = Address::read(text)?;
        if address.port.is_none() || !address.slash.is_empty() {
            return Err(invalid(
                "the URL of a TPM simulator is `tpm://HOST:PORT`, without a slash behind it",
            ));
        }
        Ok(address)
    }
}

/// The place of the TPM, without the folder.
impl fmt::Display for TpmAddress {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.place {
            TpmPlace::Device(path) => write!(f, "{}", path.display()),
            TpmPlace::Simulator(address) => write!(f, "//{address}"),
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
            Some(("tpm", rest)) => TpmAddress::read(rest).map(Self::Tpm),
            Some(("unix", path)) if is_path(path) => Ok(Self::Unix(path.into())),
            Some(("https", rest)) if rest.starts_with("//") => {
                Address::read(&rest[2..]).map(Self::Https)
            }
            Some(("http", _)) => Err(invalid(
                "an HSM is not reached over plain HTTP; use `https://HOST`, or `unix:PATH` on the same machine",
            )),
            _ => Err(invalid(
                "the URL of an HSM is `soft:PATH` (a folder), `tpm:PATH` (a TPM), `memory:`, `https://HOST` or `unix:PATH` (a socket)",
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
            Self::Tpm(tpm) => {
                write!(f, "tpm:{tpm}")?;
                match tpm.folder() {
                    Some(folder) => write!(f, "?folder={}", folder.display()),
                    None => Ok(()),
                }
            }
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
                "tpm:.*",
                "tpm:/[^?\0]{1,8}",
                r"tpm:/{0,2}.{1,12}(\?folder=.*)?",
                r"tpm://[a-z0-9.-]{1,12}:[0-9]{0,6}/?(\?folder=.{0,9})?",
            ]
        ) {
            if let Ok(read) = url.parse::<Url>() {
                prop_assert_eq!(read.to_string(), url);
            }
        }

        #[test]
        fn devices_and_folders_come_out_as_they_went_in(device in "/[^?/\0][^?\0]{0,9}", folder in "[^\0]{1,9}") {
            let Ok(Url::Tpm(tpm)) = format!("tpm:{device}?folder={folder}").parse() else {
                panic!("{device} {folder}")
            };
            prop_assert_eq!(tpm.device(), Some(Path::new(&device)));
            prop_assert_eq!(tpm.folder(), Some(Path::new(&folder)));
            prop_assert_eq!(tpm.simulator(), None);
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
        for (good, host, port, folder) in [
            ("tpm://127.0.0.1:2321", "127.0.0.1", 2321, None),
            ("tpm://[::1]:2321", "[::1]", 2321, None),
            ("tpm://tpm:1?folder=a?b&c=d", "tpm", 1, Some("a?b&c=d")),
        ] {
            let Url::Tpm(tpm) = good.parse().unwrap() else {
                panic!("{good}")
            };
            let address = tpm.simulator().unwrap();
            assert_eq!((address.host(), address.port()), (host, port), "{good}");
            assert_eq!(tpm.folder(), folder.map(Path::new), "{good}");
            assert_eq!(tpm.device(), None, "{good}");
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
            "tpm:",
            "tpm:tpmrm0",
            "tpm:dev/tpmrm0",
            "tpm:/dev/tpm\0",
            "tpm:?folder=a",
            "tpm:/dev/tpmrm0?",
            "tpm:/dev/tpmrm0?folder=",
            "tpm:/dev/tpmrm0?folder=a\0b",
            "tpm:/dev/tpmrm0?Folder=a",
            "tpm:/dev/tpmrm0?pcr=7&folder=a",
            "tpm:/dev/tpmrm0??folder=a",
            "tpm://",
            "tpm:///dev/tpmrm0",
            "tpm://127.0.0.1",
            "tpm://127.0.0.1:",
            "tpm://127.0.0.1:2321/",
            "tpm://127.0.0.1:2321/?folder=a",
            "tpm://user@127.0.0.1:2321",
            "TPM:/dev/tpmrm0",
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
