//! `info`: series take labels of the info series of the same `job` and `instance`, such as `target_info`.

use std::collections::{BTreeMap, HashMap, hash_map::Entry};

use super::{Eval, Row, Rows, merge};
use crate::{
    Error, Labels, NAME, Sample, Series,
    plan::{Info, Times},
};

/// The labels by which info series are found.
const IDENTITY: [&str; 2] = ["instance", "job"];

/// Info series of one name, by name.
type Named<'s> = BTreeMap<&'s str, Vec<&'s Series>>;

impl Eval<'_> {
    pub(super) fn with_info(&self, info: &Info, times: Times, give: Rows<'_>) -> Result<(), Error> {
        let mut by_identity: HashMap<[&str; 2], Named<'_>> = HashMap::new();
        for series in &self.data[info.selector.select] {
            if !series.histograms.is_empty() {
                let name = series.labels.name();
                return Err(Error::execution(format!("this should be an info metric, with float samples: {name:?}")));
            }
            let identity = IDENTITY.map(|label| series.labels.get(label));
            by_identity.entry(identity).or_default().entry(series.labels.name()).or_default().push(series);
        }
        let needed = info.labels.iter().any(|matcher| !matcher.matches(""));
        let mut rows = Vec::new();
        for row in self.collect(&info.node, times)? {
            let is_info = !row.labels.name().is_empty() && info.names.iter().all(|m| m.matches(row.labels.name()));
            let identity = IDENTITY.map(|label| row.labels.get(label));
            let found = by_identity.get(&identity).filter(|_| identity != ["", ""]);
            match found {
                _ if is_info => rows.push(row),
                Some(named) => self.enriched(info, times, &row, named, needed, &mut rows)?,
                None if needed => {}
                None => rows.push(row),
            }
        }
        merge(rows)?.into_iter().try_for_each(give)
    }

    /// Adds what a row becomes: a row for each set of labels that it takes over time.
    fn enriched(
        &self,
        info: &Info,
        times: Times,
        row: &Row,
        named: &Named<'_>,
        needed: bool,
        rows: &mut Vec<Row>,
    ) -> Result<(), Error> {
        let mut at: HashMap<Labels, usize> = HashMap::new();
        for (n, (step, point)) in times.iter().zip(&row.points).enumerate() {
            let Some(point) = point else { continue };
            let until = info.selector.shift.time(step);
            let current: Vec<&Series> = named
                .iter()
                .filter_map(|(name, all)| self.newest(name, all, until).transpose())
                .collect::<Result<_, _>>()?;
            if current.is_empty() && needed {
                continue;
            }
            let labels = taken(info, &row.labels, &current)?;
            let at = match at.entry(labels) {
                Entry::Occupied(known) => *known.get(),
                Entry::Vacant(vacant) => {
                    self.hold(row.points.len())?;
                    rows.push(Row {
                        labels: vacant.key().clone(),
                        points: vec![None; row.points.len()],
                        nameless: row.nameless,
                    });
                    *vacant.insert(rows.len() - 1)
                }
            };
            rows[at].points[n] = Some(point.clone());
        }
        Ok(())
    }

    /// Of info series of one name the one whose sample is the newest.
    fn newest<'s>(&self, name: &str, all: &[&'s Series], until: i64) -> Result<Option<&'s Series>, Error> {
        let mut newest: Option<(i64, &Series)> = None;
        for series in all {
            let Some((time, Sample::Float(_))) = series.newest(until - self.query.lookback, until) else { continue };
            match newest {
                Some((known, other)) if known == time => {
                    let text = format!(
                        "found duplicate series for info metric {name}: {other}, {series}",
                        other = other.labels,
                        series = series.labels
                    );
                    return Err(Error::execution(text));
                }
                Some((known, _)) if known > time => {}
                _ => newest = Some((time, series)),
            }
        }
        Ok(newest.map(|(_, series)| series))
    }
}

/// The labels of a row and of its info series; its own stay as they are.
fn taken(info: &Info, own: &Labels, current: &[&Series]) -> Result<Labels, Error> {
    let mut taken: BTreeMap<&str, &str> = BTreeMap::new();
    for series in current {
        for (name, value) in series.labels.iter() {
            let wanted = info.labels.is_empty() || info.labels.iter().any(|matcher| matcher.name == name);
            if name == NAME || !wanted || !own.get(name).is_empty() {
                continue;
            }
            if taken.insert(name, value).is_some_and(|known| known != value) {
                return Err(Error::execution(format!("conflicting label: {name}")));
            }
        }
    }
    Ok(Labels::new(own.iter().chain(taken)))
}
