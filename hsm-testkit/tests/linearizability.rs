//! Promise: whatever callers do to a key at once, it is as if they had done it one after another; also when they come
//! through two engines over one store. And a service that is not so is found out.
#![expect(clippy::unwrap_used, reason = "helpers of tests are tests")]

use std::collections::HashMap;
use std::sync::Arc;

use async_trait::async_trait;
use futures_executor::block_on;
use hsm_backend_soft::SoftDevice;
use hsm_core::audit::RequestId;
use hsm_core::{
    Credentials, Engine, KeyName, Parts, Principal, Request, Response, Result, SecretBytes,
    Service, Session, Settings, Setup, Store, VersionId,
};
use hsm_store::EmbeddedStore;
use hsm_testkit::history::begin;
use hsm_testkit::linear::{Call, check_linearizable, is_linearizable, record};
use hsm_testkit::service::{ADMINISTRATOR, PASSWORD, ServiceUnderTest};
use hsm_testkit::{ManualClock, MemoryAudit, MemoryStore, Model};
use parking_lot::Mutex;

const ROUNDS: u32 = 60;

#[test]
fn an_engine_is_linearizable() {
    let (engine, _) = engines(Arc::new(MemoryStore::new()));
    check(&[engine]);
}

#[test]
fn two_engines_over_one_store_are_linearizable() {
    let (one, other) = engines(Arc::new(MemoryStore::new()));
    check(&[one, other]);
}

#[test]
fn two_engines_over_one_database_are_linearizable() {
    let (one, other) = engines(Arc::new(EmbeddedStore::in_memory().unwrap()));
    check(&[one, other]);
}

#[test]
fn the_model_is_linearizable() {
    check(&[ServiceUnderTest::new(model())]);
}

#[test]
fn a_service_that_signs_after_disable_has_returned_is_found_out() {
    let service = Stale::new(|request| matches!(request, Request::Sign { .. }));
    assert_found_out(service, &[Call::Sign, Call::Suspend, Call::Sign]);
}

#[test]
fn a_service_that_signs_with_the_version_before_is_found_out() {
    let service = Stale::new(|request| matches!(request, Request::Sign { .. }));
    assert_found_out(service, &[Call::Sign, Call::Rotate, Call::Sign]);
}

#[test]
fn a_service_that_shows_deleted_keys_is_found_out() {
    let service = Stale::new(|request| matches!(request, Request::GetKey { .. }));
    assert_found_out(service, &[Call::Get, Call::Delete, Call::Get]);
}

/// Nobody has to say when the service is wrong: rounds of any calls find it as well.
#[test]
fn stale_answers_are_found_by_any_callers() {
    let service = Stale::new(|request| matches!(request, Request::Sign { .. }));
    let service = ServiceUnderTest::new(service);
    let violation = check_linearizable(&[service], 200).unwrap_err();
    assert!(violation.to_string().contains("Sign"), "{violation}");
}

#[track_caller]
fn check(services: &[ServiceUnderTest]) {
    if let Err(violation) = check_linearizable(services, ROUNDS) {
        panic!("{violation}");
    }
}

/// The calls of one caller, one after another, have no order in which they could have been answered so.
#[track_caller]
fn assert_found_out(service: Stale, script: &[Call]) {
    let right = ServiceUnderTest::new(service.model.clone());
    let (session, _) = block_on(begin(&right)).unwrap();
    let (first, operations) = record(&[session], "right", &[script.to_vec()]).unwrap();
    assert!(is_linearizable(first, &operations), "{operations:?}");

    let session = block_on(service.login(credentials())).unwrap();
    let (first, operations) = record(&[session], "wrong", &[script.to_vec()]).unwrap();
    assert!(!is_linearizable(first, &operations), "{operations:?}");
}

/// Two engines over one store, as two processes have them.
fn engines(store: Arc<dyn Store>) -> (ServiceUnderTest, ServiceUnderTest) {
    let device = Arc::new(SoftDevice::in_memory().unwrap());
    let clock = Arc::new(ManualClock::default());
    let parts = || Parts {
        device: device.clone(),
        store: store.clone(),
        audit: Arc::new(MemoryAudit::new()),
        clock: clock.clone(),
    };
    let setup = Setup {
        administrator: ADMINISTRATOR.parse().unwrap(),
        password: SecretBytes::copy_from(PASSWORD.as_bytes()),
        settings: Settings::default(),
    };
    let one = block_on(Engine::create(parts(), setup)).unwrap();
    let other = block_on(Engine::open(parts())).unwrap();
    (ServiceUnderTest::new(one), ServiceUnderTest::new(other))
}

fn model() -> Model {
    Model::new(Arc::new(ManualClock::default()))
}

fn credentials() -> Credentials {
    Credentials::password(ADMINISTRATOR, PASSWORD).unwrap()
}

/// A service with a cache that nobody empties: what it was asked before, it answers as before.
#[derive(Clone, Debug)]
struct Stale {
    model: Model,
    keeps: fn(&Request<'_>) -> bool,
    kept: Arc<Mutex<HashMap<KeyName, Kept>>>,
}

#[derive(Clone, Debug)]
enum Kept {
    Key(Box<hsm_core::KeyInfo>),
    Signature(Vec<u8>, VersionId),
}

impl Stale {
    fn new(keeps: fn(&Request<'_>) -> bool) -> Self {
        Self {
            model: model(),
            keeps,
            kept: Arc::default(),
        }
    }
}

#[async_trait]
impl Service for Stale {
    async fn login(&self, credentials: Credentials) -> Result<Arc<dyn Session>> {
        let inner = self.model.login(credentials).await?;
        let service = self.clone();
        Ok(Arc::new(StaleSession { inner, service }))
    }
}

#[derive(Debug)]
struct StaleSession {
    inner: Arc<dyn Session>,
    service: Stale,
}

#[async_trait]
impl Session for StaleSession {
    fn principal(&self) -> &Principal {
        self.inner.principal()
    }

    async fn call(&self, id: RequestId, request: Request<'_>) -> Result<Response> {
        let name = request.key_name().cloned();
        let name = name.filter(|_| (self.service.keeps)(&request));
        let Some(name) = name else {
            return self.inner.call(id, request).await;
        };
        let kept = self.service.kept.lock().get(&name).cloned();
        match kept {
            Some(Kept::Key(info)) => return Ok(Response::Key(info)),
            Some(Kept::Signature(bytes, version)) => {
                return Ok(Response::Signature { bytes, version });
            }
            None => {}
        }
        let answer = self.inner.call(id, request).await?;
        let kept = match &answer {
            Response::Key(info) => Kept::Key(info.clone()),
            Response::Signature { bytes, version } => Kept::Signature(bytes.clone(), *version),
            _ => return Ok(answer),
        };
        self.service.kept.lock().insert(name, kept);
        Ok(answer)
    }

    async fn logout(&self) {
        self.inner.logout().await;
    }
}
