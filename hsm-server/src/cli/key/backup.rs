//! `hsm key backup` and `hsm key restore`.

use clap::Args;
use hsm_client::KeyName;
use hsm_core::{Request, Response};

use super::{info, unexpected};
use crate::cli::Result;
use crate::cli::connect::Connect;
use crate::cli::output::{Out, Place, Secrecy};
use crate::cli::view::KeyView;

/// Longest backup that is taken, in bytes: a hundred versions of the longest sealed key, and what is known of them.
const BACKUP_LEN_MAX: usize = 4 << 20;

#[derive(Args, Debug)]
pub(super) struct Backup {
    /// The key
    name: KeyName,

    /// The file to write, which only its owner may read; `-` is standard output
    #[arg(long, value_name = "FILE")]
    out: Place,

    /// Write to a terminal
    #[arg(long)]
    force: bool,
}

#[derive(Args, Debug)]
pub(super) struct Restore {
    /// The backup; `-` is standard input
    #[arg(value_name = "FILE")]
    file: Place,
}

impl Backup {
    pub(super) async fn run(self, connect: &Connect, out: &Out) -> Result<()> {
        self.out.check_secret(self.force)?;
        let note = format!("the backup of {} is in {}", self.name, self.out);
        let name = self.name;
        let backup = connect
            .with(
                async |session| match session.call(Request::BackupKey { name }).await? {
                    Response::Backup(backup) => Ok(backup),
                    other => Err(unexpected(&other)),
                },
            )
            .await?;
        self.out.write(&backup, Secrecy::Secret, true)?;
        out.note(&note);
        Ok(())
    }
}

impl Restore {
    pub(super) async fn run(self, connect: &Connect, out: &Out) -> Result<()> {
        let backup = self.file.read(BACKUP_LEN_MAX)?;
        connect
            .with(async |session| {
                let backup = backup.expose();
                let info = info(session, Request::RestoreKey { backup }).await?;
                out.one(&KeyView::new(&info)?)
            })
            .await
    }
}
