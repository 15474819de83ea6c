//! Answers: what they are made of, and the headers that all have.

use http::header::{
    ALLOW, CACHE_CONTROL, CONTENT_TYPE, HeaderName, HeaderValue, RETRY_AFTER, WWW_AUTHENTICATE,
};
use http::{HeaderMap, Response, StatusCode};
use http_body_util::Full;
use hyper::body::Bytes;

use hsm_client::{Error, ErrorKind};
use hsm_core::audit::RequestId;

/// An answer on its way out. Its body has a known length.
pub(crate) type Answer = Response<Full<Bytes>>;

/// What the engine, or the server in its place, has to say.
#[derive(Clone, Debug)]
pub(crate) struct Outcome {
    pub(crate) status: StatusCode,
    pub(crate) body: Bytes,
    pub(crate) retry_after: Option<u64>,
    /// The kind of the error, if it is one of the engine's.
    pub(crate) failure: Option<ErrorKind>,
}

impl From<hsm_wire::Reply> for Outcome {
    fn from(reply: hsm_wire::Reply) -> Self {
        Self {
            status: reply.status,
            // Wiped when the last who holds it has gone.
            body: Bytes::from_owner(reply.body),
            retry_after: reply.retry_after,
            failure: None,
        }
    }
}

impl Outcome {
    /// An answer that is an error of the engine's.
    pub(crate) fn error(error: &Error) -> Self {
        Self {
            failure: Some(error.kind()),
            ..hsm_wire::Reply::error(error).into()
        }
    }

    /// An answer that only a server gives.
    pub(crate) fn problem(status: StatusCode, code: &str, message: &str) -> Self {
        let body = serde_json::json!({ "error": { "code": code, "message": message } });
        Self {
            status,
            body: body.to_string().into(),
            retry_after: None,
            failure: None,
        }
    }

    pub(crate) fn retry_after(mut self, seconds: u64) -> Self {
        self.retry_after = Some(seconds);
        self
    }

    /// Whether a repetition is to be answered in the same way. If not, nothing happened, and it may now. Refusals are not kept:
    /// who may change nothing must not push out what was answered to others.
    pub(crate) fn is_final(&self) -> bool {
        self.retry_after.is_none()
            && !matches!(
                self.failure,
                Some(
                    ErrorKind::Unauthenticated
                        | ErrorKind::Unreachable
                        | ErrorKind::Denied
                        | ErrorKind::InvalidInput
                        | ErrorKind::LimitExceeded
                        | ErrorKind::NotFound
                        | ErrorKind::Unsupported
                )
            )
    }

    pub(crate) fn json(status: StatusCode, body: impl Into<Bytes>) -> Self {
        Self {
            status,
            body: body.into(),
            retry_after: None,
            failure: None,
        }
    }

    pub(crate) fn into_answer(self) -> Answer {
        let empty = self.body.is_empty();
        let mut answer = Response::new(Full::new(self.body));
        *answer.status_mut() = self.status;
        let headers = answer.headers_mut();
        // Room for all that is put in below and in `finish`.
        headers.reserve(12);
        if !empty {
            headers.insert(CONTENT_TYPE, JSON);
        }
        if let Some(seconds) = self.retry_after {
            headers.insert(RETRY_AFTER, seconds.into());
        }
        answer
    }

    pub(crate) fn challenge(self, challenge: HeaderValue) -> Answer {
        let mut answer = self.into_answer();
        answer.headers_mut().insert(WWW_AUTHENTICATE, challenge);
        answer
    }

    pub(crate) fn allow(self, methods: &'static str) -> Answer {
        let mut answer = self.into_answer();
        answer
            .headers_mut()
            .insert(ALLOW, HeaderValue::from_static(methods));
        answer
    }
}

pub(crate) const JSON: HeaderValue = HeaderValue::from_static("application/json; charset=utf-8");

const REQUEST_ID: HeaderName = HeaderName::from_static("x-ms-request-id");
const CLIENT_REQUEST_ID: HeaderName = HeaderName::from_static("x-ms-client-request-id");
const REGION: HeaderName = HeaderName::from_static("x-ms-keyvault-region");
const SERVICE_VERSION: HeaderName = HeaderName::from_static("x-ms-keyvault-service-version");
const INSTANCE: HeaderName = HeaderName::from_static("hsm-instance");

/// The instance that a repetition is meant for.
pub(crate) const IF_INSTANCE: HeaderName = HeaderName::from_static("hsm-if-instance");
/// The same in all repetitions of a request.
pub(crate) const IDEMPOTENCY_KEY: HeaderName = HeaderName::from_static("idempotency-key");

const VERSION: HeaderValue = HeaderValue::from_static(env!("CARGO_PKG_VERSION"));
const NO_STORE: HeaderValue = HeaderValue::from_static("no-store");

/// The names of a request: the server's own, and its client's, which is that of the audit record.
#[derive(Debug)]
pub(crate) struct Ids {
    pub(crate) own: Uuid,
    pub(crate) audit: RequestId,
    client: HeaderValue,
}

impl Ids {
    /// `own` is the server's.
    pub(crate) fn of(headers: &HeaderMap, own: u128) -> Self {
        let own = Uuid::new(own);
        let theirs = headers
            .get(CLIENT_REQUEST_ID)
            .and_then(|value| Some((parse_uuid(value.as_bytes())?, value)));
        match theirs {
            Some((audit, value)) => Self {
                own,
                audit: RequestId::from_u128(audit),
                client: value.clone(),
            },
            None => Self {
                client: own.header(),
                audit: RequestId::from_u128(own.value),
                own,
            },
        }
    }

    /// The client's as text.
    pub(crate) fn client(&self) -> &str {
        self.client.to_str().unwrap_or_default()
    }
}

/// What is the same in all answers of a server.
#[derive(Debug)]
pub(crate) struct Constants {
    pub(crate) region: HeaderValue,
    pub(crate) instance: HeaderValue,
}

/// Puts in the headers that all answers have.
pub(crate) fn finish(answer: &mut Answer, ids: &Ids, constants: &Constants) {
    let headers = answer.headers_mut();
    headers.insert(REQUEST_ID, ids.own.header());
    headers.insert(CLIENT_REQUEST_ID, ids.client.clone());
    headers.insert(REGION, constants.region.clone());
    headers.insert(SERVICE_VERSION, VERSION);
    headers.insert(INSTANCE, constants.instance.clone());
    headers.insert(CACHE_CONTROL, NO_STORE);
}

/// An id in the form of RFC 9562, without an allocation.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Uuid {
    value: u128,
    text: [u8; 36],
}

impl Uuid {
    pub(crate) fn new(value: u128) -> Self {
        let mut text = [b'-'; 36];
        let mut at = 0;
        for (index, byte) in value.to_be_bytes().into_iter().enumerate() {
            if matches!(index, 4 | 6 | 8 | 10) {
                at += 1;
            }
            text[at] = HEX[usize::from(byte >> 4)];
            text[at + 1] = HEX[usize::from(byte & 15)];
            at += 2;
        }
        Self { value, text }
    }

    pub(crate) fn as_str(&self) -> &str {
        str::from_utf8(&self.text).unwrap_or_default()
    }

    pub(crate) fn header(&self) -> HeaderValue {
        HeaderValue::from_bytes(&self.text).unwrap_or(HeaderValue::from_static(""))
    }
}

const HEX: &[u8; 16] = b"0123456789abcdef";

/// Reads `xxxxxxxx-xxxx-xxxx-xxxx-xxxxxxxxxxxx`.
pub(crate) fn parse_uuid(text: &[u8]) -> Option<u128> {
    if text.len() != 36 {
        return None;
    }
    let mut value = 0;
    for (index, byte) in text.iter().enumerate() {
        if matches!(index, 8 | 13 | 18 | 23) {
            if *byte != b'-' {
                return None;
            }
        } else {
            value = value << 4 | u128::from(char::from(*byte).to_digit(16)?);
        }
    }
    Some(value)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn only_what_may_have_changed_something_is_kept_for_repetitions() {
        let is_final = |kind| Outcome::error(&Error::new(kind, "why")).is_final();
        for refusal in [
            ErrorKind::Denied,
            ErrorKind::InvalidInput,
            ErrorKind::NotFound,
            ErrorKind::Unauthenticated,
        ] {
            assert!(!is_final(refusal), "{refusal:?}");
        }
        for answer in [ErrorKind::Unknown, ErrorKind::Conflict] {
            assert!(is_final(answer), "{answer:?}");
        }
        assert!(Outcome::json(StatusCode::OK, "").is_final());
    }

    proptest! {
        #[test]
        fn ids_are_read_as_they_are_written(value: u128) {
            let id = Uuid::new(value);
            prop_assert_eq!(parse_uuid(id.as_str().as_bytes()), Some(value));
        }

        #[test]
        fn what_is_no_id_is_not_read(text in "[0-9a-f-]{0,40}") {
            let dashes = [8, 13, 18, 23].iter().all(|at| text.as_bytes().get(*at) == Some(&b'-'));
            let right = text.len() == 36 && dashes && text.matches('-').count() == 4;
            prop_assert_eq!(parse_uuid(text.as_bytes()).is_some(), right);
        }
    }
}
