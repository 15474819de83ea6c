//! Bearer tokens: what a server asks for, where they come from, how long they are kept.

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use arc_swap::ArcSwapOption;
use async_trait::async_trait;
use base64ct::{Base64UrlUnpadded, Encoding};
use hsm_core::{Clock, Error, ErrorKind, Principal, Result, SecretBytes};
use http::HeaderValue;
use http::header::{HeaderMap, WWW_AUTHENTICATE};
use serde::Deserialize;
use tokio::sync::Mutex;

use super::transport::{Transport, Wiped, secret_header};
use crate::url::{Address, Url};

/// A token is renewed this long before it expires, or when half of its life is over, whichever is later.
pub const TOKEN_RENEWAL: Duration = Duration::from_secs(5 * 60);

/// A source that failed is asked again after this long at the earliest, while the token at hand still serves.
pub const TOKEN_RETRY: Duration = Duration::from_secs(10);

/// Where bearer tokens come from, for [`Credentials::Connection`](hsm_core::Credentials::Connection).
///
/// The HSM keeps what it is given until shortly before it expires, and asks once for all calls that wait. The future runs on
/// a thread of the SDK, under tokio.
///
/// ```
/// use hsm_client::async_trait;
/// use hsm_client::remote::{AccessToken, Challenge, TokenSource};
///
/// /// Asks a helper program, as git does.
/// #[derive(Debug)]
/// struct Helper;
///
/// #[async_trait]
/// impl TokenSource for Helper {
///     async fn token(&self, challenge: &Challenge) -> hsm_client::Result<AccessToken> {
///         let token = ask_helper(challenge.resource());
///         Ok(AccessToken::new(token).expires_in(std::time::Duration::from_secs(3600)))
///     }
/// }
/// # fn ask_helper(_: &str) -> String { String::new() }
/// ```
#[async_trait]
pub trait TokenSource: fmt::Debug + Send + Sync {
    /// Gets a new token for what the challenge names.
    ///
    /// # Errors
    ///
    /// [`Unauthenticated`](ErrorKind::Unauthenticated) if the authority refuses, [`Unreachable`](ErrorKind::Unreachable) if
    /// it does not answer; with [`Error::with_retry_after`] if it says when to ask again.
    async fn token(&self, challenge: &Challenge) -> Result<AccessToken>;
}

/// A bearer token. It is wiped when dropped and never printed.
///
/// What a [`TokenSource`] gives.
#[derive(Debug)]
#[must_use]
pub struct AccessToken {
    secret: SecretBytes,
    lifetime: Option<Duration>,
}

impl AccessToken {
    /// A token that serves until the server refuses it.
    pub fn new(token: impl AsRef<[u8]>) -> Self {
        Self {
            secret: SecretBytes::copy_from(token.as_ref()),
            lifetime: None,
        }
    }

    /// The token expires this long after it was issued.
    pub fn expires_in(mut self, lifetime: Duration) -> Self {
        self.lifetime = Some(lifetime);
        self
    }
}

/// What a server says about the tokens that it takes, in `WWW-Authenticate`. It fits the server, unless the HSM was opened
/// with [`danger_accept_foreign_challenges`](crate::OpenOptions::danger_accept_foreign_challenges).
#[derive(Clone)]
pub struct Challenge {
    authority: Address,
    tenant: String,
    resource: String,
    scope: String,
    pub(super) http: Transport,
    pub(super) timeout: Duration,
}

impl Challenge {
    /// The URL of the authority, with the tenant: `https://login.example/TENANT`.
    #[must_use]
    pub fn authority(&self) -> String {
        format!("https://{}/{}", self.authority, self.tenant)
    }

    /// The authority's host and port.
    #[must_use]
    pub fn authority_address(&self) -> &Address {
        &self.authority
    }

    /// What the token is for: `https://managedhsm.example`.
    #[must_use]
    pub fn resource(&self) -> &str {
        &self.resource
    }

    /// The same as a scope of OAuth 2.0: `https://managedhsm.example/.default`.
    #[must_use]
    pub fn scope(&self) -> &str {
        &self.scope
    }

    fn says_the_same(&self, other: &Self) -> bool {
        self.authority() == other.authority() && self.scope == other.scope
    }
}

impl fmt::Debug for Challenge {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Challenge")
            .field("authority", &self.authority())
            .field("scope", &self.scope)
            .finish_non_exhaustive()
    }
}

/// Whether a challenge must fit the server that sends it.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
pub(super) enum Fit {
    #[default]
    Checked,
    DangerUnchecked,
}

/// Reads challenges.
#[derive(Debug)]
pub(super) struct Challenges {
    /// The HSM that is asked; `None` over a Unix socket.
    pub(super) host: Option<Address>,
    pub(super) fit: Fit,
    pub(super) http: Transport,
    pub(super) timeout: Duration,
}

impl Challenges {
    /// The first challenge for a bearer token that names an authority.
    pub(super) fn read(&self, headers: &HeaderMap) -> Result<Option<Challenge>> {
        for header in headers.get_all(WWW_AUTHENTICATE) {
            let Some(parameters) = header.to_str().ok().and_then(bearer_parameters) else {
                continue;
            };
            let find = |name: &str| {
                parameters
                    .iter()
                    .find(|(found, _)| found.eq_ignore_ascii_case(name))
                    .map(|(_, value)| value.as_str())
            };
            let Some(authority) = find("authorization").or_else(|| find("authorization_uri"))
            else {
                continue;
            };
            let (authority, tenant) = split_url(authority)
                .ok_or_else(|| refused("the server's challenge names no authority"))?;
            let scope = match (find("scope"), find("resource")) {
                (Some(scope), _) => scope.to_owned(),
                (None, Some(resource)) => format!("{}/.default", resource.trim_end_matches('/')),
                (None, None) => return Err(refused("the server's challenge names no resource")),
            };
            let resource = scope.strip_suffix("/.default").unwrap_or(&scope).to_owned();
            self.check(&resource)?;
            return Ok(Some(Challenge {
                authority,
                tenant,
                resource,
                scope,
                http: self.http.clone(),
                timeout: self.timeout,
            }));
        }
        Ok(None)
    }

    /// A token for another service must not be shown to this one: whoever runs it could use it there. The host must be the
    /// resource's host, or below it, as official clients have it.
    fn check(&self, resource: &str) -> Result<()> {
        let (Fit::Checked, Some(host)) = (self.fit, &self.host) else {
            return Ok(());
        };
        let (of, _) = split_url(resource)
            .ok_or_else(|| refused("the resource in the server's challenge is no https URL"))?;
        let (ours, theirs) = (
            host.host().to_ascii_lowercase(),
            of.host().to_ascii_lowercase(),
        );
        let below = ours
            .strip_suffix(&theirs)
            .is_some_and(|rest| rest.is_empty() || rest.ends_with('.'));
        if below && of.port() == host.port() {
            return Ok(());
        }
        Err(refused(format!(
            "{host} asks for a token for {of}, which is another service; open the HSM with danger_accept_foreign_challenges if that is right"
        )))
    }
}

fn refused(message: impl Into<std::borrow::Cow<'static, str>>) -> Error {
    Error::new(ErrorKind::Unauthenticated, message)
}

/// `https://HOST[:PORT]/REST`.
fn split_url(url: &str) -> Option<(Address, String)> {
    let rest = url.strip_prefix("https://")?;
    let (host, path) = rest.split_once('/').unwrap_or((rest, ""));
    let Ok(Url::Https(address)) = format!("https://{host}").parse() else {
        return None;
    };
    let plain = |byte: u8| byte.is_ascii_alphanumeric() || b"-._/".contains(&byte);
    let path = path.trim_matches('/');
    (path.bytes().all(plain) && !path.contains("..")).then(|| (address, path.to_owned()))
}

/// The parameters of a `Bearer` challenge (RFC 9110 section 11.6.1), values without their quotes.
fn bearer_parameters(header: &str) -> Option<Vec<(String, String)>> {
    let (scheme, mut rest) = header.trim().split_once(' ')?;
    if !scheme.eq_ignore_ascii_case("bearer") {
        return None;
    }
    let mut parameters = Vec::new();
    loop {
        rest = rest.trim_start_matches([' ', '\t', ',']);
        if rest.is_empty() {
            return Some(parameters);
        }
        let (name, value) = rest.split_once('=')?;
        let value = value.trim_start();
        let (text, after) = match value.strip_prefix('"') {
            Some(quoted) => unquote(quoted)?,
            None => {
                let end = value.find([',', ' ']).unwrap_or(value.len());
                (value[..end].to_owned(), &value[end..])
            }
        };
        parameters.push((name.trim().to_owned(), text));
        rest = after;
    }
}

fn unquote(text: &str) -> Option<(String, &str)> {
    let mut value = String::new();
    let mut characters = text.char_indices();
    while let Some((at, character)) = characters.next() {
        match character {
            '"' => return Some((value, &text[at + 1..])),
            '\\' => value.push(characters.next()?.1),
            character => value.push(character),
        }
    }
    None
}

/// A token as it goes into a header.
#[derive(Debug)]
pub(super) struct Bearer {
    pub(super) header: HeaderValue,
    pub(super) principal: Option<Principal>,
    /// When it is renewed, and from when on it is of no use.
    times: Option<(Duration, Duration)>,
}

impl Bearer {
    pub(super) fn new(token: &SecretBytes) -> Result<Self> {
        Ok(Self {
            header: secret_header("Bearer ", token.expose())?,
            principal: principal_of(token.expose()),
            times: None,
        })
    }

    fn lasting(token: &AccessToken, now: Duration) -> Result<Self> {
        let times = token.lifetime.map(|lifetime| {
            let renewal = lifetime.saturating_sub(TOKEN_RENEWAL).max(lifetime / 2);
            (now + renewal, now + lifetime)
        });
        Ok(Self {
            times,
            ..Self::new(&token.secret)?
        })
    }

    fn is_due(&self, now: Duration) -> bool {
        self.times.is_some_and(|(renewal, _)| now >= renewal)
    }

    fn is_over(&self, now: Duration) -> bool {
        self.times.is_some_and(|(_, end)| now >= end)
    }
}

/// Whom a JSON Web Token stands for: its object id, or its subject. Nothing is verified; the server decides.
fn principal_of(token: &[u8]) -> Option<Principal> {
    #[derive(Deserialize)]
    struct Claims {
        oid: Option<String>,
        sub: Option<String>,
    }
    let mut parts = token.split(|byte| *byte == b'.');
    let (_, payload) = (parts.next()?, parts.next()?);
    parts.next()?;
    let mut decoded = Wiped::default();
    decoded.extend(&vec![0; payload.len()]);
    let decoded = Base64UrlUnpadded::decode(payload, decoded.as_mut()).ok()?;
    let claims: Claims = serde_json::from_slice(decoded).ok()?;
    [claims.oid, claims.sub]
        .into_iter()
        .flatten()
        .find_map(|name| Principal::new(&name).ok())
}

/// The tokens of one source for one HSM: the one at hand, and its renewal.
#[derive(Debug)]
pub(super) struct Tokens {
    source: Arc<dyn TokenSource>,
    clock: Arc<dyn Clock>,
    current: ArcSwapOption<Bearer>,
    /// Whoever holds it asks; the others wait.
    flight: Mutex<Flight>,
}

#[derive(Debug, Default)]
struct Flight {
    asked: Asked,
    challenge: Option<Challenge>,
    /// The source is not asked before.
    not_before: Duration,
}

/// Whether the server was asked for its challenge.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
enum Asked {
    #[default]
    NotYet,
    Yes,
}

impl Tokens {
    pub(super) fn new(source: Arc<dyn TokenSource>, clock: Arc<dyn Clock>) -> Self {
        Self {
            source,
            clock,
            current: ArcSwapOption::empty(),
            flight: Mutex::default(),
        }
    }

    /// A token that serves now. `probe` asks the server for its challenge; `None` means that it wants no token.
    pub(super) async fn bearer(
        &self,
        probe: impl AsyncFnOnce() -> Result<Option<Challenge>>,
    ) -> Result<Option<Arc<Bearer>>> {
        let now = self.clock.monotonic();
        let current = self
            .current
            .load_full()
            .filter(|bearer| !bearer.is_over(now));
        let mut flight = match current {
            Some(bearer) if !bearer.is_due(now) => return Ok(Some(bearer)),
            // It still serves; one call renews it.
            Some(bearer) => match self.flight.try_lock() {
                Ok(flight) => flight,
                Err(_) => return Ok(Some(bearer)),
            },
            None => self.flight.lock().await,
        };
        let now = self.clock.monotonic();
        let current = self
            .current
            .load_full()
            .filter(|bearer| !bearer.is_over(now));
        if let Some(bearer) = &current
            && (!bearer.is_due(now) || now < flight.not_before)
        {
            return Ok(current);
        }
        if now < flight.not_before {
            return Err(Error::new(
                ErrorKind::Unreachable,
                "the source of tokens asked for a pause",
            )
            .with_retry_after(flight.not_before - now));
        }
        if flight.asked == Asked::NotYet {
            flight.challenge = probe().await?;
            flight.asked = Asked::Yes;
        }
        let Some(challenge) = &flight.challenge else {
            return Ok(None);
        };
        match self.source.token(challenge).await {
            Ok(token) => {
                let bearer = Arc::new(Bearer::lasting(&token, now)?);
                self.current.store(Some(bearer.clone()));
                Ok(Some(bearer))
            }
            Err(error) => {
                let pause = error.retry_after();
                if let Some(bearer) = current {
                    flight.not_before = now + pause.unwrap_or(TOKEN_RETRY);
                    return Ok(Some(bearer));
                }
                if let Some(pause) = pause {
                    flight.not_before = now + pause;
                }
                Err(error)
            }
        }
    }

    /// The server refused a token: the next call gets another, for the challenge that came with the refusal.
    pub(super) async fn refused(&self, bearer: Option<&Arc<Bearer>>, challenge: Option<Challenge>) {
        let mut flight = self.flight.lock().await;
        if let Some(challenge) = challenge {
            let known = flight.challenge.as_ref();
            if known.is_none_or(|known| !known.says_the_same(&challenge)) {
                flight.not_before = Duration::ZERO;
            }
            flight.challenge = Some(challenge);
        }
        let current = self.current.load_full();
        if let (Some(current), Some(bearer)) = (current, bearer)
            && Arc::ptr_eq(&current, bearer)
        {
            self.current.store(None);
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn challenges_are_read_as_the_services_write_them() {
        let vault = r#"Bearer authorization="https://login.example/tenant", resource="https://managedhsm.example""#;
        assert_eq!(
            bearer_parameters(vault).unwrap(),
            [
                (
                    "authorization".into(),
                    "https://login.example/tenant".into()
                ),
                ("resource".into(), "https://managedhsm.example".into()),
            ]
        );
        let spaced = r#"bearer  a=b ,c="d \" e,f" , g="h""#;
        assert_eq!(
            bearer_parameters(spaced).unwrap(),
            [
                ("a".into(), "b".into()),
                ("c".into(), "d \" e,f".into()),
                ("g".into(), "h".into()),
            ]
        );
        for none in [
            "Basic realm=\"a\"",
            "Bearer",
            "Bearer a",
            "Bearer a=\"b",
            "",
        ] {
            assert!(bearer_parameters(none).is_none(), "{none}");
        }
    }

    #[test]
    fn authorities_are_https_and_plain() {
        let (address, tenant) = split_url("https://login.example:8443/tenant/").unwrap();
        assert_eq!((address.host(), address.port()), ("login.example", 8443));
        assert_eq!(tenant, "tenant");
        for bad in [
            "http://login.example/tenant",
            "https://user@login.example/tenant",
            "https://login.example/ten?ant",
            "https://login.example/../x",
            "https://login.example/a#b",
            "login.example",
        ] {
            assert!(split_url(bad).is_none(), "{bad}");
        }
    }

    #[test]
    fn principals_are_object_ids_or_subjects() {
        let token = |claims: &str| {
            let claims = Base64UrlUnpadded::encode_string(claims.as_bytes());
            format!("e30.{claims}.c2ln")
        };
        let of = |claims: &str| principal_of(token(claims).as_bytes()).map(|name| name.to_string());
        assert_eq!(of(r#"{"oid":"a-1","sub":"b"}"#).unwrap(), "a-1");
        assert_eq!(of(r#"{"oid":"a b","sub":"b"}"#).unwrap(), "b");
        assert_eq!(of(r#"{"sub":"a b"}"#), None);
        assert_eq!(principal_of(b"opaque"), None);
        assert_eq!(principal_of(b"a.b"), None);
    }

    proptest! {
        #[test]
        fn any_header_is_read_or_not(header in "(Bearer )?[a-z=\", \\\\\u{e9}]{0,40}") {
            let _ = bearer_parameters(&header);
        }
    }
}
