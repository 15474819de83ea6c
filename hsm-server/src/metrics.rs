//! [`Metrics`]: what the server counts, and a listener of its own that tells it, in the format of Prometheus.

use std::fmt;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, OnceLock};
use std::time::Duration;

use axum::Router;
use axum::extract::State;
use axum::routing::get;
use hsm_client::{Algorithm, EngineStatus};
use hsm_wire::{Endpoint, ServerRoute, endpoints};
use http::StatusCode;
use http::header::CONTENT_TYPE;
use prometheus_client::collector::Collector;
use prometheus_client::encoding::{DescriptorEncoder, EncodeLabelSet, EncodeMetric, NoLabelSet};
use prometheus_client::metrics::MetricType;
use prometheus_client::metrics::counter::ConstCounter;
use prometheus_client::metrics::gauge::ConstGauge;
use prometheus_client::registry::Registry;
use tokio::net::TcpListener;

use crate::identity::Reason;
use crate::server::Shared;

/// The counters. Counting takes no lock and makes no text.
#[derive(Debug)]
pub(crate) struct Metrics {
    /// One for each row of the table of routes, and one for what has no route.
    operations: Box<[Operation]>,
    connections_refused: AtomicU64,
    handshakes_failed: AtomicU64,
    /// Certificates read again.
    certificates: AtomicU64,
    /// One for each reason.
    refusals: [AtomicU64; Reason::ALL.len()],
}

/// What was counted of an operation.
#[derive(Debug)]
struct Operation {
    name: &'static str,
    /// One for each algorithm, and one for none. Most are never asked for.
    by_algorithm: Box<[OnceLock<Box<Count>>]>,
}

/// What was counted of an operation with an algorithm.
#[derive(Debug, Default)]
struct Count {
    by_status: [AtomicU64; STATUSES.len()],
    by_time: [AtomicU64; BUCKETS.len() + 1],
    nanoseconds: AtomicU64,
}

/// The statuses that are counted by themselves; the last takes the rest.
const STATUSES: [u16; 24] = [
    200, 201, 202, 204, 400, 401, 403, 404, 405, 408, 409, 412, 413, 415, 421, 422, 423, 429, 431,
    500, 501, 503, 504, 0,
];

/// Upper bounds of the histogram of latencies, in seconds.
const BUCKETS: [f64; 16] = [
    0.000_02, 0.000_05, 0.000_1, 0.000_2, 0.000_5, 0.001, 0.002, 0.005, 0.01, 0.02, 0.05, 0.1,
    0.25, 1.0, 5.0, 30.0,
];

impl Metrics {
    pub(crate) fn new() -> Self {
        let names = endpoints().iter().map(|endpoint| endpoint.operation);
        let operations = names.chain(std::iter::once("none")).map(|name| Operation {
            name,
            by_algorithm: (0..=Algorithm::all().len())
                .map(|_| OnceLock::new())
                .collect(),
        });
        Self {
            operations: operations.collect(),
            connections_refused: AtomicU64::new(0),
            handshakes_failed: AtomicU64::new(0),
            certificates: AtomicU64::new(0),
            refusals: Default::default(),
        }
    }

    /// Counts an answer.
    pub(crate) fn request(
        &self,
        operation: Option<&'static Endpoint>,
        algorithm: Option<Algorithm>,
        status: StatusCode,
        took: Duration,
    ) {
        let row = operation
            .and_then(row)
            .and_then(|row| self.operations.get(row))
            .or(self.operations.last());
        let none = Algorithm::all().len();
        let column = algorithm.map_or(none, |algorithm| algorithm as usize);
        let Some(cell) = row.and_then(|row| row.by_algorithm.get(column)) else {
            return;
        };
        cell.get_or_init(Box::default).add(status, took);
    }

    pub(crate) fn connection_refused(&self) {
        self.connections_refused.fetch_add(1, Ordering::Relaxed);
    }

    pub(crate) fn handshake_failed(&self) {
        self.handshakes_failed.fetch_add(1, Ordering::Relaxed);
    }

    /// Counts somebody who was not let in.
    pub(crate) fn refused(&self, reason: Reason) {
        self.refusals[reason as usize].fetch_add(1, Ordering::Relaxed);
    }

    pub(crate) fn certificate_changed(&self) {
        self.certificates.fetch_add(1, Ordering::Relaxed);
    }

    fn counts(&self) -> impl Iterator<Item = (&'static str, &'static str, &Count)> {
        self.operations.iter().flat_map(|operation| {
            let names = Algorithm::all().map(Algorithm::name).chain(["none"]);
            let cells = operation.by_algorithm.iter().zip(names);
            cells.filter_map(|(cell, algorithm)| Some((operation.name, algorithm, &**cell.get()?)))
        })
    }
}

/// The place of a row in the table of routes.
fn row(endpoint: &'static Endpoint) -> Option<usize> {
    let first = endpoints().first()?;
    let distance = std::ptr::from_ref(endpoint)
        .addr()
        .checked_sub(std::ptr::from_ref(first).addr())?;
    Some(distance / size_of::<Endpoint>())
}

impl Count {
    fn add(&self, status: StatusCode, took: Duration) {
        let status = status.as_u16();
        let place = STATUSES
            .iter()
            .position(|known| *known == status)
            .unwrap_or(STATUSES.len() - 1);
        self.by_status[place].fetch_add(1, Ordering::Relaxed);
        let seconds = took.as_secs_f64();
        let bucket = BUCKETS
            .iter()
            .position(|bound| seconds <= *bound)
            .unwrap_or(BUCKETS.len());
        self.by_time[bucket].fetch_add(1, Ordering::Relaxed);
        let nanoseconds = u64::try_from(took.as_nanos()).unwrap_or(u64::MAX);
        self.nanoseconds.fetch_add(nanoseconds, Ordering::Relaxed);
    }
}

/// Writes the counters out.
#[derive(Debug)]
struct Exposed(Arc<Shared>);

impl Collector for Exposed {
    fn encode(&self, mut encoder: DescriptorEncoder<'_>) -> fmt::Result {
        let shared = &*self.0;
        let metrics = &shared.metrics;

        let mut family = encoder.encode_descriptor(
            "hsm_requests",
            "Requests by operation, algorithm and status",
            None,
            MetricType::Counter,
        )?;
        for (operation, algorithm, count) in metrics.counts() {
            for (status, count) in STATUSES.iter().zip(&count.by_status) {
                let count = count.load(Ordering::Relaxed);
                if count > 0 {
                    let status = status.to_string();
                    let labels = [
                        ("operation", operation),
                        ("algorithm", algorithm),
                        ("status", &*status),
                    ];
                    family
                        .encode_family(&labels)?
                        .encode_counter::<NoLabelSet, _, u64>(&count, None)?;
                }
            }
        }

        let mut family = encoder.encode_descriptor(
            "hsm_request_duration_seconds",
            "From the head of a request to its answer",
            None,
            MetricType::Histogram,
        )?;
        for (operation, algorithm, count) in metrics.counts() {
            let times = count.by_time.each_ref().map(|n| n.load(Ordering::Relaxed));
            let bounds = BUCKETS.into_iter().chain([f64::MAX]);
            let buckets: Vec<_> = bounds.zip(times).collect();
            let sum = Duration::from_nanos(count.nanoseconds.load(Ordering::Relaxed));
            let labels = [("operation", operation), ("algorithm", algorithm)];
            family
                .encode_family(&labels)?
                .encode_histogram::<NoLabelSet>(
                    sum.as_secs_f64(),
                    times.iter().sum(),
                    &buckets,
                    None,
                )?;
        }

        let mut family = encoder.encode_descriptor(
            "hsm_identities_refused",
            "Requests and logins of nobody who is known, by reason",
            None,
            MetricType::Counter,
        )?;
        for (reason, count) in Reason::ALL.into_iter().zip(&metrics.refusals) {
            family
                .encode_family(&[("reason", reason.label())])?
                .encode_counter::<NoLabelSet, _, u64>(&count.load(Ordering::Relaxed), None)?;
        }

        for (name, help, count) in [
            (
                "hsm_connections_refused",
                "Connections beyond a limit, closed at once",
                &metrics.connections_refused,
            ),
            (
                "hsm_handshakes_failed",
                "TLS handshakes that failed or took too long",
                &metrics.handshakes_failed,
            ),
            (
                "hsm_certificates_changed",
                "How often new connections got another certificate",
                &metrics.certificates,
            ),
        ] {
            let counter = ConstCounter::new(count.load(Ordering::Relaxed));
            counter.encode(encoder.encode_descriptor(name, help, None, MetricType::Counter)?)?;
        }

        for (name, help, value) in [
            (
                "hsm_connections",
                "Connections that are open",
                shared.connections.inside(),
            ),
            (
                "hsm_requests_in_flight",
                "Requests that are worked on",
                shared.requests.inside(),
            ),
            (
                "hsm_idempotent_answers",
                "Answers that are kept for repetitions",
                shared.answers.len(),
            ),
        ] {
            let gauge = ConstGauge::new(i64::try_from(value).unwrap_or(i64::MAX));
            gauge.encode(encoder.encode_descriptor(name, help, None, MetricType::Gauge)?)?;
        }

        partitions(
            &mut encoder,
            shared,
            "hsm_sessions",
            "Sessions that are kept for principals",
            |partition| i64::try_from(partition.sessions()).unwrap_or(i64::MAX),
        )?;
        partitions(
            &mut encoder,
            shared,
            "hsm_maintenance_failed",
            "1 if the last run of the maintenance (rotation, retention, audit) failed",
            |partition| i64::from(partition.hsm().maintenance_failure().is_some()),
        )?;
        partitions(
            &mut encoder,
            shared,
            "hsm_audit_lag_seconds",
            "Since when records of operations may not be on disk yet, nor under a signature",
            |partition| {
                let lag = partition.hsm().maintained_ago().unwrap_or_default();
                i64::try_from(lag.as_secs()).unwrap_or(i64::MAX)
            },
        )?;
        for (name, help, value) in STATUS {
            partitions(&mut encoder, shared, name, help, |partition| {
                partition.hsm().status().map_or(0, value)
            })?;
        }
        Ok(())
    }
}

/// A metric's name, what it means, and where it stands.
type Told = (&'static str, &'static str, fn(EngineStatus) -> i64);

/// What engines say of themselves.
const STATUS: [Told; 3] = [
    (
        "hsm_engine_sessions",
        "Sessions that are open in the engine",
        |status| i64::try_from(status.sessions).unwrap_or(i64::MAX),
    ),
    (
        "hsm_loaded_keys",
        "Keys that are ready for use in memory",
        |status| i64::try_from(status.loaded_keys).unwrap_or(i64::MAX),
    ),
    (
        "hsm_store_version",
        "Grows with every change of the store, of whichever process",
        |status| i64::try_from(status.store_version).unwrap_or(i64::MAX),
    ),
];

/// A gauge with a value for each partition.
fn partitions(
    encoder: &mut DescriptorEncoder<'_>,
    shared: &Shared,
    name: &str,
    help: &str,
    value: impl Fn(&crate::Partition) -> i64,
) -> fmt::Result {
    let mut family = encoder.encode_descriptor(name, help, None, MetricType::Gauge)?;
    for partition in shared.partitions.all() {
        let labels = [("partition", partition.host())];
        encode_gauge(&mut family, &labels, value(partition))?;
    }
    Ok(())
}

fn encode_gauge(
    family: &mut prometheus_client::encoding::MetricEncoder<'_>,
    labels: &impl EncodeLabelSet,
    value: i64,
) -> fmt::Result {
    family.encode_family(labels)?.encode_gauge(&value)
}

/// Serves `/metrics`, `/healthz` and `/readyz` over plain HTTP, until it is dropped.
pub(crate) async fn serve(listener: TcpListener, shared: Arc<Shared>) -> std::io::Result<()> {
    let mut registry = Registry::default();
    registry.register_collector(Box::new(Exposed(shared.clone())));
    let registry = Arc::new(registry);
    let health = |route: ServerRoute| {
        let shared = shared.clone();
        get(move || async move { shared.health(route) })
    };
    let router = Router::new()
        .route("/metrics", get(expose))
        .with_state(registry)
        .route("/healthz", health(ServerRoute::Health))
        .route("/readyz", health(ServerRoute::Ready));
    axum::serve(listener, router).await
}

async fn expose(State(registry): State<Arc<Registry>>) -> impl axum::response::IntoResponse {
    let mut text = String::new();
    let status = match prometheus_client::encoding::text::encode(&mut text, &registry) {
        Ok(()) => StatusCode::OK,
        Err(_) => StatusCode::INTERNAL_SERVER_ERROR,
    };
    let format = "application/openmetrics-text; version=1.0.0; charset=utf-8";
    (status, [(CONTENT_TYPE, format)], text)
}
