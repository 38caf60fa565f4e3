//! Shows kills to a person: a row for each container of a workload, or for each Pod, as a table, or as
//! paragraphs where a table is too wide for the terminal.
//!
//! Pure: the time and the width come in. Names are cleaned, since whoever creates Pods chose them.

mod paragraphs;
mod row;
mod words;

use std::io::Write;

use anstyle::{Effects, Style};
use jiff::Timestamp;
use tabwriter::TabWriter;
use untrusted::{clean, cut};

use paragraphs::paragraphs;
use words::{NOTHING, advice, cause, last_kill, limit, ran, workload};

pub use row::{KillRow, ListedKill, RowSubject, rows};
pub use words::age;

/// The least width of the last column, which is cut where the terminal is too narrow.
const MIN_ADVICE_CHARS: usize = 16;

/// Returns the rows as they are read at `now`: a table, or paragraphs where a table doesn't fit into `width`
/// characters. The head of the table is in bold, by an escape sequence that only a terminal is to get.
pub fn text(rows: &[KillRow], subject: RowSubject, now: Timestamp, width: Option<usize>) -> String {
    let table = table(rows, subject, now);
    let widest = table.lines().map(|line| line.chars().count()).max().unwrap_or_default();
    let Some(width) = width.filter(|width| widest > *width) else { return emphasized(&table) };
    let last_column = table.lines().next().map_or(0, |head| head.chars().count() - "TRY".len());
    if subject == RowSubject::Pod || last_column + MIN_ADVICE_CHARS > width {
        return paragraphs(rows, subject, now, width);
    }
    let cut: String = table.lines().map(|line| cut(line, width).into_owned() + "\n").collect();
    emphasized(&cut)
}

fn table(rows: &[KillRow], subject: RowSubject, now: Timestamp) -> String {
    let head: &[&str] = match subject {
        RowSubject::Workload => &[
            "NAMESPACE",
            "WORKLOAD",
            "CONTAINER",
            "PODS",
            "RESTARTS",
            "LAST KILL",
            "LIMIT",
            "RAN",
            "CAUSE",
            "TRY",
        ],
        RowSubject::Pod => &[
            "NAMESPACE",
            "WORKLOAD",
            "POD",
            "CONTAINER",
            "NODE",
            "RESTARTS",
            "LAST KILL",
            "LIMIT",
            "RAN",
            "EXIT",
            "CAUSE",
            "TRY",
        ],
    };
    let cells = std::iter::once(head.iter().map(ToString::to_string).collect());
    let lines = cells.chain(rows.iter().map(|row| cells_of(row, subject, now)));
    let mut table = TabWriter::new(Vec::new());
    for line in lines {
        let line: Vec<String> = line;
        // Memory takes all that is written to it.
        writeln!(table, "{}", line.join("\t")).unwrap_or_default();
    }
    String::from_utf8_lossy(&table.into_inner().unwrap_or_default()).into_owned()
}

fn cells_of(row: &KillRow, subject: RowSubject, now: Timestamp) -> Vec<String> {
    let finding = &row.newest;
    let restarts = row.restarts().map_or(NOTHING.to_owned(), |count| count.to_string());
    let name = |name: &str| clean(name).into_owned();
    let mut cells = vec![name(&finding.namespace), workload(finding)];
    match subject {
        RowSubject::Workload => {
            cells.extend([name(&finding.container.name), row.restarts.len().to_string(), restarts]);
        }
        RowSubject::Pod => {
            let node = finding.pod.node.as_deref().unwrap_or(NOTHING);
            cells.extend([name(&finding.pod.name), name(&finding.container.name), name(node), restarts]);
        }
    }
    cells.extend([last_kill(finding, now), limit(finding), ran(finding).unwrap_or(NOTHING.to_owned())]);
    if subject == RowSubject::Pod {
        cells.push(finding.killed.exit_code.map_or(NOTHING.to_owned(), |code| code.to_string()));
    }
    cells.push(cause(finding).to_owned());
    cells.push(advice(finding, subject));
    cells
}

/// Returns a table with its first line in bold.
fn emphasized(table: &str) -> String {
    let style = Style::new().effects(Effects::BOLD);
    match table.split_once('\n') {
        Some((head, rest)) => format!("{style}{head}{style:#}\n{rest}"),
        None => table.to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use finding::Finding;
    use jiff::SignedDuration;

    use super::*;
    use crate::cli::SortOrder;

    fn now() -> Timestamp {
        "2026-03-01T12:04:10Z".parse().unwrap()
    }

    fn kill(pod: &str, container: &str, finished_at: &str, restarts: u32) -> ListedKill {
        let mut finding = Finding::full();
        finding.pod.name = pod.into();
        finding.container.name = container.into();
        finding.killed.finished_at = finished_at.parse().ok();
        ListedKill { finding, restarts: Some(restarts) }
    }

    fn kills() -> Vec<ListedKill> {
        vec![
            kill("cart-1", "app", "2026-03-01T11:59:00Z", 2),
            kill("cart-1", "app", "2026-03-01T12:00:02Z", 2),
            kill("cart-2", "app", "2026-03-01T11:59:30Z", 1),
            kill("cart-2", "proxy", "2026-03-01T12:04:00Z", 7),
        ]
    }

    fn shown(subject: RowSubject, order: SortOrder, width: Option<usize>) -> String {
        let shown = text(&rows(kills(), subject, order), subject, now(), width);
        shown.replace(['\u{1b}'], "").replace("[1m", "").replace("[0m", "")
    }

    #[test]
    fn each_container_of_a_workload_has_a_row() {
        assert_eq!(
            shown(RowSubject::Workload, SortOrder::Time, None),
            "NAMESPACE  WORKLOAD         CONTAINER  PODS  RESTARTS  LAST KILL  LIMIT   RAN  CAUSE            TRY\n\
             shop       Deployment/cart  proxy      1     7         10s ago    64 MiB  7m   container limit  limit 128 MiB\n\
             shop       Deployment/cart  app        2     3         4m ago     64 MiB  3m   container limit  limit 128 MiB\n"
        );
    }

    #[test]
    fn each_pod_has_a_row_with_node_exit_code_and_command() {
        let wide = shown(RowSubject::Pod, SortOrder::Name, None);
        let rows: Vec<Vec<&str>> = wide
            .lines()
            .map(|line| line.split("  ").map(str::trim).filter(|cell| !cell.is_empty()).collect())
            .collect();
        assert_eq!(rows.iter().map(|row| row[2]).collect::<Vec<_>>(), ["POD", "cart-1", "cart-2", "cart-2"]);
        assert_eq!((rows[1][4], rows[1][9]), ("n1", "137"));
        assert!(rows[1][11].starts_with("kubectl --namespace shop set resources"), "{wide}");
    }

    #[test]
    fn rows_come_in_the_order_that_is_asked_for() {
        let containers = |order| {
            let rows = rows(kills(), RowSubject::Workload, order);
            rows.iter().map(|row| row.newest.container.name.clone()).collect::<Vec<_>>()
        };
        assert_eq!(containers(SortOrder::Time), ["proxy", "app"]);
        assert_eq!(containers(SortOrder::Kills), ["app", "proxy"]);
        assert_eq!(containers(SortOrder::Name), ["app", "proxy"]);
    }

    #[test]
    fn a_narrow_terminal_gets_less_advice_a_narrower_one_paragraphs() {
        let all = shown(RowSubject::Workload, SortOrder::Time, Some(109));
        assert_eq!(all, shown(RowSubject::Workload, SortOrder::Time, None));
        for width in [60, 80] {
            let narrow = shown(RowSubject::Workload, SortOrder::Time, Some(width));
            assert_eq!(
                narrow.split("\n\n").nth(1).unwrap(),
                "shop  Deployment/cart  app\n  4m ago, limit 64 MiB, ran 3m, 2 Pods, restarts 3\n  \
                 why: it reached its own memory limit of 64 MiB\n  try: raise the limit to 128 MiB\n"
            );
        }
    }

    #[test]
    fn a_paragraph_breaks_between_words_and_shows_of_a_pod_all_that_the_table_would() {
        let narrow = shown(RowSubject::Workload, SortOrder::Time, Some(40));
        assert_eq!(
            narrow.split("\n\n").nth(1).unwrap(),
            "shop  Deployment/cart  app\n  4m ago, limit 64 MiB, ran 3m, 2 Pods,\n  restarts 3\n  \
             why: it reached its own memory limit\n  of 64 MiB\n  try: raise the limit to 128 MiB\n"
        );
        let wide = shown(RowSubject::Pod, SortOrder::Time, Some(100));
        let facts = "10s ago, limit 64 MiB, ran 7m, Pod cart-2, node n1, exit code 137, restarts 7";
        assert_eq!(wide.lines().nth(1).unwrap().trim(), facts, "{wide}");
        assert!(wide.contains("\n  kubectl --namespace shop set resources "), "{wide}");
    }

    #[test]
    fn long_advice_is_cut_where_the_rest_fits() {
        let mut kill = kill("cart-1", "app", "2026-03-01T12:00:02Z", 2);
        let words = "the limit was raised within this incident and it was killed again: look for a leak";
        kill.finding.advice =
            Some(finding::Advice { memory_limit_bytes: None, command: None, text: words.into() });
        let rows = rows([kill], RowSubject::Workload, SortOrder::Time);
        let shown = text(&rows, RowSubject::Workload, now(), Some(120));
        let last = shown.lines().last().unwrap();
        assert!(last.ends_with("the limit was raised wi…") && last.chars().count() == 120, "{last}");
    }

    #[test]
    fn what_is_unknown_is_a_dash_and_hostile_names_are_clean() {
        let mut finding = Finding::minimal();
        finding.namespace = "a\tb\u{1b}[31m\n".into();
        let rows = rows([ListedKill { finding, restarts: None }], RowSubject::Pod, SortOrder::Time);
        let shown = table(&rows, RowSubject::Pod, now());
        let row = shown.lines().nth(1).unwrap();
        assert!(row.starts_with("a�b�[31m�  "), "{row}");
        assert_eq!(row.split_whitespace().filter(|cell| *cell == NOTHING).count(), 8, "{row}");
        assert_eq!(shown.lines().count(), 2);
    }

    #[test]
    fn the_smaller_limit_is_the_one_shown() {
        let mut finding = Finding::full();
        finding.pod.memory_limit_bytes = Some(32 << 20);
        assert_eq!(limit(&finding), "32 MiB (Pod)");
        finding.pod.memory_limit_bytes = None;
        assert_eq!(limit(&finding), "64 MiB");
    }

    #[test]
    fn a_time_span_is_spelled_in_its_largest_unit() {
        for (seconds, spelled) in [(-5, "0s"), (59, "59s"), (60, "1m"), (7199, "1h"), (86_400 * 3, "3d")] {
            assert_eq!(age(SignedDuration::from_secs(seconds)), spelled);
        }
    }
}
