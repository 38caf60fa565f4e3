//! `config.example.yaml` is what a person starts from: it loads, it shows the defaults, and it names
//! every key.

use std::{ffi::OsString, fs, path::Path};

use kubernetes_oom_event_generator::config::{Config, LoadedConfig};

const EXAMPLE: &str = include_str!("../../config.example.yaml");

/// Loads the example as it is but for the paths of secrets.
fn load() -> LoadedConfig {
    let directory = tempfile::tempdir().unwrap();
    let mut example = EXAMPLE.to_owned();
    for name in ["team-webhook", "pager"] {
        let file = directory.path().join(name);
        fs::write(&file, "https://hooks.slack.com/services/T0/B0/x\n").unwrap();
        example =
            example.replace(&format!("_file: /etc/oom/{name}\n"), &format!("_file: {}\n", file.display()));
    }
    let path = directory.path().join("config.yaml");
    fs::write(&path, example).unwrap();
    Config::load(Some(&path), &[], []).unwrap()
}

#[test]
fn the_example_loads_without_a_warning() {
    let loaded = load();
    assert_eq!(loaded.warnings, Vec::<String>::new());
    let names: Vec<_> = loaded.config.sinks.iter().map(|sink| sink.name.as_str()).collect();
    assert_eq!(names, ["alerts", "events", "log", "pager", "team"]);
}

#[test]
fn the_example_shows_the_defaults() {
    let example = load().resolved;
    for default in Config::load(None, &[], []).unwrap().resolved {
        let shown = example.iter().find(|key| key.path == default.path).expect(&default.path);
        assert_eq!(shown.value, default.value, "{}", shown.path);
    }
    for sink_type in sinks::TYPES {
        let variables = [
            ("OOM_SINKS__X__TYPE", sink_type.name),
            match sink_type.name {
                "slack" => ("OOM_SINKS__X__WEBHOOK_URL", "https://hooks.slack.com/services/T0/B0/x"),
                "webhook" => ("OOM_SINKS__X__URL", "https://example.com"),
                "alertmanager" => ("OOM_SINKS__X__URLS", "http://alertmanager:9093"),
                _ => ("OOM_SINKS__X__RETRY_FOR", "1h"),
            },
        ];
        let known = variables.iter().map(|(name, value)| (OsString::from(name), OsString::from(value)));
        let config = Config::load(None, &[], known).unwrap().config;
        let example = load().config.sinks.into_iter().find(|sink| sink.sink_type.name == sink_type.name);
        assert_eq!(example.expect(sink_type.name).grouping, config.sinks[0].grouping, "{}", sink_type.name);
    }
}

#[test]
fn the_example_names_every_key() {
    let named: Vec<_> =
        EXAMPLE.lines().filter_map(|line| line.trim_start_matches(['#', ' ']).split_once(':')).collect();
    for key in load().resolved {
        let name = key.path.rsplit('.').next().unwrap();
        assert!(named.iter().any(|(key, _)| *key == name), "{} is in the example", key.path);
    }
}

#[test]
fn the_example_has_a_file_for_the_secret_and_none_in_it() {
    assert!(!Path::new("/etc/oom/team-webhook").exists());
    let errors = Config::load(Some(Path::new("config.example.yaml")), &[], []).unwrap_err().to_string();
    for key in ["sinks.pager.url_file", "sinks.team.webhook_url_file"] {
        assert!(errors.contains(&format!("config.example.yaml: {key}: names a file")), "{errors}");
    }
    assert_eq!(errors.lines().count(), 2, "{errors}");
}
