//! The alert rules and the dashboard that come with the package: they name figures that there are.

use crate::runner::needs;
use crate::support::run;
use clacks::broker::catalogue::{self, Kind};
use regex::Regex;
use std::collections::BTreeSet;
use std::fs;
use std::path::Path;
use std::process::Command;

fn read(name: &str) -> String {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("systemd/monitoring");
    fs::read_to_string(folder.join(name)).expect("a file of the package")
}

/// The names by which Prometheus knows the figures.
fn known() -> BTreeSet<String> {
    let names = |metric: &&catalogue::Metric| {
        let suffixes: &[&str] = match metric.kind {
            Kind::Counter => &["_total"],
            Kind::Gauge => &[""],
            Kind::Histogram => &["_bucket", "_sum", "_count"],
            Kind::Info => &["_info"],
        };
        let name = metric.name;
        suffixes
            .iter()
            .map(move |suffix| format!("clacksd_{name}{suffix}"))
    };
    catalogue::ALL.iter().flat_map(names).collect()
}

#[test]
fn alerts_and_the_dashboard_name_figures_that_there_are() {
    let known = known();
    let named = Regex::new(r"\bclacksd_[a-z_]+").expect("a pattern");
    for file in ["alerts.yml", "grafana.json"] {
        let text = read(file);
        let found: BTreeSet<_> = named.find_iter(&text).map(|found| found.as_str()).collect();
        assert!(found.len() > 10, "{file}");
        for name in found {
            assert!(known.contains(name), "{file} names {name}");
        }
    }
    let dashboard: serde_json::Value =
        serde_json::from_str(&read("grafana.json")).expect("a JSON document");
    let panels = dashboard["panels"].as_array().expect("panels");
    assert!(
        panels
            .iter()
            .all(|panel| !panel["targets"][0]["expr"].is_null())
    );
}

#[test]
fn promtool_accepts_the_alert_rules() {
    needs("prometheus");
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("systemd/monitoring");
    let mut promtool = Command::new("promtool");
    promtool.args(["check", "rules", "alerts.yml"]);
    let ended = run(promtool.current_dir(&folder));
    assert_eq!(ended.status, Some(0), "{}{}", ended.stdout, ended.stderr);
}
