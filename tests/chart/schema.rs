//! The chart's `values.schema.json` knows the configuration's keys and types, so that Helm refuses a mistake
//! before it takes down what runs. It is held against the program itself: which keys there are, and whether a
//! value is taken, is what loading a configuration says.

use std::fs;

use kubernetes_oom_event_generator::config::Config;
use serde_json::{Value, json};
use support::tools::file;

const SCHEMA: &str = "helm/kubernetes-oom-event-generator/values.schema.json";

/// A key that no section has.
const NO_KEY: &str = "zzzzzz";

fn schema() -> Value {
    serde_json::from_str(&fs::read_to_string(file(SCHEMA)).unwrap()).unwrap()
}

/// The part of the schema for `config`, on its own.
fn validator() -> jsonschema::Validator {
    let mut schema = schema();
    let mut config = schema["properties"]["config"].take();
    config["definitions"] = schema["definitions"].take();
    jsonschema::options().with_draft(jsonschema::Draft::Draft7).build(&config).unwrap()
}

/// What the program finds wrong with a configuration: a path and a sentence each.
pub fn problems(config: &Value) -> Vec<(String, String)> {
    let mut written = tempfile::NamedTempFile::new().unwrap();
    std::io::Write::write_all(&mut written, config.to_string().as_bytes()).unwrap();
    // The chart sets it in every Pod.
    let variables = [("POD_NAMESPACE".into(), "monitoring".into())];
    let Err(errors) = Config::load(Some(written.path()), &[], variables) else { return Vec::new() };
    let origin = format!("{}: ", written.path().display());
    let split = |line: &str| {
        let line = line.strip_prefix(&origin).unwrap_or(line);
        let (path, text) = line.split_once(": ").unwrap_or(("", line));
        (path.to_owned(), text.to_owned())
    };
    errors.to_string().lines().map(split).collect()
}

/// A configuration with this value at that path, in which all sinks have the type `sink`.
fn with(path: &str, value: Value, sink: &str) -> Value {
    let mut config = json!({"sinks": {"x": {"type": sink}}});
    let mut place = &mut config;
    for key in path.split('.') {
        place = &mut place[key];
    }
    *place = value;
    config
}

/// The keys of a section of the configuration, in the program's own words.
fn keys_of(section: &str, sink: &str) -> Vec<String> {
    let path = if section.is_empty() { NO_KEY.to_owned() } else { format!("{section}.{NO_KEY}") };
    let all = problems(&with(&path, json!(1), sink));
    let (_, text) =
        all.iter().find(|(found, _)| *found == path).unwrap_or_else(|| panic!("{section}: {all:?}"));
    let keys = text.split_once("; expected ").unwrap().1;
    keys.replace(" or ", ", ").split(", ").map(str::to_owned).collect()
}

/// Every path of the configuration below a section, those of sections included.
fn paths(section: &str, sink: &str) -> Vec<String> {
    let mut found = Vec::new();
    for key in keys_of(section, sink) {
        let path = if section.is_empty() { key } else { format!("{section}.{key}") };
        let wrong = problems(&with(&path, json!(5.5), sink));
        let is_section = wrong.iter().any(|(at, text)| *at == path && text.contains("expected a map"));
        if path == "sinks" {
            continue;
        }
        found.push(path.clone());
        if is_section {
            found.extend(paths(&path, sink));
        }
    }
    found
}

/// The sinks' types and the paths that each has.
fn all_paths() -> Vec<(&'static str, String)> {
    let types = sinks::TYPES.iter().map(|sink_type| sink_type.name);
    let of_sinks = types.flat_map(|sink| paths("sinks.x", sink).into_iter().map(move |path| (sink, path)));
    paths("", "stdout").into_iter().map(|path| ("stdout", path)).chain(of_sinks).collect()
}

fn refuses(validator: &jsonschema::Validator, config: &Value, path: &str) -> bool {
    let place = format!("/{}", path.replace('.', "/"));
    validator.iter_errors(config).any(|error| error.instance_path().as_str().starts_with(&place))
}

#[test]
fn the_charts_schema_knows_every_key_of_the_configuration_and_takes_what_the_program_takes() {
    let values = [
        json!(null),
        json!(true),
        json!(5),
        json!("text"),
        json!("90s"),
        json!([]),
        json!(["a"]),
        json!([5]),
        json!({}),
    ];
    let validator = validator();
    let paths = all_paths();
    assert!(paths.len() > 40, "{paths:?}");
    for (sink, path) in paths {
        let key = path.rsplit('.').next().unwrap();
        let unknown = validator.iter_errors(&with(&path, json!(null), sink)).any(|error| {
            let text = error.to_string();
            error.instance_path().as_str().ends_with(key)
                && (text.contains("under another key") || text.contains("no key of"))
        });
        assert!(
            !unknown,
            "{SCHEMA} doesn't know {path} (of a sink of type {sink}): add it there, with its type"
        );
        let is_secret = ["sinks.x.type"].contains(&path.as_str())
            || path.ends_with("_file")
            || keys_of(path.rsplit_once('.').map_or("", |(section, _)| section), sink)
                .contains(&format!("{key}_file"));
        if is_secret {
            continue;
        }
        for value in &values {
            let config = with(&path, value.clone(), sink);
            let of_program = problems(&config);
            let is_wrong =
                of_program.iter().any(|(at, _)| *at == path || at.starts_with(&format!("{path}.")));
            assert_eq!(
                refuses(&validator, &config, &path),
                is_wrong,
                "{SCHEMA} and the program disagree on {path}: {value} (of a sink of type {sink}); the program says \
                 {of_program:?}"
            );
        }
    }
}

#[test]
fn the_charts_schema_knows_no_key_that_the_configuration_lacks() {
    fn compare(schema: &Value, of_all: &Value, section: &str, known: &[String]) {
        for (key, property) in schema["properties"].as_object().into_iter().flatten() {
            let path = if section.is_empty() { key.clone() } else { format!("{section}.{key}") };
            assert!(
                path == "sinks" || known.contains(&path),
                "{SCHEMA} has {path}, the configuration hasn't"
            );
            let of_reference = property["$ref"]
                .as_str()
                .map(|name| &of_all["definitions"][name.rsplit('/').next().unwrap()]);
            compare(of_reference.unwrap_or(property), of_all, &path, known);
        }
    }
    let schema = schema();
    compare(&schema["properties"]["config"], &schema, "", &paths("", "stdout"));
    let sink = &schema["definitions"]["sink"];
    for of_type in sink["allOf"].as_array().unwrap() {
        let name = of_type["if"]["properties"]["type"]["const"].as_str().unwrap();
        let known = paths("sinks.x", name);
        compare(sink, &schema, "sinks.x", &known);
        compare(&of_type["then"], &schema, "sinks.x", &known);
    }
    let types: Vec<_> = sinks::TYPES.iter().map(|sink_type| json!(sink_type.name)).collect();
    let listed = sink["properties"]["type"]["enum"].as_array().unwrap();
    assert!(
        types.iter().all(|name| listed.contains(name)) && listed.len() == types.len(),
        "{types:?} {listed:?}"
    );
    assert_eq!(sink["allOf"].as_array().unwrap().len(), types.len(), "each type has its keys in allOf");
}
