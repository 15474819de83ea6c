//! One bad answer, whichever it is, ends in a clear error at most, and the device works afterwards.
#![expect(clippy::unwrap_used, reason = "helpers of tests are tests")]

#[path = "simulated/transport.rs"]
mod transport;

use std::io;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use futures_executor::block_on;
use hsm_backend_tpm::{Sharing, TpmDevice, Transport};
use hsm_core::{
    Algorithm, Binding, Device, ErrorKind, KeySpec, KeyType, PcrSelection, Result, SignInput,
    Usage, Usages,
};
use hsm_testkit::TpmSimulator;
use transport::Simulated;

const GET_CAPABILITY: u32 = 0x17a;
const START_AUTH_SESSION: u32 = 0x176;

/// What becomes of an answer.
type Fault = fn(&[u8], Vec<u8>) -> io::Result<Vec<u8>>;

/// A simulator that many devices use, one after the other, with somebody between.
#[derive(Clone, Debug)]
struct Between(Arc<Mutex<State>>);

#[derive(Debug)]
struct State {
    inner: Simulated,
    answers: usize,
    fault: Option<Fault>,
    /// The answer that the fault befalls; all, if there is none.
    at: Option<usize>,
    /// The connection is in doubt.
    is_broken: bool,
}

impl Between {
    fn new() -> Option<Self> {
        if let Some(reason) = TpmSimulator::missing() {
            eprintln!("skipped: {reason}");
            return None;
        }
        Some(Self(Arc::new(Mutex::new(State {
            inner: Simulated::new(),
            answers: 0,
            fault: None,
            at: None,
            is_broken: false,
        }))))
    }

    fn plan(&self, fault: Option<Fault>, at: Option<usize>) {
        let mut state = self.0.lock().unwrap();
        (state.answers, state.fault, state.at) = (0, fault, at);
    }

    fn answers(&self) -> usize {
        self.0.lock().unwrap().answers
    }
}

impl Transport for Between {
    fn transmit(&mut self, command: &[u8], within: Duration) -> io::Result<Vec<u8>> {
        let mut state = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        assert!(!state.is_broken, "a command after an error, unconnected");
        let answer = state.inner.transmit(command, within)?;
        let at = state.answers;
        state.answers += 1;
        match state.fault {
            Some(fault) if state.at.is_none_or(|wanted| wanted == at) => {
                let answer = fault(command, answer);
                state.is_broken = answer.is_err();
                answer
            }
            _ => Ok(answer),
        }
    }

    fn reconnect(&mut self) -> io::Result<()> {
        let mut state = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        state.is_broken = false;
        state.inner.reconnect()
    }

    fn sharing(&self) -> Sharing {
        Sharing::Exclusive
    }
}

/// A bit of everything.
fn work(device: &TpmDevice) -> Result<()> {
    let binding = Binding::new("test", b"a key");
    let spec = KeySpec::new(KeyType::EcP256, Usages::of(&[Usage::Sign]))?;
    let bound = spec.in_boot_state(PcrSelection::of(&[0, 7])?);
    block_on(async {
        for spec in [spec, bound] {
            let new = device.generate(&spec, &binding).await?;
            let none = Usages::NONE;
            let sealed = device.reseal(&new.sealed, &binding, &binding, none).await?;
            let key = device.load(&sealed, &binding).await?;
            let input = SignInput::Message(b"message");
            key.sign(Algorithm::Es256, input).await?;
        }
        Ok(())
    })
}

#[test]
fn one_bad_answer_is_an_error_at_most() {
    let Some(between) = Between::new() else {
        return;
    };
    let device = TpmDevice::create(between.clone()).unwrap();
    let root = device.root_name();
    block_on(device.close()).unwrap();
    let open = || {
        between.0.lock().unwrap().is_broken = false;
        TpmDevice::open(between.clone(), root)
    };
    between.plan(None, None);
    let device = open().unwrap();
    work(&device).unwrap();
    let answers = between.answers();
    block_on(device.close()).unwrap();
    let faults: [(&str, Fault); 5] = [
        ("stalled", |_, _| Err(io::ErrorKind::TimedOut.into())),
        ("cut off", |_, _| Err(io::ErrorKind::UnexpectedEof.into())),
        ("truncated", |_, mut answer| {
            answer.truncate(answer.len() - 1);
            Ok(answer)
        }),
        ("of the wrong tag", |_, mut answer| {
            answer[0] ^= 0x40;
            Ok(answer)
        }),
        ("with a bit flipped", |_, mut answer| {
            let last = answer.len() - 1;
            answer[last] ^= 1;
            Ok(answer)
        }),
    ];
    for (name, fault) in faults {
        for at in 0..answers {
            between.plan(Some(fault), Some(at));
            let device = open();
            let done = device.as_ref().map_err(ToString::to_string);
            let done = done.map(work);
            if let Ok(Err(error)) = &done {
                let kinds = [ErrorKind::DeviceFailed, ErrorKind::Unknown];
                let kind = error.kind();
                assert!(kinds.contains(&kind), "answer {at} {name}: {error}");
            }
            // The same device, if there is one, and another.
            between.plan(None, None);
            if let Ok(device) = &device {
                work(device).unwrap_or_else(|error| panic!("after {at} {name}: {error}"));
                // Until nothing of it crosses any more.
                block_on(device.close()).unwrap();
            }
        }
    }
}

#[test]
fn places_without_end_are_not_believed() {
    let Some(between) = Between::new() else {
        return;
    };
    let fault: Fault = |command, mut answer| {
        let len = answer.len();
        // One property: its value is last.
        if command[6..10] == GET_CAPABILITY.to_be_bytes() && command[10..14] == [0, 0, 0, 6] {
            answer[len - 4..].fill(0xff);
        }
        Ok(answer)
    };
    between.plan(Some(fault), None);
    work(&TpmDevice::create(between).unwrap()).unwrap();
}

#[test]
fn sessions_without_end_are_not_flushed_for_ever() {
    let Some(between) = Between::new() else {
        return;
    };
    let fault: Fault = |command, answer| {
        Ok(
            match u32::from_be_bytes(command[6..10].try_into().unwrap()) {
                START_AUTH_SESSION => [&[0x80, 1, 0, 0, 0, 10][..], &[0, 0, 9, 3]].concat(),
                // One is loaded, still.
                GET_CAPABILITY if command[10..15] == [0, 0, 0, 1, 2] => {
                    let list = [0, 0, 0, 0, 1, 0, 0, 0, 1, 2, 0, 0, 0];
                    [&[0x80, 1, 0, 0, 0, 23, 0, 0, 0, 0][..], &list].concat()
                }
                0x165 => vec![0x80, 1, 0, 0, 0, 10, 0, 0, 0, 0],
                _ => answer,
            },
        )
    };
    between.plan(Some(fault), None);
    let error = TpmDevice::create(between).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::DeviceFailed, "{error}");
    assert!(error.to_string().contains("SESSION_MEMORY"), "{error}");
}
