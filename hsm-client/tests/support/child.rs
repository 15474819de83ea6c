//! Processes that play a role: this test binary again, told to run one of its ignored tests.

#![expect(dead_code, reason = "each test file uses what it needs of it")]

use std::io::{BufRead, BufReader, Lines, Write};
use std::process::{ChildStderr, ChildStdin, Command, Stdio};

/// A process that runs the ignored test called `role`. It reports on its standard error, which the test harness leaves
/// alone, and is killed when this is dropped.
pub(crate) struct Child {
    process: std::process::Child,
    reports: Lines<BufReader<ChildStderr>>,
}

impl Child {
    pub(crate) fn start(role: &str, arguments: &[&str]) -> Self {
        Self::start_with(role, arguments, |command| command)
    }

    /// As [`start`](Self::start), with a command that `change` had a hand in.
    pub(crate) fn start_with(
        role: &str,
        arguments: &[&str],
        change: impl FnOnce(&mut Command) -> &mut Command,
    ) -> Self {
        let mut command = Command::new(std::env::current_exe().unwrap());
        command
            .args([
                "--exact",
                role,
                "--ignored",
                "--nocapture",
                "--test-threads=1",
            ])
            .env(ARGUMENTS, arguments.join("\n"))
            .stdin(Stdio::piped())
            .stdout(Stdio::null())
            .stderr(Stdio::piped());
        let mut process = change(&mut command).spawn().unwrap();
        let reports = BufReader::new(process.stderr.take().unwrap()).lines();
        Self { process, reports }
    }

    /// The next line that it reports; `None` when it has ended.
    pub(crate) fn report(&mut self) -> Option<String> {
        self.reports.next().map(Result::unwrap)
    }

    /// Lets it go on from where it [waits](wait).
    pub(crate) fn go_on(&mut self) {
        let stdin: &mut ChildStdin = self.process.stdin.as_mut().unwrap();
        stdin.write_all(b"\n").unwrap();
    }

    /// `kill -9`. Returns what it still reported before that.
    pub(crate) fn kill(mut self) -> Vec<String> {
        self.process.kill().unwrap();
        self.process.wait().unwrap();
        self.reports.by_ref().map_while(Result::ok).collect()
    }
}

impl Drop for Child {
    fn drop(&mut self) {
        // It may have ended by itself.
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}

/// What the role was started with; `None` if the test was not started as a role.
pub(crate) fn arguments() -> Option<Vec<String>> {
    let arguments = std::env::var(ARGUMENTS).ok()?;
    Some(arguments.split('\n').map(str::to_owned).collect())
}

/// Reports a line, in one write.
pub(crate) fn report(line: impl std::fmt::Display) {
    let line = format!("{line}\n");
    std::io::stderr().write_all(line.as_bytes()).unwrap();
}

/// Waits to be told to [go on](Child::go_on); ends the process if nobody can any more.
pub(crate) fn wait() {
    let mut line = String::new();
    if std::io::stdin().read_line(&mut line).unwrap() == 0 {
        std::process::exit(0);
    }
}

const ARGUMENTS: &str = "HSM_CLIENT_ROLE";
