//! The table functions that are queries, as SQL over the tables: one file a function, in `schema/sql/functions`. What stands in
//! braces is put in when one is called.

/// `log_pattern_counts(start, end)`; `{window}`: a condition on `logs`.
pub const LOG_PATTERN_COUNTS: &str = include_str!("../sql/functions/log_pattern_counts.sql");
/// `patterns_compare(…)`; `{window}`, `{compared}`: conditions on `logs`; `{seconds}`, `{compare_seconds}`,
/// `{compare_minutes}`: lengths; `{share}`: of the window in both lengths. Doubles all.
pub const PATTERNS_COMPARE: &str = include_str!("../sql/functions/patterns_compare.sql");
