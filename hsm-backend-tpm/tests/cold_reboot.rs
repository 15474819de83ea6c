//! Keys survive whatever happens to the TPM, short of being cleared; and then the error says so.
#![expect(clippy::unwrap_used, reason = "helpers of tests are tests")]

#[path = "simulated/tools.rs"]
mod tools;

use std::sync::Arc;
use std::time::Duration;

use futures_executor::block_on;
use hsm_backend_tpm::{TcpTransport, TpmDevice};
use hsm_core::{
    Algorithm, Binding, Device, Error, ErrorKind, KeySpec, KeyType, LoadedKey, SealedKey, Usage,
    Usages,
};
use hsm_testkit::TpmSimulator;
use hsm_testkit::process::{self, Child};
use sha2::{Digest, Sha256};
use tempfile::TempDir;

struct Machine {
    simulator: TpmSimulator,
    state: TempDir,
}

impl Machine {
    fn new() -> Option<Self> {
        if let Some(reason) = TpmSimulator::missing().or_else(tools::missing) {
            eprintln!("skipped: {reason}");
            return None;
        }
        let state = tempfile::tempdir().unwrap();
        let simulator = TpmSimulator::start(state.path());
        Some(Self { simulator, state })
    }

    fn connect(&self) -> TcpTransport {
        TcpTransport::connect(self.simulator.address()).unwrap()
    }

    fn tool(&self, tool: &str, arguments: &[&str]) -> String {
        tools::run(&self.simulator, tool, arguments)
    }

    fn tool_fails(&self, tool: &str, arguments: &[&str]) {
        let tcti = self.simulator.tcti();
        let mut command = std::process::Command::new(tool);
        let output = command.arg("--tcti").arg(tcti).args(arguments).output();
        assert!(!output.unwrap().status.success(), "{tool} {arguments:?}");
    }

    /// The storage root key of the standard template.
    fn create_root(&self, algorithm: &str, context: &str) {
        let attributes =
            "restricted|decrypt|fixedtpm|fixedparent|sensitivedataorigin|userwithauth|noda";
        let template = ["-C", "o", "-g", "sha256", "-G", algorithm, "-a", attributes];
        self.tool(
            "tpm2_createprimary",
            &[&template[..], &["-c", context]].concat(),
        );
    }

    fn assert_nothing_is_loaded(&self) {
        for kind in ["handles-transient", "handles-loaded-session"] {
            assert_eq!(self.tool("tpm2_getcap", &[kind]), "", "{kind}");
        }
    }
}

fn binding() -> Binding {
    Binding::new("test", b"a key")
}

async fn make(device: &TpmDevice) -> (SealedKey, Arc<dyn LoadedKey>) {
    let usages = Usages::of(&[Usage::Sign, Usage::Verify]);
    let spec = KeySpec::new(KeyType::HmacSha256, usages).unwrap();
    let sealed = device.generate(&spec, &binding()).await.unwrap().sealed;
    let key = device.load(&sealed, &binding()).await.unwrap();
    (sealed, key)
}

async fn mac(key: &dyn LoadedKey) -> Result<Vec<u8>, Error> {
    key.mac(Algorithm::Hs256, b"message").await
}

#[test]
fn keys_load_after_a_power_cycle() {
    let Some(mut machine) = Machine::new() else {
        return;
    };
    let device = TpmDevice::create(machine.connect()).unwrap();
    let root = device.root_name();
    let (sealed, expected) = block_on(async {
        let (sealed, key) = make(&device).await;
        (sealed, mac(&*key).await.unwrap())
    });
    drop(device);
    machine.simulator.power_cycle();
    let device = TpmDevice::open(machine.connect(), root).unwrap();
    block_on(async {
        let key = device.load(&sealed, &binding()).await.unwrap();
        assert_eq!(mac(&*key).await.unwrap(), expected);
    });
}

#[test]
fn loaded_keys_work_on_after_a_power_cycle() {
    let Some(mut machine) = Machine::new() else {
        return;
    };
    let device = TpmDevice::create(machine.connect()).unwrap();
    block_on(async {
        let (_, key) = make(&device).await;
        let expected = mac(&*key).await.unwrap();
        machine.simulator.power_cycle();
        assert_eq!(mac(&*key).await.unwrap(), expected);
    });
}

#[test]
fn without_power_the_tpm_is_unreachable_and_then_it_is_not() {
    let Some(mut machine) = Machine::new() else {
        return;
    };
    let device = TpmDevice::create(machine.connect()).unwrap();
    block_on(async {
        let (_, key) = make(&device).await;
        let expected = mac(&*key).await.unwrap();
        machine.simulator.cut_power();
        for _ in 0..2 {
            let error = mac(&*key).await.unwrap_err();
            assert_eq!(error.kind(), ErrorKind::Unreachable, "{error}");
        }
        machine.simulator.power_cycle();
        assert_eq!(mac(&*key).await.unwrap(), expected);
    });
}

#[test]
fn a_cleared_tpm_says_so() {
    let Some(machine) = Machine::new() else {
        return;
    };
    let device = TpmDevice::create(machine.connect()).unwrap();
    let root = device.root_name();
    let (sealed, _) = block_on(make(&device));
    block_on(device.close()).unwrap();
    drop(device);
    machine.tool("tpm2_clear", &[]);
    let error = TpmDevice::open(machine.connect(), root).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::DeviceFailed);
    assert!(error.to_string().contains("cleared"), "{error}");
    // Whoever takes it as it is does not get the old keys.
    let device = TpmDevice::create(machine.connect()).unwrap();
    assert_ne!(device.root_name(), root);
    let error = block_on(device.load(&sealed, &binding())).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Damaged);
}

#[test]
fn zeroizing_lasts() {
    let Some(machine) = Machine::new() else {
        return;
    };
    let device = TpmDevice::create(machine.connect()).unwrap();
    let root = device.root_name();
    block_on(async {
        let (_, key) = make(&device).await;
        device.zeroize().await.unwrap();
        let error = mac(&*key).await.unwrap_err();
        assert_eq!(error.kind(), ErrorKind::DeviceFailed);
    });
    drop(device);
    let error = TpmDevice::open(machine.connect(), root).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::DeviceFailed);
}

#[test]
fn the_owners_persistent_root_key_is_used() {
    let Some(machine) = Machine::new() else {
        return;
    };
    let context = machine.state.path().join("root.ctx");
    let context = context.to_str().unwrap();
    for algorithm in ["ecc256:null:aes128cfb", "rsa2048:null:aes128cfb"] {
        machine.create_root(algorithm, context);
        machine.tool(
            "tpm2_evictcontrol",
            &["-C", "o", "-c", context, "0x81000001"],
        );
        machine.tool("tpm2_flushcontext", &["-t"]);
        let device = TpmDevice::create(machine.connect()).unwrap();
        let root = device.root_name();
        block_on(async {
            let (_, key) = make(&device).await;
            mac(&*key).await.unwrap();
            device.close().await.unwrap();
        });
        drop(device);
        let read = machine.tool("tpm2_readpublic", &["-c", "0x81000001"]);
        assert!(read.contains(&root.to_string()), "{read}");
        machine.assert_nothing_is_loaded();
        machine.tool("tpm2_evictcontrol", &["-C", "o", "-c", "0x81000001"]);
        // Without it the standard template gives the same key.
        let device = TpmDevice::open(machine.connect(), root).unwrap();
        block_on(device.close()).unwrap();
    }
}

#[test]
fn tpm2_tools_load_what_the_device_made() {
    let Some(machine) = Machine::new() else {
        return;
    };
    const MADE_HERE: &str = "fixedtpm|fixedparent|sensitivedataorigin|userwithauth|noda";
    let usages = |usages: &[Usage]| Usages::of(usages);
    let both = usages(&[Usage::Sign, Usage::Verify]);
    let keys = [
        (KeyType::HmacSha256, both, "sign"),
        (KeyType::EcP256, both, "sign"),
        (KeyType::EcP384, usages(&[Usage::DeriveBits]), "decrypt"),
        (KeyType::Rsa2048, usages(&[Usage::Import]), "decrypt"),
        (KeyType::Kdk256, usages(&[Usage::DeriveKey]), "decrypt|sign"),
        (
            KeyType::Aes256,
            usages(&[Usage::Encrypt, Usage::Decrypt]),
            "decrypt|sign",
        ),
    ];
    let device = TpmDevice::create(machine.connect()).unwrap();
    let sealed = keys.map(|(key_type, usages, _)| {
        let spec = KeySpec::new(key_type, usages).unwrap();
        let new = block_on(device.generate(&spec, &binding())).unwrap();
        new.sealed
    });
    block_on(device.close()).unwrap();
    drop(device);
    let path = |name: &str| machine.state.path().join(name).to_str().unwrap().to_owned();
    let (public, private) = (path("public"), path("private"));
    let (root, key) = (path("root.ctx"), path("key.ctx"));
    machine.create_root("ecc256:null:aes128cfb", &root);
    for ((key_type, _, may), sealed) in keys.iter().zip(sealed) {
        // As docs/tpm.md has it: six bytes, a TPM2B_PUBLIC, a TPM2B_PRIVATE.
        let blob = &sealed.as_bytes()[6..];
        let len = 2 + usize::from(u16::from_be_bytes([blob[0], blob[1]]));
        std::fs::write(&public, &blob[..len]).unwrap();
        std::fs::write(&private, &blob[len..]).unwrap();
        let load = ["-C", &root, "-u", &public, "-r", &private, "-c", &key];
        machine.tool("tpm2_load", &load);
        machine.tool("tpm2_flushcontext", &["-t"]);
        let read = machine.tool("tpm2_readpublic", &["-c", &key]);
        machine.tool("tpm2_flushcontext", &["-t"]);
        // The name is the digest of the public half that the store keeps.
        let name: String = Sha256::digest(&blob[2..len])
            .iter()
            .map(|byte| format!("{byte:02x}"))
            .collect();
        assert!(read.contains(&format!("name: 000b{name}\n")), "{read}");
        let attributes = format!("  value: {MADE_HERE}|{may}\n");
        assert!(read.contains(&attributes), "{key_type}: {read}");
    }
}

#[test]
fn lock_out_says_how_long_it_lasts() {
    let Some(machine) = Machine::new() else {
        return;
    };
    let parameters = ["--setup-parameters", "--max-tries=3"];
    let times = ["--recovery-time=5", "--lockout-recovery-time=7"];
    machine.tool("tpm2_dictionarylockout", &[parameters, times].concat());
    machine.tool("tpm2_changeauth", &["-c", "lockout", "a password"]);
    let device = TpmDevice::create(machine.connect()).unwrap();
    block_on(async {
        let (_, key) = make(&device).await;
        let error = device.zeroize().await.unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Denied, "{error}");
        let error = device.zeroize().await.unwrap_err();
        assert_eq!(error.kind(), ErrorKind::LockedOut, "{error}");
        assert_eq!(error.retry_after(), Some(Duration::from_secs(7)));
        // Keys have nothing to do with it.
        mac(&*key).await.unwrap();
    });
}

#[test]
fn an_owners_root_key_that_is_locked_out_says_how_long() {
    let Some(machine) = Machine::new() else {
        return;
    };
    // An owner whose root key is subject to the protection against guessing.
    let path = |name: &str| machine.state.path().join(name).to_str().unwrap().to_owned();
    let (context, guessed) = (path("root.ctx"), path("guessed.ctx"));
    let attributes = "restricted|decrypt|fixedtpm|fixedparent|sensitivedataorigin|userwithauth";
    let template = ["-C", "o", "-G", "ecc256:null:aes128cfb", "-a", attributes];
    let create = [&template[..], &["-c", &context]].concat();
    machine.tool("tpm2_createprimary", &create);
    let evict = ["-C", "o", "-c", &context, "0x81000001"];
    machine.tool("tpm2_evictcontrol", &evict);
    machine.tool("tpm2_flushcontext", &["-t"]);
    let device = TpmDevice::create(machine.connect()).unwrap();
    let root = device.root_name();
    let (sealed, expected) = block_on(async {
        let (sealed, key) = make(&device).await;
        let expected = mac(&*key).await.unwrap();
        device.close().await.unwrap();
        (sealed, expected)
    });
    drop(device);
    // Somebody guesses at another key of this TPM.
    let times = ["--recovery-time=11", "--lockout-recovery-time=13"];
    let parameters = ["--setup-parameters", "--max-tries=2", times[0], times[1]];
    machine.tool("tpm2_dictionarylockout", &parameters);
    let create = ["-C", "o", "-G", "ecc", "-p", "a password", "-c", &guessed];
    machine.tool("tpm2_createprimary", &create);
    for _ in 0..2 {
        let change = [
            "-c",
            &guessed,
            "-C",
            "o",
            "-p",
            "wrong",
            "-r",
            "/dev/null",
            "new",
        ];
        machine.tool_fails("tpm2_changeauth", &change);
    }
    machine.tool("tpm2_flushcontext", &["-t"]);
    let device = TpmDevice::open(machine.connect(), root).unwrap();
    block_on(async {
        let error = device.load(&sealed, &binding()).await.unwrap_err();
        assert_eq!(error.kind(), ErrorKind::LockedOut, "{error}");
        assert_eq!(error.retry_after(), Some(Duration::from_secs(11)));
        device.close().await.unwrap();
    });
    drop(device);
    machine.tool("tpm2_dictionarylockout", &["--clear-lockout"]);
    let device = TpmDevice::open(machine.connect(), root).unwrap();
    block_on(async {
        let key = device.load(&sealed, &binding()).await.unwrap();
        assert_eq!(mac(&*key).await.unwrap(), expected);
    });
}

#[test]
fn a_killed_process_leaves_a_tpm_that_works() {
    let Some(machine) = Machine::new() else {
        return;
    };
    for _ in 0..3 {
        let address = machine.simulator.address().to_string();
        let mut child = Child::start("make_keys_until_killed", &[&address]);
        child.report().unwrap();
        child.kill();
        let device = TpmDevice::create(machine.connect()).unwrap();
        block_on(async {
            let (_, key) = make(&device).await;
            mac(&*key).await.unwrap();
            device.close().await.unwrap();
        });
        drop(device);
        machine.assert_nothing_is_loaded();
    }
}

#[test]
#[ignore = "a role for the process that is killed"]
fn make_keys_until_killed() {
    let Some(arguments) = process::arguments() else {
        return;
    };
    let transport = TcpTransport::connect(&arguments[0]).unwrap();
    let device = TpmDevice::create(transport).unwrap();
    for number in 0.. {
        let (_, key) = block_on(make(&device));
        block_on(mac(&*key)).unwrap();
        process::report(number);
    }
}
