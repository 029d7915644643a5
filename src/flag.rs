//! A flag as people see it. Each program has one table of them, from which its parsing, its help, its
//! completions and a test against its man page follow.

pub struct Flag {
    /// Empty if it has none.
    pub short: &'static str,
    pub long: &'static str,
    /// What its value is called; empty if it takes none.
    pub value: &'static str,
    pub repeatable: bool,
    pub help: &'static str,
    /// Shown in the help; empty if there is none.
    pub default: &'static str,
    /// The program's commands that it belongs to; empty: all.
    pub commands: &'static [&'static str],
}

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

    /// How it is written, the long form last.
    pub fn forms(&self) -> Vec<String> {
        let short = (!self.short.is_empty()).then(|| format!("-{}", self.short));
        short
            .into_iter()
            .chain([format!("--{}", self.long)])
            .collect()
    }

    /// What it is for, as the help tells it.
    pub fn explained(&self) -> String {
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
