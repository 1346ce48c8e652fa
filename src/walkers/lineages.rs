//! Estimate variances from lineages: walkers of one ancestor are not independent, walkers of several are.
//!
//! With E_i the ancestor of walker i among the N walkers of an earlier time, S_e = Σ_{i: E_i = e} w_i (g_i − ḡ) and
//! W_e = Σ_{i: E_i = e} w_i (Chan and Lai 2013; Lee and Whiteley 2018):
//!
//! ```text
//! Var(mean g) ≈ c Σ_e S_e²        Var(log Ẑ) ≈ 1 − 1/N − c (1 − Σ_e W_e²)        c = Π_p 1/(1 − C_p)
//! C_p = Σ_e Var(O_e)/(N² (1 − Σ_e W_e²))
//! ```
//!
//! where p runs over the resamplings since then and O_e is the number of offspring of all members of a family. C_p is what a resampling adds to Σ_e W_e² by
//! chance alone; in the multinomial scheme it is 1/N, and c the factor (N/(N − 1))^k of the literature. Without a resampling
//! c = 1, and both are the delta method.
//!
//! Walkers that are the states of M chains, N/M in a row (waste-free SMC), are M families to begin with: 1/M stands for 1/N.
//!
//! Lineages die out, so that in the end all walkers descend from a few. Then the ancestors are taken from a later time (Olsson and
//! Douc 2019), the earliest with [`LEAST`] effective ones: what was before that time is forgotten if moves mix. Whether they do is
//! measured, by the correlation of walkers whose common ancestor is about that old. Where they do not, there is no estimate.

use super::resample::family_sums;
use crate::error::{Error, Result};
use crate::io::Checkpoint;
use tch::{Kind, Tensor};

/// Effective ancestors 1/Σ_e W_e² below which an estimate of variance is not to be trusted. Chosen by simulation of 1,000 walkers:
/// with 30, chains that mix over several resamplings still had many bars, and these covered in 70 to 90 % of runs; with 50 most of
/// them are refused, and bars of chains that mix in one cover as they should.
pub(super) const LEAST: f64 = 50.0;

/// Correlation of walkers with an old common ancestor up to which that ancestor counts as forgotten.
const FORGOTTEN: f64 = 0.05;

/// Growth of the variance from half the lag to the whole lag up to which a longer lag would change little: at 1.4 about .16 of the
/// variance is still missing where correlations decay exponentially.
const GROWTH: f64 = 1.4;

/// The walkers of an earlier time, the start or just after a resampling, as ancestors of the present ones.
#[derive(Debug, Clone, PartialEq)]
struct Origin {
    /// Which of them each present walker descends from, ascending.
    ancestors: Vec<i64>,
    /// Resamplings until then.
    epoch: f64,
    /// c.
    inflation: f64,
    /// Σ (Σ w² − 1/N) over the epochs until then.
    delta: f64,
    /// Families then: N, or the chains that the walkers were moved in.
    families: f64,
}

/// Sums over the origins that were given up.
#[derive(Debug, Clone, Copy, PartialEq, Default)]
struct Bank {
    /// Variance of log Ẑ by what happened between them and those that came next.
    variance: f64,
    /// Variance of log Ẑ since each, by lineages and by the delta method.
    long: [f64; 2],
    /// The same since half as long.
    short: [f64; 2],
    /// Covariance of the positions of walkers with an old common ancestor, what it would be if they were equal, and pairs.
    pairs: [f64; 3],
    /// Origins that were given up after a single epoch, so that nothing is known about mixing.
    blind: f64,
}

/// The origins that are kept, the oldest first: at ages that grow by a factor, since only the oldest and those half as old are used.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Lineages {
    n: usize,
    origins: Vec<Origin>,
    epoch: f64,
    delta: f64,
    bank: Bank,
}

/// Σ over families of (Σ over members of v)².
fn family_squares(ancestors: &[i64], v: &[f64]) -> f64 {
    family_sums(ancestors, v).iter().map(|sum| sum * sum).sum()
}

/// Whether walkers with an old common ancestor are as good as independent: covariance at most 5 % of the variance, and one standard
/// error, since it is measured by so many pairs.
fn forgotten([covariance, equal, pairs]: [f64; 3]) -> bool {
    covariance <= (FORGOTTEN + pairs.max(1.0).sqrt().recip()) * equal
}

impl Lineages {
    pub fn new(n: usize) -> Self {
        let mut new = Lineages { n, origins: Vec::new(), epoch: 0.0, delta: 0.0, bank: Bank::default() };
        new.begin(1);
        new
    }

    /// The present walkers become an origin, if there are any: each a family of its own, or each chain of `length` in a row.
    fn begin(&mut self, length: usize) {
        if self.n == 0 {
            return;
        }
        let ancestors = (0..self.n).map(|i| (i / length) as i64).collect();
        let families = self.n.div_ceil(length) as f64;
        self.origins.push(Origin { ancestors, epoch: self.epoch, inflation: 1.0, delta: self.delta, families });
    }

    /// Σ_e W_e².
    fn concentration(of: &Origin, w: &[f64]) -> f64 {
        family_squares(&of.ancestors, w)
    }

    /// Of log Ẑ since an origin.
    fn since(&self, of: &Origin, w: &[f64]) -> f64 {
        1.0 - 1.0 / of.families - of.inflation * (1.0 - Self::concentration(of, w))
    }

    /// The oldest of the origins after number `i` that is at most half as old, counting `present` epochs for the present one.
    fn half(&self, i: usize, present: f64) -> Option<&Origin> {
        let age = |o: &Origin| self.epoch + present - o.epoch;
        let bound = (age(self.origins.get(i)?) + present) / 2.0;
        self.origins.get(i + 1..)?.iter().find(|o| age(o) <= bound)
    }

    /// An epoch ends with weights w, and walker i is replaced by a copy of `parents[i]`, ascending, or by a descendant of it where
    /// `length` of them in a row are one chain. `variance` of families is Σ_e Var(O_e); `positions` gives the coordinates, d of each
    /// walker, if they are asked for.
    pub fn end(
        &mut self,
        (parents, length): (&[i64], usize),
        w: &[f64],
        variance: impl Fn(&[i64]) -> f64,
        positions: impl Fn() -> (Vec<f64>, usize),
    ) {
        let n = self.n as f64;
        let square: f64 = w.iter().map(|w| w * w).sum();
        let delta = self.delta + square - 1.0 / n;
        let few = |o: &Origin| Self::concentration(o, w) * LEAST > 1.0;
        let old = self.origins.iter().position(|o| !few(o)).unwrap_or(self.origins.len());
        if old > 0 {
            let (x, d) = positions();
            for i in 0..old {
                self.give_up(i, w, delta, (&x, d));
            }
            self.origins.drain(..old);
        }
        for o in &mut self.origins {
            let rest = n * n * (1.0 - Self::concentration(o, w));
            let chance = if rest > 1e-6 { (variance(&o.ancestors) / rest).min(0.5) } else { 0.0 };
            o.ancestors = parents.iter().filter_map(|p| o.ancestors.get(*p as usize).copied()).collect();
            o.inflation /= 1.0 - chance;
        }
        (self.epoch, self.delta) = (self.epoch + 1.0, delta);
        self.begin(length);
        self.thin();
    }

    /// Banks what happened between origin `i` and the next.
    fn give_up(&mut self, i: usize, w: &[f64], delta: f64, (x, d): (&[f64], usize)) {
        let (origin, mut bank) = (&self.origins[i], self.bank);
        let all = self.since(origin, w);
        match self.half(i, 1.0) {
            Some(half) => {
                bank.long = [bank.long[0] + all, bank.long[1] + delta - origin.delta];
                bank.short = [bank.short[0] + self.since(half, w), bank.short[1] + delta - half.delta];
                let share = Self::concentration(origin, w) - Self::concentration(half, w);
                for j in 0..d {
                    let x: Vec<f64> = x.iter().skip(j).step_by(d).copied().collect();
                    let mean: f64 = w.iter().zip(&x).map(|(w, x)| w * x).sum();
                    let s: Vec<f64> = w.iter().zip(&x).map(|(w, x)| w * (x - mean)).collect();
                    let spread: f64 = s.iter().zip(&x).map(|(s, x)| s * (x - mean)).sum();
                    bank.pairs[0] += family_squares(&origin.ancestors, &s) - family_squares(&half.ancestors, &s);
                    bank.pairs[1] += share * spread;
                }
                bank.pairs[2] += 0.5 * share * (self.n as f64).powi(2);
            }
            None => bank.blind += 1.0,
        }
        bank.variance += all - self.origins.get(i + 1).map_or(0.0, |next| self.since(next, w));
        self.bank = bank;
    }

    /// Leaves out origins whose neighbours are close in age.
    fn thin(&mut self) {
        let now = self.epoch;
        let age = |o: &Origin| now - o.epoch;
        for i in (1..self.origins.len().saturating_sub(1)).rev() {
            let young = age(&self.origins[i + 1]);
            if young >= 2.0 && age(&self.origins[i - 1]) <= 1.6 * young {
                self.origins.remove(i);
            }
        }
    }

    /// Of log Ẑ, with the weights of the present epoch; NaN where it cannot be known without replicates, or where chance takes the
    /// estimate below 0.
    pub fn log_z_variance(&self, w: &[f64]) -> f64 {
        let Some(oldest) = self.origins.first().filter(|_| self.n as f64 > LEAST) else { return f64::NAN };
        let [long, short] = [self.bank.long, self.bank.short];
        // V_long/delta_long against V_short/delta_short
        let grows = long[0] * short[1] > GROWTH * (short[0] * long[1]).max(0.0);
        // too few now, whatever they were when the epoch began
        let few = Self::concentration(oldest, w) * LEAST > 1.0;
        if (few || self.given_up()) && (grows || !self.mixes()) {
            return f64::NAN;
        }
        let variance = self.bank.variance + self.since(oldest, w);
        // rounding alone takes equal weights below 0
        if variance < -1e-12 { f64::NAN } else { variance.max(0.0) }
    }

    /// Whether the start is too long ago to be used.
    fn given_up(&self) -> bool {
        self.origins.first().is_none_or(|o| o.epoch > 0.0)
    }

    /// Whether walkers forgot the origins that were given up; not where none was.
    fn mixes(&self) -> bool {
        self.bank.blind == 0.0 && self.bank.pairs[2] > 0.0 && forgotten(self.bank.pairs)
    }

    /// The oldest origin with enough ancestors, with its place.
    fn usable(&self, w: &[f64]) -> Option<(usize, &Origin)> {
        let enough = |o: &Origin| Self::concentration(o, w) * LEAST <= 1.0;
        let found = self.origins.iter().enumerate().find(|(_, o)| enough(o))?;
        (found.1.epoch == 0.0 || !self.given_up() || self.mixes()).then_some(found)
    }

    /// Of a mean, with s_i = w_i (g_i − ḡ); NaN where it cannot be known without replicates.
    pub fn mean_variance(&self, w: &[f64], s: &[f64]) -> f64 {
        let Some((i, origin)) = self.usable(w) else { return f64::NAN };
        let all = family_squares(&origin.ancestors, s);
        if origin.epoch == 0.0 {
            return origin.inflation * all;
        }
        let Some(half) = self.half(i, 0.0) else { return f64::NAN };
        let younger = family_squares(&half.ancestors, s);
        let spread: f64 = s.iter().zip(w).filter(|(_, w)| **w > 0.0).map(|(s, w)| s * s / w).sum();
        let share = Self::concentration(origin, w) - Self::concentration(half, w);
        let pairs = [all - younger, share * spread, 0.5 * share * (self.n as f64).powi(2)];
        let settled = origin.inflation * all <= GROWTH * half.inflation * younger && forgotten(pairs);
        if settled { origin.inflation * all } else { f64::NAN }
    }

    /// Effective ancestors of the oldest origin that can be used; NaN where there is none.
    pub fn effective(&self, w: &[f64]) -> f64 {
        self.usable(w).map_or(f64::NAN, |(_, origin)| 1.0 / Self::concentration(origin, w))
    }

    pub fn save(&self, to: &mut Checkpoint, name: &str) {
        let all: Vec<i64> = self.origins.iter().flat_map(|o| o.ancestors.iter().copied()).collect();
        let facts: Vec<f64> = self.origins.iter().flat_map(|o| [o.epoch, o.inflation, o.delta, o.families]).collect();
        to.put(format!("{name}.origins"), &Tensor::from_slice(&all).view([-1, self.n.max(1) as i64]));
        to.put(format!("{name}.origins.facts"), &Tensor::from_slice(&facts));
        let b = &self.bank;
        let bank =
            [b.variance, b.long[0], b.long[1], b.short[0], b.short[1], b.pairs[0], b.pairs[1], b.pairs[2], b.blind];
        to.put_numbers(format!("{name}.lineages"), &bank);
        to.put_numbers(format!("{name}.lineages.now"), &[self.epoch, self.delta]);
    }

    pub fn load(from: &Checkpoint, name: &str, n: usize) -> Result<Self> {
        let all = from.get(&format!("{name}.origins"))?;
        let facts = from.get(&format!("{name}.origins.facts"))?;
        let refused =
            || Error::param("origins", format!("{:?}", all.size()), format!("rows of {n} ancestors, ascending"));
        let sound = all.kind() == Kind::Int64 && facts.kind() == Kind::Double && facts.size().len() == 1;
        if !sound
            || all.size().get(1).is_none_or(|c| *c != n.max(1) as i64)
            || facts.numel() != 4 * all.size()[0] as usize
        {
            return Err(refused());
        }
        let (all, facts) = (Vec::<i64>::try_from(all.contiguous().view(-1))?, Vec::<f64>::try_from(facts)?);
        let mut origins = Vec::new();
        for (ancestors, facts) in all.chunks(n.max(1)).zip(facts.chunks(4)) {
            if !ancestors.is_sorted() || ancestors.iter().any(|a| *a < 0 || *a >= n as i64) {
                return Err(refused());
            }
            let (epoch, inflation, delta, families) = (facts[0], facts[1], facts[2], facts[3]);
            origins.push(Origin { ancestors: ancestors.into(), epoch, inflation, delta, families });
        }
        let [variance, l0, l1, s0, s1, p0, p1, p2, blind] = from.numbers(&format!("{name}.lineages"))?;
        let bank = Bank { variance, long: [l0, l1], short: [s0, s1], pairs: [p0, p1, p2], blind };
        let [epoch, delta] = from.numbers(&format!("{name}.lineages.now"))?;
        Ok(Lineages { n, origins, epoch, delta, bank })
    }
}
