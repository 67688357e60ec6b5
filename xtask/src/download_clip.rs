//! `cargo xtask download-clip`: a checkpoint from a hub into the user's Hugging Face cache.

use hub::{CLIP, Client, Hub};

use crate::{Result, progress, workspace};

/// The checkpoint that everything here is shown with.
pub const DEFAULT: &str = "openai/clip-vit-base-patch16";

/// What the user may ask of the download.
#[derive(Debug, Clone, clap::Args)]
pub struct Options {
    /// The hub's id of the checkpoint, with a revision where it is not `main`
    #[arg(value_name = "ORG/NAME[@REVISION]", default_value = DEFAULT)]
    pub id: String,
}

/// Fetches the checkpoint and prints the folder it lies in.
///
/// # Errors
/// [`Error::Hub`](crate::Error::Hub).
pub fn run(options: &Options) -> Result<()> {
    let hub = Hub {
        client: Client::default().with_progress(progress::observe),
        ..Hub::from_env()?
    };
    let folder = hub.fetch(&options.id.parse()?, &CLIP)?;
    workspace::print(&folder.display().to_string());
    Ok(())
}
