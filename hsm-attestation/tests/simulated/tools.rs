//! tpm2-tools, which look at the simulator from outside.

use std::process::{Command, Stdio};

use hsm_testkit::TpmSimulator;

/// Why there are no tools on this machine.
pub(crate) fn missing() -> Option<String> {
    let found = Command::new("tpm2_getcap")
        .arg("--version")
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .status();
    match found {
        Ok(status) if status.success() => None,
        _ => Some("tpm2-tools are not installed (Debian: apt-get install tpm2-tools)".to_owned()),
    }
}

/// Runs a tool on the simulator, to which nobody else may be connected, and returns what it prints.
pub(crate) fn run(simulator: &TpmSimulator, tool: &str, arguments: &[&str]) -> String {
    let output = Command::new(tool)
        .arg("--tcti")
        .arg(simulator.tcti())
        .args(arguments)
        .output()
        .unwrap();
    let errors = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{tool} {arguments:?}: {errors}");
    String::from_utf8(output.stdout).unwrap()
}
