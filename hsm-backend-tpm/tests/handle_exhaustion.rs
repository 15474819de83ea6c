//! However much is done, and however it fails, nothing is left behind in the TPM, and a few places do for many keys.
#![expect(clippy::unwrap_used, reason = "helpers of tests are tests")]

#[path = "simulated/tools.rs"]
mod tools;

use std::sync::Arc;

use futures_executor::block_on;
use hsm_backend_tpm::{TcpTransport, TpmDevice};
use hsm_core::{Algorithm, Binding, Device, KeySpec, KeyType, LoadedKey, SignInput, Usage, Usages};
use hsm_testkit::TpmSimulator;

const OPERATIONS: usize = 10_000;
const KEYS: usize = 7;

#[test]
fn ten_thousand_operations_leave_no_handle_behind() {
    if let Some(reason) = TpmSimulator::missing().or_else(tools::missing) {
        eprintln!("skipped: {reason}");
        return;
    }
    let state = tempfile::tempdir().unwrap();
    let simulator = TpmSimulator::start(state.path());
    let device = TpmDevice::create(TcpTransport::connect(simulator.address()).unwrap()).unwrap();
    block_on(async {
        let usages = Usages::of(&[Usage::Sign, Usage::Verify]);
        let mac = KeySpec::new(KeyType::HmacSha256, usages).unwrap();
        let ec = KeySpec::new(KeyType::EcP256, usages).unwrap();
        let binding = |number: usize| Binding::new("test", &number.to_be_bytes());
        let mut sealed = Vec::new();
        let mut keys: Vec<Arc<dyn LoadedKey>> = Vec::new();
        for number in 0..KEYS {
            let spec = if number == 0 { ec } else { mac };
            let new = device.generate(&spec, &binding(number)).await.unwrap();
            keys.push(device.load(&new.sealed, &binding(number)).await.unwrap());
            sealed.push(new.sealed);
        }
        let long = vec![7; 3000];
        for operation in 0..OPERATIONS {
            let number = operation % KEYS;
            match operation % 50 {
                // What fails leaves nothing behind either.
                10 => {
                    let wrong = device.load(&sealed[number], &binding(KEYS)).await;
                    wrong.unwrap_err();
                }
                20 => {
                    let again = device.load(&sealed[number], &binding(number)).await;
                    keys[number] = again.unwrap();
                }
                30 => {
                    let new = device.generate(&mac, &binding(number)).await.unwrap();
                    drop(device.load(&new.sealed, &binding(number)).await.unwrap());
                }
                40 if number != 0 => {
                    keys[number].mac(Algorithm::Hs256, &long).await.unwrap();
                }
                _ if number == 0 => {
                    let input = SignInput::Message(b"message");
                    keys[0].sign(Algorithm::Es256, input).await.unwrap();
                }
                _ => {
                    keys[number]
                        .mac(Algorithm::Hs256, b"message")
                        .await
                        .unwrap();
                }
            }
        }
        device.close().await.unwrap();
    });
    for kind in ["handles-transient", "handles-loaded-session"] {
        assert_eq!(tools::run(&simulator, "tpm2_getcap", &[kind]), "", "{kind}");
    }
}
