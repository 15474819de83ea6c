//! [`Partition`]: an HSM that the server serves under its host names.

use std::collections::HashMap;
use std::sync::Arc;

use hsm_client::{Credentials, Error, ErrorKind, Hsm, Principal, Result, Session};
use quick_cache::sync::Cache;

/// A partition: its keys, roles, users, audit log and limits are its own.
#[derive(Debug)]
pub struct Partition {
    /// Its place among the partitions of the server.
    number: usize,
    hsm: Hsm,
    hosts: Vec<Box<str>>,
    /// Sessions of principals whom the server has authenticated.
    sessions: Cache<Principal, Session>,
}

impl Partition {
    pub(crate) fn new(number: usize, hosts: Vec<Box<str>>, hsm: Hsm, sessions: usize) -> Self {
        Self {
            number,
            hsm,
            hosts,
            sessions: Cache::new(sessions),
        }
    }

    /// The HSM.
    #[must_use]
    pub fn hsm(&self) -> &Hsm {
        &self.hsm
    }

    /// Its first host name, without a port.
    #[must_use]
    pub fn host(&self) -> &str {
        self.hosts.first().map_or("", |host| host)
    }

    pub(crate) fn number(&self) -> usize {
        self.number
    }

    /// The session of a principal that was authenticated. It is kept and used again.
    pub(crate) async fn session_of(&self, principal: &Principal) -> Result<Session> {
        self.sessions
            .get_or_insert_async(principal, async {
                self.hsm
                    .login_with(Credentials::Authenticated(principal.clone()))
                    .await
            })
            .await
    }

    /// Forgets a session that the engine has ended. The next request of the principal opens a new one.
    pub(crate) fn forget(&self, principal: &Principal) {
        self.sessions.remove(principal);
    }

    /// Sessions that are kept.
    pub(crate) fn sessions(&self) -> usize {
        self.sessions.len()
    }
}

/// The partitions by their host names.
#[derive(Debug, Default)]
pub(crate) struct Partitions {
    all: Vec<Arc<Partition>>,
    by_host: HashMap<Box<str>, Arc<Partition>>,
}

impl Partitions {
    pub(crate) fn add(&mut self, partition: Partition) -> Result<()> {
        if partition.hosts.is_empty() {
            return Err(Error::new(
                ErrorKind::InvalidInput,
                "a partition needs a host name",
            ));
        }
        let partition = Arc::new(partition);
        for host in &partition.hosts {
            if self
                .by_host
                .insert(host.clone(), partition.clone())
                .is_some()
            {
                return Err(Error::new(
                    ErrorKind::InvalidInput,
                    format!("two partitions have the host name `{host}`"),
                ));
            }
        }
        self.all.push(partition);
        Ok(())
    }

    pub(crate) fn all(&self) -> &[Arc<Partition>] {
        &self.all
    }

    /// The partition with a host name, as [`host_name`] writes it.
    pub(crate) fn find(&self, host: &str) -> Option<&Arc<Partition>> {
        self.by_host.get(host)
    }

    /// The partition, if there is but one.
    pub(crate) fn only(&self) -> Option<&Arc<Partition>> {
        match &*self.all {
            [partition] => Some(partition),
            _ => None,
        }
    }
}

/// The host name of an authority: without a port, in lower case, without the dot of the root.
pub(crate) fn host_name(authority: &str) -> String {
    let host = match authority.strip_prefix('[') {
        Some(rest) => rest
            .split_once(']')
            .map_or(authority, |(address, _)| address),
        None => authority
            .split_once(':')
            .map_or(authority, |(host, _)| host),
    };
    host.strip_suffix('.').unwrap_or(host).to_ascii_lowercase()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn host_names_are_compared_without_port_case_and_final_dot() {
        for (authority, host) in [
            ("dev.localhost:8443", "dev.localhost"),
            ("DEV.Localhost.", "dev.localhost"),
            ("127.0.0.1:1", "127.0.0.1"),
            ("[::1]:8443", "::1"),
            ("[::1]", "::1"),
            ("", ""),
        ] {
            assert_eq!(host_name(authority), host);
        }
    }
}
