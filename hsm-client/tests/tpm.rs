//! Promise: an HSM whose keys live in a TPM is as any other: made, closed and opened by a URL, from process to process, over
//! `kill -9` and power failures; and with another TPM, or a cleared one, it says so.
//!
//! Skips without swtpm.
#![expect(clippy::unwrap_used, reason = "helpers of tests are tests")]

use std::fs;
use std::path::PathBuf;
use std::sync::Arc;

use hsm_client::blocking::{Hsm, Session};
use hsm_client::kinds::{EcdsaP256, EcdsaP384, HmacSha256};
use hsm_client::{
    BuiltInRole, CryptoProvider, ErrorKind, OpenOptions, Scope, Setup, Signature, SoftDevice, Url,
    audit,
};
use hsm_testkit::process::{self, Child};
use hsm_testkit::{ManualClock, TpmSimulator};
use tempfile::TempDir;

const PASSWORD: &str = "correct horse battery staple";

/// A TPM, and a folder with room for HSMs.
struct Machine {
    tpm: TpmSimulator,
    folder: TempDir,
}

impl Machine {
    fn new() -> Option<Self> {
        if let Some(reason) = TpmSimulator::missing() {
            eprintln!("skipped: {reason}");
            return None;
        }
        let folder = tempfile::tempdir().unwrap();
        let state = folder.path().join("state");
        fs::create_dir(&state).unwrap();
        let tpm = TpmSimulator::start(&state);
        Some(Self { tpm, folder })
    }

    fn path(&self) -> PathBuf {
        self.folder.path().join("dev.hsm")
    }

    fn url(&self) -> String {
        let (address, path) = (self.tpm.address(), self.path());
        format!("tpm://{address}?folder={}", path.display())
    }

    fn setup() -> Setup {
        Setup::new("admin", PASSWORD)
    }

    /// An HSM with a user `app`, who uses keys.
    fn create(&self) -> Hsm {
        let hsm = Hsm::create(&self.url(), Self::setup()).unwrap();
        let admin = hsm.login("admin", PASSWORD).unwrap();
        admin.create_user("app", PASSWORD).unwrap();
        admin
            .assign_role(BuiltInRole::CryptoUser, "app", Scope::Keys)
            .unwrap();
        hsm
    }

    fn open(&self) -> Hsm {
        Hsm::open(&self.url()).unwrap()
    }

    /// Takes ownership away from whoever had it, as the firmware's menu does.
    fn clear(&self) {
        let clear = process_of("tpm2_clear", &["--tcti", &self.tpm.tcti()]);
        assert!(clear.status.success(), "{clear:?}");
    }
}

fn process_of(program: &str, arguments: &[&str]) -> std::process::Output {
    let output = std::process::Command::new(program).args(arguments).output();
    output.unwrap()
}

fn app(hsm: &Hsm) -> Session {
    hsm.login("app", PASSWORD).unwrap()
}

#[test]
fn keys_are_used_as_everywhere_and_are_there_when_it_is_opened_again() {
    let Some(mut machine) = Machine::new() else {
        return;
    };
    let hsm = machine.create();
    let app_session = app(&hsm);
    let key = app_session.create::<EcdsaP384>("invoices").make().unwrap();
    let before = key.sign(b"pay 100 to Alice").unwrap();
    key.rotate().unwrap();
    let mac = app_session.create::<HmacSha256>("tickets").make().unwrap();
    let tag = mac.mac(b"a ticket").unwrap();
    let public = key.public_key().unwrap();
    hsm.close().unwrap();
    let error = key.sign(b"after the end").unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Unreachable, "{error}");

    machine.tpm.power_cycle();
    let hsm = machine.open();
    let app_session = app(&hsm);
    let key = app_session.key::<EcdsaP384>("invoices").unwrap();
    key.verify(b"pay 100 to Alice", &before).unwrap();
    assert_eq!(key.public_key().unwrap(), public);
    let after = key.sign(b"pay 100 to Alice").unwrap();
    key.verify(b"pay 100 to Alice", &after).unwrap();
    let mac = app_session.key::<HmacSha256>("tickets").unwrap();
    mac.verify_mac(b"a ticket", &tag).unwrap();
    // The power fails while it is open.
    machine.tpm.power_cycle();
    let again = key.sign(b"pay 100 to Alice").unwrap();
    key.verify(b"pay 100 to Alice", &again).unwrap();

    let audit_key = hsm.as_async().audit_key().unwrap().clone();
    hsm.close().unwrap();
    // The log is verified without the TPM.
    machine.tpm.cut_power();
    let mut signatures = 0;
    let report = audit::verify(&machine.url(), &audit_key, |record| {
        let signs = record.event.action == hsm_client::DataAction::KeySign;
        signatures += usize::from(signs && record.event.failure.is_none());
    })
    .unwrap();
    assert_eq!(report.unsigned, 0);
    assert!(signatures >= 4, "{signatures} signatures in the log");
}

#[cfg(feature = "attestation")]
#[test]
fn key_reports_prove_where_a_key_lives_from_version_to_version() {
    use hsm_client::attestation::{Level, Nonce, Pcrs, Verifier, VerifyError};

    let Some(mut machine) = Machine::new() else {
        return;
    };
    let hsm = machine.create();
    let app_session = app(&hsm);
    let key = app_session.create::<EcdsaP256>("payments").make().unwrap();
    let nonce = |byte| Nonce::new([byte; 32]).unwrap();
    let evidence = key.attest(&nonce(1)).unwrap();
    let verifier = Verifier::new(nonce(1)).danger_any_attestation_key();
    let enrolled = verifier.verify(evidence.as_bytes()).unwrap();
    let id = enrolled.attestation_key();
    let first = enrolled.label().unwrap().version.unwrap();
    let public = key.public_key().unwrap();
    key.rotate().unwrap();
    hsm.close().unwrap();

    // The same attestation key after a reset. A handle at a version has that version's report.
    machine.tpm.power_cycle();
    let hsm = machine.open();
    let key = app(&hsm).key::<EcdsaP256>("payments").unwrap();
    let pcrs = Pcrs::of(&[0, 7]).unwrap();
    let verifier = || Verifier::new(nonce(2)).trust_attestation_key(id);
    let now = key.attest_with_pcrs(&nonce(2), pcrs).unwrap();
    let verified = verifier().verify(now.as_bytes()).unwrap();
    assert_eq!(verified.level(), Level::Tpm);
    assert_eq!(verified.tpm().unwrap().pcrs().len(), 2);
    assert_eq!(verified.public_key(), Some(&key.public_key().unwrap()));
    let expecting = || verifier().expect_public_key(public.clone());
    let refused = expecting().verify(now.as_bytes()).unwrap_err();
    assert!(matches!(refused, VerifyError::PublicKey), "{refused}");
    let old = key.at(first).attest(&nonce(2)).unwrap();
    expecting().verify(old.as_bytes()).unwrap();
    let refused = verifier().verify(evidence.as_bytes()).unwrap_err();
    assert!(matches!(refused, VerifyError::Nonce), "{refused}");
    hsm.close().unwrap();
}

#[test]
fn another_process_goes_on_after_kill_9() {
    let Some(machine) = Machine::new() else {
        return;
    };
    machine.create().close().unwrap();
    for round in 0..3_usize {
        let mut child = Child::start("sign_until_killed", &[&machine.url(), &round.to_string()]);
        let mut signatures: Vec<_> = (0..5).map(|_| child.report().unwrap()).collect();
        signatures.extend(child.kill());
        let hsm = machine.open();
        let key = app(&hsm).key::<EcdsaP256>(&format!("key-{round}")).unwrap();
        let whole = signatures.iter().filter(|line| line.len() == 128);
        let mut count = 0;
        for signature in whole {
            let bytes: Vec<u8> = (0..64)
                .map(|at| u8::from_str_radix(&signature[2 * at..2 * at + 2], 16).unwrap())
                .collect();
            key.verify(b"message", &Signature::new(bytes)).unwrap();
            count += 1;
        }
        assert!(count >= 5, "{signatures:?}");
        let audit_key = hsm.as_async().audit_key().unwrap().clone();
        hsm.close().unwrap();
        let report = audit::verify(&machine.url(), &audit_key, |_| ()).unwrap();
        assert!(!report.abandoned.is_empty(), "the log knows of the kill");
    }
}

#[test]
#[ignore = "a role for the process that is killed"]
fn sign_until_killed() {
    let Some(arguments) = process::arguments() else {
        return;
    };
    let hsm = Hsm::open(&arguments[0]).unwrap();
    let name = format!("key-{}", arguments[1]);
    let key = app(&hsm).create::<EcdsaP256>(&name).make().unwrap();
    loop {
        let signature = key.sign(b"message").unwrap();
        let hex = signature.bytes().iter().map(|byte| format!("{byte:02x}"));
        process::report(hex.collect::<String>());
    }
}

#[test]
fn a_creation_that_is_killed_leaves_nothing() {
    let Some(machine) = Machine::new() else {
        return;
    };
    // It is killed when it waits for the TPM, which is busy with somebody else.
    let busy = std::net::TcpStream::connect(machine.tpm.address()).unwrap();
    let mut child = Child::start("create", &[&machine.url()]);
    assert_eq!(child.report().unwrap(), "begin");
    child.kill();
    drop(busy);
    assert!(!machine.path().exists());
    let error = Hsm::open(&machine.url()).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::NotFound, "{error}");
    assert!(error.message().contains("dev.hsm"), "{error}");
    machine.create().close().unwrap();
}

#[test]
#[ignore = "a role for the process that is killed"]
fn create() {
    let Some(arguments) = process::arguments() else {
        return;
    };
    process::report("begin");
    Hsm::create(&arguments[0], Machine::setup()).unwrap();
}

#[test]
fn another_tpm_and_a_cleared_one_are_told_from_the_right_one() {
    let (Some(machine), Some(other)) = (Machine::new(), Machine::new()) else {
        return;
    };
    machine.create().close().unwrap();
    let folder = machine.path();
    let elsewhere = format!("tpm://{}?folder={}", other.tpm.address(), folder.display());
    let says_so = |url: &str| {
        let error = Hsm::open(url).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::DeviceFailed, "{error}");
        for part in ["another name", "cleared", "created with"] {
            assert!(error.message().contains(part), "{part}: {error}");
        }
        assert!(
            error.message().contains(folder.to_str().unwrap()),
            "{error}"
        );
    };
    says_so(&elsewhere);
    machine.open().close().unwrap();
    if process_of("sh", &["-c", "command -v tpm2_clear"])
        .status
        .success()
    {
        machine.clear();
        says_so(&machine.url());
    } else {
        eprintln!("skipped: tpm2-tools are not installed (Debian: apt-get install tpm2-tools)");
    }
}

#[test]
fn a_zeroized_one_stays_so() {
    let Some(machine) = Machine::new() else {
        return;
    };
    let hsm = machine.create();
    let admin = hsm.login("admin", PASSWORD).unwrap();
    let id = hsm.as_async().id().unwrap();
    admin.zeroize(id).unwrap();
    hsm.close().unwrap();
    let error = Hsm::open(&machine.url()).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::DeviceFailed, "{error}");
}

#[test]
fn what_is_for_software_is_refused() {
    let Some(machine) = Machine::new() else {
        return;
    };
    let url = machine.url();
    let device = || SoftDevice::options(CryptoProvider::AwsLc).approved_only();
    let setup = Machine::setup;
    for (what, setup) in [
        ("passphrase", setup().passphrase("a long passphrase")),
        (
            "key file",
            setup().key_file(machine.folder.path().join("key")),
        ),
        ("software device", setup().device(device())),
    ] {
        let error = Hsm::create(&url, setup).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::InvalidInput, "{error}");
        assert!(error.message().contains(what), "{error}");
        assert!(!machine.path().exists(), "{what}");
    }
    machine.create().close().unwrap();
    let options = OpenOptions::new;
    for (what, options) in [
        ("passphrase", options().passphrase("a long passphrase")),
        (
            "key file",
            options().key_file(machine.folder.path().join("key")),
        ),
        ("software device", options().device(device())),
    ] {
        let error = Hsm::open_with(&url, options).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::InvalidInput, "{error}");
        assert!(error.message().contains(what), "{error}");
    }
    // What is for any HSM is taken.
    let options = options()
        .clock(Arc::new(ManualClock::default()))
        .danger_accept_clock()
        .without_background_maintenance();
    Hsm::open_with(&url, options).unwrap().close().unwrap();
}

#[test]
fn the_wrong_kind_of_folder_is_told() {
    let Some(machine) = Machine::new() else {
        return;
    };
    machine.create().close().unwrap();
    let soft = format!("soft:{}", machine.path().display());
    let error = Hsm::open(&soft).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::InvalidInput);
    assert!(error.message().contains("tpm:"), "{error}");
    let error = Hsm::create(&machine.url(), Machine::setup()).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Conflict, "{error}");

    fs::remove_dir_all(machine.path()).unwrap();
    Hsm::create(&soft, Machine::setup())
        .unwrap()
        .close()
        .unwrap();
    let error = Hsm::open(&machine.url()).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::InvalidInput);
    assert!(error.message().contains("soft:"), "{error}");
}

#[test]
fn a_damaged_or_foreign_name_of_the_root_key_is_told() {
    let (Some(machine), Some(other)) = (Machine::new(), Machine::new()) else {
        return;
    };
    machine.create().close().unwrap();
    other.create().close().unwrap();
    let path = machine.path().join("tpm.root");
    let right = fs::read(&path).unwrap();
    let mut wrong = right.clone();
    wrong[20] ^= 1;
    for (bytes, what) in [
        (Some(&wrong[..]), "not as it was written"),
        (Some(&right[..40]), "not as it was written"),
        (Some(&[][..]), "not as it was written"),
        (None, "is missing"),
    ] {
        match bytes {
            Some(bytes) => fs::write(&path, bytes).unwrap(),
            None => fs::remove_file(&path).unwrap(),
        }
        let error = Hsm::open(&machine.url()).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Damaged, "{error}");
        assert!(error.message().contains(what), "{error}");
        assert!(error.message().contains("tpm.root"), "{error}");
    }
    // Whoever puts another TPM's name there, and that TPM, has no key of this store.
    fs::copy(other.path().join("tpm.root"), &path).unwrap();
    let url = format!(
        "tpm://{}?folder={}",
        other.tpm.address(),
        machine.path().display()
    );
    let error = Hsm::open(&url).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Damaged, "{error}");
    fs::write(&path, right).unwrap();
    machine.open().close().unwrap();
}

#[test]
fn without_a_tpm_it_says_what_to_do() {
    let folder = tempfile::tempdir().unwrap();
    let place = folder.path().join("no-tpm");
    let url = format!("tpm:{0}?folder={0}.hsm", place.display());
    let error = Hsm::create(&url, Machine::setup()).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Unreachable, "{error}");
    assert!(error.message().contains("no such device"), "{error}");
    assert_eq!(fs::read_dir(folder.path()).unwrap().count(), 0);

    let Url::Tpm(tpm) = url.parse().unwrap() else {
        panic!("{url}")
    };
    fs::create_dir(tpm.folder().unwrap()).unwrap();
    let error = Hsm::open(&url).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::NotFound, "{error}");
}
