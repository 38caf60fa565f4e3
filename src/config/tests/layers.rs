//! Which layer wins, and what is no layer at all.

use std::os::unix::ffi::OsStringExt;

use super::*;

#[test]
fn a_file_that_is_no_configuration_is_one_error() {
    for (text, error) in [
        ("a: [", "is not YAML that can be read: "),
        (
            "cluster: a\ncluster: b\n",
            "is not YAML that can be read: duplicate mapping key `cluster` is not allowed here at line 2, column 1",
        ),
        ("cluster: a\n---\ncluster: b\n", "is not YAML that can be read: "),
        ("just text", "is no map; expected keys such as cluster, "),
        ("- a\n- b", "is no map; expected keys such as cluster, "),
    ] {
        let found = load(text, &[]).expect_err(text);
        assert!(found.starts_with(&format!("config.yaml: {error}")) && found.lines().count() == 1, "{found}");
    }
    let missing = Config::load(Some(Path::new("/nowhere/config.yaml")), &[], []).unwrap_err().to_string();
    let error =
        "/nowhere/config.yaml: cannot be read (No such file or directory (os error 2)); expected a YAML file";
    assert_eq!(missing, error);
}

#[test]
fn the_environment_wins_over_the_file() {
    let text = "{ cluster: file, lookback: 10m, server: { listen: \"[::]:1\" }, sinks: { log: { type: stdout, group_wait: 1s } } }";
    let variables = [
        ("OOM_CLUSTER", "12345"),
        ("OOM_NAMESPACES__INCLUDE", "shop,search"),
        ("OOM_NAMESPACES__EXCLUDE", "[se*, x]"),
        ("OOM_REPORT_UNRESTARTED", "true"),
        ("OOM_SERVER", "null"),
        ("OOM_SINKS__LOG__GROUP_WAIT", "5s"),
        ("OOM_SINKS__LOG__QUEUE_CAPACITY", "12"),
        ("OOM_SINKS__LOG__MATCH__LABELS", "a in (b,c)"),
        ("OOM_SINKS__TEAM__TYPE", "slack"),
        ("OOM_SINKS__TEAM__WEBHOOK_URL", "https://x"),
    ];
    let LoadedConfig { config, resolved, .. } = load(text, &variables).unwrap();
    assert_eq!(config.cluster.as_deref(), Some("12345"));
    assert_eq!(config.lookback, Duration::from_mins(10));
    assert_eq!(config.namespaces.include(), ["search", "shop"]);
    assert!(!config.namespaces.selects("search"));
    assert!(config.report_unrestarted);
    assert_eq!(config.server, None);
    assert_eq!(types(&config), [("log", "stdout"), ("team", "slack")]);
    assert_eq!(config.sinks[0].grouping.wait, Duration::from_secs(5));
    assert_eq!(config.sinks[0].queue_capacity, 12);
    assert!(!config.sinks[0].matches.is_everything());
    let origin = |path: &str| resolved.iter().find(|key| key.path == path).map(|key| key.origin.to_string());
    assert_eq!(origin("cluster").as_deref(), Some("$OOM_CLUSTER"));
    assert_eq!(origin("shutdown_grace").as_deref(), Some("default"));
    assert_eq!(origin("sinks.team.webhook_url").as_deref(), Some("$OOM_SINKS__TEAM__WEBHOOK_URL"));
    assert!(origin("lookback").is_some_and(|origin| origin.ends_with("/config.yaml")));
}

#[test]
fn the_environment_can_turn_the_server_on_again() {
    let listen =
        |text, variables: &[_]| load(text, variables).unwrap().config.server.map(|server| server.address);
    assert_eq!(listen("server: null", &[]), None);
    assert_eq!(listen("server:", &[]), None);
    assert_eq!(
        listen("server: null", &[("OOM_SERVER__LISTEN", "[::1]:5")]),
        Some("[::1]:5".parse().unwrap())
    );
}

#[test]
fn foreign_variables_are_named_once_and_ignored() {
    let variables = [
        ("OOM_CONFIG", "x"),
        ("OOM_LOKBACK", "1h"),
        ("OOM_SERVICE_HOST", "10.0.0.1"),
        ("oom_lookback", "1h"),
        ("OOMPH", "x"),
        ("PATH", "x"),
    ];
    let loaded = load("", &variables).unwrap();
    assert_eq!(
        loaded.warnings,
        [
            "ignored because the configuration has no such key: $OOM_LOKBACK (did you mean lookback?), $OOM_SERVICE_HOST"
        ]
    );
    assert_eq!(loaded.config.lookback, Duration::from_mins(55));
}

#[test]
fn a_variable_that_is_not_unicode_is_an_error_only_where_it_counts() {
    let broken = || OsString::from_vec(vec![0xff]);
    let foreign = [(broken(), broken()), ("PATH".into(), broken()), ("OOM_X".into(), broken())];
    let loaded = Config::load(None, &[], foreign).unwrap();
    assert_eq!(loaded.warnings.len(), 1);
    let errors =
        Config::load(None, &[], [("OOM_CLUSTER".into(), broken()), ("OOM_LOOKBACK".into(), "x".into())]);
    assert_eq!(
        errors.unwrap_err().to_string(),
        "$OOM_CLUSTER: cluster: is not UTF-8; expected text\n\
         $OOM_LOOKBACK: lookback: is \"x\"; expected a duration such as 2s, 15m or 1h"
    );
}

#[test]
fn sinks_on_the_command_line_stand_in_for_the_configured_ones() {
    let text = "{ cluster: c, sinks: { slack: { type: stdout, group_wait: 9s }, broken: 5 } }";
    let config =
        load_with(text, &["stdout", "stdout"], &[("OOM_SINKS__TEAM__WEBHOOK_URL", "x")]).unwrap().config;
    assert_eq!(types(&config), [("stdout", "stdout")]);
    assert_eq!(config.cluster.as_deref(), Some("c"));

    let variables = [("OOM_SINKS__SLACK__WEBHOOK_URL", "https://x"), ("OOM_SINKS__SLACK__TYPE", "stdout")];
    let config = load_with(text, &["slack", "kubernetes"], &variables).unwrap().config;
    assert_eq!(types(&config), [("kubernetes", "kubernetes"), ("slack", "slack")]);
    assert_eq!(config.sinks[1].grouping, sinks::slack::TYPE.grouping);

    let error = "--sink slack: sinks.slack.webhook_url: is missing; expected webhook_url, webhook_url_file or \
                 $OOM_SINKS__SLACK__WEBHOOK_URL";
    assert_eq!(load_with(text, &["slack"], &[]).unwrap_err(), error);
}

#[test]
fn a_variable_alone_makes_no_sink() {
    let error = "$OOM_SINKS__TEAM__WEBHOOK_URL: sinks.team.type: is missing; expected alertmanager, kubernetes, slack, stdout or webhook";
    assert_eq!(load("", &[("OOM_SINKS__TEAM__WEBHOOK_URL", "https://x")]).unwrap_err(), error);
    let config = load("", &[("OOM_SINKS__LOG__TYPE", "stdout")]).unwrap().config;
    assert_eq!(types(&config), [("log", "stdout")]);
}
