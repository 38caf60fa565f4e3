//! The URL of a webhook is a secret, and so are the headers, keys and bodies that a receiver wants: nothing that the
//! program writes, anywhere, shows a part of them.

use std::{fmt::Write as _, fs, path::Path};

use serde_json::json;
use support::{
    ControlPlane, Error,
    behaviour::{Answer, Behaviour},
    eventually,
    program::{PATIENCE, Program, command},
    slack::{SECRETS, Slack, secret_url},
};
use tempfile::TempDir;
use tokio::{io::AsyncWriteExt, net::TcpListener, task::JoinSet};

use super::config_file::ConfigFile;

/// What reads the configuration, prints and ends: each is run with it, good and bad.
const COMMANDS: &[&[&str]] =
    &[&["replay", "tests/recordings/first.jsonl"], &["check"], &["check", "--send"], &["--help"]];

/// What the webhooks sign with.
const SIGNING_SECRET: &str = "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw";

#[track_caller]
fn shows_no_secret(where_from: &str, text: &str) {
    for secret in SECRETS.into_iter().chain([&SIGNING_SECRET[6..], "webhook-signature"]) {
        assert!(!text.contains(secret), "{where_from} shows {secret}:\n{text}");
    }
}

/// Answers to whatever is said with what is no TLS, nor anything else.
async fn garbage(tasks: &mut JoinSet<()>) -> String {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    tasks.spawn(async move {
        loop {
            let (mut stream, _) = listener.accept().await.unwrap();
            // Whoever has gone already won't miss it.
            stream.write_all(b"\x00\xff garbage \r\n\r\n").await.unwrap_or_default();
        }
    });
    address.to_string()
}

/// Slacks that fail in different ways; they fail for as long as they are there.
struct Failing {
    slacks: Vec<(&'static str, Slack)>,
    others: Vec<(&'static str, String)>,
    /// Has the secrets of the webhooks in a file each.
    files: TempDir,
    _tasks: JoinSet<()>,
}

impl Failing {
    async fn new() -> Self {
        let mut slacks = Vec::new();
        for (name, behaviour) in [
            ("fails", Behaviour::says(500, format!("rollup_error {}", SECRETS.join("/")))),
            ("refuses", Behaviour::says(404, SECRETS.join("/"))),
            ("hangs", Behaviour::fails(Answer::Never)),
            ("breaks", Behaviour::fails(Answer::Breaks)),
            ("redirects", Behaviour::says(302, secret_url("http://127.0.0.1:9"))),
        ] {
            slacks.push((name, Slack::always(behaviour).await));
        }
        let mut tasks = JoinSet::new();
        let others = vec![
            ("refused", secret_url("http://127.0.0.1:9")),
            ("no-tls", secret_url(&format!("https://{}", garbage(&mut tasks).await))),
            ("no-http", secret_url(&format!("http://{}", garbage(&mut tasks).await))),
            ("no-host", secret_url("https://hooks.slack.invalid")),
        ];
        let files = TempDir::new().unwrap();
        for (name, secret) in [("key", SECRETS[3]), ("token", SECRETS[1]), ("signing", SIGNING_SECRET)] {
            fs::write(files.path().join(name), secret).unwrap();
        }
        Self { slacks, others, files, _tasks: tasks }
    }

    fn names(&self) -> Vec<String> {
        let slacks = self.slacks.iter().map(|(name, _)| *name);
        let of_each_type = |name: &str| [name.to_owned(), format!("{name}-hook")];
        let all = slacks.chain(self.others.iter().map(|(name, _)| *name)).flat_map(of_each_type);
        all.chain(["by_environment".to_owned()]).collect()
    }

    fn sinks(&self) -> String {
        let mut yaml = "  events: { type: kubernetes }\n  printed: { type: stdout }\n".to_owned();
        let slacks = self.slacks.iter().map(|(name, slack)| (*name, slack.url()));
        for (name, url) in slacks.chain(self.others.iter().cloned()) {
            writeln!(yaml, "  {name}: {{ type: slack, webhook_url: \"{url}\", group_wait: 0s }}").unwrap();
            let file = |name: &str| self.files.path().join(name);
            let hook = json!({
                "type": "webhook", "url": url, "headers": {"X-Team": SECRETS[2]},
                "header_files": {"Authorization": file("token")}, "signing_secret_file": file("signing"),
                "secret_files": {"key": file("key")}, "body": "{ \"key\": {{ secrets.key }}, \"all\": {{ finding }} }",
            });
            writeln!(yaml, "  {name}-hook: {hook}").unwrap();
        }
        yaml
    }
}

#[tokio::test]
async fn it_is_in_nothing_that_a_failing_run_writes() -> Result<(), Error> {
    let mut cluster = ControlPlane::start().await?;
    let namespace = cluster.namespace("secret").await?;
    let failing = Failing::new().await;
    let config = ConfigFile::new(namespace.name(), &failing.sinks());
    let path = config.path();
    let arguments = ["-v", "2", "-c", path.to_str().unwrap()];
    let environment = [("OOM_SINKS__BY_ENVIRONMENT__WEBHOOK_URL", secret_url("http://127.0.0.1:9"))];
    let mut environment: Vec<_> = environment.iter().map(|(name, value)| (*name, value.as_str())).collect();
    environment.push(("OOM_SINKS__BY_ENVIRONMENT__TYPE", "slack"));
    environment.push(("OOM_SHUTDOWN_GRACE", "3s"));
    let mut program = Program::ready(&cluster.kubeconfig(), &arguments, &environment).await;
    namespace
        .create_pod(json!({"metadata": {"name": "cart"}, "spec": {"containers": [{"name": "app"}]}}))
        .await?;
    namespace.shows("cart", &["app R(1,b)+L(a)"]).await?;
    for name in failing.names() {
        eventually(format!("trouble of the sink {name}"), PATIENCE, async || {
            let said = |line: &str| line.contains(&format!("sink={name} ")) && line.contains("posting to ");
            program.stderr().lines().any(said).then_some(())
        })
        .await
        .unwrap_or_else(|error| panic!("{error}\n{}", program.stderr()));
    }
    for path in ["/metrics", "/healthz", "/readyz", "/"] {
        shows_no_secret(path, &program.get(path).await.unwrap());
    }
    let events = eventually("an Event", PATIENCE, async || {
        namespace.events("").await.ok().filter(|events| !events.is_empty())
    });
    shows_no_secret("an Event", &serde_json::to_string(&events.await?).unwrap());
    cluster.stop_api_server();
    eventually("trouble with the API server", PATIENCE, async || {
        program.stderr().contains("no answer from the API server").then_some(())
    })
    .await?;
    shows_no_secret("/readyz", &program.get("/readyz").await.unwrap());
    program.signal("TERM").await;
    assert_eq!(program.ended().await.code(), Some(1));
    assert!(program.stderr().contains("undelivered finding"));
    shows_no_secret("the log", &program.stderr());
    shows_no_secret("stdout", &program.stdout());
    Ok(())
}

fn output_of(arguments: &[&str], config: &Path) -> (Option<i32>, String) {
    let mut command = command();
    let output = command.args(arguments).arg("-c").arg(config).env("HOME", "/nowhere").output().unwrap();
    (output.status.code(), String::from_utf8_lossy(&[output.stdout, output.stderr].concat()).into_owned())
}

#[test]
fn it_is_in_nothing_that_a_command_prints() {
    // Nobody listens there.
    let good = secret_url("https://127.0.0.1:9");
    for (settings, is_bad) in [
        (format!("webhook_url: \"{good}\""), false),
        (format!("webhook_url: \"{}\"", secret_url("http://hooks.slack.com")), true),
        (format!("webhook_url: \"{}\"", secret_url("ftp:")), true),
        (format!("webhook_url: [\"{good}\"]"), true),
        (format!("webhook_url: {{ \"{good}\": 1 }}"), true),
        (format!("webhook_url: \"{good}\", webhook_url_file: /nowhere"), true),
        (format!("webhook_url: \"{good}\", group_wait: soon, retry: 1"), true),
        (format!("webhook_url: \"{good}\" broken"), true),
    ] {
        let config = ConfigFile::new("shop", &format!("  team: {{ type: slack, {settings} }}\n"));
        for arguments in COMMANDS.iter().copied().chain([&[][..]]) {
            let (code, said) = output_of(arguments, &config.path());
            shows_no_secret(&format!("{arguments:?} with {settings}"), &said);
            let reads = !matches!(arguments, ["--help" | "replay", ..]);
            assert!(!is_bad || !reads || code == Some(2), "{arguments:?} with {settings}: {code:?} {said}");
        }
    }
}
