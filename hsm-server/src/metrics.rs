//! What the server counts.

use std::time::Duration;

use hsm_client::Algorithm;
use hsm_wire::Endpoint;
use http::StatusCode;

/// The counters. Counting takes no lock and makes no text.
#[derive(Debug)]
pub(crate) struct Metrics {}

impl Metrics {
    pub(crate) fn new() -> Self {
        Self {}
    }

    pub(crate) fn request(
        &self,
        operation: Option<&'static Endpoint>,
        algorithm: Option<Algorithm>,
        status: StatusCode,
        took: Duration,
    ) {
        _ = (operation, algorithm, status, took);
    }

    pub(crate) fn connection_refused(&self) {}

    pub(crate) fn handshake_failed(&self) {}
}
