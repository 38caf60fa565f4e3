//! The HTTP endpoint of the program as a process, beside clients that keep it as busy as they can.

use std::{
    io, thread,
    time::{Duration, Instant},
};

use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
use serde_json::json;
use support::{
    eventually,
    program::{PATIENCE, Program},
    sockets::FakeCluster,
};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::TcpStream,
    runtime::Builder,
    sync::oneshot,
    task::JoinSet,
    time::sleep,
};

use crate::source::restarted;

/// How long the kubelet waits for the answer to a probe.
const PROBE_TIMEOUT: Duration = Duration::from_secs(1);

/// After how many late answers in a row the kubelet restarts a container. One may be late because the machine is
/// busy with other tests.
const FAILURE_THRESHOLD: u32 = 3;

/// How long a hostile client waits before it connects again.
const PAUSE: Duration = Duration::from_secs(10);

/// A request whose answer is as long as one can be.
const REQUEST: &[u8] = b"GET /metrics HTTP/1.1\r\nhost: test\r\n\r\n";

/// What a hostile client does with its connection.
#[derive(Clone, Copy, Debug)]
enum Hostility {
    SaysNothing,
    SendsByteByByte,
    ReadsNothing,
    SendsManyRequests,
    SendsAnEndlessBody,
    ClosesItsHalf,
}

impl Hostility {
    const ALL: [Self; 6] = [
        Self::SaysNothing,
        Self::SendsByteByByte,
        Self::ReadsNothing,
        Self::SendsManyRequests,
        Self::SendsAnEndlessBody,
        Self::ClosesItsHalf,
    ];

    /// Goes on until the program closes the connection.
    async fn act(self, mut stream: TcpStream) -> io::Result<()> {
        match self {
            Self::SaysNothing => {}
            Self::SendsByteByByte => loop {
                stream.write_all(b"G").await?;
                sleep(Duration::from_millis(500)).await;
            },
            Self::ReadsNothing => {
                stream.write_all(REQUEST).await?;
                sleep(PATIENCE).await;
            }
            Self::SendsManyRequests => stream.write_all(&REQUEST.repeat(1_000)).await?,
            Self::SendsAnEndlessBody => {
                stream.write_all(b"POST /healthz HTTP/1.1\r\ncontent-length: 99999999999\r\n\r\n").await?;
                loop {
                    stream.write_all(&[b'x'; 4096]).await?;
                }
            }
            Self::ClosesItsHalf => {
                stream.write_all(&REQUEST[..20]).await?;
                stream.shutdown().await?;
            }
        }
        stream.read_to_end(&mut Vec::new()).await.map(drop)
    }
}

/// Hostile clients, on a thread of their own. Each connects again when its connection is closed. They leave when
/// this is dropped.
struct Crowd(#[expect(dead_code, reason = "its end is what counts")] oneshot::Sender<()>);

impl Crowd {
    fn of(clients: u32, address: String) -> Self {
        let (leave, left) = oneshot::channel();
        thread::spawn(move || {
            let runtime = Builder::new_current_thread().enable_all().build().unwrap();
            runtime.block_on(async move {
                let mut crowd = JoinSet::new();
                for (client, hostility) in (0..clients).zip(Hostility::ALL.into_iter().cycle()) {
                    let address = address.clone();
                    crowd.spawn(async move {
                        sleep(PAUSE * client / clients).await;
                        loop {
                            if let Ok(stream) = TcpStream::connect(&address).await {
                                // An error is how most of them learn that they were closed.
                                hostility.act(stream).await.unwrap_or_default();
                            }
                            sleep(PAUSE).await;
                        }
                    });
                }
                left.await.unwrap_or_default();
            });
        });
        Self(leave)
    }
}

/// Lets this process open as many files as it may.
fn open_many_files() {
    let Rlimit { maximum, .. } = getrlimit(Resource::Nofile);
    setrlimit(Resource::Nofile, Rlimit { current: maximum, maximum }).unwrap();
}

async fn program() -> (FakeCluster, Program) {
    let cluster = FakeCluster::new();
    let address = cluster.server.listen(None).await;
    cluster.write_kubeconfig(&format!("http://{address}"), &json!({}), &json!({}));
    let program = cluster.program().await;
    (cluster, program)
}

/// Fails unless the program answers, and in time for the kubelet.
async fn probe(program: &Program, path: &str) {
    for _ in 0..FAILURE_THRESHOLD {
        let begun = Instant::now();
        let answer = program.get(path).await.unwrap_or_default();
        assert!(answer.starts_with("HTTP/1.1 200 OK\r\n"), "{path}: {answer:?}");
        if begun.elapsed() < PROBE_TIMEOUT {
            return;
        }
    }
    panic!("{path} is late time and again");
}

#[tokio::test]
async fn beside_5000_hostile_clients_probes_are_answered_and_kills_found() {
    open_many_files();
    let (cluster, program) = program().await;
    let (_, before) = program.memory();
    let _crowd = Crowd::of(5_000, program.address().unwrap());
    let begun = Instant::now();
    let mut paths = ["/healthz", "/readyz", "/metrics"].into_iter().cycle();
    while begun.elapsed() < 3 * PAUSE / 2 {
        probe(&program, paths.next().unwrap()).await;
        sleep(Duration::from_millis(50)).await;
    }
    cluster.server.put("pods", restarted("cart", 1));
    cluster.finds(&program, &["cart-0"]).await;
    let (_, after) = program.memory();
    assert!(after - before < 8 << 20, "{before} bytes before, {after} after");
    assert_eq!(program.stop().await, Some(0));
}

#[tokio::test]
async fn the_oldest_connection_goes_when_no_file_can_be_opened() {
    let (_cluster, program) = program().await;
    program.may_open(2);
    let mut idle = Vec::new();
    for _ in 0..10 {
        idle.push(TcpStream::connect(program.address().unwrap()).await.unwrap());
        probe(&program, "/healthz").await;
    }
    assert_eq!(program.stop().await, Some(0));
}

#[tokio::test]
async fn when_no_file_can_be_opened_it_waits_without_work() {
    let (_cluster, program) = program().await;
    program.may_open(0);
    let waiting = TcpStream::connect(program.address().unwrap()).await.unwrap();
    let before = program.processor_time();
    sleep(Duration::from_secs(1)).await;
    let worked = program.processor_time().saturating_sub(before);
    assert!(worked < Duration::from_millis(200), "it worked for {worked:?} of a second");
    let said = program.stderr();
    assert_eq!(said.matches("can't accept connections").count(), 1, "{said}");

    program.may_open(2);
    drop(waiting);
    eventually("an answer", PATIENCE, async || program.get("/healthz").await).await.unwrap();
    probe(&program, "/healthz").await;
    assert_eq!(program.stop().await, Some(0));
}
