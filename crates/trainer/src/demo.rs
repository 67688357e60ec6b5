//! The built-in experiment: does a model see motion, or only frames?
//!
//! Scenes are drawn by the project itself ([`scenes`]). Their classes come in pairs, each the
//! other played backwards, so that no frame, and no set of frames without its order, can tell
//! the two apart. The backbone is a small CLIP that never saw a moving picture: it was
//! pre-trained ([`pretrain`]) on captioned stills ([`captions`]) of such scenes.

pub mod captions;
pub mod experiment;
pub mod motion;
pub mod pretrain;
pub mod quality;
mod raster;
pub mod scenes;
pub mod stills;
pub mod video_set;
mod vocabulary;

pub use motion::Motion;
