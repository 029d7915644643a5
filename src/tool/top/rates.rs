//! The figures of two moments as the lines of the headline: present values, and rates from the differences. No I/O.

use super::units::{count, rate, share, short_length, size};
use crate::client::Figure;
use std::collections::BTreeMap;

/// The languages in the order in which they are shown.
const LANGUAGES: [&str; 4] = ["clacks", "memcached", "nats", "http"];
/// The share of turns that were no longer than the length shown.
const PERCENTILE: f64 = 0.99;

/// A label and a text.
pub type Item = (String, String);

/// The figures of a moment by their names.
#[derive(Debug, Default)]
pub struct Figures(BTreeMap<String, f64>);

impl Figures {
    pub fn new(figures: &[Figure]) -> Figures {
        let known = figures.iter().filter_map(|(name, value)| {
            let value = value.to_str().parse().ok()?;
            Some((name.clone(), value))
        });
        Figures(known.collect())
    }

    fn get(&self, name: &str) -> Option<f64> {
        self.0.get(name).copied()
    }

    /// A figure; zero if the server does not have it.
    fn value(&self, name: &str) -> f64 {
        self.get(name).unwrap_or(0.0)
    }

    /// The figures whose names begin so, with the rest of their names.
    fn labelled<'a>(&'a self, prefix: &'a str) -> impl Iterator<Item = (&'a str, f64)> {
        let from = self.0.range(prefix.to_owned()..);
        from.map_while(move |(name, value)| Some((name.strip_prefix(prefix)?, *value)))
    }

    /// The sum of the figures whose names begin so.
    fn sum(&self, prefix: &str) -> f64 {
        self.labelled(prefix).map(|(_, value)| value).sum()
    }

    pub fn version(&self) -> &str {
        self.labelled("build.")
            .next()
            .map_or("", |(version, _)| version)
    }

    pub fn uptime_s(&self) -> f64 {
        self.value("uptime_seconds")
    }

    /// The reasons for which the server is not well, as far as its figures show them.
    pub fn faults(&self) -> Vec<&'static str> {
        let is_zero = |name| self.get(name) == Some(0.0);
        let faults = [
            is_zero("journal_saving").then_some("journal failed"),
            is_zero("uplink_up").then_some("no uplink"),
        ];
        faults.into_iter().flatten().collect()
    }
}

/// The figures of a moment, and those of an earlier one if there are any.
pub struct Interval<'a> {
    before: Option<&'a Figures>,
    now: &'a Figures,
    seconds: f64,
}

impl<'a> Interval<'a> {
    /// The server's own clock measures the interval. A server that was started meanwhile has no earlier figures.
    pub fn new(before: Option<&'a Figures>, now: &'a Figures) -> Interval<'a> {
        let seconds = before.map_or(0.0, |before| now.uptime_s() - before.uptime_s());
        Interval {
            before: before.filter(|_| seconds > 0.0),
            now,
            seconds,
        }
    }

    /// The growth of a figure.
    fn growth(&self, of: impl Fn(&Figures) -> f64) -> Option<f64> {
        let growth = of(self.now) - of(self.before?);
        Some(growth.max(0.0))
    }

    fn per_second(&self, of: impl Fn(&Figures) -> f64) -> Option<f64> {
        Some(self.growth(of)? / self.seconds)
    }

    fn rate_of(&self, label: &str, name: &str) -> Item {
        item(label, rate(self.per_second(|figures| figures.value(name))))
    }

    fn rate_of_all(&self, label: &str, prefix: &str) -> Item {
        item(label, rate(self.per_second(|figures| figures.sum(prefix))))
    }

    fn bytes_per_second(&self, label: &str, name: &str) -> Item {
        let bytes = self.per_second(|figures| figures.value(name));
        item(
            label,
            bytes.map_or(rate(None), |bytes| format!("{}/s", size(bytes))),
        )
    }

    /// The lines of the headline.
    pub fn lines(&self) -> Vec<Vec<Item>> {
        let mut lines = vec![
            self.clients(),
            self.requests(),
            self.signals(),
            self.cache(),
            self.turns(),
        ];
        if self.now.get("journal_saving").is_some() {
            lines.push(self.journal());
        }
        lines
    }

    fn clients(&self) -> Vec<Item> {
        let now = self.now;
        let (all, most) = (now.sum("clients."), now.value("clients_limit"));
        let mut line = vec![item("clients", format!("{all} of {most}"))];
        let languages = LANGUAGES
            .iter()
            .map(|language| (*language, format!("clients.{language}")));
        let others = [
            ("masters", "links.master"),
            ("slaves", "links.slave"),
            ("monitors", "monitors"),
        ];
        let others = others.map(|(label, name)| (label, name.to_owned()));
        for (label, name) in languages.chain(others) {
            if now.value(&name) > 0.0 {
                line.push(item(label, count(now.value(&name))));
            }
        }
        line
    }

    fn requests(&self) -> Vec<Item> {
        let mut line = vec![self.rate_of_all("requests/s", "requests.")];
        for language in LANGUAGES {
            let prefix = format!("requests.{language}.");
            if self.now.sum(&prefix) > 0.0 {
                line.push(self.rate_of_all(language, &prefix));
            }
        }
        line
    }

    fn signals(&self) -> Vec<Item> {
        vec![
            self.rate_of_all("signals/s", "signals."),
            self.rate_of_all("deliveries/s", "deliveries."),
            self.bytes_per_second("in", "received_bytes"),
            self.bytes_per_second("out", "sent_bytes"),
            item("subscriptions", count(self.now.value("subscriptions"))),
        ]
    }

    fn cache(&self) -> Vec<Item> {
        let now = self.now;
        let memory = size(now.value("memory_bytes.cache"));
        let memory = match now.value("cache_limit_bytes") {
            0.0 => memory,
            limit => format!("{memory} of {}", size(limit)),
        };
        vec![
            item("entries", count(now.value("entries"))),
            item("cache", memory),
            item("hits", share(self.hits())),
            self.rate_of("writes/s", "cache_writes"),
            self.rate_of("evictions/s", "evictions"),
        ]
    }

    /// The share of look-ups that found an entry.
    fn hits(&self) -> Option<f64> {
        let hits = self.growth(|figures| figures.value("cache_hits"))?;
        let misses = self.growth(|figures| figures.value("cache_misses"))?;
        (hits + misses > 0.0).then(|| hits / (hits + misses))
    }

    fn turns(&self) -> Vec<Item> {
        let now = self.now;
        let processor = self.per_second(|figures| figures.sum("processor_seconds."));
        vec![
            self.rate_of("turns/s", "turn_seconds.count"),
            item("p99", self.long_turn()),
            item("longest", short_length(now.value("longest_turn_seconds"))),
            self.rate_of("yields/s", "yields"),
            item("cpu", share(processor)),
            item("resident", size(now.value("resident_memory_bytes"))),
        ]
    }

    /// The length that 99 % of the turns of the interval did not exceed, as far as the histogram shows it.
    fn long_turn(&self) -> String {
        let grown = |name: &str| self.growth(|figures| figures.value(name));
        let Some(wanted) = grown("turn_seconds.count").filter(|turns| *turns > 0.0) else {
            return rate(None);
        };
        let buckets = self.now.labelled("turn_seconds.le.");
        let mut bounds: Vec<(f64, &str)> = buckets
            .filter_map(|(bound, _)| Some((bound.parse().ok()?, bound)))
            .collect();
        bounds.sort_by(|one, other| one.0.total_cmp(&other.0));
        let is_enough = |text: &str| {
            grown(&format!("turn_seconds.le.{text}"))
                .is_some_and(|turns| turns >= wanted * PERCENTILE)
        };
        match (
            bounds.iter().find(|(_, text)| is_enough(text)),
            bounds.last(),
        ) {
            (Some((bound, _)), _) => format!("≤{}", short_length(*bound)),
            (None, Some((bound, _))) => format!(">{}", short_length(*bound)),
            (None, None) => rate(None),
        }
    }

    fn journal(&self) -> Vec<Item> {
        let now = self.now;
        let state = match now.value("journal_saving") {
            0.0 => "failed",
            _ => "saving",
        };
        vec![
            item("journal", state.to_owned()),
            self.rate_of("records/s", "journal_records"),
            item("lag", count(now.value("journal_lag_records"))),
            item("length", size(now.value("journal_length_bytes"))),
            item("failures", count(now.value("journal_failures"))),
        ]
    }
}

fn item(label: &str, text: String) -> Item {
    (label.to_owned(), text)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn figures(lines: &[(&str, f64)]) -> Figures {
        let lines = lines.iter();
        Figures(
            lines
                .map(|(name, value)| ((*name).to_owned(), *value))
                .collect(),
        )
    }

    fn text(line: &[Item]) -> String {
        let items = line.iter().map(|(label, text)| format!("{label} {text}"));
        items.collect::<Vec<_>>().join("  ")
    }

    const BEFORE: &[(&str, f64)] = &[
        ("build.0.1.0", 1.0),
        ("uptime_seconds", 100.0),
        ("requests.clacks.SET", 10.0),
        ("requests.clacks.STORE", 10.0),
        ("requests.nats.PUB", 0.0),
        ("cache_hits", 5.0),
        ("cache_misses", 5.0),
        ("sent_bytes", 0.0),
        ("turn_seconds.count", 100.0),
        ("turn_seconds.le.0.000016", 100.0),
        ("turn_seconds.le.0.000032", 100.0),
        ("turn_seconds.le.0.000064", 100.0),
    ];
    const AFTER: &[(&str, f64)] = &[
        ("build.0.1.0", 1.0),
        ("uptime_seconds", 102.0),
        ("clients.clacks", 2.0),
        ("clients.http", 0.0),
        ("clients_limit", 1000.0),
        ("links.slave", 1.0),
        ("requests.clacks.SET", 30.0),
        ("requests.clacks.STORE", 4010.0),
        ("requests.nats.PUB", 1.0),
        ("cache_hits", 8.0),
        ("cache_misses", 6.0),
        ("sent_bytes", 4096.0),
        ("turn_seconds.count", 300.0),
        ("turn_seconds.le.0.000016", 200.0),
        ("turn_seconds.le.0.000032", 297.0),
        ("turn_seconds.le.0.000064", 298.0),
        ("longest_turn_seconds", 0.0125),
    ];

    #[test]
    fn rates_are_differences_by_the_clock_of_the_server() {
        let (before, now) = (figures(BEFORE), figures(AFTER));
        let lines = Interval::new(Some(&before), &now).lines();
        let lines: Vec<String> = lines.iter().map(|line| text(line)).collect();
        assert_eq!(lines[0], "clients 2 of 1000  clacks 2  slaves 1");
        assert_eq!(lines[1], "requests/s 2.0k  clacks 2.0k  nats 0.5");
        assert!(
            lines[2].contains("out 2.0K/s  subscriptions 0"),
            "{}",
            lines[2]
        );
        assert!(lines[3].contains("hits 75.0%"), "{}", lines[3]);
        assert!(
            lines[4].starts_with("turns/s 100  p99 ≤64 µs  longest 12 ms"),
            "{}",
            lines[4]
        );
        assert_eq!(
            (lines.len(), now.version(), now.faults().len()),
            (5, "0.1.0", 0)
        );
    }

    #[test]
    fn without_earlier_figures_there_are_no_rates() {
        let now = figures(AFTER);
        let later = figures(&[("uptime_seconds", 500.0)]);
        // A server that was started again has a smaller uptime.
        for before in [None, Some(&later), Some(&now)] {
            let lines = Interval::new(before, &now).lines();
            assert_eq!(text(&lines[1]), "requests/s -  clacks -  nats -");
            assert!(text(&lines[3]).contains("hits -"));
            assert!(text(&lines[4]).starts_with("turns/s -  p99 -"));
        }
    }

    #[test]
    fn turns_beyond_the_last_bucket_are_longer_than_it() {
        let before = figures(&[("uptime_seconds", 1.0)]);
        let now = figures(&[
            ("uptime_seconds", 2.0),
            ("turn_seconds.count", 10.0),
            ("turn_seconds.le.0.524288", 9.0),
        ]);
        assert_eq!(Interval::new(Some(&before), &now).long_turn(), ">524 ms");
    }

    #[test]
    fn faults_are_those_that_the_figures_show() {
        let ill = figures(&[("journal_saving", 0.0), ("uplink_up", 0.0)]);
        assert_eq!(ill.faults(), ["journal failed", "no uplink"]);
        assert_eq!(Interval::new(None, &ill).lines().len(), 6);
        let well = figures(&[("journal_saving", 1.0), ("uplink_up", 1.0)]);
        assert!(well.faults().is_empty());
    }
}
