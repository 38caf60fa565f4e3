//! Writes the metrics in Prometheus' text format 0.0.4.

use std::collections::HashSet;

/// The content type of the text format.
pub const CONTENT_TYPE: &str = "text/plain; version=0.0.4; charset=utf-8";

/// Converts `OpenMetrics`, which is all that the library writes, into the older text format, which is all
/// that `promtool check metrics` reads. The names in the comments on counters differ: `kills` there,
/// `kills_total` here. (The library writes the end mark only on request.)
pub(super) fn in_text_format(open_metrics: &str) -> String {
    let counters: HashSet<&str> = open_metrics
        .lines()
        .filter_map(|line| line.strip_prefix("# TYPE ")?.strip_suffix(" counter"))
        .collect();
    let mut text = String::with_capacity(open_metrics.len() + 1024);
    for line in open_metrics.lines() {
        match line.splitn(4, ' ').collect::<Vec<_>>().as_slice() {
            ["#", keyword, name, rest] if counters.contains(name) => {
                text.extend(["# ", *keyword, " ", *name, "_total ", *rest]);
            }
            _ => text.push_str(line),
        }
        text.push('\n');
    }
    text
}
