//! Promise: what an operation with a private key leaves on the stack is wiped as deep as it went, over every provider.
#![cfg(target_os = "linux")]
#![expect(clippy::unwrap_used, reason = "a helper of a test may fail it")]

use std::fs::File;
use std::hint::black_box;
use std::os::unix::fs::FileExt;
use std::thread;

use futures_executor::block_on;
use hsm_backend_soft::{CryptoProvider, SoftDevice};
use hsm_core::{Binding, Device, KeySpec, KeyType, Operation, SignInput, Usage, Usages};

/// The stack that is looked at: deeper than any operation goes.
const LEN: usize = 3 << 19;
const PAINT: u8 = 0xa5;

/// Frames that are in use or were used after the wiping.
const SHALLOW: usize = 8 << 10;

/// The last call of the wiping itself leaves its return address, and what it saved.
const LEFT_MAX: usize = 64;

#[test]
fn nothing_is_left_on_the_stack() {
    let on_a_large_stack = thread::Builder::new().stack_size(8 * LEN);
    let work = || {
        for &provider in CryptoProvider::ALL {
            let device = SoftDevice::options(provider).in_memory().unwrap();
            // Larger RSA keys do the same and take long to make.
            let large = [KeyType::Rsa3072, KeyType::Rsa4096];
            for key_type in KeyType::all().filter(|key_type| !large.contains(key_type)) {
                check(&device, key_type, &format!("{provider:?}: {key_type}"));
            }
        }
    };
    on_a_large_stack.spawn(work).unwrap().join().unwrap();
}

fn check(device: &SoftDevice, key_type: KeyType, what: &str) {
    let transport = Usages::of(&[Usage::Import, Usage::Export]);
    let spec = KeySpec::new(key_type, key_type.info().usages.without(transport)).unwrap();
    let binding = Binding::new("test", b"");
    let make = || block_on(device.generate(&spec, &binding)).unwrap();
    // Once before: tables of public points are made when they are first used.
    make();
    let new = wiped(&format!("{what}: generate"), make);
    let load = || block_on(device.load(&new.sealed, &binding)).unwrap();
    let key = wiped(&format!("{what}: load"), load);
    for &algorithm in key_type.algorithms() {
        let what = format!("{what}: {algorithm}");
        if algorithm.does(Operation::Sign) {
            let input = SignInput::Message(b"message");
            wiped(&what, || block_on(key.sign(algorithm, input)).unwrap());
        } else if algorithm.does(Operation::Encapsulate) {
            let sent = wiped(&what, || block_on(key.encapsulate(algorithm)).unwrap());
            wiped(&what, || {
                block_on(key.decapsulate(algorithm, &sent.ciphertext)).unwrap()
            });
        } else if algorithm.does(Operation::Agree) {
            let peer = key.public().unwrap().clone();
            wiped(&what, || block_on(key.agree(algorithm, &peer)).unwrap());
        }
    }
}

/// Paints the stack, runs `operation`, and looks for what is neither paint nor wiped.
#[inline(never)]
fn wiped<R>(what: &str, operation: impl FnOnce() -> R) -> R {
    let mark = 0_u8;
    let top = (&raw const mark).addr();
    paint();
    let result = operation();
    let mut stack = vec![0; LEN - SHALLOW];
    let from = u64::try_from(top - LEN).unwrap();
    let memory = File::open("/proc/self/mem").unwrap();
    memory.read_exact_at(&mut stack, from).unwrap();
    assert_eq!(stack[0], PAINT, "{what} went deeper than this test looks");
    let left = stack.iter().filter(|byte| ![0, PAINT].contains(*byte));
    let left = left.count();
    assert!(left <= LEFT_MAX, "{what} left {left} bytes on the stack");
    result
}

#[inline(never)]
fn paint() {
    black_box([PAINT; LEN + SHALLOW]);
}
