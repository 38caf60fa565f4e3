//! One run of a credential plugin.

use std::{io, process::Stdio};

use rustix::process::{Pid, Signal, kill_process_group};
use tokio::{
    io::AsyncReadExt,
    process::{Child, Command},
    time::timeout,
};

use super::{PluginCommand, PluginError, PluginGrant, RUN_TIMEOUT, answer};

/// How much a plugin may print, in bytes. A certificate with its key has some thousand.
const MAX_OUTPUT_BYTES: u64 = 1024 * 1024;

/// Runs a plugin and reads what it prints.
///
/// # Errors
///
/// It can't be started, fails, doesn't end in time, or prints no credentials.
///
/// # Cancel safety
///
/// The program, and all that it started, is ended.
pub(super) async fn run(command: &PluginCommand) -> Result<PluginGrant, PluginError> {
    let program = || command.program.clone();
    let mut group = ProcessGroup::start(command).map_err(|error| PluginError::NotStarted {
        program: program(),
        error,
        hint: command.install_hint.as_ref().map(|hint| format!(" {hint}")).unwrap_or_default(),
    })?;
    let ended = timeout(RUN_TIMEOUT, async {
        let output = group.output().await?;
        io::Result::Ok((group.0.wait().await?, output))
    });
    let Ok(ended) = ended.await else { return Err(PluginError::Hangs { program: program() }) };
    let (status, output) = ended.map_err(|error| PluginError::Unreadable { program: program(), error })?;
    if !status.success() {
        return Err(PluginError::Failed { program: program(), status });
    }
    answer::read(&output, &command.api_version)
        .map_err(|reason| PluginError::Useless { program: program(), reason })
}

/// A program that leads a process group of its own. The group is ended if this is dropped before the
/// program's end was waited for.
struct ProcessGroup(Child);

impl ProcessGroup {
    fn start(command: &PluginCommand) -> io::Result<Self> {
        Command::new(&command.program)
            .args(&command.arguments)
            .envs(command.environment.iter().map(|(name, value)| (name, value)))
            .env("KUBERNETES_EXEC_INFO", &command.info)
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(Stdio::null())
            .process_group(0)
            .spawn()
            .map(Self)
    }

    /// Reads what the program prints, until it and all that it started have closed it.
    async fn output(&mut self) -> io::Result<Vec<u8>> {
        let mut output = Vec::new();
        if let Some(stdout) = self.0.stdout.take() {
            stdout.take(MAX_OUTPUT_BYTES + 1).read_to_end(&mut output).await?;
        }
        if u64::try_from(output.len()).is_ok_and(|bytes| bytes <= MAX_OUTPUT_BYTES) {
            Ok(output)
        } else {
            Err(io::Error::other(format!("it is more than {MAX_OUTPUT_BYTES} bytes")))
        }
    }
}

impl Drop for ProcessGroup {
    fn drop(&mut self) {
        // A program whose end was waited for has no number any more, so no other's group is ended.
        let leader = self.0.id().and_then(|id| i32::try_from(id).ok()).and_then(Pid::from_raw);
        if let Some(Err(error)) = leader.map(|leader| kill_process_group(leader, Signal::KILL)) {
            tracing::debug!("can't end a credential plugin: {error}");
        }
    }
}
