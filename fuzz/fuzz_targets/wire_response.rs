//! Whatever a server answers: the client reads it or refuses it, and what it reads is written and read back the same.
#![no_main]

use std::sync::LazyLock;

use hsm_wire::{EngineRoute, Route};
use http::{Method, StatusCode};
use libfuzzer_sys::fuzz_target;

static ROUTES: LazyLock<Vec<EngineRoute>> = LazyLock::new(|| {
    let targets = [
        (Method::GET, "/keys/a"),
        (Method::DELETE, "/keys/a"),
        (Method::GET, "/keys"),
        (Method::GET, "/keys/a/versions"),
        (Method::GET, "/deletedkeys"),
        (Method::GET, "/keys/a/rotationpolicy"),
        (Method::POST, "/keys/a/backup"),
        (Method::POST, "/keys/a/sign"),
        (Method::POST, "/keys/a/verify"),
        (Method::POST, "/keys/a/encrypt"),
        (Method::POST, "/keys/a/decrypt"),
        (Method::POST, "/keys/a/wrapkey"),
        (Method::POST, "/hsm/v1/keys/a/encapsulate"),
        (
            Method::GET,
            "/providers/Microsoft.Authorization/roleDefinitions",
        ),
        (
            Method::GET,
            "/providers/Microsoft.Authorization/roleAssignments",
        ),
        (Method::POST, "/hsm/v1/roleassignments"),
        (Method::GET, "/hsm/v1/partition"),
        (Method::GET, "/hsm/v1/users"),
        (Method::GET, "/hsm/v1/tokens"),
        (Method::PUT, "/hsm/v1/tokens/a"),
        (Method::GET, "/hsm/v1/audit"),
        (
            Method::GET,
            "/hsm/v1/audit/0123456789abcdef0123456789abcdef",
        ),
    ];
    let route =
        |(method, path): &(Method, &str)| match Route::parse(method, path, Some("api-version=7.6"))
        {
            Ok(Route::Engine(route)) => route,
            other => panic!("{path}: {other:?}"),
        };
    targets.iter().map(route).collect()
});

/// A byte for the route, one for the status, then the body.
fuzz_target!(|data: &[u8]| {
    let [which, status, body @ ..] = data else {
        return;
    };
    let route = &ROUTES[usize::from(*which) % ROUTES.len()];
    let status = match status {
        0..128 => StatusCode::OK,
        status => StatusCode::from_u16(400 + u16::from(status - 128)).expect("400 to 527"),
    };
    let Ok(response) = route.response(status, body) else {
        return;
    };
    let first = route.reply(Ok(response), "https://localhost");
    let Ok(response) = route.response(first.status, first.body.as_bytes()) else {
        panic!("what was written is not read");
    };
    let second = route.reply(Ok(response), "https://localhost");
    assert_eq!(first.body.as_bytes(), second.body.as_bytes());
});
