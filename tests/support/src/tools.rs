//! The tools that tests call: helm, kubectl, Prometheus. `.ci/tools` installs them when they are first
//! needed, into `target/tools`.

use std::{
    io::{BufRead, BufReader},
    path::{Path, PathBuf},
    process::{Command, Stdio},
};

use tokio::{sync::OnceCell, task::spawn_blocking};

use crate::{Error, say};

const REMEDY: &str = "It needs Python 3, Go and, once, the network";
const REPOSITORY: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/../..");

/// Returns the path of a file in the repository.
pub fn file(path: &str) -> PathBuf {
    Path::new(REPOSITORY).join(path)
}

/// Returns the path of a tool, such as `helm`.
pub async fn tool(name: &str) -> PathBuf {
    installed(&format!("bin/{name}")).await
}

/// Returns a path in the tools' folder after they are installed, which is said on stderr.
pub async fn installed(path: &str) -> PathBuf {
    static INSTALLED: OnceCell<()> = OnceCell::const_new();
    INSTALLED.get_or_try_init(async || spawn_blocking(install).await.unwrap()).await.unwrap();
    file("target/tools").join(path)
}

fn install() -> Result<(), Error> {
    let tried = "installing helm, kubectl and Prometheus by `.ci/tools tests`";
    let failed = |error: std::io::Error| Error::new(tried, error);
    let mut command = Command::new(file(".ci/tools"));
    command.arg("tests").stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::piped());
    let mut script = command.spawn().map_err(failed)?;
    let mut said = String::new();
    for line in BufReader::new(script.stderr.take().unwrap()).lines() {
        let line = line.map_err(failed)?;
        say(&line);
        said = said + "\n" + &line;
    }
    let status = script.wait().map_err(failed)?;
    if status.success() { Ok(()) } else { Err(Error::new(tried, format!("{status}{said}\n{REMEDY}"))) }
}
