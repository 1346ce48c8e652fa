//! Sum up what a run spends between two recorded rows.

use crate::error::Result;
use crate::io::Checkpoint;
use crate::kernel::EvalCounts;
use crate::numeric::fetch;
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;
use tch::{Device, Tensor};

/// Counts and sums since the previous row. Sums of tensors stay on their device: reading them at every step would synchronise it.
#[derive(Debug, Serialize, Deserialize)]
#[non_exhaustive]
pub struct Tally {
    /// Evaluations.
    pub cost: EvalCounts,
    /// Updates of θ.
    pub updates: u64,
    /// Resamplings of the walkers.
    pub resampled: u64,
    /// Resamplings of the monitor.
    pub resampled_monitor: u64,
    /// Energy evaluations of the walkers spent on the ESS limit.
    pub backtracks: u64,
    /// Kernel steps with a change of θ.
    pub substeps: u64,
    // JSON has no NaN and no tensors: a checkpoint holds the rest apart
    /// Sum over updates of the part of the optimiser's step that the ESS limit let through.
    #[serde(skip)]
    pub step_fraction: f64,
    /// Lowest conditional ESS of a change of θ, NaN where there was none.
    #[serde(skip, default = "nan")]
    pub ess_step: f64,
    /// Mean acceptance of the last step that had one: kept from row to row.
    #[serde(skip)]
    pub acceptance: Option<Tensor>,
    #[serde(skip)]
    sums: BTreeMap<String, Tensor>,
}

fn nan() -> f64 {
    f64::NAN
}

impl Default for Tally {
    fn default() -> Self {
        Tally {
            cost: EvalCounts::default(),
            updates: 0,
            resampled: 0,
            resampled_monitor: 0,
            backtracks: 0,
            substeps: 0,
            step_fraction: 0.0,
            ess_step: f64::NAN,
            acceptance: None,
            sums: BTreeMap::new(),
        }
    }
}

impl Tally {
    /// Adds a step's evaluations and, where the kernel has one, its acceptance.
    pub fn add(&mut self, (cost, acceptance): (EvalCounts, Option<Tensor>)) {
        self.cost += cost;
        self.acceptance = acceptance.or(self.acceptance.take());
    }

    /// Adds a number `value` (0-dimensional) to the sum of that name.
    pub fn sum(&mut self, name: &str, value: &Tensor) {
        let value = value.detach();
        let sum = self.sums.remove(name).map_or_else(|| value.shallow_clone(), |sum| sum + &value);
        self.sums.insert(name.into(), sum);
    }

    /// Sums divided by the number of updates, in one transfer; NaN for a name that nothing was added to.
    pub fn means<const N: usize>(&self, names: [&str; N]) -> [f64; N] {
        let mut means = self.mean_of(&names).into_iter();
        names.map(|_| means.next().unwrap_or(f64::NAN))
    }

    /// As [`means`](Tally::means), for any number of names.
    pub fn mean_of(&self, names: &[&str]) -> Vec<f64> {
        let there: Vec<Tensor> = names.iter().filter_map(|n| self.sums.get(*n)).map(Tensor::shallow_clone).collect();
        let mut read = fetch(&there).into_iter();
        let mean = |name: &&str| match self.sums.contains_key(*name) {
            true => read.next().unwrap_or(f64::NAN) / self.updates as f64,
            false => f64::NAN,
        };
        names.iter().map(mean).collect()
    }

    /// `total` divided by the number of updates; NaN before the first.
    pub fn per_update(&self, total: f64) -> f64 {
        if self.updates > 0 { total / self.updates as f64 } else { f64::NAN }
    }

    /// What was summed up, leaving an empty tally that keeps the last acceptance.
    pub(crate) fn take(&mut self) -> Tally {
        let acceptance = self.acceptance.as_ref().map(Tensor::shallow_clone);
        std::mem::replace(self, Tally { acceptance, ..Default::default() })
    }

    pub(crate) fn save(&self, to: &mut Checkpoint) -> Result<()> {
        let acceptance = self.acceptance.as_ref().map_or(f64::NAN, |a| a.double_value(&[]));
        to.put_numbers("tally", &[self.step_fraction, self.ess_step, acceptance]);
        self.sums.iter().for_each(|(name, sum)| to.put(format!("tally.{name}"), sum));
        to.put_json("tally.sums", &self.sums.keys().collect::<Vec<_>>())?;
        to.put_json("tally", self)
    }

    pub(crate) fn load(from: &Checkpoint, device: Device) -> Result<Self> {
        let mut tally: Tally = from.json("tally")?;
        let [step_fraction, ess_step, acceptance] = from.numbers("tally")?;
        (tally.step_fraction, tally.ess_step) = (step_fraction, ess_step);
        tally.acceptance = Some(acceptance).filter(|a| !a.is_nan()).map(Tensor::from);
        for name in from.json::<Vec<String>>("tally.sums")? {
            let sum = from.get(&format!("tally.{name}"))?.to_device(device);
            tally.sums.insert(name, sum);
        }
        Ok(tally)
    }
}
