//! `cargo measure`: how fast and how small the program is, beside what this machine allows.
//!
//! The release binary watches a synthetic API server (a process of its own, so that their CPU times
//! can be told apart), and what it uses is printed as a table, each figure with its limit and its goal.
//! Goals of memory, size and requests decide the exit status; times only with `--strict`.
#![allow(clippy::print_stdout, clippy::print_stderr, reason = "its output is what it is for")]

mod api_server;
mod cluster;
mod hostile;
mod instructions;
mod life;
mod limits;
mod objects;
mod orders;
mod parts;
mod process;
mod server;
mod shapes;
mod speed;
mod table;

use std::{
    error::Error,
    io::{self, BufRead, Write},
    path::PathBuf,
    process::ExitCode,
    time::Duration,
};

use clap::{Parser, Subcommand, ValueEnum};
use serde::Serialize;
use tokio::sync::mpsc;

use objects::Encoding;
use server::{Server, SyntheticStore};

type Outcome<T> = Result<T, Box<dyn Error>>;

/// Measures the release binary against a synthetic API server.
#[derive(Debug, Parser)]
#[command(name = "cargo measure")]
struct Options {
    /// The program; by default the release binary, built first
    #[arg(long)]
    program: Option<PathBuf>,
    /// Another program to go through the same, such as the original: it has to find the cluster in
    /// ~/.kube/config
    #[arg(long)]
    against: Option<PathBuf>,
    /// Only these parts; may be repeated
    #[arg(long)]
    only: Vec<Part>,
    /// In a minute or two, what doesn't depend on the time: size, memory, requests, instructions
    #[arg(long)]
    quick: bool,
    /// Let goals of time decide the exit status, too
    #[arg(long)]
    strict: bool,
    /// By how many percent goals of memory, size and requests may be missed
    #[arg(long, default_value_t = 0.0)]
    tolerance: f64,
    /// How many seconds at rest are observed [default: 180, with --quick 60]
    #[arg(long)]
    rest: Option<u64>,
    /// How many seconds of kills are observed, quiet and busy
    #[arg(long, default_value_t = 60)]
    delay: u64,
    /// How often rates are measured; the median counts
    #[arg(long, default_value_t = 5)]
    rounds: u32,
    /// How many changes the simulated day has; each hundredth is a kill
    #[arg(long, default_value_t = 10_000_000)]
    day: u64,
    /// Write the instructions that are counted down as those to compare with
    #[arg(long)]
    accept: bool,
    #[command(subcommand)]
    role: Option<Role>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
enum Part {
    Size,
    Memory,
    Rest,
    Hostile,
    Instructions,
    Speed,
    ApiServer,
    Delay,
    Day,
}

/// What a process does that is part of a measurement.
#[derive(Debug, Subcommand)]
#[command(hide = true)]
enum Role {
    #[command(hide = true)]
    Serve { dir: PathBuf, pods: usize, encoding: Encoding },
    #[command(hide = true)]
    Idle { dir: PathBuf },
    #[command(hide = true)]
    Post { count: usize, every: u64, dir: PathBuf },
    #[command(hide = true)]
    Read { what: limits::What, encoding: Encoding, count: u64, dir: PathBuf },
}

impl Options {
    fn rest(&self) -> Duration {
        Duration::from_secs(self.rest.unwrap_or(if self.quick { 60 } else { 180 }))
    }

    fn delay(&self) -> Duration {
        Duration::from_secs(self.delay)
    }

    fn includes(&self, part: Part) -> bool {
        match self.only.as_slice() {
            [] => {
                !self.quick
                    || matches!(
                        part,
                        Part::Size | Part::Memory | Part::Rest | Part::Hostile | Part::Instructions
                    )
            }
            only => only.contains(&part),
        }
    }
}

fn main() -> ExitCode {
    let mut options = Options::parse();
    let ended = match options.role.take() {
        Some(role) => play(role).map(|()| true),
        None => measure(&options),
    };
    match ended {
        Ok(true) => ExitCode::SUCCESS,
        Ok(false) => ExitCode::FAILURE,
        Err(error) => {
            eprintln!("{error}");
            ExitCode::FAILURE
        }
    }
}

/// Prints the table, row by row. The answer is whether the goals are met.
fn measure(options: &Options) -> Outcome<bool> {
    let program = options.program.clone().map_or_else(process::release_binary, Ok)?;
    let programs: Vec<_> = [&program].into_iter().chain(&options.against).map(PathBuf::as_path).collect();
    if let Some(missing) = programs.iter().find(|program| !program.is_file()) {
        return Err(format!("there is no program {}: name one that is built", missing.display()).into());
    }
    let run = parts::Run { programs: &programs, options };
    let mut failures = Vec::new();
    println!("{}", table::head());
    for part in Part::value_variants().iter().filter(|part| options.includes(**part)) {
        let rows = match part {
            Part::Size => run.size(),
            Part::Memory => run.memory(),
            Part::Rest => run.rest(),
            Part::Hostile => hostile::measure(&run),
            Part::Instructions => instructions::count(&run),
            Part::Speed => speed::measure(&run),
            Part::ApiServer => api_server::measure(&run),
            Part::Delay => run.delay(),
            Part::Day => run.day(),
        };
        for row in rows? {
            println!("{row}");
            failures.extend(row.failures(options.strict, 1.0 + options.tolerance / 100.0));
        }
    }
    if !failures.is_empty() {
        println!("\nNot met:");
        for failure in &failures {
            println!("  {failure}");
        }
    }
    Ok(failures.is_empty())
}

#[tokio::main(flavor = "current_thread")]
async fn play(role: Role) -> Outcome<()> {
    let provider = rustls::crypto::ring::default_provider().install_default();
    provider.map_err(|_| "TLS was set up before")?;
    match role {
        Role::Serve { dir, pods, encoding } => {
            let server = Server::of(SyntheticStore::new(cluster::SyntheticCluster::new(pods, pods)));
            if encoding == Encoding::Json {
                server.speak_json();
            }
            tokio::select! {
                ended = server::serve(&server, &dir) => ended.map(|_| ()),
                ended = obey(&server) => ended,
            }
        }
        Role::Idle { dir } => limits::idle(&dir).await,
        Role::Post { count, every, dir } => limits::post(count, Duration::from_millis(every), &dir).await,
        Role::Read { what, encoding, count, dir } => limits::read(what, encoding, count, &dir),
    }
}

/// Carries out the orders that come, one a line, until no more do.
async fn obey(server: &Server) -> Outcome<()> {
    let (sender, mut orders) = mpsc::unbounded_channel();
    std::thread::spawn(move || {
        for line in io::stdin().lock().lines().map_while(Result::ok) {
            if sender.send(line).is_err() {
                return;
            }
        }
    });
    while let Some(order) = orders.recv().await {
        say(&life::obey(server, serde_json::from_str(&order)?).await?)?;
    }
    Ok(())
}

/// Says something to the process that started this one.
fn say(what: &impl Serialize) -> Outcome<()> {
    let mut stdout = io::stdout().lock();
    writeln!(stdout, "{}", serde_json::to_string(what)?)?;
    Ok(stdout.flush()?)
}
