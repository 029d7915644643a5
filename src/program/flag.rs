//! The description of a flag. Each program has one table of flags, from which its parser, its help, its completions and a
//! test against its man page follow. The syntax of sizes and the message about unknown names, which all programs share,
//! are here, too.

/// A flag of a program.
pub struct Flag {
    /// The short form without its hyphen; empty if there is none.
    pub short: &'static str,
    /// The long form without its hyphens.
    pub long: &'static str,
    /// The name of the value in the help; empty if the flag takes no value.
    pub value: &'static str,
    pub repeatable: bool,
    pub help: &'static str,
    /// The default, as text for the help; empty if there is none.
    pub default: &'static str,
    /// The commands that the flag belongs to; empty if it belongs to all.
    pub commands: &'static [&'static str],
}

/// A flag that belongs to all commands, may be given once and has no default.
pub const fn flag(
    short: &'static str,
    long: &'static str,
    value: &'static str,
    help: &'static str,
) -> Flag {
    Flag {
        short,
        long,
        value,
        repeatable: false,
        help,
        default: "",
        commands: &[],
    }
}

// Flags of all programs that connect to a server.

pub const CA: Flag = flag(
    "",
    "ca",
    "FILE",
    "authorities that a tls:// server's certificate must come from (PEM)",
)
.default("the system's");

pub const INSECURE: Flag = flag(
    "",
    "insecure",
    "",
    "don't check the certificate of a tls:// server: an impostor gets the password",
);

pub const ALLOW_PLAINTEXT: Flag = flag(
    "",
    "allow-plaintext",
    "",
    "allow tcp:// to addresses that aren't loopback",
);

impl Flag {
    pub const fn default(self, default: &'static str) -> Flag {
        Flag { default, ..self }
    }

    pub const fn repeatable(self) -> Flag {
        Flag {
            repeatable: true,
            ..self
        }
    }

    pub const fn only(self, commands: &'static [&'static str]) -> Flag {
        Flag { commands, ..self }
    }

    /// The forms of the flag with their hyphens, the long form last.
    pub fn forms(&self) -> Vec<String> {
        let short = (!self.short.is_empty()).then(|| format!("-{}", self.short));
        short
            .into_iter()
            .chain([format!("--{}", self.long)])
            .collect()
    }

    /// The long form with its hyphens, for messages.
    pub fn long_form(&self) -> String {
        format!("--{}", self.long)
    }

    /// The description of the flag in the help, with its commands and its default.
    pub fn help_text(&self) -> String {
        let mut text = self.help.to_owned();
        if !self.commands.is_empty() {
            text += &format!(" ({})", self.commands.join(", "));
        }
        if !self.default.is_empty() {
            text += &format!(" [{}]", self.default);
        }
        text
    }
}

/// Parses a size in bytes: digits, followed by K, M or G (powers of 1024) in either case, which B or iB may follow. `None`
/// if the text is not a size or the number is too large.
pub fn parse_size(text: &str) -> Option<u64> {
    let end = text.bytes().take_while(u8::is_ascii_digit).count();
    let (digits, unit) = text.split_at(end);
    let bits = match unit.to_ascii_lowercase().as_str() {
        "" | "b" => 0,
        "k" | "kb" | "kib" => 10,
        "m" | "mb" | "mib" => 20,
        "g" | "gb" | "gib" => 30,
        _ => return None,
    };
    digits.parse::<u64>().ok()?.checked_mul(1 << bits)
}

/// The message about an unknown flag or command. `given` is the text that was typed.
pub fn unknown(program: &str, kind: &str, given: &str, known: &[String]) -> String {
    match nearest(given, known) {
        Some(name) => did_you_mean(kind, given, name),
        None => format!("there is no {kind} \"{given}\"; try {program} --help"),
    }
}

/// The message about an unknown flag or command for which another name was probably meant.
pub fn did_you_mean(kind: &str, given: &str, meant: &str) -> String {
    format!("there is no {kind} \"{given}\"; did you mean \"{meant}\"?")
}

/// The known name that was probably meant: one that differs by about one letter in four, or that contains the typed text,
/// or is contained in it.
fn nearest<'a>(given: &str, known: &'a [String]) -> Option<&'a str> {
    /// The length of the shortest text that counts as contained. Shorter ones are parts of many words.
    const SHORTEST_PART: usize = 3;
    let is_part = |part: &str, of: &str| part.len() >= SHORTEST_PART && of.contains(part);
    let bare = |name: &'a str| name.trim_start_matches('-');
    let typed = given.split('=').next().unwrap_or_default();
    let typed = typed.trim_start_matches('-');
    let length = typed.chars().count();
    let candidates = known.iter().filter_map(|name| {
        let distance = strsim::osa_distance(typed, bare(name));
        let is_near =
            distance <= length / 4 || is_part(typed, bare(name)) || is_part(bare(name), typed);
        is_near.then_some((distance, name.as_str()))
    });
    candidates.min().map(|(_, name)| name)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sizes_have_units_in_either_case() {
        for (text, size) in [
            ("0", 0),
            ("4096", 4096),
            ("64k", 64 << 10),
            ("64K", 64 << 10),
            ("64m", 64 << 20),
            ("64MB", 64 << 20),
            ("64mb", 64 << 20),
            ("64MiB", 64 << 20),
            ("1G", 1 << 30),
            ("1gb", 1 << 30),
            ("100B", 100),
        ] {
            assert_eq!(parse_size(text), Some(size), "{text}");
        }
        for text in [
            "",
            "M",
            "MB",
            "-1",
            "+1",
            "1.5M",
            "64 M",
            "64T",
            "64MM",
            "64Mi",
            "99999999999G",
            "6é",
        ] {
            assert_eq!(parse_size(text), None, "{text}");
        }
    }

    #[test]
    fn what_was_probably_meant_is_offered() {
        let names = [
            "--listen",
            "--tls-cert",
            "--persist",
            "--password-file",
            "--max-clients",
            "--ca",
            "set",
            "retrieve",
        ];
        let known = names.map(str::to_owned);
        for (given, meant) in [
            ("--lisen", Some("--listen")),
            ("--listne", Some("--listen")),
            ("--persits=file", Some("--persist")),
            ("--cert", Some("--tls-cert")),
            ("--tls-certificate", Some("--tls-cert")),
            ("--password", Some("--password-file")),
            ("--max_clients", Some("--max-clients")),
            ("sett", Some("set")),
            ("retreive", Some("retrieve")),
            ("get", None),
            ("-x", None),
            ("--", None),
            ("", None),
            // The text contains a name, but a short one.
            ("--frobnicate", None),
        ] {
            assert_eq!(nearest(given, &known), meant, "{given}");
        }
    }
}
