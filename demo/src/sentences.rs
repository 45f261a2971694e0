//! Bodies of many templates, and questions about logs in words of their own: for searches by meaning.

use crate::Rng;

const WORDS: &str = "connection refused by peer while reading response from upstream server request failed with status user logged in \
    session opened closed file not found disk full memory exhausted process started stopped task finished block received \
    replica leader elected partition offset commit transaction aborted certificate expired password invalid timeout retry \
    queue backlog cache miss eviction checkpoint compaction segment deleted index rebuilt node joined cluster heartbeat lost \
    worker exited signal configuration reloaded parameter unknown permission denied volume attached pod scheduled image pulled";

/// Questions that share few words with logs, or name an id.
pub const QUESTIONS: [&str; 4] = [
    "the customer could not pay because the card was refused",
    "who was logged out after typing the wrong secret too often",
    "what happened to order_4711 in stage 7",
    "machine ran out of RAM and was restarted by the scheduler",
];

/// So many sentences of words that logs have in common, 8 to 15 in each: hardly two are of one template.
pub fn sentences(count: u64) -> impl Iterator<Item = String> {
    let words: Vec<&str> = WORDS.split_whitespace().collect();
    let mut rng = Rng::new(1);
    (0..count).map(move |_| {
        let text: Vec<&str> = (0..8 + rng.below(8)).map(|_| rng.pick(&words)).collect();
        text.join(" ")
    })
}
