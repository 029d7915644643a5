//! The shell completions are made here, from each program's table of flags, and of commands if it has any.
//! The test fails when they are not what the tables say; `make completions` writes them anew. Who installs
//! them needs neither cargo nor a running program.

use crate::runner::needs;
use crate::support::{run, text};
use clacks::program::flag::Flag;
use clacks::{cli, tool};
use std::env;
use std::fs;
use std::path::PathBuf;
use std::process::Command;

const HEADER: &str = "Made from the table of flags by tests/cli/completions.rs: make completions";

struct Program {
    name: &'static str,
    folder: &'static str,
    flags: &'static [Flag],
    /// Name and help.
    commands: Vec<(&'static str, &'static str)>,
}

fn clacksd() -> Program {
    Program {
        name: "clacksd",
        folder: "src/cli/completions",
        flags: cli::FLAGS,
        commands: Vec::new(),
    }
}

fn clacks() -> Program {
    let commands = tool::COMMANDS.iter();
    Program {
        name: "clacks",
        folder: "src/tool/completions",
        flags: tool::FLAGS,
        commands: commands
            .map(|command| (command.name, command.help))
            .collect(),
    }
}

/// The names of those values of flags that the shells know how to complete.
const KNOWN: [&str; 4] = ["ADDRESS", "FILE", "GROUP", "USER[:GROUP]"];

impl Program {
    fn path(&self, shell: &str) -> PathBuf {
        PathBuf::from(env!("CARGO_MANIFEST_DIR"))
            .join(self.folder)
            .join(self.name)
            .with_extension(shell)
    }

    fn scripts(&self) -> [(&'static str, String); 3] {
        [
            ("bash", self.bash()),
            ("zsh", self.zsh()),
            ("fish", self.fish()),
        ]
    }

    fn bash(&self) -> String {
        let Program { name, flags, .. } = self;
        // The flags whose value is called so, as a pattern.
        let pattern = |is_meant: &dyn Fn(&str) -> bool| {
            let meant = flags.iter().filter(|flag| is_meant(flag.value));
            meant.flat_map(Flag::forms).collect::<Vec<_>>().join("|")
        };
        let arm = |pattern: &str, lines: &str| match pattern {
            "" => String::new(),
            pattern => format!("        {pattern}){lines} ;;\n"),
        };
        let complete =
            |how: &str| format!("\n            COMPREPLY=($(compgen {how} -- \"$current\"))");
        let option = |option: &str| format!("\n            compopt -o {option}");
        let mut arms = arm(
            &pattern(&|value| value == "ADDRESS"),
            &(option("nospace") + &complete("-W 'unix: tcp:// tls://'")),
        );
        arms += "        # Behind \"unix\", since bash takes words apart there.\n";
        arms += &arm(
            &format!(":|{}", pattern(&|value| value == "FILE")),
            &(option("filenames") + &complete("-f")),
        );
        arms += &arm(&pattern(&|value| value == "GROUP"), &complete("-g"));
        arms += &arm(&pattern(&|value| value == "USER[:GROUP]"), &complete("-u"));
        let is_other = |value: &str| !value.is_empty() && !KNOWN.contains(&value);
        arms += &arm(&pattern(&is_other), "");
        let all: Vec<String> = flags.iter().flat_map(Flag::forms).collect();
        let all = all.join(" ");
        if self.commands.is_empty() {
            arms += &arm("*", &complete(&format!("-W '{all}'")));
        } else {
            let commands: Vec<&str> = self.commands.iter().map(|(name, _)| *name).collect();
            let (words, pattern) = (commands.join(" "), commands.join("|"));
            // The argument of help is a command.
            let found = format!(
                "
            local word words='{words}'
            for word in \"${{COMP_WORDS[@]:1:COMP_CWORD-1}}\"; do
                case $word in help) ;; {pattern}) words= ;; esac
            done
            case $current in -*) words='{all}' ;; esac"
            );
            arms += &arm("*", &(found + &complete("-W \"$words\"")));
        }
        format!(
            "# bash completion of {name}. {HEADER}

_{name}() {{
    local current=$2 previous=$3
    COMPREPLY=()
    case $previous in
{arms}    esac
}}

complete -F _{name} {name}
"
        )
    }

    fn zsh(&self) -> String {
        let Program { name, flags, .. } = self;
        let mut script = format!("#compdef {name}\n# zsh completion of {name}. {HEADER}\n\n");
        if !self.commands.is_empty() {
            script += "local -a commands=(\n";
            for (command, help) in &self.commands {
                script += &format!("    '{command}:{}'\n", zsh_text(help));
            }
            script += ")\n";
        }
        script += "_arguments -s -S";
        for flag in *flags {
            let value = match flag.value {
                "" => String::new(),
                "ADDRESS" => ":ADDRESS:(unix\\: tcp\\:// tls\\://)".to_owned(),
                "FILE" => ":FILE:_files".to_owned(),
                "GROUP" => ":GROUP:_groups".to_owned(),
                "USER[:GROUP]" => ":USER:_users".to_owned(),
                other => format!(":{other}: "),
            };
            let with_value = |form: &String| match (flag.value.is_empty(), form.starts_with("--")) {
                (true, _) => form.clone(),
                (false, true) => format!("{form}="),
                (false, false) => format!("{form}+"),
            };
            let forms = flag.forms();
            let specs: Vec<String> = forms.iter().map(with_value).collect();
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
            let help = zsh_text(flag.help);
            script += &format!(" \\\n    '{before}{specs}[{help}]{value}'");
        }
        if !self.commands.is_empty() {
            script += " \\\n    '1:command:{ _describe command commands }' \\\n    \
                '*:argument:{ [[ $words[CURRENT-1] == help ]] && _describe command commands }'";
        }
        script + "\n"
    }

    fn fish(&self) -> String {
        let Program { name, flags, .. } = self;
        let quoted = |text: &str| text.replace('\'', r"\'");
        let mut script =
            format!("# fish completion of {name}. {HEADER}\n\ncomplete -c {name} -f\n");
        for (command, help) in &self.commands {
            let help = quoted(help);
            script +=
                &format!("complete -c {name} -n __fish_use_subcommand -a {command} -d '{help}'\n");
            // The argument of help is a command.
            let condition = "'__fish_seen_subcommand_from help'";
            script += &format!("complete -c {name} -n {condition} -a {command} -d '{help}'\n");
        }
        for flag in *flags {
            script += &format!("complete -c {name}");
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
                "GROUP" => " -x -a '(__fish_complete_groups)'",
                "USER[:GROUP]" => " -x -a '(__fish_complete_users)'",
                _ => " -x",
            };
            script += &format!(" -d '{}'\n", quoted(flag.help));
        }
        script
    }
}

/// Text inside single quotes, in which zsh's _arguments gives some characters a meaning.
fn zsh_text(text: &str) -> String {
    let mut escaped = text.replace('\'', r"'\''");
    for special in ['[', ']', ':'] {
        escaped = escaped.replace(special, &format!("\\{special}"));
    }
    escaped
}

#[test]
fn the_completions_are_those_of_the_tables() {
    for program in [clacksd(), clacks()] {
        for (shell, script) in program.scripts() {
            let path = program.path(shell);
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
}

/// Runs a shell with these arguments, and returns its standard output. Panics if the shell fails or writes to stderr.
fn output(shell: &'static str, arguments: &[&str]) -> String {
    needs(shell);
    let ended = run(Command::new(shell).args(arguments));
    assert_eq!((ended.status, &ended.stderr[..]), (Some(0), ""), "{shell}");
    ended.stdout
}

/// Returns the completions that bash offers for the last of these words with the program's script, one a line. A
/// function replaces `compopt`, which may be called only while bash itself completes.
fn bash_offers(program: &Program, words: &[&str]) -> String {
    let [.., previous, current] = words else {
        unreachable!("there are two words at least");
    };
    let (name, script) = (program.name, text(&program.path("bash")));
    let quoted: Vec<String> = words.iter().map(|word| format!("'{word}'")).collect();
    let code = format!(
        "compopt() {{ :; }}; . {script}; COMP_WORDS=({}); COMP_CWORD={}; \
         _{name} {name} '{current}' '{previous}'; printf '%s\\n' \"${{COMPREPLY[@]}}\"",
        quoted.join(" "),
        words.len() - 1,
    );
    output("bash", &["--norc", "-c", &code])
}

#[test]
fn bash_completes_flags_files_and_addresses() {
    let complete = |current, previous| bash_offers(&clacksd(), &["clacksd", previous, current]);
    assert_eq!(
        complete("--ma", "--check"),
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
    let script = text(&clacksd().path("fish"));
    let code = format!("source {script}; complete -C 'clacksd --daem'");
    let shown = output("fish", &["--no-config", "-c", &code]);
    assert_eq!(shown, "--daemonize\tgo into the background\n");
}

#[test]
fn zsh_understands_the_script_of_the_flags() {
    let script = text(&clacksd().path("zsh"));
    // Flags are offered in the middle of a line only; so it is read, and the arguments are parsed.
    let code = format!(
        "autoload -Uz compinit && compinit -u -D; _arguments() {{ print -rl -- \"$@\" }}; source {script}"
    );
    let shown = output("zsh", &["-f", "-c", &code]);
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

#[test]
fn bash_completes_commands_and_flags() {
    let complete = |words: &[&str]| bash_offers(&clacks(), words);
    assert_eq!(complete(&["clacks", "se"]), "set\nset-and-store\nsend\n");
    assert_eq!(complete(&["clacks", "-u", "ann", "ret"]), "retrieve\n");
    assert_eq!(complete(&["clacks", "set", "se"]), "\n", "that is a name");
    assert_eq!(complete(&["clacks", "help", "ret"]), "retrieve\n");
    assert_eq!(complete(&["clacks", "remove", "--pre"]), "--prefix\n");
    assert_eq!(complete(&["clacks", "keys", "--j"]), "--json\n");
    assert_eq!(complete(&["clacks", "-s", "t"]), "tcp://\ntls://\n");
    assert_eq!(complete(&["clacks", "-u", "set"]), "\n", "that is a user");
}

#[test]
fn fish_completes_commands_with_their_help() {
    let script = text(&clacks().path("fish"));
    let code = format!("source {script}; complete -C 'clacks retr'");
    let shown = output("fish", &["--no-config", "-c", &code]);
    assert_eq!(shown, "retrieve\tprint values of the cache\n");
    let code = format!("source {script}; complete -C 'clacks help retr'");
    let shown = output("fish", &["--no-config", "-c", &code]);
    assert_eq!(shown, "retrieve\tprint values of the cache\n");
}

#[test]
fn zsh_understands_the_script_of_the_commands() {
    let script = text(&clacks().path("zsh"));
    let code = format!(
        "autoload -Uz compinit && compinit -u -D; _arguments() {{ print -rl -- \"$@\" $commands }}; \
         t() {{ source {script} }}; t"
    );
    let shown = output("zsh", &["-f", "-c", &code]);
    assert!(
        shown
            .lines()
            .any(|line| line == "retrieve:print values of the cache"),
        "{shown}"
    );
    assert!(
        shown
            .lines()
            .any(|line| line.starts_with("(--json)--json[")),
        "{shown}"
    );
}
