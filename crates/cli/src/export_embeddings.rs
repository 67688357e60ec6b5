//! `trainer export-embeddings`: frame features as files for other programs.

use std::path::PathBuf;

use clap::Args;

use crate::settings::Settings;

/// Write the frame features of every video of a data set or folder for other programs.
///
/// OUT gets embeddings.safetensors with frames [N, F, D], their mean pooled [N, D] and labels [N]; the
/// same as .npy files; clips.json with each row's id, the SHA-256 of its file, its labels and its
/// part of every split; and about.json. Features are as the image tower projects them, f32, not
/// normalised, with the test views of the configuration; those that are cached are not computed
/// again. docs/datasets.md has the lines by which MTEB's video benchmark reads them.
#[derive(Debug, Args)]
pub struct Arguments {
    /// The configuration.
    #[command(flatten)]
    pub settings: Settings,

    /// The folder to write.
    #[arg(long, short, value_name = "DIR", default_value = "embeddings")]
    pub out: PathBuf,
}
