//! What [`OpenOptions`] says of remote HSMs.

use std::fmt;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use super::auth::{Fit, TokenSource};
use super::retry::{Limits, RuntimeTimer, Timer};
use super::transport::Tls;
use crate::hsm::OpenOptions;

/// How a remote HSM is opened.
#[derive(Debug)]
pub(crate) struct RemoteOptions {
    pub(super) tls: Tls,
    pub(super) source: Option<Arc<dyn TokenSource>>,
    pub(super) fit: Fit,
    pub(super) limits: Limits,
    pub(super) proxy: Option<ProxyUrl>,
    pub(super) verify: Verify,
    pub(super) timer: Arc<dyn Timer>,
}

/// The URL of a proxy. It may hold a password: it is not printed.
pub(super) struct ProxyUrl(pub(super) String);

impl fmt::Debug for ProxyUrl {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ProxyUrl").finish_non_exhaustive()
    }
}

/// Where signatures are verified.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(super) enum Verify {
    /// Here, with the public key that was fetched.
    Here,
    /// At the server.
    There,
}

impl Default for RemoteOptions {
    fn default() -> Self {
        Self {
            tls: Tls::default(),
            source: None,
            fit: Fit::Checked,
            limits: Limits::default(),
            proxy: None,
            verify: Verify::Here,
            timer: Arc::new(RuntimeTimer),
        }
    }
}

/// For remote HSMs: `https://…` and `unix:…`. See [`remote`](crate::remote).
impl OpenOptions {
    /// Trusts the certificate authorities in this PEM file, and not those of the system.
    ///
    /// ```no_run
    /// use hsm_client::{Hsm, OpenOptions};
    ///
    /// # async fn example() -> hsm_client::Result<()> {
    /// let options = OpenOptions::new().ca_file("/etc/hsm/ca.pem");
    /// let hsm = Hsm::open_with("https://hsm.example:8443", options).await?;
    /// let session = hsm.login("app", "correct horse battery").await?;
    /// # Ok(())
    /// # }
    /// ```
    pub fn ca_file(mut self, path: impl Into<PathBuf>) -> Self {
        self.remote.tls.ca = Some(path.into());
        self
    }

    /// Shows this certificate to the server: two PEM files, the certificate with its chain, and its private key. What it
    /// stands for is [`Credentials::Connection`](crate::Credentials::Connection).
    pub fn client_certificate(
        mut self,
        chain: impl Into<PathBuf>,
        key: impl Into<PathBuf>,
    ) -> Self {
        self.remote.tls.client = Some((chain.into(), key.into()));
        self
    }

    /// Gets the tokens of [`Credentials::Connection`](crate::Credentials::Connection) from `source`.
    ///
    /// ```no_run
    /// use hsm_client::remote::ManagedIdentity;
    /// use hsm_client::{Credentials, Hsm, OpenOptions};
    ///
    /// # async fn example() -> hsm_client::Result<()> {
    /// let options = OpenOptions::new().token_source(ManagedIdentity::from_environment());
    /// let hsm = Hsm::open_with("https://pool.managedhsm.azure.net", options).await?;
    /// let session = hsm.login_with(Credentials::Connection).await?;
    /// # Ok(())
    /// # }
    /// ```
    pub fn token_source(mut self, source: impl TokenSource + 'static) -> Self {
        self.remote.source = Some(Arc::new(source));
        self
    }

    /// Longest wait for a connection, instead of
    /// [`CONNECT_TIMEOUT_DEFAULT`](crate::remote::CONNECT_TIMEOUT_DEFAULT). At most half of the time for an attempt counts,
    /// so that a connection that does not come about is told from an answer that does not.
    pub fn connect_timeout(mut self, time: Duration) -> Self {
        self.remote.limits.connect = time;
        self
    }

    /// Longest wait for one answer, instead of [`ATTEMPT_TIMEOUT_DEFAULT`](crate::remote::ATTEMPT_TIMEOUT_DEFAULT).
    pub fn attempt_timeout(mut self, time: Duration) -> Self {
        self.remote.limits.attempt = time;
        self
    }

    /// Longest time for a call with all its attempts, instead of
    /// [`CALL_DEADLINE_DEFAULT`](crate::remote::CALL_DEADLINE_DEFAULT).
    pub fn call_deadline(mut self, time: Duration) -> Self {
        self.remote.limits.call = time;
        self
    }

    /// How often a call is tried, the first time included, instead of
    /// [`ATTEMPTS_DEFAULT`](crate::remote::ATTEMPTS_DEFAULT). 1 tries nothing again.
    pub fn attempts(mut self, attempts: u32) -> Self {
        self.remote.limits.attempts = attempts.max(1);
        self
    }

    /// Reaches the HSM through a proxy: `http://HOST:PORT`. Without this, none is used, whatever the environment says.
    pub fn proxy(mut self, url: impl Into<String>) -> Self {
        self.remote.proxy = Some(ProxyUrl(url.into()));
        self
    }

    /// Has the server verify signatures, instead of verifying them here with the public key: every verification is then
    /// in the audit log, and a key that somebody suspends stops verifying at once.
    pub fn without_local_verification(mut self) -> Self {
        self.remote.verify = Verify::There;
        self
    }

    /// Gets tokens for whatever service the server names in its challenge, even if it is another than itself.
    ///
    /// Dangerous because whoever runs the server can then use the token at that service.
    pub fn danger_accept_foreign_challenges(mut self) -> Self {
        self.remote.fit = Fit::DangerUnchecked;
        self
    }
}
