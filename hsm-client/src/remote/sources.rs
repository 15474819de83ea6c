//! The token sources that are built in.

use std::env;
use std::fmt;
use std::time::Duration;

use async_trait::async_trait;
use bytes::Bytes;
use hsm_core::{Error, ErrorKind, Result, SecretBytes};
use http::header::{CONTENT_TYPE, HeaderMap, HeaderName, HeaderValue, RETRY_AFTER};
use http::{Method, StatusCode};
use percent_encoding::{AsciiSet, NON_ALPHANUMERIC, percent_encode};
use serde::Deserialize;

use super::auth::{AccessToken, Challenge, TokenSource};
use super::transport::{Answer, Failed, Sent, Wiped, secret_header};
use crate::url::Url;

/// One token for everything, until the server refuses it.
///
/// For [`OpenOptions::token_source`](crate::OpenOptions::token_source), which has an example.
#[derive(Debug)]
pub struct StaticToken(SecretBytes);

impl StaticToken {
    /// The token.
    #[must_use]
    pub fn new(token: impl AsRef<[u8]>) -> Self {
        Self(SecretBytes::copy_from(token.as_ref()))
    }
}

#[async_trait]
impl TokenSource for StaticToken {
    async fn token(&self, _challenge: &Challenge) -> Result<AccessToken> {
        Ok(AccessToken::new(self.0.expose()))
    }
}

/// A service principal with a secret: the client credentials grant of OAuth 2.0 (RFC 6749 section 4.4), at the authority and
/// for the tenant that the HSM's challenge names.
///
/// ```no_run
/// use hsm_client::remote::ClientCredentials;
/// use hsm_client::{Credentials, Hsm, OpenOptions};
///
/// # async fn example() -> hsm_client::Result<()> {
/// let secret = std::env::var("CLIENT_SECRET").unwrap_or_default();
/// let source = ClientCredentials::new("5f1d1f1e-95b3-4f5c-8d5e-2f2a61c1a9de", secret);
/// let hsm = Hsm::open_with("https://pool.managedhsm.azure.net", OpenOptions::new().token_source(source)).await?;
/// let session = hsm.login_with(Credentials::Connection).await?;
/// # Ok(())
/// # }
/// ```
#[derive(Debug)]
#[must_use]
pub struct ClientCredentials {
    client: String,
    secret: SecretBytes,
    authority: String,
}

impl ClientCredentials {
    /// A client id and its secret, which is shown to `https://login.microsoftonline.com` only.
    pub fn new(client: impl Into<String>, secret: impl AsRef<[u8]>) -> Self {
        Self {
            client: client.into(),
            secret: SecretBytes::copy_from(secret.as_ref()),
            authority: PUBLIC_AUTHORITY.to_owned(),
        }
    }

    /// The secret is shown to this authority only: `https://HOST` or `https://HOST:PORT`. A server that names another is
    /// refused.
    pub fn authority(mut self, authority: impl Into<String>) -> Self {
        self.authority = authority.into();
        self
    }
}

#[async_trait]
impl TokenSource for ClientCredentials {
    async fn token(&self, challenge: &Challenge) -> Result<AccessToken> {
        let Url::Https(ours) = self.authority.parse()? else {
            return Err(Error::new(
                ErrorKind::InvalidInput,
                "an authority is `https://HOST` or `https://HOST:PORT`",
            ));
        };
        let theirs = challenge.authority_address();
        if !ours.host().eq_ignore_ascii_case(theirs.host()) || ours.port() != theirs.port() {
            return Err(Error::new(
                ErrorKind::Unauthenticated,
                format!(
                    "the HSM wants a token from {theirs}, and the client secret is for {ours} only"
                ),
            ));
        }
        let mut form = Wiped::default();
        form.extend(b"grant_type=client_credentials");
        for (name, value) in [
            ("client_id", self.client.as_bytes()),
            ("client_secret", self.secret.expose()),
            ("scope", challenge.scope().as_bytes()),
        ] {
            form.extend(format!("&{name}=").as_bytes());
            for piece in percent_encode(value, FORM) {
                form.extend(piece.as_bytes());
            }
        }
        let mut headers = HeaderMap::new();
        headers.insert(
            CONTENT_TYPE,
            HeaderValue::from_static("application/x-www-form-urlencoded"),
        );
        let url = format!("{}/oauth2/v2.0/token", challenge.authority());
        let body = Bytes::from_owner(form);
        fetch(challenge, Method::POST, &url, headers, body).await
    }
}

/// The identity of the machine or of the app that the program runs in: Azure's instance metadata service, or the endpoint
/// that App Service, Functions and Container Apps name in `IDENTITY_ENDPOINT` and `IDENTITY_HEADER`.
///
/// ```no_run
/// use hsm_client::remote::ManagedIdentity;
/// use hsm_client::{Credentials, Hsm, OpenOptions};
///
/// # async fn example() -> hsm_client::Result<()> {
/// let options = OpenOptions::new().token_source(ManagedIdentity::from_environment());
/// let hsm = Hsm::open_with("https://pool.managedhsm.azure.net", options).await?;
/// let session = hsm.login_with(Credentials::Connection).await?;
/// # Ok(())
/// # }
/// ```
#[derive(Debug)]
#[must_use]
pub struct ManagedIdentity {
    endpoint: Endpoint,
    client: Option<String>,
}

enum Endpoint {
    /// The instance metadata service.
    Machine(String),
    /// What App Service names.
    App { url: String, secret: SecretBytes },
}

impl fmt::Debug for Endpoint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Machine(url) | Self::App { url, .. } => write!(f, "Endpoint({url})"),
        }
    }
}

impl ManagedIdentity {
    /// The endpoint that the environment names, or else that of the machine.
    pub fn from_environment() -> Self {
        match (env::var("IDENTITY_ENDPOINT"), env::var("IDENTITY_HEADER")) {
            (Ok(url), Ok(secret)) => Self::app(url, secret),
            _ => Self::machine(MACHINE_ENDPOINT),
        }
    }

    /// An instance metadata service elsewhere: for tests and emulators.
    pub fn machine(url: impl Into<String>) -> Self {
        Self {
            endpoint: Endpoint::Machine(url.into()),
            client: None,
        }
    }

    /// The endpoint and secret header of an app.
    pub fn app(url: impl Into<String>, secret: impl AsRef<[u8]>) -> Self {
        Self {
            endpoint: Endpoint::App {
                url: url.into(),
                secret: SecretBytes::copy_from(secret.as_ref()),
            },
            client: None,
        }
    }

    /// The user-assigned identity with this client id, instead of the machine's own.
    pub fn client(mut self, id: impl Into<String>) -> Self {
        self.client = Some(id.into());
        self
    }
}

#[async_trait]
impl TokenSource for ManagedIdentity {
    async fn token(&self, challenge: &Challenge) -> Result<AccessToken> {
        let mut headers = HeaderMap::new();
        let (url, version) = match &self.endpoint {
            Endpoint::Machine(url) => {
                headers.insert("metadata", HeaderValue::from_static("true"));
                (url, "2018-02-01")
            }
            Endpoint::App { url, secret } => {
                let name = HeaderName::from_static("x-identity-header");
                headers.insert(name, secret_header("", secret.expose())?);
                (url, "2019-08-01")
            }
        };
        let resource = percent_encode(challenge.resource().as_bytes(), FORM);
        let mut url = format!("{url}?api-version={version}&resource={resource}");
        if let Some(client) = &self.client {
            url += "&client_id=";
            url.extend(percent_encode(client.as_bytes(), FORM));
        }
        fetch(challenge, Method::GET, &url, headers, Bytes::new()).await
    }
}

async fn fetch(
    challenge: &Challenge,
    method: Method,
    url: &str,
    headers: HeaderMap,
    body: Bytes,
) -> Result<AccessToken> {
    let sent = Sent {
        method,
        target: url,
        headers,
        body,
        timeout: challenge.timeout,
    };
    let unreachable = |error| {
        Error::new(
            ErrorKind::Unreachable,
            "the source of tokens does not answer",
        )
        .with_source(error)
    };
    match challenge.http.send(sent).await {
        Ok(answer) => read(&answer),
        // Nothing happened to the HSM in either case.
        Err(Failed::NotSent(error) | Failed::MaybeSent { error, .. }) => Err(unreachable(error)),
    }
}

fn read(answer: &Answer) -> Result<AccessToken> {
    #[derive(Deserialize)]
    struct Issued<'a> {
        access_token: &'a str,
        expires_in: Option<Seconds<'a>>,
    }
    /// OAuth writes a number, the metadata services write digits.
    #[derive(Deserialize)]
    #[serde(untagged)]
    enum Seconds<'a> {
        Number(u64),
        Digits(&'a str),
    }
    if answer.status != StatusCode::OK {
        return Err(refusal(answer));
    }
    let issued: Issued<'_> = serde_json::from_slice(answer.body.as_ref()).map_err(|_| {
        // The parser's own words could quote the token.
        Error::new(
            ErrorKind::Unauthenticated,
            "the source of tokens answered something that is no token",
        )
    })?;
    let token = AccessToken::new(issued.access_token);
    let seconds = match issued.expires_in {
        Some(Seconds::Number(seconds)) => Some(seconds),
        Some(Seconds::Digits(digits)) => digits.parse().ok(),
        None => None,
    };
    // Without a word on it, a token is renewed soon.
    let lifetime = seconds.map_or(LIFETIME_UNSAID, Duration::from_secs);
    Ok(token.expires_in(lifetime.min(LIFETIME_MAX)))
}

fn refusal(answer: &Answer) -> Error {
    #[derive(Deserialize)]
    struct Refusal<'a> {
        error: Option<&'a str>,
    }
    let status = answer.status;
    let pause = retry_after(&answer.headers);
    // The code only: descriptions repeat what was sent.
    let code = serde_json::from_slice::<Refusal<'_>>(answer.body.as_ref())
        .ok()
        .and_then(|refusal| refusal.error)
        .filter(|code| code.len() <= 64 && code.bytes().all(|byte| byte.is_ascii_graphic()))
        .unwrap_or("no reason given");
    let again = status == StatusCode::TOO_MANY_REQUESTS || status.is_server_error();
    let kind = if again {
        ErrorKind::Unreachable
    } else {
        ErrorKind::Unauthenticated
    };
    let error = Error::new(
        kind,
        format!("the source of tokens refused: {} ({code})", status.as_u16()),
    );
    match pause {
        Some(pause) => error.with_retry_after(pause),
        None => error,
    }
}

/// The header `Retry-After` in seconds. The form with a date is not read: it needs clocks that agree.
pub(super) fn retry_after(headers: &HeaderMap) -> Option<Duration> {
    let seconds: u64 = headers
        .get(RETRY_AFTER)?
        .to_str()
        .ok()?
        .trim()
        .parse()
        .ok()?;
    Some(Duration::from_secs(seconds.min(RETRY_AFTER_MAX)))
}

/// What a form or query need not encode.
const FORM: &AsciiSet = &NON_ALPHANUMERIC
    .remove(b'-')
    .remove(b'.')
    .remove(b'_')
    .remove(b'~');

const PUBLIC_AUTHORITY: &str = "https://login.microsoftonline.com";

const MACHINE_ENDPOINT: &str = "http://169.254.169.254/metadata/identity/oauth2/token";

/// For tokens that come without a lifetime.
const LIFETIME_UNSAID: Duration = Duration::from_secs(10 * 60);

/// No token is kept for longer.
const LIFETIME_MAX: Duration = Duration::from_secs(24 * 60 * 60);

/// A day: what asks for more is not believed.
const RETRY_AFTER_MAX: u64 = 24 * 60 * 60;
