//! Hand walkers with their log-weights to other programs.

use super::Walkers;
use crate::error::{Error, Result};
use crate::io::arviz;
use std::path::Path;
use tch::{Device, Kind, Tensor};

impl Walkers {
    /// Writes positions as the variable `x` of the group `posterior` (one chain, N draws, d coordinates) and, in
    /// `sample_stats`, `log_weight` (A), `weight` (softmax of A), `energy` (U) and `ancestor` (the number of the walker of
    /// the start that it descends from): JSON in the groups that `arviz.from_dict` takes, see `docs/python.md`.
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
        let numbers = |t: &Tensor| {
            let flat = t.to_device(Device::Cpu).to_kind(Kind::Double).contiguous().view(-1);
            Ok::<_, Error>(Vec::<f64>::try_from(flat)?)
        };
        let d = self.x().size().get(1).copied().unwrap_or(1).max(1) as usize;
        let stats = [
            ("log_weight", numbers(self.log_weights())?),
            ("weight", numbers(&self.weights())?),
            ("energy", numbers(&self.evaluation.u)?),
            ("ancestor", self.ancestors().iter().map(|a| *a as f64).collect()),
        ];
        arviz::write(path.as_ref(), d, &numbers(self.x())?, &stats)
    }
}
