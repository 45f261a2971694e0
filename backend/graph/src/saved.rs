//! The graph in a file: replaced as a whole, checked when it is read. It is made again from the telemetry where it is damaged.

use std::{
    fs::{self, File},
    io::{self, Read},
    path::Path,
};

use devmesh_schema::TimestampNs;
use serde::{Deserialize, Serialize};

use crate::{
    Error,
    model::{Figures, Kind, Properties, Relation, Seen},
};

/// The version of this form.
const VERSION: u32 = 1;
/// Bytes of a file that is read: several times a full graph's.
const BYTES: u64 = 512 << 20;

/// A node.
#[derive(Debug, Serialize, Deserialize)]
pub(crate) struct SavedNode {
    pub(crate) id: String,
    pub(crate) kind: Kind,
    pub(crate) name: String,
    pub(crate) properties: Properties,
    pub(crate) seen: Seen,
    pub(crate) figures: Figures,
    pub(crate) touched: TimestampNs,
}

/// An edge; its ends by their places among the nodes.
#[derive(Debug, Serialize, Deserialize)]
pub(crate) struct SavedEdge {
    pub(crate) from: u32,
    pub(crate) to: u32,
    pub(crate) relation: Relation,
    pub(crate) properties: Properties,
    pub(crate) seen: Seen,
    pub(crate) figures: Figures,
    pub(crate) touched: TimestampNs,
}

/// All of it.
#[derive(Debug, Default, Serialize, Deserialize)]
pub(crate) struct Saved {
    version: u32,
    pub(crate) taken: Option<TimestampNs>,
    pub(crate) nodes: Vec<SavedNode>,
    pub(crate) edges: Vec<SavedEdge>,
}

impl Saved {
    pub(crate) fn new(taken: Option<TimestampNs>) -> Self {
        Self { version: VERSION, taken, ..Self::default() }
    }

    /// Writes it beside the old one, then puts it in its place.
    pub(crate) fn write(&self, path: &Path) -> Result<(), Error> {
        let failed = |operation, path: &Path| {
            let path = path.to_owned();
            move |source| Error::File { operation, path, source }
        };
        let directory = path.parent().unwrap_or(Path::new("."));
        fs::create_dir_all(directory).map_err(failed("create", directory))?;
        let beside = path.with_extension("new");
        let written = || -> io::Result<()> {
            let mut encoder = zstd::Encoder::new(File::create(&beside)?, 1)?;
            encoder.include_checksum(true)?;
            let mut buffered = io::BufWriter::new(encoder);
            serde_json::to_writer(&mut buffered, self)?;
            buffered.into_inner().map_err(io::IntoInnerError::into_error)?.finish()?.sync_all()
        };
        written().map_err(failed("write", &beside))?;
        fs::rename(&beside, path).map_err(failed("replace", path))?;
        File::open(directory).and_then(|directory| directory.sync_all()).map_err(failed("sync", directory))
    }

    /// Reads it; `None` where there is none.
    pub(crate) fn read(path: &Path) -> Result<Option<Self>, Error> {
        let failed = |source| Error::File { operation: "read", path: path.to_owned(), source };
        let file = match File::open(path) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
            file => file.map_err(failed)?,
        };
        let mut bytes = Vec::new();
        zstd::Decoder::new(file).and_then(|file| file.take(BYTES).read_to_end(&mut bytes)).map_err(failed)?;
        let saved: Self = serde_json::from_slice(&bytes).map_err(|error| failed(error.into()))?;
        let ends = saved.edges.iter().flat_map(|edge| [edge.from, edge.to]);
        if saved.version != VERSION || ends.max().is_some_and(|end| end as usize >= saved.nodes.len()) {
            return Err(failed(io::Error::new(io::ErrorKind::InvalidData, "it is of another version, or damaged")));
        }
        Ok(Some(saved))
    }
}
