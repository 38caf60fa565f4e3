//! Says why a container was killed, what to try, and what else helps to find out.

use std::cmp::Reverse;

use finding::Finding;

use super::{ToldKill, capitalised, ended_at, limits, number, thousands};
use crate::slack::mrkdwn::{code, command, date, prose};

/// Returns `Why: …` and `Try: …`, as far as they are known, then one line with the incident, the image, the
/// limits and the link.
pub(super) fn explanation(kills: &[ToldKill<'_>]) -> Vec<String> {
    let Some(last) = last(kills) else { return Vec::new() };
    let why = last.cause.as_ref().map(|cause| format!("Why: {}", prose(&cause.text)));
    [why, advice(last), Some(details(kills, last))].into_iter().flatten().collect()
}

/// Returns the last kill, which knows most of its incident.
fn last<'a>(kills: &[ToldKill<'a>]) -> Option<&'a Finding> {
    let counted = kills.iter().filter_map(|kill| kill.more).map(|more| &*more.last);
    let all = kills.iter().map(|kill| kill.finding).chain(counted);
    let container = kills.first()?.finding.container.name.as_str();
    let same = all.filter(|finding| finding.container.name == container);
    // Of several at the same time, the one that counts most.
    same.max_by_key(|finding| {
        let incident = finding.incident.as_ref().map(|incident| incident.kills);
        (ended_at(finding), incident, Reverse(&finding.pod.name))
    })
}

/// Returns the line with the advice: first the command, to be copied.
fn advice(last: &Finding) -> Option<String> {
    let advice = last.advice.as_ref()?;
    let text = prose(&advice.text);
    Some(match advice.command.as_deref().and_then(command) {
        Some(command) => format!("Try: {command} ({text})"),
        None => format!("Try: {text}"),
    })
}

fn details(kills: &[ToldKill<'_>], last: &Finding) -> String {
    let incident = last.incident.as_ref().filter(|incident| incident.kills > number(kills)).map(|incident| {
        let pods = if incident.pods == 1 { "1 Pod" } else { &format!("{} Pods", thousands(incident.pods)) };
        format!("{} kills in {pods} since {}", thousands(incident.kills), date(incident.since))
    });
    let image = last.container.image.as_deref().map(|image| format!("image {}", code(image)));
    let link = kills.first().and_then(|kill| kill.link).and_then(|link| link.of(last));
    let parts = [incident, image, Some(limits(kills)), link];
    capitalised(&parts.into_iter().flatten().collect::<Vec<_>>().join(", "))
}

/// Returns when the next message comes at the latest, if anything may be left to tell.
pub(super) fn outlook(kills: &[ToldKill<'_>]) -> Option<String> {
    let next = kills.iter().filter_map(|kill| kill.next).max()?;
    Some(format!("If it goes on, the next message comes {} at the latest", date(next)))
}
