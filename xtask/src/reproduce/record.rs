//! Which commits trained a run, kept in the run's folder.

use std::path::{Path, PathBuf};

use crate::error::{Error, Result, read_text};

/// Stands for the commit of a run that was trained before commits were recorded.
const UNKNOWN: &str = "a commit that was not recorded";

/// The commits that trained a run, in the order in which they did.
pub(super) struct Record {
    path: PathBuf,
    pub(super) commits: Vec<String>,
}

impl Record {
    /// The record of a run that starts afresh: of nothing yet.
    pub(super) fn fresh(folder: &Path) -> Self {
        Self { path: folder.join("trained-by.json"), commits: Vec::new() }
    }

    /// The record of a run that is continued.
    pub(super) fn continued(folder: &Path) -> Result<Self> {
        let fresh = Self::fresh(folder);
        if !fresh.path.exists() {
            return Ok(Self { commits: vec![UNKNOWN.into()], ..fresh });
        }
        let malformed =
            |e: serde_json::Error| Error::File { path: fresh.path.clone(), reason: e.to_string() };
        let commits = serde_json::from_str(&read_text(&fresh.path)?).map_err(malformed)?;
        Ok(Self { commits, ..fresh })
    }

    /// Writes down that a commit trains from here on.
    pub(super) fn trains(&mut self, commit: &str) -> Result<()> {
        if self.commits.last().is_some_and(|last| last == commit) {
            return Ok(());
        }
        self.commits.push(commit.to_owned());
        let text = serde_json::to_string(&self.commits).map_err(|e| Error::Usage(e.to_string()))?;
        Ok(pnn_core::store::write_atomic(&self.path, text.as_bytes())?)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_record_keeps_every_commit_once_and_a_fresh_start_forgets() {
        let folder = tempfile::tempdir().unwrap();
        let mut record = Record::fresh(folder.path());
        record.trains("a").unwrap();
        record.trains("a").unwrap();
        let mut continued = Record::continued(folder.path()).unwrap();
        assert_eq!(continued.commits, ["a"]);
        continued.trains("b").unwrap();
        assert_eq!(Record::continued(folder.path()).unwrap().commits, ["a", "b"]);
        Record::fresh(folder.path()).trains("c").unwrap();
        assert_eq!(Record::continued(folder.path()).unwrap().commits, ["c"]);
        std::fs::write(folder.path().join("trained-by.json"), "[").unwrap();
        let error = Record::continued(folder.path()).err().unwrap().to_string();
        assert!(error.contains("trained-by.json"), "{error}");
    }

    #[test]
    fn a_run_without_a_record_says_so() {
        let folder = tempfile::tempdir().unwrap();
        let mut record = Record::continued(folder.path()).unwrap();
        record.trains("b").unwrap();
        assert_eq!(record.commits, [UNKNOWN, "b"]);
    }
}
