//! Counters, as a profiler would give them: instructions by class, shared-memory wavefronts, sectors of device memory,
//! divergence, floating-point operations; by kernel, written as JSON to the file that CONVNET_EMULATOR_PROFILE names.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::sync::Mutex;

use super::Lanes;
use super::report::quote;
use crate::exec::LANES;
use crate::ir::{Class, Program};

/// Counts of one kernel.
#[derive(Clone, Debug, Default)]
struct Totals {
    launches: u64,
    warp_instructions: BTreeMap<&'static str, u64>,
    lane_instructions: u64,
    flops: u64,
    divergent_branches: u64,
    shared_requests: u64,
    shared_wavefronts: u64,
    shared_ideal: u64,
    global_requests: u64,
    global_sectors: u64,
    global_ideal: u64,
}

static ALL: Mutex<BTreeMap<String, Totals>> = Mutex::new(BTreeMap::new());

/// Counters of one launch.
pub struct Counters {
    kernel: String,
    classes: Vec<(Class, u32)>,
    totals: Mutex<Totals>,
}

/// Counts of one block, added to its launch's at the end.
pub(super) struct BlockCounts {
    warps: Vec<u64>,
    lanes: Vec<u64>,
    branches: Vec<bool>,
    totals: Totals,
}

impl Counters {
    /// Counters for a launch of a kernel.
    pub fn new(program: &Program) -> Self {
        Counters {
            kernel: program.name.clone(),
            classes: program.places.iter().map(|p| (p.class, p.flops)).collect(),
            totals: Mutex::default(),
        }
    }

    pub(super) fn add(&self, block: &BlockCounts) {
        let mut t = self.totals.lock().unwrap_or_else(|e| e.into_inner());
        for (pc, &(class, flops)) in self.classes.iter().enumerate() {
            let name = Class::NAMES.iter().find(|n| n.0 == class).map_or("other", |n| n.1);
            *t.warp_instructions.entry(name).or_default() += block.warps[pc];
            t.lane_instructions += block.lanes[pc];
            t.flops += block.lanes[pc] * flops as u64;
        }
        add(&mut t, &block.totals);
    }

    /// The launch is done: its counts go to the kernel's.
    pub fn finish(self) {
        let totals = self.totals.into_inner().unwrap_or_else(|e| e.into_inner());
        let mut all = ALL.lock().unwrap_or_else(|e| e.into_inner());
        let kernel = all.entry(self.kernel).or_default();
        kernel.launches += 1;
        kernel.lane_instructions += totals.lane_instructions;
        kernel.flops += totals.flops;
        for (name, n) in &totals.warp_instructions {
            *kernel.warp_instructions.entry(name).or_default() += n;
        }
        add(kernel, &totals);
    }
}

fn add(to: &mut Totals, from: &Totals) {
    to.divergent_branches += from.divergent_branches;
    to.shared_requests += from.shared_requests;
    to.shared_wavefronts += from.shared_wavefronts;
    to.shared_ideal += from.shared_ideal;
    to.global_requests += from.global_requests;
    to.global_sectors += from.global_sectors;
    to.global_ideal += from.global_ideal;
}

impl BlockCounts {
    pub(super) fn new(program: &Program) -> Self {
        let n = program.code.len();
        let branches = program.places.iter().map(|p| p.class == Class::Control).collect();
        BlockCounts { warps: vec![0; n], lanes: vec![0; n], branches, totals: Totals::default() }
    }

    pub(super) fn executes(&mut self, pc: u32, mask: u32, group: u32) {
        let pc = pc as usize;
        self.warps[pc] += 1;
        self.lanes[pc] += mask.count_ones() as u64;
        self.totals.divergent_branches += (self.branches[pc] && mask != group) as u64;
    }

    pub(super) fn access(&mut self, lanes: &Lanes) {
        let active: Vec<usize> = (0..LANES).filter(|l| lanes.mask >> l & 1 != 0).collect();
        let Some(&first) = active.first() else { return };
        let total = active.len() as u64 * lanes.bytes;
        match lanes.spaces[first] {
            "shared" => {
                // Accesses of 8 and 16 bytes are served by half and quarter warps.
                let at_once = (LANES as u64 * 4 / lanes.bytes.max(4)) as usize;
                for part in 0..LANES / at_once {
                    let mut banks: [Vec<u64>; 32] = Default::default();
                    for &lane in active.iter().filter(|&&l| l / at_once == part) {
                        let at = lanes.addresses[lane];
                        for word in at / 4..(at + lanes.bytes).div_ceil(4) {
                            let bank = &mut banks[(word % 32) as usize];
                            if !bank.contains(&word) {
                                bank.push(word);
                            }
                        }
                    }
                    let waves = banks.iter().map(Vec::len).max().unwrap_or(0) as u64;
                    self.totals.shared_wavefronts += waves;
                    self.totals.shared_ideal += waves.min(1);
                }
                self.totals.shared_requests += 1;
            }
            "global" => {
                let mut sectors: Vec<u64> = active
                    .iter()
                    .flat_map(|&l| {
                        let at = lanes.addresses[l];
                        at / 32..(at + lanes.bytes).div_ceil(32)
                    })
                    .collect();
                sectors.sort_unstable();
                sectors.dedup();
                self.totals.global_requests += 1;
                self.totals.global_sectors += sectors.len() as u64;
                self.totals.global_ideal += total.div_ceil(32).min(sectors.len() as u64);
            }
            _ => {}
        }
    }
}

/// Writes the counts so far to the file that CONVNET_EMULATOR_PROFILE names, if it does.
pub fn write_profile() {
    let Some(path) = &crate::options().profile else { return };
    let all = ALL.lock().unwrap_or_else(|e| e.into_inner());
    let mut out = String::from("{");
    for (k, (name, t)) in all.iter().enumerate() {
        let classes: Vec<String> = t.warp_instructions.iter().map(|(c, n)| format!("\"{c}\":{n}")).collect();
        let _ = write!(
            out,
            "{}\n  {}: {{\"launches\":{},\"warp_instructions\":{{{}}},\"lane_instructions\":{},\"flops\":{},\"divergent_branches\":{},\"shared\":{{\"requests\":{},\"wavefronts\":{},\"ideal_wavefronts\":{}}},\"global\":{{\"requests\":{},\"sectors\":{},\"ideal_sectors\":{}}}}}",
            if k == 0 { "" } else { "," },
            quote(name),
            t.launches,
            classes.join(","),
            t.lane_instructions,
            t.flops,
            t.divergent_branches,
            t.shared_requests,
            t.shared_wavefronts,
            t.shared_ideal,
            t.global_requests,
            t.global_sectors,
            t.global_ideal
        );
    }
    out.push_str("\n}\n");
    if let Err(e) = std::fs::write(path, out) {
        eprintln!("emulator: cannot write {}: {e}", path.display());
    }
}
