//! A test run that is killed leaves nothing behind. It finds out by Linux' `/proc`.
#![allow(clippy::unwrap_used, reason = "in a test it says where")]
#![cfg(target_os = "linux")]

use std::{
    env, fs,
    io::{BufRead, BufReader},
    path::{Path, PathBuf},
    process::{Command, Stdio},
    time::Duration,
};

use support::{ControlPlane, Error, Leash, eventually};

/// Set where the test is the child that gets killed.
const VICTIM: &str = "CONTROL_PLANE_VICTIM";
const SOON: Duration = Duration::from_secs(20);

#[tokio::test]
async fn a_killed_test_run_leaves_nothing_behind() -> Result<(), Error> {
    if env::var_os(VICTIM).is_some() {
        let plane = ControlPlane::start().await?;
        // A program as a test may run it; its command line names the directory too.
        let kubeconfig = plane.kubeconfig();
        let mut child =
            Command::new("tail").arg("-f").arg(&kubeconfig).stdout(Stdio::null()).spawn().unwrap();
        let _leash = Leash::on(child.id()).unwrap();
        println!("\n{VICTIM} {}", kubeconfig.display());
        child.wait().unwrap();
    }
    let mut victim = Command::new(env::current_exe().unwrap())
        .args(["--exact", "a_killed_test_run_leaves_nothing_behind", "--nocapture"])
        .env(VICTIM, "")
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    let output = BufReader::new(victim.stdout.take().unwrap());
    let directory = output.lines().find_map(|line| {
        let kubeconfig = PathBuf::from(line.unwrap().strip_prefix(VICTIM)?.trim());
        Some(kubeconfig.parent().unwrap().to_owned())
    });
    let directory = directory.expect("the child says where its control plane is");
    // The child of the child; two programs, and for each a supervisor and its watcher.
    assert_eq!(processes_of(&directory).len(), 7);

    victim.kill().unwrap();
    victim.wait().unwrap();
    eventually("the end of the processes", SOON, async || processes_of(&directory).is_empty().then_some(()))
        .await?;
    eventually("the end of the directory", SOON, async || (!directory.exists()).then_some(())).await
}

#[tokio::test]
async fn a_dropped_control_plane_is_gone_at_once() -> Result<(), Error> {
    let plane = ControlPlane::start().await?;
    let directory = plane.kubeconfig().parent().unwrap().to_owned();
    assert!(directory.exists());
    drop(plane);
    assert_eq!(processes_of(&directory), [] as [String; 0]);
    assert!(!directory.exists());
    Ok(())
}

/// The command lines that name the directory of a control plane.
fn processes_of(directory: &Path) -> Vec<String> {
    let directory = directory.display().to_string();
    let processes = fs::read_dir("/proc").unwrap().filter_map(Result::ok);
    let command_lines = processes.filter_map(|process| fs::read(process.path().join("cmdline")).ok());
    command_lines
        .map(|line| String::from_utf8_lossy(&line).replace('\0', " "))
        .filter(|line| line.contains(&directory))
        .collect()
}
