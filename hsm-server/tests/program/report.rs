//! Key reports are made of keys in a folder and in a TPM, and verified by a program that has neither.

use serde_json::Value;

use crate::home::Home;
#[cfg(feature = "tpm")]
use crate::tpm::with_tpm;

const NONCE: &str = "00112233445566778899aabbccddeeff";

/// Without an HSM, a user or a password.
fn verify(home: &Home, args: &[&str]) -> Value {
    let args = [&["report", "verify", "report"], args, &["--output", "json"]].concat();
    serde_json::from_str(&home.done(&args)).unwrap()
}

#[test]
fn the_word_of_software_is_believed_by_who_says_so() {
    let home = Home::with_hsm();
    home.app(&["key", "create", "k", "--type", "EC-P256"]);
    let attest = ["key", "attest", "k", "--nonce", NONCE, "--out", "report"];
    let made = home.app_json(&attest);
    assert_eq!(made["device"], "software");
    assert_eq!(made["nonce"], NONCE);
    assert_eq!(made["file"], "report");
    let id = made["attestationKey"].as_str().unwrap();
    home.write("k.pem", home.app(&["key", "public", "k"]));

    let believed = [
        "--nonce",
        NONCE,
        "--attestation-key",
        id,
        "--accept-software",
    ];
    let expected = ["--key", "k", "--public-key", "k.pem"];
    let verdict = verify(&home, &[&believed[..], &expected].concat());
    assert_eq!(verdict["verified"], true);
    assert_eq!(verdict["level"], "software");
    assert_eq!(verdict["type"], "EC-P256");
    assert_eq!(verdict["attestationKey"], id);
    let version = made["version"].as_str().unwrap();
    assert_eq!(verdict["key"], format!("k/{version}"));
    assert_eq!(verdict["publicKey"], home.app_json(&["key", "public", "k"]));
    assert_eq!(verdict.get("tpm"), None);
    // To learn the attestation key, any is taken.
    let any = [
        "--nonce",
        NONCE,
        "--danger-any-attestation-key",
        "--accept-software",
    ];
    assert_eq!(verify(&home, &any)["attestationKey"], id);
    let text = home.done(&[&["report", "verify", "report"], &believed[..]].concat());
    assert!(text.starts_with("LEVEL"), "{text}");

    // Of another key of the same name it is not.
    home.app(&["key", "rotate", "k"]);
    home.write("new.pem", home.app(&["key", "public", "k"]));
    let other = "f".repeat(64);
    let zeros = format!("7={}", "0".repeat(64));
    for (instead, says) in [
        (&["--nonce", "0011223344556677"][..], "another nonce"),
        (&["--attestation-key", &other], "is not trusted"),
        (&["--public-key", "new.pem"], "another key"),
        (&["--key", "other"], "another label"),
        (&["--pcr", &zeros], "no quote of PCRs"),
    ] {
        let mut args = believed.to_vec();
        match args.iter().position(|arg| *arg == instead[0]) {
            Some(at) => args[at + 1] = instead[1],
            None => args.extend(instead),
        }
        let refusal = home.refused(9, &[&["report", "verify", "report"], &args[..]].concat());
        assert!(refusal.contains(says), "{instead:?}: {refusal}");
    }
    let refusal = home.refused(
        9,
        &[&["report", "verify", "report"], &believed[..4]].concat(),
    );
    assert!(refusal.contains("--accept-software"), "{refusal}");

    let mut edited = home.read("report");
    let last = edited.len() - 1;
    edited[last] ^= 1;
    home.write("report", edited);
    let refusal = home.refused(
        9,
        &[&["report", "verify", "report", "-o", "json"], &believed[..]].concat(),
    );
    let error: Value = serde_json::from_str(&refusal).unwrap();
    assert_eq!(error["error"]["kind"], "CryptoFailed");
    let message = error["error"]["message"].as_str().unwrap();
    assert!(message.contains("signature"), "{message}");
}

#[test]
fn what_no_report_can_be_asked_for_with_is_said() {
    let home = Home::with_hsm();
    home.app(&["key", "create", "k", "--type", "AES-256"]);
    for (args, says) in [
        (&["--nonce", "0011"][..], "8 bytes at least"),
        (&["--nonce", "nonsense"], "hexadecimal"),
        (&["--pcrs", "24"], "no PCR 24"),
    ] {
        let args = [&["key", "attest", "k", "--out", "report"], args].concat();
        let refusal = home.app_refused(2, &args);
        assert!(refusal.contains(says), "{args:?}: {refusal}");
        assert!(!home.path("report").exists());
    }
    home.app_refused(4, &["key", "attest", "none", "--out", "report"]);
    home.admin_refused(3, &["key", "attest", "k", "--out", "report"]);
    // Software has no boot state to tie a key to.
    home.app_refused(
        11,
        &[
            "key",
            "create",
            "b",
            "--type",
            "EC-P256",
            "--boot-state",
            "7",
        ],
    );
    // Without --nonce one is drawn; an AES key has a report like any other.
    let made = home.app_json(&["key", "attest", "k", "--out", "-"]);
    assert_eq!(made["nonce"].as_str().unwrap().len(), 64);
    assert!(made["value"].is_string());
    home.app(&["key", "attest", "k", "--out", "report"]);
    let refusal = home.refused(2, &["report", "verify", "report", "--nonce", NONCE]);
    assert!(refusal.contains("--attestation-key"), "{refusal}");
    let missing = [
        "report",
        "verify",
        "none",
        "--nonce",
        NONCE,
        "--danger-any-attestation-key",
    ];
    home.refused(4, &missing);
}

#[cfg(feature = "tpm")]
#[test]
fn a_report_of_a_tpm_needs_nobodys_word() {
    let Some((home, tpm)) = with_tpm() else {
        return;
    };
    let url = format!("tpm://{}?folder=dev.hsm", tpm.address());
    let init = ["init", &url, "--password-file", "admin.password"];
    home.done(&[&init[..], &["--count-changes"]].concat());
    assert!(home.path("dev.hsm/counter").exists());
    let run = |args: &[&str], user: &str| {
        let file = format!("{user}.password");
        let connect = ["--hsm", &url, "--user", user, "--password-file", &file];
        home.done(&[args, &connect, &["--output", "json"]].concat())
    };
    let app = |args: &[&str]| -> Value { serde_json::from_str(&run(args, "app")).unwrap() };
    let create = [
        "user",
        "create",
        "app",
        "--new-password-file",
        "app.password",
    ];
    run(
        &[&create[..], &["--role", "crypto-user", "--scope", "/"]].concat(),
        "admin",
    );
    let made = app(&[
        "key",
        "create",
        "k",
        "--type",
        "EC-P256",
        "--boot-state",
        "7,0",
    ]);
    assert_eq!(made["bootState"], "0,7");
    let made = app(&[
        "key", "attest", "k", "--nonce", NONCE, "--pcrs", "0,7", "--out", "report",
    ]);
    let id = made["attestationKey"].as_str().unwrap();
    let believed = ["--nonce", NONCE, "--attestation-key", id];
    let zeros = "0".repeat(64);
    let pcr = format!("7={zeros}");
    let verdict = verify(&home, &[&believed[..], &["--pcr", &pcr]].concat());
    assert_eq!(verdict["level"], "tpm");
    assert_eq!(verdict["tpm"]["pcrs"]["0"], zeros);
    assert_eq!(verdict["tpm"]["keyName"].as_str().unwrap().len(), 68);
    let another = format!("7={}", "1".repeat(64));
    let root = rcgen::generate_simple_self_signed(["root".to_owned()]).unwrap();
    home.write("root.pem", root.cert.pem());
    for (more, says) in [
        (["--pcr", &another], "PCR 7 has another value"),
        // A simulator that nobody made a certificate for.
        (["--root", "root.pem"], "no endorsement certificate"),
    ] {
        let args = [&["report", "verify", "report"], &believed[..], &more].concat();
        let refusal = home.refused(9, &args);
        assert!(refusal.contains(says), "{refusal}");
    }
    let args = ["report", "verify", "report", "--root", "report"];
    home.refused(2, &[&args[..], &believed].concat());
}
