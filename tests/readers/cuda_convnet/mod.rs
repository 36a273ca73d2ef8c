//! cuda-convnet's pairs of config files: what they mean here, what is wrong with them, and that they run.

mod errors;
mod meaning;
mod published;
mod runs;
