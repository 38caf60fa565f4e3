//! Where are etcd and kube-apiserver? Yields their paths, after building them where they aren't.
//!
//! `$KUBEBUILDER_ASSETS` is what envtest calls the folder that has them. Without it they are built by
//! Go from the modules that `go.mod` beside this crate pins, once per target directory and version.

use std::{
    env,
    ffi::OsString,
    fs::{self, File},
    io,
    path::{Path, PathBuf},
    process::{Command, Stdio},
    thread::sleep,
    time::{Duration, Instant},
};

use super::process::{Process, last_lines};
use crate::{Error, say};

const GO_MOD: &str = include_str!("../../go.mod");
const ETCD: &str = "go.etcd.io/etcd/server/v3";
const KUBE_APISERVER: &str = "k8s.io/kubernetes/cmd/kube-apiserver";

const REMEDY: &str = "install Go 1.26 or later (https://go.dev/dl), or unpack envtest's etcd and kube-apiserver \
    (https://github.com/kubernetes-sigs/controller-tools/releases, `envtest-v1.…`) and set \
    $KUBEBUILDER_ASSETS to the folder that has them";

/// The two programs of a control plane.
#[derive(Clone, Debug)]
pub(crate) struct Binaries {
    pub(crate) etcd: PathBuf,
    pub(crate) kube_apiserver: PathBuf,
}

impl Binaries {
    /// Those in a folder, if it has both.
    fn within(folder: &Path) -> Option<Self> {
        let binaries = Self { etcd: folder.join("etcd"), kube_apiserver: folder.join("kube-apiserver") };
        (binaries.etcd.is_file() && binaries.kube_apiserver.is_file()).then_some(binaries)
    }

    /// Finds them, or builds them, which takes minutes and is said on stderr.
    pub(crate) fn find_or_build() -> Result<Self, Error> {
        if let Some(folder) = env::var_os("KUBEBUILDER_ASSETS").filter(|folder| !folder.is_empty()) {
            let folder = PathBuf::from(folder);
            return Self::within(&folder).ok_or_else(|| {
                let tried = format!("looking for etcd and kube-apiserver in {}", folder.display());
                Error::new(tried, "not both are there: correct or unset $KUBEBUILDER_ASSETS")
            });
        }
        let version = kubernetes_version()?;
        let shelf = target_directory().join("control-plane");
        let folder = shelf.join(version);
        if let Some(binaries) = Self::within(&folder) {
            return Ok(binaries);
        }
        build(version, &shelf)?;
        Self::within(&folder)
            .ok_or_else(|| Error::new(format!("building {}", folder.display()), "Go left no binaries there"))
    }
}

/// The version of Kubernetes that go.mod asks for, such as `v1.37.2`.
fn kubernetes_version() -> Result<&'static str, Error> {
    let version = GO_MOD.lines().find_map(|line| line.trim().strip_prefix("k8s.io/kubernetes "));
    version.and_then(|rest| rest.split_whitespace().next()).ok_or_else(|| {
        Error::new("reading the control plane's go.mod", "it does not require k8s.io/kubernetes")
    })
}

/// Cargo's target directory: the one that this program is in, wherever configuration put it.
fn target_directory() -> PathBuf {
    let this = env::current_exe().unwrap_or_default();
    match this.ancestors().find(|folder| folder.join("CACHEDIR.TAG").is_file()) {
        Some(target) => target.to_owned(),
        None => Path::new(env!("CARGO_MANIFEST_DIR")).join("../../target"),
    }
}

/// Builds both into the folder `version` of `shelf`, unless another process does it meanwhile.
fn build(version: &str, shelf: &Path) -> Result<(), Error> {
    let tried = |error| Error::new(format!("building etcd and kube-apiserver in {}", shelf.display()), error);
    require_go()?;
    fs::create_dir_all(shelf).map_err(tried)?;
    let lock = lock(&shelf.join("lock")).map_err(tried)?;
    let folder = shelf.join(version);
    if Binaries::within(&folder).is_none() {
        let partial = shelf.join(format!("{version}.partial"));
        // What a build that was killed has left.
        for leftover in [&folder, &partial].into_iter().filter(|leftover| leftover.exists()) {
            fs::remove_dir_all(leftover).map_err(tried)?;
        }
        fs::create_dir_all(partial.join("work")).map_err(tried)?;
        go_build(version, &partial)?;
        fs::rename(partial.join("server"), partial.join("etcd")).map_err(tried)?;
        fs::remove_dir_all(partial.join("work")).map_err(tried)?;
        fs::rename(&partial, &folder).map_err(tried)?;
    }
    lock.unlock().map_err(tried)
}

/// Says at once what is missing, before anything is written.
fn require_go() -> Result<(), Error> {
    match Command::new("go").arg("version").stdout(Stdio::null()).stderr(Stdio::null()).status() {
        Ok(_) => Ok(()),
        Err(error) => {
            let tried = "building etcd and kube-apiserver for the tests with `go`";
            Err(Error::new(tried, format!("{error}; {REMEDY}")))
        }
    }
}

/// Waits until no other process builds. The lock ends with its holder.
fn lock(path: &Path) -> io::Result<File> {
    let file = File::create(path)?;
    if file.try_lock().is_err() {
        say("waiting for another process, which builds etcd and kube-apiserver");
        file.lock()?;
    }
    Ok(file)
}

/// Runs `go build`, and shows that it is alive.
fn go_build(version: &str, folder: &Path) -> Result<(), Error> {
    const SIGN_OF_LIFE: Duration = Duration::from_secs(15);
    let tried = format!("building etcd and kube-apiserver {version} with `go`");
    let failed = |error: io::Error| Error::new(&tried, error);
    say(&format!("{tried}, once, into {}: about 5 minutes on two cores", folder.display()));
    let begun = Instant::now();
    let mut said = begun;
    let mut go = Process::start(command(version, folder), folder.join("log"), None).map_err(failed)?;
    let status = loop {
        if let Some(status) = go.ended().map_err(failed)? {
            break status;
        }
        if said.elapsed() > SIGN_OF_LIFE {
            said = Instant::now();
            say(&format!("still building, for {} s", begun.elapsed().as_secs()));
        }
        sleep(Duration::from_millis(100));
    };
    if !status.success() {
        let log = last_lines(go.log());
        return Err(Error::new(tried, format!("{status}:\n{log}\nIf Go is too old: {REMEDY}")));
    }
    say(&format!("built, after {} s", begun.elapsed().as_secs()));
    Ok(())
}

/// The command line of the build. Without its version the API server refuses some requests.
fn command(version: &str, folder: &Path) -> Vec<OsString> {
    let mut numbers = version.trim_start_matches('v').split('.');
    let (major, minor) = (numbers.next().unwrap_or_default(), numbers.next().unwrap_or_default());
    let variable = "k8s.io/component-base/version.git";
    let ldflags =
        format!("-s -w -X {variable}Version={version} -X {variable}Major={major} -X {variable}Minor={minor}");
    let mut work = OsString::from("GOTMPDIR=");
    work.push(folder.join("work"));
    // Without debug information, and with fewer collections of the compiler's garbage, a fifth less time.
    let environment =
        ["env", "CGO_ENABLED=0", "GOFLAGS=-mod=readonly", "GOGC=400", "GOTOOLCHAIN=local", "GOWORK=off"];
    let go = ["go", "-C", env!("CARGO_MANIFEST_DIR"), "build", "-trimpath", "-buildvcs=false"];
    let flags = ["-gcflags=all=-dwarf=false", "-ldflags"];
    let mut command: Vec<OsString> = environment.map(OsString::from).into();
    command.push(work);
    command.extend(go.into_iter().chain(flags).map(OsString::from));
    command.extend([ldflags.into(), "-o".into(), folder.into(), ETCD.into(), KUBE_APISERVER.into()]);
    command
}
