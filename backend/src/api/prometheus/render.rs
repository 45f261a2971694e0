//! Answers as Prometheus writes them: times as numbers in seconds, values as texts.

use devmesh_query::prometheus::{
    Exemplars,
    promql::{Annotations, Answer, Labels, Row, Sample, Series, Times, histogram::Histogram},
};

/// The answer around its data.
pub(super) fn envelope(data: &str, annotations: &Annotations) -> String {
    let mut text = format!("{{\"status\":\"success\",\"data\":{data}");
    for (name, notes) in [("warnings", &annotations.warnings), ("infos", &annotations.infos)] {
        if !notes.is_empty() {
            let notes: Vec<String> = notes.iter().map(|note| string(note)).collect();
            push(&mut text, format_args!(",\"{name}\":[{}]", notes.join(",")));
        }
    }
    text.push('}');
    text
}

/// The answer to a query at one time.
pub(super) fn instant(answer: &Answer, at: i64, limit: usize) -> String {
    match answer {
        Answer::Scalar(values) => {
            let value = values.first().copied().unwrap_or(f64::NAN);
            typed("scalar", &format!("[{},{}]", time(at), string(&float(value))))
        }
        Answer::Text(text) => typed("string", &format!("[{},{}]", time(at), string(text))),
        Answer::Vector(rows) => {
            let rows = rows.iter().filter_map(|row| {
                let sample = row.points.first()?.as_ref()?;
                let (name, value) = (kind(sample), point(at, sample));
                Some(format!("{{\"metric\":{},\"{name}\":{value}}}", labels(&row.labels)))
            });
            typed("vector", &format!("[{}]", rows.take(limit).collect::<Vec<_>>().join(",")))
        }
        Answer::Matrix(series) => matrix(series.iter().take(limit).map(|series| (&series.labels, samples(series)))),
    }
}

/// The answer to a query at several times.
pub(super) fn range(answer: &Answer, times: Times, limit: usize) -> String {
    let with_times = |row: &Row| -> Vec<(i64, Sample)> {
        times.iter().zip(&row.points).filter_map(|(time, point)| Some((time, point.clone()?))).collect()
    };
    match answer {
        Answer::Vector(rows) => matrix(rows.iter().take(limit).map(|row| (&row.labels, with_times(row)))),
        Answer::Scalar(values) => {
            let samples = times.iter().zip(values).map(|(time, value)| (time, Sample::Float(*value))).collect();
            matrix(std::iter::once((&Labels::default(), samples)))
        }
        Answer::Text(_) | Answer::Matrix(_) => matrix(std::iter::empty()),
    }
}

fn matrix<'a>(series: impl Iterator<Item = (&'a Labels, Vec<(i64, Sample)>)>) -> String {
    let series = series.map(|(metric, samples)| {
        let of = |histograms: bool| -> Vec<String> {
            let wanted = samples.iter().filter(|(_, sample)| matches!(sample, Sample::Histogram(_)) == histograms);
            wanted.map(|(time, sample)| point(*time, sample)).collect()
        };
        let mut text = format!("{{\"metric\":{}", labels(metric));
        for (name, points) in [("values", of(false)), ("histograms", of(true))] {
            if !points.is_empty() {
                push(&mut text, format_args!(",\"{name}\":[{}]", points.join(",")));
            }
        }
        text + "}"
    });
    typed("matrix", &format!("[{}]", series.collect::<Vec<_>>().join(",")))
}

fn samples(series: &Series) -> Vec<(i64, Sample)> {
    let floats = series.times.iter().zip(&series.values).map(|(time, value)| (*time, Sample::Float(*value)));
    let histograms = series.histograms.iter().map(|(time, h)| (*time, Sample::Histogram(h.clone())));
    floats.chain(histograms).collect()
}

fn typed(kind: &str, result: &str) -> String {
    format!("{{\"resultType\":\"{kind}\",\"result\":{result}}}")
}

fn kind(sample: &Sample) -> &'static str {
    match sample {
        Sample::Float(_) => "value",
        Sample::Histogram(_) => "histogram",
    }
}

fn point(at: i64, sample: &Sample) -> String {
    match sample {
        Sample::Float(value) => format!("[{},{}]", time(at), string(&float(*value))),
        Sample::Histogram(value) => format!("[{},{}]", time(at), histogram(value)),
    }
}

fn histogram(value: &Histogram) -> String {
    let mut text = format!("{{\"count\":{},\"sum\":{}", string(&float(value.count)), string(&float(value.sum)));
    let buckets: Vec<String> = value
        .buckets()
        .iter()
        .map(|bucket| {
            let rule = match (bucket.lower_inclusive, bucket.upper_inclusive) {
                (false, true) => 0,
                (true, false) => 1,
                (false, false) => 2,
                (true, true) => 3,
            };
            let [lower, upper, count] = [bucket.lower, bucket.upper, bucket.count].map(|v| string(&float(v)));
            format!("[{rule},{lower},{upper},{count}]")
        })
        .collect();
    if !buckets.is_empty() {
        push(&mut text, format_args!(",\"buckets\":[{}]", buckets.join(",")));
    }
    text + "}"
}

/// Exemplars, by series.
pub(super) fn exemplars(all: &Exemplars) -> String {
    let series = all.iter().map(|(series, exemplars)| {
        let each = exemplars.iter().map(|exemplar| {
            let (value, at) = (string(&float(exemplar.value)), time(exemplar.at));
            format!("{{\"labels\":{},\"value\":{value},\"timestamp\":{at}}}", labels(&exemplar.labels))
        });
        let each: Vec<String> = each.collect();
        format!("{{\"seriesLabels\":{},\"exemplars\":[{}]}}", labels(series), each.join(","))
    });
    format!("[{}]", series.collect::<Vec<_>>().join(","))
}

/// Labels as an object.
pub(super) fn labels(labels: &Labels) -> String {
    let pairs: Vec<String> = labels.iter().map(|(name, value)| format!("{}:{}", string(name), string(value))).collect();
    format!("{{{}}}", pairs.join(","))
}

/// ms as a number in seconds.
fn time(ms: i64) -> String {
    let (sign, ms) = (if ms < 0 { "-" } else { "" }, ms.unsigned_abs());
    match ms % 1000 {
        0 => format!("{sign}{}", ms / 1000),
        rest => format!("{sign}{}.{rest:03}", ms / 1000),
    }
}

/// A value as Go writes it.
fn float(value: f64) -> String {
    if value.is_nan() {
        return "NaN".to_owned();
    }
    if value.is_infinite() {
        return if value > 0.0 { "+Inf" } else { "-Inf" }.to_owned();
    }
    let size = value.abs();
    if size != 0.0 && !(1e-6..1e21).contains(&size) {
        // Go: 1e+21, 1e-07.
        let text = format!("{value:e}");
        let (digits, exponent) = text.split_once('e').unwrap_or((&text, "0"));
        let (sign, exponent) = exponent.strip_prefix('-').map_or(("+", exponent), |exponent| ("-", exponent));
        return format!("{digits}e{sign}{exponent:0>2}");
    }
    format!("{value}")
}

/// A text in JSON.
fn string(text: &str) -> String {
    serde_json::Value::from(text).to_string()
}

fn push(text: &mut String, more: std::fmt::Arguments<'_>) {
    *text += &more.to_string();
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_are_written_as_go_does() {
        for (value, text) in [
            (1.0, "1"),
            (0.1, "0.1"),
            (-2.5, "-2.5"),
            (1e20, "100000000000000000000"),
            (1e21, "1e+21"),
            (1.5e-7, "1.5e-07"),
            (f64::NAN, "NaN"),
            (f64::INFINITY, "+Inf"),
            (f64::NEG_INFINITY, "-Inf"),
            (-0.0, "-0"),
        ] {
            assert_eq!(float(value), text);
        }
        assert_eq!((time(1500), time(2000), time(-1)), ("1.500".to_owned(), "2".to_owned(), "-0.001".to_owned()));
    }
}
