//! The program does with a folder what its commands say, and every refusal has its exit code.

use std::fs;

use crate::home::{ADMIN_PASSWORD, APP_PASSWORD, Home, mode, texts};
use serde_json::Value;

#[test]
fn a_key_lives_its_whole_life() {
    let home = Home::with_hsm();
    let made = home.app_json(&[
        "key",
        "create",
        "invoices",
        "--type",
        "EC-P256",
        "--expires",
        "P1Y",
        "--tag",
        "owner=billing",
    ]);
    assert_eq!(made["name"], "invoices");
    assert_eq!(made["type"], "EC-P256");
    assert_eq!(made["state"], "active");
    assert_eq!(made["enabled"], true);
    assert_eq!(made["tags"]["owner"], "billing");
    assert_eq!(made["usages"], serde_json::json!(["sign", "verify"]));
    assert_eq!(made["publicKey"]["kty"], "EC");
    let first = made["version"].as_str().unwrap().to_owned();

    home.write("letter", "pay 100 to Alice");
    home.app(&["key", "sign", "invoices", "letter", "--out", "letter.sig"]);
    assert_eq!(home.read("letter.sig").len(), 64);
    let verify = [
        "key",
        "verify",
        "invoices",
        "letter",
        "--signature",
        "letter.sig",
    ];
    home.app(&verify);

    let rotated = home.app_json(&["key", "rotate", "invoices"]);
    assert_ne!(rotated["version"], first.as_str());
    let refusal = home.app_refused(9, &verify);
    assert!(refusal.contains("NAME/VERSION"), "{refusal}");
    let at_first = format!("invoices/{first}");
    home.app(&[
        "key",
        "verify",
        &at_first,
        "letter",
        "--signature",
        "letter.sig",
    ]);
    let versions = home.app_json(&["key", "versions", "invoices"]);
    assert_eq!(versions.as_array().unwrap().len(), 2);

    let disabled = home.app_json(&["key", "disable", "invoices"]);
    assert_eq!(disabled[0]["state"], "suspended");
    home.app_refused(8, &["key", "sign", "invoices", "letter", "--out", "no.sig"]);
    assert!(!home.path("no.sig").exists());
    home.app(&["key", "enable", "invoices"]);
    home.app(&["key", "sign", "invoices", "letter", "--out", "yes.sig"]);

    let updated = home.app_json(&[
        "key",
        "update",
        "invoices",
        "--expires",
        "none",
        "--no-tags",
    ]);
    assert_eq!(updated["expires"], Value::Null);
    assert_eq!(updated["tags"], serde_json::json!({}));

    home.app(&["key", "delete", "invoices"]);
    home.app_refused(4, &["key", "show", "invoices"]);
    assert!(
        home.admin_refused(3, &["key", "list"])
            .contains("hsm role assign")
    );
    home.admin(&["role", "assign", "crypto-officer", "admin", "--scope", "/"]);
    let deleted = home.admin_json(&["key", "list", "--deleted"]);
    assert_eq!(deleted[0]["name"], "invoices");
    home.admin(&["key", "recover", "invoices"]);
    home.app(&["key", "show", "invoices"]);
    home.app(&["key", "delete", "invoices"]);
    home.admin(&["key", "purge", "--yes", "invoices"]);
    assert_eq!(
        home.admin_json(&["key", "list", "--deleted"]),
        serde_json::json!([])
    );
}

#[test]
fn what_was_encrypted_and_wrapped_comes_back() {
    let home = Home::with_hsm();
    let made = home.app_json(&["key", "create", "data", "--type", "AES-256"]);
    assert_eq!(made["algorithm"], "A256GCM");
    home.write("plain", "attack at dawn");
    home.write("aad", "order 7");
    home.app(&[
        "key", "encrypt", "data", "plain", "--aad", "aad", "--out", "cipher",
    ]);
    home.app(&["key", "rotate", "data"]);
    home.app(&[
        "key", "decrypt", "data", "cipher", "--aad", "aad", "--out", "again",
    ]);
    assert_eq!(home.read("again"), b"attack at dawn");
    assert_eq!(mode(&home.path("again")), 0o600);
    home.app_refused(9, &["key", "decrypt", "data", "cipher", "--out", "no"]);

    home.app(&[
        "key",
        "create",
        "wrapping",
        "--type",
        "AES-256",
        "--algorithm",
        "A256KW",
    ]);
    home.write("secret", [7; 32]);
    home.app(&["key", "wrap", "wrapping", "secret", "--out", "wrapped"]);
    home.app(&["key", "unwrap", "wrapping", "wrapped", "--out", "unwrapped"]);
    assert_eq!(home.read("unwrapped"), [7; 32]);

    let json = home.app_json(&["key", "encrypt", "data", "plain"]);
    for part in ["value", "iv", "tag", "version"] {
        assert!(json[part].is_string(), "{part}");
    }
}

#[test]
fn a_key_is_imported_and_its_backup_restored() {
    let home = Home::with_hsm();
    // RFC 8037 appendix A.1.
    home.write(
        "key.jwk",
        r#"{"kty":"OKP","crv":"Ed25519","d":"nWGxne_9WmC6hEr0kuwsxERJxWl7MmkZcDusAxyuf2A",
            "x":"11qYAYKxCrfVS_7TyWQHOg7hcvPapiMlrwIaaPcHURo"}"#,
    );
    let made = home.app_json(&["key", "import", "signer", "key.jwk"]);
    assert_eq!(made["origin"], "imported");
    let public = home.app_json(&["key", "public", "signer"]);
    assert_eq!(public["x"], "11qYAYKxCrfVS_7TyWQHOg7hcvPapiMlrwIaaPcHURo");
    let pem = home.app(&["key", "public", "signer"]);
    assert!(pem.starts_with("-----BEGIN PUBLIC KEY-----"), "{pem}");

    home.app(&["key", "backup", "signer", "--out", "signer.backup"]);
    assert_eq!(mode(&home.path("signer.backup")), 0o600);
    home.app_refused(7, &["key", "restore", "signer.backup"]);
    home.admin(&["role", "assign", "crypto-officer", "admin", "--scope", "/"]);
    home.app(&["key", "delete", "signer"]);
    home.admin(&["key", "purge", "signer", "--yes"]);
    let restored = home.app_json(&["key", "restore", "signer.backup"]);
    assert_eq!(restored["version"], made["version"]);
}

#[test]
fn a_rotation_policy_is_set_shown_and_removed() {
    let home = Home::with_hsm();
    home.app(&["key", "create", "k", "--type", "EC-P256"]);
    home.app(&[
        "key",
        "rotation-policy",
        "k",
        "--rotate-after",
        "P90D",
        "--expire-after",
        "P2Y",
    ]);
    let policy = home.app_json(&["key", "rotation-policy", "k"]);
    assert_eq!(policy["attributes"]["expiryTime"], "P2Y");
    assert_eq!(
        policy["lifetimeActions"][0]["trigger"]["timeAfterCreate"],
        "P90D"
    );
    home.app(&["key", "rotation-policy", "k", "--remove"]);
    assert_eq!(home.app_json(&["key", "rotation-policy", "k"]), Value::Null);
}

#[test]
fn roles_are_defined_assigned_and_taken_away() {
    let home = Home::with_hsm();
    let role = home.admin_json(&[
        "role",
        "define",
        "Signer",
        "--action",
        "keys/sign/action",
        "--action",
        "keys/read/action",
    ]);
    assert_eq!(role["builtIn"], false);
    let assignment = home.admin_json(&["role", "assign", "signer", "app", "--scope", "/keys/k"]);
    assert_eq!(assignment["scope"], "/keys/k");
    home.admin_refused(7, &["role", "delete", "signer"]);
    let listed = home.admin_json(&["role", "assignments", "--scope", "/keys/k"]);
    assert_eq!(listed[0]["roleName"], "Signer");
    home.admin(&["role", "unassign", assignment["id"].as_str().unwrap()]);
    home.admin(&["role", "delete", "Signer"]);
    home.admin_refused(4, &["role", "list", "Signer"]);
}

#[test]
fn users_are_kept_out_and_let_in_again() {
    let home = Home::with_hsm();
    home.admin(&["user", "disable", "app"]);
    home.app_refused(3, &["key", "list"]);
    let users = home.admin_json(&["user", "list"]);
    assert_eq!(users[1]["name"], "app");
    assert_eq!(users[1]["enabled"], false);
    home.admin(&["user", "enable", "app"]);
    home.app(&["key", "list"]);

    home.write_secret("new.password", "another long password");
    home.app(&[
        "user",
        "password",
        "--old-password-file",
        "app.password",
        "--new-password-file",
        "new.password",
    ]);
    home.app_refused(3, &["key", "list"]);
    home.admin(&["user", "unlock", "app"]);
    home.admin(&[
        "user",
        "password",
        "app",
        "--new-password-file",
        "app.password",
    ]);
    home.app(&["key", "list"]);
    home.admin(&["user", "delete", "app"]);
    home.app_refused(3, &["key", "list"]);
}

#[test]
fn a_token_logs_in_until_it_is_deleted() {
    let home = Home::with_hsm();
    home.admin(&[
        "token",
        "create",
        "ci",
        "--principal",
        "app",
        "--expires",
        "P7D",
        "--out",
        "ci.token",
    ]);
    assert_eq!(mode(&home.path("ci.token")), 0o600);
    let with_token = [
        "key",
        "list",
        "--hsm",
        "soft:dev.hsm",
        "--token-file",
        "ci.token",
    ];
    home.done(&with_token);
    let token = String::from_utf8(home.read("ci.token")).unwrap();
    let listed = home.admin(&["token", "list", "--output", "json"]);
    assert!(listed.contains("\"ci\"") && !listed.contains(token.trim()));
    home.admin(&["token", "delete", "ci"]);
    home.refused(3, &with_token);
}

#[test]
fn an_edited_log_is_found() {
    let home = Home::with_hsm();
    home.app(&["key", "create", "k", "--type", "EC-P256"]);
    home.write("letter", "x");
    home.app(&["key", "sign", "k", "letter", "--out", "sig"]);
    let verify = [
        "audit",
        "verify",
        "dev.hsm",
        "--audit-key",
        "audit.pem",
        "--output",
        "json",
    ];
    let report: Value = serde_json::from_str(&home.done(&verify)).unwrap();
    assert_eq!(report["verified"], true);
    assert_eq!(report["unsigned"], 0);
    assert!(report["records"].as_u64().unwrap() > 5);
    let refusal = home.refused(2, &["audit", "verify", "dev.hsm"]);
    assert!(refusal.contains("--audit-key"), "{refusal}");

    let mut edited = 0;
    for entry in walk(&home.path("dev.hsm/audit")) {
        let mut bytes = fs::read(&entry).unwrap();
        // The name of the algorithm is not in the record, but the principal's is.
        if let Some(at) = bytes.windows(3).position(|window| window == b"app") {
            bytes[at] ^= 1;
            fs::write(&entry, bytes).unwrap();
            edited += 1;
        }
    }
    assert!(edited > 0);
    let refusal = home.refused(10, &verify);
    let error: Value = serde_json::from_str(&refusal).unwrap();
    assert_eq!(error["error"]["kind"], "Damaged");
    assert!(
        error["error"]["message"]
            .as_str()
            .unwrap()
            .contains("record")
    );
}

#[test]
fn the_last_records_are_shown() {
    let home = Home::with_hsm();
    home.app(&["key", "create", "k", "--type", "EC-P256"]);
    let lines = home.admin(&["audit", "tail", "-n", "1000", "--output", "json"]);
    let records: Vec<Value> = lines
        .lines()
        .map(|line| serde_json::from_str(line).unwrap())
        .collect();
    let created = records
        .iter()
        .find(|record| record["target"] == "/keys/k")
        .unwrap();
    assert_eq!(created["principal"], "app");
    assert_eq!(created["ok"], true);
    assert_eq!(home.admin(&["audit", "tail", "-n", "2"]).lines().count(), 2);
    assert!(!home.admin(&["audit", "streams"]).is_empty());
}

#[test]
fn every_refusal_has_its_exit_code_and_says_what_to_do() {
    let home = Home::with_hsm();
    home.app(&["key", "create", "k", "--type", "RSA-2048"]);
    home.write("letter", "x");
    for (code, args, says) in [
        (4, &["key", "show", "nothing"][..], "not found"),
        (7, &["key", "create", "k", "--type", "EC-P256"], "conflict"),
        (2, &["key", "sign", "k", "letter", "--out", "s"], "RS256"),
        (3, &["user", "list"], "hsm role assign"),
        (3, &["key", "list", "--deleted"], "hsm role assign"),
        (2, &["key", "update", "k"], "--expires"),
        (2, &["key", "import", "i", "letter"], "PKCS#8"),
        (
            4,
            &["key", "sign", "k", "missing", "-a", "RS256", "--out", "s"],
            "missing",
        ),
    ] {
        let refusal = home.app_refused(code, args);
        assert!(refusal.contains(says), "{args:?}: {refusal}");
    }
    home.write_secret("wrong.password", "not the password");
    let wrong = [
        "key",
        "list",
        "--hsm",
        "soft:dev.hsm",
        "--user",
        "app",
        "--password-file",
        "wrong.password",
    ];
    home.refused(3, &wrong);
    let nobody = home.refused(2, &["key", "list", "--hsm", "soft:dev.hsm"]);
    assert!(nobody.contains("--user"), "{nobody}");
    assert!(home.refused(2, &["key", "list"]).contains("HSM_URL"));
    assert!(
        home.refused(
            4,
            &[
                "status",
                "--hsm",
                "soft:gone",
                "--user",
                "a",
                "--password-file",
                "app.password"
            ]
        )
        .contains("hsm init")
    );
    home.refused(2, &["key", "fly"]);
    home.refused(
        7,
        &["init", "soft:dev.hsm", "--password-file", "admin.password"],
    );
}

#[test]
fn a_server_that_is_not_there_is_unreachable() {
    let home = Home::new();
    home.write_secret("token", "hsm_t_nothing");
    // Bound and dropped: nobody listens there.
    let port = std::net::TcpListener::bind("127.0.0.1:0")
        .unwrap()
        .local_addr()
        .unwrap()
        .port();
    let url = format!("https://127.0.0.1:{port}");
    home.refused(5, &["key", "list", "--hsm", &url, "--token-file", "token"]);
}

#[test]
fn a_passphrase_and_a_variable_open_the_door() {
    let home = Home::new();
    home.write_secret("passphrase", "a long passphrase for the domain key");
    home.done(&[
        "init",
        "soft:dev.hsm",
        "--password-file",
        "admin.password",
        "--passphrase-file",
        "passphrase",
        "--retention-days",
        "7",
        "--purge-protection",
    ]);
    let without = ["status", "--hsm", "soft:dev.hsm", "--user", "admin"];
    let with = [&without[..], &["--passphrase-file", "passphrase"]].concat();
    let run = |args: &[&str]| {
        home.command(args)
            .env("HSM_PASSWORD", ADMIN_PASSWORD)
            .env("HSM_OUTPUT", "json")
            .output()
            .unwrap()
    };
    assert_eq!(run(&without).status.code(), Some(3));
    let (stdout, stderr) = texts(&run(&with));
    let status: Value = serde_json::from_str(&stdout).unwrap_or_else(|_| panic!("{stderr}"));
    assert_eq!(status["retentionDays"], 7);
    assert_eq!(status["purgeProtection"], true);
}

#[test]
fn nothing_prints_a_password() {
    let home = Home::with_hsm();
    for args in [
        &["status"][..],
        &["user", "list"],
        &["key", "show", "nothing"],
    ] {
        for format in ["json", "table"] {
            let args = [args, &["--output", format, "--hsm", "soft:dev.hsm"]].concat();
            let args = [
                &args[..],
                &["--user", "app", "--password-file", "app.password"],
            ]
            .concat();
            let (stdout, stderr) = texts(&home.run(&args));
            assert!(!stdout.contains(APP_PASSWORD) && !stderr.contains(APP_PASSWORD));
        }
    }
}

#[test]
fn every_shell_has_completions() {
    let home = Home::new();
    for shell in ["bash", "elvish", "fish", "powershell", "zsh"] {
        assert!(
            home.done(&["completions", shell])
                .contains("rotation-policy"),
            "{shell}"
        );
    }
}

fn walk(folder: &std::path::Path) -> Vec<std::path::PathBuf> {
    let mut files = Vec::new();
    for entry in fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        match path.is_dir() {
            true => files.extend(walk(&path)),
            false => files.push(path),
        }
    }
    files
}
