//! Arrows between crates point one way, and every crate says what a published crate must.

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};

use cargo_metadata::{DependencyKind, Metadata, MetadataCommand, Package};

/// What each crate may use: itself, and in its tests.
const ARROWS: [(&str, &[&str], &[&str]); 10] = [
    ("hsm-core", &[], &[]),
    ("hsm-store", &["hsm-core"], &["hsm-testkit"]),
    ("hsm-backend-soft", &["hsm-core"], &["hsm-testkit"]),
    (
        "hsm-backend-tpm",
        &["hsm-core"],
        &["hsm-backend-soft", "hsm-testkit"],
    ),
    (
        "hsm-attestation",
        &["hsm-core"],
        &["hsm-backend-soft", "hsm-backend-tpm", "hsm-testkit"],
    ),
    (
        "hsm-testkit",
        &["hsm-core"],
        &["hsm-backend-soft", "hsm-store", "hsm-client"],
    ),
    ("hsm-wire", &["hsm-core"], &["hsm-testkit"]),
    (
        "hsm-client",
        &[
            "hsm-core",
            "hsm-store",
            "hsm-backend-soft",
            "hsm-backend-tpm",
            "hsm-attestation",
            "hsm-wire",
        ],
        &["hsm-testkit"],
    ),
    (
        "hsm-server",
        &["hsm-core", "hsm-wire", "hsm-client"],
        &["hsm-backend-soft", "hsm-testkit"],
    ),
    (
        "hsm-examples",
        &[
            "hsm-core",
            "hsm-store",
            "hsm-backend-soft",
            "hsm-client",
            "hsm-testkit",
        ],
        &[],
    ),
];

#[test]
fn arrows_point_one_way() {
    let metadata = metadata();
    let ours: BTreeSet<_> = packages(&metadata).map(|package| &*package.name).collect();
    let known: BTreeSet<_> = ARROWS.iter().map(|(name, ..)| *name).collect();
    assert_eq!(
        ours.iter()
            .map(|name| name.as_str())
            .collect::<BTreeSet<_>>(),
        known,
        "every crate has its place among the arrows"
    );
    for package in packages(&metadata) {
        let (_, uses, tests_use) = ARROWS
            .iter()
            .find(|(name, ..)| *name == package.name.as_str())
            .expect("it is known");
        for dependency in &package.dependencies {
            if !known.contains(dependency.name.as_str()) {
                continue;
            }
            let allowed = match dependency.kind {
                DependencyKind::Development => [*uses, *tests_use].concat(),
                _ => uses.to_vec(),
            };
            assert!(
                allowed.contains(&dependency.name.as_str()),
                "{} must not use {} ({:?})",
                package.name,
                dependency.name,
                dependency.kind
            );
        }
    }
}

#[test]
fn every_crate_can_be_published() {
    for package in packages(&metadata()) {
        let name = &package.name;
        let manifest = fs::read_to_string(&package.manifest_path).unwrap();
        assert!(package.description.is_some(), "{name} has no description");
        assert_eq!(
            package.license.as_deref(),
            Some("MIT OR Apache-2.0"),
            "{name}"
        );
        assert!(package.rust_version.is_some(), "{name} has no rust-version");
        assert!(
            manifest.contains("[lints]\nworkspace = true"),
            "{name} has lints of its own"
        );
        // An empty list: `publish = false`.
        if package.publish.as_deref() == Some(&[]) {
            continue;
        }
        let readme = package
            .readme()
            .unwrap_or_else(|| panic!("{name} has no readme"));
        let lines = fs::read_to_string(readme).unwrap().lines().count();
        assert!(lines > 5, "the readme of {name} says nothing");
        // docs.rs has no Go, which builds the module of `fips`.
        let docs = &package.metadata["docs"]["rs"];
        let listed = docs["features"].as_array().into_iter().flatten();
        let mut shown: Vec<_> = listed.filter_map(|feature| feature.as_str()).collect();
        shown.push("default");
        // And what they imply.
        let mut at = 0;
        while let Some(feature) = shown.get(at) {
            let implied = package.features.get(*feature).into_iter().flatten();
            shown.extend(implied.map(String::as_str));
            at += 1;
        }
        assert!(
            docs["all-features"] == true
                || package
                    .features
                    .keys()
                    .all(|feature| { feature == "fips" || shown.contains(&feature.as_str()) }),
            "{name} does not show all its features on docs.rs"
        );
        assert!(
            !package.keywords.is_empty() && !package.categories.is_empty(),
            "{name} cannot be found"
        );
    }
}

#[test]
fn unsafe_code_is_in_one_file() {
    for package in packages(&metadata()) {
        let folder = package
            .manifest_path
            .parent()
            .expect("a file is in a folder");
        let lib = fs::read_to_string(folder.join("src/lib.rs")).unwrap_or_default();
        match package.name.as_str() {
            // A file of its own for each program; the workspace's lints deny it there.
            "hsm-examples" => {}
            "hsm-store" => {
                assert!(lib.contains("#![deny(unsafe_code)]"));
                for file in sources(folder.join("src").as_std_path()) {
                    let text = fs::read_to_string(&file).unwrap();
                    let may = file.ends_with("mapped.rs") || file.ends_with("lib.rs");
                    assert!(
                        may || !text.contains("unsafe_code"),
                        "{} lifts the lint",
                        file.display()
                    );
                }
            }
            name => assert!(lib.contains("#![forbid(unsafe_code)]"), "{name}"),
        }
    }
}

#[test]
fn every_example_on_a_page_is_compiled() {
    let root = Path::new(concat!(env!("CARGO_MANIFEST_DIR"), "/.."));
    let listed = fs::read_to_string(root.join("hsm-client/src/pages.rs")).unwrap();
    let mut pages = vec![root.join("README.md")];
    pages.extend(sources(&root.join("docs")));
    for page in pages {
        let text = fs::read_to_string(&page).unwrap();
        let mut inside = false;
        for line in text.lines().filter_map(|line| line.strip_prefix("```")) {
            inside = !inside;
            assert!(
                !inside || !line.is_empty(),
                "{}: a block says what language it is in",
                page.display()
            );
            let name = page.strip_prefix(root).unwrap().display().to_string();
            assert!(
                line != "rust" || listed.contains(&format!("\"{name}\"")),
                "{name} has an example that hsm-client/src/pages.rs does not list"
            );
        }
    }
}

fn sources(folder: &Path) -> Vec<PathBuf> {
    let mut files = Vec::new();
    for entry in fs::read_dir(folder).expect("a folder of the repository") {
        let path = entry.expect("a file of the repository").path();
        if path.is_dir() {
            files.extend(sources(&path));
        } else {
            files.push(path);
        }
    }
    files
}

fn packages(metadata: &Metadata) -> impl Iterator<Item = &Package> {
    metadata.workspace_packages().into_iter()
}

fn metadata() -> Metadata {
    MetadataCommand::new()
        .manifest_path(concat!(env!("CARGO_MANIFEST_DIR"), "/../Cargo.toml"))
        .no_deps()
        .other_options(["--offline".to_owned()])
        .exec()
        .expect("cargo knows its workspace")
}
