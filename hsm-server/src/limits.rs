//! [`Limits`]: every limit of the server, by name.

use std::time::Duration;

use jiff::SignedDuration;
use serde::{Deserialize, Deserializer};

/// How much of everything the server takes. What is beyond is refused with a clear answer, never queued without end.
///
/// In a configuration file times are texts such as `"10s"` or `"2m"`, sizes are bytes.
///
/// ```
/// use hsm_server::Limits;
///
/// let mut limits = Limits::default();
/// limits.requests_in_flight = 64;
/// ```
#[derive(Clone, Debug, Deserialize, Eq, PartialEq)]
#[serde(default, deny_unknown_fields)]
#[non_exhaustive]
pub struct Limits {
    /// Longest body of a request, in bytes: 24 MiB, which holds the largest input of the engine (16 MiB) in base64. More
    /// is 413.
    pub body_len: usize,
    /// Most bytes that large bodies may take up in memory together: 256 MiB. More is 503. Bodies up to
    /// [`SMALL_BODY_LEN`] do not count.
    pub bodies_len: usize,
    /// Longest body of a request that needs no identity (logging in, the token authority of `--dev`), in bytes: 64 KiB.
    pub open_body_len: usize,
    /// Longest head of a request, in bytes: 32 KiB. More is 431.
    pub header_len: usize,
    /// Most header fields of an HTTP/1.1 request: 100. More is 431.
    pub header_count: usize,
    /// Most connections open at once: 10,000. A further one is closed at once.
    pub connections: usize,
    /// Most connections from one IP address: 1,000. A further one is closed at once.
    pub connections_per_address: usize,
    /// Most requests that are worked on at once: 1,024. More is 503 with `Retry-After`.
    pub requests_in_flight: usize,
    /// Most requests at once on one HTTP/2 connection: 128.
    pub streams_per_connection: u32,
    /// Streams that a peer may reset before the server has looked at them, until it is sent away (rapid reset): 20.
    pub pending_reset_streams: usize,
    /// Streams that the server had to reset because of a peer's mistakes, until it is sent away: 256.
    pub faulty_streams: usize,
    /// A TLS handshake may take this long: 10 s.
    #[serde(deserialize_with = "duration")]
    pub handshake_time: Duration,
    /// From the handshake to the end of the first request's head: 10 s. Whoever trickles a header is closed.
    #[serde(deserialize_with = "duration")]
    pub header_time: Duration,
    /// A connection without a request is closed after this long: 120 s. Sending part of a head is no request.
    #[serde(deserialize_with = "duration")]
    pub idle_time: Duration,
    /// A body may take this long to arrive: 30 s. More is 408.
    #[serde(deserialize_with = "duration")]
    pub body_time: Duration,
    /// A request may be worked on for this long: 60 s. More is 504; a change may still be carried out.
    #[serde(deserialize_with = "duration")]
    pub request_time: Duration,
    /// How long a shutdown waits for what was accepted: 30 s.
    #[serde(deserialize_with = "duration")]
    pub shutdown_time: Duration,
    /// Most sessions that a partition keeps for principals: 4,096. Those used least leave first.
    pub sessions: usize,
    /// Most answers that are kept for repetitions: 10,000. The oldest leave first.
    pub idempotent_answers: usize,
    /// How long an answer is kept for repetitions: 10 minutes.
    #[serde(deserialize_with = "duration")]
    pub idempotent_time: Duration,
}

/// Bodies up to this long, in bytes, do not count against [`Limits::bodies_len`].
pub const SMALL_BODY_LEN: usize = 64 << 10;

/// What a client that met a full server is told to wait, in seconds.
pub(crate) const RETRY_AFTER_BUSY: u64 = 1;

/// How long the server waits when the system has no file descriptors left for a new connection.
pub(crate) const ACCEPT_PAUSE: Duration = Duration::from_millis(100);

/// How long a connection that was idle too long may take to say goodbye.
pub(crate) const GOODBYE_TIME: Duration = Duration::from_secs(5);

/// How often the files of the certificate are looked at.
pub(crate) const CERTIFICATE_CHECK_INTERVAL: Duration = Duration::from_secs(30);

impl Default for Limits {
    fn default() -> Self {
        Self {
            body_len: 24 << 20,
            bodies_len: 256 << 20,
            open_body_len: 64 << 10,
            header_len: 32 << 10,
            header_count: 100,
            connections: 10_000,
            connections_per_address: 1_000,
            requests_in_flight: 1_024,
            streams_per_connection: 128,
            pending_reset_streams: 20,
            faulty_streams: 256,
            handshake_time: Duration::from_secs(10),
            header_time: Duration::from_secs(10),
            idle_time: Duration::from_secs(120),
            body_time: Duration::from_secs(30),
            request_time: Duration::from_secs(60),
            shutdown_time: Duration::from_secs(30),
            sessions: 4_096,
            idempotent_answers: 10_000,
            idempotent_time: Duration::from_secs(10 * 60),
        }
    }
}

/// Reads `"10s"`, `"2m 30s"` or `"PT10S"`.
pub(crate) fn duration<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Duration, D::Error> {
    let text = String::deserialize(deserializer)?;
    parse_duration(&text).map_err(serde::de::Error::custom)
}

pub(crate) fn parse_duration(text: &str) -> Result<Duration, String> {
    text.parse::<SignedDuration>()
        .ok()
        .and_then(|duration| Duration::try_from(duration).ok())
        .ok_or_else(|| format!("`{text}` is no time; write `10s`, `5m` or `1h 30m`"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_are_read() {
        assert_eq!(parse_duration("10s"), Ok(Duration::from_secs(10)));
        assert_eq!(parse_duration("1h 30m"), Ok(Duration::from_secs(5400)));
        assert_eq!(parse_duration("PT5M"), Ok(Duration::from_secs(300)));
        for bad in ["", "10", "-1s", "soon"] {
            assert!(parse_duration(bad).is_err(), "{bad}");
        }
    }
}
