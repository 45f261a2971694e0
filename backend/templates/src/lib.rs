//! The template of a log body and its parameters: mined at ingestion, fast, deterministic and bounded.
//!
//! A body is a *template* (the program's words) and its *parameters* (what the words are about). Rows are billions and
//! templates are hundreds, so what is stored, embedded, counted and compared is the template. Templates that say the same
//! are joined into *patterns*.
//!
//! ```
//! use devmesh_templates::{Config, Miner};
//!
//! let mut miner = Miner::new(Config::default());
//! let body = "session opened for user ann by (uid=0)";
//! let found = miner.observe(body);
//! let (id, params) = (found.template_id, found.params.to_vec());
//! let template = miner.template(id).unwrap();
//! assert_eq!(template.text(), "session opened for user ann by (uid=<*>)");
//! // exact, byte for byte
//! let values = params.iter().map(|(a, b)| &body[*a as usize..*b as usize]);
//! assert_eq!(template.fill(values).as_deref(), Some(body));
//! // names are learned when they turn out to vary; the pattern's id stays
//! for user in ["bob", "eve"] {
//!     miner.observe(&format!("session opened for user {user} by (uid=0)"));
//! }
//! miner.merge();
//! assert_eq!(miner.pattern_id(id), Some(id));
//! assert_eq!(miner.patterns()[0].text, "session opened for user <*> by (uid=<*>)");
//! ```
//!
//! # How
//!
//! 1. **Cut by structure** (`token`, `compound`): one pass over the bytes gives words and typed values (numbers, addresses, times,
//!    hashes, paths, links, true and false, quantities with units, identifiers with digits). A value is a parameter from the
//!    first body on.
//! 2. **Look up** (`miner`): the hash of gaps and words finds the template; its constants are compared with the body's bytes, so
//!    a forged hash cannot give a wrong reconstruction. What is not found becomes a new template.
//! 3. **Compare templates, not bodies** (`cluster`), when enough new ones were born: a column of words that takes many
//!    while all others stay is a parameter that looked like a word; how many depends on what stands around it (`=`, a
//!    preposition, quotes; or first in the body). Then the templates become one *widened* template that takes unseen words too,
//!    so names without end need two templates. Rows are then compared as text, for parameters whose inner structure differs
//!    (`10.0.0.1:80`, `host.example:80`) and lists of any length.
//! 4. **Show** (`form`): a parameter that has been one text so far and is mostly letters (`ssh2`) is shown as that text in the pattern;
//!    one whose surroundings never varied shows them (`core.<*>`, `<*> bytes`). It stays a parameter of the template.
//!
//! # What holds
//!
//! - *Exact.* Template and parameters are the body. A template never changes; its id is a hash of its text, the same everywhere.
//! - *Stable.* A pattern's id is the id of its first template. It stays when others join; their ids lead to it
//!   ([`Miner::pattern_id`]). Patterns are joined, never parted. [`Miner::save`] and [`Miner::load`] continue where a run stopped.
//! - *Deterministic.* The same bodies in the same order give the same state, whether or not there was a restart.
//! - *Bounded.* [`Config`] bounds templates in number and bytes; a body beyond gets the template `<*>`, with the whole body as
//!   its parameter. [`MAX_TOKENS`], [`MAX_WORD`] and [`MAX_LITERAL`] bound one template; time is linear in a body's bytes.
//!
//! # What it costs, and limits
//!
//! [`Miner::merge`] compares all templates: milliseconds for 1,000, 0.3 s of CPU for 50,000; `observe` calls it whenever the
//! templates have grown by an eighth ([`Config::merge_every`]). Where that would be felt, set `merge_every` to `usize::MAX` and
//! compare a [`Snapshot`] on another thread. [`Miner::patterns`] costs the same. For many threads that look up, see [`Matcher`].
//! 50,000 templates of ten random words: 4 MB saved, 150 MB of memory at the highest (during a comparison), and 35,000 new bodies/s
//! until the table is full, on two cores shared by others.
//!
//! Not recognised: parameters of several words without quotes or brackets (`city New York`), words without blanks between them
//! (Chinese, Japanese), and a name that is a program's constant word for word.
//!
//! # What was measured
//!
//! Nine loghub systems of 2,000 lines with corrected templates (Khan et al. 2022), one configuration, patterns at the end; GA, FGA:
//! grouping by lines and by templates; PA, FTA: exact text. Warm lines/s on one core of a shared machine, `examples/mine.rs`.
//!
//! | system | GA | FGA | PA | FTA | lines/s |
//! |---|---|---|---|---|---|
//! | Apache | 1.000 | 1.000 | 1.000 | 1.000 | 5,500,000 |
//! | BGL | 1.000 | 1.000 | 0.995 | 0.967 | 5,000,000 |
//! | HDFS | 1.000 | 1.000 | 0.943 | 0.929 | 3,800,000 |
//! | Hadoop | 0.994 | 0.987 | 0.910 | 0.856 | 3,600,000 |
//! | Linux | 1.000 | 1.000 | 0.984 | 0.931 | 3,800,000 |
//! | OpenSSH | 1.000 | 1.000 | 0.997 | 0.808 | 3,500,000 |
//! | Proxifier | 1.000 | 1.000 | 0.990 | 0.875 | 3,000,000 |
//! | Spark | 1.000 | 1.000 | 0.998 | 0.944 | 4,400,000 |
//! | Zookeeper | 0.995 | 0.916 | 0.994 | 0.897 | 5,700,000 |
//! | **mean** | **0.999** | **0.989** | **0.979** | **0.912** | |
//! | Drain3 with masks | 0.825 | 0.800 | 0.497 | 0.516 | 13,000 |
//!
//! Means without one rule, to see which carry (and that none carries the whole; the systems that change are in brackets):
//!
//! | without | GA | FGA | PA | FTA |
//! |---|---|---|---|---|
//! | quantities with units (Proxifier, Spark) | 0.938 | 0.934 | 0.918 | 0.861 |
//! | times of several words (Linux, BGL) | 0.948 | 0.985 | 0.928 | 0.907 |
//! | constants shown (Apache, OpenSSH, Proxifier, …) | 0.946 | 0.967 | 0.849 | 0.826 |
//! | forms shown (BGL, Hadoop, Spark, …) | 0.999 | 0.989 | 0.893 | 0.877 |
//! | values known from elsewhere (OpenSSH, Linux) | 0.998 | 0.983 | 0.979 | 0.901 |
//! | comparison inside parameters (Proxifier) | 0.998 | 0.965 | 0.979 | 0.901 |
//! | lists of any length (HDFS) | 0.998 | 0.974 | 0.979 | 0.905 |
//! | rows taken in by wider ones (Hadoop) | 0.998 | 0.988 | 0.979 | 0.911 |
//! | words joined with values in one column (BGL) | 0.998 | 0.988 | 0.979 | 0.911 |
//!
//! The number of words that makes a column a parameter, the same for every place instead of by what stands around: 2: 0.924, 0.904,
//! 0.905, 0.831; 3: 0.997, 0.969, 0.977, 0.891; 4: 0.997, 0.977, 0.978, 0.900; 6: 0.984, 0.980, 0.965, 0.902; 8: 0.963, 0.961,
//! 0.943, 0.885; never: 0.964, 0.966, 0.944, 0.890.
//!
//! The thresholds of `cluster/prior.rs`, leaving one system out: of 108 combinations (behind `=` 2, 3, 4; behind prepositions and the
//! like 2, 3, 4, 6; plain 4, 8, 16; first 12, 24, 48), the best of the other eight systems gives the ninth, on the mean, GA 0.990,
//! FGA 0.980, PA 0.971, FTA 0.902: the same values are chosen each time but for Spark, whose absence makes 2 behind prepositions
//! look as good as 3 (and costs Spark 0.08). On all nine, only that threshold matters (2: 0.990, 3 and 4: 0.999, 6: 0.985 GA).
//!
//! The lines in reverse or shuffled give the same figures; the first 500 lines of each, GA and FGA 1.000. Two rules (values jointly,
//! crowds of rows) change nothing here; they are there for records with several names that vary at once. These, and the
//! rules for quotes, dashes and places in programs, come from made-up access, klog, key=value and JSON lines and from the logs of
//! package managers and builds (dpkg, apt, npm, a C build), which were looked at and not scored.
//!
//! What failed: joining what differs after any two words (GA 0.99: error texts after a preposition are joined); showing the form of
//! every value (`msra-sa-<*>`: PA of Hadoop 0.57); keys and values of configuration dumps are not joined (Zookeeper's
//! `Server environment:`).

mod cluster;
mod codec;
mod compound;
mod form;
mod hash;
mod matcher;
mod miner;
mod pattern;
mod template;
mod token;

pub use codec::LoadError;
pub use matcher::Matcher;
pub use miner::{Config, Match, Miner, Scratch};
pub use pattern::{Findings, Pattern, Snapshot};
pub use template::{MARK, Template, template_id};
pub use token::{MAX_LITERAL, MAX_TOKENS, MAX_WORD};
