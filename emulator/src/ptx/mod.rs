//! The text of a PTX module, read into a tree: declarations, labels and instructions, each with its line.
//!
//! The reader covers what nvcc emits and what inline assembly in a kernel may hold. It knows the grammar, not the meaning:
//! an opcode is a list of words here, and `crate::ir` decides whether the emulator knows it. Hand-written rather than the
//! crate `ptx-90-parser`: that one types every instruction variant, which would be typed a second time by the lowering, and
//! it keeps no line for an instruction, which every finding of the checked mode needs.

mod ast;
mod lexer;
mod parser;

pub use ast::*;
pub use parser::parse;
