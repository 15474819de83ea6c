//! What `hsm serve --dev` makes: a private CA, a folder, an administrator, snippets.
//!
//! | in the folder | what |
//! |---|---|
//! | `ca.pem` | the certificate of the private CA: what clients are told to trust |
//! | `ca.key` | its key. It stays, so that the server's certificate can be made anew and no client has to be told again. The CA is constrained to `localhost` and loopback addresses: for other names nobody believes it |
//! | `server.pem`, `server.key` | the server's certificate and its key |
//! | `dev.json` | the tenant, and the administrator's name and password |
//! | `hsm/` | the HSM |
//! | `authority/` | the HSM with the key that signs tokens |
//! | `clock` | how far the test clock is ahead |
//!
//! Nobody but its owner can look into the folder.

use std::fmt;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use hsm_client::{
    BuiltInRole, Clock, Error, ErrorKind, Hsm, OpenOptions, Result, RoleId, Scope, Session, Setup,
    SystemClock,
};
use serde::{Deserialize, Serialize};
use zeroize::{ZeroizeOnDrop, Zeroizing};

use crate::authority::{Authority, with_port};
use crate::identity::{Identities, IdentityConfig};

mod ca;
mod files;
mod snippets;
#[cfg(test)]
mod tests;

use files::{make_folder, read_secret, write_secret};
use snippets::Values;

/// The administrator of the HSM that `--dev` makes.
const ADMINISTRATOR: &str = "admin";

/// A development server's folder, made or found.
pub struct Dev {
    folder: PathBuf,
    port: u16,
    account: Account,
    hsm: Hsm,
    authority: Arc<Authority>,
    names_resolve: bool,
}

/// `dev.json`.
#[derive(Deserialize, Serialize, ZeroizeOnDrop)]
struct Account {
    tenant: String,
    user: String,
    password: String,
}

impl Dev {
    /// The names of the one partition. The first is the one that passes the check of official clients.
    pub const HOSTS: [&'static str; 4] = ["dev.localhost", "localhost", "127.0.0.1", "[::1]"];

    /// Finds or makes everything in `folder`, for a server on `port`. `clock` is the one of the HSM.
    ///
    /// # Errors
    ///
    /// [`StoreFailed`](ErrorKind::StoreFailed) if a file cannot be read or written, naming it; whatever opening an HSM
    /// returns.
    pub async fn prepare(folder: &Path, port: u16, clock: Arc<dyn Clock>) -> Result<Self> {
        make_folder(folder)?;
        // Absolute, so that the snippets work from anywhere.
        let folder = folder
            .canonicalize()
            .map_err(|source| files::failed(folder, "found", source))?;
        let account = Account::find_or_make(&folder.join("dev.json"))?;
        ca::prepare(&folder)?;
        let hsm = partition(&folder, &account, clock.clone()).await?;
        let signer = signer(&folder, clock).await?;
        let authority = Authority::open(
            hsm.clone(),
            signer,
            // The clients' time. They keep tokens by it, however far the test clock is ahead.
            Arc::new(SystemClock::default()),
            account.tenant.clone(),
            // Its own name is the one that resolves everywhere.
            &[
                Self::HOSTS[1],
                Self::HOSTS[0],
                Self::HOSTS[2],
                Self::HOSTS[3],
            ],
            port,
        )
        .await?;
        Ok(Self {
            folder,
            port,
            account,
            hsm,
            authority: Arc::new(authority),
            names_resolve: resolves(Self::HOSTS[0], port).await,
        })
    }

    /// The HSM.
    #[must_use]
    pub fn hsm(&self) -> &Hsm {
        &self.hsm
    }

    /// Everybody whom the server knows: the users of the HSM, and whom the built-in authority gives tokens to.
    ///
    /// # Errors
    ///
    /// [`InvalidInput`](ErrorKind::InvalidInput) for a configuration that contradicts itself.
    pub fn identities(&self, config: &IdentityConfig) -> Result<Identities> {
        // By the clock of the authority.
        let identities = Identities::new(config, Arc::new(SystemClock::default()))?;
        self.authority.trusted_by(identities)
    }

    /// The built-in authority.
    #[must_use]
    pub fn authority(&self) -> Arc<Authority> {
        self.authority.clone()
    }

    /// The server's URL: under the name that official clients accept, if this machine can resolve it.
    #[must_use]
    pub fn url(&self) -> String {
        let name = if self.names_resolve {
            Self::HOSTS[0]
        } else {
            Self::HOSTS[1]
        };
        format!("https://{}", with_port(name, self.port))
    }

    /// The CA's certificate: what clients have to trust.
    #[must_use]
    pub fn ca_file(&self) -> PathBuf {
        self.folder.join("ca.pem")
    }

    /// The server's certificate.
    #[must_use]
    pub fn certificate_file(&self) -> PathBuf {
        self.folder.join("server.pem")
    }

    /// The key of the server's certificate.
    #[must_use]
    pub fn key_file(&self) -> PathBuf {
        self.folder.join("server.key")
    }

    /// The administrator's name.
    #[must_use]
    pub fn administrator(&self) -> &str {
        &self.account.user
    }

    /// The administrator's password.
    #[must_use]
    pub fn expose_password(&self) -> &str {
        &self.account.password
    }

    /// What to tell the developer: where the server is, and a snippet for each client. It contains the password.
    #[must_use]
    pub fn text(&self) -> String {
        let ca = self.ca_file();
        Values {
            url: &self.url(),
            authority: &format!("https://{}", with_port(Self::HOSTS[1], self.port)),
            ca: &ca.display().to_string(),
            tenant: &self.account.tenant,
            user: &self.account.user,
            password: &self.account.password,
            is_checked: self.names_resolve,
        }
        .text()
    }

    /// Where a test clock for this folder keeps how far it is ahead: an HSM does not open under a clock that went back.
    #[must_use]
    pub fn clock_file(folder: &Path) -> PathBuf {
        folder.join("clock")
    }
}

/// Without the password.
impl fmt::Debug for Dev {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Dev")
            .field("folder", &self.folder)
            .field("url", &self.url())
            .finish_non_exhaustive()
    }
}

impl Account {
    fn find_or_make(path: &Path) -> Result<Self> {
        if let Some(text) = read_secret(path)? {
            return serde_json::from_str(&text).map_err(|source| {
                Error::new(
                    ErrorKind::StoreFailed,
                    format!(
                        "{} is not what was written there; to start anew, remove the folder",
                        path.display()
                    ),
                )
                .with_source(source)
            });
        }
        let account = Self {
            tenant: RoleId::from_random(random()?).to_string(),
            user: ADMINISTRATOR.to_owned(),
            password: std::mem::take(&mut *password()?),
        };
        let text = Zeroizing::new(serde_json::to_vec_pretty(&account).map_err(|source| {
            Error::new(ErrorKind::StoreFailed, "dev.json cannot be written").with_source(source)
        })?);
        write_secret(path, &text)?;
        Ok(account)
    }
}

/// The HSM. The administrator may also use keys, so that the first snippet works.
async fn partition(folder: &Path, account: &Account, clock: Arc<dyn Clock>) -> Result<Hsm> {
    let setup = Setup::new(&account.user, account.password.as_bytes());
    open_or_make(folder, "hsm", setup, clock, async |hsm: &Hsm| {
        let administrator = hsm
            .login(&account.user, account.password.as_bytes())
            .await?;
        for role in [BuiltInRole::CryptoUser, BuiltInRole::CryptoOfficer] {
            administrator
                .assign_role(role, &account.user, Scope::Global)
                .await?;
        }
        administrator.logout().await;
        Ok(())
    })
    .await
}

/// The HSM with the key that signs tokens.
async fn signer(folder: &Path, clock: Arc<dyn Clock>) -> Result<Hsm> {
    // Nobody ever needs it again.
    let password = password()?;
    let setup = Setup::new(ADMINISTRATOR, password.as_bytes());
    open_or_make(folder, "authority", setup, clock, async |hsm: &Hsm| {
        let administrator: Session = hsm.login(ADMINISTRATOR, password.as_bytes()).await?;
        Authority::prepare(hsm, administrator).await
    })
    .await
}

/// Opens the HSM at `name`, or makes it. It gets its name when it is complete; what a process that died has left is
/// removed.
async fn open_or_make(
    folder: &Path,
    name: &str,
    setup: Setup,
    clock: Arc<dyn Clock>,
    complete: impl AsyncFnOnce(&Hsm) -> Result<()>,
) -> Result<Hsm> {
    let path = folder.join(name);
    if !path.exists() {
        let draft = folder.join(format!("{name}.part"));
        if draft.exists() {
            std::fs::remove_dir_all(&draft)
                .map_err(|source| files::failed(&draft, "removed", source))?;
        }
        let hsm = Hsm::create(
            &format!("soft:{}", draft.display()),
            setup.clock(clock.clone()),
        )
        .await?;
        complete(&hsm).await?;
        hsm.close().await?;
        files::rename(&draft, &path)?;
    }
    let options = OpenOptions::new().clock(clock);
    Hsm::open_with(&format!("soft:{}", path.display()), options).await
}

/// Whether this machine finds its own server under the name. Not every system has an answer for `*.localhost`.
async fn resolves(name: &str, port: u16) -> bool {
    let looked_up = tokio::time::timeout(
        Duration::from_secs(2),
        tokio::net::lookup_host((name, port)),
    );
    match looked_up.await {
        Ok(Ok(mut addresses)) => addresses.any(|address| address.ip().is_loopback()),
        _ => false,
    }
}

/// A password of 160 random bits, in letters and digits that no shell minds.
fn password() -> Result<Zeroizing<String>> {
    let bytes = Zeroizing::new(random::<20>()?);
    let mut text = Zeroizing::new(String::with_capacity(40));
    for byte in bytes.iter() {
        for nibble in [byte >> 4, byte & 15] {
            text.push(char::from_digit(u32::from(nibble), 16).unwrap_or('0'));
        }
    }
    Ok(text)
}

fn random<const N: usize>() -> Result<[u8; N]> {
    let mut bytes = [0; N];
    getrandom::fill(&mut bytes)
        .map_err(|_| Error::new(ErrorKind::DeviceFailed, "the system has no random numbers"))?;
    Ok(bytes)
}
