//! The challenge: where a client gets a token, in the words that official clients look for.
//!
//! `Bearer authorization="https://AUTHORITY/TENANT", resource="https://RESOURCE"`, and what RFC 6750 section 3 adds when a
//! token was not accepted. Official clients insist that the host they asked ends with `.` and the resource's host.

use http::HeaderValue;

use super::refusal::Reason;

/// Where tokens come from when nobody has configured it.
const TENANT: &str = "hsm";

/// What a partition tells those who bring no token.
#[derive(Clone, Debug, Eq, PartialEq)]
pub(crate) struct Challenge {
    /// URL with the tenant. None: the server itself.
    pub(crate) authority: Option<String>,
    /// The tenant in the URL of the server, where the authority is the server itself.
    pub(crate) tenant: Option<String>,
    /// What a token is to be for. None: the host above the server's own.
    pub(crate) resource: Option<String>,
    /// In the place of a resource.
    pub(crate) scope: Option<String>,
}

impl Challenge {
    /// The server is the authority, if there is one.
    pub(crate) const fn own(tenant: Option<String>) -> Self {
        Self {
            authority: None,
            tenant,
            resource: None,
            scope: None,
        }
    }

    /// The header's value. `base` is the server's URL as the client knows it.
    pub(crate) fn header(&self, base: &str, reason: Reason) -> HeaderValue {
        let authority = match &self.authority {
            Some(authority) => authority.clone(),
            None => format!("{base}/{}", self.tenant.as_deref().unwrap_or(TENANT)),
        };
        let mut value = format!("Bearer authorization=\"{authority}\", ");
        match (&self.scope, &self.resource) {
            (Some(scope), _) => value.push_str(&format!("scope=\"{scope}\"")),
            (None, Some(resource)) => value.push_str(&format!("resource=\"{resource}\"")),
            (None, None) => value.push_str(&format!("resource=\"{}\"", resource_of(base))),
        }
        if let Some(error) = reason.error() {
            let description = reason.description();
            value.push_str(&format!(
                ", error=\"{error}\", error_description=\"{description}\""
            ));
        }
        HeaderValue::try_from(value).unwrap_or_else(|_| HeaderValue::from_static("Bearer"))
    }
}

/// `https://localhost:8443` of `https://dev.localhost:8443`: the name without its first label, if more than a label stays
/// or the rest is `localhost`.
fn resource_of(base: &str) -> String {
    let host = base.strip_prefix("https://").unwrap_or(base);
    let is_address = host.starts_with('[')
        || host
            .split(':')
            .next()
            .is_some_and(|name| name.parse::<std::net::Ipv4Addr>().is_ok());
    if !is_address && let Some((_, rest)) = host.split_once('.') {
        let name = rest.split(':').next().unwrap_or(rest);
        if name.contains('.') || name.eq_ignore_ascii_case("localhost") {
            return format!("https://{rest}");
        }
    }
    format!("https://{host}")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_resource_is_the_host_above() {
        for (base, resource) in [
            ("https://dev.localhost:8443", "https://localhost:8443"),
            ("https://localhost:8443", "https://localhost:8443"),
            ("https://127.0.0.1:8443", "https://127.0.0.1:8443"),
            ("https://[::1]:8443", "https://[::1]:8443"),
            ("https://pool.hsm.example.com", "https://hsm.example.com"),
            ("https://pool.example.com", "https://example.com"),
            ("https://example.com", "https://example.com"),
            ("https://pool", "https://pool"),
        ] {
            assert_eq!(resource_of(base), resource, "{base}");
        }
    }

    #[test]
    fn official_clients_can_split_the_header() {
        let challenge = Challenge::own(Some("7b2f".into()));
        let value = challenge.header("https://dev.localhost:8443", Reason::Missing);
        assert_eq!(
            value.to_str().unwrap(),
            "Bearer authorization=\"https://dev.localhost:8443/7b2f\", resource=\"https://localhost:8443\""
        );
        let value = challenge.header("https://localhost:8443", Reason::Expired);
        let value = value.to_str().unwrap();
        let parameters: Vec<_> = value
            .strip_prefix("Bearer ")
            .unwrap()
            .split(',')
            .map(|item| item.split('=').count())
            .collect();
        assert_eq!(parameters, [2, 2, 2, 2], "{value}");
        assert!(value.contains("error=\"invalid_token\""));
    }

    #[test]
    fn a_configured_authority_and_scope_are_named() {
        let challenge = Challenge {
            authority: Some("https://login.example.com/tenant".into()),
            tenant: None,
            resource: Some("ignored".into()),
            scope: Some("https://hsm.example.com/.default".into()),
        };
        let value = challenge.header("https://localhost:8443", Reason::Missing);
        assert_eq!(
            value.to_str().unwrap(),
            "Bearer authorization=\"https://login.example.com/tenant\", scope=\"https://hsm.example.com/.default\""
        );
    }
}
