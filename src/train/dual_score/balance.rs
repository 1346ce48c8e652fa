//! Demand that single steps down the ladder balance: the increments of log-weights as a loss.

use super::slopes::{Slopes, leading, sum, variances};
use crate::density::NoisePath;
use crate::error::{Error, Result, no_grad};
use crate::io::Checkpoint;
use crate::kernel::pull;
use crate::model::NoiseLadder;
use crate::numeric::Rng;
use serde::{Deserialize, Serialize};
use tch::{Kind, Tensor};

/// The loss that ties neighbouring levels together. For a step of [`Denoise`](crate::kernel::Denoise) from x at the level σ to y
/// at σ' = σ e^{−h}, with q_θ the density of that step and a the increment of its log-weight,
///
/// ```text
/// a = log [ρ_σ'(y) N(x; y, (σ² − σ'²) I)] − log [ρ_σ(x) q_θ(y | x)],    loss ½ (a/h)²
/// ```
///
/// If ρ_σ is ρ_σ' with more noise, a vanishes with h. The first term of [`DualScoreMatching`](super::DualScoreMatching) alone
/// leaves energies that contradict each other from level to level, which is what the weights then pay for; the second, the score in
/// log σ, is noisy, because it compares the energy's slope with a random number of the size √d. Here the same random numbers are
/// in both densities and cancel. Steps are taken from the data, by the noise itself, and from walkers that come down the ladder one
/// step per update, for the θ of the moment: they go where the weights will be needed. At the top their log-weight −f counts as
/// an increment over √h. Both weights rise during the training, in equal ratios: first the data are learned, then the levels agree.
///
/// The walkers carry their log-weights A, through their steps and through every change of θ, as in Prop. 1, so that they can serve
/// as well for the gradient of the likelihood at the levels where they are,
///
/// ```text
/// E ∂_θU over the data − E e^A ∂_θU over the walkers,
/// ```
///
/// that of KL(data | ρ_σ) + Z_σ − log Z_σ, which is least at the data's density, normalised. A is cut at 2: a walker that a change
/// of θ made heavy would decide alone. (They are too few at one level to divide by the sum of their weights.)
///
/// (The loss is known as the residual of the Fokker-Planck equation, arXiv 2210.04296, here over finite steps, and
/// as the detailed-balance loss of generative flow networks, arXiv 2301.12594.)
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Balance {
    /// Weight ≥ 0 of the loss on steps of the data, in the end.
    pub data: f64,
    /// Weight ≥ 0 of the loss on steps of the walkers, in the end.
    pub walkers: f64,
    /// By what factor ≥ 1 the weights rise from the first update to the last; 1: constant.
    pub rise: f64,
    /// Number of walkers.
    pub count: usize,
    /// Weight ≥ 0 of the likelihood, in the end. At 1 a mode that no walker visits can grow; what .1
    /// gave is in docs/results.md under `mnist`.
    pub likelihood: f64,
    /// Length h of a step in log σ; rounded so that the ladder is a whole number of steps.
    pub step: f64,
}

/// Log-weights count at most as much as this in the gradient of the likelihood.
const CUT: f64 = 2.0;

impl Default for Balance {
    fn default() -> Self {
        Balance { data: 0.15, walkers: 1.5, rise: 40.0, count: 256, likelihood: 0.0, step: 0.05 }
    }
}

impl Balance {
    /// The share of the weights after that part of the training.
    pub(super) fn share(&self, part: f64) -> f64 {
        self.rise.powf(part.min(1.0) - 1.0)
    }

    pub(super) fn validate(&self) -> Result<()> {
        super::super::descent::non_negative("balance of the data", self.data)?;
        super::super::descent::non_negative("balance of the walkers", self.walkers)?;
        super::super::descent::non_negative("likelihood of the balance", self.likelihood)?;
        if !(self.rise >= 1.0 && self.rise.is_finite()) {
            return Err(Error::param("rise of the balance", self.rise, "a finite factor of at least 1"));
        }
        if self.count == 0 {
            return Err(Error::param("walkers of the balance", self.count, "at least 1"));
        }
        if self.step > 0.0 && self.step <= 1.0 {
            return Ok(());
        }
        Err(Error::param("step of the balance", self.step, "a number in (0, 1]"))
    }
}

/// Increments of the log-weights of steps from `upper` to y at times t `[n, 1]`, and f there, `[n]` in f64; differentiable in θ. Of y
/// the leading axes, `[n, m]`: along the others increments are zero.
pub(super) fn increments(upper: &Slopes, t: &Tensor, y: &Tensor) -> (Tensor, Tensor) {
    let (ladder, v) = (upper.ladder, leading(upper.ladder, upper.ladder.axes().variances()));
    let (s0, s1) = (variances(ladder, &upper.t), variances(ladder, t));
    let shift = upper.slope() * pull(&v, &s0, &s1);
    let spread = s1.to_kind(y.kind()) + v;
    let lower = ladder.residual(&(y / spread.sqrt()), &t.to_kind(y.kind())).to_kind(Kind::Double);
    // |z − ỹ|² − |z − y|² with ỹ = y + shift
    let noises = sum(&(&shift * (&shift - (upper.z() - y) * 2.0))).to_kind(Kind::Double);
    let noises = noises / ((s0 - &s1) * 2.0).squeeze_dim(-1);
    (upper.f.to_kind(Kind::Double) - &lower + ladder.known().rise(y, &shift, &s1) + noises, lower)
}

/// Walkers that come down the ladder, one step per update, and begin again at the top.
#[derive(Debug)]
pub(super) struct Descending {
    balance: Balance,
    /// Steps from the top to the bottom.
    steps: i64,
    /// Along the axes, `[count, d]`.
    pub(super) z: Tensor,
    /// Steps made, `[count, 1]` in i64.
    pub(super) made: Tensor,
    /// A + f at the place and the θ of the last update, `[count]` in f64: less f for the θ of now, it is A for that.
    pub(super) raised: Tensor,
    rng: Rng,
}

impl Descending {
    /// Spread over the levels, drawn from the data's mixture there.
    pub fn new(balance: Balance, ladder: &NoiseLadder, mut rng: Rng) -> Self {
        let steps = (-ladder.pace() / balance.step).round().max(1.0) as i64;
        let count = balance.count as i64;
        let made = (Tensor::arange(count, (Kind::Int64, ladder.vars().device())) * steps).floor_divide_scalar(count);
        let made = made.view([count, 1]);
        let t = made.to_kind(Kind::Double) / steps as f64;
        let z = drawn(ladder, &t, &mut rng);
        let raised = made.zeros_like().squeeze_dim(-1).to_kind(Kind::Double);
        Descending { balance, steps, z, made, raised, rng }
    }

    /// Their times, `[count, 1]` in f64, and rows.
    pub fn rows(&self) -> (Tensor, &Tensor) {
        (self.made.to_kind(Kind::Double) / self.steps as f64, &self.z)
    }

    /// The loss of the data, at the first rows of `all`, and of the walkers, at the last ones, which thereby move; with the weights
    /// that they have in the end.
    pub fn loss(&mut self, all: &Slopes, z1: &Tensor) -> Tensor {
        let Balance { data, walkers, count, .. } = self.balance;
        let (n, count) = (z1.size()[0], count as i64);
        let h = -all.ladder.pace() / self.steps as f64;
        // the data's lower point, given the upper one and the image
        let (upper, z1) = (all.rows(0, n), leading(all.ladder, z1));
        let t = (&upper.t + 1.0 / self.steps as f64).clamp_max(1.0);
        let lower = variances(all.ladder, &t).to_kind(z1.kind());
        let kept: Tensor = &lower / upper.noise();
        let xi = self.rng.normal(&z1.size(), z1.kind(), z1.device());
        let y = &z1 + (upper.z() - &z1) * &kept + xi * (&lower - &kept * &lower).clamp_min(0.0).sqrt();
        // steps that the bottom cuts short
        let lengths = (&t - &upper.t).squeeze_dim(-1) * -all.ladder.pace();
        let of_data = (increments(&upper, &t, &y).0 / lengths.clamp_min(0.2 * h)).square().mean(Kind::Double);

        let upper = all.rows(n, count);
        let made = &self.made + 1;
        let t = made.to_kind(Kind::Double) / self.steps as f64;
        let (known, s0, s1) = (all.ladder.known(), variances(all.ladder, &upper.t), variances(all.ladder, &t));
        let others = known.denoise_others(&upper.others, &s0, &s1, &mut self.rng);
        let y = known.denoise(&upper.known, &s0, &s1, &mut self.rng);
        let v = leading(all.ladder, all.ladder.axes().variances());
        let y = no_grad(|| y - upper.slope() * pull(&v, &s0, &s1));
        let start = upper.f.square() * self.made.eq(0).squeeze_dim(-1);
        let (step, arrived) = increments(&upper, &t, &y);
        let of_walkers = (step.square() / (h * h)).mean(Kind::Double) + start.mean(Kind::Double) / h;
        let done = made.ge(self.steps);
        let fresh = drawn(all.ladder, &Tensor::zeros_like(&t), &mut self.rng);
        self.z = fresh.where_self(&done, &Tensor::cat(&[others, y], 1));
        let f = upper.f.to_kind(Kind::Double);
        let a = self.log_weights(&f);
        self.raised = no_grad(|| (&a + step + arrived) * done.logical_not().squeeze_dim(-1));
        self.made = made * done.logical_not();
        let balanced = (of_data * data + of_walkers * walkers) * 0.5;
        if self.balance.likelihood == 0.0 {
            return balanced;
        }
        let weighted = (f * a.clamp_max(CUT).exp()).mean(Kind::Double);
        balanced + (all.rows(0, n).f.mean(Kind::Double) - weighted) * self.balance.likelihood
    }

    /// A of the walkers, given f where they are, for the θ of now.
    pub(super) fn log_weights(&self, f: &Tensor) -> Tensor {
        no_grad(|| &self.raised - f)
    }

    pub fn save(&self, to: &mut Checkpoint) -> Result<()> {
        to.put("descending.z", &self.z);
        to.put("descending.made", &self.made);
        to.put("descending.raised", &self.raised);
        to.put_json("descending.rng", &self.rng)
    }

    pub fn load(&mut self, from: &Checkpoint) -> Result<()> {
        let device = self.z.device();
        self.z = from.get("descending.z")?.to_device(device);
        self.made = from.get("descending.made")?.to_device(device);
        self.raised = from.get("descending.raised")?.to_device(device);
        self.rng = from.json("descending.rng")?;
        Ok(())
    }
}

/// Draws of the data's mixture at times t `[n, 1]`, along the axes.
fn drawn(ladder: &NoiseLadder, t: &Tensor, rng: &mut Rng) -> Tensor {
    ladder.known().sample(t.size()[0], &variances(ladder, t), rng)
}
