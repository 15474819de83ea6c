//! A backup restores the key that it was made of, or nothing: no panic, and no edit counts.
#![no_main]

use hsm_core::{ErrorKind, Request, Response};
use hsm_fuzz::{Bytes, Hsm};
use libfuzzer_sys::fuzz_target;

fuzz_target!(|data: &[u8]| {
    let name = || "data".parse().expect("a name");
    let hsm = Hsm::fresh();
    let before = hsm.call(Request::GetKey {
        key: "data".parse().expect("a name"),
    });
    let Ok(Response::Key(before)) = before else {
        panic!("{before:?}")
    };
    let backup = hsm.call(Request::BackupKey { name: name() });
    let Ok(Response::Backup(genuine)) = backup else {
        panic!("{backup:?}")
    };
    hsm.call(Request::DeleteKey { name: name() })
        .expect("a key");
    hsm.call(Request::PurgeKey { name: name() })
        .expect("a deleted key");

    let mut data = Bytes(data);
    let mut backup = genuine.clone();
    match data.byte() % 4 {
        // Bits, from somewhere on.
        0 => {
            let at = data.number() % backup.len();
            for (byte, mask) in backup[at..].iter_mut().zip(data.0) {
                *byte ^= mask;
            }
        }
        // Another body in the same envelope.
        1 => {
            let end = backup.len() - 32;
            backup.splice(31..end, data.0.iter().copied());
        }
        2 => backup.truncate(data.number() % (genuine.len() + 1)),
        _ => backup = data.0.to_vec(),
    }
    let restored = hsm.call(Request::RestoreKey { backup: &backup });
    match restored {
        Ok(Response::Key(info)) => {
            assert_eq!(backup, genuine);
            assert_eq!(info, before);
        }
        Ok(other) => panic!("{other:?}"),
        Err(error) => {
            assert_ne!(backup, genuine, "{error}");
            let kind = error.kind();
            assert!(
                kind == ErrorKind::Damaged || kind == ErrorKind::InvalidInput,
                "{error}"
            );
        }
    }
});
