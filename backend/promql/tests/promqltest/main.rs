//! Prometheus' own scripts of queries and answers, as its Go module has them (`tests/install.sh` fetches it).

mod custom;
mod notation;
mod script;

use std::{fs, path::Path};

/// Scripts of what is experimental there and not here.
const NOT_HERE: [(&str, &str); 4] = [
    ("duration_expression.test", "duration expressions"),
    ("extended_vectors.test", "anchored and smoothed"),
    ("start_timestamps.test", "start timestamps of samples"),
    ("type_and_unit.test", "type and unit labels"),
];

/// Queries whose answer differs, by file and line, and why.
const DIFFERENT: [(&str, &[usize], &str); 4] = [
    ("aggregators.test", &[481], "a text that is not UTF-8 is none in the parser"),
    ("functions.test", &[523], "a text that is not UTF-8 is none in the parser"),
    (
        "info.test",
        &[22, 36, 93, 98, 186, 325, 331, 335, 341, 345, 356],
        "the parser refuses a selector that the empty text passes, also where it only says which labels info takes",
    ),
    (
        "native_histograms.test",
        &[1857, 1862, 1867, 1872, 1880, 1885, 1947, 1951, 1955],
        "a warning that only comes where counts alone are read, which finds resets anew",
    ),
];

/// Operators that the parser does not have: they cut a histogram at a value.
const TRIM: [&str; 2] = ["</", ">/"];

#[test]
fn prometheus_scripts_have_the_same_answers() {
    let directory = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../target/test-tools/promqltest");
    let mut paths: Vec<_> = fs::read_dir(&directory)
        .unwrap_or_else(|error| panic!("{}: {error}; tests/install.sh fetches the scripts", directory.display()))
        .map(|entry| entry.unwrap().path())
        .collect();
    paths.sort();
    let only = std::env::var("TEST_SCRIPT").unwrap_or_default();
    let (mut all, mut failed, mut report) = (0, 0, String::new());
    for path in paths {
        let name = path.file_name().unwrap().to_string_lossy().into_owned();
        if NOT_HERE.iter().any(|(file, _)| *file == name) || !name.contains(&only) {
            continue;
        }
        let cases = script::run(&fs::read_to_string(&path).unwrap()).unwrap_or_else(|error| panic!("{name}: {error}"));
        let different = DIFFERENT.iter().find(|(file, ..)| *file == name).map_or(&[][..], |(_, lines, _)| lines);
        let known = |case: &script::Case| {
            different.contains(&case.line) || TRIM.iter().any(|operator| case.query.contains(operator))
        };
        // What is listed and does not differ any more has to leave the list.
        let bad: Vec<_> = cases.iter().filter(|case| case.failure.is_some() != known(case)).collect();
        report += &format!("{name}: {} of {} failed\n", bad.len(), cases.len());
        for case in &bad {
            report += &format!(
                "  {name}:{} {}\n   {}\n",
                case.line,
                case.query,
                case.failure.as_deref().unwrap_or("is listed as different, and is not")
            );
        }
        all += cases.len();
        failed += bad.len();
    }
    assert!(all > 0, "no script ran");
    assert_eq!(failed, 0, "of {all} queries\n{report}");
}
