//! Write a run to disk: each row, checkpoints to continue from; a file named `stop` ends it.

pub(crate) mod found;
mod info;
#[cfg(test)]
mod power_loss;
pub(crate) mod rows;
pub(crate) mod versions;

pub use info::RunInfo;
pub use versions::Versions;

use crate::error::{Error, Result};
use crate::io::{Checkpoint, disk, write_parquet_with};
use crate::run::{Outcome, Recorder};
use found::{BEFORE, DAMAGED, Found, NEWEST, find, holds_a_run};
use rows::Log;
use serde_json::Value;
use std::fs::{File, OpenOptions, TryLockError};
use std::path::{Path, PathBuf};
use std::time::Instant;

/// Where a run writes its checkpoints, how often, and when it pauses.
///
/// The folder then holds `stats.csv` (rows, appended as they come), `checkpoint.safetensors` (the whole state),
/// `checkpoint.previous.safetensors` (the one before), `run.json` ([`RunInfo`]: what it is and how far it got) and, once it has
/// ended, `stats.parquet`. A run that was killed at any moment continues from its last checkpoint with the bits that it would
/// have had. Files are synced before they replace others, so that the same holds after a loss of power. Where the last checkpoint
/// or the rows that it counts are damaged, the run continues from the one before and says so; its end is the same. A file named
/// `stop` in the folder asks the run to write a checkpoint and return.
///
/// ```
/// use jarzynski::{Checkpointing, Method, Rng, Trainer, Ula, model::Mixture};
/// # fn main() -> jarzynski::Result<()> {
/// # let folder = tempfile::tempdir().unwrap();
/// # let dir = folder.path().join("run");
/// let data = Mixture::new(&[vec![-2.0], vec![2.0]], &[0.3, 0.7])?.sample(200, &mut Rng::new(1));
/// let model = || Mixture::new(&[vec![-1.0], vec![1.0]], &[0.5, 0.5]);
/// let trainer = Trainer::new(Ula::new(0.1), Method::Pcd).walkers(100).steps(20).quiet();
/// let first = trainer.clone().checkpointing(Checkpointing::new(&dir).pause_after_steps(5)).train(&mut model()?, &data)?;
/// assert!(!first.finished());
/// let run = trainer.clone().resume_or_start(&dir).train(&mut model()?, &data)?;      // the same line after every interruption
/// assert_eq!(run.column("energy_data")?, trainer.train(&mut model()?, &data)?.column("energy_data")?);
/// # Ok(()) }
/// ```
#[derive(Debug, Clone, PartialEq)]
#[must_use]
pub struct Checkpointing {
    /// The folder, made where it is missing.
    pub dir: PathBuf,
    /// Seconds between checkpoints.
    pub seconds: f64,
    /// Steps between checkpoints, in addition.
    pub steps: Option<usize>,
    /// Go on with the run that is there, if one is; else a folder that holds a run is refused.
    pub resume: bool,
    /// Pause after so many steps of this call.
    pub pause_steps: Option<usize>,
    /// Pause after so many seconds of this call.
    pub pause_seconds: Option<f64>,
}

/// Seconds between two times that rows are appended.
const FLUSH: f64 = 1.0;

/// Attempts to write (e.g. on NFS) that may fail in a row before the run stops.
const PATIENCE: usize = 3;

impl Checkpointing {
    /// A new run in `dir`, with a checkpoint every minute.
    pub fn new(dir: impl Into<PathBuf>) -> Self {
        Checkpointing {
            dir: dir.into(),
            seconds: 60.0,
            steps: None,
            resume: false,
            pause_steps: None,
            pause_seconds: None,
        }
    }

    /// The run in `dir`: begun where there is none, continued where there is one.
    pub fn resume_or_start(dir: impl Into<PathBuf>) -> Self {
        Checkpointing { resume: true, ..Checkpointing::new(dir) }
    }

    /// Checkpoints every so many seconds.
    pub fn every_seconds(mut self, seconds: f64) -> Self {
        self.seconds = seconds;
        self
    }

    /// Checkpoints every so many steps too.
    pub fn every_steps(mut self, steps: usize) -> Self {
        self.steps = Some(steps);
        self
    }

    /// Pauses after so many steps of this call: the next call continues.
    pub fn pause_after_steps(mut self, steps: usize) -> Self {
        self.pause_steps = Some(steps);
        self
    }

    /// Pauses after so many seconds of this call.
    pub fn pause_after_seconds(mut self, seconds: f64) -> Self {
        self.pause_seconds = Some(seconds);
        self
    }

    fn validate(&self) -> Result<()> {
        for (name, v) in
            [("checkpointing.seconds", Some(self.seconds)), ("checkpointing.pause_seconds", self.pause_seconds)]
        {
            if let Some(v) = v.filter(|v| !(*v >= 0.0 && v.is_finite())) {
                return Err(Error::param(name, v, "a finite number of seconds ≥ 0"));
            }
        }
        match self.steps {
            Some(0) => Err(Error::param("checkpointing.steps", 0, "at least 1")),
            _ => Ok(()),
        }
    }
}

impl<P: Into<PathBuf>> From<P> for Checkpointing {
    fn from(dir: P) -> Self {
        Checkpointing::new(dir)
    }
}

pub(crate) const LOCK: &str = ".lock";

/// One run's folder while it is written to.
#[derive(Debug)]
pub(crate) struct Store {
    checkpointing: Checkpointing,
    info: RunInfo,
    /// Held until the run ends or its process does.
    _lock: File,
    opened: Instant,
    /// Seconds of earlier calls.
    before: f64,
    saved: Instant,
    flushed: Instant,
    /// When the stop file was last looked for.
    asked: Instant,
    log: Log,
    first: Option<usize>,
    failures: usize,
}

impl Store {
    /// Opens the folder, and the checkpoint that it holds if the run is continued.
    ///
    /// # Errors
    /// A folder that cannot be written, that another run is writing to, that holds a run where none was expected or
    /// another run than this.
    pub fn open(
        checkpointing: &Checkpointing,
        (label, weighted): (&str, bool),
        seed: u64,
        config: Value,
    ) -> Result<(Self, Option<Found>)> {
        checkpointing.validate()?;
        let dir = &checkpointing.dir;
        disk::make_folder(dir).map_err(|e| Error::io(dir, e))?;
        let lock = lock(dir)?;
        let info = RunInfo { weighted, ..RunInfo::new(label, seed, config) };
        if holds_a_run(dir) && !checkpointing.resume {
            return Err(Error::RunExists { dir: dir.clone() });
        }
        // none where it was killed before its first checkpoint: nothing to continue from
        let found = find(dir)?;
        let now = Instant::now();
        let mut store = Store {
            checkpointing: checkpointing.clone(),
            info,
            _lock: lock,
            opened: now,
            before: 0.0,
            saved: now,
            flushed: now,
            asked: now,
            log: Log::new(dir),
            first: None,
            failures: 0,
        };
        if let Some(found) = &found {
            let then: Value = found.checkpoint.json("config")?;
            if let Some((key, then, now)) = difference("", &then, &store.info.config) {
                return Err(Error::RunMismatch { dir: dir.clone(), key, then, now });
            }
            store.before = found.checkpoint.numbers::<1>("seconds")?[0];
            store.info.notes = RunInfo::read(dir).map(|info| info.notes).unwrap_or_default();
        }
        match std::fs::remove_file(dir.join("stop")) {
            Err(e) if e.kind() != std::io::ErrorKind::NotFound => return Err(Error::io(dir.join("stop"), e)),
            _ => {}
        }
        Ok((store, found))
    }

    /// Seconds of this call and of those that it continues: the column `seconds`.
    pub fn seconds(&self) -> f64 {
        self.before + self.opened.elapsed().as_secs_f64()
    }

    /// Goes on after what was found: the rows that it counts, later ones will come again. A newest checkpoint that could not be
    /// used is put aside, so that the next one does not take the place of the one before.
    ///
    /// # Errors
    /// `Io` with the path.
    pub fn take_up(&mut self, found: Found) -> Result<Recorder> {
        if let Some(note) = found.note {
            eprintln!("{}: {note}", self.info.label);
            self.info.notes.push(note);
            let newest = self.checkpointing.dir.join(NEWEST);
            if newest.exists() {
                let aside = self.checkpointing.dir.join(DAMAGED);
                disk::rename(&newest, &aside).map_err(|e| Error::io(&newest, e))?;
            }
        }
        self.log.take_up(&found.rows)?;
        Ok(found.rows)
    }

    /// Called before step `k` of `last`: writes rows and a checkpoint where they are due; how the run ends, if it should.
    ///
    /// # Errors
    /// Where nothing is lost yet: the first checkpoint cannot be written.
    pub fn visit(
        &mut self,
        k: usize,
        last: usize,
        recorder: &Recorder,
        state: impl FnOnce(&mut Checkpoint) -> Result<()>,
    ) -> Result<Option<Outcome>> {
        let first = *self.first.get_or_insert(k);
        let pause = self.pause(k - first);
        let by_steps = self.checkpointing.steps.is_some_and(|s| (k - first).is_multiple_of(s));
        let due =
            k == first || k == last || by_steps || self.saved.elapsed().as_secs_f64() >= self.checkpointing.seconds;
        let written = if due || pause.is_some() {
            self.save(k, recorder, state)
        } else if self.flushed.elapsed().as_secs_f64() >= FLUSH {
            self.append(recorder)
        } else {
            return Ok(None);
        };
        let paused = |cause| Ok(Some(Outcome::Paused { step: k, cause }));
        match (written, pause) {
            // the state itself is at fault, not the disk
            (Err(e @ Error::NonFinite { .. }), _) => return Err(e),
            (Err(e), _) if k == first => return Err(e),
            (Ok(()), None) => self.failures = 0,
            (Ok(()), Some(cause)) => return paused(cause),
            (Err(e), _) => {
                self.failures += 1;
                eprintln!("{}: {e} (attempt {} of {PATIENCE})", self.info.label, self.failures);
                if self.failures >= PATIENCE {
                    return paused(e.to_string());
                }
                (self.flushed, self.saved) = (Instant::now(), Instant::now());
            }
        }
        Ok(None)
    }

    fn pause(&mut self, steps: usize) -> Option<String> {
        if self.checkpointing.pause_steps.is_some_and(|s| steps >= s) {
            return Some(format!("{steps} steps of this call are done"));
        }
        if let Some(s) = self.checkpointing.pause_seconds.filter(|s| self.opened.elapsed().as_secs_f64() >= *s) {
            return Some(format!("{s} seconds of this call are over"));
        }
        // asking the system at every step of a fast run would cost more than the step
        if steps > 0 && self.asked.elapsed().as_secs_f64() < FLUSH {
            return None;
        }
        self.asked = Instant::now();
        self.checkpointing.dir.join("stop").exists().then(|| "a file named `stop` asked for it".into())
    }

    fn save(&mut self, k: usize, recorder: &Recorder, state: impl FnOnce(&mut Checkpoint) -> Result<()>) -> Result<()> {
        self.append(recorder)?;
        self.log.sync()?;
        let mut checkpoint = Checkpoint::default();
        state(&mut checkpoint)?;
        self.info.step = k;
        self.info.seconds = self.seconds();
        checkpoint.put_json("config", &self.info.config)?;
        checkpoint.put_json("step", &k)?;
        checkpoint.put_json("rows", &recorder.len())?;
        checkpoint.put_json("seal", &self.log.seal())?;
        checkpoint.put_numbers("seconds", &[self.info.seconds]);
        let dir = &self.checkpointing.dir;
        checkpoint.replace(&dir.join(NEWEST), Some(&dir.join(BEFORE)))?;
        self.info.write(dir)?;
        self.saved = Instant::now();
        Ok(())
    }

    /// Appends the rows that are not on disk yet.
    fn append(&mut self, recorder: &Recorder) -> Result<()> {
        self.flushed = Instant::now();
        self.log.append(recorder)
    }

    /// Writes the last rows, how it ended, and the frame as Parquet; says how it ended, which is not well where all steps
    /// are done and cannot be written.
    pub fn close(mut self, last: usize, recorder: &Recorder, outcome: Outcome) -> Outcome {
        (self.info.status, self.info.cause) = match &outcome {
            Outcome::Finished => ("finished".into(), None),
            Outcome::Paused { cause, .. } => ("paused".into(), Some(cause.clone())),
            Outcome::Diverged { cause, .. } => ("diverged".into(), Some(cause.clone())),
        };
        self.info.step = match &outcome {
            Outcome::Finished => last,
            Outcome::Diverged { step, .. } | Outcome::Paused { step, .. } => *step,
        };
        self.info.seconds = self.seconds();
        let dir = self.checkpointing.dir.clone();
        let mut write = || {
            self.append(recorder)?;
            self.log.sync()?;
            let info = serde_json::to_string(&self.info).unwrap_or_default();
            write_parquet_with(&recorder.stats()?, dir.join("stats.parquet"), &[("jarzynski", info)])?;
            self.info.write(&dir)
        };
        match (write(), outcome) {
            (Err(e), Outcome::Finished) => Outcome::Paused { step: last, cause: e.to_string() },
            (_, outcome) => outcome,
        }
    }
}

/// Takes the folder for this run alone; the system gives it back when the process ends, however it ends.
fn lock(dir: &Path) -> Result<File> {
    let path = dir.join(LOCK);
    let file = OpenOptions::new().create(true).truncate(false).write(true).open(&path);
    let file = file.map_err(|e| Error::io(&path, e))?;
    // a child process holds the files of its parent for the moment between its fork and its start
    const TRIES: u32 = 20;
    let mut taken = file.try_lock();
    for _ in 1..TRIES {
        if !matches!(taken, Err(TryLockError::WouldBlock)) {
            break;
        }
        std::thread::sleep(std::time::Duration::from_millis(10));
        taken = file.try_lock();
    }
    match taken {
        Ok(()) => Ok(file),
        Err(TryLockError::WouldBlock) => Err(Error::RunLocked { dir: dir.into() }),
        Err(TryLockError::Error(e)) => Err(Error::io(&path, e)),
    }
}

/// What may differ between a run and its continuation: its progress lines, and its number of steps.
const FREE: &[&str] = &["settings.progress", "settings.steps"];

/// The first key at which two configurations differ, its value then and its value now.
fn difference(at: &str, then: &Value, now: &Value) -> Option<(String, String, String)> {
    if FREE.contains(&at) {
        return None;
    }
    match (then, now) {
        (Value::Object(a), Value::Object(b)) => {
            let keys: std::collections::BTreeSet<&String> = a.keys().chain(b.keys()).collect();
            keys.into_iter().find_map(|key| {
                let place = if at.is_empty() { key.clone() } else { format!("{at}.{key}") };
                difference(&place, a.get(key).unwrap_or(&Value::Null), b.get(key).unwrap_or(&Value::Null))
            })
        }
        _ if then == now => None,
        _ => Some((at.to_string(), then.to_string(), now.to_string())),
    }
}
