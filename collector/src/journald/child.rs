//! `journalctl` as a child process: its lines, its complaints, its end.

use std::{io, process::Stdio, time::Duration};

use tokio::{
    io::{AsyncBufReadExt, AsyncReadExt, BufReader},
    process::{Child, ChildStderr, ChildStdout, Command},
    task::JoinHandle,
};

/// Bytes of a line; a longer one is passed over. A body of 256 KiB is at most four times that as a list of bytes.
pub const LINE_BYTES: usize = 4 << 20;
/// Bytes of a line's buffer that are kept for the next one.
const KEPT_BYTES: usize = 64 << 10;
/// Lines of stderr that are passed on from one child.
const COMPLAINTS: usize = 20;
/// How long a question to the journal may take.
const ANSWER_TIME: Duration = Duration::from_secs(30);

/// Which journal, and how it is read.
#[derive(Clone, Debug)]
pub struct Source {
    /// The program: `journalctl`.
    pub program: String,
    /// `--directory`, `--file`, `--unit`.
    pub arguments: Vec<String>,
}

/// Where to begin.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Start {
    /// After this entry.
    After(String),
    /// At this time, µs since the epoch.
    Since(u64),
}

/// A line, or why there is none.
#[derive(Debug, PartialEq, Eq)]
pub enum Line {
    /// A whole line, without its end, in [`Follower::line`].
    Whole,
    /// A line that was too long.
    TooLong,
    /// The child has closed its output.
    End,
}

/// A child that follows the journal. Killed when dropped.
#[derive(Debug)]
pub struct Follower {
    child: Child,
    out: BufReader<ChildStdout>,
    line: Vec<u8>,
    /// The line is whole and was given out.
    given: bool,
    skipping: bool,
    complaints: JoinHandle<String>,
}

impl Source {
    /// Begins to follow.
    ///
    /// # Errors
    /// The program cannot be started.
    pub fn follow(&self, start: &Start) -> io::Result<Follower> {
        let position = match start {
            Start::After(cursor) => format!("--after-cursor={cursor}"),
            Start::Since(time) => format!("--since=@{}", time / 1_000_000),
        };
        let mut child = self.command().args(["--follow", "--no-tail"]).arg(position).stderr(Stdio::piped()).spawn()?;
        let (Some(out), Some(err)) = (child.stdout.take(), child.stderr.take()) else {
            return Err(io::Error::other("the child has no output"));
        };
        Ok(Follower {
            child,
            out: BufReader::with_capacity(32 << 10, out),
            line: Vec::new(),
            given: true,
            skipping: false,
            complaints: tokio::spawn(pass_on(err)),
        })
    }

    fn command(&self) -> Command {
        let mut command = Command::new(&self.program);
        command
            .args(["--output=json", "--all", "--no-pager", "--quiet"])
            .args(&self.arguments)
            .env("LC_ALL", "C")
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .kill_on_drop(true);
        command
    }

    /// The first entry at a cursor or, where that is gone, near it; the newest one where `cursor` is `None`.
    ///
    /// # Errors
    /// The program cannot be run, or gives no answer in time.
    pub async fn ask(&self, cursor: Option<&str>) -> io::Result<Vec<u8>> {
        let mut command = self.command();
        command.arg("--lines=1").stderr(Stdio::null());
        if let Some(cursor) = cursor {
            command.arg(format!("--cursor={cursor}"));
        }
        let mut child = command.spawn()?;
        let out = child.stdout.take().ok_or_else(|| io::Error::other("the child has no output"))?;
        let mut answer = Vec::new();
        let read = async {
            out.take(LINE_BYTES as u64).read_to_end(&mut answer).await?;
            child.wait().await
        };
        tokio::time::timeout(ANSWER_TIME, read)
            .await
            .map_err(|elapsed| io::Error::new(io::ErrorKind::TimedOut, elapsed))??;
        Ok(answer)
    }
}

impl Follower {
    /// Reads the next line into [`Self::line`].
    ///
    /// # Errors
    /// The pipe cannot be read.
    ///
    /// # Cancel safety
    /// What was read is kept; a later call goes on with it.
    pub async fn next(&mut self) -> io::Result<Line> {
        if self.given {
            self.line.clear();
            self.line.shrink_to(KEPT_BYTES);
            self.given = false;
        }
        loop {
            let ahead = self.out.fill_buf().await?;
            if ahead.is_empty() {
                // A line without its end was cut off with the child.
                return Ok(Line::End);
            }
            let end = memchr::memchr(b'\n', ahead);
            let length = end.unwrap_or(ahead.len());
            if !self.skipping {
                self.line.extend_from_slice(&ahead[..length]);
            }
            self.out.consume(length + usize::from(end.is_some()));
            self.skipping |= self.line.len() > LINE_BYTES;
            if end.is_some() {
                self.given = true;
                return Ok(if std::mem::take(&mut self.skipping) { Line::TooLong } else { Line::Whole });
            }
            if self.skipping {
                self.line.clear();
                self.line.push(0);
            }
        }
    }

    /// The line that [`Self::next`] has read.
    pub fn line(&self) -> &[u8] {
        &self.line
    }

    /// Ends the child and says how it ended.
    pub async fn end(mut self) -> String {
        if let Err(error) = self.child.start_kill() {
            tracing::debug!(%error, "the child has ended");
        }
        let status = match self.child.wait().await {
            Ok(status) => status.to_string(),
            Err(error) => error.to_string(),
        };
        // A child of the child may keep the pipe open.
        match tokio::time::timeout(Duration::from_secs(1), &mut self.complaints).await {
            Ok(Ok(last)) if !last.is_empty() => format!("{status}: {last}"),
            _ => {
                self.complaints.abort();
                status
            }
        }
    }
}

/// Passes stderr on to our log; answers its last line.
async fn pass_on(err: ChildStderr) -> String {
    let mut last = String::new();
    let mut lines = BufReader::with_capacity(1 << 10, err);
    for number in 0.. {
        let mut line = Vec::new();
        let read = (&mut lines).take(1 << 10).read_until(b'\n', &mut line).await;
        if !matches!(read, Ok(1..)) {
            break;
        }
        let text = String::from_utf8_lossy(&line);
        last = text.trim().chars().filter(|c| !c.is_control()).collect();
        if number < COMPLAINTS && !last.is_empty() {
            tracing::warn!("journalctl: {last}");
        }
    }
    last
}
