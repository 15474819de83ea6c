//! Tokens for those who know a user's password, at the paths where official clients look for them.

use hsm_client::Setup;
use hsm_testkit::ManualClock;
use http::header::AUTHORIZATION;

use super::*;
use crate::Partition;
use crate::identity::{IdentityConfig, Peer, Reason};

const PASSWORD: &str = "correct horse battery";
const TENANT: &str = "7b2f0000-0000-4000-8000-000000000000";

struct World {
    clock: Arc<ManualClock>,
    authority: Authority,
    identities: Identities,
    partition: Partition,
}

impl World {
    async fn new() -> Self {
        let clock = Arc::new(ManualClock::default());
        let setup = || Setup::new("admin", PASSWORD).clock(clock.clone());
        let signer = Hsm::create("memory:", setup()).await.unwrap();
        let administrator = signer.login("admin", PASSWORD).await.unwrap();
        Authority::prepare(&signer, administrator).await.unwrap();
        let users = Hsm::create("memory:", setup()).await.unwrap();
        let authority = Authority::open(
            users.clone(),
            signer,
            clock.clone(),
            TENANT.to_owned(),
            &["localhost", "dev.localhost"],
            8443,
        )
        .await
        .unwrap();
        let identities = Identities::new(&IdentityConfig::default(), clock.clone()).unwrap();
        Self {
            identities: authority.trusted_by(identities).unwrap(),
            partition: Partition::new(0, vec!["dev.localhost".into()], users, 100),
            authority,
            clock,
        }
    }

    async fn ask(
        &self,
        method: Method,
        path: &str,
        host: &str,
        body: &str,
    ) -> Option<(u16, Value)> {
        let mut headers = HeaderMap::new();
        headers.insert(HOST, HeaderValue::from_str(host).unwrap());
        let response = self
            .authority
            .answer(&method, path, &headers, body.as_bytes())
            .await?;
        let status = response.status().as_u16();
        Some((status, serde_json::from_slice(response.body()).unwrap()))
    }

    async fn get(&self, path: &str) -> Value {
        let (status, value) = self
            .ask(Method::GET, path, "localhost:8443", "")
            .await
            .unwrap();
        assert_eq!(status, 200, "{path}");
        value
    }

    async fn token(&self, version: &str, what: &str) -> (u16, Value) {
        self.token_of("admin", PASSWORD, version, what).await
    }

    async fn token_of(
        &self,
        user: &str,
        password: &str,
        version: &str,
        what: &str,
    ) -> (u16, Value) {
        let body = format!(
            "grant_type=client_credentials&client_id={user}&client_secret={password}&{what}"
        );
        let path = format!("/{TENANT}/oauth2{version}/token");
        self.ask(Method::POST, &path, "localhost:8443", &body)
            .await
            .unwrap()
    }

    async fn who(&self, token: &str) -> Result<String, Reason> {
        let mut headers = HeaderMap::new();
        headers.insert(
            AUTHORIZATION,
            HeaderValue::try_from(format!("Bearer {token}")).unwrap(),
        );
        let peer = Peer::Tcp {
            address: ([127, 0, 0, 1], 1).into(),
            certificate: None,
        };
        let caller = self
            .identities
            .caller(
                &self.partition,
                &peer,
                &headers,
                "https://dev.localhost:8443",
            )
            .await;
        caller
            .map(|caller| caller.principal().to_string())
            .map_err(|refusal| refusal.reason)
    }
}

#[tokio::test]
async fn a_password_becomes_a_token_that_the_server_takes_for_an_hour() {
    let world = World::new().await;
    for scope in [
        "scope=https://localhost:8443/.default",
        "scope=openid%20https://dev.localhost:8443//.default",
        "scope=https://managedhsm.azure.net/.default",
    ] {
        let (status, answer) = world.token("/v2.0", scope).await;
        assert_eq!(
            (status, &answer["token_type"], &answer["expires_in"]),
            (200, &json!("Bearer"), &json!(3600))
        );
        let token = answer["access_token"].as_str().unwrap();
        assert_eq!(world.who(token).await.as_deref(), Ok("admin"), "{scope}");
    }
    let (status, answer) = world.token("", "resource=https://localhost:8443").await;
    assert_eq!(
        (status, &answer["resource"]),
        (200, &json!("https://localhost:8443"))
    );
    let token = answer["access_token"].as_str().unwrap();
    world
        .clock
        .advance(std::time::Duration::from_secs(TOKEN_LIFETIME - 1));
    assert_eq!(world.who(token).await.as_deref(), Ok("admin"));
    world.clock.advance(std::time::Duration::from_secs(1));
    assert_eq!(world.who(token).await, Err(Reason::Expired));
}

#[tokio::test]
async fn a_token_has_the_claims_that_clients_look_for() {
    let world = World::new().await;
    let (_, answer) = world
        .token("/v2.0", "scope=https://localhost:8443/.default")
        .await;
    let token = answer["access_token"].as_str().unwrap();
    let claims = Base64UrlUnpadded::decode_vec(token.split('.').nth(1).unwrap()).unwrap();
    let claims: Value = serde_json::from_slice(&claims).unwrap();
    let now = world.clock.now().unix_seconds();
    for (name, value) in [
        (
            "iss",
            json!(format!("https://localhost:8443/{TENANT}/v2.0")),
        ),
        ("aud", json!("https://localhost:8443")),
        ("tid", json!(TENANT)),
        ("oid", json!("admin")),
        ("sub", json!("admin")),
        ("appid", json!("admin")),
        ("ver", json!("2.0")),
        ("iat", json!(now)),
        ("nbf", json!(now)),
        ("exp", json!(now + 3600)),
    ] {
        assert_eq!(claims[name], value, "{name}");
    }
    let keys = world.get(&format!("/{TENANT}/discovery/v2.0/keys")).await;
    assert_eq!(
        (&keys["keys"][0]["kty"], &keys["keys"][0]["alg"]),
        (&json!("RSA"), &json!("RS256"))
    );
    assert!(keys["keys"][0].get("d").is_none());
}

#[tokio::test]
async fn discovery_leads_to_the_token() {
    let world = World::new().await;
    let path = format!("/{TENANT}/v2.0/.well-known/openid-configuration");
    let found = world.get(&path).await;
    assert_eq!(
        found["issuer"],
        format!("https://localhost:8443/{TENANT}/v2.0")
    );
    assert_eq!(
        found["token_endpoint"],
        format!("https://localhost:8443/{TENANT}/oauth2/v2.0/token")
    );
    assert!(found["authorization_endpoint"].is_string());
    // Under the name that was asked, if it is one of the server's.
    for (host, expected) in [
        ("dev.localhost:8443", "dev.localhost:8443"),
        ("evil.example", "localhost:8443"),
    ] {
        let (_, found) = world.ask(Method::GET, &path, host, "").await.unwrap();
        assert_eq!(
            found["jwks_uri"],
            format!("https://{expected}/{TENANT}/discovery/v2.0/keys")
        );
        assert_eq!(
            found["issuer"],
            format!("https://localhost:8443/{TENANT}/v2.0")
        );
    }
    let instance = world.get("/common/discovery/instance").await;
    assert_eq!(
        instance["tenant_discovery_endpoint"],
        format!("https://localhost:8443{path}")
    );
}

#[tokio::test]
async fn the_az_program_finds_what_it_asks_for() {
    let world = World::new().await;
    let endpoints = world.get("/metadata/endpoints").await;
    assert_eq!(
        endpoints["authentication"]["loginEndpoint"],
        "https://localhost:8443"
    );
    assert_eq!(
        endpoints["authentication"]["audiences"][0],
        "https://localhost:8443"
    );
    assert_eq!(endpoints["suffixes"]["mhsmDns"], "localhost:8443");
    let subscriptions = world.get("/subscriptions").await;
    assert_eq!(subscriptions["value"][0]["tenantId"], TENANT);
    let id = subscriptions["value"][0]["id"].as_str().unwrap();
    assert_eq!(world.get(id).await, subscriptions["value"][0]);
    assert_eq!(world.get("/tenants").await["value"][0]["tenantId"], TENANT);
}

#[tokio::test]
async fn who_has_no_password_gets_no_token() {
    let world = World::new().await;
    let scope = "scope=https://localhost:8443/.default";
    let (status, wrong) = world
        .token_of("admin", "wrong-password", "/v2.0", scope)
        .await;
    assert_eq!(
        (status, &wrong["error"], &wrong["error_codes"][0]),
        (401, &json!("invalid_client"), &json!(7_000_215))
    );
    assert_eq!(
        world
            .token_of("nobody", "wrong-password", "/v2.0", scope)
            .await,
        (401, wrong.clone())
    );
    assert_eq!(
        world
            .token_of("not%20a%20name", "wrong-password", "/v2.0", scope)
            .await,
        (401, wrong)
    );
    let mut last = (0, Value::Null);
    for _ in 0..hsm_client::limits::LOGIN_FREE_FAILURES + 1 {
        last = world
            .token_of("admin", "wrong-password", "/v2.0", scope)
            .await;
    }
    assert_eq!(
        (last.0, &last.1["error"]),
        (429, &json!("temporarily_unavailable"))
    );
}

#[tokio::test]
async fn other_grants_resources_tenants_and_methods_are_refused() {
    let world = World::new().await;
    let path = format!("/{TENANT}/oauth2/v2.0/token");
    let post =
        async |path: &str, body: &str| world.ask(Method::POST, path, "localhost:8443", body).await;
    let client = format!("client_id=admin&client_secret={PASSWORD}");
    for (body, error) in [
        (
            format!("grant_type=password&{client}"),
            "unsupported_grant_type",
        ),
        (client.clone(), "unsupported_grant_type"),
        (
            format!("grant_type=client_credentials&{client}"),
            "invalid_scope",
        ),
        (
            format!("grant_type=client_credentials&{client}&scope=https://evil.example/.default"),
            "invalid_resource",
        ),
        (
            format!("grant_type=client_credentials&{client}&scope=https://localhost:8443"),
            "invalid_scope",
        ),
        (
            "grant_type=client_credentials".to_owned(),
            "invalid_request",
        ),
    ] {
        let (status, answer) = post(&path, &body).await.unwrap();
        assert_eq!((status, &answer["error"]), (400, &json!(error)), "{body}");
    }
    let get = |path| world.ask(Method::GET, path, "localhost:8443", "");
    assert_eq!(get(&path).await.unwrap().0, 405);
    assert_eq!(post("/subscriptions", "").await.unwrap().0, 405);
    for path in [
        "/other/oauth2/v2.0/token",
        "/",
        "/keys",
        "/subscriptions/other",
        "/common/discovery",
    ] {
        assert_eq!(get(path).await, None, "{path}");
    }
}
