//! The table of bounds in `src/lib.rs` has each that the source has, as it is.

use std::{
    collections::BTreeSet,
    fs,
    path::{Path, PathBuf},
};

/// A constant and its value, such as `MAX_HEAD_BYTES = 8 * 1024`, and the file that has it.
type Bound = (String, String);

/// Returns the bounds in the rows of the table.
fn in_table() -> BTreeSet<Bound> {
    let source = fs::read_to_string(root().join("src/lib.rs")).unwrap();
    let cells = |row: &str| row.split(" | ").map(quoted).collect::<Vec<_>>();
    let rows = source.lines().filter_map(|line| Some(cells(line.strip_prefix("//! | ")?)));
    rows.filter(|cells| cells.len() == 4)
        .flat_map(|cells| {
            let files = cells[2].clone();
            let bounds = cells[1].clone().into_iter().filter(|bound| bound.contains(" = "));
            bounds.enumerate().map(move |(at, bound)| (bound, files[at.min(files.len() - 1)].clone()))
        })
        .collect()
}

/// Returns what stands in backticks.
fn quoted(text: &str) -> Vec<String> {
    text.split('`').skip(1).step_by(2).map(str::to_owned).collect()
}

/// Returns the constants in the source whose name passes.
fn in_source(wanted: impl Fn(&str) -> bool) -> BTreeSet<Bound> {
    let mut bounds = BTreeSet::new();
    for room in ["cluster/src", "finding/src", "settings/src", "sinks/src", "src", "tls/src", "untrusted/src"]
    {
        for file in files(&root().join(room)) {
            let name = file.strip_prefix(root()).unwrap().to_str().unwrap().to_owned();
            for line in fs::read_to_string(&file).unwrap().lines().take_while(|line| *line != "#[cfg(test)]")
            {
                let Some((_, constant)) = line.split_once("const ") else { continue };
                let Some((constant, value)) = constant.split_once(" = ") else { continue };
                let Some((constant, _)) = constant.split_once(": ") else { continue };
                if wanted(constant) {
                    bounds.insert((format!("{constant} = {}", value.trim_end_matches(';')), name.clone()));
                }
            }
        }
    }
    bounds
}

/// Returns the source files of a folder, but for tests.
fn files(folder: &Path) -> Vec<PathBuf> {
    let entries = fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path());
    let code = entries.filter(|path| path.file_stem().is_none_or(|name| name != "tests"));
    code.flat_map(|path| if path.is_dir() { files(&path) } else { vec![path] }).collect()
}

fn root() -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR"))
}

#[test]
fn the_table_of_bounds_has_each_as_it_is() {
    let (table, all) = (in_table(), in_source(|_| true));
    let wrong: Vec<_> = table.difference(&all).collect();
    assert!(wrong.is_empty(), "the table in src/lib.rs has what the source doesn't: {wrong:#?}");
    // These bound what the program itself asks for, what its own configuration may say, or what it concludes.
    let own = [
        "MAX_AHEAD",
        "MAX_DISTANCE",
        "MAX_DURATION",
        "MAX_LATE",
        "MAX_PAUSE",
        "MAX_PROGRESS_AGE",
        "MAX_START",
        "MAX_TEST",
    ];
    let bounds = in_source(|name| name.starts_with("MAX_") && !own.contains(&name));
    let missing: Vec<_> = bounds.difference(&table).collect();
    assert!(missing.is_empty(), "the table in src/lib.rs lacks: {missing:#?}");
}
