//! The files of rules and of receivers: found, read, checked.

use std::{
    fs::{self, File},
    io::Read,
    os::unix::fs::MetadataExt,
    path::{Path, PathBuf},
};

use devmesh_rules::{file, notify::config::Config};
use devmesh_schema::limits;

/// Permissions of users who are neither the owner nor in his group.
const OTHERS: u32 = 0o007;

/// The groups of one file.
#[derive(Debug)]
pub(crate) struct RuleFile {
    /// As it was found: `rules/shop.yml`.
    pub(crate) path: PathBuf,
    pub(crate) groups: Vec<file::Group>,
}

/// Reads all files that the patterns name, in the order of their names.
///
/// # Errors
/// All that is wrong with them, each with its file.
pub(crate) fn rules(patterns: &[String]) -> Result<Vec<RuleFile>, Vec<String>> {
    let (mut files, mut problems) = (Vec::new(), Vec::new());
    for pattern in patterns {
        match found(pattern) {
            Ok(paths) => files.extend(paths),
            Err(problem) => problems.push(problem),
        }
    }
    files.sort();
    files.dedup();
    if files.len() > limits::RULE_FILES {
        problems.push(format!("rules.files: there are {} files, more than {}", files.len(), limits::RULE_FILES));
        return Err(problems);
    }
    let mut read = Vec::new();
    for path in files {
        match one(&path) {
            Ok(groups) => read.push(RuleFile { path, groups }),
            Err(mut found) => problems.append(&mut found),
        }
    }
    let count: usize = read.iter().flat_map(|file| &file.groups).map(|group| group.rules.len()).sum();
    if count > limits::RULES {
        problems.push(format!("rules.files: there are {count} rules, more than {}", limits::RULES));
    }
    if problems.is_empty() { Ok(read) } else { Err(problems) }
}

/// Reads one file.
///
/// # Errors
/// All that is wrong with it, each with the file.
pub(crate) fn one(path: &Path) -> Result<Vec<file::Group>, Vec<String>> {
    let named = |problem: &dyn std::fmt::Display| format!("{}: {problem}", path.display());
    let text = text(path, limits::RULE_FILE_BYTES).map_err(|problem| vec![named(&problem)])?;
    file::parse(&text).map_err(|problems| problems.iter().map(|problem| named(problem)).collect())
}

fn text(path: &Path, most: usize) -> Result<String, String> {
    let mut text = String::new();
    let file = File::open(path).map_err(|error| error.to_string())?;
    file.take(most as u64 + 1).read_to_string(&mut text).map_err(|error| error.to_string())?;
    if text.len() > most { Err(format!("it has more than {most} bytes")) } else { Ok(text) }
}

/// The files that a pattern names: its last part may have `*` and `?`. A plain name has to be there.
fn found(pattern: &str) -> Result<Vec<PathBuf>, String> {
    let path = Path::new(pattern);
    let name = path.file_name().and_then(|name| name.to_str()).unwrap_or_default();
    if !name.contains(['*', '?']) {
        return match path.is_file() {
            true => Ok(vec![path.to_owned()]),
            false => Err(format!("rules.files: there is no file {pattern}")),
        };
    }
    let directory = path.parent().filter(|parent| !parent.as_os_str().is_empty()).unwrap_or(Path::new("."));
    if directory.to_str().is_some_and(|directory| directory.contains(['*', '?'])) {
        return Err(format!("rules.files: {pattern}: only the last part of a path may have * or ?"));
    }
    let entries = match fs::read_dir(directory) {
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(Vec::new()),
        entries => entries.map_err(|error| format!("rules.files: {}: {error}", directory.display()))?,
    };
    let mut paths = Vec::new();
    for entry in entries {
        let entry = entry.map_err(|error| format!("rules.files: {}: {error}", directory.display()))?;
        let matches = entry.file_name().to_str().is_some_and(|entry| is_like(entry.as_bytes(), name.as_bytes()));
        if matches && entry.path().is_file() {
            paths.push(path.with_file_name(entry.file_name()));
        }
    }
    Ok(paths)
}

/// Whether a name is what the pattern says: `*` any bytes, `?` one of them.
fn is_like(name: &[u8], pattern: &[u8]) -> bool {
    let (mut at, mut place, mut star) = (0, 0, None);
    while at < name.len() {
        match pattern.get(place) {
            Some(b'*') => {
                star = Some((at, place));
                place += 1;
            }
            Some(wanted) if *wanted == b'?' || *wanted == name[at] => {
                at += 1;
                place += 1;
            }
            _ => {
                let Some((from, back)) = star else { return false };
                star = Some((from + 1, back));
                (at, place) = (from + 1, back + 1);
            }
        }
    }
    pattern[place..].iter().all(|byte| *byte == b'*')
}

/// Reads the file of receivers; none is none.
///
/// # Errors
/// What is wrong with it. Where secrets stand in it, it may not be open to every user of this machine.
pub(crate) fn receivers(path: &Path) -> Result<Config, String> {
    if path.as_os_str().is_empty() {
        return Ok(Config::default());
    }
    let named = |problem: &dyn std::fmt::Display| format!("rules.receivers_file: {}: {problem}", path.display());
    let text = text(path, limits::RECEIVERS_BYTES).map_err(|problem| named(&problem))?;
    let base = path.parent().unwrap_or(Path::new(""));
    let config = Config::read(&text, base).map_err(|problem| named(&problem))?;
    let mode = fs::metadata(path).map_err(|error| named(&error))?.mode();
    if config.has_secrets && mode & OTHERS != 0 {
        return Err(named(&format!(
            "it has secrets in it, and every user of this machine can get at it (mode {:04o}); chmod 600, or put the secrets \
             into files of their own (url_file, bot_token_file, …)",
            mode & 0o7777
        )));
    }
    Ok(config)
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt;

    use super::*;

    #[test]
    fn patterns_have_stars_and_question_marks() {
        for (name, pattern, like) in [
            ("a.yml", "*.yml", true),
            ("a.yaml", "*.y?ml", true),
            ("a.yml", "b*", false),
            ("abcabd", "*ab?", true),
            ("abc", "a*b*c*", true),
            ("abc", "a*d", false),
            ("", "*", true),
        ] {
            assert_eq!(is_like(name.as_bytes(), pattern.as_bytes()), like, "{name} {pattern}");
        }
    }

    #[test]
    fn files_are_found_read_once_and_problems_name_file_group_and_rule() {
        let dir = tempfile::tempdir().unwrap();
        let at = |name: &str| dir.path().join(name);
        fs::write(at("a.yml"), "groups: [{name: g, rules: [{alert: A, expr: up}]}]").unwrap();
        fs::write(at("b.txt"), "nothing").unwrap();
        let pattern = |name: &str| at(name).to_str().unwrap().to_owned();
        let read = rules(&[pattern("*.yml"), pattern("a.yml"), pattern("none*")]).unwrap();
        assert_eq!((read.len(), read[0].groups.len()), (1, 1));
        fs::write(at("c.yml"), "groups: [{name: g, rules: [{alert: B, expr: '('}]}]").unwrap();
        let problems = rules(&[pattern("*.yml"), pattern("missing.yml")]).unwrap_err().join("\n");
        for part in ["missing.yml", "c.yml: group \"g\", rule 1, \"B\": could not parse"] {
            assert!(problems.contains(part), "{problems}");
        }
    }

    #[test]
    fn a_file_of_receivers_with_secrets_is_not_open_to_all() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("receivers.yml");
        assert!(receivers(Path::new("")).unwrap().route.is_none());
        let text = "route: {receiver: a}\nreceivers: [{name: a, webhook_configs: [{url: 'http://h/s3cret'}]}]";
        fs::write(&path, text).unwrap();
        fs::set_permissions(&path, fs::Permissions::from_mode(0o644)).unwrap();
        let error = receivers(&path).unwrap_err();
        assert!(error.contains("chmod 600") && !error.contains("s3cret"), "{error}");
        fs::set_permissions(&path, fs::Permissions::from_mode(0o640)).unwrap();
        assert_eq!(receivers(&path).unwrap().ends.len(), 1);
    }
}
