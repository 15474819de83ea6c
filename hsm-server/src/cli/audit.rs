//! `hsm audit`.

mod online;
mod tail;

use std::path::Path;

use clap::{Args, Subcommand};
use hsm_client::{PublicKey, Url, audit, limits};
use hsm_core::audit::StreamId;
use serde::Serialize;

use super::Result;
use super::connect::Connect;
use super::failure::Failure;
use super::output::{Out, Place, Show};

/// Verifies and shows the audit log
#[derive(Args, Debug)]
pub(crate) struct Audit {
    #[command(subcommand)]
    command: Command,

    #[command(flatten)]
    connect: Connect,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Verifies the whole log: a folder's without opening the HSM, another's through a session
    ///
    /// Finds any edit, drop, reorder or truncation, and names the first record that is not right. Of a folder, it reads the files
    /// and needs neither a user nor the passphrase.
    Verify(Verify),
    /// Prints the last records, as they stand in the log: only `verify` checks them
    Tail(tail::Tail),
    /// Lists the audit streams: the journal first
    Streams,
}

#[derive(Args, Debug)]
struct Verify {
    /// The HSM or its folder; that of --hsm if not given
    url: Option<String>,

    /// The audit key that `hsm init` gave, kept away from the HSM. Of a remote HSM, the one that it gives itself will do, and
    /// proves less
    #[arg(long, value_name = "FILE")]
    audit_key: Option<Place>,
}

/// What a log that is right holds.
#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct ReportView {
    url: String,
    verified: bool,
    streams: usize,
    records: u64,
    unsigned: u64,
    abandoned: Vec<String>,
    audit_key: &'static str,
}

impl Show for ReportView {
    const COLUMNS: &'static [&'static str] = &["url", "records"];

    fn fields(&self) -> Vec<(&'static str, String)> {
        vec![
            ("url", self.url.clone()),
            ("verified", "yes".to_owned()),
            ("streams", self.streams.to_string()),
            ("records", self.records.to_string()),
            ("unsigned", self.unsigned.to_string()),
            ("abandoned", self.abandoned.join("\n")),
            ("audit key", self.audit_key.to_owned()),
        ]
    }
}

/// What verification counted.
#[derive(Debug, Default)]
struct Counted {
    streams: usize,
    records: u64,
    unsigned: u64,
    abandoned: Vec<StreamId>,
}

/// Where the audit key of a verification came from.
const KEPT: &str = "kept by the auditor";
const FROM_THE_HSM: &str = "from the HSM itself";

impl Audit {
    pub(crate) async fn run(mut self, out: &Out) -> Result<()> {
        match self.command {
            Command::Verify(verify) => {
                if let Some(url) = verify.url {
                    self.connect.target.hsm = Some(folder_url(url));
                }
                let key = match &verify.audit_key {
                    Some(place) => Some(read_key(place)?),
                    None => None,
                };
                verify_log(&self.connect, key, out).await
            }
            Command::Tail(tail) => tail.run(&self.connect, out).await,
            Command::Streams => {
                self.connect
                    .with(async |session| {
                        let streams = session.audit_streams().await?;
                        let names: Vec<_> = streams.iter().map(StreamId::to_string).collect();
                        if out.is_json() {
                            return out.json(&names);
                        }
                        names.iter().try_for_each(|name| out.line(name))
                    })
                    .await
            }
        }
    }
}

async fn verify_log(connect: &Connect, key: Option<PublicKey>, out: &Out) -> Result<()> {
    let url = connect.target.url()?.to_owned();
    let progress = out.progress("records", None);
    let source = if key.is_some() { KEPT } else { FROM_THE_HSM };
    let counted = match (url.parse()?, key) {
        (Url::Soft(_) | Url::Tpm(_), Some(key)) => {
            let report = audit::verify(&url, &key, |_| progress.step())?;
            Counted {
                streams: report.streams,
                records: report.records,
                unsigned: report.unsigned,
                abandoned: report.abandoned,
            }
        }
        (Url::Soft(_) | Url::Tpm(_), None) => {
            return Err(Failure::usage("the audit key is missing").hint(
                "add --audit-key FILE with the key that `hsm init` gave, or `hsm status` gives; one that lies beside the log proves nothing",
            ));
        }
        (_, key) => {
            connect
                .with(async |session| online::verify(session, key, &progress).await)
                .await?
        }
    };
    drop(progress);
    out.one(&ReportView {
        url,
        verified: true,
        streams: counted.streams,
        records: counted.records,
        unsigned: counted.unsigned,
        abandoned: counted.abandoned.iter().map(StreamId::to_string).collect(),
        audit_key: source,
    })
}

/// A path that names a folder stands for the HSM in it.
fn folder_url(url: String) -> String {
    if url.parse::<Url>().is_err() && Path::new(&url).is_dir() {
        return format!("soft:{url}");
    }
    url
}

fn read_key(place: &Place) -> Result<PublicKey> {
    let pem = place.read(limits::PUBLIC_KEY_LEN_MAX)?;
    let pem = std::str::from_utf8(pem.expose())
        .map_err(|_| Failure::usage(format!("{place} is not a public key in PEM")))?;
    Ok(PublicKey::from_pem(pem)?)
}
