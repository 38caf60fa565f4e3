//! The tests that see the program from outside, or as a whole: one crate, one file a subject.

#![allow(clippy::unwrap_used, clippy::expect_used, reason = "a test that cannot go on should say where")]

mod cases;
mod config;
mod notation;
mod replay;

use std::process::Command;

/// The program, with nothing of this process' environment that it would read.
fn program() -> Command {
    let mut program = Command::new(env!("CARGO_BIN_EXE_kubernetes-oom-event-generator"));
    for (name, _) in std::env::vars_os() {
        let read = name.to_str().is_none_or(|name| {
            name.starts_with("OOM_") || ["KUBECONFIG", "VERBOSE", "KUBERNETES_SERVICE_HOST"].contains(&name)
        });
        if read {
            program.env_remove(name);
        }
    }
    program
}
