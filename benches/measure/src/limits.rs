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

use ::cluster::protobuf::{PROTOBUF, WireError, WireFields, WireMessage, WireValue, open_envelope};
use k8s_openapi::api::core::v1;
use kube::{Api, Client, Config, config::Kubeconfig};
use kubernetes_oom_event_generator::source::objects::{Event, Pod};
use rustls::{
    ClientConfig, ClientConnection, RootCertStore, StreamOwned,
    pki_types::{CertificateDer, ServerName, pem::PemObject},
};
use serde::{Deserialize, de::DeserializeOwned};
use serde_json::json;

use crate::{
    Outcome,
    cluster::SyntheticCluster,
    objects::{Encoding, Moment, Sight},
    orders::Resource,
    process::cpu,
    say,
};

/// What is read.
#[derive(Clone, Copy, Debug, clap::ValueEnum)]
pub enum What {
    /// All pages of the list of Pods.
    List,
    /// Messages of a watch of Pods.
    Pods,
    /// Messages of a watch of Events.
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
pub fn read(what: What, encoding: Encoding, count: u64, dir: &Path) -> Outcome<()> {
    let mut stream = connect(dir)?;
    let watch = |stream: &mut Stream, resource: &str| {
        // Of HTTP/1.0, so that messages come as they are.
        let accept = accept(encoding);
        write!(stream.get_mut(), "GET /api/v1/{resource}?watch=true HTTP/1.0\r\naccept: {accept}\r\n\r\n")?;
        head(stream)
    };
    let begun;
    match what {
        What::List => {
            begun = cpu(process::id())?;
            pages(&mut stream, encoding)?;
        }
        What::Pods => {
            watch(&mut stream, "pods")?;
            begun = cpu(process::id())?;
            messages::<Box<Pod>>(&mut stream, encoding, count)?;
        }
        What::Events => {
            watch(&mut stream, "events")?;
            begun = cpu(process::id())?;
            messages::<Event>(&mut stream, encoding, count)?;
        }
    }
    say(&(cpu(process::id())? - begun))
}

/// What to ask for the encoding with.
pub fn accept(encoding: Encoding) -> &'static str {
    match encoding {
        Encoding::Json => "application/json",
        Encoding::Protobuf => PROTOBUF,
    }
}

fn messages<T: DeserializeOwned + WireMessage>(
    stream: &mut Stream,
    encoding: Encoding,
    count: u64,
) -> Outcome<()> {
    let mut message = Vec::new();
    for _ in 0..count {
        message.clear();
        match encoding {
            Encoding::Json => drop(stream.read_until(b'\n', &mut message)?),
            Encoding::Protobuf => {
                let mut length = [0; 4];
                stream.read_exact(&mut length)?;
                message.resize(usize::try_from(u32::from_be_bytes(length))?, 0);
                stream.read_exact(&mut message)?;
            }
        }
        decode::<T>(encoding, &message)?;
    }
    Ok(())
}

fn decode<T: DeserializeOwned + WireMessage>(encoding: Encoding, message: &[u8]) -> Outcome<()> {
    match encoding {
        Encoding::Json => {
            let Line { r#type, object } = serde_json::from_slice::<Line<'_, T>>(message)?;
            black_box((r#type, object));
        }
        Encoding::Protobuf => {
            let (word, object) = WireValue::Bytes(message).entry().ok_or("no message")?;
            let (object, _) = object.entry().ok_or("no object")?;
            black_box((word, T::decode(open_envelope(object.bytes())?)?));
        }
    }
    Ok(())
}

fn pages(stream: &mut Stream, encoding: Encoding) -> Outcome<()> {
    let accept = accept(encoding);
    let mut next = String::new();
    let mut body = Vec::new();
    loop {
        write!(
            stream.get_mut(),
            "GET /api/v1/pods?limit=100&continue={next} HTTP/1.1\r\nhost: localhost\r\naccept: {accept}\r\n\r\n"
        )?;
        body.resize(head(stream)?, 0);
        stream.read_exact(&mut body)?;
        next = match encoding {
            Encoding::Json => json_page::<Box<Pod>>(&body)?,
            Encoding::Protobuf => {
                protobuf_page(&body, |object| Box::<Pod>::decode(object).map(|pod| drop(black_box(pod))))?
            }
        };
        if next.is_empty() {
            return Ok(());
        }
    }
}

/// Reads a page in JSON. The answer is what to ask for the next with.
pub fn json_page<T: DeserializeOwned>(body: &[u8]) -> Outcome<String> {
    let ReadPage { metadata, items } = serde_json::from_slice::<ReadPage<T>>(body)?;
    black_box(items);
    Ok(metadata.r#continue)
}

/// Reads a page in Protobuf, and each object in it. The answer is what to ask for the next with.
pub fn protobuf_page(body: &[u8], mut each: impl FnMut(&[u8]) -> Result<(), WireError>) -> Outcome<String> {
    let mut list = WireFields(open_envelope(body)?);
    let mut next = String::new();
    while let Some((number, value)) = list.next_field()? {
        match number {
            1 => {
                let mut metadata = WireFields(value.bytes());
                while let Some((number, value)) = metadata.next_field()? {
                    if number == 3 {
                        next = value.text().into_owned();
                    }
                }
            }
            2 => each(value.bytes())?,
            _ => {}
        }
    }
    Ok(next)
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

/// Decodes so many messages that stand in memory, a hundred different ones over and over. The answer is
/// how many a CPU second.
pub fn decode_from_memory(resource: Resource, encoding: Encoding, count: u64) -> Outcome<f64> {
    let mut cluster = SyntheticCluster::new(1000, 0);
    cluster.speak(encoding);
    let moment = Moment::now();
    let mut messages = Vec::new();
    for _ in 0..100 {
        let mut message = Vec::new();
        match resource {
            Resource::Pods => cluster.killed(&mut message, messages.len(), Sight::Running, &moment),
            Resource::Events => cluster.started(&mut message, messages.len(), &moment),
        }
        if encoding == Encoding::Protobuf {
            message.drain(..4);
        }
        messages.push(message);
    }
    let begun = cpu(process::id())?;
    let mut decoded = 0;
    for message in messages.iter().cycle().take(usize::try_from(count)?) {
        match resource {
            Resource::Pods => decode::<Box<Pod>>(encoding, message)?,
            Resource::Events => decode::<Event>(encoding, message)?,
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
