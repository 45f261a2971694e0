//! From a resource to nodes: the service, and the container, pod and host that it runs on (semantic conventions; identity before
//! description: a uid before a name).

use std::collections::HashMap;

use arrow_schema::ArrowError;
use devmesh_schema::{TimestampNs, stored};
use foldhash::fast::FixedState;

use crate::{
    ledger::{Ledger, Number, PLAIN, key},
    model::{Figures, Kind, Properties, Relation, Seen},
    rows::{Attributes, RESOURCE, Rows, at, places},
};

const NAMESPACE: [usize; 1] = places(&RESOURCE, ["service.namespace"]);
const VERSION: [usize; 1] = places(&RESOURCE, ["service.version"]);
const ENVIRONMENT: [usize; 2] = places(&RESOURCE, ["deployment.environment.name", "deployment.environment"]);
const LANGUAGE: [usize; 1] = places(&RESOURCE, ["telemetry.sdk.language"]);
const HOST_ID: [usize; 1] = places(&RESOURCE, ["host.id"]);
const HOST_NAME: [usize; 1] = places(&RESOURCE, ["host.name"]);
const OS: [usize; 1] = places(&RESOURCE, ["os.type"]);
const CONTAINER_ID: [usize; 1] = places(&RESOURCE, ["container.id"]);
const CONTAINER_NAME: [usize; 2] = places(&RESOURCE, ["container.name", "k8s.container.name"]);
const K8S_CONTAINER: [usize; 1] = places(&RESOURCE, ["k8s.container.name"]);
const POD_UID: [usize; 1] = places(&RESOURCE, ["k8s.pod.uid"]);
const POD_NAME: [usize; 1] = places(&RESOURCE, ["k8s.pod.name"]);
const K8S_NAMESPACE: [usize; 1] = places(&RESOURCE, ["k8s.namespace.name"]);
const K8S_NODE_UID: [usize; 1] = places(&RESOURCE, ["k8s.node.uid"]);
const K8S_NODE: [usize; 1] = places(&RESOURCE, ["k8s.node.name"]);
const CLUSTER: [usize; 1] = places(&RESOURCE, ["k8s.cluster.name"]);
const DEPLOYMENT: [usize; 1] = places(&RESOURCE, ["k8s.deployment.name"]);

/// Where a service runs.
#[derive(Clone, Debug, Default)]
pub(crate) struct Place {
    pub(crate) service: Option<Number>,
    /// Container, pod, host: those that the resource names.
    nodes: Vec<Number>,
}

/// The resources of a batch, each read once.
#[derive(Debug)]
pub(crate) struct Resources {
    /// Which of `places` each row has.
    of_rows: Vec<u32>,
    places: Vec<(Place, Option<Seen>, u64)>,
}

impl Resources {
    /// Reads those of a batch.
    pub(crate) fn read(rows: &Rows<'_>, times: &[TimestampNs], ledger: &mut Ledger) -> Result<Self, ArrowError> {
        let attributes = Attributes::of_resources(rows)?;
        let services = rows.text(stored::SERVICE)?;
        let mut known: HashMap<u64, u32, FixedState> = HashMap::default();
        let mut all = Self { of_rows: Vec::with_capacity(rows.len()), places: Vec::new() };
        for (row, time) in times.iter().enumerate() {
            let service = at(services.as_ref(), row).unwrap_or_default();
            // Rows of a resource come together.
            let before = row.checked_sub(1).filter(|before| {
                at(services.as_ref(), *before).unwrap_or_default() == service && attributes.same(*before, row)
            });
            let place = match before {
                Some(before) => all.of_rows[before],
                None => {
                    let texts: Vec<&str> =
                        (0..RESOURCE.len()).map(|n| attributes.first(row, &[n]).unwrap_or("\0")).collect();
                    *known.entry(key(&[&[service], texts.as_slice()].concat())).or_insert_with(|| {
                        all.places.push((place(&attributes, row, service, ledger), None, 0));
                        u32::try_from(all.places.len() - 1).unwrap_or(u32::MAX)
                    })
                }
            };
            let (_, seen, count) = &mut all.places[place as usize];
            seen.get_or_insert(Seen::at(*time)).widen(Seen::at(*time));
            *count += 1;
            all.of_rows.push(place);
        }
        Ok(all)
    }

    /// The service of a row; `None` where it names none.
    pub(crate) fn service(&self, row: usize) -> Option<Number> {
        self.places[self.of_rows[row] as usize].0.service
    }

    /// Writes down what runs on what.
    pub(crate) fn note(&self, ledger: &mut Ledger) {
        for (place, seen, count) in &self.places {
            let Some(seen) = *seen else { continue };
            if let Some(service) = place.service {
                ledger.see(service, seen, Figures::default());
                for node in &place.nodes {
                    ledger.link((service, Relation::RunsOn, *node), seen, Figures::records(*count), PLAIN);
                }
            }
            place.nodes.iter().for_each(|node| ledger.see(*node, seen, Figures::records(*count)));
            for pair in place.nodes.windows(2) {
                ledger.link((pair[0], Relation::RunsOn, pair[1]), seen, Figures::records(*count), PLAIN);
            }
        }
    }
}

fn properties<'a>(pairs: impl IntoIterator<Item = (&'static str, Option<&'a str>)>) -> Properties {
    pairs.into_iter().filter_map(|(name, value)| Some((name.to_owned(), value?.to_owned()))).collect()
}

fn place(attributes: &Attributes, row: usize, service: &str, ledger: &mut Ledger) -> Place {
    let get = |places: &[usize]| attributes.first(row, places);
    let mut place = Place::default();
    if !service.is_empty() {
        let parts: Vec<&str> = get(&NAMESPACE).into_iter().chain([service]).collect();
        let made = || (service.to_owned(), properties([("namespace", get(&NAMESPACE)), ("type", Some("service"))]));
        place.service = ledger.node(Kind::Service, &parts, None, made);
    }
    if let Some(service) = place.service {
        let said = [
            ("version", get(&VERSION)),
            ("environment", get(&ENVIRONMENT)),
            ("language", get(&LANGUAGE)),
            ("deployment", get(&DEPLOYMENT)),
        ];
        said.into_iter().filter_map(|(name, value)| Some((name, value?))).for_each(|(name, value)| {
            ledger.describe(service, name, value);
        });
    }
    let pod = get(&POD_UID)
        .map(|uid| vec![uid])
        .or_else(|| Some(vec![get(&K8S_NAMESPACE).unwrap_or("default"), get(&POD_NAME)?]));
    let container = get(&CONTAINER_ID).map(|id| vec![id]).or_else(|| {
        let name = get(&K8S_CONTAINER)?;
        Some(pod.iter().flatten().copied().chain([name]).collect())
    });
    // In a pod, `host.name` is the pod's own name; the machine is the node.
    let machine = get(&K8S_NODE_UID).or(get(&K8S_NODE)).filter(|_| pod.is_some() || get(&HOST_NAME).is_none());
    let named = get(&HOST_NAME).filter(|name| pod.is_none() || get(&POD_NAME) != Some(name));
    let host = machine.or(get(&HOST_ID)).or(named);
    let host_name = machine.and(get(&K8S_NODE)).or(named).or(host);
    let short = |id: &str| id.get(..12).unwrap_or(id).to_owned();
    let said = [
        ("container", container, get(&CONTAINER_NAME), vec![]),
        ("pod", pod, get(&POD_NAME), vec![("namespace", get(&K8S_NAMESPACE)), ("deployment", get(&DEPLOYMENT))]),
        ("host", host.map(|host| vec![host]), host_name, vec![("os", get(&OS)), ("cluster", get(&CLUSTER))]),
    ];
    for (kind, parts, name, others) in said {
        let Some(parts) = parts else { continue };
        let parts: Vec<&str> = [kind].into_iter().chain(parts).collect();
        let made = || {
            let name = name.map_or_else(|| short(parts.last().copied().unwrap_or_default()), str::to_owned);
            (name, properties(others.into_iter().chain([("type", Some(kind))])))
        };
        place.nodes.extend(ledger.node(Kind::Node, &parts, None, made));
    }
    place
}
