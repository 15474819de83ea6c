//! [`Server`]: partitions, identities and limits put together, serving on listeners until it is told to stop.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use hsm_client::{Error, ErrorKind, Hsm, Result, SystemClock};
use hsm_wire::ServerRoute;
use http::{HeaderValue, StatusCode};
use tokio::net::TcpListener;
use tokio::sync::{Semaphore, watch};
use tokio::task::JoinSet;
use tokio::time::timeout;

use crate::answer::{Answer, Constants, Outcome, Uuid};
use crate::authority::Authority;
use crate::clock::TestClock;
use crate::gate::Gate;
use crate::idempotency::Answers;
use crate::identity::{Identities, IdentityConfig};
use crate::limits::{CERTIFICATE_CHECK_INTERVAL, Limits};
use crate::listener::{self, Listener, Phase, Visitors};
use crate::metrics::{self, Metrics};
use crate::partition::{Partition, Partitions, host_name};
use crate::rate::{Limiter, Rates};
use crate::tls::Tls;

/// A server of HSMs. It listens nowhere yet: [`serve`](Self::serve) takes listeners.
#[derive(Debug)]
#[must_use]
pub struct Server {
    shared: Arc<Shared>,
    metrics: Option<TcpListener>,
}

/// What all connections of a server share.
#[derive(Debug)]
pub(crate) struct Shared {
    pub(crate) partitions: Partitions,
    pub(crate) identities: Identities,
    pub(crate) limits: Limits,
    pub(crate) tls: Option<Tls>,
    pub(crate) constants: Constants,
    pub(crate) connections: Gate,
    pub(crate) visitors: Arc<Visitors>,
    pub(crate) requests: Gate,
    /// Room for large bodies, in KiB.
    pub(crate) room: Arc<Semaphore>,
    pub(crate) metrics: Metrics,
    pub(crate) answers: Answers,
    pub(crate) rates: Limiter,
    /// Only with `--dev`.
    pub(crate) clock: Option<TestClock>,
    /// Only with `--dev`.
    pub(crate) authority: Option<Arc<Authority>>,
    /// The ids of requests: random bits of this process, and a counter.
    id: u64,
    next: AtomicU64,
}

impl Shared {
    pub(crate) fn next_id(&self) -> u128 {
        u128::from(self.id) << 64 | u128::from(self.next.fetch_add(1, Ordering::Relaxed))
    }

    /// `/healthz`: the process answers. `/readyz`: every partition can be used.
    pub(crate) fn health(&self, route: ServerRoute) -> Answer {
        let failed = match route {
            ServerRoute::Ready => self.partitions.all().iter().find_map(|partition| {
                let reason = partition.hsm().maintenance_failure()?;
                Some((partition.host(), reason))
            }),
            _ => None,
        };
        match failed {
            None => Outcome::json(StatusCode::OK, &b"{\"status\":\"ok\"}"[..]),
            Some((host, reason)) => {
                tracing::warn!(partition = host, reason, "a partition is not ready");
                Outcome::problem(
                    StatusCode::SERVICE_UNAVAILABLE,
                    "NotReady",
                    &format!("the partition `{host}` cannot be used; the log says why"),
                )
            }
        }
        .into_answer()
    }
}

impl Server {
    /// A builder.
    pub fn builder() -> ServerBuilder {
        ServerBuilder::default()
    }

    /// Serves until `shutdown` is ready. Then no connection is taken any more, requests that were accepted are finished
    /// within [`Limits::shutdown_time`], and the HSMs are closed.
    ///
    /// # Errors
    ///
    /// [`InvalidInput`](ErrorKind::InvalidInput) for a TCP listener without [`ServerBuilder::tls`]; what failed when the
    /// HSMs were closed.
    pub async fn serve(
        self,
        listeners: impl IntoIterator<Item = Listener>,
        shutdown: impl Future,
    ) -> Result<()> {
        let shared = self.shared;
        let (phase, watched) = watch::channel(Phase::Serving);
        let mut tasks = JoinSet::new();
        for listener in listeners {
            if matches!(listener, Listener::Tcp(_)) && shared.tls.is_none() {
                return Err(Error::new(
                    ErrorKind::InvalidInput,
                    "a server that listens on TCP needs a certificate",
                ));
            }
            tasks.spawn(listener::accept(listener, shared.clone(), watched.clone()));
        }
        let measuring = self
            .metrics
            .map(|listener| tokio::spawn(metrics::serve(listener, shared.clone())));
        let reloading = shared
            .tls
            .clone()
            .map(|tls| tokio::spawn(keep_current(tls, shared.clone())));
        shutdown.await;
        tracing::info!("the server stops; what was accepted is finished");
        phase.send_replace(Phase::Finishing);
        while tasks.join_next().await.is_some() {}
        let finished = async {
            shared.requests.empty().await;
            shared.connections.empty().await;
        };
        if timeout(shared.limits.shutdown_time, finished)
            .await
            .is_err()
        {
            tracing::warn!(
                requests = shared.requests.inside(),
                "requests took longer than a shutdown waits"
            );
        }
        phase.send_replace(Phase::Over);
        if let Some(reloading) = reloading {
            reloading.abort();
        }
        if let Some(measuring) = measuring {
            measuring.abort();
        }
        let mut result = Ok(());
        for partition in shared.partitions.all() {
            result = result.and(partition.hsm().clone().close().await);
        }
        result
    }
}

/// Looks at the files of the certificate from time to time, and on SIGHUP.
async fn keep_current(tls: Tls, shared: Arc<Shared>) {
    let mut hangup = tokio::signal::unix::signal(tokio::signal::unix::SignalKind::hangup()).ok();
    let mut clock = tokio::time::interval(CERTIFICATE_CHECK_INTERVAL);
    clock.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
    loop {
        tokio::select! {
            _ = clock.tick() => {}
            Some(()) = async { hangup.as_mut()?.recv().await } => {}
        }
        let tls = tls.clone();
        // Reading files blocks.
        if let Ok(true) = tokio::task::spawn_blocking(move || tls.reload_and_log()).await {
            shared.metrics.certificate_changed();
        }
    }
}

/// Puts a [`Server`] together.
#[derive(Debug, Default)]
#[must_use]
pub struct ServerBuilder {
    partitions: Vec<(Vec<Box<str>>, Hsm)>,
    identities: Option<Identities>,
    limits: Limits,
    rates: Rates,
    tls: Option<Tls>,
    region: Option<String>,
    clock: Option<TestClock>,
    metrics: Option<TcpListener>,
    authority: Option<Arc<Authority>>,
}

impl ServerBuilder {
    /// Serves an HSM under host names. A port in a name does not count.
    pub fn partition<'h>(mut self, hosts: impl IntoIterator<Item = &'h str>, hsm: Hsm) -> Self {
        let hosts = hosts.into_iter().map(|host| host_name(host).into());
        self.partitions.push((hosts.collect(), hsm));
        self
    }

    /// Takes these proofs of identity; if not set, those that need no configuration: users and API tokens.
    pub fn identities(mut self, identities: Identities) -> Self {
        self.identities = Some(identities);
        self
    }

    /// Speaks TLS on TCP listeners.
    pub fn tls(mut self, tls: Tls) -> Self {
        self.tls = Some(tls);
        self
    }

    /// Takes no more than this.
    pub fn limits(mut self, limits: Limits) -> Self {
        self.limits = limits;
        self
    }

    /// Gives out tokens at the paths of a development server's authority. [`Dev::identities`](crate::Dev::identities) take
    /// them.
    pub fn authority(mut self, authority: Arc<Authority>) -> Self {
        self.authority = Some(authority);
        self
    }

    /// Lets whoever is authenticated move the clock ahead. The HSMs must have been opened with the same clock.
    pub fn test_clock(mut self, clock: TestClock) -> Self {
        self.clock = Some(clock);
        self
    }

    /// Serves `/metrics`, `/healthz` and `/readyz` on a listener of their own, over plain HTTP: on loopback, as a rule.
    pub fn metrics(mut self, listener: TcpListener) -> Self {
        self.metrics = Some(listener);
        self
    }

    /// Lets principals ask this often; as often as they like, if not set.
    pub fn rates(mut self, rates: Rates) -> Self {
        self.rates = rates;
        self
    }

    /// What the server answers in `x-ms-keyvault-region`: `local`, if not set.
    pub fn region(mut self, region: impl Into<String>) -> Self {
        self.region = Some(region.into());
        self
    }

    /// The server.
    ///
    /// # Errors
    ///
    /// [`InvalidInput`](ErrorKind::InvalidInput) if there is no partition, or two have one host name.
    pub fn build(self) -> Result<Server> {
        let mut partitions = Partitions::default();
        for (number, (hosts, hsm)) in self.partitions.into_iter().enumerate() {
            partitions.add(Partition::new(number, hosts, hsm, self.limits.sessions))?;
        }
        if partitions.all().is_empty() {
            return Err(Error::new(
                ErrorKind::InvalidInput,
                "a server needs a partition",
            ));
        }
        let region = match self.region {
            Some(region) => HeaderValue::from_str(&region).map_err(|source| {
                Error::new(
                    ErrorKind::InvalidInput,
                    "the region cannot be put in a header",
                )
                .with_source(source)
            })?,
            None => HeaderValue::from_static("local"),
        };
        let identities = match self.identities {
            Some(identities) => identities,
            None => Identities::new(&IdentityConfig::default(), Arc::new(SystemClock::default()))?,
        };
        let limits = self.limits;
        let mut random = [0; 24];
        getrandom::fill(&mut random)
            .map_err(|_| Error::new(ErrorKind::DeviceFailed, "the system has no random numbers"))?;
        let (instance, id) = random.split_at(16);
        let instance = u128::from_be_bytes(instance.try_into().unwrap_or_default());
        let id = u64::from_be_bytes(id.try_into().unwrap_or_default());
        Ok(Server {
            metrics: self.metrics,
            shared: Arc::new(Shared {
                identities,
                tls: self.tls,
                constants: Constants {
                    region,
                    instance: Uuid::new(instance).header(),
                },
                connections: Gate::new(limits.connections),
                visitors: Visitors::new(limits.connections_per_address),
                requests: Gate::new(limits.requests_in_flight),
                room: Arc::new(Semaphore::new(limits.bodies_len.div_ceil(1024))),
                metrics: Metrics::new(),
                rates: Limiter::new(&self.rates),
                answers: Answers::new(limits.idempotent_answers, limits.idempotent_time),
                clock: self.clock,
                authority: self.authority,
                partitions,
                limits,
                id,
                next: AtomicU64::new(1),
            }),
        })
    }
}
