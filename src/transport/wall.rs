//! Give no number to walkers of weight zero, such as those in a wall (U = +∞): 0 · ∞ is 0, as in the integral.

use crate::Walkers;
use crate::kernel::Arrival;
use tch::{Kind, Tensor};

/// Σ w g over the walkers that have weight.
pub(super) fn mean(g: &Tensor, w: &Tensor) -> f64 {
    let g = g.to_kind(Kind::Double);
    let all = g.dot(w).double_value(&[]);
    if all.is_nan() { g.masked_fill(&w.eq(0.0), 0.0).dot(w).double_value(&[]) } else { all }
}

/// α and λ of a step, with e^{α − λ} = 0 where a walker had no weight or arrives where the density is 0.
///
/// Only there may they hold what is no number: a slope in a wall is anything, and the energy that it leaves is infinite.
pub(super) fn increment(walkers: &Walkers, alpha: Tensor, arrival: &Arrival) -> (Tensor, Tensor) {
    let lambda = arrival.lambda.shallow_clone();
    // neither NaN nor +∞: no term can turn a weight of zero into NaN
    if (&alpha - &lambda).sum(Kind::Double).double_value(&[]) < f64::INFINITY {
        return (alpha, lambda);
    }
    let nothing = walkers.log_weights().eq(f64::NEG_INFINITY).logical_or(&arrival.point.u.eq(f64::INFINITY));
    (alpha.masked_fill(&nothing, 0.0), lambda.masked_fill(&nothing, f64::INFINITY))
}

/// What is wrong with the walkers that have weight, if anything.
pub(super) fn fault(walkers: &Walkers) -> Option<String> {
    if walkers.is_finite() {
        return None;
    }
    let a = walkers.log_weights();
    let top = a.max().double_value(&[]);
    if top == f64::NEG_INFINITY {
        return Some("energy or log-weights of the walkers are not finite: no walker has weight any more".into());
    }
    let weightless = a.eq(f64::NEG_INFINITY);
    let known = walkers.point.u.isfinite().logical_or(&weightless).all().int64_value(&[]) != 0;
    (!known || !top.is_finite()).then(|| "energy or log-weights of the walkers are not finite".into())
}
