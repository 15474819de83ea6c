//! `hsm seal`.

use clap::Args;
use hsm_client::{PcrSelection, ProtectorKind};
use serde::Serialize;

use super::Result;
use super::connect::{Target, tpm_seal};
use super::failure::Failure;
use super::output::{Out, Show};

/// Seals the domain key of a folder to a TPM as it is now
///
/// For the first time; or anew, after other firmware has changed what the registers hold, or the TPM was cleared or replaced: then
/// --passphrase-file opens the folder. No user is asked for: whoever can open the folder has the domain key.
#[derive(Args, Debug)]
pub(crate) struct Seal {
    /// To what these platform configuration registers hold now, such as 0,2,4,7; to any boot state if not given
    #[arg(long, value_name = "NUMBERS")]
    pcrs: Option<PcrSelection>,

    /// Take the folder though it does not fit its counter: the TPM was cleared or replaced, or it is a backup that was put back
    #[arg(long)]
    danger_accept_rollback: bool,

    #[command(flatten)]
    target: Target,
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Sealed {
    url: String,
    tpm: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    pcrs: Option<String>,
    protectors: Vec<&'static str>,
}

impl Show for Sealed {
    const COLUMNS: &'static [&'static str] = &["url", "tpm", "pcrs", "protectors"];

    fn fields(&self) -> Vec<(&'static str, String)> {
        vec![
            ("url", self.url.clone()),
            ("tpm", self.tpm.clone()),
            ("pcrs", self.pcrs.clone().unwrap_or_default()),
            ("protectors", self.protectors.join(" ")),
        ]
    }
}

impl Seal {
    pub(crate) async fn run(self, out: &Out) -> Result<()> {
        let url = self.target.url()?.to_owned();
        let Some(device) = &self.target.tpm else {
            return Err(Failure::usage("which TPM?").hint("add --tpm DEVICE, such as /dev/tpmrm0"));
        };
        let accept = self.danger_accept_rollback;
        let hsm = self
            .target
            .open_with(|options| match accept {
                true => options.danger_accept_rollback(),
                false => options,
            })
            .await?;
        let sealed = hsm.seal_to_tpm(tpm_seal(device, self.pcrs)).await;
        let protectors = hsm.protectors();
        let closed = hsm.close().await;
        sealed?;
        let protectors = protectors?.into_iter().map(|kind| match kind {
            ProtectorKind::Passphrase => "passphrase",
            ProtectorKind::KeyFile => "keyFile",
            _ => "tpm",
        });
        out.one(&Sealed {
            url,
            tpm: device.clone(),
            pcrs: self.pcrs.map(|pcrs| pcrs.to_string()),
            protectors: protectors.collect(),
        })?;
        Ok(closed?)
    }
}
