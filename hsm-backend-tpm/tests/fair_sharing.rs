//! Who has much to do lets others have their turn. Counted in commands, not in time.
#![expect(clippy::unwrap_used, reason = "helpers of tests are tests")]

#[path = "simulated/bus.rs"]
mod bus;
#[path = "simulated/transport.rs"]
mod transport;

use std::pin::pin;
use std::sync::Arc;
use std::task::{Context, Waker};

use bus::{Log, Logged};
use futures_executor::block_on;
use hsm_backend_tpm::TpmDevice;
use hsm_core::{Algorithm, Binding, Device, KeySpec, KeyType, LoadedKey, SignInput, Usage, Usages};
use hsm_testkit::TpmSimulator;

const SIGN: u32 = 0x15d;
const SEQUENCE_UPDATE: u32 = 0x15c;
const SEQUENCE_COMPLETE: u32 = 0x13e;
const HMAC_START: u32 = 0x15b;
const FLUSH_CONTEXT: u32 = 0x165;

fn device() -> Option<(TpmDevice, Log)> {
    if let Some(reason) = TpmSimulator::missing() {
        eprintln!("skipped: {reason}");
        return None;
    }
    let log = Log::default();
    Some((TpmDevice::create(Logged::new(&log)).unwrap(), log))
}

async fn key(device: &TpmDevice, key_type: KeyType) -> Arc<dyn LoadedKey> {
    let usages = Usages::of(&[Usage::Sign, Usage::Verify]);
    let spec = KeySpec::new(key_type, usages).unwrap();
    let binding = Binding::new("test", b"a key");
    let sealed = device.generate(&spec, &binding).await.unwrap().sealed;
    device.load(&sealed, &binding).await.unwrap()
}

#[test]
fn a_long_mac_lets_others_have_their_turn() {
    let Some((device, log)) = device() else {
        return;
    };
    block_on(async {
        let (mac, ec) = (
            key(&device, KeyType::HmacSha256).await,
            key(&device, KeyType::EcP256).await,
        );
        let long = vec![7; 200 << 10];
        let alone = mac.mac(Algorithm::Hs256, &long).await.unwrap();
        let digest = SignInput::Digest(&[7; 32]);
        ec.sign(Algorithm::Es256, digest).await.unwrap();
        log.take();
        let signing = async {
            let mut signatures = 0;
            while signatures < 20 {
                ec.sign(Algorithm::Es256, digest).await.unwrap();
                signatures += 1;
            }
        };
        let macs = mac.mac(Algorithm::Hs256, &long);
        let (tag, ()) = both(macs, signing).await;
        assert_eq!(tag.unwrap(), alone);
        let crossed = log.take();
        let count = |code: u32| crossed.iter().filter(|found| **found == code).count();
        assert_eq!(count(SIGN), 20);
        assert_eq!(count(SEQUENCE_UPDATE), 199);
        let end = crossed.iter().position(|code| *code == SEQUENCE_COMPLETE);
        let during = crossed[..end.unwrap()].iter();
        let signed_meanwhile = during.filter(|code| **code == SIGN).count();
        assert_eq!(signed_meanwhile, 20, "all between the pieces");
        // Nobody waits for more than the start, a piece, and two reloads.
        let longest = crossed.split(|code| *code == SIGN).take(20);
        let longest = longest.map(<[u32]>::len).max().unwrap();
        assert!(
            longest <= 1 + 8 + 4,
            "a signature waited for {longest} commands"
        );
    });
}

/// Polls both until both are done.
async fn both<A, B>(a: impl Future<Output = A>, b: impl Future<Output = B>) -> (A, B) {
    let (mut a, mut b) = (pin!(a), pin!(b));
    let (mut from_a, mut from_b) = (None, None);
    std::future::poll_fn(|context| {
        if from_a.is_none()
            && let std::task::Poll::Ready(output) = a.as_mut().poll(context)
        {
            from_a = Some(output);
        }
        if from_b.is_none()
            && let std::task::Poll::Ready(output) = b.as_mut().poll(context)
        {
            from_b = Some(output);
        }
        match from_a.is_some() && from_b.is_some() {
            true => std::task::Poll::Ready(()),
            false => std::task::Poll::Pending,
        }
    })
    .await;
    (from_a.unwrap(), from_b.unwrap())
}

#[test]
fn long_macs_of_many_tasks_do_not_use_up_the_places() {
    let Some((device, _)) = device() else {
        return;
    };
    let keys: Vec<_> = block_on(async {
        let mut keys = Vec::new();
        for _ in 0..6 {
            keys.push(key(&device, KeyType::HmacSha256).await);
        }
        keys
    });
    let long = vec![7; 40 << 10];
    let alone: Vec<_> = keys
        .iter()
        .map(|key| block_on(key.mac(Algorithm::Hs256, &long)).unwrap())
        .collect();
    std::thread::scope(|scope| {
        for (key, alone) in keys.iter().zip(&alone) {
            scope.spawn(|| {
                let tag = block_on(key.mac(Algorithm::Hs256, &long)).unwrap();
                assert_eq!(&tag, alone);
            });
        }
    });
}

#[test]
fn a_mac_that_is_given_up_frees_its_place() {
    let Some((device, log)) = device() else {
        return;
    };
    block_on(async {
        let mac = key(&device, KeyType::HmacSha256).await;
        let long = vec![7; 200 << 10];
        for _ in 0..5 {
            log.take();
            let mut given_up = mac.mac(Algorithm::Hs256, &long);
            let mut context = Context::from_waker(Waker::noop());
            assert!(given_up.as_mut().poll(&mut context).is_pending());
            // Calls are done in their order: after this one the first piece was.
            device.random(&mut [0; 8]).await.unwrap();
            assert!(log.take().contains(&HMAC_START));
            drop(given_up);
            device.random(&mut [0; 8]).await.unwrap();
            assert!(log.take().contains(&FLUSH_CONTEXT));
        }
        mac.mac(Algorithm::Hs256, &long).await.unwrap();
    });
}

#[test]
fn a_hot_key_signs_with_one_command_each() {
    let Some((device, log)) = device() else {
        return;
    };
    block_on(async {
        for (key_type, algorithm) in [
            (KeyType::EcP256, Algorithm::Es256),
            (KeyType::Rsa2048, Algorithm::Rs256),
        ] {
            let hot = key(&device, key_type).await;
            log.take();
            for _ in 0..100 {
                let digest = SignInput::Digest(&[7; 32]);
                hot.sign(algorithm, digest).await.unwrap();
            }
            assert_eq!(log.take(), [SIGN; 100], "{key_type}");
        }
    });
}
