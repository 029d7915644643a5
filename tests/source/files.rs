//! The Rust files of the crate, as the tests beside this one read them.

use std::fs;
use std::path::{Path, PathBuf};

/// A source file.
pub struct Source {
    /// Below the root of the repository.
    pub path: String,
    pub text: String,
}

impl Source {
    /// The folder or file of `src` that it belongs to; `tests` for all files of the tests.
    pub fn layer(&self) -> &str {
        match self.path.strip_prefix("src/") {
            Some(inside) => inside.split(['/', '.']).next().expect("a name"),
            None => "tests",
        }
    }

    /// The text without comments, and without the unit tests at the end.
    pub fn code(&self) -> String {
        let lines = self.text.lines().take_while(|line| *line != "#[cfg(test)]");
        let code: Vec<&str> = lines
            .map(|line| line.split("//").next().unwrap_or_default())
            .collect();
        code.join("\n")
    }
}

/// All Rust files below a folder of the repository, in the order of their paths.
pub fn sources(folder: &str) -> Vec<Source> {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let mut paths = Vec::new();
    collect(&root.join(folder), &mut paths);
    paths.sort();
    let sources = paths.into_iter().map(|path| Source {
        text: fs::read_to_string(&path).expect("a source file"),
        path: path
            .strip_prefix(root)
            .expect("it is below the root")
            .to_str()
            .expect("a path in UTF-8")
            .to_owned(),
    });
    sources.collect()
}

fn collect(folder: &Path, paths: &mut Vec<PathBuf>) {
    for entry in fs::read_dir(folder).expect("a folder") {
        let path = entry.expect("an entry").path();
        if path.is_dir() && !path.ends_with("target") {
            collect(&path, paths);
        } else if path.extension().is_some_and(|extension| extension == "rs") {
            paths.push(path);
        }
    }
}
