//! Who sends a request: every way to prove an identity ends in a principal of the partition's engine.

use std::net::SocketAddr;

use hsm_client::{Principal, Session};
use http::header::{AUTHORIZATION, HeaderValue};
use http::{HeaderMap, StatusCode};
use rustls::pki_types::CertificateDer;

use crate::Partition;

/// Who is at the other end of a connection, as far as the connection tells.
#[derive(Clone, Debug)]
pub(crate) enum Peer {
    /// TLS over TCP.
    Tcp {
        /// From where.
        address: SocketAddr,
        /// The client's certificate, if it showed one that was verified.
        certificate: Option<CertificateDer<'static>>,
    },
    /// A Unix socket: what the kernel says of the process at the other end.
    Unix {
        /// The user.
        uid: u32,
        /// The group.
        gid: u32,
        /// The process, where it is known.
        pid: Option<u32>,
    },
}

/// Who asks.
#[derive(Debug)]
pub(crate) struct Caller {
    pub(crate) session: Session,
}

/// Why nobody is let in.
#[derive(Debug)]
pub(crate) struct Refusal {
    pub(crate) status: StatusCode,
    pub(crate) code: &'static str,
    pub(crate) message: String,
    pub(crate) challenge: Option<HeaderValue>,
    pub(crate) retry_after: Option<u64>,
}

/// The ways to prove an identity.
#[derive(Debug, Default)]
pub struct Identities {
    tokens: Vec<(String, Principal)>,
}

impl Identities {
    /// None but what is added.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    pub(crate) async fn caller(
        &self,
        partition: &Partition,
        _peer: &Peer,
        headers: &HeaderMap,
        base: &str,
    ) -> Result<Caller, Refusal> {
        let refused = |message: &str| Refusal {
            status: StatusCode::UNAUTHORIZED,
            code: "Unauthorized",
            message: message.to_owned(),
            challenge: Some(self.challenge(partition, base)),
            retry_after: None,
        };
        let token = headers
            .get(AUTHORIZATION)
            .and_then(|value| value.to_str().ok()?.strip_prefix("Bearer "))
            .ok_or_else(|| refused("AKV10000: Request is missing a Bearer or PoP token."))?;
        let principal = self
            .tokens
            .iter()
            .find_map(|(known, principal)| (known == token).then_some(principal))
            .ok_or_else(|| refused("the token is not known"))?;
        let session = partition
            .session_of(principal)
            .await
            .map_err(|error| refused(error.message()))?;
        Ok(Caller { session })
    }

    pub(crate) fn challenge(&self, _partition: &Partition, base: &str) -> HeaderValue {
        HeaderValue::from_str(&format!(
            "Bearer authorization=\"{base}/hsm\", resource=\"{base}\""
        ))
        .unwrap_or(HeaderValue::from_static("Bearer"))
    }
}
