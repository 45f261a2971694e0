//! The forward pass of all-MiniLM-L6-v2: a BERT encoder of six layers, mean pooling, L2 norm.
//!
//! The weights and the hidden states are candle tensors; a layer is one candle operation ([`CustomOp1`]) over the rows of
//! all texts of a batch, laid one behind the other: nothing is padded, so a batch costs what its tokens cost.

use std::collections::HashMap;
use std::path::Path;

use candle_core::{CpuStorage, CustomOp1, DType, Device, Layout, Shape, Tensor};
use pulp::Arch;

use super::kernels::{self, Dense};
use crate::Error;

/// Floats of a vector, and of a hidden state.
pub const DIMENSIONS: usize = 384;
const HEADS: usize = DIMENSIONS / kernels::WIDTH;
const LAYERS: usize = 6;
const INNER: usize = 4 * DIMENSIONS;
/// Tokens the checkpoint has positions for.
pub(super) const POSITIONS: usize = 512;

/// The encoder with its weights, about 90 MB.
#[derive(Debug)]
pub(super) struct Bert {
    words: Tensor,
    /// Position embeddings with the embedding of the only token type added.
    positions: Tensor,
    norm: Norm,
    layers: Vec<Layer>,
    arch: Arch,
}

impl Bert {
    /// Reads `model.safetensors`.
    ///
    /// # Errors
    /// [`Error::Model`] where the file can't be read, or a tensor is missing or has another shape.
    pub(super) fn load(file: &Path) -> Result<Self, Error> {
        let model = |e: candle_core::Error| Error::model("read the weights", file, e);
        let tensors = candle_core::safetensors::load(file, &Device::Cpu).map_err(model)?;
        let mut weights = Weights { tensors, arch: Arch::new() };
        Self::build(&mut weights).map_err(model)
    }

    fn build(w: &mut Weights) -> candle_core::Result<Self> {
        let words = w.take("embeddings.word_embeddings.weight")?;
        let kind = w.shaped("embeddings.token_type_embeddings.weight", &[2, DIMENSIONS])?.narrow(0, 0, 1)?;
        let positions =
            w.shaped("embeddings.position_embeddings.weight", &[POSITIONS, DIMENSIONS])?.broadcast_add(&kind)?;
        let norm = w.norm("embeddings.LayerNorm")?;
        let layers = (0..LAYERS).map(|l| Layer::build(w, &format!("encoder.layer.{l}"))).collect::<Result<_, _>>()?;
        Ok(Self { words, positions, norm, layers, arch: w.arch })
    }

    /// One vector of length 1 for each text's token ids (at least one id, at most [`POSITIONS`]).
    pub(super) fn forward(&self, texts: &[&[u32]]) -> candle_core::Result<Vec<Vec<f32>>> {
        let mut spans = Vec::with_capacity(texts.len());
        let (mut ids, mut positions) = (Vec::new(), Vec::new());
        for text in texts {
            spans.push((ids.len(), text.len()));
            ids.extend_from_slice(text);
            positions.extend(0..text.len() as u32);
        }
        let rows = ids.len();
        let ids = Tensor::from_vec(ids, rows, &Device::Cpu)?;
        let positions = Tensor::from_vec(positions, rows, &Device::Cpu)?;
        let words = self.words.index_select(&ids, 0)?;
        let mut x = words.apply_op1_no_bwd(&Embed {
            positions: self.positions.index_select(&positions, 0)?.flatten_all()?.to_vec1()?,
            norm: &self.norm,
            arch: self.arch,
        })?;
        for layer in &self.layers {
            x = x.apply_op1_no_bwd(&LayerOp { layer, texts: &spans, arch: self.arch })?;
        }
        let x: Vec<f32> = x.flatten_all()?.to_vec1()?;
        Ok(spans.iter().map(|&(first, rows)| pool(&x[first * DIMENSIONS..][..rows * DIMENSIONS])).collect())
    }
}

/// The mean of the rows, with length 1.
fn pool(rows: &[f32]) -> Vec<f32> {
    let mut mean = vec![0.0f32; DIMENSIONS];
    for row in rows.chunks_exact(DIMENSIONS) {
        for (m, x) in mean.iter_mut().zip(row) {
            *m += x;
        }
    }
    super::normalise(&mut mean);
    mean
}

/// The tensors of a checkpoint by name, with or without the prefix `bert.`.
struct Weights {
    tensors: HashMap<String, Tensor>,
    arch: Arch,
}

impl Weights {
    fn take(&mut self, name: &str) -> candle_core::Result<Tensor> {
        let found = self.tensors.remove(name).or_else(|| self.tensors.remove(&format!("bert.{name}")));
        found.ok_or_else(|| candle_core::Error::Msg(format!("tensor {name} is missing")))?.to_dtype(DType::F32)
    }

    fn shaped(&mut self, name: &str, dims: &[usize]) -> candle_core::Result<Tensor> {
        let t = self.take(name)?;
        if t.dims() == dims {
            return Ok(t);
        }
        Err(candle_core::Error::Msg(format!("tensor {name} has shape {:?} instead of {dims:?}", t.dims())))
    }

    fn floats(&mut self, name: &str, dims: &[usize]) -> candle_core::Result<Vec<f32>> {
        self.shaped(name, dims)?.flatten_all()?.to_vec1()
    }

    fn norm(&mut self, name: &str) -> candle_core::Result<Norm> {
        let gain = self.floats(&format!("{name}.weight"), &[DIMENSIONS])?;
        Ok(Norm { gain, bias: self.floats(&format!("{name}.bias"), &[DIMENSIONS])? })
    }

    fn dense(&mut self, name: &str, inputs: usize, outputs: usize, scale: f32) -> candle_core::Result<Dense> {
        let weights = self.floats(&format!("{name}.weight"), &[outputs, inputs])?;
        Ok(Dense::new(self.arch, &weights, &self.floats(&format!("{name}.bias"), &[outputs])?, inputs, scale))
    }
}

#[derive(Debug)]
struct Norm {
    gain: Vec<f32>,
    bias: Vec<f32>,
}

impl Norm {
    fn add(&self, arch: Arch, x: &mut [f32], residual: &[f32]) {
        kernels::add_norm(arch, x, residual, &self.gain, &self.bias);
    }
}

#[derive(Debug)]
struct Layer {
    /// Queries (with 1/√width in them), keys and values.
    attention: Dense,
    mix: Dense,
    mix_norm: Norm,
    wide: Dense,
    narrow: Dense,
    norm: Norm,
}

impl Layer {
    fn build(w: &mut Weights, p: &str) -> candle_core::Result<Self> {
        let d = DIMENSIONS;
        let scale = 1.0 / (kernels::WIDTH as f32).sqrt();
        let query = w.dense(&format!("{p}.attention.self.query"), d, d, scale)?;
        let key = w.dense(&format!("{p}.attention.self.key"), d, d, 1.0)?;
        let value = w.dense(&format!("{p}.attention.self.value"), d, d, 1.0)?;
        Ok(Self {
            attention: query.join([key, value]),
            mix: w.dense(&format!("{p}.attention.output.dense"), d, d, 1.0)?,
            mix_norm: w.norm(&format!("{p}.attention.output.LayerNorm"))?,
            wide: w.dense(&format!("{p}.intermediate.dense"), d, INNER, 1.0)?,
            narrow: w.dense(&format!("{p}.output.dense"), INNER, d, 1.0)?,
            norm: w.norm(&format!("{p}.output.LayerNorm"))?,
        })
    }

    fn forward(&self, arch: Arch, x: &[f32], texts: &[(usize, usize)]) -> Vec<f32> {
        let qkv = self.attention.forward(arch, x);
        let seen = kernels::attention(arch, &qkv, texts, HEADS);
        let mut y = self.mix.forward(arch, &seen);
        self.mix_norm.add(arch, &mut y, x);
        let mut wide = self.wide.forward(arch, &y);
        kernels::gelu(arch, &mut wide);
        let mut out = self.narrow.forward(arch, &wide);
        self.norm.add(arch, &mut out, &y);
        out
    }
}

/// Word plus position embedding, and their norm.
struct Embed<'a> {
    positions: Vec<f32>,
    norm: &'a Norm,
    arch: Arch,
}

impl CustomOp1 for Embed<'_> {
    fn name(&self) -> &'static str {
        "minilm-embed"
    }

    fn cpu_fwd(&self, x: &CpuStorage, layout: &Layout) -> candle_core::Result<(CpuStorage, Shape)> {
        let mut x = rows(x, layout)?.to_vec();
        self.norm.add(self.arch, &mut x, &self.positions);
        Ok((CpuStorage::F32(x), layout.shape().clone()))
    }
}

/// One encoder layer over the rows of several texts.
struct LayerOp<'a> {
    layer: &'a Layer,
    texts: &'a [(usize, usize)],
    arch: Arch,
}

impl CustomOp1 for LayerOp<'_> {
    fn name(&self) -> &'static str {
        "minilm-layer"
    }

    fn cpu_fwd(&self, x: &CpuStorage, layout: &Layout) -> candle_core::Result<(CpuStorage, Shape)> {
        let y = self.layer.forward(self.arch, rows(x, layout)?, self.texts);
        Ok((CpuStorage::F32(y), layout.shape().clone()))
    }
}

fn rows<'a>(x: &'a CpuStorage, layout: &Layout) -> candle_core::Result<&'a [f32]> {
    let (from, to) = layout.contiguous_offsets().ok_or_else(|| candle_core::Error::Msg("rows in pieces".into()))?;
    Ok(&x.as_slice::<f32>()?[from..to])
}
