//! `docs/cookbook.md` is the program, and the program runs.
#![expect(clippy::unwrap_used, reason = "helpers of tests are tests")]

use std::collections::BTreeSet;
use std::fs;
use std::path::Path;
use std::process::Command;

const PROGRAM: &str = include_str!("../cookbook.rs");

#[test]
fn every_recipe_runs() {
    let run = Command::new(env!("CARGO_BIN_EXE_cookbook"))
        .output()
        .unwrap();
    assert!(
        run.status.success(),
        "{}",
        String::from_utf8_lossy(&run.stderr)
    );
}

#[test]
fn the_page_shows_the_program() {
    let page = page();
    let blocks: Vec<_> = page
        .split("\n```rust\n")
        .skip(1)
        .map(|rest| rest.split_once("```\n").unwrap().0)
        .collect();
    for block in &blocks {
        assert!(
            PROGRAM.contains(block),
            "not in examples/cookbook.rs:\n{block}"
        );
    }

    let recipes = |text: &str| -> BTreeSet<String> {
        text.lines()
            .filter_map(|line| {
                line.strip_prefix("async ")
                    .unwrap_or(line)
                    .strip_prefix("fn ")
            })
            .filter_map(|rest| rest.split('(').next())
            .map(str::to_owned)
            .collect()
    };
    let (program, _main) = PROGRAM.split_once("#[tokio::main]").unwrap();
    assert_eq!(recipes(&blocks.concat()), recipes(program));
}

#[test]
fn the_table_leads_to_every_recipe() {
    let page = page();
    let anchors: Vec<_> = page
        .lines()
        .filter_map(|line| line.strip_prefix("## "))
        .map(anchor)
        .collect();
    let (table, _) = page.split_once("\n```rust\n").unwrap();
    let links: Vec<_> = table
        .split("](#")
        .skip(1)
        .map(|rest| rest.split_once(')').unwrap().0.to_owned())
        .collect();
    assert_eq!(links, anchors, "in the order of the page");
}

/// The name of a heading in a link, as the usual renderers make it.
fn anchor(heading: &str) -> String {
    heading
        .to_lowercase()
        .chars()
        .filter(|letter| letter.is_ascii_alphanumeric() || matches!(letter, ' ' | '-'))
        .map(|letter| if letter == ' ' { '-' } else { letter })
        .collect()
}

fn page() -> String {
    let page = Path::new(env!("CARGO_MANIFEST_DIR")).join("../docs/cookbook.md");
    fs::read_to_string(page).unwrap()
}
