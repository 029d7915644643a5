//! The texts of `clacks help` and `clacks help COMMAND`, which follow from the tables of commands and flags.

use super::arguments::Command;
use crate::program::flag::Flag;

/// The column in which explanations begin.
const COLUMN: usize = 32;
/// The width of a line in the help of a command.
const WIDTH: usize = 80;

/// The help of the program: all commands and all flags.
pub fn of_program(commands: &[Command], flags: &[Flag]) -> String {
    let mut help =
        "Usage: clacks [FLAGS] COMMAND ...\n\nA client of clacksd. See clacks(1).\n\nCommands:\n"
            .to_owned();
    for command in commands {
        help += &format!("    {:<28}{}\n", command.usage(), command.help);
    }
    help +=
        "\nclacks help COMMAND says more about one. A VALUE of - is standard input.\n\nFlags:\n";
    for flag in flags {
        help += &format!("    {:<28}{}\n", forms(flag), flag.help_text());
    }
    help += "\nStatus: 0 done; 1 no such entry; 2 wrong usage; 3 no connection or login; 4 refused by the server.\n";
    help
}

/// The help of one command: its usage, its explanation, its own flags and the permissions that it needs.
pub fn of_command(command: &Command, flags: &[Flag]) -> String {
    let own: Vec<&Flag> = flags
        .iter()
        .filter(|flag| flag.commands.contains(&command.name))
        .collect();
    let some = if own.is_empty() { "" } else { "[FLAGS] " };
    let mut help = format!("Usage: clacks {some}{}\n", command.usage());
    if let Some(flag) = own.iter().find(|flag| flag.long == command.instead) {
        let (name, flag, value) = (command.name, flag.long_form(), flag.value);
        help += &format!("       clacks {name} {flag} {value}\n");
    }
    help += &format!("\n{}\n", capitalised(command.help));
    if !command.details.is_empty() {
        help += &format!("\n{}\n", command.details);
    }
    if !own.is_empty() {
        help += "\nFlags:\n";
    }
    for flag in own {
        let mut text = flag.help.to_owned();
        if !flag.default.is_empty() {
            text += &format!(" [{}]", flag.default);
        }
        help += &format!("    {:<28}{}\n", forms(flag), wrapped(&text));
    }
    help += "\n";
    if !command.needs.is_empty() {
        help += &format!("The user needs the permission to {}.\n", command.needs);
    }
    help + "clacks help shows the flags of all commands.\n"
}

/// The forms of a flag and its value. Long forms stand in one column.
fn forms(flag: &Flag) -> String {
    let indent = if flag.short.is_empty() { "    " } else { "" };
    format!("{indent}{} {}", flag.forms().join(", "), flag.value)
}

fn capitalised(text: &str) -> String {
    let mut characters = text.chars();
    let first = characters.next().map(|first| first.to_ascii_uppercase());
    first.into_iter().chain(characters).chain(['.']).collect()
}

/// The text in lines that begin in the column of explanations.
fn wrapped(text: &str) -> String {
    let mut lines = String::new();
    let mut length = COLUMN;
    for word in text.split(' ') {
        if length > COLUMN && length + 1 + word.len() > WIDTH {
            lines += &format!("\n{:COLUMN$}", "");
            length = COLUMN;
        } else if length > COLUMN {
            lines.push(' ');
            length += 1;
        }
        lines += word;
        length += word.len();
    }
    lines
}
