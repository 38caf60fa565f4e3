use super::*;

const NAME: &str = "kubernetes-oom-event-generator";

fn parse(line: &str) -> Result<Arguments, clap::Error> {
    parse_with(line, |_| None)
}

fn parse_with(line: &str, variable: impl Fn(&str) -> Option<OsString>) -> Result<Arguments, clap::Error> {
    let words = [NAME].into_iter().chain(line.split_whitespace());
    Arguments::parse(words.map(OsString::from), variable)
}

fn refusal(line: &str) -> String {
    let error = parse(line).expect_err(line);
    assert_eq!(error.exit_code(), 2, "{line}");
    error.to_string()
}

#[test]
fn clap_finds_no_fault_with_the_command_line() {
    CommandLine::command().debug_assert();
}

#[test]
fn without_a_word_it_runs_on_its_defaults() {
    let defaults =
        Arguments { config: None, sinks: vec![], verbosity: Verbosity::Info, command: Command::Run };
    assert_eq!(parse("").unwrap(), defaults);
    assert_eq!(parse("run").unwrap(), defaults);
}

#[test]
fn every_spelling_of_the_verbosity_is_understood() {
    use Verbosity::{Debug, Info, Trace};
    for (line, verbosity) in [
        ("-v 0", Info),
        ("-v0", Info),
        ("--verbose=0", Info),
        ("-v", Debug),
        ("-v1", Debug),
        ("-v=1", Debug),
        ("-v 1", Debug),
        ("--verbose", Debug),
        ("--verbose 1", Debug),
        ("-v run", Debug),
        ("run -v", Debug),
        ("run --verbose", Debug),
        ("-v --sink stdout", Debug),
        ("-vv", Trace),
        ("-v -v", Trace),
        ("-vvv", Trace),
        ("-v2", Trace),
        ("-v=2", Trace),
        ("-v 2", Trace),
        ("--verbose=2", Trace),
        ("--verbose 2", Trace),
        ("-v 2 run", Trace),
        ("run -v 2", Trace),
        ("run -vv", Trace),
        ("-v 3", Trace),
        ("-v 99999999999999999999", Trace),
    ] {
        assert_eq!(parse(line).expect(line).verbosity, verbosity, "{line}");
        assert_eq!(parse(line).expect(line).command, Command::Run, "{line}");
    }
}

#[test]
fn a_recording_comes_from_stdin_unless_a_file_is_named() {
    for (line, recording) in [
        ("replay", RecordingSource::Stdin),
        ("replay -", RecordingSource::Stdin),
        ("-v replay -", RecordingSource::Stdin),
        ("replay -v 2", RecordingSource::Stdin),
        ("replay x.jsonl", RecordingSource::File("x.jsonl".into())),
        ("replay ./-", RecordingSource::File("./-".into())),
        ("replay -- -v", RecordingSource::File("-v".into())),
    ] {
        let replay = ReplayArguments { recording, output: ReplayFormat::Json };
        assert_eq!(parse(line).expect(line).command, Command::Replay(replay), "{line}");
    }
}

#[test]
fn a_check_sends_only_if_asked_to() {
    assert_eq!(parse("check").unwrap().command, Command::Check { send: false });
    let arguments = parse("-c a.yaml check --send --sink slack").unwrap();
    assert_eq!(arguments.command, Command::Check { send: true });
    assert_eq!(arguments.sinks, ["slack"]);
}

#[test]
fn options_stand_before_or_after_the_command() {
    for line in ["-c a.yaml --sink stdout replay x", "replay -c a.yaml x --sink stdout"] {
        let arguments = parse(line).expect(line);
        assert_eq!(arguments.config, Some("a.yaml".into()), "{line}");
        assert_eq!(arguments.sinks, ["stdout"], "{line}");
    }
    assert_eq!(parse("--sink slack --sink stdout").unwrap().sinks, ["slack", "stdout"]);
}

#[test]
fn the_environment_speaks_where_the_command_line_does_not() {
    let variable = |name: &str| match name {
        "OOM_CONFIG" => Some(OsString::from("env.yaml")),
        "VERBOSE" => Some(OsString::from("2")),
        _ => None,
    };
    let arguments = parse_with("", variable).unwrap();
    assert_eq!(arguments.config, Some("env.yaml".into()));
    assert_eq!(arguments.verbosity, Verbosity::Trace);
    let arguments = parse_with("-v -c line.yaml", variable).unwrap();
    assert_eq!(arguments.config, Some("line.yaml".into()));
    assert_eq!(arguments.verbosity, Verbosity::Debug);
    let arguments = parse_with("", |_| Some(OsString::new())).unwrap();
    assert_eq!(arguments.config, None);
    assert_eq!(arguments.verbosity, Verbosity::Info);
}

#[test]
fn a_wrong_level_in_the_environment_is_a_usage_error() {
    let error = parse_with("", |name| (name == "VERBOSE").then(|| "yes".into())).unwrap_err();
    assert_eq!(error.exit_code(), 2);
    let text = error.to_string();
    assert!(
        text.starts_with("error: the environment variable VERBOSE is \"yes\"; expected 0, 1 or 2"),
        "{text}"
    );
}

#[test]
fn what_cannot_be_understood_is_a_usage_error() {
    assert!(
        refusal("--sink slak")
            .contains("[possible values: alertmanager, kubernetes, slack, stdout, webhook]")
    );
    assert!(refusal("--verbose=x").contains("expected 0, 1 or 2"));
    assert!(refusal("-v x").contains("unrecognized subcommand 'x'"));
    assert!(refusal("replay a b").contains("unexpected argument 'b'"));
    assert!(refusal("--config").contains("a value is required"));
    refusal("-vx");
    refusal("check x");
    refusal("--send");
}

#[test]
fn help_and_version_are_no_errors() {
    for line in ["--help", "-h", "replay --help", "check --help", "--version"] {
        assert_eq!(parse(line).expect_err(line).exit_code(), 0, "{line}");
    }
    let version = parse("--version").unwrap_err().to_string();
    assert_eq!(version, format!("{NAME} {}\n", env!("CARGO_PKG_VERSION")));
    let help = parse("--help").unwrap_err().to_string();
    for word in
        ["OOM_CONFIG", "VERBOSE", "run", "replay", "check", "kubernetes", "slack", "stdout", "Examples:"]
    {
        assert!(help.contains(word), "{word} is in\n{help}");
    }
}
