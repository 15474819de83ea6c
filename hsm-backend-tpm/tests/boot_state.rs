//! A key that is tied to a boot state works in it, and in no other.
#![expect(clippy::unwrap_used, reason = "helpers of tests are tests")]

#[path = "simulated/tools.rs"]
mod tools;

use std::io;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use futures_executor::block_on;
use hsm_backend_soft::SoftDevice;
use hsm_backend_tpm::{Sharing, TcpTransport, TpmDevice, Transport};
use hsm_core::{
    Algorithm, Binding, CiphertextRef, DeriveParameters, Device, Error, ErrorKind, KeySpec,
    KeyType, LoadedKey, PcrSelection, Result, SealedKey, SecretBytes, SignInput, Usage, Usages,
};
use hsm_testkit::TpmSimulator;
use tempfile::TempDir;

/// A machine whose firmware the test can pretend to be.
#[derive(Clone, Debug)]
struct Machine(Arc<Mutex<Parts>>);

#[derive(Debug)]
struct Parts {
    transport: TcpTransport,
    simulator: TpmSimulator,
    _state: TempDir,
}

impl Machine {
    fn new() -> Option<Self> {
        if let Some(reason) = TpmSimulator::missing() {
            eprintln!("skipped: {reason}");
            return None;
        }
        let state = tempfile::tempdir().unwrap();
        let simulator = TpmSimulator::start(state.path());
        let transport = TcpTransport::connect(simulator.address()).unwrap();
        Some(Self(Arc::new(Mutex::new(Parts {
            transport,
            simulator,
            _state: state,
        }))))
    }

    fn device(&self) -> TpmDevice {
        TpmDevice::create(self.clone()).unwrap()
    }

    /// Extends a register of the bank of SHA-256.
    fn extend(&self, register: u8) {
        let mut command = vec![0x80, 2, 0, 0, 0, 0, 0, 0, 0x01, 0x82];
        command.extend([0, 0, 0, register]);
        command.extend([0, 0, 0, 9, 0x40, 0, 0, 9, 0, 0, 1, 0, 0]); // an empty password
        command.extend([0, 0, 0, 1, 0, 0x0b]);
        command.extend([7; 32]);
        let len = u32::try_from(command.len()).unwrap();
        command[2..6].copy_from_slice(&len.to_be_bytes());
        let within = Duration::from_secs(30);
        let mut parts = self.0.lock().unwrap();
        let response = parts.transport.transmit(&command, within).unwrap();
        assert_eq!(response[6..10], [0; 4]);
    }

    /// All registers begin anew.
    fn restart(&self) {
        self.0.lock().unwrap().simulator.power_cycle();
    }
}

impl Transport for Machine {
    fn transmit(&mut self, command: &[u8], within: Duration) -> io::Result<Vec<u8>> {
        let mut parts = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        parts.transport.transmit(command, within)
    }

    fn reconnect(&mut self) -> io::Result<()> {
        let mut parts = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        parts.transport.reconnect()
    }

    fn sharing(&self) -> Sharing {
        Sharing::Exclusive
    }
}

fn binding() -> Binding {
    Binding::new("test", b"a key")
}

fn registers(numbers: &[u8]) -> PcrSelection {
    PcrSelection::of(numbers).unwrap()
}

/// A key of `key_type` for `usages`, tied to the registers 0, 7 and 16.
fn spec(key_type: KeyType, usages: &[Usage]) -> KeySpec {
    let spec = KeySpec::new(key_type, Usages::of(usages)).unwrap();
    spec.in_boot_state(registers(&[0, 7, 16]))
}

async fn make(device: &TpmDevice, spec: &KeySpec) -> (SealedKey, Arc<dyn LoadedKey>) {
    let sealed = device.generate(spec, &binding()).await.unwrap().sealed;
    let key = device.load(&sealed, &binding()).await.unwrap();
    (sealed, key)
}

fn is_other_state<T: std::fmt::Debug>(result: Result<T>) {
    let error = result.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::KeyState, "{error}");
    assert!(error.to_string().contains("the PCRs 0,7,16"), "{error}");
}

#[test]
fn a_key_works_in_its_boot_state_only() {
    let Some(machine) = Machine::new() else {
        return;
    };
    let device = machine.device();
    block_on(async {
        let spec = spec(KeyType::EcP256, &[Usage::Sign, Usage::Verify]);
        let (sealed, key) = make(&device, &spec).await;
        assert_eq!(*key.spec(), spec);
        let free = KeySpec::new(KeyType::EcP256, Usages::of(&[Usage::Sign])).unwrap();
        let (_, free) = make(&device, &free).await;
        let sign = async |key: &Arc<dyn LoadedKey>| {
            let input = SignInput::Message(b"message");
            key.sign(Algorithm::Es256, input).await
        };
        for _ in 0..3 {
            sign(&key).await.unwrap();
            sign(&free).await.unwrap();
        }
        // A register that is nothing to the key.
        machine.extend(23);
        sign(&key).await.unwrap();
        machine.extend(16);
        for _ in 0..3 {
            is_other_state(sign(&key).await);
            sign(&free).await.unwrap();
        }
        let again = device.load(&sealed, &binding()).await.unwrap();
        is_other_state(sign(&again).await);
        // Who makes a key now ties it to what is now.
        let (_, now) = make(&device, &spec).await;
        sign(&now).await.unwrap();
        machine.restart();
        sign(&key).await.unwrap();
        is_other_state(sign(&now).await);
        device.close().await.unwrap();
    });
}

#[test]
fn every_use_needs_the_state() {
    let Some(machine) = Machine::new() else {
        return;
    };
    let device = machine.device();
    block_on(async {
        let all = |key_type: KeyType| {
            let transport = Usages::of(&[Usage::Import, Usage::Export]);
            let usages: Vec<_> = key_type.info().usages.without(transport).iter().collect();
            spec(key_type, &usages)
        };
        let (_, mac) = make(&device, &all(KeyType::HmacSha256)).await;
        let (_, derivation) = make(&device, &all(KeyType::Kdk256)).await;
        let (_, aes) = make(&device, &all(KeyType::Aes256)).await;
        let (_, rsa) = make(&device, &all(KeyType::Rsa2048)).await;
        let (_, ec) = make(&device, &all(KeyType::EcP256)).await;
        let use_all = async || -> Vec<Result<(), Error>> {
            let parameters = DeriveParameters::default();
            let iv = [7; 16];
            let digest = SignInput::Digest(&[7; 32]);
            let oaep = rsa.encrypt(Algorithm::RsaOaep, b"data", None, b"");
            let oaep = oaep.await.unwrap().ciphertext;
            let oaep = CiphertextRef {
                ciphertext: &oaep,
                ..CiphertextRef::default()
            };
            vec![
                mac.mac(Algorithm::Hs256, b"short").await.map(drop),
                mac.mac(Algorithm::Hs256, &[7; 20_000]).await.map(drop),
                mac.verify_mac(Algorithm::Hs256, b"short", &[]).await,
                derivation
                    .derive(Algorithm::KbkdfHmacSha256, parameters, 32)
                    .await
                    .map(drop),
                aes.encrypt(Algorithm::A256Ctr, b"data", Some(&iv), b"")
                    .await
                    .map(drop),
                rsa.sign(Algorithm::Rs256, digest).await.map(drop),
                rsa.decrypt(Algorithm::RsaOaep, oaep, b"").await.map(drop),
                ec.sign(Algorithm::Es256, digest).await.map(drop),
                ec.agree(Algorithm::EcdhEs, ec.public().unwrap())
                    .await
                    .map(drop),
            ]
        };
        for (at, result) in use_all().await.into_iter().enumerate() {
            match at {
                // The tag was wrong on purpose.
                2 => assert_eq!(result.unwrap_err().kind(), ErrorKind::CryptoFailed),
                _ => result.unwrap(),
            }
        }
        machine.extend(0);
        for result in use_all().await {
            is_other_state(result);
        }
        // What a public half does, needs no state.
        let encrypted = rsa.encrypt(Algorithm::RsaOaep, b"data", None, b"").await;
        encrypted.unwrap();
    });
}

#[test]
fn attributes_change_in_any_state() {
    let Some(machine) = Machine::new() else {
        return;
    };
    let device = machine.device();
    block_on(async {
        let both = spec(KeyType::HmacSha256, &[Usage::Sign, Usage::Verify]);
        let (sealed, key) = make(&device, &both).await;
        let expected = key.mac(Algorithm::Hs256, b"message").await.unwrap();
        machine.extend(7);
        let new = Binding::new("test", b"changed");
        let verify = Usages::of(&[Usage::Verify]);
        let resealed = device.reseal(&sealed, &binding(), &new, verify);
        let resealed = resealed.await.unwrap();
        for (sealed, wrong) in [(&sealed, &new), (&resealed, &binding())] {
            let error = device.load(sealed, wrong).await.unwrap_err();
            assert_eq!(error.kind(), ErrorKind::Damaged, "{error}");
        }
        let key = device.load(&resealed, &new).await.unwrap();
        is_other_state(key.mac(Algorithm::Hs256, b"message").await);
        machine.restart();
        let tag = key.mac(Algorithm::Hs256, b"message").await.unwrap();
        assert_eq!(tag, expected);
        assert_eq!(key.spec().boot_state, both.boot_state);
    });
}

#[test]
fn the_registers_of_a_sealed_key_cannot_be_edited() {
    let Some(machine) = Machine::new() else {
        return;
    };
    let device = machine.device();
    block_on(async {
        let (sealed, _) = make(&device, &spec(KeyType::HmacSha256, &[Usage::Sign])).await;
        // As docs/tpm.md has it: the flags, then three bytes after the header.
        let genuine = sealed.as_bytes().to_vec();
        assert_eq!((genuine[4], &genuine[6..9]), (2, &[1, 0, 0x81][..]));
        let mut without = genuine.clone();
        without[4] = 0;
        without.drain(6..9);
        let mut fewer = genuine.clone();
        fewer[8] = 0x80;
        for edited in [without, fewer] {
            let edited = SealedKey::new(edited).unwrap();
            let error = device.load(&edited, &binding()).await.unwrap_err();
            assert_eq!(error.kind(), ErrorKind::Damaged, "{error}");
        }
    });
}

#[test]
fn imported_keys_are_tied_too() {
    let Some(machine) = Machine::new() else {
        return;
    };
    let device = machine.device();
    block_on(async {
        let spec = spec(KeyType::HmacSha256, &[Usage::Sign]);
        let material = SecretBytes::copy_from(&[7; 32]);
        let new = device.import(material, &spec, &binding()).await.unwrap();
        let key = device.load(&new.sealed, &binding()).await.unwrap();
        key.mac(Algorithm::Hs256, b"message").await.unwrap();
        machine.extend(16);
        is_other_state(key.mac(Algorithm::Hs256, b"message").await);
    });
}

#[test]
fn tpm2_tools_make_the_same_policy() {
    if let Some(reason) = TpmSimulator::missing().or_else(tools::missing) {
        eprintln!("skipped: {reason}");
        return;
    }
    let state = tempfile::tempdir().unwrap();
    let simulator = TpmSimulator::start(state.path());
    let device = TpmDevice::create(TcpTransport::connect(simulator.address()).unwrap()).unwrap();
    let (sealed, _) = block_on(make(&device, &spec(KeyType::EcP256, &[Usage::Sign])));
    block_on(device.close()).unwrap();
    drop(device);
    let path = |name: &str| state.path().join(name).to_str().unwrap().to_owned();
    let (session, policy) = (path("session"), path("policy"));
    let tool = |tool: &str, arguments: &[&str]| tools::run(&simulator, tool, arguments);
    tool("tpm2_startauthsession", &["-S", &session]);
    let selected = ["-S", &session, "-l", "sha256:0,7,16"];
    tool("tpm2_policypcr", &selected);
    tool("tpm2_policyauthvalue", &["-S", &session, "-L", &policy]);
    tool("tpm2_flushcontext", &[&session]);
    // As docs/tpm.md has it: nine bytes, the length of the public area, its type, hash and attributes, and the policy.
    let public = &sealed.as_bytes()[9 + 2..];
    let attributes = u32::from_be_bytes(public[4..8].try_into().unwrap());
    assert_eq!(
        attributes & 0x40,
        0,
        "no use by the authorization value alone"
    );
    assert_eq!(public[8..10], [0, 32]);
    assert_eq!(public[10..42], std::fs::read(policy).unwrap());
}

#[test]
fn devices_without_a_tpm_refuse() {
    let device = SoftDevice::in_memory().unwrap();
    block_on(async {
        let spec = spec(KeyType::HmacSha256, &[Usage::Sign]);
        let material = SecretBytes::copy_from(&[7; 32]);
        for made in [
            device.generate(&spec, &binding()).await,
            device.import(material, &spec, &binding()).await,
        ] {
            let error = made.unwrap_err();
            assert_eq!(error.kind(), ErrorKind::Unsupported, "{error}");
        }
    });
}
