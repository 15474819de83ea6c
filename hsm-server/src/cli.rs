//! The commands: what is on the command line, and where each goes.

mod audit;
mod bench;
mod completions;
mod connect;
mod failure;
mod hexadecimal;
mod init;
mod key;
mod output;
mod progress;
mod report;
mod role;
#[cfg(feature = "tpm")]
mod seal;
mod secret;
mod serve;
mod status;
mod token;
mod user;
mod view;
mod when;

use std::process::ExitCode;

use clap::{Parser, Subcommand};

use self::failure::{Exit, Failure};
use self::output::{Format, Out};

/// What a command ends with.
type Result<T, E = Failure> = std::result::Result<T, E>;

const EXIT_CODES: &str = "\
Exit codes:
   0  done
   1  the device, the store, the audit log or a file failed
   2  the command line or an argument is wrong, or a limit is exceeded
   3  denied: a role is missing, the credentials are wrong, or the user is locked out
   4  not found
   5  unreachable: nothing happened, it may be tried again
   6  outcome unknown: it may have happened, look before you repeat it
   7  conflict: the name is taken
   8  the key's state, validity period or usages do not allow it
   9  a signature, tag, ciphertext or key report is not right
  10  damaged: a record was edited, dropped or has rotted
  11  not supported by this HSM";

/// An HSM from the command line: makes, serves, administers and uses it.
#[derive(Debug, Parser)]
#[command(name = "hsm", version, after_help = EXIT_CODES, term_width = 100, max_term_width = 100)]
struct Cli {
    /// How results are printed
    #[arg(
        long,
        short,
        global = true,
        value_enum,
        default_value_t,
        env = "HSM_OUTPUT"
    )]
    output: Format,

    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Makes an HSM
    Init(init::Init),
    /// Serves HSMs over HTTPS
    Serve(serve::Serve),
    /// Makes, uses and administers keys
    Key(key::Key),
    /// Verifies key reports
    Report(report::Report),
    /// Defines and assigns roles
    Role(role::Role),
    /// Administers users
    User(user::User),
    /// Makes and deletes API tokens
    Token(token::Token),
    /// Verifies and shows the audit log
    Audit(audit::Audit),
    /// Seals the domain key of a folder to a TPM as it is now
    #[cfg(feature = "tpm")]
    Seal(seal::Seal),
    /// Shows the partition: its id, settings and audit key
    Status(status::Status),
    /// Measures a server of this machine
    Bench(bench::Bench),
    /// Prints a completion script for a shell
    Completions(completions::Completions),
}

/// Runs the program.
pub(crate) fn run() -> ExitCode {
    let cli = match Cli::try_parse() {
        Ok(cli) => cli,
        Err(error) => {
            let wrong = error.use_stderr();
            // Nobody is left to tell if the terminal is gone.
            drop(error.print());
            return if wrong { Exit::Usage } else { Exit::Done }.into();
        }
    };
    let out = Out::new(cli.output);
    match perform(cli.command, &out) {
        Ok(exit) => exit.into(),
        Err(failure) => {
            out.failure(&failure);
            failure.exit().into()
        }
    }
}

fn perform(command: Command, out: &Out) -> Result<Exit> {
    match command {
        Command::Completions(completions) => return completions.run(),
        Command::Report(report) => report.run(out)?,
        command => {
            let runtime = tokio::runtime::Builder::new_multi_thread()
                .enable_all()
                .build()
                .map_err(|source| Failure::io("the threads of the program", &source))?;
            runtime.block_on(async {
                match command {
                    Command::Init(init) => init.run(out).await,
                    Command::Serve(serve) => serve.run(out).await,
                    Command::Key(key) => key.run(out).await,
                    Command::Role(role) => role.run(out).await,
                    Command::User(user) => user.run(out).await,
                    Command::Token(token) => token.run(out).await,
                    Command::Audit(audit) => audit.run(out).await,
                    #[cfg(feature = "tpm")]
                    Command::Seal(seal) => seal.run(out).await,
                    Command::Status(status) => status.run(out).await,
                    Command::Bench(bench) => bench.run(out).await,
                    Command::Completions(completions) => completions.run().map(drop),
                    Command::Report(report) => report.run(out),
                }
            })?;
        }
    }
    Ok(Exit::Done)
}

#[cfg(test)]
mod tests {
    use clap::CommandFactory;

    use super::*;

    #[test]
    fn the_command_line_is_consistent() {
        Cli::command().debug_assert();
    }
}
