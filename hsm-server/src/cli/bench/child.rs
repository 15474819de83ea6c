//! [`Child`]: a server in a process of its own, whose CPU time and memory the kernel counts.

use std::path::Path;
use std::process::Stdio;
use std::time::Duration;

use tokio::io::{AsyncBufReadExt, BufReader, Lines};
use tokio::process::{ChildStdout, Command};

use crate::cli::Result;
use crate::cli::failure::Failure;

/// Clock ticks of `/proc/PID/stat` in a second: what Linux shows to programs, whatever its own clock does.
const TICKS_PER_SECOND: f64 = 100.0;

/// How long a server may take to be ready: it makes its keys first.
const READY_TIME: Duration = Duration::from_secs(120);

/// A server.
pub(super) struct Child {
    process: tokio::process::Child,
    pub(super) port: u16,
    /// Kept open, so that the child can go on writing.
    _stdout: Lines<BufReader<ChildStdout>>,
}

impl Child {
    /// `hsm serve --dev` in a folder.
    pub(super) async fn server(folder: &Path) -> Result<Self> {
        let mut command = program()?;
        command
            .args([
                "serve", "--dev", "--port", "0", "--output", "json", "--folder",
            ])
            .arg(folder)
            .env("HSM_LOG", "warn");
        Self::start(command).await
    }

    /// The bare handler, with the certificate of the other.
    pub(super) async fn bare(folder: &Path) -> Result<Self> {
        let mut command = program()?;
        command.args(["bench", "--bare-in"]).arg(folder);
        Self::start(command).await
    }

    async fn start(mut command: Command) -> Result<Self> {
        let failed = |source| Failure::io("the server's process", &source);
        let mut process = command
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .kill_on_drop(true)
            .spawn()
            .map_err(failed)?;
        let stdout = process
            .stdout
            .take()
            .ok_or_else(|| Failure::usage("the server has no standard output"))?;
        let mut lines = BufReader::new(stdout).lines();
        let line = tokio::time::timeout(READY_TIME, lines.next_line())
            .await
            .map_err(|_| Failure::usage("the server does not get ready"))?
            .map_err(failed)?;
        let port = line.as_deref().and_then(port_of).ok_or_else(|| {
            Failure::usage("the server ended before it was ready; its reason is above")
        })?;
        Ok(Self {
            process,
            port,
            _stdout: lines,
        })
    }

    /// CPU time that the process has used, in seconds.
    pub(super) fn cpu_seconds(&self) -> Result<f64> {
        let stat = self.read("stat")?;
        // The name of the program is in brackets and may hold anything; utime and stime are the 12th and 13th after it.
        let ticks = stat
            .rsplit_once(')')
            .map(|(_, rest)| rest.split_ascii_whitespace().skip(11).take(2))
            .map(|times| {
                times
                    .filter_map(|time| time.parse::<f64>().ok())
                    .sum::<f64>()
            });
        Ok(ticks.unwrap_or_default() / TICKS_PER_SECOND)
    }

    /// Memory that the process has in use.
    pub(super) fn memory_kib(&self) -> Result<u64> {
        let status = self.read("status")?;
        let resident = status
            .lines()
            .find_map(|line| line.strip_prefix("VmRSS:"))
            .and_then(|value| value.trim().strip_suffix(" kB"))
            .and_then(|value| value.parse().ok());
        Ok(resident.unwrap_or_default())
    }

    fn read(&self, name: &str) -> Result<String> {
        let id = self.process.id().unwrap_or_default();
        let path = format!("/proc/{id}/{name}");
        std::fs::read_to_string(&path).map_err(|source| Failure::io(&path, &source))
    }

    /// Ends it in good order.
    pub(super) async fn stop(mut self) -> Result<()> {
        let id = self.process.id().and_then(|id| i32::try_from(id).ok());
        if let Some(id) = id.and_then(rustix::process::Pid::from_raw) {
            rustix::process::kill_process(id, rustix::process::Signal::TERM)
                .map_err(|source| Failure::io("the server's process", &source.into()))?;
        }
        self.process
            .wait()
            .await
            .map_err(|source| Failure::io("the server's process", &source))?;
        Ok(())
    }
}

fn program() -> Result<Command> {
    let path =
        std::env::current_exe().map_err(|source| Failure::io("the program itself", &source))?;
    Ok(Command::new(path))
}

fn port_of(line: &str) -> Option<u16> {
    let ready: serde_json::Value = serde_json::from_str(line).ok()?;
    let address = ready["addresses"][0].as_str()?;
    address.rsplit_once(':')?.1.parse().ok()
}
