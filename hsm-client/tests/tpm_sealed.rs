//! A software HSM that rests in a TPM opens with that TPM in that boot state, and with its passphrase; and an older copy of its
//! folder opens with nothing.
#![cfg(feature = "tpm")]
#![expect(clippy::unwrap_used, reason = "helpers of tests are tests")]

use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::process::Command;

use hsm_client::kinds::EcdsaP256;
use hsm_client::{
    BuiltInRole, Error, ErrorKind, Hsm, OpenOptions, PageRequest, ProtectorKind, Scope, Setup,
    TpmSeal,
};
use hsm_testkit::TpmSimulator;
use hsm_testkit::process::{self, Child};
use pollster::block_on;
use tempfile::TempDir;

const ADMIN: &str = "admin";
const PASSWORD: &str = "an administrator's password";
const PASSPHRASE: &str = "a long passphrase in a safe";

/// A machine with a TPM.
struct Machine {
    folder: TempDir,
    simulator: TpmSimulator,
}

impl Machine {
    /// Says why there is none.
    fn new() -> Option<Self> {
        if let Some(reason) = TpmSimulator::missing() {
            eprintln!("skipped: {reason}");
            return None;
        }
        let folder = tempfile::tempdir().unwrap();
        let state = folder.path().join("tpm");
        fs::create_dir(&state).unwrap();
        let simulator = TpmSimulator::start(&state);
        Some(Self { folder, simulator })
    }

    fn seal(&self) -> TpmSeal {
        TpmSeal::new(format!("//{}", self.simulator.address()))
    }

    fn path(&self) -> PathBuf {
        self.folder.path().join("hsm")
    }

    /// Makes an HSM with a key, and closes it.
    fn create(&self, setup: impl FnOnce(Setup) -> Setup) {
        let setup = setup(Setup::new(ADMIN, PASSWORD).tpm(self.seal()));
        block_on(async {
            let hsm = Hsm::create(&url(&self.path()), setup).await.unwrap();
            let admin = hsm.login(ADMIN, PASSWORD).await.unwrap();
            for role in [BuiltInRole::CryptoUser, BuiltInRole::CryptoOfficer] {
                admin.assign_role(role, ADMIN, Scope::Global).await.unwrap();
            }
            admin.create::<EcdsaP256>("key").await.unwrap();
            drop(admin);
            hsm.close().await.unwrap();
        });
    }

    fn open(&self, options: OpenOptions) -> Result<Hsm, Error> {
        block_on(Hsm::open_with(&url(&self.path()), options))
    }

    fn open_with_tpm(&self) -> Result<Hsm, Error> {
        self.open(OpenOptions::new().tpm(self.seal()))
    }

    fn open_with_passphrase(&self) -> Result<Hsm, Error> {
        self.open(OpenOptions::new().passphrase(PASSPHRASE))
    }

    /// Runs a tool on the TPM, to which nobody else may be connected; `false` without tools.
    fn tool(&self, tool: &str, arguments: &[&str]) -> Option<String> {
        let output = Command::new(tool)
            .arg("--tcti")
            .arg(self.simulator.tcti())
            .args(arguments)
            .output();
        let Ok(output) = output else {
            eprintln!("skipped: tpm2-tools are not installed (Debian: apt-get install tpm2-tools)");
            return None;
        };
        let errors = String::from_utf8_lossy(&output.stderr);
        assert!(output.status.success(), "{tool} {arguments:?}: {errors}");
        Some(String::from_utf8(output.stdout).unwrap())
    }
}

fn url(path: &Path) -> String {
    format!("soft:{}", path.display())
}

/// Uses the key, and closes.
fn works(hsm: Hsm) {
    block_on(async {
        let session = hsm.login(ADMIN, PASSWORD).await.unwrap();
        let key = session.key::<EcdsaP256>("key").await.unwrap();
        let signature = key.sign(b"message").await.unwrap();
        key.verify(b"message", &signature).await.unwrap();
        drop((key, session));
        hsm.close().await.unwrap();
    });
}

/// A change that counts.
fn change(hsm: &Hsm, user: &str) {
    block_on(async {
        let session = hsm.login(ADMIN, PASSWORD).await.unwrap();
        session
            .create_user(user, "correct horse battery")
            .await
            .unwrap();
    });
}

#[track_caller]
fn refused(opened: Result<Hsm, Error>, kind: ErrorKind, words: &[&str]) {
    let error = opened.expect_err("it was opened");
    assert_eq!(error.kind(), kind, "{error}");
    for words in words {
        assert!(error.message().contains(words), "{error}");
    }
}

fn copy(from: &Path, to: &Path) {
    fs::create_dir(to).unwrap();
    for entry in fs::read_dir(from).unwrap() {
        let entry = entry.unwrap();
        let to = to.join(entry.file_name());
        if entry.file_type().unwrap().is_dir() {
            copy(&entry.path(), &to);
        } else {
            fs::copy(entry.path(), to).unwrap();
        }
    }
}

#[test]
fn it_opens_with_its_tpm_after_a_power_cycle() {
    let Some(mut machine) = Machine::new() else {
        return;
    };
    machine.create(|setup| setup);
    let names: Vec<_> = fs::read_dir(machine.path()).unwrap().collect();
    assert!(
        !names
            .iter()
            .any(|name| name.as_ref().unwrap().file_name() == "domain.key"),
        "no key file opens it"
    );
    works(machine.open_with_tpm().unwrap());
    machine.simulator.power_cycle();
    let hsm = machine.open_with_tpm().unwrap();
    assert_eq!(hsm.protectors().unwrap(), [ProtectorKind::Sealer]);
    works(hsm);
    refused(
        machine.open_with_passphrase(),
        ErrorKind::Unauthenticated,
        &["opens with the TPM"],
    );
}

/// A TPM without a resource manager is for one at a time.
#[test]
fn who_closes_it_gives_the_tpm_back_though_a_session_is_left() {
    let Some(machine) = Machine::new() else {
        return;
    };
    machine.create(Setup::count_changes);
    let hsm = machine.open_with_tpm().unwrap();
    let session = block_on(hsm.login(ADMIN, PASSWORD)).unwrap();
    block_on(hsm.close()).unwrap();
    works(machine.open_with_tpm().unwrap());
    let error = block_on(session.create_user("late", "correct horse battery")).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Unreachable, "{error}");
}

#[test]
fn it_does_not_open_with_another_tpm() {
    let (Some(machine), Some(other)) = (Machine::new(), Machine::new()) else {
        return;
    };
    machine.create(|setup| setup.recovery_passphrase(PASSPHRASE));
    refused(
        machine.open(OpenOptions::new().tpm(other.seal())),
        ErrorKind::DeviceFailed,
        &["not the one", "also opens with a passphrase"],
    );
    works(machine.open_with_tpm().unwrap());
}

#[test]
fn after_other_firmware_the_passphrase_opens_it_and_seals_it_anew() {
    let Some(machine) = Machine::new() else {
        return;
    };
    let seal = machine.seal().pcrs(&[0, 7]);
    machine.create(|setup| {
        setup
            .tpm(seal.clone())
            .recovery_passphrase(PASSPHRASE)
            .count_changes()
    });
    works(machine.open_with_tpm().unwrap());
    let digest = "7:sha256=1122334455667788112233445566778811223344556677881122334455667788";
    if machine.tool("tpm2_pcrextend", &[digest]).is_none() {
        return;
    }
    refused(
        machine.open_with_tpm(),
        ErrorKind::Denied,
        &["PCR 7 holds another value", "also opens with a passphrase"],
    );
    let both = OpenOptions::new()
        .tpm(machine.seal())
        .passphrase(PASSPHRASE);
    let hsm = machine.open(both).unwrap();
    block_on(hsm.seal_to_tpm(seal)).unwrap();
    let kinds = [ProtectorKind::Passphrase, ProtectorKind::Sealer];
    assert_eq!(hsm.protectors().unwrap(), kinds);
    change(&hsm, "somebody");
    works(hsm);
    works(machine.open_with_tpm().unwrap());
}

#[test]
fn after_the_tpm_was_cleared_the_passphrase_opens_it_and_both_are_made_anew() {
    let Some(machine) = Machine::new() else {
        return;
    };
    machine.create(|setup| setup.recovery_passphrase(PASSPHRASE).count_changes());
    if machine.tool("tpm2_clear", &["-c", "lockout"]).is_none() {
        return;
    }
    refused(
        machine.open_with_tpm(),
        ErrorKind::DeviceFailed,
        &["cleared", "also opens with a passphrase"],
    );
    let both = || {
        OpenOptions::new()
            .tpm(machine.seal())
            .passphrase(PASSPHRASE)
    };
    refused(machine.open(both()), ErrorKind::DeviceFailed, &["cleared"]);
    refused(
        machine.open_with_passphrase(),
        ErrorKind::InvalidInput,
        &["counts its changes in a TPM", "danger_accept_rollback"],
    );
    let hsm = machine.open(both().danger_accept_rollback()).unwrap();
    block_on(hsm.seal_to_tpm(machine.seal())).unwrap();
    works(hsm);
    let hsm = machine.open_with_tpm().unwrap();
    change(&hsm, "somebody");
    works(hsm);
}

#[test]
fn an_older_copy_of_the_folder_is_refused() {
    let Some(machine) = Machine::new() else {
        return;
    };
    machine.create(|setup| setup.recovery_passphrase(PASSPHRASE).count_changes());
    let backup = machine.folder.path().join("backup");
    copy(&machine.path(), &backup);
    let hsm = machine.open_with_tpm().unwrap();
    change(&hsm, "somebody");
    works(hsm);
    let latest = machine.folder.path().join("latest");
    fs::rename(machine.path(), &latest).unwrap();
    copy(&backup, &machine.path());

    refused(
        machine.open_with_tpm(),
        ErrorKind::Damaged,
        &["older copy", "danger_accept_rollback"],
    );
    let both = OpenOptions::new()
        .tpm(machine.seal())
        .passphrase(PASSPHRASE);
    refused(machine.open(both), ErrorKind::Damaged, &["older copy"]);

    fs::remove_dir_all(machine.path()).unwrap();
    fs::rename(&latest, machine.path()).unwrap();
    works(machine.open_with_tpm().unwrap());

    // The backup is what is wanted.
    fs::remove_dir_all(machine.path()).unwrap();
    copy(&backup, &machine.path());
    let accept = OpenOptions::new()
        .tpm(machine.seal())
        .danger_accept_rollback();
    works(machine.open(accept).unwrap());
    works(machine.open_with_tpm().unwrap());
}

/// `kill -9` after a change is in the store, and before the counter has moved: the next to open it moves the counter, so the change
/// stays, and a copy from before it is refused.
#[test]
fn a_process_that_is_killed_before_it_counts_loses_nothing() {
    let Some(machine) = Machine::new() else {
        return;
    };
    machine.create(Setup::count_changes);
    let path = machine.path();
    let address = machine.simulator.address().to_string();
    let mut child = Child::start(
        "changes_until_it_is_killed",
        &[path.to_str().unwrap(), &address],
    );
    let tasks = format!("/proc/{}/task", child.report().unwrap());
    assert_eq!(child.ask("first"), "done");
    let backup = machine.folder.path().join("backup");
    copy(&path, &backup);
    // Whoever counts has the file locked, so it waits with its change made.
    let counter = fs::File::open(path.join("counter")).unwrap();
    counter.lock().unwrap();
    child.tell("second");
    let waits = |task: io::Result<fs::DirEntry>| {
        let name = fs::read_to_string(task.unwrap().path().join("comm"));
        name.is_ok_and(|name| name.trim_end() == "hsm counter")
    };
    while !fs::read_dir(&tasks).unwrap().any(waits) {
        std::thread::yield_now();
    }
    assert_eq!(
        child.kill(),
        Vec::<String>::new(),
        "nothing was acknowledged"
    );
    drop(counter);

    let hsm = machine.open_with_tpm().unwrap();
    let users = block_on(async {
        let session = hsm.login(ADMIN, PASSWORD).await.unwrap();
        session.list_users(PageRequest::default()).await.unwrap()
    });
    let has = |name: &str| users.items.iter().any(|user| user.name.as_str() == name);
    assert!(has("first") && has("second"), "{users:?}");
    works(hsm);
    fs::remove_dir_all(&path).unwrap();
    fs::rename(&backup, &path).unwrap();
    refused(machine.open_with_tpm(), ErrorKind::Damaged, &["older copy"]);
}

#[test]
#[ignore = "a role for the process that is killed"]
fn changes_until_it_is_killed() {
    let Some(arguments) = process::arguments() else {
        return;
    };
    let seal = TpmSeal::new(format!("//{}", arguments[1]));
    let options = OpenOptions::new().tpm(seal);
    let hsm = block_on(Hsm::open_with(&url(Path::new(&arguments[0])), options)).unwrap();
    process::report(std::process::id());
    loop {
        change(&hsm, &process::told());
        process::report("done");
    }
}

#[test]
fn the_last_protector_stays() {
    let Some(machine) = Machine::new() else {
        return;
    };
    machine.create(|setup| setup.recovery_passphrase(PASSPHRASE));
    let hsm = machine.open_with_tpm().unwrap();
    block_on(hsm.remove_protector(ProtectorKind::Passphrase)).unwrap();
    let error = block_on(hsm.remove_protector(ProtectorKind::Sealer)).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Conflict);
    works(hsm);
    works(machine.open_with_tpm().unwrap());
}

#[test]
fn what_cannot_be_is_refused_before_anything_is_made() {
    let folder = tempfile::tempdir().unwrap();
    let soft = url(&folder.path().join("hsm"));
    let setup = || Setup::new(ADMIN, PASSWORD);
    for (url, setup) in [
        (&*soft, setup().count_changes()),
        (&*soft, setup().tpm(TpmSeal::new("tpmrm0"))),
        (&*soft, setup().tpm(TpmSeal::new("/dev/tpmrm0?folder=a"))),
        ("memory:", setup().recovery_passphrase(PASSPHRASE)),
        ("memory:", setup().tpm(TpmSeal::new("/dev/tpmrm0"))),
        ("tpm:/dev/tpmrm0", setup().recovery_passphrase(PASSPHRASE)),
        ("tpm:/dev/tpmrm0", setup().tpm(TpmSeal::new("/dev/tpmrm0"))),
    ] {
        let error = block_on(Hsm::create(url, setup)).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::InvalidInput, "{url}: {error}");
    }
    let left = fs::read_dir(folder.path()).unwrap().count();
    assert_eq!(left, 0);
}

#[test]
fn a_tpm_hsm_counts_in_its_own_tpm() {
    let Some(machine) = Machine::new() else {
        return;
    };
    let place = machine.simulator.address();
    let url = format!("tpm://{place}?folder={}", machine.path().display());
    block_on(async {
        let setup = Setup::new(ADMIN, PASSWORD).count_changes();
        let hsm = Hsm::create(&url, setup).await.unwrap();
        hsm.close().await.unwrap();
        let backup = machine.folder.path().join("backup");
        copy(&machine.path(), &backup);
        let hsm = Hsm::open(&url).await.unwrap();
        change(&hsm, "somebody");
        hsm.close().await.unwrap();
        Hsm::open(&url).await.unwrap().close().await.unwrap();
        fs::remove_dir_all(machine.path()).unwrap();
        copy(&backup, &machine.path());
        let opened = Hsm::open(&url).await;
        refused(opened, ErrorKind::Damaged, &["older copy"]);
    });
}
