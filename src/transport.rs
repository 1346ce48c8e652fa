//! Move walkers along a prescribed path of energies U_t, t from 0 to 1: annealing and, with a drift, flows.

use crate::error::guard;
use crate::kernel::Cost;
use crate::record::Recorder;
use crate::{Base, Energy, Error, Kernel, Model, Outcome, Point, Result, Rng, Run, Scheme, Walkers};
use std::time::Instant;
use tch::{Kind, Tensor};

/// A family of energies U_t whose start, t = 0, is sampled exactly.
pub trait Path {
    /// The law at t = 0.
    fn base(&self) -> &dyn Base;

    /// U_t at rows x `[n, d]` → `[n]`.
    fn energy(&self, t: f64, x: &Tensor) -> Tensor;

    /// U_t and ∇U_t; by autograd unless a closed form overrides it.
    fn evaluate(&self, t: f64, x: &Tensor) -> Point {
        Point::autograd(&At { path: self, t }, x)
    }
}

/// The energy of a path at one time: what a kernel sees.
#[derive(Debug, Clone, Copy)]
pub struct At<'a, P: ?Sized> {
    /// The path.
    pub path: &'a P,
    /// The time in [0, 1].
    pub t: f64,
}

impl<P: Path + ?Sized> Energy for At<'_, P> {
    fn energy(&self, x: &Tensor) -> Tensor {
        self.path.energy(self.t, x)
    }
    fn evaluate(&self, x: &Tensor) -> Point {
        self.path.evaluate(self.t, x)
    }
}

/// The geometric path U_t = (1 − t) U_base + t U from an exactly sampled law to an energy.
#[derive(Debug)]
pub struct Geometric<B, E> {
    /// The law at t = 0.
    pub base: B,
    /// The energy at t = 1.
    pub target: E,
}

impl<B: Base, E: Energy> Path for Geometric<B, E> {
    fn base(&self) -> &dyn Base {
        &self.base
    }

    fn energy(&self, t: f64, x: &Tensor) -> Tensor {
        self.base.energy(x) * (1.0 - t) + self.target.energy(x) * t
    }

    fn evaluate(&self, t: f64, x: &Tensor) -> Point {
        let (a, b) = (self.base.evaluate(x), self.target.evaluate(x));
        Point::new(x.shallow_clone(), &a.u * (1.0 - t) + &b.u * t, a.grad() * (1.0 - t) + b.grad() * t)
    }
}

impl Base for Box<dyn Base> {
    fn sample(&self, n: usize, rng: &mut Rng) -> Tensor {
        (**self).sample(n, rng)
    }
    fn sample_stratified(&self, n: usize, rng: &mut Rng) -> Tensor {
        (**self).sample_stratified(n, rng)
    }
    fn log_z(&self) -> f64 {
        (**self).log_z()
    }
}

/// How [`Transport`] goes along a path.
#[derive(Debug, Clone)]
pub struct Transport<K> {
    /// The transition kernel.
    pub kernel: K,
    /// Steps K; t_k = k/K.
    pub steps: usize,
    /// Walkers N.
    pub walkers: usize,
    /// Resample when ESS/N is below this; 0 never, which keeps walkers independent and standard errors honest.
    pub ess_min: f64,
    /// Resampling scheme.
    pub scheme: Scheme,
    /// Record every so many steps.
    pub every: usize,
    /// Seed of all randomness.
    pub seed: u64,
    /// Threads that libtorch splits one operation among; see [`Settings::threads`](crate::Settings::threads).
    pub threads: usize,
}

impl<K> Transport<K> {
    /// K steps with N walkers, never resampled.
    pub fn new(kernel: K, steps: usize, walkers: usize, seed: u64) -> Self {
        Transport { kernel, steps, walkers, ess_min: 0.0, scheme: Scheme::Systematic, every: 1, seed, threads: 2 }
    }

    /// With resampling below an ESS threshold.
    pub fn ess_min(mut self, ess_min: f64) -> Self {
        self.ess_min = ess_min;
        self
    }

    /// With a row every so many steps.
    pub fn every(mut self, every: usize) -> Self {
        self.every = every;
        self
    }

    /// From X_0 ~ base with A_0 = U_base − U_{t=0} to t = 1; the run's walkers are exact for U_1.
    ///
    /// Errors: K = 0, N = 0, `every` = 0, a threshold outside [0, 1], an energy not finite at the start.
    pub fn run<P: Path>(&self, path: &P) -> Result<Run>
    where
        K: for<'a> Kernel<At<'a, P>>,
    {
        for (name, n) in
            [("steps", self.steps), ("walkers", self.walkers), ("every", self.every), ("threads", self.threads)]
        {
            if n == 0 {
                return Err(Error::param(name, n, "at least 1"));
            }
        }
        if !(0.0..=1.0).contains(&self.ess_min) {
            return Err(Error::param("ess_min", self.ess_min, "a fraction in [0, 1]"));
        }
        self.kernel.validate()?;
        let _threads = crate::threads::Threads::request(self.threads);
        let root = Rng::new(self.seed);
        let mut rng = root.split(1);
        let started = Instant::now();
        let mut walkers =
            guard(|| Walkers::start_from(path.base(), &At { path, t: 0.0 }, self.walkers, false, &mut rng))?;
        let mut recorder = Recorder::default();
        let (mut cost, mut acceptance, mut resampled) = (Cost::evaluation(self.walkers), f64::NAN, 0);
        let mut outcome = Outcome::Finished;
        for k in 0..=self.steps {
            if k % self.every == 0 || k == self.steps {
                let spent = std::mem::take(&mut cost);
                let (z, u) = (walkers.log_z(), walkers.point.u.to_kind(Kind::Double));
                recorder.push([
                    ("step", k as f64),
                    ("t", k as f64 / self.steps as f64),
                    ("energy_walkers", u.dot(&walkers.weights()).double_value(&[])),
                    ("log_z", z.value),
                    ("log_z_se", z.se),
                    ("ess", walkers.ess()),
                    ("resampled", std::mem::take(&mut resampled) as f64),
                    ("acceptance", acceptance),
                    ("forward", spent.forward as f64),
                    ("backward", spent.backward as f64),
                    ("seconds", started.elapsed().as_secs_f64()),
                ]);
            }
            if k == self.steps {
                break;
            }
            let now = At { path, t: k as f64 / self.steps as f64 };
            let next = At { path, t: (k + 1) as f64 / self.steps as f64 };
            let moved = guard(|| {
                let mv = self.kernel.forward(&now, &walkers.point, &mut rng);
                cost += mv.cost;
                acceptance = mv.acceptance.unwrap_or(acceptance);
                let alpha = mv.alpha.shallow_clone();
                let arrival = self.kernel.backward(&next, &walkers.point, mv, &mut rng);
                cost += arrival.cost;
                walkers.commit(arrival.point, &alpha, &arrival.lambda);
                Ok(())
            });
            let cause = match moved {
                Err(e) => Some(e.to_string()),
                Ok(()) if !walkers.is_finite() => Some("energy or log-weights of the walkers are not finite".into()),
                Ok(()) => None,
            };
            if let Some(cause) = cause {
                outcome = Outcome::Diverged { step: k, cause };
                break;
            }
            resampled += walkers.resample_below(self.ess_min, self.scheme, &mut rng) as u64;
        }
        Ok(Run {
            stats: recorder.frame()?,
            walkers,
            monitor: None,
            weighted: true,
            label: "transport".into(),
            config: serde_json::json!({
                "kernel": format!("{:?}", self.kernel),
                "steps": self.steps,
                "walkers": self.walkers,
                "ess_min": self.ess_min,
            }),
            seed: self.seed,
            outcome,
            seconds: started.elapsed().as_secs_f64(),
        })
    }
}

/// [`Transport`] in one call: K `steps`, `walkers` N.
pub fn transport<P: Path, K: for<'a> Kernel<At<'a, P>>>(
    kernel: K,
    path: &P,
    steps: usize,
    walkers: usize,
    seed: u64,
) -> Result<Run> {
    Transport::new(kernel, steps, walkers, seed).run(path)
}

/// Anneals an independent population from the model's exact start to the model, along (1 − t)U_base + tU_θ.
///
/// The same for every training method: this is how *models* are compared, not walkers. Resamples below ESS/N = .5.
pub fn anneal<M: Model, K>(kernel: K, model: &M, steps: usize, walkers: usize, seed: u64) -> Result<Run>
where
    K: for<'a, 'b> Kernel<At<'a, Geometric<Box<dyn Base>, &'b M>>>,
{
    let path = Geometric { base: model.base()?, target: model };
    Transport::new(kernel, steps, walkers, seed).ess_min(0.5).every(steps.div_ceil(100).max(1)).run(&path)
}
