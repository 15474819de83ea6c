//! [`Rates`]: how often a principal may ask. More is 429 with `Retry-After`.

use std::num::NonZeroU32;
use std::time::Duration;

use governor::clock::{Clock, DefaultClock};
use governor::{DefaultKeyedRateLimiter, Quota, RateLimiter};
use hsm_client::{Algorithm, Error, ErrorKind, Principal, Result};
use hsm_core::Request;
use serde::Deserialize;

/// How often principals may ask; not limited, if not set.
///
/// ```
/// use hsm_server::Rates;
///
/// let mut rates = Rates::default();
/// rates.published = true;
/// ```
#[derive(Clone, Debug, Default, Deserialize, Eq, PartialEq)]
#[serde(default, deny_unknown_fields, rename_all = "kebab-case")]
#[non_exhaustive]
pub struct Rates {
    /// Requests a second of each principal.
    pub per_second: Option<NonZeroU32>,
    /// Requests that a principal may save up; as many as a second has, if not set.
    pub burst: Option<NonZeroU32>,
    /// Limits each partition to what Managed HSM publishes for one of its partitions, so that clients can test how they
    /// back off. The size of an RSA key is not known before it is used: all count as RSA-2048.
    pub published: bool,
}

/// What Managed HSM publishes limits for, and how many of each a second may have.
#[derive(Clone, Copy, Debug, Eq, Hash, PartialEq)]
enum Class {
    Create = 1,
    EcP384 = 160,
    EcP521 = 200,
    EcP256 = 330,
    RsaSign = 900,
    RsaDecrypt = 1100,
    AesWrap = 2100,
}

const CLASSES: [Class; 7] = [
    Class::Create,
    Class::EcP384,
    Class::EcP521,
    Class::EcP256,
    Class::RsaSign,
    Class::RsaDecrypt,
    Class::AesWrap,
];

/// Counts what was asked.
#[derive(Debug)]
pub(crate) struct Limiter {
    clock: DefaultClock,
    /// By partition and principal.
    principals: Option<DefaultKeyedRateLimiter<(usize, Principal)>>,
    /// By partition, for each class.
    published: Vec<(Class, DefaultKeyedRateLimiter<usize>)>,
}

impl Limiter {
    pub(crate) fn new(rates: &Rates) -> Self {
        let principals = rates.per_second.map(|rate| {
            let quota = Quota::per_second(rate);
            RateLimiter::keyed(rates.burst.map_or(quota, |burst| quota.allow_burst(burst)))
        });
        let published = CLASSES
            .into_iter()
            .filter(|_| rates.published)
            .filter_map(|class| {
                let quota = Quota::per_second(NonZeroU32::new(class as u32)?);
                Some((class, RateLimiter::keyed(quota)))
            });
        Self {
            clock: DefaultClock::default(),
            published: published.collect(),
            principals,
        }
    }

    /// Whether a principal may ask once more now; `Err` is how long to wait.
    pub(crate) fn principal(&self, partition: usize, principal: &Principal) -> Result<()> {
        let Some(limiter) = &self.principals else {
            return Ok(());
        };
        limiter
            .check_key(&(partition, principal.clone()))
            .map_err(|until| throttled(until.wait_time_from(self.clock.now())))
    }

    /// Whether the published limits allow a request now.
    pub(crate) fn published(&self, partition: usize, request: &Request<'_>) -> Result<()> {
        if self.published.is_empty() {
            return Ok(());
        }
        let limiter =
            class(request).and_then(|class| self.published.iter().find(|(of, _)| *of == class));
        match limiter {
            Some((_, limiter)) => limiter
                .check_key(&partition)
                .map_err(|until| throttled(until.wait_time_from(self.clock.now()))),
            None => Ok(()),
        }
    }
}

fn throttled(wait: Duration) -> Error {
    Error::new(
        ErrorKind::LockedOut,
        "too many requests; wait as long as Retry-After says",
    )
    .with_retry_after(wait)
}

fn class(request: &Request<'_>) -> Option<Class> {
    match request {
        Request::CreateKey { .. } | Request::ImportKey { .. } | Request::RotateKey { .. } => {
            Some(Class::Create)
        }
        Request::Sign { algorithm, .. } => match algorithm {
            Algorithm::Es256 | Algorithm::Es256K => Some(Class::EcP256),
            Algorithm::Es384 => Some(Class::EcP384),
            Algorithm::Es512 => Some(Class::EcP521),
            other if is_rsa(*other) => Some(Class::RsaSign),
            _ => None,
        },
        Request::Decrypt { algorithm, .. }
        | Request::Wrap { algorithm, .. }
        | Request::Unwrap { algorithm, .. } => {
            if is_rsa(*algorithm) {
                Some(Class::RsaDecrypt)
            } else {
                Some(Class::AesWrap)
            }
        }
        _ => None,
    }
}

fn is_rsa(algorithm: Algorithm) -> bool {
    let name = algorithm.name();
    ["RS", "PS"].iter().any(|prefix| name.starts_with(prefix))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nobody_is_limited_unless_somebody_says_so() {
        let limiter = Limiter::new(&Rates::default());
        let app = Principal::new("app").unwrap();
        for _ in 0..10_000 {
            limiter.principal(0, &app).unwrap();
            limiter.published(0, &Request::Random { len: 1 }).unwrap();
        }
    }

    #[test]
    fn one_principal_does_not_use_up_what_another_may() {
        let limiter = Limiter::new(&Rates {
            per_second: NonZeroU32::new(1),
            ..Rates::default()
        });
        let (app, eve) = (
            Principal::new("app").unwrap(),
            Principal::new("eve").unwrap(),
        );
        limiter.principal(0, &app).unwrap();
        let error = limiter.principal(0, &app).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::LockedOut);
        assert!(error.retry_after().is_some());
        limiter.principal(0, &eve).unwrap();
        limiter.principal(1, &app).unwrap();
    }

    #[test]
    fn published_limits_are_of_each_partition_and_class() {
        let limiter = Limiter::new(&Rates {
            published: true,
            ..Rates::default()
        });
        let rotate = || Request::RotateKey {
            name: "payments".parse().unwrap(),
        };
        limiter.published(0, &rotate()).unwrap();
        assert!(limiter.published(0, &rotate()).is_err());
        limiter.published(1, &rotate()).unwrap();
        limiter.published(0, &Request::Random { len: 1 }).unwrap();
    }
}
