//! `devmesh rules check FILE…`: whether files of rules and of receivers are right, before a server reads them.

use std::path::PathBuf;

use clap::{Args, Subcommand};

use super::{Failure, print};
use crate::rules::files;

#[derive(Debug, Args)]
pub(crate) struct RulesArgs {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Check files of rules, in Prometheus' format; all that is wrong is named by file, group and rule.
    Check(CheckArgs),
}

#[derive(Debug, Args)]
struct CheckArgs {
    /// Files of rules.
    files: Vec<PathBuf>,
    /// A file of receivers: `alerting` as in Prometheus' own file, `route` and `receivers` as in Alertmanager's.
    #[arg(long, value_name = "FILE")]
    receivers: Option<PathBuf>,
}

/// Checks.
pub(super) fn run(args: &RulesArgs) -> Result<(), Failure> {
    let Command::Check(args) = &args.command;
    if args.files.is_empty() && args.receivers.is_none() {
        return Err(Failure::Usage("name a file of rules, or --receivers FILE".to_owned()));
    }
    let mut problems = Vec::new();
    for path in &args.files {
        match files::one(path) {
            Ok(groups) => {
                let rules: usize = groups.iter().map(|group| group.rules.len()).sum();
                let alerts = groups.iter().flat_map(|group| &group.rules).filter(|rule| rule.is_alert()).count();
                let line = format!(
                    "{}: {} groups, {alerts} alerting rules, {} recording rules\n",
                    path.display(),
                    groups.len(),
                    rules - alerts
                );
                print(line.as_bytes())?;
            }
            Err(mut found) => problems.append(&mut found),
        }
    }
    if let Some(path) = &args.receivers {
        match files::receivers(path) {
            Ok(config) => {
                let (managers, ends) = (config.alertmanagers.len(), config.ends.len());
                let line = format!("{}: {managers} Alertmanagers, {ends} ends of receivers\n", path.display());
                print(line.as_bytes())?;
            }
            Err(problem) => problems.push(problem),
        }
    }
    if problems.is_empty() { Ok(()) } else { Err(Failure::Usage(problems.join("\n"))) }
}
