//! Paths and queries, taken apart: every segment decoded once, every parameter read once.

use std::borrow::Cow;

use hsm_core::attestation::{Nonce, Pcrs};
use hsm_core::audit::StreamId;
use hsm_core::limits::{ATTESTATION_NONCE_LEN_MAX, NAME_LEN_MAX, PAGE_LEN_DEFAULT};
use hsm_core::policy::{RoleId, Scope};
use hsm_core::{KeyName, KeyRef, PageRequest, Principal, TokenName};
use percent_encoding::percent_decode_str;

use super::Misrouted;
use crate::read;

/// What comes between a scope and what is asked of it.
pub(super) const PROVIDERS: [&str; 2] = ["providers", "Microsoft.Authorization"];

/// Most segments that a path may have.
const SEGMENTS_MAX: usize = 12;

/// Longest text that stands for a place in a listing.
const SKIP_TOKEN_LEN_MAX: usize = 4 * NAME_LEN_MAX;

/// The segments of a path. A scope is one segment.
pub(super) struct Segments<'p>(pub(super) Vec<Cow<'p, str>>);

impl<'p> Segments<'p> {
    /// Takes a path apart. `None` if no route has such a path.
    pub(super) fn of(path: &'p str) -> Option<Self> {
        let path = path.strip_prefix('/')?;
        // One slash at the end is none.
        let path = path.strip_suffix('/').unwrap_or(path);
        if path.split('/').count() > SEGMENTS_MAX {
            return None;
        }
        let segments = path
            .split('/')
            .map(|segment| percent_decode_str(segment).decode_utf8().ok())
            .collect::<Option<Vec<_>>>()?;
        let providers = segments
            .windows(PROVIDERS.len())
            .position(|window| window.iter().eq(PROVIDERS));
        let Some(at) = providers else {
            return Some(Self(segments));
        };
        // The scope is `/`, `/keys` or `/keys/{name}`, and clients put it behind a slash as it is: what is left of
        // slashes in front and behind of it says nothing.
        let scope = segments[..at].join("/");
        let scope = format!("/{}", scope.trim_matches('/'));
        let mut kept = vec![Cow::Owned(scope)];
        kept.extend(segments.into_iter().skip(at));
        Some(Self(kept))
    }
}

/// A path that fits a row of the table, and the query.
pub(super) struct Captured<'p> {
    pub(super) pattern: &'static [&'static str],
    pub(super) segments: &'p [Cow<'p, str>],
    pub(super) query: &'p Query<'p>,
}

impl Captured<'_> {
    fn parameter(&self, name: &str) -> Option<&str> {
        let at = self.pattern.iter().position(|part| {
            part.strip_prefix('{')
                .and_then(|part| part.strip_suffix('}'))
                == Some(name)
        })?;
        self.segments.get(at).map(AsRef::as_ref)
    }

    fn parsed<T: std::str::FromStr<Err = hsm_core::Error>>(
        &self,
        name: &str,
    ) -> Result<T, Misrouted> {
        let text = self.parameter(name).unwrap_or_default();
        text.parse().map_err(|error| bad(&error))
    }

    pub(super) fn name(&self) -> Result<KeyName, Misrouted> {
        self.parsed("name")
    }

    /// A key and version; no version, or an empty one, is the latest.
    pub(super) fn key(&self) -> Result<KeyRef, Misrouted> {
        let name = self.name()?;
        match self.parameter("version") {
            None | Some("") => Ok(name.into()),
            Some(version) => {
                let version = version.parse().map_err(|error| bad(&error))?;
                Ok(KeyRef::version(name, version))
            }
        }
    }

    pub(super) fn page(&self) -> Result<PageRequest, Misrouted> {
        Ok(PageRequest {
            after: self.query.skip_token.as_deref().map(str::to_owned),
            limit: self.query.limit()?,
        })
    }

    pub(super) fn scope(&self) -> Result<Scope, Misrouted> {
        self.parsed("scope")
    }

    /// The scope whose assignments are listed; `/` stands for all of them, unless only those at it are asked for.
    pub(super) fn assigned_at(&self) -> Result<Option<Scope>, Misrouted> {
        let scope = self.scope()?;
        let exactly = self.query.filters()?.contains(&Filter::AtScope);
        Ok((exactly || scope != Scope::Global).then_some(scope))
    }

    /// Whose assignments are listed.
    pub(super) fn assigned_to(&self) -> Result<Option<Principal>, Misrouted> {
        let mut found = None;
        for filter in self.query.filters()? {
            if let Filter::Principal(principal) = filter {
                found = Some(principal);
            }
        }
        Ok(found)
    }

    /// The name of the role definition that is looked for.
    pub(super) fn role_name(&self) -> Result<Option<String>, Misrouted> {
        let mut found = None;
        for filter in self.query.filters()? {
            if let Filter::RoleName(name) = filter {
                found = Some(name);
            }
        }
        Ok(found)
    }

    pub(super) fn id(&self) -> Result<RoleId, Misrouted> {
        self.parsed("id")
    }

    pub(super) fn user(&self) -> Result<Principal, Misrouted> {
        self.parsed("user")
    }

    pub(super) fn token(&self) -> Result<TokenName, Misrouted> {
        self.parsed("token")
    }

    pub(super) fn setting(&self) -> Result<String, Misrouted> {
        let name = self.parameter("setting").unwrap_or_default();
        KeyName::new(name)
            .map(|name| name.as_str().to_owned())
            .map_err(|_| Misrouted::NotFound)
    }

    pub(super) fn stream(&self) -> Result<StreamId, Misrouted> {
        self.parsed("stream")
    }

    pub(super) fn from(&self) -> Result<u64, Misrouted> {
        number("from", self.query.from.as_deref(), 0)
    }

    /// The nonce of a key report, in base64url. Key Vault's own clients send none.
    pub(super) fn nonce(&self) -> Result<Nonce, Misrouted> {
        let text = self.query.nonce.as_deref();
        let text = text.ok_or_else(|| {
            bad_parameter("`nonce` is missing: 8 to 64 random bytes in base64url, for which the report is made")
        })?;
        read::octets("nonce", text, ATTESTATION_NONCE_LEN_MAX)
            .and_then(Nonce::new)
            .map_err(|error| bad(&error))
    }

    /// The registers that are to be quoted.
    pub(super) fn pcrs(&self) -> Result<Pcrs, Misrouted> {
        let text = self.query.pcrs.as_deref().unwrap_or_default();
        text.parse().map_err(|error| bad(&error))
    }

    pub(super) fn limit(&self) -> Result<usize, Misrouted> {
        number("limit", self.query.limit.as_deref(), PAGE_LEN_DEFAULT)
    }
}

/// The parameters that some route knows. Others are not looked at, as in the real services.
#[derive(Default)]
pub(super) struct Query<'q> {
    pub(super) api_version: Option<Cow<'q, str>>,
    filter: Option<Cow<'q, str>>,
    max_results: Option<Cow<'q, str>>,
    hsm_max_results: Option<Cow<'q, str>>,
    skip_token: Option<Cow<'q, str>>,
    from: Option<Cow<'q, str>>,
    limit: Option<Cow<'q, str>>,
    nonce: Option<Cow<'q, str>>,
    pcrs: Option<Cow<'q, str>>,
}

impl<'q> Query<'q> {
    pub(super) fn parse(query: Option<&'q str>) -> Result<Self, Misrouted> {
        let mut parsed = Self::default();
        for pair in query.unwrap_or_default().split('&') {
            let (name, value) = pair.split_once('=').unwrap_or((pair, ""));
            let name = decoded(name)?;
            let place = match &*name {
                "api-version" => &mut parsed.api_version,
                "$filter" => &mut parsed.filter,
                "maxresults" => &mut parsed.max_results,
                "hsm-maxresults" => &mut parsed.hsm_max_results,
                "$skiptoken" => &mut parsed.skip_token,
                "from" => &mut parsed.from,
                "limit" => &mut parsed.limit,
                "nonce" => &mut parsed.nonce,
                "pcrs" => &mut parsed.pcrs,
                _ => continue,
            };
            if place.replace(decoded(value)?).is_some() {
                return Err(bad_parameter(format!("`{name}` is there twice")));
            }
        }
        let too_long = |token: &Cow<'_, str>| token.len() > SKIP_TOKEN_LEN_MAX;
        if parsed.skip_token.as_ref().is_some_and(too_long) {
            return Err(bad_parameter("`$skiptoken` is none that was given out"));
        }
        Ok(parsed)
    }

    /// Key Vault's pages hold at most 25; our own client may ask for more by another name.
    fn limit(&self) -> Result<Option<usize>, Misrouted> {
        if let Some(limit) = &self.hsm_max_results {
            return number("hsm-maxresults", Some(limit), 0).map(Some);
        }
        let Some(limit) = self.max_results.as_deref() else {
            return Ok(None);
        };
        match number("maxresults", Some(limit), 0) {
            Ok(limit) if (1..=PAGE_LEN_DEFAULT).contains(&limit) => Ok(Some(limit)),
            _ => Err(bad_parameter(format!(
                "`maxresults` is a number from 1 to {PAGE_LEN_DEFAULT}"
            ))),
        }
    }

    fn filters(&self) -> Result<Vec<Filter>, Misrouted> {
        let Some(filter) = self.filter.as_deref().map(str::trim) else {
            return Ok(Vec::new());
        };
        if filter.is_empty() {
            return Ok(Vec::new());
        }
        filter.split(" and ").map(Filter::parse).collect()
    }
}

/// A condition of `$filter`.
#[derive(Debug, Eq, PartialEq)]
enum Filter {
    AtScope,
    AtScopeAndBelow,
    Principal(Principal),
    RoleName(String),
}

impl Filter {
    fn parse(text: &str) -> Result<Self, Misrouted> {
        let text = text.trim();
        if text == "atScope()" {
            return Ok(Self::AtScope);
        }
        if text == "atScopeAndBelow()" {
            return Ok(Self::AtScopeAndBelow);
        }
        let condition = text.split_once(" eq ").and_then(|(name, value)| {
            let value = value.trim().strip_prefix('\'')?.strip_suffix('\'')?;
            Some((name.trim(), value))
        });
        match condition {
            Some(("principalId", value)) => Principal::new(value)
                .map(Self::Principal)
                .map_err(|error| bad(&error)),
            // Two quotes stand for one (OData 4.01).
            Some(("roleName", value)) => Ok(Self::RoleName(value.replace("''", "'"))),
            _ => Err(bad_parameter(
                "`$filter` is `atScope()`, `atScopeAndBelow()`, `principalId eq '…'` or `roleName eq '…'`, joined by `and`",
            )),
        }
    }
}

/// Decodes once; a plus is a space.
fn decoded(text: &str) -> Result<Cow<'_, str>, Misrouted> {
    let broken = || bad_parameter("the query is not percent-encoded UTF-8");
    if text.contains('+') {
        let text = text.replace('+', " ");
        let decoded = percent_decode_str(&text)
            .decode_utf8()
            .map_err(|_| broken())?;
        return Ok(Cow::Owned(decoded.into_owned()));
    }
    percent_decode_str(text).decode_utf8().map_err(|_| broken())
}

fn number<T: std::str::FromStr>(
    name: &str,
    text: Option<&str>,
    default: T,
) -> Result<T, Misrouted> {
    let Some(text) = text else {
        return Ok(default);
    };
    // `parse` takes a sign.
    Some(text)
        .filter(|text| text.bytes().all(|byte| byte.is_ascii_digit()))
        .and_then(|text| text.parse().ok())
        .ok_or_else(|| bad_parameter(format!("`{name}` is a number")))
}

fn bad(error: &hsm_core::Error) -> Misrouted {
    Misrouted::BadParameter(error.message().to_owned())
}

fn bad_parameter(message: impl Into<String>) -> Misrouted {
    Misrouted::BadParameter(message.into())
}
