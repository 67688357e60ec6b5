//! `cargo xtask download-clip`: downloads a CLIP checkpoint to the Hugging Face cache.

use hub::{CLIP, Client, Hub};

use crate::{Result, progress, workspace};

/// The checkpoint that the documentation uses.
const DEFAULT: &str = "openai/clip-vit-base-patch16";

/// Options of the download.
#[derive(Debug, Clone, clap::Args)]
pub struct Options {
    /// Repository id of the checkpoint, with a revision other than `main` if wanted
    #[arg(value_name = "ORG/NAME[@REVISION]", default_value = DEFAULT)]
    pub id: String,
}

/// Downloads the checkpoint and prints its folder.
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
