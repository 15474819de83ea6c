//! Promise: an `Engine` does what the model does, whatever happens and in whatever order, in memory and on disk, through
//! restarts.
#![expect(clippy::unwrap_used, reason = "helpers of tests are tests")]

use std::sync::{Arc, OnceLock};

use async_trait::async_trait;
use hsm_backend_soft::{Protector, SoftDevice};
use hsm_core::{Engine, Parts, Result, SecretBytes, Service, Settings, Setup};
use hsm_store::{AuditLog, EmbeddedStore};
use hsm_testkit::history::{Histories, Subject, check_histories};
use hsm_testkit::service::{ADMINISTRATOR, PASSWORD};
use hsm_testkit::{ManualClock, MemoryAudit, MemoryStore};
use tempfile::TempDir;

#[path = "histories/repeated.rs"]
mod repeated;

mod in_memory {
    hsm_testkit::history_conformance!(super::InMemory::make);
}

/// Fewer, as a disk takes its time.
#[test]
fn keys_live_as_in_the_model_on_disk() {
    check(Histories::of_keys().cases(24));
}

#[test]
fn people_may_what_they_may_in_the_model_on_disk() {
    check(Histories::of_people().cases(12));
}

#[track_caller]
fn check(histories: Histories) {
    if let Err(difference) = check_histories(OnDisk::make, histories) {
        panic!("{difference}");
    }
}

mod model {
    hsm_testkit::history_conformance!(async |clock| hsm_testkit::Model::new(clock));
}

/// An engine whose store survives it.
struct InMemory {
    device: Arc<SoftDevice>,
    store: MemoryStore,
    clock: Arc<ManualClock>,
    engine: Option<Engine>,
}

impl InMemory {
    async fn make(clock: Arc<ManualClock>) -> Self {
        // The first user's password takes its time: hash it once.
        static FIRST: OnceLock<(Arc<SoftDevice>, MemoryStore)> = OnceLock::new();
        if let Some((device, store)) = FIRST.get() {
            let (device, store) = (device.clone(), store.copy());
            let mut made = Self::on(device, store, clock);
            made.restart().await.unwrap();
            return made;
        }
        let device = Arc::new(SoftDevice::in_memory().unwrap());
        let made = Self::on(device.clone(), MemoryStore::new(), clock);
        Engine::create(made.parts(), setup()).await.unwrap();
        drop(FIRST.set((device, made.store)));
        Box::pin(Self::make(made.clock)).await
    }

    fn on(device: Arc<SoftDevice>, store: MemoryStore, clock: Arc<ManualClock>) -> Self {
        Self {
            device,
            store,
            clock,
            engine: None,
        }
    }

    fn parts(&self) -> Parts {
        Parts {
            device: self.device.clone(),
            store: Arc::new(self.store.clone()),
            audit: Arc::new(MemoryAudit::new()),
            clock: self.clock.clone(),
        }
    }

    fn engine(&self) -> &Engine {
        self.engine.as_ref().unwrap()
    }
}

#[async_trait]
impl Subject for InMemory {
    fn service(&self) -> Arc<dyn Service> {
        Arc::new(self.engine().clone())
    }

    async fn maintain(&self) -> Result<bool> {
        self.engine().maintain().await.map(|_| true)
    }

    async fn restart(&mut self) -> Result<bool> {
        self.engine = None;
        self.engine = Some(Engine::open(self.parts()).await?);
        Ok(true)
    }
}

/// An engine in a folder: the device, the store and the audit log are opened again with it.
struct OnDisk {
    folder: TempDir,
    clock: Arc<ManualClock>,
    engine: Option<Engine>,
}

impl OnDisk {
    async fn make(clock: Arc<ManualClock>) -> Self {
        let folder = TempDir::new().unwrap();
        SoftDevice::create(&folder.path().join("device"), &protector(&folder)).unwrap();
        EmbeddedStore::create(folder.path().join("store")).unwrap();
        let mut made = Self {
            folder,
            clock,
            engine: None,
        };
        made.engine = Some(Engine::create(made.parts(), setup()).await.unwrap());
        made
    }

    fn parts(&self) -> Parts {
        let folder = self.folder.path();
        let device = SoftDevice::open(&folder.join("device"), &protector(&self.folder));
        let audit = AuditLog::open(folder.join("audit"), self.clock.clone());
        Parts {
            device: Arc::new(device.unwrap()),
            store: Arc::new(EmbeddedStore::open(folder.join("store")).unwrap()),
            audit: Arc::new(audit.unwrap()),
            clock: self.clock.clone(),
        }
    }
}

fn protector(folder: &TempDir) -> Protector {
    Protector::KeyFile(folder.path().join("key"))
}

#[async_trait]
impl Subject for OnDisk {
    fn service(&self) -> Arc<dyn Service> {
        Arc::new(self.engine.clone().unwrap())
    }

    async fn maintain(&self) -> Result<bool> {
        let engine = self.engine.as_ref().unwrap();
        engine.maintain().await.map(|_| true)
    }

    async fn restart(&mut self) -> Result<bool> {
        if let Some(engine) = self.engine.take() {
            engine.close().await?;
        }
        self.engine = Some(Engine::open(self.parts()).await?);
        Ok(true)
    }
}

fn setup() -> Setup {
    Setup {
        administrator: ADMINISTRATOR.parse().unwrap(),
        password: SecretBytes::copy_from(PASSWORD.as_bytes()),
        settings: Settings::default(),
    }
}
