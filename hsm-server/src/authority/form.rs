//! [`Form`]: what a client sends to get a token (RFC 6749 sections 2.3.1 and 4.4.2).

use base64ct::{Base64, Encoding};
use http::HeaderMap;
use http::header::AUTHORIZATION;
use percent_encoding::percent_decode;
use zeroize::Zeroizing;

/// The parameters of a token request.
#[derive(Default)]
pub(super) struct Form {
    pub(super) grant_type: String,
    pub(super) client_id: String,
    pub(super) client_secret: Zeroizing<String>,
    pub(super) scope: Option<String>,
    pub(super) resource: Option<String>,
}

impl Form {
    /// Reads the body, and the client's name and secret from the header if they are there.
    pub(super) fn parse(headers: &HeaderMap, body: &[u8]) -> Result<Self, &'static str> {
        let mut form = Self::default();
        let mut seen = Vec::new();
        for pair in body
            .split(|byte| *byte == b'&')
            .filter(|pair| !pair.is_empty())
        {
            let at = pair
                .iter()
                .position(|byte| *byte == b'=')
                .unwrap_or(pair.len());
            let name = decode(&pair[..at])?;
            let mut value = decode(pair.get(at + 1..).unwrap_or_default())?;
            if seen.contains(&*name) {
                return Err("a parameter is there twice");
            }
            let target = match name.as_str() {
                "grant_type" => &mut form.grant_type,
                "client_id" => &mut form.client_id,
                "client_secret" => &mut form.client_secret,
                "scope" => form.scope.insert(String::new()),
                "resource" => form.resource.insert(String::new()),
                _ => continue,
            };
            *target = std::mem::take(&mut *value);
            seen.push(name.to_string());
        }
        form.basic(headers)?;
        if form.client_id.is_empty() || form.client_secret.is_empty() {
            return Err("client_id and client_secret are needed");
        }
        Ok(form)
    }

    /// `Authorization: Basic`, with name and secret each in the encoding of forms.
    fn basic(&mut self, headers: &HeaderMap) -> Result<(), &'static str> {
        const WRONG: &str = "the Authorization header is not that of a client";
        let mut values = headers.get_all(AUTHORIZATION).iter();
        let Some(value) = values.next() else {
            return Ok(());
        };
        if values.next().is_some() || !self.client_secret.is_empty() {
            return Err("the client proves itself in two ways");
        }
        let (scheme, value) = value
            .to_str()
            .ok()
            .and_then(|value| value.split_once(' '))
            .ok_or(WRONG)?;
        if !scheme.eq_ignore_ascii_case("basic") {
            return Err(WRONG);
        }
        let bytes = Zeroizing::new(Base64::decode_vec(value).map_err(|_| WRONG)?);
        let at = bytes.iter().position(|byte| *byte == b':').ok_or(WRONG)?;
        self.client_id = std::mem::take(&mut *decode(&bytes[..at])?);
        self.client_secret = decode(&bytes[at + 1..])?;
        Ok(())
    }
}

/// application/x-www-form-urlencoded.
fn decode(bytes: &[u8]) -> Result<Zeroizing<String>, &'static str> {
    let spaced: Zeroizing<Vec<u8>> = Zeroizing::new(
        bytes
            .iter()
            .map(|byte| if *byte == b'+' { b' ' } else { *byte })
            .collect(),
    );
    let mut decoded = Zeroizing::new(Vec::with_capacity(spaced.len()));
    decoded.extend(percent_decode(&spaced));
    String::from_utf8(std::mem::take(&mut *decoded))
        .map(Zeroizing::new)
        .map_err(|_| "a parameter is not UTF-8")
}

impl std::fmt::Debug for Form {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Form").finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use http::HeaderValue;

    use super::*;

    #[test]
    fn a_body_is_read() {
        let body = b"grant_type=client_credentials&client_id=admin&client_secret=a%2Bb+c%26&scope=https%3A%2F%2Flocalhost%3A8443%2F.default&x=1";
        let form = Form::parse(&HeaderMap::new(), body).unwrap();
        assert_eq!(form.grant_type, "client_credentials");
        assert_eq!(form.client_id, "admin");
        assert_eq!(*form.client_secret, "a+b c&");
        assert_eq!(
            form.scope.as_deref(),
            Some("https://localhost:8443/.default")
        );
        assert_eq!(form.resource, None);
        assert!(!format!("{form:?}").contains("a+b"));
    }

    #[test]
    fn the_header_names_the_client_as_well() {
        let mut headers = HeaderMap::new();
        // admin:a%2Bb
        headers.insert(
            AUTHORIZATION,
            HeaderValue::from_static("Basic YWRtaW46YSUyQmI="),
        );
        let form = Form::parse(&headers, b"grant_type=client_credentials").unwrap();
        assert_eq!(
            (form.client_id.as_str(), form.client_secret.as_str()),
            ("admin", "a+b")
        );
        assert!(Form::parse(&headers, b"client_id=admin&client_secret=b").is_err());
    }

    #[test]
    fn what_is_twice_or_missing_is_refused() {
        for body in [
            &b""[..],
            b"client_id=admin",
            b"client_id=admin&client_secret=",
            b"client_id=admin&client_id=app&client_secret=a",
            b"client_id=%ff&client_secret=a",
        ] {
            assert!(Form::parse(&HeaderMap::new(), body).is_err());
        }
    }
}
