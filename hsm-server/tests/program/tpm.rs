//! An HSM whose keys live in a TPM is made, administered and served over HTTPS by the program, and used by a client.

use std::io::{BufRead, BufReader};
use std::process::{Child, Stdio};

use hsm_testkit::TpmSimulator;
use rustix::process::{Pid, Signal, kill_process};
use serde_json::Value;

use crate::home::Home;

/// A home with a TPM beside it.
pub(crate) fn with_tpm() -> Option<(Home, TpmSimulator)> {
    if let Some(reason) = TpmSimulator::missing() {
        eprintln!("skipped: {reason}");
        return None;
    }
    let home = Home::new();
    std::fs::create_dir(home.path("tpm")).unwrap();
    let tpm = TpmSimulator::start(&home.path("tpm"));
    Some((home, tpm))
}

/// A server in a process of its own, killed if the test fails.
struct Server(Child);

impl Drop for Server {
    fn drop(&mut self) {
        // It has ended already, if all went well.
        drop(self.0.kill());
        drop(self.0.wait());
    }
}

#[test]
fn it_is_served_over_https_and_signs() {
    let Some((home, tpm)) = with_tpm() else {
        return;
    };
    let local = format!("tpm://{}?folder=payments.hsm", tpm.address());
    home.done(&[
        "init",
        &local,
        "--password-file",
        "admin.password",
        "--audit-key",
        "audit.pem",
    ]);
    let as_user = |url: &str, args: &[&str], user: &str| {
        let file = format!("{user}.password");
        let connect = ["--hsm", url, "--user", user, "--password-file", &file];
        home.done(&[args, &connect].concat())
    };
    let create = [
        "user",
        "create",
        "app",
        "--new-password-file",
        "app.password",
    ];
    let role = ["--role", "crypto-user", "--scope", "/"];
    as_user(&local, &[&create[..], &role].concat(), "admin");

    let signed = rcgen::generate_simple_self_signed(["localhost".to_owned()]).unwrap();
    home.write("server.pem", signed.cert.pem());
    home.write_secret("server.key", &signed.signing_key.serialize_pem());
    home.write(
        "server.toml",
        format!(
            "listen = [\"127.0.0.1:0\"]\n[tls]\ncertificate = \"server.pem\"\nkey = \"server.key\"\n[[partition]]\nhosts = [\"localhost\"]\nhsm = \"{local}\"\n"
        ),
    );
    let args = ["serve", "--config", "server.toml", "--output", "json"];
    let mut process = home.command(&args).stdout(Stdio::piped()).spawn().unwrap();
    let mut ready = String::new();
    let mut stdout = BufReader::new(process.stdout.take().unwrap());
    let mut server = Server(process);
    stdout.read_line(&mut ready).unwrap();
    let ready: Value = serde_json::from_str(&ready).unwrap();
    let address = ready["addresses"][0].as_str().unwrap();
    let url = format!("https://localhost:{}", address.rsplit_once(':').unwrap().1);

    home.write("letter", "pay 100 to Alice");
    let remote = |args: &[&str]| as_user(&url, &[args, &["--ca", "server.pem"]].concat(), "app");
    remote(&["key", "create", "invoices", "--type", "EC-P256"]);
    remote(&["key", "sign", "invoices", "letter", "--out", "letter.sig"]);
    let verify = [
        "key",
        "verify",
        "invoices",
        "letter",
        "--signature",
        "letter.sig",
    ];
    remote(&verify);

    let id = i32::try_from(server.0.id()).unwrap();
    kill_process(Pid::from_raw(id).unwrap(), Signal::TERM).unwrap();
    assert_eq!(server.0.wait().unwrap().code(), Some(0));
    // The TPM is free again, and the key is in it.
    as_user(&local, &verify, "app");
    home.done(&[
        "audit",
        "verify",
        "--hsm",
        &local,
        "--audit-key",
        "audit.pem",
    ]);
}

#[test]
fn without_a_folder_in_the_url_it_has_one_of_its_own() {
    let Some((home, tpm)) = with_tpm() else {
        return;
    };
    let url = format!("tpm://{}", tpm.address());
    let run = |args: &[&str]| {
        let mut command = home.command(args);
        command.env("STATE_DIRECTORY", home.path("state/hsm"));
        let output = command.output().unwrap();
        let (stdout, stderr) = crate::home::texts(&output);
        assert!(output.status.success(), "{args:?}\n{stdout}\n{stderr}");
        stdout + &stderr
    };
    let made = run(&["init", &url, "--password-file", "admin.password"]);
    let folder = format!("tpm--127.0.0.1_{}", tpm.address().port());
    assert!(made.contains(&folder), "{made}");
    let folder = home.path("state/hsm").join(folder);
    assert!(folder.join("store.sqlite").exists());
    assert_eq!(crate::home::mode(&home.path("state")), 0o700);
    assert_eq!(crate::home::mode(&folder), 0o700);
    let connect = ["--user", "admin", "--password-file", "admin.password"];
    run(&[&["status", "--hsm", &url][..], &connect].concat());
}

#[test]
fn what_is_for_software_is_refused() {
    let Some((home, tpm)) = with_tpm() else {
        return;
    };
    let url = format!("tpm://{}?folder=a.hsm", tpm.address());
    let init = ["init", &url, "--password-file", "admin.password"];
    for (option, said) in [
        (&["--fips"][..], "software device"),
        (&["--key-file", "key"], "key file"),
        (&["--passphrase-file", "app.password"], "passphrase"),
        (
            &["--recovery-passphrase-file", "app.password"],
            "passphrase",
        ),
        (&["--tpm", "/dev/tpmrm0"], "the URL names the TPM"),
    ] {
        let refusal = home.refused(2, &[&init[..], option].concat());
        assert!(refusal.contains(said), "{refusal}");
        assert!(!home.path("a.hsm").exists());
    }
    let missing = home.refused(
        5,
        &[
            "init",
            "tpm:/dev/no-such-tpm?folder=a.hsm",
            "--password-file",
            "admin.password",
        ],
    );
    assert!(missing.contains("no such device"), "{missing}");
}

#[test]
fn a_folder_that_is_sealed_opens_with_its_tpm_and_its_passphrase() {
    let (Some((home, tpm)), Some((_other, thief))) = (with_tpm(), with_tpm()) else {
        return;
    };
    let (tpm, thief) = (
        format!("//{}", tpm.address()),
        format!("//{}", thief.address()),
    );
    home.write_secret("passphrase", "a long passphrase in a safe");
    let made = home.run(&[
        "init",
        "soft:dev.hsm",
        "--password-file",
        "admin.password",
        "--tpm",
        &tpm,
        "--pcrs",
        "0,2,4,7",
        "--recovery-passphrase-file",
        "passphrase",
        "--count-changes",
    ]);
    let (stdout, stderr) = crate::home::texts(&made);
    assert!(made.status.success(), "{stdout}\n{stderr}");
    assert!(stderr.contains(&format!("--tpm {tpm}")), "{stderr}");
    assert!(!home.path("dev.hsm/domain.key").exists());

    const STATUS: [&str; 7] = [
        "status",
        "--hsm",
        "soft:dev.hsm",
        "--user",
        "admin",
        "--password-file",
        "admin.password",
    ];
    fn with<'a>(more: &[&'a str]) -> Vec<&'a str> {
        [&STATUS[..], more].concat()
    }
    home.done(&with(&["--tpm", &tpm]));
    let passphrase = ["--passphrase-file", "passphrase"];
    home.done(&with(&[&passphrase[..], &["--tpm", &tpm]].concat()));
    // Its changes are counted in the TPM.
    home.refused(2, &with(&passphrase));
    let refusal = home.refused(3, &with(&[]));
    assert!(refusal.contains("--tpm"), "{refusal}");
    let refusal = home.refused(1, &with(&["--tpm", &thief]));
    assert!(refusal.contains("passphrase"), "{refusal}");

    // Sealed to what the registers hold now, or to any boot state; by whoever can open it.
    let seal = ["seal", "--hsm", "soft:dev.hsm", "--tpm", &tpm];
    home.done(&seal);
    let sealed = [&seal[..], &passphrase, &["--pcrs", "7", "-o", "json"]].concat();
    let sealed: Value = serde_json::from_str(&home.done(&sealed)).unwrap();
    assert_eq!(sealed["pcrs"], "7");
    assert_eq!(
        sealed["protectors"],
        serde_json::json!(["passphrase", "tpm"])
    );
    home.done(&with(&["--tpm", &tpm]));
    home.refused(2, &seal[..3]);
}

#[test]
fn a_boot_state_needs_a_tpm() {
    let home = Home::new();
    let init = ["init", "soft:a.hsm", "--password-file", "admin.password"];
    let refusal = home.refused(2, &[&init[..], &["--pcrs", "7"]].concat());
    assert!(refusal.contains("--tpm"), "{refusal}");
    let refusal = home.refused(2, &[&init[..], &["--count-changes"]].concat());
    assert!(refusal.contains("TPM"), "{refusal}");
    assert!(!home.path("a.hsm").exists());
}
