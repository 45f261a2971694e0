//! The machine: processors, memory, disks, filesystems, network.
//! <https://opentelemetry.io/docs/specs/semconv/system/system-metrics/>

use std::collections::BTreeMap;

use devmesh_schema::limits;
use procfs::{CpuTime, Current, KernelStats, LoadAverage, Meminfo, ProcResult, Uptime};

use super::sheet::{Metric, Sheet, counter, gauge, part};

const CPU_TIME: Metric = counter("system.cpu.time", "s");
const CPU_UTILIZATION: Metric = gauge("system.cpu.utilization", "1");
const CPU_COUNT: Metric = part("system.cpu.logical.count", "{cpu}");
const UPTIME: Metric = gauge("system.uptime", "s");
// Not in the conventions; these are the names of the Collector's host metrics receiver.
const LOAD: [Metric; 3] = [
    gauge("system.cpu.load_average.1m", "{thread}"),
    gauge("system.cpu.load_average.5m", "{thread}"),
    gauge("system.cpu.load_average.15m", "{thread}"),
];
const MEMORY_USAGE: Metric = part("system.memory.usage", "By");
const MEMORY_UTILIZATION: Metric = gauge("system.memory.utilization", "1");
const MEMORY_LIMIT: Metric = part("system.memory.limit", "By");
const MEMORY_AVAILABLE: Metric = part("system.memory.linux.available", "By");
const PAGING_USAGE: Metric = part("system.paging.usage", "By");
const PAGING_FAULTS: Metric = counter("system.paging.faults", "{fault}");
const PAGING_OPERATIONS: Metric = counter("system.paging.operations", "{operation}");
const DISK_IO: Metric = counter("system.disk.io", "By");
const DISK_OPERATIONS: Metric = counter("system.disk.operations", "{operation}");
const DISK_OPERATION_TIME: Metric = counter("system.disk.operation_time", "s");
const DISK_IO_TIME: Metric = counter("system.disk.io_time", "s");
const FILESYSTEM_USAGE: Metric = part("system.filesystem.usage", "By");
const FILESYSTEM_UTILIZATION: Metric = gauge("system.filesystem.utilization", "1");
const NETWORK_IO: Metric = counter("system.network.io", "By");
const NETWORK_PACKETS: Metric = counter("system.network.packet.count", "{packet}");
const NETWORK_DROPPED: Metric = counter("system.network.packet.dropped", "{packet}");
const NETWORK_ERRORS: Metric = counter("system.network.errors", "{error}");

/// The kernel's sectors, whatever the disk's are.
const SECTOR_BYTES: u64 = 512;
/// Filesystems that are on no device of `/dev`, and yet on this machine.
const LOCAL: [&str; 4] = ["overlay", "zfs", "bcachefs", "tmpfs"];

/// Seconds since the start in each mode. A guest's time is part of the user's.
fn modes(cpu: &CpuTime) -> [(&'static str, f64); 7] {
    let ms = [
        ("user", cpu.user_ms()),
        ("system", cpu.system_ms()),
        ("nice", cpu.nice_ms()),
        ("idle", cpu.idle_ms()),
        ("iowait", cpu.iowait_ms().unwrap_or(0)),
        ("interrupt", cpu.irq_ms().unwrap_or(0) + cpu.softirq_ms().unwrap_or(0)),
        ("steal", cpu.steal_ms().unwrap_or(0)),
    ];
    ms.map(|(mode, ms)| (mode, ms as f64 / 1000.0))
}

/// Times of each processor, and which share of all went where since the reading before.
pub(super) fn cpu(sheet: &mut Sheet, now: KernelStats, last: &mut Option<KernelStats>) {
    for (number, cpu) in now.cpu_time.iter().enumerate().take(limits::HOST_PARTS) {
        for (mode, seconds) in modes(cpu) {
            sheet.float(CPU_TIME, seconds, [("cpu.mode", mode), ("cpu.logical_number", &number.to_string())]);
        }
    }
    sheet.int(CPU_COUNT, now.cpu_time.len() as u64, []);
    if let Some(last) = last {
        // The kernel may correct a time backwards.
        let spent = |i: usize| (modes(&now.total)[i].1 - modes(&last.total)[i].1).max(0.0);
        let all: f64 = (0..7).map(spent).sum();
        if all > 0.0 {
            for (i, (mode, _)) in modes(&now.total).into_iter().enumerate() {
                sheet.float(CPU_UTILIZATION, spent(i) / all, [("cpu.mode", mode)]);
            }
        }
    }
    *last = Some(now);
}

pub(super) fn load(sheet: &mut Sheet) -> ProcResult<()> {
    let load = LoadAverage::current()?;
    for (metric, value) in LOAD.into_iter().zip([load.one, load.five, load.fifteen]) {
        sheet.float(metric, f64::from(value), []);
    }
    sheet.float(UPTIME, Uptime::current()?.uptime, []);
    Ok(())
}

/// What is used is what is neither free nor given back as soon as somebody needs it.
pub(super) fn memory(sheet: &mut Sheet) -> ProcResult<()> {
    let memory = Meminfo::current()?;
    let cached = memory.cached + memory.s_reclaimable.unwrap_or(0);
    let used = memory.mem_total.saturating_sub(memory.mem_free + memory.buffers + cached);
    for (state, bytes) in [("used", used), ("free", memory.mem_free), ("buffers", memory.buffers), ("cached", cached)] {
        sheet.int(MEMORY_USAGE, bytes, [("system.memory.state", state)]);
        sheet.float(MEMORY_UTILIZATION, share(bytes, memory.mem_total), [("system.memory.state", state)]);
    }
    sheet.int(MEMORY_LIMIT, memory.mem_total, []);
    if let Some(available) = memory.mem_available {
        sheet.int(MEMORY_AVAILABLE, available, []);
    }
    let swapped = memory.swap_total.saturating_sub(memory.swap_free);
    for (state, bytes) in [("used", swapped), ("free", memory.swap_free)] {
        sheet.int(PAGING_USAGE, bytes, [("system.paging.state", state)]);
    }
    Ok(())
}

pub(super) fn paging(sheet: &mut Sheet) -> ProcResult<()> {
    let counts = procfs::vmstat()?;
    let count = |name: &str| counts.get(name).and_then(|&count| u64::try_from(count).ok()).unwrap_or(0);
    let major = count("pgmajfault");
    for (kind, faults) in [("major", major), ("minor", count("pgfault").saturating_sub(major))] {
        sheet.int(PAGING_FAULTS, faults, [("system.paging.fault.type", kind)]);
    }
    for (direction, pages) in [("in", count("pswpin")), ("out", count("pswpout"))] {
        sheet.int(PAGING_OPERATIONS, pages, [("system.paging.direction", direction)]);
    }
    Ok(())
}

/// Disks and their partitions that were ever used.
pub(super) fn disks(sheet: &mut Sheet) -> ProcResult<()> {
    let disks = procfs::diskstats()?;
    let used = disks.iter().filter(|disk| disk.reads + disk.writes > 0 && !disk.name.starts_with("ram"));
    for disk in used.take(limits::HOST_PARTS) {
        let device = ("system.device", disk.name.as_str());
        let directions = [
            ("read", disk.sectors_read, disk.reads, disk.time_reading),
            ("write", disk.sectors_written, disk.writes, disk.time_writing),
        ];
        for (direction, sectors, operations, ms) in directions {
            let attributes = [device, ("disk.io.direction", direction)];
            sheet.int(DISK_IO, sectors * SECTOR_BYTES, attributes);
            sheet.int(DISK_OPERATIONS, operations, attributes);
            sheet.float(DISK_OPERATION_TIME, ms as f64 / 1000.0, attributes);
        }
        sheet.float(DISK_IO_TIME, disk.time_in_progress as f64 / 1000.0, [device]);
    }
    Ok(())
}

/// Filesystems of this machine: one on another may not answer for hours. Each once, however often it is mounted.
pub(super) fn filesystems(sheet: &mut Sheet) -> ProcResult<()> {
    let mut found = BTreeMap::new();
    for mount in procfs::mounts()? {
        let on_device = mount.fs_spec.starts_with("/dev/");
        if !on_device && !LOCAL.contains(&mount.fs_vfstype.as_str()) {
            continue;
        }
        let key = if on_device { mount.fs_spec.clone() } else { mount.fs_file.clone() };
        let shorter = |other: &procfs::MountEntry| mount.fs_file.len() < other.fs_file.len();
        if found.get(&key).is_none_or(shorter) {
            found.insert(key, mount);
        }
    }
    for mount in found.values().take(limits::HOST_PARTS) {
        let Ok(sizes) = rustix::fs::statvfs(mount.fs_file.as_str()) else { continue };
        if sizes.f_blocks == 0 {
            continue;
        }
        let mode = if mount.fs_mntops.contains_key("ro") { "ro" } else { "rw" };
        let place = [
            ("system.device", mount.fs_spec.as_str()),
            ("system.filesystem.mountpoint", mount.fs_file.as_str()),
            ("system.filesystem.type", mount.fs_vfstype.as_str()),
            ("system.filesystem.mode", mode),
        ];
        let [used, free, reserved] = [
            sizes.f_blocks.saturating_sub(sizes.f_bfree),
            sizes.f_bavail,
            sizes.f_bfree.saturating_sub(sizes.f_bavail),
        ];
        for (state, blocks) in [("used", used), ("free", free), ("reserved", reserved)] {
            let [device, point, kind, mode] = place;
            let attributes = [device, point, kind, mode, ("system.filesystem.state", state)];
            sheet.int(FILESYSTEM_USAGE, blocks * sizes.f_frsize, attributes);
        }
        sheet.float(FILESYSTEM_UTILIZATION, share(used, used + free), place);
    }
    Ok(())
}

pub(super) fn network(sheet: &mut Sheet) -> ProcResult<()> {
    let interfaces: BTreeMap<_, _> = procfs::net::dev_status()?.into_iter().collect();
    for (name, counts) in interfaces.iter().take(limits::HOST_PARTS) {
        let directions = [
            ("receive", counts.recv_bytes, counts.recv_packets, counts.recv_drop, counts.recv_errs),
            ("transmit", counts.sent_bytes, counts.sent_packets, counts.sent_drop, counts.sent_errs),
        ];
        for (direction, bytes, packets, dropped, errors) in directions {
            let attributes = [("network.interface.name", name.as_str()), ("network.io.direction", direction)];
            sheet.int(NETWORK_IO, bytes, attributes);
            sheet.int(NETWORK_PACKETS, packets, attributes);
            sheet.int(NETWORK_DROPPED, dropped, attributes);
            sheet.int(NETWORK_ERRORS, errors, attributes);
        }
    }
    Ok(())
}

fn share(part: u64, whole: u64) -> f64 {
    if whole == 0 { 0.0 } else { part as f64 / whole as f64 }
}
