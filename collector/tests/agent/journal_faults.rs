//! A journalctl that misbehaves, in front of a real journal: rows F7, F11 and F16.

use std::{path::Path, sync::Arc, time::Duration};

use crate::{
    journal::{Following, follow, journal, messages, numbered, open},
    support::{Recorder, now, script},
};

/// Follows through a script that runs `fault` at its first call with `--follow`, and journalctl itself otherwise.
fn with_fault(dir: &Path, recorder: &Arc<Recorder>, fault: &str, silence: Duration) -> Following {
    let mark = dir.join("mark");
    let text = format!(
        "case \"$*\" in *--follow*) if [ ! -e {mark} ]; then touch {mark}; {fault}; fi;; esac; exec journalctl \"$@\"",
        mark = mark.display()
    );
    let program = script(dir, "journalctl", &text);
    follow(open(dir, &program.display().to_string(), 10, silence), Arc::clone(recorder))
}

#[tokio::test]
async fn f7_f11_whatever_the_child_does_the_next_one_goes_on() {
    let faults = [
        ("exits at once", "echo 'Failed to iterate through journal: Bad message' >&2; exit 1"),
        ("exits half way through a line", "journalctl ${@/--follow/} | head -c 3000; exit 1"),
        ("exits after some entries", "journalctl ${@/--follow/} | head -n 7; exit 1"),
        ("is killed", "kill -9 $$"),
        ("hangs", "exec sleep 1000"),
        ("hangs after some entries", "journalctl ${@/--follow/} | head -n 4; exec sleep 1000"),
        ("writes rubbish", "echo not json; printf '\\xff\\xfe\\n{\\n'; journalctl ${@/--follow/} | head -n 3; exit 0"),
        ("writes a line without end", "head -c 9000000 /dev/zero | tr '\\0' x; echo; exit 0"),
        ("complains without end", "for i in $(seq 1000); do echo complaint $i >&2; done; exit 1"),
    ];
    for (name, fault) in faults {
        let dir = journal(&numbered(0..25, now() - 3_600_000_000));
        let recorder = Arc::new(Recorder::default());
        // Only one that hangs is given up for its silence: a child that is slow to begin is no fault.
        let hangs = name.starts_with("hangs");
        let silence = Duration::from_secs(if hangs { 3 } else { 60 });
        let following = with_fault(dir.path(), &recorder, fault, silence);
        following.has(25).await;
        let counts = following.end().await;
        assert_eq!(recorder.bodies(), messages(0..25), "{name}");
        assert!(recorder.repeats.lock().unwrap().is_empty(), "{name}");
        assert!(counts.restarts == 1 || hangs && counts.restarts > 1, "{name}: {}", counts.restarts);
    }
}

#[tokio::test]
async fn f11_a_program_that_is_not_there_is_tried_again() {
    let dir = journal(&numbered(0..3, now() - 3_600_000_000));
    let recorder = Arc::new(Recorder::default());
    let program = dir.path().join("later");
    let following =
        follow(open(dir.path(), &program.display().to_string(), 10, Duration::from_secs(60)), Arc::clone(&recorder));
    std::os::unix::fs::symlink("/usr/bin/journalctl", &program).unwrap();
    following.has(3).await;
    following.end().await;
    assert_eq!(recorder.bodies(), messages(0..3));
}
