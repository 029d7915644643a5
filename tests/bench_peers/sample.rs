//! The figures of one measurement, and the medians of several.

use clacks::tool::bench::figures::Figures;
use clacks::tool::bench::idle::Memory;

/// `None`: the load doesn't tell.
#[derive(Debug, Clone, Default)]
pub struct Sample {
    /// The server's processor time per operation.
    pub cpu_ns: Option<f64>,
    pub per_second: Option<f64>,
    pub latency_50_us: Option<f64>,
    pub latency_99_us: Option<f64>,
    /// Its memory per connection or entry.
    pub bytes_each: Option<f64>,
}

impl From<Figures> for Sample {
    fn from(figures: Figures) -> Sample {
        assert!(figures.operations > 0, "work was done");
        let latency_us =
            |percentile| Some(figures.latencies.value_at_percentile(percentile) as f64 / 1000.0);
        Sample {
            cpu_ns: figures.cpu_ns_each(),
            per_second: Some(figures.per_second()),
            latency_50_us: latency_us(50.0),
            latency_99_us: latency_us(99.0),
            bytes_each: None,
        }
    }
}

impl From<Memory> for Sample {
    fn from(memory: Memory) -> Sample {
        Sample {
            bytes_each: memory.each(),
            ..Sample::default()
        }
    }
}

/// One figure of a sample.
pub type Metric = fn(&Sample) -> Option<f64>;

impl Sample {
    /// Each figure is the median of its own.
    pub fn median(samples: &[Sample]) -> Sample {
        let of = |metric: Metric| {
            let mut values: Vec<f64> = samples.iter().filter_map(metric).collect();
            values.sort_by(f64::total_cmp);
            match values.len() {
                0 => None,
                count if count % 2 == 1 => Some(values[count / 2]),
                count => Some((values[count / 2 - 1] + values[count / 2]) / 2.0),
            }
        };
        Sample {
            cpu_ns: of(|sample| sample.cpu_ns),
            per_second: of(|sample| sample.per_second),
            latency_50_us: of(|sample| sample.latency_50_us),
            latency_99_us: of(|sample| sample.latency_99_us),
            bytes_each: of(|sample| sample.bytes_each),
        }
    }

    /// How much of its core the server needed, in percent.
    pub fn busy(&self) -> Option<f64> {
        Some(self.cpu_ns? * self.per_second? / 1e7)
    }
}
