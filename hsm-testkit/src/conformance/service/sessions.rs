//! Sessions: shared by any number of tasks, ended by logout, unharmed by calls that are given up.

use std::collections::BTreeSet;
use std::pin::pin;
use std::sync::Barrier;
use std::task::{Context, Waker};
use std::thread;

use futures_executor::block_on;
use hsm_core::policy::BuiltInRole;
use hsm_core::{Algorithm, ErrorKind, KeyType, Request};

use super::super::{fails, join, ok};
use super::*;

const TASKS: usize = 8;
const CALLS: usize = 20;

/// A session says who it is for, and each user's is its own.
pub async fn sessions_are_bound_to_their_principal(make: impl AsyncFn() -> ServiceUnderTest) {
    let opened = Opened::new(make().await).await;
    let user = opened.user("app").await;
    assert_eq!(opened.all.0.principal().as_str(), ADMINISTRATOR);
    assert_eq!(user.0.principal().as_str(), "app");
    ok(opened.all.random(8).await, "the administrator may");
    let clause = "another's session gives no rights";
    fails(user.random(8).await, &[ErrorKind::Denied], clause);
}

/// Logout ends one session, for every task that shares it, and no other.
pub async fn logout_ends_the_session(make: impl AsyncFn() -> ServiceUnderTest) {
    let opened = Opened::new(make().await).await;
    let other = ok(opened.login(ADMINISTRATOR, PASSWORD).await, "log in");
    let shared = other.clone();
    ok(other.random(8).await, "an open session");
    other.0.logout().await;
    for caller in [&other, &shared] {
        for _ in 0..2 {
            let called = caller.random(8).await;
            let clause = "after logout every call is Unauthenticated";
            fails(called, &[ErrorKind::Unauthenticated], clause);
        }
    }
    other.0.logout().await;
    ok(opened.all.random(8).await, "the other session goes on");
}

/// Many tasks sign and encrypt with the same keys in the same session, and nothing is mixed up.
pub async fn tasks_share_a_session(make: impl AsyncFn() -> ServiceUnderTest) {
    let opened = Opened::new(make().await).await;
    let caller = &opened.all;
    let pair = caller.create("sign", KeyType::EcP256, SIGN).await;
    caller.create("aes", KeyType::Aes256, ENCRYPT).await;
    let barrier = Barrier::new(TASKS);
    thread::scope(|scope| {
        let threads = (0..TASKS).map(|task| {
            let (barrier, public) = (&barrier, public(&pair));
            scope.spawn(move || {
                barrier.wait();
                for call in 0..CALLS {
                    let message = format!("message {call} of task {task}").into_bytes();
                    let signed = block_on(caller.sign(key("sign"), Algorithm::Es256, &message));
                    let (bytes, _) = ok(signed, "sign");
                    let input = SignInput::Message(&message);
                    let clause = "a task gets the signature of its own message";
                    ok(public.verify(Algorithm::Es256, input, &bytes), clause);
                    let algorithm = Algorithm::A256Gcm;
                    let sealed = block_on(caller.encrypt(key("aes"), algorithm, &message, b""));
                    let sealed = ok(sealed, "encrypt");
                    let opened = block_on(caller.decrypt(key("aes"), algorithm, &sealed, b""));
                    assert_eq!(ok(opened, "decrypt").expose(), message);
                }
            })
        });
        join(threads.collect());
    });
}

/// Of tasks that create the same name at once, one wins.
pub async fn one_of_many_creations_wins(make: impl AsyncFn() -> ServiceUnderTest) {
    let opened = Opened::new(make().await).await;
    let caller = &opened.all;
    let results = at_once(|_| block_on(caller.try_create("k", new_key(KeyType::EcP256, SIGN))));
    let mut winners = Vec::new();
    for result in results {
        match result {
            Ok(info) => winners.push(info),
            refused => fails(refused, &[ErrorKind::Conflict], "the others lose"),
        }
    }
    assert_eq!(winners.len(), 1, "one name, one key");
    let read = ok(caller.get(key("k")).await, "read");
    assert_eq!(read, winners[0], "the key is the winner's");
}

/// Of tasks that rotate a key at once, each makes a version that stays, while others sign.
pub async fn rotations_at_once_all_count(make: impl AsyncFn() -> ServiceUnderTest) {
    let opened = Opened::new(make().await).await;
    let caller = &opened.all;
    let first = caller.create("k", KeyType::EcP256, SIGN).await;
    let made = at_once(|task| {
        if task % 2 == 1 {
            for _ in 0..CALLS {
                let signed = block_on(caller.sign(key("k"), Algorithm::Es256, MESSAGE));
                let (bytes, by) = ok(signed, "sign during rotation");
                let by = KeyRef::version(name("k"), by);
                let verified = caller.verify(&by, Algorithm::Es256, MESSAGE, &bytes);
                ok(block_on(verified), "the version that is named made it");
            }
            return None;
        }
        Some(ok(block_on(caller.rotate("k")), "rotate").version)
    });
    let mut expected: BTreeSet<_> = made.into_iter().flatten().collect();
    expected.insert(first.version);
    assert_eq!(
        expected.len(),
        1 + TASKS / 2,
        "each rotation made a version"
    );
    let versions = caller.versions("k").await;
    let found: BTreeSet<_> = versions.iter().map(|info| info.version).collect();
    assert_eq!(found, expected, "what was acknowledged is there");
}

/// A session that ends in the middle of calls ends for all of them, and the service goes on.
pub async fn roles_change_under_load(make: impl AsyncFn() -> ServiceUnderTest) {
    let opened = Opened::new(make().await).await;
    let user = opened.user("app").await;
    opened.all.create("k", KeyType::EcP256, SIGN).await;
    let role = BuiltInRole::CryptoUser.id();
    let granted = opened.all.assign(role, "app", Scope::Keys).await;
    at_once(|task| {
        if task == 0 {
            ok(block_on(opened.all.unassign(granted.id)), "revoke");
            let signed = block_on(user.sign(key("k"), Algorithm::Es256, MESSAGE));
            let clause = "a revocation counts at the next call";
            fails(signed, &[ErrorKind::Denied], clause);
            return;
        }
        for _ in 0..CALLS {
            match block_on(user.sign(key("k"), Algorithm::Es256, MESSAGE)) {
                Ok(_) => {}
                refused => fails(refused, &[ErrorKind::Denied], "the role is gone"),
            }
        }
    });
    let signed = user.sign(key("k"), Algorithm::Es256, MESSAGE).await;
    fails(signed, &[ErrorKind::Denied], "the role is gone");
}

/// A call that is given up halfway has happened or not; the service and the session go on.
pub async fn dropped_calls_leave_the_service_usable(make: impl AsyncFn() -> ServiceUnderTest) {
    let opened = Opened::new(make().await).await;
    let caller = &opened.all;
    caller.create("k", KeyType::EcP256, SIGN).await;
    for polls in 0..4 {
        let new = format!("dropped-{polls}");
        let requests = [
            Request::CreateKey {
                name: name(&new),
                new: new_key(KeyType::EcP256, SIGN),
            },
            Request::Sign {
                key: key("k"),
                algorithm: Algorithm::Es256,
                input: SignInput::Message(MESSAGE),
            },
            Request::RotateKey { name: name("k") },
            Request::DeleteKey { name: name(&new) },
            Request::ListKeys {
                page: PageRequest::default(),
            },
        ];
        for request in requests {
            let mut call = pin!(caller.call(request));
            for _ in 0..polls {
                let mut context = Context::from_waker(Waker::noop());
                if call.as_mut().poll(&mut context).is_ready() {
                    break;
                }
            }
        }
        let rotated = ok(caller.rotate("k").await, "rotate after dropped calls");
        let signed = caller.sign(key("k"), Algorithm::Es256, MESSAGE).await;
        let (bytes, version) = ok(signed, "sign after dropped calls");
        let verified = caller.verify(key("k"), Algorithm::Es256, MESSAGE, &bytes);
        ok(verified.await, "verify after dropped calls");
        let versions: Vec<_> = caller.versions("k").await;
        assert!(versions.iter().any(|info| info.version == version));
        assert!(versions.iter().any(|info| info.version == rotated.version));
        for info in ok(caller.keys(PageRequest::default()).await, "list").items {
            let signed = caller.sign(info.key(), Algorithm::Es256, MESSAGE).await;
            ok(signed, "whatever is there is whole");
        }
    }
}

/// Runs `task` on [`TASKS`] threads that start together.
fn at_once<T: Send>(task: impl Fn(usize) -> T + Sync) -> Vec<T> {
    let barrier = Barrier::new(TASKS);
    thread::scope(|scope| {
        let threads = (0..TASKS)
            .map(|at| {
                let (barrier, task) = (&barrier, &task);
                scope.spawn(move || {
                    barrier.wait();
                    task(at)
                })
            })
            .collect();
        join(threads)
    })
}
