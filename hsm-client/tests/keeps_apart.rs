//! Promise: work with one key waits for no other key, any number of tasks may use the same handles, and all handles are
//! `Send + Sync + Clone`.
#![expect(clippy::unwrap_used, reason = "helpers of tests are tests")]

use std::future::{Future, IntoFuture};
use std::pin::pin;
use std::sync::{Arc, Mutex};
use std::task::{Context, Poll, Waker};

use async_trait::async_trait;
use hsm_backend_soft::SoftDevice;
use hsm_client::kinds::{Aes256Gcm, EcdsaP256, RsaPss4096};
use hsm_client::{
    AnyKey, BuiltInRole, Hsm, Key, PageRequest, Result, Scope, SecretBytes, Session, Settings,
    Setup, blocking,
};
use hsm_core::audit::{RequestId, StreamId};
use hsm_core::{Engine, Parts, Request, Session as _, Store, TransactBody, ViewBody};
use hsm_testkit::{ManualClock, MemoryAudit, MemoryStore};
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

/// A store that lets a test do something in the middle of a call.
#[derive(Debug, Default)]
struct Interrupted {
    store: MemoryStore,
    /// The engine that is closed in the middle of its next view.
    closing: Arc<Mutex<Option<Engine>>>,
}

#[async_trait]
impl Store for Interrupted {
    fn version(&self) -> Result<u64> {
        self.store.version()
    }

    async fn view<'a>(&'a self, body: ViewBody<'a>) -> Result<()> {
        self.store.view(body).await?;
        let closing = self.closing.lock().unwrap().take();
        if let Some(engine) = closing {
            engine.close().await?;
        }
        Ok(())
    }

    async fn transact(&self, body: TransactBody) -> Result<()> {
        self.store.transact(body).await
    }
}

/// An engine that was closed while it learnt of the changes of others took that for a zeroization, and destroyed the keys.
#[test]
fn closing_in_the_middle_of_a_call_destroys_nothing() {
    block_on(async {
        let store = Interrupted::default();
        let (closing, memory) = (store.closing.clone(), store.store.clone());
        let device = Arc::new(SoftDevice::in_memory().unwrap());
        let parts = |store: Arc<dyn Store>, stream: u8| Parts {
            device: device.clone(),
            store,
            audit: Arc::new(MemoryAudit::with_stream(StreamId::from_bytes([stream; 16]))),
            clock: Arc::new(ManualClock::default()),
        };
        let setup = hsm_core::Setup {
            administrator: "admin".parse().unwrap(),
            password: SecretBytes::copy_from(PASSWORD.as_bytes()),
            settings: Settings::default(),
        };
        let engine = Engine::create(parts(Arc::new(store), 1), setup)
            .await
            .unwrap();
        let session = engine.session_for("admin".parse().unwrap()).await.unwrap();
        let ask = || session.call(RequestId::default(), Request::GetSettings);
        ask().await.unwrap();
        // Something to learn of, and then the end in the middle of it.
        let other = Engine::open(parts(Arc::new(memory.clone()), 2))
            .await
            .unwrap();
        *closing.lock().unwrap() = Some(engine.clone());
        ask().await.unwrap_err();
        let session = other.session_for("admin".parse().unwrap()).await.unwrap();
        session
            .call(RequestId::default(), Request::GetSettings)
            .await
            .unwrap();
        Engine::open(parts(Arc::new(memory), 3)).await.unwrap();
    });
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
