//! [`Partition`]: an HSM that the server serves under its host names.

use hsm_client::Hsm;

/// A partition: its keys, roles, users, audit log and limits are its own.
#[derive(Debug)]
pub struct Partition {
    hsm: Hsm,
}

impl Partition {
    /// The HSM.
    #[must_use]
    pub fn hsm(&self) -> &Hsm {
        &self.hsm
    }
}
