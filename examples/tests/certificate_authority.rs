//! Promise: OpenSSL accepts what the example `certificate_authority` issues, and refuses it once it is revoked.
#![expect(clippy::unwrap_used, reason = "helpers of tests are tests")]

use std::path::Path;
use std::process::{Command, Output};

#[test]
fn openssl_accepts_before_and_refuses_after() {
    let folder = tempfile::tempdir().unwrap();
    let output = Command::new(env!("CARGO_BIN_EXE_certificate_authority"))
        .current_dir(&folder)
        .output()
        .unwrap();
    let printed = String::from_utf8(output.stdout).unwrap();
    let failed = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{printed}{failed}");
    assert!(
        printed.contains("CN=www.example.com asks for 2 names"),
        "{printed}"
    );

    let made = folder.path().join("certificate_authority");
    if Command::new("openssl").arg("version").output().is_err() {
        eprintln!("skipped: there is no openssl");
        return;
    }
    let before = verify(&made, "before.crl");
    assert!(before.status.success(), "{}", text(&before));
    assert_eq!(text(&before), "www.pem: OK\n");
    let after = verify(&made, "after.crl");
    assert!(!after.status.success());
    assert!(
        text(&after).contains("certificate revoked"),
        "{}",
        text(&after)
    );
    assert!(printed.contains("-CRLfile after.crl -purpose sslserver www.pem"));

    let request = openssl(
        &made,
        &["req", "-in", "www.csr", "-noout", "-verify", "-subject"],
    );
    assert!(text(&request).contains("verify OK"), "{}", text(&request));
    let shown = text(&openssl(
        &made,
        &["x509", "-in", "www.pem", "-noout", "-text"],
    ));
    for line in [
        "DNS:www.example.com, IP Address:192.0.2.1",
        "TLS Web Server Authentication",
        "CA:FALSE",
    ] {
        assert!(shown.contains(line), "{line}: {shown}");
    }
    let shown = text(&openssl(
        &made,
        &["x509", "-in", "issuing.pem", "-noout", "-text"],
    ));
    assert!(shown.contains("CA:TRUE, pathlen:0"), "{shown}");
    let shown = text(&openssl(
        &made,
        &["crl", "-in", "after.crl", "-noout", "-text"],
    ));
    for line in ["Key Compromise", "Next Update", "X509v3 CRL Number"] {
        assert!(shown.contains(line), "{line}: {shown}");
    }
}

fn verify(folder: &Path, list: &str) -> Output {
    let files = "-CAfile root.pem -CRLfile root.crl -untrusted issuing.pem -CRLfile";
    let mut arguments = vec!["verify", "-crl_check_all"];
    arguments.extend(files.split(' '));
    arguments.extend([list, "-purpose", "sslserver", "www.pem"]);
    openssl(folder, &arguments)
}

fn openssl(folder: &Path, arguments: &[&str]) -> Output {
    Command::new("openssl")
        .args(arguments)
        .current_dir(folder)
        .output()
        .unwrap()
}

/// All that it printed.
fn text(output: &Output) -> String {
    let printed = [&output.stdout[..], &output.stderr].concat();
    String::from_utf8(printed).unwrap()
}
