//! `docs/cookbook.md` is the program, and the program runs.

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
    let page = Path::new(env!("CARGO_MANIFEST_DIR")).join("../docs/cookbook.md");
    let page = fs::read_to_string(page).unwrap();
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
            .filter(|name| *name != "main")
            .map(str::to_owned)
            .collect()
    };
    assert_eq!(recipes(&blocks.concat()), recipes(PROGRAM));
}
