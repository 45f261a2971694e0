//! From flags, environment and file to [`Settings`]. Pure, but for the files of secrets that the settings name: what else
//! it reads is handed to it.
//!
//! A value is set into a copy of the default tree and the whole is read as [`Settings`]; so an error belongs to exactly
//! one value, and every value to one place: `file:line`, a variable or a flag.

use std::{collections::BTreeMap, fmt, path::Path};

use toml::{Table, Value, de::DeTable};

use super::tree::Settings;

/// What is wrong with the settings, each line with its place.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Problems(pub(crate) Vec<String>);

impl fmt::Display for Problems {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0.join("\n"))
    }
}

impl std::error::Error for Problems {}

/// Variables that begin like ours and belong to the programs around us.
const OTHERS: [&str; 6] =
    ["DEVMESH_CA", "DEVMESH_CERT", "DEVMESH_CONFIG", "DEVMESH_KEY", "DEVMESH_TOKEN", "DEVMESH_URL"];

/// The stores that `--store` knows.
pub(crate) const STORES: &str =
    "file://DIR, s3://BUCKET/PREFIX, mariadb://USER:PASSWORD@HOST:PORT/DATABASE and clickhouse://… likewise";

/// Bytes of a settings file.
pub(crate) const FILE_BYTES: u64 = 1 << 20;

/// Reads the settings: flags (`section.key` and value), then the environment, then the file's text, then the defaults.
///
/// # Errors
/// Everything that is wrong, not only the first thing.
pub(crate) fn load(
    flags: &[(String, String)],
    env: &BTreeMap<String, String>,
    file: Option<(&Path, &str)>,
) -> Result<Settings, Problems> {
    let mut tree = Tree { values: defaults(), problems: Vec::new() };
    if let Some((path, text)) = file {
        tree.file(path, text);
    }
    tree.older_names(env);
    tree.environment(env);
    for (key, value) in flags {
        tree.set_text(key, value, &format!("flag for {key}"));
    }
    tree.finish()
}

fn defaults() -> Table {
    Table::try_from(Settings::default()).unwrap_or_default()
}

struct Tree {
    values: Table,
    problems: Vec<String>,
}

impl Tree {
    fn finish(mut self) -> Result<Settings, Problems> {
        let mut settings: Settings = match self.values.try_into() {
            Ok(settings) => settings,
            Err(error) => {
                self.problems.push(error.message().to_owned());
                return Err(Problems(self.problems));
            }
        };
        self.problems.extend(super::secrets::read(&mut settings));
        self.problems.extend(super::check::check(&settings));
        if self.problems.is_empty() { Ok(settings) } else { Err(Problems(self.problems)) }
    }

    fn file(&mut self, path: &Path, text: &str) {
        let place = |offset: usize| {
            let line = text.as_bytes().iter().take(offset).filter(|byte| **byte == b'\n').count() + 1;
            format!("{}:{line}", path.display())
        };
        let text_without_mark = text.strip_prefix('\u{feff}').unwrap_or(text);
        let document = match DeTable::parse(text_without_mark) {
            Ok(document) => document,
            Err(error) => {
                let at = place(error.span().map_or(0, |span| span.start));
                self.problems.push(format!("{at}: {}", error.message()));
                return;
            }
        };
        let plain: Table = match toml::from_str(text_without_mark) {
            Ok(plain) => plain,
            Err(error) => return self.problems.push(format!("{}: {}", path.display(), error.message())),
        };
        for (section, content) in document.get_ref() {
            let at = place(section.span().start);
            let name: &str = section.get_ref();
            let Some(keys) = content.get_ref().as_table() else {
                self.problems.push(format!("{at}: {}", self.unknown(name)));
                continue;
            };
            if !self.values.contains_key(name) {
                self.problems.push(format!("{at}: {}", self.unknown(name)));
                continue;
            }
            for key in keys.keys() {
                let value = plain.get(name).and_then(|section| section.get(key.get_ref().as_ref() as &str));
                if let Some(value) = value.cloned() {
                    self.set(&format!("{name}.{}", key.get_ref()), value, &place(key.span().start));
                }
            }
        }
    }

    /// Names that other versions of the program had.
    fn older_names(&mut self, env: &BTreeMap<String, String>) {
        let given = |name| env.get(name).filter(|value: &&String| !value.is_empty());
        match super::store_url::from_older_names(env) {
            Some(Ok(url)) => {
                self.set_text("store.url", &url, "DB_HOST");
                for (name, key) in [("DB_POOL_MIN_SIZE", "store.pool_min"), ("DB_POOL_MAX_SIZE", "store.pool_max")] {
                    if let Some(value) = given(name) {
                        self.set_text(key, value, name);
                    }
                }
            }
            Some(Err(problem)) => self.problems.push(problem),
            None => {}
        }
        if let (None, None) = (given("API_HOST"), given("API_PORT")) {
            return;
        }
        let host = given("API_HOST").map_or("127.0.0.1", String::as_str);
        let port = given("API_PORT").map_or("8000", String::as_str);
        let bracketed = if host.contains(':') { format!("[{host}]") } else { host.to_owned() };
        self.set_text("http.listen", &format!("{bracketed}:{port}"), "API_HOST and API_PORT");
    }

    fn environment(&mut self, env: &BTreeMap<String, String>) {
        for (name, value) in env.range("DEVMESH_".to_owned()..).take_while(|(name, _)| name.starts_with("DEVMESH_")) {
            // Kubernetes sets DEVMESH_SERVICE_HOST, DEVMESH_PORT_8000_TCP and the like for a service called devmesh.
            let kubernetes = name.starts_with("DEVMESH_SERVICE_") || name.starts_with("DEVMESH_PORT");
            if OTHERS.contains(&name.as_str()) || kubernetes {
                continue;
            }
            let rest = name.trim_start_matches("DEVMESH_").to_lowercase();
            let key = rest.split_once('_').map_or(rest.clone(), |(section, key)| format!("{section}.{key}"));
            self.set_text(&key, value, name);
        }
    }

    /// Sets a value given as text; the default says of what type it is.
    fn set_text(&mut self, key: &str, text: &str, place: &str) {
        let value = match self.at(key) {
            Some(Value::Integer(_)) => text.parse().map(Value::Integer).unwrap_or_else(|_| Value::String(text.into())),
            Some(Value::Boolean(_)) => text.parse().map(Value::Boolean).unwrap_or_else(|_| Value::String(text.into())),
            Some(Value::Array(_)) => {
                let items = text.split(',').map(str::trim).filter(|item| !item.is_empty());
                Value::Array(items.map(|item| Value::String(item.to_owned())).collect())
            }
            _ => Value::String(text.to_owned()),
        };
        self.set(key, value, place);
    }

    fn set(&mut self, key: &str, value: Value, place: &str) {
        let mut trial = self.values.clone();
        let slot = key.split_once('.').and_then(|(section, key)| trial.get_mut(section)?.get_mut(key));
        let Some(slot) = slot else {
            self.problems.push(format!("{place}: {}", self.unknown(key)));
            return;
        };
        *slot = value;
        match trial.clone().try_into::<Settings>() {
            Ok(_) => self.values = trial,
            Err(error) => self.problems.push(format!("{place}: {key}: {}", error.message())),
        }
    }

    fn at(&self, key: &str) -> Option<&Value> {
        let (section, key) = key.split_once('.')?;
        self.values.get(section)?.get(key)
    }

    fn unknown(&self, key: &str) -> String {
        let names = self.values.iter().flat_map(|(section, content)| {
            let keys = content.as_table().into_iter().flat_map(Table::keys);
            keys.map(move |key| format!("{section}.{key}")).chain([section.clone()])
        });
        let likeness = |name: &String| strsim::jaro_winkler(name, key);
        let nearest = names.max_by(|a, b| likeness(a).total_cmp(&likeness(b))).unwrap_or_default();
        format!("there is no setting `{key}`; the nearest is `{nearest}`")
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::settings::{
        tree::{Listen, LogFormat},
        units::{Size, Span},
    };

    fn env(pairs: &[(&str, &str)]) -> BTreeMap<String, String> {
        pairs.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect()
    }

    fn flags(pairs: &[(&str, &str)]) -> Vec<(String, String)> {
        pairs.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect()
    }

    fn from_file(text: &str) -> Result<Settings, Problems> {
        load(&[], &env(&[]), Some((Path::new("devmesh.toml"), text)))
    }

    #[test]
    fn nothing_given_is_the_defaults() {
        assert_eq!(load(&[], &env(&[]), None), Ok(Settings::default()));
        assert_eq!(from_file(""), Ok(Settings::default()));
    }

    #[test]
    fn flags_win_over_environment_over_file_over_defaults() {
        let file = "[http]\nlisten = \"127.0.0.1:1\"\n[otlp]\ngrpc = \"127.0.0.1:1\"\nhttp = \"127.0.0.1:9\"\n";
        let env = env(&[("DEVMESH_HTTP_LISTEN", "127.0.0.1:2"), ("DEVMESH_OTLP_GRPC", "127.0.0.1:5")]);
        let flags = flags(&[("http.listen", "127.0.0.1:3")]);
        let settings = load(&flags, &env, Some((Path::new("f"), file))).unwrap();
        assert_eq!(settings.http.listen.to_string(), "127.0.0.1:3");
        assert_eq!(settings.otlp.grpc.to_string(), "127.0.0.1:5");
        assert_eq!(settings.otlp.http.to_string(), "127.0.0.1:9");
        assert_eq!(settings.postgres.listen.to_string(), "127.0.0.1:5433");
    }

    #[test]
    fn every_type_can_be_set_from_the_environment() {
        let env = env(&[
            ("DEVMESH_RETENTION_LOGS", "7d"),
            ("DEVMESH_QUERY_MEMORY", "1GiB"),
            ("DEVMESH_QUERY_CONCURRENCY", "3"),
            ("DEVMESH_AUTH_INSECURE", "true"),
            ("DEVMESH_LOG_FORMAT", "json"),
            ("DEVMESH_POSTGRES_LISTEN", "off"),
            ("DEVMESH_CORS_ORIGINS", "https://a.example, https://b.example,"),
            ("DEVMESH_STORE_DATA_DIR", "/var/lib/devmesh"),
        ]);
        let settings = load(&[], &env, None).unwrap();
        assert_eq!(settings.retention.logs, Span::secs(7 * 86_400));
        assert_eq!(settings.query.memory, Size(1 << 30));
        assert_eq!(settings.query.concurrency, 3);
        assert!(settings.auth.insecure);
        assert_eq!(settings.log.format, LogFormat::Json);
        assert_eq!(settings.postgres.listen, Listen::Off);
        assert_eq!(settings.cors.origins, ["https://a.example", "https://b.example"]);
        assert_eq!(settings.store.data_dir, Path::new("/var/lib/devmesh"));
    }

    #[test]
    fn older_names_are_honoured() {
        let settings = load(&[], &env(&[("API_HOST", "127.0.0.2"), ("API_PORT", "9000")]), None).unwrap();
        assert_eq!(settings.http.listen.to_string(), "127.0.0.2:9000");
        let settings = load(&[], &env(&[("API_PORT", "9000")]), None).unwrap();
        assert_eq!(settings.http.listen.to_string(), "127.0.0.1:9000");
        let database = [("DB_HOST", "db"), ("DB_USER", "u"), ("DB_PASSWORD", "p@"), ("DB_POOL_MAX_SIZE", "20")];
        let settings = load(&[], &env(&database), None).unwrap();
        assert_eq!(settings.store.url.reveal(), "mariadb://u:p%40@db/devmesh");
        assert_eq!((settings.store.pool_min, settings.store.pool_max), (1, 20));
        let more = [("DB_HOST", "db"), ("DEVMESH_STORE_URL", "file://x")];
        assert_eq!(load(&[], &env(&more), None).unwrap().store.url.reveal(), "file://x");
        let problems = load(&[], &env(&[("DB_HOST", "db"), ("DB_POOL_MIN_SIZE", "x")]), None).unwrap_err().to_string();
        assert!(problems.contains("DB_POOL_MIN_SIZE"), "{problems}");
    }

    #[test]
    fn variables_of_kubernetes_and_of_the_clients_are_none_of_ours() {
        let env = env(&[
            ("DEVMESH_SERVICE_HOST", "10.0.0.1"),
            ("DEVMESH_PORT_8000_TCP_ADDR", "10.0.0.1"),
            ("DEVMESH_PORT", "tcp://10.0.0.1:8000"),
            ("DEVMESH_TOKEN", "t"),
            ("DEVMESH_URL", "http://x"),
        ]);
        assert_eq!(load(&[], &env, None), Ok(Settings::default()));
    }

    #[test]
    fn wrong_files_say_where_and_what() {
        let cases: [(&str, &[&str]); 14] = [
            ("[http]\nlistn = \"off\"", &["devmesh.toml:2:", "http.listn", "http.listen"]),
            ("[htp]\nlisten = \"off\"", &["devmesh.toml:1:", "`htp`", "`http`"]),
            ("listen = \"off\"", &["devmesh.toml:1:", "`listen`"]),
            ("[http]\nlisten = 8000", &["devmesh.toml:2:", "http.listen", "string"]),
            ("[http]\nlisten = \"127.0.0.1:65536\"", &["devmesh.toml:2:", "127.0.0.1:65536", "127.0.0.1:8000"]),
            ("[http]\nlisten = \"off\"\nlisten = \"off\"", &["devmesh.toml:3:", "duplicate key"]),
            ("[http\n", &["devmesh.toml:1:"]),
            ("[retention]\nlogs = \"5\"", &["devmesh.toml:2:", "`5`", "90d"]),
            ("[retention]\nlogs = \"0s\"", &["retention.logs"]),
            ("[query]\nmemory = \"-1\"", &["devmesh.toml:2:", "`-1`", "64MiB"]),
            ("[log]\nformat = \"xml\"", &["devmesh.toml:2:", "xml", "json"]),
            ("[log]\nlevel = \"loud,=\"", &["log.level"]),
            ("[store]\nurl = \"mongodb://x\"", &["store.url", "mongodb", "file://DIR"]),
            ("[http]\nlisten = \"127.0.0.1:4317\"", &["127.0.0.1:4317", "http.listen", "otlp.grpc"]),
        ];
        for (text, expected) in cases {
            let problems = from_file(text).expect_err(text).to_string();
            for part in expected {
                assert!(problems.contains(part), "{text}: {problems} lacks {part}");
            }
        }
    }

    #[test]
    fn all_problems_are_told_at_once() {
        let problems = from_file("[http]\nlistn = 1\n[retention]\nlogs = \"x\"\n").unwrap_err();
        assert_eq!(problems.0.len(), 2, "{problems}");
    }

    #[test]
    fn a_mark_and_carriage_returns_do_no_harm() {
        let settings = from_file("\u{feff}[http]\r\nlisten = \"off\"\r\n").unwrap();
        assert_eq!(settings.http.listen, Listen::Off);
    }

    #[test]
    fn beyond_loopback_only_with_tokens_or_a_word_of_consent() {
        let open = |more: &[(&str, &str)]| {
            let mut all = vec![("DEVMESH_HTTP_LISTEN", "0.0.0.0:8000")];
            all.extend_from_slice(more);
            load(&[], &env(&all), None)
        };
        let problems = open(&[]).unwrap_err().to_string();
        for part in ["http.listen", "0.0.0.0:8000", "auth.read_tokens", "--insecure"] {
            assert!(problems.contains(part), "{problems} lacks {part}");
        }
        let token = "0123456789abcdef";
        assert!(open(&[("DEVMESH_AUTH_READ_TOKENS", token)]).is_err(), "ingest is open still");
        open(&[("DEVMESH_AUTH_READ_TOKENS", token), ("DEVMESH_AUTH_INGEST_TOKENS", token)]).unwrap();
        open(&[("DEVMESH_AUTH_INSECURE", "true")]).unwrap();
        let short = open(&[("DEVMESH_AUTH_READ_TOKENS", "short"), ("DEVMESH_AUTH_INGEST_TOKENS", token)]);
        let problems = short.unwrap_err().to_string();
        assert!(problems.contains("16 characters") && !problems.contains("short"), "{problems}");
    }
}
