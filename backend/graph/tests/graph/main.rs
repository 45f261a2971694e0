//! The graph of rows as they come in, and what every keeper of it answers.

#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

#[cfg(feature = "neo4j")]
mod neo4j;
mod observed;
mod suite;
mod telemetry;

use std::sync::Arc;

use devmesh_graph::{Graph, Memory};

#[tokio::test]
async fn the_graph_in_the_process_passes_the_suite() {
    suite::run(|| async { Arc::new(Memory::new()) as Arc<dyn Graph> }).await;
}
