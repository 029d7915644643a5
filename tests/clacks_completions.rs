//! The shell completions of clacks in `src/tool/completions` are made here, from the table of commands and
//! flags. The test fails when they are not what the table says; `make completions` writes them anew. Who
//! installs them needs neither cargo nor a running clacks.

use crate::support::{run, skipped, text};
use clacks::tool::{COMMANDS, FLAGS, Flag};
use std::env;
use std::fs;
use std::path::PathBuf;
use std::process::Command;

const HEADER: &str =
    "Made from the table of commands by tests/clacks_completions.rs: make completions";

fn path(shell: &str) -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR"))
        .join("src/tool/completions/clacks")
        .with_extension(shell)
}

/// How a flag is written, short form first.
fn forms(flag: &Flag) -> Vec<String> {
    let short = (!flag.short.is_empty()).then(|| format!("-{}", flag.short));
    short
        .into_iter()
        .chain([format!("--{}", flag.long)])
        .collect()
}

/// The flags whose value is called so, as a pattern of the shell.
fn bash_pattern(is_meant: impl Fn(&str) -> bool) -> String {
    let flags = FLAGS.iter().filter(|flag| is_meant(flag.value));
    flags.flat_map(forms).collect::<Vec<_>>().join("|")
}

fn bash() -> String {
    let flags: Vec<String> = FLAGS.iter().flat_map(forms).collect();
    let commands: Vec<&str> = COMMANDS.iter().map(|command| command.name).collect();
    format!(
        r#"# bash completion of clacks. {HEADER}

_clacks() {{
    local current=$2 previous=$3 word words='{commands}'
    COMPREPLY=()
    case $previous in
        {addresses})
            compopt -o nospace
            COMPREPLY=($(compgen -W 'unix: tcp:// tls://' -- "$current"))
            return ;;
        # Behind "unix", since bash takes words apart there.
        :|{files})
            compopt -o filenames
            COMPREPLY=($(compgen -f -- "$current"))
            return ;;
        {others})
            return ;;
    esac
    for word in "${{COMP_WORDS[@]:1:COMP_CWORD-1}}"; do
        case $word in {pattern}) words= ;; esac
    done
    case $current in -*) words='{flags}' ;; esac
    COMPREPLY=($(compgen -W "$words" -- "$current"))
}}

complete -F _clacks clacks
"#,
        commands = commands.join(" "),
        pattern = commands.join("|"),
        addresses = bash_pattern(|value| value == "ADDRESS"),
        files = bash_pattern(|value| value == "FILE"),
        others = bash_pattern(|value| !["", "ADDRESS", "FILE"].contains(&value)),
        flags = flags.join(" "),
    )
}

/// Text inside single quotes, in which zsh's _arguments gives some characters a meaning.
fn zsh_text(text: &str) -> String {
    let mut escaped = text.replace('\'', r"'\''");
    for special in ['[', ']', ':'] {
        escaped = escaped.replace(special, &format!("\\{special}"));
    }
    escaped
}

fn zsh() -> String {
    let mut script = format!("#compdef clacks\n# zsh completion of clacks. {HEADER}\n\n");
    script += "local -a commands=(\n";
    for command in COMMANDS {
        script += &format!("    '{}:{}'\n", command.name, zsh_text(command.help));
    }
    script += ")\n_arguments -s -S";
    for flag in FLAGS {
        let value = match flag.value {
            "" => String::new(),
            "ADDRESS" => ":ADDRESS:(unix\\: tcp\\:// tls\\://)".to_owned(),
            "FILE" => ":FILE:_files".to_owned(),
            other => format!(":{other}: "),
        };
        let with_value = |form: &String| match (flag.value.is_empty(), form.starts_with("--")) {
            (true, _) => form.clone(),
            (false, true) => format!("{form}="),
            (false, false) => format!("{form}+"),
        };
        let forms = forms(flag);
        let specs: Vec<String> = forms.iter().map(with_value).collect();
        let specs = match &specs[..] {
            [one] => one.clone(),
            both => format!("'{{{}}}'", both.join(",")),
        };
        let help = zsh_text(flag.help);
        script += &format!(" \\\n    '({}){specs}[{help}]{value}'", forms.join(" "));
    }
    script + " \\\n    '1:command:{ _describe command commands }' \\\n    '*:argument: '\n"
}

fn fish() -> String {
    let quoted = |text: &str| text.replace('\'', r"\'");
    let mut script = format!("# fish completion of clacks. {HEADER}\n\ncomplete -c clacks -f\n");
    for command in COMMANDS {
        let help = quoted(command.help);
        script += &format!(
            "complete -c clacks -n __fish_use_subcommand -a {} -d '{help}'\n",
            command.name
        );
    }
    for flag in FLAGS {
        script += "complete -c clacks";
        if !flag.commands.is_empty() {
            let commands = flag.commands.join(" ");
            script += &format!(" -n '__fish_seen_subcommand_from {commands}'");
        }
        if !flag.short.is_empty() {
            script += &format!(" -s {}", flag.short);
        }
        script += &format!(" -l {}", flag.long);
        script += match flag.value {
            "" => "",
            "ADDRESS" => " -x -a 'unix: tcp:// tls://'",
            "FILE" => " -r -F",
            _ => " -x",
        };
        script += &format!(" -d '{}'\n", quoted(flag.help));
    }
    script
}

#[test]
fn the_completions_are_those_of_the_table() {
    for (shell, script) in [("bash", bash()), ("zsh", zsh()), ("fish", fish())] {
        let path = path(shell);
        if env::var_os("CLACKSD_WRITE_COMPLETIONS").is_some() {
            fs::write(&path, &script).expect("the sources may be written to");
        }
        let found = fs::read_to_string(&path).unwrap_or_default();
        assert!(
            found == script,
            "{} is not what the table says: make completions",
            path.display()
        );
    }
}

/// What a shell prints that runs the script; `None`, said aloud, where there is no such shell.
fn output(shell: &str, arguments: &[&str]) -> Option<String> {
    let mut command = Command::new(shell);
    if Command::new(shell).arg("--version").output().is_err() {
        skipped(&format!("there is no {shell}"));
        return None;
    }
    let ended = run(command.args(arguments));
    assert_eq!((ended.status, &ended.stderr[..]), (Some(0), ""), "{shell}");
    Some(ended.stdout)
}

#[test]
fn bash_completes_commands_and_flags() {
    let script = text(&path("bash"));
    // As bash calls it for the last of these words; only it may call compopt.
    let complete = |words: &[&str]| {
        let [.., previous, current] = words else {
            unreachable!("there are two words at least");
        };
        let code = format!(
            "compopt() {{ :; }}; . {script}; COMP_WORDS=({}); COMP_CWORD={}; \
             _clacks clacks '{current}' '{previous}'; printf '%s\\n' \"${{COMPREPLY[@]}}\"",
            words
                .iter()
                .map(|word| format!("'{word}'"))
                .collect::<Vec<_>>()
                .join(" "),
            words.len() - 1,
        );
        output("bash", &["--norc", "-c", &code]).expect("the tests need bash anyway")
    };
    assert_eq!(complete(&["clacks", "se"]), "set\nset-and-store\nsend\n");
    assert_eq!(complete(&["clacks", "-u", "ann", "ret"]), "retrieve\n");
    assert_eq!(complete(&["clacks", "set", "se"]), "\n", "that is a name");
    assert_eq!(complete(&["clacks", "keys", "--j"]), "--json\n");
    assert_eq!(complete(&["clacks", "-s", "t"]), "tcp://\ntls://\n");
    assert_eq!(complete(&["clacks", "-u", "set"]), "\n", "that is a user");
}

#[test]
fn fish_completes_commands_with_their_help() {
    let script = text(&path("fish"));
    let code = format!("source {script}; complete -C 'clacks retr'");
    if let Some(shown) = output("fish", &["--no-config", "-c", &code]) {
        assert_eq!(shown, "retrieve\tprint a value of the cache\n");
    }
}

#[test]
fn zsh_understands_its_script() {
    let script = text(&path("zsh"));
    let code = format!(
        "autoload -Uz compinit && compinit -u -D; _arguments() {{ print -rl -- \"$@\" $commands }}; \
         t() {{ source {script} }}; t"
    );
    if let Some(shown) = output("zsh", &["-f", "-c", &code]) {
        assert!(
            shown
                .lines()
                .any(|line| line == "retrieve:print a value of the cache"),
            "{shown}"
        );
        assert!(
            shown
                .lines()
                .any(|line| line.starts_with("(--json)--json[")),
            "{shown}"
        );
    }
}
