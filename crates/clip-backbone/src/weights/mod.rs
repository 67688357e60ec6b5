//! Weight files, and the parameter names used by the towers.
//!
//! [`open_safetensors`] and [`TorchFile`] read the two kinds of file; both give
//! [`StoredTensor`]s, which know the location of their data and read it on demand.

pub(crate) mod naming;
pub mod pickle;
mod safetensors_file;
mod stored;
mod torch_file;

pub use safetensors_file::open_safetensors;
pub use stored::StoredTensor;
pub use torch_file::TorchFile;
