//! A store that edits, removes or plants a record is found out: no panic, and nothing is done with what it made up.
#![no_main]

use hsm_core::audit::RequestId;
use hsm_core::{Algorithm, ErrorKind, PageRequest, Request, Response, Session, SignInput, Space};
use hsm_fuzz::{Bytes, Hsm};
use libfuzzer_sys::fuzz_target;
use pollster::block_on;

fuzz_target!(|data: &[u8]| {
    let mut data = Bytes(data);
    let mut rows = Hsm::rows().clone();
    let at = data.number() % rows.len();
    match data.byte() % 4 {
        // Bits of a record.
        0 => {
            for (byte, mask) in rows[at].2.iter_mut().zip(data.0) {
                *byte ^= mask;
            }
        }
        // A whole record.
        1 => rows[at].2 = data.0.to_vec(),
        2 => {
            rows.remove(at);
        }
        // A record that nobody wrote.
        _ => {
            let space = data.choose(&Space::ALL);
            let key_len = usize::from(data.byte());
            let key = data.take(key_len).to_vec();
            rows.push((space, key, data.0.to_vec()));
        }
    }
    let Ok(hsm) = Hsm::over(rows) else { return };
    drop(block_on(hsm.engine.maintain()));
    drop(block_on(hsm.engine.note_audit()));
    for name in ["sign", "data", "gone", "transport"] {
        let key = || name.parse().expect("a name");
        drop(hsm.call(Request::GetKey { key: key() }));
        drop(hsm.call(Request::RotateKey {
            name: name.parse().expect("a name"),
        }));
    }
    for deleted in [false, true] {
        let page = PageRequest::default();
        drop(hsm.call(if deleted {
            Request::ListDeletedKeys { page }
        } else {
            Request::ListKeys { page }
        }));
    }
    let request = Request::RecoverKey {
        name: "gone".parse().expect("a name"),
    };
    drop(hsm.call(request));
    if let Ok(admin) = hsm.session_of("admin") {
        for request in [
            Request::ListRoleDefinitions,
            Request::ListUsers {
                page: PageRequest::default(),
            },
            Request::ListTokens {
                page: PageRequest::default(),
            },
            Request::ListAuditStreams,
            Request::ReadAudit {
                stream: hsm.engine.id(),
                from: 0,
                limit: 1000,
            },
        ] {
            drop(block_on(admin.call(RequestId::default(), request)));
        }
    }

    // Whatever was done to the records: a signature that comes out is by the key that was made.
    let sign = || "sign".parse().expect("a name");
    let signed = hsm.call(Request::Sign {
        key: sign(),
        algorithm: Algorithm::Es256,
        input: SignInput::Message(b"message"),
    });
    match signed {
        Ok(Response::Signature { bytes, version }) => {
            let mut key: hsm_core::KeyRef = sign();
            key.version = Some(version);
            let info = hsm.call(Request::GetKey { key });
            let Ok(Response::Key(info)) = info else {
                panic!("{info:?}")
            };
            info.public
                .expect("a pair")
                .verify(Algorithm::Es256, SignInput::Message(b"message"), &bytes)
                .expect("the key that the record names");
        }
        Ok(other) => panic!("{other:?}"),
        Err(error) => {
            let kind = error.kind();
            assert!(
                kind == ErrorKind::Damaged || kind == ErrorKind::Denied,
                "{error}"
            );
        }
    }
});
