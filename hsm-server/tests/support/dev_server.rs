//! `hsm serve --dev` as a process, on a port that the system chose.

use std::fs::File;
use std::io::{BufRead as _, BufReader};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};

use serde_json::Value;
use tempfile::TempDir;

/// The server. It is killed when this is dropped.
pub(crate) struct DevServer {
    process: Child,
    folder: TempDir,
    /// What it printed until it was ready.
    pub(crate) printed: String,
}

impl DevServer {
    /// Starts it in a new folder, and waits until it is ready.
    pub(crate) fn start() -> Self {
        let folder = tempfile::tempdir().unwrap();
        let log = File::create(folder.path().join("log")).unwrap();
        let mut process = Command::new(env!("CARGO_BIN_EXE_hsm"))
            .args(["serve", "--dev", "--port", "0", "--folder", "dev"])
            .current_dir(folder.path())
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(log)
            .spawn()
            .unwrap();
        let mut stdout = BufReader::new(process.stdout.take().unwrap());
        let mut server = Self {
            process,
            folder,
            printed: String::new(),
        };
        while stdout.read_line(&mut server.printed).unwrap() > 0 {
            let last = server.printed.lines().last().unwrap();
            if last.starts_with("ready on ") {
                return server;
            }
        }
        let log = std::fs::read_to_string(server.folder().join("log")).unwrap();
        panic!("the server ended: {log}");
    }

    /// A folder for whoever uses the server.
    pub(crate) fn folder(&self) -> &Path {
        self.folder.path()
    }

    /// Under the name that every system resolves.
    pub(crate) fn url(&self) -> String {
        let (_, port) = self.printed.trim_end().rsplit_once(':').unwrap();
        format!("https://localhost:{port}")
    }

    /// The certificate to trust.
    pub(crate) fn ca(&self) -> PathBuf {
        self.folder.path().join("dev/ca.pem")
    }

    /// Tells a program where the server is and who its administrator is.
    pub(crate) fn tell<'c>(&self, command: &'c mut Command) -> &'c mut Command {
        let account = std::fs::read(self.folder.path().join("dev/dev.json")).unwrap();
        let account: Value = serde_json::from_slice(&account).unwrap();
        let said = |name: &str| account[name].as_str().unwrap().to_owned();
        command
            .current_dir(self.folder())
            .env("HSM_URL", self.url())
            .env("HSM_CA", self.ca())
            .env("HSM_TENANT", said("tenant"))
            .env("HSM_CLIENT_ID", said("user"))
            .env("HSM_CLIENT_SECRET", said("password"))
            .env("NODE_EXTRA_CA_CERTS", self.ca())
    }
}

impl Drop for DevServer {
    fn drop(&mut self) {
        drop(self.process.kill());
        drop(self.process.wait());
    }
}
