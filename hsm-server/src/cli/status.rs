//! `hsm status`.

use clap::Args;
use serde::Serialize;

use super::Result;
use super::connect::Connect;
use super::output::{Out, Show};

/// Shows the partition: its id, settings and audit key
#[derive(Args, Debug)]
pub(crate) struct Status {
    #[command(flatten)]
    connect: Connect,
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct StatusView {
    url: String,
    id: String,
    device: String,
    principal: String,
    retention_days: u16,
    purge_protection: bool,
    danger_rsa1_5_decrypt: bool,
    audit_key: String,
}

impl Show for StatusView {
    const COLUMNS: &'static [&'static str] = &["url", "id", "device"];

    fn fields(&self) -> Vec<(&'static str, String)> {
        let yes = |it: bool| if it { "yes" } else { "no" }.to_owned();
        vec![
            ("url", self.url.clone()),
            ("id", self.id.clone()),
            ("device", self.device.clone()),
            ("logged in as", self.principal.clone()),
            ("retention", format!("{} days", self.retention_days)),
            ("purge protection", yes(self.purge_protection)),
            ("RSA1_5 decryption", yes(self.danger_rsa1_5_decrypt)),
            ("audit key", self.audit_key.clone()),
        ]
    }
}

impl Status {
    pub(crate) async fn run(self, out: &Out) -> Result<()> {
        let url = self.connect.target.url()?.to_owned();
        self.connect
            .with(async |session| {
                let info = session.settings().await?;
                out.one(&StatusView {
                    url,
                    id: info.id.to_string(),
                    device: info.device,
                    principal: session.principal().to_string(),
                    retention_days: info.settings.retention_days,
                    purge_protection: info.settings.purge_protection,
                    danger_rsa1_5_decrypt: info.settings.danger_rsa1_5_decrypt,
                    audit_key: info.audit_key.to_pem()?,
                })
            })
            .await
    }
}
