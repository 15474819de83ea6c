//! `hsm key attest`.

use base64ct::{Base64UrlUnpadded, Encoding};
use clap::Args;
use hsm_client::KeyRef;
use hsm_client::attestation::{Nonce, Pcrs};
use hsm_core::{Request, Response};
use serde::Serialize;

use super::unexpected;
use crate::cli::Result;
use crate::cli::connect::Connect;
use crate::cli::failure::Failure;
use crate::cli::hexadecimal::Octets;
use crate::cli::output::{Out, Place, Secrecy, Show};

/// Length of a nonce that is drawn here, in bytes.
const NONCE_LEN: usize = 32;

#[derive(Args, Debug)]
pub(super) struct Attest {
    /// NAME or NAME/VERSION
    key: KeyRef,

    /// The nonce of whoever shall believe the report: 8 to 64 bytes that they drew for it, in hexadecimal; drawn here if not
    /// given, which is good enough to enrol a machine
    #[arg(long, value_name = "HEX")]
    nonce: Option<Octets>,

    /// Of a TPM: quote these platform configuration registers too, such as 0,2,4,7
    #[arg(long, value_name = "NUMBERS")]
    pcrs: Option<Pcrs>,

    /// The file to write; `-` is standard output, where --output json has the bytes in base64url
    #[arg(long, value_name = "FILE")]
    out: Place,

    /// Write binary data to a terminal
    #[arg(long)]
    force: bool,
}

/// What a key report says that was made, before anybody has verified it.
#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Attested {
    key: String,
    version: String,
    device: String,
    attestation_key: String,
    nonce: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    value: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    file: Option<String>,
}

impl Show for Attested {
    const COLUMNS: &'static [&'static str] = &["key", "version", "device", "attestation key"];

    fn fields(&self) -> Vec<(&'static str, String)> {
        vec![
            ("key", self.key.clone()),
            ("version", self.version.clone()),
            ("device", self.device.clone()),
            ("attestation key", self.attestation_key.clone()),
            ("nonce", self.nonce.clone()),
            ("file", self.file.clone().unwrap_or_default()),
        ]
    }
}

impl Attest {
    pub(super) async fn run(self, connect: &Connect, out: &Out) -> Result<()> {
        if !out.is_json() {
            self.out.check_secret(self.force)?;
        }
        let nonce = match &self.nonce {
            Some(given) => Nonce::new(&given.0)?,
            None => draw_nonce()?,
        };
        let request = Request::AttestKey {
            key: self.key.clone(),
            nonce: nonce.clone(),
            pcrs: self.pcrs.unwrap_or_default(),
        };
        let (evidence, version) = connect
            .with(async |session| match session.call(request).await? {
                Response::Evidence { evidence, version } => Ok((evidence, version)),
                other => Err(unexpected(&other)),
            })
            .await?;
        let report = evidence.decode()?;
        let claims = report.claims();
        let mut made = Attested {
            key: self.key.name.to_string(),
            version: version.to_string(),
            device: claims.device.clone(),
            attestation_key: claims.attestation_key.to_string(),
            nonce: Octets(nonce.as_bytes().to_vec()).to_string(),
            value: None,
            file: None,
        };
        let bytes = evidence.as_bytes();
        match self.out {
            Place::Standard if out.is_json() => {
                made.value = Some(Base64UrlUnpadded::encode_string(bytes));
                out.one(&made)
            }
            Place::Standard => {
                self.out.write(bytes, Secrecy::Public, self.force)?;
                out.note(&format!("nonce {}", made.nonce));
                Ok(())
            }
            Place::File(_) => {
                self.out.write(bytes, Secrecy::Public, self.force)?;
                made.file = Some(self.out.to_string());
                out.one(&made)
            }
        }
    }
}

fn draw_nonce() -> Result<Nonce> {
    let mut bytes = [0; NONCE_LEN];
    getrandom::fill(&mut bytes)
        .map_err(|source| Failure::io("the nonce", &std::io::Error::other(source)))?;
    Ok(Nonce::new(bytes)?)
}
