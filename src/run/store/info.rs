//! Describe a checkpointed run in one small file: what it is and which step it reached.

use crate::error::{Error, Result};
use crate::io::write_atomic;
use crate::run::store::LOCK;
use crate::run::{Outcome, Versions};
use serde::{Deserialize, Serialize};
use serde_json::Value;
use std::fs::{File, TryLockError};
use std::path::Path;

/// `run.json`: what a checkpointed run is, and which step it reached. The one description of a folder that the library writes.
///
/// ```
/// use jarzynski::RunInfo;
/// # fn main() -> jarzynski::Result<()> {
/// let folder = tempfile::tempdir().unwrap();
/// let mut info = RunInfo::new("pcd", 7, jarzynski::serde_json::json!({ "walkers": 100 }));
/// info.step = 20;
/// info.write(folder.path())?;
/// assert_eq!(RunInfo::read(folder.path())?, info);
/// # Ok(()) }
/// ```
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[non_exhaustive]
pub struct RunInfo {
    /// `jarzynski`, `pcd`, `cd`, `transport`, `ais` or `flow`; the name of an experiment.
    pub label: String,
    /// Whether walkers carry weights; false for what is not one run.
    pub weighted: bool,
    /// The seed of all randomness.
    pub seed: u64,
    /// Method, kernel, settings and what identifies data and parameters.
    pub config: Value,
    /// What it ran on.
    pub versions: Versions,
    /// `running`, `finished`, `paused` or `diverged`; a run that was killed is found `running` without a process.
    pub status: String,
    /// The step that was reached when this was written.
    pub step: usize,
    /// Why it ended, where it did not finish.
    pub cause: Option<String>,
    /// Seconds of all calls together.
    pub seconds: f64,
    /// Notes, one sentence each: that the run continued from the checkpoint before the last, and why.
    #[serde(default)]
    pub notes: Vec<String>,
}

impl RunInfo {
    const FILE: &str = "run.json";

    /// Of a run that begins now: `running`, at step 0, without weights, with the versions of this build.
    pub fn new(label: impl Into<String>, seed: u64, config: Value) -> Self {
        RunInfo {
            label: label.into(),
            weighted: false,
            seed,
            config,
            versions: Versions::current(),
            status: "running".into(),
            step: 0,
            cause: None,
            seconds: 0.0,
            notes: Vec::new(),
        }
    }

    /// From `run.json` in `dir`.
    ///
    /// # Errors
    /// `Io` where there is none, `Data` with line and column where it is anything else.
    pub fn read(dir: impl AsRef<Path>) -> Result<Self> {
        let path = dir.as_ref().join(RunInfo::FILE);
        let text = std::fs::read_to_string(&path).map_err(|e| Error::io(&path, e))?;
        serde_json::from_str(&text).map_err(|e| {
            let place = format!("line {}, column {}", e.line(), e.column());
            Error::data(&path, place, format!("the description of a run ({e})"))
        })
    }

    /// To `run.json` in `dir`, completely or not at all.
    ///
    /// # Errors
    /// `Io` with the path.
    pub fn write(&self, dir: impl AsRef<Path>) -> Result<()> {
        let path = dir.as_ref().join(RunInfo::FILE);
        write_atomic(&path, |out| {
            serde_json::to_writer_pretty(&mut *out, self).map_err(|e| Error::io(&path, e.into()))?;
            writeln!(out).map_err(|e| Error::io(&path, e))
        })
    }

    /// How the run in `dir` ended, as far as is known.
    pub(crate) fn outcome(&self, dir: &Path) -> Outcome {
        let cause = self.cause.clone();
        let busy = |f: File| matches!(f.try_lock(), Err(TryLockError::WouldBlock));
        let locked = || File::open(dir.join(LOCK)).is_ok_and(busy);
        match self.status.as_str() {
            "finished" => Outcome::Finished,
            "diverged" => Outcome::Diverged { step: self.step, cause: cause.unwrap_or_default() },
            "paused" => Outcome::Paused { step: self.step, cause: cause.unwrap_or_default() },
            _ if locked() => Outcome::Paused { step: self.step, cause: "it is still running".into() },
            _ => Outcome::Paused { step: self.step, cause: "it was interrupted".into() },
        }
    }
}
