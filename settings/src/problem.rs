//! Says what is wrong with a configuration to the person who wrote it.

use std::fmt;

use untrusted::clean;

use super::ValueOrigin;

/// One error in a configuration. Carries no secret.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ConfigProblem {
    /// The key, from the top: `sinks.team.group_wait`; empty for the configuration as a whole.
    pub path: String,
    /// Where it was written.
    pub origin: ValueOrigin,
    /// What is wrong, and what would be right.
    pub text: String,
}

impl fmt::Display for ConfigProblem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.origin != ValueOrigin::Default {
            write!(f, "{}: ", self.origin)?;
        }
        if !self.path.is_empty() {
            write!(f, "{}: ", self.path)?;
        }
        f.write_str(&self.text)
    }
}

/// All errors in a configuration: shown one a line, sorted by key.
#[derive(Debug)]
pub struct ConfigErrors(Vec<ConfigProblem>);

impl ConfigErrors {
    /// Takes at least one problem, in any order.
    pub fn new(mut problems: Vec<ConfigProblem>) -> Self {
        problems.sort_by(|a, b| a.path.cmp(&b.path));
        Self(problems)
    }
}

impl fmt::Display for ConfigErrors {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (index, problem) in self.0.iter().enumerate() {
            if index > 0 {
                f.write_str("\n")?;
            }
            f.write_str(&clean(&problem.to_string()))?;
        }
        Ok(())
    }
}

impl std::error::Error for ConfigErrors {}

/// Returns `kubernetes, slack or stdout`.
pub fn one_of(words: &[&str]) -> String {
    match words {
        [] => String::new(),
        [word] => (*word).to_owned(),
        [words @ .., last] => format!("{} or {last}", words.join(", ")),
    }
}

/// Returns ` (did you mean slack?)` if a known word is similar to the unknown one, else nothing.
pub fn did_you_mean(word: &str, known: &[&str]) -> String {
    let similarity = |candidate: &str| strsim::normalized_damerau_levenshtein(word, candidate);
    let closest = known.iter().max_by(|a, b| similarity(a).total_cmp(&similarity(b)));
    let close = closest.filter(|candidate| similarity(candidate) > 0.6);
    close.map(|candidate| format!(" (did you mean {candidate}?)")).unwrap_or_default()
}
