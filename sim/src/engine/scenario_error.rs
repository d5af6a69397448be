//! What is wrong with a scenario file: where it stands, and what would be right.
//!
//! Whoever writes a scenario should never have to read our source. So every error has the file's name and text, a
//! marked span, and help that names what is allowed. It is both a plain [`std::error::Error`] and a
//! [`miette::Diagnostic`].

use std::ops::Range;

use miette::{NamedSource, SourceSpan};

/// An error at one place of one scenario file.
#[derive(Debug, thiserror::Error, miette::Diagnostic)]
#[error("{message}")]
pub struct ScenarioError {
    message: Box<str>,
    #[source_code]
    text: NamedSource<String>,
    #[label("here")]
    span: SourceSpan,
    #[help]
    help: Box<str>,
}

/// What is wrong, without the file it is in: what checks of single sections return.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SectionError {
    /// Bytes of the file that are wrong, as [`serde_spanned::Spanned`] gives them.
    pub span: Range<usize>,
    /// What is wrong, with the value.
    pub message: String,
    /// What would be right.
    pub help: String,
}

impl SectionError {
    /// An error at `span`.
    pub fn new(span: Range<usize>, message: impl Into<String>, help: impl Into<String>) -> Self {
        Self { span, message: message.into(), help: help.into() }
    }

    /// Says in which file it is.
    pub(super) fn in_file(self, file_name: &str, text: &str) -> ScenarioError {
        ScenarioError {
            message: self.message.into(),
            text: NamedSource::new(file_name, text.to_owned()),
            span: self.span.into(),
            help: self.help.into(),
        }
    }
}

impl ScenarioError {
    /// The file's name, as the caller gave it.
    pub fn file_name(&self) -> &str {
        self.text.name()
    }

    /// Line and column of the first wrong character, both counted from 1; the column in characters.
    pub fn line_and_column(&self) -> (usize, usize) {
        let before = &self.text.inner().as_bytes()[..self.span.offset().min(self.text.inner().len())];
        let line_start = before.iter().rposition(|&byte| byte == b'\n').map_or(0, |newline| newline + 1);
        let line = before.iter().filter(|&&byte| byte == b'\n').count() + 1;
        (line, String::from_utf8_lossy(&before[line_start..]).chars().count() + 1)
    }

    /// The characters that are marked as wrong.
    pub fn marked(&self) -> &str {
        let start = self.span.offset();
        self.text.inner().get(start..start + self.span.len()).unwrap_or_default()
    }

    /// What would be right.
    pub fn help(&self) -> &str {
        &self.help
    }
}

/// Translates an error of the TOML reader. Its message names unknown keys, wrong types and what it expected; the help
/// adds the nearest known key.
pub(super) fn from_toml(error: &toml::de::Error, text: &str) -> SectionError {
    let span = error.span().unwrap_or(0..text.len().min(1));
    let message = error.message().to_owned();
    let quoted: Vec<&str> = message.split('`').skip(1).step_by(2).collect();
    let help = match quoted.split_first() {
        Some((given, known)) if message.starts_with("unknown") && !known.is_empty() => one_of(given, "keys", known),
        Some((missing, _)) if message.starts_with("missing field") => format!("add `{missing}` here"),
        _ if message.starts_with("invalid") => {
            "give a value of the expected type; times are whole milliseconds".to_owned()
        }
        _ => "this is not TOML: see https://toml.io for its syntax".to_owned(),
    };
    SectionError::new(span, message, help)
}

/// Help for a name that is not among the known ones: the nearest, if one is near, and all of them.
pub fn one_of(given: &str, what: &str, known: &[impl AsRef<str>]) -> String {
    let known: Vec<&str> = known.iter().map(AsRef::as_ref).collect();
    let nearest = known.iter().map(|name| (edits(given, name), *name)).min();
    let all = format!("known {what}: {}", known.join(", "));
    match nearest {
        // Further off than a third of its letters, a guess confuses more than it helps.
        Some((edits, name)) if edits <= given.chars().count().max(3) / 3 => format!("did you mean {name:?}? {all}"),
        _ => all,
    }
}

/// Characters to insert, remove or replace to get from `a` to `b` (Levenshtein).
fn edits(a: &str, b: &str) -> usize {
    let b: Vec<char> = b.chars().collect();
    let mut row: Vec<usize> = (0..=b.len()).collect();
    for (i, from) in a.chars().enumerate() {
        let mut diagonal = row[0];
        row[0] = i + 1;
        for (j, to) in b.iter().enumerate() {
            let replaced = diagonal + usize::from(from != *to);
            diagonal = row[j + 1];
            row[j + 1] = replaced.min(row[j] + 1).min(diagonal + 1);
        }
    }
    row[b.len()]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn edits_count_the_least_changes() {
        assert_eq!(edits("kitten", "sitting"), 3);
        assert_eq!(edits("", "abc"), 3);
        assert_eq!(edits("abc", "abc"), 0);
    }

    #[test]
    fn a_near_name_is_suggested_and_a_far_one_is_not() {
        let known = ["broker", "ledger"];
        assert_eq!(one_of("borker", "hosts", &known), "did you mean \"broker\"? known hosts: broker, ledger");
        assert_eq!(one_of("postgres", "hosts", &known), "known hosts: broker, ledger");
    }

    #[test]
    fn line_and_column_count_from_one_and_in_characters() {
        let error = SectionError::new(6..8, "wrong", "right").in_file("x.toml", "a = 1\nä = 2\n");
        assert_eq!(error.line_and_column(), (2, 1));
        let error = SectionError::new(11..12, "wrong", "right").in_file("x.toml", "a = 1\nä = 2\n");
        assert_eq!(error.line_and_column(), (2, 5));
    }
}
