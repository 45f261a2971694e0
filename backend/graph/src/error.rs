//! Why the graph could not do it.

/// Why the graph could not do it.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// Rows are not as a store has them.
    #[error("graph: rows cannot be read: {0}")]
    Rows(#[from] arrow_schema::ArrowError),
    /// The file could not be read or written.
    #[error("graph: failed to {operation} {path}")]
    File {
        /// What was tried.
        operation: &'static str,
        /// On what.
        path: std::path::PathBuf,
        /// Why not.
        #[source]
        source: std::io::Error,
    },
    /// The database that keeps it could not be asked.
    #[error("graph database: {0}")]
    Database(String),
}
