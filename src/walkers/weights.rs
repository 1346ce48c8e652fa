//! Read off the weights: ESS, Pareto k̂, log Ẑ and weighted averages with standard errors.

use super::{Estimate, Walkers, pareto_k};
use crate::error::{Error, Result};
use crate::numeric::fetch;
use std::cell::OnceCell;
use tch::{Device, Kind, Tensor};

/// What everything else is computed from, once per change of A.
#[derive(Debug)]
pub(super) struct Summary {
    /// softmax(A).
    weights: Tensor,
    /// max A, Σ e^{A − max A} and Σ w², where the weights are.
    sums: [Tensor; 3],
    on_host: OnceCell<OnHost>,
}

/// log mean e^A and the ESS, once the sums have been read from their device.
#[derive(Debug, Clone, Copy)]
pub(super) struct OnHost {
    /// log mean e^A.
    pub log_mean: f64,
    /// (Σ w)² / (N Σ w²).
    pub ess: f64,
}

impl OnHost {
    fn of(n: usize, top: f64, total: f64, square: f64) -> Self {
        let n = n as f64;
        let log_mean = if top.is_finite() { (total / n).ln() + top } else { top };
        OnHost { log_mean, ess: 1.0 / (n * square) }
    }
}

/// Sum in blocks, so that libtorch's split among threads cannot change the bits.
fn sum(t: &Tensor) -> Tensor {
    const BLOCK: i64 = 16384;
    if t.size()[0] <= BLOCK {
        return t.sum(Kind::Double);
    }
    t.split(BLOCK, 0).iter().map(|b| b.sum(Kind::Double)).reduce(|a, b| a + b).unwrap_or_default()
}

impl Walkers {
    /// Normalised weights softmax(A), `[n]`, f64.
    pub fn weights(&self) -> Tensor {
        self.summary().weights.copy()
    }

    /// The same on the host; none where they cannot be read.
    pub(super) fn weights_on_host(&self) -> Vec<f64> {
        Vec::try_from(self.summary().weights.to_device(Device::Cpu)).unwrap_or_default()
    }

    /// Effective sample size as a fraction of N: (Σ w)² / (N Σ w²), in (0, 1].
    pub fn ess(&self) -> f64 {
        self.on_host().ess
    }

    /// k̂, how heavy the tail of the weights is: below ½ their variance is finite and error bars hold; above .7 neither the ESS
    /// nor an error bar is informative. Weights that no walker has are missing from the ESS; k̂ extrapolates from the largest
    /// ones. NaN for equal weights or fewer than 25 walkers.
    ///
    /// The shape of a generalised Pareto distribution fitted to the largest 3√N weights, as in Pareto-smoothed importance
    /// sampling.
    pub fn pareto_k(&self) -> f64 {
        let a = Vec::<f64>::try_from(self.log_weights.to_device(Device::Cpu)).unwrap_or_default();
        pareto_k::pareto_shape(&a)
    }

    /// The largest k̂ of all epochs, those that a resampling ended and the present one; NaN where there is none.
    pub fn worst_pareto_k(&self) -> f64 {
        let worst = self.pareto_k().max(self.epochs.worst_k());
        if worst == f64::NEG_INFINITY { f64::NAN } else { worst }
    }

    /// Walkers of the start from which the present ones descend. Walkers of one ancestor are not independent, which error bars
    /// after resampling take into account.
    pub fn lineages(&self) -> usize {
        self.epochs.left()
    }

    /// The number of the walker of the start from which each walker descends.
    pub fn ancestors(&self) -> &[i64] {
        self.epochs.ancestors()
    }

    /// The lowest ESS/N since the last call, that before each resampling included.
    pub(crate) fn take_lowest_ess(&mut self) -> f64 {
        self.ess().min(self.epochs.take_lowest_ess())
    }

    fn summary(&self) -> &Summary {
        self.summary.get_or_init(|| {
            if self.is_empty() {
                let none = || Tensor::from(f64::NAN);
                return Summary {
                    weights: self.log_weights.copy(),
                    sums: [none(), none(), none()],
                    on_host: OnceCell::new(),
                };
            }
            let top = self.log_weights.max();
            let e = (&self.log_weights - &top).exp();
            let total = sum(&e);
            let weights = e / &total;
            let square = sum(&(&weights * &weights));
            Summary { weights, sums: [top, total, square], on_host: OnceCell::new() }
        })
    }

    pub(super) fn on_host(&self) -> OnHost {
        let summary = self.summary();
        *summary.on_host.get_or_init(|| match fetch(&summary.sums)[..] {
            [top, total, square] => OnHost::of(self.len(), top, total, square),
            _ => OnHost { log_mean: f64::NAN, ess: f64::NAN },
        })
    }

    /// Reads from the device, in one transfer, the sums that log Ẑ and the ESS of several populations are made of, and says which
    /// are finite; their ESS and log Ẑ are known afterwards.
    pub(crate) fn all_finite(all: &[&Walkers]) -> Vec<bool> {
        let numbers = |w: &&Walkers| {
            let [top, total, square] = &w.summary().sums;
            [w.evaluation.u.sum(Kind::Double), top.shallow_clone(), total.shallow_clone(), square.shallow_clone()]
        };
        let read = fetch(&all.iter().flat_map(numbers).collect::<Vec<_>>());
        let finite = |(w, read): (&&Walkers, &[f64])| {
            let _ = w.summary().on_host.set(OnHost::of(w.len(), read[1], read[2], read[3]));
            // A sum is NaN or infinite as soon as one term is; A = −∞ alone is a walker of weight zero, which is legitimate.
            read[0].is_finite() && read[1].is_finite()
        };
        all.iter().zip(read.chunks(4)).map(finite).collect()
    }

    /// log Ẑ = log Z_0 + L + log mean e^A, nats.
    ///
    /// Before any resampling its standard error is that of the delta method, √((N/ESS − 1)/N). Afterwards walkers of one ancestor
    /// count as dependent: with W_e the weight of all walkers that descend from walker e of the start, √(Σ_e (W_e − 1/N)²), less
    /// what resampling adds to that by chance (Chan and Lai 2013; Lee and Whiteley 2018). Where too few ancestors are left, those
    /// of a later time are taken, a sum over epochs of resampling with that lag. Where walkers do not forget in that time where they
    /// came from there is no error bar but NaN, with the warning `lineages`: only replicates with other seeds can tell.
    ///
    /// Training walkers have no error bar either, with the warning `bias`: they drive θ themselves, which biases their log Ẑ low by
    /// far more than any bar; see [`Run::log_z`](crate::Run::log_z).
    pub fn log_z(&self) -> Estimate {
        let value = self.banked + self.on_host().log_mean;
        if self.self_interacting {
            return Estimate::new(value, f64::NAN).doubted(Some("bias"));
        }
        let variance = match self.resamplings {
            0 => self.epoch_variance(),
            _ => self.epochs.lineages().log_z_variance(&self.weights_on_host()),
        };
        self.told(value, variance.sqrt())
    }

    /// The estimate, with the warning that only replicates can tell its error if resampling left none.
    fn told(&self, value: f64, se: f64) -> Estimate {
        let unknown = se.is_nan() && self.resamplings > 0 && self.banked.is_finite();
        Estimate::new(value, se).doubted(unknown.then_some("lineages"))
    }

    /// NaN for a single walker, which has no estimate of its error.
    pub(super) fn epoch_variance(&self) -> f64 {
        if self.len() == 1 {
            return f64::NAN;
        }
        (1.0 / self.ess() - 1.0).max(0.0) / self.len() as f64
    }

    /// E_{ρ_k}(g) by weighted average. `g` `[n]`: g at each walker.
    ///
    /// Before any resampling its standard error is that of the delta method, √(Σ_i w_i² (g_i − ḡ)²). Afterwards walkers of one
    /// ancestor count as dependent: √(Σ_e (Σ_{i: E_i = e} w_i (g_i − ḡ))²) with E_i the ancestor of walker i at the start or, where
    /// too few of these are left, at a later time. Where g has not been forgotten since then there is no error bar but NaN, with the
    /// warning `lineages`: only replicates with other seeds can tell.
    ///
    /// A `Bool` g is an indicator. If no walker meets it, or every one does, the delta method would say 0 ± 0; the error is then
    /// three over the effective number of independent walkers, so that value ± error is the 95 % bound of the rule of three.
    ///
    /// # Errors
    /// A length other than N.
    pub fn mean(&self, g: &Tensor) -> Result<Estimate> {
        if g.size() != [self.len() as i64] {
            return Err(Error::Shape { name: "g", got: g.size(), expected: format!("[{}]", self.len()) });
        }
        let indicator = g.kind() == Kind::Bool;
        let g = if indicator { g.to_kind(Kind::Double) } else { g.shallow_clone() };
        let (w, g) = (&self.summary().weights, self.with_weight(&g).to_kind(Kind::Double));
        let value = sum(&(w * &g));
        let parts = w * (g - &value);
        let read = fetch(&[value, sum(&parts.square())]);
        let (value, plain) = (read[0], read[1]);
        let certain = indicator && (value <= 0.0 || value >= 1.0 - 1e-12);
        let of_lineages = |parts: &Tensor| {
            let parts = Vec::try_from(parts.to_device(Device::Cpu)).unwrap_or_default();
            self.epochs.lineages().mean_variance(&self.weights_on_host(), &parts)
        };
        let se = match (self.len(), certain, self.resamplings) {
            (1, ..) => f64::NAN,
            (n, true, 0) => 3.0 / (n as f64 * self.ess()),
            (_, true, _) => 3.0 / self.epochs.lineages().effective(&self.weights_on_host()),
            (_, false, 0) => plain.sqrt(),
            (_, false, _) => of_lineages(&parts).sqrt(),
        };
        Ok(self.told(if certain { value.round() } else { value }, se))
    }

    /// g with 0 in place of its value at walkers of weight zero, such as those where U = +∞: 0 · ∞ is 0, as in the integral.
    pub(crate) fn with_weight(&self, g: &Tensor) -> Tensor {
        g.masked_fill(&self.summary().weights.eq(0.0), 0.0)
    }

    /// Whether energies and log-weights are numbers and at least one weight is positive.
    pub fn is_finite(&self) -> bool {
        !self.is_empty() && Walkers::all_finite(&[self]) == [true]
    }

    /// Conditional ESS of adding δ to A: (Σ w e^δ)² / Σ w e^{2δ}, in (0, 1]; 0 where δ is not finite.
    pub(crate) fn conditional_ess(&self, delta: &Tensor) -> f64 {
        let (w, d) = (&self.summary().weights, delta - delta.max());
        let e = d.exp();
        let read = fetch(&[sum(&(w * &e)), sum(&(w * &e * &e))]);
        let c = read[0] * read[0] / read[1];
        if c.is_finite() { c } else { 0.0 }
    }
}
