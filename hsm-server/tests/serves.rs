//! A server answers over HTTP/1.1, HTTP/2 and a Unix socket, keeps its limits and partitions apart, and stops in order.
#![expect(clippy::unwrap_used, reason = "helpers of tests are tests")]

use std::net::{Ipv4Addr, SocketAddr};
use std::num::NonZeroU32;
use std::path::Path;

use hsm_client::{Hsm, Setup};
use hsm_server::{Limits, Listener, Rates, Server, ServerBuilder, Tls, TlsFiles};
use rcgen::{CertifiedIssuer, KeyPair};
use reqwest::{Certificate, Client, StatusCode, Version};
use serde_json::{Value, json};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::sync::oneshot;
use tokio::task::JoinHandle;

const PASSWORD: &str = "correct horse battery";

/// A server that runs, and what a client needs.
struct Running {
    address: SocketAddr,
    folder: tempfile::TempDir,
    tls: Tls,
    ca: CertifiedIssuer<'static, KeyPair>,
    stop: oneshot::Sender<()>,
    done: JoinHandle<hsm_client::Result<()>>,
}

impl Running {
    async fn start(adapt: impl FnOnce(ServerBuilder) -> ServerBuilder) -> Self {
        drop(rustls::crypto::aws_lc_rs::default_provider().install_default());
        let folder = tempfile::tempdir().unwrap();
        let mut parameters = rcgen::CertificateParams::default();
        parameters.is_ca = rcgen::IsCa::Ca(rcgen::BasicConstraints::Unconstrained);
        let key = KeyPair::generate().unwrap();
        let ca = CertifiedIssuer::self_signed(parameters, key).unwrap();
        certify(folder.path(), &ca);
        let files = TlsFiles::new(
            folder.path().join("server.pem"),
            folder.path().join("server.key"),
        );
        let tls = Tls::open(files).unwrap();
        let builder = Server::builder()
            .partition(["localhost", "dev.localhost"], hsm().await)
            .partition(["other.localhost"], hsm().await)
            .tls(tls.clone());
        let server = adapt(builder).build().unwrap();
        let tcp = Listener::tcp((Ipv4Addr::LOCALHOST, 0).into())
            .await
            .unwrap();
        let address = tcp.local_address().unwrap();
        let unix = Listener::unix(folder.path().join("socket")).unwrap();
        let (stop, stopped) = oneshot::channel::<()>();
        let done = tokio::spawn(server.serve([tcp, unix], stopped));
        Self {
            address,
            folder,
            tls,
            ca,
            stop,
            done,
        }
    }

    fn client(&self) -> Client {
        let ca = Certificate::from_der(self.ca.der()).unwrap();
        Client::builder()
            .tls_certs_only([ca])
            .resolve("dev.localhost", self.address)
            .resolve("other.localhost", self.address)
            .resolve("nobody.localhost", self.address)
            .resolve("localhost", self.address)
            .build()
            .unwrap()
    }

    fn url(&self, path: &str) -> String {
        format!("https://localhost:{}{path}", self.address.port())
    }

    async fn token(&self, client: &Client, host: &str) -> String {
        let url = format!("https://{host}:{}/hsm/v1/sessions", self.address.port());
        let login = json!({"user": "admin", "password": PASSWORD});
        let answer = client
            .post(url)
            .body(login.to_string())
            .send()
            .await
            .unwrap();
        assert_eq!(answer.status(), StatusCode::CREATED);
        let body: Value = answer.json().await.unwrap();
        body["token"].as_str().unwrap().to_owned()
    }

    async fn stop(self) {
        self.stop.send(()).unwrap();
        self.done.await.unwrap().unwrap();
    }
}

async fn hsm() -> Hsm {
    Hsm::create("memory:", Setup::new("admin", PASSWORD))
        .await
        .unwrap()
}

/// Writes a certificate that the CA has signed, and its key.
fn certify(folder: &Path, ca: &CertifiedIssuer<'static, KeyPair>) {
    let names = [
        "localhost",
        "dev.localhost",
        "other.localhost",
        "nobody.localhost",
    ];
    let names = names.map(str::to_owned);
    let key = KeyPair::generate().unwrap();
    let certificate = rcgen::CertificateParams::new(names)
        .unwrap()
        .signed_by(&key, ca)
        .unwrap();
    std::fs::write(folder.join("server.pem"), certificate.pem()).unwrap();
    std::fs::write(folder.join("server.key"), key.serialize_pem()).unwrap();
}

#[tokio::test]
async fn a_request_without_a_token_is_told_where_to_get_one() {
    let server = Running::start(|builder| builder).await;
    let client = server.client();
    let answer = client
        .get(server.url("/keys?api-version=7.6"))
        .send()
        .await
        .unwrap();
    assert_eq!(answer.status(), StatusCode::UNAUTHORIZED);
    assert_eq!(answer.version(), Version::HTTP_2);
    let headers = answer.headers().clone();
    assert!(
        headers["www-authenticate"]
            .to_str()
            .unwrap()
            .starts_with("Bearer ")
    );
    assert_eq!(headers["cache-control"], "no-store");
    for name in [
        "x-ms-request-id",
        "x-ms-keyvault-region",
        "x-ms-keyvault-service-version",
        "hsm-instance",
    ] {
        assert!(headers.contains_key(name), "{name}");
    }
    let body: Value = answer.json().await.unwrap();
    assert_eq!(body["error"]["code"], "Unauthorized");
    server.stop().await;
}

#[tokio::test]
async fn a_host_that_nobody_serves_is_misdirected() {
    let server = Running::start(|builder| builder).await;
    let client = server.client();
    let url = format!("https://nobody.localhost:{}/keys", server.address.port());
    let answer = client.get(url).send().await.unwrap();
    assert_eq!(answer.status(), StatusCode::MISDIRECTED_REQUEST);
    server.stop().await;
}

#[tokio::test]
async fn a_token_of_one_partition_opens_no_other() {
    let server = Running::start(|builder| builder).await;
    let client = server.client();
    let token = server.token(&client, "dev.localhost").await;
    for (host, status) in [
        ("dev.localhost", StatusCode::OK),
        ("other.localhost", StatusCode::UNAUTHORIZED),
    ] {
        let url = format!("https://{host}:{}/hsm/v1/users", server.address.port());
        let answer = client.get(url).bearer_auth(&token).send().await.unwrap();
        assert_eq!(answer.status(), status, "{host}");
    }
    server.stop().await;
}

#[tokio::test]
async fn a_change_that_is_repeated_happens_once() {
    let server = Running::start(|builder| builder).await;
    let client = server.client();
    let token = server.token(&client, "localhost").await;
    let create = async |password: &str, key: &str, instance: Option<&str>| {
        let mut request = client
            .put(server.url("/hsm/v1/users/app"))
            .bearer_auth(&token)
            .header("idempotency-key", key)
            .body(json!({"password": password}).to_string());
        if let Some(instance) = instance {
            request = request.header("hsm-if-instance", instance);
        }
        let answer = request.send().await.unwrap();
        let instance = answer.headers()["hsm-instance"]
            .to_str()
            .unwrap()
            .to_owned();
        let status = answer.status();
        (status, instance, answer.text().await.unwrap())
    };
    let key = "00000000-0000-4000-8000-000000000001";
    let first = create(PASSWORD, key, None).await;
    assert!(first.0.is_success(), "{first:?}");
    assert_eq!(create(PASSWORD, key, Some(&first.1)).await, first);
    let other = create("another password", key, None).await;
    assert_eq!(other.0, StatusCode::UNPROCESSABLE_ENTITY);
    let fresh = create(PASSWORD, "00000000-0000-4000-8000-000000000002", None).await;
    assert_eq!(fresh.0, StatusCode::CONFLICT);
    let elsewhere = create(PASSWORD, key, Some("00000000-0000-4000-8000-000000000003")).await;
    assert_eq!(elsewhere.0, StatusCode::PRECONDITION_FAILED);
    server.stop().await;
}

#[tokio::test]
async fn a_body_beyond_the_limit_is_not_read() {
    let mut limits = Limits::default();
    limits.body_len = 1000;
    let server = Running::start(|builder| builder.limits(limits)).await;
    let client = server.client();
    let token = server.token(&client, "localhost").await;
    let send = async |body: String| {
        let request = client
            .put(server.url("/hsm/v1/users/app"))
            .bearer_auth(&token);
        request.body(body).send().await.unwrap().status()
    };
    let body = json!({"password": PASSWORD}).to_string();
    let padded = format!("{body}{}", " ".repeat(1000));
    assert_eq!(send(padded).await, StatusCode::PAYLOAD_TOO_LARGE);
    assert!(send(body).await.is_success());
    server.stop().await;
}

/// Its room grows with it, up to the limit, and all of that counts.
#[tokio::test]
async fn a_body_of_a_length_that_is_not_announced_counts_as_large_once_it_may_become_so() {
    let mut limits = Limits::default();
    limits.body_len = 1 << 20;
    limits.bodies_len = 128 << 10;
    let server = Running::start(|builder| builder.limits(limits)).await;
    let token = server.token(&server.client(), "localhost").await;
    let socket = server.folder.path().join("socket");
    let mut stream = tokio::net::UnixStream::connect(&socket).await.unwrap();
    let head = format!(
        "PUT /hsm/v1/users/app HTTP/1.1\r\nhost: localhost\r\nauthorization: Bearer {token}\r\ntransfer-encoding: chunked\r\n\r\n"
    );
    let chunk = format!("400\r\n{}\r\n", " ".repeat(1024));
    // Its end is not sent: the room of 62 KiB is used up, and that for more is not there.
    let request = format!("{head}{}", chunk.repeat(63));
    stream.write_all(request.as_bytes()).await.unwrap();
    let mut status = [0; 12];
    stream.read_exact(&mut status).await.unwrap();
    assert_eq!(str::from_utf8(&status).unwrap(), "HTTP/1.1 503");
    server.stop().await;
}

/// The engine says of it what it says of a session that has ended.
#[tokio::test]
async fn a_wrong_old_password_counts_once_and_ends_no_session() {
    let server = Running::start(|builder| builder).await;
    let client = server.client();
    let token = server.token(&client, "localhost").await;
    let change = async |token: &str, old: &str| {
        let body = json!({"old": old, "new": "another password"});
        let request = client
            .post(server.url("/hsm/v1/password"))
            .bearer_auth(token);
        let request = request.body(body.to_string());
        request.send().await.unwrap().status()
    };
    let expires = std::time::SystemTime::now() + std::time::Duration::from_secs(24 * 60 * 60);
    let expires = expires
        .duration_since(std::time::UNIX_EPOCH)
        .unwrap()
        .as_millis();
    let made = client
        .put(server.url("/hsm/v1/tokens/nightly"))
        .bearer_auth(&token)
        .body(
            json!({"principal": "admin", "expires": u64::try_from(expires).unwrap()}).to_string(),
        );
    let made = made.send().await.unwrap();
    let text = made.text().await.unwrap();
    let body: Value = serde_json::from_str(&text).unwrap();
    let api_token = body["token"].as_str().expect(&text).to_owned();
    for _ in 1..hsm_client::limits::LOGIN_FREE_FAILURES {
        assert_eq!(
            change(&api_token, "a wrong password").await,
            StatusCode::FORBIDDEN
        );
    }
    for token in [&token, &api_token] {
        assert_eq!(
            change(token, "a wrong password").await,
            StatusCode::FORBIDDEN
        );
        let who = client
            .get(server.url("/hsm/v1/sessions/current"))
            .bearer_auth(token);
        assert_eq!(who.send().await.unwrap().status(), StatusCode::OK);
    }
    // FREE + 1 were wrong: now, and not before, there is a wait.
    assert_eq!(
        change(&token, PASSWORD).await,
        StatusCode::TOO_MANY_REQUESTS
    );
    server.stop().await;
}

#[tokio::test]
async fn a_principal_beyond_its_rate_is_told_to_wait() {
    let mut rates = Rates::default();
    rates.per_second = NonZeroU32::new(1);
    let server = Running::start(|builder| builder.rates(rates)).await;
    let client = server.client();
    let token = server.token(&client, "localhost").await;
    let mut last = None;
    for _ in 0..50 {
        let answer = client
            .get(server.url("/hsm/v1/users"))
            .bearer_auth(&token)
            .send();
        let answer = answer.await.unwrap();
        if answer.status() == StatusCode::TOO_MANY_REQUESTS {
            last = Some(answer);
            break;
        }
    }
    let last = last.expect("50 requests take less than 50 seconds");
    assert!(last.headers().contains_key("retry-after"));
    server.stop().await;
}

#[tokio::test]
async fn a_new_certificate_is_used_and_a_bad_one_is_not() {
    let server = Running::start(|builder| builder).await;
    assert!(!server.tls.reload().unwrap());
    certify(server.folder.path(), &server.ca);
    assert!(server.tls.reload().unwrap());
    std::fs::write(server.folder.path().join("server.pem"), "nothing").unwrap();
    assert!(server.tls.reload().is_err());
    let answer = server
        .client()
        .get(server.url("/healthz"))
        .send()
        .await
        .unwrap();
    assert_eq!(answer.status(), StatusCode::OK);
    server.stop().await;
}

#[tokio::test]
async fn a_unix_socket_answers_and_a_stop_closes_it() {
    let server = Running::start(|builder| builder).await;
    let socket = server.folder.path().join("socket");
    let mut stream = tokio::net::UnixStream::connect(&socket).await.unwrap();
    stream
        .write_all(b"GET /healthz HTTP/1.1\r\nhost: localhost\r\n\r\n")
        .await
        .unwrap();
    let mut head = [0; 15];
    stream.read_exact(&mut head).await.unwrap();
    assert_eq!(&head, b"HTTP/1.1 200 OK");
    server.stop().await;
    let mut rest = Vec::new();
    stream.read_to_end(&mut rest).await.unwrap();
}

/// Official clients send a body after its head, and use a connection again for which nobody told them not to.
#[tokio::test]
async fn a_refusal_leaves_the_connection_of_a_small_body_open_and_says_that_it_closes_another() {
    let server = Running::start(|builder| builder).await;
    let socket = server.folder.path().join("socket");
    let connect = async || tokio::net::UnixStream::connect(&socket).await.unwrap();
    let health = b"GET /healthz HTTP/1.1\r\nhost: localhost\r\n\r\n";
    let head = |len: usize| {
        format!("POST /nothing HTTP/1.1\r\nhost: localhost\r\ncontent-length: {len}\r\n\r\n")
    };
    let mut stream = connect().await;
    stream.write_all(head(2).as_bytes()).await.unwrap();
    // By the time that this is answered, the server has seen the head.
    let mut other = connect().await;
    other.write_all(health).await.unwrap();
    other.read_exact(&mut [0; 15]).await.unwrap();
    stream.write_all(b"{}").await.unwrap();
    stream.write_all(health).await.unwrap();
    let mut said = Vec::new();
    while !said.ends_with(br#"{"status":"ok"}"#) {
        let read = stream.read_buf(&mut said).await.unwrap();
        assert!(read > 0, "closed after {}", String::from_utf8_lossy(&said));
    }
    assert!(said.starts_with(b"HTTP/1.1 404"));

    let mut stream = connect().await;
    stream.write_all(head(1 << 20).as_bytes()).await.unwrap();
    let mut said = Vec::new();
    stream.read_to_end(&mut said).await.unwrap();
    let said = String::from_utf8(said).unwrap();
    assert!(
        said.starts_with("HTTP/1.1 404") && said.contains("connection: close"),
        "{said}"
    );
    server.stop().await;
}

#[tokio::test]
async fn metrics_count_requests_and_tell_no_secrets() {
    let listener = tokio::net::TcpListener::bind((Ipv4Addr::LOCALHOST, 0))
        .await
        .unwrap();
    let address = listener.local_addr().unwrap();
    let server = Running::start(|builder| builder.metrics(listener)).await;
    let client = server.client();
    let token = server.token(&client, "localhost").await;
    let metrics = Client::new()
        .get(format!("http://{address}/metrics"))
        .send()
        .await
        .unwrap();
    let text = metrics.text().await.unwrap();
    assert!(
        text.contains(r#"hsm_requests_total{operation="login",algorithm="none",status="201"} 1"#),
        "{text}"
    );
    assert!(
        text.contains(r#"hsm_maintenance_failed{partition="localhost"} 0"#),
        "{text}"
    );
    for told in [
        r#"hsm_engine_sessions{partition="localhost"} 1"#,
        r#"hsm_loaded_keys{partition="localhost"} 0"#,
        r#"hsm_audit_lag_seconds{partition="localhost"} "#,
        r#"hsm_store_version{partition="localhost"} "#,
    ] {
        assert!(text.contains(told), "{told} is not in {text}");
    }
    for secret in [&*token, PASSWORD] {
        assert!(!text.contains(secret));
    }
    server.stop().await;
}
