//! `hsm serve`.

mod config;

use std::io::{IsTerminal, Write};
use std::path::PathBuf;
use std::sync::Arc;

use clap::Args;
use hsm_client::Clock;
use hsm_server::{Dev, IdentityConfig, Listener, Server, TestClock, Tls, TlsFiles};
use serde::Serialize;
use tokio::signal::unix::{SignalKind, signal};

use self::config::Config;
use super::Result;
use super::failure::Failure;
use super::output::{Out, Secrecy, write_file};

/// Where `--dev` keeps what it makes, if it is not told.
const DEV_FOLDER: &str = "hsm-dev";

/// Where `--dev` listens, if it is not told.
const DEV_PORT: u16 = 8443;

/// Serves HSMs over HTTPS
///
/// It runs until it gets SIGTERM or SIGINT, and then finishes what it accepted. On SIGHUP it reads its certificate again. The
/// variable HSM_LOG chooses what is logged to standard error, such as `info` or `hsm_server=debug`.
#[derive(Args, Debug)]
pub(crate) struct Serve {
    /// Serve what this TOML file says; docs/program.md describes it
    #[arg(long, value_name = "FILE", required_unless_present = "dev")]
    config: Option<PathBuf>,

    /// Make all that a development server needs, and serve it: a private CA, an HSM, an administrator
    #[arg(long, conflicts_with = "config")]
    dev: bool,

    /// With --dev: the folder that everything is in
    #[arg(long, value_name = "DIR", default_value = DEV_FOLDER, conflicts_with = "config")]
    folder: PathBuf,

    /// With --dev: the port; 0 lets the system choose
    #[arg(long, value_name = "PORT", default_value_t = DEV_PORT, conflicts_with = "config")]
    port: u16,

    /// When the server can be used, write where it listens to this file, as JSON
    #[arg(long, value_name = "FILE")]
    ready_file: Option<PathBuf>,
}

/// Where a server listens: the line that it prints when it can be used.
#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Ready {
    ready: bool,
    addresses: Vec<String>,
    sockets: Vec<PathBuf>,
    #[serde(skip_serializing_if = "Option::is_none")]
    url: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    ca: Option<PathBuf>,
    #[serde(skip_serializing_if = "Option::is_none")]
    user: Option<String>,
}

impl Serve {
    pub(crate) async fn run(self, out: &Out) -> Result<()> {
        start_log();
        match &self.config {
            Some(path) => {
                let (server, listeners) = Config::read(path)?.build().await?;
                let ready = Ready::of(&listeners);
                self.serve(server, listeners, ready, None, out).await
            }
            None => {
                let listener = Listener::tcp(([127, 0, 0, 1], self.port).into()).await?;
                let port = listener
                    .local_address()
                    .map_or(self.port, |address| address.port());
                let clock = TestClock::kept_in(Dev::clock_file(&self.folder))?;
                let shown: Arc<dyn Clock> = Arc::new(clock.clone());
                let dev = Dev::prepare(&self.folder, port, shown).await?;
                let tls = Tls::open(TlsFiles::new(dev.certificate_file(), dev.key_file()))?;
                let server = Server::builder()
                    .partition(Dev::HOSTS, dev.hsm().clone())
                    .tls(tls)
                    .identities(dev.identities(&IdentityConfig::default())?)
                    .authority(dev.authority())
                    .test_clock(clock)
                    .build()?;
                let listeners = vec![listener];
                let mut ready = Ready::of(&listeners);
                ready.url = Some(dev.url());
                ready.ca = Some(dev.ca_file());
                ready.user = Some(dev.administrator().to_owned());
                self.serve(server, listeners, ready, Some(dev.text()), out)
                    .await
            }
        }
    }

    async fn serve(
        self,
        server: Server,
        listeners: Vec<Listener>,
        ready: Ready,
        text: Option<String>,
        out: &Out,
    ) -> Result<()> {
        let stopped = |source| Failure::io("the signals of the program", &source);
        // Before it says that it is ready: whoever reads that may stop it.
        let mut terminate = signal(SignalKind::terminate()).map_err(stopped)?;
        let mut interrupt = signal(SignalKind::interrupt()).map_err(stopped)?;
        // A program that has no certificate to read again must not end on it either.
        let _hangup = signal(SignalKind::hangup()).map_err(stopped)?;
        if let Some(path) = &self.ready_file {
            let json = serde_json::json!(ready).to_string();
            write_file(path, json.as_bytes(), Secrecy::Public)
                .map_err(|source| Failure::io(&path.display().to_string(), &source))?;
        }
        if out.is_json() {
            out.line(&serde_json::json!(ready).to_string())?;
        } else {
            if let Some(text) = text {
                out.line(&text)?;
            }
            out.line(&ready.line())?;
        }
        let shutdown = async move {
            tokio::select! {
                _ = terminate.recv() => {}
                _ = interrupt.recv() => {}
            }
        };
        server.serve(listeners, shutdown).await?;
        out.note("stopped in good order");
        Ok(())
    }
}

impl Ready {
    fn of(listeners: &[Listener]) -> Self {
        Self {
            ready: true,
            addresses: listeners
                .iter()
                .filter_map(Listener::local_address)
                .map(|address| address.to_string())
                .collect(),
            sockets: listeners.iter().filter_map(Listener::path).collect(),
            url: None,
            ca: None,
            user: None,
        }
    }

    fn line(&self) -> String {
        let sockets = self.sockets.iter().map(|path| path.display().to_string());
        let places: Vec<_> = self.addresses.iter().cloned().chain(sockets).collect();
        format!("ready on {}", places.join(" "))
    }
}

/// The log goes to standard error, as lines of JSON where no person reads it.
fn start_log() {
    use tracing_subscriber::EnvFilter;

    let filter = EnvFilter::try_from_env("HSM_LOG").unwrap_or_else(|_| EnvFilter::new("info"));
    let log = tracing_subscriber::fmt()
        .with_env_filter(filter)
        .with_writer(std::io::stderr);
    let started = match std::io::stderr().is_terminal() {
        true => log.try_init(),
        false => log.json().try_init(),
    };
    if started.is_err() {
        // There is a log already, and no reader of standard error to tell is no reason to stop.
        drop(writeln!(std::io::stderr(), "the log is started twice"));
    }
}
