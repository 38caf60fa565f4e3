//! Processes, and a directory, that don't outlive the process that made them, however that ends.
//!
//! A process that is killed runs no destructor. So what must be taken down has a supervisor: a few
//! lines of `sh` that hold the reading end of a pipe and act when its last writing end closes, which
//! the kernel does for the dead as well. Other children don't hold it open: `std` marks it
//! close-on-exec.

use std::{
    ffi::OsString,
    fs,
    io::{self, BufRead, BufReader},
    os::{fd::AsFd, unix::process::CommandExt},
    path::{Path, PathBuf},
    process::{Child, ChildStdin, Command, ExitStatus, Stdio},
};

use rustix::process::{Pid, Signal, kill_process};

use crate::Error;

/// Runs `$2…` with its output in the file `$1`, and says its process ID. When the pipe closes, the
/// process is killed, and what it may have started (the compilers of `go build`) is told to end.
const SUPERVISE: &str = r#"
log=$1; shift
trap : TERM
exec 3<&0
"$@" </dev/null >"$log" 2>&1 3<&- &
process=$!
echo "$process"
( read -r _; kill -KILL "$process"; kill -TERM 0 ) <&3 2>/dev/null &
watcher=$!
while wait "$process"; status=$?; kill -0 "$process" 2>/dev/null; do :; done
kill "$watcher" 2>/dev/null
exit "$status"
"#;

/// Makes a directory, says its name, and removes it when the pipe closes.
const KEEP_DIRECTORY: &str = r#"
directory=$(mktemp -d "${TMPDIR:-/tmp}/control-plane.XXXXXX") || exit
echo "$directory"
cat >/dev/null
rm -rf "$directory"
"#;

/// Kills the process `$1` when the pipe closes.
const KILL_AFTERWARDS: &str = r#"
echo
read -r _
kill -KILL "$1"
"#;

/// A `sh` that acts when its standard input closes.
struct Supervisor {
    shell: Child,
    pipe: Option<ChildStdin>,
}

impl Supervisor {
    /// Starts a script; the answer has the line that it says first.
    fn start(script: &str, arguments: &[OsString], stderr: Stdio) -> io::Result<(Self, String)> {
        let mut shell = Command::new("sh")
            .args(["-c", script, "supervisor"])
            .args(arguments)
            // Its own, so that Ctrl-C at a terminal reaches only the process that is supervised for.
            .process_group(0)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(stderr)
            .spawn()?;
        let pipe = shell.stdin.take();
        let stdout = shell.stdout.take();
        let supervisor = Self { shell, pipe };
        let mut said = String::new();
        if let Some(stdout) = stdout {
            BufReader::new(stdout).read_line(&mut said)?;
        }
        Ok((supervisor, said.trim_end().to_owned()))
    }
}

impl Drop for Supervisor {
    fn drop(&mut self) {
        drop(self.pipe.take());
        // Nothing can be done about an error here, and there is none while the shell is our child.
        self.shell.wait().ok();
    }
}

/// A directory for temporary files, removed when it is dropped or its owner has died, and the
/// [`Process`]es that use it are gone.
pub(crate) struct Directory {
    path: PathBuf,
    keeper: Supervisor,
}

impl Directory {
    pub(crate) fn new() -> io::Result<Self> {
        let (keeper, path) = Supervisor::start(KEEP_DIRECTORY, &[], Stdio::inherit())?;
        if path.is_empty() {
            return Err(io::Error::other("mktemp failed"));
        }
        Ok(Self { path: path.into(), keeper })
    }

    pub(crate) fn join(&self, name: &str) -> PathBuf {
        self.path.join(name)
    }

    /// The pipe that the keeper waits for: whoever holds an end of it still uses the directory.
    fn hold(&self) -> io::Result<Stdio> {
        match &self.keeper.pipe {
            Some(pipe) => Ok(pipe.as_fd().try_clone_to_owned()?.into()),
            None => Ok(Stdio::null()),
        }
    }
}

/// A running process, killed when it is dropped or its owner has died.
pub(crate) struct Process {
    supervisor: Supervisor,
    id: Pid,
    log: PathBuf,
}

impl Process {
    /// Starts `command` (a program and its arguments) with its output in the file `log`.
    pub(crate) fn start(
        command: impl IntoIterator<Item = impl Into<OsString>>,
        log: PathBuf,
        directory: Option<&Directory>,
    ) -> io::Result<Self> {
        let mut arguments = vec![log.clone().into_os_string()];
        arguments.extend(command.into_iter().map(Into::into));
        let stderr = directory.map_or_else(|| Ok(Stdio::null()), Directory::hold)?;
        let (supervisor, id) = Supervisor::start(SUPERVISE, &arguments, stderr)?;
        match id.parse().ok().and_then(Pid::from_raw) {
            Some(id) => Ok(Self { supervisor, id, log }),
            None => Err(io::Error::other(format!("sh could not run {arguments:?}"))),
        }
    }

    /// How it ended, if it did.
    pub(crate) fn ended(&mut self) -> io::Result<Option<ExitStatus>> {
        self.supervisor.shell.try_wait()
    }

    pub(crate) fn id(&self) -> u32 {
        self.id.as_raw_pid().cast_unsigned()
    }

    pub(crate) fn signal(&self, signal: Signal) -> io::Result<()> {
        Ok(kill_process(self.id, signal)?)
    }

    /// The file that its output goes to.
    pub(crate) fn log(&self) -> &Path {
        &self.log
    }
}

/// Kills a child of this process if this process dies before it.
///
/// For the program that a test runs: `kill_on_drop` doesn't help when the test itself is killed. To be
/// dropped before the child is waited for, as its process ID may belong to another one after that.
pub struct Leash(Supervisor);

impl Leash {
    /// Puts the child with this process ID on a leash.
    ///
    /// # Errors
    ///
    /// `sh` can't be run.
    pub fn on(process: u32) -> Result<Self, Error> {
        Supervisor::start(KILL_AFTERWARDS, &[process.to_string().into()], Stdio::null())
            .map(|(supervisor, _)| Self(supervisor))
            .map_err(|error| Error::new(format!("supervising the process {process}"), error))
    }
}

impl Drop for Leash {
    fn drop(&mut self) {
        // It must not act; that it is gone already does no harm.
        self.0.shell.kill().ok();
    }
}

/// The last lines of a log, for an error; why there are none, if it can't be read.
pub(crate) fn last_lines(log: &Path) -> String {
    const LINES: usize = 15;
    match fs::read(log) {
        Ok(content) => {
            let content = String::from_utf8_lossy(&content);
            let lines: Vec<_> = content.lines().collect();
            lines[lines.len().saturating_sub(LINES)..].join("\n")
        }
        Err(error) => format!("{} can't be read: {error}", log.display()),
    }
}
