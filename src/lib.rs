//! convnet trains convolutional networks from config files, with hand-written CUDA kernels or on the CPU.

pub mod bench;
pub mod check;
pub mod cli;
pub mod config;
pub mod data;
pub mod device;
mod format;
pub mod layer;
pub mod net;
pub mod op;
pub mod port;
pub mod report;
pub mod testing;
pub mod train;
pub mod verify;
