//! Promise: the official clients work unmodified, with certificates verified. Each test runs a script of `clients/`, which
//! prints a line for each operation, against `hsm serve --dev`.
//!
//! Python's packages and Node's modules are installed under the target folder. Without Python, Node or a registry to install
//! from, the tests say so and are skipped.
#![expect(clippy::unwrap_used, reason = "helpers of tests are tests")]

#[path = "support/dev_server.rs"]
mod dev_server;
#[path = "support/languages.rs"]
mod languages;

use std::fs;
use std::process::{Command, Stdio};

use dev_server::DevServer;

#[test]
fn python_access_control_client() {
    python("access_control_client.py", 14);
}

#[test]
fn python_authentication() {
    python("authentication.py", 11);
}

#[test]
fn python_cryptography_client() {
    python("cryptography_client.py", 18);
}

#[test]
fn python_errors() {
    python("errors.py", 9);
}

#[test]
fn python_key_client() {
    python("key_client.py", 28);
}

#[test]
fn python_settings_and_backup_clients() {
    python("settings_and_backup_clients.py", 6);
}

#[test]
fn javascript_key_client() {
    let Some(modules) = languages::node() else {
        return;
    };
    let server = DevServer::start();
    let script = server.folder().join("key_client.mjs");
    fs::copy(languages::scripts().join("key_client.mjs"), &script).unwrap();
    std::os::unix::fs::symlink(
        modules.join("node_modules"),
        server.folder().join("node_modules"),
    )
    .unwrap();
    passes(server.tell(Command::new("node").arg(script)), 16);
}

/// What the server prints is pasted as it is. The first line of a snippet says what to install.
#[test]
fn the_python_snippet_works_as_printed() {
    let Some(bin) = languages::python("requirements.txt") else {
        return;
    };
    let server = DevServer::start();
    let snippet = snippet(&server.printed, "Python");
    let output = Command::new(bin.join("python"))
        .arg("-c")
        .arg(&snippet)
        .stdin(Stdio::null())
        .output()
        .unwrap();
    let said = String::from_utf8(output.stdout).unwrap();
    let errors = String::from_utf8(output.stderr).unwrap();
    assert!(output.status.success(), "{snippet}\n{errors}");
    assert!(
        said.contains("/keys/hello/") && said.trim_end().ends_with(" True"),
        "{said}"
    );
    println!("{said}");
}

/// As pasted into a file, beside the modules that its first line installs.
#[test]
fn the_javascript_snippet_works_as_printed() {
    let Some(modules) = languages::node() else {
        return;
    };
    let server = DevServer::start();
    let script = server.folder().join("hello.mjs");
    fs::write(&script, snippet(&server.printed, "JavaScript")).unwrap();
    std::os::unix::fs::symlink(
        modules.join("node_modules"),
        server.folder().join("node_modules"),
    )
    .unwrap();
    let output = Command::new("node")
        .arg(script)
        .env("NODE_EXTRA_CA_CERTS", server.ca())
        .output()
        .unwrap();
    let said = String::from_utf8(output.stdout).unwrap();
    let errors = String::from_utf8(output.stderr).unwrap();
    assert!(output.status.success(), "{errors}");
    assert!(
        said.contains("/keys/hello/") && said.trim_end().ends_with(" true"),
        "{said}"
    );
}

#[test]
fn the_curl_snippet_works_as_printed() {
    if Command::new("curl").arg("--version").output().is_err() {
        println!("skipped: curl is missing");
        return;
    }
    let server = DevServer::start();
    let output = Command::new("sh")
        .arg("-ec")
        .arg(snippet(&server.printed, "curl"))
        .output()
        .unwrap();
    let said = String::from_utf8(output.stdout).unwrap();
    let errors = String::from_utf8(output.stderr).unwrap();
    assert!(
        output.status.success() && said.contains("\"kid\""),
        "{said}\n{errors}"
    );
}

fn python(script: &str, operations: usize) {
    let Some(bin) = languages::python("requirements.txt") else {
        return;
    };
    let server = DevServer::start();
    let mut command = Command::new(bin.join("python"));
    let script = languages::scripts().join(script);
    // No caches beside the sources.
    passes(server.tell(command.arg("-B").arg(script)), operations);
}

/// Runs a script, shows what it says, and expects so many operations to pass and none to fail.
fn passes(command: &mut Command, operations: usize) {
    let output = command.stdin(Stdio::null()).output().unwrap();
    let said = String::from_utf8(output.stdout).unwrap();
    let errors = String::from_utf8(output.stderr).unwrap();
    println!("{said}");
    let ok = said.lines().filter(|line| line.starts_with("ok ")).count();
    let failed: Vec<_> = said
        .lines()
        .filter(|line| line.starts_with("FAILED "))
        .collect();
    assert!(
        failed.is_empty() && output.status.success(),
        "{failed:?}\n{errors}"
    );
    assert_eq!(ok, operations, "operations that passed");
}

/// A snippet that the server printed, between its title and the next.
fn snippet(printed: &str, title: &str) -> String {
    let (_, rest) = printed.split_once(&format!("--- {title} ---\n")).unwrap();
    let end = rest
        .find("\n--- ")
        .or_else(|| rest.find("\nready on "))
        .unwrap();
    rest[..end].to_owned()
}
