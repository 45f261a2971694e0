//! What a query may cost (reliability.md §4.13 S12, S13).

use std::{path::PathBuf, time::Duration};

/// Bytes of a query's text.
pub const TEXT_BYTES: usize = 64 << 10;
/// Tokens of a query, without spaces and comments.
pub const TOKENS: usize = 5_000;
/// Nesting of parentheses, brackets and sub-queries.
pub const NESTING: usize = 50;
/// Nodes of a query's expressions, the elements of IN lists not counted.
pub const EXPRESSIONS: usize = 1_000;
/// Elements of one IN list.
pub const IN_LIST: usize = 1_000;
/// Joins, those inside views counted.
pub const JOINS: usize = 8;
/// Parts of unions, those inside views counted.
pub const UNIONS: usize = 32;
/// Named sub-queries.
pub const COMMON_TABLES: usize = 32;
/// Bytes of a regular expression.
pub const PATTERN_BYTES: usize = 1 << 10;
/// Bytes that `replace` and `regexp_replace` may make of one batch of rows.
pub const REPLACED_BYTES: usize = 256 << 20;
/// Bytes of a text that `||`, `concat` and their like may make.
pub const TEXT_VALUE_BYTES: usize = 16 << 20;
/// Bytes that they may make of one batch of rows.
pub const JOINED_BYTES: usize = 64 << 20;
/// Rows that an answer has where nothing was said.
pub const ROWS_DEFAULT: usize = 10_000;
/// Rows that a JSON answer has at most.
pub const ROWS_MAX: usize = 100_000;
/// Stack of a thread that plans and runs queries. A plan is a tree that is walked by recursion.
pub const STACK_BYTES: usize = 16 << 20;
/// How long a failed query may look for a damaged file.
pub const CHECK_TIME: Duration = Duration::from_secs(10);
/// Batches that wait for a reader of an answer.
pub const BATCHES_AHEAD: usize = 2;

/// What an operator may set.
#[derive(Clone, Debug)]
pub struct Limits {
    /// Wall time of a query.
    pub timeout: Duration,
    /// Bytes that one query may hold in sorts, groups and joins; beyond it spills.
    pub query_memory: usize,
    /// The same for all queries together.
    pub total_memory: usize,
    /// Where queries spill to; `None`: they fail instead.
    pub spill_dir: Option<PathBuf>,
    /// Bytes that one query may spill.
    pub spill_bytes: u64,
    /// Queries that run at once.
    pub concurrency: usize,
    /// How long a further query waits for its turn.
    pub queue_wait: Duration,
    /// Threads that queries run on; 0: as many as there are cores.
    pub threads: usize,
    /// Bytes of file footers and page indexes kept between queries.
    pub metadata_cache: usize,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            timeout: Duration::from_secs(30),
            query_memory: 1 << 30,
            total_memory: 2 << 30,
            spill_dir: None,
            spill_bytes: 2 << 30,
            concurrency: 16,
            queue_wait: Duration::from_secs(10),
            threads: 0,
            metadata_cache: 32 << 20,
        }
    }
}
