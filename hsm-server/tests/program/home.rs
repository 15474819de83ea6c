//! The real program, run as a person would, in a folder of its own.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};

use serde_json::Value;
use tempfile::TempDir;

/// The administrator's password.
pub(crate) const ADMIN_PASSWORD: &str = "an administrator's password";

/// The password of the user `app`.
pub(crate) const APP_PASSWORD: &str = "correct horse battery";

/// A folder with the files that the program is given.
pub(crate) struct Home {
    folder: TempDir,
}

impl Home {
    /// A folder with the two passwords in it.
    pub(crate) fn new() -> Self {
        let folder = tempfile::tempdir().unwrap();
        let home = Self { folder };
        home.write_secret("admin.password", ADMIN_PASSWORD);
        home.write_secret("app.password", APP_PASSWORD);
        home
    }

    /// A folder with an HSM, and a user `app` who may use keys.
    pub(crate) fn with_hsm() -> Self {
        let home = Self::new();
        home.done(&[
            "init",
            "soft:dev.hsm",
            "--password-file",
            "admin.password",
            "--audit-key",
            "audit.pem",
        ]);
        home.admin(&[
            "user",
            "create",
            "app",
            "--new-password-file",
            "app.password",
            "--role",
            "crypto-user",
            "--scope",
            "/",
        ]);
        home
    }

    pub(crate) fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    pub(crate) fn folder(&self) -> &Path {
        self.folder.path()
    }

    pub(crate) fn write(&self, name: &str, content: impl AsRef<[u8]>) {
        fs::write(self.path(name), content).unwrap();
    }

    pub(crate) fn write_secret(&self, name: &str, content: &str) {
        self.write(name, format!("{content}\n"));
        fs::set_permissions(self.path(name), fs::Permissions::from_mode(0o600)).unwrap();
    }

    pub(crate) fn read(&self, name: &str) -> Vec<u8> {
        fs::read(self.path(name)).unwrap()
    }

    /// The program, in this folder, with nothing of the environment's.
    pub(crate) fn command(&self, args: &[&str]) -> Command {
        let mut command = Command::new(env!("CARGO_BIN_EXE_hsm"));
        command
            .args(args)
            .current_dir(self.folder())
            .stdin(Stdio::null())
            .env_clear();
        command
    }

    pub(crate) fn run(&self, args: &[&str]) -> Output {
        self.command(args).output().unwrap()
    }

    /// Runs what must succeed; its standard output.
    pub(crate) fn done(&self, args: &[&str]) -> String {
        let output = self.run(args);
        let (stdout, stderr) = texts(&output);
        assert!(output.status.success(), "{args:?}\n{stdout}\n{stderr}");
        stdout
    }

    /// Runs what must be refused with an exit code; its standard error.
    pub(crate) fn refused(&self, code: i32, args: &[&str]) -> String {
        let output = self.run(args);
        let (stdout, stderr) = texts(&output);
        assert_eq!(
            output.status.code(),
            Some(code),
            "{args:?}\n{stdout}\n{stderr}"
        );
        stderr
    }

    /// As the administrator.
    pub(crate) fn admin(&self, args: &[&str]) -> String {
        self.done(&as_user(args, "admin", "admin.password"))
    }

    /// As the user `app`.
    pub(crate) fn app(&self, args: &[&str]) -> String {
        self.done(&as_user(args, "app", "app.password"))
    }

    /// As the user `app`, with the result as JSON.
    pub(crate) fn app_json(&self, args: &[&str]) -> Value {
        let args = [args, &["--output", "json"]].concat();
        serde_json::from_str(&self.app(&args)).unwrap()
    }

    /// As the administrator, with the result as JSON.
    pub(crate) fn admin_json(&self, args: &[&str]) -> Value {
        let args = [args, &["--output", "json"]].concat();
        serde_json::from_str(&self.admin(&args)).unwrap()
    }

    /// As the user `app`, refused with an exit code; its standard error.
    pub(crate) fn app_refused(&self, code: i32, args: &[&str]) -> String {
        self.refused(code, &as_user(args, "app", "app.password"))
    }

    /// As the administrator, refused with an exit code; its standard error.
    pub(crate) fn admin_refused(&self, code: i32, args: &[&str]) -> String {
        self.refused(code, &as_user(args, "admin", "admin.password"))
    }
}

fn as_user<'a>(args: &[&'a str], user: &'a str, password_file: &'a str) -> Vec<&'a str> {
    let connect = [
        "--hsm",
        "soft:dev.hsm",
        "--user",
        user,
        "--password-file",
        password_file,
    ];
    [args, &connect].concat()
}

pub(crate) fn texts(output: &Output) -> (String, String) {
    (
        String::from_utf8_lossy(&output.stdout).into_owned(),
        String::from_utf8_lossy(&output.stderr).into_owned(),
    )
}

/// Who may read a file.
pub(crate) fn mode(path: &Path) -> u32 {
    fs::metadata(path).unwrap().permissions().mode() & 0o777
}
