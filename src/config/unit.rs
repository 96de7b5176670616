//! Quantities with their units: durations, sizes and percentages.

use std::fmt;
use std::str::FromStr;
use std::time::Duration;

use serde::de;

use super::defaults::{MAX_DURATION, MAX_RATE};

const SECOND: u64 = 1_000;
const TIMES: [(&str, u64); 5] =
    [("d", 86_400 * SECOND), ("h", 3_600 * SECOND), ("m", 60 * SECOND), ("s", SECOND), ("ms", 1)];
const SIZES: [(&str, u64); 9] = [
    ("TiB", 1 << 40),
    ("GiB", 1 << 30),
    ("MiB", 1 << 20),
    ("KiB", 1 << 10),
    ("TB", 1_000_000_000_000),
    ("GB", 1_000_000_000),
    ("MB", 1_000_000),
    ("KB", 1_000),
    ("B", 1),
];
const TIME_HINT: &str = "write a number and a unit: \"250ms\", \"30s\", \"5m\", \"12h\", \"2d\", \
                         \"1h30m\", or \"none\"";
const SIZE_HINT: &str =
    "write a number and a unit: \"512B\", \"64KiB\", \"10MB\", \"1GiB\", or \"none\"";
const RATE_HINT: &str = "write a number and a time: \"50/s\", \"600/m\", \"1000/h\"";
const PERCENT_HINT: &str = "write a whole number from 0 to 100 and a percent sign: \"20%\"";

/// Why a quantity cannot be read.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{message}\n{hint}")]
pub struct UnitError {
    /// What is wrong.
    pub message: String,
    /// What to write instead.
    pub hint: &'static str,
}

/// A duration in whole milliseconds; `None` is `"none"`, for ever.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct Time(pub Option<Duration>);

/// A number of bytes; `None` is `"none"`, any.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct Size(pub Option<u64>);

/// A whole percentage from 0 to 100.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct Percent(pub u32);

/// So many in such a time.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Rate {
    /// Not zero.
    pub count: u32,
    /// A second, a minute or an hour.
    pub per: Duration,
}

impl FromStr for Rate {
    type Err = UnitError;

    fn from_str(text: &str) -> Result<Self, UnitError> {
        let error = |what: &str| UnitError { message: format!("`{text}` {what}"), hint: RATE_HINT };
        let wrong = || error("is no rate");
        let (number, rest) = digits(text).ok_or_else(wrong)?;
        let per = match rest {
            "/s" => Duration::from_secs(1),
            "/m" => Duration::from_mins(1),
            "/h" => Duration::from_hours(1),
            _ => return Err(wrong()),
        };
        match u32::try_from(number) {
            Ok(0) => Err(error("lets nobody through")),
            Ok(count) if u64::from(count) <= MAX_RATE * per.as_secs() => Ok(Self { count, per }),
            _ => Err(error("is more than 100000 a second")),
        }
    }
}

impl fmt::Display for Rate {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let unit = match self.per.as_secs() {
            1 => "s",
            60 => "m",
            _ => "h",
        };
        write!(f, "{}/{unit}", self.count)
    }
}

impl FromStr for Time {
    type Err = UnitError;

    fn from_str(text: &str) -> Result<Self, UnitError> {
        if text == "none" {
            return Ok(Self(None));
        }
        let error = |message: String| UnitError { message, hint: TIME_HINT };
        let wrong = || error(format!("`{text}` is no duration"));
        let mut total: u64 = 0;
        let mut below = u64::MAX;
        let mut rest = text;
        while !rest.is_empty() {
            let (number, after) = digits(rest).ok_or_else(wrong)?;
            let unit_end = after.find(|c: char| c.is_ascii_digit()).unwrap_or(after.len());
            let (unit, after) = after.split_at(unit_end);
            if unit.is_empty() {
                return Err(error(format!("`{text}` has no unit")));
            }
            let (_, factor) = TIMES.iter().find(|(name, _)| *name == unit).ok_or_else(wrong)?;
            if *factor >= below {
                return Err(error(format!("`{text}`: larger units come first, each once")));
            }
            below = *factor;
            total = number
                .checked_mul(*factor)
                .and_then(|part| total.checked_add(part))
                .filter(|sum| u128::from(*sum) <= MAX_DURATION.as_millis())
                .ok_or_else(|| error(format!("`{text}` is more than a hundred years")))?;
            rest = after;
        }
        if below == u64::MAX {
            return Err(wrong());
        }
        Ok(Self(Some(Duration::from_millis(total))))
    }
}

impl fmt::Display for Time {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Some(duration) = self.0 else { return f.write_str("none") };
        let mut rest = u64::try_from(duration.as_millis()).unwrap_or(u64::MAX);
        if rest == 0 {
            return f.write_str("0s");
        }
        for (unit, factor) in TIMES {
            if rest >= factor {
                write!(f, "{}{unit}", rest / factor)?;
                rest %= factor;
            }
        }
        Ok(())
    }
}

impl FromStr for Size {
    type Err = UnitError;

    fn from_str(text: &str) -> Result<Self, UnitError> {
        if text == "none" {
            return Ok(Self(None));
        }
        let error = |what: &str| UnitError { message: format!("`{text}` {what}"), hint: SIZE_HINT };
        let (number, unit) = digits(text).ok_or_else(|| error("is no size"))?;
        if unit.is_empty() {
            return Err(error("has no unit"));
        }
        let (_, factor) =
            SIZES.iter().find(|(name, _)| *name == unit).ok_or_else(|| error("is no size"))?;
        let bytes = number
            .checked_mul(*factor)
            .filter(|bytes| i64::try_from(*bytes).is_ok())
            .ok_or_else(|| error("is too large"))?;
        Ok(Self(Some(bytes)))
    }
}

impl fmt::Display for Size {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.0 {
            None => f.write_str("none"),
            Some(0) => f.write_str("0B"),
            Some(bytes) => {
                let whole = SIZES.iter().find(|(_, factor)| bytes % factor == 0);
                let (unit, factor) = whole.copied().unwrap_or(("B", 1));
                write!(f, "{}{unit}", bytes / factor)
            }
        }
    }
}

impl FromStr for Percent {
    type Err = UnitError;

    fn from_str(text: &str) -> Result<Self, UnitError> {
        let error =
            |what: &str| UnitError { message: format!("`{text}` {what}"), hint: PERCENT_HINT };
        let number = text.strip_suffix('%').ok_or_else(|| error("has no percent sign"))?;
        match digits(number) {
            Some((percent, "")) => u32::try_from(percent)
                .ok()
                .filter(|percent| *percent <= 100)
                .map(Self)
                .ok_or_else(|| error("is more than 100%")),
            _ => Err(error("is no percentage")),
        }
    }
}

impl fmt::Display for Percent {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}%", self.0)
    }
}

/// The number that the text begins with, and what follows it.
fn digits(text: &str) -> Option<(u64, &str)> {
    let end = text.find(|c: char| !c.is_ascii_digit()).unwrap_or(text.len());
    let (number, rest) = text.split_at(end);
    Some((number.parse().ok()?, rest))
}

/// Reads the quantity from a string, and tells who wrote a bare number that it wants a unit.
macro_rules! from_text {
    ($type:ident, $hint:ident, $what:literal, $pattern:literal) => {
        impl<'de> de::Deserialize<'de> for $type {
            fn deserialize<D: de::Deserializer<'de>>(source: D) -> Result<Self, D::Error> {
                struct Reader;
                impl de::Visitor<'_> for Reader {
                    type Value = $type;
                    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                        f.write_str(concat!($what, " as a string"))
                    }
                    fn visit_str<E: de::Error>(self, text: &str) -> Result<$type, E> {
                        text.parse().map_err(E::custom)
                    }
                    fn visit_i64<E: de::Error>(self, number: i64) -> Result<$type, E> {
                        Err(E::custom(format!("`{number}` has no unit\n{}", $hint)))
                    }
                    fn visit_f64<E: de::Error>(self, number: f64) -> Result<$type, E> {
                        Err(E::custom(format!("`{number}` has no unit\n{}", $hint)))
                    }
                }
                source.deserialize_any(Reader)
            }
        }

        impl schemars::JsonSchema for $type {
            fn schema_name() -> std::borrow::Cow<'static, str> {
                stringify!($type).into()
            }
            fn json_schema(_: &mut schemars::SchemaGenerator) -> schemars::Schema {
                schemars::json_schema!({
                    "type": "string",
                    "description": concat!($what, " with its unit"),
                    "pattern": $pattern,
                })
            }
        }
    };
}

from_text!(Time, TIME_HINT, "a duration", r"^(none|([0-9]+(d|h|m|s|ms))+|.*\$\{.*)$");
from_text!(Size, SIZE_HINT, "a size", r"^(none|[0-9]+([KMGT]i?)?B|.*\$\{.*)$");
from_text!(Rate, RATE_HINT, "a rate", r"^([0-9]+/[smh]|.*\$\{.*)$");
from_text!(Percent, PERCENT_HINT, "a percentage", r"^([0-9]+%|.*\$\{.*)$");

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn milliseconds(text: &str) -> Option<u64> {
        let time: Time = text.parse().ok()?;
        time.0.map(|duration| u64::try_from(duration.as_millis()).unwrap())
    }

    #[test]
    fn durations_take_units_and_combine_from_large_to_small() {
        assert_eq!(milliseconds("250ms"), Some(250));
        assert_eq!(milliseconds("1h30m"), Some(5_400_000));
        assert_eq!(milliseconds("2d"), Some(172_800_000));
        assert_eq!("none".parse(), Ok(Time(None)));
        for wrong in ["", "30", "s", "1m1h", "1s1s", "1.5s", "-1s", "1 s", "99999999d", "1w"] {
            assert!(wrong.parse::<Time>().is_err(), "{wrong}");
        }
    }

    #[test]
    fn sizes_tell_binary_from_decimal_units() {
        assert_eq!("64KiB".parse(), Ok(Size(Some(65_536))));
        assert_eq!("10MB".parse(), Ok(Size(Some(10_000_000))));
        assert_eq!("none".parse(), Ok(Size(None)));
        for wrong in ["", "64", "64K", "64kb", "99999999TiB"] {
            assert!(wrong.parse::<Size>().is_err(), "{wrong}");
        }
    }

    #[test]
    fn rates_are_by_the_second_the_minute_or_the_hour() {
        let rate = |count, secs| Ok(Rate { count, per: Duration::from_secs(secs) });
        assert_eq!("50/s".parse(), rate(50, 1));
        assert_eq!("1000/h".parse(), rate(1000, 3600));
        assert_eq!("6000000/m".parse(), rate(6_000_000, 60));
        for text in ["50/s", "1/m", "1000/h"] {
            assert_eq!(text.parse::<Rate>().unwrap().to_string(), text);
        }
        for wrong in ["", "50", "50/", "50/d", "/s", "0/s", "100001/s", "1.5/s", "99999999999/h"] {
            assert!(wrong.parse::<Rate>().is_err(), "{wrong}");
        }
    }

    #[test]
    fn percentages_stop_at_a_hundred() {
        assert_eq!("20%".parse(), Ok(Percent(20)));
        assert!("101%".parse::<Percent>().is_err());
        assert!("20".parse::<Percent>().is_err());
        assert!("%".parse::<Percent>().is_err());
    }

    proptest! {
        #[test]
        fn every_duration_reads_back_as_written(millis in 0_u64..=3_153_600_000_000) {
            let time = Time(Some(Duration::from_millis(millis)));
            prop_assert_eq!(time.to_string().parse(), Ok(time));
        }

        #[test]
        fn every_size_reads_back_as_written(bytes in 0_u64..=i64::MAX as u64) {
            let size = Size(Some(bytes));
            prop_assert_eq!(size.to_string().parse(), Ok(size));
        }

        #[test]
        fn no_text_makes_a_parser_panic(text in "[0-9a-zA-Z%. ]{0,24}") {
            let _ = text.parse::<Time>();
            let _ = text.parse::<Size>();
            let _ = text.parse::<Percent>();
        }
    }
}
