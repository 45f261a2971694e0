//! What is known of templates, as one file that is replaced as a whole.
//!
//! `dmtp`, a version, the checksum of what follows, then sections, each with its length: the miner's own state, the examples,
//! the aliases, what patterns are shown as (which files of earlier versions lack). What cannot be read is set aside and
//! started without: rows say the texts of their templates themselves.

use std::{
    fs, io,
    path::{Path, PathBuf},
    sync::{Arc, PoisonError, atomic::Ordering},
};

use devmesh_templates::Miner;
use xxhash_rust::xxh3::xxh3_64;

use super::{
    ById,
    mining::{BOUNDS, Known, Templates, lock},
};
use crate::{Error, front::disk::replace};

const MAGIC: [u8; 8] = *b"dmtp\x01\0\0\0";
/// The file's name in the directory of the log.
const NAME: &str = "TEMPLATES";

impl Templates {
    /// The templates of a data directory, and whether they were lost: the file was there and cannot be read.
    pub(crate) fn open(root: &Path, is_on: bool) -> (Arc<Self>, bool) {
        let mut templates = Self::empty(root.join(NAME), is_on);
        let lost = match read(&templates.path) {
            Ok(Some((known, shown))) => {
                let matcher = Arc::new(known.miner.matcher());
                *templates.matcher.write().unwrap_or_else(PoisonError::into_inner) = matcher;
                *lock(&templates.known) = known;
                *lock(&templates.shown) = shown;
                templates.began_empty = false;
                templates.changes.store(1, Ordering::Release);
                *lock(&templates.saved) = 1;
                // The file may be of a time when some templates were not compared yet.
                templates.news.store(true, Ordering::Release);
                false
            }
            Ok(None) => false,
            Err(reason) => {
                let aside = templates.path.with_extension("damaged");
                // Without it the file is overwritten.
                drop(fs::rename(&templates.path, &aside));
                tracing::warn!(file = %templates.path.display(), reason, "templates were lost: they are learned again");
                true
            }
        };
        (Arc::new(templates), lost)
    }

    /// Writes down what is known, if it has changed since.
    ///
    /// # Errors
    /// The file cannot be written.
    pub(crate) fn save(&self) -> Result<(), Error> {
        let mut saved = lock(&self.saved);
        let changes = self.changes.load(Ordering::Acquire);
        if *saved == changes {
            return Ok(());
        }
        let bytes = {
            let shown = lock(&self.shown);
            write(&lock(&self.known), &shown)
        };
        replace(&self.path, &bytes)?;
        *saved = changes;
        Ok(())
    }
}

fn read(path: &PathBuf) -> Result<Option<(Known, ById<String>)>, String> {
    let bytes = match fs::read(path) {
        Ok(bytes) => bytes,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
        Err(error) => return Err(error.to_string()),
    };
    parse(&bytes).map(Some).ok_or_else(|| "it is damaged, or of another version".to_owned())
}

fn write(known: &Known, shown: &ById<String>) -> Vec<u8> {
    let mut body = Vec::new();
    put(&mut body, &known.miner.save());
    put(&mut body, &texts(known.examples.iter().map(|(id, example)| (*id, &**example))));
    let aliases: Vec<u8> =
        known.aliases.iter().flat_map(|(id, template)| [id.to_le_bytes(), template.to_le_bytes()]).flatten().collect();
    put(&mut body, &aliases);
    put(&mut body, &texts(shown.iter().map(|(id, text)| (*id, text.as_str()))));
    [&MAGIC[..], &xxh3_64(&body).to_le_bytes(), &body].concat()
}

fn texts<'a>(by_id: impl Iterator<Item = (u64, &'a str)>) -> Vec<u8> {
    let mut out = Vec::new();
    for (id, text) in by_id {
        out.extend_from_slice(&id.to_le_bytes());
        put(&mut out, text.as_bytes());
    }
    out
}

fn read_texts<T: for<'a> From<&'a str>>(mut bytes: &[u8]) -> Option<ById<T>> {
    let mut by_id = ById::default();
    while !bytes.is_empty() {
        let id = number(&mut bytes)?;
        by_id.insert(id, std::str::from_utf8(section(&mut bytes)?).ok()?.into());
    }
    Some(by_id)
}

fn put(out: &mut Vec<u8>, bytes: &[u8]) {
    out.extend_from_slice(&(bytes.len() as u64).to_le_bytes());
    out.extend_from_slice(bytes);
}

fn parse(bytes: &[u8]) -> Option<(Known, ById<String>)> {
    let (sum, mut body) = bytes.strip_prefix(&MAGIC)?.split_first_chunk::<8>()?;
    if xxh3_64(body) != u64::from_le_bytes(*sum) {
        return None;
    }
    let miner = Miner::load(BOUNDS, section(&mut body)?).ok()?;
    let examples = read_texts(section(&mut body)?)?;
    let mut rest = section(&mut body)?;
    let mut aliases = ById::default();
    while !rest.is_empty() {
        aliases.insert(number(&mut rest)?, number(&mut rest)?);
    }
    let shown = if body.is_empty() { ById::default() } else { read_texts(section(&mut body)?)? };
    let compared = miner.templates().len().saturating_sub(miner.unmerged());
    body.is_empty().then_some((Known { miner, examples, compared, aliases }, shown))
}

fn number(bytes: &mut &[u8]) -> Option<u64> {
    let (number, rest) = bytes.split_first_chunk::<8>()?;
    *bytes = rest;
    Some(u64::from_le_bytes(*number))
}

fn section<'a>(bytes: &mut &'a [u8]) -> Option<&'a [u8]> {
    let length = usize::try_from(number(bytes)?).ok()?;
    let (section, rest) = bytes.split_at_checked(length)?;
    *bytes = rest;
    Some(section)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_known_survives_the_file_and_a_damaged_one_is_refused() {
        let mut known = Known::new();
        for n in 0..200 {
            known.observe(&format!("user{} signed in from 10.0.0.{n}", n % 3));
            known.observe(&format!("job {n} done"));
        }
        known.miner.merge();
        known.aliases.insert(7, 9);
        let shown: ById<String> =
            known.miner.patterns().into_iter().map(|pattern| (pattern.id, pattern.text)).collect();
        let bytes = write(&known, &shown);
        let (again, shown_again) = parse(&bytes).unwrap();
        assert_eq!(shown_again, shown);
        assert_eq!(again.miner.patterns(), known.miner.patterns());
        assert_eq!((again.examples, again.aliases), (known.examples, known.aliases));
        for at in (0..bytes.len()).step_by(7) {
            let mut damaged = bytes.clone();
            damaged[at] ^= 1;
            assert!(parse(&damaged).is_none(), "byte {at}");
            assert!(parse(&bytes[..at]).is_none(), "cut at {at}");
        }
    }
}
