//! Starts etcd and kube-apiserver on free ports, and answers how to reach them.

use std::{
    fs, io,
    path::{Path, PathBuf},
    time::Duration,
};

use http::Request;
use kube::{
    Client, Config,
    config::{KubeConfigOptions, Kubeconfig},
};
use rustix::process::Signal;
use serde_json::{Value, json};
use tokio::{sync::OnceCell, task::spawn_blocking, time::timeout};

use super::{
    Namespace,
    binaries::Binaries,
    process::{Directory, Process, last_lines},
    servers::{self, Ports, random},
};
use crate::{Error, eventually};

const START_WITHIN: Duration = Duration::from_mins(1);
const ANSWER_WITHIN: Duration = Duration::from_secs(5);
const ATTEMPTS: u32 = 5;

/// A running etcd and kube-apiserver, taken down when it is dropped or this process ends in whatever
/// way.
pub struct ControlPlane {
    // Dropped in this order.
    api_server: Option<Process>,
    etcd: Process,
    directory: Directory,
    binaries: Binaries,
    options: Builder,
    ports: Ports,
    admin: Config,
}

/// What may be set before a control plane starts.
#[derive(Clone, Debug, Default)]
pub struct Builder {
    event_ttl: Option<Duration>,
}

impl Builder {
    /// How long the API server keeps Events, in whole seconds; 1 h unless told.
    #[must_use]
    pub fn event_ttl(mut self, ttl: Duration) -> Self {
        self.event_ttl = Some(ttl);
        self
    }

    /// Starts the control plane, and builds its programs first where there are none.
    ///
    /// # Errors
    ///
    /// The programs are nowhere and can't be built (the error says what to install), or one of them
    /// did not get ready within a minute (the error has the end of its log).
    pub async fn start(self) -> Result<ControlPlane, Error> {
        let binaries = spawn_blocking(Binaries::find_or_build)
            .await
            .map_err(|error| Error::new("finding etcd and kube-apiserver", error))??;
        let mut attempt = 1;
        loop {
            match ControlPlane::try_start(self.clone(), binaries.clone()).await {
                // Someone took a port after it was found free.
                Err(error) if attempt < ATTEMPTS && error.to_string().contains("address already in use") => {
                    attempt += 1;
                }
                result => return result,
            }
        }
    }
}

impl ControlPlane {
    /// Starts a control plane of one's own, with nothing set.
    ///
    /// # Errors
    ///
    /// As [`Builder::start`].
    pub async fn start() -> Result<Self, Error> {
        Self::builder().start().await
    }

    /// A control plane of one's own, yet to be started.
    pub fn builder() -> Builder {
        Builder::default()
    }

    /// The control plane that the tests of this process share: whoever asks first starts it.
    ///
    /// # Errors
    ///
    /// As [`Builder::start`].
    pub async fn shared() -> Result<&'static Self, Error> {
        static SHARED: OnceCell<ControlPlane> = OnceCell::const_new();
        SHARED.get_or_try_init(Self::start).await
    }

    async fn try_start(options: Builder, binaries: Binaries) -> Result<Self, Error> {
        let tried = |error: io::Error| Error::new("preparing a control plane", error);
        let directory = Directory::new().map_err(tried)?;
        let ports = Ports::free().map_err(tried)?;
        let admin_token = format!("{:016x}{:016x}", random(), random());
        fs::write(directory.join("tokens.csv"), format!("{admin_token},admin,admin,\"system:masters\"\n"))
            .map_err(tried)?;

        let mut etcd = servers::start_etcd(&binaries, &directory, ports)?;
        let etcd_client = client(Config::new(ports.etcd_url()?))?;
        ready("etcd", &mut etcd, async || get(&etcd_client, "/health").await).await?;

        let mut api_server = servers::start_api_server(&binaries, &directory, ports, options.event_ttl)?;
        let kubeconfig = directory.join("kubeconfig");
        let admin = ready("kube-apiserver", &mut api_server, async || {
            // Fails until the API server has made its certificate.
            let certificate =
                fs::read(directory.join("certificates/apiserver.crt")).map_err(|e| e.to_string())?;
            write_kubeconfig(&kubeconfig, ports, &certificate, &admin_token).map_err(|e| e.to_string())?;
            let admin = read_kubeconfig(&kubeconfig).await.map_err(|error| error.to_string())?;
            get(&client(admin.clone()).map_err(|error| error.to_string())?, "/readyz").await?;
            Ok(admin)
        })
        .await?;
        // That it was this etcd which answered.
        require_running("etcd", &mut etcd)?;
        Ok(Self { api_server: Some(api_server), etcd, directory, binaries, options, ports, admin })
    }

    /// A client that may do everything. It works in the runtime that it was made in, so each test asks
    /// for its own.
    ///
    /// # Errors
    ///
    /// The client can't be made.
    pub fn client(&self) -> Result<Client, Error> {
        client(self.admin.clone())
    }

    /// A kubeconfig of one who may do everything.
    pub fn kubeconfig(&self) -> PathBuf {
        self.directory.join("kubeconfig")
    }

    /// A kubeconfig of whoever the bearer token belongs to; a file of its own for each call.
    ///
    /// # Errors
    ///
    /// The file can't be written.
    pub fn kubeconfig_for(&self, token: &str) -> Result<PathBuf, Error> {
        let path = self.directory.join(&format!("kubeconfig-{:016x}", random()));
        fs::read(self.directory.join("certificates/apiserver.crt"))
            .and_then(|certificate| write_kubeconfig(&path, self.ports, &certificate, token))
            .map_err(|error| Error::new(format!("writing {}", path.display()), error))?;
        Ok(path)
    }

    /// Makes a namespace that never was before, whose name begins with `prefix`.
    ///
    /// # Errors
    ///
    /// The API server refused.
    pub async fn namespace(&self, prefix: &str) -> Result<Namespace, Error> {
        Namespace::create(self.client()?, format!("{prefix}-{:08x}", random() >> 32)).await
    }

    /// Forces etcd to forget every version but the newest. Event watches that start from an older one
    /// are answered 410; for Pods the API server's watch cache must be new as well
    /// ([`ControlPlane::stop_api_server`]).
    ///
    /// # Errors
    ///
    /// etcd refused.
    pub async fn compact(&self) -> Result<(), Error> {
        let etcd = client(Config::new(self.ports.etcd_url()?))?;
        let tried = |error| Error::new("compacting etcd", error);
        // The key is a zero byte in base64; whatever is asked for, the answer has the revision.
        let range = post(&etcd, "/v3/kv/range", &json!({"key": "AA=="})).await.map_err(tried)?;
        let request = json!({"revision": range["header"]["revision"], "physical": true});
        post(&etcd, "/v3/kv/compaction", &request).await.map_err(tried)?;
        Ok(())
    }

    /// The ID of the API server's process, if it runs.
    pub fn api_server_id(&self) -> Option<u32> {
        self.api_server.as_ref().map(Process::id)
    }

    /// Kills the API server: connections break, new ones are refused.
    pub fn stop_api_server(&mut self) {
        self.api_server = None;
    }

    /// Starts the API server again, on the same port with the same data.
    ///
    /// # Errors
    ///
    /// It did not get ready within a minute.
    pub async fn start_api_server(&mut self) -> Result<(), Error> {
        // Never two at once on one port.
        self.api_server = None;
        require_running("etcd", &mut self.etcd)?;
        let mut api_server =
            servers::start_api_server(&self.binaries, &self.directory, self.ports, self.options.event_ttl)?;
        let client = self.client()?;
        ready("kube-apiserver", &mut api_server, async || get(&client, "/readyz").await).await?;
        self.api_server = Some(api_server);
        Ok(())
    }

    /// Freezes the API server: connections stay, and nothing is answered.
    ///
    /// # Errors
    ///
    /// It isn't running.
    pub async fn pause_api_server(&mut self) -> Result<(), Error> {
        const SILENCE: Duration = Duration::from_millis(500);
        self.signal_api_server(Signal::STOP)?;
        // Its threads stop one after the other.
        let client = self.client()?;
        eventually("the silence of kube-apiserver", START_WITHIN, async || {
            timeout(SILENCE, get(&client, "/readyz")).await.is_err().then_some(())
        })
        .await
    }

    /// Lets a frozen API server go on.
    ///
    /// # Errors
    ///
    /// It isn't running.
    pub fn resume_api_server(&mut self) -> Result<(), Error> {
        self.signal_api_server(Signal::CONT)
    }

    fn signal_api_server(&mut self, signal: Signal) -> Result<(), Error> {
        let tried = |error| Error::new("signalling kube-apiserver", error);
        match &self.api_server {
            Some(process) => process.signal(signal).map_err(tried),
            None => Err(tried(io::Error::other("it was stopped"))),
        }
    }
}

/// Waits until a process answers a probe, which says why it doesn't yet.
async fn ready<T>(
    name: &str,
    process: &mut Process,
    mut probe: impl AsyncFnMut() -> Result<T, String>,
) -> Result<T, Error> {
    let log = process.log().to_owned();
    let mut answer = Err("it was not asked".to_owned());
    let answered = eventually("an answer", START_WITHIN, async || {
        if let Err(error) = require_running(name, process) {
            return Some(Err(error));
        }
        answer = probe().await.map(Some);
        match &mut answer {
            Ok(value) => value.take().map(Ok),
            Err(_) => None,
        }
    })
    .await;
    answered.unwrap_or_else(|error| {
        let said = answer.err().unwrap_or_default();
        Err(Error::new(format!("starting {name}"), format!("{error}: {said}\n{}", last_lines(&log))))
    })
}

fn require_running(name: &str, process: &mut Process) -> Result<(), Error> {
    let tried = format!("starting {name}");
    match process.ended() {
        Ok(None) => Ok(()),
        Ok(Some(status)) => Err(Error::new(tried, format!("{status}\n{}", last_lines(process.log())))),
        Err(error) => Err(Error::new(tried, error)),
    }
}

fn write_kubeconfig(path: &Path, ports: Ports, certificate: &[u8], token: &str) -> io::Result<()> {
    let certificate = k8s_openapi::ByteString(certificate.to_vec());
    let server = format!("https://127.0.0.1:{}", ports.api_server);
    let kubeconfig = json!({
        "apiVersion": "v1",
        "kind": "Config",
        "clusters": [{"name": "test", "cluster": {"server": server, "certificate-authority-data": certificate}}],
        "users": [{"name": "test", "user": {"token": token}}],
        "contexts": [{"name": "test", "context": {"cluster": "test", "user": "test"}}],
        "current-context": "test",
    });
    fs::write(path, format!("{kubeconfig:#}\n"))
}

async fn read_kubeconfig(path: &Path) -> Result<Config, kube::config::KubeconfigError> {
    Config::from_custom_kubeconfig(Kubeconfig::read_from(path)?, &KubeConfigOptions::default()).await
}

fn client(config: Config) -> Result<Client, Error> {
    Client::try_from(config).map_err(|error| Error::new("making a client", error))
}

async fn get(client: &Client, path: &str) -> Result<(), String> {
    let request = Request::get(path).body(Vec::new()).map_err(|error| error.to_string())?;
    match timeout(ANSWER_WITHIN, client.request_text(request)).await {
        Ok(answer) => answer.map(drop).map_err(|error| error.to_string()),
        Err(elapsed) => Err(elapsed.to_string()),
    }
}

async fn post(client: &Client, path: &str, body: &Value) -> Result<Value, kube::Error> {
    let request = Request::post(path).body(body.to_string().into_bytes()).map_err(kube::Error::HttpError)?;
    client.request(request).await
}
