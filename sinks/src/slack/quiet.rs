//! Says that an incident is over.

use finding::{Change, Gone, ResolvedIncident, bytes};
use serde_json::{Value, json};

use super::mrkdwn::{code, date, escape};

/// Returns the payload of the message.
pub(super) fn body(resolved: &ResolvedIncident) -> Value {
    let text = json!({ "type": "mrkdwn", "text": paragraph(resolved), "verbatim": true });
    json!({
        "text": format!("Quiet again: {}", subject(resolved, escape)),
        "mrkdwn": false,
        "blocks": [{ "type": "section", "text": text, "expand": true }],
        "unfurl_links": false,
        "unfurl_media": false,
    })
}

/// Returns the same payload without blocks, for when Slack can't read the blocks.
pub(super) fn plain_body(resolved: &ResolvedIncident) -> Value {
    json!({ "text": paragraph(resolved), "unfurl_links": false, "unfurl_media": false })
}

fn paragraph(resolved: &ResolvedIncident) -> String {
    let incident = &resolved.incident;
    let plural = |number: u64| if number == 1 { "" } else { "s" };
    let when = if incident.since == resolved.last_kill {
        date(incident.since)
    } else {
        format!("between {} and {}", date(incident.since), date(resolved.last_kill))
    };
    let kills = format!(
        "No OOM kill for an hour, after {} kill{} in {} Pod{} {when}",
        incident.kills,
        plural(incident.kills),
        incident.pods,
        plural(incident.pods),
    );
    let heading = format!("*Quiet again*: {}", subject(resolved, code));
    // Where nothing runs, nothing is as before.
    let changes = (resolved.gone != Some(Gone::Workload)).then(|| changes(resolved));
    [Some(heading), Some(kills), changes, gone(resolved)].into_iter().flatten().collect::<Vec<_>>().join("\n")
}

/// Returns ``` `app` in Deployment `cart`, namespace `shop`, cluster `prod` ```.
fn subject(resolved: &ResolvedIncident, name: fn(&str) -> String) -> String {
    let ResolvedIncident { cluster, namespace, workload, container, .. } = resolved;
    let is_word = workload.kind.chars().all(|c| c.is_ascii_alphanumeric());
    let kind = if is_word { escape(&workload.kind) } else { name(&workload.kind) };
    let cluster = cluster.as_ref().map(|cluster| format!(", cluster {}", name(cluster))).unwrap_or_default();
    let (container, workload) = (name(&container.name), name(&workload.name));
    format!("{container} in {kind} {workload}, namespace {}{cluster}", name(namespace))
}

/// Returns what has changed since the first kill.
fn changes(resolved: &ResolvedIncident) -> String {
    let limit = |bytes_or_none: &Option<u64>| bytes_or_none.map_or_else(|| "none".to_owned(), bytes);
    let limit = resolved.memory_limit_bytes.as_ref().map(|Change { from, to }| {
        let is_raised = to.is_none() || (from.is_some() && to > from);
        let verb = if is_raised { "raised" } else { "lowered" };
        format!("Its memory limit was {verb} from {} to {}", limit(from), limit(to))
    });
    let image = resolved.image.as_ref();
    let image =
        image.map(|Change { from, to }| format!("Its image changed from {} to {}", code(from), code(to)));
    let changes: Vec<String> = limit.into_iter().chain(image).collect();
    if changes.is_empty() {
        "Its memory limit and image are the same as before".into()
    } else {
        changes.join("\n")
    }
}

fn gone(resolved: &ResolvedIncident) -> Option<String> {
    let gone = match resolved.gone? {
        Gone::Pods => "The Pods that were killed are gone, others run in their place",
        Gone::Workload => {
            "The Pods that were killed are gone, and no others were seen: the workload may be gone too"
        }
    };
    Some(gone.to_owned())
}

#[cfg(test)]
mod tests {
    use finding::Incident;

    use super::*;

    #[test]
    fn it_says_how_long_it_took_and_what_helped() {
        insta::assert_snapshot!(paragraph(&ResolvedIncident::full()), @r#"
    *Quiet again*: `app` in Deployment `cart`, namespace `shop`, cluster `prod`
    No OOM kill for an hour, after 12 kills in 3 Pods between <!date^1772364002^{date_short_pretty} at {time_secs}|2026-03-01 11:20:02 UTC> and <!date^1772366402^{date_short_pretty} at {time_secs}|2026-03-01 12:00:02 UTC>
    Its memory limit was raised from 64 MiB to 128 MiB
    Its image changed from `registry.example/cart:1.2` to `registry.example/cart:1.3`
    The Pods that were killed are gone, others run in their place
    "#);
    }

    #[test]
    fn what_did_not_change_and_what_is_gone_is_said_too() {
        let once = ResolvedIncident::minimal();
        let incident = Incident { kills: 1, since: once.last_kill, pods: 1 };
        insta::assert_snapshot!(paragraph(&ResolvedIncident { incident, gone: None, ..once }), @r#"
    *Quiet again*: `app` in Deployment `cart`, namespace `shop`
    No OOM kill for an hour, after 1 kill in 1 Pod <!date^1772366402^{date_short_pretty} at {time_secs}|2026-03-01 12:00:02 UTC>
    Its memory limit and image are the same as before
    "#);
        let gone = ResolvedIncident { gone: Some(Gone::Workload), ..ResolvedIncident::minimal() };
        insta::assert_snapshot!(paragraph(&gone), @r#"
    *Quiet again*: `app` in Deployment `cart`, namespace `shop`
    No OOM kill for an hour, after 12 kills in 3 Pods between <!date^1772364002^{date_short_pretty} at {time_secs}|2026-03-01 11:20:02 UTC> and <!date^1772366402^{date_short_pretty} at {time_secs}|2026-03-01 12:00:02 UTC>
    The Pods that were killed are gone, and no others were seen: the workload may be gone too
    "#);
        let text = body(&gone)["text"].to_string();
        assert_eq!(text, "\"Quiet again: app in Deployment cart, namespace shop\"");
    }

    #[test]
    fn names_stay_names() {
        let mut hostile = ResolvedIncident::full();
        hostile.namespace = "<!channel>`*x*".into();
        let text = paragraph(&hostile);
        assert!(text.contains("namespace `&lt;!channel&gt;'*x*`"), "{text}");
    }
}
