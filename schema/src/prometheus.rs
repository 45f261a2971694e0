//! What the doors for Prometheus and the readers of its series agree on, beyond OTLP.
//!
//! A series becomes the points of a metric of its full name (`http_requests_total`); its labels are the point's attributes,
//! but `job` and `instance`, which are the resource's `service.name` (with `service.namespace` where the job has a `/`) and
//! `service.instance.id`. The resource attribute `devmesh.source` is [`REMOTE_WRITE`], [`SCRAPE`] or [`RULES`]: such points are read
//! under the names that they came with. A stale marker is a point without a recorded value. A native histogram is an
//! exponential histogram, or with custom buckets an explicit one: classic histograms stay the series that they are.
//!
//! What OTLP cannot hold of a native histogram stands in attributes that are no labels, [`RESET_HINT`] and [`COUNTS`].

use std::fmt::Write as _;

/// The source of points that came by remote write.
pub const REMOTE_WRITE: &str = "remote_write";
/// The source of points that were scraped.
pub const SCRAPE: &str = "scrape";
/// The source of points that the server's own rules recorded.
pub const RULES: &str = "rules";
/// Attribute of a native histogram: `yes`, `no` or `gauge`, where the sender knew something about resets.
pub const RESET_HINT: &str = "devmesh.histogram.reset_hint";
/// Attribute of a native histogram: its exact counts as [`Counts::to_text`] writes them, where OTLP's whole numbers in a
/// row would not be the same.
pub const COUNTS: &str = "devmesh.histogram.counts";

/// Whether points of this source have Prometheus' own names.
pub fn is_source(source: &str) -> bool {
    matches!(source, SCRAPE | REMOTE_WRITE | RULES)
}

/// Whether an attribute of such a point is a label of its series.
pub fn is_label(key: &str) -> bool {
    key != RESET_HINT && key != COUNTS
}

/// The counts of a native histogram, as Prometheus numbers its buckets: an exponential one by its upper bound, a custom
/// one from 0.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Counts {
    /// Observations.
    pub count: f64,
    /// Those in the zero bucket.
    pub zero: f64,
    /// Positive buckets, ascending.
    pub positive: Vec<(i32, f64)>,
    /// Negative buckets, ascending.
    pub negative: Vec<(i32, f64)>,
}

impl Counts {
    /// `count zero|index:count …|index:count …`, positive buckets first. Numbers are the shortest that read back equal.
    pub fn to_text(&self) -> String {
        let mut out = format!("{:?} {:?}", self.count, self.zero);
        for buckets in [&self.positive, &self.negative] {
            out.push('|');
            for (at, (index, count)) in buckets.iter().enumerate() {
                let space = if at > 0 { " " } else { "" };
                // Writing to a String cannot fail.
                write!(out, "{space}{index}:{count:?}").unwrap_or_default();
            }
        }
        out
    }

    /// The inverse of [`Counts::to_text`]; `None` for any other text.
    pub fn parse(text: &str) -> Option<Self> {
        let mut parts = text.split('|');
        let (count, zero) = parts.next()?.split_once(' ')?;
        let buckets = |text: &str| -> Option<Vec<(i32, f64)>> {
            let pair = |pair: &str| {
                let (index, count) = pair.split_once(':')?;
                Some((index.parse().ok()?, count.parse().ok()?))
            };
            text.split(' ').filter(|pair| !pair.is_empty()).map(pair).collect()
        };
        let (positive, negative) = (buckets(parts.next()?)?, buckets(parts.next()?)?);
        let whole = parts.next().is_none();
        whole.then_some(Self { count: count.parse().ok()?, zero: zero.parse().ok()?, positive, negative })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn counts_read_back_as_they_are_written() {
        for counts in [
            Counts::default(),
            Counts { count: 0.1 + 0.2, zero: 1e-300, positive: vec![(-3, 0.5), (7, 1e300)], negative: vec![(0, 2.0)] },
            Counts { count: f64::INFINITY, zero: 0.0, positive: Vec::new(), negative: vec![(i32::MIN, 1.0)] },
        ] {
            assert_eq!(Counts::parse(&counts.to_text()), Some(counts));
        }
        for bad in ["", "1", "1 2", "1 2|", "1 2|a:1|", "1 2|1|", "1 2|||", "x 2||", "1 2|1:x|"] {
            assert_eq!(Counts::parse(bad), None, "{bad}");
        }
    }
}
