//! The page docs/configuration.md, written from the settings themselves.

use toml::{Table, Value};

use super::tree::{DOCS, Settings};

const HEAD: &str = "\
# Configuration

<!-- Written by `devmesh config --reference`; a test checks that it is current. -->

`devmesh serve` needs no configuration. Settings come from flags, then environment variables, then a TOML file
(`--config FILE` or `DEVMESH_CONFIG`), then the defaults below. `DEVMESH_<SECTION>_<KEY>` sets any key:
`DEVMESH_RETENTION_LOGS=30d`; so does `--set retention.logs=30d`. A key that is not listed here is an error.

Times are a whole number and `ms`, `s`, `m`, `h`, `d` or `w`; sizes a whole number and `B`, `KiB`, `MiB`, `GiB`, `TiB`
(or `KB`, `MB`, `GB`, `TB`, powers of 1000). `devmesh config` prints the settings in force, secrets left out.

Settings count from the start on: at SIGHUP the server reads certificates again, and says which settings have changed and
wait for a restart. A secret and its `…_file` are never both set, wherever each comes from.

`API_HOST` and `API_PORT` are honoured as older names of `http.listen`; `DB_HOST` (which selects MariaDB), `DB_PORT`, `DB_NAME`,
`DB_USER` and `DB_PASSWORD` of `store.url`, and `DB_POOL_MIN_SIZE` and `DB_POOL_MAX_SIZE` of `store.pool_min` and `store.pool_max`.
";

/// The page.
pub(crate) fn markdown() -> String {
    let defaults = Table::try_from(Settings::default()).unwrap_or_default();
    let mut page = HEAD.to_owned();
    for (section, about, keys) in DOCS {
        page.push_str(&format!("\n## [{section}]\n\n{}\n\n| key | default | |\n|---|---|---|\n", about.trim()));
        for (key, doc) in *keys {
            let default = defaults.get(*section).and_then(|section| section.get(*key));
            let default = default.map_or_else(String::new, Value::to_string);
            page.push_str(&format!("| `{key}` | `{default}` | {} |\n", doc.trim().replace('|', "\\|")));
        }
    }
    page
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_page_in_the_repository_is_current() {
        let path = concat!(env!("CARGO_MANIFEST_DIR"), "/../docs/configuration.md");
        let page = std::fs::read_to_string(path).unwrap_or_default();
        assert!(page == markdown(), "write it anew: cargo run -- config --reference > docs/configuration.md");
    }

    #[test]
    fn every_key_is_documented() {
        for (section, about, keys) in DOCS {
            assert!(!about.trim().is_empty(), "{section}");
            for (key, doc) in *keys {
                assert!(doc.trim().ends_with('.'), "{section}.{key}: {doc}");
            }
        }
    }
}
