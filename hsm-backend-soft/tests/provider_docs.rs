//! The tables in `docs/providers.md` are what the devices say. `UPDATE_DOCS=1 cargo test -p hsm-backend-soft
//! --features rust-crypto --test provider_docs` writes them anew.
#![expect(clippy::unwrap_used, reason = "a helper of a test may fail it")]

use std::path::Path;

use hsm_backend_soft::{CryptoProvider, SoftDevice};
use hsm_core::{Algorithm, Capabilities, Device, KeyType};

#[test]
fn the_tables_are_what_the_devices_say() {
    check(
        "key types",
        "key type",
        KeyType::all().map(|key_type| (key_type.info().name, key_type)),
        |device, key_type| device.supports_key_type(*key_type),
    );
    check(
        "algorithms",
        "algorithm",
        Algorithm::all().map(|algorithm| (algorithm.name(), algorithm)),
        |device, algorithm| device.supports_algorithm(*algorithm),
    );
}

/// Compares the part `name` of the page with a table of the registry's `rows`, or writes it.
fn check<T>(
    name: &str,
    title: &str,
    rows: impl Iterator<Item = (&'static str, T)>,
    has: impl Fn(&Capabilities, &T) -> bool,
) {
    let devices = CryptoProvider::ALL.iter().map(|provider| {
        let device = SoftDevice::options(*provider).in_memory().unwrap();
        (format!("`{provider:?}`"), device.capabilities().clone())
    });
    let (names, devices): (Vec<_>, Vec<_>) = devices.unzip();
    let line = |cells: Vec<&str>| format!("| {} |\n", cells.join(" | "));
    let mut table = line([vec![title], names.iter().map(String::as_str).collect()].concat());
    table.push_str(&format!("|---{}|\n", "|---".repeat(names.len())));
    for (row, item) in rows {
        let says = devices.iter().map(|device| match has(device, &item) {
            true => "yes",
            false => "**no**",
        });
        table.push_str(&line([vec![row], says.collect()].concat()));
    }

    let page = Path::new(env!("CARGO_MANIFEST_DIR")).join("docs/providers.md");
    let text = std::fs::read_to_string(&page).unwrap();
    let mark = format!("<!-- generated: {name} -->\n");
    let start = text.find(&mark).unwrap() + mark.len();
    let end = start + text[start..].find("<!-- end -->").unwrap();
    let expected = format!("\n{table}\n");
    if std::env::var_os("UPDATE_DOCS").is_some() {
        let updated = [&text[..start], &expected, &text[end..]].concat();
        std::fs::write(&page, updated).unwrap();
        return;
    }
    assert!(
        text[start..end] == expected,
        "the part `{name}` of providers.md is not what the devices say; UPDATE_DOCS=1 writes it anew"
    );
}
