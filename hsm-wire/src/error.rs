//! The one table of errors: [`ErrorKind`] on our side, status, code and inner code on the wire.

use std::time::Duration;

use hsm_core::{Error, ErrorKind};
use http::StatusCode;
use serde::Deserialize;

use crate::json::Json;
use crate::read::{self, Text};
use crate::{EngineRoute, Misrouted, Reply};

/// Room for an error.
const ERROR_LEN: usize = 512;

/// Longest message that is taken from a server.
const MESSAGE_LEN_MAX: usize = 1024;

/// A kind, the status that it is answered with, and Key Vault's code for it. The kind's own name is the inner code.
const TABLE: [(ErrorKind, StatusCode, &str, &str); 16] = {
    use ErrorKind as K;
    use StatusCode as S;
    [
        (
            K::InvalidInput,
            S::BAD_REQUEST,
            "BadParameter",
            "InvalidInput",
        ),
        (
            K::LimitExceeded,
            S::BAD_REQUEST,
            "BadParameter",
            "LimitExceeded",
        ),
        (
            K::Unsupported,
            S::BAD_REQUEST,
            "NotSupported",
            "Unsupported",
        ),
        (
            K::Unauthenticated,
            S::UNAUTHORIZED,
            "Unauthorized",
            "Unauthenticated",
        ),
        (K::Denied, S::FORBIDDEN, "AccessDenied", "Denied"),
        (K::KeyState, S::FORBIDDEN, "Forbidden", "KeyState"),
        (K::LockedOut, S::TOO_MANY_REQUESTS, "Throttled", "LockedOut"),
        (K::NotFound, S::NOT_FOUND, "KeyNotFound", "NotFound"),
        (K::Conflict, S::CONFLICT, "Conflict", "Conflict"),
        (
            K::CryptoFailed,
            S::BAD_REQUEST,
            "BadParameter",
            "CryptoFailed",
        ),
        (
            K::Damaged,
            S::INTERNAL_SERVER_ERROR,
            "InternalServerError",
            "Damaged",
        ),
        (
            K::DeviceFailed,
            S::INTERNAL_SERVER_ERROR,
            "InternalServerError",
            "DeviceFailed",
        ),
        (
            K::StoreFailed,
            S::SERVICE_UNAVAILABLE,
            "ServiceUnavailable",
            "StoreFailed",
        ),
        (
            K::AuditFailed,
            S::INTERNAL_SERVER_ERROR,
            "InternalServerError",
            "AuditFailed",
        ),
        (
            K::Unreachable,
            S::SERVICE_UNAVAILABLE,
            "ServiceUnavailable",
            "Unreachable",
        ),
        (
            K::Unknown,
            S::INTERNAL_SERVER_ERROR,
            "InternalServerError",
            "Unknown",
        ),
    ]
};

/// What the real services say about a key that may not be used now.
const KEY_STATE_CODES: [&str; 4] = [
    "KeyDisabled",
    "KeyExpired",
    "KeyNotYetValid",
    "KeyOperationForbidden",
];

pub(crate) fn reply(error: &Error) -> Reply {
    let (status, code, inner) = codes(error);
    answer(error, status, code, inner)
}

/// As [`reply`], where what was asked says more than the kind. Our client reads the same kind from it.
pub(crate) fn reply_to(route: &EngineRoute, error: &Error) -> Reply {
    use EngineRoute as R;
    let (mut status, mut code, inner) = codes(error);
    match (error.kind(), route) {
        // What is damaged is what the caller sent.
        (ErrorKind::Damaged, R::RestoreKey {}) => {
            (status, code) = (StatusCode::BAD_REQUEST, "BadParameter");
        }
        (ErrorKind::NotFound, route) => code = not_found(route),
        _ => {}
    }
    answer(error, status, code, inner)
}

/// The code for what is not there.
fn not_found(route: &EngineRoute) -> &'static str {
    use EngineRoute as R;
    match route {
        R::GetRoleDefinition { .. }
        | R::PutRoleDefinition { .. }
        | R::DeleteRoleDefinition { .. }
        // An assignment is of a definition that must be there.
        | R::PutRoleAssignment { .. }
        | R::CreateRoleAssignment {} => "RoleDefinitionNotFound",
        R::GetRoleAssignment { .. } | R::DeleteRoleAssignment { .. } => "RoleAssignmentNotFound",
        R::GetSetting { .. } | R::UpdateSetting { .. } => "SettingNotFound",
        R::UpdateUser { .. } | R::DeleteUser { .. } => "UserNotFound",
        R::DeleteToken { .. } => "TokenNotFound",
        R::ReadAudit { .. } => "StreamNotFound",
        _ => "KeyNotFound",
    }
}

/// Status, code and inner code of an error.
fn codes(error: &Error) -> (StatusCode, &'static str, &'static str) {
    let row = TABLE.iter().find(|(kind, ..)| *kind == error.kind());
    let (_, status, code, inner) = *row.unwrap_or(&TABLE[TABLE.len() - 1]);
    // What tools look for to find out whether recovering would help.
    let recoverable =
        error.kind() == ErrorKind::Conflict && error.message().contains(" is soft-deleted");
    match recoverable {
        true => (status, code, "ObjectIsDeletedButRecoverable"),
        false => (status, code, inner),
    }
}

fn answer(error: &Error, status: StatusCode, code: &str, inner: &str) -> Reply {
    let message = match error.kind() {
        ErrorKind::Denied => denied(error.message()),
        kind if error.message().is_empty() => kind.describe().to_owned(),
        _ => error.message().to_owned(),
    };
    let wait = error.retry_after();
    let mut reply = write(status, code, &message, Some(inner), wait);
    reply.retry_after = wait.map(|wait| wait.as_secs() + u64::from(wait.subsec_nanos() > 0));
    reply
}

/// As Managed HSM says it, with what is missing where; then what to do about it.
fn denied(message: &str) -> String {
    match message.split_once(" has no role that allows ") {
        Some((who, what)) => {
            let (what, advice) = what.split_once("; ").unwrap_or((what, ""));
            let advice = match advice {
                "" => String::new(),
                advice => format!("; {advice}"),
            };
            format!("Not authorized to access {what}: {who} has no role that allows it{advice}")
        }
        None => format!("Not authorized: {message}"),
    }
}

pub(crate) fn misrouted(misrouted: &Misrouted) -> Reply {
    match misrouted {
        Misrouted::NotFound => write(
            StatusCode::NOT_FOUND,
            "NotFound",
            "there is no such path",
            Some("NotFound"),
            None,
        ),
        Misrouted::Method(allowed) => write(
            StatusCode::METHOD_NOT_ALLOWED,
            "MethodNotAllowed",
            &format!("this path takes {allowed}"),
            Some("InvalidInput"),
            None,
        ),
        Misrouted::BadParameter(message) => write(
            StatusCode::BAD_REQUEST,
            "BadParameter",
            message,
            Some("InvalidInput"),
            None,
        ),
    }
}

pub(crate) fn not_yet(what: &str) -> Reply {
    write(
        StatusCode::NOT_IMPLEMENTED,
        "NotImplemented",
        &format!("not supported yet: {what}"),
        Some("Unsupported"),
        None,
    )
}

fn write(
    status: StatusCode,
    code: &str,
    message: &str,
    inner: Option<&str>,
    wait: Option<Duration>,
) -> Reply {
    let body = Json::object_of(ERROR_LEN, |json| {
        json.name("error").object(|json| {
            json.name("code").text(code);
            json.name("message").text(message);
            if let Some(inner) = inner {
                json.name("innererror").object(|json| {
                    json.name("code").text(inner);
                    if let Some(wait) = wait {
                        let millis = u64::try_from(wait.as_millis()).unwrap_or(u64::MAX);
                        json.name("retryAfterMillis").number(millis);
                    }
                });
            }
        });
    });
    Reply::new(status, body)
}

#[derive(Deserialize)]
struct Outer<'a> {
    #[serde(borrow)]
    error: ErrorIn<'a>,
}

#[derive(Deserialize)]
struct ErrorIn<'a> {
    #[serde(borrow)]
    code: Option<Text<'a>>,
    #[serde(borrow)]
    message: Option<Text<'a>>,
    #[serde(borrow)]
    innererror: Option<InnerIn<'a>>,
}

#[derive(Deserialize)]
struct InnerIn<'a> {
    #[serde(borrow)]
    code: Option<Text<'a>>,
    #[serde(rename = "retryAfterMillis")]
    retry_after: Option<u64>,
}

/// The error that an answer is: ours by its inner code, another service's by what it resembles.
pub(crate) fn read(status: StatusCode, body: &[u8]) -> Error {
    let Ok(Outer { error }) = read::object::<Outer<'_>>(body) else {
        let kind = kind_of(status, "", "");
        return Error::new(kind, format!("the server answered {status}"));
    };
    let code = error.code.as_ref().map_or("", Text::as_str);
    let inner = error.innererror.as_ref();
    let inner_code = inner
        .and_then(|inner| inner.code.as_ref())
        .map_or("", Text::as_str);
    let ours = TABLE.iter().find(|(.., name)| *name == inner_code);
    let kind = match ours {
        // It came from our server, whatever else stands in front of it.
        Some((kind, ..)) => *kind,
        None => kind_of(status, code, inner_code),
    };
    if kind == ErrorKind::CryptoFailed {
        return Error::crypto();
    }
    let message = error.message.as_ref().map_or("", Text::as_str);
    let end = (0..=message.len().min(MESSAGE_LEN_MAX)).rev();
    let end = end
        .into_iter()
        .find(|at| message.is_char_boundary(*at))
        .unwrap_or(0);
    let answer = Error::new(kind, message[..end].to_owned());
    match inner.and_then(|inner| inner.retry_after) {
        Some(wait) => answer.with_retry_after(Duration::from_millis(wait)),
        None => answer,
    }
}

/// What a status and the codes of the real services mean.
fn kind_of(status: StatusCode, code: &str, inner: &str) -> ErrorKind {
    let about_key = |code: &str| KEY_STATE_CODES.contains(&code);
    match status {
        StatusCode::BAD_REQUEST | StatusCode::UNPROCESSABLE_ENTITY => match code {
            "NotSupported" => ErrorKind::Unsupported,
            _ => ErrorKind::InvalidInput,
        },
        StatusCode::UNAUTHORIZED => ErrorKind::Unauthenticated,
        StatusCode::FORBIDDEN if about_key(code) || about_key(inner) => ErrorKind::KeyState,
        StatusCode::FORBIDDEN => ErrorKind::Denied,
        StatusCode::NOT_FOUND | StatusCode::GONE => ErrorKind::NotFound,
        StatusCode::METHOD_NOT_ALLOWED | StatusCode::NOT_IMPLEMENTED => ErrorKind::Unsupported,
        StatusCode::CONFLICT => ErrorKind::Conflict,
        StatusCode::PAYLOAD_TOO_LARGE | StatusCode::URI_TOO_LONG => ErrorKind::LimitExceeded,
        StatusCode::TOO_MANY_REQUESTS => ErrorKind::LockedOut,
        status if status.is_client_error() => ErrorKind::InvalidInput,
        // Whether it took effect, such an answer does not say.
        _ => ErrorKind::Unknown,
    }
}

/// What a client makes of an answer that it cannot read. A refusal that the answer stands for stays one.
pub(crate) fn answer_makes_no_sense(route: &EngineRoute, error: Error) -> Error {
    if error.kind() == ErrorKind::CryptoFailed {
        return error;
    }
    let operation = route.endpoint().operation;
    Error::new(
        ErrorKind::Unknown,
        format!(
            "the answer to {operation} makes no sense: {}",
            error.message()
        ),
    )
}
