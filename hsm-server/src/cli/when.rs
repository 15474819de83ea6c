//! Points in time, as people write them.

use std::str::FromStr;

use hsm_client::{Clock, SystemClock, Timestamp};
use hsm_core::policy::Period;

/// A point in time: RFC 3339, a date (its beginning in UTC), or an ISO 8601 period from now.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) enum When {
    At(Timestamp),
    After(Period),
}

impl When {
    pub(crate) fn timestamp(self) -> Timestamp {
        match self {
            Self::At(time) => time,
            Self::After(period) => period.after(now()),
        }
    }
}

impl FromStr for When {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        if text.starts_with('P') {
            return text
                .parse()
                .map(Self::After)
                .map_err(|error: hsm_client::Error| error.message().to_owned());
        }
        let time = text
            .parse::<jiff::Timestamp>()
            .or_else(|_| format!("{text}T00:00:00Z").parse::<jiff::Timestamp>())
            .ok()
            .and_then(|time| u64::try_from(time.as_millisecond()).ok());
        time.map(|milliseconds| Self::At(Timestamp::from_unix_millis(milliseconds)))
            .ok_or_else(|| {
                "a time is 2027-01-31T12:00:00Z, a date 2027-01-31, or a period from now, such as P90D".to_owned()
            })
    }
}

/// A point in time, or `none` to have none any more.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) enum WhenOrNone {
    Never,
    When(When),
}

impl WhenOrNone {
    pub(crate) fn timestamp(self) -> Option<Timestamp> {
        match self {
            Self::Never => None,
            Self::When(when) => Some(when.timestamp()),
        }
    }
}

impl FromStr for WhenOrNone {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        match text {
            "none" => Ok(Self::Never),
            text => text.parse().map(Self::When),
        }
    }
}

pub(crate) fn now() -> Timestamp {
    SystemClock::default().now()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_are_read_in_each_form() {
        let midnight = Timestamp::from_unix_seconds(1_767_225_600);
        for text in [
            "2026-01-01",
            "2026-01-01T00:00:00Z",
            "2026-01-01T01:00:00+01:00",
        ] {
            assert_eq!(text.parse(), Ok(When::At(midnight)), "{text}");
        }
        assert!(matches!("P90D".parse(), Ok(When::After(_))));
        for bad in ["", "tomorrow", "P", "2026-13-01", "1969-01-01"] {
            assert!(bad.parse::<When>().is_err(), "{bad}");
        }
    }
}
