//! [`TpmSimulator`]: a TPM 2.0 in software, swtpm, for tests and examples that need one.

use std::fs;
use std::io;
use std::net::{Ipv4Addr, SocketAddr, TcpListener};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::thread;

/// A running swtpm with its state in a folder. It speaks raw TPM commands on a TCP port, to one connection at a time, and
/// ends when this is dropped or the process dies.
///
/// ```
/// use hsm_testkit::TpmSimulator;
///
/// if let Some(reason) = TpmSimulator::missing() {
///     eprintln!("skipped: {reason}");
///     return;
/// }
/// let folder = std::env::temp_dir().join(format!("tpm-{}", std::process::id()));
/// std::fs::create_dir(&folder).unwrap();
/// let simulator = TpmSimulator::start(&folder);
/// println!("TPM2TOOLS_TCTI={}", simulator.tcti());
/// # drop(simulator);
/// # std::fs::remove_dir_all(folder).unwrap();
/// ```
#[derive(Debug)]
pub struct TpmSimulator {
    process: Child,
    port: u16,
    state: PathBuf,
}

impl TpmSimulator {
    /// Why there is no simulator on this machine; `None` if there is one.
    #[must_use]
    pub fn missing() -> Option<String> {
        let found = quiet(&mut Command::new("swtpm")).arg("--version").status();
        match found {
            Ok(status) if status.success() => None,
            _ => Some("swtpm is not installed (Debian: apt-get install swtpm)".to_owned()),
        }
    }

    /// Starts a simulator with its state in `state`, a folder that is there. An empty one is a new TPM.
    ///
    /// # Panics
    ///
    /// If it does not start.
    #[must_use]
    pub fn start(state: &Path) -> Self {
        let state = std::path::absolute(state).expect("the folder has a path");
        for _ in 0..ATTEMPTS {
            let port = free_ports().expect("the system has free ports");
            if let Some(process) = start_on(port, &state) {
                return Self {
                    process,
                    port,
                    state,
                };
            }
        }
        panic!("swtpm does not start with its state in {}", state.display());
    }

    /// Where it takes commands.
    #[must_use]
    pub fn address(&self) -> SocketAddr {
        (Ipv4Addr::LOCALHOST, self.port).into()
    }

    /// How tpm2-tools reach it: what their option `--tcti` takes.
    #[must_use]
    pub fn tcti(&self) -> String {
        format!("swtpm:host=127.0.0.1,port={}", self.port)
    }

    /// Cuts the power, and gives it back: what was loaded is gone, what was persistent is there, at the same address.
    ///
    /// # Panics
    ///
    /// If it does not start again.
    pub fn power_cycle(&mut self) {
        self.cut_power();
        for _ in 0..ATTEMPTS {
            if let Some(process) = start_on(self.port, &self.state) {
                self.process = process;
                return;
            }
            thread::yield_now();
        }
        panic!("swtpm does not start again");
    }

    /// Cuts the power.
    pub fn cut_power(&mut self) {
        drop(self.process.stdin.take());
        // The shell has ended: so has the simulator.
        _ = self.process.wait();
    }
}

impl Drop for TpmSimulator {
    fn drop(&mut self) {
        self.cut_power();
    }
}

/// Starts it, and waits until it listens. `None` if the ports were taken meanwhile.
fn start_on(port: u16, state: &Path) -> Option<Child> {
    // It says who it is once it listens, in a file that is nobody else's. Somebody else may listen at a port by then.
    let ready = state.join("pid");
    _ = fs::remove_file(&ready); // of the one before, if there was one
    let socket = |port: u16| format!("type=tcp,port={port},bindaddr=127.0.0.1");
    let mut process = quiet(&mut Command::new("sh"))
        .stdin(Stdio::piped())
        .args(["-c", SCRIPT, "swtpm"])
        .args(["socket", "--tpm2", "--flags", "not-need-init,startup-clear"])
        .arg("--tpmstate")
        .arg(format!("dir={}", state.display()))
        .arg("--pid")
        .arg(format!("file={}", ready.display()))
        .args(["--server", &socket(port), "--ctrl", &socket(port + 1)])
        .spawn()
        .ok()?;
    while !ready.exists() {
        if !matches!(process.try_wait(), Ok(None)) {
            return None;
        }
        thread::yield_now();
    }
    Some(process)
}

/// Two ports that nobody listens at, one after the other, as tpm2-tools expect them.
fn free_ports() -> io::Result<u16> {
    loop {
        let first = TcpListener::bind((Ipv4Addr::LOCALHOST, 0))?;
        let port = first.local_addr()?.port();
        if let Some(second) = port.checked_add(1)
            && TcpListener::bind((Ipv4Addr::LOCALHOST, second)).is_ok()
        {
            return Ok(port);
        }
    }
}

fn quiet(command: &mut Command) -> &mut Command {
    command
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(Stdio::null())
}

/// The simulator dies when its input ends: with us, however we end.
const SCRIPT: &str = r#"
exec 3<&0
swtpm "$@" &
simulator=$!
(read -r _ <&3; kill -9 $simulator) &
wait $simulator
kill $! 2>/dev/null
"#;

const ATTEMPTS: usize = 100;
