//! Processes that play a role: this test binary again, told to run one of its ignored tests.

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
        let mut process = command.spawn().unwrap();
        let reports = BufReader::new(process.stderr.take().unwrap()).lines();
        Self { process, reports }
    }

    /// The next line that it reports; `None` when it has ended.
    pub(crate) fn report(&mut self) -> Option<String> {
        self.reports.next().map(Result::unwrap)
    }

    /// Tells it a line, for which it [waits](told).
    pub(crate) fn tell(&mut self, line: &str) {
        let stdin: &mut ChildStdin = self.process.stdin.as_mut().unwrap();
        stdin.write_all(format!("{line}\n").as_bytes()).unwrap();
    }

    /// Tells it a line and returns what it reports then.
    pub(crate) fn ask(&mut self, line: &str) -> String {
        self.tell(line);
        self.report().unwrap()
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

/// Waits to be [told](Child::tell) a line; ends the process if nobody can any more.
pub(crate) fn told() -> String {
    let mut line = String::new();
    if std::io::stdin().read_line(&mut line).unwrap() == 0 {
        std::process::exit(0);
    }
    line.trim_end().to_owned()
}

const ARGUMENTS: &str = "HSM_CLIENT_ROLE";
