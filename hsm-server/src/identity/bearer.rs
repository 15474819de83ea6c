//! The header `Authorization`: one bearer token or none (RFC 6750 section 2.1).

use http::HeaderMap;
use http::header::AUTHORIZATION;

use super::refusal::Reason;

/// Longest token, in bytes: 16 KiB. Those of issuers with many groups have 4.
pub(crate) const TOKEN_LEN_MAX: usize = 16 << 10;

/// What a session token begins with.
pub(crate) const SESSION_PREFIX: &str = "hsm_s_";
/// What an API token begins with.
pub(crate) const API_PREFIX: &str = "hsm_t_";

/// A bearer token, by its form.
#[derive(Clone, Copy)]
pub(crate) enum Bearer<'a> {
    /// Of `POST /hsm/v1/sessions`.
    Session(&'a str),
    /// Of the partition's engine.
    Api(&'a str),
    /// Of an issuer: three parts with dots between.
    Jwt(&'a str),
}

impl<'a> Bearer<'a> {
    /// The token of a request, if it has one.
    pub(crate) fn of(headers: &'a HeaderMap) -> Result<Option<Self>, Reason> {
        let mut values = headers.get_all(AUTHORIZATION).iter();
        let Some(value) = values.next() else {
            return Ok(None);
        };
        if values.next().is_some() {
            return Err(Reason::Conflicting);
        }
        if value.len() > TOKEN_LEN_MAX + "Bearer ".len() {
            return Err(Reason::TooLong);
        }
        let value = value.to_str().map_err(|_| Reason::Malformed)?;
        let (scheme, token) = value.split_once(' ').ok_or(Reason::Malformed)?;
        if !scheme.eq_ignore_ascii_case("bearer") {
            return Err(Reason::Malformed);
        }
        if token.is_empty() || !token.bytes().all(is_token_byte) {
            return Err(Reason::Malformed);
        }
        Ok(Some(if token.starts_with(SESSION_PREFIX) {
            Self::Session(token)
        } else if token.starts_with(API_PREFIX) {
            Self::Api(token)
        } else {
            Self::Jwt(token)
        }))
    }
}

/// Of the alphabet of `b64token`, without `=`: no token that we take is padded.
fn is_token_byte(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || b"-._~+/".contains(&byte)
}

/// Says which form, never the token.
impl std::fmt::Debug for Bearer<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(match self {
            Self::Session(_) => "Session",
            Self::Api(_) => "Api",
            Self::Jwt(_) => "Jwt",
        })
    }
}

#[cfg(test)]
mod tests {
    use http::HeaderValue;

    use super::*;

    fn of(values: &[&str]) -> Result<Option<&'static str>, Reason> {
        let mut headers = HeaderMap::new();
        for value in values {
            headers.append(AUTHORIZATION, HeaderValue::from_str(value).unwrap());
        }
        Ok(Bearer::of(&headers)?.map(|bearer| match bearer {
            Bearer::Session(_) => "session",
            Bearer::Api(_) => "api",
            Bearer::Jwt(_) => "jwt",
        }))
    }

    #[test]
    fn the_form_decides() {
        assert_eq!(of(&[]), Ok(None));
        assert_eq!(of(&["Bearer hsm_s_abc"]), Ok(Some("session")));
        assert_eq!(of(&["bearer hsm_t_abc"]), Ok(Some("api")));
        assert_eq!(of(&["Bearer a.b.c"]), Ok(Some("jwt")));
    }

    #[test]
    fn what_is_no_token_is_refused() {
        for value in [
            "Bearer",
            "Bearer ",
            "Bearer  a",
            "Basic YTpi",
            "Bearer a b",
            "Bearer a=",
        ] {
            assert_eq!(of(&[value]), Err(Reason::Malformed), "{value}");
        }
        assert_eq!(of(&["Bearer a", "Bearer a"]), Err(Reason::Conflicting));
        let long = "a".repeat(TOKEN_LEN_MAX);
        assert_eq!(of(&[&format!("Bearer {long}")]), Ok(Some("jwt")));
        assert_eq!(of(&[&format!("Bearer {long}a")]), Err(Reason::TooLong));
    }

    #[test]
    fn a_token_is_not_printed() {
        assert_eq!(format!("{:?}", Bearer::Session("hsm_s_secret")), "Session");
    }
}
