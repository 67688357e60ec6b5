//! `trainer fit`: train on a folder of class folders; `trainer add-class`.

use std::path::PathBuf;

use clap::Args;

/// Train on your own actions: a folder with one folder of clips per class.
///
/// Five clips per class are enough to begin. The accuracy is estimated by cross-validation: each
/// clip is held out once, with all clips of its recording, and judged by a model made without them;
/// the run itself is trained on all clips. The same folds calibrate its probabilities, and give the
/// threshold below which predict says "none". Undecodable clips are skipped and listed. The run's
/// folder has one checkpoint, for predict.
///
/// Clips of one recording are told by their names (talk_part1, v_Run_g01_c02, _000012_000022). A folder
/// "none" beside the class folders holds examples of videos that show none of the classes; it is
/// not a class, and helps to choose the threshold.
///
/// Training after the solved start is tried in the folds, with half of the run's steps in all. If it
/// brings less than its standard error, no steps are made, and the start is the result.
///
/// The same command again resumes, or prints the result if nothing has changed. After clips or
/// classes were added or removed, the earlier run becomes DIR.1 and a new one is trained, on the
/// features that still hold.
#[derive(Debug, Args)]
pub struct Arguments {
    /// The folder of class folders.
    pub folder: PathBuf,

    /// The CLIP checkpoint.
    #[arg(long, value_name = "PATH")]
    pub weights: PathBuf,

    /// The architecture of weights without a configuration: ViT-B-32, ViT-B-16, ViT-L-14,
    /// ViT-L-14-336, each also with -gelu, or the path of the model's config.json.
    #[arg(long, value_name = "NAME")]
    pub architecture: Option<String>,

    /// The run's folder; by default runs/FOLDER.
    #[arg(long, short, value_name = "DIR")]
    pub out: Option<PathBuf>,

    /// Sets a key, such as train.min_steps=1000. Repeatable.
    #[arg(long = "set", value_name = "KEY=VALUE")]
    pub settings: Vec<String>,

    /// Threads for decoding and computing [default: OMP_NUM_THREADS, or the processors this process may use].
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u16).range(1..=1024))]
    pub threads: Option<u16>,

    /// Hold one recording in five out of each class and test on it, instead of the cross-validation. The
    /// run is trained on the others, and answers without calibration. A folder "none" is a class
    /// then.
    #[arg(long)]
    pub hold_out: bool,

    /// Train anew; an earlier run in the folder becomes DIR.1.
    #[arg(long)]
    pub again: bool,

    /// No progress on stderr.
    #[arg(long, short)]
    pub quiet: bool,
}

/// Add a class to a run of fit.
///
/// First put its clips into a new folder beside the other classes. All clips are still needed, so
/// that no class is forgotten; only the features of the new ones are computed. A run that was
/// cross-validated is made anew on all classes, and judged as fit does; one with held-out clips
/// continues from its parameters.
#[derive(Debug, Args)]
pub struct AddClass {
    /// The run's folder.
    pub run: PathBuf,

    /// The new class folder's name.
    pub class: String,

    /// The new run's folder; by default RUN-CLASS.
    #[arg(long, short, value_name = "DIR")]
    pub out: Option<PathBuf>,

    /// cpu or cuda:N; by default the run's.
    #[arg(long, value_name = "DEVICE")]
    pub device: Option<String>,

    /// No progress on stderr.
    #[arg(long, short)]
    pub quiet: bool,
}
