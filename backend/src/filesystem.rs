//! What is under the data directory, where that keeps less than the server promises (row K4).

use std::path::Path;

use rustix::fs::statfs;

/// File systems that forget or that do not keep their word, by the number that `statfs` gives them.
const KINDS: [(u64, &str); 8] = [
    (0x0102_1994, IN_MEMORY),
    (0x8584_58f6, IN_MEMORY),
    (0x6969, "it lies on NFS, where fsync and locks hold only as far as its server lets them; a local disk is better"),
    (0xff53_4d42, OF_A_NETWORK),
    (0xfe53_4d42, OF_A_NETWORK),
    (0x517b, OF_A_NETWORK),
    (0x0102_1997, OF_A_NETWORK),
    (0x6573_5546, "it lies on FUSE; whether fsync keeps what was acknowledged is up to the program behind it"),
];
const IN_MEMORY: &str = "it lies in memory: what was acknowledged is lost when the machine stops; use a disk";
const OF_A_NETWORK: &str =
    "it lies on a network file system, whose fsync and locks may not hold; a local disk is better";

/// What is to be said of the file system under the directory, or under the nearest one that is there.
pub(crate) fn concern(dir: &Path) -> Option<&'static str> {
    let here = if dir.is_absolute() { dir.to_owned() } else { std::env::current_dir().ok()?.join(dir) };
    let kind = here.ancestors().find_map(|dir| statfs(dir).ok())?.f_type;
    // The numbers have 32 bits; where the field is signed, the upper half comes negative.
    of_kind(u64::from(kind as u32))
}

fn of_kind(kind: u64) -> Option<&'static str> {
    KINDS.iter().find(|(number, _)| *number == kind).map(|(_, text)| *text)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn k4_file_systems_that_forget_or_lie_elsewhere_are_told_and_those_of_a_disk_are_not() {
        for (kind, part) in [
            (0x6969, Some("NFS")),
            (0x0102_1994, Some("in memory")),
            (0xff53_4d42, Some("network")),
            (0x6573_5546, Some("FUSE")),
            // ext4, XFS, btrfs, overlay: what containers have.
            (0xef53, None),
            (0x5846_5342, None),
            (0x9123_683e, None),
            (0x794c_7630, None),
        ] {
            let said = of_kind(kind);
            assert!(said.is_some() == part.is_some() && said.unwrap_or("").contains(part.unwrap_or("")), "{kind:x}");
        }
        assert_eq!(concern(Path::new("/proc/nothing/here")), concern(Path::new("/proc")));
    }
}
