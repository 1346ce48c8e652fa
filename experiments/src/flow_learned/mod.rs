//! Learn flows from data, generate with few steps, and see what reweighting corrects: two-dimensional sets and real digits.

mod evaluate;
mod show;

use crate::evaluate::classifier::Classifier;
use crate::evaluate::held_out::hold_out;
use crate::evaluate::{on_threads, stack};
use crate::{Context, Experiment, Output};
use evaluate::Tables;
use jarzynski::data;
use jarzynski::data::{Dataset, Synthetic};
use jarzynski::io::frame::Rows;
use jarzynski::kernel::FlowKernel;
use jarzynski::model::{Bridge, FlowNet, FlowShape};
use jarzynski::numeric::{Rng, Threads};
use jarzynski::run::Run;
use jarzynski::tch::{Device, Tensor};
use jarzynski::train::{FlowSettings, FlowTrainer};
use jarzynski::transport::Transport;
use jarzynski::{Error, Result};
use serde::{Deserialize, Serialize};

/// What both halves of the experiment configure: how to train and how to generate.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Learning {
    /// Hidden widths of both networks.
    pub widths: Vec<i64>,
    /// Noise added to the data, in their units.
    pub smoothing: f64,
    /// Updates.
    pub updates: usize,
    /// Points per update.
    pub batch: usize,
    /// Learning rate.
    pub lr: f64,
    /// Weight of the time score; 0 leaves it out.
    pub time_score: f64,
    /// Steps K of the generations.
    pub steps: Vec<usize>,
    /// Schemes of the generations.
    pub schemes: Vec<String>,
    /// Noises ε, one for each scheme.
    pub eps: Vec<f64>,
    /// Walkers of a generation.
    pub walkers: usize,
}

/// A velocity and an energy learned by guide (121)-(122) and the time score; then plain and reweighted generation.
///
/// The target of the weights is the *learned* distribution e^{−U(1, ·)}. In two dimensions its masses and log Z are known by
/// quadrature: table `masses` has, for each part of a data set, `dataset, seed, scheme, steps, method, part, value, se, learned,
/// data, ess`. Table `quality`: `dataset, seed, scheme, steps, method, quantity, value` with the sliced Wasserstein distance and
/// the squared MMD to fresh data, and, as method `data`, what two samples of the data have. Table `distributions`: `dataset,
/// seed, variant, quantity, value, se`: log Z, the cross-entropy of held-out data under the learned distribution (and of the
/// training images of the digits) and, where the data's distribution is known, the divergence from it; variant `(122) alone` is
/// trained without the time score. Table `training`: the runs' rows.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct FlowLearned {
    /// Two-dimensional sets: `gaussians`, `moons`, `checkerboard`.
    pub sets: Vec<String>,
    /// Their training and generation.
    pub planar: Learning,
    /// Training points of each set.
    pub points: usize,
    /// Training and generation of the digits 2, 3, 6 at 4 : 2 : 1, in [−1, 1]; no steps leaves them out.
    pub digits: Learning,
    /// First seed.
    pub seed: u64,
    /// Number of seeds.
    pub seeds: usize,
}

impl Default for FlowLearned {
    fn default() -> Self {
        let names = |v: &[&str]| v.iter().map(|s| s.to_string()).collect::<Vec<_>>();
        FlowLearned {
            sets: names(&["gaussians", "moons", "checkerboard"]),
            planar: Learning {
                widths: vec![128, 128, 128],
                smoothing: 0.15,
                updates: 1_200,
                batch: 512,
                lr: 4e-3,
                time_score: 0.2,
                steps: vec![4, 8, 16, 32],
                schemes: names(&["escorted", "euler-mala"]),
                eps: vec![0.3, 1.0],
                walkers: 4_000,
            },
            points: 20_000,
            digits: Learning {
                widths: vec![256, 256],
                smoothing: 0.3,
                updates: 1_500,
                batch: 256,
                lr: 1e-3,
                time_score: 0.5,
                steps: vec![8, 32],
                schemes: names(&["escorted", "euler-mala"]),
                eps: vec![0.3, 1.0],
                walkers: 512,
            },
            seed: 0,
            seeds: 2,
        }
    }
}

/// Half the side of the square that quadrature covers; every set lies well inside.
const REACH: f64 = 5.5;
const LABELS: [i64; 3] = [2, 3, 6];
const COUNTS: [usize; 3] = [140, 70, 35];

/// A trained flow with where it came from.
struct Trained {
    name: String,
    seed: u64,
    time_score: bool,
    flow: FlowNet,
    run: Run,
}

impl Learning {
    fn validate(&self, name: &'static str) -> Result<()> {
        if self.schemes.len() != self.eps.len() {
            let expected = format!("one noise for each of the schemes of {name}, {}", self.schemes.join(", "));
            return Err(Error::param("eps", format!("{:?}", self.eps), expected));
        }
        self.schemes.iter().zip(&self.eps).try_for_each(|(s, e)| FlowKernel::named(s, *e).map(|_| ()))
    }

    fn train(&self, name: &str, seed: u64, time_score: f64, x: &Tensor, context: &Context) -> Result<Trained> {
        let bridge = Bridge { smoothing: self.smoothing, ..Default::default() };
        let shape = FlowShape { widths: self.widths.clone(), seed, ..Default::default() };
        let mut flow = FlowNet::from_noise(&bridge, x, &shape)?;
        let settings = FlowSettings {
            steps: self.updates,
            batch: self.batch,
            lr: self.lr,
            time_score,
            seed,
            every: FlowSettings::default().every.min(self.updates.max(1)),
            progress: 0.0,
            ..Default::default()
        };
        let mut trainer = FlowTrainer::new().settings(settings);
        trainer.checkpointing = context.checkpointing(&format!("{name}-{seed}-{time_score}"));
        let run = trainer.train(&mut flow, x)?;
        let with = if time_score > 0.0 { "" } else { ", (122) alone" };
        println!("  {name}, seed {seed}{with}: trained in {:.0} s", run.seconds);
        Ok(Trained { name: name.into(), seed, time_score: time_score > 0.0, flow, run })
    }

    /// Every scheme and number of steps, with weights; `visit` gets scheme, steps and the run.
    fn generate(
        &self,
        flow: &FlowNet,
        seed: u64,
        ess_min: f64,
        visit: &mut dyn FnMut(&str, usize, Run) -> Result<()>,
    ) -> Result<()> {
        for (scheme, eps) in self.schemes.iter().zip(&self.eps) {
            for &steps in &self.steps {
                let kernel = FlowKernel::named(scheme, *eps)?;
                let transport = Transport::new(kernel, steps, self.walkers, seed).ess_min(ess_min).every(steps);
                visit(scheme, steps, transport.run(flow)?)?;
            }
        }
        Ok(())
    }
}

impl FlowLearned {
    fn toy(name: &str) -> Result<Synthetic> {
        Ok(match name {
            "gaussians" => Synthetic::Gaussians { weights: vec![1.0, 2.0, 3.0, 4.0, 4.0, 3.0, 2.0, 1.0] },
            "moons" => Synthetic::Moons { weight: 0.3 },
            "checkerboard" => Synthetic::Checkerboard,
            _ => return Err(Error::param("sets", name, "some of gaussians, moons, checkerboard")),
        })
    }

    /// Fresh points of the distribution that the flow learns from: the data's, smoothed.
    fn fresh(toy: &Synthetic, n: usize, smoothing: f64, device: Device, rng: &mut Rng) -> Result<Tensor> {
        let x = toy.sample(n, rng)?.on(device).x;
        Ok(&x + rng.normal(&x.size(), x.kind(), device) * smoothing)
    }

    /// Trainings side by side, each on one thread, so that bits do not depend on how many there are.
    fn train_all(&self, digits: Option<&Dataset>, context: &Context) -> Result<Vec<Trained>> {
        let _one = Threads::request(1);
        type Job<'a> = Box<dyn Fn() -> Result<Trained> + Send + Sync + 'a>;
        let mut jobs: Vec<Job> = Vec::new();
        for seed in (self.seed..).take(self.seeds) {
            for name in &self.sets {
                let planar = &self.planar;
                let points = self.points;
                // the comparison without the time score is made once per set
                let variants = if seed == self.seed { vec![planar.time_score, 0.0] } else { vec![planar.time_score] };
                for time_score in variants {
                    jobs.push(Box::new(move || {
                        let x =
                            Self::toy(name)?.sample(points, &mut Rng::new(seed).split(0xda7a))?.on(context.device).x;
                        planar.train(name, seed, time_score, &x, context)
                    }));
                }
            }
            if let Some(set) = digits {
                let (x, learning) = (Vec::<f32>::try_from(set.x.view(-1))?, &self.digits);
                jobs.push(Box::new(move || {
                    let x = Tensor::from_slice(&x).view([-1, 64]).to_device(context.device);
                    learning.train("digits", seed, learning.time_score, &x, context)
                }));
            }
        }
        on_threads(&jobs, context.device, |job| job())
    }
}

impl Experiment for FlowLearned {
    const NAME: &'static str = "flow-learned";
    const ABOUT: &'static str = "flows learned from data: plain against reweighted generation with few steps";
    const SMALL: &'static str = "sets = [\"gaussians\", \"moons\", \"checkerboard\"]\npoints = 200\nseeds = 1\n\
         [planar]\nwidths = [8]\nupdates = 4\nbatch = 32\nsteps = [4]\nschemes = [\"escorted\", \"rk4-mala\"]\neps = [0.3, 1.0]\nwalkers = 100\n\
         [digits]\nwidths = [8]\nupdates = 4\nbatch = 32\nsteps = [4]\nschemes = [\"escorted\"]\neps = [0.3]\nwalkers = 64";

    fn full() -> Self {
        let d = FlowLearned::default();
        FlowLearned {
            planar: Learning { updates: 5_000, batch: 1_024, walkers: 10_000, ..d.planar },
            digits: Learning {
                updates: 5_000,
                widths: vec![512, 512],
                walkers: 2_048,
                steps: vec![8, 32, 128],
                ..d.digits
            },
            seeds: 5,
            ..FlowLearned::default()
        }
    }

    fn seed(&self) -> u64 {
        self.seed
    }

    fn run_in(&self, context: &Context) -> Result<Output> {
        self.planar.validate("planar")?;
        self.digits.validate("digits")?;
        if self.seeds == 0 {
            return Err(Error::param("seeds", 0, "at least 1"));
        }
        self.sets.iter().try_for_each(|s| Self::toy(s).map(|_| ()))?;
        let all_digits = data::digits()?.scale(-1.0, 1.0)?.on(context.device);
        let digits = (!self.digits.steps.is_empty()).then(|| hold_out(&all_digits, &LABELS, &COUNTS)).transpose()?;
        let trained = self.train_all(digits.as_ref().map(|(training, _)| training), context)?;
        let _two = Threads::request(2);
        let classifier = match &digits {
            Some(_) => Some(Classifier::train(&all_digits, &LABELS, self.digits.smoothing, 600, self.seed)?),
            None => None,
        };
        let mut tables = Tables {
            masses: Rows::new(&[
                "dataset", "seed", "scheme", "steps", "method", "part", "value", "se", "learned", "data", "ess",
            ]),
            quality: Rows::new(&["dataset", "seed", "scheme", "steps", "method", "quantity", "value"]),
            distributions: Rows::new(&["dataset", "seed", "variant", "quantity", "value", "se"]),
        };
        let mut pictures = Vec::new();
        for t in &trained {
            let drawn = match (&digits, &classifier) {
                (Some(set), Some(c)) if t.name == "digits" => self.evaluate_digits(t, set, c, &mut tables)?,
                _ => self.evaluate_planar(t, &mut tables)?,
            };
            if t.seed == self.seed && !drawn.is_empty() {
                pictures.push((t.name.clone(), drawn));
            }
        }
        let (masses, quality, distributions) =
            (tables.masses.finish()?, tables.quality.finish()?, tables.distributions.finish()?);
        let mut out = Output::default();
        self.say(&masses, &quality, &distributions, &mut out)?;
        #[cfg(feature = "plot")]
        self.figures(&masses, &quality, &distributions, &pictures, &mut out)?;
        out.table("masses", masses).table("quality", quality).table("distributions", distributions);
        let runs: Vec<(String, u64, Run)> = trained
            .into_iter()
            .map(|t| (if t.time_score { t.name } else { format!("{}, (122) alone", t.name) }, t.seed, t.run))
            .collect();
        for (name, seed, run) in runs.iter().filter(|r| !r.2.finished()) {
            out.note(format!("{name}, seed {seed}: {:?}", run.outcome));
        }
        let columns = ["step", "lr", "loss_velocity", "loss_score", "loss_time", "grad_norm", "seconds"];
        out.table("training", stack(&runs, &columns)?);
        Ok(out)
    }
}
