//! Processes: how many in which state, and those that use most.
//! <https://opentelemetry.io/docs/specs/semconv/system/process-metrics/>

use std::collections::{BTreeMap, HashMap};

use procfs::{
    ProcResult,
    process::{Process, Stat},
};

use super::sheet::{Metric, Sheet, counter, gauge, part};

const COUNT: Metric = part("system.process.count", "{process}");
const CPU_TIME: Metric = counter("process.cpu.time", "s");
const MEMORY_USAGE: Metric = part("process.memory.usage", "By");
const MEMORY_VIRTUAL: Metric = part("process.memory.virtual", "By");
const THREADS: Metric = part("process.thread.count", "{thread}");
const FILES: Metric = part("process.unix.file_descriptor.count", "{file_descriptor}");
const DISK_IO: Metric = counter("process.disk.io", "By");
const FAULTS: Metric = counter("process.paging.faults", "{fault}");
const UPTIME: Metric = gauge("process.uptime", "s");

/// Ticks that each process had used at a reading, by its number and its start.
pub(super) type Usage = HashMap<(i32, u64), u64>;

/// The `most` processes that used most processor time since the reading before, and the `most` with the most memory.
pub(super) fn processes(sheet: &mut Sheet, boot: u64, most: usize, last: &mut Usage) -> ProcResult<()> {
    let mut states: BTreeMap<&str, u64> = BTreeMap::new();
    let mut all: Vec<Stat> = Vec::new();
    for process in procfs::process::all_processes()? {
        // One that ended meanwhile is none. None is kept open: there may be more of them than files that may be.
        let Ok(stat) = process.and_then(|process| process.stat()) else { continue };
        *states.entry(state(stat.state)).or_default() += 1;
        all.push(stat);
    }
    sheet.counts_since(boot * 1_000_000_000);
    for (state, count) in states {
        sheet.int(COUNT, count, [("process.state", state)]);
    }
    let key = |stat: &Stat| (stat.pid, stat.starttime);
    let ticks = |stat: &Stat| stat.utime + stat.stime;
    let spent = |stat: &Stat| ticks(stat).saturating_sub(last.get(&key(stat)).copied().unwrap_or(0));
    let mut chosen: Vec<bool> = vec![false; all.len()];
    for weight in [&spent as &dyn Fn(&Stat) -> u64, &|stat| stat.rss] {
        let mut order: Vec<usize> = (0..all.len()).collect();
        order.sort_by_key(|&i| (std::cmp::Reverse(weight(&all[i])), all[i].pid));
        order.into_iter().take(most).for_each(|i| chosen[i] = true);
    }
    let usage = all.iter().map(|stat| (key(stat), ticks(stat))).collect();
    for (stat, _) in all.iter().zip(chosen).filter(|(_, chosen)| *chosen) {
        write(sheet, boot, stat);
    }
    *last = usage;
    Ok(())
}

/// The conventions' words for the kernel's letters.
fn state(letter: char) -> &'static str {
    match letter {
        'R' => "running",
        'T' | 't' => "stopped",
        'Z' | 'X' => "defunct",
        _ => "sleeping",
    }
}

fn write(sheet: &mut Sheet, boot: u64, stat: &Stat) {
    let pid = stat.pid.to_string();
    let this = [("process.pid", pid.as_str()), ("process.executable.name", stat.comm.as_str())];
    let with = |key: &'static str, value: &'static str| [this[0], this[1], (key, value)];
    let second = procfs::ticks_per_second() as f64;
    let started = boot as f64 + stat.starttime as f64 / second;
    sheet.counts_since((started * 1e9) as u64);
    for (mode, ticks) in [("user", stat.utime), ("system", stat.stime)] {
        sheet.float(CPU_TIME, ticks as f64 / second, with("cpu.mode", mode));
    }
    sheet.int(MEMORY_USAGE, stat.rss * procfs::page_size(), this);
    sheet.int(MEMORY_VIRTUAL, stat.vsize, this);
    sheet.int(THREADS, u64::try_from(stat.num_threads).unwrap_or(0), this);
    for (kind, faults) in [("major", stat.majflt), ("minor", stat.minflt)] {
        sheet.int(FAULTS, faults, with("system.paging.fault.type", kind));
    }
    sheet.float(UPTIME, (crate::now() as f64 / 1e9 - started).max(0.0), this);
    let Ok(process) = Process::new(stat.pid) else { return };
    // Those of other users are only for root.
    if let Ok(files) = process.fd_count() {
        sheet.int(FILES, files as u64, this);
    }
    if let Ok(io) = process.io() {
        for (direction, bytes) in [("read", io.read_bytes), ("write", io.write_bytes)] {
            sheet.int(DISK_IO, bytes, with("disk.io.direction", direction));
        }
    }
}
