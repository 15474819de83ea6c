//! [`Hsm`]: one handle for an HSM, wherever it is.

use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use hsm_backend_soft::{CryptoProvider, Protector, ProtectorKind, SoftDevice, SoftDeviceOptions};
use hsm_core::audit::{RequestId, StreamId};
use hsm_core::{
    Clock, Credentials, EngineStatus, Error, ErrorKind, PublicKey, Result, SecretBytes, Service,
    Settings,
};

use crate::clock::SystemClock;
use crate::local::Local;
use crate::open::{self, Opened};
#[cfg(feature = "tpm")]
use crate::seal::{Connected, TpmSeal};
use crate::session::Session;
use crate::standing::StandingSession;

/// An HSM that is open. Cheap to clone; all clones are the same HSM.
///
/// ```
/// use hsm_client::kinds::EcdsaP384;
/// use hsm_client::{BuiltInRole, Hsm, Scope, Setup};
///
/// # pollster::block_on(async {
/// let hsm = Hsm::create("memory:", Setup::new("admin", "an administrator's password")).await?;
///
/// let admin = hsm.login("admin", "an administrator's password").await?;
/// admin.create_user("app", "correct horse battery").await?;
/// admin.assign_role(BuiltInRole::CryptoUser, "app", Scope::Keys).await?;
///
/// let app = hsm.login("app", "correct horse battery").await?;
/// let key = app.create::<EcdsaP384>("invoices").await?;
/// let signature = key.sign(b"pay 100 to Alice").await?;
/// key.verify(b"pay 100 to Alice", &signature).await?;
/// # Ok::<(), hsm_client::Error>(())
/// # }).unwrap();
/// ```
///
/// When the last handle ([`Hsm`], [`Session`], [`Key`](crate::Key)) of a local HSM is dropped, its audit streams are
/// closed; [`close`](Hsm::close) does it sooner and says whether it worked.
#[derive(Clone, Debug)]
pub struct Hsm {
    shared: Arc<Shared>,
}

/// What all handles of one HSM share.
#[derive(Debug)]
pub(crate) struct Shared {
    pub(crate) service: Arc<dyn Service>,
    requests: RequestIds,
    local: Option<Local>,
}

impl Shared {
    pub(crate) fn next_request(&self) -> RequestId {
        self.requests.next()
    }
}

impl Hsm {
    /// Makes a new HSM at `url` and opens it.
    ///
    /// | URL | what |
    /// |---|---|
    /// | `soft:PATH` | the software device, with everything in the folder `PATH`, which is made |
    /// | `tpm:/dev/tpmrm0`, `tpm:/dev/tpmrm0?folder=PATH` | keys that live in the TPM, with the rest in the folder `PATH` or in [a default one](crate::TpmAddress::folder_or_default), with the feature `tpm` |
    /// | `tpm://HOST:PORT`, `tpm://HOST:PORT?folder=PATH` | the same with a simulator: for tests |
    /// | `memory:` | the software device, and nothing on disk: for tests |
    ///
    /// The folder appears when it is complete: a process that dies meanwhile leaves none.
    ///
    /// The TPM is believed to be one, and the name of its root key is written down: no other opens the HSM from then on.
    ///
    /// # Errors
    ///
    /// [`Conflict`](ErrorKind::Conflict) if something is at `PATH` already, [`InvalidInput`](ErrorKind::InvalidInput) for a
    /// URL or setup that is not right, such as a passphrase for keys that live in a TPM,
    /// [`StoreFailed`](ErrorKind::StoreFailed) if the folder cannot be written, [`Unreachable`](ErrorKind::Unreachable) if
    /// there is no TPM, [`Denied`](ErrorKind::Denied) if its owner must prepare it first,
    /// [`Unsupported`](ErrorKind::Unsupported) without the feature.
    pub async fn create(url: &str, setup: Setup) -> Result<Self> {
        let (local, requests) = open::create(url, setup).await?;
        Ok(Self::local(local, requests))
    }

    /// Opens the HSM at `url` with the key file in its folder, and the system's clock.
    ///
    /// | URL | what |
    /// |---|---|
    /// | `soft:PATH` | the software device in the folder `PATH` |
    /// | `tpm:/dev/tpmrm0`, … | keys that live in a TPM, as they were [made](Self::create), with the feature `tpm` |
    /// | `https://HOST`, `https://HOST:PORT` | an HSM behind a server, with the feature `remote` |
    /// | `unix:PATH` | the same over a Unix socket of this machine |
    ///
    /// A remote HSM is not connected to before the first login.
    ///
    /// # Errors
    ///
    /// [`NotFound`](ErrorKind::NotFound) if there is no HSM, [`Unauthenticated`](ErrorKind::Unauthenticated) if it needs a
    /// passphrase or another key file, [`Damaged`](ErrorKind::Damaged) if it was tampered with,
    /// [`InvalidInput`](ErrorKind::InvalidInput) for a URL or file of certificates that is none, and for options that this
    /// kind of HSM has no use for, [`DeviceFailed`](ErrorKind::DeviceFailed) if the TPM is another than the one that it was
    /// made with, or was cleared since, [`Unreachable`](ErrorKind::Unreachable) if there is no TPM.
    pub async fn open(url: &str) -> Result<Self> {
        Self::open_with(url, OpenOptions::new()).await
    }

    /// Opens the HSM at `url`.
    ///
    /// # Errors
    ///
    /// As [`open`](Hsm::open).
    pub async fn open_with(url: &str, options: OpenOptions) -> Result<Self> {
        match open::open(url, options).await? {
            Opened::Local(local, requests) => Ok(Self::local(local, requests)),
            #[cfg(feature = "remote")]
            Opened::Remote(service) => Self::over(service),
        }
    }

    /// An HSM over a service of your own: a wrapper, a group, a test double.
    ///
    /// # Errors
    ///
    /// [`DeviceFailed`](ErrorKind::DeviceFailed) if the system has no random numbers.
    pub fn over(service: Arc<dyn Service>) -> Result<Self> {
        Ok(Self {
            shared: Arc::new(Shared {
                service,
                requests: RequestIds::new()?,
                local: None,
            }),
        })
    }

    fn local(local: Local, requests: RequestIds) -> Self {
        Self {
            shared: Arc::new(Shared {
                service: Arc::new(local.engine().clone()),
                requests,
                local: Some(local),
            }),
        }
    }

    /// Logs a user in.
    ///
    /// # Errors
    ///
    /// [`Unauthenticated`](ErrorKind::Unauthenticated) for a wrong name or password,
    /// [`LockedOut`](ErrorKind::LockedOut) after too many wrong passwords: [`Error::retry_after`] says how long to wait.
    pub async fn login(&self, user: &str, password: impl AsRef<[u8]>) -> Result<Session> {
        self.login_with(Credentials::password(user, password)?)
            .await
    }

    /// Logs in with credentials of any kind: an API token, or the identity that the connection to a remote HSM proves.
    ///
    /// # Errors
    ///
    /// As [`login`](Hsm::login); [`Unsupported`](ErrorKind::Unsupported) for credentials that this HSM does not take.
    pub async fn login_with(&self, credentials: Credentials) -> Result<Session> {
        let session = self.shared.service.login(credentials).await?;
        Ok(Session::new(self.shared.clone(), session))
    }

    /// Logs in, and again whenever the session has ended: for servers and others who run for longer than a session lasts.
    ///
    /// `credentials` is asked each time. What uses a key is then done as if nothing had happened. What changes something
    /// fails once with [`Unauthenticated`](ErrorKind::Unauthenticated), and may be asked again. One logs in for all who wait,
    /// and if that fails, it fails for all. Credentials that are not taken any more are not shown again for ten seconds, or as
    /// long as the HSM says.
    ///
    /// ```
    /// use hsm_client::{Credentials, Hsm, Result, Session};
    ///
    /// async fn for_months(hsm: &Hsm, password: String) -> Result<Session> {
    ///     hsm.stay_logged_in(move || Credentials::password("www", &password)).await
    /// }
    /// ```
    ///
    /// # Errors
    ///
    /// As [`login_with`](Self::login_with).
    pub async fn stay_logged_in(
        &self,
        credentials: impl Fn() -> Result<Credentials> + Send + Sync + 'static,
    ) -> Result<Session> {
        let session = StandingSession::open(
            self.shared.service.clone(),
            Box::new(credentials),
            Arc::new(SystemClock),
        );
        let session = session.await?;
        Ok(Session::new(self.shared.clone(), Arc::new(session)))
    }

    /// The id of the partition, for local HSMs.
    #[must_use]
    pub fn id(&self) -> Option<StreamId> {
        self.shared.local.as_ref().map(|local| local.engine().id())
    }

    /// The key that signs audit checkpoints, for local HSMs. Auditors keep a copy of it elsewhere.
    #[must_use]
    pub fn audit_key(&self) -> Option<&PublicKey> {
        self.shared
            .local
            .as_ref()
            .map(|local| local.engine().audit_key())
    }

    /// Why the last run of the background maintenance (rotation, retention, audit) failed, if it did.
    #[must_use]
    pub fn maintenance_failure(&self) -> Option<String> {
        self.shared.local.as_ref().and_then(Local::failure)
    }

    /// How long ago the background maintenance last did all that was due: since then, records of operations may not be on
    /// disk yet, nor under a signature. `None` before its first run, and for HSMs that it does not run for.
    #[must_use]
    pub fn maintained_ago(&self) -> Option<Duration> {
        self.shared.local.as_ref().and_then(Local::kept_ago)
    }

    /// What the engine holds at the moment, for metrics; `None` for HSMs that are elsewhere.
    ///
    /// ```
    /// use hsm_client::{Hsm, Setup};
    ///
    /// # pollster::block_on(async {
    /// let hsm = Hsm::create("memory:", Setup::new("admin", "an administrator's password")).await?;
    /// let admin = hsm.login("admin", "an administrator's password").await?;
    /// assert_eq!(hsm.status().map(|status| status.sessions), Some(1));
    /// # Ok::<(), hsm_client::Error>(())
    /// # }).unwrap();
    /// ```
    #[must_use]
    pub fn status(&self) -> Option<EngineStatus> {
        let local = self.shared.local.as_ref()?;
        Some(local.engine().status())
    }

    /// What opens this HSM, if it is one in software in a folder. Reads a file.
    ///
    /// # Errors
    ///
    /// [`Unsupported`](ErrorKind::Unsupported) for HSMs of another kind, and as
    /// [`SoftDevice::protectors`](hsm_backend_soft::SoftDevice::protectors).
    pub fn protectors(&self) -> Result<Vec<ProtectorKind>> {
        self.soft()?.protectors()
    }

    /// Lets one more protector open this HSM, one in software. One of the same kind is replaced.
    ///
    /// No role is asked: whoever has this handle has the process, and so the domain key. The old protector still opens old copies
    /// of the folder.
    ///
    /// ```
    /// use hsm_client::{Hsm, Protector, ProtectorKind, SecretBytes, Setup};
    ///
    /// # pollster::block_on(async {
    /// # let folder = tempfile::tempdir().unwrap();
    /// # let url = format!("soft:{}", folder.path().join("hsm").display());
    /// let hsm = Hsm::create(&url, Setup::new("admin", "an administrator's password")).await?;
    /// let passphrase = SecretBytes::copy_from(b"a long passphrase for the domain key");
    /// hsm.add_protector(Protector::Passphrase(passphrase)).await?;
    /// hsm.remove_protector(ProtectorKind::KeyFile).await?;
    /// assert_eq!(hsm.protectors()?, [ProtectorKind::Passphrase]);
    /// # Ok::<(), hsm_client::Error>(())
    /// # }).unwrap();
    /// ```
    ///
    /// # Errors
    ///
    /// [`Unsupported`](ErrorKind::Unsupported) for HSMs of another kind, and as
    /// [`SoftDevice::add_protector`](hsm_backend_soft::SoftDevice::add_protector).
    pub async fn add_protector(&self, protector: Protector) -> Result<()> {
        let device = self.soft()?.clone();
        open::blocking(move || device.add_protector(&protector)).await
    }

    /// Takes a protector away; never the last.
    ///
    /// # Errors
    ///
    /// [`Unsupported`](ErrorKind::Unsupported) for HSMs of another kind, and as
    /// [`SoftDevice::remove_protector`](hsm_backend_soft::SoftDevice::remove_protector).
    pub async fn remove_protector(&self, kind: ProtectorKind) -> Result<()> {
        let device = self.soft()?.clone();
        open::blocking(move || device.remove_protector(kind)).await
    }

    /// Seals the domain key of this HSM, one in software, to a TPM as it is now: for the first time, or anew, after other firmware
    /// has changed what the PCRs hold, or after the TPM was cleared or replaced. What was sealed before opens old copies of the
    /// folder only.
    ///
    /// # Errors
    ///
    /// [`Unsupported`](ErrorKind::Unsupported) for HSMs of another kind, [`InvalidInput`](ErrorKind::InvalidInput) for an address
    /// or register that is none, [`Unreachable`](ErrorKind::Unreachable) if there is no TPM, and what it says.
    #[cfg(feature = "tpm")]
    pub async fn seal_to_tpm(&self, seal: TpmSeal) -> Result<()> {
        let device = self.soft()?.clone();
        let local = self.shared.local.as_ref();
        let open = local.and_then(|local| local.seal.as_ref());
        let open = open.and_then(|open| open.again(&seal));
        open::blocking(move || {
            let connected = match open {
                Some(open) => open,
                None => Connected::to(seal)?,
            };
            device.add_protector(&connected.protector()?)
        })
        .await
    }

    fn soft(&self) -> Result<&Arc<SoftDevice>> {
        let local = self.shared.local.as_ref();
        local.and_then(|local| local.soft.as_ref()).ok_or_else(|| {
            Error::new(
                ErrorKind::Unsupported,
                "only an HSM in software, in a folder of this machine, has protectors",
            )
        })
    }

    /// Runs the maintenance now instead of waiting for the next second: what is due is rotated and purged, the audit
    /// log is signed and on disk.
    ///
    /// # Errors
    ///
    /// What failed; what was done before stays done.
    pub async fn maintain(&self) -> Result<hsm_core::Maintenance> {
        match &self.shared.local {
            Some(local) => local.engine().maintain().await,
            None => Ok(hsm_core::Maintenance::default()),
        }
    }

    /// Ends the background maintenance and closes the audit streams. Sessions that are still open fail from now on.
    ///
    /// # Errors
    ///
    /// [`AuditFailed`](ErrorKind::AuditFailed) or [`StoreFailed`](ErrorKind::StoreFailed) if the end could not be written;
    /// the next process to open the HSM notes that.
    pub async fn close(self) -> Result<()> {
        match &self.shared.local {
            Some(local) => local.close().await,
            None => Ok(()),
        }
    }
}

/// What a new HSM starts with: its administrator, what protects it at rest, its settings.
///
/// ```
/// use hsm_client::Setup;
///
/// let setup = Setup::new("admin", "an administrator's password").passphrase("a long passphrase for the domain key");
/// ```
#[derive(Debug)]
#[must_use]
pub struct Setup {
    pub(crate) administrator: String,
    pub(crate) password: SecretBytes,
    pub(crate) settings: Settings,
    pub(crate) options: OpenOptions,
    pub(crate) recovery: Option<SecretBytes>,
    pub(crate) count_changes: bool,
}

impl Setup {
    /// A setup with one user, who gets the role Managed HSM Administrator.
    ///
    /// The domain key rests under a key file in the HSM's own folder: whoever copies the folder has the keys. Choose
    /// [`passphrase`](Setup::passphrase), or a [`key_file`](Setup::key_file) on another medium, for anything that
    /// matters.
    pub fn new(administrator: impl Into<String>, password: impl AsRef<[u8]>) -> Self {
        Self {
            administrator: administrator.into(),
            password: SecretBytes::copy_from(password.as_ref()),
            settings: Settings::default(),
            options: OpenOptions::new(),
            recovery: None,
            count_changes: false,
        }
    }

    /// Seals the domain key to a TPM: the folder opens on this machine only. Choose a
    /// [`recovery_passphrase`](Setup::recovery_passphrase) as well: without it the keys are gone with the TPM, and with
    /// [`pcrs`](TpmSeal::pcrs) after the next update of the firmware.
    #[cfg(feature = "tpm")]
    pub fn tpm(mut self, seal: TpmSeal) -> Self {
        self.options = self.options.tpm(seal);
        self
    }

    /// Counts changes in a counter of the TPM ([`tpm`](Self::tpm), or that of a `tpm:` URL), so that an older copy of the whole
    /// store that somebody puts back is found out when the HSM is opened, and by what is changed.
    ///
    /// A change of users, roles, tokens, settings or keys (all but making them) takes some milliseconds more, fails while the TPM
    /// does not answer, and wears the TPM a little. Signatures and other uses of keys never ask it. `docs/tpm.md` says what is
    /// counted, and what to do after a backup was restored.
    #[cfg(feature = "tpm")]
    pub fn count_changes(mut self) -> Self {
        self.count_changes = true;
        self
    }

    /// A passphrase that opens the HSM too, beside the TPM or the key file: for a safe.
    pub fn recovery_passphrase(mut self, passphrase: impl AsRef<[u8]>) -> Self {
        self.recovery = Some(SecretBytes::copy_from(passphrase.as_ref()));
        self
    }

    /// Puts the domain key under a passphrase (argon2id). Opening the HSM asks for it.
    pub fn passphrase(mut self, passphrase: impl AsRef<[u8]>) -> Self {
        self.options = self.options.passphrase(passphrase);
        self
    }

    /// Puts the domain key under a key file elsewhere, which is made if it is not there.
    pub fn key_file(mut self, path: impl Into<PathBuf>) -> Self {
        self.options = self.options.key_file(path);
        self
    }

    /// Keeps soft-deleted keys for `days` (7 to 90; 90 if not set).
    pub fn retention_days(mut self, days: u16) -> Self {
        self.settings.retention_days = days;
        self
    }

    /// Lets nobody purge a key before its retention period is over. Cannot be undone.
    pub fn purge_protection(mut self) -> Self {
        self.settings.purge_protection = true;
        self
    }

    /// Says how the software device is built. It is not remembered: tell [`OpenOptions::device`] as well.
    pub fn device(mut self, device: SoftDeviceOptions) -> Self {
        self.options = self.options.device(device);
        self
    }

    /// Takes the time from `clock`: for tests.
    pub fn clock(mut self, clock: Arc<dyn Clock>) -> Self {
        self.options = self.options.clock(clock);
        self
    }
}

/// How to open an HSM that does not rest under the key file in its folder.
///
/// ```
/// use hsm_client::{Hsm, OpenOptions, Setup};
///
/// # pollster::block_on(async {
/// # let folder = tempfile::tempdir().unwrap();
/// # let url = format!("soft:{}", folder.path().join("dev.hsm").display());
/// let setup = Setup::new("admin", "an administrator's password").passphrase("what it rests under");
/// Hsm::create(&url, setup).await?.close().await?;
///
/// let options = OpenOptions::new().passphrase("what it rests under");
/// let hsm = Hsm::open_with(&url, options).await?;
/// # hsm.close().await
/// # }).unwrap();
/// ```
#[derive(Debug)]
#[must_use]
pub struct OpenOptions {
    pub(crate) unlock: Unlock,
    pub(crate) clock: Arc<dyn Clock>,
    pub(crate) maintenance: Maintain,
    pub(crate) danger_accept_clock: bool,
    pub(crate) danger_accept_rollback: bool,
    #[cfg(feature = "tpm")]
    pub(crate) seal: Option<TpmSeal>,
    /// `None` where nothing was said.
    pub(crate) device: Option<SoftDeviceOptions>,
    #[cfg(feature = "remote")]
    pub(crate) remote: crate::remote::RemoteOptions,
}

/// Whether the opener runs the maintenance.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) enum Maintain {
    /// A thread does, every second.
    InBackground,
    /// The caller does.
    OnDemand,
}

/// What opens the domain key.
#[derive(Debug)]
pub(crate) enum Unlock {
    /// The key file in the HSM's folder.
    OwnKeyFile,
    KeyFile(PathBuf),
    Passphrase(SecretBytes),
}

impl OpenOptions {
    /// The key file in the HSM's folder, the system's clock, maintenance in the background.
    pub fn new() -> Self {
        Self {
            unlock: Unlock::OwnKeyFile,
            clock: Arc::new(SystemClock),
            maintenance: Maintain::InBackground,
            danger_accept_clock: false,
            danger_accept_rollback: false,
            #[cfg(feature = "tpm")]
            seal: None,
            device: None,
            #[cfg(feature = "remote")]
            remote: crate::remote::RemoteOptions::default(),
        }
    }

    /// The TPM that the domain key rests in, or in which changes are counted. With a passphrase or a key file besides, that opens
    /// the HSM, and the TPM only counts: for the day on which it does not unseal any more.
    #[cfg(feature = "tpm")]
    pub fn tpm(mut self, seal: TpmSeal) -> Self {
        self.seal = Some(seal);
        self
    }

    /// The passphrase that the domain key rests under.
    pub fn passphrase(mut self, passphrase: impl AsRef<[u8]>) -> Self {
        self.unlock = Unlock::Passphrase(SecretBytes::copy_from(passphrase.as_ref()));
        self
    }

    /// The key file that the domain key rests under.
    pub fn key_file(mut self, path: impl Into<PathBuf>) -> Self {
        self.unlock = Unlock::KeyFile(path.into());
        self
    }

    /// Takes the time from `clock`: for tests.
    pub fn clock(mut self, clock: Arc<dyn Clock>) -> Self {
        self.clock = clock;
        self
    }

    /// Says how the software device is built: over which provider of cryptography, and whether in FIPS mode.
    ///
    /// ```
    /// use hsm_client::{CryptoProvider, OpenOptions, SoftDevice};
    ///
    /// let options = OpenOptions::new().device(SoftDevice::options(CryptoProvider::AwsLc).approved_only());
    /// ```
    pub fn device(mut self, device: SoftDeviceOptions) -> Self {
        self.device = Some(device);
        self
    }

    /// How the software device is built, which is over AWS-LC where nothing was said.
    pub(crate) fn soft_device(&self) -> SoftDeviceOptions {
        let built_in = || SoftDevice::options(CryptoProvider::AwsLc);
        self.device.clone().unwrap_or_else(built_in)
    }

    /// Whether a TPM was named beside the URL.
    pub(crate) const fn has_seal(&self) -> bool {
        #[cfg(feature = "tpm")]
        return self.seal.is_some();
        #[cfg(not(feature = "tpm"))]
        false
    }

    /// Checks that nothing was said that is about software.
    #[cfg(feature = "tpm")]
    pub(crate) fn check_for_tpm(&self) -> Result<()> {
        let invalid = |message: &'static str| Err(Error::new(ErrorKind::InvalidInput, message));
        if self.seal.is_some() {
            return invalid(
                "the URL names the TPM in which the keys live; another is for HSMs in software: leave it out",
            );
        }
        match (&self.unlock, &self.device) {
            (Unlock::KeyFile(_), _) => invalid(
                "an HSM whose keys live in a TPM rests under the TPM, and not under a key file: leave it out",
            ),
            (Unlock::Passphrase(_), _) => invalid(
                "an HSM whose keys live in a TPM rests under the TPM, and not under a passphrase: leave it out",
            ),
            (_, Some(_)) => invalid(
                "options of the software device, such as its FIPS mode, are not for an HSM whose keys live in a TPM: leave them out",
            ),
            (Unlock::OwnKeyFile, None) => Ok(()),
        }
    }

    /// Opens an HSM that was changed while the clock was more than
    /// [`CLOCK_STEP_MAX`](hsm_core::limits::CLOCK_STEP_MAX) ahead, and takes its time back to what the clock shows now.
    ///
    /// Look at the clock first, and close the HSM in all other processes. What was created or given an end at that time
    /// keeps its times; the journal has a record of it. Dangerous because whoever can set the clock makes keys usable
    /// again that have expired.
    pub fn danger_accept_clock(mut self) -> Self {
        self.danger_accept_clock = true;
        self
    }

    /// Takes the store as it is, if it does not fit its counter: after you restored a backup, or the TPM was cleared or replaced (which
    /// gets a new counter), or, if no TPM is given, to count no more. The journal has a record of it.
    ///
    /// Dangerous because it is just what somebody wants who put an older copy back: keys that were purged, users, passwords and
    /// roles are again as they were then. Close the HSM in all other processes first.
    pub fn danger_accept_rollback(mut self) -> Self {
        self.danger_accept_rollback = true;
        self
    }

    /// Starts no background thread: the caller runs [`Hsm::maintain`], every
    /// [`AUDIT_SYNC_INTERVAL`](hsm_core::limits::AUDIT_SYNC_INTERVAL) at the latest.
    pub fn without_background_maintenance(mut self) -> Self {
        self.maintenance = Maintain::OnDemand;
        self
    }
}

impl Default for OpenOptions {
    fn default() -> Self {
        Self::new()
    }
}

/// Makes the ids of this process's requests: 64 random bits, and a counter.
#[derive(Debug)]
pub(crate) struct RequestIds {
    process: u64,
    next: AtomicU64,
}

impl RequestIds {
    pub(crate) fn new() -> Result<Self> {
        let process = getrandom::u64()
            .map_err(|_| Error::new(ErrorKind::DeviceFailed, "the system has no random numbers"))?;
        Ok(Self {
            process,
            next: AtomicU64::new(1),
        })
    }

    /// The random bits, for names that must be this process's own.
    pub(crate) fn first(&self) -> u64 {
        self.process
    }

    fn next(&self) -> RequestId {
        let next = self.next.fetch_add(1, Ordering::Relaxed);
        RequestId::from_u128(u128::from(self.process) << 64 | u128::from(next))
    }
}
