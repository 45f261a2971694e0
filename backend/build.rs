//! Makes sure that there is a directory of the console to embed. Where the console was not built it stays empty, and the
//! program serves a page that says how to build it: nothing is written that could be taken for a built console.

use std::{fs, io};

fn main() -> io::Result<()> {
    println!("cargo:rerun-if-changed=console/dist");
    println!("cargo:rerun-if-changed=build.rs");
    fs::create_dir_all("console/dist")
}
