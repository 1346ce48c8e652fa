//! Run seeds × configurations side by side, collect one tidy frame, and continue where an earlier call was interrupted.

mod claim;
mod summary;

pub use claim::Claim;
pub use summary::SweepSummary;

use crate::error::{Error, Result, guard};
use crate::io::fingerprint;
use crate::io::{write_atomic, write_parquet};
use crate::numeric::Threads;
use crate::run::{Checkpointing, Outcome, Run, RunInfo};
use crate::train::Trainer;
use crate::transport::Transport;
use polars::prelude::DataFrame;
use serde::{Deserialize, Serialize};
use serde_json::Value;
use std::path::{Path, PathBuf};
use std::sync::Mutex;
use std::time::{Duration, Instant};
use summary::{collect, flat};
use tch::Tensor;

/// How a sweep runs.
///
/// Members share nothing: each of the `cores / threads` workers takes the next member when it is done with one, and runs it with
/// `threads` threads of libtorch and of the library's own loops, so that two members do not fight for the same cores.
/// Results depend on `threads`, as those of a single run do, and not on the number of cores.
///
/// ```
/// use jarzynski::{Sweep, Method, Rng, Trainer, Ula, sweep::grid, model::Mixture};
/// # fn main() -> jarzynski::Result<()> {
/// let data = Mixture::new(&[vec![-2.0], vec![2.0]], &[0.3, 0.7])?.sample(200, &mut Rng::new(1));
/// let summary = Sweep::new(0..3).quiet().run(&grid(&[("lr", &[0.02, 0.05])]), &data, |member, data| {
///     let mut model = Mixture::new(&[vec![-1.0], vec![1.0]], &[0.5, 0.5])?;
///     let trainer = Trainer::new(Ula::new(0.1), Method::Jarzynski { ess_min: 0.5 }).walkers(100).steps(20);
///     member.trainer(trainer).lr(member.config["lr"]).train(&mut model, data)
/// })?;
/// assert_eq!(summary.members.height(), 6);
/// println!("{}", summary.bands(&["cross_entropy"])?);      // mean and standard error over seeds, by lr and step
/// # Ok(()) }
/// ```
#[derive(Debug, Clone)]
#[must_use]
pub struct Sweep {
    /// One member for each seed and configuration.
    pub seeds: Vec<u64>,
    /// Cores to use; by default all.
    pub cores: usize,
    /// Threads of each member: part of its results.
    pub threads: usize,
    /// The folder of the members' runs, if any: a second call continues those that are not finished.
    pub dir: Option<PathBuf>,
    /// Whether several processes share the folder, and after what time the claim of one that was killed is void.
    pub shared: Option<Duration>,
    /// Whether a line is printed as each member ends.
    pub progress: bool,
}

/// A grid of named numbers: every combination, the last name running fastest.
pub fn grid(axes: &[(&str, &[f64])]) -> Vec<std::collections::BTreeMap<String, f64>> {
    axes.iter().fold(vec![Default::default()], |points, (name, values)| {
        let with = |p: &std::collections::BTreeMap<String, f64>, v: f64| {
            let mut p = p.clone();
            p.insert(name.to_string(), v);
            p
        };
        points.iter().flat_map(|p| values.iter().map(move |v| with(p, *v))).collect()
    })
}

/// The folder of a member's own run, within the member's.
const RUN: &str = "run";

/// What the closure of a member gets.
#[derive(Debug)]
#[non_exhaustive]
pub struct Member<'a, C> {
    /// Its configuration.
    pub config: &'a C,
    /// Its seed.
    pub seed: u64,
    /// Threads that it may use.
    pub threads: usize,
    /// Its own folder, if the sweep has one.
    pub dir: Option<PathBuf>,
}

impl<C> Member<'_, C> {
    /// A trainer with this member's seed, threads and folder, silent.
    pub fn trainer<K>(&self, mut trainer: Trainer<K>) -> Trainer<K> {
        (trainer.settings.seed, trainer.settings.threads, trainer.settings.progress) = (self.seed, self.threads, 0.0);
        trainer.checkpointing = self.checkpointing().or(trainer.checkpointing);
        trainer
    }

    /// A transport with this member's seed, threads and folder, silent.
    pub fn transport<K>(&self, mut transport: Transport<K>) -> Transport<K> {
        (transport.seed, transport.threads, transport.progress) = (self.seed, self.threads, 0.0);
        transport.checkpointing = self.checkpointing().or(transport.checkpointing);
        transport
    }

    fn checkpointing(&self) -> Option<Checkpointing> {
        self.dir.as_ref().map(|dir| Checkpointing::resume_or_start(dir.join(RUN)))
    }
}

/// How a member ended: the file `member.json` in its folder, and a row of [`SweepSummary::members`].
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
struct Ended {
    config: Value,
    seed: u64,
    /// Shape and checksum of the data.
    data: String,
    threads: usize,
    /// `finished`, `paused`, `diverged`, `failed` or `elsewhere`.
    status: String,
    cause: Option<String>,
    step: Option<usize>,
    seconds: f64,
}

impl Sweep {
    /// One member per seed, one thread each, on all cores.
    pub fn new(seeds: impl IntoIterator<Item = u64>) -> Self {
        let cores = std::thread::available_parallelism().map_or(1, |n| n.get());
        Sweep { seeds: seeds.into_iter().collect(), cores, threads: 1, dir: None, shared: None, progress: true }
    }

    /// On so many cores.
    pub fn cores(mut self, cores: usize) -> Self {
        self.cores = cores;
        self
    }

    /// With so many threads for each member: worth it where a member fills them, as convolutions do.
    pub fn threads(mut self, threads: usize) -> Self {
        self.threads = threads;
        self
    }

    /// With members' runs in a folder: finished ones are not trained again, others continue from their last checkpoint.
    ///
    /// Data and threads must be those of the earlier call. The closure is called for every member, since only it knows
    /// what it would do; a run made by [`Member::trainer`] or [`Member::transport`] then compares kernel, method, settings,
    /// data and model with the earlier ones, and returns at once if it was finished. More updates than before are made
    /// in addition. What the closure computes besides, and runs that it keeps nowhere, are computed anew.
    pub fn checkpointing(mut self, dir: impl Into<PathBuf>) -> Self {
        self.dir = Some(dir.into());
        self
    }

    /// Side by side with other processes that make the same call on the same folder, on this machine or on others: each takes
    /// members that no other has ([`Claim`]), and returns once all are taken. Members of others have the status `elsewhere` and no
    /// rows; the same call after all have ended returns the whole sweep. `stale` is how long a claim must not have been renewed
    /// until it counts as that of a killed process, [`Claim::STALE`] for instance.
    ///
    /// ```
    /// use jarzynski::{Sweep, Method, Rng, Trainer, Ula, model::Mixture, sweep::Claim};
    /// # fn main() -> jarzynski::Result<()> {
    /// # let folder = tempfile::tempdir().unwrap();
    /// # let dir = folder.path();
    /// let data = Mixture::new(&[vec![-2.0], vec![2.0]], &[0.3, 0.7])?.sample(200, &mut Rng::new(1));
    /// // in every process of a job array
    /// let summary = Sweep::new(0..3).checkpointing(dir).shared(Claim::STALE).quiet().run(&[()], &data, |member, data| {
    ///     let mut model = Mixture::new(&[vec![-1.0], vec![1.0]], &[0.5, 0.5])?;
    ///     member.trainer(Trainer::new(Ula::new(0.1), Method::Pcd).walkers(100).steps(20)).train(&mut model, data)
    /// })?;
    /// assert_eq!(summary.summary(), "3 of 3 members finished");
    /// # Ok(()) }
    /// ```
    pub fn shared(mut self, stale: Duration) -> Self {
        self.shared = Some(stale);
        self
    }

    /// Without progress lines.
    pub fn quiet(mut self) -> Self {
        self.progress = false;
        self
    }

    /// Runs `member` for every configuration of `grid` and every seed. `data` is what all of them read; each worker gets a copy.
    ///
    /// A member that fails or panics is a row with its cause; the others finish.
    ///
    /// # Errors
    /// No member, no core, a configuration that is no JSON, a folder that cannot be written; members of another sweep in it: of
    /// other data, threads, settings or another model than this call's, whose message names what differs.
    pub fn run<C, F>(&self, grid: &[C], data: &Tensor, member: F) -> Result<SweepSummary>
    where
        C: Serialize + Sync,
        F: Fn(&Member<C>, &Tensor) -> Result<Run> + Sync,
    {
        for (name, n) in
            [("seeds", self.seeds.len()), ("grid", grid.len()), ("cores", self.cores), ("threads", self.threads)]
        {
            if n == 0 {
                return Err(Error::param(name, n, "at least 1"));
            }
        }
        if self.shared.is_some() && self.dir.is_none() {
            return Err(Error::param(
                "shared",
                "no folder",
                "a sweep with `checkpointing` in a folder that all processes see",
            ));
        }
        let mut jobs = Vec::new();
        for config in grid {
            let value = serde_json::to_value(config).map_err(|e| Error::param("config", e, "what JSON can hold"))?;
            jobs.extend(self.seeds.iter().map(|&seed| (config, value.clone(), seed)));
        }
        let all = jobs.len();
        // before anything is run
        let fingerprint = if self.dir.is_some() { fingerprint(data)? } else { String::new() };
        for (_, config, seed) in &jobs {
            self.check_kept(config, *seed, &fingerprint)?;
        }
        let _threads = Threads::request(self.threads);
        let (queue, done) = (Mutex::new(jobs.into_iter().enumerate()), Mutex::new(Vec::with_capacity(all)));
        let started = Instant::now();
        let workers = (self.cores / self.threads).clamp(1, all);
        // tensors are not shared between threads
        let copies: Vec<Tensor> = (0..workers).map(|_| data.copy()).collect();
        std::thread::scope(|scope| {
            let worker = |data: Tensor| {
                let next = || queue.lock().ok().and_then(|mut q| q.next());
                while let Some((i, (config, value, seed))) = next() {
                    let result = self.one((config, value, seed), (&data, &fingerprint), &member);
                    let Ok(mut done) = done.lock() else { return };
                    if self.progress {
                        self.say(&result, done.len() + 1, all, started.elapsed());
                    }
                    done.push((i, result));
                }
            };
            copies.into_iter().for_each(|data| {
                let pool = rayon::ThreadPoolBuilder::new().num_threads(self.threads).build();
                scope.spawn(move || match pool {
                    Ok(pool) => pool.install(|| worker(data)),
                    Err(_) => worker(data),
                });
            });
        });
        let mut done = done.into_inner().unwrap_or_default();
        done.sort_by_key(|(i, _)| *i);
        collect(done.into_iter().map(|(_, member)| member).collect::<Result<Vec<_>>>()?)
    }

    /// # Errors
    /// The member's earlier run used other data, or other threads.
    fn check_kept(&self, config: &Value, seed: u64, data: &str) -> Result<()> {
        let Some(dir) = self.dir.as_ref().map(|dir| dir.join(name(config, seed))) else { return Ok(()) };
        let Some(kept) = kept(&dir)? else { return Ok(()) };
        let said =
            |value: &dyn std::fmt::Display| format!("{value}, as the member has that is kept in {}", dir.display());
        if kept.data != data {
            return Err(Error::param("data", data, said(&kept.data)));
        }
        if kept.threads != self.threads {
            return Err(Error::param("threads", self.threads, said(&kept.threads)));
        }
        Ok(())
    }

    fn one<C, F>(
        &self,
        (config, value, seed): (&C, Value, u64),
        (data, fingerprint): (&Tensor, &str),
        member: &F,
    ) -> Result<Done>
    where
        F: Fn(&Member<C>, &Tensor) -> Result<Run>,
    {
        let dir = self.dir.as_ref().map(|dir| dir.join(name(&value, seed)));
        if let Some(dir) = &dir {
            std::fs::create_dir_all(dir).map_err(|e| Error::io(dir, e))?;
        }
        let started = Instant::now();
        let told = Member { config, seed, threads: self.threads, dir: dir.clone() };
        let mut ended = Ended {
            config: value,
            seed,
            data: fingerprint.into(),
            threads: self.threads,
            status: "failed".into(),
            cause: None,
            step: None,
            seconds: 0.0,
        };
        let claimed = dir.as_ref().zip(self.shared).map(|(dir, stale)| Claim::take(dir, stale)).transpose()?;
        if let Some(None) = claimed {
            let cause = Some("another process has it".into());
            return Ok(Done { ended: Ended { status: "elsewhere".into(), cause, ..ended }, rows: None, reused: false });
        }
        let before = dir.as_ref().and_then(|dir| finished_at(dir));
        let run = match guard(|| member(&told, data)) {
            // the run in the folder is another one than this call's
            Err(e) if is_mismatch(&e) && dir.as_ref().is_some_and(|dir| RunInfo::read(dir.join(RUN)).is_ok()) => {
                return Err(e);
            }
            Err(e) => {
                ended = Ended { cause: Some(e.to_string()), seconds: started.elapsed().as_secs_f64(), ..ended };
                return Ok(Done { ended, rows: None, reused: false });
            }
            Ok(run) => run,
        };
        let (status, step, cause) = match run.outcome {
            Outcome::Finished => ("finished", None, None),
            Outcome::Diverged { step, cause } => ("diverged", Some(step), Some(cause)),
            Outcome::Paused { step, cause } => ("paused", Some(step), Some(cause)),
        };
        let last = run.stats.column("step").ok().and_then(|c| c.as_materialized_series().max::<u64>().ok().flatten());
        let reused = before.is_some() && last == before;
        ended = Ended { status: status.into(), step, cause, seconds: run.seconds, ..ended };
        if let Some(dir) = &dir {
            write_parquet(&run.stats, dir.join("rows.parquet"))?;
            write_json(&ended, &dir.join("member.json"))?;
        }
        Ok(Done { ended, rows: Some(run.stats), reused })
    }

    fn say(&self, result: &Result<Done>, n: usize, all: usize, elapsed: Duration) {
        let left = elapsed.as_secs_f64() / n as f64 * (all - n) as f64;
        match result {
            Ok(d) => {
                let config: Vec<String> = flat(&d.ended.config).iter().map(|(k, v)| format!("{k} {v}")).collect();
                let how = if d.reused { "was finished" } else { &d.ended.status };
                let why = d.ended.cause.as_ref().map_or(String::new(), |c| format!(": {c}"));
                println!("{n}/{all}  {}  seed {}  {how}{why}  {left:.0} s left", config.join("  "), d.ended.seed);
            }
            Err(e) => println!("{n}/{all}  {e}"),
        }
    }
}

struct Done {
    ended: Ended,
    rows: Option<DataFrame>,
    reused: bool,
}

/// A folder's name for a configuration and a seed: the same in every call, whatever else the grid holds.
fn name(config: &Value, seed: u64) -> String {
    use sha2::{Digest, Sha256};
    let digest = Sha256::digest(config.to_string());
    let short: String = digest.iter().take(5).map(|b| format!("{b:02x}")).collect();
    format!("{short}-seed-{seed}")
}

fn write_json(ended: &Ended, path: &Path) -> Result<()> {
    write_atomic(path, |out| serde_json::to_writer_pretty(out, ended).map_err(|e| Error::io(path, e.into())))
}

/// What an earlier call wrote of a member.
fn kept(dir: &Path) -> Result<Option<Ended>> {
    let path = dir.join("member.json");
    let text = match std::fs::read_to_string(&path) {
        Ok(text) => text,
        Err(e) if e.kind() == std::io::ErrorKind::NotFound => return Ok(None),
        Err(e) => return Err(Error::io(path, e)),
    };
    let bad = |e: serde_json::Error| Error::data(&path, format!("line {}", e.line()), format!("a member ({e})"));
    serde_json::from_str(&text).map(Some).map_err(bad)
}

/// The last step of the member's own run, where an earlier call finished it.
fn finished_at(dir: &Path) -> Option<u64> {
    let info = RunInfo::read(dir.join(RUN)).ok()?;
    (info.status == "finished").then_some(info.step as u64)
}

/// Whether a run was refused because another one is in its folder, or one that has done more steps.
fn is_mismatch(e: &Error) -> bool {
    matches!(e, Error::RunMismatch { .. } | Error::Param { name: "steps", .. })
}
