//! What nobody can do better on this machine: clients that do one thing each, and nothing else.

use std::{
    fs,
    hint::black_box,
    io::{BufRead, BufReader, Read, Write},
    net::TcpStream,
    path::Path,
    process,
    sync::Arc,
    time::{Duration, Instant},
};

use k8s_openapi::api::core::v1;
use kube::{Api, Client, Config, config::Kubeconfig};
use kubernetes_oom_event_generator::source::objects::{Event, Pod};
use rustls::{
    ClientConfig, ClientConnection, RootCertStore, StreamOwned,
    pki_types::{CertificateDer, ServerName, pem::PemObject},
};
use serde::{Deserialize, de::DeserializeOwned};
use serde_json::json;

use crate::{Outcome, cluster::SyntheticCluster, objects::Moment, orders::Resource, process::cpu, say};

/// What is read.
#[derive(Clone, Copy, Debug, clap::ValueEnum)]
pub enum What {
    /// All pages of the list of Pods.
    List,
    /// Lines of a watch of Pods.
    Pods,
    /// Lines of a watch of Events.
    Events,
}

#[derive(Deserialize)]
struct Line<'a, T> {
    r#type: &'a str,
    object: T,
}

#[derive(Deserialize)]
struct ReadPage<T> {
    metadata: ListMetadata,
    items: Vec<T>,
}

#[derive(Deserialize)]
struct ListMetadata {
    #[serde(default)]
    r#continue: String,
}

type Stream = BufReader<StreamOwned<ClientConnection, TcpStream>>;

/// Reads so many objects off a connection and decodes each, as the program does and with nothing
/// around it. Says the CPU seconds that it took.
pub fn read(what: What, count: u64, dir: &Path) -> Outcome<()> {
    let mut stream = connect(dir)?;
    let watch = |stream: &mut Stream, resource: &str| {
        // Of HTTP/1.0, so that lines come as they are.
        write!(stream.get_mut(), "GET /api/v1/{resource}?watch=true HTTP/1.0\r\n\r\n")?;
        head(stream)
    };
    let begun;
    match what {
        What::List => {
            begun = cpu(process::id())?;
            pages(&mut stream)?;
        }
        What::Pods => {
            watch(&mut stream, "pods")?;
            begun = cpu(process::id())?;
            lines::<Box<Pod>>(&mut stream, count)?;
        }
        What::Events => {
            watch(&mut stream, "events")?;
            begun = cpu(process::id())?;
            lines::<Event>(&mut stream, count)?;
        }
    }
    say(&(cpu(process::id())? - begun))
}

fn lines<T: DeserializeOwned>(stream: &mut Stream, count: u64) -> Outcome<()> {
    let mut line = Vec::new();
    for _ in 0..count {
        line.clear();
        stream.read_until(b'\n', &mut line)?;
        decode::<T>(&line)?;
    }
    Ok(())
}

fn decode<T: DeserializeOwned>(line: &[u8]) -> Outcome<()> {
    let Line { r#type, object } = serde_json::from_slice::<Line<'_, T>>(line)?;
    black_box((r#type, object));
    Ok(())
}

fn pages(stream: &mut Stream) -> Outcome<()> {
    let mut next = String::new();
    let mut body = Vec::new();
    loop {
        write!(
            stream.get_mut(),
            "GET /api/v1/pods?limit=100&continue={next} HTTP/1.1\r\nhost: localhost\r\n\r\n"
        )?;
        body.resize(head(stream)?, 0);
        stream.read_exact(&mut body)?;
        let ReadPage { metadata, items } = serde_json::from_slice::<ReadPage<Box<Pod>>>(&body)?;
        black_box(items);
        next = metadata.r#continue;
        if next.is_empty() {
            return Ok(());
        }
    }
}

/// Reads what stands before a body. The answer is the body's length, if it is said.
fn head(stream: &mut Stream) -> Outcome<usize> {
    let mut length = 0;
    loop {
        let mut line = String::new();
        stream.read_line(&mut line)?;
        if line.trim().is_empty() {
            return Ok(length);
        }
        if let Some(value) = line.to_ascii_lowercase().strip_prefix("content-length:") {
            length = value.trim().parse()?;
        }
    }
}

fn connect(dir: &Path) -> Outcome<Stream> {
    let mut roots = RootCertStore::empty();
    roots.add(CertificateDer::from_pem_file(dir.join("ca.pem"))?)?;
    let config = ClientConfig::builder().with_root_certificates(roots).with_no_client_auth();
    let connection = ClientConnection::new(Arc::new(config), ServerName::try_from("127.0.0.1")?)?;
    let stream = TcpStream::connect(fs::read_to_string(dir.join("address"))?)?;
    stream.set_nodelay(true)?;
    Ok(BufReader::with_capacity(64 * 1024, StreamOwned::new(connection, stream)))
}

/// Decodes so many lines that stand in memory, a hundred different ones over and over. The answer is
/// how many a CPU second.
pub fn decode_from_memory(resource: Resource, count: u64) -> Outcome<f64> {
    let mut cluster = SyntheticCluster::new(1000, 0);
    let moment = Moment::now();
    let mut spelled = Vec::new();
    for _ in 0..100 {
        match resource {
            Resource::Pods => cluster.change(&mut spelled, &moment),
            Resource::Events => cluster.start(&mut spelled, &moment),
        };
    }
    let begun = cpu(process::id())?;
    let lines = spelled.split(|byte| *byte == b'\n').filter(|line| !line.is_empty());
    let mut decoded = 0;
    for line in lines.cycle().take(usize::try_from(count)?) {
        match resource {
            Resource::Pods => decode::<Box<Pod>>(line)?,
            Resource::Events => decode::<Event>(line)?,
        }
        decoded += 1;
    }
    Ok(f64::from(decoded) / (cpu(process::id())? - begun))
}

fn client(dir: &Path) -> Outcome<Client> {
    let config = Config::try_from(Kubeconfig::read_from(dir.join(".kube/config"))?)?;
    Ok(Client::try_from(config)?)
}

/// Holds one connection, and does nothing.
pub async fn idle(dir: &Path) -> Outcome<()> {
    let pods: Api<v1::Pod> = Api::all(client(dir)?);
    let watch = pods.watch(&kube::api::WatchParams::default(), "0").await?;
    say(&())?;
    std::future::pending::<()>().await;
    drop(watch);
    Ok(())
}

/// Writes so many Events, one every so often. Says how long each took.
pub async fn post(count: usize, every: Duration, dir: &Path) -> Outcome<()> {
    let events: Api<v1::Event> = Api::namespaced(client(dir)?, "measure");
    let mut event = v1::Event::default();
    event.metadata.name = Some("measure".to_owned());
    event.message = Some("x".repeat(200));
    event.reason = Some("Measured".to_owned());
    event.first_timestamp = serde_json::from_value(json!("2026-11-01T08:00:00Z"))?;
    let mut round_trips = Vec::with_capacity(count);
    for _ in 0..count {
        tokio::time::sleep(every).await;
        let begun = Instant::now();
        events.create(&kube::api::PostParams::default(), &event).await?;
        round_trips.push(begun.elapsed());
    }
    say(&round_trips)
}
