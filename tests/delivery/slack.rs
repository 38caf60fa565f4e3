//! An incoming webhook of Slack behind a socket, which misbehaves as it is told.

use std::{
    collections::BTreeSet,
    future::pending,
    io,
    net::SocketAddr,
    sync::{Arc, Mutex},
};

use serde_json::Value;
use tokio::{
    io::{AsyncBufReadExt, AsyncReadExt, AsyncWriteExt, BufReader},
    net::{TcpListener, TcpStream},
    task::JoinSet,
    time::sleep,
};

use super::manner::{Answer, Asked, Manner, Memory};

/// What the names of all Pods that are told of begin with.
pub const POD: &str = "killed-";

/// The secret part of the URL, piece by piece. Nothing may show any of them.
pub const SECRETS: [&str; 4] = ["/services/", "T0SECRETTEAM", "B0SECRETBOT", "s3cr3tT0kenOfTheWebhook"];

/// A webhook. It ends when it is dropped.
pub struct Slack {
    address: SocketAddr,
    memory: Memory,
    _listening: JoinSet<()>,
}

type Script = dyn FnMut(usize) -> Manner + Send;

/// Stores, and says so.
pub fn good() -> Manner {
    Manner::good(200, "ok")
}

impl Slack {
    /// One that does with each message what the script says of its number, from 0 on.
    pub async fn listen(script: impl FnMut(usize) -> Manner + Send + 'static) -> Self {
        let script: Arc<Mutex<Script>> = Arc::new(Mutex::new(script));
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let memory = Memory::new();
        let of_all = memory.clone();
        let mut listening = JoinSet::new();
        listening.spawn(async move {
            let mut connections = JoinSet::new();
            loop {
                let (stream, _) = listener.accept().await.unwrap();
                let (script, memory) = (Arc::clone(&script), of_all.clone());
                // Whoever hung up is gone.
                connections.spawn(async move { serve(stream, &script, &memory).await.unwrap_or_default() });
            }
        });
        Self { address, memory, _listening: listening }
    }

    /// The whole URL, secret and all.
    pub fn url(&self) -> String {
        secret_url(&format!("http://{}", self.address))
    }

    /// The messages that came so far.
    pub fn asked(&self) -> Vec<Asked> {
        self.memory.all()
    }
}

/// The URL of a webhook at this host.
pub fn secret_url(host: &str) -> String {
    format!("{host}{}", SECRETS.join("/").replace("//", "/"))
}

async fn serve(stream: TcpStream, script: &Mutex<Script>, memory: &Memory) -> io::Result<()> {
    let mut stream = BufReader::new(stream);
    while let Some(length) = read_head(&mut stream).await? {
        let number = memory.begin();
        let Manner { after, stores, answer } = (script.lock().unwrap())(number);
        if matches!(answer, Answer::BreaksUnread) {
            return stream.get_ref().set_zero_linger();
        }
        let mut body = vec![0; length];
        stream.read_exact(&mut body).await?;
        let mut text = String::new();
        collect_text(&serde_json::from_slice(&body)?, &mut text);
        memory.tells(number, pods(&text), text);
        sleep(after).await;
        if stores {
            memory.stored(number);
        }
        let stream = stream.get_mut();
        match answer {
            Answer::Is { code, retry_after, body } => {
                let asks = retry_after.map(|seconds| format!("retry-after: {seconds}\r\n"));
                let leads = (300..400).contains(&code).then(|| format!("location: {body}\r\n"));
                let head = format!(
                    "HTTP/1.1 {code} Whatever\r\n{}{}content-length: {}\r\n\r\n",
                    asks.unwrap_or_default(),
                    leads.unwrap_or_default(),
                    body.len()
                );
                if stores && code == 200 {
                    memory.answered(number);
                }
                stream.write_all((head + &body).as_bytes()).await?;
            }
            Answer::NeverComes => pending().await,
            Answer::Breaks | Answer::BreaksUnread => return stream.set_zero_linger(),
            Answer::BreaksOff => {
                return stream.write_all(b"HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\no").await;
            }
        }
    }
    Ok(())
}

/// Reads up to the body; the answer is the body's length. Nothing at the end of the connection.
async fn read_head(stream: &mut BufReader<TcpStream>) -> io::Result<Option<usize>> {
    let mut length = 0;
    loop {
        let mut line = String::new();
        if stream.read_line(&mut line).await? == 0 {
            return Ok(None);
        }
        let line = line.trim_end().to_ascii_lowercase();
        if let Some(value) = line.strip_prefix("content-length:") {
            length = value.trim().parse().unwrap();
        }
        if line.is_empty() {
            return Ok(Some(length));
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
