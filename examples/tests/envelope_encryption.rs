//! Promise: `envelope_encryption` runs as it is, and Python's `cryptography`, which knows `docs/envelope.md` and nothing of us,
//! decrypts what it wrote.

use std::fs::{self, File};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use hsm_client::blocking::{Hsm, Key};
use hsm_client::envelope::Header;
use hsm_client::kinds::Aes256Kwp;

const SIZE: usize = 200_000;

#[test]
fn it_runs_and_python_decrypts_what_it_wrote() {
    let home = tempfile::tempdir().unwrap();
    let folder = home.path().join("envelope.hsm");
    let run = Command::new(env!("CARGO_BIN_EXE_envelope_encryption"))
        .args(["--size", &SIZE.to_string(), "--folder"])
        .arg(&folder)
        .output()
        .unwrap();
    let said = String::from_utf8(run.stdout).unwrap();
    assert!(
        run.status.success(),
        "{said}{}",
        String::from_utf8_lossy(&run.stderr)
    );
    for line in [
        "refused, as it should be",
        "read all rows back",
        "it is as it was",
        "ratio",
    ] {
        assert!(said.contains(line), "{line} is not in {said}");
    }

    let Some(python) = python() else { return };
    let hsm = Hsm::open(&format!("soft:{}", folder.join("keys").display())).unwrap();
    let app = hsm.login("app", "the application's password").unwrap();
    let kek: Key<Aes256Kwp> = app.key("customer-data").unwrap();
    let decrypt = |sealed: &[u8], context: &str| {
        let (header, _) = Header::split(sealed).unwrap();
        let data_key = kek.unwrap(header.wrapped()).unwrap();
        let data_key: String = data_key
            .expose()
            .iter()
            .map(|byte| format!("{byte:02x}"))
            .collect();
        let input = home.path().join("input");
        fs::write(&input, sealed).unwrap();
        let output = Command::new(&python)
            .arg(script())
            .args(["open", &data_key, context])
            .stdin(File::open(input).unwrap())
            .output()
            .unwrap();
        (output.status.success(), output.stdout)
    };

    let sealed = fs::read(folder.join("file.enc")).unwrap();
    let (ok, plaintext) = decrypt(&sealed, "file.enc");
    assert!(ok);
    let expected: Vec<u8> = (0..251).cycle().take(SIZE).collect();
    assert!(plaintext == expected);
    let rows = fs::read_to_string(folder.join("rows.txt")).unwrap();
    let sealed = rows.lines().nth(1).unwrap().strip_prefix("Bob\t").unwrap();
    let sealed: Vec<u8> = (0..sealed.len() / 2)
        .map(|at| u8::from_str_radix(&sealed[2 * at..2 * at + 2], 16).unwrap())
        .collect();
    assert_eq!(
        decrypt(&sealed, "customers/1/card"),
        (true, b"5500 0000 0000 0004".to_vec())
    );
    // It would say no.
    assert!(!decrypt(&sealed, "customers/2/card").0);
    println!("python's cryptography decrypted a file of {SIZE} bytes and a row");
}

#[test]
fn a_folder_of_others_is_not_deleted() {
    let home = tempfile::tempdir().unwrap();
    let precious = home.path().join("precious");
    fs::write(&precious, "mine").unwrap();
    let run = || {
        let mut run = Command::new(env!("CARGO_BIN_EXE_envelope_encryption"));
        run.args(["--size", "1000", "--folder"]);
        run
    };
    let refused = run().arg(home.path()).output().unwrap();
    assert_eq!(refused.status.code(), Some(1));
    assert!(String::from_utf8_lossy(&refused.stderr).contains("name another"));
    assert_eq!(fs::read_to_string(&precious).unwrap(), "mine");
    // Its own it makes anew.
    let own = home.path().join("own");
    for _ in 0..2 {
        assert!(run().arg(&own).output().unwrap().status.success());
    }
}

#[test]
fn a_wrong_argument_is_refused() {
    let run = Command::new(env!("CARGO_BIN_EXE_envelope_encryption"))
        .args(["--size", "1 parsec"])
        .output()
        .unwrap();
    assert_eq!(run.status.code(), Some(1));
    assert!(String::from_utf8(run.stderr).unwrap().contains("usage"));
}

fn script() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../hsm-client/tests/vectors/envelope.py")
}

/// A Python with `cryptography`: the one of the system, or one in a virtual environment under the target folder.
fn python() -> Option<PathBuf> {
    let has = |python: &Path| {
        let mut import = Command::new(python);
        let import = import
            .args(["-c", "import cryptography"])
            .stderr(Stdio::null());
        import.status().is_ok_and(|status| status.success())
    };
    let system = PathBuf::from("python3");
    if has(&system) {
        return Some(system);
    }
    let folder = Path::new(env!("CARGO_TARGET_TMPDIR")).join("python-cryptography");
    let python = folder.join("bin/python");
    if !has(&python) {
        let run = |command: &mut Command| command.status().is_ok_and(|status| status.success());
        let made = run(Command::new("python3")
            .args(["-m", "venv", "--clear"])
            .arg(&folder))
            && run(Command::new(&python).args(["-m", "pip", "install", "--quiet", "cryptography"]));
        if !made {
            println!("skipped: Python with the package `cryptography` cannot be had here");
            return None;
        }
    }
    Some(python)
}
