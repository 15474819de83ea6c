//! `hsm serve --dev` as a process, on a port that the system chose.

use std::io::{BufRead as _, BufReader, Lines};
use std::path::PathBuf;
use std::process::{Child, ChildStdout, Command, Stdio};

use tempfile::TempDir;

/// The server. It is killed when this is dropped.
pub struct DevServer {
    process: Child,
    /// What it printed until it was ready.
    pub printed: String,
    folder: TempDir,
}

impl DevServer {
    /// Starts it in a new folder, and waits until it is ready.
    pub fn start() -> Self {
        let folder = tempfile::tempdir().expect("a folder for the server");
        let mut process = Command::new(env!("CARGO_BIN_EXE_hsm"))
            .args(["serve", "--dev", "--port", "0", "--folder"])
            .arg(folder.path().join("dev"))
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .spawn()
            .expect("the program starts");
        let stdout = process.stdout.take().expect("it is piped");
        let printed = until_ready(BufReader::new(stdout).lines());
        Self { process, printed, folder }
    }
}
