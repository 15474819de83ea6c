//! [`Config`]: the file of `hsm serve --config`.

use std::net::SocketAddr;
use std::path::{Path, PathBuf};

use hsm_client::{CryptoProvider, Hsm, OpenOptions, SoftDevice, SystemClock};
use hsm_server::{Identities, IdentityConfig, Limits, Listener, Rates, Server, Tls, TlsFiles};
use serde::Deserialize;
use tokio::net::TcpListener;

use crate::cli::Result;
#[cfg(feature = "tpm")]
use crate::cli::connect::tpm_seal;
use crate::cli::failure::Failure;
use crate::cli::output::Place;
use crate::cli::secret;

/// What a server is, as TOML.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
pub(super) struct Config {
    /// TCP addresses to listen on.
    #[serde(default)]
    listen: Vec<SocketAddr>,
    /// Unix sockets to listen on.
    #[serde(default)]
    sockets: Vec<PathBuf>,
    /// What `x-ms-keyvault-region` answers.
    region: Option<String>,
    /// Where metrics are read over plain HTTP: an address that only those who may read them reach.
    metrics: Option<SocketAddr>,
    tls: Option<TlsConfig>,
    partition: Vec<PartitionConfig>,
    #[serde(default)]
    limits: Limits,
    #[serde(default)]
    rates: Rates,
    #[serde(default)]
    identity: IdentityConfig,
}

/// Files in PEM.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
struct TlsConfig {
    certificate: PathBuf,
    key: PathBuf,
    client_authorities: Option<PathBuf>,
}

/// An HSM under its host names.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
struct PartitionConfig {
    hosts: Vec<String>,
    hsm: String,
    passphrase_file: Option<PathBuf>,
    key_file: Option<PathBuf>,
    #[cfg(feature = "tpm")]
    tpm: Option<String>,
    #[serde(default)]
    fips: bool,
}

impl Config {
    /// Reads a file.
    pub(super) fn read(path: &Path) -> Result<Self> {
        let name = path.display();
        let text = std::fs::read_to_string(path)
            .map_err(|source| Failure::io(&name.to_string(), &source))?;
        toml::from_str(&text)
            .map_err(|error| Failure::usage(format!("{name} is no configuration: {error}")))
    }

    /// Opens the HSMs and the listeners.
    pub(super) async fn build(self) -> Result<(Server, Vec<Listener>)> {
        if self.listen.is_empty() && self.sockets.is_empty() {
            return Err(Failure::usage("the configuration listens nowhere")
                .hint("add listen = [\"127.0.0.1:8443\"] or sockets = [\"/run/hsm.sock\"]"));
        }
        let clock = std::sync::Arc::new(SystemClock::default());
        let mut builder = Server::builder()
            .limits(self.limits)
            .rates(self.rates)
            .identities(Identities::new(&self.identity, clock)?);
        if let Some(address) = self.metrics {
            let listener = TcpListener::bind(address).await.map_err(|source| {
                Failure::io(&format!("the address of the metrics, {address},"), &source)
            })?;
            builder = builder.metrics(listener);
        }
        if let Some(region) = self.region {
            builder = builder.region(region);
        }
        if let Some(tls) = self.tls {
            let mut files = TlsFiles::new(tls.certificate, tls.key);
            if let Some(path) = tls.client_authorities {
                files = files.client_authorities(path);
            }
            builder = builder.tls(Tls::open(files)?);
        }
        let mut listeners = Vec::new();
        for address in self.listen {
            listeners.push(Listener::tcp(address).await?);
        }
        for path in self.sockets {
            listeners.push(Listener::unix(path)?);
        }
        for partition in self.partition {
            let hsm = partition.open().await?;
            builder = builder.partition(partition.hosts.iter().map(String::as_str), hsm);
        }
        Ok((builder.build()?, listeners))
    }
}

impl PartitionConfig {
    async fn open(&self) -> Result<Hsm> {
        let mut options = OpenOptions::new();
        if let Some(path) = &self.passphrase_file {
            let passphrase = secret::from_place(&Place::File(path.clone()))?;
            options = options.passphrase(passphrase.expose());
        }
        if let Some(path) = &self.key_file {
            options = options.key_file(path);
        }
        #[cfg(feature = "tpm")]
        if let Some(device) = &self.tpm {
            options = options.tpm(tpm_seal(device, None));
        }
        if self.fips {
            options = options.device(SoftDevice::options(CryptoProvider::AwsLc).approved_only());
        }
        Ok(Hsm::open_with(&self.hsm, options).await?)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_example_is_read_and_names_every_table() {
        let text = include_str!("../../../example.toml");
        let config: Config = toml::from_str(text).unwrap();
        assert_eq!(config.partition.len(), 3);
        assert_eq!(config.identity.issuer.len(), 1);
        assert_eq!(config.identity.certificate.len(), 1);
        assert_eq!(config.identity.unix.len(), 1);
        // What it says of limits is what holds without it.
        assert_eq!(config.limits, Limits::default());
        assert!(config.metrics.is_some() && config.tls.is_some());
    }

    #[test]
    fn a_member_that_nobody_knows_is_refused() {
        for wrong in [
            "lisen = []",
            "[limits]\nbody = 1",
            "[rates]\nper-minute = 1",
        ] {
            let text = format!("{wrong}\n[[partition]]\nhosts = [\"a\"]\nhsm = \"soft:a\"\n");
            assert!(toml::from_str::<Config>(&text).is_err(), "{wrong}");
        }
    }
}
