//! [`Partition`]: an HSM that the server serves under its host names.

use hsm_client::{Credentials, Hsm, Principal, Session};

/// A partition: its keys, roles, users, audit log and limits are its own.
#[derive(Debug)]
pub struct Partition {
    hsm: Hsm,
    host: String,
}

impl Partition {
    pub(crate) fn new(hosts: Vec<Box<str>>, hsm: Hsm, _sessions: usize) -> Self {
        let host = hosts.first().map_or("", |host| host).to_owned();
        Self { hsm, host }
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
