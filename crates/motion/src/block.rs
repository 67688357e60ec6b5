//! The motion modelling block, Eq. 4 to 6.

use layers::tch::nn::Path;
use layers::tch::{Kind, Tensor};
use layers::{Linear, LinearInit, init};

use crate::config::CheckedMotion;
use crate::difference::DifferenceSet;
use crate::encoder::Encoder;
use crate::error::invalid;
use crate::statistics::TimeStatistics;
use crate::{Error, Result};

/// Standard deviation of the initial learned positions.
const POSITION_STD: f64 = 0.02;

/// Two encoder streams, over the frames and over their differences, merged into one vector.
#[derive(Debug)]
pub struct MotionModellingBlock {
    config: CheckedMotion,
    spatial: SpatialStream,
    motion: Option<MotionStream>,
}

impl MotionModellingBlock {
    /// A block with its parameters at `path`; their names are in the crate's description.
    ///
    /// # Errors
    /// [`Error::Layers`] or [`Error::Torch`] if a parameter cannot be allocated.
    pub fn new(path: &Path<'_>, config: &CheckedMotion) -> Result<Self> {
        let motion = match config.config().motion_stream {
            true => Some(MotionStream::new(path, config)?),
            false => None,
        };
        Ok(Self {
            config: config.clone(),
            spatial: SpatialStream::new(path, config)?,
            motion,
        })
    }

    /// The configuration and the shape it was built for.
    pub fn config(&self) -> &CheckedMotion {
        &self.config
    }

    /// Sets initial values of the outer residual: W_s `[D, D]` with its bias `[D]`, W_p `[D, E D]` of the
    /// further features and W_t `[D, 3 D]` of the statistics over time.
    ///
    /// # Errors
    /// [`Error::Config`] if there is no such map; [`Error::Layers`] for tensors of another shape.
    pub fn start_residual(
        &self,
        spatial: &Tensor,
        bias: &Tensor,
        further: Option<&Tensor>,
        time: Option<&Tensor>,
    ) -> Result<()> {
        let none = |field| move || invalid(field, "true for initial values of its map", false);
        let map = |of: fn(&MotionStream) -> &Option<Linear>| {
            let stream = self.motion.as_ref();
            stream.and_then(|stream| of(stream).as_ref())
        };
        let ws = self.spatial.output.as_ref();
        let ws = ws.ok_or_else(none("outer_residual"))?;
        if let Some(further) = further {
            let wp = map(|stream| &stream.further);
            let expected = "further features, for initial values of their map";
            let wp = wp.ok_or_else(|| invalid("frames", expected, "none"))?;
            wp.set(further, None)?;
        }
        if let Some(time) = time {
            let wt = map(|stream| &stream.time).ok_or_else(none("time_statistics"))?;
            wt.set(time, None)?;
        }
        ws.set(spatial, Some(bias))?;
        Ok(())
    }

    /// Frame features `[B, T, D]`, not normalised, to motion cues, spatial states and V. With
    /// [further features](CheckedMotion::with_further_features) each frame has them after its own:
    /// `[B, T, (1 + E) D]`.
    ///
    /// `train` enables dropout. The block computes in fp32 whatever the features' precision.
    ///
    /// # Errors
    /// [`Error::Shape`] if `frames` has another shape, or B is 0.
    pub fn forward(&self, frames: &Tensor, train: bool) -> Result<MotionFeatures> {
        let (t, width) = (self.config.frames(), self.config.frame_width());
        let size = frames.size();
        if size.len() != 3 || size[0] < 1 || size[1..] != [t, width] {
            return Err(Error::Shape {
                op: "motion modelling block",
                expected: format!("[B, {t}, {width}] with B >= 1"),
                got: size,
            });
        }
        let whole = frames.to_kind(Kind::Float);
        let frames = whole.narrow(2, 0, self.config.width());
        let spatial = self.spatial.forward(&frames, train)?; // (B, T, D)
        let motion = match &self.motion {
            Some(stream) => Some(stream.forward(&frames, train)?),
            None => None,
        };
        let seen = self.spatial.contribution(&spatial); // (B, D)
        let seen = match (&self.motion, &motion) {
            (Some(stream), Some(cues)) => {
                let seen = seen + stream.contribution(&cues.pooled);
                stream.add_statistics(seen, &whole)
            }
            _ => seen,
        };
        let video = match self.config.config().outer_residual {
            true => mean(&frames) + seen,
            false => seen,
        };
        Ok(MotionFeatures {
            motion,
            spatial,
            video,
        })
    }
}

/// The block's output for a batch of clips.
#[derive(Debug)]
pub struct MotionFeatures {
    /// Input and output of the motion stream, if there is one.
    pub motion: Option<MotionCues>,
    /// S, Eq. 5: `[B, T, D]`.
    pub spatial: Tensor,
    /// V, Eq. 6: `[B, D]`.
    pub video: Tensor,
}

/// Input and output of the motion stream.
#[derive(Debug)]
pub struct MotionCues {
    /// The difference set, Eq. 4: `[B, L, D]`.
    pub differences: Tensor,
    /// M, Eq. 5: `[B, L, D]`.
    pub states: Tensor,
    /// The mean of M over the differences: `[B, D]`.
    pub pooled: Tensor,
}

/// T_s and what follows it.
#[derive(Debug)]
struct SpatialStream {
    encoder: Encoder,
    /// `[T, D]`
    positions: Option<Tensor>,
    output: Option<Linear>,
}

impl SpatialStream {
    fn new(path: &Path<'_>, config: &CheckedMotion) -> Result<Self> {
        let at = path / "ts";
        Ok(Self {
            positions: positions(&at, "positions", config.frames(), config)?,
            encoder: Encoder::new(&at, &config.spatial_encoder())?,
            output: output(&(path / "ws"), config)?,
        })
    }

    fn forward(&self, frames: &Tensor, train: bool) -> Result<Tensor> {
        match &self.positions {
            Some(positions) => self.encoder.forward(&(frames + positions), train),
            None => self.encoder.forward(frames, train),
        }
    }

    fn contribution(&self, states: &Tensor) -> Tensor {
        contribution(self.output.as_ref(), mean(states))
    }
}

/// T_m and what precedes and follows it.
#[derive(Debug)]
struct MotionStream {
    differences: DifferenceSet,
    encoder: Encoder,
    positions: Option<DifferencePositions>,
    output: Option<Linear>,
    /// W_p
    further: Option<Linear>,
    statistics: TimeStatistics,
    /// W_t
    time: Option<Linear>,
}

impl MotionStream {
    fn new(path: &Path<'_>, config: &CheckedMotion) -> Result<Self> {
        let at = path / "tm";
        let max_step = config.config().max_step;
        let differences = DifferenceSet::new(config.frames(), max_step)?;
        let starts = positions(&at, "start_positions", config.frames(), config)?;
        let gaps = positions(&at, "gap_positions", max_step, config)?;
        let positions = starts.zip(gaps).map(|(starts, gaps)| {
            let (start_of, gap_of): (Vec<_>, Vec<_>) =
                differences.pairs().map(|(t, gap)| (t, gap - 1)).unzip();
            let device = starts.device();
            DifferencePositions {
                starts,
                gaps,
                start_of: Tensor::from_slice(&start_of).to_device(device),
                gap_of: Tensor::from_slice(&gap_of).to_device(device),
            }
        });
        let map = |on: bool, name: &str, features: i64| -> Result<Option<Linear>> {
            let width = config.width();
            let map = || Linear::new(&(path / name), features * width, width, LinearInit::Zero);
            Ok(on.then(map).transpose()?)
        };
        Ok(Self {
            differences,
            positions,
            encoder: Encoder::new(&at, &config.motion_encoder())?,
            output: output(&(path / "wm"), config)?,
            further: map(
                config.further_features() > 0,
                "wp",
                config.further_features(),
            )?,
            statistics: TimeStatistics::new(config.frames()),
            time: map(config.config().time_statistics, "wt", TimeStatistics::COUNT)?,
        })
    }

    /// Adds W_p of the means of the further features and W_t of the statistics over time, of frames
    /// `[B, T, (1 + E) D]`.
    fn add_statistics(&self, mut seen: Tensor, frames: &Tensor) -> Tensor {
        let width = seen.size().last().copied().unwrap_or(0);
        if let Some(further) = &self.further {
            let whole = frames.size().last().copied().unwrap_or(0);
            seen += further.forward(&mean(&frames.narrow(2, width, whole - width)));
        }
        if let Some(time) = &self.time {
            let statistics = self.statistics.forward(&frames.narrow(2, 0, width)); // (B, 3, D)
            seen += time.forward(&statistics.flatten(1, 2));
        }
        seen
    }

    fn forward(&self, frames: &Tensor, train: bool) -> Result<MotionCues> {
        let differences = self.differences.forward(frames)?; // (B, L, D)
        let states = match &self.positions {
            Some(positions) => {
                let placed = &differences + positions.forward();
                self.encoder.forward(&placed, train)?
            }
            None => self.encoder.forward(&differences, train)?,
        };
        Ok(MotionCues {
            pooled: mean(&states),
            differences,
            states,
        })
    }

    fn contribution(&self, pooled: &Tensor) -> Tensor {
        contribution(self.output.as_ref(), pooled.shallow_clone())
    }
}

/// The position of a difference: that of its first frame plus that of its gap.
#[derive(Debug)]
struct DifferencePositions {
    /// `[T, D]`
    starts: Tensor,
    /// `[s, D]`
    gaps: Tensor,
    /// `[L]`
    start_of: Tensor,
    /// `[L]`
    gap_of: Tensor,
}

impl DifferencePositions {
    /// `[L, D]`
    fn forward(&self) -> Tensor {
        // As embeddings: the gradient of a plain selection is summed in any order on a GPU.
        let rows = |of: &Tensor, rows: &Tensor| Tensor::embedding(of, rows, -1, false, false);
        rows(&self.starts, &self.start_of) + rows(&self.gaps, &self.gap_of)
    }
}

fn positions(
    path: &Path<'_>,
    name: &str,
    count: i64,
    config: &CheckedMotion,
) -> Result<Option<Tensor>> {
    if !config.config().positions {
        return Ok(None);
    }
    let shape = [count, config.width()];
    Ok(Some(path.f_var(
        name,
        &shape,
        init::normal(POSITION_STD),
    )?))
}

fn output(path: &Path<'_>, config: &CheckedMotion) -> Result<Option<Linear>> {
    let (width, init) = match config.config().zero_init {
        true => (config.width(), LinearInit::Zero),
        false => (config.width(), LinearInit::Uniform),
    };
    Ok(match config.config().outer_residual {
        true => Some(Linear::new(path, width, width, init)?),
        false => None,
    })
}

/// The mean over tokens: `[B, L, D]` to `[B, D]`.
fn mean(tokens: &Tensor) -> Tensor {
    tokens.mean_dim(1, false, Kind::Float)
}

/// W applied to the mean equals the mean of W applied: one row per clip, not per token.
fn contribution(output: Option<&Linear>, pooled: Tensor) -> Tensor {
    match output {
        Some(output) => output.forward(&pooled),
        None => pooled,
    }
}
