use std::{fs, path::PathBuf};

use secrecy::ExposeSecret;

use super::*;

/// A layer whose values are given as JSON.
fn file(values: serde_json::Value) -> ConfigLayer {
    ConfigLayer::file(PathBuf::from("config.yaml"), Value::serialize(values).unwrap().into_dict().unwrap())
}

fn variable(name: &str, key: &[&str], value: &str) -> ConfigLayer {
    ConfigLayer::value(ValueOrigin::Argument(format!("${name}")), key, value.to_owned())
}

fn read_one<T>(layer: ConfigLayer, reader: impl FnOnce(&mut ConfigSection<'_>) -> T) -> Result<T, String> {
    read([layer], reader).map(|(value, _)| value).map_err(|errors| errors.to_string())
}

#[test]
fn text_from_the_environment_is_what_its_key_needs() {
    fn text<T: DeserializeOwned + Serialize>(value: &str) -> Result<Option<T>, String> {
        read_one(variable("OOM_X", &["x"], value), |section| section.get("x", "another"))
    }
    fn refused<T>(value: &str) -> Result<Option<T>, String> {
        Err(format!("$OOM_X: x: is \"{value}\"; expected another"))
    }
    for value in ["12345", "true", "0123", "1.0", "null", "", "[a]", " a "] {
        assert_eq!(text(value), Ok(Some(value.to_owned())));
    }
    assert_eq!(text("true"), Ok(Some(true)));
    assert_eq!(text::<bool>("yes"), refused("yes"));
    assert_eq!(text("12"), Ok(Some(12_u16)));
    assert_eq!(text::<u16>("99999"), refused("99999"));
    for value in ["a,b", "[a,b]", "[a, b]", " a , b ,", r#"["a", "b"]"#] {
        assert_eq!(text(value), Ok(Some(vec!["a".to_owned(), "b".to_owned()])), "{value}");
    }
    assert_eq!(text("1,2"), Ok(Some(vec!["1".to_owned(), "2".to_owned()])));
    assert_eq!(text("[1,2]"), Ok(Some(vec!["1".to_owned(), "2".to_owned()])));
    for value in ["", "[]"] {
        assert_eq!(text(value), Ok(Some(Vec::<String>::new())));
    }
}

#[test]
fn a_file_says_what_it_means() {
    for value in [serde_json::json!("true"), serde_json::json!(1), serde_json::json!([true])] {
        let read = read_one(file(serde_json::json!({ "x": value })), |section| {
            section.get::<bool>("x", "true or false")
        });
        assert!(read.is_err(), "{value}");
    }
    let read =
        read_one(file(serde_json::json!({"x": "a,b"})), |section| section.get::<Vec<String>>("x", "a list"));
    assert_eq!(read, Err("config.yaml: x: is \"a,b\"; expected a list".to_owned()));
}

#[test]
fn durations_are_written_as_people_write_them() {
    let read = |written: serde_json::Value| {
        read_one(file(serde_json::json!({ "x": written })), |section| section.duration("x", Duration::MAX))
    };
    for (written, seconds) in
        [("55m", 3300), ("1h", 3600), ("20s", 20), ("0s", 0), ("1h30m", 5400), ("1h 30m", 5400)]
    {
        assert_eq!(read(written.into()), Ok(Duration::from_secs(seconds)), "{written}");
    }
    assert_eq!(read(serde_json::Value::Null), Ok(Duration::MAX));
    for (written, is) in [
        (serde_json::json!(55), "55"),
        (serde_json::json!(1.5), "1.5"),
        (serde_json::json!("55"), "\"55\""),
        (serde_json::json!(""), "\"\""),
        (serde_json::json!("-5s"), "\"-5s\""),
        (serde_json::json!("soon"), "\"soon\""),
        (serde_json::json!("5 parsecs"), "\"5 parsecs\""),
        (serde_json::json!(true), "true"),
        (serde_json::json!(["5s"]), "a list"),
        (serde_json::json!({"s": 5}), "a map"),
    ] {
        let text = format!("config.yaml: x: is {is}; expected a duration such as 2s, 15m or 1h");
        assert_eq!(read(written), Err(text));
    }
    let text = "config.yaml: x: is \"9000h\", too long; expected at most 8760h, a year";
    assert_eq!(read("9000h".into()), Err(text.to_owned()));
}

#[test]
fn a_duration_is_spelled_as_it_is_read() {
    for written in ["55m", "1h30m", "0s", "2s"] {
        let layer = file(serde_json::json!({ "x": written }));
        let (duration, resolved) = read([layer], |section| section.duration("x", Duration::MAX)).unwrap();
        assert_eq!(spell(duration), written);
        assert_eq!(resolved[0].value, written);
    }
}

#[test]
fn a_secret_is_a_value_or_a_file() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("secret");
    let secret = |section: &mut ConfigSection<'_>| {
        section.secret("key").map(|secret| secret.read().unwrap().expose_secret().to_owned())
    };
    for text in ["12345", "12345\n", "12345\r\n"] {
        fs::write(&path, text).unwrap();
        assert_eq!(
            read_one(file(serde_json::json!({ "key_file": path })), secret),
            Ok(Some("12345".to_owned()))
        );
    }
    assert_eq!(read_one(file(serde_json::json!({"key": "12345"})), secret), Ok(Some("12345".to_owned())));
    assert_eq!(read_one(variable("OOM_KEY", &["key"], "12345"), secret), Ok(Some("12345".to_owned())));
}

#[test]
fn a_secret_file_is_read_again() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("secret");
    fs::write(&path, "one").unwrap();
    let layer = file(serde_json::json!({ "key_file": path }));
    let source = read_one(layer, |section| section.secret("key")).unwrap().unwrap();
    let read = || source.read().map(|secret| secret.expose_secret().to_owned());
    assert_eq!(read().unwrap(), "one");
    fs::write(&path, "two\n").unwrap();
    assert_eq!(read().unwrap(), "two");
    fs::write(&path, "x".repeat(100_000)).unwrap();
    assert!(matches!(read(), Err(SecretFileError::TooLong)));
    fs::write(&path, "\n").unwrap();
    assert!(matches!(read(), Err(SecretFileError::Empty)));
    fs::remove_file(&path).unwrap();
    assert!(matches!(read(), Err(SecretFileError::Unreadable(_))));
}

#[test]
fn maps_of_secrets_show_their_names_alone() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("secret");
    fs::write(&path, "hunter2").unwrap();
    let values = serde_json::json!({"headers": {"X-A": "hunter2"}, "header_files": {"X-B": path}});
    let (read, resolved) = read([file(values)], |section| {
        (section.secret_values("headers", "a map"), section.secret_files("header_files", "a map"))
    })
    .unwrap();
    assert_eq!((read.0.len(), read.1.len()), (1, 1));
    assert!(!format!("{read:?}{resolved:?}").contains("hunter2"), "{read:?}{resolved:?}");
    for values in [
        serde_json::json!({"headers": "hunter2"}),
        serde_json::json!({"headers": {"X-A": ["hunter2"]}}),
        serde_json::json!({"header_files": {"X-B": "hunter2"}}),
    ] {
        let read = read_one(file(values), |section| {
            section.secret_values("headers", "a map");
            section.secret_files("header_files", "a map");
        });
        assert!(!read.clone().unwrap_err().contains("hunter2"), "{read:?}");
    }
}

#[test]
fn a_wrong_secret_is_explained_and_never_shown() {
    let directory = tempfile::tempdir().unwrap();
    let empty = directory.path().join("empty");
    fs::write(&empty, "\n").unwrap();
    for (values, text) in [
        (
            serde_json::json!({}),
            "sinks.team.key: is missing; expected key, key_file or $OOM_SINKS__TEAM__KEY",
        ),
        (
            serde_json::json!({"key": null}),
            "sinks.team.key: is missing; expected key, key_file or $OOM_SINKS__TEAM__KEY",
        ),
        (
            serde_json::json!({"key": "hunter2", "key_file": "hunter2"}),
            "sinks.team.key: is given beside key_file (config.yaml); expected only one of key and key_file",
        ),
        (serde_json::json!({"key": 42}), "sinks.team.key: is a number; expected text, in quotes"),
        (serde_json::json!({"key": ["hunter2"]}), "sinks.team.key: is a list; expected text, in quotes"),
        (serde_json::json!({"key": " "}), "sinks.team.key: is empty; expected the secret"),
        (serde_json::json!({ "key_file": empty }), "sinks.team.key_file: is empty; expected the secret"),
        (
            serde_json::json!({"key": null, "key_file": empty}),
            "sinks.team.key_file: is empty; expected the secret",
        ),
        (
            serde_json::json!({"key_file": "hunter2"}),
            "sinks.team.key_file: names a file that cannot be read (No such file or directory (os error 2)); \
             expected the path of a file that holds the secret",
        ),
        (
            serde_json::json!({"key_file": ["hunter2"]}),
            "sinks.team.key_file: is a list; expected the path of a file that holds the secret",
        ),
        (
            serde_json::json!({"key_file": ""}),
            "sinks.team.key_file: names a file that cannot be read (No such file or directory (os error 2)); \
             expected the path of a file that holds the secret",
        ),
    ] {
        let layer = file(serde_json::json!({"sinks": {"team": values, "x": {"key": "a"}}}));
        let read = read_one(layer, |root| {
            root.sections("sinks", |_, section| section.secret("key"));
        });
        assert_eq!(read, Err(format!("config.yaml: {text}")));
    }
}

#[test]
fn null_is_absent_and_can_be_told_apart() {
    let read = |layer| {
        read_one(layer, |root| {
            (root.is_null("x"), root.section("x", |section| section.get_or("y", 7, "a number")))
        })
    };
    assert_eq!(read(file(serde_json::json!({}))), Ok((false, 7)));
    assert_eq!(read(file(serde_json::json!({"x": null}))), Ok((true, 7)));
    assert_eq!(read(file(serde_json::json!({"x": {"y": null}}))), Ok((false, 7)));
    let (null, _) = super::read([variable("OOM_X", &["x"], "null")], |root| root.is_null("x")).unwrap();
    assert!(null);
}

#[test]
fn an_unknown_key_is_an_error_that_helps() {
    let layer = file(serde_json::json!({"group_wiat": "secret", "zzz": 1, "group_wait": "1s"}));
    let read = read_one(layer, |root| {
        root.duration("group_wait", Duration::ZERO);
        root.duration("group_interval", Duration::ZERO);
    });
    let text = "config.yaml: group_wiat: is no known key (did you mean group_wait?); expected group_wait or group_interval\n\
                config.yaml: zzz: is no known key; expected group_wait or group_interval";
    assert_eq!(read, Err(text.to_owned()));
}

#[test]
fn a_section_that_is_none_is_one_error() {
    let layer = file(serde_json::json!({"sinks": {"team": "https://hooks.slack.com/secret", "x": null}}));
    let read = read_one(layer, |root| {
        root.sections("sinks", |_, section| section.secret("key"));
    });
    let text =
        "config.yaml: sinks.team: is text; expected a map\nconfig.yaml: sinks.x: is null; expected a map";
    assert_eq!(read, Err(text.to_owned()));
}

#[test]
fn what_is_given_up_is_not_judged() {
    let layer = file(serde_json::json!({"a": {"unknown": 1}}));
    let read = read_one(layer, |root| {
        root.section("a", |section| {
            section.give_up();
            section.missing("b", "b");
        });
    });
    assert_eq!(read, Ok(()));
}

#[test]
fn each_value_knows_where_it_was_written() {
    let layers = [
        file(serde_json::json!({"a": 1, "b": 2, "s": {"key": "hunter2"}})),
        variable("OOM_B", &["b"], "3"),
        ConfigLayer::value(ValueOrigin::Argument("--c 4".to_owned()), &["c"], "4".to_owned()),
    ];
    let ((), resolved) = read(layers, |root| {
        for key in ["a", "b", "c", "d"] {
            root.get_or(key, 5, "a number");
        }
        root.get::<bool>("e", "true or false");
        root.section("s", |section| section.secret("key"));
    })
    .unwrap();
    let lines: Vec<_> =
        resolved.iter().map(|key| format!("{}: {} # {}", key.path, key.value, key.origin)).collect();
    assert_eq!(
        lines,
        [
            "a: 1 # config.yaml",
            "b: 3 # $OOM_B",
            "c: 4 # --c 4",
            "d: 5 # default",
            "e: null # default",
            "s.key: \"***\" # config.yaml",
            "s.key_file: null # default"
        ]
    );
}

#[test]
fn what_looks_like_a_secret_url_is_not_quoted() {
    assert_eq!(quote("https://hooks.slack.com/services/T0/B0/secret"), "a URL");
    assert_eq!(quote("a\nb"), "\"a\\nb\"");
    assert_eq!(quote(&"ä".repeat(100)), format!("\"{}\"…", "ä".repeat(60)));
}
