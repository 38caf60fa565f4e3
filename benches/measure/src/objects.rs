//! What stands in the synthetic cluster: Pods and Events, as an API server spells them. Goes in: the
//! number of a Pod and what its first container does. Comes out: JSON of 6-10 KB.
//!
//! A shape of Pod is spelled once, with gaps; an object is that text with the gaps filled in, which
//! takes a microsecond or two. So the server is faster than any client, and keeps nothing.

use std::io::Write;

use jiff::{SignedDuration, Timestamp};

/// What the first container of a Pod does. All instances of it have a number, the first one 0.
#[derive(Clone, Copy, Debug, Default)]
pub struct Container {
    /// How many instances came before the newest one.
    pub restarts: u32,
    /// What is to be seen of it.
    pub sight: Sight,
}

/// What a status shows of a container.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Sight {
    /// The newest instance runs; those before it failed by themselves.
    #[default]
    Running,
    /// The newest instance was killed for memory just now.
    Killed,
    /// As above, and the next one has to wait.
    BackingOff,
    /// The newest instance runs; the one before it was killed for memory just now.
    Restarted,
}

/// A Pod at a moment.
#[derive(Clone, Copy, Debug)]
pub struct SpelledPod {
    pub number: u64,
    pub container: Container,
    /// Its `resourceVersion`.
    pub version: u64,
}

/// The moment that is shown, to the second; a kill is two before it, so that a start is later for sure.
pub struct Moment {
    now: String,
    before: String,
}

impl Moment {
    pub fn now() -> Self {
        let now = Timestamp::now();
        let before = now.checked_sub(SignedDuration::from_secs(2)).unwrap_or(now);
        Self { now: format!("{now:.0}"), before: format!("{before:.0}") }
    }
}

/// Spells Pods and Events.
pub struct Spelling {
    shapes: Vec<Vec<Piece>>,
    event: Vec<Piece>,
}

enum Piece {
    Text(String),
    Gap(Gap),
}

#[derive(Clone, Copy)]
enum Gap {
    /// What tells this Pod from others of its workload.
    Suffix,
    Workload,
    Namespace,
    Node,
    Uid,
    Hash,
    Version,
    Now,
    Restarts,
    /// How many starts of the container its kubelet has told, with the one to come.
    Starts,
    State,
    LastState,
    ContainerId,
}

const GAPS: [(&str, Gap); 13] = [
    ("<suffix>", Gap::Suffix),
    ("<workload>", Gap::Workload),
    ("<namespace>", Gap::Namespace),
    ("<node>", Gap::Node),
    ("<uid>", Gap::Uid),
    ("<hash>", Gap::Hash),
    ("<version>", Gap::Version),
    ("<now>", Gap::Now),
    ("<restarts>", Gap::Restarts),
    ("<starts>", Gap::Starts),
    ("<state>", Gap::State),
    ("<lastState>", Gap::LastState),
    ("<containerID>", Gap::ContainerId),
];

impl Spelling {
    pub fn new() -> Self {
        let shapes = super::shapes::all().iter().map(|shape| pieces(shape)).collect();
        Self { shapes, event: pieces(super::shapes::STARTED) }
    }

    /// Adds a Pod: whole (`kind` first) as a watch shows it, otherwise as it stands in a list.
    pub fn pod(&self, out: &mut Vec<u8>, pod: &SpelledPod, moment: &Moment, whole: bool) {
        out.extend_from_slice(if whole { br#"{"kind":"Pod","apiVersion":"v1","# } else { b"{" });
        let shape = usize::try_from(pod.number).unwrap_or_default() % self.shapes.len();
        spell(out, &self.shapes[shape], pod, moment);
        out.push(b'}');
    }

    /// Adds the Event that tells of the start of a Pod's first container.
    pub fn started(&self, out: &mut Vec<u8>, pod: &SpelledPod, moment: &Moment) {
        spell(out, &self.event, pod, moment);
    }
}

fn spell(out: &mut Vec<u8>, pieces: &[Piece], pod: &SpelledPod, moment: &Moment) {
    for piece in pieces {
        match piece {
            Piece::Text(text) => out.extend_from_slice(text.as_bytes()),
            Piece::Gap(gap) => fill(out, *gap, pod, moment),
        }
    }
}

/// The name of a Pod, which no other has.
pub fn name(pod: u64) -> String {
    format!("{}-{}-6c9f7b9d4-{pod:x}", workload(pod), pod / 56 % 50)
}

fn workload(pod: u64) -> &'static str {
    const NAMES: [&str; 8] =
        ["cart", "checkout", "search-indexer", "payments-api", "ledger", "mailer", "recommender", "web"];
    NAMES.get(usize::try_from(pod / 7 % 8).unwrap_or_default()).unwrap_or(&"web")
}

fn container_id(pod: u64, instance: u32) -> String {
    format!("containerd://{:056x}{instance:08x}", pod.wrapping_mul(0x9e37_79b9_7f4a_7c15))
}

fn fill(out: &mut Vec<u8>, gap: Gap, pod: &SpelledPod, moment: &Moment) {
    let &SpelledPod { number, container: Container { restarts, sight }, version } = pod;
    let ended = |out: &mut Vec<u8>, reason: &str, code: u8, instance| {
        let id = container_id(number, instance);
        let at = if reason == "OOMKilled" { &moment.before } else { "2026-11-01T08:00:00Z" };
        add(
            out,
            format_args!(
                r#""terminated":{{"exitCode":{code},"reason":"{reason}","startedAt":"2026-11-01T07:59:00Z","finishedAt":"{at}","containerID":"{id}"}}"#
            ),
        );
    };
    match gap {
        Gap::Suffix => add(out, format_args!("6c9f7b9d4-{number:x}")),
        Gap::Workload => add(out, format_args!("{}-{}", workload(number), number / 56 % 50)),
        Gap::Namespace => add(out, format_args!("team-{:03}", number % 211)),
        Gap::Node => add(
            out,
            format_args!("ip-10-{}-{}.eu-central-1.compute.internal", number / 30 % 16, number / 480 % 250),
        ),
        Gap::Uid => add(out, format_args!("00000000-0000-4000-8000-{number:012x}")),
        Gap::Hash => add(out, format_args!("{:064x}", number.wrapping_mul(0x2545_f491_4f6c_dd1d))),
        Gap::Now => out.extend_from_slice(moment.now.as_bytes()),
        Gap::Version => add(out, format_args!("{version}")),
        Gap::Restarts => add(out, format_args!("{restarts}")),
        Gap::Starts => add(out, format_args!("{}", restarts + 2)),
        Gap::ContainerId => add(out, format_args!("{}", container_id(number, restarts))),
        Gap::State => match sight {
            Sight::Running => out.extend_from_slice(br#""running":{"startedAt":"2026-11-01T08:00:01Z"}"#),
            Sight::Restarted => add(out, format_args!(r#""running":{{"startedAt":"{}"}}"#, moment.now)),
            Sight::Killed => ended(out, "OOMKilled", 137, restarts),
            Sight::BackingOff => out.extend_from_slice(
                br#""waiting":{"reason":"CrashLoopBackOff","message":"back-off 10s restarting failed container=app"}"#,
            ),
        },
        Gap::LastState => match (sight, restarts.checked_sub(1)) {
            (Sight::BackingOff, _) => ended(out, "OOMKilled", 137, restarts),
            (Sight::Restarted, Some(last)) => ended(out, "OOMKilled", 137, last),
            (_, Some(last)) => ended(out, "Error", 1, last),
            (_, None) => {}
        },
    }
}

fn add(out: &mut Vec<u8>, text: std::fmt::Arguments<'_>) {
    // Writing to memory doesn't fail.
    out.write_fmt(text).unwrap_or_default();
}

/// Cuts a shape at its gaps.
fn pieces(shape: &str) -> Vec<Piece> {
    let mut pieces = Vec::new();
    let mut rest = shape;
    let next = |text: &str| {
        let found = GAPS.iter().filter_map(|&(name, gap)| Some((text.find(name)?, name.len(), gap)));
        found.min_by_key(|(at, ..)| *at)
    };
    while let Some((at, length, gap)) = next(rest) {
        pieces.push(Piece::Text(rest[..at].to_owned()));
        pieces.push(Piece::Gap(gap));
        rest = &rest[at + length..];
    }
    pieces.push(Piece::Text(rest.to_owned()));
    pieces
}
