//! Functions of one number.

use jiff::{Timestamp, civil::DateTime, tz::TimeZone};

use super::Function;

pub(crate) fn named(name: &str) -> Option<Function> {
    let map: super::MapFn = match name {
        "abs" => |v, _| Some(v.abs()),
        "ceil" => |v, _| Some(v.ceil()),
        "floor" => |v, _| Some(v.floor()),
        "exp" => |v, _| Some(v.exp()),
        "ln" => |v, _| Some(v.ln()),
        "log2" => |v, _| Some(v.log2()),
        "log10" => |v, _| Some(v.log10()),
        "sqrt" => |v, _| Some(v.sqrt()),
        "sgn" => |v, _| Some(if v == 0.0 || v.is_nan() { v } else { v.signum() }),
        "sin" => |v, _| Some(v.sin()),
        "cos" => |v, _| Some(v.cos()),
        "tan" => |v, _| Some(v.tan()),
        "asin" => |v, _| Some(v.asin()),
        "acos" => |v, _| Some(v.acos()),
        "atan" => |v, _| Some(v.atan()),
        "sinh" => |v, _| Some(v.sinh()),
        "cosh" => |v, _| Some(v.cosh()),
        "tanh" => |v, _| Some(v.tanh()),
        "asinh" => |v, _| Some(v.asinh()),
        "acosh" => |v, _| Some(v.acosh()),
        "atanh" => |v, _| Some(v.atanh()),
        "deg" => |v, _| Some(v * 180.0 / std::f64::consts::PI),
        "rad" => |v, _| Some(v * std::f64::consts::PI / 180.0),
        "round" => |v, args| {
            // The inverse is exact where the nearest is a power of ten below one.
            let inverse = 1.0 / args.first().copied().unwrap_or(1.0);
            Some((v * inverse + 0.5).floor() / inverse)
        },
        "clamp" => |v, args| {
            let [least, most] = *args else { return None };
            (least <= most || least.is_nan() || most.is_nan()).then(|| go_max(least, go_min(most, v)))
        },
        "clamp_min" => |v, args| Some(go_max(*args.first()?, v)),
        "clamp_max" => |v, args| Some(go_min(*args.first()?, v)),
        _ => return None,
    };
    Some(Function::Map(map))
}

/// The greater, NaN where one is.
pub(crate) fn go_max(a: f64, b: f64) -> f64 {
    if a.is_nan() || b.is_nan() { f64::NAN } else { a.max(b) }
}

/// The less, NaN where one is.
pub(crate) fn go_min(a: f64, b: f64) -> f64 {
    if a.is_nan() || b.is_nan() { f64::NAN } else { a.min(b) }
}

/// The UTC date of a time in seconds; `None` where there is none so early or late.
fn date(seconds: f64) -> Option<DateTime> {
    if !seconds.is_finite() {
        return None;
    }
    Timestamp::from_second(seconds as i64).ok().map(|time| TimeZone::UTC.to_datetime(time))
}

fn of(seconds: f64, part: impl Fn(DateTime) -> f64) -> f64 {
    date(seconds).map_or(f64::NAN, part)
}

pub(crate) fn day_of_month(seconds: f64) -> f64 {
    of(seconds, |date| f64::from(date.day()))
}

pub(crate) fn day_of_week(seconds: f64) -> f64 {
    of(seconds, |date| f64::from(date.weekday().to_sunday_zero_offset()))
}

pub(crate) fn day_of_year(seconds: f64) -> f64 {
    of(seconds, |date| f64::from(date.day_of_year()))
}

pub(crate) fn days_in_month(seconds: f64) -> f64 {
    of(seconds, |date| f64::from(date.days_in_month()))
}

pub(crate) fn hour(seconds: f64) -> f64 {
    of(seconds, |date| f64::from(date.hour()))
}

pub(crate) fn minute(seconds: f64) -> f64 {
    of(seconds, |date| f64::from(date.minute()))
}

pub(crate) fn month(seconds: f64) -> f64 {
    of(seconds, |date| f64::from(date.month()))
}

pub(crate) fn year(seconds: f64) -> f64 {
    of(seconds, |date| f64::from(date.year()))
}
