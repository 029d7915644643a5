//! The bridge from PostgreSQL. See clacks-pg(8).

use std::process::ExitCode;

fn main() -> ExitCode {
    let arguments: Vec<String> = std::env::args_os()
        .skip(1)
        .map(|argument| argument.to_string_lossy().into())
        .collect();
    match clacks::bridge::run(&arguments) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("clacks-pg: {error}");
            ExitCode::from(error.exit_status())
        }
    }
}
