//! From the targets of a configuration and of discovery to what is scraped, by way of labels and their rules.

use std::{sync::Arc, time::Duration};

use http::Uri;

use super::{
    config::{Group, Job},
    fields,
    relabel::{self, Labels},
    sample::Owned,
};

/// One thing that is scraped.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Target {
    /// Labels of all its series, by name.
    pub(super) labels: Arc<Owned>,
    pub(super) url: Uri,
    pub(super) interval: Duration,
    pub(super) timeout: Duration,
}

/// The target at `address` of a group; `None` where a rule drops it. `found`: what discovery says of it.
///
/// # Errors
/// It has no address, or the labels that rules have set are none.
pub(super) fn target(
    job: &Job,
    group: &Group,
    address: &str,
    found: &[(&str, String)],
) -> Result<Option<Target>, String> {
    let mut labels = Labels(group.labels.clone());
    found.iter().for_each(|(name, value)| labels.set(name, value.as_str()));
    labels.set("__address__", address);
    let mut defaults = vec![
        ("job".to_owned(), job.name.clone()),
        ("__scrape_interval__".to_owned(), millis(job.interval)),
        ("__scrape_timeout__".to_owned(), millis(job.timeout)),
        ("__metrics_path__".to_owned(), job.path.clone()),
        ("__scheme__".to_owned(), job.scheme.clone()),
    ];
    let params =
        job.params.iter().filter_map(|(name, values)| Some((format!("__param_{name}"), values.first()?.clone())));
    defaults.extend(params);
    for (name, value) in defaults {
        if labels.get(&name).is_empty() {
            labels.set(&name, value);
        }
    }
    let Some(mut labels) = relabel::relabel(&job.relabel, labels) else { return Ok(None) };
    let address = labels.get("__address__").to_owned();
    if address.is_empty() || address.contains('/') {
        return Err(format!("{address:?} is no address of a target: HOST:PORT"));
    }
    if labels.get("instance").is_empty() {
        labels.set("instance", address.as_str());
    }
    let url = url(job, &labels, &address)?;
    let time = |name: &str| {
        let text = labels.get(name);
        fields::duration(text).filter(|time| !time.is_zero()).ok_or_else(|| format!("{name}: {text:?} is no duration"))
    };
    let (interval, timeout) = (time("__scrape_interval__")?, time("__scrape_timeout__")?);
    labels.0.retain(|(name, _)| !name.starts_with("__"));
    let labels = Arc::new(labels.sorted());
    Ok(Some(Target { labels, url, interval, timeout: timeout.min(interval) }))
}

fn millis(time: Duration) -> String {
    format!("{}ms", time.as_millis())
}

fn url(job: &Job, labels: &Labels, address: &str) -> Result<Uri, String> {
    let mut params = job.params.clone();
    for (name, value) in &labels.0 {
        let Some(name) = name.strip_prefix("__param_") else { continue };
        match params.iter_mut().find(|(known, _)| known == name) {
            Some((_, values)) if !values.is_empty() => values[0].clone_from(value),
            Some((_, values)) => values.push(value.clone()),
            None => params.push((name.to_owned(), vec![value.clone()])),
        }
    }
    let base = format!("{}://{address}", labels.get("__scheme__"));
    let mut url = url::Url::parse(&base).map_err(|error| format!("{base}: {error}"))?;
    url.set_path(labels.get("__metrics_path__"));
    if !params.is_empty() {
        let pairs = params.iter().flat_map(|(name, values)| values.iter().map(move |value| (name, value)));
        url.query_pairs_mut().extend_pairs(pairs);
    }
    url.as_str().parse().map_err(|error| format!("{url}: {error}"))
}

#[cfg(test)]
mod tests {
    use super::{super::config::Config, *};

    fn targets(text: &str) -> Vec<Result<Option<Target>, String>> {
        let config = Config::read(text, std::path::Path::new("/")).unwrap();
        let job = &config.jobs[0];
        let groups = job.groups.iter();
        groups.flat_map(|group| group.targets.iter().map(|address| target(job, group, address, &[]))).collect()
    }

    #[test]
    fn a_target_has_its_labels_and_url() {
        let all = targets(
            "scrape_configs:\n- job_name: node\n  scrape_interval: 5s\n  metrics_path: /probe\n  params: {module: [a, b], x: [y]}\n  \
             static_configs: [{targets: ['10.0.0.1:80', 'drop:1'], labels: {zone: eu}}]\n  relabel_configs:\n  \
             - {source_labels: [__address__], regex: 'drop:.*', action: drop}\n  \
             - {source_labels: [__address__], target_label: __param_module}\n  \
             - {replacement: 'probe:9115', target_label: __address__}\n",
        );
        let first = all[0].clone().unwrap().unwrap();
        let labels: Vec<_> = first.labels.iter().map(|(name, value)| (name.as_str(), value.as_str())).collect();
        assert_eq!(labels, [("instance", "probe:9115"), ("job", "node"), ("zone", "eu")]);
        assert_eq!(first.url.to_string(), "http://probe:9115/probe?module=10.0.0.1%3A80&module=b&x=y");
        assert_eq!((first.interval, first.timeout), (Duration::from_secs(5), Duration::from_secs(5)));
        assert_eq!(all[1], Ok(None));
    }

    #[test]
    fn what_is_no_target_is_said() {
        let text = "scrape_configs: [{job_name: a, static_configs: [{targets: ['http://x', '', 'x:y']}]}]";
        for (one, part) in targets(text).iter().zip(["is no address", "is no address", "invalid port"]) {
            assert!(one.as_ref().unwrap_err().contains(part), "{one:?}");
        }
    }
}
