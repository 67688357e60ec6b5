//! Weight files, and the names under which the towers find their parameters.
//!
//! [`open_safetensors`] and [`TorchFile`] read the two kinds of file; both give
//! [`StoredTensor`]s, which know where their numbers lie and read them when asked.

pub(crate) mod naming;
pub mod pickle;
mod safetensors_file;
mod stored;
mod torch_file;

pub use safetensors_file::open_safetensors;
pub use stored::StoredTensor;
pub use torch_file::TorchFile;
