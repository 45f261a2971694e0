//! Secrets that stand in files of their own: they are put in the place where they would have been set.
//!
//! A secret is set in one place. Set in two, the program does not start: whichever it took, somebody would believe that the
//! other one counts.

use std::path::Path;

use devmesh_collector::secret_file;

use super::{secret::Secret, store_url::StoreUrl, tree::Settings};

/// Reads the files that are named. Answers what is wrong with them.
pub(super) fn read(settings: &mut Settings) -> Vec<String> {
    let mut problems = Vec::new();
    let mut of = |key: &str, file: &Path, set: bool| match text(key, file, set)? {
        Ok(text) => Some(text),
        Err(problem) => {
            problems.push(problem);
            None
        }
    };
    let tokens = |text: String| text.lines().map(str::trim).filter(|line| !line.is_empty()).map(Secret::new).collect();
    let auth = &mut settings.auth;
    if let Some(text) = of("auth.ingest_tokens", &auth.ingest_tokens_file, !auth.ingest_tokens.is_empty()) {
        auth.ingest_tokens = tokens(text);
    }
    if let Some(text) = of("auth.read_tokens", &auth.read_tokens_file, !auth.read_tokens.is_empty()) {
        auth.read_tokens = tokens(text);
    }
    let store = &mut settings.store;
    if let Some(text) = of("store.url", &store.url_file, !store.url.reveal().is_empty()) {
        store.url = StoreUrl::new(text);
    }
    let s3 = &mut settings.s3;
    if let Some(text) = of("s3.secret_access_key", &s3.secret_access_key_file, s3.secret_access_key.length() > 0) {
        s3.secret_access_key = Secret::new(text);
    }
    let graph = &mut settings.graph;
    if let Some(text) = of("graph.neo4j_password", &graph.neo4j_password_file, graph.neo4j_password.length() > 0) {
        graph.neo4j_password = Secret::new(text);
    }
    let llm = &mut settings.llm;
    if let Some(text) = of("llm.api_key", &llm.api_key_file, llm.api_key.length() > 0) {
        llm.api_key = Secret::new(text);
    }
    let hosted = &mut settings.hosted;
    if let Some(text) = of("hosted.api_key", &hosted.api_key_file, hosted.api_key.length() > 0) {
        hosted.api_key = Secret::new(text);
    }
    problems
}

/// The text of the file, where one is named.
fn text(key: &str, file: &Path, set: bool) -> Option<Result<String, String>> {
    if file.as_os_str().is_empty() {
        return None;
    }
    if set {
        return Some(Err(format!("{key} and {key}_file are both set; set one of them")));
    }
    Some(secret_file::read(file).map_err(|reason| format!("{key}_file: {reason}")))
}
