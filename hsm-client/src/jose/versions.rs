//! Which version of a key signs, and which are in the key set: [`Schedule`], a function of what the HSM knows of the versions
//! and of the time.

use std::time::Duration;

use hsm_core::lifecycle::State;
use hsm_core::{Algorithm, KeyInfo, Timestamp};

use super::{CLOCK_SKEW, VERSIONS_LIFETIME};

/// How long versions are published before they sign, and how long the tokens live that they signed.
#[derive(Clone, Copy, Debug)]
pub(super) struct Schedule {
    pub(super) algorithm: Algorithm,
    pub(super) lead: Duration,
    pub(super) lifetime: Duration,
}

impl Schedule {
    /// The version that signs: the newest that is active and was published for long enough. If there is none, as with a key
    /// that is new, the oldest that is active: nobody can have fetched a set without it.
    pub(super) fn signing<'v>(
        &self,
        versions: &'v [KeyInfo],
        now: Timestamp,
    ) -> Option<&'v KeyInfo> {
        let mut active = versions.iter().filter(|version| {
            self.fits(version) && version.attributes.state_at(now) == State::Active
        });
        let oldest = active.clone().next();
        active
            .rfind(|version| self.ready(version) <= now)
            .or(oldest)
    }

    /// The versions in the key set, the oldest first.
    pub(super) fn published<'v>(
        &self,
        versions: &'v [KeyInfo],
        now: Timestamp,
    ) -> impl Iterator<Item = &'v KeyInfo> {
        versions
            .iter()
            .enumerate()
            .filter(move |(place, version)| {
                let newer = versions.get(place + 1..).unwrap_or_default();
                self.verifies(version) && now < self.retired(version, newer, now)
            })
            .map(|(_, version)| version)
    }

    /// Whether signatures of the version are to be believed, apart from their age.
    fn verifies(&self, version: &KeyInfo) -> bool {
        self.fits(version)
            && matches!(
                version.attributes.state,
                State::PreActivation | State::Active | State::Deactivated
            )
    }

    /// Whether the version has the algorithm: a key may have got versions of another type.
    fn fits(&self, version: &KeyInfo) -> bool {
        let spec = &version.attributes.spec;
        version.public.is_some()
            && self.algorithm.fits(spec.key_type)
            && spec.algorithm.is_none_or(|only| only == self.algorithm)
    }

    /// When the version was published for long enough to sign.
    fn ready(&self, version: &KeyInfo) -> Timestamp {
        version.attributes.created + self.lead
    }

    /// When the last token of the version has expired everywhere; never for one that nothing takes the place of. What is not
    /// active any more does not: then the version signs again.
    fn retired(&self, version: &KeyInfo, newer: &[KeyInfo], now: Timestamp) -> Timestamp {
        let attributes = &version.attributes;
        let superseded = newer
            .iter()
            .filter(|newer| self.fits(newer) && newer.attributes.state_at(now) == State::Active)
            .map(|newer| {
                let ready = self.ready(newer);
                newer
                    .attributes
                    .not_before
                    .map_or(ready, |early| early.max(ready))
            })
            .min();
        let deactivated = (attributes.state == State::Deactivated).then_some(attributes.updated);
        let last = [superseded, attributes.expires, deactivated]
            .into_iter()
            .flatten()
            .min();
        last.map_or(Timestamp::MAX, |last| {
            // An issuer elsewhere may have learnt of it so much later.
            last + VERSIONS_LIFETIME + self.lifetime + CLOCK_SKEW
        })
    }
}
