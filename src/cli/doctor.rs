//! `incept doctor`: what this machine can run, and what may disturb measurements on it.

use std::fs;

use clap::Args;
use incept::compiler::codegen::target::{Level, Target, cpu_name};
use serde_json::{Value, json};

use super::failure::Outcome;
use super::out;

/// What this machine can run, and what may disturb measurements.
#[derive(Debug, Args)]
#[command(after_help = "Examples:\n  \
    incept doctor")]
pub struct Doctor {
    /// Print one JSON document.
    #[arg(long)]
    json: bool,
}

/// One thing that may disturb measurements.
struct Concern {
    what: &'static str,
    found: String,
    advice: Option<&'static str>,
}

impl Doctor {
    pub fn run(&self) -> Outcome {
        let concerns = concerns();
        let cpu = cpu_name().unwrap_or_else(|| "unknown".into());
        let cores = std::thread::available_parallelism().map_or(1, usize::from);
        let levels: Vec<(Level, Option<Target>)> =
            Level::ALL.into_iter().map(|level| (level, Target::new(level).ok())).collect();
        let auto = Target::host().map(|target| target.level().name()).unwrap_or("none");
        if self.json {
            return out::json(json!({
                "cpu": cpu,
                "cores": cores,
                "auto": auto,
                "levels": levels.iter().map(|(level, target)| json!({
                    "name": level.name(),
                    "lanes": level.lanes(),
                    "available": target.is_some(),
                    "missing": level.missing(),
                })).collect::<Vec<Value>>(),
                "features": features(),
                "concerns": concerns.iter().map(|concern| json!({
                    "what": concern.what, "found": concern.found, "advice": concern.advice,
                })).collect::<Vec<Value>>(),
            }));
        }
        let mut text = format!("CPU       {cpu}\ncores     {cores} usable by this process\n");
        text += &format!("features  {}\n\n", features().join(" "));
        let rows = levels.iter().map(|(level, target)| {
            let state = match target {
                Some(_) if level.name() == auto => "yes, chosen by auto".into(),
                Some(_) => "yes".into(),
                None => format!("no: lacks {}", level.missing().join(", ")),
            };
            vec![level.name().into(), level.lanes().to_string(), state]
        });
        text += &out::table(&["target", "lanes", "runs here"], rows.collect());
        text += "\nHow many FMA units the CPU has cannot be asked; `incept profile` measures the peak.\n";
        text += "\nWhat may disturb measurements:\n";
        for concern in &concerns {
            text += &format!("  {:<22} {}\n", concern.what, concern.found);
            if let Some(advice) = concern.advice {
                text += &format!("  {:<22}   {advice}\n", "");
            }
        }
        out::text(&text)
    }
}

fn read(path: &str) -> Option<String> {
    Some(fs::read_to_string(path).ok()?.trim().to_owned())
}

/// The CPU features that matter to the emitted code.
fn features() -> Vec<&'static str> {
    #[allow(unused_mut, reason = "stays empty on other architectures")]
    let mut found = Vec::new();
    #[cfg(target_arch = "x86_64")]
    {
        macro_rules! ask {
            ($($feature:tt),*) => { $(if std::is_x86_feature_detected!($feature) { found.push($feature); })* };
        }
        ask!("sse4.1", "avx", "fma", "avx2", "avx512f", "avx512vl", "avx512bw", "avx512dq", "avx512bf16", "avx512vnni");
    }
    found
}

fn concerns() -> Vec<Concern> {
    let unknown = || "unknown".to_owned();
    let governor = read("/sys/devices/system/cpu/cpu0/cpufreq/scaling_governor");
    let load = read("/proc/loadavg").and_then(|load| load.split_whitespace().next().map(str::to_owned));
    let busy = load.as_deref().and_then(|load| load.parse::<f64>().ok()).is_some_and(|load| load > 0.5);
    let smt = read("/sys/devices/system/cpu/smt/active");
    let quota = read("/sys/fs/cgroup/cpu.max");
    let memory = read("/sys/fs/cgroup/memory.max");
    let virtual_machine = read("/proc/cpuinfo").is_some_and(|info| info.contains(" hypervisor"));
    vec![
        Concern {
            what: "frequency governor",
            advice: match governor.as_deref() {
                Some("performance") | None => None,
                Some(_) => Some("`performance` keeps the clock from changing during a measurement"),
            },
            found: governor.unwrap_or_else(unknown),
        },
        Concern {
            what: "load (1 minute)",
            found: load.unwrap_or_else(unknown),
            advice: busy.then_some("other programs are running: they take time, cache and clock"),
        },
        Concern {
            what: "hyper-threads",
            advice: (smt.as_deref() == Some("1")).then_some("two threads may share one core's units"),
            found: match smt.as_deref() {
                Some("1") => "on".into(),
                Some(_) => "off".into(),
                None => unknown(),
            },
        },
        Concern {
            what: "CPU quota (cgroup)",
            advice: quota
                .as_deref()
                .filter(|quota| !quota.starts_with("max"))
                .map(|_| "the group's quota may stop runs"),
            found: match quota.as_deref() {
                Some(quota) if quota.starts_with("max") => "none".into(),
                Some(quota) => quota.to_owned(),
                None => unknown(),
            },
        },
        Concern {
            what: "memory limit (cgroup)",
            advice: None,
            found: match memory.as_deref() {
                Some("max") => "none".into(),
                Some(limit) => limit.parse().map_or_else(|_| limit.to_owned(), out::bytes),
                None => unknown(),
            },
        },
        Concern {
            what: "virtual machine",
            advice: virtual_machine.then_some("neighbours on the same machine may take time and cache"),
            found: if virtual_machine { "yes" } else { "not seen" }.into(),
        },
    ]
}
