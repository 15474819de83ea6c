//! The bodies of what the server answers by itself: sessions and the clock. Both halves of each.

use hsm_core::{Principal, Result, SecretBytes, Timestamp};
use serde::Deserialize;
use serde_json::value::RawValue;

use super::SHORT_LEN;
use super::user::{TOKEN_LEN_MAX, password, write_password};
use crate::Body;
use crate::json::Json;
use crate::read::{self, Text, invalid, required};

/// `POST /hsm/v1/sessions`: a user's name and password.
///
/// ```
/// use hsm_wire::server::LoginBody;
///
/// let login = LoginBody::read(br#"{"user":"app","password":"correct horse battery"}"#)?;
/// assert_eq!(login.user.as_str(), "app");
/// assert_eq!(LoginBody::read(login.write().as_bytes())?.password.expose(), b"correct horse battery");
/// # Ok::<(), hsm_core::Error>(())
/// ```
#[derive(Debug)]
#[expect(clippy::exhaustive_structs, reason = "a name and a password")]
pub struct LoginBody {
    /// The user.
    pub user: Principal,
    /// The password.
    pub password: SecretBytes,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct LoginIn<'a> {
    #[serde(borrow)]
    user: Option<Text<'a>>,
    #[serde(borrow)]
    password: Option<&'a RawValue>,
    #[serde(borrow)]
    password_binary: Option<&'a RawValue>,
}

impl LoginBody {
    /// Reads a body.
    ///
    /// # Errors
    ///
    /// [`InvalidInput`](hsm_core::ErrorKind::InvalidInput) that names the member.
    pub fn read(body: &[u8]) -> Result<Self> {
        let login: LoginIn<'_> = read::object(body)?;
        let user = required("user", login.user.as_ref())?;
        Ok(Self {
            user: Principal::new(user.as_str())?,
            password: password("password", login.password, login.password_binary)?,
        })
    }

    /// Writes the body.
    #[must_use]
    pub fn write(&self) -> Body {
        Json::object_of(SHORT_LEN + 2 * self.password.len(), |json| {
            json.name("user").text(self.user.as_str());
            write_password(json, "password", &self.password);
        })
    }
}

/// The answer to a login: a token for the header `Authorization`, and until when it is good.
#[derive(Debug)]
#[expect(clippy::exhaustive_structs, reason = "a token and whose it is")]
pub struct SessionBody {
    /// The token.
    pub token: SecretBytes,
    /// Whom it stands for.
    pub principal: Principal,
    /// From then on it is of no use.
    pub expires: Timestamp,
}

#[derive(Deserialize)]
struct SessionIn<'a> {
    #[serde(borrow)]
    token: Option<&'a RawValue>,
    #[serde(borrow)]
    principal: Option<Text<'a>>,
    expires: Option<u64>,
}

impl SessionBody {
    /// Reads a body.
    ///
    /// # Errors
    ///
    /// [`InvalidInput`](hsm_core::ErrorKind::InvalidInput) that names the member.
    pub fn read(body: &[u8]) -> Result<Self> {
        let session: SessionIn<'_> = read::object(body)?;
        let principal = required("principal", session.principal.as_ref())?;
        Ok(Self {
            token: read::secret_text("token", required("token", session.token)?, TOKEN_LEN_MAX)?,
            principal: Principal::new(principal.as_str())?,
            expires: Timestamp::from_unix_millis(required("expires", session.expires)?),
        })
    }

    /// Writes the body.
    #[must_use]
    pub fn write(&self) -> Body {
        Json::object_of(SHORT_LEN + 2 * self.token.len(), |json| {
            write_password(json, "token", &self.token);
            json.name("principal").text(self.principal.as_str());
            json.name("expires").millis(self.expires);
        })
    }
}

/// `GET /hsm/v1/sessions/current`: who asks.
#[derive(Clone, Debug, Eq, PartialEq)]
#[expect(clippy::exhaustive_structs, reason = "a name and how it was found out")]
pub struct WhoAmIBody {
    /// Whom the token or connection stands for.
    pub principal: Principal,
    /// How that was found out: `session_token`, `api_token`, `issuer`, `certificate`, `unix`.
    pub method: String,
}

#[derive(Deserialize)]
struct WhoAmIIn<'a> {
    #[serde(borrow)]
    principal: Option<Text<'a>>,
    #[serde(borrow)]
    method: Option<Text<'a>>,
}

impl WhoAmIBody {
    /// Reads a body.
    ///
    /// # Errors
    ///
    /// [`InvalidInput`](hsm_core::ErrorKind::InvalidInput) that names the member.
    pub fn read(body: &[u8]) -> Result<Self> {
        let who: WhoAmIIn<'_> = read::object(body)?;
        let principal = required("principal", who.principal.as_ref())?;
        Ok(Self {
            principal: Principal::new(principal.as_str())?,
            method: who.method.as_ref().map_or("", Text::as_str).to_owned(),
        })
    }

    /// Writes the body.
    #[must_use]
    pub fn write(&self) -> Body {
        Json::object_of(SHORT_LEN, |json| {
            json.name("principal").text(self.principal.as_str());
            json.name("method").text(&self.method);
        })
    }
}

/// `GET /hsm/v1/clock`, and the answer to whoever moved it.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
#[expect(clippy::exhaustive_structs, reason = "the time")]
pub struct ClockBody {
    /// What the server takes for the time.
    pub now: Timestamp,
}

#[derive(Deserialize)]
struct ClockIn {
    millis: Option<u64>,
}

impl ClockBody {
    /// Reads a body.
    ///
    /// # Errors
    ///
    /// [`InvalidInput`](hsm_core::ErrorKind::InvalidInput) that names the member.
    pub fn read(body: &[u8]) -> Result<Self> {
        let clock: ClockIn = read::object(body)?;
        Ok(Self {
            now: Timestamp::from_unix_millis(required("millis", clock.millis)?),
        })
    }

    /// Writes the body.
    #[must_use]
    pub fn write(&self) -> Body {
        Json::object_of(SHORT_LEN, |json| {
            json.name("now").shown(self.now);
            json.name("millis").millis(self.now);
        })
    }
}

/// `POST /hsm/v1/clock`: how far the test clock is moved ahead, as an ISO 8601 duration.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
#[expect(clippy::exhaustive_structs, reason = "a stretch of time")]
pub struct AdvanceClockBody {
    /// How far.
    pub advance: hsm_core::policy::Period,
}

#[derive(Deserialize)]
struct AdvanceIn<'a> {
    #[serde(borrow)]
    advance: Option<Text<'a>>,
}

impl AdvanceClockBody {
    /// Reads a body.
    ///
    /// # Errors
    ///
    /// [`InvalidInput`](hsm_core::ErrorKind::InvalidInput) that names the member.
    pub fn read(body: &[u8]) -> Result<Self> {
        let clock: AdvanceIn<'_> = read::object(body)?;
        let advance = required("advance", clock.advance.as_ref())?.as_str();
        let advance = advance
            .parse()
            .map_err(|error: hsm_core::Error| invalid(format!("`advance`: {}", error.message())))?;
        Ok(Self { advance })
    }

    /// Writes the body.
    #[must_use]
    pub fn write(&self) -> Body {
        Json::object_of(SHORT_LEN, |json| json.name("advance").shown(self.advance))
    }
}
