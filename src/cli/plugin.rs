//! Makes a plugin of kubectl of the program: called by the name `kubectl-oom`, which `kubectl oom` does, it scans
//! unless another command is named.

use std::{ffi::OsString, path::Path};

/// The names that kubectl finds the plugin by.
const PLUGIN_NAMES: [&str; 2] = ["kubectl-oom", "kubectl_oom"];

/// What needs no command before it: the other commands, and what is the same for all.
const COMMANDS: [&str; 6] = ["run", "replay", "check", "scan", "--version", "-V"];

/// Returns whether the first of these words is a name of the plugin.
pub(super) fn is_plugin(words: &[OsString]) -> bool {
    let name = words.first().and_then(|name| Path::new(name).file_stem()?.to_str());
    name.is_some_and(|name| PLUGIN_NAMES.contains(&name))
}

/// Puts `scan` after the name of the plugin, unless a command follows it already.
pub(super) fn spell_out_command(mut words: Vec<OsString>) -> Vec<OsString> {
    let is_spelled = words.get(1).and_then(|word| word.to_str()).is_some_and(|word| COMMANDS.contains(&word));
    if is_plugin(&words) && !is_spelled {
        words.insert(1, "scan".into());
    }
    words
}

#[cfg(test)]
mod tests {
    use std::ffi::OsStr;

    use super::*;

    #[test]
    fn the_plugin_scans_unless_a_command_is_named() {
        for (line, spelled_out) in [
            ("/usr/bin/kubectl-oom", "/usr/bin/kubectl-oom scan"),
            ("kubectl_oom -n run -o json", "kubectl_oom scan -n run -o json"),
            ("kubectl-oom --help", "kubectl-oom scan --help"),
            ("kubectl-oom scan -n shop", "kubectl-oom scan -n shop"),
            ("kubectl-oom replay x", "kubectl-oom replay x"),
            ("kubectl-oom --version", "kubectl-oom --version"),
            ("kubernetes-oom-event-generator -v", "kubernetes-oom-event-generator -v"),
        ] {
            let words = spell_out_command(line.split(' ').map(OsString::from).collect());
            assert_eq!(words.join(OsStr::new(" ")), spelled_out, "{line}");
        }
    }
}
