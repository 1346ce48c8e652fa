//! Watch a training: the curvature against the kernel's bound, exact log Z where it can be had, a line of progress.

use crate::density::{CURVATURE_PASSES, Model, curvature};
use crate::error::Result;
use crate::io::Checkpoint;
use crate::kernel::EvalCounts;
use crate::run::{Recorder, Tally};
use crate::walkers::Walkers;

/// h λ_max for kernels with such a bound, at every 50th update and at few walkers: a thousandth of a run's passes.
#[derive(Debug)]
pub(super) struct Curvature {
    /// The largest since the previous row; NaN where none was measured.
    largest: f64,
}

impl Default for Curvature {
    fn default() -> Self {
        Curvature { largest: f64::NAN }
    }
}

impl Curvature {
    const EVERY: usize = 50;

    pub fn watch<M: Model>(&mut self, k: usize, h: Option<f64>, model: &M, walkers: &Walkers, tally: &mut Tally) {
        let Some(h) = h.filter(|_| k.is_multiple_of(Self::EVERY)) else { return };
        let few = walkers.len().min(16);
        tally.cost += EvalCounts::evaluation(few * CURVATURE_PASSES);
        self.largest = (h * curvature(model, &walkers.x().narrow(0, 0, few as i64))).max(self.largest);
    }

    pub fn take(&mut self) -> f64 {
        std::mem::replace(&mut self.largest, f64::NAN)
    }

    pub fn save(&self, to: &mut Checkpoint) {
        to.put_numbers("curvature", &[self.largest]);
    }

    pub fn load(&mut self, from: &Checkpoint) -> Result<()> {
        [self.largest] = from.numbers("curvature")?;
        Ok(())
    }
}

/// Exact log Z at recorded rows, where a closed form is cheap; where it is a sum over states, as often as that stays below a
/// quarter of the run's own forward passes, and at both ends.
#[derive(Debug, Default)]
pub(super) struct ExactLogZ {
    /// Rows sent forward since it was computed.
    saved_up: u64,
}

impl ExactLogZ {
    /// log Z in nats; NaN where it is not known or not due.
    pub fn at<M: Model>(&mut self, model: &M, k: usize, last: bool, spent: &Tally) -> f64 {
        self.saved_up = self.saved_up.saturating_add(spent.cost.forward);
        if k > 0 && !last && self.saved_up < model.log_z_exact_cost().saturating_mul(4) {
            return f64::NAN;
        }
        self.saved_up = 0;
        model.log_z_exact().unwrap_or(f64::NAN)
    }

    pub fn save(&self, to: &mut Checkpoint) -> Result<()> {
        to.put_json("exact", &self.saved_up)
    }

    pub fn load(&mut self, from: &Checkpoint) -> Result<()> {
        self.saved_up = from.json("exact")?;
        Ok(())
    }
}

/// Cross-entropy, mean energy of the data and ESS, as far as they are known.
pub(super) fn details(rows: &Recorder) -> String {
    let known = |(label, name): (&str, &str)| {
        let value = rows.last(name).filter(|v| v.is_finite());
        value.map(|v| format!("{label} {v:.3}"))
    };
    // where the cross-entropy is known the energy alone tells nothing more
    let cross_entropy = known(("H", "cross_entropy_monitor"));
    let energy = cross_entropy.is_none().then(|| known(("U data", "energy_data"))).flatten();
    [cross_entropy, energy, known(("ESS", "ess"))].into_iter().flatten().collect::<Vec<_>>().join("  ")
}
