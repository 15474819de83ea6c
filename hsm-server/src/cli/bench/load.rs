//! The load: connections that send one request again and again and read the answers, and nothing else.

use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, Instant};

use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, ServerName};
use rustls::{ClientConfig, RootCertStore};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;
use tokio_rustls::client::TlsStream;

use super::child::Child;
use crate::cli::Result;
use crate::cli::failure::Failure;

/// Longest answer that is read, in bytes.
const ANSWER_LEN_MAX: usize = 64 << 10;

/// Requests that a connection sends before it is measured: keys are loaded, and what is made once is made.
const WARM_UP: usize = 32;

/// A request, and where it goes.
pub(super) struct Target {
    port: u16,
    request: Arc<[u8]>,
    connector: TlsConnector,
}

impl Target {
    pub(super) fn new(port: u16, ca: &Path, request: &[u8]) -> Result<Self> {
        let wrong = |error: &dyn std::fmt::Display| {
            Failure::usage(format!("the load's TLS: {}: {error}", ca.display()))
        };
        let mut roots = RootCertStore::empty();
        for certificate in CertificateDer::pem_file_iter(ca).map_err(|error| wrong(&error))? {
            let certificate = certificate.map_err(|error| wrong(&error))?;
            roots.add(certificate).map_err(|error| wrong(&error))?;
        }
        let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
        let config = ClientConfig::builder_with_provider(provider)
            .with_safe_default_protocol_versions()
            .map_err(|error| wrong(&error))?
            .with_root_certificates(roots)
            .with_no_client_auth();
        Ok(Self {
            port,
            request: request.into(),
            connector: TlsConnector::from(Arc::new(config)),
        })
    }
}

/// How a target is loaded.
pub(super) struct Load<'t> {
    target: &'t Target,
    connections: usize,
    time: Duration,
    /// Time between two requests of one connection; `None` is the next as soon as the answer is there.
    pace: Option<Duration>,
}

/// What came of it.
pub(super) struct Measured {
    pub(super) requests: u64,
    seconds: f64,
    cpu_seconds: f64,
    /// In microseconds, the shortest first.
    latencies: Vec<u64>,
}

impl<'t> Load<'t> {
    /// As much as goes.
    pub(super) fn full(target: &'t Target, connections: usize, time: Duration) -> Self {
        Self {
            target,
            connections,
            time,
            pace: None,
        }
    }

    /// So many requests a second.
    pub(super) fn paced(
        target: &'t Target,
        connections: usize,
        time: Duration,
        per_second: f64,
    ) -> Self {
        let connections_in_all = u32::try_from(connections).unwrap_or(u32::MAX);
        let pace = Duration::try_from_secs_f64(f64::from(connections_in_all) / per_second.max(1.0));
        Self {
            target,
            connections,
            time,
            pace: Some(pace.unwrap_or_default()),
        }
    }

    /// Sends it, and counts the CPU time of `server` meanwhile.
    pub(super) async fn run(self, server: Option<&Child>) -> Result<Measured> {
        let mut open = Vec::new();
        for _ in 0..self.connections {
            let mut connection = Connection::open(self.target).await?;
            for _ in 0..WARM_UP {
                connection.ask().await?;
            }
            open.push(connection);
        }
        let cpu = |server: Option<&Child>| server.map_or(Ok(0.0), Child::cpu_seconds);
        let cpu_before = cpu(server)?;
        let begin = Instant::now();
        let end = begin + self.time;
        let mut tasks = tokio::task::JoinSet::new();
        for (at, mut connection) in (0u32..).zip(open) {
            let pace = self.pace;
            let all = u32::try_from(self.connections).unwrap_or(u32::MAX);
            tasks.spawn(async move {
                let mut latencies = Vec::new();
                // Not all at the same moment.
                let mut due = begin + pace.unwrap_or_default() * at / all;
                loop {
                    let mut sent = Instant::now();
                    if let Some(pace) = pace {
                        if due > sent {
                            tokio::time::sleep_until(due.into()).await;
                            sent = Instant::now();
                        } else {
                            // The answer before it was late, and so is this one: it waited.
                            sent = due;
                        }
                        due += pace;
                    }
                    if Instant::now() >= end {
                        return Ok::<_, Failure>(latencies);
                    }
                    connection.ask().await?;
                    latencies.push(u64::try_from(sent.elapsed().as_micros()).unwrap_or(u64::MAX));
                }
            });
        }
        let mut latencies = Vec::new();
        while let Some(task) = tasks.join_next().await {
            let task = task.map_err(|_| Failure::usage("a connection of the load failed"))?;
            latencies.extend(task?);
        }
        let seconds = begin.elapsed().as_secs_f64();
        let cpu_seconds = cpu(server)? - cpu_before;
        latencies.sort_unstable();
        Ok(Measured {
            requests: u64::try_from(latencies.len()).unwrap_or(u64::MAX),
            seconds,
            cpu_seconds,
            latencies,
        })
    }
}

impl Measured {
    pub(super) fn per_second(&self) -> f64 {
        self.count() / self.seconds
    }

    pub(super) fn per_cpu_second(&self) -> f64 {
        self.count() / self.cpu_seconds
    }

    fn count(&self) -> f64 {
        u32::try_from(self.requests).map_or(f64::MAX, f64::from)
    }

    /// A latency that so many in a hundred are not above, in microseconds.
    pub(super) fn percentile(&self, percent: usize) -> u64 {
        let at = self.latencies.len() * percent / 100;
        let at = at.min(self.latencies.len().saturating_sub(1));
        self.latencies.get(at).copied().unwrap_or_default()
    }
}

struct Connection {
    stream: TlsStream<TcpStream>,
    request: Arc<[u8]>,
    answer: Vec<u8>,
}

impl Connection {
    async fn open(target: &Target) -> Result<Self> {
        let failed = |source| Failure::io("a connection of the load", &source);
        let stream = TcpStream::connect(("127.0.0.1", target.port))
            .await
            .map_err(failed)?;
        stream.set_nodelay(true).map_err(failed)?;
        let name =
            ServerName::try_from("localhost").map_err(|error| Failure::usage(error.to_string()))?;
        let stream = target
            .connector
            .connect(name, stream)
            .await
            .map_err(failed)?;
        Ok(Self {
            stream,
            request: target.request.clone(),
            answer: vec![0; ANSWER_LEN_MAX],
        })
    }

    /// Sends the request and reads the answer, which must be a success.
    async fn ask(&mut self) -> Result<()> {
        let failed = |source| Failure::io("a connection of the load", &source);
        self.stream.write_all(&self.request).await.map_err(failed)?;
        self.stream.flush().await.map_err(failed)?;
        let mut len = 0;
        loop {
            let read = self
                .stream
                .read(&mut self.answer[len..])
                .await
                .map_err(failed)?;
            len += read;
            let answer = &self.answer[..len];
            if read == 0 {
                return Err(refused(answer));
            }
            if is_whole(answer) {
                return match answer.starts_with(b"HTTP/1.1 2") {
                    true => Ok(()),
                    false => Err(refused(answer)),
                };
            }
        }
    }
}

/// Whether an answer of HTTP/1.1 with a length is there to its end.
fn is_whole(answer: &[u8]) -> bool {
    let Some(head) = answer.windows(4).position(|end| end == b"\r\n\r\n") else {
        return false;
    };
    let (head, body) = (&answer[..head], answer.len() - head - 4);
    let len = head.split(|byte| *byte == b'\n').find_map(|line| {
        let (name, value) = line.split_at_checked(15)?;
        name.eq_ignore_ascii_case(b"content-length:").then(|| {
            std::str::from_utf8(value)
                .ok()?
                .trim()
                .parse::<usize>()
                .ok()
        })?
    });
    body >= len.unwrap_or_default()
}

fn refused(answer: &[u8]) -> Failure {
    Failure::usage(format!(
        "the server did not do what it is measured by: {}",
        String::from_utf8_lossy(answer)
    ))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_end_of_an_answer_is_found() {
        let answer = b"HTTP/1.1 200 OK\r\nContent-length: 3\r\n\r\nabc";
        assert!(is_whole(answer));
        for cut in 0..answer.len() {
            assert!(!is_whole(&answer[..cut]), "{cut}");
        }
    }
}
