//! Times, sizes, rates and shares, in the unit that reads best. Pure.

use std::time::Duration;

/// A time with as many digits as matter.
pub(crate) fn seconds(time: Duration) -> String {
    let seconds = time.as_secs_f64();
    let whole = seconds.round() as u64;
    if time.is_zero() {
        "0 ms".to_owned()
    } else if seconds < 0.1 {
        format!("{:.1} ms", seconds * 1e3)
    } else if seconds < 59.995 {
        format!("{seconds:.2} s")
    } else if whole < 3600 {
        format!("{}m{:02}s", whole / 60, whole % 60)
    } else {
        format!("{}h{:02}m", whole / 3600, whole / 60 % 60)
    }
}

/// Minutes and seconds, as a clock shows them.
pub(crate) fn clock(time: Duration) -> String {
    let whole = time.as_secs();
    if whole < 3600 {
        format!("{}:{:02}", whole / 60, whole % 60)
    } else {
        seconds(time)
    }
}

/// A number of bytes.
pub(crate) fn size(bytes: f64) -> String {
    let units = ["B", "KiB", "MiB", "GiB", "TiB", "PiB"];
    let mut value = bytes;
    let mut unit = 0;
    while value >= 1024.0 && unit + 1 < units.len() {
        value /= 1024.0;
        unit += 1;
    }
    let digits = usize::from(unit > 0 && value < 100.0);
    format!("{value:.digits$} {}", units[unit])
}

/// Bytes a second; an unknown rate is called unknown.
pub(crate) fn rate(rate: Option<f64>) -> String {
    rate.map_or_else(
        || "rate unknown".to_owned(),
        |rate| format!("≈ {}/s", size(rate)),
    )
}

/// A share in whole percent.
pub(crate) fn percent(share: f64) -> String {
    format!("{:.0} %", share * 100.0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_have_the_unit_that_reads_best() {
        let told = |millis| seconds(Duration::from_millis(millis));
        assert_eq!(told(0), "0 ms");
        assert_eq!(told(2), "2.0 ms");
        assert_eq!(told(1234), "1.23 s");
        assert_eq!(told(59_990), "59.99 s");
        assert_eq!(told(59_999), "1m00s");
        assert_eq!(told(62_500), "1m03s");
        assert_eq!(told(120_000), "2m00s");
        assert_eq!(told(2_804_700), "46m45s");
        assert_eq!(told(3_599_800), "1h00m");
        assert_eq!(told(5_100_000), "1h25m");
    }

    #[test]
    fn sizes_have_the_unit_that_reads_best() {
        assert_eq!(size(512.0), "512 B");
        assert_eq!(size(65536.0), "64.0 KiB");
        assert_eq!(size(1048576.0 * 250.0), "250 MiB");
        assert_eq!(rate(None), "rate unknown");
    }
}
