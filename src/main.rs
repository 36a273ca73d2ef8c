//! The `convnet` command: see [`convnet::cli`].

use std::process::ExitCode;

fn main() -> ExitCode {
    convnet::cli::main()
}
