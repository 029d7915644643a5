//! The daemon. See clacksd(8).

use std::ffi::OsString;
use std::process::ExitCode;

fn main() -> ExitCode {
    let arguments: Vec<OsString> = std::env::args_os().skip(1).collect();
    match clacks::cli::run(&arguments) {
        Ok(end) => ExitCode::from(end.exit_status()),
        Err(error) => {
            clacks::cli::report_error(&error);
            ExitCode::from(error.exit_status())
        }
    }
}
