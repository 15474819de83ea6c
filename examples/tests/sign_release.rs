//! Promise: OpenSSL verifies the manifests that the example `sign_release` signs, each with its own version of the key, and
//! refuses them with the other's and when they were changed.
#![expect(clippy::unwrap_used, reason = "helpers of tests are tests")]

use std::fs;
use std::path::Path;
use std::process::{Command, Output};

#[test]
fn openssl_verifies_the_manifests() {
    let folder = tempfile::tempdir().unwrap();
    let output = Command::new(env!("CARGO_BIN_EXE_sign_release"))
        .current_dir(&folder)
        .output()
        .unwrap();
    let printed = text(&output);
    assert!(output.status.success(), "{printed}");
    for line in [
        "1.0.0 is genuine, all 2 files\n  1.1.0 is genuine, all 2 files",
        "1.1.0 is refused: its manifest is not what was signed",
        "1.0.0 is refused: its file program is not what was released",
        "1.0.0 is refused: its key was compromised: get a newer release\n  1.1.0 is genuine",
        "the HSM signs nothing with it",
    ] {
        assert!(printed.contains(line), "{line}: {printed}");
    }

    if Command::new("openssl").arg("version").output().is_err() {
        eprintln!("skipped: there is no openssl");
        return;
    }
    let made = folder.path().join("sign_release");
    let commands: Vec<_> = printed
        .lines()
        .filter_map(|line| line.split_once("&& openssl "))
        .map(|(_, command)| command.trim_end_matches(')'))
        .collect();
    assert_eq!(commands.len(), 2, "{printed}");
    for command in &commands {
        let verified = openssl(&made, command);
        assert!(verified.status.success(), "{}", text(&verified));
        assert_eq!(text(&verified), "Verified OK\n");
    }

    let mixed = commands[0].replace("1.0.0/manifest.json", "1.1.0/manifest.json");
    let refused = openssl(&made, &mixed);
    assert!(!refused.status.success());
    assert!(
        text(&refused).starts_with("Verification failure"),
        "{}",
        text(&refused)
    );
    let manifest = made.join("1.0.0/manifest.json");
    let longer = [&fs::read(&manifest).unwrap()[..], b"\n"].concat();
    fs::write(manifest, longer).unwrap();
    let refused = openssl(&made, commands[0]);
    assert!(!refused.status.success());
    assert!(
        text(&refused).starts_with("Verification failure"),
        "{}",
        text(&refused)
    );
}

fn openssl(folder: &Path, command: &str) -> Output {
    Command::new("openssl")
        .args(command.split(' '))
        .current_dir(folder)
        .output()
        .unwrap()
}

/// All that it printed.
fn text(output: &Output) -> String {
    let printed = [&output.stdout[..], &output.stderr].concat();
    String::from_utf8(printed).unwrap()
}
