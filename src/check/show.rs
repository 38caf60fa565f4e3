//! Writes the configuration as YAML: one key a line, and after it where its value was written.

use serde_json::Value;
use serde_saphyr::{FlowSeq, ser, ser_options};
use settings::{ResolvedKey, ValueOrigin};
use untrusted::{clean, is_deceptive};

/// The column at which comments begin where the value leaves room.
const COMMENT_COLUMN: usize = 40;

/// Returns a configuration file that, apart from the secrets, means the same. Keys that nobody wrote and
/// that have no default are left out.
///
/// # Errors
///
/// A value can't be written as YAML, which is a bug.
pub fn yaml(resolved: &[ResolvedKey]) -> Result<String, ser::Error> {
    let is_nothing = |key: &ResolvedKey| key.value.is_null() && key.origin == ValueOrigin::Default;
    let mut yaml = String::new();
    let mut before: Vec<&str> = Vec::new();
    for key in resolved.iter().filter(|key| !is_nothing(key)) {
        let path: Vec<&str> = key.path.split('.').collect();
        let shared = path.iter().zip(&before).take_while(|(part, other)| part == other).count();
        for (depth, part) in path.iter().enumerate().skip(shared) {
            let mut line = format!("{:indent$}{}:", "", inline(&Value::from(*part))?, indent = 2 * depth);
            if depth + 1 == path.len() {
                line = format!("{line} {}", inline(&key.value)?);
                line = format!("{line:COMMENT_COLUMN$} # {}", comment(&key.origin));
            }
            yaml += &line;
            yaml.push('\n');
        }
        before = path;
    }
    Ok(yaml)
}

/// Writes a key or a value on one line.
fn inline(value: &Value) -> Result<String, ser::Error> {
    let options = ser_options! { prefer_block_scalars: false };
    let text = match value {
        Value::Array(list) => serde_saphyr::to_string_with_options(&FlowSeq(list), options),
        value => serde_saphyr::to_string_with_options(value, options),
    };
    let text = text?.trim_end_matches('\n').to_owned();
    if !text.contains(is_deceptive) {
        return Ok(text);
    }
    // JSON is YAML, and quotes each text.
    let escaped = |c| if is_deceptive(c) { format!("\\U{:08x}", u32::from(c)) } else { String::from(c) };
    Ok(value.to_string().chars().map(escaped).collect())
}

/// Returns the origin as a comment. A comment can't be quoted, and a path may contain any character.
fn comment(origin: &ValueOrigin) -> String {
    clean(&origin.to_string()).into_owned()
}

#[cfg(test)]
mod tests {
    use std::{ffi::OsString, fs};

    use proptest::prelude::*;

    use super::*;
    use crate::config::{Config, LoadedConfig};

    fn load(text: &str, sinks: &[&str], variables: &[(String, String)]) -> Result<LoadedConfig, String> {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("config.yaml");
        fs::write(&path, text).unwrap();
        let sinks: Vec<String> = sinks.iter().map(|&sink| sink.to_owned()).collect();
        let variables = variables.iter().map(|(name, value)| (OsString::from(name), OsString::from(value)));
        Config::load(Some(&path), &sinks, variables).map_err(|errors| errors.to_string())
    }

    /// What is printed, with the file named without its directory.
    fn shown(text: &str, sinks: &[&str], variables: &[(&str, &str)]) -> String {
        let variables: Vec<_> =
            variables.iter().map(|&(name, value)| (name.to_owned(), value.to_owned())).collect();
        let mut resolved = load(text, sinks, &variables).unwrap().resolved;
        for key in &mut resolved {
            if let ValueOrigin::File(path) = &mut key.origin {
                *path = path.file_name().unwrap().into();
            }
        }
        yaml(&resolved).unwrap()
    }

    /// The values, without those that are no more than the absence of one.
    fn values(loaded: LoadedConfig) -> Vec<(String, Value)> {
        let values = loaded.resolved.into_iter().map(|key| (key.path, key.value));
        values.filter(|(path, value)| !value.is_null() || path == "server").collect()
    }

    #[test]
    fn each_line_says_where_its_value_was_written() {
        let text = "
            cluster: prod
            namespaces: { exclude: [\"kube-*\", \"*-test\"] }
            server: null
            sinks:
              team: { type: slack, webhook_url: \"https://hooks.slack.com/services/T0/B0/hunter2\" }
        ";
        let variables = [("OOM_LOOKBACK", "30m"), ("OOM_SINKS__TEAM__GROUP_WAIT", "90s")];
        assert_eq!(
            shown(text, &[], &variables),
            r#"cluster: prod                            # config.yaml
namespaces:
  include: []                            # default
  exclude: [kube-*, "*-test"]            # config.yaml
lookback: 30m                            # $OOM_LOOKBACK
report_unrestarted: false                # default
honor_ignore: false                      # default
server: null                             # config.yaml
log:
  format: text                           # default
shutdown_grace: 20s                      # default
advice:
  bump_up_ratio: 1.2                     # default
  min_bump_up: 100Mi                     # default
leader_election:
  lease: ""                              # default
sinks:
  team:
    type: slack                          # config.yaml
    match:
      namespaces: []                     # default
      pods: []                           # default
      labels: ""                         # default
      workload_kinds: []                 # default
      workload_names: []                 # default
      containers: []                     # default
    group_wait: 1m30s                    # $OOM_SINKS__TEAM__GROUP_WAIT
    group_interval: 1h                   # default
    retry_for: 1h                        # default
    queue_capacity: 4096                 # default
    send_resolved: false                 # default
    link: ""                             # default
    webhook_url: "***"                   # config.yaml
"#
        );
    }

    #[test]
    fn sinks_of_the_command_line_and_of_nobody_are_named_as_such() {
        assert!(
            shown("", &["stdout"], &[])
                .contains("    type: stdout                         # --sink stdout\n")
        );
        assert!(shown("", &[], &[]).contains("    type: kubernetes                     # default\n"));
    }

    #[test]
    fn a_secrets_file_is_named_and_the_secret_in_it_is_not() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("web hook: #1");
        fs::write(&path, "https://hooks.slack.com/services/T0/B0/hunter2\n").unwrap();
        let path = path.display().to_string();
        let text = format!("sinks: {{ team: {{ type: slack, webhook_url_file: {path:?} }} }}");
        let shown = shown(&text, &[], &[]);
        assert!(shown.contains(&format!("    webhook_url_file: {path:?} # config.yaml\n")), "{shown}");
        assert!(!shown.contains("hunter2") && !shown.contains("webhook_url:"), "{shown}");
    }

    #[test]
    fn a_path_cannot_end_its_comment() {
        let path = std::path::PathBuf::from("a\nsinks: {}\r\u{85}\u{feff}");
        let key =
            ResolvedKey { path: "cluster".into(), value: "prod".into(), origin: ValueOrigin::File(path) };
        let text = yaml(&[key]).unwrap();
        assert_eq!(text.lines().count(), 1, "{text:?}");
        assert_eq!(load(&text, &[], &[]).unwrap().config.cluster.as_deref(), Some("prod"));
    }

    /// Text of what YAML, or one of its readers, could take for something else.
    fn any_text() -> impl Strategy<Value = String> {
        const PARTS: [&str; 49] = [
            "*", "&a", "!", "|", ">", "%", "@", "`", "~", "#", " #", ": ", ":", "- ", "-", "? ", ",", "{",
            "}", "[", "]", "'", "\"", "\\", "\n", "\r\n", "\t", " ", "\u{0}", "\u{1b}", "\u{7f}", "\u{9b}",
            "\u{85}", "\u{2028}", "\u{feff}", "\u{202e}", "\u{2066}", "\u{2000}", "\u{a0}", "é", "😀",
            "0x1f", "1e3", "12:30", "null", "yes", "...", "---", "<<",
        ];
        let parts =
            prop::collection::vec(prop::sample::select(&PARTS[..]), 0..5).prop_map(|all| all.concat());
        prop_oneof![3 => parts, 1 => any::<String>(), 1 => "[a-z ]{70,200}"]
    }

    proptest! {
        #![proptest_config(ProptestConfig { cases: 300, failure_persistence: None, ..ProptestConfig::default() })]

        #[test]
        fn what_is_shown_resolves_to_the_same_again(
            cluster in any_text(),
            globs in prop::collection::vec("[a-z?]([a-z0-9?-]{0,8}[a-z*])?", 0..4),
            name in prop::sample::select(&["null", "true", "y", "on", "no", "e", "nan", "a-1_b"][..]),
        ) {
            let variables = [
                ("OOM_CLUSTER".to_owned(), cluster),
                ("OOM_NAMESPACES__EXCLUDE".to_owned(), serde_json::to_string(&globs).unwrap()),
                (format!("OOM_SINKS__{name}__TYPE"), "slack".to_owned()),
                (format!("OOM_SINKS__{name}__WEBHOOK_URL"), "http://127.0.0.1/".to_owned()),
                (format!("OOM_SINKS__{name}__MATCH__CONTAINERS"), serde_json::to_string(&globs).unwrap()),
            ];
            let loaded = load("", &[], &variables).unwrap();
            let text = yaml(&loaded.resolved).unwrap();
            prop_assert!(!text.contains(|c| is_deceptive(c) && c != '\n'), "{text:?}");
            let again = text.replace("\"***\"", "http://127.0.0.1/");
            let again = load(&again, &[], &[]).map_err(|errors| TestCaseError::fail(format!("{errors}\n{text}")))?;
            prop_assert_eq!(values(again), values(loaded), "{}", text);
        }
    }
}
