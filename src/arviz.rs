//! Hand walkers with their log-weights to ArviZ, as the JSON that `arviz.from_json` reads.

use crate::export::write_atomic;
use crate::{Error, Result, Run, Walkers};
use std::io::Write;
use std::path::Path;
use tch::{Device, Kind, Tensor};

impl Walkers {
    /// Writes positions as the variable `x` of the group `posterior` (one chain, N draws, d coordinates) and, in
    /// `sample_stats`, `log_weight` (A), `weight` (softmax of A) and `energy` (U).
    ///
    /// ArviZ knows no weights: `rows = rng.choice(n, n, p=data.sample_stats["weight"].values[0])` and
    /// `arviz.extract(data).isel(sample=rows)` are draws that its summaries can use.
    ///
    /// ```
    /// # use jarzynski::{Escorted, model::Interpolant, transport};
    /// # fn main() -> jarzynski::Result<()> {
    /// # let dir = tempfile::tempdir().unwrap();
    /// let path = Interpolant::new(&[vec![-2.0, 0.0], vec![2.0, 1.0]], &[0.3, 0.7], &[0.5, 0.7])?;
    /// let run = transport(Escorted::new(0.5), &path, 16, 100, 0)?;
    /// run.walkers.write_arviz(dir.path().join("walkers.json"))?;
    /// # Ok(()) }
    /// ```
    ///
    /// # Errors
    /// `Io` with the path.
    pub fn write_arviz(&self, path: impl AsRef<Path>) -> Result<()> {
        let path = path.as_ref();
        let numbers = |t: &Tensor| {
            let flat = t.to_device(Device::Cpu).to_kind(Kind::Double).contiguous().view(-1);
            Ok::<_, Error>(Vec::<f64>::try_from(flat)?)
        };
        let d = self.x().size().get(1).copied().unwrap_or(1).max(1) as usize;
        let x = numbers(self.x())?;
        let stats = [
            ("log_weight", numbers(self.log_weights())?),
            ("weight", numbers(&self.weights())?),
            ("energy", numbers(&self.point.u)?),
        ];
        write_atomic(path, |out| {
            let mut all = || -> std::io::Result<()> {
                write!(out, "{{\"posterior\": {{\"x\": [[")?;
                for (i, row) in x.chunks(d).enumerate() {
                    write!(out, "{}", if i > 0 { ", " } else { "" })?;
                    list(out, row)?;
                }
                write!(out, "]]}}, \"sample_stats\": {{")?;
                for (i, (name, values)) in stats.iter().enumerate() {
                    write!(out, "{}\"{name}\": [", if i > 0 { ", " } else { "" })?;
                    list(out, values)?;
                    write!(out, "]")?;
                }
                writeln!(out, "}}}}")
            };
            all().map_err(|e| Error::io(path, e))
        })
    }
}

/// Python's JSON has the words NaN and Infinity.
fn list(out: &mut dyn Write, values: &[f64]) -> std::io::Result<()> {
    write!(out, "[")?;
    for (i, v) in values.iter().enumerate() {
        write!(out, "{}", if i > 0 { ", " } else { "" })?;
        match v {
            v if v.is_nan() => write!(out, "NaN")?,
            v if v.is_infinite() => write!(out, "{}", if *v > 0.0 { "Infinity" } else { "-Infinity" })?,
            v => write!(out, "{v}")?,
        }
    }
    write!(out, "]")
}

impl Run {
    /// [`Walkers::write_arviz`] of the population to trust: the monitor where there is one.
    ///
    /// # Errors
    /// `Io` with the path.
    pub fn write_arviz(&self, path: impl AsRef<Path>) -> Result<()> {
        self.population().write_arviz(path)
    }
}
