//! Promise: work with one key waits for no other key, any number of tasks may use the same handles, and all handles are
//! `Send + Sync + Clone`.
#![expect(clippy::unwrap_used, reason = "helpers of tests are tests")]

use std::future::{Future, IntoFuture};
use std::pin::pin;
use std::task::{Context, Poll, Waker};

use hsm_client::kinds::{Aes256Gcm, EcdsaP256, RsaPss4096};
use hsm_client::{AnyKey, BuiltInRole, Hsm, Key, PageRequest, Scope, Session, Setup, blocking};
use pollster::block_on;

const PASSWORD: &str = "correct horse battery staple";

async fn session() -> (Hsm, Session) {
    let hsm = Hsm::create("memory:", Setup::new("admin", PASSWORD))
        .await
        .unwrap();
    let admin = hsm.login("admin", PASSWORD).await.unwrap();
    admin.create_user("app", PASSWORD).await.unwrap();
    admin
        .assign_role(BuiltInRole::CryptoUser, "app", Scope::Keys)
        .await
        .unwrap();
    let app = hsm.login("app", PASSWORD).await.unwrap();
    (hsm, app)
}

/// Whatever holds up the creation cannot hold up the signatures: the future is not polled while they are made.
#[test]
fn a_key_that_takes_long_to_make_delays_no_signature_of_another() {
    block_on(async {
        let (_hsm, app) = session().await;
        let key = app.create::<EcdsaP256>("quick").await.unwrap();
        let mut slow = pin!(app.create::<RsaPss4096>("slow").into_future());
        let mut context = Context::from_waker(Waker::noop());
        assert!(
            slow.as_mut().poll(&mut context).is_pending(),
            "an RSA-4096 key in no time"
        );
        for _ in 0..20 {
            let signature = key.sign(b"message").await.unwrap();
            key.verify(b"message", &signature).await.unwrap();
        }
        // Changes do not wait either.
        key.rotate().await.unwrap();
        let data = app.create::<Aes256Gcm>("data").await.unwrap();
        data.encrypt(b"data").await.unwrap();
        assert_eq!(
            app.list_keys(PageRequest::default())
                .await
                .unwrap()
                .items
                .len(),
            2,
            "and the slow one is not there yet"
        );
        let slow = slow.await.unwrap();
        slow.sign(b"message").await.unwrap();
    });
}

/// The name is taken when the key is there, not when its making began.
#[test]
fn of_two_creations_of_one_name_the_first_that_is_done_wins() {
    block_on(async {
        let (_hsm, app) = session().await;
        let mut slow = pin!(app.create::<RsaPss4096>("name").into_future());
        let mut context = Context::from_waker(Waker::noop());
        assert!(slow.as_mut().poll(&mut context).is_pending());
        let key = app.create::<EcdsaP256>("name").await.unwrap();
        assert_eq!(
            slow.await.unwrap_err().kind(),
            hsm_client::ErrorKind::Conflict
        );
        key.sign(b"message").await.unwrap();
    });
}

/// A request that nobody waits for any more leaves nothing half-made.
#[test]
fn a_creation_that_is_dropped_leaves_the_name_free() {
    block_on(async {
        let (_hsm, app) = session().await;
        {
            let mut dropped = pin!(app.create::<RsaPss4096>("name").into_future());
            let mut context = Context::from_waker(Waker::noop());
            assert!(matches!(dropped.as_mut().poll(&mut context), Poll::Pending));
        }
        let key = app.create::<EcdsaP256>("name").await.unwrap();
        key.sign(b"message").await.unwrap();
    });
}

#[test]
fn many_tasks_use_one_key() {
    const TASKS: usize = 64;
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(4)
        .build()
        .unwrap();
    let signatures = runtime.block_on(async {
        let (hsm, app) = session().await;
        let key = app.create::<EcdsaP256>("invoices").await.unwrap();
        let tasks: Vec<_> = (0..TASKS)
            .map(|number| {
                let key = key.clone();
                tokio::spawn(async move {
                    let message = number.to_be_bytes();
                    let mut signatures = Vec::new();
                    for round in 0..10 {
                        let signature = key.sign(&message).await.unwrap();
                        key.verify(&message, &signature).await.unwrap();
                        // Old versions keep verifying while others rotate the key.
                        if number % 16 == 0 && round == 5 {
                            key.rotate().await.unwrap();
                        }
                        signatures.push(signature);
                    }
                    signatures
                })
            })
            .collect();
        let mut made = 0;
        for (number, task) in tasks.into_iter().enumerate() {
            for signature in task.await.unwrap() {
                key.verify(&number.to_be_bytes(), &signature).await.unwrap();
                made += 1;
            }
        }
        let versions = key.versions(PageRequest::default()).await.unwrap().items;
        assert_eq!(versions.len(), 1 + TASKS / 16);
        hsm.close().await.unwrap();
        made
    });
    assert_eq!(signatures, TASKS * 10);
}

#[test]
fn threads_that_block_use_one_session() {
    let hsm = blocking::Hsm::create("memory:", Setup::new("admin", PASSWORD)).unwrap();
    let admin = hsm.login("admin", PASSWORD).unwrap();
    admin
        .assign_role(BuiltInRole::CryptoUser, "admin", Scope::Keys)
        .unwrap();
    std::thread::scope(|scope| {
        for number in 0..8 {
            let session = admin.clone();
            scope.spawn(move || {
                let key = session
                    .create::<EcdsaP256>(&format!("key-{number}"))
                    .make()
                    .unwrap();
                for _ in 0..20 {
                    let signature = key.sign(b"message").unwrap();
                    key.verify(b"message", &signature).unwrap();
                }
            });
        }
    });
    assert_eq!(
        admin.list_keys(PageRequest::default()).unwrap().items.len(),
        8
    );
}

#[test]
fn handles_are_send_sync_and_clone() {
    const fn check<T: Send + Sync + Clone + 'static>() {}
    check::<Hsm>();
    check::<Session>();
    check::<Key<EcdsaP256>>();
    check::<AnyKey>();
    check::<blocking::Hsm>();
    check::<blocking::Session>();
    check::<blocking::Key<EcdsaP256>>();
    check::<blocking::AnyKey>();
}
