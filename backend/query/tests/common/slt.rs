//! Queries with their answers in text files, as `tests/sql/README.md` says.

use std::{fmt::Write as _, fs, path::Path};

use devmesh_query::{Engine, Error};

use super::rows;

/// One query of a file.
struct Case {
    sort: bool,
    sql: String,
    expected: String,
    /// What stands before it: comments, empty lines.
    before: String,
}

fn parse(text: &str) -> Vec<Case> {
    let mut cases = Vec::new();
    let mut before = String::new();
    let mut lines = text.lines().peekable();
    while let Some(line) = lines.next() {
        let Some(options) = line.strip_prefix("query") else {
            writeln!(before, "{line}").unwrap();
            continue;
        };
        let (mut sql, mut expected) = (String::new(), String::new());
        for line in lines.by_ref().take_while(|line| *line != "----") {
            writeln!(sql, "{line}").unwrap();
        }
        while let Some(line) = lines.next_if(|line| !line.is_empty()) {
            writeln!(expected, "{line}").unwrap();
        }
        cases.push(Case { sort: options.trim() == "rowsort", sql, expected, before: std::mem::take(&mut before) });
    }
    cases
}

async fn answer(engine: &Engine, case: &Case) -> String {
    let mut lines: Vec<String> = match rows(engine, &case.sql).await {
        Ok(rows) => rows.iter().map(|row| row.join(" | ").replace('\n', "\\n")).collect(),
        Err(error) => vec![format!("error: {}", chain(&error))],
    };
    // An empty line would end the answer.
    lines.iter_mut().filter(|line| line.trim().is_empty()).for_each(|line| *line = "(empty)".into());
    if case.sort {
        lines.sort();
    }
    lines.iter().fold(String::new(), |all, line| all + line.trim_end() + "\n")
}

fn chain(error: &Error) -> String {
    let mut text = error.to_string();
    let mut source = std::error::Error::source(error);
    while let Some(error) = source {
        write!(text, ": {error}").unwrap();
        source = error.source();
    }
    text
}

/// Runs every `.slt` of a directory; answers what differs. With `DEVMESH_BLESS` set it writes the answers instead.
pub async fn run(engine: &Engine, directory: &Path, where_rows_are: &str) -> Vec<String> {
    let mut files: Vec<_> = fs::read_dir(directory).unwrap().map(|entry| entry.unwrap().path()).collect();
    files.retain(|path| path.extension().is_some_and(|extension| extension == "slt"));
    files.sort();
    assert!(!files.is_empty(), "no .slt in {}", directory.display());
    let bless = std::env::var_os("DEVMESH_BLESS").is_some();
    let mut wrong = Vec::new();
    for file in files {
        let mut blessed = String::new();
        for case in parse(&fs::read_to_string(&file).unwrap()) {
            let got = answer(engine, &case).await;
            if got != case.expected {
                let name = file.file_name().unwrap().to_string_lossy();
                wrong.push(format!(
                    "{name}, {where_rows_are}:\n{}--- expected\n{}--- got\n{got}",
                    case.sql, case.expected
                ));
            }
            let sort = if case.sort { " rowsort" } else { "" };
            write!(blessed, "{}query{sort}\n{}----\n{got}", case.before, case.sql).unwrap();
        }
        if bless {
            fs::write(&file, blessed).unwrap();
        }
    }
    if bless { Vec::new() } else { wrong }
}
