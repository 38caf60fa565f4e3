//! The processes of a run: the synthetic API server and a client of it. What they use is read from
//! `/proc`, so this needs Linux.

use std::{
    env, fs,
    io::{BufRead, BufReader, Write},
    path::{Path, PathBuf},
    process::{Child, ChildStdin, ChildStdout, Command, Stdio},
    time::{Duration, Instant},
};

use rustix::process::{Pid, Signal, kill_process};
use serde::de::DeserializeOwned;
use support::Leash;
use tempfile::TempDir;

use crate::{
    Outcome,
    objects::Encoding,
    orders::{Order, Resource},
};

/// How long a client may take until it watches: the original needs minutes for 100,000 Pods.
const PATIENCE: Duration = Duration::from_mins(10);

/// A process that ends when this is dropped, or when this process dies.
pub struct RunningProcess {
    child: Child,
    leash: Option<Leash>,
    /// Where it says what it says on stderr.
    log: PathBuf,
}

/// What a process needs of memory, in bytes.
#[derive(Clone, Copy, Debug)]
pub struct ResidentMemory {
    pub peak: f64,
    pub now: f64,
}

impl RunningProcess {
    fn start(command: &mut Command) -> Outcome<Self> {
        let child = command.spawn().map_err(|error| format!("can't run {command:?}: {error}"))?;
        let leash = Leash::on(child.id())?;
        Ok(Self { child, leash: Some(leash), log: PathBuf::new() })
    }

    /// Starts a client that finds the cluster in `~/.kube/config` of this home directory.
    pub fn at_home(command: &mut Command, home: &Path) -> Outcome<Self> {
        let path = env::var_os("PATH").unwrap_or_default();
        command.env_clear().env("PATH", path).env("HOME", home).env("OOM_SERVER__LISTEN", "127.0.0.1:0");
        let log = home.join("log");
        let mut client = Self::start(command.stdout(Stdio::null()).stderr(fs::File::create(&log)?))?;
        client.log = log;
        Ok(client)
    }

    /// The CPU time that it has used, in seconds, to a hundredth.
    pub fn cpu(&self) -> Outcome<f64> {
        cpu(self.child.id())
    }

    /// Tells it to stop. The answer is all that it said.
    pub fn stop(mut self) -> Outcome<String> {
        let process = i32::try_from(self.child.id()).ok().and_then(Pid::from_raw).ok_or("no process")?;
        kill_process(process, Signal::TERM)?;
        drop(self.leash.take());
        self.child.wait()?;
        Ok(fs::read_to_string(&self.log)?)
    }

    /// Its resident memory. Fails if it is no longer there.
    pub fn memory(&self) -> Outcome<ResidentMemory> {
        let bytes = |file: &str, key: &str| {
            let read = fs::read_to_string(format!("/proc/{}/{file}", self.child.id())).ok()?;
            let line = read.lines().find_map(|line| line.strip_prefix(key))?;
            Some(line.trim().trim_end_matches(" kB").parse::<f64>().ok()? * 1024.0)
        };
        // `status` knows the present only roughly.
        match (bytes("status", "VmHWM:"), bytes("smaps_rollup", "Rss:")) {
            (Some(peak), Some(now)) => Ok(ResidentMemory { peak: peak.max(now), now }),
            _ => Err("the process that is measured has ended".into()),
        }
    }
}

impl Drop for RunningProcess {
    fn drop(&mut self) {
        drop(self.leash.take());
        // It may have ended by itself.
        self.child.kill().ok();
        self.child.wait().ok();
    }
}

/// The CPU time that a process has used, in seconds.
pub fn cpu(process: u32) -> Outcome<f64> {
    /// What the kernel counts in, for all that it tells of itself.
    const TICKS_PER_SECOND: f64 = 100.0;
    let stat = fs::read_to_string(format!("/proc/{process}/stat"))?;
    let (_, fields) = stat.rsplit_once(')').ok_or("no stat")?;
    let ticks = fields.split_whitespace().skip(11).take(2).map(str::parse::<f64>);
    Ok(ticks.sum::<Result<f64, _>>()? / TICKS_PER_SECOND)
}

/// The synthetic API server.
pub struct ServerProcess {
    process: RunningProcess,
    orders: ChildStdin,
    answers: BufReader<ChildStdout>,
    dir: TempDir,
}

impl ServerProcess {
    /// One that has so many Pods, and as many Events. It answers in JSON alone, or in Protobuf to whoever accepts
    /// that.
    pub fn start(pods: usize, encoding: Encoding) -> Outcome<Self> {
        let dir = tempfile::tempdir()?;
        let mut command = Command::new(env::current_exe()?);
        command.arg("serve").arg(dir.path()).arg(pods.to_string()).arg(encoding.to_string());
        let mut process = RunningProcess::start(command.stdin(Stdio::piped()).stdout(Stdio::piped()))?;
        let orders = process.child.stdin.take().ok_or("no stdin")?;
        let answers = BufReader::new(process.child.stdout.take().ok_or("no stdout")?);
        let mut server = Self { process, orders, answers, dir };
        server.answer::<()>()?;
        Ok(server)
    }

    pub fn order<T: DeserializeOwned>(&mut self, order: &Order) -> Outcome<T> {
        writeln!(self.orders, "{}", serde_json::to_string(order)?)?;
        self.answer()
    }

    fn answer<T: DeserializeOwned>(&mut self) -> Outcome<T> {
        let mut line = String::new();
        self.answers.read_line(&mut line)?;
        serde_json::from_str(&line).map_err(|error| format!("the API server ended: {error}").into())
    }

    pub fn cpu(&self) -> Outcome<f64> {
        self.process.cpu()
    }

    /// Runs a client, as whoever looks for a cluster does: it finds it in `~/.kube/config`.
    pub fn client(&mut self, program: &Path) -> Outcome<RunningProcess> {
        self.run(&mut Command::new(program))
    }

    /// As above, with its instructions counted.
    pub fn under_callgrind(&mut self, program: &Path) -> Outcome<RunningProcess> {
        let mut command = Command::new("valgrind");
        if Command::new("valgrind").arg("--version").output().is_err() {
            return Err("can't count instructions without valgrind: install the package valgrind".into());
        }
        self.run(command.args(["--tool=callgrind", "--callgrind-out-file=/dev/null"]).arg(program))
    }

    fn run(&mut self, command: &mut Command) -> Outcome<RunningProcess> {
        let mut client = RunningProcess::at_home(command, self.dir.path())?;
        let begun = Instant::now();
        while begun.elapsed() < PATIENCE && client.child.try_wait()?.is_none() {
            if self.watched(&[Resource::Pods, Resource::Events])? {
                return Ok(client);
            }
        }
        let said = fs::read_to_string(&client.log).unwrap_or_default();
        let program = command.get_program().display();
        Err(format!("{program} ended, or doesn't watch the cluster after {PATIENCE:?}. It said:\n{said}")
            .into())
    }

    /// Runs a part of this very program as a client.
    pub fn own_client(&self, arguments: &[&str]) -> Outcome<Client> {
        let mut command = Command::new(env::current_exe()?);
        command.args(arguments).arg(self.dir.path()).stdin(Stdio::null()).stdout(Stdio::piped());
        let mut process = RunningProcess::start(&mut command)?;
        let answers = BufReader::new(process.child.stdout.take().ok_or("no stdout")?);
        Ok(Client { process, answers })
    }

    /// Whether these are watched within a second.
    pub fn watched(&mut self, resources: &[Resource]) -> Outcome<bool> {
        self.order(&Order::Await { resources: resources.to_vec(), within: Duration::from_secs(1) })
    }
}

/// A part of this very program, run as a client.
pub struct Client {
    pub process: RunningProcess,
    answers: BufReader<ChildStdout>,
}

impl Client {
    /// What it says next.
    pub fn answer<T: DeserializeOwned>(&mut self) -> Outcome<T> {
        let mut line = String::new();
        self.answers.read_line(&mut line)?;
        serde_json::from_str(&line).map_err(|error| format!("a client ended: {error}").into())
    }
}

/// Builds the release binary, as Cargo knows best what of it is up to date.
pub fn release_binary() -> Outcome<PathBuf> {
    let cargo = env::var_os("CARGO").ok_or("run this as cargo measure, or with --program PATH")?;
    let built = Command::new(cargo).args(["build", "--quiet", "--release", "--locked"]).status()?;
    if !built.success() {
        return Err("the release binary can't be built".into());
    }
    let this = env::current_exe()?;
    let target = this.ancestors().nth(2).ok_or("this is not in Cargo's target directory")?;
    Ok(target.join("kubernetes-oom-event-generator"))
}
