//! Measure cross-entropies, class masses and samples of populations that came down the ladder.

use super::Mnist;
use crate::evaluate::classifier::Classifier;
use crate::evaluate::distances::frechet;
use crate::evaluate::held_out::mean_by_class;
use jarzynski::data::Dataset;
use jarzynski::io::frame;
use jarzynski::numeric::Rng;
use jarzynski::tch::{Kind, Tensor};
use jarzynski::{Estimate, Result, Walkers};

/// A population of one method, and the log Z that its energy is taken to have.
pub(super) struct Population {
    pub method: &'static str,
    pub seed: u64,
    pub x: Tensor,
    /// Their weights, if they are used.
    pub weighted: Option<Walkers>,
    pub log_z: Estimate,
    pub samples: Tensor,
}

pub(super) struct Evaluator<'a> {
    pub config: &'a Mnist,
    pub classifier: Classifier,
    pub training: &'a Dataset,
    pub test: &'a Dataset,
}

impl Evaluator<'_> {
    /// Rows with fresh noise.
    pub fn noisy(&self, data: &Dataset, seed: u64, split: u64) -> Tensor {
        let mut rng = Rng::new(seed).split(split);
        &data.x + rng.normal(&data.x.size(), Kind::Float, data.x.device()) * self.config.noise
    }

    /// Cross-entropies on test and on training images by energies of rows.
    fn cross_entropies(&self, of: &dyn Fn(&Tensor) -> Tensor, seed: u64, z: Estimate) -> Result<[Estimate; 2]> {
        let unseen = Vec::<f64>::try_from(of(&self.noisy(self.test, seed, 0x4e1d)))?;
        let classes = self.test.labels.as_deref().unwrap_or_default();
        let unseen = mean_by_class(&unseen, classes, &self.config.labels, &self.config.counts);
        let seen = of(&self.noisy(self.training, seed, 0x7e57)).mean(Kind::Double).double_value(&[]);
        Ok([Estimate::new(unseen.value + z.value, unseen.se.hypot(z.se)), Estimate::new(seen + z.value, z.se)])
    }

    /// Adds to the tables `summary` and `masses`, the first two, what is known of a population.
    /// Cross-entropies by `energy`, if it is that of the population.
    pub fn rows(
        &self,
        energy: Option<&dyn Fn(&Tensor) -> Tensor>,
        p: &Population,
        out: &mut [frame::Rows; 3],
    ) -> Result<()> {
        let [summary, masses, _] = out;
        let Mnist { labels, counts, noise, .. } = self.config;
        let data = self.config.title();
        let n = p.x.size()[0] as f64;
        let mean = |is: &Tensor| -> Result<Estimate> {
            if let Some(walkers) = &p.weighted {
                return walkers.mean(is);
            }
            let share = is.mean(Kind::Double).double_value(&[]);
            Ok(Estimate::new(share, (share * (1.0 - share) / n).sqrt()))
        };
        let mut add = |quantity: &str, e: Estimate| {
            summary.push((&data, *noise, p.method, p.seed, quantity, e.value, e.se));
        };
        if let Some(energy) = energy {
            let [test, train] = self.cross_entropies(energy, p.seed, p.log_z)?;
            let bits = self.test.dim() as f64 * std::f64::consts::LN_2;
            add("cross_entropy_test", test);
            add("cross_entropy_train", train);
            add("bits_per_dim_test", Estimate::new(test.value / bits, test.se / bits));
            add("log_z", p.log_z);
        }
        let named = self.classifier.classes(&p.x);
        let total: usize = counts.iter().sum();
        let (mut distance, mut square) = (0.0, 0.0);
        for (i, label) in labels.iter().enumerate() {
            let model = mean(&named.eq(i as i64).to_kind(Kind::Double))?;
            let share = counts[i] as f64 / total as f64;
            masses.push((p.method, p.seed, *label, share, model.value, model.se));
            distance += 0.5 * (model.value - share).abs();
            square += (0.5 * model.se).powi(2);
        }
        add("mass_distance", Estimate::new(distance, square.sqrt()));
        let sure = self.classifier.confidence(&p.x).gt(0.9).to_kind(Kind::Double);
        add("confident_share", mean(&sure)?);
        let equal = || Tensor::full([p.x.size()[0]], 1.0 / n, (Kind::Double, p.x.device()));
        let weights = p.weighted.as_ref().map_or_else(equal, Walkers::weights);
        let test = self.noisy(self.test, p.seed, 0xf4e);
        let features = |x: &Tensor| self.classifier.features(x);
        add("frechet", Estimate::new(frechet(&features(&p.x), &weights, &features(&test)), f64::NAN));
        Ok(())
    }
}
