//! Whether the emulator knows every instruction of some kernels: `cargo run -p convnet-emulator --example lower -- FILE…`
//!
//! A file is a fatbin or PTX text. For each kernel: instructions, registers alive at once, shared and local memory.

use std::collections::HashMap;
use std::sync::Arc;

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let mut unknown = 0;
    for path in std::env::args().skip(1) {
        let mut bytes = std::fs::read(&path)?;
        bytes.push(0);
        // SAFETY: the file is whole, and ends in a zero byte.
        let text = unsafe { emulator::fatbin::ptx(bytes.as_ptr(), 80) }.map_err(|e| format!("{path}: {e:?}"))?;
        let module = emulator::ptx::parse(&text).map_err(|e| format!("{path}: {e}"))?;
        let globals: HashMap<String, u64> = module.variables.iter().map(|v| (v.name.clone(), 0)).collect();
        for kernel in module.functions.iter().filter(|f| f.entry && f.body.is_some()) {
            match emulator::ir::lower(&module, kernel, &globals, Arc::default()) {
                Ok(p) => println!(
                    "{}: {} instructions, {} registers, {} bytes shared, {} local",
                    p.name,
                    p.code.len(),
                    p.registers,
                    p.static_shared,
                    p.local
                ),
                Err(e) => {
                    unknown += 1;
                    println!("{}: {e}", kernel.name);
                }
            }
        }
    }
    if unknown > 0 { Err(format!("{unknown} kernels hold instructions that the emulator does not know").into()) } else { Ok(()) }
}
