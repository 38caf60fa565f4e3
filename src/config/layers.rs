//! Gathers the layers of the configuration: the file, `OOM_` variables of the environment, `--sink`.

use std::{ffi::OsString, fs, path::Path};

use figment::{
    providers::Format,
    value::{Dict, Value},
};
use serde_saphyr::{UserMessageFormatter, figment::Yaml};
use settings::{ConfigErrors, ConfigLayer, ConfigProblem, ValueOrigin, did_you_mean};

use super::TOP_KEYS;

/// The beginning of every variable's name.
const VARIABLE_PREFIX: &str = "OOM_";

/// The variable that names the file, which is no key of the configuration.
const FILE_VARIABLE: &str = "OOM_CONFIG";

/// Why the `match` of a sink that is left out can't hold.
const UNHONOURED: &str = "is of a sink that gets nothing here: every finding is printed; expected no match";

/// The layers, of which later ones win, and the problems and warnings found while gathering them.
pub(super) struct GatheredLayers {
    pub(super) layers: Vec<ConfigLayer>,
    pub(super) problems: Vec<ConfigProblem>,
    pub(super) warnings: Vec<String>,
    /// The `match`es of sinks that are left out, each with why it can't hold.
    pub(super) left_out: Vec<ConfigProblem>,
}

impl GatheredLayers {
    /// Gathers the layers. If there are any `sinks`, all other sinks are left out.
    pub(super) fn new(
        file: Option<&Path>,
        sinks: &[String],
        environment: impl IntoIterator<Item = (OsString, OsString)>,
    ) -> Result<Self, ConfigErrors> {
        let mut gathered =
            Self { layers: Vec::new(), problems: Vec::new(), warnings: Vec::new(), left_out: Vec::new() };
        let mut any_sinks = !sinks.is_empty();
        if let Some(path) = file {
            let mut values = read_file(path)?;
            let in_file = values.get("sinks").is_some_and(|value| !is_nothing(value));
            if any_sinks || !in_file {
                let left_out = values.remove("sinks");
                gathered.left_out.extend(matches(path, left_out.as_ref()));
            }
            any_sinks |= in_file;
            gathered.layers.push(ConfigLayer::file(path.to_owned(), values));
        }
        any_sinks |= gathered.add_environment(sinks, environment);
        for sink in sinks {
            let origin = ValueOrigin::Argument(format!("--sink {sink}"));
            gathered.layers.push(ConfigLayer::value(origin, &["sinks", sink, "type"], sink.clone()));
        }
        if !any_sinks {
            let key = ["sinks", "events", "type"];
            gathered.layers.push(ConfigLayer::value(ValueOrigin::Default, &key, "kubernetes".to_owned()));
        }
        Ok(gathered)
    }

    /// Adds the variables. Returns whether any of them configures a sink.
    fn add_environment(
        &mut self,
        sinks: &[String],
        environment: impl IntoIterator<Item = (OsString, OsString)>,
    ) -> bool {
        let mut variables: Vec<_> = environment.into_iter().collect();
        variables.sort();
        let mut any_sinks = false;
        let mut unknown = Vec::new();
        for (name, value) in variables {
            let name = name.to_string_lossy();
            let Some(key) = name.strip_prefix(VARIABLE_PREFIX).filter(|_| name != FILE_VARIABLE) else {
                continue;
            };
            let key = key.to_lowercase();
            let path: Vec<&str> = key.split("__").collect();
            match path.as_slice() {
                ["sinks", rest @ ..] => {
                    let replaced = |name| !sinks.iter().any(|sink| sink == name);
                    if !sinks.is_empty() && rest.first().is_none_or(replaced) {
                        if rest.get(1) == Some(&"match") {
                            let origin = ValueOrigin::Argument(format!("${name}"));
                            self.left_out.push(problem(path.join("."), origin, UNHONOURED));
                        }
                        continue;
                    }
                    any_sinks = true;
                }
                [first, ..] if !TOP_KEYS.contains(first) => {
                    unknown.push(format!("${name}{}", did_you_mean(first, &TOP_KEYS)));
                    continue;
                }
                _ => {}
            }
            let origin = ValueOrigin::Argument(format!("${name}"));
            match value.into_string() {
                Ok(value) => self.layers.push(ConfigLayer::value(origin, &path, value)),
                Err(_) => self.problems.push(problem(path.join("."), origin, "is not UTF-8; expected text")),
            }
        }
        if !unknown.is_empty() {
            self.warnings
                .push(format!("ignored because the configuration has no such key: {}", unknown.join(", ")));
        }
        any_sinks
    }
}

/// Returns the `match`es of these sinks.
fn matches(file: &Path, sinks: Option<&Value>) -> Vec<ConfigProblem> {
    let sinks = sinks.and_then(Value::as_dict).into_iter().flatten();
    let has_match = |sink: &Value| {
        sink.as_dict().and_then(|settings| settings.get("match")).is_some_and(|value| !is_nothing(value))
    };
    sinks
        .filter(|(_, sink)| has_match(sink))
        .map(|(name, _)| {
            problem(format!("sinks.{name}.match"), ValueOrigin::File(file.to_owned()), UNHONOURED)
        })
        .collect()
}

fn read_file(path: &Path) -> Result<Dict, ConfigErrors> {
    let error = |text: String| {
        ConfigErrors::new(vec![problem(String::new(), ValueOrigin::File(path.to_owned()), &text)])
    };
    let text = fs::read_to_string(path)
        .map_err(|cause| error(format!("cannot be read ({cause}); expected a YAML file")))?;
    match Yaml::from_str::<Value>(&text) {
        Ok(Value::Dict(_, values)) => Ok(values),
        Ok(Value::Empty(..)) => Ok(Dict::new()),
        Ok(_) => Err(error(format!("is no map; expected keys such as {}", TOP_KEYS.join(", ")))),
        Err(cause) => {
            let cause = cause.render_with_formatter(&UserMessageFormatter);
            Err(error(format!("is not YAML that can be read: {cause}")))
        }
    }
}

fn problem(path: String, origin: ValueOrigin, text: &str) -> ConfigProblem {
    ConfigProblem { path, origin, text: text.to_owned() }
}

/// Returns whether the value of `sinks` names no sink: null or an empty map.
fn is_nothing(value: &Value) -> bool {
    matches!(value, Value::Empty(..)) || value.as_dict().is_some_and(Dict::is_empty)
}
