//! Train each model on a data set, and measure all of them the same way.

use super::data::Problem;
use super::fit::{Fit, Network};
use super::flow_energy::FlowEnergy;
use super::gan::Gan;
use super::measure::{CELLS, EDGE, Fitted, grid, in_parts};
use super::vae::Vae;
use super::{GenerativeComparison, Setting};
use crate::Context;
use jarzynski::density::{Base, Differentiable, Energy, Geometric, Model, Path, Whiten};
use jarzynski::kernel::{Denoise, Mala, Mapped, Reversed, Stepped, Whitened};
use jarzynski::model::{
    CouplingFlow, CouplingShape, FlowBridge, Gaussian, LadderNet, LadderShape, Mlp, MlpShape, NoiseLadder,
};
use jarzynski::tch::{Kind, Tensor};
use jarzynski::train::{
    DescentSettings, DualScoreMatching, MaximumLikelihood, Method, NoiseContrastive, Optim, Schedule, ScoreMatching,
    Settings, Trainer, TrustRegion,
};
use jarzynski::transport::Transport;
use jarzynski::{Estimate, Result, Rng, Run};

/// In the order of the guide's Table 1: energies with and without sampling, VAE, GAN, diffusion, flows.
pub(super) const METHODS: [&str; 12] = [
    "jarzynski",
    "pcd",
    "cd",
    "denoising",
    "score",
    "sliced",
    "nce",
    "vae",
    "gan",
    "ladder",
    "flow",
    "stochastic-flow",
];

/// A model, or why its training ended early.
type Trained<T> = Result<std::result::Result<T, String>>;

/// `Err` in words where a run diverged.
macro_rules! finished {
    ($run:expr) => {{
        let run = $run;
        if !run.finished() {
            return Ok(Err(format!("{}: {:?}", run.label, run.outcome)));
        }
        run
    }};
}

/// The trainings of one data set with one seed.
#[derive(Debug)]
pub(super) struct Bench<'a> {
    pub of: &'a GenerativeComparison,
    pub setting: &'a Setting,
    pub problem: &'a Problem,
    pub context: &'a Context,
    pub seed: u64,
    /// The flow and how long it took: the stochastic one begins with it.
    pub flow: Option<(CouplingFlow, f64)>,
}

impl Bench<'_> {
    /// Trains and measures one model.
    pub fn run(&mut self, method: &str) -> Trained<Fitted> {
        match method {
            "jarzynski" | "pcd" | "cd" => self.sampled(method),
            "denoising" | "score" | "sliced" | "nce" => self.not_sampled(method),
            "vae" => self.vae(),
            "gan" => self.gan(),
            "ladder" => self.ladder(),
            "flow" => self.flow_alone(),
            _ => self.stochastic_flow(),
        }
    }

    fn steps(&self, method: &str) -> usize {
        self.of.scaled(self.setting.learning(method).0)
    }

    fn lr(&self, method: &str) -> f64 {
        self.setting.learning(method).1
    }

    fn checkpointing(&self, method: &str) -> Option<jarzynski::Checkpointing> {
        self.context.checkpointing(&format!("{}-{method}-{}", self.problem.name, self.seed))
    }

    fn start(&self) -> Result<Gaussian> {
        Gaussian::fit(&self.problem.train, self.problem.noise)
    }

    fn net(&self) -> Result<Mlp> {
        let (d, device) = (self.problem.train.size()[1], self.problem.train.device());
        let shape = MlpShape { widths: self.setting.widths.clone(), seed: self.seed, ..Default::default() };
        Mlp::new(d, &shape, Kind::Float, device)?.with_start(&self.start()?)
    }

    /// MALA in the coordinates in which the data have covariance I.
    fn kernel(&self, moves: usize) -> Whitened<Reversed<Mala>> {
        Whitened::new(Reversed::sweeps(Mala::new(self.setting.h), moves))
    }

    /// Energies trained with walkers.
    fn sampled(&self, name: &str) -> Trained<Fitted> {
        let (mut net, s, cd) = (self.net()?, self.setting, name == "cd");
        let method = match name {
            "jarzynski" => Method::Jarzynski { ess_min: 0.5 },
            "pcd" => Method::Pcd,
            _ => Method::Cd { k: s.moves },
        };
        let steps = self.steps(name);
        let settings = Settings {
            walkers: s.walkers,
            monitor: (name == "jarzynski").then_some(0),
            steps,
            lr: self.lr(name),
            moves: if cd { 1 } else { s.moves },
            optim: if cd {
                Optim::Adam
            } else {
                Optim::Natural { damping: 1e-3, decay: 0.95, every: 20, momentum: 0.0 }
            },
            trust_region: (!cd).then_some(TrustRegion::Shrink { ess: s.ess }),
            batch: Some(s.batch.min(self.problem.train.size()[0] as usize)),
            data_noise: self.problem.noise.into(),
            every: steps.div_ceil(20),
            seed: self.seed,
            threads: 1,
            progress: 0.0,
            ..Default::default()
        };
        let mut trainer = Trainer::new(self.kernel(1), method).settings(settings);
        trainer.checkpointing = self.checkpointing(name);
        let run = finished!(trainer.train(&mut net, &self.problem.train)?);
        self.energy(&net, run.seconds, net.parameter_count())
    }

    /// A descent with these settings of the method.
    fn descent(&self, method: &str) -> DescentSettings {
        let steps = self.steps(method);
        DescentSettings {
            steps,
            batch: Some(self.setting.batch),
            data_noise: if method == "denoising" { 0.0 } else { self.problem.noise }.into(),
            lr: self.lr(method),
            schedule: Schedule::Cosine { end: 0.0 },
            clip: Some(10.0),
            every: steps.div_ceil(20),
            seed: self.seed,
            threads: 1,
            progress: 0.0,
            ..Default::default()
        }
    }

    /// Energies trained without walkers.
    fn not_sampled(&self, name: &str) -> Trained<Fitted> {
        let (mut net, data) = (self.net()?, &self.problem.train);
        let run = if name == "nce" {
            let mut nce = NoiseContrastive::new().descent(self.descent(name));
            nce.checkpointing = self.checkpointing(name);
            nce.train(&mut net, data, &self.start()?.on(Kind::Float, data.device())?)?
        } else {
            let mut matching = match name {
                "denoising" => ScoreMatching::denoising(self.problem.noise),
                "sliced" => ScoreMatching::sliced(1),
                _ if self.problem.planar() => ScoreMatching::exact(),
                _ => ScoreMatching::hutchinson(1),
            };
            matching = matching.descent(self.descent(name));
            matching.checkpointing = self.checkpointing(name);
            matching.train(&mut net, data)?
        };
        let run = finished!(run);
        self.energy(&net, run.seconds, net.parameter_count())
    }

    /// Steps of a transport that measures a model.
    fn transport<K>(&self, kernel: K, steps: usize) -> Transport<K> {
        let mut transport =
            Transport::new(kernel, steps, self.setting.draws, self.seed ^ 0xa11ea1).ess_min(0.5).every(steps);
        (transport.threads, transport.progress) = (1, 0.0);
        transport
    }

    /// By an annealing from its base, the same for all energies; the step shrinks as the modes appear.
    fn energy<M: Model + Differentiable + Whiten>(
        &self,
        model: &M,
        seconds: f64,
        parameters: usize,
    ) -> Trained<Fitted> {
        let kernel = Stepped::new(self.kernel(1), &[[0.0, 0.3f64.max(self.setting.h)], [0.8, self.setting.h]]);
        let path = Geometric { base: model.base()?, target: model };
        let run = finished!(
            self.transport(kernel, self.of.scaled(self.setting.anneal)).run::<Geometric<Box<dyn Base>, &M>>(&path)?
        );
        self.weighed(&|x| model.energy(x), &run.walkers, (seconds, parameters)).map(Ok)
    }

    fn fit(&self, method: &str) -> Fit {
        Fit {
            steps: self.steps(method),
            batch: self.setting.batch,
            lr: self.lr(method),
            schedule: Schedule::Cosine { end: 0.05 },
            noise: self.problem.noise,
            seed: self.seed,
            checkpointing: self.checkpointing(method),
        }
    }

    fn own<N: Network>(&self, net: &N, run: &Run, log_lik: (Estimate, &'static str)) -> Result<Fitted> {
        let x = net.sample(self.setting.draws, &mut Rng::new(self.seed).split(0x5a));
        let fitted = self.drawn(x, log_lik, (run.seconds, net.parameter_count()));
        Ok(Fitted { picture: self.counted(|n, rng| net.sample(n, rng))?, ..fitted })
    }

    fn vae(&self) -> Trained<Fitted> {
        let (p, s) = (self.problem, self.setting);
        let vae = Vae::new(&p.train, p.noise, s.latent, &s.halves, self.seed);
        let (run, vae) = self.fit("vae").train(vae, &p.train)?;
        let run = finished!(run);
        let rng = || Rng::new(self.seed).split(0xb0);
        let bound = p.over_test(&vae.bound(&p.test, self.of.importance, &mut rng()));
        let gap = vae.gap(&p.test, self.of.importance, &mut rng());
        let note = format!("{}, seed {}: the ELBO is {gap} nats below the bound in the table", p.name, self.seed);
        let fitted = self.own(&vae, &run, (bound, "bound"))?;
        Ok(Ok(Fitted { note: Some(note), ..fitted }))
    }

    fn gan(&self) -> Trained<Fitted> {
        let (p, s) = (self.problem, self.setting);
        let gan = Gan::new(&p.train, p.noise, s.latent, &s.halves, s.penalty, self.seed);
        let (run, gan) = self.fit("gan").train(gan, &p.train)?;
        let run = finished!(run);
        self.own(&gan, &run, (Estimate::new(f64::NAN, f64::NAN), "none")).map(Ok)
    }

    fn ladder(&self) -> Trained<Fitted> {
        let p = self.problem;
        let shape = LadderShape { net: LadderNet::mlp(&self.setting.widths), seed: self.seed, ..Default::default() };
        let mut ladder = NoiseLadder::new(&p.train, p.noise, &shape)?;
        let steps = self.steps("ladder");
        let training = DualScoreMatching {
            steps,
            batch: self.setting.batch,
            lr: self.lr("ladder"),
            every: steps.div_ceil(20),
            seed: self.seed,
            threads: 1,
            progress: 0.0,
            checkpointing: self.checkpointing("ladder"),
            ..Default::default()
        };
        let run = finished!(training.train(&mut ladder, &p.train)?);
        let down = self.transport(Denoise::moves(1, 0.3), self.of.scaled(self.setting.anneal));
        let weighted = finished!(down.run(&ladder)?);
        let cost = (run.seconds, ladder.parameter_count());
        self.weighed(&|x| ladder.energy(1.0, x), &weighted.walkers, cost).map(Ok)
    }

    /// Trains the flow unless it is there.
    fn with_flow(&mut self) -> Trained<()> {
        if self.flow.is_none() {
            let (p, s) = (self.problem, self.setting);
            let shape = CouplingShape {
                couplings: s.couplings,
                widths: s.flow_widths.clone(),
                seed: self.seed,
                ..Default::default()
            };
            let mut flow = CouplingFlow::new(&self.start()?, &shape, Kind::Float, p.train.device())?;
            let mut training = MaximumLikelihood::new().descent(self.descent("flow"));
            training.checkpointing = self.checkpointing("flow");
            let run = finished!(training.train(&mut flow, &p.train)?);
            self.flow = Some((flow, run.seconds));
        }
        Ok(Ok(()))
    }

    fn flow_alone(&mut self) -> Trained<Fitted> {
        if let Err(why) = self.with_flow()? {
            return Ok(Err(why));
        }
        let Some((flow, seconds)) = &self.flow else { return Ok(Err("no flow".into())) };
        let p = self.problem;
        let log_lik = p.over_test(&-in_parts(&p.test, &|x| flow.energy(x)));
        let x = flow.sample(self.setting.draws, &mut Rng::new(self.seed).split(0x5a));
        let fitted = self.drawn(x, (log_lik, "exact"), (*seconds, flow.parameter_count()));
        let cells = grid(CELLS, EDGE).to_kind(Kind::Float).to_device(p.train.device());
        let picture = if p.planar() { Vec::try_from((-in_parts(&cells, &|x| flow.energy(x))).exp())? } else { vec![] };
        Ok(Ok(Fitted { picture, ..fitted }))
    }

    /// The flow corrected by an energy that tells data from its draws, and walkers through its layers with moves between them.
    fn stochastic_flow(&mut self) -> Trained<Fitted> {
        if let Err(why) = self.with_flow()? {
            return Ok(Err(why));
        }
        let Some((flow, seconds)) = self.flow.take() else { return Ok(Err("no flow".into())) };
        let (p, s) = (self.problem, self.setting);
        let parameters = flow.parameter_count();
        let noise = flow.frozen()?;
        let mut model = FlowEnergy::new(flow, &s.widths, self.seed);
        let own: usize = model.vars().trainable_variables().iter().map(Tensor::numel).sum();
        let mut training = NoiseContrastive::new().descent(self.descent("stochastic-flow")).log_z(0.0);
        training.checkpointing = self.checkpointing("stochastic-flow");
        let run = finished!(training.train(&mut model, &p.train, &noise)?);
        let path = FlowBridge::new(&model.flow, &model)?;
        // equally many steps between two layers
        let steps = s.couplings * self.of.scaled(s.anneal / 4).div_ceil(s.couplings);
        let weighted = finished!(self.transport(Mapped::new(self.kernel(1)), steps).run(&path)?);
        let cost = (seconds + run.seconds, parameters + own);
        let fitted = self.weighed(&|x| model.energy(x), &weighted.walkers, cost)?;
        let ess = weighted.column("ess")?.into_iter().fold(f64::INFINITY, f64::min);
        let note = format!("{}, seed {}: lowest ESS/N of the stochastic flow {ess:.2}", p.name, self.seed);
        Ok(Ok(Fitted { note: Some(note), ..fitted }))
    }
}
