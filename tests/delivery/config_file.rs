//! A configuration of a Slack beside the kubernetes sink, for the program as a process.

use std::{fs, path::PathBuf};

use tempfile::TempDir;

/// The file of a configuration, which is there as long as this.
pub struct ConfigFile(TempDir);

impl ConfigFile {
    /// One of these sinks, as YAML, that watches this namespace alone.
    pub fn new(namespace: &str, sinks: &str) -> Self {
        let directory = tempfile::tempdir().unwrap();
        let yaml = format!("namespaces: {{ include: [{namespace}] }}\nsinks:\n{sinks}");
        fs::write(directory.path().join("config.yaml"), yaml).unwrap();
        Self(directory)
    }

    pub fn path(&self) -> PathBuf {
        self.0.path().join("config.yaml")
    }
}
