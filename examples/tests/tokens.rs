//! `tokens` runs, and PyJWT takes its tokens from its key set.

use std::path::{Path, PathBuf};
use std::process::Command;

#[test]
fn tokens_are_verified_by_another_library() {
    let run = Command::new(env!("CARGO_BIN_EXE_tokens")).output().unwrap();
    let said = String::from_utf8(run.stdout).unwrap();
    assert!(
        run.status.success(),
        "{said}{}",
        String::from_utf8_lossy(&run.stderr)
    );
    assert!(said.contains("the old ones still sign"), "{said}");
    assert!(said.contains("that of no key in the set"), "{said}");
    let folder = said.trim_end().rsplit_once(' ').unwrap().1;
    let Some(python) = python() else {
        return;
    };
    let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("verify_tokens.py");
    let check = Command::new(python)
        .arg(script)
        .arg(folder)
        .output()
        .unwrap();
    let verified = String::from_utf8(check.stdout).unwrap();
    assert!(
        check.status.success(),
        "{}",
        String::from_utf8_lossy(&check.stderr)
    );
    println!("{verified}");
    let count = |start| {
        verified
            .lines()
            .filter(|line| line.starts_with(start))
            .count()
    };
    assert_eq!((count("ES256 "), count("EdDSA ")), (3, 3));
    std::fs::remove_dir_all(folder).unwrap();
}

/// A Python with PyJWT: the system's, or an environment of its own under the target folder.
fn python() -> Option<PathBuf> {
    let has_it = |python: &Path| {
        let import = Command::new(python)
            .args(["-c", "import jwt, cryptography"])
            .output();
        import.is_ok_and(|import| import.status.success())
    };
    let own = Path::new(env!("CARGO_TARGET_TMPDIR")).join("pyjwt");
    let candidates = [PathBuf::from("python3"), own.join("bin/python")];
    if let Some(python) = candidates.iter().find(|python| has_it(python)) {
        return Some(python.clone());
    }
    let made = Command::new("python3")
        .args(["-m", "venv", "--clear"])
        .arg(&own)
        .output();
    let install = ["-m", "pip", "install", "--quiet", "pyjwt[crypto]==2.10.1"];
    drop(made.and_then(|_| Command::new(&candidates[1]).args(install).output()));
    if has_it(&candidates[1]) {
        return Some(candidates[1].clone());
    }
    println!("skipped: there is no Python with PyJWT, and pip cannot get it");
    None
}
