//! What is needed to see a result again: the build, as rows of a table.

use super::shell::{Cell, words};
use crate::suite::Build;

/// The build's rows.
pub(super) fn build_rows(build: &Build) -> Vec<Vec<Cell>> {
    let commit = build.commit.as_deref().unwrap_or("not told to the build");
    [("version", build.version.as_str()), ("profile", &build.profile), ("target", &build.target), ("commit", commit)]
        .into_iter()
        .map(|(name, value)| vec![words(name), words(value)])
        .collect()
}
