//! Draws the page for people: is it well, what was killed within the last day, where do findings go.
//!
//! Pure: the time comes in. The page has no script and loads nothing. Whoever creates Pods chose the names on it:
//! they are cleaned and escaped.

mod plot;

use finding::{Finding, bytes};
use jiff::Timestamp;
use maud::{DOCTYPE, Markup, PreEscaped, html};
use untrusted::clean;

use crate::{health::ProbeAnswer, incidents::RecentIncident, metrics::SinkFigures, table::age};
use plot::plot;

/// How many incidents the page shows.
pub const MAX_SHOWN_INCIDENTS: usize = 200;

/// How long the list of incidents may be; what is left then is a count.
const MAX_INCIDENTS_BYTES: usize = 512 * 1024;

/// How long a list of reasons may be.
const MAX_SHOWN_REASONS: usize = 20;

const STYLE: &str = include_str!("style.css");

/// What the page may load: its own style, by its hash, and its icon, which stands in it.
pub const CONTENT_SECURITY_POLICY: &str = "default-src 'none'; \
    style-src 'sha256-lfw4GeyTGplgOM1gQLdxMffofd+Npw/KaSn/L9fkM9I='; img-src data:; \
    base-uri 'none'; form-action 'none'; frame-ancestors 'none'";

/// A drop that overflows.
const ICON: &str = "data:image/svg+xml,%3Csvg xmlns='http://www.w3.org/2000/svg' viewBox='0 0 16 16'%3E\
    %3Crect width='16' height='16' rx='3' fill='%23c0392b'/%3E\
    %3Cpath d='M3 12V7h2v5zM7 12V3h2v9zM11 12V9h2v3z' fill='%23fff'/%3E%3C/svg%3E";

/// What the page shows.
#[derive(Debug)]
pub struct PageContent<'a> {
    /// The cluster's name.
    pub cluster: Option<&'a str>,
    /// What is watched, such as `the whole cluster`.
    pub watched: &'a str,
    /// When it is looked at.
    pub now: Timestamp,
    /// The answer of `/healthz`.
    pub health: &'a ProbeAnswer,
    /// The answer of `/readyz`.
    pub readiness: &'a ProbeAnswer,
    /// The newest first.
    pub incidents: &'a [RecentIncident],
    /// The sinks.
    pub sinks: &'a [SinkFigures],
}

/// Returns the page as HTML.
pub fn page(content: &PageContent<'_>) -> String {
    let title = match content.cluster {
        Some(cluster) => format!("OOM kills in {}", clean(cluster)),
        None => "OOM kills".to_owned(),
    };
    let page = html! {
        (DOCTYPE)
        html lang="en" {
            head {
                meta charset="utf-8";
                meta name="viewport" content="width=device-width, initial-scale=1";
                title { (title) }
                link rel="icon" href=(ICON);
                style { (PreEscaped(STYLE)) }
            }
            body {
                header {
                    h1 { (title) }
                    (state(content))
                }
                main {
                    (reasons(content))
                    (incidents(content))
                    (sinks(content.sinks))
                }
                footer {
                    p {
                        "kubernetes-oom-event-generator " (env!("CARGO_PKG_VERSION")) ", watching " (clean(content.watched)) ". "
                        "As of " (time(content.now)) ". "
                        a href="/metrics" { "/metrics" } " " a href="/healthz" { "/healthz" } " " a href="/readyz" { "/readyz" }
                    }
                }
            }
        }
    };
    page.into_string()
}

fn state(content: &PageContent<'_>) -> Markup {
    let is_well = content.health.good && content.readiness.good;
    let (class, words) = match (is_well, content.health.good) {
        (true, _) => ("state good", "All is well"),
        (false, true) => ("state bad", "It doesn't see the cluster"),
        (false, false) => ("state bad", "It is stuck"),
    };
    html! { p class=(class) { (words) } }
}

/// Shows what speaks against its health, or is to be known besides.
fn reasons(content: &PageContent<'_>) -> Markup {
    let lines = [content.health, content.readiness].into_iter().flat_map(|answer| answer.text.lines());
    let mut lines: Vec<&str> = lines.filter(|line| *line != "ok").collect();
    let left = lines.len().saturating_sub(MAX_SHOWN_REASONS);
    lines.truncate(MAX_SHOWN_REASONS);
    html! {
        @if !lines.is_empty() {
            ul class="reasons" aria-label="Reasons" {
                @for line in lines { li { (clean(line)) } }
                @if left > 0 { li { "and " (left) " more" } }
            }
        }
    }
}

fn incidents(content: &PageContent<'_>) -> Markup {
    let sum: u64 = content.incidents.iter().map(kills).sum();
    let (mut shown, mut list) = (0, String::new());
    for incident in content.incidents.iter().take(MAX_SHOWN_INCIDENTS) {
        if list.len() > MAX_INCIDENTS_BYTES {
            break;
        }
        list.push_str(&html! { li { (article(incident, content.now)) } }.into_string());
        shown += 1;
    }
    let left = content.incidents.len() - shown;
    html! {
        @if content.incidents.is_empty() {
            p class="empty" {
                b { "Nothing was OOM-killed in the last 24 hours." }
                span class="quiet" { "As far as this program saw. A kill appears here as soon as its container starts again." }
            }
        } @else {
            p class="sum" {
                b { (sum) } @if sum == 1 { " kill" } @else { " kills" } " of "
                b { (content.incidents.len()) } @if content.incidents.len() == 1 { " container" } @else { " containers" }
                " in the last 24 hours, the newest first."
            }
            ol { (PreEscaped(list)) }
            @if left > 0 { p class="quiet" { "And " (left) " more, whose last kill was before these." } }
        }
    }
}

fn kills(incident: &RecentIncident) -> u64 {
    incident.kills_by_quarter.iter().map(|kills| u64::from(*kills)).sum()
}

fn article(incident: &RecentIncident, now: Timestamp) -> Markup {
    let Finding { namespace, pod, container, cause, advice, .. } = incident.last.as_ref();
    let kills = kills(incident);
    let limit = container.memory_limit_bytes.map(bytes);
    let of_pod = pod.memory_limit_bytes.map(|limit| format!("{} for the Pod", bytes(limit)));
    let limits: Vec<String> = limit.into_iter().chain(of_pod).collect();
    let pods = incident.last.incident.as_ref().map(|incident| incident.pods).filter(|pods| *pods > 1);
    html! {
        article {
            div {
                h2 { (clean(&pod.workload.kind)) " " (clean(&pod.workload.name)) }
                p class="quiet" {
                    "container " (clean(&container.name)) " in namespace " (clean(namespace))
                    @if let Some(pods) = pods { ", " (pods) " Pods" }
                }
                dl {
                    div { dt { "Last kill" } dd { (age(now.duration_since(incident.last_kill))) " ago, " (time(incident.last_kill)) } }
                    div { dt { "Memory limit" } dd { @if limits.is_empty() { "none known" } @else { (limits.join(", ")) } } }
                    @if let Some(cause) = cause { div { dt { "Why" } dd { (clean(&cause.text)) } } }
                    @if let Some(advice) = advice {
                        div class="wide" {
                            dt { "What to try" }
                            dd {
                                (clean(&advice.text))
                                @if let Some(command) = &advice.command { pre { code { (clean(command)) } } }
                            }
                        }
                    }
                }
            }
            div {
                p class="count" {
                    b { (kills) @if kills == 1 { " kill" } @else { " kills" } }
                    span class="quiet" { "in 24 hours" }
                }
                (plot(&incident.kills_by_quarter))
            }
        }
    }
}

fn sinks(sinks: &[SinkFigures]) -> Markup {
    html! {
        h2 id="sinks" { "Where findings go" }
        table aria-labelledby="sinks" {
            thead {
                tr {
                    th scope="col" { "Sink" }
                    th scope="col" class="number" { "Waiting" }
                    th scope="col" class="number" { "Delivered" }
                    th scope="col" class="number" { "Failed" }
                }
            }
            tbody {
                @for SinkFigures { name, waiting, delivered, failed } in sinks {
                    tr {
                        th scope="row" { (clean(name)) }
                        td class="number" { (waiting) }
                        td class="number" { (delivered) }
                        td class={ "number" @if *failed > 0 { " bad" } } { (failed) }
                    }
                }
            }
        }
    }
}

fn time(time: Timestamp) -> Markup {
    html! { time datetime=(time) { (time.strftime("%b %-d, %H:%M UTC")) } }
}

#[cfg(test)]
mod tests;
