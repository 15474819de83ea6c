//! A TPM keeps a secret and a counter for others: for this TPM, this boot state, in turns, and not in clear on the bus.
#![expect(clippy::unwrap_used, reason = "helpers of tests are tests")]

#[path = "simulated/tools.rs"]
mod tools;
#[path = "simulated/transport.rs"]
mod transport;

use std::io;
use std::path::PathBuf;
use std::sync::{Arc, Mutex};
use std::thread;
use std::time::Duration;

use futures_executor::block_on;
use hsm_backend_tpm::{Sharing, TcpTransport, TpmRoot, TpmSealer, Transport};
use hsm_core::{ErrorKind, MonotonicCounter, PcrSelection, Result, RootSealer, SecretBytes};
use hsm_testkit::TpmSimulator;
use transport::Simulated;

fn sealer(registers: Option<&str>) -> TpmSealer {
    let registers = registers.map(|text| text.parse::<PcrSelection>().unwrap());
    TpmRoot::connect(Simulated::new())
        .unwrap()
        .sealer(registers)
}

/// A counter of a TPM of its own, with the folder of its file.
#[derive(Debug)]
struct Counted {
    counter: hsm_backend_tpm::TpmCounter,
    _folder: tempfile::TempDir,
}

fn counter() -> Counted {
    let folder = tempfile::tempdir().unwrap();
    let root = TpmRoot::connect(Simulated::new()).unwrap();
    let counter = root.create_counter(&folder.path().join("counter")).unwrap();
    Counted {
        counter,
        _folder: folder,
    }
}

#[async_trait::async_trait]
impl MonotonicCounter for Counted {
    fn identity(&self) -> [u8; 32] {
        self.counter.identity()
    }

    async fn read(&self) -> Result<u64> {
        self.counter.read().await
    }

    async fn advance(&self, to: u64) -> Result<()> {
        self.counter.advance(to).await
    }
}

hsm_testkit::root_sealer_conformance!(sealer(None), missing: TpmSimulator::missing());
hsm_testkit::counter_conformance!(counter(), missing: TpmSimulator::missing());

/// A simulator to which connections come and go.
struct Machine {
    folder: tempfile::TempDir,
    simulator: TpmSimulator,
}

impl Machine {
    fn new() -> Option<Self> {
        if let Some(reason) = TpmSimulator::missing() {
            eprintln!("skipped: {reason}");
            return None;
        }
        let folder = tempfile::tempdir().unwrap();
        let state = folder.path().join("tpm");
        std::fs::create_dir(&state).unwrap();
        let simulator = TpmSimulator::start(&state);
        Some(Self { folder, simulator })
    }

    fn root(&self) -> TpmRoot {
        TpmRoot::connect(TcpTransport::connect(self.simulator.address()).unwrap()).unwrap()
    }

    fn counter(&self) -> PathBuf {
        self.folder.path().join("counter")
    }
}

fn secret() -> SecretBytes {
    SecretBytes::init_with(32, |bytes| {
        for (byte, at) in bytes.iter_mut().zip(0u8..) {
            *byte = 0xa1 ^ at.wrapping_mul(37);
        }
    })
}

#[test]
fn sealed_to_a_boot_state_it_opens_in_that_one() {
    let Some(mut machine) = Machine::new() else {
        return;
    };
    let registers = Some("0,7,16".parse().unwrap());
    let sealed = machine.root().sealer(registers).seal(&secret()).unwrap();
    machine.simulator.power_cycle();
    let opened = machine.root().sealer(None).unseal(&sealed).unwrap();
    assert_eq!(opened.expose(), secret().expose());
    if let Some(reason) = tools::missing() {
        eprintln!("skipped: {reason}");
        return;
    }
    let digest = format!("16:sha256={}", "42".repeat(32));
    tools::run(&machine.simulator, "tpm2_pcrextend", &[&digest]);
    let error = machine
        .root()
        .sealer(registers)
        .unseal(&sealed)
        .unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Denied, "{error}");
    assert!(
        error.message().contains("PCR 16 holds another value"),
        "{error}"
    );
    // The state comes back with the next boot.
    machine.simulator.power_cycle();
    machine.root().sealer(registers).unseal(&sealed).unwrap();
}

/// Whoever edits what is sealed gets no wider policy by it.
#[test]
fn a_boot_state_cannot_be_taken_off() {
    let Some(machine) = Machine::new() else {
        return;
    };
    let root = machine.root();
    let sealed = root
        .sealer(Some("7".parse().unwrap()))
        .seal(&secret())
        .unwrap();
    // Version, root name, registers, one digest.
    let mut bare = sealed[..35].to_vec();
    bare.extend([0; 4]);
    bare.extend(&sealed[35 + 4 + 32..]);
    let error = root.sealer(None).unseal(&bare).unwrap_err();
    assert_ne!(error.kind(), ErrorKind::Unknown, "{error}");
}

#[test]
fn a_cleared_tpm_says_what_happened() {
    let Some(machine) = Machine::new() else {
        return;
    };
    if let Some(reason) = tools::missing() {
        eprintln!("skipped: {reason}");
        return;
    }
    let root = machine.root();
    let sealed = root.sealer(None).seal(&secret()).unwrap();
    let counter = root.create_counter(&machine.counter()).unwrap();
    drop((root, counter));
    tools::run(&machine.simulator, "tpm2_clear", &["-c", "lockout"]);
    let root = machine.root();
    let error = root.sealer(None).unseal(&sealed).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::DeviceFailed, "{error}");
    assert!(error.message().contains("cleared"), "{error}");
    let counter = root.counter(&machine.counter()).unwrap();
    let error = block_on(counter.read()).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::DeviceFailed, "{error}");
    // What is new works.
    let sealed = root.sealer(None).seal(&secret()).unwrap();
    root.sealer(None).unseal(&sealed).unwrap();
}

#[test]
fn a_counter_goes_on_after_a_power_cycle_and_tools_see_it() {
    let Some(mut machine) = Machine::new() else {
        return;
    };
    let counter = machine.root().create_counter(&machine.counter()).unwrap();
    let (identity, index) = (counter.identity(), counter.index());
    let value = block_on(counter.read()).unwrap();
    block_on(counter.advance(value + 3)).unwrap();
    drop(counter);
    machine.simulator.power_cycle();
    let counter = machine.root().counter(&machine.counter()).unwrap();
    assert_eq!(counter.identity(), identity);
    assert_eq!(block_on(counter.read()).unwrap(), value + 3);
    drop(counter);
    if let Some(reason) = tools::missing() {
        eprintln!("skipped: {reason}");
        return;
    }
    let index = format!("{index:#x}");
    let public = tools::run(&machine.simulator, "tpm2_nvreadpublic", &[&index]);
    let shown = public.to_lowercase();
    for attribute in ["authwrite", "authread", "ownerread", "no_da", "written"] {
        assert!(shown.contains(attribute), "{attribute}: {public}");
    }
    assert!(
        shown.contains("nt=0x1") || shown.contains("nt=counter"),
        "{public}"
    );
    assert!(
        !shown.contains("orderly") && !shown.contains("|ownerwrite"),
        "{public}"
    );

    // Made again in its place it is another.
    tools::run(&machine.simulator, "tpm2_nvundefine", &["-C", "o", &index]);
    let again = [
        "-C",
        "o",
        "-s",
        "8",
        "-a",
        "authread|authwrite|ownerread|no_da|nt=1",
        &index,
    ];
    tools::run(&machine.simulator, "tpm2_nvdefine", &again);
    tools::run(
        &machine.simulator,
        "tpm2_nvincrement",
        &["-C", &index, &index],
    );
    let counter = machine.root().counter(&machine.counter()).unwrap();
    let error = block_on(counter.read()).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::DeviceFailed, "{error}");
    assert!(error.message().contains("defined anew"), "{error}");
}

/// Two with the same file take turns, as two processes do.
#[test]
fn two_with_one_file_take_turns() {
    let Some(machine) = Machine::new() else {
        return;
    };
    let root = machine.root();
    let first = root.create_counter(&machine.counter()).unwrap();
    let second = root.counter(&machine.counter()).unwrap();
    let value = block_on(first.read()).unwrap();
    thread::scope(|scope| {
        for counter in [&first, &second] {
            scope.spawn(move || {
                for to in value + 1..=value + 10 {
                    block_on(counter.advance(to)).unwrap();
                }
            });
        }
    });
    assert_eq!(block_on(first.read()).unwrap(), value + 10);
    let error = root.create_counter(&machine.counter()).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Conflict);
}

/// Remembers all that crosses.
#[derive(Debug)]
struct Recorder {
    inner: Simulated,
    crossed: Arc<Mutex<Vec<u8>>>,
}

impl Transport for Recorder {
    fn transmit(&mut self, command: &[u8], within: Duration) -> io::Result<Vec<u8>> {
        let response = self.inner.transmit(command, within)?;
        let mut crossed = self.crossed.lock().unwrap();
        crossed.extend_from_slice(command);
        crossed.extend_from_slice(&response);
        Ok(response)
    }

    fn reconnect(&mut self) -> io::Result<()> {
        self.inner.reconnect()
    }

    fn sharing(&self) -> Sharing {
        self.inner.sharing()
    }
}

#[test]
fn the_secret_does_not_cross_the_bus_in_clear() {
    if let Some(reason) = TpmSimulator::missing() {
        eprintln!("skipped: {reason}");
        return;
    }
    let crossed = Arc::new(Mutex::new(Vec::new()));
    let recorder = Recorder {
        inner: Simulated::new(),
        crossed: crossed.clone(),
    };
    let root = TpmRoot::connect(recorder).unwrap();
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("counter");
    for registers in [None, Some("0,7".parse().unwrap())] {
        let sealer = root.sealer(registers);
        let sealed = sealer.seal(&secret()).unwrap();
        let opened = sealer.unseal(&sealed).unwrap();
        assert_eq!(opened.expose(), secret().expose());
        // What is public crosses, so the recorder works.
        let crossed = crossed.lock().unwrap();
        let private = &sealed[sealed.len() - 32..];
        assert!(crossed.windows(32).any(|window| window == private));
        for part in secret().expose().chunks(8) {
            assert!(!crossed.windows(8).any(|window| window == part));
        }
    }
    let counter = root.create_counter(&file).unwrap();
    block_on(counter.read()).unwrap();
    let text = std::fs::read_to_string(file).unwrap();
    let digits = text.lines().nth(3).unwrap();
    let auth: Vec<u8> = (0..32)
        .map(|at| u8::from_str_radix(&digits[2 * at..2 * at + 2], 16).unwrap())
        .collect();
    let crossed = crossed.lock().unwrap();
    assert!(!crossed.windows(8).any(|window| window == &auth[..8]));
}
