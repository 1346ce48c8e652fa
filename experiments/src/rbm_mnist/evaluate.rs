//! Evaluate RBMs that are too large to enumerate: annealed importance sampling, likelihood, classes of weighted samples.

use super::{Images, RbmMnist, Trained};
use crate::evaluate::classifier::Classifier;
use crate::images::pixels;
use jarzynski::data::Dataset;
use jarzynski::density::Model;
use jarzynski::io::frame;
use jarzynski::io::frame::{Cell, Rows};
use jarzynski::model::{Rbm, Tempering, Units, exact_draws};
use jarzynski::numeric::Rng;
use jarzynski::tch::{Device, Kind, Tensor};
use jarzynski::transport::{Ais, ReverseStart};
use jarzynski::walkers::Estimate;
use jarzynski::{Error, Result};

/// Data and a classifier of them.
pub(super) struct Evaluator {
    /// Probabilities that batches are drawn from, where bits are sampled at every visit.
    pub visited: Option<Dataset>,
    /// The training images as zeros and ones.
    pub train: Dataset,
    /// Test images; under S several draws of their bits.
    test: Vec<Tensor>,
    /// As many training images as there are test images, with as many draws.
    seen: Vec<Tensor>,
    pub classifier: Classifier,
    labels: Vec<i64>,
}

/// Draws of a model.
pub(super) struct Drawn {
    /// `[times, chains, 784]`.
    v: Tensor,
    start: ReverseStart,
    /// Of the tempering, per chain; NaN for exact draws.
    round_trips: f64,
}

/// What is shown of a final model.
pub(super) struct Picture {
    pub method: String,
    pub seed: u64,
    pub samples: Vec<Vec<f32>>,
    pub filters: Vec<Vec<f32>>,
}

pub(super) const LIKELIHOOD: [&str; 21] = [
    "method",
    "hidden",
    "seed",
    "update",
    "sweeps",
    "seconds",
    "log_lik_train",
    "log_lik_test",
    "log_lik_lower",
    "log_lik_upper",
    "log_z_monitor",
    "log_z_monitor_se",
    "log_z_walkers",
    "log_z_bar",
    "log_z_bar_se",
    "log_z_ais",
    "log_z_reverse",
    "log_z_exact",
    "round_trips",
    "ess",
    "warning",
];

pub(super) fn likelihood_rows() -> Rows {
    Rows::new(&LIKELIHOOD)
}

pub(super) fn mass_rows() -> Rows {
    Rows::new(&["method", "hidden", "seed", "by", "label", "data", "model", "se"])
}

impl Evaluator {
    pub fn new(config: &RbmMnist, images: Images, device: Device) -> Result<Self> {
        let mut bits = images.bits.into_iter();
        let (train, first) = bits.next().ok_or_else(|| Error::param("bits", "none", "images"))?;
        let (train, first) = (train.on(device), first.on(device));
        let labels: Vec<i64> = train.counts().into_keys().collect();
        let classifier = Classifier::train(&train, &labels, 0.0, config.classifier_steps, config.seed)?;
        // in random order: a selection of classes comes sorted by them
        let rows = Rng::new(config.seed).split(0x5ee).permutation(train.len());
        let rows = Tensor::from_slice(&rows[..first.len().min(train.len())]).to_device(device);
        let (mut seen, mut test) = (vec![train.x.index_select(0, &rows)], vec![first.x]);
        for (train, other) in bits {
            seen.push(train.on(device).x.index_select(0, &rows));
            test.push(other.on(device).x);
        }
        let visited = images.visited.map(|grey| grey.on(device));
        Ok(Evaluator { visited, train, test, seen, classifier, labels })
    }

    /// The mean image of each class of the training data.
    #[cfg(feature = "plot")]
    pub fn class_means(&self) -> Vec<Vec<f32>> {
        let named = Tensor::from_slice(self.train.labels.as_deref().unwrap_or_default());
        let mean = |label: &i64| {
            let rows = named.eq(*label).nonzero().squeeze_dim(-1).to_device(self.train.x.device());
            pixels(&self.train.x.index_select(0, &rows).mean_dim(0, true, Kind::Float), 1)
        };
        self.labels.iter().flat_map(mean).collect()
    }

    fn ais(&self, config: &RbmMnist, seed: u64) -> Ais {
        Ais::new().steps(config.ais_steps).walkers(config.ais_walkers).seed(seed ^ 0xa15)
    }

    /// Mean free energies of training images (at most as many as there are test images) and of test images.
    fn free_energies(&self, rbm: &Rbm) -> (f64, f64) {
        let mean = |draws: &[Tensor]| {
            let each = draws.iter().map(|x| rbm.evaluate_data(x).u.mean(Kind::Double).double_value(&[]));
            each.sum::<f64>() / draws.len() as f64
        };
        (mean(&self.seen), mean(&self.test))
    }

    /// log Ẑ of a model by AIS, and its test log-likelihood.
    pub fn at(&self, config: &RbmMnist, rbm: &Rbm, seed: u64) -> Result<(Estimate, f64)> {
        let z = self.ais(config, seed).log_z(rbm)?;
        Ok((z, -self.free_energies(rbm).1 - z.value))
    }

    /// Draws of the model at `update`: exact ones where it can be enumerated, else replicas through the parameters saved along
    /// the training, spaced by their swaps.
    fn drawn(&self, config: &RbmMnist, t: &Trained, update: usize) -> Result<Drawn> {
        if enumerated(&t.rbm).is_some() {
            let v = exact_draws(&t.rbm.units(), config.ais_walkers, &mut Rng::new(t.seed).split(0x7e3))?.0;
            return Ok(Drawn { start: ReverseStart::exact(&v), v: v.unsqueeze(0), round_trips: f64::NAN });
        }
        let saved = t.saved.iter().filter(|(k, _)| *k < update).map(|(_, units)| units.copy()).collect();
        let tempering = Tempering::new().through(saved).chains(config.chains).rounds(config.rounds);
        let pilot = (config.rounds / 50).max(4);
        let found = tempering.seed(t.seed ^ 0x7e3).thinned(&t.rbm, 0.2, pilot)?.run(&t.rbm)?;
        Ok(Drawn { start: (&found).into(), v: found.visited, round_trips: found.round_trips })
    }

    /// The rows of one training at its checkpoints: log Z from both sides and by BAR, which likelihoods are computed with.
    pub fn likelihood(&self, config: &RbmMnist, t: &mut Trained, rows: &mut Rows) -> Result<Drawn> {
        let step = t.run.column("step")?;
        // PCD and CD have no weights to report
        let read = |name: &str| t.run.column(name).unwrap_or_else(|_| vec![f64::NAN; step.len()]);
        let (sweeps, seconds) = (read("sweeps"), read("seconds"));
        let (z, z_se, walkers) = (read("log_z_monitor"), read("log_z_monitor_se"), read("log_z"));
        let ess = read("ess");
        let (last, at) = (t.rbm.units().copy(), config.checkpoints(t.steps));
        let mut drawn = None;
        for (k, units) in t.saved.iter().filter(|(k, _)| at.contains(k)) {
            let Some(i) = step.iter().position(|s| *s as usize == *k) else { continue };
            t.rbm.set_units(units)?;
            let (train, test) = self.free_energies(&t.rbm);
            let mut row: Vec<Cell> = vec![(&t.method).into(), config.hidden.into(), t.seed.into(), (*k).into()];
            row.extend([sweeps[i], seconds[i]].map(Cell::from));
            let (found, [bar, se, lower, upper], trips) = if config.brackets || *k == t.steps {
                let from = self.drawn(config, t, *k)?;
                let z = self.ais(config, t.seed).bracket(&t.rbm, &from.start)?;
                let (warning, numbers) = (z.bar.warning, [z.bar.value, z.bar.se, z.lower.value, z.upper.value]);
                let trips = from.round_trips;
                drawn = Some(from);
                (warning, numbers, trips)
            } else {
                let z = self.ais(config, t.seed).log_z(&t.rbm)?;
                (z.warning, [f64::NAN, f64::NAN, z.value, f64::NAN], f64::NAN)
            };
            // AIS alone where there is no bracket
            let exact = enumerated(&t.rbm);
            let log_z = exact.unwrap_or(if bar.is_nan() { lower } else { bar });
            let exact = exact.unwrap_or(f64::NAN);
            row.extend([-train - log_z, -test - log_z, -test - upper, -test - lower].map(Cell::from));
            row.extend([z[i], z_se[i], walkers[i], bar, se, lower, upper, exact, trips, ess[i]].map(Cell::from));
            row.push(found.unwrap_or_default().into());
            rows.push(row);
        }
        t.rbm.set_units(&last)?;
        drawn.ok_or_else(|| Error::param("checkpoints", 0, "the last update among the recorded ones"))
    }

    /// Class masses of the final model by weighted annealed walkers and by the draws from which the reverse run began; pictures of it.
    pub fn masses(&self, config: &RbmMnist, t: &Trained, drawn: &Drawn, rows: &mut Rows) -> Result<Picture> {
        let mut ais = self.ais(config, t.seed);
        ais.walkers *= 4;
        let run = ais.run(&t.rbm)?;
        let (named, tempered) =
            (self.classifier.classes(run.walkers.x()), self.classifier.classes(&drawn.v.flatten(0, 1)));
        let times = drawn.v.size()[0];
        let counts = self.train.counts();
        for (class, label) in self.labels.iter().enumerate() {
            let share = counts.get(label).copied().unwrap_or(0) as f64 / self.train.len() as f64;
            let by_ais = run.walkers.mean(&named.eq(class as i64).to_kind(Kind::Double))?;
            // one number per chain: its share of the times
            let of = tempered.eq(class as i64).to_kind(Kind::Double).view([times, -1]).mean_dim(0, false, Kind::Double);
            let of: Vec<f64> = Vec::try_from(of.to_device(Device::Cpu))?;
            let (mean, se) = frame::mean_se(&of);
            for (by, mass, se) in [("ais", by_ais.value, by_ais.se), ("draws", mean, se)] {
                rows.push((&t.method, config.hidden, t.seed, by, *label, share, mass, se));
            }
        }
        let samples = run.samples(48, &mut Rng::new(t.seed).split(0x5a3));
        Ok(Picture {
            method: t.method.clone(),
            seed: t.seed,
            samples: pixels(&samples, 48),
            filters: filters(&t.rbm.units(), 48),
        })
    }
}

/// log Z where the hidden units are few enough to be enumerated in a moment.
fn enumerated(rbm: &Rbm) -> Option<f64> {
    (rbm.dims().1 <= 16).then(|| rbm.exact_log_z().ok()).flatten()
}

/// The weights of the hidden units with the largest norms.
fn filters(units: &Units, n: i64) -> Vec<Vec<f32>> {
    let norm = units.w.square().sum_dim_intlist(0, false, Kind::Float);
    let (_, best) = norm.topk(n.min(units.dims().1), 0, true, true);
    pixels(&units.w.index_select(1, &best).tr(), n as usize)
}
