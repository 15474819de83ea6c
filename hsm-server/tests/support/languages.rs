//! Programs of other languages for tests: virtual environments of Python and modules of Node, made once and kept under the
//! target folder. What cannot be had is skipped, out loud.

use std::fs::{self, File};
use std::hash::{DefaultHasher, Hash as _, Hasher as _};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

/// The folder of the scripts.
pub(crate) fn scripts() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/clients")
}

/// A virtual environment with the packages of a list in the folder of the scripts.
pub(crate) fn python(requirements: &str) -> Option<PathBuf> {
    let list = scripts().join(requirements);
    made_once("python", &list, |folder| {
        run(Command::new("python3")
            .args(["-m", "venv", "--clear"])
            .arg(folder))
        .map_err(|why| format!("Python or its module venv is missing ({why})"))?;
        let pip = [
            "-m",
            "pip",
            "install",
            "--quiet",
            "--disable-pip-version-check",
            "-r",
        ];
        run(Command::new(folder.join("bin/python")).args(pip).arg(&list))
            .map_err(|why| format!("pip cannot get {requirements} ({why})"))
    })
    .map(|folder| folder.join("bin"))
}

/// A folder with the scripts' modules of Node installed.
pub(crate) fn node() -> Option<PathBuf> {
    let list = scripts().join("package.json");
    made_once("node", &list, |folder| {
        run(Command::new("node").arg("--version"))
            .map_err(|why| format!("Node is missing ({why})"))?;
        fs::create_dir_all(folder).expect("a folder under target");
        fs::copy(&list, folder.join("package.json")).expect("a copy under target");
        let npm = ["install", "--silent", "--no-audit", "--no-fund", "--prefix"];
        run(Command::new("npm").args(npm).arg(folder))
            .map_err(|why| format!("npm cannot get the clients ({why})"))
    })
}

/// Makes a folder for a list of packages, unless a test made it before. Tests of several processes wait for each other.
fn made_once(
    what: &str,
    list: &Path,
    make: impl FnOnce(&Path) -> Result<(), String>,
) -> Option<PathBuf> {
    let mut hasher = DefaultHasher::new();
    fs::read(list)
        .expect("a list of packages")
        .hash(&mut hasher);
    let name = format!("{what}-{:016x}", hasher.finish());
    let folder = Path::new(env!("CARGO_TARGET_TMPDIR")).join(&name);
    let complete = folder.join("complete");
    let lock = File::create(folder.with_extension("lock")).expect("a file under target");
    lock.lock().expect("the lock of a folder");
    if !complete.exists() {
        if let Err(why) = make(&folder) {
            println!("skipped: {why}");
            return None;
        }
        File::create(complete).expect("a file under target");
    }
    Some(folder)
}

/// Runs a program to its end; says what it said last if it fails.
fn run(command: &mut Command) -> Result<(), String> {
    let output = command
        .stdin(Stdio::null())
        .output()
        .map_err(|error| error.to_string())?;
    if output.status.success() {
        return Ok(());
    }
    let said = String::from_utf8_lossy(&output.stderr).into_owned();
    Err(said.lines().last().unwrap_or("it said nothing").to_owned())
}
