//! Who sits on the bus reads no secret and changes nothing unnoticed.
#![expect(clippy::unwrap_used, reason = "helpers of tests are tests")]

#[path = "simulated/transport.rs"]
mod transport;

use std::io;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use futures_executor::block_on;
use hsm_backend_tpm::{Sharing, TpmDevice, Transport};
use hsm_core::{
    Algorithm, Binding, Device, ErrorKind, KeySpec, KeyType, LoadedKey, SecretBytes, SignInput,
    Usage, Usages,
};
use hsm_testkit::TpmSimulator;
use transport::Simulated;

/// What the interposer does to responses.
#[derive(Clone, Copy, Debug, Default)]
enum Tamper {
    #[default]
    Nothing,
    /// Flips a bit, counted from the end of the response.
    Flip(usize),
    /// Cuts the response short.
    Truncate,
    /// Says that there are no sessions.
    WrongTag,
    /// Gives no answer in time.
    Stall,
    /// Changes every response, with a session or without, in some way that the number says.
    Garble(u64),
    /// Puts a sequence object of its own in the place of the next that is started.
    OwnSequence,
}

/// A response in which bytes were changed, cut or added.
fn garbled(mut response: Vec<u8>, seed: &mut u64) -> Vec<u8> {
    let mut next = |below: usize| {
        // SplitMix64, so that every run is the same.
        *seed = seed.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut mixed = *seed;
        mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        usize::try_from((mixed ^ (mixed >> 31)) % below as u64).unwrap()
    };
    let byte = |number: usize| number.to_le_bytes()[0];
    match next(8) {
        0 => response.truncate(next(response.len())),
        1 => response.extend(vec![0xff; next(64)]),
        2 => response = (0..next(200)).map(|at| byte(at * 37)).collect(),
        3 => response[6..10].copy_from_slice(&[0, 0, 0x09, byte(next(48))]),
        4 => response[6..10].copy_from_slice(&[0, 0, byte(next(12)), byte(next(256))]),
        _ => {
            for _ in 0..=next(3) {
                let at = next(response.len());
                response[at] = byte(next(256));
            }
        }
    }
    response
}

/// All that crossed, and what to do to it.
#[derive(Clone, Debug, Default)]
struct Bus {
    recorded: Arc<Mutex<Vec<Vec<u8>>>>,
    tamper: Arc<Mutex<Tamper>>,
    tampered: Arc<AtomicUsize>,
}

impl Bus {
    fn contains(&self, secret: &[u8]) -> bool {
        let recorded = self.recorded.lock().unwrap();
        let mut frames = recorded.iter();
        frames.any(|frame| frame.windows(secret.len()).any(|window| window == secret))
    }

    /// How many commands of this code crossed.
    fn count(&self, code: u32) -> usize {
        let recorded = self.recorded.lock().unwrap();
        // Commands and responses take turns.
        let commands = recorded.iter().step_by(2);
        commands
            .filter(|frame| frame[6..10] == code.to_be_bytes())
            .count()
    }

    fn tamper(&self, tamper: Tamper) {
        *self.tamper.lock().unwrap() = tamper;
    }
}

#[derive(Debug)]
struct Interposer {
    inner: Simulated,
    bus: Bus,
}

impl Transport for Interposer {
    fn transmit(&mut self, command: &[u8], within: Duration) -> io::Result<Vec<u8>> {
        let mut response = self.inner.transmit(command, within)?;
        let mut recorded = self.bus.recorded.lock().unwrap();
        recorded.extend([command.to_vec(), response.clone()]);
        let mut tamper = self
            .bus
            .tamper
            .lock()
            .unwrap_or_else(PoisonError::into_inner);
        if let Tamper::OwnSequence = *tamper {
            const HASH_SEQUENCE_START: [u8; 14] =
                [0x80, 1, 0, 0, 0, 14, 0, 0, 1, 0x86, 0, 0, 0, 0x0b];
            const HMAC_START: [u8; 4] = [0, 0, 1, 0x5b];
            if command[6..10] == HMAC_START && response[6..10] == [0; 4] {
                // Without a resource manager there is no fourth place.
                let flush = [&[0x80, 1, 0, 0, 0, 14, 0, 0, 1, 0x65], &response[10..14]].concat();
                self.inner.transmit(&flush, within)?;
                let own = self.inner.transmit(&HASH_SEQUENCE_START, within)?;
                assert_eq!(own[6..10], [0; 4]);
                response[10..14].copy_from_slice(&own[10..14]);
                self.bus.tampered.fetch_add(1, Ordering::Relaxed);
                *tamper = Tamper::Nothing;
            }
            return Ok(response);
        }
        if let Tamper::Garble(seed) = &mut *tamper {
            self.bus.tampered.fetch_add(1, Ordering::Relaxed);
            return Ok(garbled(response, seed));
        }
        // Only what has a session, and is a success: an answer without is believed for nothing but a failure.
        if response.starts_with(&[0x80, 2]) {
            match *tamper {
                Tamper::Nothing | Tamper::Garble(_) | Tamper::OwnSequence => return Ok(response),
                Tamper::Flip(bit) => {
                    let at = response.len() - 1 - (bit / 8) % (response.len() - 10);
                    response[at] ^= 1 << (bit % 8);
                }
                Tamper::Truncate => response.truncate(response.len() - 1),
                Tamper::WrongTag => response[1] = 1,
                Tamper::Stall => {
                    *tamper = Tamper::Nothing;
                    return Err(io::ErrorKind::TimedOut.into());
                }
            }
            self.bus.tampered.fetch_add(1, Ordering::Relaxed);
            *tamper = Tamper::Nothing;
        }
        Ok(response)
    }

    fn reconnect(&mut self) -> io::Result<()> {
        self.inner.reconnect()
    }

    fn sharing(&self) -> Sharing {
        self.inner.sharing()
    }
}

fn device() -> Option<(TpmDevice, Bus)> {
    if let Some(reason) = TpmSimulator::missing() {
        eprintln!("skipped: {reason}");
        return None;
    }
    let bus = Bus::default();
    let interposer = Interposer {
        inner: Simulated::new(),
        bus: bus.clone(),
    };
    Some((TpmDevice::create(interposer).unwrap(), bus))
}

fn spec(key_type: KeyType, usages: &[Usage]) -> KeySpec {
    KeySpec::new(key_type, Usages::of(usages)).unwrap()
}

#[test]
fn secrets_do_not_cross_in_clear() {
    let Some((device, bus)) = device() else {
        return;
    };
    block_on(async {
        let binding = Binding::new("test", b"a key");
        let secret: Vec<u8> = (0..32).map(|at: u8| 0xa1 ^ at.wrapping_mul(37)).collect();
        let material = SecretBytes::copy_from(&secret);
        let mac = spec(KeyType::HmacSha256, &[Usage::Sign]);
        let mac = device.import(material, &mac, &binding).await.unwrap();
        let mac = device.load(&mac.sealed, &binding).await.unwrap();

        let message = b"a message that nobody else may read, of more than a block";
        let tag = mac.mac(Algorithm::Hs256, message).await.unwrap();
        let usages = [Usage::Encrypt, Usage::Decrypt];
        let aes = spec(KeyType::Aes256, &usages);
        let aes = device.generate(&aes, &binding).await.unwrap();
        let aes = device.load(&aes.sealed, &binding).await.unwrap();
        let encrypted = aes
            .encrypt(Algorithm::A256Ctr, message, None, b"")
            .await
            .unwrap();
        let decrypted = aes
            .decrypt(Algorithm::A256Ctr, encrypted.as_ref(), b"")
            .await
            .unwrap();
        assert_eq!(decrypted.expose(), message);
        let ec = spec(KeyType::EcP256, &[Usage::DeriveBits]);
        let ec = device.generate(&ec, &binding).await.unwrap();
        let peer = ec.public.unwrap();
        let ec = device.load(&ec.sealed, &binding).await.unwrap();
        let shared = ec.agree(Algorithm::EcdhEs, &peer).await.unwrap();
        let mut random = [0; 32];
        device.random(&mut random).await.unwrap();

        for (what, secret) in [
            ("an imported key", &secret[..16]),
            ("data", &message[..16]),
            ("a tag", &tag[..16]),
            ("a shared secret", &shared.expose()[..16]),
            ("random bytes", &random[..16]),
        ] {
            assert!(!bus.contains(secret), "{what} crossed in clear");
        }
        // The recorder sees what is public.
        assert!(bus.contains(&peer.as_raw()[1..33]));
    });
}

#[test]
fn authorization_values_do_not_cross_in_clear() {
    let Some((device, bus)) = device() else {
        return;
    };
    block_on(async {
        let mac = spec(KeyType::HmacSha256, &[Usage::Sign]);
        let (old, new) = (Binding::new("test", b"old"), Binding::new("test", b"new"));
        let key = device.generate(&mac, &old).await.unwrap();
        let none = Usages::NONE;
        let key = device.reseal(&key.sealed, &old, &new, none).await.unwrap();
        device.load(&key, &new).await.unwrap();
        for binding in [old, new] {
            // As docs/tpm.md has it.
            use sha2::{Digest, Sha256};
            let auth = Sha256::new()
                .chain_update(b"hsm tpm auth v1")
                .chain_update(&key.as_bytes()[..6])
                .chain_update(binding.as_bytes())
                .finalize();
            assert!(!bus.contains(&auth));
        }
    });
}

#[test]
fn a_hot_key_is_loaded_once_and_signs_with_one_command() {
    const CREATE_PRIMARY: u32 = 0x131;
    const LOAD: u32 = 0x157;
    const SIGN: u32 = 0x15d;
    const START_AUTH_SESSION: u32 = 0x176;
    let Some((device, bus)) = device() else {
        return;
    };
    block_on(async {
        let binding = Binding::new("test", b"a key");
        let spec = spec(KeyType::EcP256, &[Usage::Sign]);
        let sealed = device.generate(&spec, &binding).await.unwrap().sealed;
        let hot = device.load(&sealed, &binding).await.unwrap();
        let mut other = device.load(&sealed, &binding).await.unwrap();
        let digest = SignInput::Digest(&[7; 32]);
        let before = [LOAD, SIGN].map(|code| bus.count(code));
        for round in 0..100 {
            hot.sign(Algorithm::Es256, digest).await.unwrap();
            if round % 10 == 0 {
                // Others come and go meanwhile.
                other = device.load(&sealed, &binding).await.unwrap();
            }
        }
        other.sign(Algorithm::Es256, digest).await.unwrap();
        let after = [LOAD, SIGN].map(|code| bus.count(code));
        assert_eq!(after[0] - before[0], 10, "only the others are loaded");
        assert_eq!(after[1] - before[1], 101);
        assert_eq!(bus.count(CREATE_PRIMARY), 1);
        assert_eq!(bus.count(START_AUTH_SESSION), 2, "one that only checks");
    });
}

#[test]
fn altered_responses_are_found_out() {
    let Some((device, bus)) = device() else {
        return;
    };
    block_on(async {
        let binding = Binding::new("test", b"a key");
        let spec = spec(KeyType::HmacSha256, &[Usage::Sign]);
        let sealed = device.generate(&spec, &binding).await.unwrap().sealed;
        let key = device.load(&sealed, &binding).await.unwrap();
        let expected = key.mac(Algorithm::Hs256, b"message").await.unwrap();
        let flips = (0..=90 * 8).step_by(11).map(Tamper::Flip);
        for tamper in flips.chain([Tamper::Truncate, Tamper::WrongTag]) {
            let before = bus.tampered.load(Ordering::Relaxed);
            bus.tamper(tamper);
            let error = key.mac(Algorithm::Hs256, b"message").await.unwrap_err();
            assert_eq!(error.kind(), ErrorKind::DeviceFailed, "{tamper:?}: {error}");
            assert_eq!(bus.tampered.load(Ordering::Relaxed), before + 1);
            let again = key.mac(Algorithm::Hs256, b"message").await.unwrap();
            assert_eq!(again, expected, "the next call is a new session");
        }
    });
}

/// A sequence object has no name that an HMAC would be over. One that somebody else started, of which the result is no secret, must
/// not pass for that of a long MAC.
#[test]
fn a_sequence_of_somebody_else_makes_no_mac() {
    let Some((device, bus)) = device() else {
        return;
    };
    block_on(async {
        let binding = Binding::new("test", b"a key");
        let spec = spec(KeyType::HmacSha256, &[Usage::Sign, Usage::Verify]);
        let sealed = device.generate(&spec, &binding).await.unwrap().sealed;
        let key = device.load(&sealed, &binding).await.unwrap();
        let message = vec![7; 3000];
        bus.tamper(Tamper::OwnSequence);
        let error = key.mac(Algorithm::Hs256, &message).await.unwrap_err();
        assert_eq!(error.kind(), ErrorKind::DeviceFailed, "{error}");
        assert_eq!(bus.tampered.load(Ordering::Relaxed), 1);
        let tag = key.mac(Algorithm::Hs256, &message).await.unwrap();
        bus.tamper(Tamper::OwnSequence);
        let verified = key.verify_mac(Algorithm::Hs256, &message, &tag).await;
        assert_eq!(verified.unwrap_err().kind(), ErrorKind::DeviceFailed);
        key.verify_mac(Algorithm::Hs256, &message, &tag)
            .await
            .unwrap();
    });
}

#[test]
fn altered_signatures_are_found_out() {
    let Some((device, bus)) = device() else {
        return;
    };
    block_on(async {
        let binding = Binding::new("test", b"a key");
        let spec = spec(KeyType::EcP256, &[Usage::Sign]);
        let sealed = device.generate(&spec, &binding).await.unwrap().sealed;
        let key = device.load(&sealed, &binding).await.unwrap();
        let sign = |key: Arc<dyn LoadedKey>| async move {
            let message = SignInput::Message(b"message");
            key.sign(Algorithm::Es256, message).await
        };
        bus.tamper(Tamper::Flip(8 * 80));
        let error = sign(key.clone()).await.unwrap_err();
        assert_eq!(error.kind(), ErrorKind::DeviceFailed);
        sign(key).await.unwrap();
    });
}

#[test]
fn a_stalled_call_ends_and_the_next_goes_on() {
    let Some((device, bus)) = device() else {
        return;
    };
    block_on(async {
        let mut random = [0; 8];
        bus.tamper(Tamper::Stall);
        let error = device.random(&mut random).await.unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Unknown);
        device.random(&mut random).await.unwrap();
        assert_ne!(random, [0; 8]);
    });
}

#[test]
fn garbled_responses_end_in_errors_and_the_device_recovers() {
    let Some((device, bus)) = device() else {
        return;
    };
    block_on(async {
        let binding = Binding::new("test", b"a key");
        let spec = spec(KeyType::HmacSha256, &[Usage::Sign]);
        let sealed = device.generate(&spec, &binding).await.unwrap().sealed;
        let key = device.load(&sealed, &binding).await.unwrap();
        let expected = key.mac(Algorithm::Hs256, b"message").await.unwrap();
        for round in 0..60 {
            bus.tamper(Tamper::Garble(round));
            let before = bus.tampered.load(Ordering::Relaxed);
            // A change may be none; what comes out is then right.
            if let Ok(tag) = key.mac(Algorithm::Hs256, b"message").await {
                assert_eq!(tag, expected, "round {round}");
            }
            drop(device.load(&sealed, &binding).await);
            drop(device.generate(&spec, &binding).await);
            assert!(bus.tampered.load(Ordering::Relaxed) > before);
            bus.tamper(Tamper::Nothing);
            let again = key.mac(Algorithm::Hs256, b"message").await;
            assert_eq!(again.unwrap(), expected, "round {round}");
        }
    });
}
