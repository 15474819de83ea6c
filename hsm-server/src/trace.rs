//! The log: one event a request, with the ids that its client and the audit record have. No bodies, tokens or queries.

use std::time::Duration;

use http::StatusCode;
use tracing::Level;

use crate::answer::Ids;
use crate::http::Seen;

/// Writes down how a request ended: failures of the server as errors, refusals as information, the rest for who asks for
/// it.
pub(crate) fn request(ids: &Ids, seen: &Seen, status: StatusCode, took: Duration) {
    macro_rules! event {
        ($level:expr) => {
            if tracing::enabled!(target: "hsm_server::request", $level) {
                tracing::event!(
                    target: "hsm_server::request",
                    $level,
                    request_id = ids.own.as_str(),
                    client_request_id = ids.client(),
                    audit_id = %ids.audit,
                    partition = seen.place.as_ref().map(|place| place.partition.host()),
                    principal = seen.session.as_ref().map(|session| session.principal().as_str()),
                    operation = seen.operation.map(|endpoint| endpoint.operation),
                    algorithm = seen.algorithm.map(|algorithm| algorithm.name()),
                    status = status.as_u16(),
                    failure = seen.failure.map(|kind| kind.describe()),
                    microseconds = u64::try_from(took.as_micros()).unwrap_or(u64::MAX),
                );
            }
        };
    }
    match status.as_u16() {
        500.. => event!(Level::ERROR),
        400.. => event!(Level::INFO),
        _ => event!(Level::DEBUG),
    }
}
