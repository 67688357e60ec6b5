//! `trainer export`: a run as a folder for a hub.

use std::path::PathBuf;

use clap::Args;

/// Write a trained run as a folder that another machine or a hub can hold.
///
/// DIR gets CLIP with its configuration, preprocessing and tokenizer in Hugging Face's layout, the trained
/// tensors (trained.safetensors), labels, options and calibration (seeing_in_flowing.json), and a
/// model card with the results of the run (README.md). predict and serve read it with --checkpoint DIR
/// and give the scores of the run. `hf upload OWNER/NAME DIR` publishes it. CLIP's weights are inside:
/// their licence applies to them.
#[derive(Debug, Args)]
pub struct Arguments {
    /// A trained run's folder.
    pub run: PathBuf,

    /// The folder to write: a new or an empty one.
    pub dir: PathBuf,

    /// The licence in the model card, as the hub abbreviates it, such as mit or apache-2.0.
    #[arg(long, value_name = "ID", default_value = "other")]
    pub license: String,

    /// The run's backbone, if it was moved after training.
    #[arg(long, value_name = "PATH_OR_ID")]
    pub backbone: Option<PathBuf>,
}
