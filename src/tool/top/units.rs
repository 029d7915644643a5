//! Numbers in few characters: counts, rates, sizes, shares and short lengths of time.

/// The text of a figure that there is not.
const NOTHING: &str = "-";

/// A count with a suffix of thousands.
pub fn count(number: f64) -> String {
    scaled(number, 1000.0, &["", "k", "M", "G", "T"])
}

/// A rate per second.
pub fn rate(number: Option<f64>) -> String {
    match number {
        None => NOTHING.to_owned(),
        Some(number) if number > 0.0 && number < 9.95 => format!("{number:.1}"),
        Some(number) => count(number),
    }
}

/// A number of bytes with a suffix of 1024.
pub fn size(bytes: f64) -> String {
    scaled(bytes, 1024.0, &["", "K", "M", "G", "T"])
}

/// A share in percent.
pub fn share(share: Option<f64>) -> String {
    share.map_or(NOTHING.to_owned(), |share| format!("{:.1}%", share * 100.0))
}

/// A length of time below some seconds, in microseconds or milliseconds.
pub fn short_length(seconds: f64) -> String {
    match seconds {
        seconds if seconds < 0.001 => format!("{:.0} µs", seconds * 1e6),
        seconds if seconds < 0.00995 => format!("{:.1} ms", seconds * 1e3),
        seconds => format!("{:.0} ms", seconds * 1e3),
    }
}

/// The number in the first unit in which it has at most three digits before its point.
fn scaled(number: f64, step: f64, units: &[&str]) -> String {
    let (mut number, mut unit) = (number, 0);
    while number >= 999.5 && unit + 1 < units.len() {
        number /= step;
        unit += 1;
    }
    let decimals = match unit {
        0 => 0,
        _ if number < 9.95 => 1,
        _ => 0,
    };
    format!("{number:.decimals$}{}", units[unit])
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_have_at_most_four_characters_or_so() {
        for (number, shown) in [
            (0.0, "0"),
            (999.0, "999"),
            (1234.0, "1.2k"),
            (99_960.0, "100k"),
            (2e6, "2.0M"),
        ] {
            assert_eq!(count(number), shown);
        }
        for (number, shown) in [
            (1000.0, "1.0K"),
            (65536.0, "64K"),
            (3.5e9, "3.3G"),
            (1e18, "909495T"),
        ] {
            assert_eq!(size(number), shown);
        }
        let rates = [Some(0.0), Some(0.25), Some(12.6), None].map(rate);
        assert_eq!(rates, ["0", "0.2", "13", "-"]);
        assert_eq!([Some(0.981), None].map(share), ["98.1%", "-"]);
        let lengths = [0.000_016, 0.0042, 0.0125, 2.5].map(short_length);
        assert_eq!(lengths, ["16 µs", "4.2 ms", "12 ms", "2500 ms"]);
    }
}
