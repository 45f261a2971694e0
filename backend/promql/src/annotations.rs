//! What is dubious about an answer: warnings and notes that stand beside it.

use std::collections::BTreeSet;

/// Texts beside an answer, each once.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Annotations {
    /// The answer may be wrong.
    pub warnings: BTreeSet<String>,
    /// The query may not be what was meant.
    pub infos: BTreeSet<String>,
}

impl Annotations {
    pub(crate) fn warn(&mut self, text: impl Into<String>) {
        self.warnings.insert(format!("PromQL warning: {}", text.into()));
    }

    pub(crate) fn info(&mut self, text: impl Into<String>) {
        self.infos.insert(format!("PromQL info: {}", text.into()));
    }
}
