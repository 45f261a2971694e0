//! The dependencies between our crates go one way, and heavy libraries are named where they belong.

use std::{
    collections::{BTreeMap, BTreeSet},
    process::Command,
};

use anyhow::Result;
use devmesh_tests::program;
use serde_json::Value;

/// What each crate may name of our own, besides what it needs for its tests.
const LAYERS: [(&str, &[&str]); 15] = [
    ("devmesh-schema", &[]),
    ("devmesh-wal", &[]),
    ("devmesh-collector", &["devmesh-schema", "devmesh-wal"]),
    ("devmesh-promql", &[]),
    ("devmesh-templates", &[]),
    ("devmesh-store", &["devmesh-schema", "devmesh-wal", "devmesh-templates"]),
    ("devmesh-query", &["devmesh-schema", "devmesh-store", "devmesh-promql"]),
    ("devmesh-explain", &["devmesh-schema"]),
    ("devmesh-rules", &["devmesh-schema", "devmesh-promql"]),
    ("devmesh-graph", &["devmesh-schema"]),
    ("devmesh-llm", &[]),
    ("devmesh-insight", &["devmesh-schema", "devmesh-query", "devmesh-templates"]),
    (
        "devmesh",
        &[
            "devmesh-schema",
            "devmesh-wal",
            "devmesh-collector",
            "devmesh-store",
            "devmesh-query",
            "devmesh-insight",
            "devmesh-explain",
            "devmesh-llm",
            "devmesh-rules",
            "devmesh-graph",
        ],
    ),
    ("devmesh-demo", &[]),
    ("devmesh-tests", &["devmesh-demo"]),
];

/// Who alone may name a library.
const OWNERS: [(&str, &[&str]); 7] = [
    ("candle-core", &["devmesh-insight"]),
    ("clickhouse", &["devmesh-store"]),
    ("neo4rs", &["devmesh-graph"]),
    ("sqlx", &["devmesh-store"]),
    ("datafusion", &["devmesh-query"]),
    ("pgwire", &["devmesh"]),
    ("object_store", &["devmesh-store", "devmesh-query"]),
];

fn dependencies() -> Result<BTreeMap<String, BTreeSet<String>>> {
    let output = program::run(
        Command::new(env!("CARGO"))
            .args(["metadata", "--format-version=1", "--no-deps", "--offline"])
            .current_dir(program::root()),
    )?;
    let metadata: Value = serde_json::from_slice(&output.stdout)?;
    let name = |v: &Value| v["name"].as_str().unwrap_or_default().to_owned();
    let normal = |p: &Value| {
        let all = p["dependencies"].as_array().into_iter().flatten();
        all.filter(|d| d["kind"].is_null()).map(name).collect()
    };
    Ok(metadata["packages"].as_array().into_iter().flatten().map(|p| (name(p), normal(p))).collect())
}

#[test]
fn our_crates_depend_one_way() {
    let dependencies = dependencies().unwrap();
    let known: BTreeSet<&str> = LAYERS.iter().map(|(name, _)| *name).collect();
    assert_eq!(known, dependencies.keys().map(String::as_str).collect(), "a crate is missing from LAYERS");
    for (name, allowed) in LAYERS {
        for dependency in dependencies[name].iter().filter(|d| known.contains(d.as_str())) {
            assert!(allowed.contains(&dependency.as_str()), "{name} must not depend on {dependency}");
        }
    }
}

#[test]
fn heavy_libraries_are_named_by_their_owners_alone() {
    let dependencies = dependencies().unwrap();
    for (library, owners) in OWNERS {
        for (name, named) in &dependencies {
            assert!(!named.contains(library) || owners.contains(&name.as_str()), "{name} must not name {library}");
        }
    }
}

#[test]
fn the_agent_links_no_query_engine() {
    let output = program::run(
        Command::new(env!("CARGO"))
            .args(["tree", "-p", "devmesh-collector", "-e", "normal", "--offline", "--prefix", "none"])
            .current_dir(program::root()),
    )
    .unwrap();
    let tree = String::from_utf8_lossy(&output.stdout).into_owned();
    for banned in ["datafusion", "candle", "parquet"] {
        assert!(!tree.lines().any(|line| line.starts_with(banned)), "devmesh-collector links {banned}");
    }
}
