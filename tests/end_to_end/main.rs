//! The real binary, driven as a user drives it. One program, so that it is linked once.

mod action_clip;
mod checkpoints;
mod cross_validation;
mod data_sets;
mod embeddings;
mod export;
mod faults;
mod fit;
mod launchers;
mod logs;
mod misfits;
mod own_videos;
mod predict;
mod protocols;
mod ranks;
mod reproduce;
mod serve;
mod support;
mod timeline;
mod train;
