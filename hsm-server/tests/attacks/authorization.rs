//! Whoever is known but may not is told what is missing, and nothing else: not whether a key is there.

use hsm_client::{BuiltInRole, Scope};
use serde_json::{Value, json};

use super::world::{Answer, DIGEST, PASSWORD, World, request};

/// What the server answers without the engine.
const OWN: [&str; 8] = [
    "login",
    "who_am_i",
    "logout",
    "read_clock",
    "advance_clock",
    "openapi",
    "health",
    "ready",
];

/// A body that every engine route can read, so that it is the engine that refuses.
fn body_of(operation: &str) -> Value {
    let signature = format!("{DIGEST}{DIGEST}");
    match operation {
        "create_key" => json!({ "kty": "EC-HSM", "crv": "P-256" }),
        "import_key" => json!({ "key": { "kty": "oct-HSM", "k": DIGEST } }),
        "update_key" => json!({ "tags": { "a": "b" } }),
        "set_rotation_policy" => json!({ "attributes": {}, "lifetimeActions": [] }),
        "encrypt" => json!({ "alg": "RSA-OAEP-256", "value": "AAAA" }),
        "decrypt" => json!({ "alg": "RSA-OAEP-256", "value": DIGEST }),
        "sign" => json!({ "alg": "ES256", "value": DIGEST }),
        "verify" => json!({ "alg": "ES256", "digest": DIGEST, "value": signature }),
        "wrap_key" | "unwrap_key" => json!({ "alg": "RSA-OAEP-256", "value": DIGEST }),
        "random" => json!({ "count": 8 }),
        _ => json!({}),
    }
}

/// An answer without what is another's in each: ids, and the name that was asked for.
fn without_ids(mut answer: Answer, name: &str) -> Answer {
    answer.headers.retain(|(header, _)| {
        !["x-ms-request-id", "x-ms-client-request-id", "date"].contains(&&**header)
    });
    answer.body = answer.body.replace(name, "NAME");
    answer
}

/// Asks every route that has the name of a key in it for a key that is there, one that never was, and one that was
/// deleted, and gives how many were refused for want of a role.
async fn cannot_tell(world: &World, token: &str) -> usize {
    let mut denied = 0;
    for name in ["key-live", "key-gone"] {
        let path = format!("/keys/{name}/create?api-version=7.6");
        let made = world
            .ask("POST", &path, &body_of("create_key").to_string())
            .await;
        assert_eq!(made.status, 200, "{made:?}");
    }
    let gone = world
        .ask("DELETE", "/keys/key-gone?api-version=7.6", "")
        .await;
    assert_eq!(gone.status, 200, "{gone:?}");
    let live = world.ask("GET", "/keys/key-live?api-version=7.6", "").await;
    let kid = live.json()["key"]["kid"].as_str().unwrap().to_owned();
    let version = kid.rsplit('/').next().unwrap().to_owned();
    for row in hsm_wire::endpoints() {
        if OWN.contains(&row.operation) || !row.implemented {
            continue;
        }
        for path in [row.path].into_iter().chain(row.also.iter().copied()) {
            if !path.contains("{name}") && !path.contains("{scope}") {
                continue;
            }
            let mut answers = Vec::new();
            for name in ["key-live", "key-miss", "key-gone"] {
                let path = path
                    .replace("{name}", name)
                    .replace("{scope}", &format!("keys/{name}"))
                    .replace("{version}", &version)
                    .replace("{id}", "2f6e1a0c-5b1f-4b57-9a7e-0c6d1d7f8a01");
                let target = format!("{path}?api-version=7.6");
                let body = body_of(row.operation).to_string();
                let answer = world.ask_as(token, row.method, &target, &body).await;
                answers.push(without_ids(answer, name));
            }
            let [live, missing, deleted] = answers.try_into().unwrap();
            assert_eq!(live, missing, "{} {path}", row.method);
            assert_eq!(live, deleted, "{} {path}", row.method);
            denied += usize::from(live.status == 403);
        }
    }
    let still = world.ask("GET", "/keys/key-live?api-version=7.6", "").await;
    assert_eq!(still.json()["key"]["kid"], kid);
    denied
}

#[tokio::test]
async fn telling_an_existing_key_from_a_missing_or_deleted_one_without_a_role() {
    let world = World::new().await;
    let nobody = world.user("nobody", &[]).await;
    let denied = cannot_tell(&world, &nobody).await;
    // The rest needs a body that is more than `{}`: it is refused before, alike for all keys.
    assert!(denied >= 25, "{denied}");
    world.is_well_and_stops().await;
}

#[tokio::test]
async fn telling_keys_apart_with_a_role_for_another_key() {
    let world = World::new().await;
    let scope = Scope::Key("target".parse().unwrap());
    let user = world
        .user("one-key", &[(BuiltInRole::CryptoUser, scope)])
        .await;
    assert!(cannot_tell(&world, &user).await >= 20);
    world.is_well_and_stops().await;
}

#[tokio::test]
async fn an_action_that_no_role_allows() {
    let world = World::new().await;
    let auditor = world
        .user("auditor", &[(BuiltInRole::CryptoAuditor, Scope::Global)])
        .await;
    let state = world.state().await;
    for (method, target, operation, action) in [
        (
            "POST",
            "/keys/target/sign?api-version=7.6",
            "sign",
            "keys/sign/action",
        ),
        (
            "POST",
            "/keys/new/create?api-version=7.6",
            "create_key",
            "keys/create",
        ),
        ("DELETE", "/keys/target?api-version=7.6", "", "keys/delete"),
        (
            "DELETE",
            "/deletedkeys/target?api-version=7.6",
            "",
            "deletedKeys/delete",
        ),
    ] {
        let body = body_of(operation).to_string();
        let answer = world.ask_as(&auditor, method, target, &body).await;
        assert!(answer.is_error(403), "{answer:?}");
        let error = &answer.json()["error"];
        let message = error["message"].as_str().unwrap();
        assert!(message.contains(action), "{message}");
        assert!(message.contains("/keys"), "{message}");
        assert!(message.contains("auditor"), "{message}");
    }
    assert_eq!(world.state().await, state);
    world.is_well_and_stops().await;
}

#[tokio::test]
async fn giving_oneself_a_role() {
    let world = World::new().await;
    let user = world
        .user("climber", &[(BuiltInRole::CryptoUser, Scope::Keys)])
        .await;
    let state = world.state().await;
    let role = BuiltInRole::Administrator.id();
    let body = json!({ "properties": {
        "roleDefinitionId": format!("Microsoft.KeyVault/providers/Microsoft.Authorization/roleDefinitions/{role}"),
        "principalId": "climber",
    }})
    .to_string();
    for (method, target) in [
        (
            "PUT",
            "/providers/Microsoft.Authorization/roleAssignments/2f6e1a0c-5b1f-4b57-9a7e-0c6d1d7f8a01?api-version=7.6",
        ),
        (
            "PUT",
            "//providers/Microsoft.Authorization/roleAssignments/2f6e1a0c-5b1f-4b57-9a7e-0c6d1d7f8a01?api-version=7.6",
        ),
        (
            "PUT",
            "/keys/target/providers/Microsoft.Authorization/roleAssignments/2f6e1a0c-5b1f-4b57-9a7e-0c6d1d7f8a01?api-version=7.6",
        ),
    ] {
        let answer = world.ask_as(&user, method, target, &body).await;
        assert!(answer.is_error(403), "{answer:?}");
    }
    assert_eq!(world.state().await, state);
    world.is_well_and_stops().await;
}

#[tokio::test]
async fn reading_metrics_the_clock_or_an_authority_outside_of_dev() {
    let world = World::new().await;
    for (method, target) in [
        ("GET", "/metrics"),
        ("GET", "/hsm/v1/clock"),
        ("POST", "/hsm/v1/clock"),
        ("GET", "/common/discovery/instance"),
        ("GET", "/metadata/endpoints"),
        ("GET", "/subscriptions"),
        ("POST", "/hsm/oauth2/v2.0/token"),
        ("GET", "/hsm/v2.0/.well-known/openid-configuration"),
        ("GET", "/debug/pprof"),
        ("GET", "/.git/config"),
    ] {
        for token in ["", &*world.admin] {
            let text = request(method, target, token, "", r#"{"advance":"P90D"}"#);
            let answer = world.send(text).await;
            assert!(answer.is_error(404), "{method} {target}: {answer:?}");
        }
    }
    world.is_well_and_stops().await;
}

#[tokio::test]
async fn finding_users_by_logging_in() {
    let world = World::new().await;
    world.session.create_user("known", PASSWORD).await.unwrap();
    let mut answers = Vec::new();
    for user in ["known", "never", "no name!", ""] {
        let body = json!({ "user": user, "password": "wrong password" }).to_string();
        let answer = world
            .send(request("POST", "/hsm/v1/sessions", "", "", body))
            .await;
        assert!(answer.is_error(401), "{answer:?}");
        answers.push(without_ids(answer, "\0"));
    }
    assert!(
        answers.windows(2).all(|pair| pair[0] == pair[1]),
        "{answers:?}"
    );
    world.is_well_and_stops().await;
}
