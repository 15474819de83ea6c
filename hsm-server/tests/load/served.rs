//! [`Served`]: `hsm serve --dev` in a process of its own, and clients of it.

use std::io::{BufRead, BufReader, Read};
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStdout, Command, Stdio};
use std::time::Duration;

use hsm_client::{Clock, Credentials, Hsm, OpenOptions, PublicKey, Session, SystemClock};
use rustix::process::{Pid, Signal, kill_process};
use serde_json::Value;

/// A server in a process of its own. It is killed when this is dropped.
pub(crate) struct Served {
    process: Child,
    stdout: BufReader<ChildStdout>,
    port: u16,
    place: Place,
}

/// Where a server was started, and what its clients need. It stays when the server is gone.
#[derive(Clone, Debug)]
pub(crate) struct Place {
    folder: PathBuf,
    port: u16,
    user: String,
    password: String,
}

impl Served {
    /// A server on a port that the system chooses.
    pub(crate) fn start(folder: &Path) -> Self {
        Self::try_start(folder, 0).expect("a server starts")
    }

    /// A server on the port of one that is gone.
    pub(crate) fn start_again(place: &Place) -> Self {
        // Another process may have the port for a moment: those who knock at it in vain use ports themselves.
        let mut started = (0..20).find_map(|_| Self::try_start(&place.folder, place.port));
        started.take().expect("the port can be had again")
    }

    fn try_start(folder: &Path, port: u16) -> Option<Self> {
        // A write beyond the limit of the size of files is an error then, and does not kill.
        let mut process = Command::new("sh")
            .args(["-c", "trap '' XFSZ; exec \"$0\" \"$@\""])
            .args([env!("CARGO_BIN_EXE_hsm"), "serve", "--dev", "--folder"])
            .arg(folder)
            .args(["--port", &port.to_string(), "--output", "json"])
            .env("HSM_LOG", "off")
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        let mut stdout = BufReader::new(process.stdout.take().unwrap());
        let mut line = String::new();
        stdout.read_line(&mut line).unwrap();
        let Ok(ready) = serde_json::from_str::<Value>(&line) else {
            process.wait().unwrap();
            return None;
        };
        let address = ready["addresses"][0].as_str().unwrap();
        let port = address.rsplit_once(':').unwrap().1.parse().unwrap();
        let account = std::fs::read(folder.join("dev.json")).unwrap();
        let account: Value = serde_json::from_slice(&account).unwrap();
        Some(Self {
            process,
            stdout,
            port,
            place: Place {
                folder: folder.to_owned(),
                port,
                user: account["user"].as_str().unwrap().to_owned(),
                password: account["password"].as_str().unwrap().to_owned(),
            },
        })
    }

    pub(crate) fn place(&self) -> &Place {
        &self.place
    }

    pub(crate) fn port(&self) -> u16 {
        self.port
    }

    pub(crate) fn pid(&self) -> Pid {
        let id = i32::try_from(self.process.id()).unwrap();
        Pid::from_raw(id).unwrap()
    }

    pub(crate) fn kill(mut self) {
        self.process.kill().unwrap();
        self.process.wait().unwrap();
    }

    pub(crate) fn terminate(&self) {
        kill_process(self.pid(), Signal::TERM).unwrap();
    }

    /// Waits for its end: the exit code.
    pub(crate) fn ended(mut self) -> Option<i32> {
        let mut rest = String::new();
        self.stdout.read_to_string(&mut rest).unwrap();
        self.process.wait().unwrap().code()
    }

    pub(crate) fn stop(self) -> Option<i32> {
        self.terminate();
        self.ended()
    }
}

impl Drop for Served {
    fn drop(&mut self) {
        // It has ended already, if all went well.
        drop(self.process.kill());
        drop(self.process.wait());
    }
}

impl Place {
    pub(crate) fn user(&self) -> &str {
        &self.user
    }

    /// The URL of the HSM in the folder.
    pub(crate) fn local_url(&self) -> String {
        format!("soft:{}", self.folder.join("hsm").display())
    }

    pub(crate) fn url(&self, path: &str) -> String {
        format!("https://localhost:{}{path}", self.port)
    }

    pub(crate) fn options(&self) -> OpenOptions {
        OpenOptions::new().ca_file(self.folder.join("ca.pem"))
    }

    /// A client with connections of its own.
    pub(crate) async fn remote(&self, options: OpenOptions) -> Hsm {
        Hsm::open_with(&self.url(""), options).await.unwrap()
    }

    /// The administrator, over HTTPS.
    pub(crate) async fn admin(&self) -> Session {
        let hsm = self.remote(self.options()).await;
        hsm.login(&self.user, &self.password).await.unwrap()
    }

    pub(crate) async fn log_in(&self, hsm: &Hsm) -> hsm_client::Result<Session> {
        hsm.login(&self.user, &self.password).await
    }

    /// The HSM itself, in this process.
    pub(crate) async fn local(&self) -> Hsm {
        let options = OpenOptions::new().without_background_maintenance();
        Hsm::open_with(&self.local_url(), options).await.unwrap()
    }

    pub(crate) async fn audit_key(&self) -> PublicKey {
        let hsm = self.local().await;
        let key = hsm.audit_key().unwrap().clone();
        hsm.close().await.unwrap();
        key
    }

    /// A new API token of the administrator, good for a day.
    pub(crate) async fn token(&self, name: &str) -> String {
        let tomorrow = SystemClock::default().now() + Duration::from_secs(24 * 60 * 60);
        let admin = self.admin().await;
        let (token, _) = admin
            .create_token(name, &self.user, tomorrow)
            .await
            .unwrap();
        String::from_utf8(token.expose().to_vec()).unwrap()
    }

    pub(crate) fn http(&self) -> reqwest::ClientBuilder {
        drop(rustls::crypto::aws_lc_rs::default_provider().install_default());
        let ca = std::fs::read(self.folder.join("ca.pem")).unwrap();
        let ca = reqwest::Certificate::from_pem(&ca).unwrap();
        reqwest::Client::builder().tls_certs_only([ca])
    }
}

pub(crate) fn credentials(token: &str) -> Credentials {
    Credentials::token(token.as_bytes())
}

/// A number from the environment.
pub(crate) fn setting(name: &str, default: usize) -> usize {
    std::env::var(name).map_or(default, |text| text.parse().unwrap())
}
