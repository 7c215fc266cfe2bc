//! Sizes and durations as people type them. Pure.

use std::ffi::OsStr;
use std::time::Duration;

use clap::builder::{PossibleValue, TypedValueParser};
use pipewright::Capacity;

/// Reads a [`capacity`], and names to a shell's completion what people choose.
#[derive(Debug, Clone)]
pub(crate) struct CapacityParser;

impl TypedValueParser for CapacityParser {
    type Value = Capacity;

    fn parse_ref(
        &self,
        command: &clap::Command,
        argument: Option<&clap::Arg>,
        value: &OsStr,
    ) -> Result<Capacity, clap::Error> {
        TypedValueParser::parse_ref(&capacity, command, argument, value)
    }

    fn possible_values(&self) -> Option<Box<dyn Iterator<Item = PossibleValue> + '_>> {
        let common = ["max", "default", "64K", "256K", "1M"];
        Some(Box::new(common.into_iter().map(PossibleValue::new)))
    }
}

/// `max`, `default`, or a size.
pub(crate) fn capacity(text: &str) -> Result<Capacity, String> {
    match text {
        "max" => Ok(Capacity::Maximum),
        "default" => Ok(Capacity::Default),
        size => bytes(size).map(Capacity::Bytes),
    }
}

/// A number of bytes, `65536`, `64K`, `1M`, `1MiB`. K, M, G and T are powers of 1024.
pub(crate) fn bytes(text: &str) -> Result<usize, String> {
    let digits = text
        .find(|c: char| !c.is_ascii_digit())
        .unwrap_or(text.len());
    let (number, unit) = text.split_at(digits);
    let shift = match unit.to_ascii_lowercase().as_str() {
        "" | "b" => 0,
        "k" | "kb" | "kib" => 10,
        "m" | "mb" | "mib" => 20,
        "g" | "gb" | "gib" => 30,
        "t" | "tb" | "tib" => 40,
        _ => return Err("give bytes, such as 65536, 64K or 1M; or max, or default".to_owned()),
    };
    let number: usize = number
        .parse()
        .map_err(|_| "give a number, such as 64K".to_owned())?;
    match number.checked_mul(1 << shift) {
        Some(0) => Err("a pipe has at least one page, 4096 bytes".to_owned()),
        Some(bytes) => Ok(bytes),
        None => Err("that is more than this machine can count".to_owned()),
    }
}

/// The bytes that a spool may hold: at least four segments of a pipe's size.
pub(crate) fn spool_limit(text: &str) -> Result<u64, String> {
    let (number, shift) = match text.strip_suffix(['t', 'T']) {
        Some(number) => (number, 40),
        None => (text, 0),
    };
    let bytes =
        bytes(number).map_err(|_| "give bytes, such as 512M, 100G or 2T".to_owned())? as u64;
    match bytes.checked_mul(1 << shift) {
        Some(bytes) if bytes >= 256 << 10 => Ok(bytes),
        Some(_) => Err("give 256K or more".to_owned()),
        None => Err("that is more than any disk has".to_owned()),
    }
}

/// How fast a recording is played: `1x`, `0.5x`, `10`.
pub(crate) fn speed(text: &str) -> Result<f64, String> {
    let number: Option<f64> = text.strip_suffix('x').unwrap_or(text).parse().ok();
    let number = number.filter(|number| number.is_finite() && *number > 0.0);
    number.ok_or_else(|| "give a factor, such as 1x, 10x or 0.5x".to_owned())
}

/// The size of an input: `700M`, `1.5G`.
pub(crate) fn total(text: &str) -> Result<u64, String> {
    let digits = text
        .find(|c: char| !(c.is_ascii_digit() || c == '.'))
        .unwrap_or(text.len());
    let (number, unit) = text.split_at(digits);
    let unit = bytes(&format!("1{unit}"));
    match (number.parse::<f64>(), unit) {
        (Ok(number), Ok(unit)) if number * unit as f64 >= 1.0 => Ok((number * unit as f64) as u64),
        _ => Err("give bytes, such as 700M, 1.5G or 2T".to_owned()),
    }
}

/// Seconds, as sleep(1) and timeout(1) take them: `10`, `1.5s`, `2m`, `1h`, `1d`; and `500ms`.
pub(crate) fn duration(text: &str) -> Result<Duration, String> {
    let digits = text
        .find(|c: char| !(c.is_ascii_digit() || c == '.'))
        .unwrap_or(text.len());
    let (number, unit) = text.split_at(digits);
    let factor = match unit {
        "" | "s" => 1.0,
        "ms" => 0.001,
        "m" => 60.0,
        "h" => 3600.0,
        "d" => 86400.0,
        _ => return Err("give seconds, or a number with ms, s, m, h or d".to_owned()),
    };
    let number: f64 = number
        .parse()
        .map_err(|_| "give a number, such as 1.5s".to_owned())?;
    Duration::try_from_secs_f64(number * factor).map_err(|_| "that is too long".to_owned())
}

/// The longest time that something may take. 0 is no limit, as timeout(1) has it: so long that no
/// clock gets there.
pub(crate) fn limit(text: &str) -> Result<Duration, String> {
    let limit = duration(text)?;
    Ok(if limit.is_zero() {
        Duration::MAX
    } else {
        limit
    })
}

/// A time between two looks: at least 100 ms, or the looks themselves would be seen.
pub(crate) fn interval(text: &str) -> Result<Duration, String> {
    let interval = duration(text)?;
    if interval < Duration::from_millis(100) {
        return Err("give 100ms or more".to_owned());
    }
    Ok(interval)
}

/// How long two halves of a stage live without each other: long enough that a busy machine is not taken for
/// a lost one.
pub(crate) fn lease(text: &str) -> Result<Duration, String> {
    let lease = duration(text)?;
    if lease < Duration::from_secs(1) || lease > Duration::from_secs(30 * 24 * 3600) {
        return Err("give a time from 1s to 30 days (720h)".to_owned());
    }
    Ok(lease)
}

/// A count, in words of ours where it is none.
pub(crate) fn count<T: std::str::FromStr>(text: &str) -> Result<T, String> {
    let number = text.parse();
    number.map_err(|_| "give a whole number, such as 3".to_owned())
}

/// The number of a process.
pub(crate) fn process(text: &str) -> Result<u32, String> {
    let number = text.parse();
    number.map_err(|_| "give the number of a process; `pipewright ls` shows them".to_owned())
}

/// How often something is done: once at least.
pub(crate) fn runs(text: &str) -> Result<usize, String> {
    match text.parse() {
        Ok(number @ 1..) => Ok(number),
        _ => Err("give a whole number from 1 up".to_owned()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sizes_are_bytes_with_units_of_1024() {
        assert_eq!(capacity("65536"), Ok(Capacity::Bytes(65536)));
        assert_eq!(capacity("64K"), Ok(Capacity::Bytes(65536)));
        assert_eq!(capacity("1MiB"), Ok(Capacity::Bytes(1 << 20)));
        assert_eq!(capacity("max"), Ok(Capacity::Maximum));
        assert_eq!(capacity("default"), Ok(Capacity::Default));
        for wrong in [
            "",
            "K",
            "1X",
            "-1",
            "0",
            "99999999999999999999",
            "99999999999G",
        ] {
            assert!(capacity(wrong).is_err(), "{wrong}");
        }
    }

    #[test]
    fn the_limit_of_a_spool_may_be_as_large_as_a_disk() {
        assert_eq!(spool_limit("100G"), Ok(100 << 30));
        assert_eq!(spool_limit("2T"), Ok(2 << 40));
        for wrong in ["", "T", "1K", "0", "99999999999T"] {
            assert!(spool_limit(wrong).is_err(), "{wrong}");
        }
    }

    #[test]
    fn durations_are_seconds_unless_they_say_otherwise() {
        assert_eq!(duration("10"), Ok(Duration::from_secs(10)));
        assert_eq!(duration("1.5s"), Ok(Duration::from_millis(1500)));
        assert_eq!(duration("500ms"), Ok(Duration::from_millis(500)));
        assert_eq!(duration("2m"), Ok(Duration::from_secs(120)));
        assert_eq!(duration("1h"), Ok(Duration::from_secs(3600)));
        assert_eq!(duration("0"), Ok(Duration::ZERO));
        assert_eq!(limit("0.0s"), Ok(Duration::MAX));
        assert_eq!(limit("10"), Ok(Duration::from_secs(10)));
        for wrong in ["", "s", "1y", "-1", "1.2.3", "inf", "99999999999999999999d"] {
            assert!(duration(wrong).is_err(), "{wrong}");
        }
    }
}
