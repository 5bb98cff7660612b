//! Which instructions code may use, and the cache sizes that blocking follows.
//!
//! A [`Target`] can only be made for what this CPU has, so holding one is the proof that its code can run here.

use std::fmt;
use std::sync::Arc;

use cranelift_codegen::isa::OwnedTargetIsa;
use cranelift_codegen::settings::{self, Configurable};

use super::CodegenError;

/// The vector instruction sets that inner tiles are emitted for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Level {
    /// 128-bit vectors through Cranelift: every machine.
    V128,
    /// x86-64 with AVX2 and FMA: 8 lanes, 16 registers.
    Avx2,
    /// x86-64 with AVX-512 F, VL, BW and DQ: 16 lanes, 32 registers.
    Avx512,
}

impl Level {
    /// All levels, narrowest first.
    pub const ALL: [Self; 3] = [Self::V128, Self::Avx2, Self::Avx512];

    /// f32 lanes of a vector.
    #[must_use]
    pub fn lanes(self) -> usize {
        match self {
            Self::V128 => 4,
            Self::Avx2 => 8,
            Self::Avx512 => 16,
        }
    }

    /// The name that `--target` takes.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::V128 => "v128",
            Self::Avx2 => "avx2",
            Self::Avx512 => "avx512",
        }
    }

    /// The CPU features of this level that this machine lacks; empty if it can run it.
    #[must_use]
    pub fn missing(self) -> Vec<&'static str> {
        #[cfg(target_arch = "x86_64")]
        {
            let mut missing = Vec::new();
            macro_rules! need {
                ($($feature:tt),*) => { $(if !std::is_x86_feature_detected!($feature) { missing.push($feature) })* };
            }
            if self >= Self::Avx2 {
                need!("avx", "avx2", "fma");
            }
            if self >= Self::Avx512 {
                need!("avx512f", "avx512vl", "avx512bw", "avx512dq");
            }
            missing
        }
        #[cfg(not(target_arch = "x86_64"))]
        if self == Self::V128 { Vec::new() } else { vec!["x86-64"] }
    }
}

impl fmt::Display for Level {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

/// A vector level that this CPU can run, with the cache sizes that blocking follows.
#[derive(Clone)]
pub struct Target {
    level: Level,
    fused: bool,
    l1: usize,
    l2: usize,
    tiles: OwnedTargetIsa,
    kernels: OwnedTargetIsa,
    working_kernels: OwnedTargetIsa,
    cpu: Arc<str>,
}

impl fmt::Debug for Target {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Target({}, L1 {} KiB, L2 {} KiB)", self.level, self.l1 / 1024, self.l2 / 1024)
    }
}

impl Target {
    /// The target named `auto` (the widest that this CPU has), `avx512`, `avx2` or `v128`.
    ///
    /// # Errors
    /// [`CodegenError::UnknownTarget`], or [`CodegenError::Unsupported`] naming the missing CPU features.
    pub fn parse(name: &str) -> Result<Self, CodegenError> {
        match name {
            "auto" => Self::host(),
            _ => match Level::ALL.into_iter().find(|level| level.name() == name) {
                Some(level) => Self::new(level),
                None => Err(CodegenError::UnknownTarget(name.to_owned())),
            },
        }
    }

    /// The widest level of this CPU.
    ///
    /// # Errors
    /// [`CodegenError::Host`] if Cranelift has no back end for this machine.
    pub fn host() -> Result<Self, CodegenError> {
        let widest = Level::ALL.into_iter().rev().find(|level| level.missing().is_empty());
        Self::new(widest.unwrap_or(Level::V128))
    }

    /// The given level.
    ///
    /// # Errors
    /// [`CodegenError::Unsupported`] if this CPU cannot run it.
    pub fn new(level: Level) -> Result<Self, CodegenError> {
        let missing = level.missing();
        if !missing.is_empty() {
            return Err(CodegenError::Unsupported { asked: level.name(), missing: missing.join(", ") });
        }
        // The mid-end would sink FMAs below all loads of an unrolled body and spill: tiles keep their order.
        let tiles = isa("none", "backtracking")?;
        // Loops around tiles: a spilled counter costs nothing beside a tile, a good allocation and the mid-end half of the time
        // to load.
        let kernels = isa("none", "single_pass")?;
        let working_kernels = isa("speed", "backtracking")?;
        #[cfg(target_arch = "x86_64")]
        let fused = std::is_x86_feature_detected!("fma");
        #[cfg(not(target_arch = "x86_64"))]
        let fused = true;
        let (l1, l2) = caches();
        let name = cpu_name().unwrap_or_else(|| "unknown CPU".to_owned());
        let cpu = format!("{name}, {level}, L2 {} KiB", l2 / 1024).into();
        Ok(Self { cpu, level, fused, l1, l2, tiles, kernels, working_kernels })
    }

    /// Every level that this CPU can run, narrowest first.
    ///
    /// # Errors
    /// [`CodegenError::Host`] if Cranelift has no back end for this machine.
    pub fn all() -> Result<Vec<Self>, CodegenError> {
        Level::ALL.into_iter().filter(|level| level.missing().is_empty()).map(Self::new).collect()
    }

    /// The vector level.
    #[must_use]
    pub fn level(&self) -> Level {
        self.level
    }

    /// f32 lanes of a vector.
    #[must_use]
    pub fn lanes(&self) -> usize {
        self.level.lanes()
    }

    /// The CPU's name and the level: what measured choices hold for.
    #[must_use]
    pub fn cpu(&self) -> &str {
        &self.cpu
    }

    /// Vector registers that tiles may use.
    #[must_use]
    pub fn registers(&self) -> usize {
        match self.level {
            Level::V128 if cfg!(not(target_arch = "x86_64")) => 32,
            Level::V128 | Level::Avx2 => 16,
            Level::Avx512 => 32,
        }
    }

    /// Whether a fused multiply-add is one instruction (else tiles multiply, then add).
    #[must_use]
    pub fn fused(&self) -> bool {
        self.fused
    }

    /// Bytes of the first-level data cache of a core.
    #[must_use]
    pub fn l1_bytes(&self) -> usize {
        self.l1
    }

    /// Bytes of the second-level cache of a core.
    #[must_use]
    pub fn l2_bytes(&self) -> usize {
        self.l2
    }

    /// The Cranelift back end that compiles 128-bit tiles.
    pub(crate) fn tile_isa(&self) -> &OwnedTargetIsa {
        &self.tiles
    }

    /// The Cranelift back end that compiles kernels: those that work on elements themselves, or those that call tiles.
    pub(crate) fn kernel_isa(&self, works: bool) -> &OwnedTargetIsa {
        if works { &self.working_kernels } else { &self.kernels }
    }
}

/// The host's Cranelift back end with an optimisation level and an allocator of registers, by Cranelift's names.
fn isa(opt_level: &str, allocator: &str) -> Result<OwnedTargetIsa, CodegenError> {
    let host = |error: &dyn fmt::Display| CodegenError::Host(error.to_string());
    let mut flags = settings::builder();
    let verifier = if cfg!(any(test, debug_assertions)) { "true" } else { "false" };
    for (name, value) in [
        ("opt_level", opt_level),
        ("regalloc_algorithm", allocator),
        ("is_pic", "false"),
        ("use_colocated_libcalls", "false"),
        ("enable_verifier", verifier),
    ] {
        flags.set(name, value).map_err(|error| host(&error))?;
    }
    let builder = cranelift_native::builder().map_err(|error| host(&error))?;
    builder.finish(settings::Flags::new(flags)).map_err(|error| host(&error))
}

/// The CPU's name, where the system tells it.
#[must_use]
pub fn cpu_name() -> Option<String> {
    let info = std::fs::read_to_string("/proc/cpuinfo").ok()?;
    let line = info.lines().find(|line| line.starts_with("model name"))?;
    Some(line.split_once(':')?.1.trim().to_owned())
}

/// First- and second-level data cache sizes in bytes: as the kernel tells them, else 32 KiB and 512 KiB.
fn caches() -> (usize, usize) {
    let (mut l1, mut l2) = (32 << 10, 512 << 10);
    for index in 0..8 {
        let read = |name: &str| {
            std::fs::read_to_string(format!("/sys/devices/system/cpu/cpu0/cache/index{index}/{name}")).ok()
        };
        let (Some(level), Some(kind), Some(size)) = (read("level"), read("type"), read("size")) else { break };
        let Some(size) = size.trim().strip_suffix('K').and_then(|k| k.parse::<usize>().ok()) else { continue };
        match (level.trim(), kind.trim()) {
            ("1", "Data" | "Unified") if size > 0 => l1 = size << 10,
            ("2", "Data" | "Unified") if size > 0 => l2 = size << 10,
            _ => {}
        }
    }
    (l1, l2)
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::panic, reason = "tests fail by panicking")]
    use super::*;

    #[test]
    fn names_round_trip_and_unknown_names_are_refused() {
        for target in Target::all().unwrap() {
            assert_eq!(Target::parse(target.level().name()).unwrap().level(), target.level());
        }
        let widest = Target::all().unwrap().last().unwrap().level();
        assert_eq!(Target::parse("auto").unwrap().level(), widest);
        let message = Target::parse("avx1024").unwrap_err().to_string();
        assert_eq!(message, "unknown target `avx1024`: expected auto, avx512, avx2 or v128");
    }

    #[test]
    fn a_level_that_the_cpu_lacks_is_refused_with_the_feature() {
        for level in Level::ALL {
            match Target::new(level) {
                Ok(target) => assert!(level.missing().is_empty() && target.l1_bytes() >= 8 << 10),
                Err(CodegenError::Unsupported { missing, .. }) => assert_eq!(missing, level.missing().join(", ")),
                Err(other) => panic!("{other}"),
            }
        }
    }
}
