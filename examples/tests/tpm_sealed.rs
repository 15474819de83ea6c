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
fn it_opens_with_its_own_tpm_only_signs_and_proves_where_the_key_lives() {
    if let Some(reason) = TpmSimulator::missing() {
        eprintln!("skipped: {reason}");
        return;
    }
    let (output, stdout, stderr) = run(|command| command);
    assert!(output.status.success(), "{stdout}\n{stderr}");
    let (sealed, resident) = stdout.split_once("a key that lives in the TPM").unwrap();
    for line in [
        "  with its TPM: it opens, and signs",
        "  with another TPM: device failed",
        "  with the passphrase from the safe: it opens",
    ] {
        assert!(sealed.contains(line), "{line}: {sealed}");
    }
    for line in [
        "  it signs, and its signature verifies",
        "  its key report is right: EC-P256, ",
        " made in a TPM 2.0 and never outside",
        "  an old one is not believed: the report has another nonce",
        "  with another TPM: device failed",
    ] {
        assert!(resident.contains(line), "{line}: {resident}");
    }
    // Nothing extends the registers of a simulator.
    let zeros = "0".repeat(64);
    for register in [0, 2, 4, 7] {
        let line = format!("  PCR {register} holds {zeros}");
        assert!(resident.contains(&line), "{line}: {resident}");
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
