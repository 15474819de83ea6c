//! Users of the machine, at the other end of a Unix socket: which principal one stands for.

use hsm_core::{Error, ErrorKind, Principal, Result};

use super::certificate::serves;
use super::config::UnixConfig;

/// Which user or group stands for whom.
#[derive(Debug, Default)]
pub(crate) struct UnixPeers(Vec<Rule>);

#[derive(Debug)]
struct Rule {
    who: Who,
    principal: Principal,
    partitions: Vec<String>,
}

#[derive(Debug, Eq, PartialEq)]
enum Who {
    User(u32),
    Group(u32),
}

impl UnixPeers {
    pub(crate) fn new(configs: &[UnixConfig]) -> Result<Self> {
        configs
            .iter()
            .map(Rule::new)
            .collect::<Result<_>>()
            .map(Self)
    }

    /// Whom the process stands for in the partition. What is said of its user goes before what is said of its group.
    pub(crate) fn principal(&self, partition: &str, uid: u32, gid: u32) -> Option<Principal> {
        [Who::User(uid), Who::Group(gid)]
            .iter()
            .find_map(|who| {
                self.0
                    .iter()
                    .find(|rule| rule.who == *who && serves(&rule.partitions, partition))
            })
            .map(|rule| rule.principal.clone())
    }
}

impl Rule {
    fn new(config: &UnixConfig) -> Result<Self> {
        let principal = Principal::new(&config.principal)?;
        let who = match (config.uid, config.gid) {
            (Some(uid), None) => Who::User(uid),
            (None, Some(gid)) => Who::Group(gid),
            _ => {
                return Err(Error::new(
                    ErrorKind::InvalidInput,
                    format!("the Unix peer of {principal} is a uid or a gid: set one of them"),
                ));
            }
        };
        Ok(Self {
            who,
            principal,
            partitions: config.partitions.clone(),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn rule(principal: &str, uid: Option<u32>, gid: Option<u32>, partition: &str) -> UnixConfig {
        UnixConfig {
            principal: principal.to_owned(),
            partitions: (!partition.is_empty())
                .then(|| partition.to_owned())
                .into_iter()
                .collect(),
            uid,
            gid,
        }
    }

    #[test]
    fn the_user_goes_before_the_group_and_each_partition_has_its_own() {
        let peers = UnixPeers::new(&[
            rule("staff", None, Some(50), ""),
            rule("app", Some(1000), None, ""),
            rule("other", Some(1001), None, "b.example.com"),
        ])
        .unwrap();
        let who = |partition, uid, gid| {
            peers
                .principal(partition, uid, gid)
                .map(|principal| principal.to_string())
        };
        assert_eq!(who("a.example.com", 1000, 50).as_deref(), Some("app"));
        assert_eq!(who("a.example.com", 1001, 50).as_deref(), Some("staff"));
        assert_eq!(who("b.example.com", 1001, 50).as_deref(), Some("other"));
        assert_eq!(who("a.example.com", 1001, 51), None);
        // A number of one kind is none of the other.
        assert_eq!(who("a.example.com", 50, 1000), None);
    }

    #[test]
    fn a_rule_says_one_thing() {
        assert!(UnixPeers::new(&[rule("app", None, None, "")]).is_err());
        assert!(UnixPeers::new(&[rule("app", Some(1), Some(1), "")]).is_err());
        assert!(UnixPeers::new(&[rule("not a name", Some(1), None, "")]).is_err());
    }
}
