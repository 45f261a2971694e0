//! Scrapes Prometheus' targets: text 0.0.4, OpenMetrics 1.0 and the binary format, by Prometheus' own configuration.
//!
//! Each job has a task that looks for its targets, and each target one that scrapes it, so that a slow one delays nobody.
//! A scrape is one batch: what the target says, `up` and the other series about the scrape, and a stale marker for each
//! series that is gone. It fails as a whole, with `up` of 0, where the answer is late, too large, none, or has a line that
//! is none. The series of a target that is no longer configured or discovered are ended; a server that stops ends none.

mod client;
mod config;
mod discovery;
mod exposition;
mod fields;
mod number;
mod relabel;
mod sample;
mod series;
mod session;
mod target;
mod text;

use std::{collections::HashMap, sync::Arc};

use devmesh_schema::limits;
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;

pub use self::config::{Config, ConfigError};
use self::{client::Client, config::Job, discovery::Discovery, session::Session, target::Target};
use crate::intake::Intake;

/// Scrapes what the configuration says until `stop`. The tasks end soon after it.
///
/// # Errors
/// A file that a job needs to talk to its targets cannot be read, or is wrong.
pub fn spawn(config: Config, intake: &Arc<Intake>, stop: &CancellationToken) -> Result<JoinSet<()>, ConfigError> {
    let mut tasks = JoinSet::new();
    for job in config.jobs {
        let name = job.name.clone();
        let wrong = |error: String| ConfigError(format!("scrape_configs: the job {name:?}: {error}"));
        let job = Arc::new(job);
        let client = Client::new(&job.http, job.scheme == "https").map_err(wrong)?;
        let discovery = Discovery::new(Arc::clone(&job), intake.budget.clone()).map_err(wrong)?;
        let manager = Manager { job, client, intake: Arc::clone(intake), sessions: HashMap::new() };
        tasks.spawn(manager.run(discovery, stop.clone()));
    }
    Ok(tasks)
}

/// The targets of one job.
#[derive(Debug)]
struct Manager {
    job: Arc<Job>,
    client: Client,
    intake: Arc<Intake>,
    sessions: HashMap<String, (Target, CancellationToken)>,
}

impl Manager {
    async fn run(mut self, mut discovery: Discovery, stop: CancellationToken) {
        let mut tasks = JoinSet::new();
        let mut faults = Vec::new();
        loop {
            let Some(found) = stop.run_until_cancelled(discovery.look()).await else { break };
            let (targets, wrong) = self.targets(found);
            if wrong != faults {
                wrong.iter().for_each(|fault| tracing::warn!(job = self.job.name, "a target is left out: {fault}"));
                faults = wrong;
            }
            self.sync(targets, &mut tasks, &stop);
            while tasks.try_join_next().is_some() {}
            let next = discovery.next();
            let wait = async {
                match next {
                    Some(at) => tokio::time::sleep_until(at).await,
                    None => std::future::pending().await,
                }
            };
            if stop.run_until_cancelled(wait).await.is_none() {
                break;
            }
        }
        while tasks.join_next().await.is_some() {}
    }

    /// What is to be scraped by its labels, and what is wrong with the others.
    fn targets(&self, found: Vec<discovery::Found>) -> (HashMap<String, Target>, Vec<String>) {
        let (mut all, mut wrong) = (HashMap::new(), Vec::new());
        let most = match usize::try_from(self.job.limits.targets) {
            Ok(most) if most > 0 => most.min(limits::SCRAPE_TARGETS),
            _ => limits::SCRAPE_TARGETS,
        };
        for (groups, said) in found {
            for group in groups {
                for address in &group.targets {
                    if all.len() >= most {
                        wrong.push(format!("there are more than {most} targets"));
                        return (all, wrong);
                    }
                    match target::target(&self.job, &group, address, &said) {
                        Ok(None) => {}
                        Ok(Some(target)) => {
                            let key = format!("{:?}", target.labels);
                            match all.get(&key) {
                                Some(other) if *other == target => {}
                                Some(other) => wrong.push(format!(
                                    "{} has the labels of {}: their series would be the same",
                                    target.url, other.url
                                )),
                                None => drop(all.insert(key, target)),
                            }
                        }
                        Err(error) => wrong.push(error),
                    }
                }
            }
        }
        (all, wrong)
    }

    /// Begins what is new and ends what is gone.
    fn sync(&mut self, targets: HashMap<String, Target>, tasks: &mut JoinSet<()>, stop: &CancellationToken) {
        self.sessions.retain(|key, (target, gone)| {
            let stays = targets.get(key) == Some(target);
            if !stays {
                gone.cancel();
            }
            stays
        });
        for (key, target) in targets {
            if self.sessions.contains_key(&key) {
                continue;
            }
            let gone = CancellationToken::new();
            let session =
                Session::new(target.clone(), Arc::clone(&self.job), self.client.clone(), Arc::clone(&self.intake));
            tasks.spawn(session.run(gone.clone(), stop.clone()));
            self.sessions.insert(key, (target, gone));
        }
    }
}
