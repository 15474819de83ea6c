//! [`RotationPolicy`]: when a key gets a new version by itself, and how long a version lives. The JSON is Key Vault's.

mod period;

use std::str::FromStr;

use serde::de::Error as _;
use serde::{Deserialize, Deserializer, Serialize, Serializer};

pub use self::period::Period;
use crate::clock::Timestamp;
use crate::error::{Error, Result, invalid, limit};
use crate::limits::{LIFETIME_ACTIONS_MAX, ROTATION_PERIOD_MIN};

/// When a key is rotated, and how long each new version lives.
///
/// ```
/// use hsm_core::Timestamp;
/// use hsm_core::policy::RotationPolicy;
///
/// let policy = RotationPolicy::rotate_after("P90D")?.expire_after("P2Y")?;
/// let created = Timestamp::from_unix_seconds(1_767_225_600); // 2026-01-01
/// let expires = policy.expiry(created);
/// assert_eq!(expires.unwrap().to_string(), "2028-01-01T00:00:00Z");
/// assert_eq!(policy.next_rotation(created, expires).unwrap().to_string(), "2026-04-01T00:00:00Z");
/// # Ok::<(), hsm_core::Error>(())
/// ```
#[derive(Clone, Debug, Default, Eq, PartialEq)]
#[must_use]
pub struct RotationPolicy {
    actions: Vec<LifetimeAction>,
    expire_after: Option<Period>,
}

impl RotationPolicy {
    /// A policy of `actions`, whose new versions expire after `expire_after`.
    ///
    /// # Errors
    ///
    /// [`LimitExceeded`](crate::ErrorKind::LimitExceeded) above [`LIFETIME_ACTIONS_MAX`] actions.
    /// [`InvalidInput`](crate::ErrorKind::InvalidInput) if an action comes before an expiry that is not given, or either
    /// a rotation or the expiry could come less than [`ROTATION_PERIOD_MIN`] after a version is made.
    pub fn new(
        actions: impl IntoIterator<Item = LifetimeAction>,
        expire_after: Option<Period>,
    ) -> Result<Self> {
        let mut kept = Vec::new();
        for action in actions {
            if kept.len() == LIFETIME_ACTIONS_MAX {
                return Err(limit(
                    "the number of lifetime actions",
                    kept.len() + 1,
                    LIFETIME_ACTIONS_MAX,
                ));
            }
            check_trigger(action, expire_after)?;
            kept.push(action);
        }
        if let Some(period) = expire_after
            && period.shortest() < ROTATION_PERIOD_MIN
        {
            return Err(too_soon("the expiry time", period));
        }
        Ok(Self {
            actions: kept,
            expire_after,
        })
    }

    /// A policy that rotates a key once its newest version is as old as `period`, an ISO 8601 duration (`P90D`).
    ///
    /// # Errors
    ///
    /// As [`new`](Self::new) and [`Period`]'s `from_str`.
    pub fn rotate_after(period: &str) -> Result<Self> {
        let trigger = Trigger::AfterCreate(period.parse()?);
        Self::new([LifetimeAction::rotate(trigger)], None)
    }

    /// A policy whose versions live for `lifetime` and which rotates a key `period` before the end of its newest
    /// version.
    ///
    /// # Errors
    ///
    /// As [`new`](Self::new) and [`Period`]'s `from_str`.
    pub fn rotate_before_expiry(period: &str, lifetime: &str) -> Result<Self> {
        let trigger = Trigger::BeforeExpiry(period.parse()?);
        Self::new([LifetimeAction::rotate(trigger)], Some(lifetime.parse()?))
    }

    /// The same policy, whose new versions expire `period` after they are made.
    ///
    /// # Errors
    ///
    /// As [`new`](Self::new) and [`Period`]'s `from_str`.
    pub fn expire_after(self, period: &str) -> Result<Self> {
        Self::new(self.actions, Some(period.parse()?))
    }

    /// What is done when.
    #[must_use]
    pub fn lifetime_actions(&self) -> &[LifetimeAction] {
        &self.actions
    }

    /// How long new versions live; `None` if they do not expire by policy.
    #[must_use]
    pub const fn lifetime(&self) -> Option<Period> {
        self.expire_after
    }

    /// When a version made at `created` expires. At most [`Timestamp::MAX`].
    #[must_use]
    pub fn expiry(&self, created: Timestamp) -> Option<Timestamp> {
        self.expire_after.map(|period| period.after(created))
    }

    /// When the key is due for rotation: the earliest of the policy's rotations, and not before `created`.
    ///
    /// `created` and `expires` are those of the newest version. A rotation before expiry never falls due for a version
    /// that does not expire: the policy's expiry time holds for new versions, as in Key Vault.
    #[must_use]
    pub fn next_rotation(
        &self,
        created: Timestamp,
        expires: Option<Timestamp>,
    ) -> Option<Timestamp> {
        self.actions
            .iter()
            .filter(|action| action.action == Action::Rotate)
            .filter_map(|action| match action.trigger {
                Trigger::AfterCreate(period) => Some(period.after(created)),
                Trigger::BeforeExpiry(period) => expires.map(|expires| period.before(expires)),
            })
            .min()
            .map(|due| due.max(created))
    }
}

/// One thing that a [`RotationPolicy`] does.
#[derive(Clone, Copy, Debug, Eq, Hash, PartialEq, Serialize, Deserialize)]
#[expect(
    clippy::exhaustive_structs,
    reason = "a trigger and an action, as in Key Vault"
)]
pub struct LifetimeAction {
    /// When.
    pub trigger: Trigger,
    /// What.
    pub action: Action,
}

impl LifetimeAction {
    /// A rotation.
    #[must_use]
    pub const fn rotate(trigger: Trigger) -> Self {
        Self {
            trigger,
            action: Action::Rotate,
        }
    }
}

/// When a [`LifetimeAction`] is due.
#[derive(Clone, Copy, Debug, Eq, Hash, PartialEq, Serialize, Deserialize)]
#[non_exhaustive]
pub enum Trigger {
    /// So long after the version was made: `timeAfterCreate`.
    AfterCreate(Period),
    /// So long before the version expires: `timeBeforeExpiry`.
    BeforeExpiry(Period),
}

/// What a [`LifetimeAction`] does.
#[derive(Clone, Copy, Debug, Eq, Hash, PartialEq, Serialize, Deserialize)]
#[non_exhaustive]
pub enum Action {
    /// Tell somebody. Kept for Key Vault's sake; nothing here acts on it.
    Notify,
    /// Make a new version.
    Rotate,
}

impl Action {
    /// Key Vault's name.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Notify => "Notify",
            Self::Rotate => "Rotate",
        }
    }
}

impl FromStr for Action {
    type Err = Error;

    /// Key Vault has been seen with either case.
    fn from_str(name: &str) -> Result<Self> {
        [Self::Notify, Self::Rotate]
            .into_iter()
            .find(|action| action.name().eq_ignore_ascii_case(name))
            .ok_or_else(|| invalid("a lifetime action is Rotate or Notify"))
    }
}

/// As Key Vault's JSON for people, as actions and lifetime for machines.
impl Serialize for RotationPolicy {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        if !serializer.is_human_readable() {
            return (&self.actions, self.expire_after).serialize(serializer);
        }
        let lifetime_actions = self.actions.iter().map(|action| JsonAction {
            trigger: JsonTrigger::from(action.trigger),
            action: JsonActionType {
                name: action.action.name().to_owned(),
            },
        });
        JsonPolicy {
            lifetime_actions: lifetime_actions.collect(),
            attributes: JsonAttributes {
                expiry_time: self.expire_after,
            },
        }
        .serialize(serializer)
    }
}

impl<'de> Deserialize<'de> for RotationPolicy {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        if !deserializer.is_human_readable() {
            let (actions, lifetime) = <(Vec<LifetimeAction>, _)>::deserialize(deserializer)?;
            return Self::new(actions, lifetime).map_err(D::Error::custom);
        }
        let policy = JsonPolicy::deserialize(deserializer)?;
        let actions = policy
            .lifetime_actions
            .into_iter()
            .map(LifetimeAction::try_from)
            .collect::<Result<Vec<_>>>();
        actions
            .and_then(|actions| Self::new(actions, policy.attributes.expiry_time))
            .map_err(D::Error::custom)
    }
}

#[derive(Default, Serialize, Deserialize)]
#[serde(default, rename_all = "camelCase")]
struct JsonPolicy {
    lifetime_actions: Vec<JsonAction>,
    attributes: JsonAttributes,
}

#[derive(Serialize, Deserialize)]
struct JsonAction {
    trigger: JsonTrigger,
    action: JsonActionType,
}

#[derive(Default, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
struct JsonTrigger {
    #[serde(skip_serializing_if = "Option::is_none")]
    time_after_create: Option<Period>,
    #[serde(skip_serializing_if = "Option::is_none")]
    time_before_expiry: Option<Period>,
}

#[derive(Serialize, Deserialize)]
struct JsonActionType {
    #[serde(rename = "type")]
    name: String,
}

#[derive(Default, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
struct JsonAttributes {
    #[serde(skip_serializing_if = "Option::is_none")]
    expiry_time: Option<Period>,
}

impl From<Trigger> for JsonTrigger {
    fn from(trigger: Trigger) -> Self {
        let mut json = Self::default();
        match trigger {
            Trigger::AfterCreate(period) => json.time_after_create = Some(period),
            Trigger::BeforeExpiry(period) => json.time_before_expiry = Some(period),
        }
        json
    }
}

impl TryFrom<JsonAction> for LifetimeAction {
    type Error = Error;

    fn try_from(json: JsonAction) -> Result<Self> {
        let trigger = match (
            json.trigger.time_after_create,
            json.trigger.time_before_expiry,
        ) {
            (Some(period), None) => Trigger::AfterCreate(period),
            (None, Some(period)) => Trigger::BeforeExpiry(period),
            _ => {
                return Err(invalid(
                    "a trigger has either timeAfterCreate or timeBeforeExpiry",
                ));
            }
        };
        Ok(Self {
            trigger,
            action: json.action.name.parse()?,
        })
    }
}

/// Checks that no version is due for rotation as soon as it is made: that would never end.
fn check_trigger(action: LifetimeAction, expire_after: Option<Period>) -> Result<()> {
    match (action.trigger, expire_after) {
        (Trigger::AfterCreate(period), _) if period.shortest() < ROTATION_PERIOD_MIN => {
            Err(too_soon("timeAfterCreate", period))
        }
        (Trigger::AfterCreate(_), _) => Ok(()),
        (Trigger::BeforeExpiry(_), None) => Err(invalid(
            "timeBeforeExpiry needs an expiryTime: versions that never expire have no time before it",
        )),
        (Trigger::BeforeExpiry(period), Some(lifetime)) => {
            let earliest = lifetime.shortest().checked_sub(period.longest());
            if earliest.is_none_or(|earliest| earliest < ROTATION_PERIOD_MIN) {
                return Err(invalid(format!(
                    "timeBeforeExpiry {period} leaves too little of expiryTime {lifetime}: {} at least must lie between",
                    min_in_days()
                )));
            }
            Ok(())
        }
    }
}

fn too_soon(what: &str, period: Period) -> Error {
    invalid(format!(
        "{what} {period} is too short: {} at least",
        min_in_days()
    ))
}

fn min_in_days() -> String {
    format!("{} day(s)", ROTATION_PERIOD_MIN.as_secs() / (24 * 60 * 60))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const AZURE: &str = r#"{"lifetimeActions":[{"trigger":{"timeAfterCreate":"P90D"},"action":{"type":"Rotate"}}],"attributes":{"expiryTime":"P2Y"}}"#;

    #[test]
    fn key_vaults_json_is_read_and_written_back() {
        let policy: RotationPolicy = serde_json::from_str(AZURE).unwrap();
        let built = RotationPolicy::rotate_after("P90D")
            .unwrap()
            .expire_after("P2Y")
            .unwrap();
        assert_eq!(policy, built);
        assert_eq!(serde_json::to_string(&policy).unwrap(), AZURE);
    }

    #[test]
    fn what_the_service_adds_is_ignored() {
        let json = r#"{"id":"https://x/keys/k/rotationpolicy","lifetimeActions":[
            {"trigger":{"timeAfterCreate":null,"timeBeforeExpiry":"P30D"},"action":{"type":"rotate"}},
            {"trigger":{"timeBeforeExpiry":"P45D"},"action":{"type":"Notify"}}],
            "attributes":{"expiryTime":"P1Y","created":1,"updated":2}}"#;
        let policy: RotationPolicy = serde_json::from_str(json).unwrap();
        assert_eq!(policy.lifetime_actions().len(), 2);
        assert_eq!(policy.lifetime_actions()[1].action, Action::Notify);
        let empty: RotationPolicy = serde_json::from_str("{}").unwrap();
        assert_eq!(empty, RotationPolicy::default());
    }

    #[test]
    fn the_binary_form_reads_back() {
        let policies = [
            RotationPolicy::default(),
            RotationPolicy::rotate_after("P1M").unwrap(),
            RotationPolicy::rotate_before_expiry("P30D", "P1Y").unwrap(),
        ];
        for policy in policies {
            let bytes = postcard::to_allocvec(&policy).unwrap();
            assert_eq!(
                postcard::from_bytes::<RotationPolicy>(&bytes).unwrap(),
                policy
            );
        }
    }

    #[test]
    fn the_earliest_rotation_counts() {
        let before = Trigger::BeforeExpiry("P30D".parse().unwrap());
        let after = Trigger::AfterCreate("P90D".parse().unwrap());
        let actions = [before, after].map(LifetimeAction::rotate);
        let policy = RotationPolicy::new(actions, Some("P1Y".parse().unwrap())).unwrap();
        let created = time("2026-01-01T00:00:00Z");
        let by_age = time("2026-04-01T00:00:00Z");
        assert_eq!(policy.next_rotation(created, None), Some(by_age));
        let soon = time("2026-03-01T00:00:00Z");
        let by_expiry = time("2026-01-30T00:00:00Z");
        assert_eq!(policy.next_rotation(created, Some(soon)), Some(by_expiry));
        let too_soon = time("2026-01-02T00:00:00Z");
        assert_eq!(policy.next_rotation(created, Some(too_soon)), Some(created));
    }

    #[test]
    fn nothing_is_due_without_a_reason() {
        let created = time("2026-01-01T00:00:00Z");
        let policy = RotationPolicy::rotate_before_expiry("P30D", "P1Y").unwrap();
        assert_eq!(policy.next_rotation(created, None), None);
        let notify = LifetimeAction {
            trigger: Trigger::AfterCreate("P30D".parse().unwrap()),
            action: Action::Notify,
        };
        let policy = RotationPolicy::new([notify], None).unwrap();
        assert_eq!(policy.next_rotation(created, None), None);
        assert_eq!(policy.expiry(created), None);
    }

    #[test]
    fn the_end_of_time_is_the_end() {
        let policy = RotationPolicy::rotate_after("P100Y").unwrap();
        assert_eq!(
            policy.next_rotation(Timestamp::MAX, None),
            Some(Timestamp::MAX)
        );
        let period: Period = "P100Y".parse().unwrap();
        assert_eq!(period.before(Timestamp::default()), Timestamp::default());
    }

    #[test]
    fn bad_policies_are_refused_with_the_reason() {
        let cases = [
            (RotationPolicy::rotate_after("PT23H"), "too short"),
            (
                RotationPolicy::rotate_before_expiry("P30D", "P30D"),
                "too little",
            ),
            (
                RotationPolicy::rotate_before_expiry("P30D", "P1M"),
                "too little",
            ),
            (RotationPolicy::default().expire_after("PT1H"), "too short"),
        ];
        for (policy, reason) in cases {
            let error = policy.unwrap_err();
            assert!(error.message().contains(reason), "{error}");
        }
        let before = LifetimeAction::rotate(Trigger::BeforeExpiry("P30D".parse().unwrap()));
        let error = RotationPolicy::new([before], None).unwrap_err();
        assert!(error.message().contains("needs an expiryTime"), "{error}");
        let error = RotationPolicy::new([before; 3], Some("P1Y".parse().unwrap())).unwrap_err();
        assert_eq!(error.kind(), crate::ErrorKind::LimitExceeded);
        for json in [
            r#"{"lifetimeActions":[{"trigger":{},"action":{"type":"Rotate"}}]}"#,
            r#"{"lifetimeActions":[{"trigger":{"timeAfterCreate":"P90D"},"action":{"type":"Explode"}}]}"#,
            r#"{"attributes":{"expiryTime":"soon"}}"#,
        ] {
            assert!(
                serde_json::from_str::<RotationPolicy>(json).is_err(),
                "{json}"
            );
        }
    }

    proptest! {
        #[test]
        fn a_new_version_is_never_due_at_once(
            before in "P[1-9][0-9]?[DMY]", lifetime in "P[1-9][0-9]?[DMY]", at in any::<u32>(),
        ) {
            let created = Timestamp::from_unix_seconds(at.into());
            if let Ok(policy) = RotationPolicy::rotate_before_expiry(&before, &lifetime) {
                let due = policy.next_rotation(created, policy.expiry(created)).unwrap();
                prop_assert!(due.since(created) >= ROTATION_PERIOD_MIN);
            }
        }
    }

    fn time(text: &str) -> Timestamp {
        let time: jiff::Timestamp = text.parse().unwrap();
        Timestamp::from_unix_millis(time.as_millisecond().try_into().unwrap())
    }
}
