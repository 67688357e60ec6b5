//! CLIP's image tower.

use layers::LayerNorm;
use tch::{Kind, Tensor};

use crate::block::{Block, BlockConfig, Mask};
use crate::config::VisionConfig;
use crate::frames::{EncodedFrames, FrameTokens};
use crate::hook::{BlockHook, NoHook};
use crate::parameters::Builder;
use crate::{Error, Result};

/// Frames of a part of a batch.
const FRAMES: i64 = 4;

/// Keeps tokens of the states before some blocks.
struct Kept {
    kind: FrameTokens,
    blocks: std::ops::Range<usize>,
    /// `[N, P, width]` each.
    tokens: Vec<Tensor>,
}

impl BlockHook for Kept {
    fn before_block(&mut self, block: usize, tokens: Tensor) -> Tensor {
        if self.blocks.contains(&block) {
            self.tokens.push(self.kind.of_state(&tokens));
        }
        tokens
    }
}

/// A vision transformer whose class token is projected into the joint space.
#[derive(Debug)]
pub struct VisionTower {
    config: VisionConfig,
    /// `[width, 3 * patch * patch]`
    patch_weight: Tensor,
    /// `[width]`
    patch_bias: Option<Tensor>,
    /// `[width]`
    class_embedding: Tensor,
    /// `[1 + patches, width]`
    positions: Tensor,
    norm_before: Option<LayerNorm>,
    blocks: Vec<Block>,
    norm_after: LayerNorm,
    /// `[joint, width]`
    projection: Tensor,
}

// A tower's tensors are only read, which libtorch allows from several threads at once; what tch
// keeps it from is the raw pointer in its handle. Packed weights are made under a lock.
#[allow(unsafe_code)]
unsafe impl Sync for VisionTower {}

impl VisionTower {
    /// The tower's shape.
    pub fn config(&self) -> &VisionConfig {
        &self.config
    }

    /// The precision it computes in.
    pub fn kind(&self) -> Kind {
        self.projection.kind()
    }

    /// The device of its weights.
    pub fn device(&self) -> tch::Device {
        self.projection.device()
    }

    /// Frame features: `[N, 3, S, S]` normalised pixels to `[N, D]`, not normalised.
    ///
    /// The features have the tower's precision. Only the class token is computed in the
    /// last block, since the others are not read.
    ///
    /// # Errors
    /// [`Error::Shape`] if `pixels` is not N frames of the tower's size.
    pub fn forward(&self, pixels: &Tensor) -> Result<Tensor> {
        let whole = |pixels: &Tensor| self.forward_hooked(pixels, &mut NoHook);
        let frames = pixels.size().first().copied().unwrap_or(0);
        if frames <= FRAMES || !parallel::divides(self.device()) || self.records(pixels) {
            return whole(pixels);
        }
        let features = parallel::each(self.device(), pixels.split(FRAMES, 0), |frames| {
            tch::no_grad(|| whole(&frames))
        });
        let features = features.into_iter().collect::<Result<Vec<_>>>()?;
        Ok(Tensor::f_cat(&features, 0)?)
    }

    /// Frames for the features of clips: `[N, 3, S, S]` normalised pixels, in parts on all threads, as
    /// [`forward`](Self::forward).
    ///
    /// # Errors
    /// [`Error::Shape`] if `pixels` is not N frames of the tower's size.
    pub fn encode(&self, pixels: &Tensor, kind: FrameTokens) -> Result<EncodedFrames> {
        if kind == FrameTokens::Class {
            return Ok(EncodedFrames {
                kind,
                class: self.forward(pixels)?.to_kind(Kind::Float),
                tokens: None,
            });
        }
        let whole = |pixels: &Tensor| -> Result<EncodedFrames> {
            let mut kept = Kept {
                kind,
                blocks: kind.read_before(self.blocks.len()),
                tokens: Vec::new(),
            };
            let class = self.forward_hooked(pixels, &mut kept)?;
            if kept.tokens.len() != kind.states() {
                return Err(Error::Shape {
                    op: "states of the image tower",
                    expected: format!("a tower of at least {} blocks for {kind}", kind.states()),
                    got: vec![self.blocks.len() as i64],
                });
            }
            let tokens = self.project(&Tensor::f_cat(&kept.tokens, 1)?);
            Ok(EncodedFrames {
                kind,
                class: class.to_kind(Kind::Float),
                tokens: Some(tokens.to_kind(Kind::Float)),
            })
        };
        let frames = pixels.size().first().copied().unwrap_or(0);
        if frames <= FRAMES || !parallel::divides(self.device()) || self.records(pixels) {
            return whole(pixels);
        }
        let parts = parallel::each(self.device(), pixels.split(FRAMES, 0), |frames| {
            tch::no_grad(|| whole(&frames))
        });
        let parts = parts.into_iter().collect::<Result<Vec<_>>>()?;
        let parts: Vec<&EncodedFrames> = parts.iter().collect();
        EncodedFrames::of(&parts)?.ok_or_else(|| Error::Shape {
            op: "vision tower",
            expected: "at least one frame".into(),
            got: pixels.size(),
        })
    }

    /// Whether gradients are recorded here and now, as a view tells.
    fn records(&self, pixels: &Tensor) -> bool {
        let recorded = |tensor: &Tensor| tensor.alias().requires_grad();
        recorded(pixels) || recorded(&self.projection)
    }

    /// As [`forward`](Self::forward), with `hook` called before each block.
    ///
    /// # Errors
    /// [`Error::Shape`] if `pixels` is not N frames of the tower's size.
    pub fn forward_hooked(&self, pixels: &Tensor, hook: &mut dyn BlockHook) -> Result<Tensor> {
        let tokens = self.embed(pixels)?;
        Ok(self.forward_tokens(tokens, hook))
    }

    /// Features from embedded tokens: `[N, L, width]`, class token first, to `[N, D]`.
    ///
    /// L is arbitrary: joint space-time attention passes the patches of several frames.
    pub fn forward_tokens(&self, tokens: Tensor, hook: &mut dyn BlockHook) -> Tensor {
        let mut x = tokens;
        for index in 0..self.blocks.len() {
            x = self.segment(index, x, hook);
        }
        x
    }

    /// The number of [`segment`](Self::segment)s from tokens to features.
    pub(crate) fn segments(&self) -> usize {
        self.blocks.len()
    }

    /// One block, with the norm before the first and the projection of the class token
    /// after the last.
    pub(crate) fn segment(&self, index: usize, x: Tensor, hook: &mut dyn BlockHook) -> Tensor {
        let x = if index == 0 { self.enter(x) } else { x };
        let x = hook.before_block(index, x);
        let block = &self.blocks[index];
        if index + 1 == self.blocks.len() {
            self.project(&block.forward_first(&x).select(1, 0))
        } else {
            block.forward(&x, Mask::None)
        }
    }

    /// The first segment with a parameter that collects a gradient.
    pub(crate) fn first_learning(&self) -> Option<usize> {
        let entry = self.norm_before.as_ref();
        if entry.is_some_and(|norm| norm.weight.requires_grad()) {
            return Some(0);
        }
        let learns = |block: &Block| block.norm1.weight.requires_grad();
        self.blocks.iter().position(learns).or_else(|| {
            let last = self.projection.requires_grad();
            last.then(|| self.blocks.len().saturating_sub(1))
        })
    }

    /// The same features with every token computed in every block: the reference for
    /// [`forward`](Self::forward). Also returns the states after `ln_pre` and each block.
    ///
    /// # Errors
    /// [`Error::Shape`] if `pixels` is not N frames of the tower's size.
    pub fn forward_literal(&self, pixels: &Tensor) -> Result<LiteralVision> {
        let embeddings = self.embed(pixels)?;
        let mut states = vec![self.enter(embeddings.shallow_clone())];
        for block in &self.blocks {
            let next = states.last().map(|x| block.forward_literal(x, Mask::None));
            states.extend(next);
        }
        let class = states
            .last()
            .map_or_else(|| embeddings.select(1, 0), |x| x.select(1, 0));
        Ok(LiteralVision {
            features: self.project(&class),
            embeddings,
            states,
        })
    }

    /// Patch, class and position embeddings: `[N, 3, S, S]` to `[N, 1 + patches, width]`.
    ///
    /// # Errors
    /// [`Error::Shape`] if `pixels` is not N frames of the tower's size.
    pub fn embed(&self, pixels: &Tensor) -> Result<Tensor> {
        let (side, patch, width) = (
            self.config.image_size,
            self.config.patch_size,
            self.config.width,
        );
        let size = pixels.size();
        if size.len() != 4 || size[0] < 1 || size[1..] != [3, side, side] {
            return Err(Error::Shape {
                op: "vision tower",
                expected: format!("[N, 3, {side}, {side}] with N >= 1"),
                got: size,
            });
        }
        let (n, grid) = (size[0], side / patch);
        let patches = pixels
            .to_device(self.device())
            .to_kind(self.kind())
            .view([n, 3, grid, patch, grid, patch])
            .permute([0, 2, 4, 1, 3, 5]) // (N, g, g, 3, p, p)
            .reshape([n, grid * grid, 3 * patch * patch]);
        let embedded = patches.linear(&self.patch_weight, self.patch_bias.as_ref()); // (N, g², W)
        let class = self.class_embedding.expand([n, 1, width], false);
        Ok(Tensor::cat(&[class, embedded], 1) + &self.positions)
    }

    fn enter(&self, tokens: Tensor) -> Tensor {
        match &self.norm_before {
            Some(norm) => norm.forward(&tokens),
            None => tokens,
        }
    }

    /// `[N, width]` to `[N, D]`.
    fn project(&self, class: &Tensor) -> Tensor {
        self.norm_after
            .forward(class)
            .linear(&self.projection, None::<&Tensor>)
    }

    pub(crate) fn shallow_clone(&self) -> Self {
        Self {
            config: self.config.clone(),
            patch_weight: self.patch_weight.shallow_clone(),
            patch_bias: self.patch_bias.as_ref().map(Tensor::shallow_clone),
            class_embedding: self.class_embedding.shallow_clone(),
            positions: self.positions.shallow_clone(),
            norm_before: self.norm_before.as_ref().map(LayerNorm::shallow_clone),
            blocks: self.blocks.iter().map(Block::shallow_clone).collect(),
            norm_after: self.norm_after.shallow_clone(),
            projection: self.projection.shallow_clone(),
        }
    }

    pub(crate) fn take(
        builder: &mut Builder<'_>,
        config: &VisionConfig,
        joint_width: i64,
    ) -> Result<Self> {
        let (width, patch, eps) = (config.width, config.patch_size, config.norm_eps);
        let embeddings = "vision_model.embeddings";
        let name = format!("{embeddings}.patch_embedding.weight");
        let shape = [width, 3, patch, patch];
        let kernel = builder.find(&name, &shape)?;
        let flat = [width, 3 * patch * patch];
        let patch_weight = builder.make(&name, &flat, builder.kind, |to| {
            kernel.write(&mut to.view(shape), None)
        })?;
        let patch_bias = match config.patch_bias {
            true => Some(builder.take(&format!("{embeddings}.patch_embedding.bias"), &[width])?),
            false => None,
        };
        let class_embedding = builder.take(&format!("{embeddings}.class_embedding"), &[width])?;
        let positions = builder.take(
            &format!("{embeddings}.position_embedding.weight"),
            &[1 + config.patches(), width],
        )?;
        let norm_before = match config.norm_before {
            // The spelling is Hugging Face's.
            true => Some(builder.norm("vision_model.pre_layrnorm", width, eps)?),
            false => None,
        };
        let block = BlockConfig {
            width,
            heads: config.heads,
            mlp_width: config.mlp_width,
            activation: config.activation,
            norm_eps: eps,
        };
        let blocks = (0..config.layers)
            .map(|i| Block::take(builder, &format!("vision_model.encoder.layers.{i}"), &block))
            .collect::<Result<_>>()?;
        Ok(Self {
            config: config.clone(),
            patch_weight,
            patch_bias,
            class_embedding,
            positions,
            norm_before,
            blocks,
            norm_after: builder.norm("vision_model.post_layernorm", width, eps)?,
            projection: builder.take("visual_projection.weight", &[joint_width, width])?,
        })
    }
}

/// The literal forward's result.
#[derive(Debug)]
pub struct LiteralVision {
    /// `[N, D]`, not normalised.
    pub features: Tensor,
    /// Patch, class and position embeddings, `[N, 1 + patches, width]`.
    pub embeddings: Tensor,
    /// The states before the first block and after each, `[N, 1 + patches, width]`.
    pub states: Vec<Tensor>,
}
