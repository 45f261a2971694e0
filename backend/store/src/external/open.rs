//! Opening: the log becomes a store again, whether or not the database answers.

use std::{fs, path::Path, sync::Arc, time::Duration};

use super::{Live, Outside, Shared, state::StateFile, watch};
use crate::{
    Error,
    database::Database,
    front::{
        Front, disk,
        open::{Ground, prepare, replay, wal_options},
    },
    settings::Settings,
};

/// How long a start waits for the database's first answer. Without one the store starts all the same.
const FIRST_ANSWER: Duration = Duration::from_secs(3);

/// Opens a store before `database`, with its log in the data directory.
pub(crate) async fn open(mut settings: Settings, database: Arc<dyn Database>) -> Result<Front<Outside>, Error> {
    settings.flush.age = settings.flush.age.min(settings.database.flush_age);
    let runtime = tokio::runtime::Handle::current();
    let name = database.to_string();
    let opened = tokio::task::spawn_blocking(move || {
        let (shared, log, recovery) = load(settings, database, runtime)?;
        let store = Front::begin(shared, log, name)?;
        // Before the replay, which needs a database where the log is long.
        store.start("watch", watch::run)?;
        replay(&store.shared, recovery)?;
        wait_for_answer(&store.shared);
        Ok(store)
    });
    opened.await.map_err(|_panic| Error::NotReady("opening the store failed".into()))?
}

type Loaded = (Arc<Shared>, devmesh_wal::Log, devmesh_wal::Recovery);

fn load(settings: Settings, database: Arc<dyn Database>, runtime: tokio::runtime::Handle) -> Result<Loaded, Error> {
    let lock = disk::lock(&settings.data_dir)?;
    if settings.data_dir.join("MANIFEST").exists() {
        let directory = settings.data_dir.display();
        tracing::warn!(
            "{directory} holds files of an embedded store, which queries of {database} do not see; to move them: devmesh \
             copy --from file://{directory} --to the URL of the database"
        );
    }
    // A directory of its own: the log of an embedded store is none of the database's.
    let root = settings.data_dir.join("database");
    fs::create_dir_all(&root).map_err(Error::file("create", &root))?;
    disk::sync_directory_of(&root)?;
    let root = root.canonicalize().map_err(Error::file("open", &root))?;
    remove_temporaries(&root)?;
    let (log, recovery) = devmesh_wal::open(&root.join("wal"), wal_options(&settings.wal))?;
    let (state, damaged) = StateFile::open(&root, log.trimmed())?;
    let (stored, bound) = (state.state.stored, state.state.begun.map(|begun| begun.last));
    let live = Live { stored, horizon: state.state.horizon };
    let back = Outside::new(database, state);
    let ground = Ground { settings, root, lock, log, recovery, stored, bound, back, live, runtime };
    let (shared, log, recovery) = prepare(ground)?;
    shared.count_quarantined(u64::from(damaged), 0);
    Ok((shared, log, recovery))
}

/// What a crash in the middle of writing leaves.
fn remove_temporaries(root: &Path) -> Result<(), Error> {
    for entry in fs::read_dir(root).map_err(Error::file("list", root))? {
        let path = entry.map_err(Error::file("list", root))?.path();
        if path.is_file() && path.extension().is_some_and(|extension| extension == "tmp") {
            fs::remove_file(&path).map_err(Error::file("remove", &path))?;
        }
    }
    Ok(())
}

/// So that the first query of a store whose database is there finds it.
fn wait_for_answer(shared: &Shared) {
    let mut answers = shared.back.answers.subscribe();
    shared.runtime.block_on(async {
        // Neither failure nor time matters: the watch goes on asking.
        drop(tokio::time::timeout(FIRST_ANSWER, answers.wait_for(|answers| *answers > 0)).await);
    });
}
