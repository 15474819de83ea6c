//! Every kind of error can be had, and is what its description says.

use std::collections::BTreeMap;

use futures_executor::block_on;
use hsm_core::{Algorithm, Credentials, ErrorKind, KeyType, Request, Service, SignInput, Usage};
use hsm_testkit::Fault;
use hsm_testkit::service::ADMINISTRATOR;

use crate::house::*;

/// Every kind but `Unreachable`: an engine in the same process is always reached.
const KINDS: [ErrorKind; 15] = [
    ErrorKind::InvalidInput,
    ErrorKind::LimitExceeded,
    ErrorKind::Unsupported,
    ErrorKind::Unauthenticated,
    ErrorKind::Denied,
    ErrorKind::KeyState,
    ErrorKind::LockedOut,
    ErrorKind::NotFound,
    ErrorKind::Conflict,
    ErrorKind::CryptoFailed,
    ErrorKind::Damaged,
    ErrorKind::DeviceFailed,
    ErrorKind::StoreFailed,
    ErrorKind::AuditFailed,
    ErrorKind::Unknown,
];

#[test]
fn every_kind_can_be_had_and_says_what_to_do() {
    let house = House::new();
    house.furnish();
    let rsa = || "rsa".parse().unwrap();
    let new = new_key(KeyType::Rsa2048, &[Usage::Encrypt, Usage::Decrypt]);
    house.ask(Request::CreateKey { name: rsa(), new }).unwrap();
    let rsa1_5 = || Request::Encrypt {
        key: key("rsa"),
        algorithm: Algorithm::Rsa1_5,
        plaintext: b"",
        iv: None,
        aad: b"",
    };
    let digest = Request::Sign {
        key: key("ec"),
        algorithm: Algorithm::Es256,
        input: SignInput::Digest(b"short"),
    };
    let create = || changes().remove(0);
    let verify = || operations().swap_remove(1).0;
    let not_sym = || Request::Wrap {
        key: key("kdk"),
        algorithm: Algorithm::A256Kw,
        plaintext: &[7; 32],
    };
    let mut reached = BTreeMap::new();
    let mut reach = |error: hsm_core::Error| {
        reached.insert(error.kind(), error.to_string());
    };
    for request in [
        digest,
        Request::Random { len: usize::MAX },
        rsa1_5(),
        not_sym(),
        sign(key("missing")),
        verify(),
    ] {
        reach(house.ask(request).unwrap_err());
    }
    house.ask(create()).unwrap();
    reach(house.ask(create()).unwrap_err());
    for (plan, fault) in [
        (&house.calls, Fault::Before),
        (&house.calls, Fault::After),
        (&house.reads, Fault::Before),
        (&house.audit, Fault::Before),
    ] {
        plan.strike(fault);
        reach(house.ask(Request::Random { len: 8 }).unwrap_err());
    }
    house.forget(&*house.another_session(), Some(&"ec".parse().unwrap()));
    house.reads.strike_later(1, Fault::Garbage { at: 0 });
    reach(house.ask(sign(key("ec"))).unwrap_err());
    house.reads.plan([]);

    let password = || hsm_core::SecretBytes::copy_from(hsm_testkit::service::PASSWORD.as_bytes());
    let name = "nobody".parse().unwrap();
    let user = Request::CreateUser {
        name,
        password: password(),
    };
    house.ask(user).unwrap();
    let credentials = Credentials::password("nobody", hsm_testkit::service::PASSWORD).unwrap();
    let nobody = block_on(house.engine.login(credentials)).unwrap();
    let call = |request| block_on(nobody.call(hsm_core::audit::RequestId::default(), request));
    reach(call(sign(key("ec"))).unwrap_err());
    block_on(nobody.logout());
    reach(call(sign(key("ec"))).unwrap_err());
    for _ in 0..100 {
        let wrong = Credentials::password(ADMINISTRATOR, "not the password").unwrap();
        let error = block_on(house.engine.login(wrong)).unwrap_err();
        let locked = error.kind() == ErrorKind::LockedOut;
        reach(error);
        if locked {
            break;
        }
    }
    let kinds: Vec<_> = reached.keys().copied().collect();
    let mut expected = KINDS.to_vec();
    expected.sort_unstable();
    assert_eq!(kinds, expected, "{reached:#?}");
    for (kind, message) in reached {
        assert!(message.starts_with(kind.describe()), "{message}");
        // Cryptographic failures say nothing more, on purpose.
        let says_more = message.len() > kind.describe().len() + 10;
        assert_eq!(says_more, kind != ErrorKind::CryptoFailed, "{message}");
    }
}
