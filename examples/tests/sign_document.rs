//! Promise: OpenSSL accepts the contract that the example `sign_document` signs, and refuses the forged one.
#![expect(clippy::unwrap_used, reason = "helpers of tests are tests")]

use std::path::Path;
use std::process::{Command, Output};

#[test]
fn openssl_accepts_the_contract_and_refuses_the_forged_one() {
    let folder = tempfile::tempdir().unwrap();
    let output = Command::new(env!("CARGO_BIN_EXE_sign_document"))
        .current_dir(&folder)
        .output()
        .unwrap();
    let printed = text(&output);
    assert!(output.status.success(), "{printed}");
    let signed = "contract.txt is signed by CN=Alice Adams,O=Example,C=GB";
    assert!(printed.contains(signed), "{printed}");
    assert!(printed.contains("forged.txt is refused"), "{printed}");

    if Command::new("openssl").arg("version").output().is_err() {
        eprintln!("skipped: there is no openssl");
        return;
    }
    let made = folder.path().join("sign_document");
    let accepted = verify(&made, "contract.txt");
    assert!(accepted.status.success(), "{}", text(&accepted));
    assert_eq!(text(&accepted), "CMS Verification successful\n");
    let refused = verify(&made, "forged.txt");
    assert!(!refused.status.success());
    assert!(
        text(&refused).contains("digest mismatch")
            || text(&refused).contains("Verification failure"),
        "{}",
        text(&refused)
    );
    // The commands that it prints are these.
    for document in ["contract.txt", "forged.txt"] {
        assert!(printed.contains(&arguments(document)), "{printed}");
    }
}

fn arguments(document: &str) -> String {
    format!(
        "cms -verify -binary -inform PEM -in contract.txt.cms -content {document} -CAfile root.pem -purpose any \
         -out /dev/null"
    )
}

fn verify(folder: &Path, document: &str) -> Output {
    Command::new("openssl")
        .args(arguments(document).split(' '))
        .current_dir(folder)
        .output()
        .unwrap()
}

/// All that it printed.
fn text(output: &Output) -> String {
    let printed = [&output.stdout[..], &output.stderr].concat();
    String::from_utf8(printed).unwrap()
}
