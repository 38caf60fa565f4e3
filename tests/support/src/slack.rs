//! An incoming webhook of Slack behind a socket, which misbehaves as it is told.

use std::{
    collections::BTreeSet,
    future::pending,
    io,
    net::SocketAddr,
    sync::{Arc, Mutex},
    time::Duration,
};

use serde_json::Value;
use tokio::{
    io::{AsyncBufReadExt, AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt, BufReader},
    net::{TcpListener, TcpStream},
    task::JoinSet,
    time::{Instant, sleep},
};
use tokio_rustls::TlsAcceptor;

use crate::behaviour::{Answer, Behaviour};

/// What the names of all Pods that are told of begin with.
pub const POD: &str = "killed-";

/// The secret part of the URL, piece by piece. Nothing may show any of them.
pub const SECRETS: [&str; 4] = ["/services/", "T0SECRETTEAM", "B0SECRETBOT", "s3cr3tT0kenOfTheWebhook"];

/// A message that came, and what became of it.
#[derive(Clone, Debug, Default)]
pub struct Message {
    /// Since the webhook began.
    pub at: Duration,
    /// Where it was posted to.
    pub path: String,
    /// The Pods that it told of.
    pub pods: BTreeSet<String>,
    /// The text of it.
    pub text: String,
    /// Whether this very message was stored.
    pub stored: bool,
    /// Whether the sender was told so.
    pub answered: bool,
}

/// A webhook. It ends when it is dropped.
pub struct Slack {
    pub address: SocketAddr,
    messages: Arc<Mutex<Vec<Message>>>,
    _listening: JoinSet<()>,
}

type Script = Arc<Mutex<dyn FnMut(usize) -> Behaviour + Send>>;

impl Slack {
    /// One that takes everything.
    pub async fn good() -> Self {
        Self::always(Behaviour::good()).await
    }

    /// One that does this with each message.
    pub async fn always(behaviour: Behaviour) -> Self {
        Self::listen(move |_| behaviour.clone()).await
    }

    /// One that does with each message what the script says of its number, from 0 on.
    pub async fn listen(script: impl FnMut(usize) -> Behaviour + Send + 'static) -> Self {
        Self::listen_as(None, script).await
    }

    /// As [`listen`](Self::listen), with a certificate.
    pub async fn listen_as(
        tls: Option<TlsAcceptor>,
        script: impl FnMut(usize) -> Behaviour + Send + 'static,
    ) -> Self {
        let script: Script = Arc::new(Mutex::new(script));
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let (begun, messages) = (Instant::now(), Arc::default());
        let memory = MessageMemory { begun, messages: Arc::clone(&messages) };
        let mut listening = JoinSet::new();
        listening.spawn(async move {
            let mut connections = JoinSet::new();
            loop {
                let (stream, _) = listener.accept().await.unwrap();
                let (script, memory, tls) = (Arc::clone(&script), memory.clone(), tls.clone());
                // Whoever hung up, or doesn't like the certificate, is gone.
                connections.spawn(async move {
                    let served = match tls {
                        None => serve(stream, TcpStream::set_zero_linger, &script, &memory).await,
                        Some(tls) => {
                            let Ok(stream) = tls.accept(stream).await else { return };
                            serve(stream, |stream| stream.get_ref().0.set_zero_linger(), &script, &memory)
                                .await
                        }
                    };
                    served.unwrap_or_default();
                });
            }
        });
        Self { address, messages, _listening: listening }
    }

    /// Where it is, without the secret.
    pub fn host(&self) -> String {
        format!("http://{}", self.address)
    }

    /// The whole URL, secret and all.
    pub fn url(&self) -> String {
        secret_url(&self.host())
    }

    /// The messages that came so far.
    pub fn messages(&self) -> Vec<Message> {
        self.messages.lock().unwrap().clone()
    }
}

/// The URL of a webhook at this host.
pub fn secret_url(host: &str) -> String {
    format!("{host}{}", SECRETS.join("/").replace("//", "/"))
}

#[derive(Clone)]
struct MessageMemory {
    begun: Instant,
    messages: Arc<Mutex<Vec<Message>>>,
}

impl MessageMemory {
    /// Remembers a message; the answer is its number, from 0 on.
    fn begin(&self, path: String) -> usize {
        let mut messages = self.messages.lock().unwrap();
        messages.push(Message { at: self.begun.elapsed(), path, ..Message::default() });
        messages.len() - 1
    }

    fn change(&self, number: usize, change: impl FnOnce(&mut Message)) {
        change(&mut self.messages.lock().unwrap()[number]);
    }
}

/// Serves one connection. `reset` makes its end a sudden one.
async fn serve<S: AsyncRead + AsyncWrite + Unpin>(
    stream: S,
    reset: impl Fn(&S) -> io::Result<()>,
    script: &Script,
    memory: &MessageMemory,
) -> io::Result<()> {
    let mut stream = BufReader::new(stream);
    while let Some((path, length)) = read_head(&mut stream).await? {
        let number = memory.begin(path);
        let Behaviour { after, acts, answer } = (script.lock().unwrap())(number);
        if matches!(answer, Answer::BreaksUnread) {
            return reset(stream.get_ref());
        }
        let mut body = vec![0; length];
        stream.read_exact(&mut body).await?;
        let mut text = String::new();
        collect_text(&serde_json::from_slice(&body)?, &mut text);
        memory.change(number, |message| (message.pods, message.text) = (pods(&text), text));
        sleep(after).await;
        memory.change(number, |message| message.stored = acts);
        let right = b"HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nok";
        match answer {
            Answer::Right => {
                memory.change(number, |message| message.answered = acts);
                stream.write_all(right).await?;
            }
            Answer::Says { code, retry_after, body } => {
                let asks = retry_after.map(|seconds| format!("retry-after: {seconds}\r\n"));
                let leads = (300..400).contains(&code).then(|| format!("location: {body}\r\n"));
                let head = format!(
                    "HTTP/1.1 {code} Whatever\r\n{}{}content-length: {}\r\n\r\n",
                    asks.unwrap_or_default(),
                    leads.unwrap_or_default(),
                    body.len()
                );
                stream.write_all((head + &body).as_bytes()).await?;
            }
            Answer::Never => pending().await,
            Answer::FreezesAfter(bytes) => {
                stream.write_all(&right[..right.len() - 2 + bytes]).await?;
                return pending().await;
            }
            Answer::BreaksAfter(bytes) => return stream.write_all(&right[..right.len() - 2 + bytes]).await,
            // It speaks no Protobuf.
            Answer::Breaks | Answer::BreaksUnread | Answer::SaysInProtobuf { .. } => {
                return reset(stream.get_ref());
            }
        }
    }
    Ok(())
}

/// Reads up to the body; the answer is the path and the body's length. Nothing at the end of the connection.
async fn read_head(stream: &mut (impl AsyncBufReadExt + Unpin)) -> io::Result<Option<(String, usize)>> {
    let (mut path, mut length) = (String::new(), 0);
    loop {
        let mut line = String::new();
        if stream.read_line(&mut line).await? == 0 {
            return Ok(None);
        }
        let line = line.trim_end();
        if path.is_empty() {
            path = line.split(' ').nth(1).unwrap_or_default().to_owned();
        } else if let Some(value) = line.to_ascii_lowercase().strip_prefix("content-length:") {
            length = value.trim().parse().unwrap();
        } else if line.is_empty() {
            return Ok(Some((path, length)));
        }
    }
}

fn pods(text: &str) -> BTreeSet<String> {
    let words = text.split(|c: char| !c.is_ascii_alphanumeric() && c != '-');
    words.filter(|word| word.starts_with(POD)).map(str::to_owned).collect()
}

/// All that a message says, in the order of its fields.
fn collect_text(message: &Value, text: &mut String) {
    match message {
        Value::String(part) => text.extend([part, "\n"]),
        Value::Array(parts) => parts.iter().for_each(|part| collect_text(part, text)),
        Value::Object(fields) => fields.values().for_each(|field| collect_text(field, text)),
        _ => {}
    }
}
