//! The live page, as files that are part of the program. It asks for no others, and shows names as text alone: its policy
//! forbids the browser to load or to run anything else.

use super::Page;
use crate::protocol::http::{Policy, Status};
use std::borrow::Cow;

/// A file of the page.
pub struct File {
    path: &'static str,
    media_type: &'static str,
    content: &'static str,
}

static FILES: [File; 3] = [
    File {
        path: "/",
        media_type: "text/html; charset=utf-8",
        content: include_str!("page/index.html"),
    },
    File {
        path: "/page.css",
        media_type: "text/css; charset=utf-8",
        content: include_str!("page/page.css"),
    },
    File {
        path: "/page.js",
        media_type: "text/javascript; charset=utf-8",
        content: include_str!("page/page.js"),
    },
];

impl File {
    pub fn at(path: &str) -> Option<&'static File> {
        FILES.iter().find(|file| file.path == path)
    }

    pub fn page(&self) -> Page {
        Page {
            status: Status::Ok,
            media_type: self.media_type,
            policy: Policy::OwnFiles,
            body: Cow::Borrowed(self.content),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::broker::statistics::catalogue;

    /// Finds the values of the attributes src and href.
    fn links(html: &str) -> Vec<&str> {
        let parts = html.split("src=\"").chain(html.split("href=\""));
        let values = parts.filter_map(|part| part.split_once('"'));
        values
            .map(|(value, _)| value)
            .filter(|value| value.starts_with('/') || value.contains(':'))
            .collect()
    }

    #[test]
    fn the_page_refers_to_its_own_files_alone() {
        let html = FILES[0].content;
        for link in links(html) {
            let is_own = File::at(link).is_some() || link.starts_with("data:image/svg+xml,");
            let is_for_programs = ["/status.json", "/metrics", "/healthz"].contains(&link);
            assert!(is_own || is_for_programs, "{link}");
        }
        // The policy would not let them work.
        for inline in ["<style", " style=", "<script>", " onclick="] {
            assert!(!html.contains(inline), "{inline}");
        }
    }

    #[test]
    fn the_page_takes_no_text_for_html() {
        let script = FILES[2].content;
        for danger in [
            "innerHTML",
            "outerHTML",
            "insertAdjacentHTML",
            "document.write",
            "eval(",
            "new Function",
            "setHTMLUnsafe",
            "srcdoc",
        ] {
            assert!(!script.contains(danger), "{danger}");
        }
    }

    #[test]
    fn the_page_shows_figures_that_there_are() {
        let script = FILES[2].content;
        let names: Vec<&str> = catalogue::ALL.iter().map(|metric| metric.name).collect();
        let mut count = 0;
        for part in script.split("figures.").skip(1) {
            let is_end = |character: char| !character.is_ascii_lowercase() && character != '_';
            let name = part.split(is_end).next().unwrap_or_default();
            // Sentences may end with the word.
            if !name.is_empty() {
                assert!(names.contains(&name), "{name}");
                count += 1;
            }
        }
        assert!(count > 30, "{count} are found");
    }

    #[test]
    fn the_page_is_small() {
        let length: usize = FILES.iter().map(|file| file.content.len()).sum();
        assert!(length < 40 * 1024, "{length} bytes");
    }
}
