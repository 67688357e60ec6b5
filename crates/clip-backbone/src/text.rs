//! CLIP's text tower.

use layers::LayerNorm;
use tch::{Kind, Tensor};

use crate::block::{Block, BlockConfig, Mask};
use crate::config::TextConfig;
use crate::parameters::Builder;
use crate::{Error, Result};

/// Texts of a part of a batch.
const TEXTS: i64 = 16;

/// A causal transformer whose state at the end-of-text token is projected into the joint space.
#[derive(Debug)]
pub struct TextTower {
    config: TextConfig,
    /// `[vocabulary, width]`
    token_embedding: Tensor,
    /// `[context, width]`
    positions: Tensor,
    blocks: Vec<Block>,
    final_norm: LayerNorm,
    /// `[joint, width]`
    projection: Tensor,
}

// As for the image tower: its tensors are only read.
#[allow(unsafe_code)]
unsafe impl Sync for TextTower {}

impl TextTower {
    /// The tower's shape.
    pub fn config(&self) -> &TextConfig {
        &self.config
    }

    /// D, the width of the joint space.
    pub fn joint_width(&self) -> i64 {
        self.projection.size()[0]
    }

    /// The precision it computes in.
    pub fn kind(&self) -> Kind {
        self.projection.kind()
    }

    /// The device of its weights.
    pub fn device(&self) -> tch::Device {
        self.projection.device()
    }

    /// The blocks, for encodings that do not run them over a plain sequence.
    pub fn blocks(&self) -> &[Block] {
        &self.blocks
    }

    /// Position embeddings, `[context, width]`.
    pub fn positions(&self) -> &Tensor {
        &self.positions
    }

    /// Token embeddings without positions: ids `[..]` to `[.., width]`.
    ///
    /// # Errors
    /// [`Error::Config`] if an id is not in the vocabulary.
    pub fn embed(&self, ids: &Tensor) -> Result<Tensor> {
        let ids = ids.to_kind(Kind::Int64);
        // Checked where they are: usually not on a GPU, which would require a synchronisation.
        if ids.numel() > 0 {
            let (low, high) = (ids.min().int64_value(&[]), ids.max().int64_value(&[]));
            if low < 0 || high >= self.config.vocabulary {
                return Err(Error::Config {
                    field: "token id".into(),
                    expected: format!("0 to {}", self.config.vocabulary - 1),
                    got: if low < 0 { low } else { high }.to_string(),
                });
            }
        }
        Ok(Tensor::embedding(
            &self.token_embedding,
            &ids.to_device(self.device()),
            -1,
            false,
            false,
        ))
    }

    /// Text features: ids `[N, context]`, padded, to `[N, D]`, not normalised.
    ///
    /// The sequences are cut after the last end-of-text token of the batch: with a causal
    /// mask later tokens have no effect.
    ///
    /// # Errors
    /// [`Error::Shape`] if `ids` is not `[N, 1..=context]`; [`Error::Config`] for an id
    /// outside the vocabulary.
    pub fn forward(&self, ids: &Tensor) -> Result<Tensor> {
        let whole = |ids: &Tensor| {
            let eos = self.end_of_text(ids)?;
            self.forward_embeddings(&self.embed(ids)?, &eos)
        };
        let recorded = self.projection.alias().requires_grad();
        let divided = parallel::divides(self.device()) && !recorded;
        match ids.size().first() {
            Some(texts) if *texts > TEXTS && divided => {
                let features = parallel::each(self.device(), ids.split(TEXTS, 0), |ids| {
                    tch::no_grad(|| whole(&ids))
                });
                let features = features.into_iter().collect::<Result<Vec<_>>>()?;
                Ok(Tensor::f_cat(&features, 0)?)
            }
            _ => whole(ids),
        }
    }

    /// The same features with all tokens computed in every block: the reference for
    /// [`forward`](Self::forward). Also returns the states.
    ///
    /// # Errors
    /// As [`forward`](Self::forward).
    pub fn forward_literal(&self, ids: &Tensor) -> Result<LiteralText> {
        let eos = self.end_of_text(ids)?;
        let x = self.embed(ids)?;
        let length = x.size()[1];
        let mut states = vec![x + self.positions.narrow(0, 0, length)];
        for block in &self.blocks {
            let next = states
                .last()
                .map(|x| block.forward_literal(x, Mask::Causal));
            states.extend(next);
        }
        let normed = self.final_norm.forward(&states[states.len() - 1]);
        let features = select_rows(&normed, &eos).linear(&self.projection, None::<&Tensor>);
        Ok(LiteralText {
            features,
            states,
            normed,
        })
    }

    /// Text features from token embeddings without positions, cut after the longest text.
    ///
    /// `embeddings` is `[N, L, width]` and may carry gradients, `eos` `[N]` the position of
    /// each end-of-text token. Returns `[N, D]`, not normalised.
    ///
    /// # Errors
    /// [`Error::Shape`] if the shapes do not fit each other or the context.
    pub fn forward_embeddings(&self, embeddings: &Tensor, eos: &Tensor) -> Result<Tensor> {
        let size = embeddings.size();
        let (context, width) = (self.config.context, self.config.width);
        if size.len() != 3 || size[0] < 1 || !(1..=context).contains(&size[1]) || size[2] != width {
            return Err(Error::Shape {
                op: "text tower",
                expected: format!("[N, 1..={context}, {width}] with N >= 1"),
                got: size,
            });
        }
        let eos = eos.to_kind(Kind::Int64);
        let longest = if eos.size() == [size[0]] {
            eos.max().int64_value(&[])
        } else {
            -1
        };
        if longest < 0 || longest >= size[1] || eos.min().int64_value(&[]) < 0 {
            return Err(Error::Shape {
                op: "text tower, end-of-text positions",
                expected: format!("[{}] with values 0..{}", size[0], size[1]),
                got: eos.size(),
            });
        }
        let eos = eos.to_device(self.device());
        let length = longest + 1;
        let mut x = embeddings.narrow(1, 0, length).to_kind(self.kind())
            + self.positions.narrow(0, 0, length);
        for block in &self.blocks {
            x = block.forward(&x, Mask::Causal);
        }
        Ok(self.project(&select_rows(&x, &eos)))
    }

    /// Final layer norm and projection: `[.., width]` to `[.., D]`.
    pub fn project(&self, hidden: &Tensor) -> Tensor {
        self.final_norm
            .forward(hidden)
            .linear(&self.projection, None::<&Tensor>)
    }

    /// The position of each row's end-of-text token: the first of the largest id. `[N]`
    ///
    /// # Errors
    /// [`Error::Shape`] if `ids` is not `[N, 1..=context]`.
    pub fn end_of_text(&self, ids: &Tensor) -> Result<Tensor> {
        let (size, context) = (ids.size(), self.config.context);
        if size.len() != 2 || size[0] < 1 || !(1..=context).contains(&size[1]) {
            return Err(Error::Shape {
                op: "text tower",
                expected: format!("[N, 1..={context}] with N >= 1"),
                got: size,
            });
        }
        Ok(ids.argmax(1, false))
    }

    pub(crate) fn shallow_clone(&self) -> Self {
        Self {
            config: self.config.clone(),
            token_embedding: self.token_embedding.shallow_clone(),
            positions: self.positions.shallow_clone(),
            blocks: self.blocks.iter().map(Block::shallow_clone).collect(),
            final_norm: self.final_norm.shallow_clone(),
            projection: self.projection.shallow_clone(),
        }
    }

    pub(crate) fn take(
        builder: &mut Builder<'_>,
        config: &TextConfig,
        joint_width: i64,
    ) -> Result<Self> {
        let (width, eps) = (config.width, config.norm_eps);
        let embeddings = "text_model.embeddings";
        let block = BlockConfig {
            width,
            heads: config.heads,
            mlp_width: config.mlp_width,
            activation: config.activation,
            norm_eps: eps,
        };
        Ok(Self {
            config: config.clone(),
            token_embedding: builder.take(
                &format!("{embeddings}.token_embedding.weight"),
                &[config.vocabulary, width],
            )?,
            positions: builder.take(
                &format!("{embeddings}.position_embedding.weight"),
                &[config.context, width],
            )?,
            blocks: (0..config.layers)
                .map(|i| Block::take(builder, &format!("text_model.encoder.layers.{i}"), &block))
                .collect::<Result<_>>()?,
            final_norm: builder.norm("text_model.final_layer_norm", width, eps)?,
            projection: builder.take("text_projection.weight", &[joint_width, width])?,
        })
    }
}

/// The literal forward's result.
#[derive(Debug)]
pub struct LiteralText {
    /// `[N, D]`, not normalised.
    pub features: Tensor,
    /// The states before the first block and after each, `[N, L, width]`.
    pub states: Vec<Tensor>,
    /// The last state after the final layer norm, `[N, L, width]`.
    pub normed: Tensor,
}

/// Row `at[n]` of each sequence: `[N, L, W]`, `[N]` to `[N, W]`.
fn select_rows(x: &Tensor, at: &Tensor) -> Tensor {
    let width = x.size()[2];
    let index = at
        .to_device(x.device())
        .view([-1, 1, 1])
        .expand([-1, 1, width], false);
    x.gather(1, &index, false).squeeze_dim(1)
}
