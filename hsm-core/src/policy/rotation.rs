//! [`RotationPolicy`]: when a key gets a new version by itself, and how long a version lives. The JSON is Key Vault's.

use std::fmt;
use std::str::FromStr;
use std::time::Duration;

use jiff::Span;
use jiff::tz::Offset;
use serde::de::Error as _;
use serde::{Deserialize, Deserializer, Serialize, Serializer};

use crate::clock::Timestamp;
use crate::error::{Error, Result, invalid, limit};
use crate::limits::{LIFETIME_ACTIONS_MAX, ROTATION_PERIOD_MIN, ROTATION_PERIOD_YEARS_MAX};

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

/// A stretch of calendar time, written as an ISO 8601 duration: `P90D`, `P2Y`, `P1Y6M`, `PT36H`.
///
/// Months and years are those of the calendar, in UTC: one month after 31 January is the last of February.
///
/// ```
/// use hsm_core::Timestamp;
/// use hsm_core::policy::Period;
///
/// let month: Period = "P1M".parse()?;
/// let time = Timestamp::from_unix_seconds(1_706_659_200); // 2024-01-31
/// assert_eq!(month.after(time).to_string(), "2024-02-29T00:00:00Z");
/// assert!("-P1M".parse::<Period>().is_err());
/// # Ok::<(), hsm_core::Error>(())
/// ```
#[derive(Clone, Copy, Debug, Eq, Hash, PartialEq)]
pub struct Period {
    months: i32,
    days: i32,
    seconds: i64,
}

impl Period {
    /// The time this long after `time`, at most [`Timestamp::MAX`].
    #[must_use]
    pub fn after(self, time: Timestamp) -> Timestamp {
        self.shift(time, 1).unwrap_or(Timestamp::MAX)
    }

    /// The time this long before `time`, not before 1970.
    #[must_use]
    pub fn before(self, time: Timestamp) -> Timestamp {
        self.shift(time, -1).unwrap_or_default()
    }

    /// `None` beyond what a calendar can hold.
    fn shift(self, time: Timestamp, sign: i8) -> Option<Timestamp> {
        let span = Span::new()
            .try_months(self.months)
            .and_then(|span| span.try_days(self.days))
            .and_then(|span| span.try_seconds(self.seconds))
            .and_then(|span| span.checked_mul(i64::from(sign)))
            .ok()?;
        let time = jiff::Timestamp::from_millisecond(time.unix_millis().try_into().ok()?).ok()?;
        let shifted = Offset::UTC.to_datetime(time).checked_add(span).ok()?;
        let shifted = Offset::UTC.to_timestamp(shifted).ok()?.as_millisecond();
        Some(Timestamp::from_unix_millis(shifted.try_into().ok()?))
    }

    /// How short this can be, whenever it begins.
    fn shortest(self) -> Duration {
        self.length(DAYS_OF_YEAR.shortest, DAYS_OF_MONTH.shortest)
    }

    /// How long this can be, whenever it begins.
    fn longest(self) -> Duration {
        self.length(DAYS_OF_YEAR.longest, DAYS_OF_MONTH.longest)
    }

    fn length(self, days_of_year: i64, days_of_month: i64) -> Duration {
        let (years, months) = (i64::from(self.months / 12), i64::from(self.months % 12));
        let days = years * days_of_year + months * days_of_month + i64::from(self.days);
        let seconds = days * SECONDS_OF_DAY + self.seconds;
        Duration::from_secs(seconds.try_into().unwrap_or_default())
    }
}

impl FromStr for Period {
    type Err = Error;

    /// Reads an ISO 8601 duration of whole seconds at least, neither zero nor negative, and at most
    /// [`ROTATION_PERIOD_YEARS_MAX`] years.
    fn from_str(text: &str) -> Result<Self> {
        let expected = "a period is an ISO 8601 duration such as P90D, P1Y6M or PT36H";
        let span = jiff::fmt::temporal::SpanParser::new()
            .parse_span(text)
            .map_err(|source| invalid(expected).with_source(source.to_string()))?;
        if span.is_negative() || span.is_zero() {
            return Err(invalid(format!("{expected}, longer than nothing")));
        }
        if span.get_milliseconds() != 0
            || span.get_microseconds() != 0
            || span.get_nanoseconds() != 0
        {
            return Err(invalid(format!("{expected}, in whole seconds")));
        }
        // jiff's limits on each unit keep these sums far inside their types.
        let period = Self {
            months: i32::from(span.get_years()) * 12 + span.get_months(),
            days: span.get_weeks() * 7 + span.get_days(),
            seconds: i64::from(span.get_hours()) * 3600
                + span.get_minutes() * 60
                + span.get_seconds(),
        };
        let days_max = i64::from(ROTATION_PERIOD_YEARS_MAX) * DAYS_OF_YEAR.longest;
        if period.longest().as_secs() > (days_max * SECONDS_OF_DAY).unsigned_abs() {
            return Err(invalid(format!(
                "{expected}, at most {ROTATION_PERIOD_YEARS_MAX} years"
            )));
        }
        Ok(period)
    }
}

/// The shortest way to write it: `P18M` prints as `P1Y6M`, `P4W` as `P28D`.
impl fmt::Display for Period {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let date = [
            (i64::from(self.months / 12), 'Y'),
            (i64::from(self.months % 12), 'M'),
            (i64::from(self.days), 'D'),
        ];
        let time = [
            (self.seconds / 3600, 'H'),
            (self.seconds / 60 % 60, 'M'),
            (self.seconds % 60, 'S'),
        ];
        f.write_str("P")?;
        for (count, unit) in date.into_iter().filter(|(count, _)| *count != 0) {
            write!(f, "{count}{unit}")?;
        }
        if self.seconds != 0 {
            f.write_str("T")?;
        }
        for (count, unit) in time.into_iter().filter(|(count, _)| *count != 0) {
            write!(f, "{count}{unit}")?;
        }
        Ok(())
    }
}

impl Serialize for Period {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for Period {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = String::deserialize(deserializer)?;
        text.parse().map_err(D::Error::custom)
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
    format!(
        "{} day(s)",
        ROTATION_PERIOD_MIN.as_secs() / SECONDS_OF_DAY.unsigned_abs()
    )
}

const SECONDS_OF_DAY: i64 = 24 * 60 * 60;

/// Days of the shortest and of the longest year.
const DAYS_OF_YEAR: Bounds = Bounds {
    shortest: 365,
    longest: 366,
};

/// Days of the shortest and of the longest month.
const DAYS_OF_MONTH: Bounds = Bounds {
    shortest: 28,
    longest: 31,
};

struct Bounds {
    shortest: i64,
    longest: i64,
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
    fn calendars_are_respected() {
        let cases = [
            ("P1M", "2024-01-31T10:00:00Z", "2024-02-29T10:00:00Z"),
            ("P1M", "2023-01-31T10:00:00Z", "2023-02-28T10:00:00Z"),
            ("P1Y", "2024-02-29T00:00:00Z", "2025-02-28T00:00:00Z"),
            ("P2Y", "2024-02-29T00:00:00Z", "2026-02-28T00:00:00Z"),
            ("P90D", "2026-01-01T00:00:00Z", "2026-04-01T00:00:00Z"),
            ("P1DT1H1M1S", "2026-01-01T00:00:00Z", "2026-01-02T01:01:01Z"),
        ];
        for (period, from, to) in cases {
            let period: Period = period.parse().unwrap();
            assert_eq!(period.after(time(from)), time(to), "{period} after {from}");
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
    fn bad_periods_are_refused_with_the_reason() {
        let cases = [
            ("90 days", "ISO 8601"),
            ("", "ISO 8601"),
            ("P", "ISO 8601"),
            ("-P1D", "longer than nothing"),
            ("P0D", "longer than nothing"),
            ("PT1.5S", "whole seconds"),
            ("P101Y", "at most 100 years"),
            ("P9999999999999999999D", "ISO 8601"),
            ("PT631107417600S", "at most 100 years"),
        ];
        for (text, reason) in cases {
            let error = text.parse::<Period>().unwrap_err();
            assert!(error.message().contains(reason), "{text}: {error}");
        }
    }

    #[test]
    fn bad_policies_are_refused_with_the_reason() {
        let cases = [
            (RotationPolicy::rotate_after("PT23H"), "too short"),
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
        fn any_text_is_read_or_refused(text in "[-+P0-9YMWDTHS.]{0,24}|.{0,16}", at in any::<u64>()) {
            if let Ok(period) = text.parse::<Period>() {
                prop_assert_eq!(period.to_string().parse::<Period>().unwrap(), period);
                let time = Timestamp::from_unix_millis(at);
                prop_assert!(period.after(time) >= time);
                prop_assert!(period.before(time) <= time);
            }
        }

        #[test]
        fn lengths_are_bounds(
            years in 0..=50, months in 0..=200, days in 0..=9000, seconds in 1..=900_000,
            at in 0..4_000_000_000u64,
        ) {
            let period: Period = format!("P{years}Y{months}M{days}DT{seconds}S").parse().unwrap();
            let time = Timestamp::from_unix_seconds(at);
            for taken in [period.after(time).since(time), time.since(period.before(time))] {
                let clamped = period.before(time) == Timestamp::default();
                prop_assert!(taken <= period.longest());
                prop_assert!(clamped || taken >= period.shortest());
            }
        }

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
