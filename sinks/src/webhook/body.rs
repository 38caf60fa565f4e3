//! Makes the body of a request: with a template, or without one of the finding as it is.
//!
//! A template is [MiniJinja](https://docs.rs/minijinja/latest/minijinja/syntax). `{{ x }}` writes x as JSON, quotes
//! included, so nobody who names a Pod can break out of a text. A template reads no file, and what it may do and write
//! is bounded. When the configuration is read it renders examples, so that a mistake is told then, with its place.

use std::{collections::BTreeMap, fmt};

use finding::{Finding, ResolvedIncident, bytes};
use minijinja::{Environment, Error as TemplateError, ErrorKind, Template, UndefinedBehavior, value::Value};
use secrecy::{ExposeSecret, SecretString};
use serde::Serialize;
use serde_json::{Value as Json, json};
use untrusted::{clean, clean_json, cut, is_deceptive};

use super::fields::value;

/// The name of the template; its end says that it writes JSON.
const NAME: &str = "body.json";

/// How much a template may do: each step costs one, and 64 bytes of text or output cost one.
const MAX_FUEL: u64 = 200_000;

/// The longest body. Receivers take far less.
const MAX_BODY_BYTES: usize = 1 << 20;

/// What the body is made with.
pub(super) struct BodyTemplate {
    /// Has the template, if there is one.
    environment: Option<Environment<'static>>,
    /// Whether there is a list of findings, and not one.
    is_list: bool,
    /// All fields of a finding, and of an incident that is over.
    examples: (Json, Json),
}

/// The secrets that a template may write into the body, by their names.
#[derive(Default)]
pub(super) struct TemplateSecrets(BTreeMap<String, Value>);

impl TemplateSecrets {
    /// Returns secrets of these names that are made up.
    pub(super) fn example<'a>(names: impl Iterator<Item = &'a String>) -> Self {
        Self(names.map(|name| (name.clone(), Value::from("secret"))).collect())
    }

    /// Adds a secret.
    pub(super) fn add(&mut self, name: &str, secret: &SecretString) {
        self.0.insert(name.to_owned(), Value::from(secret.expose_secret()));
    }

    fn for_template(&self) -> (&'static str, Value) {
        ("secrets", self.0.clone().into())
    }
}

/// Why a body can't be made.
#[derive(Debug)]
pub(super) struct BodyError {
    /// Where in the template, counted from 1.
    place: Option<(usize, usize)>,
    /// What is wrong.
    text: String,
}

impl fmt::Display for BodyError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if let Some((line, column)) = self.place {
            write!(f, "has at line {line}, column {column}: ")?;
        }
        f.write_str(&clean(&self.text))
    }
}

impl std::error::Error for BodyError {}

impl fmt::Debug for BodyTemplate {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("BodyTemplate").field("is_list", &self.is_list).finish_non_exhaustive()
    }
}

impl BodyTemplate {
    /// Compiles a template, for requests of up to `batch` findings.
    ///
    /// # Errors
    ///
    /// Its syntax is wrong.
    pub(super) fn new(source: &str, batch: usize) -> Result<Self, BodyError> {
        let examples = (json!(Finding { test: true, ..Finding::full() }), json!(ResolvedIncident::full()));
        let mut template = Self { environment: None, is_list: batch > 1, examples };
        if source.trim().is_empty() {
            return Ok(template);
        }
        let mut environment = Environment::new();
        environment.set_undefined_behavior(UndefinedBehavior::Strict);
        environment.set_fuel(Some(MAX_FUEL));
        environment.set_debug(true);
        environment.add_filter("bytes", |amount: Option<u64>| amount.map(bytes));
        environment.add_filter("cut", |text: String, length: usize| cut(&text, length).into_owned());
        environment.add_filter("markdown", markdown);
        environment
            .add_template_owned(NAME, source.to_owned())
            .map_err(|error| BodyError::of(&error, source))?;
        template.environment = Some(environment);
        Ok(template)
    }

    /// Renders examples: findings of which all and hardly anything is known and, if they are sent, incidents that are
    /// over.
    ///
    /// # Errors
    ///
    /// The first mistake that they show.
    pub(super) fn try_out(&self, sends_resolved: bool, secrets: &TemplateSecrets) -> Result<(), BodyError> {
        let (full, minimal) = (Finding::full(), Finding::minimal());
        let mut batches = vec![vec![&full], vec![&minimal]];
        if self.is_list {
            batches.push(vec![&full, &minimal, &full]);
        }
        batches.iter().try_for_each(|batch| self.findings(batch, secrets).map(drop))?;
        if sends_resolved {
            for incident in [ResolvedIncident::full(), ResolvedIncident::minimal()] {
                self.resolved(&incident, secrets).map_err(|mut error| {
                    error.text += " (in a resolved message, which has `resolved`, and in which `finding` is null and \
                                   `findings` is empty)";
                    error
                })?;
            }
        }
        Ok(())
    }

    /// Returns the body for findings.
    ///
    /// # Errors
    ///
    /// The template fails, or what it gives is no JSON.
    pub(super) fn findings(
        &self,
        findings: &[&Finding],
        secrets: &TemplateSecrets,
    ) -> Result<String, BodyError> {
        let Some(environment) = &self.environment else {
            return match findings {
                [finding] if !self.is_list => plain(finding),
                findings => plain(&findings),
            };
        };
        let mut values = findings.iter().map(|finding| value(json!(finding), &self.examples.0));
        let told = if self.is_list {
            ("findings", values.collect::<Value>())
        } else {
            ("finding", values.next().unwrap_or_default())
        };
        render(environment, [told, ("resolved", Value::from(())), secrets.for_template()])
    }

    /// Returns the body for an incident that is over.
    ///
    /// # Errors
    ///
    /// Those of [`findings`](Self::findings).
    pub(super) fn resolved(
        &self,
        incident: &ResolvedIncident,
        secrets: &TemplateSecrets,
    ) -> Result<String, BodyError> {
        let Some(environment) = &self.environment else {
            return if self.is_list { plain(&[incident]) } else { plain(incident) };
        };
        let nobody = if self.is_list {
            ("findings", Value::from(Vec::<Value>::new()))
        } else {
            ("finding", Value::from(()))
        };
        let resolved = value(json!(incident), &self.examples.1);
        render(environment, [nobody, ("resolved", resolved), secrets.for_template()])
    }
}

fn plain(told: &impl Serialize) -> Result<String, BodyError> {
    let json = serde_json::to_string(told);
    json.map(|json| clean_json(&json).into_owned())
        .map_err(|error| BodyError { place: None, text: error.to_string() })
}

fn render(
    environment: &Environment<'static>,
    variables: [(&'static str, Value); 3],
) -> Result<String, BodyError> {
    let context = Value::from(BTreeMap::from(variables));
    let template = environment.get_template(NAME).map_err(|error| BodyError::of(&error, ""))?;
    let body = template.render(context.clone()).map_err(|error| BodyError::of(&error, template.source()))?;
    if body.len() > MAX_BODY_BYTES {
        return Err(BodyError { place: None, text: format!("gives more than {MAX_BODY_BYTES} bytes") });
    }
    match serde_json::from_str::<serde::de::IgnoredAny>(&body) {
        Ok(_) => Ok(body),
        Err(error) => Err(BodyError {
            place: place_of(&template, context, &body, &error),
            text: format!(
                "gives no JSON: {error}. {{{{ x }}}} writes x with its quotes: {{{{ \"in \" ~ x }}}}, not \"in {{{{ x }}}}\""
            ),
        }),
    }
}

/// Returns where in the template the output of an error in JSON comes from.
fn place_of(
    template: &Template<'_, '_>,
    context: Value,
    body: &str,
    error: &serde_json::Error,
) -> Option<(usize, usize)> {
    let line_start: usize = body.split_inclusive('\n').take(error.line().checked_sub(1)?).map(str::len).sum();
    let offset = (line_start + error.column()).checked_sub(1)?;
    let (_, spans) = template.render_with_spans(context).ok()?;
    let span = spans.iter().rev().find(|span| span.output_range().start <= offset)?;
    let (source, output) = (span.source_range(), span.output_range());
    let is_raw = source.len() == output.len();
    let within = if is_raw { (offset - output.start).min(source.len()) } else { 0 };
    Some(place(template.source(), source.start + within))
}

/// Returns line and column, counted from 1 in characters, of a place in a text.
fn place(source: &str, offset: usize) -> (usize, usize) {
    let before = &source[..source.floor_char_boundary(offset)];
    let line_start = before.rfind('\n').map_or(0, |at| at + 1);
    (before.matches('\n').count() + 1, before[line_start..].chars().count() + 1)
}

impl BodyError {
    fn of(error: &TemplateError, source: &str) -> Self {
        let range = error.range();
        let expression = range.clone().and_then(|range| source.get(range)).unwrap_or_default();
        let place = match (range, error.line()) {
            (Some(range), _) => Some(place(source, range.start)),
            (None, line) => line.map(|line| (line, 1)),
        };
        let mut text = match (error.kind(), error.detail()) {
            (ErrorKind::OutOfFuel, _) => "more work, or more text, than a template may do".to_owned(),
            (ErrorKind::UndefinedError, _) => {
                "a value that doesn't exist, or a part of one that can be null; put the latter behind {% if … %}"
                    .to_owned()
            }
            (kind, Some(detail)) => format!("{kind}: {detail}"),
            (kind, None) => kind.to_string(),
        };
        if !expression.is_empty() {
            text = format!("{text} (`{}`)", cut(&expression.replace('\n', " "), 80));
        }
        Self { place, text }
    }
}

/// The filter `markdown`: returns text that Markdown, as chats read it, shows as it is.
#[expect(clippy::needless_pass_by_value, reason = "filters own their arguments")]
fn markdown(text: String) -> String {
    let mut escaped = String::with_capacity(text.len());
    for c in text.chars() {
        match c {
            c if is_deceptive(c) => escaped.push(' '),
            // A zero-width space keeps it from calling people.
            '@' => escaped.push_str("@\u{200b}"),
            '\\' | '`' | '*' | '_' | '~' | '[' | ']' | '(' | ')' | '<' | '>' | '#' | '|' | '!' => {
                escaped.extend(['\\', c]);
            }
            c => escaped.push(c),
        }
    }
    escaped
}
