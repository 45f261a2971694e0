//! Rules that were made by the API. Each is a group of its own, and is written down before it is answered for.

use std::{collections::BTreeMap, sync::Arc};

use devmesh_query::SqlOptions;
use devmesh_rules::{
    LabelSet, duration,
    file::{self, Fields, Group, Query},
};
use devmesh_schema::limits;

use super::{
    Rules,
    kept::{AllMade, Made},
    lock,
};
use crate::api::params::now;

/// Why a rule could not be made.
#[derive(Debug)]
pub(crate) enum Unmade {
    /// It is wrong: what, and where.
    Wrong(String),
    /// There are too many.
    Full,
    /// It could not be written down.
    Failed(String),
}

/// A rule that was made, as a group.
fn group(made: &Made) -> Result<Group, String> {
    let rule = file::rule(made.rule.clone(), &LabelSet::new()).map_err(|problems| problems.join("; "))?;
    let interval = match made.interval.as_str() {
        "" => None,
        text => Some(duration::parse(text).map_err(|error| format!("interval: {error}"))?),
    };
    if interval.is_some_and(|interval| interval < limits::RULE_INTERVAL) {
        return Err(format!("interval: the shortest is {}", duration::format(limits::RULE_INTERVAL)));
    }
    Ok(Group { name: made.id.clone(), interval, query_offset: None, limit: 0, rules: vec![rule] })
}

impl Rules {
    /// The rules that were made, oldest first.
    pub(crate) fn made(&self) -> Vec<Made> {
        lock(&self.made).rules.clone()
    }

    pub(super) fn made_groups(&self) -> Vec<Group> {
        let made = self.made();
        let groups = made.iter().filter_map(|made| {
            let read = group(made);
            read.map_err(|error| tracing::warn!(id = made.id, "a rule made by the API cannot be used: {error}")).ok()
        });
        groups.collect()
    }

    /// Makes a rule, and begins to evaluate it at once.
    ///
    /// # Errors
    /// [`Unmade`].
    pub(crate) async fn make(self: &Arc<Self>, rule: Fields, interval: String) -> Result<Made, Unmade> {
        let made = Made { id: String::new(), created: now(), interval, rule };
        let checked = group(&made).map_err(Unmade::Wrong)?;
        if let Some(Query::Sql(sql)) = checked.rules.first().map(|rule| &rule.query) {
            // A plan is made of it, which finds what is wrong; nothing is read.
            let plan = self.engine.sql(&format!("EXPLAIN {sql}"), SqlOptions::default()).await;
            plan.map_err(|error| Unmade::Wrong(format!("sql: {error}")))?;
        }
        let saving = self.saving.lock().await;
        let (next, made) = {
            let mut next: AllMade = lock(&self.made).clone();
            if next.rules.len() >= limits::ALERT_RULES {
                return Err(Unmade::Full);
            }
            next.last += 1;
            let made = Made { id: format!("rule-{:06}", next.last), ..made };
            next.rules.push(made.clone());
            (next, made)
        };
        self.keep_made(next).await?;
        drop(saving);
        self.regroup(BTreeMap::new(), Some(&made.id));
        Ok(made)
    }

    /// Takes a rule away; `false` where there is none of this id.
    ///
    /// # Errors
    /// [`Unmade::Failed`].
    pub(crate) async fn unmake(self: &Arc<Self>, id: &str) -> Result<bool, Unmade> {
        let saving = self.saving.lock().await;
        let mut next: AllMade = lock(&self.made).clone();
        let before = next.rules.len();
        next.rules.retain(|made| made.id != id);
        if next.rules.len() == before {
            return Ok(false);
        }
        self.keep_made(next).await?;
        drop(saving);
        self.regroup(BTreeMap::new(), None);
        self.save().await;
        Ok(true)
    }

    async fn keep_made(&self, next: AllMade) -> Result<(), Unmade> {
        self.directory.write("made", next.clone()).await.map_err(Unmade::Failed)?;
        *lock(&self.made) = next;
        Ok(())
    }
}
