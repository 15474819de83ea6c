//! Users, their passwords, and API tokens.

use hsm_core::limits::PASSWORD_LEN_MAX;
use hsm_core::{
    Page, PageRequest, Principal, Request, Response, Result, SecretBytes, Timestamp, TokenInfo,
    TokenName, UserInfo, UserUpdate,
};
use serde::Deserialize;
use serde_json::value::RawValue;

use super::{SHORT_LEN, next_link, read_next_link};
use crate::Body;
use crate::json::Json;
use crate::read::{self, Text, invalid, required};

/// Longest password that is read. Longer ones than the limit are the engine's to refuse.
pub(crate) const PASSWORD_READ_MAX: usize = 4 * PASSWORD_LEN_MAX;

/// Longest token that is read.
pub(crate) const TOKEN_LEN_MAX: usize = 16 << 10;

/// A password, as text; bytes that are none come in base64url by another name.
pub(crate) fn password(
    member: &str,
    text: Option<&RawValue>,
    binary: Option<&RawValue>,
) -> Result<SecretBytes> {
    match (text, binary) {
        (Some(_), Some(_)) => Err(invalid(format!(
            "`{member}` and `{member}Binary` are not given both"
        ))),
        (None, Some(encoded)) => {
            let encoded = read::secret_text(member, encoded, 2 * PASSWORD_READ_MAX)?;
            let encoded = std::str::from_utf8(encoded.expose()).unwrap_or("=");
            read::secret(member, encoded, PASSWORD_READ_MAX)
        }
        (text, None) => read::secret_text(member, required(member, text)?, PASSWORD_READ_MAX),
    }
}

/// The client's half of [`password`].
pub(crate) fn write_password(json: &mut Json, member: &str, password: &SecretBytes) {
    match std::str::from_utf8(password.expose()) {
        Ok(text) => json.name(member).text(text),
        Err(_) => {
            json.name(&format!("{member}Binary"))
                .binary(password.expose());
        }
    }
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct UserIn<'a> {
    #[serde(borrow)]
    password: Option<&'a RawValue>,
    #[serde(borrow)]
    password_binary: Option<&'a RawValue>,
    enabled: Option<bool>,
    locked: Option<bool>,
}

pub(crate) fn read_create(user: &Principal, body: &[u8]) -> Result<Request<'static>> {
    let new: UserIn<'_> = read::object(body)?;
    Ok(Request::CreateUser {
        name: user.clone(),
        password: password("password", new.password, new.password_binary)?,
    })
}

pub(crate) fn read_update(user: &Principal, body: &[u8]) -> Result<Request<'static>> {
    let change: UserIn<'_> = read::object(body)?;
    let sets_password = change.password.is_some() || change.password_binary.is_some();
    let update = match (sets_password, change.enabled, change.locked) {
        (true, None, None) => UserUpdate::Password(password(
            "password",
            change.password,
            change.password_binary,
        )?),
        (false, Some(true), None) => UserUpdate::Enable,
        (false, Some(false), None) => UserUpdate::Disable,
        (false, None, Some(false)) => UserUpdate::Unlock,
        _ => {
            return Err(invalid(
                "a change of a user is one of `password`, `enabled` (true or false) and `locked` (false)",
            ));
        }
    };
    Ok(Request::UpdateUser {
        name: user.clone(),
        update,
    })
}

pub(crate) fn new_user(password: &SecretBytes) -> Body {
    Json::object_of(SHORT_LEN + 2 * password.len(), |json| {
        write_password(json, "password", password);
    })
}

pub(crate) fn update(update: &UserUpdate) -> Result<Body> {
    Ok(match update {
        UserUpdate::Disable => Json::object_of(32, |json| json.name("enabled").bool(false)),
        UserUpdate::Enable => Json::object_of(32, |json| json.name("enabled").bool(true)),
        UserUpdate::Unlock => Json::object_of(32, |json| json.name("locked").bool(false)),
        UserUpdate::Password(password) => new_user(password),
        _ => {
            return Err(hsm_core::Error::new(
                hsm_core::ErrorKind::Unsupported,
                "this change of a user cannot be sent",
            ));
        }
    })
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct PasswordChange<'a> {
    #[serde(borrow)]
    old: Option<&'a RawValue>,
    #[serde(borrow)]
    old_binary: Option<&'a RawValue>,
    #[serde(borrow)]
    new: Option<&'a RawValue>,
    #[serde(borrow)]
    new_binary: Option<&'a RawValue>,
}

pub(crate) fn read_password_change(body: &[u8]) -> Result<Request<'static>> {
    let change: PasswordChange<'_> = read::object(body)?;
    Ok(Request::ChangePassword {
        old: password("old", change.old, change.old_binary)?,
        new: password("new", change.new, change.new_binary)?,
    })
}

pub(crate) fn password_change(old: &SecretBytes, new: &SecretBytes) -> Body {
    Json::object_of(SHORT_LEN + 2 * (old.len() + new.len()), |json| {
        write_password(json, "old", old);
        write_password(json, "new", new);
    })
}

pub(crate) fn users(users: &Page<UserInfo>, asked: &PageRequest, base: &str) -> Body {
    Json::object_of(SHORT_LEN * (1 + users.items.len()), |json| {
        json.name("value").array(&users.items, |json, user| {
            json.object(|json| {
                json.name("name").text(user.name.as_str());
                json.name("enabled").bool(user.enabled);
                json.name("created").millis(user.created);
                if let Some(time) = user.locked_until {
                    json.name("lockedUntil").millis(time);
                }
            });
        });
        next_link(json, users, asked, &["/hsm/v1/users"], base);
    })
}

#[derive(Deserialize)]
struct UsersIn<'a> {
    #[serde(borrow)]
    value: Vec<UserItem<'a>>,
    #[serde(borrow, rename = "nextLink")]
    next_link: Option<Text<'a>>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct UserItem<'a> {
    #[serde(borrow)]
    name: Text<'a>,
    enabled: bool,
    created: u64,
    locked_until: Option<u64>,
}

pub(crate) fn read_users(body: &[u8]) -> Result<Response> {
    let page: UsersIn<'_> = read::object(body)?;
    let user = |item: &UserItem<'_>| {
        Ok(UserInfo::new(
            Principal::new(item.name.as_str())?,
            item.enabled,
            Timestamp::from_unix_millis(item.created),
            item.locked_until.map(Timestamp::from_unix_millis),
        ))
    };
    Ok(Response::Users(Page {
        items: page.value.iter().map(user).collect::<Result<_>>()?,
        next: read_next_link(page.next_link.as_ref().map(Text::as_str)),
    }))
}

#[derive(Deserialize)]
struct TokenIn<'a> {
    #[serde(borrow)]
    principal: Option<Text<'a>>,
    expires: Option<u64>,
}

pub(crate) fn read_token(name: &TokenName, body: &[u8]) -> Result<Request<'static>> {
    let new: TokenIn<'_> = read::object(body)?;
    let principal = required("principal", new.principal.as_ref())?;
    Ok(Request::CreateToken {
        name: name.clone(),
        principal: Principal::new(principal.as_str())?,
        expires: Timestamp::from_unix_millis(required("expires", new.expires)?),
    })
}

pub(crate) fn new_token(principal: &Principal, expires: Timestamp) -> Body {
    Json::object_of(SHORT_LEN, |json| {
        json.name("principal").text(principal.as_str());
        json.name("expires").millis(expires);
    })
}

fn token_members(json: &mut Json, info: &TokenInfo) {
    json.name("name").text(info.name.as_str());
    json.name("principal").text(info.principal.as_str());
    json.name("created").millis(info.created);
    json.name("expires").millis(info.expires);
}

pub(crate) fn token(token: &SecretBytes, info: &TokenInfo) -> Body {
    Json::object_of(SHORT_LEN + 2 * token.len(), |json| {
        write_password(json, "token", token);
        token_members(json, info);
    })
}

pub(crate) fn tokens(tokens: &Page<TokenInfo>, asked: &PageRequest, base: &str) -> Body {
    Json::object_of(SHORT_LEN * (1 + tokens.items.len()), |json| {
        json.name("value").array(&tokens.items, |json, info| {
            json.object(|json| token_members(json, info));
        });
        next_link(json, tokens, asked, &["/hsm/v1/tokens"], base);
    })
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct TokenItem<'a> {
    #[serde(borrow)]
    token: Option<&'a RawValue>,
    #[serde(borrow)]
    token_binary: Option<&'a RawValue>,
    #[serde(borrow)]
    name: Text<'a>,
    #[serde(borrow)]
    principal: Text<'a>,
    created: u64,
    expires: u64,
}

impl TokenItem<'_> {
    fn info(&self) -> Result<TokenInfo> {
        Ok(TokenInfo::new(
            TokenName::new(self.name.as_str())?,
            Principal::new(self.principal.as_str())?,
            Timestamp::from_unix_millis(self.created),
            Timestamp::from_unix_millis(self.expires),
        ))
    }
}

pub(crate) fn read_token_reply(body: &[u8]) -> Result<Response> {
    let answer: TokenItem<'_> = read::object(body)?;
    Ok(Response::Token {
        token: password("token", answer.token, answer.token_binary)?,
        info: answer.info()?,
    })
}

#[derive(Deserialize)]
struct TokensIn<'a> {
    #[serde(borrow)]
    value: Vec<TokenItem<'a>>,
    #[serde(borrow, rename = "nextLink")]
    next_link: Option<Text<'a>>,
}

pub(crate) fn read_tokens(body: &[u8]) -> Result<Response> {
    let page: TokensIn<'_> = read::object(body)?;
    Ok(Response::Tokens(Page {
        items: page
            .value
            .iter()
            .map(TokenItem::info)
            .collect::<Result<_>>()?,
        next: read_next_link(page.next_link.as_ref().map(Text::as_str)),
    }))
}
