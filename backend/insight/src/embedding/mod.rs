//! Vectors of texts: all-MiniLM-L6-v2 on the CPU, equal to the reference (sentence-transformers: mean pooling, L2 norm, at
//! most 256 tokens).
//!
//! How it fails: loading fails with [`Error::Model`] where the directory has no usable model; embedding itself fails only
//! where the tokenizer does, which no text is known to bring about. A text without a word is its two marks, `[CLS][SEP]`.

mod bert;
pub(crate) mod kernels;
mod queue;
mod store;

use std::path::Path;

use tokenizers::{Tokenizer, TruncationDirection, TruncationParams, TruncationStrategy};

pub use bert::DIMENSIONS;
pub use queue::{Queue, QueueStatus};
pub use store::{StoredVector, VectorFile, VectorFileStatus, VectorReader};

use crate::Error;

/// Tokens of a text that are looked at, the two marks included: `max_seq_length` of sentence-transformers' model.
pub const TOKENS: usize = 256;
const _: () = assert!(TOKENS <= bert::POSITIONS);
/// Tokens of the texts that pass through the model at once: enough to use the weights well, few enough to stay in cache.
const BATCH_TOKENS: usize = 512;

/// The loaded model. Sharing it costs nothing; one call uses one thread unless it is told to use more.
#[derive(Debug)]
pub struct Embedder {
    bert: bert::Bert,
    tokenizer: Tokenizer,
    name: String,
}

impl Embedder {
    /// Loads `model.safetensors` and `tokenizer.json` of `directory`.
    ///
    /// # Errors
    /// [`Error::Model`] naming the file that is missing, unreadable or of another model.
    pub fn load(directory: &Path) -> Result<Self, Error> {
        let file = directory.join("tokenizer.json");
        let broken = |e: tokenizers::Error| Error::model("read the tokenizer", &file, e.to_string());
        let mut tokenizer = Tokenizer::from_file(&file).map_err(broken)?;
        let truncation = TruncationParams {
            max_length: TOKENS,
            strategy: TruncationStrategy::LongestFirst,
            direction: TruncationDirection::Right,
            stride: 0,
        };
        tokenizer.with_padding(None).with_truncation(Some(truncation)).map_err(broken)?;
        let bert = bert::Bert::load(&directory.join("model.safetensors"))?;
        Ok(Self { bert, tokenizer, name: crate::model::NAME.to_owned() })
    }

    /// The model's name, as answers state it.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// The vector of one text: [`DIMENSIONS`] floats of length 1, on the calling thread.
    ///
    /// # Errors
    /// [`Error::Embed`] where the tokenizer or the model fails.
    pub fn embed(&self, text: &str) -> Result<Vec<f32>, Error> {
        let ids = self.tokens(text)?;
        let mut vectors = self.bert.forward(&[&ids]).map_err(Error::embed)?;
        vectors.pop().ok_or_else(|| Error::embed("the model returned no vector"))
    }

    /// The vectors of many texts in their order, on up to `threads` threads.
    ///
    /// # Errors
    /// [`Error::Embed`] where the tokenizer or the model fails.
    pub fn embed_batch<T: AsRef<str> + Sync>(&self, texts: &[T], threads: usize) -> Result<Vec<Vec<f32>>, Error> {
        let share = texts.len().div_ceil(threads.max(1)).max(1);
        if share >= texts.len() {
            return self.embed_share(texts);
        }
        let shares: Vec<Result<Vec<Vec<f32>>, Error>> = std::thread::scope(|scope| {
            let work: Vec<_> = texts.chunks(share).map(|texts| scope.spawn(move || self.embed_share(texts))).collect();
            work.into_iter()
                .map(|w| w.join().unwrap_or_else(|_| Err(Error::embed("a thread of the model panicked"))))
                .collect()
        });
        let mut vectors = Vec::with_capacity(texts.len());
        for share in shares {
            vectors.extend(share?);
        }
        Ok(vectors)
    }

    fn embed_share<T: AsRef<str>>(&self, texts: &[T]) -> Result<Vec<Vec<f32>>, Error> {
        let mut vectors = Vec::with_capacity(texts.len());
        let mut batch: Vec<Vec<u32>> = Vec::new();
        let mut size = 0;
        for text in texts {
            let ids = self.tokens(text.as_ref())?;
            if size + ids.len() > BATCH_TOKENS && !batch.is_empty() {
                self.embed_tokens(&mut batch, &mut vectors)?;
                size = 0;
            }
            size += ids.len();
            batch.push(ids);
        }
        self.embed_tokens(&mut batch, &mut vectors)?;
        Ok(vectors)
    }

    fn embed_tokens(&self, batch: &mut Vec<Vec<u32>>, vectors: &mut Vec<Vec<f32>>) -> Result<(), Error> {
        if !batch.is_empty() {
            let texts: Vec<&[u32]> = batch.iter().map(Vec::as_slice).collect();
            vectors.extend(self.bert.forward(&texts).map_err(Error::embed)?);
            batch.clear();
        }
        Ok(())
    }

    fn tokens(&self, text: &str) -> Result<Vec<u32>, Error> {
        // The tokenizer splits a text whole before it truncates: of a stack trace of 256 KiB it needs the beginning.
        let end = text.floor_char_boundary(TEXT_BYTES);
        let encoding = self.tokenizer.encode_fast(&text[..end], true).map_err(|e| Error::embed(e.to_string()))?;
        Ok(encoding.get_ids().to_vec())
    }
}

/// Bytes of a text that the tokenizer is given. 256 tokens of a word each are far below; only a text of runs of blanks or of
/// words above WordPiece's 100 characters could see a difference.
const TEXT_BYTES: usize = 16 << 10;

/// Gives `vector` length 1; a vector of zeros stays one.
pub(crate) fn normalise(vector: &mut [f32]) {
    let length = kernels::dot(vector, vector).sqrt();
    if length > 0.0 {
        for x in vector {
            *x /= length;
        }
    }
}
