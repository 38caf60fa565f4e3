//! The program as a separate process, as a user starts it.

use std::{
    collections::HashSet,
    fs,
    path::{Path, PathBuf},
    process::{ExitStatus, Stdio},
    sync::{Arc, Mutex},
    time::Duration,
};

use rustix::process::{Pid, Resource, Rlimit, getrlimit, prlimit};
use serde_json::Value;
use tokio::{
    io::{AsyncBufReadExt, AsyncRead, AsyncReadExt, AsyncWriteExt, BufReader},
    net::TcpStream,
    process::{Child, Command},
    task::JoinSet,
};

use crate::{Leash, eventually};

/// How long anything that a test waits for may take. Only a failing test takes that long.
pub const PATIENCE: Duration = Duration::from_mins(1);

/// What it reads besides its configuration.
const ENVIRONMENT: [&str; 5] =
    ["KUBECONFIG", "KUBERNETES_SERVICE_HOST", "POD_NAME", "POD_NAMESPACE", "VERBOSE"];

/// Returns the program's path: `TESTED_PROGRAM`, or else what Cargo builds before the tests that ask, into the folder
/// above theirs.
pub fn path() -> PathBuf {
    if let Some(path) = std::env::var_os("TESTED_PROGRAM") {
        return path.into();
    }
    let test = std::env::current_exe().unwrap();
    test.ancestors().nth(2).unwrap().join("kubernetes-oom-event-generator")
}

/// The program with nothing of this process' environment that it would read.
pub fn command() -> std::process::Command {
    let mut command = std::process::Command::new(path());
    for (name, _) in std::env::vars_os() {
        let read = name.to_str().is_none_or(|name| {
            ["OOM_", "SSL_CERT_"].iter().any(|beginning| name.starts_with(beginning))
                || name.to_ascii_uppercase().ends_with("_PROXY")
                || ENVIRONMENT.contains(&name)
        });
        if read {
            command.env_remove(name);
        }
    }
    command
}

/// The program while it runs.
pub struct Program {
    child: Child,
    stdout: Arc<Mutex<String>>,
    stderr: Arc<Mutex<String>>,
    collectors: JoinSet<()>,
    /// Ends the program if the test is killed.
    _leash: Leash,
}

impl Program {
    /// Starts it with this kubeconfig, these arguments and these environment variables.
    pub fn start(kubeconfig: &Path, arguments: &[&str], environment: &[(&str, &str)]) -> Self {
        Self::start_into(Stdio::piped(), kubeconfig, arguments, environment)
    }

    /// As [`start`](Self::start); what it prints goes there, and is not collected.
    pub fn start_into(
        stdout: Stdio,
        kubeconfig: &Path,
        arguments: &[&str],
        environment: &[(&str, &str)],
    ) -> Self {
        let mut command = command();
        command.env("KUBECONFIG", kubeconfig).env("OOM_SERVER__LISTEN", "127.0.0.1:0").args(arguments);
        command.envs(environment.iter().copied());
        command.stdin(Stdio::null()).stdout(stdout).stderr(Stdio::piped());
        let mut child = Command::from(command).kill_on_drop(true).spawn().unwrap();
        let leash = Leash::on(child.id().unwrap()).unwrap();
        let mut collectors = JoinSet::new();
        let stdout = child.stdout.take().map(|stdout| collect(stdout, &mut collectors)).unwrap_or_default();
        let stderr = collect(child.stderr.take().unwrap(), &mut collectors);
        Self { child, stdout, stderr, collectors, _leash: leash }
    }

    /// Starts it and waits until it sees the cluster.
    pub async fn ready(kubeconfig: &Path, arguments: &[&str], environment: &[(&str, &str)]) -> Self {
        let program = Self::start(kubeconfig, arguments, environment);
        program.is_ready().await;
        program
    }

    /// Waits until it sees the cluster.
    pub async fn is_ready(&self) {
        let ready = eventually("/readyz", PATIENCE, async || {
            self.get("/readyz").await.filter(|answer| answer.contains("200 OK"))
        });
        if let Err(error) = ready.await {
            panic!("{error}: {:?}\n{}", self.get("/readyz").await, self.stderr());
        }
    }

    /// Where its HTTP endpoint listens.
    pub fn address(&self) -> Option<String> {
        let stderr = self.stderr();
        let (_, rest) = stderr.split_once("listening on ")?;
        // A line of JSON goes on with a quote.
        Some(rest.split(['\n', '"']).next()?.to_owned())
    }

    /// What its HTTP endpoint answers, head and all.
    pub async fn get(&self, path: &str) -> Option<String> {
        let mut stream = TcpStream::connect(self.address()?).await.ok()?;
        let request = format!("GET {path} HTTP/1.1\r\nhost: test\r\nconnection: close\r\n\r\n");
        stream.write_all(request.as_bytes()).await.ok()?;
        let mut answer = String::new();
        stream.read_to_string(&mut answer).await.ok()?;
        Some(answer)
    }

    /// The value of a counter, such as `findings_total`; of several with that beginning, their sum.
    pub async fn metric(&self, beginning: &str) -> u64 {
        let metrics = self.get("/metrics").await.unwrap_or_default();
        let beginning = format!("oom_event_generator_{beginning}");
        let lines = metrics.lines().filter(|line| line.starts_with(&beginning));
        lines.map(|line| line.rsplit_once(' ').unwrap().1.parse::<u64>().unwrap()).sum()
    }

    /// The memory that it holds now, and the most that it ever held, in bytes (Linux only).
    pub fn memory(&self) -> (u64, u64) {
        let status = fs::read_to_string(format!("/proc/{}/status", self.child.id().unwrap())).unwrap();
        let bytes = |field| -> u64 {
            let line = status.lines().find_map(|line| line.strip_prefix(field)).unwrap();
            line.trim().trim_end_matches(" kB").parse::<u64>().unwrap() * 1024
        };
        (bytes("VmRSS:"), bytes("VmHWM:"))
    }

    /// The processor time that it has used so far, in hundredths of a second (Linux only).
    pub fn processor_time(&self) -> Duration {
        let stat = fs::read_to_string(format!("/proc/{}/stat", self.child.id().unwrap())).unwrap();
        let fields: Vec<&str> = stat.rsplit_once(") ").unwrap().1.split(' ').collect();
        let hundredths: u64 = fields[11..13].iter().map(|time| time.parse::<u64>().unwrap()).sum();
        Duration::from_millis(10 * hundredths)
    }

    /// Lets it open so many files beside those that are open now (Linux only).
    pub fn may_open(&self, files: usize) {
        let process = i32::try_from(self.child.id().unwrap()).unwrap();
        let open = fs::read_dir(format!("/proc/{process}/fd")).unwrap();
        let open: HashSet<u64> =
            open.map(|file| file.unwrap().file_name().to_str().unwrap().parse().unwrap()).collect();
        // The limit is on their numbers, and a new file gets the lowest that is free.
        let current = (0..).filter(|number| !open.contains(number)).nth(files);
        let limit = Rlimit { current, ..getrlimit(Resource::Nofile) };
        prlimit(Pid::from_raw(process), Resource::Nofile, limit).unwrap();
    }

    /// What it has printed so far.
    pub fn stdout(&self) -> String {
        self.stdout.lock().unwrap().clone()
    }

    /// What it has logged so far.
    pub fn stderr(&self) -> String {
        self.stderr.lock().unwrap().clone()
    }

    /// The findings that it has printed so far; whatever else stands there fails the test.
    pub fn findings(&self) -> Vec<Value> {
        let stdout = self.stdout();
        let whole = stdout.rfind('\n').map_or("", |end| &stdout[..end]);
        whole.lines().map(|line| serde_json::from_str(line).unwrap()).collect()
    }

    /// Sends a signal, such as `TERM`.
    pub async fn signal(&self, signal: &str) {
        let process = self.child.id().unwrap().to_string();
        let sent = Command::new("kill").args([&format!("-{signal}"), &process]).status().await;
        assert!(sent.unwrap().success());
    }

    /// Waits for its end, and for the last word of it.
    pub async fn ended(&mut self) -> ExitStatus {
        let ended =
            tokio::time::timeout(PATIENCE, self.child.wait()).await.expect("the program ends").unwrap();
        while let Some(collected) = self.collectors.join_next().await {
            collected.unwrap();
        }
        ended
    }

    /// Asks it to stop; the answer is its exit status.
    pub async fn stop(mut self) -> Option<i32> {
        self.signal("TERM").await;
        self.ended().await.code()
    }
}

fn collect(
    stream: impl AsyncRead + Unpin + Send + 'static,
    collectors: &mut JoinSet<()>,
) -> Arc<Mutex<String>> {
    let collected = Arc::new(Mutex::new(String::new()));
    let into = Arc::clone(&collected);
    collectors.spawn(async move {
        let mut lines = BufReader::new(stream);
        let mut line = String::new();
        while lines.read_line(&mut line).await.unwrap_or(0) > 0 {
            into.lock().unwrap().push_str(&line);
            line.clear();
        }
    });
    collected
}
