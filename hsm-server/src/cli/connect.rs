//! [`Connect`]: which HSM, and who asks.

use std::path::PathBuf;

use clap::Args;
use hsm_client::{
    Credentials, CryptoProvider, Hsm, OpenOptions, SecretBytes, Session, SoftDevice, Url,
};
#[cfg(feature = "tpm")]
use hsm_client::{PcrSelection, TpmSeal};

use super::Result;
use super::failure::Failure;
use super::output::Place;
use super::secret;

/// The password of `--user`, for machines that have no better place. Others may read a process's environment.
const PASSWORD_VARIABLE: &str = "HSM_PASSWORD";

/// An API token, in the same way.
const TOKEN_VARIABLE: &str = "HSM_TOKEN";

/// Where the HSM is, and what opens it.
#[derive(Args, Clone, Debug)]
#[command(next_help_heading = "Connection")]
pub(crate) struct Target {
    /// The HSM: `soft:FOLDER`, `tpm:/dev/tpmrm0`, `https://HOST:PORT` or `unix:SOCKET`
    #[arg(long, global = true, value_name = "URL", env = "HSM_URL")]
    pub(crate) hsm: Option<String>,

    /// Of a folder: the file that holds its passphrase
    #[arg(long, global = true, value_name = "FILE", conflicts_with = "key_file")]
    passphrase_file: Option<Place>,

    /// Of a folder: the key file that it rests under, if it is not in the folder
    #[arg(long, global = true, value_name = "FILE")]
    key_file: Option<PathBuf>,

    /// Of a folder: the TPM that it is sealed to, or that counts its changes, such as /dev/tpmrm0
    #[cfg(feature = "tpm")]
    #[arg(long, global = true, value_name = "DEVICE", env = "HSM_TPM")]
    pub(crate) tpm: Option<String>,

    /// Of a server: trust the certificate authorities in this PEM file, and not the system's
    #[arg(long, global = true, value_name = "FILE", env = "HSM_CA")]
    ca: Option<PathBuf>,

    /// Of a folder: do only what the standards of NIST approve
    #[arg(long, global = true)]
    fips: bool,
}

/// Where the HSM is, and who asks. Passwords come from a prompt, a file (`-` is standard input), or `HSM_PASSWORD`, which others
/// may be able to read.
#[derive(Args, Clone, Debug)]
#[command(next_help_heading = "Connection")]
pub(crate) struct Connect {
    #[command(flatten)]
    pub(crate) target: Target,

    /// Who asks
    #[arg(
        long,
        global = true,
        value_name = "NAME",
        env = "HSM_USER",
        id = "login-user"
    )]
    user: Option<String>,

    /// The file that holds the user's password; else a prompt asks, or HSM_PASSWORD has it, which others may read
    #[arg(long, global = true, value_name = "FILE")]
    password_file: Option<Place>,

    /// The file that holds a token to use instead of a user and a password; or HSM_TOKEN has it
    #[arg(
        long,
        global = true,
        value_name = "FILE",
        conflicts_with = "password_file"
    )]
    token_file: Option<Place>,
}

impl Target {
    /// The URL that was given.
    pub(crate) fn url(&self) -> Result<&str> {
        self.hsm.as_deref().ok_or_else(|| {
            Failure::usage("which HSM?").hint(
                "add --hsm URL or set HSM_URL, to `soft:FOLDER`, `tpm:/dev/tpmrm0`, `https://HOST:PORT` or `unix:SOCKET`; `hsm init soft:FOLDER` makes one",
            )
        })
    }

    /// Opens it.
    pub(crate) async fn open(&self) -> Result<Hsm> {
        self.open_with(|options| options).await
    }

    /// Opens it, with more options than those of the command line.
    pub(crate) async fn open_with(
        &self,
        more: impl FnOnce(OpenOptions) -> OpenOptions,
    ) -> Result<Hsm> {
        let url = self.url()?;
        let hsm = Hsm::open_with(url, more(self.options()?)).await;
        hsm.map_err(|error| {
            let kind = error.kind();
            let failure = Failure::from(error);
            match kind {
                hsm_client::ErrorKind::NotFound => {
                    failure.hint(format!("`hsm init {url}` makes one"))
                }
                _ => failure,
            }
        })
    }

    fn options(&self) -> Result<OpenOptions> {
        let mut options = OpenOptions::new();
        if let Some(place) = &self.passphrase_file {
            options = options.passphrase(secret::from_place(place)?.expose());
        }
        if let Some(path) = &self.key_file {
            options = options.key_file(path);
        }
        #[cfg(feature = "tpm")]
        if let Some(device) = &self.tpm {
            options = options.tpm(tpm_seal(device, None));
        }
        if let Some(path) = &self.ca {
            options = options.ca_file(path);
        }
        if self.fips {
            options = options.device(SoftDevice::options(CryptoProvider::AwsLc).approved_only());
        }
        Ok(options)
    }
}

/// The TPM that a folder is sealed to, given as in a URL or with the `tpm:` of one.
#[cfg(feature = "tpm")]
pub(crate) fn tpm_seal(device: &str, registers: Option<PcrSelection>) -> TpmSeal {
    let registers: Vec<_> = registers.iter().flat_map(|set| set.iter()).collect();
    TpmSeal::new(device.strip_prefix("tpm:").unwrap_or(device)).pcrs(&registers)
}

impl Connect {
    /// Runs `work` in a session, and closes the HSM in good order whatever comes of it.
    pub(crate) async fn with<T>(&self, work: impl AsyncFnOnce(&Session) -> Result<T>) -> Result<T> {
        // Asked first: who cannot answer opens nothing.
        let credentials = self.credentials()?;
        let hsm = self.target.open().await?;
        let result = match hsm.login_with(credentials).await {
            Ok(session) => {
                let result = work(&session).await;
                session.logout().await;
                result
            }
            Err(error) => Err(error.into()),
        };
        let closed = hsm.close().await;
        let result = result?;
        closed?;
        Ok(result)
    }

    fn credentials(&self) -> Result<Credentials> {
        if let Some(place) = &self.token_file {
            return Ok(Credentials::Token(secret::from_place(place)?));
        }
        if let Some(user) = &self.user {
            let password = match (&self.password_file, variable(PASSWORD_VARIABLE)) {
                (Some(place), _) => secret::from_place(place)?,
                (None, Some(password)) => password,
                (None, None) => secret::from_place_or_prompt(
                    None,
                    "--password-file",
                    &format!("Password of {user}"),
                )?,
            };
            return Ok(Credentials::password(user, password.expose())?);
        }
        if let Some(token) = variable(TOKEN_VARIABLE) {
            return Ok(Credentials::Token(token));
        }
        match self.target.url()?.parse()? {
            Url::Soft(_) | Url::Tpm(_) | Url::Memory => Err(Failure::usage("who asks?")
                .hint("add --user NAME (and --password-file FILE), or --token-file FILE")),
            // The connection itself may prove who asks.
            _ => Ok(Credentials::Connection),
        }
    }
}

fn variable(name: &str) -> Option<SecretBytes> {
    use std::os::unix::ffi::OsStringExt;

    std::env::var_os(name)
        .filter(|value| !value.is_empty())
        .map(|value| SecretBytes::from(value.into_vec()))
}
