//! What can be set, and from where: flags, environment, a TOML file, defaults.

mod bridge;
mod check;
mod load;
mod reference;
mod secret;
mod secrets;
mod store_url;
mod tree;
mod units;

use std::{collections::BTreeMap, io::Read, path::Path};

pub(crate) use load::{Problems, load};
pub(crate) use reference::markdown;
pub(crate) use secret::Secret;
pub(crate) use tree::{Auth, Listen, LogFormat, Route, Settings};

/// Reads the settings for this process: the environment and the file that `config` or `DEVMESH_CONFIG` names.
///
/// # Errors
/// Everything that is wrong with them, each with its place.
pub(crate) fn read(flags: &[(String, String)], config: Option<&Path>) -> Result<Settings, Problems> {
    // A variable that is no UTF-8 is none of ours: our names are ASCII, and a broken value would be refused below.
    let env: BTreeMap<String, String> = std::env::vars_os()
        .filter_map(|(name, value)| Some((name.into_string().ok()?, value.into_string().ok()?)))
        .collect();
    let named = env.get("DEVMESH_CONFIG").filter(|path| !path.is_empty()).map(Path::new);
    let Some(path) = config.or(named) else { return load(flags, &env, None) };
    let wrong = |reason: String| Problems(vec![format!("{}: {reason}", path.display())]);
    let mut text = Vec::new();
    // Read, not asked for: a device has no size and no end.
    let file = std::fs::File::open(path).map_err(|error| wrong(error.to_string()))?;
    file.take(load::FILE_BYTES + 1).read_to_end(&mut text).map_err(|error| wrong(error.to_string()))?;
    if text.len() as u64 > load::FILE_BYTES {
        return Err(wrong(format!("it has more than {} bytes, which are too many for settings", load::FILE_BYTES)));
    }
    let text = String::from_utf8(text).map_err(|error| wrong(format!("it is no UTF-8 text: {error}")))?;
    load(flags, &env, Some((path, &text)))
}
