//! Sessions: shared by any number of tasks, ended by logout, unharmed by calls that are given up.

use std::collections::BTreeSet;
use std::future::poll_fn;
use std::pin::pin;
use std::sync::Barrier;
use std::task::{Context, Poll, Waker};
use std::thread;

use futures_executor::block_on;
use hsm_core::lifecycle::{Event, State};
use hsm_core::policy::BuiltInRole;
use hsm_core::{Algorithm, AttributesUpdate, ErrorKind, KeyType, Request, Tags};

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
    let Some(cipher) = caller.cipher() else {
        return;
    };
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
                    let sealed = block_on(caller.encrypt(key("aes"), cipher, &message, b""));
                    let sealed = ok(sealed, "encrypt");
                    let opened = block_on(caller.decrypt(key("aes"), cipher, &sealed, b""));
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

/// A change that is given up after any number of steps has happened whole or not at all.
pub async fn given_up_changes_happen_whole_or_not(make: impl AsyncFn() -> ServiceUnderTest) {
    const WHOLE: &str = "a change that is given up has happened whole or not at all";
    let opened = Opened::new(make().await).await;
    let caller = &opened.all;
    let tags = ok(Tags::new([("given", "up")]), "tags");
    for polls in 0..16 {
        let text = format!("k-{polls}");
        let live = || key(&text);
        let created = caller.create(&text, KeyType::EcP256, SIGN).await;
        let sign = || caller.sign(live(), Algorithm::Es256, MESSAGE);

        let update = AttributesUpdate::new()
            .event(Event::Suspend)
            .tags(tags.clone());
        let request = Request::UpdateKey {
            key: live(),
            update,
        };
        give_up(caller, request, polls);
        let read = ok(caller.get(live()).await, "read").attributes;
        let parts = (read.state == State::Suspended, read.tags == tags);
        assert!(parts.0 == parts.1, "{WHOLE}: an update is {parts:?}");
        if read.state == State::Suspended {
            fails(sign().await, &[ErrorKind::KeyState], WHOLE);
        }
        let resumed = caller.update(live(), AttributesUpdate::new().event(Event::Resume));
        let resumed = resumed.await.map(drop);
        if resumed.is_err() {
            fails(resumed, &[ErrorKind::KeyState], "it was active");
        }

        give_up(caller, Request::DeleteKey { name: name(&text) }, polls);
        if let Err(error) = caller.get(live()).await {
            assert_eq!(error.kind(), ErrorKind::NotFound, "{WHOLE}: a deletion");
            let found = caller.call(Request::GetDeletedKey { name: name(&text) });
            let found = key_info(ok(found.await, format!("{WHOLE}: a deletion")));
            assert_eq!(found.version, created.version);
        }
        let deleted = caller.delete(&text).await.map(drop);
        if deleted.is_err() {
            fails(deleted, &[ErrorKind::NotFound], "it was deleted already");
        }

        give_up(caller, Request::RecoverKey { name: name(&text) }, polls);
        if caller.get(live()).await.is_ok() {
            let clause = format!("{WHOLE}: a recovery");
            let found = caller.call(Request::GetDeletedKey { name: name(&text) });
            fails(found.await, &[ErrorKind::NotFound], &clause);
        } else {
            let recovered = caller.recover(&text).await.map(drop);
            if recovered.is_err() {
                fails(recovered, &[ErrorKind::NotFound], "it is back already");
            }
        }
        ok(caller.delete(&text).await, "delete");

        give_up(caller, Request::PurgeKey { name: name(&text) }, polls);
        let purged = caller.purge(&text).await.map(drop);
        if purged.is_err() {
            fails(purged, &[ErrorKind::NotFound], "it was purged already");
        }
        let again = caller.create(&text, KeyType::EcP256, SIGN).await;
        assert_ne!(again.version, created.version, "{WHOLE}: a purge");
        ok(sign().await, "a purged name is free");
    }
}

/// Polls a call so many times, or to its end, and drops it.
fn give_up(caller: &Caller, request: Request<'_>, polls: usize) {
    let mut call = pin!(caller.call(request));
    for _ in 0..polls {
        let mut context = Context::from_waker(Waker::noop());
        if call.as_mut().poll(&mut context).is_ready() {
            break;
        }
        thread::yield_now();
    }
}

/// A key that is deleted while others use it: every call has its answer or finds no key, and none does once it is deleted.
pub async fn keys_are_deleted_during_use(make: impl AsyncFn() -> ServiceUnderTest) {
    let opened = Opened::new(make().await).await;
    let caller = &opened.all;
    let pair = caller.create("k", KeyType::EcP256, SIGN).await;
    let clause = "a deletion counts at the next call";
    at_once(|task| {
        if task == 0 {
            ok(block_on(caller.delete("k")), "delete");
            let signed = block_on(caller.sign(key("k"), Algorithm::Es256, MESSAGE));
            fails(signed, &[ErrorKind::NotFound], clause);
            return;
        }
        for _ in 0..CALLS {
            match block_on(caller.sign(key("k"), Algorithm::Es256, MESSAGE)) {
                Ok((bytes, _)) => {
                    let input = SignInput::Message(MESSAGE);
                    let verified = public(&pair).verify(Algorithm::Es256, input, &bytes);
                    ok(verified, "an answer is right");
                }
                refused => fails(refused, &[ErrorKind::NotFound], clause),
            }
        }
    });
    let signed = caller.sign(key("k"), Algorithm::Es256, MESSAGE).await;
    fails(signed, &[ErrorKind::NotFound], clause);
    ok(caller.recover("k").await, "recover");
    let signed = caller.sign(key("k"), Algorithm::Es256, MESSAGE).await;
    ok(signed, "a recovered key works for everybody");
}

/// A session that ends, or is dropped, while others use it: each call is answered or Unauthenticated, and others go on.
pub async fn sessions_end_during_use(make: impl AsyncFn() -> ServiceUnderTest) {
    let opened = Opened::new(make().await).await;
    opened.all.create("k", KeyType::EcP256, SIGN).await;
    let shared = ok(opened.login(ADMINISTRATOR, PASSWORD).await, "log in");
    at_once(|task| {
        if task == 0 {
            block_on(shared.0.logout());
        }
        for _ in 0..CALLS {
            let signed = block_on(shared.sign(key("k"), Algorithm::Es256, MESSAGE));
            match signed {
                Ok(_) if task != 0 => {}
                ended => fails(
                    ended,
                    &[ErrorKind::Unauthenticated],
                    "after logout every call is Unauthenticated",
                ),
            }
        }
    });
    for polls in 0..4 {
        let dropped = ok(opened.login(ADMINISTRATOR, PASSWORD).await, "log in");
        let sign = Request::Sign {
            key: key("k"),
            algorithm: Algorithm::Es256,
            input: SignInput::Message(MESSAGE),
        };
        give_up(&dropped, sign, polls);
        drop(dropped);
    }
    let signed = opened.all.sign(key("k"), Algorithm::Es256, MESSAGE).await;
    ok(signed, "other sessions go on");
}

/// One task signs with many keys at once, and gets the signature of each.
pub async fn one_task_uses_many_keys(make: impl AsyncFn() -> ServiceUnderTest) {
    const KEYS: usize = 48;
    let opened = Opened::new(make().await).await;
    let caller = &opened.all;
    let mut pairs = Vec::new();
    for at in 0..KEYS {
        let created = caller
            .create(&format!("k-{at}"), KeyType::EcP256, SIGN)
            .await;
        pairs.push(created);
    }
    let messages: Vec<_> = (0..KEYS)
        .map(|at| format!("message {at}").into_bytes())
        .collect();
    for _ in 0..2 {
        let calls = pairs.iter().zip(&messages);
        let calls = calls.map(|(pair, message)| {
            Box::pin(caller.sign(key(pair.name.as_str()), Algorithm::Es256, message))
        });
        let mut calls: Vec<_> = calls.map(Some).collect();
        // All of them are under way before the first is asked again.
        let signed = poll_fn(|context| {
            let mut waits = false;
            for (at, slot) in calls.iter_mut().enumerate() {
                let Some(call) = slot else {
                    continue;
                };
                let Poll::Ready(signed) = call.as_mut().poll(context) else {
                    waits = true;
                    continue;
                };
                *slot = None;
                let (bytes, version) = ok(signed, "sign");
                assert_eq!(version, pairs[at].version, "the answer names its version");
                let input = SignInput::Message(&messages[at]);
                let verified = public(&pairs[at]).verify(Algorithm::Es256, input, &bytes);
                ok(verified, "each key signs its own message");
            }
            if waits {
                Poll::Pending
            } else {
                Poll::Ready(())
            }
        });
        signed.await;
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
