//! Say where an experiment runs: on which device, and in which folder its trainings write their checkpoints.

use jarzynski::tch::Device;
use jarzynski::{Checkpointing, Error, Result, RunInfo};
use std::path::{Path, PathBuf};

/// The folder of unfinished trainings beside an experiment's results.
const RUNS: &str = ".runs";

/// Where an experiment runs.
#[derive(Debug, Clone)]
#[non_exhaustive]
pub struct Context {
    /// The device of models, paths, walkers and data.
    pub device: Device,
    /// Whether trainings of an interrupted call are continued; else they begin anew.
    pub resume: bool,
    /// The folder of the trainings' checkpoints, if any.
    runs: Option<PathBuf>,
}

impl Default for Context {
    fn default() -> Self {
        Context::on(Device::Cpu)
    }
}

impl Context {
    /// On a device, keeping nothing.
    pub fn on(device: Device) -> Self {
        Context { device, resume: false, runs: None }
    }

    /// Continues the trainings of an interrupted call.
    #[must_use]
    pub fn resuming(mut self) -> Self {
        self.resume = true;
        self
    }

    /// Where the training of that name writes its checkpoints; `None` without such a folder.
    pub fn checkpointing(&self, name: &str) -> Option<Checkpointing> {
        self.runs.as_ref().map(|runs| Checkpointing::resume_or_start(runs.join(name)))
    }

    /// The same context with checkpoints below `dir`. Their folder says what experiment they belong to; what another
    /// experiment or configuration left there is removed, or refused where its trainings are to be continued.
    pub(crate) fn kept_in(&self, dir: &Path, info: &RunInfo) -> Result<Context> {
        let runs = dir.join(RUNS);
        if self.resume {
            let begun = begun(dir)?;
            if (&begun.label, &begun.config, begun.seed) != (&info.label, &info.config, info.seed) {
                let expected = format!("{} with the configuration it was begun with", begun.label);
                return Err(Error::param("resume", &info.label, expected));
            }
        } else {
            remove(&runs)?;
            std::fs::create_dir_all(&runs).map_err(|e| Error::io(&runs, e))?;
            info.write(&runs)?;
        }
        Ok(Context { runs: Some(runs), ..self.clone() })
    }

    /// Removes the trainings' checkpoints: the results are in the tables.
    pub(crate) fn clear(&self) -> Result<()> {
        self.runs.as_deref().map_or(Ok(()), remove)
    }
}

fn remove(dir: &Path) -> Result<()> {
    match std::fs::remove_dir_all(dir) {
        Err(e) if e.kind() != std::io::ErrorKind::NotFound => Err(Error::io(dir, e)),
        _ => Ok(()),
    }
}

/// What was begun in `dir` and did not finish.
///
/// # Errors
/// `Param` where nothing was begun there, `Data` where the file that says so is damaged.
pub fn begun(dir: &Path) -> Result<RunInfo> {
    RunInfo::read(dir.join(RUNS)).map_err(|e| match e {
        Error::Io { source, .. } if source.kind() == std::io::ErrorKind::NotFound => {
            Error::param("folder", dir.display(), "one in which an experiment was begun and not finished")
        }
        e => e,
    })
}
