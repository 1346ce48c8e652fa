//! Estimate from below what memory a run needs, and refuse one that cannot fit before it starts.

use crate::density::RowNumbers;
use crate::error::{Error, Result};
use std::fmt;
use std::path::Path;
use tch::{Device, Kind};

/// What the memory of a run follows from.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Sizes {
    /// Bytes of a number: 4 in `Float`, 8 in `Double`.
    pub bytes: u64,
    /// Parameters of the model, 0 for a path.
    pub parameters: u64,
    /// Numbers as large as the parameters that an update holds beside them: the gradient, the optimiser's memory, both ends of a
    /// step that the ESS limits.
    pub copies: u64,
    /// Numbers of each walker.
    pub row: RowNumbers,
    /// Width d of a row of data.
    pub dim: u64,
    /// Walkers N.
    pub walkers: u64,
    /// Walkers of the monitor M.
    pub monitor: u64,
    /// Rows of data per update B, 0 without training.
    pub batch: u64,
    /// Rows of data that are not in memory yet.
    pub data: u64,
    /// Whether walkers keep their graphs from one move to the next, as in a training.
    pub graphs: bool,
}

impl Sizes {
    /// In numbers of that kind, for walkers of d numbers of which nothing else is known, and no data.
    pub fn of(kind: Kind, dim: usize, walkers: usize) -> Self {
        Sizes {
            bytes: if kind == Kind::Double { 8 } else { 4 },
            parameters: 0,
            copies: 0,
            row: RowNumbers { kept: 2 * dim, graph: 0 },
            dim: dim as u64,
            walkers: walkers as u64,
            monitor: 0,
            batch: 0,
            data: 0,
            graphs: false,
        }
    }
}

/// Bytes of each walker that are not tensors of the model's kind: A, its weight, U in f64, its ancestor at the start and at one
/// later time.
const WEIGHTS: u64 = 5 * 8;

/// The memory of a run, counted from below, beside what the process holds already:
///
/// ```text
/// parameters   s P (1 + c)
/// data         s D d
/// walkers      (N + M) (s (k + g) + 40)           without g in a transport
/// one pass     s max( max(N, M) (k + g),  B (d + g) )
/// ```
///
/// with s bytes per number, P parameters and c [`copies`](Sizes::copies) of them, D rows of data, d numbers each, N walkers and M
/// in the monitor, each with k numbers that are [`kept`](RowNumbers::kept) between updates and g of its
/// [`graph`](RowNumbers::graph); B rows of data per update. At the first update all walkers hold the graph of their start, and the
/// new evaluation of a move is there before the old one goes.
///
/// These tensors exist at the same time, so that a run with less memory ends before it is done. What the allocator, the kernel's
/// noise, draws of hidden units, natural gradients, gradients of activations and libtorch's own buffers take is not counted: measured peaks of
/// trainings by MALA, ULA and Gibbs sampling and of transports with and without layers, 0.2 GB and larger, were between 1 and 3
/// times the estimate (`tests/it/memory.rs`).
///
/// ```
/// use jarzynski::{Method, Trainer, Ula, model::Mixture};
/// # fn main() -> jarzynski::Result<()> {
/// let model = Mixture::new(&[vec![-1.0; 50], vec![1.0; 50]], &[0.5, 0.5])?;
/// let trainer = Trainer::new(Ula::new(0.1), Method::Jarzynski { ess_min: 0.5 }).walkers(1_000_000);
/// println!("{}", trainer.memory(&model));                     // 2.5 GB (walkers 1.7 GB, one pass 0.8 GB)
/// # Ok(()) }
/// ```
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Memory {
    parts: Vec<(&'static str, u64)>,
}

impl Memory {
    /// Of a run of these sizes.
    pub fn of(sizes: &Sizes) -> Self {
        let Sizes { bytes: s, parameters, copies, row, dim, walkers, monitor, batch, data, graphs } = *sizes;
        let (kept, graph) = (row.kept as u64, row.graph as u64);
        // sizes are a user's: a product that does not fit 64 bits does not fit any machine
        let times = |a: u64, b: u64| a.saturating_mul(b);
        let all = walkers.saturating_add(monitor);
        let pass = times(walkers.max(monitor), kept + graph).max(times(batch, dim + graph));
        Memory {
            parts: vec![
                ("parameters", times(s, times(parameters, 1 + copies))),
                ("data", times(s, times(data, dim))),
                ("walkers", times(all, s * (kept + if graphs { graph } else { 0 }) + WEIGHTS)),
                ("one pass", times(s, pass)),
            ],
        }
    }

    /// All of it.
    pub fn bytes(&self) -> u64 {
        self.parts.iter().fold(0, |sum, (_, bytes)| sum.saturating_add(*bytes))
    }

    /// The larger one of two that are not needed at the same time.
    #[must_use]
    pub fn or(self, other: Memory) -> Memory {
        if other.bytes() > self.bytes() { other } else { self }
    }

    /// Refuses a run that cannot fit on a device. Where nobody knows what is available ([`available`]), nothing is refused.
    ///
    /// # Errors
    /// `Param` named `memory` with what is needed, for what, and what is available.
    pub fn check(&self, device: Device) -> Result<()> {
        // a graphics card is asked through another program: not for what fits any
        if device != Device::Cpu && self.bytes() < 1 << 30 {
            return Ok(());
        }
        match available(device) {
            Some(there) if self.bytes() > there => {
                let expected =
                    format!("a run that fits into {}, which {} has available", gigabytes(there), named(device));
                Err(Error::param("memory", format!("{self} at least"), expected))
            }
            _ => Ok(()),
        }
    }
}

/// The total, and each part of a hundredth and more.
impl fmt::Display for Memory {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let all = self.bytes();
        let large: Vec<String> = self
            .parts
            .iter()
            .filter(|(_, bytes)| *bytes > all / 100)
            .map(|(name, bytes)| format!("{name} {}", gigabytes(*bytes)))
            .collect();
        write!(f, "{} ({})", gigabytes(all), large.join(", "))
    }
}

fn gigabytes(bytes: u64) -> String {
    let gigabytes = bytes as f64 / 1e9;
    if gigabytes < 0.1 { format!("{:.1} MB", bytes as f64 / 1e6) } else { format!("{gigabytes:.1} GB") }
}

fn named(device: Device) -> String {
    match device {
        Device::Cuda(i) => format!("cuda:{i}"),
        _ => "this machine".into(),
    }
}

/// Bytes that a process can still get: on the CPU what the system can free without swapping, and no more than the control groups
/// of the process allow, as batch systems set them (Linux); on CUDA what `nvidia-smi` tells. `None` where that is not known.
pub fn available(device: Device) -> Option<u64> {
    match device {
        Device::Cpu => {
            let system = meminfo(&std::fs::read_to_string("/proc/meminfo").ok()?)?;
            Some(groups(Path::new("/sys/fs/cgroup"), "/proc/self/cgroup").map_or(system, |left| left.min(system)))
        }
        Device::Cuda(i) => {
            let visible = std::env::var("CUDA_VISIBLE_DEVICES").unwrap_or_default();
            let id = visible.split(',').nth(i).filter(|id| !id.is_empty()).map_or(i.to_string(), str::to_string);
            let query = ["--query-gpu=memory.free", "--format=csv,noheader,nounits", "-i", &id];
            let out = std::process::Command::new("nvidia-smi").args(query).output().ok()?;
            let mebibytes: u64 = String::from_utf8(out.stdout).ok()?.trim().parse().ok()?;
            Some(mebibytes << 20)
        }
        _ => None,
    }
}

/// `MemAvailable` in bytes.
fn meminfo(text: &str) -> Option<u64> {
    let line = text.lines().find_map(|line| line.strip_prefix("MemAvailable:"))?;
    Some(line.trim().strip_suffix("kB")?.trim().parse::<u64>().ok()? * 1024)
}

/// What the control group of this process (version 2) and those above it leave.
fn groups(root: &Path, own: &str) -> Option<u64> {
    let text = std::fs::read_to_string(own).ok()?;
    let path = text.lines().find_map(|line| line.strip_prefix("0::"))?;
    let mut group = root.join(path.trim().trim_start_matches('/'));
    let mut least = None::<u64>;
    loop {
        if let Some(left) = left_in(&group) {
            least = Some(least.map_or(left, |l| l.min(left)));
        }
        if group == *root || !group.pop() {
            return least;
        }
    }
}

/// The limit of one group less what it uses; pages of files are given up when memory is short.
fn left_in(group: &Path) -> Option<u64> {
    let read = |name: &str| std::fs::read_to_string(group.join(name)).ok();
    let limit: u64 = read("memory.max")?.trim().parse().ok()?;
    let used: u64 = read("memory.current")?.trim().parse().ok()?;
    let stat = read("memory.stat").unwrap_or_default();
    let of = |name: &str| {
        let line = stat.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(' '));
        line.and_then(|n| n.parse::<u64>().ok()).unwrap_or(0)
    };
    Some(limit.saturating_sub(used.saturating_sub(of("inactive_file") + of("active_file"))))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_formula_is_that_of_the_documentation() {
        let sizes = Sizes {
            bytes: 4,
            parameters: 1_000,
            copies: 3,
            row: RowNumbers { kept: 20, graph: 70 },
            dim: 10,
            walkers: 500,
            monitor: 300,
            batch: 100,
            data: 2_000,
            graphs: true,
        };
        let expected = 4 * 1_000 * 4 + 4 * 2_000 * 10 + 800 * (4 * 90 + 40) + 4 * 500 * 90;
        assert_eq!(Memory::of(&sizes).bytes(), expected);
        assert_eq!(Memory::of(&Sizes { graphs: false, ..sizes }).bytes(), expected - 800 * 4 * 70);
        let data = Memory::of(&Sizes { batch: 10_000, ..sizes }).bytes();
        assert_eq!(data, expected - 4 * 500 * 90 + 4 * 10_000 * 80);
        let huge = Memory::of(&Sizes { walkers: u64::MAX, ..sizes });
        assert_eq!(huge.bytes(), u64::MAX);
        let e = huge.check(Device::Cpu).unwrap_err().to_string();
        assert!(e.starts_with("memory = 18446744073.7 GB (") && e.contains("which this machine has available"), "{e}");
        assert!(Memory::of(&sizes).check(Device::Cpu).is_ok());
        assert_eq!(Memory::of(&sizes).or(huge.clone()), huge);
    }

    #[test]
    fn what_is_left_is_the_least_of_the_groups() {
        let tmp = tempfile::tempdir().unwrap();
        let inner = tmp.path().join("job/step");
        std::fs::create_dir_all(&inner).unwrap();
        let own = tmp.path().join("own");
        std::fs::write(&own, "0::/job/step\n").unwrap();
        let own = own.to_str().unwrap();
        assert_eq!(groups(tmp.path(), own), None);
        let write = |dir: &Path, limit: &str, used: &str| {
            std::fs::write(dir.join("memory.max"), limit).unwrap();
            std::fs::write(dir.join("memory.current"), used).unwrap();
        };
        write(&inner, "max\n", "100\n");
        assert_eq!(groups(tmp.path(), own), None);
        write(&tmp.path().join("job"), "5000\n", "2000\n");
        assert_eq!(groups(tmp.path(), own), Some(3000));
        write(&inner, "2500\n", "1000\n");
        std::fs::write(inner.join("memory.stat"), "anon 10\ninactive_file 300\nactive_file 200\n").unwrap();
        assert_eq!(groups(tmp.path(), own), Some(2000));
        assert_eq!(meminfo("MemTotal: 9 kB\nMemAvailable:   12345 kB\n"), Some(12345 * 1024));
        assert_eq!(meminfo("MemTotal: 9 kB\n"), None);
    }
}
