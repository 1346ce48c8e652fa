//! Write an experiment's tables and figures, and say in a manifest how they came about.

use crate::config::to_json;
use crate::provenance::{revision, utc};
use jarzynski::io::{write_atomic, write_parquet_with, write_table};
use jarzynski::polars::prelude::DataFrame;
use jarzynski::{Error, Result, RunInfo};
use serde::{Deserialize, Serialize};
use std::path::{Path, PathBuf};
use std::time::{Instant, SystemTime};

/// A table of a result, stored as `name.csv` and `name.parquet`.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[non_exhaustive]
pub struct TableEntry {
    /// The file name without extension.
    pub name: String,
    /// Rows, without the header.
    pub rows: usize,
    /// Column names in their order.
    pub columns: Vec<String>,
}

/// `manifest.json`: what made the tables and figures beside it. It holds no path and no host name.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[non_exhaustive]
pub struct Manifest {
    /// Experiment, configuration, seed, versions and seconds.
    #[serde(flatten)]
    pub info: RunInfo,
    /// `cpu` or `cuda:0`.
    pub device: String,
    /// Threads of libtorch inside one operation.
    pub threads: usize,
    /// UTC, as `2026-01-31T12:00:00Z`.
    pub started: String,
    /// The commit of the sources, with `-dirty` for uncommitted changes; null outside a repository.
    pub git: Option<String>,
    /// The tables beside the manifest.
    pub tables: Vec<TableEntry>,
    /// Names of figures, each stored as `name.svg` and `name.png`.
    pub figures: Vec<String>,
}

impl Manifest {
    /// Writes `dir/manifest.json`, indented.
    ///
    /// # Errors
    /// `Io` with the path.
    pub fn write(&self, dir: impl AsRef<Path>) -> Result<()> {
        let path = dir.as_ref().join("manifest.json");
        write_atomic(&path, |out| {
            serde_json::to_writer_pretty(&mut *out, self).map_err(|e| Error::io(&path, e.into()))?;
            writeln!(out).map_err(|e| Error::io(&path, e))
        })
    }

    /// Reads `dir/manifest.json`.
    ///
    /// # Errors
    /// `Io` where it is missing, `Data` with line and column where it is no manifest.
    pub fn read(dir: impl AsRef<Path>) -> Result<Self> {
        let path = dir.as_ref().join("manifest.json");
        let text = std::fs::read_to_string(&path).map_err(|e| Error::io(&path, e))?;
        serde_json::from_str(&text).map_err(|e| {
            let place = format!("line {}, column {}", e.line(), e.column());
            Error::data(&path, place, format!("a manifest ({e})"))
        })
    }
}

/// The folder of one experiment: tables and figures go in, the manifest closes it.
///
/// ```no_run
/// # use jarzynski::io::frame::Rows;
/// # use jarzynski_experiments::results::Results;
/// # #[cfg(feature = "plot")]
/// # use jarzynski::plot::{Figure, Panel};
/// let df = Rows::new(&["step", "ess"]).push((0, 1.0)).finish()?;
/// let mut results = Results::create("results/mixture")?;
/// results.table("steps", &df)?;
/// # #[cfg(feature = "plot")]
/// results.figure("curves", &Figure::new(900, 400).panel(Panel::new("ESS").line("jarzynski", &[0.0], &[1.0])))?;
/// results.finish(&serde_json::json!({"walkers": 10_000}), 0)?;
/// # Ok::<(), jarzynski::Error>(())
/// ```
#[derive(Debug)]
pub struct Results {
    dir: PathBuf,
    experiment: String,
    device: String,
    started: SystemTime,
    clock: Instant,
    tables: Vec<TableEntry>,
    /// Shared with whoever made them: written once more with the manifest inside when it is known.
    frames: Vec<DataFrame>,
    figures: Vec<String>,
    notes: Vec<String>,
}

impl Results {
    /// Opens `dir`, making it where it is missing; the experiment is named after its last part.
    /// A manifest of an earlier run is removed, so that none describes tables of another run.
    ///
    /// # Errors
    /// `Io` with the path.
    pub fn create(dir: impl Into<PathBuf>) -> Result<Self> {
        let dir = dir.into();
        std::fs::create_dir_all(&dir).map_err(|e| Error::io(&dir, e))?;
        match std::fs::remove_file(dir.join("manifest.json")) {
            Err(e) if e.kind() != std::io::ErrorKind::NotFound => return Err(Error::io(dir.join("manifest.json"), e)),
            _ => {}
        }
        let full = std::path::absolute(&dir).unwrap_or_else(|_| dir.clone());
        let experiment = full.file_name().map_or("results".into(), |n| n.to_string_lossy().into_owned());
        let (started, clock) = (SystemTime::now(), Instant::now());
        Ok(Results {
            dir,
            experiment,
            device: "cpu".into(),
            started,
            clock,
            tables: vec![],
            frames: vec![],
            figures: vec![],
            notes: vec![],
        })
    }

    /// The device that the manifest names; the CPU unless said.
    pub fn device(&mut self, device: jarzynski::tch::Device) -> &mut Self {
        self.device = match device {
            jarzynski::tch::Device::Cuda(i) => format!("cuda:{i}"),
            other => format!("{other:?}").to_lowercase(),
        };
        self
    }

    /// The experiment that the manifest names; the folder's last part unless said.
    pub fn experiment(&mut self, name: &str) -> &mut Self {
        self.experiment = name.into();
        self
    }

    /// What was measured, in words: the manifest's notes.
    pub fn notes(&mut self, lines: &[String]) -> &mut Self {
        self.notes = lines.to_vec();
        self
    }

    /// The folder.
    pub fn dir(&self) -> &Path {
        &self.dir
    }

    /// Writes `name.csv` and `name.parquet`; a second call with the same name replaces the first.
    ///
    /// # Errors
    /// As [`write_table`].
    pub fn table(&mut self, name: &str, df: &DataFrame) -> Result<()> {
        write_table(df, &self.dir, name)?;
        let columns = df.get_column_names().iter().map(|c| c.to_string()).collect();
        if let Some(old) = self.tables.iter().position(|t| t.name == name) {
            self.tables.remove(old);
            self.frames.remove(old);
        }
        self.tables.push(TableEntry { name: name.into(), rows: df.height(), columns });
        self.frames.push(df.clone());
        Ok(())
    }

    /// Writes `name.svg` and `name.png`, and the numbers behind it as `name-data.csv` and `.parquet`; a second call with the
    /// same name replaces the first.
    ///
    /// # Errors
    /// As [`Figure::save`](jarzynski::plot::Figure::save).
    #[cfg(feature = "plot")]
    pub fn figure(&mut self, name: &str, figure: &jarzynski::plot::Figure) -> Result<()> {
        figure.save(&self.dir, name)?;
        // pictures have no numbers behind them
        if figure.data()?.height() > 0 {
            figure.save_data(&self.dir, name)?;
        }
        self.figures.retain(|f| f != name);
        self.figures.push(name.into());
        Ok(())
    }

    /// Writes the manifest, beside the tables and into each Parquet file, and returns it.
    ///
    /// # Errors
    /// `Param` for a configuration that JSON cannot hold, `Io` with the path.
    pub fn finish(self, config: &impl Serialize, seed: u64) -> Result<Manifest> {
        let mut info = RunInfo::new(&self.experiment, seed, to_json(config)?);
        info.status = "finished".into();
        info.notes = self.notes;
        info.seconds = (self.clock.elapsed().as_secs_f64() * 1e3).round() / 1e3;
        let manifest = Manifest {
            info,
            device: self.device,
            threads: jarzynski::tch::get_num_threads().max(1) as usize,
            started: utc(self.started),
            git: revision(),
            tables: self.tables,
            figures: self.figures,
        };
        let text = serde_json::to_string(&manifest).map_err(|e| Error::param("manifest", e, "what JSON can hold"))?;
        for (table, frame) in manifest.tables.iter().zip(&self.frames) {
            let path = self.dir.join(format!("{}.parquet", table.name));
            write_parquet_with(frame, path, &[("jarzynski", text.clone())])?;
        }
        manifest.write(&self.dir)?;
        Ok(manifest)
    }
}
