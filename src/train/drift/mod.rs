//! Learn the drift of a path without data: by the continuity residual on walkers of the current transport, or by the variance of
//! their weights.

mod procedure;
mod residual;
mod settings;
mod variance;

pub use settings::{Divergence, DriftSettings};

use super::Schedule;
use crate::density::{At, Differentiable, Noise, Path};
use crate::error::{Error, Result};
use crate::kernel::{Escorted, Integrator, Kernel};
use crate::model::WithDrift;
use crate::run::{Callback, Checkpointing, Driver, Run};
use procedure::Drifting;
use std::borrow::Borrow;

/// What is made small.
#[derive(Debug, Clone, PartialEq)]
enum Loss {
    Residual,
    /// With the noise ε of the escorted kernel.
    Variance(Noise),
}

/// Trains the drift b_θ of a [`WithDrift`] on walkers that the path itself provides; no data, no draws of the target.
///
/// **[`residual`](DriftTrainer::residual)**: physics-informed, NETS (Albergo & Vanden-Eijnden 2024, arXiv 2410.02711). The mean over times t and walkers of
///
/// ```text
/// |∇·b_θ − b_θ·∇U_t − ∂_tU_t + ∂_tF_t|²,   F_t = −log Z_t
/// ```
///
/// is 0 exactly where b carries ρ_t along, wherever the walkers are: they need no weights. ∂_tF_t is learned beside b_θ: for given b the minimum over it at
/// each t is a mean over walkers, which is tabulated ([`DriftNet::log_z_ratio`](crate::model::DriftNet::log_z_ratio)). Walkers move by any kernel, along the path
/// up to a horizon that rises during the training, resampled where weights become uneven, so that the drift is learned first where
/// walkers are in equilibrium.
///
/// **[`variance`](DriftTrainer::variance)**: the variance of A over walkers moved by [`Escorted`], as in controlled Monte Carlo diffusions (Vargas, Padhy, Blessing,
/// Nüsken 2023, arXiv 2307.01050): the log-variance loss, whose gradient is taken at fixed positions. It needs neither a divergence nor second
/// derivatives of U, but a whole transport for each update, and it sees what the walkers see: a mode that none has found has no
/// weight.
///
/// The weights of a [`Transport`](crate::Transport) along the path with its drift are exact whatever was learned, by any flow kernel. The run that comes back
/// has the walkers of its last transport: θ depends on earlier ones only, so that their log Ẑ has no bias from the training.
///
/// ```
/// use jarzynski::model::{DriftShape, Gaussian, Mixture, WithDrift};
/// use jarzynski::train::DriftTrainer;
/// use jarzynski::{Escorted, Geometric, transport};
/// # fn main() -> jarzynski::Result<()> {
/// let target = Mixture::new(&[vec![-3.0], vec![3.0]], &[0.3, 0.7])?;
/// let path = Geometric { base: Gaussian::new(&[0.0], &[3.0])?, target };
/// let mut flow = WithDrift::new(path, &DriftShape { widths: vec![16], ..Default::default() })?;
/// let training = DriftTrainer::residual(Escorted::new(1.0)).steps(40).quiet();
/// assert!(training.train(&mut flow)?.finished());
/// let run = transport(Escorted::new(1.0), &flow, 32, 500, 0)?;
/// println!("ESS/N {:.2}", run.walkers.ess());
/// # Ok(()) }
/// ```
#[derive(Debug, Clone)]
#[must_use]
pub struct DriftTrainer<K> {
    /// The kernel that moves the walkers.
    pub kernel: K,
    /// All other settings.
    pub settings: DriftSettings,
    /// Where rows and checkpoints are written, if anywhere.
    pub checkpointing: Option<Checkpointing>,
    loss: Loss,
}

impl<K> DriftTrainer<K> {
    /// By the continuity residual, on walkers that `kernel` moves, which may use the drift or not.
    pub fn residual(kernel: K) -> Self {
        DriftTrainer { kernel, settings: DriftSettings::default(), checkpointing: None, loss: Loss::Residual }
    }

    /// Number of updates.
    pub fn steps(mut self, steps: usize) -> Self {
        self.settings.steps = steps;
        self
    }

    /// Steps of the transports that give the walkers.
    pub fn grid(mut self, grid: usize) -> Self {
        self.settings.grid = grid;
        self
    }

    /// Walkers of a transport.
    pub fn walkers(mut self, walkers: usize) -> Self {
        self.settings.walkers = walkers;
        self
    }

    /// Learning rate.
    pub fn lr(mut self, lr: f64) -> Self {
        self.settings.lr = lr;
        self
    }

    /// Seed.
    pub fn seed(mut self, seed: u64) -> Self {
        self.settings.seed = seed;
        self
    }

    /// No progress lines.
    pub fn quiet(mut self) -> Self {
        self.settings.progress = 0.0;
        self
    }

    /// All settings at once.
    pub fn settings(mut self, settings: DriftSettings) -> Self {
        self.settings = settings;
        self
    }

    /// Writes rows and checkpoints to a folder; see [`Trainer::checkpointing`](crate::Trainer::checkpointing).
    pub fn checkpointing(mut self, checkpointing: impl Into<Checkpointing>) -> Self {
        self.checkpointing = Some(checkpointing.into());
        self
    }

    /// Continues the run of an earlier call in `dir`, or begins one there; see
    /// [`Trainer::resume_or_start`](crate::Trainer::resume_or_start).
    pub fn resume_or_start(mut self, dir: impl Into<std::path::PathBuf>) -> Self {
        self.checkpointing = Some(Checkpointing::resume_or_start(dir));
        self
    }

    fn validate(&self) -> Result<()> {
        let (s, usual) = (&self.settings, DriftSettings::default());
        s.validate()?;
        if self.loss != Loss::Residual {
            let same = [
                ("refresh", s.refresh == usual.refresh),
                ("times", s.times == usual.times),
                ("batch", s.batch == usual.batch),
                ("divergence", s.divergence == usual.divergence),
                ("ess_min", s.ess_min == usual.ess_min),
            ];
            if let Some((name, _)) = same.iter().find(|(_, same)| !same) {
                let expected =
                    "the default: the variance is that of all walkers over their whole way, without a divergence";
                return Err(Error::param(name, "another value with the loss of the variance", expected));
            }
        }
        Ok(())
    }

    /// Trains the drift of `flow` in place. A run that diverges comes back as `Ok` with its rows and the cause.
    ///
    /// # Errors
    /// Settings out of range, or that do not apply to the loss; a kernel or a path that cannot be run.
    pub fn train<P: Path + Differentiable>(&self, flow: &mut WithDrift<P>) -> Result<Run>
    where
        K: for<'a> Kernel<At<'a, WithDrift<P>>>,
    {
        self.train_with(flow, &mut |_| Vec::new())
    }

    /// As [`train`](DriftTrainer::train); `callback` adds columns of its own to every recorded row.
    ///
    /// # Errors
    /// As [`train`](DriftTrainer::train).
    pub fn train_with<P: Path + Differentiable>(
        &self,
        flow: &mut WithDrift<P>,
        callback: &mut Callback<WithDrift<P>>,
    ) -> Result<Run>
    where
        K: for<'a> Kernel<At<'a, WithDrift<P>>>,
    {
        let by_ref = DriftTrainer {
            kernel: &self.kernel,
            settings: self.settings.clone(),
            checkpointing: self.checkpointing.clone(),
            loss: self.loss.clone(),
        };
        by_ref.open(&*flow)?.complete(callback)
    }

    /// An owned run that the caller takes step by step: see [`Driver`].
    ///
    /// # Errors
    /// As [`train`](DriftTrainer::train).
    pub fn start<P: Path + Differentiable + 'static>(&self, flow: WithDrift<P>) -> Result<Driver<'static, WithDrift<P>>>
    where
        K: for<'a> Kernel<At<'a, WithDrift<P>>> + Clone + 'static,
    {
        self.clone().open(flow)
    }

    fn open<'a, P: Path + Differentiable + 'a, H: Borrow<WithDrift<P>>>(
        self,
        flow: H,
    ) -> Result<Driver<'a, WithDrift<P>, H>>
    where
        K: for<'b> Kernel<At<'b, WithDrift<P>>> + 'a,
    {
        self.validate()?;
        self.kernel.validate()?;
        let checkpointing = self.checkpointing.clone();
        let drifting = Drifting::new(self, flow.borrow())?;
        Driver::open(Box::new(drifting), flow, checkpointing.as_ref())
    }

    /// What a learning rate depends on beside k.
    fn over(&self) -> Option<usize> {
        // the horizon depends on the number of updates whatever the schedule
        (self.settings.schedule != Schedule::Constant || self.settings.horizon > 0.0).then_some(self.settings.steps)
    }
}

impl DriftTrainer<Escorted> {
    /// By the variance of the log-weights of walkers that this kernel moves, with an Euler drift.
    ///
    /// # Errors
    /// Another integrator of the drift.
    pub fn variance(kernel: Escorted) -> Result<Self> {
        if kernel.integrator != Integrator::Euler {
            let expected = "`euler`: the log-weight is differentiated in closed form for Prop. 2 itself";
            return Err(Error::param("integrator", format!("{:?}", kernel.integrator), expected));
        }
        let loss = Loss::Variance(kernel.eps.clone());
        Ok(DriftTrainer { kernel, settings: DriftSettings::default(), checkpointing: None, loss })
    }
}
