//! `hsm completions`.

use clap::{Args, CommandFactory};
use clap_complete::{Shell, generate};

use super::failure::Exit;
use super::output::{Place, Secrecy};
use super::{Cli, Result};

/// Prints a completion script for a shell
///
/// For bash: `hsm completions bash > ~/.local/share/bash-completion/completions/hsm`.
#[derive(Args, Debug)]
pub(crate) struct Completions {
    /// The shell
    #[arg(value_enum)]
    shell: Shell,
}

impl Completions {
    pub(crate) fn run(self) -> Result<Exit> {
        let mut script = Vec::new();
        generate(self.shell, &mut Cli::command(), "hsm", &mut script);
        Place::Standard.write(&script, Secrecy::Public, true)?;
        Ok(Exit::Done)
    }
}
