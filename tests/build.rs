//! Finds PostgreSQL for the tests of clacks-pg: where it is not installed they are counted as ignored. Nothing
//! else depends on this, and who builds without the feature `postgres` never looks.

use std::path::Path;

/// Where Debian has it, in a folder for each version.
const VERSIONS: &str = "/usr/lib/postgresql";
/// Changes when a package comes or goes.
const PACKAGES: &str = "/var/lib/dpkg/status";

fn main() {
    println!("cargo::rerun-if-changed=tests/build.rs");
    println!("cargo::rustc-check-cfg=cfg(has_postgresql)");
    if std::env::var_os("CARGO_FEATURE_POSTGRES").is_none() {
        return;
    }
    // Cargo takes a file that is missing for one that has changed.
    if Path::new(PACKAGES).exists() {
        println!("cargo::rerun-if-changed={PACKAGES}");
    }
    let versions = std::fs::read_dir(VERSIONS).into_iter().flatten();
    let mut programs = versions.filter_map(|version| Some(version.ok()?.path().join("bin")));
    if let Some(programs) = programs.find(|programs| programs.join("initdb").exists()) {
        println!("cargo::rustc-cfg=has_postgresql");
        println!(
            "cargo::rustc-env=POSTGRESQL_PROGRAMS={}",
            programs.display()
        );
    }
}
