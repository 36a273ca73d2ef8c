//! Findings: to stderr and, as JSON lines, to the file that CONVNET_EMULATOR_REPORT names. One a kernel, line and kind.

use std::collections::HashSet;
use std::fmt::Write as _;
use std::io::Write as _;
use std::sync::Mutex;

use super::{Fault, FaultKind};
use crate::device::Allocation;
use crate::exec::{Access, LANES};
use crate::ir::Program;

/// Something wrong, with its place.
#[derive(Clone, Debug)]
pub struct Finding {
    /// What.
    pub kind: FaultKind,
    /// The kernel, or the API call.
    pub kernel: String,
    /// Line of the PTX; 0 when no instruction did it.
    pub ptx_line: u32,
    /// "file.cu:12", with -lineinfo.
    pub source: Option<String>,
    /// The block.
    pub block: [u32; 3],
    /// The thread in its block.
    pub thread: [u32; 3],
    /// The address in its space.
    pub address: u64,
    /// What happened, as a sentence.
    pub message: String,
}

impl Finding {
    /// A fault of an instruction.
    pub fn of(
        program: &Program,
        shape: [u32; 3],
        block: [u32; 3],
        pc: u32,
        warp: u32,
        fault: &Fault,
        allocations: &[Allocation],
    ) -> Self {
        let place = &program.places[pc as usize];
        let index = warp * LANES as u32 + fault.lane;
        let thread = [index % shape[0], index / shape[0] % shape[1], index / shape[0] / shape[1]];
        let mut message = match fault.access {
            Some(access) => {
                let what = match access {
                    Access::Read => "read",
                    Access::Write => "write",
                    Access::Atomic => "atomic",
                };
                format!("{} {what} of {} bytes in {} memory at {:#x}", fault.kind.name(), fault.bytes, fault.space, fault.address)
            }
            None => fault.kind.name().to_string(),
        };
        if fault.space == "global" {
            message.push_str(&near(fault.address, allocations));
        }
        if !fault.detail.is_empty() {
            let _ = write!(message, ": {}", fault.detail);
        }
        Finding {
            kind: fault.kind,
            kernel: program.name.clone(),
            ptx_line: place.line,
            source: program.source(place),
            block,
            thread,
            address: fault.address,
            message,
        }
    }

    /// As one line of JSON.
    pub fn json(&self) -> String {
        let source = self.source.as_ref().map_or("null".into(), |s| quote(s));
        format!(
            "{{\"kind\":{},\"kernel\":{},\"ptx_line\":{},\"source\":{source},\"block\":{:?},\"thread\":{:?},\"address\":{},\"message\":{}}}",
            quote(self.kind.name()),
            quote(&self.kernel),
            self.ptx_line,
            self.block,
            self.thread,
            self.address,
            quote(&self.message)
        )
    }
}

/// Where an address lies among the allocations.
fn near(address: u64, allocations: &[Allocation]) -> String {
    let next = allocations.partition_point(|a| a.address <= address);
    let Some(a) = next.checked_sub(1).and_then(|k| allocations.get(k)) else { return ", in no allocation".into() };
    let state = if a.freed { "freed " } else { "" };
    let offset = address - a.address;
    if offset < a.bytes {
        format!(", byte {offset} of the {state}allocation of {} bytes at {:#x}", a.bytes, a.address)
    } else {
        format!(", {} bytes past the {state}allocation of {} bytes at {:#x}", offset - a.bytes, a.bytes, a.address)
    }
}

/// A JSON string.
pub(super) fn quote(text: &str) -> String {
    let mut out = String::from("\"");
    for c in text.chars() {
        match c {
            '"' => out.push_str("\\\""),
            '\\' => out.push_str("\\\\"),
            c if (c as u32) < 0x20 => {
                let _ = write!(out, "\\u{:04x}", c as u32);
            }
            c => out.push(c),
        }
    }
    out.push('"');
    out
}

/// What is told apart: kind, kernel, line, and an address.
type Key = (FaultKind, String, u32, u64);

/// Reports a finding, once for its kernel, line and kind.
pub fn record(finding: Finding) {
    static SEEN: Mutex<Option<HashSet<Key>>> = Mutex::new(None);
    let mut seen = SEEN.lock().unwrap_or_else(|e| e.into_inner());
    // What no instruction did is told apart by its address.
    let address = if finding.ptx_line == 0 { finding.address } else { 0 };
    let key = (finding.kind, finding.kernel.clone(), finding.ptx_line, address);
    if !seen.get_or_insert_default().insert(key) {
        return;
    }
    let at = finding.source.as_ref().map_or(String::new(), |s| format!(" ({s})"));
    let ([bx, by, bz], [tx, ty, tz]) = (finding.block, finding.thread);
    eprintln!(
        "emulator: {}: kernel '{}', PTX line {}{at}, block ({bx}, {by}, {bz}), thread ({tx}, {ty}, {tz})",
        finding.message, finding.kernel, finding.ptx_line
    );
    if let Some(path) = &crate::options().report {
        let file = std::fs::OpenOptions::new().create(true).append(true).open(path);
        if let Err(e) = file.and_then(|mut f| writeln!(f, "{}", finding.json())) {
            eprintln!("emulator: cannot write {}: {e}", path.display());
        }
    }
}
