//! What is right and wrong in a configuration, and what is said about it.

mod layers;

use std::fs;

use super::*;

/// Loads a file of this text with these variables.
fn load(text: &str, variables: &[(&str, &str)]) -> Result<LoadedConfig, String> {
    load_with(text, &[], variables)
}

/// Errors are given without the path of the file, which differs from run to run.
fn load_with(text: &str, sinks: &[&str], variables: &[(&str, &str)]) -> Result<LoadedConfig, String> {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("config.yaml");
    fs::write(&path, text).unwrap();
    let sinks: Vec<String> = sinks.iter().map(|&sink| sink.to_owned()).collect();
    let variables = variables.iter().map(|(name, value)| (OsString::from(name), OsString::from(value)));
    Config::load(Some(&path), &sinks, variables)
        .map_err(|errors| errors.to_string().replace(&format!("{}/", directory.path().display()), ""))
}

fn config(text: &str) -> Config {
    load(text, &[]).expect(text).config
}

fn types(config: &Config) -> Vec<(&str, &str)> {
    config.sinks.iter().map(|sink| (sink.name.as_str(), sink.sink_type.name)).collect()
}

#[test]
fn without_anything_the_defaults_hold() {
    let nothing = Config::load(None, &[], []).unwrap().config;
    for config in
        [nothing, config(""), config("# nothing\n"), config("sinks:\n"), config("{}"), config("sinks: {}")]
    {
        assert_eq!(config.cluster, None);
        assert!(config.namespaces.include().is_empty());
        assert!(config.namespaces.selects("anything"));
        assert_eq!(config.lookback, Duration::from_mins(55));
        assert!(!config.report_unrestarted);
        assert!(!config.honor_ignore);
        assert_eq!(config.server, Some(ServerConfig { address: "[::]:10254".parse().unwrap(), page: true }));
        assert_eq!(config.log, LogFormat::Text);
        assert_eq!(config.shutdown_grace, Duration::from_secs(20));
        assert_eq!(types(&config), [("events", "kubernetes")]);
        let sink = &config.sinks[0];
        assert!(sink.matches.is_everything());
        assert_eq!(sink.grouping, sinks::kubernetes::TYPE.grouping);
        assert_eq!(sink.retry_for, Duration::from_hours(1));
        assert_eq!(sink.queue_capacity, 4096);
        assert_eq!(config.warnings(), Vec::<String>::new());
    }
}

#[test]
fn the_top_keys_are_those_that_the_reader_asks_for() {
    let resolved = Config::load(None, &[], []).unwrap().resolved;
    let mut read: Vec<_> = resolved.iter().filter_map(|key| key.path.split('.').next()).collect();
    read.dedup();
    assert_eq!(read, TOP_KEYS);
}

#[test]
fn a_lease_is_in_the_namespace_of_the_pod() {
    let text = "leader_election: { lease: oom }";
    let lease = load(text, &[("POD_NAMESPACE", "monitoring")]).unwrap().config.lease;
    assert_eq!(lease, Some(LeaseName { namespace: "monitoring".to_owned(), name: "oom".to_owned() }));
    for variables in [&[][..], &[("POD_NAMESPACE", "")]] {
        assert_eq!(
            load(text, variables).unwrap_err(),
            "config.yaml: leader_election.lease: is \"oom\", but $POD_NAMESPACE is not set; \
             expected $POD_NAMESPACE: the namespace of the Lease"
        );
        assert_eq!(load("leader_election: { lease: '' }", variables).unwrap().config.lease, None);
    }
    assert!(load("leader_election: { lease: Oom }", &[("POD_NAMESPACE", "monitoring")]).is_err());
}

#[test]
fn every_key_is_read() {
    let config = config(
        r#"
        cluster: prod
        namespaces: { include: [shop, shop, search], exclude: ["se*"] }
        lookback: 30m
        report_unrestarted: true
        honor_ignore: true
        server: { listen: "127.0.0.1:80" }
        log: { format: json }
        shutdown_grace: 0s
        advice: { bump_up_ratio: 1.5, min_bump_up: 1Gi }
        sinks:
          team: { type: slack, webhook_url: "https://x", retry_for: 5m, queue_capacity: 1 }
          log: { type: stdout, group_wait: 1s, group_interval: 1m, match: { namespaces: [shop] } }
        "#,
    );
    assert_eq!(config.cluster.as_deref(), Some("prod"));
    assert_eq!(config.namespaces.include(), ["search", "shop"]);
    assert!(config.namespaces.selects("shop"));
    assert!(!config.namespaces.selects("search"));
    assert!(!config.namespaces.selects("other"));
    assert_eq!(config.lookback, Duration::from_mins(30));
    assert!(config.report_unrestarted);
    assert!(config.honor_ignore);
    assert_eq!(config.server.map(|server| server.address), "127.0.0.1:80".parse().ok());
    assert_eq!(config.log, LogFormat::Json);
    assert_eq!(config.shutdown_grace, Duration::ZERO);
    assert_eq!(config.advice, Some(AdvicePolicy { bump_up_thousandths: 1500, min_bump_up_bytes: 1 << 30 }));
    assert_eq!(types(&config), [("log", "stdout"), ("team", "slack")]);
    let [log, team] = config.sinks.as_slice() else { panic!("{:?}", config.sinks) };
    assert_eq!(log.grouping, Grouping { wait: Duration::from_secs(1), interval: Duration::from_mins(1) });
    assert!(!log.matches.is_everything());
    assert_eq!(team.grouping, sinks::slack::TYPE.grouping);
    assert_eq!(team.retry_for, Duration::from_mins(5));
    assert_eq!(team.queue_capacity, 1);
}

#[test]
fn advice_is_as_the_vertical_pod_autoscaler_gives_it_unless_it_is_set_or_off() {
    let raise = |thousandths, bytes| {
        Some(AdvicePolicy { bump_up_thousandths: thousandths, min_bump_up_bytes: bytes })
    };
    for (text, policy) in [
        ("{}", Some(AdvicePolicy::default())),
        ("advice: {}", Some(AdvicePolicy::default())),
        ("advice: { bump_up_ratio: 2 }", raise(2000, 100 << 20)),
        ("advice: { bump_up_ratio: 1.25, min_bump_up: 0 }", raise(1250, 0)),
        ("advice: { min_bump_up: 1048576 }", raise(1200, 1 << 20)),
        ("advice: null", None),
    ] {
        assert_eq!(config(text).advice, policy, "{text}");
    }
}

#[test]
fn a_wrong_value_is_explained() {
    for (text, error) in [
        ("cluster: 5", "cluster: is 5; expected text, in quotes if it looks like a number"),
        ("lookback: 55", "lookback: is 55; expected a duration such as 2s, 15m or 1h"),
        ("report_unrestarted: 1", "report_unrestarted: is 1; expected true or false"),
        (
            "server: { listen: localhost }",
            "server.listen: is \"localhost\"; expected an address and a port such as [::]:10254 or 127.0.0.1:10254",
        ),
        ("server: 10254", "server: is a number; expected a map"),
        ("server: { port: 1 }", "server.port: is no known key; expected listen or page"),
        ("log: { format: xml }", "log.format: is \"xml\"; expected text or json"),
        ("log: json", "log: is text; expected a map"),
        (
            "namespaces: { include: shop }",
            "namespaces.include: is \"shop\"; expected a list of names such as [\"shop\", \"search\"]",
        ),
        (
            "namespaces: { include: [\"shop-*\"] }",
            "namespaces.include: has \"shop-*\"; expected names of namespaces, whole: a-z, 0-9 and -, at most 63 \
             (globs are for exclude)",
        ),
        (
            "namespaces: { exclude: [\"a[\"] }",
            "namespaces.exclude: has \"a[\": unclosed character class; missing ']'; expected a list of globs such as \
             [\"shop-*\", \"search\"]",
        ),
        (
            "namespaces: { exclude: [\"\"] }",
            "namespaces.exclude: has an empty glob; expected a list of globs such as [\"shop-*\", \"search\"]",
        ),
        (
            "namespaces: { include: [a, b], exclude: [\"*\"] }",
            "namespaces.exclude: leaves none of the namespaces in include; expected at least one of them to be left",
        ),
        (
            "lookbak: 1h",
            "lookbak: is no known key (did you mean lookback?); expected cluster, namespaces, lookback, \
             report_unrestarted, honor_ignore, server, log, shutdown_grace, advice, leader_election or sinks",
        ),
        (
            "advice: { bump_up_ratio: 0.9 }",
            "advice.bump_up_ratio: is 0.9; expected a number from 1 to 10, such as 1.2",
        ),
        (
            "advice: { bump_up_ratio: much }",
            "advice.bump_up_ratio: is \"much\"; expected a number from 1 to 10, such as 1.2",
        ),
        (
            "advice: { min_bump_up: 100MB }",
            "advice.min_bump_up: is \"100MB\"; expected an amount of memory such as 100Mi or 1Gi",
        ),
        (
            "advice: { min_bump_up: [1] }",
            "advice.min_bump_up: is no amount; expected an amount of memory such as 100Mi or 1Gi",
        ),
        ("advice: off", "advice: is true or false; expected a map"),
    ] {
        is_explained(text, error);
    }
}

#[test]
fn a_wrong_value_of_a_sink_is_explained() {
    for (text, error) in [
        ("sinks: stdout", "sinks: is text; expected a map"),
        ("sinks: { log: stdout }", "sinks.log: is text; expected a map"),
        ("sinks: { log: null }", "sinks.log: is null; expected a map"),
        (
            "sinks: { log: {} }",
            "sinks.log.type: is missing; expected alertmanager, kubernetes, slack, stdout or webhook",
        ),
        (
            "sinks: { log: { type: stdin } }",
            "sinks.log.type: is \"stdin\"; expected alertmanager, kubernetes, slack, stdout or webhook",
        ),
        (
            "sinks: { log: { type: stdot } }",
            "sinks.log.type: is \"stdot\" (did you mean stdout?); expected alertmanager, kubernetes, slack, stdout or webhook",
        ),
        (
            "sinks: { log: { type: 1, x: 1 } }",
            "sinks.log.type: is 1; expected alertmanager, kubernetes, slack, stdout or webhook",
        ),
        (
            "sinks: { a__b: { type: stdout } }",
            "sinks.a__b: is no name for a sink; expected a-z, 0-9, - and single _, beginning with a letter and ending \
             with a letter or digit",
        ),
        (
            "sinks: { log: { type: stdout, queue_capacity: 0 } }",
            "sinks.log.queue_capacity: is 0; expected a whole number from 1 to 1000000",
        ),
        (
            "sinks: { log: { type: stdout, queue_capacity: -1 } }",
            "sinks.log.queue_capacity: is -1; expected a whole number from 1 to 1000000",
        ),
        (
            "sinks: { log: { type: stdout, match: { labels: \"team in shop\" } } }",
            "sinks.log.match.labels: has no list in brackets after in or notin; expected a label selector such as \
             \"team=shop,tier!=batch,env in (a,b),!legacy\"",
        ),
        (
            "sinks: { log: { type: stdout, match: { label: x } } }",
            "sinks.log.match.label: is no known key (did you mean labels?); expected namespaces, pods, labels, \
             workload_kinds, workload_names or containers",
        ),
        (
            "sinks: { log: { type: stdout, webhook_url: x } }",
            "sinks.log.webhook_url: is no known key; expected type, match, group_wait, group_interval, retry_for, \
             queue_capacity or send_resolved",
        ),
        (
            "sinks: { team: { type: slack } }",
            "sinks.team.webhook_url: is missing; expected webhook_url, webhook_url_file or \
             $OOM_SINKS__TEAM__WEBHOOK_URL",
        ),
        (
            "sinks: { team: { type: slack, webhook_url: \"https://hooks.slack.com/triggers/x\" } }",
            "sinks.team.webhook_url: is the URL of a Slack workflow, which is no incoming webhook; expected the URL \
             that Slack shows for an incoming webhook: an https URL; http only to loopback, a private address, a name \
             without a dot, .svc or .cluster.local",
        ),
    ] {
        is_explained(text, error);
    }
}

#[track_caller]
fn is_explained(text: &str, error: &str) {
    assert_eq!(load(text, &[]).expect_err(text), format!("config.yaml: {error}"));
}

#[test]
fn all_errors_come_at_once_and_sorted() {
    let text = "{ sinks: { team: { type: slack, group_wait: soon }, B: { type: stdout } }, lookback: x, clutser: y }";
    let variables = [
        ("OOM_LOG__FORMAT", "xml"),
        ("OOM_SINKS__OTHER__WEBHOOK_URL", "hunter2"),
        ("OOM_SINKS__TEAM__COLOUR", "red"),
    ];
    let errors = load(text, &variables).unwrap_err();
    let keys: Vec<_> =
        errors.lines().map(|line| line.split(": ").take(2).collect::<Vec<_>>().join(": ")).collect();
    assert_eq!(
        keys,
        [
            "config.yaml: clutser",
            "$OOM_LOG__FORMAT: log.format",
            "config.yaml: lookback",
            "config.yaml: sinks.B",
            "$OOM_SINKS__OTHER__WEBHOOK_URL: sinks.other.type",
            "$OOM_SINKS__TEAM__COLOUR: sinks.team.colour",
            "config.yaml: sinks.team.group_wait",
            "config.yaml: sinks.team.webhook_url",
        ],
        "{errors}"
    );
    assert!(!errors.contains("hunter2"), "{errors}");
}

#[test]
fn no_secret_is_shown() {
    let secret = "https://hooks.slack.com/services/T0/B0/hunter2";
    let text = format!("sinks: {{ team: {{ type: slack, webhook_url: \"{secret}\" }} }}");
    let loaded = load(&text, &[]).unwrap();
    assert!(!format!("{loaded:?}").contains("hunter2"), "{loaded:?}");
    for text in [
        format!("sinks: {{ team: \"{secret}\" }}"),
        format!("sinks: \"{secret}\""),
        secret.to_owned(),
        format!("sinks:\n  team:\n    type: slack\n    webhook_url: {secret}\n   oops: {secret}\n"),
        format!("sinks:\n  team:\n    type: slack\n    webhook_url: {secret}\n    webhook_url: {secret}\n"),
        format!("sinks:\n  team:\n    type: slack\n    webhook_url: '{secret}\n"),
        format!("sinks:\n  team:\n    type: slack\n    webhook_url: \"\\q{secret}\"\n"),
        format!("sinks:\n  team:\n    type: slack\n    webhook_url: *{secret}\n"),
        format!("sinks:\n  team:\n    type: slack\n    webhook_url: !!int {secret}\n"),
        format!("sinks: {{ team: {{ type: \"{secret}\" }} }}"),
        format!("sinks: {{ team: {{ type: slack, webhook: \"{secret}\" }} }}"),
        format!("sinks: {{ team: {{ type: slack, webhook_url_file: \"{secret}\" }} }}"),
        format!("sinks:\n  team:\n    type: slack\n    webhook_url:{secret}\n"),
        format!("sinks: {{ team: {{ type: slack, webhook_url:{secret} }} }}"),
        format!("sinks: {{ team: {{ type: slack, webhook_url: [\"{secret}\"] }} }}"),
        format!("sinks: {{ team: {{ type: slack, webhook_url: {{ \"{secret}\": 1 }} }} }}"),
        "sinks: { team: { type: slack, webhook_url: http://hunter2.example } }".to_owned(),
        "sinks: { team: { type: slack, webhook_url: hunter2, webhook_url_file: hunter2 } }".to_owned(),
    ] {
        let errors = load(&text, &[]).expect_err(&text);
        assert!(!errors.contains("hunter2"), "{text}\n{errors}");
    }
    for variable in ["OOM_SINKS", "OOM_SINKS__TEAM", "OOM_SINKS__TEAM__TYPE", "OOM_SINKS__TEAM__URL"] {
        let errors = load("sinks: { team: { type: slack } }", &[(variable, secret)]).unwrap_err();
        assert!(!errors.contains("hunter2"), "{errors}");
    }
}

#[test]
fn warns_of_what_is_valid_and_hardly_meant() {
    for (text, warnings) in [
        ("", vec![]),
        ("lookback: 1h", vec![]),
        (
            "lookback: 90m",
            vec!["lookback is 1h30m, longer than an API server keeps Events by default (--event-ttl, 1h)"],
        ),
        (
            "sinks: { log: { type: stdout } }",
            vec![
                "no sink of type kubernetes: nothing remembers what was reported, so a kill of the last 55m",
            ],
        ),
        (
            "sinks: { a: { type: kubernetes, match: { labels: x } } }",
            vec!["every sink of type kubernetes has a match: nothing remembers what it leaves out"],
        ),
        ("sinks: { a: { type: kubernetes, match: { labels: x } }, b: { type: kubernetes } }", vec![]),
        ("sinks: { a: { type: kubernetes, match: { containers: [] } } }", vec![]),
        (
            "sinks: { a: { type: kubernetes }, b: { type: slack, webhook_url: \"http://mattermost.chat.svc/hooks/x\" } }",
            vec![
                "the sink b posts over plain http, so whoever can read the cluster's network can read the findings",
            ],
        ),
        (
            "sinks: { a: { type: kubernetes }, b: { type: kubernetes } }",
            vec!["the sinks a and b are both of type kubernetes"],
        ),
    ] {
        let found = load(text, &[]).unwrap().warnings;
        assert_eq!(found.len(), warnings.len(), "{text} {found:?}");
        for (found, expected) in found.iter().zip(warnings) {
            assert!(found.starts_with(expected), "{found}");
        }
    }
}
