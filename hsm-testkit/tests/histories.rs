//! Promise: an `Engine` does what the model does, whatever happens and in whatever order, in memory and on disk, through
//! restarts.
#![expect(clippy::unwrap_used, reason = "helpers of tests are tests")]

use std::sync::{Arc, OnceLock};

use async_trait::async_trait;
use hsm_backend_soft::SoftDevice;
use hsm_core::{Engine, Parts, Result, SecretBytes, Service, Settings, Setup};
use hsm_testkit::history::Subject;
use hsm_testkit::service::{ADMINISTRATOR, PASSWORD};
use hsm_testkit::{ManualClock, MemoryAudit, MemoryStore};

mod in_memory {
    hsm_testkit::history_conformance!(super::InMemory::make);
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
            let (device, store) = (device.clone(), store.fork());
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

fn setup() -> Setup {
    Setup {
        administrator: ADMINISTRATOR.parse().unwrap(),
        password: SecretBytes::copy_from(PASSWORD.as_bytes()),
        settings: Settings::default(),
    }
}
