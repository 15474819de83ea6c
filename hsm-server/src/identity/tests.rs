//! Every way to be refused, and the few ways not to be: with an issuer over HTTPS on the loopback interface, and a clock
//! that moves when it is told.

use std::io::Write;
use std::sync::atomic::{AtomicUsize, Ordering};

use hsm_client::kinds::{EcdsaP256, EcdsaP384, Ed25519, RsaPkcs1v15Sign2048, RsaPss2048};
use hsm_client::{BuiltInRole, Hsm, PageRequest, Scope, Setup, UserUpdate};
use hsm_testkit::ManualClock;
use http::header::AUTHORIZATION;
use parking_lot::Mutex;
use serde_json::{Value, json};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpListener;
use tokio::task::JoinHandle;

use super::oidc::KEYS_REFRESH;
use super::*;

const PASSWORD: &str = "correct horse battery";
const ALICE: &str = "2f6e1a0c-5b1f-4b57-9a7e-0c6d1d7f8a01";
const AUDIENCE: &str = "https://a.hsm.example";
const BASE: &str = "https://a.hsm.example";
const SKEW: u64 = 60;
const REFETCH: u64 = 30;
const KEEP: u64 = 24 * 60 * 60;

/// An issuer on the loopback interface. Its keys are in an HSM in memory.
struct TestIssuer {
    session: Session,
    url: String,
    /// The document of keys, and how often it was asked for.
    keys: Arc<Mutex<Value>>,
    asked: Arc<AtomicUsize>,
    server: Option<JoinHandle<()>>,
    ca: tempfile::NamedTempFile,
}

impl TestIssuer {
    async fn start() -> Self {
        let hsm = Hsm::create("memory:", Setup::new("admin", PASSWORD))
            .await
            .unwrap();
        let session = hsm.login("admin", PASSWORD).await.unwrap();
        session
            .assign_role(BuiltInRole::CryptoUser, "admin", Scope::Keys)
            .await
            .unwrap();
        session
            .create::<RsaPkcs1v15Sign2048>("rs256")
            .await
            .unwrap();
        session.create::<RsaPss2048>("ps256").await.unwrap();
        session.create::<EcdsaP256>("es256").await.unwrap();
        session.create::<EcdsaP384>("es384").await.unwrap();
        session.create::<Ed25519>("eddsa").await.unwrap();
        session.create::<EcdsaP256>("new").await.unwrap();

        let key = rcgen::KeyPair::generate().unwrap();
        let params = rcgen::CertificateParams::new(vec!["localhost".to_owned()]).unwrap();
        let certificate = params.self_signed(&key).unwrap();
        let mut ca = tempfile::NamedTempFile::new().unwrap();
        ca.write_all(certificate.pem().as_bytes()).unwrap();
        let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
        let config = rustls::ServerConfig::builder_with_provider(provider)
            .with_safe_default_protocol_versions()
            .unwrap()
            .with_no_client_auth()
            .with_single_cert(
                vec![certificate.der().clone()],
                rustls::pki_types::PrivateKeyDer::try_from(key.serialize_der()).unwrap(),
            )
            .unwrap();
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let url = format!(
            "https://localhost:{}/t",
            listener.local_addr().unwrap().port()
        );
        let mut issuer = Self {
            session,
            url,
            keys: Arc::default(),
            asked: Arc::default(),
            server: None,
            ca,
        };
        issuer
            .publish(&["rs256", "ps256", "es256", "es384", "eddsa"])
            .await;
        let acceptor = tokio_rustls::TlsAcceptor::from(Arc::new(config));
        let (keys, asked, url) = (
            issuer.keys.clone(),
            issuer.asked.clone(),
            issuer.url.clone(),
        );
        issuer.server = Some(tokio::spawn(async move {
            while let Ok((stream, _)) = listener.accept().await {
                let Ok(mut stream) = acceptor.accept(stream).await else {
                    continue;
                };
                let mut request = Vec::new();
                while !request.ends_with(b"\r\n\r\n") {
                    let mut byte = [0];
                    if stream.read_exact(&mut byte).await.is_err() {
                        break;
                    }
                    request.push(byte[0]);
                }
                let request = String::from_utf8_lossy(&request).into_owned();
                let body = if request.starts_with("GET /t/.well-known/openid-configuration ") {
                    json!({ "issuer": url, "jwks_uri": format!("{url}/keys") }).to_string()
                } else {
                    asked.fetch_add(1, Ordering::SeqCst);
                    keys.lock().to_string()
                };
                let head = format!(
                    "HTTP/1.1 200 OK\r\ncontent-length: {}\r\nconnection: close\r\n\r\n",
                    body.len()
                );
                drop(stream.write_all((head + &body).as_bytes()).await);
                drop(stream.shutdown().await);
            }
        }));
        issuer
    }

    /// Makes these its keys.
    async fn publish(&self, names: &[&str]) {
        let mut keys = Vec::new();
        for name in names {
            let public = self
                .session
                .any_key(name)
                .await
                .unwrap()
                .handle()
                .public_key()
                .await
                .unwrap();
            let mut jwk = serde_json::to_value(public.to_jwk().unwrap()).unwrap();
            jwk["kid"] = (*name).into();
            jwk["use"] = "sig".into();
            keys.push(jwk);
        }
        // What must be passed over.
        keys.push(
            json!({ "kty": "oct", "kid": "secret", "k": "c2VjcmV0LXNlY3JldC1zZWNyZXQtc2VjcmV0" }),
        );
        keys.push(json!({ "kty": "of the future", "kid": "x", "n": 7 }));
        *self.keys.lock() = json!({ "keys": keys });
    }

    fn asked(&self) -> usize {
        self.asked.load(Ordering::SeqCst)
    }

    fn stop(&mut self) {
        if let Some(server) = self.server.take() {
            server.abort();
        }
    }

    fn config(&self) -> IssuerConfig {
        serde_json::from_value(json!({
            "issuer": self.url,
            "audiences": [AUDIENCE],
            "clock-skew-seconds": SKEW,
            "refetch-seconds": REFETCH,
            "keep-keys-seconds": KEEP,
            "ca": self.ca.path(),
        }))
        .unwrap()
    }

    /// A token signed by one of its keys.
    async fn sign(
        &self,
        key: &str,
        algorithm: Algorithm,
        header: &Value,
        claims: &Value,
    ) -> String {
        let signed = unsigned(header, claims);
        let key = self.session.any_key(key).await.unwrap();
        let input = hsm_client::SignInput::Message(signed.as_bytes());
        let signature = key.sign(algorithm, input).await.unwrap();
        format!("{signed}.{}", encode(signature.bytes()))
    }
}

impl Drop for TestIssuer {
    fn drop(&mut self) {
        self.stop();
    }
}

fn encode(bytes: &[u8]) -> String {
    use base64ct::{Base64UrlUnpadded, Encoding};
    Base64UrlUnpadded::encode_string(bytes)
}

fn unsigned(header: &Value, claims: &Value) -> String {
    let part = |value: &Value| encode(value.to_string().as_bytes());
    format!("{}.{}", part(header), part(claims))
}

/// Two partitions, and an issuer whose tokens the first one takes.
struct World {
    clock: Arc<ManualClock>,
    issuer: TestIssuer,
    identities: Identities,
    a: Partition,
    b: Partition,
}

impl World {
    async fn new() -> Self {
        Self::with(|config| config).await
    }

    async fn with(change: impl FnOnce(IssuerConfig) -> IssuerConfig) -> Self {
        let clock = Arc::new(ManualClock::default());
        let issuer = TestIssuer::start().await;
        let mut of_a = change(issuer.config());
        let mut of_b = of_a.clone();
        of_a.partitions = vec!["a.hsm.example".to_owned()];
        of_b.partitions = vec!["b.hsm.example".to_owned()];
        of_b.audiences = vec!["https://b.hsm.example".to_owned()];
        let config = IdentityConfig {
            issuer: vec![of_a, of_b],
            ..IdentityConfig::default()
        };
        let identities = Identities::new(&config, clock.clone()).unwrap();
        Self {
            a: partition("a.hsm.example", clock.clone()).await,
            b: partition("b.hsm.example", clock.clone()).await,
            clock,
            issuer,
            identities,
        }
    }

    fn claims(&self) -> Value {
        let now = self.clock.now().unix_seconds();
        json!({
            "iss": self.issuer.url,
            "aud": AUDIENCE,
            "oid": ALICE,
            "iat": now,
            "nbf": now,
            "exp": now + 3600,
        })
    }

    /// A token with these claims.
    async fn token(&self, claims: &Value) -> String {
        let header = json!({ "alg": "ES256", "kid": "es256", "typ": "JWT" });
        self.issuer
            .sign("es256", Algorithm::Es256, &header, claims)
            .await
    }

    async fn ask(&self, token: &str) -> Result<String, Reason> {
        ask(&self.identities, &self.a, token).await
    }

    /// Asks with a token whose claims are the usual ones but for these.
    async fn ask_with(&self, changes: Value) -> Result<String, Reason> {
        let mut claims = self.claims();
        for (name, value) in changes.as_object().unwrap() {
            claims[name] = value.clone();
        }
        self.ask(&self.token(&claims).await).await
    }
}

async fn partition(host: &str, clock: Arc<dyn Clock>) -> Partition {
    let setup = Setup::new("admin", PASSWORD).clock(clock);
    let hsm = Hsm::create("memory:", setup).await.unwrap();
    Partition::new(0, vec![host.into()], hsm, 100)
}

fn tcp() -> Peer {
    Peer::Tcp {
        address: ([127, 0, 0, 1], 1).into(),
        certificate: None,
    }
}

fn bearer(token: &str) -> HeaderMap {
    let mut headers = HeaderMap::new();
    headers.insert(
        AUTHORIZATION,
        HeaderValue::try_from(format!("Bearer {token}")).unwrap(),
    );
    headers
}

async fn ask(
    identities: &Identities,
    partition: &Partition,
    token: &str,
) -> Result<String, Reason> {
    let caller = identities
        .caller(partition, &tcp(), &bearer(token), BASE)
        .await;
    caller
        .map(|caller| caller.principal().to_string())
        .map_err(|refusal| refusal.reason)
}

#[tokio::test]
async fn a_request_without_a_token_is_challenged() {
    let world = World::new().await;
    let refusal = world
        .identities
        .caller(&world.a, &tcp(), &HeaderMap::new(), BASE)
        .await
        .unwrap_err();
    assert_eq!(refusal.reason, Reason::Missing);
    assert_eq!(refusal.status.as_u16(), 401);
    assert!(
        refusal.message.starts_with("AKV10000"),
        "{}",
        refusal.message
    );
    let challenge = refusal.challenge.unwrap();
    let expected = format!(
        "Bearer authorization=\"{}\", resource=\"{AUDIENCE}\"",
        world.issuer.url
    );
    assert_eq!(challenge.to_str().unwrap(), expected);
    assert_eq!(world.identities.challenge(&world.a, BASE), challenge);
}

#[tokio::test]
async fn a_token_of_the_issuer_is_taken_in_every_algorithm() {
    let world = World::new().await;
    for (algorithm, key) in [
        (Algorithm::Rs256, "rs256"),
        (Algorithm::Ps256, "ps256"),
        (Algorithm::Es256, "es256"),
        (Algorithm::Es384, "es384"),
        (Algorithm::EdDsa, "eddsa"),
    ] {
        for typ in ["JWT", "at+jwt", "application/at+JWT"] {
            let header = json!({ "alg": algorithm.name(), "kid": key, "typ": typ });
            let token = world
                .issuer
                .sign(key, algorithm, &header, &world.claims())
                .await;
            assert_eq!(world.ask(&token).await.as_deref(), Ok(ALICE), "{key} {typ}");
        }
    }
    assert_eq!(world.issuer.asked(), 1);
}

#[tokio::test]
async fn what_the_refusal_says_does_not_tell_why_unless_the_token_is_genuine() {
    let world = World::new().await;
    let header = json!({ "alg": "ES256", "kid": "es256" });
    let refused = async |token: &str| {
        let refusal = world
            .identities
            .caller(&world.a, &tcp(), &bearer(token), BASE)
            .await
            .unwrap_err();
        let challenge = refusal.challenge.unwrap().to_str().unwrap().to_owned();
        assert!(challenge.contains(", error=\"invalid_"), "{challenge}");
        (
            refusal.message,
            challenge
                .rsplit_once("error_description=")
                .unwrap()
                .1
                .to_owned(),
        )
    };
    let mut claims = world.claims();
    claims["exp"] = 1.into();
    // By a key of another name: not its signature.
    let forged = world
        .issuer
        .sign("new", Algorithm::Es256, &header, &claims)
        .await;
    let foreign = {
        let mut claims = world.claims();
        claims["iss"] = "https://elsewhere.example".into();
        world.token(&claims).await
    };
    let unknown = unsigned(
        &json!({ "alg": "ES256", "kid": "none such" }),
        &world.claims(),
    ) + ".AAAA";
    let told = refused(&forged).await;
    assert_eq!(refused(&foreign).await, told);
    assert_eq!(refused(&unknown).await, told);
    let expired = world.token(&claims).await;
    assert_eq!(refused(&expired).await.1, "\"the token has expired\"");
}

#[tokio::test]
async fn algorithms_that_prove_nothing_are_refused() {
    let world = World::new().await;
    let claims = world.claims();
    for alg in [
        "none", "None", "NONE", "", "HS256", "HS384", "HS512", "RS1", "ES512", "es256",
    ] {
        let token = unsigned(&json!({ "alg": alg, "kid": "es256" }), &claims) + ".";
        assert_eq!(world.ask(&token).await, Err(Reason::Algorithm), "{alg}");
        let token = format!("{token}{}", encode(&[0; 64]));
        assert_eq!(world.ask(&token).await, Err(Reason::Algorithm), "{alg}");
    }
    // The public key as the secret of an HMAC, in the forms that it is published in.
    let public = world
        .issuer
        .session
        .any_key("rs256")
        .await
        .unwrap()
        .handle()
        .public_key()
        .await
        .unwrap();
    let signed = unsigned(&json!({ "alg": "HS256", "kid": "rs256" }), &claims);
    for secret in [
        public.to_pem().unwrap().into_bytes(),
        public.to_spki_der().unwrap(),
        public.as_raw().to_vec(),
    ] {
        let key = aws_lc_rs::hmac::Key::new(aws_lc_rs::hmac::HMAC_SHA256, &secret);
        let tag = aws_lc_rs::hmac::sign(&key, signed.as_bytes());
        let token = format!("{signed}.{}", encode(tag.as_ref()));
        assert_eq!(world.ask(&token).await, Err(Reason::Algorithm));
    }
    // A secret key in the issuer's document is no key.
    let key =
        aws_lc_rs::hmac::Key::new(aws_lc_rs::hmac::HMAC_SHA256, b"secret-secret-secret-secret");
    let signed = unsigned(&json!({ "alg": "HS256", "kid": "secret" }), &claims);
    let tag = aws_lc_rs::hmac::sign(&key, signed.as_bytes());
    let token = format!("{signed}.{}", encode(tag.as_ref()));
    assert_eq!(world.ask(&token).await, Err(Reason::Algorithm));
}

#[tokio::test]
async fn a_key_signs_in_the_algorithm_that_the_header_names() {
    let world = World::new().await;
    let claims = world.claims();
    // PKCS #1 is not PSS, and a key of P-384 is none of P-256.
    let header = json!({ "alg": "PS256", "kid": "rs256" });
    let token = world
        .issuer
        .sign("rs256", Algorithm::Rs256, &header, &claims)
        .await;
    assert_eq!(world.ask(&token).await, Err(Reason::Signature));
    let header = json!({ "alg": "ES256", "kid": "es384" });
    let token = world
        .issuer
        .sign("es384", Algorithm::Es384, &header, &claims)
        .await;
    assert_eq!(world.ask(&token).await, Err(Reason::Signature));
    // What the issuer says of its key goes before what the key could do.
    world.issuer.keys.lock()["keys"][0]["alg"] = "PS256".into();
    world.clock.advance(Duration::from_secs(KEEP));
    let header = json!({ "alg": "RS256", "kid": "rs256" });
    let token = world
        .issuer
        .sign("rs256", Algorithm::Rs256, &header, &world.claims())
        .await;
    assert_eq!(world.ask(&token).await, Err(Reason::Algorithm));
}

#[tokio::test]
async fn the_configuration_narrows_the_algorithms() {
    let world = World::with(|mut config| {
        config.algorithms = Some(vec!["ES384".to_owned()]);
        config
    })
    .await;
    let token = world.token(&world.claims()).await;
    assert_eq!(world.ask(&token).await, Err(Reason::Algorithm));
    let mut config = world.issuer.config();
    for name in ["none", "HS256", "A256KW"] {
        config.algorithms = Some(vec![name.to_owned()]);
        let config = IdentityConfig {
            issuer: vec![config.clone()],
            ..IdentityConfig::default()
        };
        assert!(
            Identities::new(&config, world.clock.clone()).is_err(),
            "{name}"
        );
    }
}

#[tokio::test]
async fn a_changed_token_is_refused() {
    let world = World::new().await;
    let token = world.token(&world.claims()).await;
    let parts: Vec<_> = token.split('.').collect();
    let mut claims = world.claims();
    claims["oid"] = "2f6e1a0c-5b1f-4b57-9a7e-0c6d1d7f8a02".into();
    let other = encode(claims.to_string().as_bytes());
    let changed = format!("{}.{other}.{}", parts[0], parts[2]);
    assert_eq!(world.ask(&changed).await, Err(Reason::Signature));
    assert_eq!(
        world.ask(&format!("{}.{}.", parts[0], parts[1])).await,
        Err(Reason::Signature)
    );
    // One spelling only: padding, spare bits, other alphabets, parts too many or too few.
    for changed in [
        format!("{token}=="),
        format!("{}.{}", parts[0], parts[1]),
        format!("{token}.{}", parts[2]),
        format!(".{}.{}", parts[1], parts[2]),
        format!("{}..{}", parts[0], parts[2]),
        token.replace('.', "~"),
    ] {
        assert_eq!(
            world.ask(&changed).await,
            Err(Reason::Malformed),
            "{changed}"
        );
    }
    // 64 bytes leave four spare bits at the end of base64.
    let mut spare = token.clone().into_bytes();
    let last = spare.last_mut().unwrap();
    *last = if *last == b'Z' { b'Y' } else { *last + 1 };
    let spare = String::from_utf8(spare).unwrap();
    assert_eq!(world.ask(&spare).await, Err(Reason::Malformed));
    assert!(world.ask(&token).await.is_ok());
}

#[tokio::test]
async fn headers_of_other_things_than_access_tokens_are_refused() {
    let world = World::new().await;
    let ask = async |header: Value| {
        let token = world
            .issuer
            .sign("es256", Algorithm::Es256, &header, &world.claims())
            .await;
        world.ask(&token).await
    };
    for typ in ["logout+jwt", "dpop+jwt", "secevent+jwt", ""] {
        let header = json!({ "alg": "ES256", "kid": "es256", "typ": typ });
        assert_eq!(ask(header).await, Err(Reason::Type), "{typ}");
    }
    let header = json!({ "alg": "ES256", "kid": "es256", "crit": ["b64"], "b64": false });
    assert_eq!(ask(header).await, Err(Reason::Malformed));
    assert!(ask(json!({ "alg": "ES256", "kid": "es256" })).await.is_ok());
    // A key in the header is nobody's.
    let public = world
        .issuer
        .session
        .any_key("new")
        .await
        .unwrap()
        .handle()
        .public_key()
        .await
        .unwrap();
    let header = json!({ "alg": "ES256", "jwk": public.to_jwk().unwrap() });
    let token = world
        .issuer
        .sign("new", Algorithm::Es256, &header, &world.claims())
        .await;
    assert_eq!(world.ask(&token).await, Err(Reason::UnknownKey));
    // A name twice is not one of two values.
    let twice = encode(br#"{"alg":"none","alg":"ES256","kid":"es256"}"#);
    let token = world.token(&world.claims()).await;
    let rest = token.split_once('.').unwrap().1;
    assert_eq!(
        world.ask(&format!("{twice}.{rest}")).await,
        Err(Reason::Malformed)
    );
}

#[tokio::test]
async fn issuer_audience_and_principal_are_checked() {
    let world = World::new().await;
    for url in [
        format!("{}/", world.issuer.url),
        world.issuer.url.to_uppercase(),
        "https://evil.example".to_owned(),
    ] {
        assert_eq!(
            world.ask_with(json!({ "iss": url })).await,
            Err(Reason::Issuer)
        );
    }
    for audience in [
        json!("https://other.example"),
        json!([]),
        json!(""),
        json!("https://a.hsm.example/"),
        json!(["x", "y"]),
    ] {
        assert_eq!(
            world.ask_with(json!({ "aud": audience })).await,
            Err(Reason::Audience)
        );
    }
    assert!(
        world
            .ask_with(json!({ "aud": ["x", AUDIENCE] }))
            .await
            .is_ok()
    );
    for name in [
        json!("admin"),
        json!(null),
        json!(7),
        json!(""),
        json!("2f6e1a0c5b1f4b579a7e0c6d1d7f8a01"),
    ] {
        assert_eq!(
            world.ask_with(json!({ "oid": name })).await,
            Err(Reason::Principal)
        );
    }
    assert_eq!(
        world
            .ask_with(json!({ "oid": ALICE.to_uppercase() }))
            .await
            .as_deref(),
        Ok(ALICE)
    );
    for missing in ["iss", "aud", "exp"] {
        assert_eq!(
            world.ask_with(json!({ missing: null })).await,
            Err(Reason::Malformed),
            "{missing}"
        );
    }
}

#[tokio::test]
async fn a_prefix_keeps_foreign_names_apart_from_users() {
    let world = World::with(|mut config| {
        config.claim = "sub".to_owned();
        config.prefix = Some("corp-".to_owned());
        config
    })
    .await;
    assert_eq!(
        world.ask_with(json!({ "sub": "admin" })).await.as_deref(),
        Ok("corp-admin")
    );
    for name in ["", "a|b", "a b", &"a".repeat(123)] {
        assert_eq!(
            world.ask_with(json!({ "sub": name })).await,
            Err(Reason::Principal)
        );
    }
}

#[tokio::test]
async fn times_are_checked_to_the_second() {
    let world = World::new().await;
    let now = world.clock.now().unix_seconds();
    for (claims, expected) in [
        (json!({ "exp": now - SKEW }), Err(Reason::Expired)),
        (json!({ "exp": now - SKEW + 1 }), Ok(())),
        (json!({ "nbf": now + SKEW + 1 }), Err(Reason::NotYetValid)),
        (json!({ "nbf": now + SKEW }), Ok(())),
        (
            json!({ "iat": now + SKEW + 1 }),
            Err(Reason::IssuedInTheFuture),
        ),
        (json!({ "iat": now + SKEW }), Ok(())),
        (json!({ "exp": -1 }), Err(Reason::Malformed)),
        (json!({ "exp": 1e300 }), Err(Reason::Malformed)),
        (json!({ "exp": "9999999999" }), Err(Reason::Malformed)),
        (json!({ "exp": now as f64 + 0.5 }), Ok(())),
        (json!({ "nbf": null, "iat": null }), Ok(())),
    ] {
        assert_eq!(
            world.ask_with(claims.clone()).await.map(drop),
            expected,
            "{claims}"
        );
    }
}

#[tokio::test]
async fn a_token_that_is_remembered_expires_all_the_same() {
    let world = World::new().await;
    let token = world.token(&world.claims()).await;
    assert!(world.ask(&token).await.is_ok());
    world.clock.advance(Duration::from_secs(3600 + SKEW - 1));
    assert!(world.ask(&token).await.is_ok());
    world.clock.advance(Duration::from_secs(1));
    assert_eq!(world.ask(&token).await, Err(Reason::Expired));
}

#[tokio::test]
async fn a_token_of_one_partition_is_nothing_in_another() {
    let world = World::new().await;
    let token = world.token(&world.claims()).await;
    assert!(world.ask(&token).await.is_ok());
    assert_eq!(
        ask(&world.identities, &world.b, &token).await,
        Err(Reason::Audience)
    );
    let mut claims = world.claims();
    claims["aud"] = "https://b.hsm.example".into();
    let token = world.token(&claims).await;
    assert!(ask(&world.identities, &world.b, &token).await.is_ok());
    assert_eq!(world.ask(&token).await, Err(Reason::Audience));
}

#[tokio::test]
async fn an_unknown_key_is_looked_for_but_not_at_every_request() {
    let world = World::new().await;
    assert!(world.ask(&world.token(&world.claims()).await).await.is_ok());
    assert_eq!(world.issuer.asked(), 1);
    world.issuer.publish(&["rs256", "es256", "new"]).await;
    let header = json!({ "alg": "ES256", "kid": "new" });
    let token = world
        .issuer
        .sign("new", Algorithm::Es256, &header, &world.claims())
        .await;
    for _ in 0..3 {
        assert_eq!(world.ask(&token).await, Err(Reason::UnknownKey));
    }
    assert_eq!(world.issuer.asked(), 1);
    world.clock.advance(Duration::from_secs(REFETCH));
    assert!(world.ask(&token).await.is_ok());
    assert_eq!(world.issuer.asked(), 2);
}

/// A stranger names a key that nobody knows and hangs up. The keys are read once in a while only: were that to end with the
/// request, strangers could keep new keys out.
#[tokio::test]
async fn a_request_that_is_given_up_does_not_keep_new_keys_out() {
    let world = World::new().await;
    world.ask_with(json!({})).await.unwrap();
    world.clock.advance(Duration::from_secs(REFETCH));
    world.issuer.publish(&["es256", "new"]).await;
    let header = json!({ "alg": "ES256", "kid": "nobody's", "typ": "JWT" });
    let forged = format!("{}.AAAA", unsigned(&header, &world.claims()));
    tokio::select! {
        biased;
        _ = world.ask(&forged) => panic!("nothing can have come yet"),
        () = std::future::ready(()) => {}
    }
    let header = json!({ "alg": "ES256", "kid": "new", "typ": "JWT" });
    let claims = world.claims();
    let token = world
        .issuer
        .sign("new", Algorithm::Es256, &header, &claims)
        .await;
    assert_eq!(world.ask(&token).await.as_deref(), Ok(ALICE));
}

#[tokio::test]
async fn a_key_that_the_issuer_drops_takes_its_tokens_with_it() {
    let world = World::new().await;
    let old = world.token(&world.claims()).await;
    assert!(world.ask(&old).await.is_ok());
    world.issuer.publish(&["rs256", "new"]).await;
    world.clock.advance(Duration::from_secs(REFETCH));
    // It stays until somebody reads the document again.
    assert!(world.ask(&old).await.is_ok());
    let header = json!({ "alg": "ES256", "kid": "new" });
    let new = world
        .issuer
        .sign("new", Algorithm::Es256, &header, &world.claims())
        .await;
    assert!(world.ask(&new).await.is_ok());
    assert_eq!(world.ask(&old).await, Err(Reason::UnknownKey));
    assert!(world.ask(&new).await.is_ok());
}

#[tokio::test]
async fn the_last_keys_serve_while_the_issuer_is_down_but_not_for_ever() {
    let mut world = World::new().await;
    assert!(world.ask(&world.token(&world.claims()).await).await.is_ok());
    world.issuer.stop();
    world.clock.advance(KEYS_REFRESH);
    assert!(world.ask(&world.token(&world.claims()).await).await.is_ok());
    world
        .clock
        .advance(Duration::from_secs(KEEP) - KEYS_REFRESH - Duration::from_secs(1));
    let token = world.token(&world.claims()).await;
    assert!(world.ask(&token).await.is_ok());
    world.clock.advance(Duration::from_secs(1));
    assert_eq!(world.ask(&token).await, Err(Reason::IssuerUnreachable));
    let refusal = world
        .identities
        .caller(&world.a, &tcp(), &bearer(&token), BASE)
        .await
        .unwrap_err();
    assert_eq!(refusal.status.as_u16(), 503);
    assert!(refusal.challenge.is_none());
}

#[tokio::test]
async fn an_issuer_that_was_never_reached_is_no_reason_to_believe() {
    let mut world = World::new().await;
    world.issuer.stop();
    let token = world.token(&world.claims()).await;
    assert_eq!(world.ask(&token).await, Err(Reason::IssuerUnreachable));
}

#[tokio::test]
async fn a_document_of_another_issuer_is_not_believed() {
    let world = World::with(|mut config| {
        config.discovery = Some(format!(
            "{}/.well-known/openid-configuration",
            config.issuer
        ));
        config.issuer = "https://victim.example".to_owned();
        config
    })
    .await;
    let token = world
        .ask_with(json!({ "iss": "https://victim.example" }))
        .await;
    assert_eq!(token, Err(Reason::IssuerUnreachable));
}

#[tokio::test]
async fn a_session_token_is_the_users_until_logout_and_of_one_partition() {
    let world = World::new().await;
    let token = login(&world, "admin", PASSWORD).await.unwrap();
    assert_eq!(world.ask(&token).await.as_deref(), Ok("admin"));
    assert_eq!(
        ask(&world.identities, &world.b, &token).await,
        Err(Reason::Ended)
    );
    assert_eq!(world.ask(&format!("{token}A")).await, Err(Reason::Ended));
    let caller = world
        .identities
        .caller(&world.a, &tcp(), &bearer(&token), BASE)
        .await
        .unwrap();
    let who: Value = serde_json::from_slice(Identities::who_am_i(&caller).as_bytes()).unwrap();
    assert_eq!(
        who,
        json!({ "principal": "admin", "method": "session_token" })
    );
    world.identities.logout(&caller).await;
    assert_eq!(world.ask(&token).await, Err(Reason::Ended));
    assert!(caller.session.settings().await.is_err());
    assert_eq!(world.identities.session_tokens.len(), 0);
}

#[tokio::test]
async fn a_session_token_ends_with_its_session() {
    let world = World::new().await;
    let idle = login(&world, "admin", PASSWORD).await.unwrap();
    world
        .clock
        .advance(limits::SESSION_IDLE_MAX + Duration::from_secs(1));
    assert_eq!(world.ask(&idle).await, Err(Reason::Ended));
    assert_eq!(world.identities.session_tokens.len(), 0);

    // The engine ends it: the user is disabled.
    let admin = world.a.hsm().login("admin", PASSWORD).await.unwrap();
    admin.create_user("app", PASSWORD).await.unwrap();
    let token = login(&world, "app", PASSWORD).await.unwrap();
    admin.update_user("app", UserUpdate::Disable).await.unwrap();
    let caller = world
        .identities
        .caller(&world.a, &tcp(), &bearer(&token), BASE)
        .await
        .unwrap();
    let refused = caller
        .session
        .list_keys(PageRequest::default())
        .await
        .unwrap_err();
    assert_eq!(refused.kind(), ErrorKind::Unauthenticated);
    world.identities.ended(&caller);
    assert_eq!(world.ask(&token).await, Err(Reason::Ended));
}

/// Sessions that ended by themselves would fill the engine, for good: nobody asks for them again.
#[tokio::test]
async fn sessions_that_nobody_uses_any_more_are_given_back() {
    let world = World::new().await;
    let admin = world.a.hsm().login("admin", PASSWORD).await.unwrap();
    admin.create_user("app", PASSWORD).await.unwrap();
    let expires = world.clock.now() + Duration::from_secs(30 * 24 * 60 * 60);
    let (token, _) = admin
        .create_token("nightly", "build-server", expires)
        .await
        .unwrap();
    login(&world, "app", PASSWORD).await.unwrap();
    world
        .ask(std::str::from_utf8(token.expose()).unwrap())
        .await
        .unwrap();
    world
        .clock
        .advance(limits::SESSION_IDLE_MAX + Duration::from_secs(1));
    login(&world, "admin", PASSWORD).await.unwrap();
    assert_eq!(world.identities.session_tokens.len(), 1);
    assert_eq!(world.identities.api_tokens.len(), 0);
}

#[tokio::test]
async fn one_user_does_not_take_up_all_sessions() {
    const MANY: usize = session_token::SESSION_TOKENS_OF_ONE_MAX;
    let world = World::new().await;
    let kept = KeptSessions::new(world.clock.clone(), 10 * MANY);
    let session = async |partition: &Partition, name: &str| {
        let principal = Principal::new(name).unwrap();
        partition.session_of(&principal).await.unwrap()
    };
    let keep = |partition: &Partition, session: &Session, number: usize| {
        let hash = hash(
            partition.host(),
            &format!("{} {number}", session.principal()),
        );
        kept.keep(partition.host(), hash, session.clone()).unwrap();
        hash
    };
    let eve = session(&world.a, "eve").await;
    let others = [
        keep(&world.a, &session(&world.a, "app").await, 0),
        keep(&world.b, &session(&world.b, "eve").await, 0),
    ];
    let mut hashes = Vec::new();
    for number in 0..=MANY {
        world.clock.advance(Duration::from_millis(1));
        hashes.push(keep(&world.a, &eve, number));
    }
    assert_eq!(kept.len(), others.len() + MANY);
    assert!(kept.find(&hashes[0]).is_none());
    for hash in others.iter().chain(&hashes[1..]) {
        assert!(kept.find(hash).is_some());
    }
}

#[tokio::test]
async fn an_api_token_stands_for_its_principal_until_it_is_deleted() {
    let world = World::new().await;
    let admin = world.a.hsm().login("admin", PASSWORD).await.unwrap();
    let expires = world.clock.now() + Duration::from_secs(30 * 24 * 60 * 60);
    let (token, _) = admin
        .create_token("nightly", "build-server", expires)
        .await
        .unwrap();
    let token = std::str::from_utf8(token.expose()).unwrap().to_owned();
    assert!(token.starts_with(bearer::API_PREFIX));
    for _ in 0..2 {
        assert_eq!(world.ask(&token).await.as_deref(), Ok("build-server"));
    }
    assert_eq!(world.identities.api_tokens.len(), 1);
    assert_eq!(
        ask(&world.identities, &world.b, &token).await,
        Err(Reason::Ended)
    );
    // The session behind it ends, and the token opens another.
    world
        .clock
        .advance(limits::SESSION_IDLE_MAX + Duration::from_secs(1));
    assert_eq!(world.ask(&token).await.as_deref(), Ok("build-server"));
    let caller = world
        .identities
        .caller(&world.a, &tcp(), &bearer(&token), BASE)
        .await
        .unwrap();
    let admin = world.a.hsm().login("admin", PASSWORD).await.unwrap();
    admin.delete_token("nightly").await.unwrap();
    let refused = caller
        .session
        .list_keys(PageRequest::default())
        .await
        .unwrap_err();
    assert_eq!(refused.kind(), ErrorKind::Unauthenticated);
    world.identities.ended(&caller);
    assert_eq!(world.ask(&token).await, Err(Reason::Ended));
    assert_eq!(world.identities.api_tokens.len(), 0);
}

#[tokio::test]
async fn a_wrong_password_says_nothing_and_many_lock_out() {
    let world = World::new().await;
    let wrong = login(&world, "admin", "wrong password").await.unwrap_err();
    let nobody = login(&world, "nobody", "wrong password").await.unwrap_err();
    for refusal in [&wrong, &nobody] {
        assert_eq!(
            (refusal.reason, refusal.status.as_u16()),
            (Reason::Password, 401)
        );
        assert_eq!(
            (&refusal.message, &refusal.challenge),
            (&wrong.message, &wrong.challenge)
        );
    }
    let mut last = wrong;
    for _ in 0..limits::LOGIN_FREE_FAILURES + 1 {
        last = login(&world, "admin", "wrong password").await.unwrap_err();
    }
    assert_eq!(
        (last.reason, last.status.as_u16()),
        (Reason::LockedOut, 429)
    );
    assert!(last.retry_after.unwrap() >= 1);
    assert!(last.challenge.is_none());
    let body = world
        .identities
        .login(&world.a, b"{\"user\":\"admin\"}", BASE)
        .await
        .unwrap_err();
    assert_eq!(body.status.as_u16(), 400);
}

async fn login(world: &World, user: &str, password: &str) -> Result<String, Refusal> {
    let body = json!({ "user": user, "password": password }).to_string();
    let answer = world
        .identities
        .login(&world.a, body.as_bytes(), BASE)
        .await?;
    let answer: Value = serde_json::from_slice(answer.as_bytes()).unwrap();
    assert_eq!(answer["principal"], user);
    let token = answer["token"].as_str().unwrap().to_owned();
    assert!(token.starts_with("hsm_s_") && token.len() == 49, "{token}");
    Ok(token)
}

#[tokio::test]
async fn headers_that_contradict_each_other_are_refused() {
    let world = World::new().await;
    let token = login(&world, "admin", PASSWORD).await.unwrap();
    let mut headers = bearer(&token);
    headers.append(AUTHORIZATION, headers[AUTHORIZATION].clone());
    let refusal = world
        .identities
        .caller(&world.a, &tcp(), &headers, BASE)
        .await
        .unwrap_err();
    assert_eq!(refusal.reason, Reason::Conflicting);
    let long = format!("{token}{}", "a".repeat(bearer::TOKEN_LEN_MAX));
    assert_eq!(world.ask(&long).await, Err(Reason::TooLong));
}

/// A certificate with names in all places where a client can have one.
fn certificate(common_names: &[&str]) -> CertificateDer<'static> {
    let mut params = rcgen::CertificateParams::default();
    params.distinguished_name = rcgen::DistinguishedName::new();
    for name in common_names {
        params
            .distinguished_name
            .push(rcgen::DnType::CommonName, *name);
    }
    params.subject_alt_names = vec![
        rcgen::SanType::DnsName("signer.example".try_into().unwrap()),
        rcgen::SanType::URI("spiffe://example/signer".try_into().unwrap()),
        rcgen::SanType::Rfc822Name("signer@example".try_into().unwrap()),
    ];
    let key = rcgen::KeyPair::generate().unwrap();
    params.self_signed(&key).unwrap().der().clone()
}

#[tokio::test]
async fn a_certificate_stands_for_whom_the_configuration_says() {
    use sha2::{Digest, Sha256};
    let world = World::new().await;
    let shown = certificate(&["signer"]);
    let fingerprint: String = Sha256::digest(&shown)
        .iter()
        .map(|byte| format!("{byte:02X}:"))
        .collect();
    let peer = Peer::Tcp {
        address: ([127, 0, 0, 1], 1).into(),
        certificate: Some(shown),
    };
    let who = async |rules: Value, partition: &Partition, headers: &HeaderMap| {
        let config: IdentityConfig =
            serde_json::from_value(json!({ "certificate": rules })).unwrap();
        let identities = Identities::new(&config, world.clock.clone()).unwrap();
        let caller = identities.caller(partition, &peer, headers, BASE).await;
        caller
            .map(|caller| caller.principal().to_string())
            .map_err(|refusal| refusal.reason)
    };
    let none = HeaderMap::new();
    for (criterion, right, wrong) in [
        (
            "fingerprint",
            fingerprint.trim_end_matches(':'),
            &*"00".repeat(32),
        ),
        ("uri", "spiffe://example/signer", "spiffe://example/Signer"),
        ("dns", "Signer.example", "*.example"),
        ("email", "signer@example", "Signer@example"),
        ("common-name", "signer", "sign"),
    ] {
        let rule = |value: &str| json!([{ "principal": "app", criterion: value, "partitions": ["a.hsm.example"] }]);
        assert_eq!(
            who(rule(right), &world.a, &none).await.as_deref(),
            Ok("app"),
            "{criterion}"
        );
        assert_eq!(
            who(rule(right), &world.b, &none).await,
            Err(Reason::Missing),
            "{criterion}"
        );
        assert_eq!(
            who(rule(wrong), &world.a, &none).await,
            Err(Reason::Missing),
            "{criterion}"
        );
        // A token decides, also a wrong one.
        let wrong_token = bearer("hsm_s_wrong");
        assert_eq!(
            who(rule(right), &world.a, &wrong_token).await,
            Err(Reason::Ended)
        );
    }
    for wrong in [
        json!([{ "principal": "app" }]),
        json!([{ "principal": "app", "dns": "a", "uri": "b" }]),
        json!([{ "principal": "app", "fingerprint": "00" }]),
        json!([{ "principal": "not a name", "dns": "a" }]),
    ] {
        let config: IdentityConfig =
            serde_json::from_value(json!({ "certificate": wrong })).unwrap();
        assert!(
            Identities::new(&config, world.clock.clone()).is_err(),
            "{wrong}"
        );
    }
}

#[tokio::test]
async fn a_unix_peer_stands_for_whom_the_configuration_says() {
    let world = World::new().await;
    let config: IdentityConfig =
        serde_json::from_value(json!({ "unix": [{ "principal": "app", "uid": 1000 }] })).unwrap();
    let identities = Identities::new(&config, world.clock.clone()).unwrap();
    let ask = async |uid| {
        let peer = Peer::Unix {
            uid,
            gid: 100,
            pid: None,
        };
        let caller = identities
            .caller(&world.a, &peer, &HeaderMap::new(), BASE)
            .await;
        caller
            .map(|caller| caller.principal().to_string())
            .map_err(|refusal| refusal.reason)
    };
    assert_eq!(ask(1000).await.as_deref(), Ok("app"));
    assert_eq!(ask(0).await, Err(Reason::Missing));
}

#[tokio::test]
async fn nothing_that_is_printed_has_a_token() {
    let world = World::new().await;
    let token = login(&world, "admin", PASSWORD).await.unwrap();
    let caller = world
        .identities
        .caller(&world.a, &tcp(), &bearer(&token), BASE)
        .await
        .unwrap();
    let jwt = world.token(&world.claims()).await;
    assert!(world.ask(&jwt).await.is_ok());
    let printed = format!(
        "{:?} {:?} {:?}",
        world.identities,
        caller,
        Jwt::parse(&jwt).unwrap()
    );
    for secret in [&token[6..], &jwt[..20], PASSWORD] {
        assert!(!printed.contains(secret), "{printed}");
    }
}
