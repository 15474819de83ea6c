//! [`Partition`]: an HSM that the server serves under its host names.

use hsm_client::{Credentials, Hsm, Principal, Session};

/// A partition: its keys, roles, users, audit log and limits are its own.
#[derive(Debug)]
pub struct Partition {
    hsm: Hsm,
    host: String,
}

impl Partition {
    /// A partition under one name.
    #[must_use]
    pub fn new(host: &str, hsm: Hsm) -> Self {
        Self {
            hsm,
            host: host.to_owned(),
        }
    }

    /// The HSM.
    #[must_use]
    pub fn hsm(&self) -> &Hsm {
        &self.hsm
    }

    /// Its first name, without the port.
    #[must_use]
    pub fn host(&self) -> &str {
        &self.host
    }

    /// The session of a principal that was authenticated.
    pub(crate) async fn session_of(&self, principal: &Principal) -> hsm_core::Result<Session> {
        self.hsm
            .login_with(Credentials::Authenticated(principal.clone()))
            .await
    }
}
