//! The table that comes out, in the form that a README takes, and whether the goals are met.

use super::rows::{Bound, Goal, Row, Variant};
use super::sample::Sample;

pub fn print_heading() {
    println!(
        "| work | server | CPU | ÷ first | per second | ÷ first | busy | median | 99% | memory |"
    );
    println!("|---|---|---|---|---|---|---|---|---|---|");
}

type Medians<'a> = [(&'a Variant, Sample)];

pub fn print_row(row: &Row, medians: &Medians<'_>) {
    let Some((_, first)) = medians.first() else {
        return;
    };
    for (number, (variant, sample)) in medians.iter().enumerate() {
        let ratio = |value: Option<f64>, to: Option<f64>| match (value, to) {
            (Some(value), Some(to)) if number > 0 => format!("{:.2}", value / to),
            _ => String::new(),
        };
        let cells = [
            if number == 0 {
                row.name.clone()
            } else {
                String::new()
            },
            variant.label.clone(),
            shown(sample.cpu_ns, 1.0, "ns"),
            ratio(sample.cpu_ns, first.cpu_ns),
            shown(sample.per_second, 1.0, ""),
            ratio(sample.per_second, first.per_second),
            shown(sample.busy(), 1.0, "%"),
            shown(sample.latency_50_us, 1.0, "µs"),
            shown(sample.latency_99_us, 1.0, "µs"),
            shown(sample.bytes_each, 1.0, "B"),
        ];
        println!("| {} |", cells.join(" | "));
    }
    for goal in &row.goals {
        print_goal(goal, medians);
    }
}

fn shown(value: Option<f64>, divisor: f64, unit: &str) -> String {
    let Some(value) = value else {
        return String::new();
    };
    let value = value / divisor;
    let number = match value {
        _ if value >= 100.0 => format!("{value:.0}"),
        _ => format!("{value:.1}"),
    };
    format!("{number} {unit}").trim_end().to_owned()
}

fn print_goal(goal: &Goal, medians: &Medians<'_>) {
    let value = |label: &str| {
        let (_, sample) = medians.iter().find(|(variant, _)| variant.label == label)?;
        (goal.metric)(sample)
    };
    let Some(ours) = value(goal.ours) else {
        return;
    };
    // The better one of several is the one that is harder to beat.
    let others = goal.others.iter().filter_map(|other| value(other));
    let (reached, is_met, sign, bound) = match goal.bound {
        Bound::AtMost(bound) => {
            let Some(best) = others
                .reduce(f64::min)
                .or(goal.is_absolute().then_some(1.0))
            else {
                return;
            };
            (ours / best, ours / best <= bound, "≤", bound)
        }
        Bound::AtLeast(bound) => {
            let Some(best) = others.reduce(f64::max) else {
                return;
            };
            (ours / best, ours / best >= bound, "≥", bound)
        }
    };
    let verdict = if is_met { "met" } else { "NOT met" };
    let of = match goal.others {
        [] => String::new(),
        others => format!(" of {}", others.join(" or ")),
    };
    println!(
        "    goal {verdict}: {}{of}: {reached:.2}, {sign} {bound}",
        goal.what
    );
}
