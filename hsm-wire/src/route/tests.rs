//! Tests of the table of routes: spellings that are taken, and those that are not.

use hsm_core::policy::BuiltInRole;

use super::*;

const KEY: &str = "/keys/a-key";
const VERSION: &str = "0123456789abcdef0123456789abcdef";
const API: Option<&str> = Some("api-version=7.6");

fn get(path: &str, query: Option<&str>) -> Result<Route, Misrouted> {
    Route::parse(&Method::GET, path, query)
}

fn operation(method: Method, path: &str) -> &'static str {
    match Route::parse(&method, path, API) {
        Ok(route) => route.endpoint().operation,
        Err(error) => panic!("{method} {path}: {error:?}"),
    }
}

#[test]
fn official_clients_find_their_paths() {
    let id = BuiltInRole::CryptoUser.id();
    let cases = [
        (Method::POST, format!("{KEY}/create"), "create_key"),
        (Method::PUT, KEY.to_owned(), "import_key"),
        (Method::GET, KEY.to_owned(), "get_key"),
        (Method::GET, format!("{KEY}/"), "get_key"),
        (Method::GET, format!("{KEY}/{VERSION}"), "get_key"),
        (Method::PATCH, format!("{KEY}/"), "update_key"),
        (Method::GET, format!("{KEY}/versions"), "list_versions"),
        (Method::GET, format!("{KEY}/versions/"), "list_versions"),
        (Method::GET, "/keys".to_owned(), "list_keys"),
        (Method::GET, "/keys/".to_owned(), "list_keys"),
        (Method::POST, format!("{KEY}//sign"), "sign"),
        (Method::POST, format!("{KEY}/sign"), "sign"),
        (Method::POST, format!("{KEY}/{VERSION}/sign"), "sign"),
        (Method::POST, format!("{KEY}/{VERSION}/wrapkey"), "wrap_key"),
        (Method::POST, "/keys/restore".to_owned(), "restore_key"),
        (Method::GET, "/keys/restore".to_owned(), "get_key"),
        (Method::PUT, "/keys/restore".to_owned(), "import_key"),
        (Method::POST, "/rng".to_owned(), "random"),
        (Method::DELETE, "/deletedkeys/a".to_owned(), "purge_key"),
        (
            Method::GET,
            "/providers/Microsoft.Authorization/roleDefinitions".to_owned(),
            "list_role_definitions",
        ),
        (
            Method::GET,
            "///providers/Microsoft.Authorization/roleDefinitions".to_owned(),
            "list_role_definitions",
        ),
        (
            Method::PUT,
            format!("//keys/providers/Microsoft.Authorization/roleAssignments/{id}"),
            "put_role_assignment",
        ),
        (
            Method::GET,
            format!("/keys/a/providers/Microsoft.Authorization/roleAssignments/{id}"),
            "get_role_assignment",
        ),
        (
            Method::PATCH,
            "/settings/PurgeProtection".to_owned(),
            "update_setting",
        ),
        (
            Method::GET,
            "/hsm/v1/audit/0123456789abcdef0123456789abcdef".to_owned(),
            "read_audit",
        ),
        (
            Method::POST,
            format!("{KEY}/{VERSION}/release"),
            "release_key",
        ),
        (Method::GET, "/secrets/a/b".to_owned(), "secrets"),
        (
            Method::GET,
            "/securitydomain/download/pending".to_owned(),
            "security_domain",
        ),
    ];
    for (method, path, expected) in cases {
        assert_eq!(operation(method, &path), expected, "{path}");
    }
}

#[test]
fn every_row_is_found_at_its_own_path() {
    for endpoint in endpoints() {
        let path = endpoint
            .path
            .replace("{...}", "x")
            .replace("/{scope}", "")
            .replace("{name}", "a")
            .replace("{version}", VERSION)
            .replace("{stream}", VERSION)
            .replace("{id}", "a290e904-7015-4bba-90c8-60543313cdb4")
            .replace(['{', '}'], "");
        let method = match endpoint.method {
            ANY => Method::GET,
            method => Method::from_bytes(method.as_bytes()).unwrap(),
        };
        let route =
            Route::parse(&method, &path, Some("api-version=7.4&nonce=AAECAwQFBgc")).unwrap();
        let found = route.endpoint();
        assert_eq!(found.implemented, endpoint.implemented, "{path}");
        if endpoint.implemented {
            assert_eq!(found.operation, endpoint.operation, "{path}");
        }
    }
}

#[test]
fn names_are_decoded_once() {
    let Ok(Route::Engine(EngineRoute::GetKey { key, .. })) =
        get("/%6Beys/a%2Dkey", Some("api%2Dversion=7.4"))
    else {
        panic!("not found");
    };
    assert_eq!(key.to_string(), "a-key");
    assert!(matches!(
        get("/keys/a%252Dkey", API),
        Err(Misrouted::BadParameter(_))
    ));
}

#[test]
fn bad_paths_are_refused() {
    let long = format!("/keys/{}", "a".repeat(128));
    let deep = "/a".repeat(1000);
    for path in [
        "",
        "keys",
        "//keys",
        "/keys//versions",
        "/Keys",
        "/keys/a/b/c/d",
        "/nothing",
        "/keys/\u{0}",
        "/keys/%00",
        "/keys/a%2fb",
        "/keys/a%2Fsign",
        "/keys/..",
        "/keys/%2e%2e",
        "/keys/../rng",
        "/keys/%2e%2e/rng",
        "/keys/schlüssel",
        "/keys/%C3%A4",
        "/keys/%ff",
        "/keys/%zz",
        "/keys/a_b",
        "/keys/a b",
        "/keys/a/0123",
        "/keys/a\\b",
        "/./keys",
        "/hsm/v1",
        "/hsm/v2/users",
        "/keys/a/0123456789ABCDEF0123456789ABCDEF",
        &long,
        &deep,
        "/keys/a/b/providers/Microsoft.Authorization/roleAssignments",
        "/secrets/../providers/Microsoft.Authorization/roleDefinitions",
        "/providers/Microsoft.Authorization/roleDefinitions/not-an-id",
    ] {
        match get(path, API) {
            Err(Misrouted::NotFound | Misrouted::BadParameter(_)) => {}
            other => panic!("{path}: {other:?}"),
        }
    }
    assert!(get(&format!("/keys/{}", "a".repeat(127)), API).is_ok());
}

#[test]
fn methods_that_do_not_fit_are_told_which_do() {
    let cases = [
        (Method::PUT, "/rng", "POST"),
        (Method::POST, "/keys", "GET"),
        (Method::HEAD, "/keys", "GET"),
        (Method::POST, KEY, "DELETE, GET, PATCH, PUT"),
        (Method::GET, "/hsm/v1/sessions", "POST"),
        (Method::OPTIONS, "/hsm/v1/clock", "GET, POST"),
    ];
    for (method, path, allowed) in cases {
        assert_eq!(
            Route::parse(&method, path, API),
            Err(Misrouted::Method(allowed)),
            "{method} {path}"
        );
    }
}

#[test]
fn versions_of_the_api_are_checked_where_the_real_service_does() {
    for version in API_VERSIONS {
        assert!(
            get(KEY, Some(&format!("api-version={version}"))).is_ok(),
            "{version}"
        );
    }
    for query in [
        None,
        Some(""),
        Some("api-version="),
        Some("api-version=6.0"),
        Some("api-version=7.6&api-version=7.6"),
    ] {
        assert!(
            matches!(get(KEY, query), Err(Misrouted::BadParameter(_))),
            "{query:?}"
        );
    }
    for path in [
        "/healthz",
        "/readyz",
        "/hsm/v1/users",
        "/hsm/v1/openapi.json",
    ] {
        assert!(get(path, None).is_ok(), "{path}");
    }
}

#[test]
fn pages_have_bounds() {
    let page = |query: &str| match get("/keys", Some(&format!("api-version=7.6&{query}"))) {
        Ok(Route::Engine(EngineRoute::ListKeys { page, .. })) => Ok(page),
        Err(error) => Err(error),
        other => panic!("{other:?}"),
    };
    assert_eq!(page("maxresults=25").unwrap().limit, Some(25));
    assert_eq!(page("hsm-maxresults=1000").unwrap().limit, Some(1000));
    assert_eq!(
        page("%24skiptoken=a%2Bb+c").unwrap().after.as_deref(),
        Some("a+b c")
    );
    for query in [
        "maxresults=0",
        "maxresults=26",
        "maxresults=x",
        "maxresults=-1",
        "maxresults=%2B5",
        "maxresults=5&maxresults=5",
    ] {
        assert!(
            matches!(page(query), Err(Misrouted::BadParameter(_))),
            "{query}"
        );
    }
    assert!(matches!(
        page(&format!("$skiptoken={}", "a".repeat(10_000))),
        Err(Misrouted::BadParameter(_))
    ));
}

#[test]
fn filters_are_read_or_refused() {
    let list = |filter: &str| {
        let query = format!("api-version=7.6&$filter={filter}");
        match get(
            "/providers/Microsoft.Authorization/roleAssignments",
            Some(&query),
        ) {
            Ok(Route::Engine(EngineRoute::ListRoleAssignments {
                assigned_at,
                assigned_to,
                ..
            })) => Ok((
                assigned_at,
                assigned_to.map(|principal| principal.to_string()),
            )),
            Err(error) => Err(error),
            other => panic!("{other:?}"),
        }
    };
    assert_eq!(list("").unwrap(), (None, None));
    assert_eq!(list("atScope()").unwrap(), (Some(Scope::Global), None));
    assert_eq!(
        list("principalId%20eq%20'app'").unwrap(),
        (None, Some("app".to_owned()))
    );
    assert_eq!(
        list("atScope()+and+principalId+eq+'app'").unwrap(),
        (Some(Scope::Global), Some("app".to_owned()))
    );
    for filter in [
        "x",
        "principalId eq app",
        "principalId eq 'a b'",
        "principalId ne 'app'",
        "atScope() or atScope()",
    ] {
        assert!(
            matches!(list(filter), Err(Misrouted::BadParameter(_))),
            "{filter}"
        );
    }
}
