//! What is abnormal: baselines, abnormal stretches, incidents.
//!
//! ```text
//! signals   which figures there are, and the SQL that reads them
//! detector  one series: how abnormal is this point (season, window and tail are its parts)
//! stretch   one series: abnormal stretches
//! vector    one service: what is unusual about all its signals together
//! monitor   everything: from figures to incidents
//! incident  what was abnormal, for people
//! state     the same on disk
//! ```
//!
//! Nothing here reads a clock, a store or a random number: the same answers to the same statements give the same incidents.

mod clock;
pub mod detector;
pub mod incident;
pub mod monitor;
mod season;
pub mod signals;
pub mod state;
pub mod stretch;
mod tail;
pub mod vector;
mod window;

pub use detector::{Detector, Point, Side, Verdict};
pub use incident::{Finding, Incident, Incidents, Severity};
pub use monitor::Monitor;
pub use stretch::{Judged, Stretch, judge};
