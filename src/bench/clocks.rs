//! The clocks that a device runs at while it is measured: a card that is too warm or shared, or a core that saves power, makes
//! figures that are not to be compared.

use serde::{Deserialize, Serialize};
use std::process::{Command, Stdio};

/// A device's clocks, in MHz.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub struct Clocks {
    /// Of its cores, now; of a CPU the mean.
    pub mhz: f64,
    /// The most that its cores may have, where that is known.
    pub max_mhz: Option<f64>,
    /// Of its memory, where that is known.
    pub memory_mhz: Option<f64>,
}

impl Clocks {
    /// Reads them, where the system tells: of the CPU from Linux, of GPU number N as `nvidia-smi` counts them.
    pub fn read(gpu: Option<usize>) -> Option<Self> {
        match gpu {
            Some(number) => Self::of_gpu(number),
            None => Self::parse_cpuinfo(&std::fs::read_to_string("/proc/cpuinfo").ok()?),
        }
    }

    fn of_gpu(number: usize) -> Option<Self> {
        let mut command = Command::new("nvidia-smi");
        command.args(["--query-gpu=clocks.sm,clocks.max.sm,clocks.mem", "--format=csv,noheader,nounits", "--id"]);
        let output = command.arg(number.to_string()).stdin(Stdio::null()).stderr(Stdio::null()).output().ok()?;
        Self::parse_smi(&String::from_utf8(output.stdout).ok()?)
    }

    fn parse_smi(text: &str) -> Option<Self> {
        let mut fields = text.lines().next()?.split(',').map(|field| field.trim().parse().ok());
        let mhz = fields.next()??;
        Some(Self { mhz, max_mhz: fields.next()?, memory_mhz: fields.next()? })
    }

    fn parse_cpuinfo(text: &str) -> Option<Self> {
        let lines = text.lines().filter(|l| l.starts_with("cpu MHz"));
        let all: Vec<f64> = lines.filter_map(|l| l.split(':').nth(1)?.trim().parse().ok()).collect();
        let mhz = all.iter().sum::<f64>() / all.len() as f64;
        (!all.is_empty()).then_some(Self { mhz, max_mhz: None, memory_mhz: None })
    }
}

#[cfg(test)]
mod tests {
    use super::Clocks;

    #[test]
    fn clocks_are_read_where_they_are_told() {
        let cpu = Clocks::parse_cpuinfo("processor : 0\ncpu MHz\t\t: 2000.0\nflags : fpu\ncpu MHz\t\t: 3000.0\n");
        assert_eq!(cpu, Some(Clocks { mhz: 2500.0, max_mhz: None, memory_mhz: None }));
        assert_eq!(Clocks::parse_cpuinfo("BogoMIPS : 50"), None);
        let gpu = Clocks::parse_smi("1755, 1980, 2619\n");
        assert_eq!(gpu, Some(Clocks { mhz: 1755.0, max_mhz: Some(1980.0), memory_mhz: Some(2619.0) }));
        assert_eq!(Clocks::parse_smi("[N/A], 1980, 2619\n"), None);
    }
}
