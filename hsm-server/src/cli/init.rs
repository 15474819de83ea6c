//! `hsm init`.

use std::path::PathBuf;

use clap::Args;
#[cfg(feature = "tpm")]
use hsm_client::PcrSelection;
use hsm_client::{CryptoProvider, Hsm, Setup, SoftDevice, Url, limits};
use serde::Serialize;

use super::Result;
#[cfg(feature = "tpm")]
use super::connect::tpm_seal;
use super::failure::Failure;
use super::output::{Out, Place, Secrecy, Show};
use super::secret;

/// Makes an HSM
///
/// The folder appears when it is complete. In software, its domain key rests under a key file in the folder, so that whoever
/// copies the folder has the keys; choose --tpm, --passphrase-file, or --key-file on another medium, for anything that matters. Keys
/// that live in a TPM are of no use to who copies the folder.
#[derive(Args, Debug)]
pub(crate) struct Init {
    /// Where: `soft:FOLDER`, or `tpm:/dev/tpmrm0` for keys that live in a TPM, with `?folder=FOLDER` for the rest of it
    url: String,

    /// The administrator's name
    #[arg(long, default_value = "admin", value_name = "NAME")]
    administrator: String,

    /// The file that holds the administrator's password, `-` for standard input; else a prompt asks
    #[arg(long, value_name = "FILE")]
    password_file: Option<Place>,

    /// Put the domain key under the passphrase in this file
    #[arg(long, value_name = "FILE", conflicts_with = "key_file")]
    passphrase_file: Option<Place>,

    /// Put the domain key under this key file, which is made if it is not there
    #[arg(long, value_name = "FILE")]
    key_file: Option<PathBuf>,

    /// Seal the domain key to this TPM, such as /dev/tpmrm0: the folder opens on this machine only, with the same --tpm
    #[cfg(feature = "tpm")]
    #[arg(long, value_name = "DEVICE")]
    tpm: Option<String>,

    /// With --tpm: to what these platform configuration registers hold now, such as 0,2,4,7, so that it opens after the same boot only
    #[cfg(feature = "tpm")]
    #[arg(long, value_name = "NUMBERS", requires = "tpm")]
    pcrs: Option<PcrSelection>,

    /// Let the passphrase in this file open it too: for a safe, and the day on which the TPM does not
    #[arg(long, value_name = "FILE", conflicts_with = "passphrase_file")]
    recovery_passphrase_file: Option<Place>,

    /// Count changes in the TPM, so that an older copy of the whole folder is found out
    #[cfg(feature = "tpm")]
    #[arg(long)]
    count_changes: bool,

    /// How long soft-deleted keys can be recovered, in days: 7 to 90
    #[arg(long, value_name = "DAYS", default_value_t = limits::RETENTION_DAYS_MAX)]
    retention_days: u16,

    /// Let nobody purge a key before its retention period is over; cannot be undone
    #[arg(long)]
    purge_protection: bool,

    /// Do only what the standards of NIST approve; say it again whenever the HSM is opened
    #[arg(long)]
    fips: bool,

    /// Write the key that verifies the audit log to this file; keep it away from the HSM
    #[arg(long, value_name = "FILE")]
    audit_key: Option<Place>,
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Made {
    url: String,
    id: Option<String>,
    administrator: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    audit_key: Option<String>,
}

impl Show for Made {
    const COLUMNS: &'static [&'static str] = &["url", "id", "administrator"];

    fn fields(&self) -> Vec<(&'static str, String)> {
        vec![
            ("url", self.url.clone()),
            ("id", self.id.clone().unwrap_or_default()),
            ("administrator", self.administrator.clone()),
            ("audit key", self.audit_key.clone().unwrap_or_default()),
        ]
    }
}

impl Init {
    pub(crate) async fn run(self, out: &Out) -> Result<()> {
        let secrets = [
            &self.password_file,
            &self.passphrase_file,
            &self.recovery_passphrase_file,
        ];
        let standard = |place: &&&Option<Place>| ***place == Some(Place::Standard);
        if secrets.iter().filter(standard).count() > 1 {
            return Err(Failure::usage(
                "the password and the passphrase cannot both come from standard input",
            ));
        }
        let password = secret::new_from_place_or_prompt(
            self.password_file.as_ref(),
            "--password-file",
            &format!("New password of {}", self.administrator),
        )?;
        let mut setup =
            Setup::new(&self.administrator, password.expose()).retention_days(self.retention_days);
        if let Some(place) = &self.passphrase_file {
            setup = setup.passphrase(secret::from_place(place)?.expose());
        }
        if let Some(path) = &self.key_file {
            setup = setup.key_file(path);
        }
        if let Some(place) = &self.recovery_passphrase_file {
            setup = setup.recovery_passphrase(secret::from_place(place)?.expose());
        }
        #[cfg(feature = "tpm")]
        {
            if let Some(device) = &self.tpm {
                setup = setup.tpm(tpm_seal(device, self.pcrs));
            }
            if self.count_changes {
                setup = setup.count_changes();
            }
        }
        if self.purge_protection {
            setup = setup.purge_protection();
        }
        if self.fips {
            setup = setup.device(SoftDevice::options(CryptoProvider::AwsLc).approved_only());
        }
        let hsm = Hsm::create(&self.url, setup).await?;
        let audit_key = match hsm.audit_key() {
            Some(key) => Some(key.to_pem()?),
            None => None,
        };
        let id = hsm.id().map(|id| id.to_string());
        hsm.close().await?;
        if let (Some(place), Some(pem)) = (&self.audit_key, &audit_key) {
            place.write(pem.as_bytes(), Secrecy::Public, false)?;
        }
        out.one(&Made {
            url: self.url.clone(),
            id,
            administrator: self.administrator,
            audit_key,
        })?;
        if let Url::Tpm(tpm) = self.url.parse()? {
            let folder = tpm.folder_or_default()?;
            out.note(&format!(
                "Keys live in the TPM, all else in {}: keep a copy of the folder, and never clear the TPM.",
                folder.display()
            ));
        }
        #[cfg(feature = "tpm")]
        if let Some(device) = &self.tpm {
            out.note(&format!(
                "The folder opens with this TPM: say --tpm {device} with every command."
            ));
            if self.recovery_passphrase_file.is_none()
                && self.passphrase_file.is_none()
                && self.key_file.is_none()
            {
                out.note("Nothing else opens it: if the TPM is cleared or breaks, the keys are gone. --recovery-passphrase-file would have helped.");
            }
        }
        if self.audit_key.is_none() {
            out.note("Keep the audit key away from the HSM: `hsm audit verify` asks for it.");
        }
        out.note(&format!(
            "Administrators cannot use keys. Make a user who can:\n  hsm user create NAME --role 'Crypto User' --hsm {}",
            self.url
        ));
        Ok(())
    }
}
