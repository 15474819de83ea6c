//! The example `tpm_sealed` does what it says, and where there is no simulator it says so and succeeds.
#![expect(clippy::unwrap_used, reason = "helpers of tests are tests")]

use std::process::{Command, Output};

use hsm_testkit::TpmSimulator;

fn run(change: impl FnOnce(&mut Command) -> &mut Command) -> (Output, String, String) {
    let mut command = Command::new(env!("CARGO_BIN_EXE_tpm_sealed"));
    let output = change(&mut command).output().unwrap();
    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
    let (stdout, stderr) = (text(&output.stdout), text(&output.stderr));
    (output, stdout, stderr)
}

#[test]
fn it_signs_and_opens_with_its_own_tpm_only() {
    if let Some(reason) = TpmSimulator::missing() {
        eprintln!("skipped: {reason}");
        return;
    }
    let (output, stdout, stderr) = run(|command| command);
    assert!(output.status.success(), "{stdout}\n{stderr}");
    for line in [
        "a key that lives in the TPM signed, and its signature verifies",
        "opened again, and signed",
        "with another TPM: device failed",
    ] {
        assert!(stdout.contains(line), "{line}: {stdout}");
    }
}

#[test]
fn without_a_simulator_it_says_how_to_get_one() {
    let (output, stdout, stderr) = run(|command| command.env("PATH", "/nowhere"));
    assert!(output.status.success(), "{stdout}\n{stderr}");
    assert!(stdout.starts_with("skipped: "), "{stdout}");
    assert!(stdout.contains("apt-get install swtpm"), "{stdout}");
}

#[test]
fn with_a_device_that_is_not_there_it_fails() {
    let (output, stdout, stderr) = run(|command| command.arg("/dev/no-such-tpm"));
    assert_eq!(output.status.code(), Some(1), "{stdout}\n{stderr}");
    assert!(stderr.contains("no such device"), "{stderr}");
}
