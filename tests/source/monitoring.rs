//! The alert rules and the dashboard that come with the package: they name figures that there are.

use crate::runner::needs;
use crate::support::{Setup, run};
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

#[test]
fn promtool_accepts_the_scrape_configuration() {
    needs("prometheus");
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("systemd/monitoring");
    let mut promtool = Command::new("promtool");
    // Without a look for the file of the password.
    promtool.args(["check", "config", "--syntax-only", "prometheus.yml"]);
    let ended = run(promtool.current_dir(&folder));
    assert_eq!(ended.status, Some(0), "{}{}", ended.stdout, ended.stderr);
}

/// The expressions of the dashboard, as rules that record them: so promtool parses them, too.
#[test]
fn promtool_accepts_the_expressions_of_the_dashboard() {
    needs("prometheus");
    let dashboard: serde_json::Value =
        serde_json::from_str(&read("grafana.json")).expect("a JSON document");
    let panels = dashboard["panels"].as_array().expect("panels");
    let targets = panels
        .iter()
        .flat_map(|panel| panel["targets"].as_array().expect("targets"));
    let rules: Vec<serde_json::Value> = targets
        .enumerate()
        .map(|(number, target)| {
            let expression = target["expr"].as_str().expect("an expression");
            // Grafana puts the length of an interval there.
            let expression = expression.replace("$__rate_interval", "1m");
            serde_json::json!({"record": format!("panel:{number}"), "expr": expression})
        })
        .collect();
    assert!(rules.len() > 10, "{rules:?}");
    let groups = serde_json::json!({"groups": [{"name": "dashboard", "rules": rules}]});
    let setup = Setup::bare();
    let file = setup.path("dashboard.yml");
    // JSON is YAML, too.
    fs::write(&file, groups.to_string()).expect("a folder of our own");
    let ended = run(Command::new("promtool").args(["check", "rules"]).arg(&file));
    assert_eq!(ended.status, Some(0), "{}{}", ended.stdout, ended.stderr);
}

/// The configuration stands in three places, for those who read only one of them.
#[test]
fn readme_and_manual_show_the_scrape_configuration() {
    let file = read("prometheus.yml");
    let lines: Vec<&str> = file.lines().filter(|line| !line.starts_with('#')).collect();
    let configuration = lines.join("\n");
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let text = |name: &str| fs::read_to_string(root.join(name)).expect("a file of the sources");
    let block = format!("```yaml\n{configuration}\n```\n");
    assert!(text("README.md").contains(&block));
    let block = format!(".Bd -literal -offset indent\n{configuration}\n.Ed\n");
    assert!(text("man/clacksd.8").contains(&block));
}
