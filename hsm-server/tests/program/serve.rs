//! `hsm serve --dev` is used by the program itself and by a client of its own over HTTPS, stops on SIGTERM, and finds everything again.

use std::io::{BufRead, BufReader, Read, Write};
use std::net::TcpStream;
use std::process::{Child, ChildStdout, Stdio};
use std::sync::Arc;

use crate::home::Home;
use rustix::process::{Pid, Signal, kill_process};
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, ServerName};
use rustls::{ClientConfig, ClientConnection, RootCertStore, StreamOwned};
use serde_json::Value;

/// A server in a process of its own, killed if the test fails.
struct Server {
    process: Child,
    stdout: BufReader<ChildStdout>,
    ready: Value,
}

impl Server {
    fn start(home: &Home) -> Self {
        let args = [
            "serve",
            "--dev",
            "--folder",
            "dev",
            "--port",
            "0",
            "--ready-file",
            "ready.json",
            "--output",
            "json",
        ];
        let mut process = home.command(&args).stdout(Stdio::piped()).spawn().unwrap();
        let mut stdout = BufReader::new(process.stdout.take().unwrap());
        let mut line = String::new();
        stdout.read_line(&mut line).unwrap();
        let ready: Value = serde_json::from_str(&line).unwrap();
        let written: Value = serde_json::from_slice(&home.read("ready.json")).unwrap();
        assert_eq!(ready, written);
        Self {
            process,
            stdout,
            ready,
        }
    }

    fn port(&self) -> u16 {
        let address = self.ready["addresses"][0].as_str().unwrap();
        address.rsplit_once(':').unwrap().1.parse().unwrap()
    }

    /// Tells it to end, and waits for that: its exit code.
    fn signal(&self, signal: Signal) {
        let id = i32::try_from(self.process.id()).unwrap();
        kill_process(Pid::from_raw(id).unwrap(), signal).unwrap();
    }

    fn stop(mut self) -> Option<i32> {
        self.signal(Signal::TERM);
        let mut rest = String::new();
        self.stdout.read_to_string(&mut rest).unwrap();
        self.process.wait().unwrap().code()
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        // It has ended already, if all went well.
        drop(self.process.kill());
        drop(self.process.wait());
    }
}

#[test]
fn a_development_server_serves_stops_and_finds_everything_again() {
    let home = Home::new();
    let server = Server::start(&home);
    let answer = get(&home, server.port(), "/healthz");
    assert!(answer.starts_with("HTTP/1.1 200"), "{answer}");

    let account: Value = serde_json::from_slice(&home.read("dev/dev.json")).unwrap();
    home.write_secret("dev.password", account["password"].as_str().unwrap());
    let url = format!("https://localhost:{}", server.port());
    let connect = [
        "--hsm",
        &url,
        "--ca",
        "dev/ca.pem",
        "--user",
        account["user"].as_str().unwrap(),
        "--password-file",
        "dev.password",
    ];
    home.write("letter", "pay 100 to Alice");
    home.done(
        &[
            &["key", "create", "invoices", "--type", "EC-P256"][..],
            &connect,
        ]
        .concat(),
    );
    let sign = ["key", "sign", "invoices", "letter", "--out", "letter.sig"];
    home.done(&[&sign[..], &connect].concat());
    home.refused(4, &[&["key", "show", "nothing"][..], &connect].concat());
    let verified = home.done(&[&["audit", "verify", "--output", "json"][..], &connect].concat());
    let report: Value = serde_json::from_str(&verified).unwrap();
    assert_eq!(report["auditKey"], "from the HSM itself");

    server.signal(Signal::HUP);
    let answer = get(&home, server.port(), "/healthz");
    assert!(answer.starts_with("HTTP/1.1 200"), "{answer}");
    assert_eq!(server.stop(), Some(0));

    let server = Server::start(&home);
    let url = format!("https://localhost:{}", server.port());
    let connect = [&["--hsm", &url][..], &connect[2..]].concat();
    let verify = [
        "key",
        "verify",
        "invoices",
        "letter",
        "--signature",
        "letter.sig",
    ];
    home.done(&[&verify[..], &connect].concat());
    assert_eq!(server.stop(), Some(0));
}

#[test]
fn a_server_needs_to_be_told_what_to_serve() {
    let home = Home::new();
    home.refused(2, &["serve"]);
    home.refused(2, &["serve", "--dev", "--config", "server.toml"]);
    home.write(
        "server.toml",
        "listen = [\"127.0.0.1:0\"]\npartition = []\ncolour = \"blue\"",
    );
    let refusal = home.refused(2, &["serve", "--config", "server.toml"]);
    assert!(refusal.contains("colour"), "{refusal}");
    home.write("server.toml", "partition = []");
    let refusal = home.refused(2, &["serve", "--config", "server.toml"]);
    assert!(refusal.contains("listen"), "{refusal}");
}

/// What a server answers to a GET, as curl would print it with `--include`.
fn get(home: &Home, port: u16, path: &str) -> String {
    let mut roots = RootCertStore::empty();
    for certificate in CertificateDer::pem_file_iter(home.path("dev/ca.pem")).unwrap() {
        roots.add(certificate.unwrap()).unwrap();
    }
    let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
    let config = ClientConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_root_certificates(roots)
        .with_no_client_auth();
    let name = ServerName::try_from("localhost").unwrap();
    let connection = ClientConnection::new(Arc::new(config), name).unwrap();
    let stream = TcpStream::connect(("127.0.0.1", port)).unwrap();
    let mut stream = StreamOwned::new(connection, stream);
    let request =
        format!("GET {path} HTTP/1.1\r\nHost: localhost:{port}\r\nConnection: close\r\n\r\n");
    stream.write_all(request.as_bytes()).unwrap();
    let mut answer = Vec::new();
    stream.read_to_end(&mut answer).unwrap();
    String::from_utf8(answer).unwrap()
}
