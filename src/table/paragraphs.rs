//! Shows rows as paragraphs, for a terminal that a table is too wide for.

use anstyle::Style;
use jiff::Timestamp;
use untrusted::clean;

use super::{
    row::{KillRow, RowSubject},
    words::{NOTHING, last_kill, limit, ran, workload},
};

/// What stands before the lines of a paragraph below its first.
const INDENT: &str = "  ";

/// Returns a paragraph for each row, with an empty line between two.
pub(super) fn paragraphs(rows: &[KillRow], subject: RowSubject, now: Timestamp, width: usize) -> String {
    let paragraph = |row: &KillRow| {
        let finding = &row.newest;
        let place = [clean(&finding.namespace), workload(finding).into(), clean(&finding.container.name)];
        let bold = Style::new().bold();
        let mut lines = vec![format!("{bold}{}{bold:#}", place.join("  "))];
        let mut add = |line: String| lines.push(broken(&line, width.saturating_sub(INDENT.len())));
        add(facts(row, subject, now).join(", "));
        if let Some(cause) = &finding.cause {
            add(format!("why: {}", clean(&cause.text)));
        }
        if let Some(advice) = &finding.advice {
            add(format!("try: {}", clean(&advice.text)));
            // Whole, so that it can be copied.
            let command = advice.command.as_ref().filter(|_| subject == RowSubject::Pod);
            lines.extend(command.map(|command| clean(command).into_owned()));
        }
        lines.join(&format!("\n{INDENT}")) + "\n"
    };
    rows.iter().map(paragraph).collect::<Vec<_>>().join("\n")
}

/// Returns what a paragraph says of a row before cause and advice.
fn facts(row: &KillRow, subject: RowSubject, now: Timestamp) -> Vec<String> {
    let finding = &row.newest;
    let limit = Some(limit(finding)).filter(|limit| limit != NOTHING);
    let limit = limit.map_or("no limit".to_owned(), |limit| format!("limit {limit}"));
    let mut facts = vec![last_kill(finding, now), limit];
    facts.extend(ran(finding).map(|ran| format!("ran {ran}")));
    match row.restarts.keys().next() {
        Some(pod) if row.restarts.len() == 1 => facts.push(format!("Pod {}", clean(pod))),
        _ => facts.push(format!("{} Pods", row.restarts.len())),
    }
    if subject == RowSubject::Pod {
        facts.extend(finding.pod.node.as_ref().map(|node| format!("node {}", clean(node))));
        facts.extend(finding.killed.exit_code.map(|code| format!("exit code {code}")));
    }
    facts.extend(row.restarts().map(|count| format!("restarts {count}")));
    facts
}

/// Breaks a line between words, so that each part has at most `width` characters if its words have no more.
fn broken(line: &str, width: usize) -> String {
    let (mut broken, mut column) = (String::new(), 0);
    for word in line.split(' ') {
        let length = word.chars().count();
        if column > 0 && column + 1 + length > width {
            broken += "\n";
            broken += INDENT;
            column = 0;
        } else if column > 0 {
            broken.push(' ');
            column += 1;
        }
        broken += word;
        column += length;
    }
    broken
}
