//! The tables in `docs/algorithms.md` and `docs/roles.md` are what the code says. `UPDATE_DOCS=1 cargo test -p hsm-core
//! --test registry_docs` writes them anew.

use std::fmt::Write;
use std::path::Path;

use hsm_core::algorithm::Approval;
use hsm_core::policy::{BuiltInRole, DataAction};
use hsm_core::{Algorithm, Hash, KeyType};

const BEGIN: &str = "<!-- generated: ";
const END: &str = "<!-- end -->";

#[test]
fn the_key_types_are_the_registry() {
    let mut table = head(&[
        "key type",
        "kty",
        "crv",
        "bits",
        "strength",
        "usages",
        "algorithms",
        "FIPS mode",
    ]);
    for key_type in KeyType::all() {
        let info = key_type.info();
        let algorithms: Vec<_> = key_type.algorithms().iter().map(|it| it.name()).collect();
        row(
            &mut table,
            &[
                info.name,
                info.family.kty(),
                info.curve.unwrap_or("–"),
                &info.bits.to_string(),
                &info.strength.to_string(),
                &info.usages.to_string(),
                &algorithms.join(", "),
                &approval(key_type.approval()),
            ],
        );
    }
    check("algorithms.md", "key types", &table);
}

#[test]
fn the_algorithms_are_the_registry() {
    let mut table = head(&["algorithm", "does", "hash", "IV", "tag", "FIPS mode"]);
    for algorithm in Algorithm::all() {
        let info = algorithm.info();
        let operations: Vec<_> = info
            .operations
            .iter()
            .map(|operation| format!("{operation:?}").to_lowercase())
            .collect();
        let does = if operations.is_empty() {
            "wrapped import and export".to_owned()
        } else {
            operations.join(", ")
        };
        let hash = match info.hash {
            None => "–",
            Some(Hash::Sha1) => "SHA-1",
            Some(Hash::Sha256) => "SHA-256",
            Some(Hash::Sha384) => "SHA-384",
            Some(Hash::Sha512) => "SHA-512",
            Some(_) => "?",
        };
        let (iv, tag) = (length(info.iv_len), length(info.tag_len));
        let approval = approval(algorithm.approval());
        row(&mut table, &[info.name, &does, hash, &iv, &tag, &approval]);
    }
    check("algorithms.md", "algorithms", &table);
}

/// The standard that approves, or the reason why none does.
fn approval(approval: Approval) -> String {
    match approval {
        Approval::Approved(standard) => standard.to_owned(),
        Approval::Refused(reason) => format!("**no**: {reason}"),
        _ => "?".to_owned(),
    }
}

#[test]
fn the_roles_are_the_built_in_ones() {
    let mut table = head(&["role", "id"]);
    for role in BuiltInRole::ALL {
        row(&mut table, &[role.name(), &format!("`{}`", role.id())]);
    }
    check("roles.md", "roles", &table);
}

#[test]
fn the_actions_are_those_of_the_roles() {
    let short = |role: &BuiltInRole| role.name().trim_start_matches("Managed HSM ").to_owned();
    let mut columns = vec!["data action".to_owned()];
    columns.extend(BuiltInRole::ALL.iter().map(short));
    let columns: Vec<_> = columns.iter().map(String::as_str).collect();
    let mut table = head(&columns);
    for action in DataAction::all() {
        let name = action
            .name()
            .replace("Microsoft.KeyVault/managedHsm/", "…/");
        let name = format!("`{name}`");
        let mut cells = vec![name.as_str()];
        cells.extend(BuiltInRole::ALL.iter().map(|role| {
            if role.actions().contains(action) {
                "yes"
            } else {
                ""
            }
        }));
        row(&mut table, &cells);
    }
    check("roles.md", "actions", &table);
}

fn head(columns: &[&str]) -> String {
    let mut table = String::new();
    row(&mut table, columns);
    row(&mut table, &vec!["---"; columns.len()]);
    table
}

fn row(table: &mut String, cells: &[&str]) {
    let cells = cells.iter().fold(String::from("|"), |mut row, cell| {
        let space = if cell.is_empty() { "" } else { " " };
        write!(row, " {cell}{space}|").expect("text can be written to a string");
        row
    });
    table.push_str(&cells.replace("| --- ", "|---"));
    table.push('\n');
}

fn length(len: usize) -> String {
    match len {
        0 => "–".to_owned(),
        len => len.to_string(),
    }
}

/// Compares the part `name` of a page with `expected`, or writes it.
fn check(page: &str, name: &str, expected: &str) {
    let path = Path::new(env!("CARGO_MANIFEST_DIR"))
        .join("docs")
        .join(page);
    let text = std::fs::read_to_string(&path).expect("the page is there");
    let mark = format!("{BEGIN}{name} -->\n");
    let start = text.find(&mark).expect("the page has the part") + mark.len();
    let end = start + text[start..].find(END).expect("the part has an end");
    let expected = format!("\n{expected}\n");
    if std::env::var_os("UPDATE_DOCS").is_some() {
        let updated = [&text[..start], &expected, &text[end..]].concat();
        std::fs::write(&path, updated).expect("the page can be written");
        return;
    }
    assert!(
        text[start..end] == expected,
        "the part `{name}` of {page} is not what the code says; UPDATE_DOCS=1 writes it anew"
    );
}
