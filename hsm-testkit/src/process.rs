//! Processes for tests to kill, to race with and to talk to: the test binary itself, started again in a role.
//!
//! A role is an ignored test of the same file. [`Child::start`] runs it in a process of its own; the two talk in lines.
//!
//! ```
//! use hsm_testkit::process::{self, Child};
//!
//! #[test]
//! fn what_was_acknowledged_survives_kill_9() {
//!     let path = std::env::temp_dir().join("numbers"); // yours: one that is new
//!     let mut child = Child::start("write_until_killed", &[path.to_str().unwrap()]);
//!     let first = child.report().unwrap();
//!     let acknowledged: Vec<String> = [first].into_iter().chain(child.kill()).collect();
//!     // … open what is at `path`, and look for every number in `acknowledged`
//! }
//!
//! #[test]
//! #[ignore = "a role for the process that is killed"]
//! fn write_until_killed() {
//!     let Some(arguments) = process::arguments() else {
//!         return;
//!     };
//!     for number in 0.. {
//!         // … write the number to what is at `arguments[0]`
//!         process::report(number);
//!     }
//! }
//! # fn main() {}
//! ```
//!
//! A kill loses what the process had in its memory, and not what it gave to the operating system: `kill -9` is no power
//! failure.
#![expect(
    clippy::test_attr_in_doctest,
    reason = "a role is a test: the example shows both"
)]

use std::fmt::Display;
use std::io::{BufRead, BufReader, Lines, Write};
use std::process::{ChildStderr, Command, Stdio};

/// A process in a role. It is killed when this is dropped.
#[derive(Debug)]
pub struct Child {
    process: std::process::Child,
    reports: Lines<BufReader<ChildStderr>>,
}

impl Child {
    /// Starts the ignored test called `role`, by its whole path in the test binary, with `arguments` that it gets from
    /// [`arguments`].
    ///
    /// # Panics
    ///
    /// If the process does not start, or an argument has more than one line.
    #[must_use]
    pub fn start(role: &str, arguments: &[&str]) -> Self {
        Self::start_with(role, arguments, |command| command)
    }

    /// As [`start`](Self::start), with a command that `change` had a hand in: in another directory, say, or with other
    /// variables.
    ///
    /// # Panics
    ///
    /// As [`start`](Self::start).
    #[must_use]
    pub fn start_with(
        role: &str,
        arguments: &[&str],
        change: impl FnOnce(&mut Command) -> &mut Command,
    ) -> Self {
        let in_lines = arguments.iter().all(|argument| !argument.contains('\n'));
        assert!(in_lines, "an argument is one line");
        let binary = std::env::current_exe().expect("a test knows its binary");
        let mut command = Command::new(binary);
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
        let mut process = change(&mut command).spawn().expect("the role starts");
        let stderr = process.stderr.take().expect("it is piped");
        let reports = BufReader::new(stderr).lines();
        Self { process, reports }
    }

    /// The next line that it [reports](report); `None` when it has ended. Waits for it.
    ///
    /// # Panics
    ///
    /// If the line is not UTF-8.
    pub fn report(&mut self) -> Option<String> {
        let line = self.reports.next()?;
        Some(line.expect("a report is text"))
    }

    /// Tells it a line, for which it [waits](told).
    ///
    /// # Panics
    ///
    /// If it has ended.
    pub fn tell(&mut self, line: &str) {
        let stdin = self.process.stdin.as_mut().expect("it is piped");
        let told = stdin.write_all(format!("{line}\n").as_bytes());
        told.expect("the role listens");
    }

    /// Tells it a line, and returns what it reports then.
    ///
    /// # Panics
    ///
    /// If it has ended, or ends without a report.
    pub fn ask(&mut self, line: &str) -> String {
        self.tell(line);
        self.report().expect("the role answers")
    }

    /// `kill -9`. Returns what it had reported before that and nobody has read.
    ///
    /// # Panics
    ///
    /// If it cannot be killed.
    pub fn kill(mut self) -> Vec<String> {
        self.process.kill().expect("it can be killed");
        self.process.wait().expect("it ends");
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

/// In a role: what it was started with. `None` if the test was not started as a role, but by somebody who runs ignored
/// tests.
#[must_use]
pub fn arguments() -> Option<Vec<String>> {
    let arguments = std::env::var(ARGUMENTS).ok()?;
    Some(arguments.split('\n').map(str::to_owned).collect())
}

/// In a role: reports a line, in one write, on the standard error, which the test harness leaves alone.
///
/// # Panics
///
/// If nobody can read it any more.
pub fn report(line: impl Display) {
    let line = format!("{line}\n");
    let written = std::io::stderr().write_all(line.as_bytes());
    written.expect("somebody reads the reports");
}

/// In a role: waits to be [told](Child::tell) a line. Ends the process if nobody can any more.
///
/// # Panics
///
/// If the line is not UTF-8.
#[expect(
    clippy::must_use_candidate,
    reason = "who only waits has no use for the line"
)]
pub fn told() -> String {
    let mut line = String::new();
    let read = std::io::stdin().read_line(&mut line);
    if read.expect("what is told is text") == 0 {
        std::process::exit(0);
    }
    line.trim_end().to_owned()
}

/// The environment variable that makes a test a role.
const ARGUMENTS: &str = "HSM_TESTKIT_ROLE";
