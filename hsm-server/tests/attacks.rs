//! Bad input, faults and attacks, each by name, against a server that runs. After each, an ordinary request is served.
//!
//! `docs/server-attacks.md` lists them all.

#[path = "attacks/authorization.rs"]
mod authorization;
#[path = "attacks/bodies.rs"]
mod bodies;
#[path = "attacks/connections.rs"]
mod connections;
#[path = "attacks/headers.rs"]
mod headers;
#[path = "attacks/identity.rs"]
mod identity;
#[path = "attacks/issuer.rs"]
mod issuer;
#[path = "attacks/limits.rs"]
mod limits;
#[path = "attacks/paths.rs"]
mod paths;
#[path = "attacks/world.rs"]
mod world;

#[test]
fn every_attack_is_in_the_document() {
    let root = concat!(env!("CARGO_MANIFEST_DIR"), "/../docs/server-attacks.md");
    let document = std::fs::read_to_string(root).unwrap();
    let modules = [
        ("identity", include_str!("attacks/identity.rs")),
        ("authorization", include_str!("attacks/authorization.rs")),
        ("paths", include_str!("attacks/paths.rs")),
        ("bodies", include_str!("attacks/bodies.rs")),
        ("connections", include_str!("attacks/connections.rs")),
        ("limits", include_str!("attacks/limits.rs")),
        ("headers", include_str!("attacks/headers.rs")),
    ];
    let mut found = 0;
    for (module, source) in modules {
        for test in source.split("#[tokio::test").skip(1) {
            let (_, rest) = test.split_once("async fn ").unwrap();
            let (name, _) = rest.split_once('(').unwrap();
            assert!(
                document.contains(&format!("`{module}::{name}`")),
                "{module}::{name}"
            );
            found += 1;
        }
    }
    assert_eq!(
        document.matches("::").count(),
        found,
        "a test that is not there"
    );
}
