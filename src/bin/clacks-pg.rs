//! The bridge from PostgreSQL. See clacks-pg(8).

use std::ffi::OsString;
use std::io::{self, Write};
use std::process::ExitCode;

fn main() -> ExitCode {
    let arguments: Vec<OsString> = std::env::args_os().skip(1).collect();
    match clacks::bridge::run(&arguments) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            // An error of standard error itself, a file on a full disk for example, can't be reported.
            let _ = writeln!(io::stderr(), "clacks-pg: {error}");
            ExitCode::from(error.exit_status())
        }
    }
}
