//! Estimate the gradient of the cross-entropy, eq. (4): ∂H = E_*[∂U] − E_θ[∂U], the second by walkers.

use super::descent::Descent;
use crate::density::Model;
use crate::run::{Health, Row, Tally};
use crate::walkers::Walkers;
use tch::{Kind, Tensor};

/// What one update measures before it moves.
#[derive(Debug, Default)]
pub(super) struct Gradient {
    /// One tensor per parameter, clipped or in the direction of the optimiser's metric; empty where no step follows.
    pub grads: Vec<Tensor>,
    /// Mean U over the batch, nats.
    pub energy_data: f64,
    /// Weighted mean U over the walkers, nats.
    pub energy_walkers: f64,
    /// Acceptance of the last step that had one.
    pub acceptance: f64,
    /// Norm of the gradient before clipping; NaN where no step follows.
    pub norm: f64,
}

impl Gradient {
    /// From a batch of data and walkers with weights `w` `[n]` (f64, summing to 1). `regularisation` adds its multiple of mean
    /// U² over data and walkers to the loss.
    pub fn measure<M: Model>(
        model: &M,
        batch: Tensor,
        (walkers, w): (&mut Walkers, &Tensor),
        regularisation: f64,
        mut descent: Option<&mut Descent>,
        tally: &mut Tally,
    ) -> Self {
        let mut seen = model.evaluate_data(&batch);
        drop(batch);
        let rows = seen.len();
        tally.cost.forward += rows as u64;
        let energy_data = seen.u.mean(Kind::Double);
        let energy_walkers = walkers.evaluation().u.to_kind(Kind::Double).dot(w);
        let mut grads = Vec::new();
        if descent.is_some() {
            let mut on_data = seen.u.full_like(1.0 / rows as f64).to_kind(Kind::Double);
            let mut on_walkers = -w;
            if regularisation > 0.0 {
                let twice = 2.0 * regularisation;
                on_data = &on_data * (seen.u.to_kind(Kind::Double) * twice + 1.0);
                on_walkers = &on_walkers + w * walkers.evaluation().u.to_kind(Kind::Double) * twice;
            }
            grads = model.param_grad(&mut seen, &on_data);
            // the batch's share of memory is free before the walkers ask for theirs
            drop(seen);
            if walkers.evaluation().graph_is_gone() {
                tally.cost.forward += walkers.len() as u64;
            }
            let from_walkers = model.param_grad(walkers.evaluation_mut(), &on_walkers);
            grads.iter_mut().zip(from_walkers).for_each(|(g, more)| *g = &*g + more);
            tally.cost.backward += (rows + walkers.len()) as u64;
        }
        // all that this update decides by and records, in one transfer
        let mut numbers = vec![energy_data, energy_walkers];
        numbers.extend(tally.acceptance.take());
        let (read, norm, grads) = match &mut descent {
            Some(descent) => descent.direct(model, (walkers.evaluation(), w), &numbers, grads, tally),
            None => (crate::numeric::fetch(&numbers), f64::NAN, grads),
        };
        let acceptance = read.get(2).copied();
        tally.acceptance = acceptance.map(Tensor::from);
        Gradient {
            grads,
            energy_data: read[0],
            energy_walkers: read[1],
            acceptance: acceptance.unwrap_or(f64::NAN),
            norm,
        }
    }

    /// Whether an update along it makes sense. `last`: none follows.
    pub fn health(&self, last: bool) -> Health {
        for (whose, energy) in [("data", self.energy_data), ("walkers", self.energy_walkers)] {
            if !energy.is_finite() {
                return Health::Lost(format!("mean energy of the {whose} is {energy}"));
            }
        }
        match last || self.norm.is_finite() {
            true => Health::Fine,
            false => Health::LostWithRow(format!("gradient norm is {}", self.norm)),
        }
    }

    /// Columns that every training of this kind has; `log_z_exact` in nats, NaN where it is not known.
    pub fn row(&self, lr: f64, log_z_exact: f64, row: &mut Row) {
        row.extend([
            ("lr", lr),
            ("energy_data", self.energy_data),
            ("energy_walkers", self.energy_walkers),
            ("cross_entropy_exact", log_z_exact + self.energy_data),
            ("log_z_exact", log_z_exact),
            ("acceptance", self.acceptance),
            ("grad_norm", self.norm),
        ]);
    }
}
