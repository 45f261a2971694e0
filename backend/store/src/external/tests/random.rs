//! Any sequence of writes, faults and deaths: what was acknowledged is there once, in every answer.

use devmesh_schema::{Signal, Sink};
use proptest::prelude::*;

use super::{Place, fake::Fate};
use crate::{
    Store,
    conformance::{otlp, read, until},
    external::Outside,
    front::Front,
};

#[derive(Clone, Copy, Debug)]
enum Step {
    /// So many log records, and their batch sent twice.
    Write(u64),
    Flush,
    Away(bool),
    Stuck(bool),
    /// Every n-th answer is lost.
    Lossy(u64),
    /// Dropped and opened again.
    Die,
    /// Closed and opened again.
    Restart,
    Read,
}

fn step() -> impl Strategy<Value = Step> {
    prop_oneof![
        6 => (1..1500_u64).prop_map(Step::Write),
        3 => Just(Step::Flush),
        1 => any::<bool>().prop_map(Step::Away),
        1 => any::<bool>().prop_map(Step::Stuck),
        1 => (1..4_u64).prop_map(Step::Lossy),
        2 => Just(Step::Die),
        1 => Just(Step::Restart),
        3 => Just(Step::Read),
    ]
}

struct Run {
    place: Place,
    store: Front<Outside>,
    next: u64,
}

impl Run {
    async fn take(&mut self, step: Step) {
        match step {
            Step::Write(count) => {
                let id = format!("b{}", self.next);
                let batch = otlp::batch(Signal::Logs, &otlp::logs(self.next..self.next + count), Some(&id));
                assert!(!self.store.write(batch.clone()).await.unwrap().deduplicated);
                assert!(self.store.write(batch).await.unwrap().deduplicated);
                self.next += count;
            }
            Step::Flush => self.store.shared.wake.set(|wake| (wake.flush, wake.retry) = (true, true)),
            Step::Away(away) => self.place.database.away(away),
            Step::Stuck(stuck) => self.place.database.stuck(stuck),
            Step::Lossy(every) => {
                let mut count = 0;
                self.place.database.decide(move |_block| {
                    count += 1;
                    if count % every == 0 { Fate::Stored } else { Fate::AnswerLost }
                });
            }
            Step::Die | Step::Restart => {
                if matches!(step, Step::Restart) {
                    self.place.database.stuck(false);
                    self.store.close().await.unwrap();
                }
                let next = self.place.reopen();
                // The old one goes while the new one waits for the directory.
                let parked = Place::new();
                let old = std::mem::replace(&mut self.store, parked.reopen().await);
                drop(old);
                self.store = next.await;
            }
            Step::Read => self.read().await,
        }
    }

    /// All or an error, never a part.
    async fn read(&self) {
        let Ok(fragments) = self.store.scan(&crate::Scan::all(Signal::Logs)).await else { return };
        let Ok(rows) = read::fragments(fragments).await else { return };
        let found = rows.times().into_iter().map(|time| time - otlp::BASE);
        assert!(found.eq(0..i64::try_from(self.next).unwrap()), "not each of {} once", self.next);
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 24, max_shrink_iters: 40, ..ProptestConfig::default() })]
    #[test]
    fn whatever_happens_each_row_is_there_once(steps in prop::collection::vec(step(), 1..25)) {
        let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build().unwrap();
        runtime.block_on(async {
            let mut place = Place::new();
            place.settings.flush.bytes = 1 << 18;
            place.settings.flush.memory_bytes = 1 << 19;
            place.settings.database.insert_timeout = std::time::Duration::from_millis(50);
            let store = place.reopen().await;
            let mut run = Run { place, store, next: 0 };
            for step in steps {
                run.take(step).await;
            }
            run.place.database.away(false);
            run.place.database.stuck(false);
            run.place.database.decide(|_block| Fate::Stored);
            until("all is handed over", async || run.store.flush().await.is_ok()).await;
            let rows: usize = run.place.database.blocks().iter().map(|(_, rows)| rows).sum();
            assert_eq!(rows as u64, run.next);
            run.read().await;
            run.store.close().await.unwrap();
        });
    }
}
