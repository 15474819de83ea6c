//! [`Refusal`]: an answer to a request whose sender is not known, and the reason, which only logs and metrics hear.

use hsm_core::{Error, ErrorKind};
use hsm_wire::{Body, Reply};
use http::header::{CONTENT_TYPE, RETRY_AFTER, WWW_AUTHENTICATE};
use http::{HeaderValue, Response, StatusCode};
use hyper::body::Bytes;
use serde_json::json;

use crate::limits::RETRY_AFTER_BUSY;

/// Why somebody was refused. For logs and metrics: what the client hears says less.
#[derive(Clone, Copy, Debug, Eq, Hash, PartialEq)]
pub(crate) enum Reason {
    /// `alg` is none, HS* or anything else that the issuer's list does not have.
    Algorithm,
    /// For another partition, or for another service altogether.
    Audience,
    /// More than one `Authorization` header.
    Conflicting,
    /// A session or API token that is not known, has ended or was revoked.
    Ended,
    /// The engine could not say.
    Engine,
    /// Past `exp`.
    Expired,
    /// `iat` is ahead.
    IssuedInTheFuture,
    /// Of nobody whom the partition trusts.
    Issuer,
    /// The issuer's keys could not be read.
    IssuerUnreachable,
    /// Too many wrong passwords.
    LockedOut,
    /// Not a token of any known form.
    Malformed,
    /// No token, and a connection that proves nobody.
    Missing,
    /// Before `nbf`.
    NotYetValid,
    /// Wrong name or password.
    Password,
    /// The token names nobody, or somebody whose name is not one that the issuer may give.
    Principal,
    /// The signature is not right.
    Signature,
    /// Longer than a token may be.
    TooLong,
    /// `typ` is of something else than an access token.
    Type,
    /// The issuer has no such key.
    UnknownKey,
}

impl Reason {
    /// Every reason, each at the place that it has as a number.
    pub(crate) const ALL: [Self; 19] = [
        Self::Algorithm,
        Self::Audience,
        Self::Conflicting,
        Self::Ended,
        Self::Engine,
        Self::Expired,
        Self::IssuedInTheFuture,
        Self::Issuer,
        Self::IssuerUnreachable,
        Self::LockedOut,
        Self::Malformed,
        Self::Missing,
        Self::NotYetValid,
        Self::Password,
        Self::Principal,
        Self::Signature,
        Self::TooLong,
        Self::Type,
        Self::UnknownKey,
    ];

    /// For a metric's label and the log.
    pub(crate) const fn label(self) -> &'static str {
        match self {
            Self::Algorithm => "algorithm",
            Self::Audience => "audience",
            Self::Conflicting => "conflicting",
            Self::Ended => "ended",
            Self::Engine => "engine",
            Self::Expired => "expired",
            Self::IssuedInTheFuture => "issued_in_the_future",
            Self::Issuer => "issuer",
            Self::IssuerUnreachable => "issuer_unreachable",
            Self::LockedOut => "locked_out",
            Self::Malformed => "malformed",
            Self::Missing => "missing",
            Self::NotYetValid => "not_yet_valid",
            Self::Password => "password",
            Self::Principal => "principal",
            Self::Signature => "signature",
            Self::TooLong => "too_long",
            Self::Type => "type",
            Self::UnknownKey => "unknown_key",
        }
    }

    /// What the client hears. Before a signature was found right, no more than that the token is none.
    const fn message(self) -> &'static str {
        match self {
            Self::Missing => {
                "AKV10000: Request is missing a Bearer token; get one as the header WWW-Authenticate says"
            }
            Self::Conflicting => "AKV10001: Request has more than one Authorization header",
            Self::Expired => "AKV10002: The token has expired; get a new one",
            Self::NotYetValid | Self::IssuedInTheFuture => {
                "AKV10003: The token is not valid yet; compare the clocks of the client and of the issuer"
            }
            Self::Audience => {
                "AKV10022: The token is for another resource; ask for the one that the header WWW-Authenticate names"
            }
            Self::Principal => "AKV10004: The token does not name a principal that can be one here",
            Self::Ended => "AKV10005: The token is unknown or has ended; log in again",
            Self::Password => {
                "AKV10006: The user name or the password is wrong, or the user is disabled"
            }
            Self::LockedOut => "Too many wrong passwords; wait as long as Retry-After says",
            Self::IssuerUnreachable => {
                "The keys of the token's issuer cannot be read now; try again later"
            }
            Self::Engine
            | Self::Algorithm
            | Self::Issuer
            | Self::Malformed
            | Self::Signature
            | Self::TooLong
            | Self::Type
            | Self::UnknownKey => "AKV10032: The token is not accepted",
        }
    }

    /// The code of RFC 6750 section 3.1; none if there was no token.
    pub(crate) const fn error(self) -> Option<&'static str> {
        match self {
            Self::Missing => None,
            Self::Conflicting | Self::Malformed | Self::TooLong => Some("invalid_request"),
            _ => Some("invalid_token"),
        }
    }

    /// The description of RFC 6750 section 3, with neither a comma nor an equals sign: some clients split there.
    pub(crate) const fn description(self) -> &'static str {
        match self {
            Self::Conflicting => "more than one Authorization header",
            Self::Expired => "the token has expired",
            Self::NotYetValid | Self::IssuedInTheFuture => "the token is not valid yet",
            Self::Audience => "the token is for another resource",
            Self::Principal => "the token names no principal",
            Self::Ended => "the token is unknown or has ended",
            _ => "the token is not accepted",
        }
    }
}

/// An answer to a request that goes no further.
#[derive(Debug)]
pub(crate) struct Refusal {
    /// For logs and metrics.
    pub(crate) reason: Reason,
    /// The status.
    pub(crate) status: StatusCode,
    /// `error.message` of the body.
    pub(crate) message: String,
    /// The whole body, where the engine's error is told.
    pub(crate) body: Option<Body>,
    /// `WWW-Authenticate`, with 401.
    pub(crate) challenge: Option<HeaderValue>,
    /// `Retry-After`, in seconds.
    pub(crate) retry_after: Option<u64>,
}

impl Refusal {
    /// What the engine said to a login, or to a principal that was authenticated.
    pub(crate) fn engine(error: &Error, unauthenticated: Reason) -> Self {
        let reason = match error.kind() {
            ErrorKind::Unauthenticated | ErrorKind::NotFound | ErrorKind::Denied => unauthenticated,
            ErrorKind::LockedOut => Reason::LockedOut,
            _ => Reason::Engine,
        };
        let mut refusal = Self::from(reason);
        if matches!(reason, Reason::Engine | Reason::LockedOut) {
            // As the engine's errors are answered everywhere, so that our client reads the same kind.
            let reply = Reply::error(error);
            refusal.status = reply.status;
            refusal.retry_after = reply.retry_after;
            refusal.message = error.message().to_owned();
            refusal.body = Some(reply.body);
            if error.kind() == ErrorKind::LimitExceeded {
                // Too many sessions: some will end.
                refusal.status = StatusCode::TOO_MANY_REQUESTS;
                refusal.retry_after = Some(RETRY_AFTER_BUSY);
            }
        }
        refusal
    }

    /// Adds where to get a token, to the answers that have a place for it.
    pub(crate) fn with_challenge(mut self, challenge: impl FnOnce(Reason) -> HeaderValue) -> Self {
        if self.status == StatusCode::UNAUTHORIZED {
            self.challenge = Some(challenge(self.reason));
        }
        self
    }

    /// The answer, in the form of all errors of the API.
    pub(crate) fn into_response(self) -> Response<Bytes> {
        let body = match self.body {
            Some(body) => Bytes::copy_from_slice(body.as_bytes()),
            None => {
                let inner = match self.message.split_once(": ") {
                    Some((code, _)) if code.starts_with("AKV") => code,
                    _ => self.reason.label(),
                };
                let code = match self.status {
                    StatusCode::SERVICE_UNAVAILABLE => "ServiceUnavailable",
                    _ => "Unauthorized",
                };
                let error = json!({
                    "error": {
                        "code": code,
                        "message": self.message,
                        "innererror": { "code": inner },
                    }
                });
                error.to_string().into()
            }
        };
        let mut response = Response::new(body);
        *response.status_mut() = self.status;
        let headers = response.headers_mut();
        let json = HeaderValue::from_static("application/json; charset=utf-8");
        headers.insert(CONTENT_TYPE, json);
        if let Some(challenge) = self.challenge {
            headers.insert(WWW_AUTHENTICATE, challenge);
        }
        if let Some(seconds) = self.retry_after {
            headers.insert(RETRY_AFTER, seconds.into());
        }
        response
    }
}

impl From<Reason> for Refusal {
    fn from(reason: Reason) -> Self {
        let status = match reason {
            Reason::LockedOut => StatusCode::TOO_MANY_REQUESTS,
            Reason::IssuerUnreachable => StatusCode::SERVICE_UNAVAILABLE,
            _ => StatusCode::UNAUTHORIZED,
        };
        Self {
            reason,
            status,
            message: reason.message().to_owned(),
            body: None,
            challenge: None,
            retry_after: None,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_reason_is_counted_by_itself() {
        for (at, reason) in Reason::ALL.into_iter().enumerate() {
            assert_eq!(reason as usize, at);
        }
        let labels: std::collections::HashSet<_> = Reason::ALL.map(Reason::label).into();
        assert_eq!(labels.len(), Reason::ALL.len());
    }
}
