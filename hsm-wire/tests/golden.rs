//! The shapes that the public documentation of Key Vault and Managed HSM gives, to the member.
#![expect(clippy::unwrap_used, reason = "helpers of tests are tests")]

use hsm_core::lifecycle::State;
use hsm_core::policy::{ActionSet, BuiltInRole, DataAction, RoleAssignment, RoleDefinition, Scope};
use hsm_core::{
    Algorithm, Attributes, Ciphertext, Deletion, Error, ErrorKind, IfTaken, KeyInfo, KeySpec,
    KeyType, Origin, Page, Principal, PublicKey, Recovery, Request, Response, SignInput, Timestamp,
    Usage, Usages, WrappedFormat,
};
use hsm_wire::{Buffers, EngineRoute, Outgoing, Reply, Route};
use http::{Method, StatusCode};
use serde_json::{Value, json};

const BASE: &str = "https://localhost:8443";
const VERSION: &str = "0123456789abcdef0123456789abcdef";

fn route(method: Method, path: &str) -> EngineRoute {
    match Route::parse(&method, path, Some("api-version=7.5")) {
        Ok(Route::Engine(route)) => route,
        other => panic!("{path}: {other:?}"),
    }
}

/// Reads a body as a server does and hands the request on.
fn read<T>(method: Method, path: &str, body: &Value, check: impl FnOnce(Request<'_>) -> T) -> T {
    let mut buffers = Buffers::default();
    let body = body.to_string();
    check(
        route(method, path)
            .request(body.as_bytes(), &mut buffers)
            .unwrap(),
    )
}

fn refused(method: Method, path: &str, body: &Value) -> Error {
    let mut buffers = Buffers::default();
    let body = body.to_string();
    match route(method, path).request(body.as_bytes(), &mut buffers) {
        Err(error) => error,
        Ok(request) => panic!("{body} was read as {request:?}"),
    }
}

fn json_of(reply: &Reply) -> Value {
    serde_json::from_slice(reply.body.as_bytes()).unwrap()
}

fn info(spec: KeySpec, public: Option<PublicKey>) -> KeyInfo {
    let created = Timestamp::from_unix_seconds(1_493_942_451);
    let mut attributes = Attributes::new(spec, Origin::Generated, created);
    attributes.expires = Some(Timestamp::from_unix_seconds(1_600_000_000));
    let mut info = KeyInfo::new(
        "CreateSoftKeyTest".parse().unwrap(),
        VERSION.parse().unwrap(),
        attributes,
        public,
    );
    info.recovery = Some(Recovery {
        retention_days: 90,
        purge_protection: false,
    });
    info
}

fn p256() -> (KeySpec, PublicKey) {
    let jwk = json!({
        "kty": "EC", "crv": "P-256", "x": "MKBCTNIcKUSDii11ySs3526iDZ8AiTo7Tu6KPAqv7D4",
        "y": "4Etl6SRW2YiLUrN5vfvVHuhp7x8PxltmWWlbbM4IFyM",
    });
    let public = PublicKey::from_jwk(&serde_json::from_value(jwk).unwrap()).unwrap();
    let usages = Usages::of(&[Usage::Sign, Usage::Verify]);
    (KeySpec::new(KeyType::EcP256, usages).unwrap(), public)
}

#[test]
fn a_key_is_created_as_the_documentation_shows() {
    let body = json!({
        "kty": "RSA", "key_size": 2048, "key_ops": ["encrypt", "decrypt", "sign", "verify", "wrapKey", "unwrapKey"],
        "attributes": {}, "tags": {"purpose": "unit test", "test name ": "CreateGetDeleteKeyTest"},
    });
    read(
        Method::POST,
        "/keys/CreateSoftKeyTest/create",
        &body,
        |request| {
            let Request::CreateKey { name, new } = request else {
                panic!("{request:?}")
            };
            assert_eq!(name.as_str(), "CreateSoftKeyTest");
            assert_eq!(new.spec.key_type, KeyType::Rsa2048);
            assert_eq!(
                new.spec.usages.to_string(),
                "sign verify encrypt decrypt wrapKey unwrapKey"
            );
            assert_eq!(new.tags.get("purpose"), Some("unit test"));
            assert_eq!(new.if_taken, IfTaken::AddVersion);
            assert!(!new.pre_activation && !new.spec.exportable);
        },
    );
    let nulls =
        json!({"kty": "EC", "crv": null, "key_ops": null, "attributes": null, "tags": null});
    read(Method::POST, "/keys/a/create", &nulls, |request| {
        let Request::CreateKey { new, .. } = request else {
            panic!("{request:?}")
        };
        assert_eq!(new.spec.key_type, KeyType::EcP256);
        assert_eq!(new.spec.usages.to_string(), "sign verify");
    });
    let disabled = json!({"kty": "oct-HSM", "attributes": {"enabled": false, "nbf": 1, "exp": 2, "exportable": true}, "later": [{}]});
    read(Method::POST, "/keys/a/create", &disabled, |request| {
        let Request::CreateKey { new, .. } = request else {
            panic!("{request:?}")
        };
        assert_eq!(new.spec.key_type, KeyType::Aes256);
        assert_eq!(
            new.spec.usages.to_string(),
            "encrypt decrypt wrapKey unwrapKey"
        );
        assert!(new.pre_activation && new.spec.exportable);
        assert_eq!(new.not_before, Some(Timestamp::from_unix_seconds(1)));
        assert_eq!(new.expires, Some(Timestamp::from_unix_seconds(2)));
    });
}

#[test]
fn a_key_bundle_looks_as_the_documentation_shows() {
    let (spec, public) = p256();
    let route = route(Method::GET, "/keys/CreateSoftKeyTest");
    let reply = route.reply(Ok(Response::Key(Box::new(info(spec, Some(public))))), BASE);
    assert_eq!(reply.status, StatusCode::OK);
    let mut bundle = json_of(&reply);
    let ours = bundle.as_object_mut().unwrap().remove("hsm").unwrap();
    assert_eq!(
        bundle,
        json!({
            "key": {
                "kid": format!("{BASE}/keys/CreateSoftKeyTest/{VERSION}"), "kty": "EC-HSM", "key_ops": ["sign", "verify"],
                "crv": "P-256", "x": "MKBCTNIcKUSDii11ySs3526iDZ8AiTo7Tu6KPAqv7D4",
                "y": "4Etl6SRW2YiLUrN5vfvVHuhp7x8PxltmWWlbbM4IFyM",
            },
            "attributes": {
                "enabled": true, "exp": 1_600_000_000, "created": 1_493_942_451, "updated": 1_493_942_451,
                "recoveryLevel": "Recoverable+Purgeable", "recoverableDays": 90, "exportable": false,
            },
        })
    );
    assert_eq!(ours["type"], "EC-P256");
}

#[test]
fn a_listing_looks_as_the_documentation_shows() {
    let (spec, public) = p256();
    let mut deleted = info(spec, Some(public));
    deleted.attributes.state = State::Suspended;
    deleted.deletion = Some(Deletion {
        deleted: Timestamp::from_unix_seconds(1_493_942_433),
        purge_at: Timestamp::from_unix_seconds(1_501_718_433),
    });
    let page = |next: Option<&str>| {
        Response::Keys(Page {
            items: vec![deleted.clone()],
            next: next.map(str::to_owned),
        })
    };
    let Ok(Route::Engine(listing)) = Route::parse(
        &Method::GET,
        "/deletedkeys",
        Some("api-version=7.4&maxresults=1"),
    ) else {
        panic!("not found");
    };
    let mut list = json_of(&listing.reply(Ok(page(Some("b c"))), BASE));
    list["value"][0]
        .as_object_mut()
        .unwrap()
        .remove("hsm")
        .unwrap();
    assert_eq!(
        list,
        json!({
            "value": [{
                "kid": format!("{BASE}/keys/CreateSoftKeyTest"),
                "attributes": {
                    "enabled": false, "exp": 1_600_000_000, "created": 1_493_942_451, "updated": 1_493_942_451,
                    "recoveryLevel": "Recoverable+Purgeable", "recoverableDays": 90, "exportable": false,
                },
                "recoveryId": format!("{BASE}/deletedkeys/CreateSoftKeyTest"), "deletedDate": 1_493_942_433,
                "scheduledPurgeDate": 1_501_718_433,
            }],
            "nextLink": format!("{BASE}/deletedkeys?api-version=7.6&maxresults=1&$skiptoken=b%20c"),
        })
    );
    let last = json_of(&listing.reply(Ok(page(None)), BASE));
    assert_eq!(last["nextLink"], Value::Null);
    let versions = route(Method::GET, "/keys/CreateSoftKeyTest/versions");
    let list = json_of(&versions.reply(Ok(page(None)), BASE));
    assert_eq!(
        list["value"][0]["kid"],
        format!("{BASE}/keys/CreateSoftKeyTest/{VERSION}")
    );
}

#[test]
fn a_key_of_the_real_service_is_read_without_our_member() {
    let get = Outgoing::new(&Request::GetKey {
        key: "a".parse().unwrap(),
    })
    .unwrap();
    let body = json!({
        "key": {
            "kid": format!("https://pool.managedhsm.azure.net/keys/a/{VERSION}"), "kty": "EC-HSM", "crv": "P-256",
            "key_ops": ["sign", "verify", "somethingNew"],
            "x": "MKBCTNIcKUSDii11ySs3526iDZ8AiTo7Tu6KPAqv7D4", "y": "4Etl6SRW2YiLUrN5vfvVHuhp7x8PxltmWWlbbM4IFyM",
        },
        "attributes": {
            "enabled": false, "created": 1, "updated": 2, "recoverableDays": 7, "recoveryLevel": "CustomizedRecoverable",
            "hsmPlatform": "2",
        },
        "tags": {"a": "b"},
    });
    let response = get
        .route
        .response(StatusCode::OK, body.to_string().as_bytes())
        .unwrap();
    let Response::Key(info) = response else {
        panic!("{response:?}")
    };
    assert_eq!(info.key().to_string(), format!("a/{VERSION}"));
    assert_eq!(info.attributes.spec.key_type, KeyType::EcP256);
    assert_eq!(info.attributes.spec.usages.to_string(), "sign verify");
    assert_eq!(info.attributes.state, State::Suspended);
    assert_eq!(
        info.recovery,
        Some(Recovery {
            retention_days: 7,
            purge_protection: true
        })
    );
    assert!(info.public.is_some());

    let list = Outgoing::new(&Request::ListKeys {
        page: Default::default(),
    })
    .unwrap();
    let body = json!({
        "value": [{"kid": "https://pool.managedhsm.azure.net/keys/b", "attributes": {"enabled": true}}],
        "nextLink": "https://pool.managedhsm.azure.net/keys?api-version=7.6&$skiptoken=eyJO%3D&maxresults=25",
    });
    let response = list
        .route
        .response(StatusCode::OK, body.to_string().as_bytes())
        .unwrap();
    let Response::Keys(page) = response else {
        panic!("{response:?}")
    };
    assert_eq!(page.next.as_deref(), Some("eyJO="));
    assert!(
        page.items[0].attributes.spec.usages.is_empty(),
        "it does not say what the key is for"
    );
}

#[test]
fn operations_look_as_the_documentation_shows() {
    let version = VERSION.parse().unwrap();
    let path = format!("/keys/testkey/{VERSION}/sign");
    read(
        Method::POST,
        &path,
        &json!({"alg": "RS512", "value": "RUE3Nzg4NTQ4QjQ5RjFFN0U2NzAyQzhDNEMwMkJDOTA"}),
        |request| {
            let Request::Sign {
                key,
                algorithm,
                input,
            } = request
            else {
                panic!("{request:?}")
            };
            assert_eq!(key.to_string(), format!("testkey/{VERSION}"));
            assert_eq!(algorithm, Algorithm::Rs512);
            assert!(
                matches!(input, SignInput::Digest(digest) if digest == b"EA7788548B49F1E7E6702C8C4C02BC90")
            );
        },
    );
    let reply = route(Method::POST, &path).reply(
        Ok(Response::Signature {
            bytes: b"abc".to_vec(),
            version,
        }),
        BASE,
    );
    assert_eq!(
        json_of(&reply),
        json!({"kid": format!("{BASE}/keys/testkey/{VERSION}"), "value": "YWJj"})
    );

    let verify = route(Method::POST, "/keys/testkey//verify");
    assert_eq!(
        json_of(&verify.reply(Ok(Response::Done), BASE)),
        json!({"value": true})
    );
    let wrong = verify.reply(Err(Error::crypto()), BASE);
    assert_eq!(
        (wrong.status, json_of(&wrong)),
        (StatusCode::OK, json!({"value": false}))
    );

    let encrypt = route(Method::POST, "/keys/testkey//encrypt");
    let ciphertext = Ciphertext {
        ciphertext: b"a".to_vec(),
        iv: b"b".to_vec(),
        tag: b"c".to_vec(),
    };
    let reply = encrypt.reply(
        Ok(Response::Ciphertext {
            ciphertext,
            version,
        }),
        BASE,
    );
    assert_eq!(
        json_of(&reply),
        json!({"kid": format!("{BASE}/keys/testkey/{VERSION}"), "value": "YQ", "iv": "Yg", "tag": "Yw"})
    );
    let wrong = route(Method::POST, "/keys/testkey//decrypt").reply(Err(Error::crypto()), BASE);
    assert_eq!(wrong.status, StatusCode::BAD_REQUEST);

    read(
        Method::POST,
        "/keys/m//sign",
        &json!({"alg": "HS256", "value": "YQ"}),
        |request| {
            assert!(matches!(request, Request::Mac { message: b"a", .. }));
        },
    );
    read(Method::POST, "/rng", &json!({"count": 32}), |request| {
        assert!(matches!(request, Request::Random { len: 32 }));
    });
    let purged = route(Method::DELETE, "/deletedkeys/a").reply(Ok(Response::Done), BASE);
    assert_eq!(
        (purged.status, purged.body.as_bytes()),
        (StatusCode::NO_CONTENT, &b""[..])
    );
}

#[test]
fn keys_are_imported_as_json_web_keys() {
    let body = json!({"Hsm": true, "key": {"kty": "oct-HSM", "key_ops": ["sign", "verify"], "k": "AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA"}});
    read(Method::PUT, "/keys/a", &body, |request| {
        let Request::ImportKey { new, material, .. } = request else {
            panic!("{request:?}")
        };
        assert_eq!(new.spec.key_type, KeyType::HmacSha256);
        assert_eq!(material.expose(), [0; 32]);
    });
    // RFC 8037 appendix A.1.
    let body = json!({"key": {
        "kty": "OKP", "crv": "Ed25519", "d": "nWGxne_9WmC6hEr0kuwsxERJxWl7MmkZcDusAxyuf2A",
        "x": "11qYAYKxCrfVS_7TyWQHOg7hcvPapiMlrwIaaPcHURo",
    }});
    read(Method::PUT, "/keys/a", &body, |request| {
        let Request::ImportKey { new, .. } = request else {
            panic!("{request:?}")
        };
        assert_eq!(new.spec.key_type, KeyType::Ed25519);
    });
}

#[test]
fn a_key_that_travels_under_another_is_unwrapped_under_the_one_that_its_file_names() {
    use base64ct::{Base64UrlUnpadded, Encoding};

    let file = json!({
        "schema_version": "1.0.0",
        "header": {"kid": format!("https://localhost/keys/kek/{VERSION}"), "alg": "dir", "enc": "CKM_RSA_AES_KEY_WRAP"},
        "ciphertext": Base64UrlUnpadded::encode_string(&[7; 256 + 40]), "generator": "BYOK",
    });
    let file = Base64UrlUnpadded::encode_string(file.to_string().as_bytes());
    let body =
        json!({"key": {"kty": "oct-HSM", "key_ops": ["encrypt", "decrypt"], "key_hsm": file}});
    read(Method::PUT, "/keys/a", &body, |request| {
        let Request::ImportWrappedKey {
            new,
            wrapping,
            algorithm,
            wrapped,
            format,
            ..
        } = request
        else {
            panic!("{request:?}");
        };
        assert_eq!(new.spec.key_type, KeyType::Aes256);
        assert_eq!(wrapping.to_string(), format!("kek/{VERSION}"));
        assert_eq!(algorithm, Algorithm::RsaAesKwp);
        assert_eq!(wrapped, [7; 256 + 40]);
        assert_eq!(format, WrappedFormat::Bare);
    });
}

#[test]
fn roles_look_as_managed_hsm_shows_them() {
    let id = BuiltInRole::CryptoUser.id();
    let path = format!("/providers/Microsoft.Authorization/roleDefinitions/{id}");
    let get = route(Method::GET, &path);
    let roles = || {
        BuiltInRole::ALL
            .iter()
            .map(|role| RoleDefinition::from(*role))
            .collect()
    };
    let role = json_of(&get.reply(Ok(Response::RoleDefinitions(roles())), BASE));
    assert_eq!(
        role["id"],
        format!("Microsoft.KeyVault/providers/Microsoft.Authorization/roleDefinitions/{id}")
    );
    assert_eq!(role["name"], id.to_string());
    assert_eq!(role["type"], "Microsoft.Authorization/roleDefinitions");
    assert_eq!(role["properties"]["type"], "AKVBuiltInRole");
    assert_eq!(role["properties"]["roleName"], "Managed HSM Crypto User");
    assert_eq!(
        role["properties"]["permissions"][0]["dataActions"][0],
        DataAction::KeyRead.name()
    );
    let missing = get.reply(Ok(Response::RoleDefinitions(vec![])), BASE);
    assert_eq!(missing.status, StatusCode::NOT_FOUND);

    let custom = "00000000-0000-4000-8000-000000000001";
    let body = json!({"properties": {
        "roleName": "signer", "description": "signs", "type": "CustomRole", "assignableScopes": ["/"],
        "permissions": [{
            "actions": [], "notActions": [],
            "dataActions": [DataAction::KeySign.name(), DataAction::KeyVerify.name()],
            "notDataActions": [DataAction::KeyVerify.name()],
        }],
    }});
    read(
        Method::PUT,
        &format!("/providers/Microsoft.Authorization/roleDefinitions/{custom}"),
        &body,
        |request| {
            let Request::PutRoleDefinition { definition } = request else {
                panic!("{request:?}")
            };
            assert_eq!(
                (definition.name.as_str(), definition.id.to_string().as_str()),
                ("signer", custom)
            );
            assert_eq!(definition.actions, ActionSet::of(&[DataAction::KeySign]));
        },
    );

    let path = format!("/keys/a/providers/Microsoft.Authorization/roleAssignments/{custom}");
    let body = json!({"properties": {
        "roleDefinitionId": format!("Microsoft.KeyVault/providers/Microsoft.Authorization/roleDefinitions/{id}"),
        "principalId": "f8d1b6d0-7d7c-4d6f-a9d3-9d0f0b9d0b5e",
    }});
    read(Method::PUT, &path, &body, |request| {
        let Request::CreateRoleAssignment {
            id: Some(_),
            role,
            principal,
            scope,
        } = request
        else {
            panic!("{request:?}")
        };
        assert_eq!((role, scope.to_string().as_str()), (id, "/keys/a"));
        assert_eq!(principal.as_str(), "f8d1b6d0-7d7c-4d6f-a9d3-9d0f0b9d0b5e");
    });
    let principal = Principal::new("app").unwrap();
    let assignment = RoleAssignment::new(
        custom.parse().unwrap(),
        id,
        principal,
        Scope::Keys,
        Timestamp::default(),
    );
    let reply =
        route(Method::PUT, &path).reply(Ok(Response::RoleAssignment(Box::new(assignment))), BASE);
    assert_eq!(reply.status, StatusCode::CREATED);
    let mut made = json_of(&reply);
    made.as_object_mut().unwrap().remove("hsm");
    assert_eq!(
        made,
        json!({
            "id": format!("/providers/Microsoft.Authorization/roleAssignments/{custom}"), "name": custom,
            "type": "Microsoft.Authorization/roleAssignments",
            "properties": {
                "roleDefinitionId": format!("Microsoft.KeyVault/providers/Microsoft.Authorization/roleDefinitions/{id}"),
                "principalId": "app", "scope": "/keys",
            },
        })
    );
}

#[test]
fn errors_look_as_the_documentation_shows() {
    use hsm_core::policy::{Grants, authorize};

    let principal = Principal::new("app").unwrap();
    let scope = Scope::Key("a".parse().unwrap());
    let denied =
        authorize(&principal, &Grants::default(), DataAction::KeySign, &scope).unwrap_err();
    let reply = Reply::error(&denied);
    assert_eq!(reply.status, StatusCode::FORBIDDEN);
    let body = json_of(&reply);
    assert_eq!(body["error"]["code"], "AccessDenied");
    let message = body["error"]["message"].as_str().unwrap();
    let expected =
        "Not authorized to access Microsoft.KeyVault/managedHsm/keys/sign/action on /keys/a";
    assert!(message.starts_with(expected), "{message}");

    let wait = Error::new(ErrorKind::LockedOut, "slowly")
        .with_retry_after(std::time::Duration::from_millis(1001));
    let reply = Reply::error(&wait);
    assert_eq!(
        (reply.status, reply.retry_after),
        (StatusCode::TOO_MANY_REQUESTS, Some(2))
    );
    assert_eq!(json_of(&reply)["error"]["code"], "Throttled");
}

#[test]
fn errors_of_the_real_services_are_told_apart() {
    let read = |status: u16, body: &str| {
        let status = StatusCode::from_u16(status).unwrap();
        hsm_wire::read_error(status, body.as_bytes()).kind()
    };
    let cases = [
        (
            401,
            r#"{"error":{"code":"Unauthorized","message":"AKV10000: …"}}"#,
            ErrorKind::Unauthenticated,
        ),
        (
            403,
            r#"{"error":{"code":"Forbidden","message":"…","innererror":{"code":"ForbiddenByRbac"}}}"#,
            ErrorKind::Denied,
        ),
        (
            403,
            r#"{"error":{"code":"Forbidden","message":"…","innererror":{"code":"KeyDisabled"}}}"#,
            ErrorKind::KeyState,
        ),
        (
            403,
            r#"{"error":{"code":"AccessDenied","message":"…"}}"#,
            ErrorKind::Denied,
        ),
        (
            404,
            r#"{"error":{"code":"KeyNotFound","message":"…"}}"#,
            ErrorKind::NotFound,
        ),
        (
            409,
            r#"{"error":{"code":"Conflict","innererror":{"code":"ObjectIsDeletedButRecoverable"}}}"#,
            ErrorKind::Conflict,
        ),
        (
            429,
            r#"{"error":{"code":"Throttled","message":"…"}}"#,
            ErrorKind::LockedOut,
        ),
        (400, "<html>", ErrorKind::InvalidInput),
        (405, "", ErrorKind::Unsupported),
        (500, "", ErrorKind::Unknown),
        (
            503,
            r#"{"error":{"code":"ServiceUnavailable"}}"#,
            ErrorKind::Unknown,
        ),
    ];
    for (status, body, kind) in cases {
        assert_eq!(read(status, body), kind, "{status} {body}");
    }
}

#[test]
fn bad_bodies_are_refused_and_the_member_is_named() {
    let deep = |levels: usize| -> String { "[".repeat(levels) + &"]".repeat(levels) };
    let cases = [
        ("/keys/a//sign", json!({"alg": "RS256"}), "`value`"),
        ("/keys/a//sign", json!({"value": "YQ"}), "`alg`"),
        (
            "/keys/a//sign",
            json!({"alg": "RS1", "value": "YQ"}),
            "`alg`",
        ),
        (
            "/keys/a//sign",
            json!({"alg": "RS256", "value": "YQ=="}),
            "leave the `=` out",
        ),
        (
            "/keys/a//sign",
            json!({"alg": "RS256", "value": "a+/b"}),
            "`value`",
        ),
        (
            "/keys/a//sign",
            json!({"alg": "RS256", "value": 1}),
            "`value` is text",
        ),
        ("/keys/a//sign", json!(["RS256", "YQ"]), "object"),
        (
            "/keys/a//verify",
            json!({"alg": "RS256", "value": "YQ"}),
            "`digest`",
        ),
        ("/keys/a/create", json!({"key_size": 2048}), "`kty`"),
        (
            "/keys/a/create",
            json!({"kty": "RSA", "key_size": 1000}),
            "`key_size`",
        ),
        (
            "/keys/a/create",
            json!({"kty": "RSA", "key_size": "2048"}),
            "`key_size`",
        ),
        (
            "/keys/a/create",
            json!({"kty": "RSA", "public_exponent": 3}),
            "`public_exponent`",
        ),
        (
            "/keys/a/create",
            json!({"kty": "EC", "crv": "P-1"}),
            "`crv`",
        ),
        (
            "/keys/a/create",
            json!({"kty": "EC", "key_ops": ["fly"]}),
            "`key_ops`",
        ),
        (
            "/keys/a/create",
            json!({"kty": "EC", "attributes": {"exp": "soon"}}),
            "`attributes.exp`",
        ),
        (
            "/keys/a/create",
            json!({"kty": "EC", "attributes": {"exp": -1}}),
            "`attributes.exp`",
        ),
        (
            "/keys/a/create",
            json!({"kty": "EC", "tags": {"a": 1}}),
            "`tags",
        ),
        (
            "/keys/a/create",
            json!({"kty": "EC", "release_policy": {}}),
            "`release_policy`",
        ),
        ("/rng", json!({"count": "32"}), "`count`"),
        ("/rng", json!({"count": -1}), "`count`"),
    ];
    for (path, body, expected) in cases {
        let error = refused(Method::POST, path, &body);
        assert!(error.message().contains(expected), "{path} {body}: {error}");
    }
    let mut buffers = Buffers::default();
    let sign = route(Method::POST, "/keys/a//sign");
    let too_deep = format!(r#"{{"x":{}}}"#, deep(10_000));
    for body in [
        r#"{"alg":"RS256","alg":"RS512","value":"YQ"}"#,
        r#"{"alg":"RS256","value":"YQ"}x"#,
        r#"{"alg":"RS256","value":"YQ""#,
        "{\"alg\":\"RS256\",\"value\":\"\u{0}\"}",
        &too_deep,
    ] {
        let error = sign.request(body.as_bytes(), &mut buffers).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::InvalidInput, "{body:.60}");
    }
    let twice = br#"{"kty":"EC","tags":{"a":"b","a":"c"}}"#;
    let error = route(Method::POST, "/keys/a/create")
        .request(twice, &mut buffers)
        .unwrap_err();
    assert!(error.message().contains("twice"), "{error}");
    // What nobody knows is not looked at, as deep as it may be.
    let unknown = format!(r#"{{"alg":"RS256","value":"YQ","x":{}}}"#, deep(64));
    assert!(sign.request(unknown.as_bytes(), &mut buffers).is_ok());
}

#[test]
fn a_refusal_says_what_it_is_about_and_our_client_reads_its_kind() {
    let role =
        "/providers/Microsoft.Authorization/roleDefinitions/00000000-0000-0000-0000-000000000001";
    let assignment = "/keys/providers/Microsoft.Authorization/roleAssignments/00000000-0000-0000-0000-000000000001";
    let deleted = "key a is soft-deleted; recover or purge it, or choose another name";
    let cases = [
        (
            Method::GET,
            "/keys/a",
            ErrorKind::NotFound,
            "",
            404,
            "KeyNotFound",
            "NotFound",
        ),
        (
            Method::GET,
            role,
            ErrorKind::NotFound,
            "",
            404,
            "RoleDefinitionNotFound",
            "NotFound",
        ),
        (
            Method::DELETE,
            assignment,
            ErrorKind::NotFound,
            "",
            404,
            "RoleAssignmentNotFound",
            "NotFound",
        ),
        (
            Method::GET,
            "/settings/a",
            ErrorKind::NotFound,
            "",
            404,
            "SettingNotFound",
            "NotFound",
        ),
        (
            Method::POST,
            "/keys/a/create",
            ErrorKind::Conflict,
            deleted,
            409,
            "Conflict",
            "ObjectIsDeletedButRecoverable",
        ),
        (
            Method::POST,
            "/keys/a/create",
            ErrorKind::Conflict,
            "taken",
            409,
            "Conflict",
            "Conflict",
        ),
        // What the caller sent is damaged, not the server.
        (
            Method::POST,
            "/keys/restore",
            ErrorKind::Damaged,
            "",
            400,
            "BadParameter",
            "Damaged",
        ),
        (
            Method::GET,
            "/keys/a",
            ErrorKind::Damaged,
            "",
            500,
            "InternalServerError",
            "Damaged",
        ),
    ];
    for (method, path, kind, message, status, code, inner) in cases {
        let route = route(method, path);
        let reply = route.reply(Err(Error::new(kind, message)), "https://localhost");
        assert_eq!(reply.status, status, "{path}");
        let body: Value = serde_json::from_slice(reply.body.as_bytes()).unwrap();
        assert_eq!(body["error"]["code"], code, "{path}");
        assert_eq!(body["error"]["innererror"]["code"], inner, "{path}");
        let read = route
            .response(reply.status, reply.body.as_bytes())
            .unwrap_err();
        assert_eq!(read.kind(), kind, "{path}");
    }
}
