//! Keep the weight of walkers at zero density (U = +∞) exactly zero: 0 · ∞ is 0, as in the integral.

use crate::walkers::Walkers;
use tch::{Device, Kind, Tensor};

/// α and λ of a step, with e^{α − λ} = 0 where a walker had no weight or arrives where the density is 0.
///
/// Only there may α and λ be NaN or infinite: where U = +∞ its gradient is arbitrary, and a move from there has α = +∞.
pub(crate) fn increment(walkers: &Walkers, alpha: Tensor, lambda: &Tensor, u: &Tensor) -> (Tensor, Tensor) {
    let lambda = lambda.shallow_clone();
    // neither NaN nor +∞: no term can turn a weight of zero into NaN. On a GPU asking takes longer than filling
    let host = lambda.device() == Device::Cpu;
    if host && (&alpha - &lambda).sum(Kind::Double).double_value(&[]) < f64::INFINITY {
        return (alpha, lambda);
    }
    let nothing = walkers.log_weights().eq(f64::NEG_INFINITY).logical_or(&u.eq(f64::INFINITY));
    (alpha.masked_fill(&nothing, 0.0), lambda.masked_fill(&nothing, f64::INFINITY))
}

/// What is wrong with the walkers that have weight, if anything; one read, a second where some have zero density.
/// Their ESS is known afterwards.
pub(crate) fn fault(walkers: &Walkers) -> Option<String> {
    if walkers.is_finite() {
        return None;
    }
    let (log_z, known) = (walkers.log_z().value, walkers.with_weight(&walkers.evaluation().u).isfinite().all());
    if log_z.is_finite() && known.int64_value(&[]) != 0 {
        return None;
    }
    let more = if log_z == f64::NEG_INFINITY { ": no walker has weight any more" } else { "" };
    Some(format!("energy or log-weights of the walkers are not finite{more}"))
}
