//! How times and sizes are written in settings: `90d`, `30s`, `64MiB`. A number without a unit is no time.

use std::{fmt, str::FromStr, time::Duration};

use serde::{Deserialize, Deserializer, Serialize, Serializer, de};

/// A length of time: a whole number and one of `ms s m h d w`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Span(pub(crate) Duration);

/// A number of bytes: a whole number and one of `B KB MB GB TB` (powers of 1000) or `KiB MiB GiB TiB` (of 1024).
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Size(pub(crate) u64);

/// Milliseconds of each unit of time, the longest first.
const TIMES: [(&str, u64); 6] =
    [("w", 604_800_000), ("d", 86_400_000), ("h", 3_600_000), ("m", 60_000), ("s", 1000), ("ms", 1)];

/// Bytes of each unit of size, those in which sizes are written first.
const SIZES: [(&str, u64); 9] = [
    ("TiB", 1 << 40),
    ("GiB", 1 << 30),
    ("MiB", 1 << 20),
    ("KiB", 1 << 10),
    ("B", 1),
    ("KB", 1000),
    ("MB", 1_000_000),
    ("GB", 1_000_000_000),
    ("TB", 1_000_000_000_000),
];

/// A century: longer is a slip of the hand.
const LONGEST: u64 = 100 * 366 * 86_400_000;

fn number_and_unit(text: &str) -> Option<(u64, &str)> {
    let digits = text.bytes().take_while(u8::is_ascii_digit).count();
    let (number, unit) = text.split_at(digits);
    Some((number.parse().ok()?, unit))
}

impl Span {
    /// From whole seconds, for defaults.
    pub(crate) const fn secs(seconds: u64) -> Self {
        Self(Duration::from_secs(seconds))
    }
}

impl FromStr for Span {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let wrong =
            || format!("`{text}` is no length of time; write a whole number with ms, s, m, h, d or w: 30s, 90d");
        let (number, unit) = number_and_unit(text).ok_or_else(wrong)?;
        let (_, factor) = TIMES.iter().find(|(name, _)| *name == unit).ok_or_else(wrong)?;
        let millis = number.checked_mul(*factor).ok_or_else(wrong)?;
        if millis > LONGEST {
            return Err(format!("`{text}` is longer than a century"));
        }
        Ok(Self(Duration::from_millis(millis)))
    }
}

impl fmt::Display for Span {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let millis = self.0.as_millis() as u64;
        let whole = |(_, factor): &&(&str, u64)| millis.is_multiple_of(*factor);
        let (unit, factor) = TIMES.iter().skip(1).find(whole).unwrap_or(&TIMES[5]);
        write!(f, "{}{unit}", millis / factor)
    }
}

impl FromStr for Size {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let wrong = || format!("`{text}` is no size; write a whole number with B, KiB, MiB, GiB or TiB: 64MiB");
        let (number, unit) = number_and_unit(text).ok_or_else(wrong)?;
        let (_, factor) = SIZES.iter().find(|(name, _)| *name == unit).ok_or_else(wrong)?;
        let bytes = number.checked_mul(*factor).filter(|bytes| *bytes <= 1 << 50);
        bytes.map(Self).ok_or_else(|| format!("`{text}` is more than a PiB"))
    }
}

impl fmt::Display for Size {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let whole = |(_, factor): &&(&str, u64)| self.0.is_multiple_of(*factor);
        let (unit, factor) = SIZES.iter().find(whole).unwrap_or(&SIZES[4]);
        if self.0 == 0 { f.write_str("0B") } else { write!(f, "{}{unit}", self.0 / factor) }
    }
}

macro_rules! as_text {
    ($type:ty) => {
        impl Serialize for $type {
            fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
                serializer.collect_str(self)
            }
        }

        impl<'de> Deserialize<'de> for $type {
            fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
                String::deserialize(deserializer)?.parse().map_err(de::Error::custom)
            }
        }
    };
}

as_text!(Span);
as_text!(Size);
pub(super) use as_text;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_are_whole_numbers_with_a_unit() {
        for (text, millis) in [("90d", 7_776_000_000), ("30s", 30_000), ("5ms", 5), ("2w", 1_209_600_000), ("0s", 0)] {
            assert_eq!(text.parse::<Span>().map(|span| span.0.as_millis()), Ok(millis), "{text}");
        }
        for text in ["5", "5 sec", "-1s", "1e9h", "", "s", "1.5h", "1000000w", "99999999999999999999s", "30S"] {
            assert!(text.parse::<Span>().is_err(), "{text}");
        }
    }

    #[test]
    fn sizes_are_whole_numbers_with_a_unit() {
        for (text, bytes) in [("64MiB", 64 << 20), ("10MB", 10_000_000), ("1GiB", 1 << 30), ("7B", 7), ("1KiB", 1024)] {
            assert_eq!(text.parse::<Size>(), Ok(Size(bytes)), "{text}");
        }
        for text in ["-1", "1e30", "10", "10mb", "10 MB", "1.5GiB", "", "9999999TiB"] {
            assert!(text.parse::<Size>().is_err(), "{text}");
        }
    }

    #[test]
    fn what_is_written_is_read_back() {
        for text in ["90d", "30s", "1500ms", "36h", "0ms"] {
            let span: Span = text.parse().unwrap();
            assert_eq!(span.to_string().parse(), Ok(span), "{text}");
        }
        for text in ["64MiB", "1537B", "10MB", "4GiB", "0B"] {
            let size: Size = text.parse().unwrap();
            assert_eq!(size.to_string().parse(), Ok(size), "{text}");
        }
        assert_eq!(Span::secs(90 * 86_400).to_string(), "90d");
    }
}
