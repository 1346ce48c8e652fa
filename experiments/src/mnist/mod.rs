//! Learn a normalised energy of 28×28 digits along a ladder of noise levels, and measure log Z, masses and samples by its weights.

mod evaluate;
mod show;

use crate::evaluate::classifier::Classifier;
use crate::evaluate::held_out::hold_out;
use crate::evaluate::stack;
use crate::{Context, Experiment, Output};
use evaluate::{Evaluator, Population};
use jarzynski::data::{self, Dataset, Split};
use jarzynski::density::{NoisePath, RowNumbers};
use jarzynski::io::frame;
use jarzynski::kernel::{Denoise, Map, Ode};
use jarzynski::model::{LadderNet, LadderShape, NoiseLadder};
use jarzynski::numeric::Rng;
use jarzynski::run::Run;
use jarzynski::run::memory::{Memory, Sizes};
use jarzynski::tch::{Kind, Tensor, no_grad};
use jarzynski::train::{Balance, DualScoreMatching, Optim};
use jarzynski::{Error, Estimate, Path, Result, Transport};
use serde::{Deserialize, Serialize};

/// Methods: `gaussian`, `mixture-10` and `mixture-50`, untrained ladders of one, ten and fifty Gaussians, these with full covariances
/// by expectation maximisation; `dual-score-plain`, the trained one of `components` Gaussians without weights, its energy taken for normalised;
/// `dual-score-ode`, the same ladder by its probability flow, without noise; `dual-score`, with weights, log Z measured;
/// `dual-score-ml`, trained further with the gradient of the likelihood, with weights.
///
/// Tables: `steps`, the trainings' rows; `masses`, the classes' shares of each population; `summary` with `cross_entropy_test`,
/// `cross_entropy_train` and `bits_per_dim_test` (H/(d ln 2)) of images with fresh noise; `log_z` and `log_z_twice`, with twice the
/// steps; `ess` of a run without resampling; `mass_distance`, half the sum of the classes' deviations; `confident_share`, the
/// weighted share of samples that the classifier names with more than 90 %, and the same of the noisy test images as method
/// `data`; `frechet`, the Fréchet distance to test images in the classifier's features; `seconds` of training; `descent`, ESS/N of the run without
/// resampling against the noise level. Test images are
/// all of the classes beyond the first `counts` of the training file, with the classes weighted as in the training data.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Mnist {
    /// `mnist`, `fashion-mnist`, `cifar-10` (see [`cifar10`](data::cifar10)), or `digits` of 8×8 pixels.
    pub data: String,
    /// Classes taken.
    pub labels: Vec<i64>,
    /// Images of each class to train on: unbalanced on purpose. All others of these classes are held out.
    pub counts: Vec<usize>,
    /// The lowest noise level, in units of pixels scaled to [−1, 1].
    pub noise: f64,
    /// Hidden widths of the MLP.
    pub widths: Vec<i64>,
    /// Leading principal axes that it sees.
    pub axes: usize,
    /// Channels of a CNN of the pixels in place of the MLP, whose settings then do not matter; none: the MLP.
    pub channels: Vec<i64>,
    /// Layers below the last one in bfloat16.
    pub mixed: bool,
    /// Components of the mixture of Gaussians that the ladder knows exactly; 1: a Gaussian.
    pub components: usize,
    /// Leading principal axes in which these differ; along the others they are one Gaussian. In more axes the mixture is nearer to
    /// the data, and what is left harder to learn.
    pub component_axes: usize,
    /// The same of the two mixtures that are not trained further.
    pub mixture_axes: usize,
    /// The highest noise level, in units of the data's largest standard deviation along an axis.
    pub highest: f64,
    /// Updates.
    pub steps: usize,
    /// Images per update.
    pub batch: usize,
    /// Learning rate of Adam, falling to 0 as a cosine.
    pub lr: f64,
    /// Its weight decay.
    pub weight_decay: f64,
    /// Weight of the loss in the noise level.
    pub time_score: f64,
    /// Weight of the balance of steps from the data, in the end.
    pub balance_data: f64,
    /// Weight of the balance of the steps of walkers that come down during training, in the end.
    pub balance_walkers: f64,
    /// By what factor both rise.
    pub balance_rise: f64,
    /// Updates after these in which the likelihood counts too; 0: none.
    pub likelihood_steps: usize,
    /// Their learning rate.
    pub likelihood_lr: f64,
    /// The weight of the likelihood in them, by the walkers of the balance.
    pub likelihood: f64,
    /// How many these are.
    pub descending: usize,
    /// Noise levels that the walkers come down by.
    pub levels: usize,
    /// Walkers.
    pub walkers: usize,
    /// Moves at each level of the weighted population.
    pub moves: usize,
    /// Their step.
    pub move_step: f64,
    /// Resample below this ESS/N.
    pub ess_min: f64,
    /// Training steps of the classifier.
    pub classifier_steps: usize,
    /// Steps between recorded rows.
    pub every: usize,
    /// First seed.
    pub seed: u64,
    /// Number of seeds.
    pub seeds: usize,
}

impl Default for Mnist {
    fn default() -> Self {
        Mnist {
            data: "mnist".into(),
            labels: vec![2, 3, 6],
            counts: vec![5_600, 2_800, 1_400],
            noise: 0.3,
            widths: vec![512, 512],
            axes: 200,
            channels: Vec::new(),
            mixed: false,
            components: 50,
            component_axes: 30,
            mixture_axes: 150,
            highest: 1.0,
            steps: 2_500,
            batch: 256,
            lr: 5e-3,
            weight_decay: 0.3,
            time_score: 0.0,
            balance_data: 0.153,
            balance_walkers: 1.53,
            balance_rise: 40.0,
            likelihood_steps: 0,
            likelihood_lr: 1e-3,
            likelihood: 0.1,
            descending: 256,
            levels: 100,
            walkers: 2_048,
            moves: 0,
            move_step: 0.02,
            ess_min: 0.5,
            classifier_steps: 600,
            every: 50,
            seed: 0,
            seeds: 1,
        }
    }
}

const METHODS: [&str; 7] =
    ["gaussian", "mixture-10", "mixture-50", "dual-score-plain", "dual-score-ode", "dual-score", "dual-score-ml"];
const FITS: [(usize, &str); 3] = [(1, METHODS[0]), (10, METHODS[1]), (50, METHODS[2])];
const PLAIN: &str = METHODS[3];
const FLOWN: &str = METHODS[4];
const WEIGHTED: &str = METHODS[5];
const LIKELIHOOD: &str = METHODS[6];

impl Mnist {
    fn images(&self) -> Result<Dataset> {
        match self.data.as_str() {
            "mnist" => data::mnist(Split::Train),
            "fashion-mnist" => data::fashion_mnist(Split::Train),
            "digits" => data::digits(),
            "cifar-10" => data::cifar10(Split::Train),
            other => Err(Error::param("data", other, "mnist, fashion-mnist, cifar-10, digits")),
        }
    }

    /// What was learned, as tables and figures name it.
    fn title(&self) -> String {
        let of = match self.data.as_str() {
            "mnist" => "MNIST",
            "fashion-mnist" => "Fashion-MNIST",
            "cifar-10" => "CIFAR-10",
            _ => "8×8 digits",
        };
        format!("{of} {:?}", self.labels)
    }

    fn balance(&self) -> Balance {
        Balance {
            data: self.balance_data,
            walkers: self.balance_walkers,
            rise: self.balance_rise,
            count: self.descending,
            ..Default::default()
        }
    }

    fn transport(&self, factor: usize, seed: u64) -> Transport<Denoise> {
        let kernel = if self.moves == 0 { Denoise::new() } else { Denoise::moves(self.moves, self.move_step) };
        let steps = self.levels * factor;
        Transport::new(kernel, steps, self.walkers, seed ^ 0x1adde4)
            .ess_min(self.ess_min)
            .every(steps.div_ceil(20).max(1))
    }

    /// The weighted population of a trained ladder; adds what its descents tell: log Z at twice the levels, the ESS without
    /// resampling, `seconds`.
    fn measure(
        &self,
        method: &'static str,
        seed: u64,
        ladder: &NoiseLadder,
        seconds: f64,
        tables: &mut [frame::Rows; 3],
    ) -> Result<Population> {
        let weighted = self.transport(1, seed).run(ladder)?;
        let z = known(&weighted)?;
        let twice = known(&self.transport(2, seed).run(ladder)?)?;
        let alone = self.transport(1, seed).ess_min(0.0).run(ladder)?;
        for (t, ess) in alone.column("t")?.into_iter().zip(alone.column("ess")?) {
            tables[2].push((method, seed, self.levels, ladder.sigma(t), ess));
        }
        let alone = alone.walkers.ess();
        let of = self.title();
        for (quantity, value, se) in
            [("log_z_twice", twice.value, twice.se), ("ess", alone, f64::NAN), ("seconds", seconds, f64::NAN)]
        {
            tables[0].push((&of, self.noise, method, seed, quantity, value, se));
        }
        Ok(self.population(method, seed, weighted, z))
    }

    fn population(&self, method: &'static str, seed: u64, run: Run, log_z: Estimate) -> Population {
        let samples = run.samples(48, &mut Rng::new(seed).split(0x5a3));
        let x = run.walkers.x().shallow_clone();
        Population {
            method,
            seed,
            x,
            weighted: [WEIGHTED, LIKELIHOOD].contains(&method).then_some(run.walkers),
            log_z,
            samples,
        }
    }
}

fn known(run: &Run) -> Result<Estimate> {
    let z = run.log_z().ok_or_else(|| Error::param("log Z", "none", "that of a finished run with weights"))?;
    Ok(Estimate::new(z.value, z.se))
}

impl Experiment for Mnist {
    const NAME: &'static str = "mnist";
    const ABOUT: &'static str =
        "a normalised energy of 28×28 digits along a ladder of noise levels (needs `make datasets`)";
    const SMALL: &'static str = "counts = [40, 20, 10]\nwidths = [8]\naxes = 5\ncomponents = 2\ncomponent_axes = 2\nmixture_axes = 5\nsteps = 4\nbatch = 16\nlevels = 3\nwalkers = 16\n\
         classifier_steps = 2\nevery = 2\ndescending = 8\nlikelihood_steps = 2";
    const DATA: Option<&'static str> = Some("mnist");
    const ON_REQUEST: bool = true;

    fn full() -> Self {
        Mnist { steps: 10_000, likelihood_steps: 2_000, seeds: 3, ..Default::default() }
    }

    fn seed(&self) -> u64 {
        self.seed
    }

    /// The population that comes down the ladder, and the images.
    fn memory(&self) -> Option<Memory> {
        let (dim, images) = if self.data == "digits" { (64, 1_797) } else { (28 * 28, 60_000) };
        let graph = 2 * self.widths.iter().sum::<i64>() as usize;
        let row = RowNumbers { kept: 2 * dim, graph };
        let population = Sizes { row, data: images, ..Sizes::of(Kind::Float, dim, self.walkers) };
        Some(Memory::of(&population))
    }

    fn run_in(&self, context: &Context) -> Result<Output> {
        let all = self.images()?.scale(-1.0, 1.0)?.with_kind(Kind::Float)?.on(context.device);
        let (training, test) = hold_out(&all, &self.labels, &self.counts)?;
        let classifier = Classifier::train(&all, &self.labels, self.noise, self.classifier_steps, self.seed)?;
        let evaluator = Evaluator { config: self, classifier, training: &training, test: &test };
        let mut tables = [
            frame::Rows::new(&["data", "noise", "method", "seed", "quantity", "value", "se"]),
            frame::Rows::new(&["method", "seed", "label", "data", "model", "se"]),
            frame::Rows::new(&["method", "seed", "levels", "sigma", "ess"]),
        ];
        let mut out = Output::default();
        let (mut runs, mut sheets) = (Vec::new(), Vec::new());
        for seed in (self.seed..).take(self.seeds.max(1)) {
            let net = if self.channels.is_empty() {
                LadderNet::Mlp { widths: self.widths.clone(), axes: Some(self.axes) }
            } else {
                LadderNet::cnn(&self.channels, &training.shape)
            };
            let shape = |components: usize, axes: usize| LadderShape {
                net: net.clone(),
                mixed: self.mixed,
                components: components.min(training.len()),
                mixture_axes: Some(axes),
                highest: self.highest,
                seed,
                ..Default::default()
            };
            let exact = Estimate::new(0.0, 0.0);
            let plain = Transport::new(Denoise::new(), self.levels, self.walkers, seed).plain().quiet();
            for (components, method) in FITS {
                let untrained = NoiseLadder::new(&training.x, self.noise, &shape(components, self.mixture_axes))?;
                // exact at one step
                let drawn = Transport::new(Denoise::new(), 1, self.walkers, seed).plain().quiet().run(&untrained)?;
                let population = self.population(method, seed, drawn, exact);
                evaluator.rows(Some(&|x| no_grad(|| untrained.energy(1.0, x))), &population, &mut tables)?;
                if seed == self.seed && components == 10 {
                    sheets.push(population);
                }
            }
            let mut ladder = NoiseLadder::new(&training.x, self.noise, &shape(self.components, self.component_axes))?;
            let mut training_run = DualScoreMatching::new()
                .steps(self.steps)
                .batch(self.batch.min(training.len()))
                .lr(self.lr)
                .time_score(self.time_score)
                .balance(self.balance())
                .optim(Optim::AdamW { weight_decay: self.weight_decay })
                .every(self.every.min(self.steps.max(1)))
                .seed(seed);
            training_run.checkpointing = context.checkpointing(&format!("dual-score-{seed}"));
            let run = training_run.train(&mut ladder, &training.x)?;
            let of_ladder = |ladder: &NoiseLadder, x: &Tensor| no_grad(|| ladder.energy(1.0, x));
            let without = self.population(PLAIN, seed, plain.run(&ladder)?, exact);
            evaluator.rows(Some(&|x| of_ladder(&ladder, x)), &without, &mut tables)?;
            // four velocities a step and the energy where it ends: as many evaluations as the others
            let flow = Transport::new(Ode::new(Map::Rk4), self.levels.div_ceil(5), self.walkers, seed).plain().quiet();
            let flown = self.population(FLOWN, seed, flow.run(&ladder)?, exact);
            evaluator.rows(None, &flown, &mut tables)?;
            let last = self.measure(WEIGHTED, seed, &ladder, run.seconds, &mut tables)?;
            evaluator.rows(Some(&|x| of_ladder(&ladder, x)), &last, &mut tables)?;
            runs.push(("dual-score".to_string(), seed, run));
            if self.likelihood_steps > 0 {
                let mut further = DualScoreMatching {
                    steps: self.likelihood_steps,
                    lr: self.likelihood_lr,
                    every: self.every.min(self.likelihood_steps),
                    balance: Some(Balance { rise: 1.0, likelihood: self.likelihood, ..self.balance() }),
                    seed: seed ^ 0x11,
                    ..training_run
                };
                further.checkpointing = context.checkpointing(&format!("dual-score-ml-{seed}"));
                let run = further.train(&mut ladder, &training.x)?;
                let after = self.measure(LIKELIHOOD, seed, &ladder, run.seconds, &mut tables)?;
                evaluator.rows(Some(&|x| of_ladder(&ladder, x)), &after, &mut tables)?;
                runs.push(("dual-score-ml".to_string(), seed, run));
            }
            if seed == self.seed {
                sheets.extend([without, last]);
            }
        }
        let sure =
            evaluator.classifier.confidence(&evaluator.noisy(&test, self.seed, 0xf4e)).gt(0.9).to_kind(Kind::Double);
        let sure = sure.mean(Kind::Double).double_value(&[]);
        tables[0].push((&self.title(), self.noise, "data", self.seed, "confident_share", sure, f64::NAN));
        out.table(
            "steps",
            stack(&runs, &["step", "lr", "loss_denoising", "loss_level", "loss_balance", "grad_norm", "seconds"])?,
        );
        out.table("summary", tables[0].finish()?);
        out.table("masses", tables[1].finish()?);
        out.table("descent", tables[2].finish()?);
        self.say(&mut out, &evaluator)?;
        #[cfg(feature = "plot")]
        {
            let samples = self.sheet(&evaluator, &sheets)?;
            out.figure("curves", self.curves(&out)?);
            out.figure("samples", samples);
        }
        #[cfg(not(feature = "plot"))]
        drop(sheets);
        Ok(out)
    }
}
