//! Make the data sets that the models are compared on: rows to train on, rows held out, modes with known masses.

use crate::evaluate::classifier::Classifier;
use crate::evaluate::distances::mmd_square;
use crate::evaluate::held_out::hold_out;
use jarzynski::data::{Synthetic, digits};
use jarzynski::io::frame::mean_se;
use jarzynski::model::Mixture;
use jarzynski::tch::{Device, Kind, Tensor};
use jarzynski::{Error, Estimate, Result, Rng};

/// The data sets.
pub(super) const NAMES: [&str; 4] = ["modes-8", "moons", "modes-20d", "digits"];

/// Digits and how many of each are trained on.
const LABELS: [i64; 3] = [2, 3, 6];
const COUNTS: [usize; 3] = [140, 70, 35];

/// What says which mode a row belongs to.
#[derive(Debug)]
enum Parts {
    Plane(Synthetic),
    Modes(Mixture),
    Digits(Classifier),
}

/// A data set. All models learn the distribution of `train` with fresh noise of standard deviation `noise`.
#[derive(Debug)]
pub(super) struct Problem {
    pub name: &'static str,
    /// Rows to train on, without the noise, `[n, d]` in f32.
    pub train: Tensor,
    pub noise: f64,
    /// Rows held out, with noise, and their weights, which sum to 1.
    pub test: Tensor,
    pub weights: Tensor,
    /// Other rows with noise, to see what a sample measures of the distribution: fresh ones, of the digits those to train on.
    pub fresh: Tensor,
    /// The distribution itself, where it is known.
    pub exact: Option<Mixture>,
    /// The mass of each mode.
    pub masses: Vec<f64>,
    /// Names of the modes.
    pub modes: Vec<String>,
    parts: Parts,
    /// Width of the kernel of the mean discrepancy.
    width: f64,
}

/// The mean of independent numbers, with its standard error.
pub(super) fn mean(v: &Tensor) -> Estimate {
    let n = v.numel() as f64;
    let error = (v.to_kind(Kind::Double).var(true) / n).sqrt().double_value(&[]);
    Estimate::new(v.mean(Kind::Double).double_value(&[]), error)
}

/// Blocks that the discrepancy is measured on, for its error.
const BLOCKS: i64 = 4;

impl Problem {
    /// The data set of that name: `points` to train on (of the digits: 245 images) and as many held out, at most a thousand.
    pub fn new(name: &str, points: usize, seed: u64, device: Device) -> Result<Self> {
        let name = *NAMES
            .iter()
            .find(|n| **n == name)
            .ok_or_else(|| Error::param("data", name, format!("some of {}", NAMES.join(", "))))?;
        let mut rng = Rng::new(seed).split(0xda7a);
        match name {
            "digits" => Self::digits(name, seed, &mut rng, device),
            "modes-20d" => Self::modes_20d(name, points, &mut rng, device),
            _ => Self::plane(name, points, &mut rng, device),
        }
    }

    fn assemble(
        (name, noise): (&'static str, f64),
        train: Tensor,
        held_out: (Tensor, Tensor),
        fresh: Tensor,
        exact: Option<Mixture>,
        (masses, modes, parts): (Vec<f64>, Vec<String>, Parts),
    ) -> Self {
        let (test, weights) = held_out;
        let few = test.narrow(0, 0, test.size()[0].min(500)).to_kind(Kind::Double);
        let width = 0.5 * few.pdist(2.0).median().double_value(&[]);
        Problem { name, train, noise, test, weights, fresh, exact, masses, modes, parts, width }
    }

    /// Rows drawn by `draw`, all of equal weight.
    fn drawn(
        (name, noise): (&'static str, f64),
        points: usize,
        rng: &mut Rng,
        mut draw: impl FnMut(usize, &mut Rng) -> Result<Tensor>,
        exact: Mixture,
        known: (Vec<f64>, Vec<String>, Parts),
    ) -> Result<Self> {
        let noisy = |x: Tensor, rng: &mut Rng| &x + rng.normal(&x.size(), x.kind(), x.device()) * noise;
        let train = draw(points, rng)?;
        let held_out = points.min(1_000);
        let test = draw(held_out, rng)?;
        let test = noisy(test, rng);
        let fresh = draw(2_000, rng)?;
        let fresh = noisy(fresh, rng);
        let weights = Tensor::full([held_out as i64], 1.0 / held_out as f64, (Kind::Double, train.device()));
        Ok(Self::assemble((name, noise), train, (test, weights), fresh, Some(exact), known))
    }

    /// Two dimensions: eight modes on a circle, or two moons.
    fn plane(name: &'static str, points: usize, rng: &mut Rng, device: Device) -> Result<Self> {
        use std::f64::consts::PI;
        // arcs as so many modes of equal mass are the moons to all digits of f64
        const ARC: usize = 300;
        let (law, noise, modes): (_, f64, Vec<String>) = match name {
            "moons" => (Synthetic::Moons { weight: 0.3 }, 0.1, vec!["upper".into(), "lower".into()]),
            _ => {
                let weights = vec![1.0, 2.0, 3.0, 4.0, 4.0, 3.0, 2.0, 1.0];
                (Synthetic::Gaussians { weights }, 0.15, (1..=8).map(|j| j.to_string()).collect())
            }
        };
        let masses = law.masses()?;
        let (means, shares, own): (Vec<Vec<f64>>, Vec<f64>, f64) = match name {
            "moons" => {
                let on_arc = |i: usize| {
                    let (sign, angle) = (if i < ARC { 1.0 } else { -1.0 }, PI * ((i % ARC) as f64 + 0.5) / ARC as f64);
                    vec![sign * (1.5 * angle.cos() - 0.75), sign * (1.5 * angle.sin() - 0.4)]
                };
                ((0..2 * ARC).map(on_arc).collect(), (0..2 * ARC).map(|i| masses[i / ARC] / ARC as f64).collect(), 0.12)
            }
            _ => {
                let at = |j: usize| {
                    let angle = 0.25 * PI * j as f64;
                    vec![2.5 * angle.cos(), 2.5 * angle.sin()]
                };
                ((0..8).map(at).collect(), masses.clone(), 0.25)
            }
        };
        let sigma = vec![own.hypot(noise); means.len()];
        let exact = Mixture::with_sigma(&means, &shares, &sigma, Kind::Double, device)?;
        let draw = |n: usize, rng: &mut Rng| Ok(law.sample(n, rng)?.on(device).x);
        let parts = Parts::Plane(law.clone());
        Self::drawn((name, noise), points, rng, draw, exact, (masses, modes, parts))
    }

    /// Four modes in 20 dimensions of standard deviation 1, 8.5 and 12 apart.
    fn modes_20d(name: &'static str, points: usize, rng: &mut Rng, device: Device) -> Result<Self> {
        let noise: f64 = 0.3;
        let at = |j: usize| {
            let mut mean = vec![0.0; 20];
            mean[j % 2] = if j < 2 { 6.0 } else { -6.0 };
            mean
        };
        let (means, masses): (Vec<Vec<f64>>, _) = ((0..4).map(at).collect(), vec![0.4, 0.3, 0.2, 0.1]);
        let of = |sigma: f64| Mixture::with_sigma(&means, &masses, &[sigma; 4], Kind::Double, device);
        let (clean, exact) = (of((1.0 - noise * noise).sqrt())?, of(1.0)?);
        let draw = |n: usize, rng: &mut Rng| Ok(clean.sample(n, rng).to_kind(Kind::Float));
        let parts = Parts::Modes(exact.frozen()?);
        let modes = (1..=4).map(|j| j.to_string()).collect();
        Self::drawn((name, noise), points, rng, draw, exact, (masses, modes, parts))
    }

    /// 8×8 digits at 4 : 2 : 1; all others of these classes are held out, with weights that give the classes these shares.
    fn digits(name: &'static str, seed: u64, rng: &mut Rng, device: Device) -> Result<Self> {
        let noise = 0.3;
        let all = digits()?.scale(-1.0, 1.0)?.on(device);
        let (training, test) = hold_out(&all, &LABELS, &COUNTS)?;
        let classifier = Classifier::train(&all, &LABELS, noise, 600, seed)?;
        let total: usize = COUNTS.iter().sum();
        let masses: Vec<f64> = COUNTS.iter().map(|n| *n as f64 / total as f64).collect();
        let labels = test.labels.clone().unwrap_or_default();
        let count = |label: i64| labels.iter().filter(|l| **l == label).count() as f64;
        let weight = |l: &i64| LABELS.iter().position(|m| m == l).map_or(0.0, |c| masses[c] / count(*l));
        let weights = Tensor::from_slice(&labels.iter().map(weight).collect::<Vec<f64>>()).to_device(device);
        let mut noisy = |x: &Tensor| x + rng.normal(&x.size(), Kind::Float, device) * noise;
        let (test, fresh) = (noisy(&test.x), noisy(&training.x));
        // not class by class
        let order = Tensor::from_slice(&Rng::new(seed).split(0x0c1a).permutation(training.len())).to_device(device);
        let fresh = fresh.index_select(0, &order);
        let modes = LABELS.iter().map(i64::to_string).collect();
        let known = (masses, modes, Parts::Digits(classifier));
        Ok(Self::assemble((name, noise), training.x, (test, weights), fresh, None, known))
    }

    pub fn planar(&self) -> bool {
        self.train.size()[1] == 2
    }

    /// The mode of each row.
    fn part(&self, x: &Tensor) -> Result<Tensor> {
        Ok(match &self.parts {
            Parts::Plane(law) => law.part(x),
            Parts::Modes(mixture) => mixture.responsibilities(x)?.argmax(1, false),
            Parts::Digits(classifier) => classifier.classes(x),
        })
    }

    /// Weighted mean of numbers of the held-out rows, with its error.
    pub fn over_test(&self, v: &Tensor) -> Estimate {
        let v = v.to_kind(Kind::Double);
        let value = v.dot(&self.weights).double_value(&[]);
        let error = ((&v - value) * &self.weights).square().sum(Kind::Double).sqrt();
        Estimate::new(value, error.double_value(&[]))
    }

    /// The share of each mode in rows x with weights w, which sum to 1.
    pub fn shares(&self, x: &Tensor, w: &Tensor) -> Result<Vec<f64>> {
        let part = self.part(x)?;
        let share = |j: usize| part.eq(j as i64).to_kind(Kind::Double).dot(w).double_value(&[]);
        Ok((0..self.masses.len()).map(share).collect())
    }

    /// ½ Σ |share − mass|, the total variation distance between the modes' masses.
    pub fn mass_distance(&self, shares: &[f64]) -> f64 {
        0.5 * shares.iter().zip(&self.masses).map(|(a, b)| (a - b).abs()).sum::<f64>()
    }

    /// Squared maximum mean discrepancy between the held-out rows and rows x of equal weight, with the error of disjoint blocks.
    pub fn mmd(&self, x: &Tensor) -> Estimate {
        let block = |t: &Tensor, i: i64| {
            let n = t.size()[0] / BLOCKS;
            t.narrow(0, i * n, n)
        };
        // held-out digits come class by class
        let order = Tensor::from_slice(&Rng::new(0).permutation(self.test.size()[0] as usize)).to_device(x.device());
        let (test, weights) = (self.test.index_select(0, &order), self.weights.index_select(0, &order));
        let of = |i| mmd_square(&block(&test, i), &block(&weights, i), &block(x, i), self.width);
        let (value, error) = mean_se(&(0..BLOCKS).map(of).collect::<Vec<_>>());
        Estimate::new(value, error)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_known_density_and_masses_are_those_of_the_rows() -> Result<()> {
        for name in ["modes-8", "moons", "modes-20d"] {
            let problem = Problem::new(name, 4_000, 1, Device::Cpu)?;
            let exact = problem.exact.as_ref().unwrap();
            // −E log ρ of fresh rows against that of rows drawn from the density itself
            let of = |x: &Tensor| mean(&jarzynski::log_prob(exact, x, jarzynski::Base::log_z(exact)).unwrap());
            let (rows, drawn) = (of(&problem.fresh), of(&exact.sample(4_000, &mut Rng::new(3))));
            let z = (rows.value - drawn.value) / rows.se.hypot(drawn.se);
            assert!(z.abs() < 5.0, "{name}: {rows} {drawn}");
            let flat = |n: i64| Tensor::full([n], 1.0 / n as f64, (Kind::Double, Device::Cpu));
            let shares = problem.shares(&problem.fresh, &flat(2_000))?;
            for (share, mass) in shares.iter().zip(&problem.masses) {
                let z = (share - mass) / (mass * (1.0 - mass) / 2_000.0).sqrt();
                assert!(z.abs() < 5.0, "{name}: {shares:?}");
            }
            let same = problem.mmd(&problem.fresh);
            assert!(same.value.abs() < 5.0 * same.se + 2e-3, "{name}: {same}");
            // the twin: rows of one mode alone
            let part = problem.part(&problem.fresh)?;
            let one = problem.fresh.index_select(0, &part.eq(0).nonzero().squeeze_dim(1));
            let other = problem.mmd(&one.repeat([20, 1]).narrow(0, 0, 1_000));
            assert!(other.value > 10.0 * same.value.abs(), "{name}: {other} {same}");
        }
        Ok(())
    }
}
