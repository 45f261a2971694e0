//! Starts the real things: end-to-end tests of the programs and benchmarks.
//!
//! Every test starts its own server on free ports and a directory of its own, so that tests neither share state nor
//! wait for one another. What a test needs from the machine (SDKs, tools) is installed by `tests/install.sh`; where it
//! is missing, the test fails and names that script.

pub mod bench;
pub mod client;
pub mod program;
pub mod server;
pub mod wait;

pub use server::Server;
pub use wait::until;
