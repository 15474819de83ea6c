//! Many tasks at once, and callers that lose interest.

use std::future::Future;
use std::pin::pin;
use std::task::{Context, Waker};
use std::thread;

use futures_executor::block_on;
use hsm_core::{Device, KeyType, Operation, SignInput};

use super::super::{join, ok, skip};
use super::{
    TestKey, binding, data_usages, fingerprint, has, quick_key_type, small_key_types, supported,
};

const SHARED: &str = "any number of tasks may use one loaded key at once";

/// Threads that share one loaded key get right answers.
pub async fn threads_share_a_loaded_key<D: Device>(make: impl Fn() -> D) {
    let device = make();
    let quick = [KeyType::EcP256, KeyType::Ed25519, KeyType::Rsa2048];
    for (key_type, algorithms) in supported(&device, Operation::Sign) {
        if !quick.contains(&key_type) {
            continue;
        }
        let key = TestKey::generate(&device, key_type, data_usages(key_type)).await;
        thread::scope(|scope| {
            let threads = (0..8u8).map(|number| {
                let (key, algorithms) = (&key, &algorithms);
                scope.spawn(move || {
                    for round in 0..10u8 {
                        let algorithm = algorithms[usize::from(round) % algorithms.len()];
                        let message = [number, round];
                        let input = SignInput::Message(&message);
                        let signature = block_on(key.loaded.sign(algorithm, input));
                        let signature = ok(signature, SHARED);
                        ok(key.public().verify(algorithm, input, &signature), SHARED);
                    }
                })
            });
            join(threads.collect());
        });
    }
}

/// Threads that encrypt with one key do not mix up each other's data.
pub async fn threads_do_not_mix_up_data<D: Device>(make: impl Fn() -> D) {
    let device = make();
    let algorithm = hsm_core::Algorithm::A256Gcm;
    if !has(&device, KeyType::Aes256, algorithm) {
        return;
    }
    let key = TestKey::generate(&device, KeyType::Aes256, data_usages(KeyType::Aes256)).await;
    thread::scope(|scope| {
        let threads = (0..8u8).map(|number| {
            let key = &key;
            scope.spawn(move || {
                for round in 0..50 {
                    let aad = [number];
                    let plaintext = vec![number; 100 + round];
                    let encrypted = key.loaded.encrypt(algorithm, &plaintext, None, &aad);
                    let encrypted = ok(block_on(encrypted), SHARED);
                    let decrypted = key.loaded.decrypt(algorithm, encrypted.as_ref(), &aad);
                    assert!(
                        ok(block_on(decrypted), SHARED).expose() == plaintext,
                        "{SHARED}"
                    );
                }
            })
        });
        join(threads.collect());
    });
}

/// Threads make, load and drop keys at once; each gets its own.
pub async fn threads_make_keys_at_once<D: Device>(make: impl Fn() -> D) {
    let device = make();
    let Some(key_type) = quick_key_type(&device) else {
        return;
    };
    let fingerprints = thread::scope(|scope| {
        let threads = (0..8).map(|_| {
            scope.spawn(|| {
                block_on(async {
                    let mut made = Vec::new();
                    for _ in 0..8 {
                        let key = TestKey::generate(&device, key_type, data_usages(key_type)).await;
                        made.push(fingerprint(&*key.loaded).await);
                    }
                    made
                })
            })
        });
        join(threads.collect()).concat()
    });
    let mut distinct = fingerprints.clone();
    distinct.sort_unstable();
    distinct.dedup();
    assert_eq!(
        distinct.len(),
        fingerprints.len(),
        "two threads made the same key"
    );
}

/// A call that nobody waits for leaves the device usable.
pub async fn abandoned_calls_leave_the_device_usable<D: Device>(make: impl Fn() -> D) {
    let device = make();
    for key_type in small_key_types(&device) {
        let usages = data_usages(key_type);
        let spec = ok(hsm_core::KeySpec::new(key_type, usages), "spec");
        for _ in 0..2 {
            let binding = binding("abandoned");
            let mut call = pin!(device.generate(&spec, &binding));
            drop(call.as_mut().poll(&mut Context::from_waker(Waker::noop())));
        }
    }
    let Some(key_type) = quick_key_type(&device) else {
        return skip("no key type is quick enough to go on with");
    };
    let key = TestKey::generate(&device, key_type, data_usages(key_type)).await;
    fingerprint(&*key.loaded).await;
}

/// Making a large RSA key goes on elsewhere: the poller is free at once.
pub async fn slow_calls_do_not_block_their_poller<D: Device>(make: impl Fn() -> D) {
    let device = make();
    let key_type = KeyType::Rsa4096;
    if !device.capabilities().supports_key_type(key_type) {
        return skip(format!("the device has no keys of type {key_type}"));
    }
    let spec = ok(
        hsm_core::KeySpec::new(key_type, data_usages(key_type)),
        "spec",
    );
    let binding = binding("slow");
    let mut call = pin!(device.generate(&spec, &binding));
    let first = call.as_mut().poll(&mut Context::from_waker(Waker::noop()));
    assert!(
        first.is_pending(),
        "a call that takes long does not block the thread that polls it"
    );
    let made = ok(call.await, "and comes to its end when it is awaited");
    assert!(made.public.is_some(), "an RSA key has a public half");
}

/// A loaded key works on after the sealed one and the device handle's other keys are gone.
pub async fn loaded_keys_are_independent<D: Device>(make: impl Fn() -> D) {
    let device = make();
    let Some(key_type) = quick_key_type(&device) else {
        return;
    };
    let key = TestKey::generate(&device, key_type, data_usages(key_type)).await;
    let expected = fingerprint(&*key.loaded).await;
    let again = ok(
        device.load(&key.new.sealed, &key.binding).await,
        "load a second time",
    );
    drop(key.loaded);
    assert!(
        fingerprint(&*again).await == expected,
        "dropping one loaded key leaves the others: each is an owned value"
    );
}

/// A dropped key frees what it held: keys can be loaded one after the other for ever, and so can those that nobody waits
/// for.
pub async fn dropped_keys_free_their_place<D: Device>(make: impl Fn() -> D) {
    /// More than any device has places for.
    const LOADS: usize = 1000;
    const FREED: &str = "dropping a loaded key frees what it holds in the device";
    let device = make();
    let Some(key_type) = quick_key_type(&device) else {
        return;
    };
    let key = TestKey::generate(&device, key_type, data_usages(key_type)).await;
    let expected = fingerprint(&*key.loaded).await;
    for load in 0..LOADS {
        let loaded = device.load(&key.new.sealed, &key.binding).await;
        drop(ok(loaded, format!("{FREED}: load {load}")));
        let mut given_up = device.load(&key.new.sealed, &key.binding);
        let polled = given_up
            .as_mut()
            .poll(&mut Context::from_waker(Waker::noop()));
        drop((polled, given_up));
    }
    let loaded = device.load(&key.new.sealed, &key.binding).await;
    let loaded = ok(loaded, FREED);
    assert!(fingerprint(&*loaded).await == expected, "{FREED}");
    assert!(
        fingerprint(&*key.loaded).await == expected,
        "and no other key"
    );
}
