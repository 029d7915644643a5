//! The shell completions in `src/cli/completions` are made here, from the table of flags. The test
//! fails when they are not what the table says; `make completions` writes them anew. Who installs them
//! needs neither cargo nor a running clacksd.

use crate::support::{run, text};
use clacks::cli::{FLAGS, Flag};
use std::env;
use std::fs;
use std::path::PathBuf;
use std::process::Command;

const HEADER: &str = "Made from the table of flags by tests/completions.rs: make completions";

fn path(shell: &str) -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR"))
        .join("src/cli/completions/clacksd")
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
fn bash_pattern(value: &str) -> String {
    let flags = FLAGS.iter().filter(|flag| flag.value == value);
    flags.flat_map(forms).collect::<Vec<_>>().join("|")
}

fn bash() -> String {
    let known = ["", "ADDRESS", "FILE", "GROUP", "USER[:GROUP]"];
    let others = FLAGS.iter().filter(|flag| !known.contains(&flag.value));
    let all: Vec<String> = FLAGS.iter().flat_map(forms).collect();
    format!(
        r#"# bash completion of clacksd. {HEADER}

_clacksd() {{
    local current=$2 previous=$3
    COMPREPLY=()
    case $previous in
        {addresses})
            compopt -o nospace
            COMPREPLY=($(compgen -W 'unix: tcp:// tls://' -- "$current")) ;;
        # Behind "unix", since bash takes words apart there.
        :|{files})
            compopt -o filenames
            COMPREPLY=($(compgen -f -- "$current")) ;;
        {groups})
            COMPREPLY=($(compgen -g -- "$current")) ;;
        {users})
            COMPREPLY=($(compgen -u -- "$current")) ;;
        {others}) ;;
        *)
            COMPREPLY=($(compgen -W '{all}' -- "$current")) ;;
    esac
}}

complete -F _clacksd clacksd
"#,
        addresses = bash_pattern("ADDRESS"),
        files = bash_pattern("FILE"),
        groups = bash_pattern("GROUP"),
        users = bash_pattern("USER[:GROUP]"),
        others = others.flat_map(forms).collect::<Vec<_>>().join("|"),
        all = all.join(" "),
    )
}

fn zsh() -> String {
    let mut script = format!("#compdef clacksd\n# zsh completion of clacksd. {HEADER}\n\n");
    script += "_arguments -s -S";
    for flag in FLAGS {
        let help = flag
            .help
            .replace('\'', r"'\''")
            .replace('[', r"\[")
            .replace(']', r"\]")
            .replace(':', r"\:");
        let value = match flag.value {
            "" => String::new(),
            "ADDRESS" => ":ADDRESS:(unix\\: tcp\\:// tls\\://)".to_owned(),
            "FILE" => ":FILE:_files".to_owned(),
            "GROUP" => ":GROUP:_groups".to_owned(),
            "USER[:GROUP]" => ":USER:_users".to_owned(),
            other => format!(":{other}: "),
        };
        let with_value = |form: &str| match (flag.value.is_empty(), form.starts_with("--")) {
            (true, _) => form.to_owned(),
            (false, true) => format!("{form}="),
            (false, false) => format!("{form}+"),
        };
        let forms = forms(flag);
        let specs: Vec<String> = forms.iter().map(|form| with_value(form)).collect();
        let specs = match &specs[..] {
            [one] => one.clone(),
            both => format!("'{{{}}}'", both.join(",")),
        };
        // What may stand only once is not offered again, in neither form.
        let before = if flag.repeatable {
            "*".to_owned()
        } else {
            format!("({})", forms.join(" "))
        };
        script += &format!(" \\\n    '{before}{specs}[{help}]{value}'");
    }
    script + "\n"
}

fn fish() -> String {
    let mut script = format!("# fish completion of clacksd. {HEADER}\n\ncomplete -c clacksd -f\n");
    for flag in FLAGS {
        script += "complete -c clacksd";
        if !flag.short.is_empty() {
            script += &format!(" -s {}", flag.short);
        }
        script += &format!(" -l {}", flag.long);
        script += match flag.value {
            "" => "",
            "ADDRESS" => " -x -a 'unix: tcp:// tls://'",
            "FILE" => " -r -F",
            "GROUP" => " -x -a '(__fish_complete_groups)'",
            "USER[:GROUP]" => " -x -a '(__fish_complete_users)'",
            _ => " -x",
        };
        script += &format!(" -d '{}'\n", flag.help.replace('\'', r"\'"));
    }
    script
}

#[test]
fn the_completions_are_those_of_the_flags() {
    for (shell, script) in [("bash", bash()), ("zsh", zsh()), ("fish", fish())] {
        let path = path(shell);
        if env::var_os("CLACKSD_WRITE_COMPLETIONS").is_some() {
            fs::write(&path, &script).expect("the sources may be written to");
        }
        let found = fs::read_to_string(&path).unwrap_or_default();
        assert!(
            found == script,
            "{} is not what the flags say: make completions",
            path.display()
        );
    }
}

/// What a shell prints that runs the script; `None`, said aloud, where there is no such shell.
fn output(shell: &str, arguments: &[&str]) -> Option<String> {
    let mut command = Command::new(shell);
    if Command::new(shell).arg("--version").output().is_err() {
        eprintln!("skipped: there is no {shell}");
        return None;
    }
    let ended = run(command.args(arguments));
    assert_eq!((ended.status, &ended.stderr[..]), (Some(0), ""), "{shell}");
    Some(ended.stdout)
}

#[test]
fn bash_completes_flags_files_and_addresses() {
    let script = text(&path("bash"));
    // As bash calls it for the last of these words; only it may call compopt.
    let complete = |current: &str, previous: &str| {
        let code = format!(
            "compopt() {{ :; }}; . {script}; _clacksd clacksd '{current}' '{previous}'; \
             printf '%s\\n' \"${{COMPREPLY[@]}}\""
        );
        output("bash", &["--norc", "-c", &code]).expect("the tests need bash anyway")
    };
    assert_eq!(
        complete("--ma", "clacksd"),
        "--master\n--master-ca\n--master-insecure\n--max-clients\n--max-line\n--max-output\n--max-buffers\n"
    );
    assert_eq!(complete("-", "--user"), "\n", "what a name is nobody knows");
    assert_eq!(complete("u", "-l"), "unix:\n");
    let folder = tempfile::tempdir().expect("a temporary folder");
    let file = text(&folder.path().join("password"));
    fs::write(&file, "").expect("a folder of our own");
    let start = file.strip_suffix("word").expect("it ends so");
    assert_eq!(complete(start, "--password-file"), format!("{file}\n"));
    assert_eq!(complete(start, ":"), format!("{file}\n"), "behind unix:");
    assert_eq!(complete("roo", "--run-as"), "root\n");
}

#[test]
fn fish_completes_flags_with_their_help() {
    let script = text(&path("fish"));
    let code = format!("source {script}; complete -C 'clacksd --daem'");
    if let Some(shown) = output("fish", &["--no-config", "-c", &code]) {
        assert_eq!(shown, "--daemonize\tgo into the background\n");
    }
}

#[test]
fn zsh_understands_its_script() {
    let script = text(&path("zsh"));
    // Flags are offered in the middle of a line only; so it is read, and the arguments are parsed.
    let code = format!(
        "autoload -Uz compinit && compinit -u -D; _arguments() {{ print -rl -- \"$@\" }}; source {script}"
    );
    if let Some(shown) = output("zsh", &["-f", "-c", &code]) {
        assert_eq!(shown.lines().next(), Some("-s"));
        assert!(
            shown.lines().any(|line| line
                == "(--allow-plaintext)--allow-plaintext[allow tcp\\:// on addresses that aren't loopback]"),
            "{shown}"
        );
        assert!(
            shown.lines().any(|line| line.starts_with("*--master=[")),
            "{shown}"
        );
    }
}
