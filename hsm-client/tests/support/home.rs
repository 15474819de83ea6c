//! An HSM in a folder that goes with the test, and those who use it. Time stands still unless a test moves it.

use std::path::PathBuf;
use std::sync::Arc;

use hsm_client::blocking::{Hsm, Session};
use hsm_client::{ActionSet, BuiltInRole, DataAction, OpenOptions, Result, RoleId, Scope, Setup};
use hsm_testkit::ManualClock;

pub(crate) const PASSWORD: &str = "correct horse battery staple";

/// A folder with room for one HSM, and the clock that it goes by.
pub(crate) struct Home {
    folder: tempfile::TempDir,
    pub(crate) clock: Arc<ManualClock>,
}

impl Home {
    /// An HSM whose administrator is `admin` and where `app` is a crypto user.
    pub(crate) fn new() -> (Self, Hsm) {
        let home = Self::empty();
        let hsm = home.create(home.setup());
        (home, hsm)
    }

    pub(crate) fn empty() -> Self {
        Self {
            folder: tempfile::tempdir().unwrap(),
            clock: Arc::default(),
        }
    }

    pub(crate) fn setup(&self) -> Setup {
        Setup::new("admin", PASSWORD).clock(self.clock.clone())
    }

    pub(crate) fn create(&self, setup: Setup) -> Hsm {
        Hsm::create(&self.url(), setup).unwrap().close().unwrap();
        let hsm = self.open();
        let admin = hsm.login("admin", PASSWORD).unwrap();
        admin.create_user("app", PASSWORD).unwrap();
        admin
            .assign_role(BuiltInRole::CryptoUser, "app", Scope::Keys)
            .unwrap();
        // No built-in role lets keys leave.
        let exporter = RoleId::from_u128(1 << 64);
        let actions = ActionSet::of(&[DataAction::KeyExport]);
        admin
            .define_role(exporter, "Exporter", "", actions)
            .unwrap();
        admin.assign_role(exporter, "app", Scope::Keys).unwrap();
        hsm
    }

    pub(crate) fn open(&self) -> Hsm {
        self.try_open().unwrap()
    }

    /// Opens the HSM; nothing happens in the background.
    pub(crate) fn try_open(&self) -> Result<Hsm> {
        let options = OpenOptions::new()
            .clock(self.clock.clone())
            .without_background_maintenance();
        Hsm::open_with(&self.url(), options)
    }

    pub(crate) fn path(&self) -> PathBuf {
        self.folder.path().join("dev.hsm")
    }

    pub(crate) fn url(&self) -> String {
        format!("soft:{}", self.path().display())
    }
}

pub(crate) fn admin(hsm: &Hsm) -> Session {
    hsm.login("admin", PASSWORD).unwrap()
}

pub(crate) fn app(hsm: &Hsm) -> Session {
    hsm.login("app", PASSWORD).unwrap()
}
