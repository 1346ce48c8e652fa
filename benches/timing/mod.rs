//! Time two sides in turns in one process, print medians of their ratios, and keep them in `results/bench/NAME.csv`.

use std::path::{Path, PathBuf};
use std::time::Instant;

/// Which rows to measure, and how long.
pub struct Bench {
    quick: bool,
    wanted: Vec<String>,
    /// The table of this bench, and what its rows say of the machine: date, revision, processor, cores.
    file: PathBuf,
    machine: [String; 4],
}

const HEAD: &str = "row,wall,lower,upper,cpu,goal,a_ms,b_ms,turns,date,revision,processor,cores";

impl Bench {
    /// From the command line: words choose rows by part of their name, `--quick` takes three turns each.
    pub fn from_args() -> Self {
        let args: Vec<String> = std::env::args().skip(1).filter(|a| a != "--bench").collect();
        let wanted = args.iter().filter(|a| !a.starts_with("--")).cloned().collect();
        println!("A / B, per step: medians over turns; wall-clock time, and processor time summed over threads");
        println!("{:<44} {:>6} {:>15} {:>6} {:>6} {:>11} {:>11}", "", "wall", "quartiles", "cpu", "goal", "A", "B");
        Bench { quick: args.iter().any(|a| a == "--quick"), wanted, file: table(), machine: machine() }
    }

    /// Prints one row: median and quartiles of A/B over the turns that `measure(turns)` returns.
    pub fn row(&self, name: &str, goal: Option<f64>, measure: impl FnOnce(usize) -> Vec<(Spent, Spent)>) {
        if !self.wanted.is_empty() && !self.wanted.iter().any(|w| name.contains(w.as_str())) {
            return;
        }
        let pairs = measure(if self.quick { 3 } else { 40 });
        let part = |share: f64, f: &dyn Fn(&(Spent, Spent)) -> f64| {
            let mut v: Vec<f64> = pairs.iter().map(f).collect();
            v.sort_by(f64::total_cmp);
            v[((v.len() - 1) as f64 * share).round() as usize]
        };
        let wall = |share| part(share, &|(a, b)| a.wall / b.wall);
        let quartiles = format!("{:.3} … {:.3}", wall(0.25), wall(0.75));
        let (cpu, goal) = (part(0.5, &|(a, b)| a.cpu / b.cpu), goal.map_or("-".to_string(), |g| g.to_string()));
        let (a, b) = (part(0.5, &|p| p.0.wall * 1e3), part(0.5, &|p| p.1.wall * 1e3));
        println!("{name:<44} {:>6.3} {quartiles:>15} {cpu:>6.3} {goal:>6} {a:>8.2} ms {b:>8.2} ms", wall(0.5));
        let numbers = [wall(0.5), wall(0.25), wall(0.75), cpu].map(|v| format!("{v:.4}")).join(",");
        let goal = if goal == "-" { String::new() } else { goal };
        let machine = self.machine.join(",");
        let line = format!("\"{name}\",{numbers},{goal},{a:.4},{b:.4},{},{machine}", pairs.len());
        if let Err(e) = keep(&self.file, name, line) {
            eprintln!("{}: {e}: this row is not kept", self.file.display());
        }
    }
}

/// The row takes the place of an earlier one of that name.
fn keep(file: &Path, name: &str, line: String) -> std::io::Result<()> {
    std::fs::create_dir_all(file.parent().unwrap_or(Path::new(".")))?;
    let before = std::fs::read_to_string(file).unwrap_or_default();
    let start = format!("\"{name}\",");
    let mut lines: Vec<&str> = before.lines().filter(|l| *l != HEAD).collect();
    match lines.iter().position(|l| l.starts_with(&start)) {
        Some(place) => lines[place] = &line,
        None => lines.push(&line),
    }
    std::fs::write(file, format!("{HEAD}\n{}\n", lines.join("\n")))
}

/// `results/bench/NAME.csv` of the bench that runs, whose file cargo names NAME-0123456789abcdef.
fn table() -> PathBuf {
    let program = std::env::current_exe().unwrap_or_default();
    let stem = program.file_stem().map_or(String::new(), |s| s.to_string_lossy().into_owned());
    let name = stem.rsplit_once('-').map_or(stem.clone(), |(name, _)| name.to_string());
    Path::new(env!("CARGO_MANIFEST_DIR")).join("results/bench").join(name + ".csv")
}

fn machine() -> [String; 4] {
    let said = |program: &str, args: &[&str]| {
        let out = std::process::Command::new(program).args(args).current_dir(env!("CARGO_MANIFEST_DIR")).output();
        out.map_or(String::new(), |o| String::from_utf8_lossy(&o.stdout).trim().replace(',', ""))
    };
    let processors = std::fs::read_to_string("/proc/cpuinfo").unwrap_or_default();
    let model = processors.lines().find_map(|l| l.strip_prefix("model name")).unwrap_or("");
    let model = model.trim_start_matches([' ', '\t', ':']).replace(',', "");
    let cores = std::thread::available_parallelism().map_or(0, usize::from);
    [said("date", &["-u", "+%F"]), said("git", &["rev-parse", "--short=10", "HEAD"]), model, cores.to_string()]
}

/// Seconds that something took: on the wall, and of all threads of this process (NaN where Linux does not say).
#[derive(Clone, Copy)]
pub struct Spent {
    pub wall: f64,
    pub cpu: f64,
}

pub struct Clock {
    wall: Instant,
    cpu: f64,
}

impl Clock {
    pub fn start() -> Self {
        Clock { cpu: processor_seconds(), wall: Instant::now() }
    }

    /// Time since the start, per step.
    pub fn stop(&self, steps: usize) -> Spent {
        let wall = self.wall.elapsed().as_secs_f64();
        Spent { wall: wall / steps as f64, cpu: (processor_seconds() - self.cpu) / steps as f64 }
    }
}

/// Processor time of all threads. Unlike time on the wall it hardly depends on what else the machine does.
fn processor_seconds() -> f64 {
    let Ok(tasks) = std::fs::read_dir("/proc/self/task") else { return f64::NAN };
    let of = |task: std::fs::DirEntry| std::fs::read_to_string(task.path().join("schedstat")).ok();
    let nanoseconds = tasks.flatten().filter_map(of).filter_map(|s| s.split(' ').next()?.parse::<f64>().ok());
    nanoseconds.sum::<f64>() * 1e-9
}

pub fn clock(steps: usize, f: impl FnOnce()) -> Spent {
    let t = Clock::start();
    f();
    t.stop(steps)
}
