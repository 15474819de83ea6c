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
    let root = root();
    let compiled = compiled_pages(&root);
    let mut with_examples = 0;
    for page in pages(&root) {
        let name = page.strip_prefix(&root).unwrap_or(&page).display();
        let text = fs::read_to_string(&page).unwrap();
        let fences = text
            .lines()
            .filter_map(|line| line.trim_start().strip_prefix("```"));
        // Every other fence ends a block.
        let languages: Vec<_> = fences.step_by(2).collect();
        assert!(
            languages.iter().all(|language| !language.is_empty()),
            "{name}: a block says what language it is in"
        );
        assert!(
            languages
                .iter()
                .all(|language| !language.contains("ignore")),
            "{name}: an example is compiled, if need be as no_run"
        );
        if languages
            .iter()
            .any(|language| language.starts_with("rust"))
        {
            with_examples += 1;
            assert!(
                compiled.contains(&page.canonicalize().unwrap()),
                "{name} has an example that nobody compiles: list it in hsm-client/src/pages.rs, or have a crate include it"
            );
        }
    }
    assert!(with_examples >= 10, "{with_examples} pages with examples");
}

#[test]
fn the_oldest_rust_is_one_everywhere() {
    let root = root();
    let manifest = fs::read_to_string(root.join("Cargo.toml")).unwrap();
    let said = |text: &str| -> Option<String> {
        let mut lines = text.lines();
        let version = lines.find_map(|line| line.strip_prefix("rust-version = "))?;
        Some(version.trim_matches('"').to_owned())
    };
    let oldest = said(&manifest).expect("the workspace says so");
    for package in packages(&metadata()) {
        let own = package.rust_version.as_ref().map(ToString::to_string);
        assert_eq!(own, Some(format!("{oldest}.0")), "{}", package.name);
    }
    let fuzz = fs::read_to_string(root.join("fuzz/Cargo.toml")).unwrap();
    assert_eq!(said(&fuzz).as_ref(), Some(&oldest), "fuzz/Cargo.toml");
    for page in [
        "README.md",
        "CONTRIBUTING.md",
        "hsm-client/README.md",
        "test.sh",
    ] {
        let text = fs::read_to_string(root.join(page)).unwrap();
        assert!(text.contains(&format!("Rust {oldest}")), "{page}");
    }
}

/// The pages whose examples a test compiles, by their real paths.
fn compiled_pages(root: &Path) -> BTreeSet<PathBuf> {
    let mut compiled = BTreeSet::new();
    // As a doc comment of something in a crate.
    for package in packages(&metadata()) {
        let folder = package.manifest_path.parent().expect("it has a folder");
        let files = folder.join("src");
        for file in files
            .exists()
            .then(|| sources(files.as_std_path()))
            .into_iter()
            .flatten()
        {
            let text = fs::read_to_string(&file).unwrap_or_default();
            for line in text.lines() {
                let included = line
                    .split_once("[doc = include_str!(\"")
                    .and_then(|(_, rest)| rest.split_once("\")"));
                if let Some((path, _)) = included {
                    let folder = file.parent().expect("it has a folder");
                    compiled.insert(folder.join(path).canonicalize().unwrap());
                }
            }
        }
    }
    let listed = fs::read_to_string(root.join("hsm-client/src/pages.rs")).unwrap();
    for line in listed.lines() {
        let path = line
            .split_once(" = \"")
            .and_then(|(_, path)| path.strip_suffix("\";"));
        if let Some(path) = path {
            compiled.insert(root.join(path).canonicalize().unwrap());
        }
    }
    // Every block of this one is part of a program, which is compared with it.
    let compared = fs::read_to_string(root.join("examples/tests/cookbook.rs")).unwrap();
    assert!(compared.contains("docs/cookbook.md"));
    compiled.insert(root.join("docs/cookbook.md").canonicalize().unwrap());
    compiled
}

/// Every page of the repository.
fn pages(root: &Path) -> Vec<PathBuf> {
    let mut found = Vec::new();
    let mut folders = vec![root.to_path_buf()];
    while let Some(folder) = folders.pop() {
        for entry in fs::read_dir(folder).expect("a folder of the repository") {
            let path = entry.expect("a file of the repository").path();
            let name = path.file_name().unwrap_or_default().to_string_lossy();
            if path.is_dir() {
                let built = matches!(&*name, "corpus" | "node_modules" | "target");
                if !built && !name.starts_with('.') {
                    folders.push(path);
                }
            } else if path.extension().is_some_and(|extension| extension == "md") {
                found.push(path);
            }
        }
    }
    found
}

fn root() -> PathBuf {
    Path::new(concat!(env!("CARGO_MANIFEST_DIR"), "/.."))
        .canonicalize()
        .expect("the crate is in the repository")
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
