//! Parameters and operations: the paper's Table 3 as its counter reports it, and the actual ones.

use clip_backbone::{Config, TextConfig, VisionConfig};
use mcb::Attention;

use crate::{SifConfig, Temperature};

/// The size of a data set.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct DatasetShape {
    /// Its name.
    pub name: &'static str,
    /// K
    pub classes: i64,
    /// Tokens per video in the packed text encoding at H = 5: \[SOS\], the prompt vectors,
    /// and CLASS "." \[EOS\] of every class.
    pub packed_tokens: i64,
}

impl DatasetShape {
    /// The paper's three data sets, in the order of its Table 3.
    pub const PAPER: [Self; 3] = [
        Self {
            name: "HMDB-51",
            classes: 51,
            packed_tokens: 182,
        },
        Self {
            name: "UCF-101",
            classes: 101,
            packed_tokens: 420,
        },
        Self {
            name: "Kinetics-400",
            classes: 400,
            packed_tokens: 1750,
        },
    ];
}

/// Parameters, and multiply-adds for one clip.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Cost {
    /// Parameters.
    pub parameters: i64,
    /// Multiply-adds.
    pub multiply_adds: i64,
}

impl std::ops::Add for Cost {
    type Output = Self;

    fn add(self, other: Self) -> Self {
        Self {
            parameters: self.parameters + other.parameters,
            multiply_adds: self.multiply_adds + other.multiply_adds,
        }
    }
}

/// The counts of the tool used for the paper's Table 3.
///
/// It counts linear maps and convolutions, but neither attention nor projections by a bare
/// parameter; the image tower has two parents, so its parameters count twice and its
/// operations four times; every class is a sequence of the full context.
pub mod paper_counter {
    use super::{Config, Cost, SifConfig, ffn};

    /// Frozen CLIP on `frames` frames and `classes` classes: Table 3's first row.
    pub fn clip(config: &Config, frames: i64, classes: i64) -> Cost {
        let (v, t) = (&config.vision, &config.text);
        let kernel = v.width * 3 * v.patch_size * v.patch_size;
        let image_ffn = ffn(v.width, v.mlp_width, 1 + v.patches());
        let text_ffn = ffn(t.width, t.mlp_width, t.context);
        let frame = kernel * v.patches() + v.layers * image_ffn.multiply_adds;
        Cost {
            parameters: 2 * (kernel + v.layers * image_ffn.parameters)
                + t.layers * text_ffn.parameters,
            multiply_adds: 4 * frames * frame + classes * t.layers * text_ffn.multiply_adds,
        }
    }

    /// The cost a model adds: the feed-forward networks of its streams.
    ///
    /// The motion adapter's two small maps are left out, since only without them do the
    /// parameters print as the paper's 143.9 M.
    pub fn added(model: &SifConfig, joint_width: i64) -> Cost {
        let layer = ffn(joint_width, model.motion.ffn_dim, 1);
        let streams = if model.motion.motion_stream { 2 } else { 1 };
        Cost {
            parameters: model.motion.layers * streams * layer.parameters,
            multiply_adds: model.motion.layers * super::tokens(model) * layer.multiply_adds,
        }
    }
}

/// The actual trainable parameters and operations.
pub mod actual {
    use super::{
        Attention, Config, Cost, SifConfig, Temperature, TextConfig, VisionConfig, attention,
        encoder_layer, linear, tokens,
    };

    /// The image tower on one frame.
    pub fn frame(vision: &VisionConfig, joint_width: i64) -> i64 {
        let tokens = 1 + vision.patches();
        vision.patches() * vision.width * 3 * vision.patch_size * vision.patch_size
            + vision.layers * encoder_layer(vision.width, vision.mlp_width, tokens).multiply_adds
            + vision.width * joint_width
    }

    /// The text tower on one class at the full context.
    pub fn class(text: &TextConfig, joint_width: i64) -> i64 {
        text.layers * encoder_layer(text.width, text.mlp_width, text.context).multiply_adds
            + text.width * joint_width
    }

    /// The text tower on all classes of one video, packed after a shared prefix.
    ///
    /// `packed_tokens` rows pass through every block but the last, which after all rows' keys and
    /// values computes `classes` rows only. Attention's own products, below one per cent
    /// at these lengths, are left out.
    pub fn packed_text(
        text: &TextConfig,
        joint_width: i64,
        classes: i64,
        packed_tokens: i64,
    ) -> i64 {
        let (w, f) = (text.width, text.mlp_width);
        let row = 4 * w * w + 2 * w * f;
        (text.layers - 1) * packed_tokens * row
            + packed_tokens * 2 * w * w
            + classes * (row - 2 * w * w + w * joint_width)
    }

    /// The trainable parameters of a model, and its operations per clip against `classes` classes.
    pub fn trained(model: &SifConfig, config: &Config, classes: i64) -> Cost {
        let (d, w) = (config.joint_width, config.text.width);
        let motion = &model.motion;
        let streams = if motion.motion_stream { 2 } else { 1 };
        let mut cost = Cost {
            parameters: motion.layers * streams * encoder_layer(d, motion.ffn_dim, 1).parameters,
            multiply_adds: motion.layers
                * (encoder_layer(d, motion.ffn_dim, model.frames).multiply_adds
                    + if motion.motion_stream {
                        let differences = tokens(model) - model.frames;
                        encoder_layer(d, motion.ffn_dim, differences).multiply_adds
                    } else {
                        0
                    }),
        };
        if motion.positions {
            cost.parameters += model.frames * d;
            if motion.motion_stream {
                cost.parameters += (model.frames + motion.max_step) * d;
            }
        }
        if motion.outer_residual {
            let map = linear(d, d, 1);
            cost.parameters += streams * map.parameters;
            cost.multiply_adds += streams * map.multiply_adds;
            let further = model.tokens.count() - 1;
            if motion.motion_stream && further > 0 {
                cost = cost + linear(further * d, d, 1);
            }
            if motion.motion_stream && motion.time_statistics {
                cost = cost + linear(motion::TimeStatistics::COUNT * d, d, 1);
            }
        }
        if model.prompts.motion_aware {
            let bottleneck = model.prompts.adapter.bottleneck.unwrap_or((d / 16).max(1));
            cost = cost + linear(d, bottleneck, 1) + linear(bottleneck, w, 1);
            cost.parameters += model.prompts.vectors() * w;
        }
        let sma_keys = match model.communication.sma_kv {
            mcb::SmaKeys::Vector => 1,
            mcb::SmaKeys::Frames => model.frames,
            mcb::SmaKeys::FramesAndMotion => tokens(model),
        };
        match model.communication.attention {
            Attention::Projected => {
                cost = cost + attention(d, classes, sma_keys) + attention(d, 1, classes);
            }
            Attention::ParameterFree => cost.multiply_adds += 2 * classes * (sma_keys + 1) * d,
            Attention::Off => {}
        }
        if model.temperature == (Temperature::Clip { learned: true }) {
            cost.parameters += 1;
        }
        cost
    }
}

/// T tokens of the spatial stream and, with a motion stream, its L.
fn tokens(model: &SifConfig) -> i64 {
    let (t, s) = (model.frames, model.motion.max_step);
    match model.motion.motion_stream {
        true => t + s * t - s * (s + 1) / 2,
        false => t,
    }
}

/// A linear map with bias, on `rows` rows.
fn linear(inputs: i64, outputs: i64, rows: i64) -> Cost {
    Cost {
        parameters: outputs * (inputs + 1),
        multiply_adds: rows * inputs * outputs,
    }
}

/// A feed-forward network.
fn ffn(width: i64, hidden: i64, rows: i64) -> Cost {
    linear(width, hidden, rows) + linear(hidden, width, rows)
}

/// Attention with four projections.
fn attention(width: i64, queries: i64, keys: i64) -> Cost {
    let own = linear(width, width, queries);
    let read = linear(width, width, keys);
    let products = Cost {
        parameters: 0,
        multiply_adds: 2 * queries * keys * width,
    };
    own + own + read + read + products
}

/// A layer with self-attention, a feed-forward network and two norms.
fn encoder_layer(width: i64, hidden: i64, rows: i64) -> Cost {
    let norms = Cost {
        parameters: 4 * width,
        multiply_adds: 0,
    };
    attention(width, rows, rows) + ffn(width, hidden, rows) + norms
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{Ablation, Preset};

    fn giga(operations: i64) -> f64 {
        (operations as f64 / 1e6).round() / 1e3
    }

    #[test]
    fn table_3_is_reproduced() {
        let config = Config::vit_b_16();
        let clip = DatasetShape::PAPER.map(|set| paper_counter::clip(&config, 8, set.classes));
        assert_eq!(clip[0].parameters, 139_714_560);
        assert_eq!(
            clip.map(|cost| giga(cost.multiply_adds)),
            [459.478, 556.366, 1135.759]
        );

        let ours = SifConfig::preset(Preset::Paper);
        let baseline = paper_counter::added(&ours.clone().ablated(Ablation::BASELINE), 512);
        assert_eq!(baseline.parameters, 2_099_712);
        assert_eq!(baseline.multiply_adds, 16_777_216); // + 0.0168 G
        let added = paper_counter::added(&ours, 512);
        assert_eq!(added.parameters, 4_199_424); // + 4.2 M
        assert_eq!(added.multiply_adds, 62_914_560); // + 0.0629 G at s = 4
        let mut short = ours;
        short.motion.max_step = 1;
        assert_eq!(paper_counter::added(&short, 512).multiply_adds, 31_457_280); // + 0.0315 G
        let millions = |cost: Cost| (cost.parameters as f64 / 1e5).round() / 10.0;
        assert_eq!(millions(clip[0]), 139.7);
        assert_eq!(millions(clip[0] + baseline), 141.8);
        assert_eq!(millions(clip[0] + added), 143.9);
    }

    #[test]
    fn the_honest_figures_are_those_of_the_towers() {
        let config = Config::vit_b_16();
        assert_eq!(giga(actual::frame(&config.vision, 512)), 17.563);
        assert_eq!(giga(actual::class(&config.text, 512)), 2.980);
        for set in DatasetShape::PAPER {
            let literal = set.classes * actual::class(&config.text, 512);
            let packed = actual::packed_text(&config.text, 512, set.classes, set.packed_tokens);
            assert!(packed * 15 < literal, "{}: {packed} {literal}", set.name);
        }
    }

    #[test]
    fn trained_parameters_are_as_published() {
        let config = Config::vit_b_16();
        let paper = SifConfig::preset(Preset::Paper);
        let count = |model: &SifConfig| actual::trained(model, &config, 51).parameters;
        let no_mcb = Ablation {
            mmb: true,
            map: true,
            mcb: false,
        };
        assert_eq!(count(&paper.clone().ablated(Ablation::BASELINE)), 3_152_384);
        assert_eq!(count(&paper.clone().ablated(no_mcb)), 6_340_640);
        assert_eq!(count(&paper), 8_441_888);
        assert_eq!(count(&SifConfig::preset(Preset::Best)), 10_027_040);
    }
}
