//! `hsm bench`: what a server of this machine does in a second, and in a second of its own CPU time.
//!
//! The server is a child process, so that its CPU time is its own. The load comes from this process, over loopback with TLS,
//! and is as lean as can be, so that it is not the bottleneck. Beside it, in the same run: a bare axum handler over rustls
//! that signs the same, also a child, and the primitive itself.

mod bare;
mod child;
mod load;
mod raw;

use std::path::PathBuf;
use std::time::Duration;

use base64ct::{Base64UrlUnpadded, Encoding};
use clap::{Args, ValueEnum};
use hsm_client::{
    Algorithm, AnyKey, Credentials, Hsm, KeySpec, KeyType, OpenOptions, Principal, Session,
    SignInput, TokenName, Usage, Usages,
};
use hsm_core::{Request, Response};
use serde::Serialize;

use self::child::Child;
use self::load::{Load, Target};
use super::Result;
use super::failure::Failure;
use super::key::unexpected;
use super::output::{Out, Show};
use super::when::When;

/// The version of the API that the requests name.
const API_VERSION: &str = "7.6";

/// Connections of the second look: whether more of them slow the server down.
const MANY_CONNECTIONS: usize = 64;

/// What is signed: a digest of SHA-256.
const DIGEST: [u8; 32] = [0x5a; 32];

/// What is encrypted.
const PLAINTEXT: [u8; 256] = [0x5a; 256];

/// Measures a server of this machine
///
/// Starts a server in a process of its own, over loopback with TLS and its audit log on disk, and measures requests a second, per
/// second of the server's CPU time, beside a bare handler that signs the same and the primitive itself, all in one run. The ratios
/// hold on busy machines too; the absolute numbers do not. Build with --release.
#[derive(Args, Debug)]
pub(crate) struct Bench {
    /// How long each operation is measured, in seconds
    #[arg(long, default_value_t = 5, value_parser = clap::value_parser!(u64).range(1..=3600))]
    seconds: u64,

    /// Connections that are open at once
    #[arg(long, default_value_t = 8, value_parser = clap::value_parser!(u16).range(1..=1024))]
    connections: u16,

    /// Only these operations
    #[arg(long = "operation", value_enum, value_name = "OPERATION")]
    operations: Vec<Operation>,

    /// The folder for the server's HSM; a new one in the system's folder for temporary files if not given
    #[arg(long, value_name = "DIR")]
    folder: Option<PathBuf>,

    /// Be the bare server, with the certificate in this folder
    #[arg(long, hide = true, value_name = "DIR")]
    bare_in: Option<PathBuf>,
}

/// What is measured.
#[derive(Clone, Copy, Debug, Eq, PartialEq, Serialize, ValueEnum)]
#[serde(rename_all = "kebab-case")]
enum Operation {
    /// ES256 over a digest
    SignP256,
    /// RS256 over a digest, with 2048 bits
    SignRsa2048,
    /// A256GCM of 256 bytes
    Encrypt,
    /// ES256 over a digest
    Verify,
    /// Reads a key
    Get,
}

/// The result of a run.
#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Report {
    seconds: u64,
    connections: u16,
    optimized: bool,
    operations: Vec<Row>,
    server_memory_before_kib: u64,
    server_memory_after_kib: u64,
    requests: u64,
}

/// One operation.
#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Row {
    operation: Operation,
    requests_per_second: f64,
    per_server_cpu_second: f64,
    #[serde(skip_serializing_if = "Option::is_none")]
    bare_per_cpu_second: Option<f64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    ratio_to_bare: Option<f64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    raw_per_cpu_second: Option<f64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    ratio_to_raw: Option<f64>,
    half_load_p50_microseconds: u64,
    half_load_p99_microseconds: u64,
    /// Requests a second over 64 connections, by those over as many as were asked for.
    many_connections_ratio: f64,
}

impl Show for Row {
    const COLUMNS: &'static [&'static str] = &[
        "operation",
        "req/s",
        "per cpu s",
        "of bare",
        "of raw",
        "p50 us",
        "p99 us",
        "64 conns",
    ];

    fn fields(&self) -> Vec<(&'static str, String)> {
        let ratio =
            |ratio: Option<f64>| ratio.map_or_else(|| "-".to_owned(), |it| format!("{it:.2}"));
        let name = self
            .operation
            .to_possible_value()
            .map(|value| value.get_name().to_owned());
        vec![
            ("operation", name.unwrap_or_default()),
            ("req/s", format!("{:.0}", self.requests_per_second)),
            ("per cpu s", format!("{:.0}", self.per_server_cpu_second)),
            ("of bare", ratio(self.ratio_to_bare)),
            ("of raw", ratio(self.ratio_to_raw)),
            ("p50 us", self.half_load_p50_microseconds.to_string()),
            ("p99 us", self.half_load_p99_microseconds.to_string()),
            ("64 conns", format!("{:.2}", self.many_connections_ratio)),
        ]
    }
}

impl Bench {
    pub(crate) async fn run(self, out: &Out) -> Result<()> {
        if let Some(folder) = &self.bare_in {
            return bare::serve(folder).await;
        }
        let folder = match &self.folder {
            Some(folder) => Folder {
                path: folder.clone(),
                remove: false,
            },
            None => Folder::temporary()?,
        };
        let result = self.measure(&folder.path, out).await;
        drop(folder);
        let report = result?;
        if out.is_json() {
            return out.json(&report);
        }
        out.list(&report.operations, "operations")?;
        out.line(&format!(
            "server memory: {} KiB before, {} KiB after {} requests",
            report.server_memory_before_kib, report.server_memory_after_kib, report.requests
        ))?;
        if !report.optimized {
            out.note("This build is not optimized: the numbers say nothing. Build with --release.");
        }
        Ok(())
    }

    async fn measure(&self, folder: &std::path::Path, out: &Out) -> Result<Report> {
        let operations = match self.operations.is_empty() {
            true => Operation::value_variants(),
            false => &self.operations,
        };
        let time = Duration::from_secs(self.seconds);
        // For each: at full load over few and many connections, at half load, and the bare server where there is one.
        let steps = u64::try_from(operations.len()).unwrap_or(u64::MAX) * 4;
        let progress = out.progress("measuring", Some(steps));
        let server = Child::server(folder).await?;
        let ca = folder.join("ca.pem");
        let bare = Child::bare(folder).await?;
        let mut requests = Requests::prepare(&server, &ca, folder).await?;
        let few = usize::from(self.connections);
        let mut sent = 0;
        let mut rows = Vec::new();
        let memory_before = server.memory_kib()?;
        for &operation in operations {
            let request = requests.of(operation);
            let target = Target::new(server.port, &ca, &request)?;
            let full = Load::full(&target, few, time).run(Some(&server)).await?;
            progress.step();
            let many = Load::full(&target, MANY_CONNECTIONS, time)
                .run(Some(&server))
                .await?;
            progress.step();
            let half = Load::paced(&target, few, time, full.per_second() / 2.0)
                .run(Some(&server))
                .await?;
            progress.step();
            let bare_rate = match operation.bare_path() {
                Some(path) => {
                    let body = sign_body(operation.algorithm());
                    let request = http_request("POST", path, bare.port, "", &body);
                    let target = Target::new(bare.port, &ca, &request)?;
                    let load = Load::full(&target, few, time).run(Some(&bare)).await?;
                    Some(load.per_cpu_second())
                }
                None => None,
            };
            progress.step();
            let raw = raw::per_cpu_second(operation, time)?;
            let ours = full.per_cpu_second();
            sent += full.requests + many.requests + half.requests;
            rows.push(Row {
                operation,
                requests_per_second: full.per_second(),
                per_server_cpu_second: ours,
                bare_per_cpu_second: bare_rate,
                ratio_to_bare: bare_rate.map(|bare| ours / bare),
                raw_per_cpu_second: raw,
                ratio_to_raw: raw.map(|raw| ours / raw),
                half_load_p50_microseconds: half.percentile(50),
                half_load_p99_microseconds: half.percentile(99),
                many_connections_ratio: many.per_second() / full.per_second(),
            });
        }
        let memory_after = server.memory_kib()?;
        requests.close().await?;
        bare.stop().await?;
        server.stop().await?;
        Ok(Report {
            seconds: self.seconds,
            connections: self.connections,
            optimized: !cfg!(debug_assertions),
            operations: rows,
            server_memory_before_kib: memory_before,
            server_memory_after_kib: memory_after,
            requests: sent,
        })
    }
}

impl Operation {
    fn algorithm(self) -> Algorithm {
        match self {
            Self::SignRsa2048 => Algorithm::Rs256,
            Self::Encrypt => Algorithm::A256Gcm,
            Self::SignP256 | Self::Verify | Self::Get => Algorithm::Es256,
        }
    }

    /// The handler of the bare server that does the same.
    fn bare_path(self) -> Option<&'static str> {
        match self {
            Self::SignP256 => Some("/p256"),
            Self::SignRsa2048 => Some("/rsa2048"),
            Self::Encrypt | Self::Verify | Self::Get => None,
        }
    }
}

/// The keys that are measured, and the requests that use them.
struct Requests {
    hsm: Hsm,
    session: Session,
    port: u16,
    token: String,
    p256: String,
    rsa: String,
    aes: String,
    signature: String,
}

impl Requests {
    /// Makes the keys, as a client of the server.
    async fn prepare(
        server: &Child,
        ca: &std::path::Path,
        folder: &std::path::Path,
    ) -> Result<Self> {
        let account = std::fs::read(folder.join("dev.json"))
            .map_err(|source| Failure::io("dev.json", &source))?;
        let account: serde_json::Value = serde_json::from_slice(&account)
            .map_err(|error| Failure::usage(format!("dev.json: {error}")))?;
        let text = |name: &str| account[name].as_str().unwrap_or_default().to_owned();
        let (user, password) = (text("user"), text("password"));
        let url = format!("https://localhost:{}", server.port);
        let hsm = Hsm::open_with(&url, OpenOptions::new().ca_file(ca)).await?;
        let session = hsm
            .login_with(Credentials::password(&user, &password)?)
            .await?;
        let unique =
            getrandom::u64().map_err(|_| Failure::usage("the system has no random numbers"))?;
        let request = Request::CreateToken {
            name: TokenName::new(&format!("bench-{unique:016x}"))?,
            principal: Principal::new(&user)?,
            expires: When::After("P1D".parse()?).timestamp(),
        };
        let token = match session.call(request).await? {
            Response::Token { token, .. } => String::from_utf8_lossy(token.expose()).into_owned(),
            other => return Err(unexpected(&other)),
        };
        let sign = Usages::of(&[Usage::Sign, Usage::Verify]);
        let name = |kind: &str| format!("bench-{kind}-{unique:016x}");
        let p256 = session
            .create_any(&name("p256"), KeySpec::new(KeyType::EcP256, sign)?)
            .await?;
        let rsa = session
            .create_any(&name("rsa"), KeySpec::new(KeyType::Rsa2048, sign)?)
            .await?;
        let encrypt = Usages::of(&[Usage::Encrypt, Usage::Decrypt]);
        let spec = KeySpec::new(KeyType::Aes256, encrypt)?.only(Algorithm::A256Gcm)?;
        let aes = session.create_any(&name("aes"), spec).await?;
        let signature = p256
            .sign(Algorithm::Es256, SignInput::Digest(&DIGEST))
            .await?;
        Ok(Self {
            port: server.port,
            token,
            p256: path_of(&p256).await?,
            rsa: path_of(&rsa).await?,
            aes: path_of(&aes).await?,
            signature: Base64UrlUnpadded::encode_string(signature.bytes()),
            hsm,
            session,
        })
    }

    /// A request, to the byte.
    fn of(&self, operation: Operation) -> Vec<u8> {
        let (method, path, body) = match operation {
            Operation::SignP256 => (
                "POST",
                format!("{}/sign", self.p256),
                sign_body(Algorithm::Es256),
            ),
            Operation::SignRsa2048 => (
                "POST",
                format!("{}/sign", self.rsa),
                sign_body(Algorithm::Rs256),
            ),
            Operation::Encrypt => (
                "POST",
                format!("{}/encrypt", self.aes),
                serde_json::json!({
                    "alg": "A256GCM",
                    "value": Base64UrlUnpadded::encode_string(&PLAINTEXT),
                })
                .to_string(),
            ),
            Operation::Verify => (
                "POST",
                format!("{}/verify", self.p256),
                serde_json::json!({
                    "alg": "ES256",
                    "digest": Base64UrlUnpadded::encode_string(&DIGEST),
                    "value": self.signature,
                })
                .to_string(),
            ),
            Operation::Get => ("GET", self.p256.clone(), String::new()),
        };
        let target = format!("{path}?api-version={API_VERSION}");
        let authorization = format!("Authorization: Bearer {}\r\n", self.token);
        http_request(method, &target, self.port, &authorization, &body)
    }

    async fn close(&mut self) -> Result<()> {
        self.session.logout().await;
        Ok(self.hsm.clone().close().await?)
    }
}

async fn path_of(key: &AnyKey) -> Result<String> {
    let info = key.handle().info().await?;
    Ok(format!("/keys/{}/{}", info.name, info.version))
}

fn sign_body(algorithm: Algorithm) -> String {
    serde_json::json!({
        "alg": algorithm.name(),
        "value": Base64UrlUnpadded::encode_string(&DIGEST),
    })
    .to_string()
}

fn http_request(method: &str, target: &str, port: u16, headers: &str, body: &str) -> Vec<u8> {
    format!(
        "{method} {target} HTTP/1.1\r\nHost: localhost:{port}\r\n{headers}Content-Type: application/json\r\nContent-Length: {}\r\n\r\n{body}",
        body.len()
    )
    .into_bytes()
}

/// A folder that is gone when the measurement is over.
struct Folder {
    path: PathBuf,
    remove: bool,
}

impl Folder {
    fn temporary() -> Result<Self> {
        let unique =
            getrandom::u64().map_err(|_| Failure::usage("the system has no random numbers"))?;
        Ok(Self {
            path: std::env::temp_dir().join(format!("hsm-bench-{unique:016x}")),
            remove: true,
        })
    }
}

impl Drop for Folder {
    fn drop(&mut self) {
        if self.remove {
            // It may never have been made.
            drop(std::fs::remove_dir_all(&self.path));
        }
    }
}
