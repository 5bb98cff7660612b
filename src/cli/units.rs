//! Durations and percentages as people write them.

use std::time::Duration;

/// The longest measurement that may be asked for.
const LONGEST: Duration = Duration::from_secs(24 * 3600);

/// `5s`, `500ms`, `2m`; a number alone is seconds.
pub fn duration(text: &str) -> Result<Duration, String> {
    let parsed = match text.parse::<f64>() {
        Ok(seconds) => Duration::try_from_secs_f64(seconds).map_err(|error| error.to_string())?,
        Err(_) => humantime::parse_duration(text).map_err(|error| format!("{error}; write 5s, 500ms or 2m"))?,
    };
    match parsed {
        Duration::ZERO => Err("it must be more than nothing".into()),
        longer if longer > LONGEST => Err("it must be at most a day".into()),
        fine => Ok(fine),
    }
}

/// `5%` or `5`: the share 0.05.
pub fn percent(text: &str) -> Result<f64, String> {
    let number = text.trim().trim_end_matches('%').trim();
    match number.parse::<f64>() {
        Ok(percent) if (0.0..=1e6).contains(&percent) => Ok(percent / 100.0),
        _ => Err("write a percentage, as in 5%".into()),
    }
}

/// Seconds as milliseconds, with three digits that say something; nanoseconds are the last.
#[allow(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "from 0 to 6")]
pub fn ms(seconds: f64) -> String {
    let ms = seconds * 1e3;
    let digits = if ms > 0.0 { (2.0 - ms.log10().floor()).clamp(0.0, 6.0) as usize } else { 3 };
    format!("{ms:.digits$}")
}

/// `1 thread`, `2 threads`.
pub fn threads(count: usize) -> String {
    match count {
        1 => "1 thread".into(),
        count => format!("{count} threads"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn durations_and_percentages() {
        assert_eq!(duration("5s"), Ok(Duration::from_secs(5)));
        assert_eq!(duration("0.5"), Ok(Duration::from_millis(500)));
        assert_eq!(duration("500ms"), Ok(Duration::from_millis(500)));
        assert_eq!(duration("2m"), Ok(Duration::from_secs(120)));
        for wrong in ["", "0", "-1", "5 parsecs", "2days", "inf", "NaN"] {
            assert!(duration(wrong).is_err(), "{wrong}");
        }
        assert_eq!(percent("5%"), Ok(0.05));
        assert_eq!(percent("2.5 %"), Ok(0.025));
        assert_eq!(percent("7"), Ok(0.07));
        for wrong in ["", "%", "-1%", "x", "NaN"] {
            assert!(percent(wrong).is_err(), "{wrong}");
        }
    }

    #[test]
    fn milliseconds_have_three_digits() {
        assert_eq!(
            [12.34, 0.1234, 0.01234, 0.001234, 0.0001234, 0.00001234, 1.234e-8, 0.0].map(ms),
            ["12340", "123", "12.3", "1.23", "0.123", "0.0123", "0.000012", "0.000"]
        );
    }
}
