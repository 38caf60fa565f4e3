//! `cargo memory [PODS]`: how much memory the program needs to watch so many Pods.
//!
//! A synthetic API server lists that many Pods of 8 KB, each told apart, and then restarts one
//! container in ten of them; the release binary watches it as it would any other. Printed is the
//! peak of its resident memory, as the kernel counts it (Linux only).
#![allow(clippy::print_stdout, reason = "its output is what it is for")]

use std::{
    convert::Infallible,
    env,
    error::Error,
    fmt::Write as _,
    fs,
    net::SocketAddr,
    path::{Path, PathBuf},
    process::{Command, Stdio},
    time::Duration,
};

use bytes::Bytes;
use control_plane::{Leash, eventually};
use futures::{Stream, StreamExt, stream};
use http::{Request, Response};
use http_body_util::{BodyExt, Full, StreamBody, combinators::BoxBody};
use hyper::{
    body::{Frame, Incoming},
    server::conn::http1,
    service::service_fn,
};
use hyper_util::rt::TokioIo;
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::{TcpListener, TcpStream},
};

/// What a peak may be at 100,000 Pods, in bytes.
const LIMIT: u64 = 24_000_000;
const WITHIN: Duration = Duration::from_mins(10);

type Outcome<T> = Result<T, Box<dyn Error>>;
type Body = BoxBody<Bytes, Infallible>;

#[tokio::main(flavor = "current_thread")]
async fn main() -> Outcome<()> {
    let pods: usize = env::args().nth(1).unwrap_or_else(|| "100000".to_owned()).parse()?;
    let listener = TcpListener::bind("127.0.0.1:0").await?;
    let address = listener.local_addr()?;
    tokio::spawn(serve(listener, pods));
    let dir = tempfile::tempdir()?;
    let kubeconfig = dir.path().join("kubeconfig");
    fs::write(&kubeconfig, kubeconfig_for(address))?;
    let metrics = TcpListener::bind("127.0.0.1:0").await?.local_addr()?;
    let mut program = Command::new(release_binary()?)
        .env("KUBECONFIG", &kubeconfig)
        .env("OOM_SERVER__LISTEN", metrics.to_string())
        .stdout(Stdio::null())
        .spawn()?;
    let leash = Leash::on(program.id())?;
    eventually("taking in the list", WITHIN, async || {
        get(metrics, "/readyz").await.filter(|answer| answer.contains("200 OK"))
    })
    .await?;
    let listed = peak(program.id())?;
    let changes = pods / 10;
    eventually("taking in the changes", WITHIN, async || {
        let metrics = get(metrics, "/metrics").await?;
        let taken = metrics.lines().find_map(|line| {
            line.strip_prefix("oom_event_generator_watch_events_total{resource=\"pods\"} ")?
                .parse::<usize>()
                .ok()
        })?;
        (taken >= changes).then_some(())
    })
    .await?;
    let after = peak(program.id())?;
    drop(leash);
    program.kill()?;
    program.wait()?;
    println!("{pods} Pods listed: peak resident memory {:.1} MB", megabytes(listed));
    println!("{changes} of them restarted a container: {:.1} MB", megabytes(after));
    if after > LIMIT { Err(format!("the limit is {:.1} MB", megabytes(LIMIT)).into()) } else { Ok(()) }
}

fn megabytes(bytes: u64) -> f64 {
    f64::from(u32::try_from(bytes / 1000).unwrap_or(u32::MAX)) / 1000.0
}

/// The peak of a process' resident memory, in bytes.
fn peak(process: u32) -> Outcome<u64> {
    let status = fs::read_to_string(format!("/proc/{process}/status"))?;
    let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:")).ok_or("no VmHWM")?;
    Ok(line.trim().trim_end_matches(" kB").parse::<u64>()? * 1024)
}

fn release_binary() -> Outcome<PathBuf> {
    let this = env::current_exe()?;
    let target = this.ancestors().nth(3).ok_or("this is not in Cargo's target directory")?;
    let binary = target.join("release/kubernetes-oom-event-generator");
    if !Path::exists(&binary) {
        return Err(format!("there is no {}: run cargo build --release first", binary.display()).into());
    }
    Ok(binary)
}

fn kubeconfig_for(address: SocketAddr) -> String {
    format!(
        "apiVersion: v1\nkind: Config\ncurrent-context: c\n\
         clusters: [{{ name: c, cluster: {{ server: \"http://{address}\" }} }}]\n\
         contexts: [{{ name: c, context: {{ cluster: c, user: u }} }}]\n\
         users: [{{ name: u, user: {{}} }}]\n"
    )
}

async fn get(address: SocketAddr, path: &str) -> Option<String> {
    let mut stream = TcpStream::connect(address).await.ok()?;
    stream.write_all(format!("GET {path} HTTP/1.1\r\nhost: {address}\r\n\r\n").as_bytes()).await.ok()?;
    let mut answer = String::new();
    stream.read_to_string(&mut answer).await.ok()?;
    Some(answer)
}

async fn serve(listener: TcpListener, pods: usize) {
    while let Ok((stream, _)) = listener.accept().await {
        let answer = service_fn(move |request| async move { Ok::<_, Infallible>(answer(&request, pods)) });
        tokio::spawn(http1::Builder::new().serve_connection(TokioIo::new(stream), answer));
    }
}

fn answer(request: &Request<Incoming>, pods: usize) -> Response<Body> {
    let query = request.uri().query().unwrap_or_default();
    let number = |key: &str| {
        let value = query.split('&').find_map(|pair| pair.strip_prefix(key)?.strip_prefix('='));
        value.and_then(|value| value.parse::<usize>().ok())
    };
    let of_pods = request.uri().path().ends_with("/pods");
    if query.contains("watch=true") {
        return watch(if of_pods { pods / 10 } else { 0 });
    }
    let (begin, limit) = (number("continue").unwrap_or(0), number("limit").unwrap_or(pods));
    let end = if of_pods { pods.min(begin + limit) } else { begin };
    let mut items = String::new();
    for number in begin..end {
        let separator = if number == begin { "" } else { "," };
        write!(items, "{separator}{}", pod(number, 0)).unwrap_or_default();
    }
    let next = if of_pods && end < pods { end.to_string() } else { String::new() };
    let list = format!(
        r#"{{"kind":"List","apiVersion":"v1","metadata":{{"resourceVersion":"1","continue":"{next}"}},"items":[{items}]}}"#
    );
    Response::new(Full::new(Bytes::from(list)).boxed())
}

/// One restart each of so many Pods, and then silence.
fn watch(changes: usize) -> Response<Body> {
    let line = |number| format!("{{\"type\":\"MODIFIED\",\"object\":{}}}\n", pod(number * 10, 1));
    let lines = stream::iter((0..changes).map(line).map(Bytes::from)).chain(stream::pending());
    Response::new(frames(lines))
}

fn frames(lines: impl Stream<Item = Bytes> + Send + Sync + 'static) -> Body {
    BodyExt::boxed(StreamBody::new(lines.map(|line| Ok(Frame::data(line)))))
}

/// A Pod as real ones are: two containers, conditions, volumes, tolerations, and `managedFields`,
/// which make up half of it. Its containers restarted so often, and not for memory.
fn pod(number: usize, restarts: u32) -> String {
    const NOISE: &str = r#"{"manager":"kubelet","operation":"Update","apiVersion":"v1","fieldsType":"FieldsV1","fieldsV1":{"f:status":{"f:conditions":{"k:{\"type\":\"Ready\"}":{".":{},"f:lastProbeTime":{},"f:lastTransitionTime":{},"f:status":{},"f:type":{}}},"f:containerStatuses":{},"f:hostIP":{},"f:phase":{},"f:podIP":{},"f:startTime":{}}}}"#;
    let noise = [NOISE; 14].join(",");
    let container = |name: &str| {
        format!(
            r#"{{"name":"{name}","image":"registry.example.com/shop/{name}:1.{number}","command":["/bin/{name}","--serve"],"env":[{{"name":"A","value":"B"}},{{"name":"NUMBER","value":"{number}"}}],"resources":{{"limits":{{"cpu":"1","memory":"256Mi"}},"requests":{{"cpu":"100m","memory":"64Mi"}}}},"livenessProbe":{{"httpGet":{{"path":"/healthz","port":8080}},"periodSeconds":10}},"volumeMounts":[{{"name":"token","readOnly":true,"mountPath":"/var/run/secrets/kubernetes.io/serviceaccount"}}],"terminationMessagePath":"/dev/termination-log","imagePullPolicy":"IfNotPresent"}}"#
        )
    };
    let status = |name: &str| {
        let last = match restarts {
            0 => String::new(),
            _ => format!(
                r#""terminated":{{"exitCode":1,"reason":"Error","startedAt":"2026-11-22T10:00:00Z","finishedAt":"2026-11-22T11:00:00Z","containerID":"containerd://{number:063x}{restarts:x}"}}"#
            ),
        };
        format!(
            r#"{{"name":"{name}","state":{{"running":{{"startedAt":"2026-11-22T12:00:00Z"}}}},"lastState":{{{last}}},"ready":true,"restartCount":{restarts},"image":"registry.example.com/shop/{name}:1.{number}","imageID":"registry.example.com/shop/{name}@sha256:{number:064x}","containerID":"containerd://{number:064x}","started":true}}"#
        )
    };
    format!(
        r#"{{"kind":"Pod","apiVersion":"v1","metadata":{{"name":"cart-6c9f7b9d4-{number:05}","generateName":"cart-6c9f7b9d4-","namespace":"shop-{}","uid":"00000000-0000-4000-8000-{number:012x}","resourceVersion":"{}","creationTimestamp":"2026-11-22T10:00:00Z","labels":{{"app":"cart","pod-template-hash":"6c9f7b9d4","team":"shop"}},"annotations":{{"example.com/config-hash":"{number:064x}"}},"ownerReferences":[{{"apiVersion":"apps/v1","kind":"ReplicaSet","name":"cart-6c9f7b9d4","uid":"u","controller":true,"blockOwnerDeletion":true}}],"managedFields":[{noise}]}},"spec":{{"volumes":[{{"name":"token","projected":{{"sources":[{{"serviceAccountToken":{{"expirationSeconds":3607,"path":"token"}}}}],"defaultMode":420}}}}],"containers":[{},{}],"restartPolicy":"Always","terminationGracePeriodSeconds":30,"dnsPolicy":"ClusterFirst","serviceAccountName":"cart","nodeName":"node-{}","schedulerName":"default-scheduler","tolerations":[{{"key":"node.kubernetes.io/not-ready","operator":"Exists","effect":"NoExecute","tolerationSeconds":300}}],"priority":0}},"status":{{"phase":"Running","conditions":[{{"type":"Ready","status":"True","lastTransitionTime":"2026-11-22T10:00:05Z"}}],"hostIP":"192.0.2.1","podIP":"198.51.100.1","startTime":"2026-11-22T10:00:00Z","containerStatuses":[{},{}],"qosClass":"Burstable"}}}}"#,
        number % 500,
        number + 2,
        container("app"),
        container("proxy"),
        number % 5000,
        status("app"),
        status("proxy"),
    )
}
