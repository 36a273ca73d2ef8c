//! What the environment asks for, read once.

use std::path::PathBuf;
use std::sync::OnceLock;

/// Options of the process.
#[derive(Clone, Debug)]
pub struct Options {
    /// CONVNET_EMULATOR_CAPABILITY: the card that is reported, 80 for 8.0 or 90 for 9.0.
    pub capability: u32,
    /// CONVNET_EMULATOR_MEMORY: bytes of device memory reported.
    pub memory: u64,
    /// CONVNET_EMULATOR_CHECK: checked mode.
    pub check: bool,
    /// CONVNET_EMULATOR_REPORT: file that findings are appended to.
    pub report: Option<PathBuf>,
    /// CONVNET_EMULATOR_PROFILE: file that counters are written to.
    pub profile: Option<PathBuf>,
    /// CONVNET_EMULATOR_CALLS: file that the number of calls of each function is written to.
    pub calls: Option<PathBuf>,
    /// CONVNET_EMULATOR_FAIL: which call fails.
    pub fail: Option<Fail>,
}

/// A call that is to fail.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Fail {
    /// The function, or any.
    pub function: Option<String>,
    /// Which call of it, from 1.
    pub call: u64,
    /// The error code; 0 is "what suits the function".
    pub code: u32,
}

impl Fail {
    /// "cuMemAlloc_v2:2", "17" or "cuMemAlloc_v2:2:700".
    fn parse(text: &str) -> Option<Fail> {
        let mut parts = text.split(':');
        let first = parts.next()?;
        if let Ok(call) = first.parse() {
            let code = parts.next().map_or(Some(0), |c| c.parse().ok())?;
            return Some(Fail { function: None, call, code });
        }
        let call = parts.next().map_or(Some(1), |n| n.parse().ok())?;
        let code = parts.next().map_or(Some(0), |c| c.parse().ok())?;
        Some(Fail { function: Some(first.to_string()), call, code })
    }
}

/// The options.
pub fn options() -> &'static Options {
    static OPTIONS: OnceLock<Options> = OnceLock::new();
    OPTIONS.get_or_init(|| {
        let text = |name: &str| std::env::var(name).ok().filter(|v| !v.is_empty());
        let path = |name: &str| std::env::var_os(name).filter(|v| !v.is_empty()).map(PathBuf::from);
        let fail = text("CONVNET_EMULATOR_FAIL");
        let parsed = fail.as_deref().and_then(Fail::parse);
        if let (Some(text), None) = (&fail, &parsed) {
            eprintln!("emulator: CONVNET_EMULATOR_FAIL='{text}' is neither 'N' nor 'function:N'; ignored");
        }
        let capability = text("CONVNET_EMULATOR_CAPABILITY");
        let known = capability.as_deref().map_or(Some(80), |text| match text {
            "80" => Some(80),
            "90" => Some(90),
            _ => None,
        });
        if let (Some(text), None) = (&capability, known) {
            eprintln!("emulator: CONVNET_EMULATOR_CAPABILITY='{text}' is neither 80 nor 90; ignored");
        }
        Options {
            capability: known.unwrap_or(80),
            memory: text("CONVNET_EMULATOR_MEMORY").and_then(|v| v.parse().ok()).unwrap_or(16 << 30),
            check: text("CONVNET_EMULATOR_CHECK").is_some_and(|v| v != "0"),
            report: path("CONVNET_EMULATOR_REPORT"),
            profile: path("CONVNET_EMULATOR_PROFILE"),
            calls: path("CONVNET_EMULATOR_CALLS"),
            fail: parsed,
        }
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_forms_of_a_failing_call() {
        let fail = |function: Option<&str>, call, code| Some(Fail { function: function.map(str::to_string), call, code });
        assert_eq!(Fail::parse("17"), fail(None, 17, 0));
        assert_eq!(Fail::parse("cuInit"), fail(Some("cuInit"), 1, 0));
        assert_eq!(Fail::parse("cuMemAlloc_v2:2:700"), fail(Some("cuMemAlloc_v2"), 2, 700));
        assert_eq!(Fail::parse("cuInit:x"), None);
    }
}
