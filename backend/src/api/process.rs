//! What the process uses, as Linux tells it in `/proc/self`.

use std::fs;

/// Linux counts a process' time in hundredths of a second, whatever its own clock does (USER_HZ).
const TICKS_PER_SECOND: f64 = 100.0;

/// What the process uses.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Usage {
    /// User and system time.
    pub(crate) cpu_seconds: f64,
    /// Memory in use.
    pub(crate) resident_bytes: u64,
    /// Open files and sockets.
    pub(crate) open_files: usize,
}

/// Reads it; `None` where there is no `/proc`.
pub(crate) fn usage() -> Option<Usage> {
    let stat = fs::read_to_string("/proc/self/stat").ok()?;
    // The second field is the program's name in parentheses, which may hold spaces.
    let fields: Vec<&str> = stat.rsplit_once(") ")?.1.split(' ').collect();
    let ticks = fields.get(11)?.parse::<u64>().ok()? + fields.get(12)?.parse::<u64>().ok()?;
    let status = fs::read_to_string("/proc/self/status").ok()?;
    let resident = status.lines().find_map(|line| line.strip_prefix("VmRSS:"))?;
    let kibibytes: u64 = resident.trim().trim_end_matches(" kB").parse().ok()?;
    Some(Usage {
        cpu_seconds: ticks as f64 / TICKS_PER_SECOND,
        resident_bytes: kibibytes * 1024,
        open_files: fs::read_dir("/proc/self/fd").map_or(0, Iterator::count),
    })
}

#[cfg(test)]
mod tests {
    #[test]
    fn the_process_uses_something() {
        let usage = super::usage().expect("Linux has /proc");
        assert!(usage.resident_bytes > 1 << 20 && usage.open_files > 2 && usage.cpu_seconds >= 0.0, "{usage:?}");
    }
}
