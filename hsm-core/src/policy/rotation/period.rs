//! [`Period`]: a stretch of calendar time.

use std::fmt;
use std::str::FromStr;
use std::time::Duration;

use jiff::Span;
use jiff::tz::Offset;
use serde::de::Error as _;
use serde::{Deserialize, Deserializer, Serialize, Serializer};

use crate::clock::Timestamp;
use crate::error::{Error, Result, invalid};
use crate::limits::ROTATION_PERIOD_YEARS_MAX;

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
    pub(super) fn shortest(self) -> Duration {
        self.length(DAYS_OF_YEAR.shortest, DAYS_OF_MONTH.shortest)
    }

    /// How long this can be, whenever it begins.
    pub(super) fn longest(self) -> Duration {
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
    }

    fn time(text: &str) -> Timestamp {
        let time: jiff::Timestamp = text.parse().unwrap();
        Timestamp::from_unix_millis(time.as_millisecond().try_into().unwrap())
    }
}
