//! Abnormal stretches of one series: opened by a score, closed only once it has been low for a while.

use serde::{Deserialize, Serialize};

use super::detector::{Detector, Point, Side, Verdict};

/// The score from which a stretch opens.
pub const OPEN: f64 = 0.5;
/// The score below which a point counts towards its end.
pub const CLOSE: f64 = 0.25;
/// Such points before it ends.
const QUIET: u32 = 12;

/// An abnormal stretch of a series.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub struct Stretch {
    /// The time of its first abnormal point, ns since the epoch.
    pub opened: i64,
    /// The time of its last abnormal point; `None` while it goes on.
    pub closed: Option<i64>,
    /// The highest score.
    pub score: f64,
    /// From which side its worst point is abnormal.
    pub side: Side,
    /// Whether that point lies above what was expected.
    pub above: bool,
    /// The value of that point.
    pub value: f64,
    /// What was expected instead.
    pub expected: f64,
}

/// Follows the stretches of one series.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Stretches {
    open: Option<(Stretch, i64, u32)>,
}

impl Stretches {
    /// Adds a point that was judged; answers a stretch that it ended.
    pub fn add(&mut self, point: Point, verdict: Verdict) -> Option<Stretch> {
        let Verdict { score, expected, side, above, .. } = verdict;
        let worst = Stretch { opened: point.time, closed: None, score, side, above, value: point.value, expected };
        match &mut self.open {
            None if score >= OPEN => self.open = Some((worst, point.time, 0)),
            None => {}
            Some((stretch, last, quiet)) => {
                if score > stretch.score {
                    *stretch = Stretch { opened: stretch.opened, ..worst };
                }
                if score >= OPEN {
                    (*last, *quiet) = (point.time, 0);
                }
                *quiet += u32::from(score < CLOSE);
                if *quiet >= QUIET {
                    let ended = Stretch { closed: Some(*last), ..*stretch };
                    self.open = None;
                    return Some(ended);
                }
            }
        }
        None
    }

    /// The stretch that goes on.
    pub fn open(&self) -> Option<Stretch> {
        self.open.map(|(stretch, _, _)| stretch)
    }
}

/// What is said of a whole series.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Judged {
    /// One verdict a point, in order.
    pub verdicts: Vec<Verdict>,
    /// The abnormal stretches in order; the last may be open.
    pub stretches: Vec<Stretch>,
}

/// Judges a series, point by point, each by what came before it.
pub fn judge(points: &[Point]) -> Judged {
    let (mut detector, mut follow, mut judged) = (Detector::default(), Stretches::default(), Judged::default());
    for point in points {
        let verdict = detector.observe(*point);
        judged.stretches.extend(follow.add(*point, verdict));
        judged.verdicts.push(verdict);
    }
    judged.stretches.extend(follow.open());
    judged
}
