//! Alerts on their way out: to Alertmanagers, which are told everything again and again and group it themselves, and to the ends
//! of receivers, whose groups [`Dispatcher`] keeps.
//!
//! What waits is bounded, and an alert waits once, as it was last. What is not taken is sent again with growing pauses; for an
//! end until its group has its next turn, when the message is made anew.

use std::{
    collections::{BTreeMap, HashMap},
    sync::{
        Arc, Mutex,
        atomic::{AtomicU64, Ordering::Relaxed},
    },
    time::Duration,
};

use bytes::Bytes;
use devmesh_rules::notify::{
    Notice,
    config::{Alertmanager, Config, End, Kind},
    dispatch::{Dispatcher, Job},
    message,
};
use devmesh_schema::limits;
use tokio::sync::{Notify, Semaphore};
use tokio_util::sync::CancellationToken;

use super::{
    client::{Client, Refused, read},
    lock, now_ms,
};

/// Alerts of one request to an Alertmanager.
const BATCH: usize = 256;
/// The first pause before something is sent again; it doubles.
const PAUSE: Duration = Duration::from_secs(1);
/// The longest.
const PAUSE_MAX: Duration = Duration::from_secs(60);
/// Messages to ends that are on their way at once.
const AT_ONCE: usize = 16;
/// How long the dispatcher sleeps where nothing is due.
const IDLE: Duration = Duration::from_secs(60);

/// Counts since the start, of one sort of receiver.
#[derive(Debug, Default)]
pub(crate) struct Sent {
    /// Messages that were taken.
    pub(crate) ok: AtomicU64,
    /// Messages that were given up.
    pub(crate) failed: AtomicU64,
    /// Times that one had to be sent again.
    pub(crate) retried: AtomicU64,
}

/// The sorts of receivers.
pub(crate) const SORTS: [&str; 5] = ["alertmanager", "webhook", "slack", "discord", "telegram"];

/// Everything on its way out.
#[derive(Debug)]
pub(crate) struct Delivery {
    external_url: String,
    managers: Mutex<Vec<Arc<Manager>>>,
    ends: Mutex<Ends>,
    dispatcher: Mutex<Dispatcher>,
    wake: Notify,
    turns: Arc<Semaphore>,
    sent: [Sent; 5],
    dropped: AtomicU64,
}

/// The receivers in force.
#[derive(Debug, Default)]
struct Ends {
    config: Arc<Config>,
    clients: HashMap<(String, usize), Client>,
    /// Ends what was sent by the receivers before.
    stop: CancellationToken,
}

/// An Alertmanager with what waits for it.
#[derive(Debug)]
struct Manager {
    to: Alertmanager,
    client: Client,
    waiting: Mutex<BTreeMap<u64, Notice>>,
    wake: Notify,
}

impl Delivery {
    pub(super) fn new(external_url: String, dispatcher: Dispatcher) -> Arc<Self> {
        Arc::new(Self {
            external_url,
            managers: Mutex::default(),
            ends: Mutex::default(),
            dispatcher: Mutex::new(dispatcher),
            wake: Notify::new(),
            turns: Arc::new(Semaphore::new(AT_ONCE)),
            sent: Default::default(),
            dropped: AtomicU64::new(0),
        })
    }

    /// Takes other receivers into force.
    ///
    /// # Errors
    /// A certificate cannot be read; those before stay.
    pub(super) fn tell(self: &Arc<Self>, config: Config) -> Result<(), String> {
        let named = |name: &str, error: String| format!("rules.receivers_file: {name}: {error}");
        let mut clients = HashMap::new();
        for end in &config.ends {
            let client = Client::new(&end.http).map_err(|error| named(&end.receiver, error))?;
            clients.insert((end.receiver.clone(), end.index), client);
        }
        let mut managers = Vec::new();
        for to in &config.alertmanagers {
            let client = Client::new(&to.http).map_err(|error| named("alerting", error))?;
            let (waiting, wake) = (Mutex::default(), Notify::new());
            managers.push(Arc::new(Manager { to: to.clone(), client, waiting, wake }));
        }
        lock(&self.dispatcher).keep(&config);
        let stop = CancellationToken::new();
        let before = {
            let mut ends = lock(&self.ends);
            let stop = stop.clone();
            std::mem::replace(&mut *ends, Ends { config: Arc::new(config), clients, stop })
        };
        before.stop.cancel();
        for manager in &managers {
            let (this, manager, stop) = (Arc::clone(self), Arc::clone(manager), stop.clone());
            tokio::spawn(async move { stop.run_until_cancelled(this.feed(&manager)).await });
        }
        *lock(&self.managers) = managers;
        self.wake.notify_one();
        Ok(())
    }

    /// The labels that every alert gets.
    pub(super) fn config(&self) -> Arc<Config> {
        Arc::clone(&lock(&self.ends).config)
    }

    /// Takes alerts in.
    pub(super) fn take(&self, notices: &[Notice]) {
        if notices.is_empty() {
            return;
        }
        for manager in lock(&self.managers).iter() {
            let mut waiting = lock(&manager.waiting);
            for notice in notices {
                waiting.insert(notice.fingerprint(), notice.clone());
            }
            while waiting.len() > limits::NOTIFICATIONS {
                waiting.pop_first();
                self.dropped.fetch_add(1, Relaxed);
            }
            drop(waiting);
            manager.wake.notify_one();
        }
        let config = self.config();
        let now = now_ms();
        {
            let mut dispatcher = lock(&self.dispatcher);
            notices.iter().for_each(|notice| dispatcher.insert(&config, notice, now));
        }
        self.wake.notify_one();
    }

    /// Sends to the ends of receivers what is due, until told to stop.
    pub(super) async fn run(self: &Arc<Self>, stop: &CancellationToken) {
        while !stop.is_cancelled() {
            let now = now_ms();
            let (jobs, next) = {
                let mut dispatcher = lock(&self.dispatcher);
                (dispatcher.due(now), dispatcher.next())
            };
            for job in jobs {
                let this = Arc::clone(self);
                tokio::spawn(async move { this.job(job).await });
            }
            let wait = next.map_or(IDLE, |next| Duration::from_millis(u64::try_from(next - now).unwrap_or(0)));
            tokio::select! {
                () = stop.cancelled() => {}
                () = self.wake.notified() => {}
                () = tokio::time::sleep(wait.min(IDLE)) => {}
            }
        }
        lock(&self.ends).stop.cancel();
    }

    /// Delivers one message, or gives it up.
    async fn job(self: Arc<Self>, job: Job) {
        let (end, client, stop) = {
            let ends = lock(&self.ends);
            let end = ends.config.ends_of(&job.key.receiver).find(|end| end.index == job.key.end).cloned();
            let client = ends.clients.get(&(job.key.receiver.clone(), job.key.end)).cloned();
            (end, client, ends.stop.clone())
        };
        let sort = end.as_ref().map_or(SORTS[1], sort);
        let delivered = match (end, client) {
            (Some(end), Some(client)) => {
                stop.run_until_cancelled(self.deliver(&end, &client, &job)).await.unwrap_or(false)
            }
            _ => false,
        };
        lock(&self.dispatcher).done(&job, delivered);
        if delivered {
            self.of(sort).ok.fetch_add(1, Relaxed);
        }
        self.wake.notify_one();
    }

    async fn deliver(&self, end: &End, client: &Client, job: &Job) -> bool {
        let Ok(_turn) = self.turns.acquire().await else { return false };
        let body = Bytes::from(message::for_end(end, job, &self.external_url).to_string());
        let until = tokio::time::Instant::now()
            + Duration::from_millis(u64::try_from(job.until.saturating_sub(now_ms())).unwrap_or(0));
        let name = format!("{} ({})", end.receiver, sort(end));
        let sending = self.until_taken(sort(end), &name, || async {
            client.post(&address(end).await?, body.clone(), end.timeout).await
        });
        match tokio::time::timeout_at(until, sending).await {
            Ok(taken) => taken,
            Err(_next_turn) => {
                self.of(sort(end)).failed.fetch_add(1, Relaxed);
                tracing::warn!(receiver = name, "alerts could not be delivered; tried again at the group's next turn");
                false
            }
        }
    }

    /// Sends what waits for an Alertmanager, for ever.
    async fn feed(&self, manager: &Manager) {
        let url = message::alertmanager_url(&manager.to);
        loop {
            let batch: Vec<Notice> = {
                let mut waiting = lock(&manager.waiting);
                std::iter::from_fn(|| waiting.pop_first().map(|(_, notice)| notice)).take(BATCH).collect()
            };
            if batch.is_empty() {
                manager.wake.notified().await;
                continue;
            }
            let body = Bytes::from(message::for_alertmanager(&batch).to_string());
            let send = || manager.client.post(&url, body.clone(), manager.to.timeout);
            if self.until_taken(SORTS[0], SORTS[0], send).await {
                self.of(SORTS[0]).ok.fetch_add(1, Relaxed);
            }
        }
    }

    /// Sends the same until it is taken, or refused for good.
    async fn until_taken<F>(&self, sort: &str, name: &str, send: impl Fn() -> F) -> bool
    where
        F: Future<Output = Result<(), Refused>>,
    {
        let figures = self.of(sort);
        let mut pause = PAUSE;
        loop {
            let Refused { reason, again } = match send().await {
                Ok(()) => return true,
                Err(refused) => refused,
            };
            let Some(after) = again else {
                figures.failed.fetch_add(1, Relaxed);
                tracing::warn!(receiver = name, "alerts were refused: {reason}");
                return false;
            };
            if pause == PAUSE {
                tracing::warn!(receiver = name, "alerts could not be delivered, and are sent again: {reason}");
            }
            figures.retried.fetch_add(1, Relaxed);
            tokio::time::sleep(pause.max(after)).await;
            pause = (pause * 2).min(PAUSE_MAX);
        }
    }

    fn of(&self, sort: &str) -> &Sent {
        let at = SORTS.iter().position(|known| *known == sort).unwrap_or(0);
        &self.sent[at]
    }

    /// The state of the groups, to be kept.
    pub(super) fn dispatcher(&self) -> Dispatcher {
        lock(&self.dispatcher).clone()
    }

    /// Counts by sort of receiver.
    pub(crate) fn sent(&self) -> impl Iterator<Item = (&'static str, &Sent)> {
        SORTS.into_iter().zip(&self.sent)
    }

    /// Alerts that found no room, since the start.
    pub(crate) fn dropped(&self) -> u64 {
        self.dropped.load(Relaxed) + lock(&self.dispatcher).dropped()
    }

    /// Alerts that wait, or stand in groups.
    pub(crate) fn waiting(&self) -> usize {
        let managers: usize = lock(&self.managers).iter().map(|manager| lock(&manager.waiting).len()).sum();
        managers + lock(&self.dispatcher).alerts()
    }
}

fn sort(end: &End) -> &'static str {
    match end.kind {
        Kind::Webhook { .. } => SORTS[1],
        Kind::Slack { .. } => SORTS[2],
        Kind::Discord { .. } => SORTS[3],
        Kind::Telegram { .. } => SORTS[4],
    }
}

/// Where an end is told. The bot's token is a part of it.
async fn address(end: &End) -> Result<String, Refused> {
    let url = read(&end.url).await?;
    match &end.kind {
        Kind::Telegram { token, .. } => Ok(format!("{url}/bot{}/sendMessage", read(token).await?)),
        _ => Ok(url),
    }
}
