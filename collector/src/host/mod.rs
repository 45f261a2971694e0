//! Metrics of this machine and its busiest processes by OpenTelemetry's semantic conventions (`system.*`, `process.*`),
//! read from `/proc` again and again.
//!
//! One reading is one batch with one resource, the machine: `host.name`, `service.instance.id` (PromQL's `instance`) and
//! `os.type`. What belongs to a process says so in the attributes of its points, `process.pid` and
//! `process.executable.name`, so that PromQL sees it. The command line of a process is never read: it may hold secrets.
//! A part of `/proc` that cannot be read leaves out its metrics and nothing else.

mod process;
mod sheet;
mod system;

use std::{sync::Arc, time::Duration};

use devmesh_schema::{Batch, IngestPath, Signal, limits, otlp::write::Attribute};
use procfs::{CurrentSI, KernelStats};
use tokio::time::MissedTickBehavior;
use tokio_util::sync::CancellationToken;

use self::{process::Usage, sheet::Sheet};
use crate::{counters::Door, intake::Intake, refusal::Refusal, settings::Settings};

/// What is read, and how often.
#[derive(Debug)]
pub struct Host {
    name: String,
    interval: Duration,
    processes: usize,
    last: Last,
    silent: Vec<&'static str>,
}

/// What the reading before said, of which shares are made.
#[derive(Debug, Default)]
struct Last {
    cpu: Option<KernelStats>,
    processes: Usage,
}

impl Host {
    /// This machine, as the settings name it, otherwise as it calls itself.
    pub fn new(settings: &Settings) -> Self {
        let name = match settings.node.name.as_str() {
            "" => rustix::system::uname().nodename().to_string_lossy().into_owned(),
            name => name.to_owned(),
        };
        Self {
            name,
            interval: Duration::from_secs(settings.host.interval_seconds),
            processes: settings.host.processes.min(limits::HOST_PROCESSES),
            last: Last::default(),
            silent: Vec::new(),
        }
    }

    /// Reads and writes until `stop`. What cannot be written is lost, as a scrape is: the next reading comes.
    pub async fn run(mut self, intake: Arc<Intake>, stop: CancellationToken) {
        let mut ticks = tokio::time::interval(self.interval);
        ticks.set_missed_tick_behavior(MissedTickBehavior::Skip);
        while stop.run_until_cancelled(ticks.tick()).await.is_some() {
            let read = tokio::task::spawn_blocking(move || {
                let request = self.read();
                (self, request)
            });
            let Ok((host, request)) = read.await else {
                tracing::error!("reading the machine's metrics failed; they end here");
                return;
            };
            self = host;
            intake.counters().request(Door::Host);
            let (signal, path) = (Signal::Metrics, IngestPath::Collector);
            let batch = Batch { signal, id: None, path, received: crate::now(), request: request.into() };
            if let Err(Refusal { reason, message, .. }) = intake.write(Door::Host, batch).await {
                intake.counters().refuse(Door::Host, reason, &message);
            }
        }
    }

    /// One reading, as an OTLP request.
    fn read(&mut self) -> Vec<u8> {
        let mut sheet = Sheet::new(u64::try_from(crate::now()).unwrap_or_default());
        let cpu = KernelStats::current();
        let boot = cpu.as_ref().map_or(0, |cpu| cpu.btime);
        sheet.counts_since(boot * 1_000_000_000);
        let mut silent = Vec::new();
        let mut part = |name: &'static str, result: procfs::ProcResult<()>| {
            if let Err(error) = result {
                if !self.silent.contains(&name) {
                    tracing::warn!("no metrics of the {name} of this machine: {error}");
                }
                silent.push(name);
            }
        };
        part("processors", cpu.map(|cpu| system::cpu(&mut sheet, cpu, &mut self.last.cpu)));
        part("load", system::load(&mut sheet));
        part("memory", system::memory(&mut sheet));
        part("paging", system::paging(&mut sheet));
        part("disks", system::disks(&mut sheet));
        part("filesystems", system::filesystems(&mut sheet));
        part("network", system::network(&mut sheet));
        part("processes", process::processes(&mut sheet, boot, self.processes, &mut self.last.processes));
        self.silent = silent;
        let machine: [Attribute<'_>; 3] = [
            ("host.name".into(), self.name.as_str().into()),
            ("service.instance.id".into(), self.name.as_str().into()),
            ("os.type".into(), "linux".into()),
        ];
        sheet.finish(&machine)
    }
}

#[cfg(test)]
mod tests;
